//! `--jobs`: the list of all jobs.

use std::io;

use console::{Alignment, measure_text_width, pad_str};
use perstack::fact::Clock;
use perstack::hint::ErrorHint as _;
use perstack::job::JobStatus;
use perstack::runtime::SystemClock;
use perstack::runtime::history::{JobEntry, JobState};
use serde_json::{Map, Value, json};

use super::Form;

use super::page::{Page, laid_out};
use super::selection::Range;
use crate::cli::Exit;
use crate::cli::render::{count, duration, visible};

const HEAD: [&str; 7] = ["JOB", "STATUS", "EXPERT", "STEPS", "TOKENS", "STARTED", "DURATION"];

/// Writes the jobs on the page. The exit code is 6 if a job could not be read.
///
/// # Errors
/// When it cannot be written.
pub fn write(jobs: &[JobEntry], range: Range, form: Form, page: &mut Page) -> io::Result<Exit> {
    let shown = range.slice(jobs);
    match form {
        Form::Text => table(shown, jobs.len(), page)?,
        Form::Json | Form::PrettyJson => {
            let all: Vec<Value> = shown.iter().map(|entry| Value::Object(object(entry))).collect();
            page.raw(&(laid_out(&Value::Array(all), form)? + "\n"))?;
        }
    }
    let is_whole = shown.iter().all(|entry| entry.job.is_ok());
    Ok(if is_whole { Exit::Completed } else { Exit::Storage })
}

fn table(shown: &[JobEntry], total: usize, page: &mut Page) -> io::Result<()> {
    if shown.is_empty() {
        return match total {
            0 => page.line("No data found"),
            _ => page.line(&format!("({total} jobs available, use --offset to view)")),
        };
    }
    let rows: Vec<[String; 7]> = std::iter::once(HEAD.map(str::to_owned)).chain(shown.iter().map(row)).collect();
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = measure_text_width(cell).max(*width);
        }
    }
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| pad_str(cell, width, Alignment::Left, None));
        page.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    for (entry, error) in shown.iter().filter_map(|entry| Some((entry, entry.job.as_ref().err()?))) {
        page.line(&format!("! {}: {}", entry.id, visible(&error.with_hint())))?;
    }
    if shown.len() < total {
        page.line(&format!("(showing {} of {total} jobs)", shown.len()))?;
    }
    Ok(())
}

fn row(entry: &JobEntry) -> [String; 7] {
    let (id, status) = (entry.id.to_string(), status(entry.state));
    let Ok(job) = &entry.job else {
        let unknown = || "?".to_owned();
        return [id, status, unknown(), unknown(), unknown(), unknown(), unknown()];
    };
    let end = match entry.state {
        JobState::Running(_) => Some(SystemClock.stamp().at),
        _ => job.finished_at,
    };
    [
        id,
        status,
        visible(job.coordinator_expert_key.as_str()),
        job.total_steps.to_string(),
        count(job.usage.total_tokens),
        super::event_text::date(job.started_at),
        end.map_or_else(|| "-".to_owned(), |end| duration(end.saturating_sub(job.started_at))),
    ]
}

/// The state of a job as text; of a stopped one, the original's name.
pub fn status(standing: JobState) -> String {
    match standing {
        JobState::Running(holder) => match holder.pid {
            Some(pid) => format!("running, process {pid}"),
            None => "running".to_owned(),
        },
        JobState::Interrupted => "interrupted, can be resumed".to_owned(),
        JobState::Stopped(status) => stopped(status),
        JobState::Unknown => "unknown".to_owned(),
    }
}

fn stopped(status: JobStatus) -> String {
    serde_json::to_value(status).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
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
