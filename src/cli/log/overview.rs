//! A job at a glance (`log JOB`), and the recent jobs with the latest one's answer (`log` alone).

use std::io;

use perstack::checkpoint::Checkpoint;
use perstack::runtime::history::{JobLog, JobState, ReadProblem};

use super::LogRequest;
use super::head::{WayOn, ending, job_lines, status, way_on};
use super::jobs::JobList;
use super::options::Form;
use super::page::Page;
use super::selection::Range;
use super::text::{EventCount, write_tree};
use super::wrap::head;
use crate::cli::Exit;
use crate::cli::command_line::CommandLine;

/// Jobs that are recent.
pub const RECENT: u64 = 10;

/// Most lines of the latest job's answer below the table.
const BRIEF: usize = 6;

/// Most lines of an answer in a job's own view.
const GLANCE: usize = 20;

/// Writes a job: its head, its Runs, its end, and how to look further. Problems of reading are added to `problems`.
///
/// # Errors
/// When it cannot be written.
pub fn write_job(
    record: &JobLog,
    request: &LogRequest,
    page: &mut Page,
    problems: &mut Vec<ReadProblem>,
) -> io::Result<()> {
    let mut count = EventCount::read(record, request, None);
    problems.append(&mut count.problems);
    for line in job_lines(record, Some(count.figures.tool_calls()), page.local()) {
        page.line(&line)?;
    }
    page.line(&format!("Storage: {}", record.storage().display()))?;
    page.line("")?;
    write_tree(record, request.most_runs, &count.figures, page)?;
    let latest = record.latest();
    let is_cut = match &latest {
        Some(latest) => write_ending(record.entry().state, latest, GLANCE, page)?,
        None => false,
    };
    let id = record.short_id();
    let look = |option: &[&str]| {
        let mut command = CommandLine::new(["perstack", "log", id]);
        for word in option {
            command.word(*word);
        }
        command.path("--storage", request.places.storage.as_deref());
        command
    };
    let mut ways = vec![("Its steps", look(&["--steps"])), ("One step whole", look(&["--step", "1"]))];
    if is_cut {
        ways.push(("The whole answer", look(&["--text"])));
    }
    write_ways(record, latest.as_ref(), request, ways, page)
}

/// Writes the recent jobs, then the latest one's answer in brief and the way on.
///
/// # Errors
/// When it cannot be written.
pub fn write_recent(
    list: &JobList<'_>,
    latest: Option<&JobLog>,
    request: &LogRequest,
    page: &mut Page,
) -> io::Result<Exit> {
    let exit = list.write(request.range, Form::Text, page)?;
    let Some(record) = latest else { return Ok(exit) };
    page.line("")?;
    let id = record.short_id();
    page.line(&format!("Latest: {id} ({})", status(record.entry().state)))?;
    let state = record.latest();
    let is_cut = match &state {
        Some(state) => write_ending(record.entry().state, state, BRIEF, page)?,
        None => false,
    };
    let mut look = CommandLine::new(["perstack", "log", id]);
    look.path("--storage", request.places.storage.as_deref());
    let mut ways = vec![("Look into it", look.clone())];
    if is_cut {
        ways.push(("The whole answer", look.switch("--text", true).clone()));
    }
    write_ways(record, state.as_ref(), request, ways, page)?;
    Ok(exit)
}

/// Writes how a job ended, and an empty line; returns whether some of it was left out.
fn write_ending(state: JobState, latest: &Checkpoint, most: usize, page: &mut Page) -> io::Result<bool> {
    let Some((title, lines)) = ending(state, latest, page.width()) else {
        return Ok(false);
    };
    page.line(&title)?;
    let (lines, is_cut) = head(lines, most);
    for line in &lines {
        page.line(format!("  {line}").trim_end())?;
    }
    if is_cut {
        page.line("  …")?;
    }
    page.line("")?;
    Ok(is_cut)
}

/// The commands that lead on, the way on with the job itself first.
fn write_ways(
    record: &JobLog,
    latest: Option<&Checkpoint>,
    request: &LogRequest,
    ways: Vec<(&'static str, CommandLine)>,
    page: &mut Page,
) -> io::Result<()> {
    let on = way_on(record, || latest.map(|latest| latest.head.clone()), &request.places);
    let on = on.map(|WayOn { title, command }| (title, command));
    let all: Vec<_> = on.into_iter().chain(ways).collect();
    let width = all.iter().map(|(title, _)| title.len()).max().unwrap_or_default() + 1;
    for (title, command) in all {
        // Whole: it is there to be copied.
        let title = format!("{title}:");
        page.whole_line(&format!("{title:width$} {command}"))?;
    }
    Ok(())
}

/// The page of `log` alone.
pub fn recent_page(last: Option<u64>) -> Range {
    Range { take: Some(last.unwrap_or(RECENT)), offset: 0, context: 0 }
}
