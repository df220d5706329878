//! `perstack run`: a fresh job, or (by the original's options) a further Run of an existing one.

use anyhow::anyhow;
use clap::Args;
use perstack::expert::ExpertKey;
use perstack::id::{CheckpointId, JobId};
use perstack::provider::choose;
use perstack::provider::vendor::vendor;
use perstack::runtime::{ResumeFrom, ResumeInput, RunInput};
use perstack::setting::ProviderName;

use super::account::SplitLimits;
use super::command_line::CommandLine;
use super::completions::candidates;
use super::dry_run;
use super::failure::Failure;
use super::input::{InputArgs, InputSources, QueryInput};
use super::job::restore;
use super::job_runner::{self, JobCommand, JobOrigin};
use super::options::JobArgs;
use super::output_file::OutputFiles;
use super::setup::{ProjectNeed, Setup, warn};
use super::workspace_from::MadeWorkspace;
use super::{Exit, Process, trust};

const EXAMPLES: &str = "\
Examples:
  perstack run researcher \"Which owls hunt at night?\"
  git diff | perstack run reviewer \"Review this\"
  perstack run reviewer \"Compare the two\" --file old.png --file new.png
  perstack run --instruction \"You are an editor.\" \"Shorten notes.md\"
  perstack run researcher \"And which by day?\" --continue";

/// Runs a job
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", super::after_help()))]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct RunArgs {
    /// The expert that starts the job; with --instruction there is none, and QUERY comes first
    #[arg(required_unless_present = "instruction", add = candidates::experts())]
    expert: Option<String>,
    /// The question or task; read from stdin if it is `-`, or absent while stdin is no terminal (reading a silent stdin
    /// ends after 10 seconds, with `-` after 60). What is piped in beside it is sent behind it
    query: Option<String>,
    /// Send standard input behind the query, however long it takes. Without it, a pipe that is silent for 10 seconds is
    /// not waited for, and standard input that the calling shell reads too (a `while read` loop) is left alone
    #[arg(value_name = "-", value_parser = ["-"], hide_possible_values = true)]
    with_stdin: Option<String>,
    #[command(flatten)]
    input: InputArgs,
    /// Id of the new job [default: a new one]
    #[arg(long, value_name = "ID")]
    job_id: Option<JobId>,
    /// Bring the job of this id to its end: start it, continue it, or print its answer again if it has completed
    #[arg(long, requires = "job_id", conflicts_with_all = ["continued", "resume_from", "interactive_tool_call_result"])]
    ensure: bool,
    /// Continue the latest job from its latest checkpoint
    #[arg(long = "continue", group = "continued", conflicts_with = "workspace_from")]
    continue_latest: bool,
    /// Continue this job (its id, or a beginning or an end of it) from its latest checkpoint
    #[arg(long, value_name = "JOB", group = "continued", conflicts_with = "workspace_from", add = candidates::jobs())]
    continue_job: Option<JobId>,
    /// Continue from this checkpoint of the job (named in the same way)
    #[arg(long, value_name = "CHECKPOINT", requires = "continued", add = candidates::checkpoints())]
    resume_from: Option<CheckpointId>,
    /// The query is the answer to an interactive call, and is sent as it is
    #[arg(long, short)]
    interactive_tool_call_result: bool,
    /// Show what would be sent, and send nothing: instruction, files, skills, tools, limits, with estimated tokens. No process
    /// is started and nothing is written; with --output json, as one JSON object
    #[arg(long, conflicts_with_all = ["record", "replay", "learn", "output_file", "summary_file", "json", "filter",
          "full_events", "workspace_from"])]
    dry_run: bool,
    #[command(flatten)]
    job: JobArgs,
}

impl RunArgs {
    /// The checkpoint to continue an existing job from, if one is named.
    fn resume_from(&self) -> Option<ResumeFrom> {
        match (&self.continue_job, &self.resume_from) {
            (Some(job), Some(checkpoint)) => Some(ResumeFrom::Checkpoint(job.clone(), checkpoint.clone())),
            (Some(job), None) => Some(ResumeFrom::Job(job.clone())),
            (None, Some(checkpoint)) => Some(ResumeFrom::LatestAt(checkpoint.clone())),
            (None, None) if self.continue_latest => Some(ResumeFrom::Latest),
            (None, None) => None,
        }
    }

    /// The places that the query comes from. Without an expert, the words stand one place earlier.
    fn sources<'a>(&'a self, process: &'a Process) -> Result<InputSources<'a>, Failure> {
        let (query, with_stdin) = match (&self.job.instruction, self.query.as_deref()) {
            (None, query) => (query, self.with_stdin.is_some()),
            (Some(_), None) => (self.expert.as_deref(), false),
            (Some(_), Some("-")) if self.with_stdin.is_none() => (self.expert.as_deref(), true),
            (Some(_), Some(_)) => {
                return Err(Failure::usage(anyhow!(
                    "--instruction takes the place of an expert, and two words are given"
                ))
                .help("perstack run --instruction TEXT QUERY"));
            }
        };
        Ok(InputSources {
            query,
            with_stdin,
            is_answer: self.interactive_tool_call_result,
            args: &self.input,
            folder: &process.folder,
            quiet: self.job.output.quiet,
        })
    }

    /// The expert that is to run: of the configuration, or made of the instruction.
    fn choose_expert(&self, setup: &mut Setup, process: &Process) -> Result<ExpertKey, Failure> {
        match &self.job.instruction {
            None => setup.expert(self.expert.as_deref().unwrap_or_default()),
            Some(text) => {
                if let Some(line) = provider_line(setup).filter(|_| !self.job.output.quiet) {
                    warn(process, false, &line);
                }
                setup.add_own_expert(text)
            }
        }
    }

    fn command(&self, expert: ExpertKey, input: QueryInput) -> JobCommand {
        let QueryInput { query, attached } = input;
        if let Some(from) = self.resume_from() {
            let is_answer = self.interactive_tool_call_result;
            let query = Some(query);
            return JobCommand::Resume(ResumeInput { from, expert: Some(expert), query, attached, is_answer });
        }
        let input = RunInput { expert, query, attached, job_id: self.job_id.clone(), run_id: None };
        if self.ensure { JobCommand::Ensure(input) } else { JobCommand::Run(input) }
    }

    /// The same command without its recorded session.
    fn live(&self) -> CommandLine {
        let mut words = CommandLine::new(["perstack", "run"]);
        if let Some(expert) = &self.expert {
            words.word(expert);
        }
        if let Some(query) = &self.query {
            words.word(query);
        }
        if let Some(stdin) = &self.with_stdin {
            words.word(stdin);
        }
        self.input.add_to(&mut words);
        words
            .value("--job-id", self.job_id.as_ref())
            .switch("--ensure", self.ensure)
            .switch("--continue", self.continue_latest)
            .value("--continue-job", self.continue_job.as_ref())
            .value("--resume-from", self.resume_from.as_ref())
            .switch("-i", self.interactive_tool_call_result);
        self.job.add_to(&mut words);
        words
    }
}

/// The provider that is taken where several have keys and none is named.
fn provider_line(setup: &Setup) -> Option<String> {
    if setup.settings.provider.is_some() {
        return None;
    }
    let has_key = |name: &ProviderName| vendor(*name).key(&setup.environment).is_some();
    let ready: Vec<&str> = ProviderName::ALL.iter().filter(|name| has_key(name)).map(|name| name.as_str()).collect();
    let chosen = choose(&setup.environment).ok().filter(|_| ready.len() > 1)?;
    Some(format!("there are keys of {}: {chosen} is used; --provider chooses another", ready.join(", ")))
}

/// Runs the command.
pub fn run(args: &RunArgs, process: &Process) -> Result<Exit, Failure> {
    // Mistakes in the command itself are reported before waiting for anything.
    args.job.output.format()?;
    let sources = args.sources(process)?;
    let (job, made) = MadeWorkspace::make(&args.job, process)?;
    let need = if job.instruction.is_some() { ProjectNeed::IfFound } else { ProjectNeed::Required };
    let (account, split) = SplitLimits::of_job(&job, process)?;
    let mut setup = Setup::read_beside_account(process, &job.place, &split, need)?;
    setup.account = account;
    let files = OutputFiles::check(&job.output, process, &setup.storage)?;
    setup.set_snapshot(job.session.snapshot);
    setup.untrusted_input = args.input.untrusted;
    setup.context_folders = args.input.folders(&process.folder);
    setup.output_schema = job.output_schema(&process.folder)?;
    setup.print_warnings(process, job.output.quiet);
    let expert = args.choose_expert(&mut setup, process)?;
    setup.print_unusable(process, job.output.quiet);
    let setup = setup.with_lock(job.lock, process, &job.place, job.output.quiet)?;
    if args.dry_run {
        let command = args.command(expert, sources.required()?);
        return dry_run::run(command, setup, process, &job);
    }
    let trust = trust::require_for_job(&setup, process, &job, std::slice::from_ref(&expert))?;
    let setup = setup.with_trust(trust, process, job.output.quiet);
    let input = sources.required()?;
    if let (true, Some(id), Some(_)) = (args.ensure, &args.job_id, &made) {
        restore::restore_to_go_on(&job.place, id, process, job.output.quiet)?;
    }
    let setup = setup.with_workspace(made, job.output.quiet);
    let live = args.live();
    job_runner::run(process, &job, setup, files, args.command(expert, input), &JobOrigin::Command(&live))
}

#[cfg(test)]
mod kept_flags;

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: RunArgs,
    }

    fn parse(line: &str) -> RunArgs {
        let matches = Alone::command().get_matches_from(["run"].into_iter().chain(line.split(' ')));
        Alone::from_arg_matches(&matches).unwrap().args
    }

    fn asked(line: &str) -> String {
        let input = QueryInput { query: "q".to_owned(), attached: Vec::new() };
        match parse(line).command("expert".parse().unwrap(), input) {
            JobCommand::Run(input) => format!("{input:?}"),
            JobCommand::Ensure(input) => format!("Ensure {input:?}"),
            JobCommand::Resume(input) => format!("{input:?}"),
            JobCommand::Answer(input) => format!("{input:?}"),
        }
    }

    #[test]
    fn the_originals_options_choose_the_checkpoint() {
        assert_eq!(
            asked("expert q --job-id j1"),
            r#"RunInput { expert: expert, query: "q", attached: [], job_id: Some(j1), run_id: None }"#
        );
        let resume = |from: &str, is_answer: bool| {
            format!(
                "ResumeInput {{ from: {from}, expert: Some(expert), query: Some(\"q\"), attached: [], \
                 is_answer: {is_answer} }}"
            )
        };
        assert!(asked("expert q --job-id j1 --ensure").starts_with("Ensure RunInput"));
        assert_eq!(asked("expert q --continue"), resume("Latest", false));
        assert_eq!(asked("expert q --continue --resume-from c1"), resume("LatestAt(c1)", false));
        assert_eq!(asked("expert q --continue-job j1"), resume("Job(j1)", false));
        assert_eq!(asked("expert q --continue-job j1 --resume-from c1 -i"), resume("Checkpoint(j1, c1)", true));
    }

    #[test]
    fn the_live_command_is_the_same_without_the_recorded_session() {
        let args = parse("expert why? - --file a --replay a.jsonl --replay-tools --model m -i --continue-job j1");
        assert_eq!(args.live().to_string(), "perstack run expert 'why?' - --file a --continue-job j1 -i --model m");
    }
}
