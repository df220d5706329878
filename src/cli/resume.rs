//! `perstack resume`: a job goes on from a checkpoint.

use clap::Args;
use perstack::id::CheckpointId;
use perstack::runtime::{AnswerInput, ResumeFrom, ResumeInput};

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
use super::setup::{ProjectNeed, Setup};
use super::workspace_from::MadeWorkspace;
use super::{Exit, Process, trust};

const EXAMPLES: &str = "\
Examples:
  perstack resume
  perstack resume 0244ac3f \"Look at the bees too.\"
  perstack resume latest \"The night owl.\" -i
  perstack resume latest \"And this one?\" --file owl.png
  perstack resume ./checkpoint-2-01a20244-7d8b-7008-bd08-3365e99a00b3.json --max-steps 20";

/// Continues a job from a checkpoint
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", super::after_help()))]
pub struct ResumeArgs {
    /// A checkpoint's file, the id of a checkpoint, a run or a job, a beginning or an end that one of them alone has, or
    /// `latest`
    #[arg(default_value = "latest", add = candidates::resumable())]
    checkpoint: String,
    /// A further message, or the answer the job waits for; read from stdin when it is `-`. What is piped in beside a
    /// message is sent behind it
    query: Option<String>,
    /// Send standard input behind the query, however long it takes
    #[arg(value_name = "-", value_parser = ["-"], hide_possible_values = true)]
    with_stdin: Option<String>,
    #[command(flatten)]
    input: InputArgs,
    /// The query is the answer to an interactive call, and is sent as it is
    #[arg(long, short, requires = "query")]
    interactive_tool_call_result: bool,
    /// The query answers the question of this checkpoint of the job, whose id comes first. It counts once: a job that has gone
    /// on from there is brought to its end without it. For supervisors that try again
    #[arg(long, value_name = "CHECKPOINT", requires = "query")]
    answer_to: Option<CheckpointId>,
    /// First bring the workspace back to the checkpoint's snapshot; what it holds now is kept as another one
    #[arg(long, conflicts_with_all = ["replay", "dry_run"])]
    restore: bool,
    /// Show what would be sent, and send nothing: instruction, files, skills, tools, limits, with estimated tokens. No process
    /// is started and nothing is written; with --output json, as one JSON object
    #[arg(long, conflicts_with_all = ["record", "replay", "learn", "output_file", "summary_file", "json", "filter",
          "full_events", "workspace_from"])]
    dry_run: bool,
    #[command(flatten)]
    job: JobArgs,
}

impl ResumeArgs {
    fn command(&self, sent: Option<QueryInput>) -> Result<JobCommand, Failure> {
        let (query, attached) = sent.map_or((None, Vec::new()), |input| (Some(input.query), input.attached));
        if let Some(checkpoint) = self.answer_to.clone() {
            let job = self.checkpoint.parse().map_err(Failure::usage)?;
            let answer = query.unwrap_or_default();
            return Ok(JobCommand::Answer(AnswerInput { job, checkpoint, answer, attached }));
        }
        Ok(JobCommand::Resume(ResumeInput {
            from: ResumeFrom::Named(self.checkpoint.clone()),
            expert: None,
            query,
            attached,
            is_answer: self.is_answer(),
        }))
    }

    /// Returns whether the query is an answer, and no message.
    fn is_answer(&self) -> bool {
        self.interactive_tool_call_result || self.answer_to.is_some()
    }

    /// The same command without its recorded session.
    fn live(&self) -> CommandLine {
        let mut words = CommandLine::new(["perstack", "resume", &self.checkpoint]);
        if let Some(query) = &self.query {
            words.word(query);
        }
        if let Some(stdin) = &self.with_stdin {
            words.word(stdin);
        }
        self.input.add_to(&mut words);
        words.switch("-i", self.interactive_tool_call_result).value("--answer-to", self.answer_to.as_ref());
        self.job.add_to(&mut words);
        words
    }
}

/// Runs the command.
pub fn run(args: &ResumeArgs, process: &Process) -> Result<Exit, Failure> {
    args.job.output.format()?;
    let (job, made) = MadeWorkspace::make(&args.job, process)?;
    // A job of --instruction needs no configuration.
    let (account, split) = SplitLimits::of_job(&job, process)?;
    let mut setup = Setup::read_beside_account(process, &job.place, &split, ProjectNeed::IfFound)?;
    setup.account = account;
    let files = OutputFiles::check(&job.output, process, &setup.storage)?;
    if let Some(instruction) = &job.instruction {
        setup.add_own_expert(instruction)?;
    }
    setup.set_snapshot(job.session.snapshot);
    setup.untrusted_input = args.input.untrusted;
    setup.context_folders = args.input.folders(&process.folder);
    setup.output_schema = job.output_schema(&process.folder)?;
    setup.print_warnings(process, job.output.quiet);
    let setup = setup.with_lock(job.lock, process, &job.place, job.output.quiet)?;
    let sources = InputSources {
        query: args.query.as_deref(),
        with_stdin: args.with_stdin.is_some(),
        is_answer: args.is_answer(),
        args: &args.input,
        folder: &process.folder,
        quiet: job.output.quiet,
    };
    if args.dry_run {
        return dry_run::run(args.command(sources.optional()?)?, setup, process, &job);
    }
    // The checkpoint's expert is not known yet, so all of them count.
    let experts: Vec<_> = setup.project.iter().flat_map(|project| project.experts.keys().cloned()).collect();
    let trust = trust::require_for_job(&setup, process, &job, &experts)?;
    let setup = setup.with_trust(trust, process, job.output.quiet);
    let sent = sources.optional()?;
    if args.restore {
        if args.answer_to.is_some() {
            let id = args.checkpoint.parse().map_err(Failure::usage)?;
            restore::restore_to_go_on(&job.place, &id, process, job.output.quiet)?;
        } else {
            restore::restore_for_resume(&job.place, &args.checkpoint, process, job.output.quiet)?;
        }
    }
    let setup = setup.with_workspace(made, job.output.quiet);
    job_runner::run(process, &job, setup, files, args.command(sent)?, &JobOrigin::Command(&args.live()))
}
