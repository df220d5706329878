//! `perstack log`: the recorded history of jobs.
//!
//! The library reads the events; this module selects and prints them. Text is made by reading the record twice, because
//! the lines above the events count all of them; JSON is written in one reading.

mod selection;
mod event_text;
mod expression;
mod jobs;
mod json;
mod page;
mod step_filter;
mod summary;
mod text;

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use perstack::event::{Detail, TYPES};
use perstack::hint::ErrorHint as _;
use perstack::id::RunId;
use perstack::runtime::history::{self, JobLog, JobSelector, ReadProblem, ReadProblemKind};
use perstack::store::CheckpointEntry;

use self::page::Page;
use self::selection::{Chooser, Criteria, EventGroup, Range};
use super::failure::Failure;
use super::options::ONCE_KNOWN_TYPES;
use super::render::Paint;
use super::setup::{storage_folder, warn};
use super::{Exit, Process};

/// Events on a page without `--take` (the original's number).
const DEFAULT_TAKE: u64 = 100;

/// Most events around each shown one: they are held in memory until it is known whether they are shown.
const MAX_CONTEXT: u64 = 10_000;

const AFTER_HELP: &str = "\
Filters combine with AND; --offset and --take count what they leave. Filter expressions:
  .stepNumber >= 3        .error.name == \"provider\"        .toolCalls[].toolName == exec
  == and != compare booleans, numbers and texts strictly, < <= > >= numbers only; a field that
  is missing never matches; [] means any element.

A running job is shown up to its last record, without waiting. Records that cannot be read are
named on stderr, all others are shown, and the exit code is 6. Facts written by a newer perstack
are skipped with a warning.

Examples:
  perstack log
  perstack log --jobs
  perstack log 01a20244 --steps
  perstack log latest --errors --context 3
  perstack log --filter '.toolCalls[].toolName == exec' --json --pretty";

/// Shows the history of jobs: runs, steps, calls, events
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct LogArgs {
    /// A job's id, the beginning of one, or `latest`; without it, the job that ran last
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Same as JOB
    #[arg(long = "job", value_name = "ID", conflicts_with = "job")]
    named_job: Option<String>,
    /// All jobs, the last started first
    #[arg(long, visible_alias = "list", conflicts_with_all = ["job", "named_job", "run", "checkpoint", "ChoiceArgs", "ViewArgs"])]
    jobs: bool,
    /// Only this run (its id or the beginning of it)
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// This checkpoint (its id or the beginning of it) and its run
    #[arg(long, value_name = "ID", conflicts_with = "run")]
    checkpoint: Option<String>,
    /// With --checkpoint: its messages
    #[arg(long, requires = "checkpoint")]
    messages: bool,
    #[command(flatten, next_help_heading = "Choice")]
    choice: ChoiceArgs,
    #[command(flatten, next_help_heading = "Page")]
    page: PageArgs,
    #[command(flatten, next_help_heading = "Output")]
    view: ViewArgs,
    #[command(flatten)]
    form: FormArgs,
    /// Folder that jobs are stored in [default: perstack]
    #[arg(long, value_name = "PATH")]
    storage: Option<PathBuf>,
}

/// The options that select events.
#[derive(Debug, Args)]
struct ChoiceArgs {
    /// Steps: 5, >5, >=5, <5, <=5 or 1-10
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Events of this type
    #[arg(long, value_name = "TYPE", value_parser = types(), hide_possible_values = true)]
    r#type: Option<String>,
    /// stopRunByError and retry
    #[arg(long)]
    errors: bool,
    /// callTools, resolveToolResults and callInteractiveTool
    #[arg(long)]
    tools: bool,
    /// callDelegate and stopRunByDelegate
    #[arg(long)]
    delegations: bool,
    /// Events whose JSON matches `.path OP value`
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
}

/// The options of paging.
#[derive(Debug, Args)]
struct PageArgs {
    /// At most this many; 0 for all [default: 100]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    take: Option<String>,
    /// Skip this many first [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    offset: Option<String>,
    /// Also this many events before and after each match
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    context: Option<String>,
}

/// The options of the view.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct ViewArgs {
    /// Steps with their calls, instead of events
    #[arg(long, conflicts_with_all = ["type", "errors", "tools", "delegations", "filter", "context", "summary"])]
    steps: bool,
    /// Counts of what is shown
    #[arg(long)]
    summary: bool,
    /// Arguments of calls in full
    #[arg(long, short)]
    verbose: bool,
    /// In JSON: every event with its whole messages and checkpoints
    #[arg(long)]
    full_events: bool,
}

/// The options of the output form.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct FormArgs {
    /// One JSON object (with --jobs, an array)
    #[arg(long)]
    json: bool,
    /// The same, indented
    #[arg(long)]
    pretty: bool,
}

/// The form of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    /// On one line.
    Json,
    PrettyJson,
}

impl FormArgs {
    fn form(self) -> Form {
        match self {
            Self { pretty: true, .. } => Form::PrettyJson,
            Self { json: true, .. } => Form::Json,
            Self { .. } => Form::Text,
        }
    }
}

fn types() -> PossibleValuesParser {
    PossibleValuesParser::new(TYPES.iter().copied().chain(ONCE_KNOWN_TYPES))
}

/// Events or steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Events,
    Steps,
}

/// A request to show one record.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct LogRequest {
    pub criteria: Criteria,
    pub range: Range,
    pub unit: Unit,
    /// Only this Run.
    pub run: Option<RunId>,
    pub checkpoint: Option<CheckpointEntry>,
    /// The storage that was named.
    pub storage: Option<PathBuf>,
    /// To be listed.
    pub checkpoints: Vec<CheckpointEntry>,
    /// No job was named.
    pub is_default: bool,
    pub shows_messages: bool,
    pub shows_summary: bool,
    pub shows_arguments: bool,
    pub detail: Detail,
}

/// Runs the command.
pub fn run(args: &LogArgs, process: &Process) -> Result<Exit, Failure> {
    let storage = storage_folder(process, args.storage.as_deref(), false)?;
    let range = args.page.range()?;
    let mut page = Page::stdout(process);
    let form = args.form.form();
    if args.jobs {
        let exit = jobs::write(&history::jobs(&storage)?, range, form, &mut page);
        return page.close(exit);
    }
    let criteria = args.choice.criteria(args.view.steps)?;
    let named = args.job.as_deref().or(args.named_job.as_deref());
    let which = named.filter(|name| *name != "latest").map_or(JobSelector::Latest, JobSelector::Named);
    let Some(record) = history::open(&storage, which)? else {
        let written = match form {
            Form::Text => page.line("No data found"),
            Form::Json | Form::PrettyJson => json::write_nothing(&storage, form, &mut page),
        };
        return page.close(written.map(|()| Exit::Completed));
    };
    let checkpoint = args.checkpoint.as_deref().map(|name| record.find_checkpoint(name)).transpose()?;
    let run = match &checkpoint {
        Some(checkpoint) => checkpoint.run.clone(),
        None => args.run.as_deref().map(|name| record.find_run(name)).transpose()?.map(|run| run.id.clone()),
    };
    let lists_checkpoints = form != Form::Text && named.is_some() && run.is_none();
    let request = LogRequest {
        criteria,
        range,
        unit: if args.view.steps { Unit::Steps } else { Unit::Events },
        run,
        checkpoint,
        storage: args.storage.clone(),
        checkpoints: if lists_checkpoints { record.checkpoints()? } else { Vec::new() },
        is_default: named.is_none(),
        shows_messages: args.messages,
        shows_summary: args.view.summary,
        shows_arguments: args.view.verbose,
        detail: if args.view.full_events { Detail::Full } else { Detail::New },
    };
    let mut problems = Vec::new();
    let written = match form {
        Form::Text => text::write(&record, &request, &mut page, &mut problems),
        Form::Json | Form::PrettyJson => json::write(&record, &request, form, &mut page, &mut problems),
    };
    let exit = page.close(written.map(|()| Exit::Completed))?;
    Ok(report_problems(&record, problems, process).unwrap_or(exit))
}

/// Prints the problems of reading; returns the exit code they lead to, if any.
fn report_problems(record: &JobLog, problems: Vec<ReadProblem>, process: &Process) -> Option<Exit> {
    let paint = Paint::of_stderr(process);
    let (mut unknown, mut first_unknown, mut exit) = (0, None, None);
    if let Err(error) = &record.entry().job {
        Failure::usage(anyhow::anyhow!("{}", error.with_hint())).print(paint);
        exit = Some(Exit::Storage);
    }
    for problem in problems {
        match problem.kind {
            ReadProblemKind::Unknown { facts, first } => {
                unknown += facts;
                first_unknown.get_or_insert(first);
            }
            ReadProblemKind::Broken(error) => {
                let shown = format!("this is in run {}; the records before it and other runs are shown", problem.run);
                let help = error.hint().into_iter().chain([shown.into()]).collect::<Vec<_>>().join("; ");
                Failure::from(error).help(help).print(paint);
                exit = Some(Exit::Storage);
            }
        }
    }
    if let Some(first) = first_unknown {
        warn(process, false, &format!("{unknown} facts were skipped: {}", first.with_hint()));
    }
    exit
}

impl ChoiceArgs {
    fn criteria(&self, steps: bool) -> Result<Criteria, Failure> {
        let groups = [
            (self.errors, EventGroup::Errors),
            (self.tools, EventGroup::Tools),
            (self.delegations, EventGroup::Delegations),
        ];
        Ok(Criteria {
            step: self.step.as_deref().map(str::parse).transpose().map_err(Failure::usage)?,
            kind: self.r#type.clone(),
            groups: groups.into_iter().filter(|(given, _)| *given).map(|(_, group)| group).collect(),
            expression: self.filter.as_deref().map(str::parse).transpose().map_err(Failure::usage)?,
            ends_step: steps,
        })
    }
}

impl PageArgs {
    fn range(&self) -> Result<Range, Failure> {
        let take = number("--take", self.take.as_deref(), u64::MAX)?.unwrap_or(DEFAULT_TAKE);
        let offset = number("--offset", self.offset.as_deref(), u64::MAX)?.unwrap_or(0);
        let context = number("--context", self.context.as_deref(), MAX_CONTEXT)?.unwrap_or(0);
        Ok(Range { take: (take > 0).then_some(take), offset, context: usize::try_from(context).unwrap_or(usize::MAX) })
    }
}

/// The value of a flag that takes a number up to `most`; the errors have the original's wording.
fn number(flag: &str, given: Option<&str>, most: u64) -> Result<Option<u64>, Failure> {
    let Some(text) = given else { return Ok(None) };
    let wrong = match text.parse::<u64>() {
        Ok(number) if number <= most => return Ok(Some(number)),
        Ok(_) => format!("must be at most {most}"),
        Err(_) if text.strip_prefix('-').is_some_and(|rest| rest.parse::<u64>().is_ok()) => {
            "must be non-negative".to_owned()
        }
        Err(_) => "is not a valid number".to_owned(),
    };
    Err(Failure::usage(anyhow::anyhow!("Invalid value for {flag}: {text:?} {wrong}")))
}

/// A chooser for what a request asks for.
pub fn chooser<T>(request: &LogRequest) -> Chooser<'_, T> {
    Chooser::new(&request.criteria, request.range)
}

/// Continues reading unless writing failed.
pub fn flow(written: &std::io::Result<()>) -> ControlFlow<()> {
    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_refused_with_the_originals_wording() {
        let wrong = |text| number("--take", Some(text), 100).err().map(|failure| failure.line());
        assert_eq!(wrong("x").as_deref(), Some("Invalid value for --take: \"x\" is not a valid number"));
        assert_eq!(wrong("-1").as_deref(), Some("Invalid value for --take: \"-1\" must be non-negative"));
        assert_eq!(wrong("101").as_deref(), Some("Invalid value for --take: \"101\" must be at most 100"));
        assert_eq!(number("--take", Some("100"), 100).ok(), Some(Some(100)));
    }
}
