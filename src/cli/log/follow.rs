//! `--follow`: a job's events as they are recorded, until it ends, over crashes and resumptions.

use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use perstack::runtime::history::{HistoryItem, JobLog, JobState, ReadProblem};

use super::LogRequest;
use super::event_text::{Excerpt, Style};
use super::head::status;
use super::options::Form;
use super::page::{Page, laid_out};
use super::text::{has_several_experts, write_excerpt};
use crate::cli::failure::Failure;
use crate::cli::storage::OpenStorage;

/// Between two looks at the files: short for a person, long for a disk.
const PAUSE: Duration = Duration::from_millis(200);

/// Between two questions to an object store, each of which costs.
const REMOTE_PAUSE: Duration = Duration::from_secs(2);

/// Writes what is recorded, and then what comes. Problems of reading are added to `problems`.
///
/// # Errors
/// When the job's folder cannot be read.
pub fn write(
    record: &JobLog,
    request: &LogRequest,
    storage: &OpenStorage,
    form: Form,
    page: &mut Page,
    problems: &mut Vec<ReadProblem>,
) -> Result<io::Result<()>, Failure> {
    let mut follower = record.follow(request.run.clone());
    let local = page.local().clone();
    let mut style = Style {
        paint: page.paint(),
        local: &local,
        is_verbose: request.shows_arguments,
        names_experts: has_several_experts(record),
    };
    let id = record.short_id();
    let mut shown: Option<JobState> = None;
    loop {
        // First, so that the end of a job that has stopped is read below.
        let state = follower.state();
        if form == Form::Text && shown != Some(state) && !is_over(state) {
            let line = format!("── job {id}: {}", status(state));
            if let Err(error) = page.line(&style.paint.dim(&line)).and_then(|()| page.flush()) {
                return Ok(Err(error));
            }
        }
        shown = Some(state);
        let mut written = Ok(());
        let flow = follower.poll(&mut |item| {
            if let HistoryItem::Event(event) = item
                && request.criteria.fit(&event)
            {
                // A delegate may have come since the job was opened.
                style.names_experts |= event.run() != record.runs().first().map_or(event.run(), |run| &run.id);
                written = write_event(&event, request, form, style, page);
            }
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let written = written.and_then(|()| page.flush());
        if written.is_err() || flow.is_break() {
            return Ok(written);
        }
        if is_over(state) {
            problems.extend(follower.problems());
            let line = format!("── job {id}: {}", status(state));
            return Ok(if form == Form::Text { page.line(&style.paint.dim(&line)) } else { Ok(()) });
        }
        if storage.remote.is_some() {
            std::thread::sleep(REMOTE_PAUSE);
            storage.fetch(Some(record.id().as_str()))?;
        } else {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Returns true if nothing more comes of a job by itself. One that was interrupted may be resumed any time.
fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Stopped(_) | JobState::Unknown)
}

fn write_event(
    event: &perstack::runtime::history::LoggedEvent<'_>,
    request: &LogRequest,
    form: Form,
    style: Style<'_>,
    page: &mut Page,
) -> io::Result<()> {
    if form != Form::Text {
        let json = event.to_json(request.detail)?;
        return page.raw(&(laid_out(&json, Form::Json)? + "\n"));
    }
    write_excerpt(&Excerpt::new(event), request, style, page)
}
