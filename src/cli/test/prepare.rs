//! [`live_jobs`]: the cases that ask the model, with options, input and judge, all checked before anything is asked: a mistake in
//! the last of many cases must not be found when the others are paid for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, anyhow};
use perstack::config::{FolderTrust, LiveCase, TestCase};
use perstack::event::Event;
use perstack::expert::ExpertKey;
use perstack::fact::Clock as _;
use perstack::message::Message;
use perstack::runtime::{self, AccountUse, CassetteMode, InDoubt, Options, PlanInput, RunInput, SystemClock};
use tokio_util::sync::CancellationToken;

use super::live::LiveJob;
use super::{TestArgs, judge};
use crate::cli::Process;
use crate::cli::account::SplitLimits;
use crate::cli::failure::Failure;
use crate::cli::input::query_with_files;
use crate::cli::job_runner::control_runtime;
use crate::cli::options::{BudgetArgs, LockArgs, ModelArgs, PlaceArgs};
use crate::cli::output_file::OutputFile;
use crate::cli::program_log::print_log_line;
use crate::cli::replay::temporary::JobFolder;
use crate::cli::setup::{ProjectNeed, Setup};
use crate::cli::trust::{self, ProjectUse};

/// A case of a file.
pub struct NamedCase {
    /// The file, as it was named.
    pub file: String,
    pub case: TestCase,
}

impl NamedCase {
    /// A mistake in it.
    fn wrong(&self, failure: &Failure) -> Failure {
        Failure::usage(anyhow!("{}: cases.{}: {}", self.file, self.case.name, failure.line()))
    }
}

/// Makes options for jobs. Their account and the way to stop them are one.
struct OptionsMaker<'a> {
    args: &'a TestArgs,
    process: &'a Process,
    place: PlaceArgs,
    account: Option<AccountUse>,
    split: SplitLimits,
    trust: FolderTrust,
    cancel: CancellationToken,
    /// Options by the model that was chosen.
    made: Vec<(ModelArgs, Options)>,
}

/// The jobs of `cases`, by the places of these among all. `cancel` stops them.
///
/// # Errors
/// With the exit code for usage: a mistake in one of them, or in what they need.
pub fn live_jobs(
    cases: &[(usize, &NamedCase, &LiveCase)],
    args: &TestArgs,
    process: &Process,
    cancel: &CancellationToken,
) -> Result<Vec<Arc<LiveJob>>, Failure> {
    let place = args.place();
    let flags = ModelArgs {
        budgets: BudgetArgs { max_cost: args.max_cost, max_tokens: args.max_tokens, ..BudgetArgs::default() },
        ..ModelArgs::default()
    };
    // A recording must not depend on what others spend.
    let split = if args.record { SplitLimits::none(&flags) } else { SplitLimits::new(&flags, &place, process)? };
    let setup = Setup::read_beside_account(process, &place, &split, ProjectNeed::Required)?;
    let experts = experts(cases, &setup)?;
    let refuses_questions = process.variable("PERSTACK_NO_INTERACTIVE").is_some_and(|value| value != "0");
    let project_use = ProjectUse { experts: &experts, asks_models: true, may_ask: !refuses_questions };
    let trust = trust::require(&setup, process, args.trust, &project_use)?;
    // Trust is of the configuration, which does not have them. Elsewhere than before a person they run as those of a makefile.
    let command = cases.iter().find(|(_, named, _)| named.case.expected.command.is_some());
    if let Some((_, named, _)) = command.filter(|_| trust == FolderTrust::Untrusted && trust::can_ask(process)) {
        let refusal = anyhow!("refused in a folder that is not trusted: the case has a command");
        return Err(named.wrong(&Failure::usage(refusal).help("read the commands of the cases, then use --trust")));
    }
    let closed = setup.closed_files();
    let account = if split.limits.are_reserved() {
        // One of this invocation's own: the budget is for it.
        let stamp = SystemClock.stamp();
        let id = format!("test-{}-{:x}", stamp.at, stamp.seed).parse().map_err(Failure::other)?;
        Some(split.account(id))
    } else {
        None
    };
    let storage = setup.storage.clone();
    let mut maker =
        OptionsMaker { args, process, place, account, split, trust, cancel: cancel.clone(), made: Vec::new() };
    let control = control_runtime()?;
    let empty = JobFolder::open(None)?;
    let mut jobs = Vec::new();
    for (index, named, live) in cases {
        let wrong = |failure| named.wrong(&failure);
        let options = maker.options(args.model.clone().or_else(|| named.case.model.clone()), true)?;
        let mut judge_options = maker.options(None, false)?;
        judge_options.output_schema = Some(judge::schema()?);
        let input = query_with_files(&live.query, &live.files, Path::new("")).map_err(wrong)?;
        if let Some(workspace) = &live.workspace {
            check_folder(workspace).map_err(wrong)?;
        }
        let workspace = live.workspace.clone().unwrap_or_else(|| empty.path().to_owned());
        let planned = |expert: &ExpertKey, query: &str, options: &Options| {
            let mut options = Options { workspace: workspace.clone(), ..options.clone() };
            if let Some(account) = &options.account {
                // What the account is to bound needs a price, as a job's own budget does.
                let budgets = &mut options.settings.budgets;
                budgets.max_cost = budgets.max_cost.or(account.limits.max_cost);
            }
            let input = PlanInput::Run(RunInput::new(expert.clone(), query));
            control.block_on(runtime::plan(input, &options)).map_err(|error| named.wrong(&Failure::from(error)))
        };
        planned(&live.expert, &input.query, &options)?;
        if let Some(judge) = &named.case.expected.judge {
            planned(&judge.expert, &judge.criteria, &judge_options)?;
        }
        let repeat = args.repeat.unwrap_or(live.repeat);
        let required = live.needs.of(repeat).ok_or_else(|| {
            let text = format!("`passes` asks for more than the {repeat} repetitions of --repeat");
            named.wrong(
                &Failure::usage(anyhow!(text)).help("raise --repeat, or give `minPassRate` in the place of `passes`"),
            )
        })?;
        let cassette = named.case.cassette.as_ref().filter(|_| args.record);
        let cassette =
            cassette.map(|path| OutputFile::check("cassette", path, &process.folder, &storage).map_err(wrong));
        jobs.push(Arc::new(LiveJob {
            index: *index,
            file: named.file.clone(),
            name: named.case.name.clone(),
            case: (*live).clone(),
            expected: named.case.expected.clone(),
            input,
            options,
            judge_options,
            closed: closed.clone(),
            cassette: cassette.transpose()?,
            is_recorded: AtomicBool::new(false),
            repeat,
            required,
        }));
    }
    if let (Some(log), Some(job)) = (&process.log, jobs.first()) {
        log.attach(job.options.redactor(), print_log_line);
    }
    Ok(jobs)
}

/// The experts that are asked, each once, after a check that they are there.
fn experts(cases: &[(usize, &NamedCase, &LiveCase)], setup: &Setup) -> Result<Vec<ExpertKey>, Failure> {
    let mut experts: Vec<ExpertKey> = Vec::new();
    for (_, named, live) in cases {
        let judge = named.case.expected.judge.as_ref().map(|judge| &judge.expert);
        for key in std::iter::once(&live.expert).chain(judge) {
            let expert = setup.expert(key.as_str()).map_err(|failure| named.wrong(&failure))?;
            if !experts.contains(&expert) {
                experts.push(expert);
            }
        }
    }
    Ok(experts)
}

fn check_folder(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    let metadata = std::fs::metadata(folder).with_context(|| format!("workspace {shown} cannot be opened"));
    if metadata.map_err(Failure::usage)?.is_dir() {
        return Ok(());
    }
    Err(Failure::usage(anyhow!("workspace {shown} is no folder")).help("name a folder; it is copied"))
}

impl OptionsMaker<'_> {
    /// The options of jobs with this model, in the place of the configuration's. `with_provider`: with that of the flags.
    fn options(&mut self, model: Option<String>, with_provider: bool) -> Result<Options, Failure> {
        let chosen =
            ModelArgs { provider: self.args.provider.filter(|_| with_provider), model, ..self.split.model.clone() };
        let is_it = |made: &&(ModelArgs, Options)| (made.0.provider, &made.0.model) == (chosen.provider, &chosen.model);
        if let Some((_, options)) = self.made.iter().find(is_it) {
            return Ok(options.clone());
        }
        let split = SplitLimits { limits: self.split.limits, model: chosen.clone() };
        let mut setup = Setup::read_beside_account(self.process, &self.place, &split, ProjectNeed::Required)?;
        setup.account.clone_from(&self.account);
        let quiet = self.args.quiet || !self.made.is_empty();
        let setup = setup.with_lock(LockArgs::default(), self.process, &self.place, quiet)?;
        let setup = setup.with_trust(self.trust, self.process, quiet);
        let sink = Arc::new(|_: &Event, _: &[Message]| {});
        let options = setup.options(sink, self.cancel.clone(), InDoubt::default(), CassetteMode::None);
        self.made.push((chosen, options.clone()));
        Ok(options)
    }
}
