//! `perstack job rm`: removes jobs, after it has shown them and the space that they take.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use perstack::id::JobId;
use perstack::runtime::RunError;
use perstack::runtime::history::{JobEntry, JobIndex};
use perstack::store::{Store, StoreError};

use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::log::jobs::{JobCriteria, JobList};
use crate::cli::log::local_time::{LocalTime, ago};
use crate::cli::log::page::Page;
use crate::cli::owners::OwnerCheck;
use crate::cli::prompt::{drop_typed_ahead, is_in_background};
use crate::cli::render::Paint;
use crate::cli::setup::storage_place;
use crate::cli::{Exit, Process};

const AFTER_HELP: &str = "\
The jobs and the space that they take are shown first. On a terminal it then asks; elsewhere
nothing is removed without --yes. A job that a process works on is left alone. What is removed
cannot be brought back.

Exit codes: 0 all were removed, or the answer was no; 2 nothing was removed; 6 some could not be.

Examples:
  perstack job rm 0244ac3f
  perstack job rm --older-than 30d
  perstack job rm --older-than 2w --yes";

/// Removes jobs with all that is stored of them
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RmArgs {
    /// Ids of jobs, or a beginning or an end that no other job's id has
    #[arg(value_name = "JOB", required_unless_present = "older_than", conflicts_with = "older_than", add = candidates::jobs())]
    jobs: Vec<String>,
    /// All jobs on which nothing was done for this long, such as 12h, 30d or 8w
    #[arg(long, value_name = "TIME", value_parser = age)]
    older_than: Option<u64>,
    /// Remove without asking
    #[arg(long, short)]
    yes: bool,
    /// Folder that jobs are stored in [default: perstack]
    #[arg(long, value_name = "PATH")]
    storage: Option<PathBuf>,
}

/// Milliseconds.
fn age(text: &str) -> Result<u64, String> {
    ago(text).ok_or_else(|| "expected a time such as 90m, 12h, 30d or 8w".to_owned())
}

/// Runs the command.
pub fn run(args: &RmArgs, process: &Process) -> Result<Exit, Failure> {
    let place = storage_place(process, args.storage.as_deref(), &OwnerCheck::without_flag(process))?;
    let storage = place.only_folder("removing jobs")?;
    let store = Store::new(&storage);
    // Of removals that were cut short: they were agreed to then.
    let leftovers = store.remove_leftovers();
    for job in &leftovers.0 {
        print(&format!("removed the rest of job {job}, whose removal was cut short"));
    }
    let index = JobIndex::read(&storage)?;
    let list = JobList::select(&storage, &index, &JobCriteria::default());
    let has_finished = !leftovers.0.is_empty();
    let selected = select(args, &store, leftovers, &list)?;
    let (running, idle): (Vec<JobEntry>, Vec<JobEntry>) =
        selected.into_iter().partition(|entry| store.holder(&entry.id).is_some());
    for entry in &running {
        print(&format!("job {} is left alone: a process works on it", entry.id));
    }
    // A job that was named and is not removed is a failure; of the old ones it is one of those that are not meant.
    let left = if args.jobs.is_empty() { Exit::Completed } else { Exit::Storage };
    let left = if running.is_empty() { Exit::Completed } else { left };
    if idle.is_empty() {
        if !has_finished {
            print("no job to remove");
        }
        return Ok(left);
    }
    let total = write_table(&list, &idle, &store, process)?;
    let what = format!("{}, {}", jobs(idle.len()), bytes(total));
    if !args.yes {
        match ask(process, &format!("remove {what}?")) {
            Some(true) => {}
            Some(false) => {
                print("nothing was removed");
                return Ok(Exit::Completed);
            }
            None => {
                let failure = Failure::usage(anyhow::anyhow!("nothing was removed: this needs a yes"));
                return Err(failure.help("add --yes"));
            }
        }
    }
    let removed = remove(&idle, &store, process);
    if removed < idle.len() {
        print(&format!("removed {removed} of {}", jobs(idle.len())));
        return Ok(Exit::Storage);
    }
    print(&format!("removed {what}"));
    Ok(left)
}

/// Reads the jobs on the list that the arguments mean. One that is not there may be among the `leftovers`: those that are
/// gone now, and the error that kept others.
fn select(
    args: &RmArgs,
    store: &Store,
    (finished, result): (Vec<JobId>, Result<(), StoreError>),
    list: &JobList<'_>,
) -> Result<Vec<JobEntry>, Failure> {
    if let Some(age) = args.older_than {
        let before = LocalTime::system().now().saturating_sub(age);
        // A job whose times cannot be read is not known to be old.
        let is_old = |entry: &JobEntry| worked_at(store, entry).is_some_and(|at| at < before);
        return Ok(list.entries(|_| true).filter(is_old).collect());
    }
    let is_finished =
        |name: &str| finished.iter().any(|id| id.as_str().starts_with(name) || id.as_str().ends_with(name));
    let mut named = Vec::new();
    for name in &args.jobs {
        match store.find_job_id(name) {
            Ok(id) => named.push(id),
            Err(error) if is_gone(&error) && is_finished(name) => {}
            Err(error) => {
                return Err(RunError::from(if is_gone(&error) { result.err().unwrap_or(error) } else { error }).into());
            }
        }
    }
    Ok(list.entries(|id| named.contains(id)).collect())
}

/// The time of the last that is known of a job, in milliseconds since the epoch.
fn worked_at(store: &Store, entry: &JobEntry) -> Option<u64> {
    let job = entry.job.as_ref().ok()?;
    let last_run = store.last_run_start(&entry.id).ok()?;
    Some(job.started_at.max(job.finished_at.unwrap_or(0)).max(last_run)).filter(|at| *at > 0)
}

/// Writes the jobs with their sizes to stdout; returns the sum.
fn write_table(list: &JobList<'_>, jobs: &[JobEntry], store: &Store, process: &Process) -> Result<u64, Failure> {
    let mut sizes = Vec::with_capacity(jobs.len());
    for entry in jobs {
        sizes.push(store.size(&entry.id).map_err(RunError::from)?);
    }
    let mut page = Page::stdout(process);
    let shown: Vec<String> = sizes.iter().map(|size| bytes(*size)).collect();
    let written = list.write_with_sizes(jobs, &shown, &mut page);
    page.close(written.map(|()| Exit::Completed))?;
    Ok(sizes.into_iter().fold(0, u64::saturating_add))
}

/// Removes what it can; returns the number of jobs that are gone.
fn remove(jobs: &[JobEntry], store: &Store, process: &Process) -> usize {
    let mut removed = 0;
    for entry in jobs {
        // The lock is taken first, so that no process can have begun on it in the meantime.
        match store.open_job(&entry.id).and_then(perstack::store::JobStore::remove) {
            Ok(()) => removed += 1,
            Err(error) if is_gone(&error) => removed += 1,
            Err(error) => Failure::from(RunError::from(error)).print(Paint::of_stderr(process)),
        }
    }
    removed
}

/// Another process has removed the job meanwhile.
fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. })
}

/// Asks on the terminal; `None` where nobody can be asked.
fn ask(process: &Process, question: &str) -> Option<bool> {
    let refused = process.variable("PERSTACK_NO_INTERACTIVE").is_some_and(|value| value != "0");
    if refused || !io::stdin().is_terminal() || !io::stderr().is_terminal() || is_in_background() {
        return None;
    }
    drop_typed_ahead();
    let mut err = io::stderr().lock();
    // With stderr closed the answer is no.
    write!(err, "? {question} [y/N] ").and_then(|()| err.flush()).ok()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).ok()?;
    if !typed.ends_with('\n') {
        let _ = writeln!(err);
    }
    Some(matches!(typed.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn print(text: &str) {
    // With stderr closed there is no place left to report to.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn jobs(count: usize) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}

/// `812 B`, `12.3 kB`, `4.5 MB`.
fn bytes(count: u64) -> String {
    let tenths = |unit: u64, name: &str| format!("{}.{} {name}", count / unit, count % unit / (unit / 10));
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => tenths(1_000, "kB"),
        1_000_000..1_000_000_000 => tenths(1_000_000, "MB"),
        _ => tenths(1_000_000_000, "GB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let shown = [812, 12_345, 4_560_000, 7_000_000_000].map(bytes);
        assert_eq!(shown, ["812 B", "12.3 kB", "4.5 MB", "7.0 GB"]);
        assert_eq!((jobs(1), jobs(2)), ("1 job".to_owned(), "2 jobs".to_owned()));
    }
}
