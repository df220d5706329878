//! `perstack job verify`: the check that a job's record is as it was written.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use perstack::replay::LocalPaths;
use perstack::runtime::Options;
use perstack::runtime::history::{self, JobLog, JobSelector, RecordFault, ReplayedFact, Verification, VerifiedRun};
use perstack::store::StoreError;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::log::options::{Form, FormArgs};
use crate::cli::log::page::{Page, laid_out};
use crate::cli::owners::OwnerCheck;
use crate::cli::render::visible;
use crate::cli::replay::load;
use crate::cli::replay::player::play;
use crate::cli::replay::temporary::JobFolder;
use crate::cli::setup::storage_folder;
use crate::cli::text_diff::difference;
use crate::cli::{Exit, Process};

/// Most lines of a difference that are shown.
const MOST_LINES: usize = 40;

const AFTER_HELP: &str = "\
Reads the whole record, and names the first line, checkpoint or file of each run that is not as it
was written. The digest that it prints is the same as long as nothing is changed: kept elsewhere,
it also shows that a record was not replaced as a whole. Records of versions without digests are
read, and reported as unchained. With --replay the job is run again from its cassette, without a
model, and the first fact is named that is another one there.

Exit codes: 0 the record fits, 1 it does not, 2 there is no such job, 6 a part of it cannot be read,
and all that can be fits.

Examples:
  perstack job verify latest
  perstack job verify 0244ac3f --json
  perstack job verify 0244ac3f --digest 9f2b…
  perstack job verify 0244ac3f --replay owls.cassette";

/// Checks that a job's record is as it was written
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyArgs {
    /// The job: its id, a beginning or an end that no other job's id has, or `latest`
    #[arg(value_name = "JOB", add = candidates::jobs())]
    job: String,
    /// The digest that an earlier check printed
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// Run the job again from this cassette, which recorded it, and compare the facts
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    replay: Option<PathBuf>,
    #[command(flatten)]
    form: FormArgs,
    /// Folder that jobs are stored in, or `s3://BUCKET/PREFIX` [default: perstack]
    #[arg(long, value_name = "PATH")]
    storage: Option<PathBuf>,
}

/// The record of the job `name`, which may be `latest`.
pub fn open_log(storage: &Path, name: &str) -> Result<JobLog, Failure> {
    let which = if name == "latest" { JobSelector::Latest } else { JobSelector::Named(name) };
    history::open(storage, which)?.ok_or_else(|| {
        let what = format!("there are no jobs in {}", storage.display());
        Failure::usage(StoreError::NotFound { what, suggestion: None })
    })
}

/// Runs the command.
pub fn run(args: &VerifyArgs, process: &Process) -> Result<Exit, Failure> {
    let owners = OwnerCheck::without_flag(process);
    let storage = storage_folder(process, args.storage.as_deref(), Some(&args.job), &owners)?;
    let log = open_log(&storage, &args.job)?;
    let mut verified = log.verify();
    if let Some(digest) = &args.digest
        && verified.faults.is_empty()
        && verified.digest.as_ref() != Some(digest)
    {
        let path = log.job_file();
        let what = "the job has another digest than the one that was given".to_owned();
        verified.faults.push(RecordFault { path, line: None, record: None, what, is_unread: false });
    }
    let replayed = args.replay.as_ref().map(|file| replayed(&log, file, process)).transpose()?;
    let differs = matches!(replayed, Some(Some(_)));
    let mut page = Page::stdout(process);
    let form = args.form.form();
    let written = match form {
        Form::Text => write_text(&log, &verified, &mut page)
            .and_then(|()| replayed.as_ref().map_or(Ok(()), |found| write_replay(&log, found.as_ref(), &mut page))),
        Form::Json | Form::PrettyJson => {
            let mut object = to_json(&log, &verified);
            if let (Some(found), Some(fields)) = (&replayed, object.as_object_mut()) {
                fields.insert("replay".to_owned(), replay_json(found.as_ref()));
            }
            laid_out(&object, form).and_then(|text| page.raw(&(text + "\n")))
        }
    };
    let exit = if verified.is_partly_unread() && !differs {
        Exit::Storage
    } else if differs || !verified.faults.is_empty() {
        Exit::Failed
    } else {
        Exit::Completed
    };
    page.close(written.map(|()| exit))
}

/// The first fact in which the job differs from its replay.
fn replayed(log: &JobLog, file: &Path, process: &Process) -> Result<Option<ReplayedFact>, Failure> {
    let recorded = load(&process.folder.join(file), file)?;
    let job = recorded.start(0).map_err(Failure::usage)?.job_id;
    if job != *log.id() {
        let what = format!("{} is a recording of job {job}", file.display());
        return Err(Failure::usage(anyhow!(what)).help("name that job, or the cassette of this one"));
    }
    let folder = JobFolder::open(None)?;
    let cancel = CancellationToken::new();
    let options = |part: usize| {
        let options = recorded.options(part, folder.path()).map_err(Failure::usage)?;
        Ok(Options { cancel: cancel.clone(), ..options })
    };
    let end = play(&recorded, recorded.parts(), &options, &cancel)?;
    if let Some(signal) = end.signal {
        return Err(Failure::other(anyhow!("stopped by {}", signal.name())));
    }
    let again = history::open(folder.path(), JobSelector::Named(job.as_str()))?;
    let again = again.ok_or_else(|| Failure::other(anyhow!("the replay has left no record")))?;
    let workspace = log.workspace().unwrap_or_else(|| process.folder.clone());
    Ok(log.differs_from(&again, &LocalPaths::new(&workspace, process.variable("HOME")))?)
}

fn write_replay(log: &JobLog, differs: Option<&ReplayedFact>, page: &mut Page) -> io::Result<()> {
    let Some(ReplayedFact { run, line, stored, replayed }) = differs else {
        return page.line(&format!("job {} has the same facts as its replay", log.short_id()));
    };
    let kind = |fact: &Option<(String, Value)>| fact.as_ref().map_or("nothing", |(kind, _)| kind.as_str()).to_owned();
    let text = |fact: &Option<(String, Value)>| {
        fact.as_ref().map(|(_, value)| serde_json::to_string_pretty(value).unwrap_or_default()).unwrap_or_default()
    };
    let paint = page.paint();
    let title =
        format!("run {run}, line {line} of its log: {} on record, {} in the replay", kind(stored), kind(replayed));
    page.whole_line(&format!("{} {}", paint.red("differs from its replay:"), visible(&title)))?;
    for line in difference(&text(stored), &text(replayed), paint).into_iter().take(MOST_LINES) {
        page.whole_line(&line)?;
    }
    Ok(())
}

fn replay_json(differs: Option<&ReplayedFact>) -> Value {
    let part = |fact: &Option<(String, Value)>| fact.as_ref().map(|(_, value)| value.clone());
    match differs {
        None => json!({"same": true}),
        Some(ReplayedFact { run, line, stored, replayed }) => json!({
            "same": false, "runId": run, "line": line, "recorded": part(stored), "replayed": part(replayed),
        }),
    }
}

fn write_text(log: &JobLog, verified: &Verification, page: &mut Page) -> io::Result<()> {
    let paint = page.paint();
    let job = log.short_id();
    for fault in &verified.faults {
        let what = if fault.is_unread { "cannot be checked:" } else { "does not fit:" };
        page.whole_line(&format!("{} {}", paint.red(what), visible(&fault_text(log.storage(), fault))))?;
    }
    for note in &verified.notes {
        page.whole_line(&visible(&fault_text(log.storage(), note)))?;
    }
    let facts: u64 = verified.runs.iter().map(|run| run.facts).sum();
    let checkpoints: u64 = verified.runs.iter().map(|run| run.checkpoints).sum();
    let read = [counted(verified.runs.len() as u64, "run"), counted(facts, "fact"), counted(checkpoints, "checkpoint")];
    let read = read.join(", ");
    if verified.is_partly_unread() {
        return page.line(&format!("job {job} could not be read as a whole; {read} fit"));
    }
    if !verified.faults.is_empty() {
        return page.line(&format!("job {job} is not as it was written; {read} fit"));
    }
    for run in verified.runs.iter().filter(|run| run.unchained > 0) {
        let unchained = counted(run.unchained, "fact");
        page.line(&format!("unchained: {unchained} of run {}, which a version without digests wrote", run.run))?;
    }
    for run in verified.runs.iter().filter(|run| run.is_torn) {
        page.line(&format!("the last line of run {} is not whole, as a crash leaves it", run.run))?;
    }
    let open = if verified.is_open { ", as far as it goes: the job has not ended" } else { "" };
    let how =
        if verified.is_chained() { "is as it was written" } else { "can be read, and is unchained in part or whole" };
    page.line(&format!("job {job} {how}: {read}{open}"))?;
    match &verified.digest {
        Some(digest) => page.whole_line(&format!("digest {digest}")),
        None => page.line("job.json has no seal: an older version wrote it"),
    }
}

/// `jobs/j/runs/r/log.jsonl, line 7 (toolReturned of step 3): its digest …`.
fn fault_text(storage: &Path, fault: &RecordFault) -> String {
    let path = fault.path.strip_prefix(storage).unwrap_or(&fault.path).display();
    let line = fault.line.map(|line| format!(", line {line}")).unwrap_or_default();
    let record = fault.record.as_ref().map(|record| format!(" ({record})")).unwrap_or_default();
    format!("{path}{line}{record}: {}", fault.what)
}

fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn to_json(log: &JobLog, verified: &Verification) -> Value {
    let fault = |fault: &RecordFault| {
        let RecordFault { path, line, record, what, is_unread } = fault;
        json!({"file": path, "line": line, "record": record, "what": what, "unread": is_unread})
    };
    let run = |run: &VerifiedRun| {
        json!({"runId": run.run, "facts": run.facts, "unchained": run.unchained, "checkpoints": run.checkpoints,
            "end": run.end, "torn": run.is_torn})
    };
    json!({
        "jobId": log.id(),
        "fits": verified.faults.is_empty(),
        "chained": verified.is_chained(),
        "open": verified.is_open,
        "digest": verified.digest,
        "faults": verified.faults.iter().map(fault).collect::<Vec<_>>(),
        "notes": verified.notes.iter().map(fault).collect::<Vec<_>>(),
        "runs": verified.runs.iter().map(run).collect::<Vec<_>>(),
    })
}
