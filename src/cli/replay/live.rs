//! `perstack replay FILE --against CONFIG --live`: the recorded job goes on with a model and tools behind the first difference.
//! Called once a comparison has found it; the job is driven as those of `run` are.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use clap::Args;
use perstack::event::Event;
use perstack::message::Message;
use perstack::runtime::{BeyondRecording, Options, PartInput, RecordedJob};
use perstack::store::Store;
use tokio_util::sync::CancellationToken;

use super::compare::{self, Candidate, PartSetup, StepDifference, add_own_experts};
use super::player::play;
use super::temporary::JobFolder;
use crate::cli::command_line::CommandLine;
use crate::cli::failure::Failure;
use crate::cli::job_runner::{self, JobCommand, JobOrigin, LiveReplay};
use crate::cli::options::{BudgetArgs, JobArgs, LockArgs, OutputArgs, PermissionArgs, PlaceArgs, SessionArgs};
use crate::cli::output_file::OutputFiles;
use crate::cli::render::visible;
use crate::cli::setup::is_own_expert;
use crate::cli::signals::Signal;
use crate::cli::storage::not_remote;
use crate::cli::{Exit, Process, trust};

/// The folder of such jobs in the storage.
const REPLAYS: &str = "replays";

/// The options of a replay that goes on live.
#[derive(Debug, Clone, Default, Args)]
pub struct LiveArgs {
    /// With --against: go on live behind the first difference, with the model and the tools of the configuration. All before it
    /// comes from the recording and costs nothing
    #[arg(long, requires = "against", help_heading = "Live")]
    pub live: bool,
    /// Folder that experts work in [default: the configuration's, else the project's root]
    #[arg(long, value_name = "PATH", requires = "live", help_heading = "Live")]
    workspace: Option<PathBuf>,
    /// Trust this folder for this run, with all that its configuration starts and sends (see `perstack trust`)
    #[arg(long, requires = "live", help_heading = "Live")]
    trust: bool,
    /// Never ask on the terminal: a question stops the job with exit code 4
    #[arg(long, requires = "live", help_heading = "Live")]
    no_interactive: bool,
    #[command(flatten)]
    budgets: LiveBudgetArgs,
}

/// The budgets of what is live; what is recorded takes nothing.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_field_names, reason = "they are the flags' names")]
struct LiveBudgetArgs {
    /// US dollars for what is live. The most that a request can cost is set aside before it is sent, so that no more is spent
    #[arg(long, value_name = "USD", value_parser = perstack::budget::dollars, allow_negative_numbers = true, requires = "live",
          help_heading = "Live")]
    max_cost: Option<perstack::cost::Cost>,
    /// Tokens of what is live, prompts and answers; set aside in the same way
    #[arg(long, value_name = "N", value_parser = crate::cli::options::positive, allow_negative_numbers = true, requires = "live",
          help_heading = "Live")]
    max_tokens: Option<u64>,
    /// Working time, such as 90s, 10m or 1h30m. Requests and tools that still run then are stopped
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, requires = "live", help_heading = "Live")]
    max_duration: Option<perstack::budget::Span>,
}

impl LiveArgs {
    /// The configuration `config` with `model`, as these options have it.
    pub fn candidate(&self, config: &Path, model: Option<&String>) -> Candidate {
        let (config, workspace) = (Some(config.to_owned()), self.workspace.clone());
        Candidate { config, model: model.cloned(), workspace, trust: self.trust }
    }

    fn budgets(&self) -> BudgetArgs {
        let LiveBudgetArgs { max_cost, max_tokens, max_duration } = self.budgets.clone();
        BudgetArgs { max_cost, max_tokens, max_duration, ..BudgetArgs::default() }
    }
}

/// A recorded job, and the configuration with which it differs.
#[derive(Clone, Copy)]
pub struct DifferingJob<'a> {
    pub recorded: &'a RecordedJob,
    pub candidate: &'a Candidate,
    pub difference: &'a StepDifference,
    /// The part of the recording that differs.
    pub part: usize,
}

/// Runs the job again: from the recording as far as it goes, and live from there. `storage`: the folder that was named for it.
///
/// # Errors
/// A mistake in the configuration, a folder that is not trusted, or a job that cannot be begun or stored.
pub fn go_on(
    job: DifferingJob<'_>,
    args: &LiveArgs,
    output: &OutputArgs,
    storage: Option<PathBuf>,
    process: &Process,
) -> Result<Exit, Failure> {
    let DifferingJob { recorded, candidate, difference, part } = job;
    let flags = args.budgets();
    let PartSetup { mut setup, place, model, then } =
        PartSetup::read(recorded, part, (candidate, &flags), process, Path::new(""))?;
    let start = recorded.start(part).map_err(Failure::other)?;
    let permissions = PermissionArgs::of(&then.run_permissions);
    let own = then.experts.get(&start.expert).ok().filter(|expert| is_own_expert(expert));
    let session = SessionArgs { no_interactive: args.no_interactive, ..SessionArgs::default() };
    let mut job_args = JobArgs {
        model,
        place,
        output: output.clone(),
        session,
        permissions,
        lock: LockArgs::default(),
        output_schema: None,
        instruction: own.map(|expert| expert.instruction.clone()),
        account: None,
        workspace_from: None,
    };
    setup.print_warnings(process, output.quiet);
    let trust = trust::require_for_job(&setup, process, &job_args, std::slice::from_ref(&start.expert))?;
    let folder = match (storage, &setup.remote) {
        (Some(named), _) => JobFolder::open(Some(named))?,
        (None, Some(remote)) => return Err(not_remote("a replay", remote.address())),
        (None, None) => JobFolder::kept_in(&setup.storage.join(REPLAYS), start.job_id.as_str())?,
    };
    if Store::new(folder.path()).layout().job(&start.job_id).is_dir() {
        let (job, folder) = (&start.job_id, folder.path().display());
        return Err(Failure::usage(anyhow!("job {job} is in {folder} already"))
            .help("it has the ids of its recording: name another folder (--storage FOLDER)"));
    }
    setup.hide(setup.storage.clone());
    folder.path().clone_into(&mut setup.storage);
    let setup = setup.with_trust(trust, process, output.quiet);
    job_args.place = PlaceArgs { storage: Some(folder.path().to_owned()), ..job_args.place };
    let files = OutputFiles::check(output, process, folder.path())?;
    let replayed = |part: usize, beyond: BeyondRecording| {
        let options = compare::options(recorded, part, candidate, process, folder.path())?;
        Ok::<_, Failure>(Options { difference: Some(Arc::new(OnceLock::new())), beyond, ..options })
    };
    if let Some(signal) = replay_before(job, &|part| replayed(part, BeyondRecording::LaterPart))? {
        folder.discard();
        return Ok(signal.exit());
    }
    let options = |mut live: Options| {
        add_own_experts(&mut live, &then);
        let (sink, cancel) = (Arc::clone(&live.sink), live.cancel.clone());
        Ok(Options { sink, cancel, ..replayed(part, BeyondRecording::Live(Arc::new(live)))? })
    };
    let command = match recorded.input(part).map_err(Failure::other)? {
        PartInput::Run(input) => JobCommand::Run(input),
        PartInput::Resume(input) => JobCommand::Resume(input),
    };
    let difference = serde_json::to_value(difference).map_err(Failure::other)?;
    let origin = JobOrigin::Replay(LiveReplay { options: &options, difference });
    let exit = job_runner::run(process, &job_args, setup, files, command, &origin)?;
    if exit == Exit::Completed && !output.quiet {
        // One that stopped is named by the command that continues it.
        let mut words = CommandLine::new(["perstack", "log", start.job_id.as_str()]);
        words.path("--storage", Some(folder.path()));
        // With stderr closed there is no place left to report to.
        let _ = writeln!(std::io::stderr().lock(), "to look at it:\n{}", visible(&words.to_string()));
    }
    Ok(exit)
}

/// Replays the parts before the one that differs. They end as they did in the comparison, or with the signal that is returned.
fn replay_before(
    job: DifferingJob<'_>,
    options: &dyn Fn(usize) -> Result<Options, Failure>,
) -> Result<Option<Signal>, Failure> {
    let DifferingJob { recorded, part, .. } = job;
    if part == 0 {
        return Ok(None);
    }
    let cancel = CancellationToken::new();
    let unseen = |part: usize| {
        let options = options(part)?;
        Ok(Options { sink: Arc::new(|_: &Event, _: &[Message]| {}), cancel: cancel.clone(), ..options })
    };
    let end = play(recorded, part, &unseen, &cancel)?;
    if end.signal.is_none() && recorded.end(end.part) != Some(end.outcome.status) {
        let status = end.outcome.status.name();
        return Err(Failure::other(anyhow!(
            "the recorded job could not be brought to where it differs: it ended as {status}"
        )));
    }
    Ok(end.signal)
}
