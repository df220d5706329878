//! `perstack log`: the recorded history of jobs.
//!
//! The library reads the events; this module selects and prints them. The lines of text above the events count all of
//! them, so that a page of text is kept until all are read, and one too long for that is read again; JSON is written in
//! one reading.

mod event_text;
mod expression;
mod follow;
pub mod head;
pub mod jobs;
mod json;
pub mod local_time;
pub mod options;
mod overview;
pub mod page;
mod pager;
mod report;
mod selection;
mod step_filter;
pub mod step_text;
mod summary;
mod text;
pub mod tree;
pub mod values;
mod wrap;

use std::ops::ControlFlow;
use std::path::Path;

use clap::Args;
use perstack::event::Detail;
use perstack::hint::ErrorHint as _;
use perstack::id::RunId;
use perstack::runtime::history::{self, JobIndex, JobLog, JobSelector, ReadProblem, ReadProblemKind};
use perstack::store::CheckpointEntry;

use self::head::WayPlaces;
use self::jobs::{JobCriteria, JobList};
use self::options::{ChoiceArgs, Form, FormArgs, NarrowArgs, PageArgs, RecordsArgs, ViewArgs, number};
use self::page::Page;
use self::report::ReportArgs;
use self::selection::{Chooser, Criteria, Range, Word};
use super::completions::candidates;
use super::failure::Failure;
use super::owners::OwnerCheck;
use super::places::{Places, ProjectNeed};
use super::render::{Paint, visible_lines};
use super::setup::{open_storage, warn};
use super::{Exit, Process};

const AFTER_HELP: &str = "\
Without a job: the recent jobs, and the latest one's answer in brief. With an option that looks
into a job: the latest. With JOB alone: its runs as a tree with their costs, its answer, the way
on. With --step alone: the step whole, its messages, calls, arguments, results.

JOB, --run and --checkpoint take an id, or a beginning or an end of it that no other has; jobs
and runs are shown by such an end.

Filters combine with AND; --offset, --take and --last count what they leave. Filter expressions:
  .stepNumber >= 3        .error.name == \"provider\"        .toolCalls[].toolName == exec
  == and != compare booleans, numbers and texts strictly, < <= > >= numbers only; a field that
  is missing never matches; [] means any element.
TIME is an age such as 90m, 12h, 2d or 3w, or a local date such as 2026-02-13 or
2026-02-13T16:30. Times are shown in the zone of the system.

A running job is shown up to its last record, without waiting; --follow goes on until it ends.
Records that cannot be read are named on stderr, all others are shown, and the exit code is 6.
Facts written by a newer perstack are skipped with a warning.

On a terminal, what is longer than the screen goes through PERSTACK_PAGER or PAGER, else less.

Examples:
  perstack log
  perstack log 0244ac3f
  perstack log 0244ac3f --step 2
  perstack log --text
  perstack log 0244ac3f --html job.html
  perstack log latest --markdown >>\"$GITHUB_STEP_SUMMARY\"
  perstack log --since 2d --grep owl
  perstack log latest --errors --context 3
  perstack log --filter '.toolCalls[].toolName == exec' --json --pretty";

/// Shows recent jobs, or one: runs, steps, calls, events
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct LogArgs {
    /// A job's id, a beginning or an end of it, or `latest`; without it, the recent jobs or the latest one
    #[arg(value_name = "JOB", add = candidates::jobs())]
    job: Option<String>,
    /// Same as JOB
    #[arg(long = "job", value_name = "ID", conflicts_with = "job", add = candidates::jobs())]
    named_job: Option<String>,
    /// All jobs, the last started first
    #[arg(long, visible_alias = "list", conflicts_with_all = ["job", "named_job", "run", "checkpoint", "ChoiceArgs", "ViewArgs"])]
    jobs: bool,
    /// Only this run
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// This checkpoint and its run
    #[arg(long, value_name = "ID", conflicts_with = "run", add = candidates::checkpoints())]
    checkpoint: Option<String>,
    /// With --checkpoint: its messages
    #[arg(long, requires = "checkpoint")]
    messages: bool,
    #[command(flatten, next_help_heading = "Choice")]
    choice: ChoiceArgs,
    #[command(flatten)]
    narrow: NarrowArgs,
    #[command(flatten, next_help_heading = "Page")]
    page: PageArgs,
    #[command(flatten, next_help_heading = "Output")]
    view: ViewArgs,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    records: RecordsArgs,
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
    /// Of the tree; `None` for all.
    pub most_runs: Option<u64>,
    pub unit: Unit,
    /// Only this Run.
    pub run: Option<RunId>,
    pub checkpoint: Option<CheckpointEntry>,
    pub places: WayPlaces,
    /// To be listed.
    pub checkpoints: Vec<CheckpointEntry>,
    /// No job was named.
    pub is_default: bool,
    pub shows_messages: bool,
    pub shows_summary: bool,
    pub shows_arguments: bool,
    pub detail: Detail,
}

/// The view that the options ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogView {
    /// All jobs.
    Jobs,
    /// Recent jobs.
    Recent,
    /// One job at a glance.
    Overview,
    /// Its answer.
    Text,
    /// Steps whole.
    Steps,
    /// Events as they come.
    Follow,
    /// Events, steps, a checkpoint.
    Record,
}

impl LogArgs {
    fn named(&self) -> Option<&str> {
        self.job.as_deref().or(self.named_job.as_deref())
    }

    fn view(&self) -> LogView {
        let has_narrowing = self.narrow.since.is_some() || self.narrow.grep.is_some() || self.narrow.last.is_some();
        let looks_into = self.run.is_some()
            || self.checkpoint.is_some()
            || self.choice.is_any()
            || self.page.is_any()
            || self.view.is_any()
            || self.report.is_any()
            || self.form.form() != Form::Text;
        let is_step_alone = self.choice.is_step_alone()
            && self.form.form() == Form::Text
            && self.checkpoint.is_none()
            && !has_narrowing
            && !self.page.is_any()
            && !self.view.is_any();
        match self.named() {
            _ if self.jobs => LogView::Jobs,
            _ if self.view.text => LogView::Text,
            _ if self.view.follow => LogView::Follow,
            _ if is_step_alone => LogView::Steps,
            None if !looks_into => LogView::Recent,
            Some(_) if !looks_into && !has_narrowing => LogView::Overview,
            _ => LogView::Record,
        }
    }
}

/// Runs the command.
pub fn run(args: &LogArgs, process: &Process) -> Result<Exit, Failure> {
    let opened = open_storage(process, args.records.storage.as_deref(), &OwnerCheck::without_flag(process))?;
    let places = args.way_places(process);
    let view = args.view();
    let is_direct =
        args.records.no_pager || args.report.is_any() || view == LogView::Follow || args.form.form() != Form::Text;
    let mut page = if is_direct { Page::stdout(process) } else { Page::paged(process) };
    let form = args.form.form();
    let range = args.page.range()?;
    let last = number("--last", args.narrow.last.as_deref(), u64::MAX)?;
    let criteria = args.criteria(&page)?;
    let is_list = matches!(view, LogView::Jobs | LogView::Recent);
    opened.fetch(args.named().filter(|_| !is_list))?;
    let storage = &opened.folder;
    if is_list {
        return list_jobs(args, view, (storage, places), (criteria, range, last), page);
    }
    let which = args.named().filter(|name| *name != "latest").map_or(JobSelector::Latest, JobSelector::Named);
    let Some(record) = history::open(storage, which)? else {
        let written = match form {
            Form::Text => page.line("No data found"),
            Form::Json | Form::PrettyJson => json::write_nothing(storage, form, &mut page),
        };
        return page.close(written.map(|()| Exit::Completed));
    };
    if args.report.is_any() {
        let mut problems = Vec::new();
        let exit = report::write(&args.report, &record, &places, page, process, &mut problems)?;
        return Ok(report_problems(&record, problems, process).unwrap_or(exit));
    }
    if view == LogView::Text {
        return write_answer(&record, &places, page);
    }
    let mut request = args.request(&record, places, criteria, range)?;
    let mut problems = Vec::new();
    let mut count = None;
    if let Some(last) = last {
        request.range = Range { take: None, ..range };
        let counted = text::EventCount::read(&record, &request, Some(last));
        request.range = range.last(last, counted.matched);
        // The summary is one of the events shown.
        count = Some(counted).filter(|_| !request.shows_summary);
    }
    let written = match (view, form) {
        (LogView::Follow, _) => follow::write(&record, &request, &opened, form, &mut page, &mut problems)?,
        (LogView::Overview, _) => overview::write_job(&record, &request, &mut page, &mut problems),
        (LogView::Steps, _) => step_text::write(&record, &request, &mut page, &mut problems),
        (_, Form::Text) => text::write(&record, &request, count, &mut page, &mut problems),
        (_, Form::Json | Form::PrettyJson) => json::write(&record, &request, form, &mut page, &mut problems),
    };
    let exit = page.close(written.map(|()| Exit::Completed))?;
    Ok(report_problems(&record, problems, process).unwrap_or(exit))
}

/// Shows all jobs or the recent ones.
fn list_jobs(
    args: &LogArgs,
    view: LogView,
    (storage, places): (&Path, WayPlaces),
    (criteria, range, last): (Criteria, Range, Option<u64>),
    mut page: Page,
) -> Result<Exit, Failure> {
    let is_narrowed = criteria.since.is_some() || criteria.word.is_some();
    let index = JobIndex::read(storage)?;
    let jobs = JobList::select(storage, &index, &JobCriteria { since: criteria.since, word: criteria.word.clone() });
    if view == LogView::Jobs {
        let range = last.map_or(range, |last| Range { take: Some(last), offset: 0, ..range });
        let exit = jobs.write(range, args.form.form(), &mut page);
        return page.close(exit);
    }
    let latest = if is_narrowed { None } else { index.open_latest()? };
    let request = LogRequest {
        criteria,
        range: overview::recent_page(last),
        most_runs: None,
        unit: Unit::Events,
        run: None,
        checkpoint: None,
        places,
        checkpoints: Vec::new(),
        is_default: true,
        shows_messages: false,
        shows_summary: false,
        shows_arguments: false,
        detail: Detail::New,
    };
    let exit = overview::write_recent(&jobs, latest.as_ref(), &request, &mut page);
    page.close(exit)
}

/// Writes the answer of a job that has completed, as it was printed when it did.
fn write_answer(record: &JobLog, places: &WayPlaces, mut page: Page) -> Result<Exit, Failure> {
    let Some(text) = record.latest().and_then(|latest| latest.text()) else {
        let state = head::status(record.entry().state);
        let failure = Failure::other(anyhow::anyhow!("job {} has no answer: {state}", record.id()));
        let on = head::way_on(record, || record.latest().map(|latest| latest.head), places);
        return Err(match on {
            Some(head::WayOn { command, .. }) => failure.help(command.to_string()),
            None => failure,
        });
    };
    let text = if page.is_terminal() { visible_lines(&text).join("\n") } else { text };
    let written = page.whole_line(text.strip_suffix('\n').unwrap_or(&text));
    page.close(written.map(|()| Exit::Completed))
}

impl LogArgs {
    /// The places that the ways on depend on.
    fn way_places(&self, process: &Process) -> WayPlaces {
        let owners = OwnerCheck::without_flag(process);
        let found = Places::find(process, None, ProjectNeed::IfFound).ok();
        let config = found.and_then(|places| {
            let is_named = places.is_named();
            places.config.filter(|path| is_named || owners.trusts_path(path))
        });
        WayPlaces { storage: self.records.storage.clone(), config }
    }

    /// The conditions on events or jobs.
    fn criteria(&self, page: &Page) -> Result<Criteria, Failure> {
        let since = self.narrow.since.as_deref().map(|text| page.local().moment(text)).transpose();
        Ok(Criteria {
            since: since.map_err(Failure::usage)?,
            word: self.narrow.grep.as_deref().map(Word::new),
            ..self.choice.criteria(self.view.steps)?
        })
    }

    fn request(
        &self,
        record: &JobLog,
        places: WayPlaces,
        criteria: Criteria,
        range: Range,
    ) -> Result<LogRequest, Failure> {
        let checkpoint = self.checkpoint.as_deref().map(|name| record.find_checkpoint(name)).transpose()?;
        let run = match &checkpoint {
            Some(checkpoint) => checkpoint.run.clone(),
            None => self.run.as_deref().map(|name| record.find_run(name)).transpose()?.map(|run| run.id.clone()),
        };
        let lists_checkpoints = self.form.form() != Form::Text && self.named().is_some() && run.is_none();
        Ok(LogRequest {
            criteria,
            range,
            most_runs: range.take,
            unit: if self.view.steps { Unit::Steps } else { Unit::Events },
            run,
            checkpoint,
            places,
            checkpoints: if lists_checkpoints { record.checkpoints()? } else { Vec::new() },
            is_default: self.named().is_none(),
            shows_messages: self.messages,
            shows_summary: self.view.summary,
            shows_arguments: self.view.verbose,
            detail: if self.view.full_events { Detail::Full } else { Detail::New },
        })
    }
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

/// A chooser for what a request asks for.
pub fn chooser<T>(request: &LogRequest) -> Chooser<'_, T> {
    Chooser::new(&request.criteria, request.range)
}

/// Continues reading unless writing failed.
pub fn flow(written: &std::io::Result<()>) -> ControlFlow<()> {
    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}
