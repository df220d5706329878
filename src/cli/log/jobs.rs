//! The list of jobs: a table that fits the terminal, or JSON; and the selection of the jobs on it.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use console::{Alignment, measure_text_width, pad_str, truncate_str};
use perstack::hint::ErrorHint as _;
use perstack::id::JobId;
use perstack::job::JobStatus;
use perstack::runtime::history::{self, HistoryItem, JobEntry, JobIndex, JobState};
use perstack::store::{JobTimes, ShortIds};
use serde_json::{Map, Value, json};

use super::head::spent;
use super::local_time::LocalTime;
use super::options::Form;
use super::page::{Page, laid_out};
use super::selection::{Range, Word};
use crate::cli::Exit;
use crate::cli::render::{Paint, visible};

const HEAD: [&str; COLUMNS] = ["JOB", "AGE", "STATUS", "EXPERT", "QUERY", "STEPS", "COST"];
const COLUMNS: usize = 7;
const STATUS: usize = 2;
const EXPERT: usize = 3;
const QUERY: usize = 4;
const STEPS: usize = 5;
const COST: usize = 6;

/// Columns that are left out of a narrow terminal, the first one first.
const DISPENSABLE: [usize; 3] = [EXPERT, COST, STEPS];

/// Fewest columns of a query that say which job it is.
const MIN_QUERY: usize = 12;

/// Most columns of a query where nothing is cut.
const MAX_QUERY: usize = 80;

/// Most columns of an expert's key.
const MAX_EXPERT: usize = 20;

/// Columns from which on ages are written out.
const WIDE: usize = 70;

const GAP: &str = "  ";

/// The jobs to be listed.
pub struct JobList<'a> {
    storage: &'a Path,
    /// All jobs of the storage.
    index: &'a JobIndex,
    short: ShortIds<'a>,
    /// Those that meet the conditions.
    pub jobs: Vec<JobId>,
}

/// The conditions that a job on the list meets, all of them.
#[derive(Debug, Clone, Default)]
pub struct JobCriteria {
    /// Milliseconds since the epoch.
    pub since: Option<u64>,
    pub word: Option<Word>,
}

impl<'a> JobList<'a> {
    /// Selects the jobs of a storage that meet the conditions, the last started first.
    pub fn select(storage: &'a Path, index: &'a JobIndex, criteria: &JobCriteria) -> Self {
        let all = index.jobs();
        let is_recent = |job: &&JobTimes| {
            criteria.since.is_none_or(|since| job.started_at.is_some_and(|started_at| started_at >= since))
        };
        let is_about = |id: &JobId| criteria.word.as_ref().is_none_or(|word| is_about(index, &index.entry(id), word));
        let jobs = all.iter().filter(is_recent).map(|job| job.id.clone()).filter(is_about).collect();
        Self { storage, index, short: ShortIds::new(all.iter().map(|job| job.id.as_str())), jobs }
    }

    /// Reads the jobs of the list that `is_chosen` chooses.
    pub fn entries(&self, is_chosen: impl Fn(&JobId) -> bool) -> impl Iterator<Item = JobEntry> {
        self.jobs.iter().filter(move |id| is_chosen(id)).map(|id| self.index.entry(id))
    }

    /// Writes the jobs on the page. The exit code is 6 if a job could not be read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, range: Range, form: Form, page: &mut Page) -> io::Result<Exit> {
        let shown: Vec<JobEntry> = range.slice(&self.jobs).iter().map(|id| self.index.entry(id)).collect();
        match form {
            Form::Text => self.table(&shown, page)?,
            Form::Json | Form::PrettyJson => {
                let all: Vec<Value> = shown.iter().map(|entry| Value::Object(object(entry))).collect();
                page.raw(&(laid_out(&Value::Array(all), form)? + "\n"))?;
            }
        }
        let is_whole = shown.iter().all(|entry| entry.job.is_ok());
        Ok(if is_whole { Exit::Completed } else { Exit::Storage })
    }

    fn short(&self, id: &JobId) -> String {
        self.short.of(id.as_str()).to_owned()
    }

    fn table(&self, shown: &[JobEntry], page: &mut Page) -> io::Result<()> {
        let total = self.jobs.len();
        if shown.is_empty() {
            return match total {
                0 => page.line("No data found"),
                _ => page.line(&format!("({total} jobs available, use --offset to view)")),
            };
        }
        let rows = shown.iter().map(|entry| self.row(entry, page.local(), page.width()));
        let rows: Vec<JobRow> = std::iter::once(JobRow::head()).chain(rows).collect();
        for line in lines(&rows, page.width(), page.paint()) {
            page.line(&line)?;
        }
        for (entry, error) in shown.iter().filter_map(|entry| Some((entry, entry.job.as_ref().err()?))) {
            page.line(&format!("! {}: {}", entry.id, visible(&error.with_hint())))?;
        }
        if shown.len() < total {
            page.line(&format!("(showing {} of {total} jobs)", shown.len()))?;
        }
        Ok(())
    }

    /// Writes these jobs with what they take on the disk, in place of the cost.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_with_sizes(&self, jobs: &[JobEntry], sizes: &[String], page: &mut Page) -> io::Result<()> {
        let mut head = JobRow::head();
        "SIZE".clone_into(&mut head.cells[COST]);
        let rows = jobs.iter().zip(sizes).map(|(entry, size)| {
            let mut row = self.row(entry, page.local(), page.width());
            row.cells[COST].clone_from(size);
            row
        });
        let rows: Vec<JobRow> = std::iter::once(head).chain(rows).collect();
        lines(&rows, page.width(), page.paint()).iter().try_for_each(|line| page.line(line))
    }

    /// One job's row.
    fn row(&self, entry: &JobEntry, local: &LocalTime, width: Option<usize>) -> JobRow {
        let state = Some(entry.state);
        let (id, status) = (self.short(&entry.id), short_status(entry.state).to_owned());
        let Ok(job) = &entry.job else {
            let unknown = || "?".to_owned();
            return JobRow { cells: [id, unknown(), status, unknown(), unknown(), unknown(), unknown()], state };
        };
        let is_narrow = width.is_some_and(|width| width < WIDE);
        let age = if is_narrow { local.short_age(job.started_at) } else { local.age(job.started_at) };
        let query = history::query(self.storage, &entry.id).unwrap_or_default();
        let cells = [
            id,
            age,
            status,
            truncate_str(&visible(job.coordinator_expert_key.as_str()), MAX_EXPERT, "…").into_owned(),
            truncate_str(&visible(&query), MAX_QUERY, "…").into_owned(),
            job.total_steps.to_string(),
            spent(job.spend).unwrap_or_else(|| "-".to_owned()),
        ];
        JobRow { cells, state }
    }
}

/// A row of the table; without a state, its head.
struct JobRow {
    cells: [String; COLUMNS],
    state: Option<JobState>,
}

impl JobRow {
    fn head() -> Self {
        Self { cells: HEAD.map(str::to_owned), state: None }
    }
}

/// The rows as lines, with the columns that fit: the query is shortened, then others are left out.
fn lines(rows: &[JobRow], width: Option<usize>, paint: Paint) -> Vec<String> {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    let mut kept: Vec<usize> = (0..COLUMNS).collect();
    if let Some(width) = width {
        let room = |kept: &[usize]| {
            let others: usize = kept.iter().filter(|at| **at != QUERY).filter_map(|at| widths.get(*at)).sum();
            width.saturating_sub(others + GAP.len() * kept.len().saturating_sub(1))
        };
        for column in DISPENSABLE {
            if room(&kept) < MIN_QUERY {
                kept.retain(|at| *at != column);
            }
        }
        let room = room(&kept).max(1);
        if let Some(query) = widths.get_mut(QUERY) {
            *query = room.min(*query);
        }
    }
    rows.iter().map(|row| line(row, &kept, &widths, paint)).collect()
}

fn line(row: &JobRow, kept: &[usize], widths: &[usize; COLUMNS], paint: Paint) -> String {
    let cells = kept.iter().filter_map(|at| Some((*at, row.cells.get(*at)?, *widths.get(*at)?)));
    let cells = cells.map(|(at, cell, width)| {
        let side = if matches!(at, STEPS | COST) { Alignment::Right } else { Alignment::Left };
        let cell = pad_str(&truncate_str(cell, width, "…"), width, side, None).into_owned();
        match (row.state, at) {
            (Some(state), STATUS) => in_colour(state, &cell, paint),
            (None, _) => paint.dim(&cell),
            _ => cell,
        }
    });
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

fn in_colour(state: JobState, text: &str, paint: Paint) -> String {
    match state {
        JobState::Running(_) => paint.cyan(text),
        JobState::Stopped(JobStatus::Completed) => paint.green(text),
        JobState::Stopped(JobStatus::StoppedByError | JobStatus::StoppedByVerification) | JobState::Unknown => {
            paint.red(text)
        }
        JobState::Interrupted | JobState::Stopped(_) => paint.yellow(text),
    }
}

/// Returns true if the word is in the job's question, its expert's key or anything that was recorded of it.
fn is_about(index: &JobIndex, entry: &JobEntry, word: &Word) -> bool {
    let expert = entry.job.as_ref().map(|job| job.coordinator_expert_key.as_str()).unwrap_or_default();
    if word.is_in(expert) || word.is_in(entry.id.as_str()) {
        return true;
    }
    let Ok(record) = index.open(&entry.id) else { return false };
    let mut found = record.query().is_some_and(|query| word.is_in(&query));
    if !found {
        // A record that cannot be read whole is searched as far as it can.
        record.visit(None, &mut |item| match item {
            HistoryItem::Event(event) if word.is_in_event(&event) => {
                found = true;
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
    }
    found
}

/// The state of a job in a word or two.
pub fn short_status(state: JobState) -> &'static str {
    match state {
        JobState::Running(_) | JobState::Stopped(JobStatus::Running) => "running",
        JobState::Interrupted => "interrupted",
        JobState::Unknown => "unknown",
        JobState::Stopped(JobStatus::Completed) => "completed",
        JobState::Stopped(JobStatus::StoppedByMaxSteps) => "max steps",
        JobState::Stopped(JobStatus::StoppedByInteractiveTool) => "waiting",
        JobState::Stopped(JobStatus::StoppedByError) => "error",
        JobState::Stopped(JobStatus::StoppedByCancellation) => "cancelled",
        JobState::Stopped(JobStatus::StoppedByBudget) => "budget",
        JobState::Stopped(JobStatus::StoppedByVerification) => "not verified",
    }
}

/// The state of a job as JSON fields: `standing`, and `pid` of a running one.
pub fn state_fields(standing: JobState) -> Map<String, Value> {
    let (name, pid) = match standing {
        JobState::Running(holder) => ("running", holder.pid),
        JobState::Interrupted => ("interrupted", None),
        JobState::Stopped(_) => ("stopped", None),
        JobState::Unknown => ("unknown", None),
    };
    let mut fields = Map::from_iter([("standing".to_owned(), json!(name))]);
    fields.extend(pid.map(|pid| ("pid".to_owned(), json!(pid))));
    fields
}

fn object(entry: &JobEntry) -> Map<String, Value> {
    let mut object = match entry.job.as_ref().map(serde_json::to_value) {
        Ok(Ok(Value::Object(job))) => job,
        Ok(_) => Map::new(),
        Err(error) => {
            Map::from_iter([("id".to_owned(), json!(entry.id)), ("error".to_owned(), json!(error.with_hint()))])
        }
    };
    object.extend(state_fields(entry.state));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(query: &str) -> JobRow {
        let cells = ["5d2f5c3b", "5 min ago", "completed", "librarian", query, "3", "$0.0018"];
        JobRow { cells: cells.map(str::to_owned), state: Some(JobState::Stopped(JobStatus::Completed)) }
    }

    fn shown(width: Option<usize>) -> Vec<String> {
        lines(&[JobRow::head(), row("Which owls hunt at night in the woods?")], width, Paint::plain())
    }

    #[test]
    fn the_query_is_shortened_and_then_columns_are_left_out() {
        assert_eq!(
            shown(None),
            [
                "JOB       AGE        STATUS     EXPERT     QUERY                                   STEPS     COST",
                "5d2f5c3b  5 min ago  completed  librarian  Which owls hunt at night in the woods?      3  $0.0018",
            ]
        );
        let fitted = "5d2f5c3b  5 min ago  completed  librarian  Which owls hunt at n…      3  $0.0018";
        assert_eq!(shown(Some(80))[1], fitted);
        assert_eq!(shown(Some(60))[1], "5d2f5c3b  5 min ago  completed  Which owls …      3  $0.0018");
        assert_eq!(shown(Some(45))[1], "5d2f5c3b  5 min ago  completed  Which owls h…");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 45..120 {
            assert!(shown(Some(width)).iter().all(|line| measure_text_width(line) <= width), "{width}");
        }
    }
}
