//! `perstack job verify`: the check that a job's record is as it was written.

use std::io;
use std::path::Path;

use clap::Args;
use perstack::runtime::history::{self, JobLog, JobSelector, RecordFault, Verification, VerifiedRun};
use perstack::store::StoreError;
use serde_json::{Value, json};

use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::log::options::{Form, FormArgs};
use crate::cli::log::page::{Page, laid_out};
use crate::cli::owners::OwnerCheck;
use crate::cli::render::visible;
use crate::cli::setup::storage_folder;
use crate::cli::{Exit, Process};

const AFTER_HELP: &str = "\
Reads the whole record, and names the first line, checkpoint or file of each run that is not as it
was written. The digest that it prints is the same as long as nothing is changed: kept elsewhere,
it also shows that a record was not replaced as a whole. Records of versions without digests are
read, and reported as unchained.

Exit codes: 0 the record fits, 1 it does not, 2 there is no such job.

Examples:
  perstack job verify latest
  perstack job verify 0244ac3f --json
  perstack job verify 0244ac3f --digest 9f2b…";

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
    #[command(flatten)]
    form: FormArgs,
    /// Folder that jobs are stored in [default: perstack]
    #[arg(long, value_name = "PATH")]
    storage: Option<std::path::PathBuf>,
}

/// Runs the command.
pub fn run(args: &VerifyArgs, process: &Process) -> Result<Exit, Failure> {
    let storage = storage_folder(process, args.storage.as_deref(), &OwnerCheck::without_flag(process))?;
    let which = if args.job == "latest" { JobSelector::Latest } else { JobSelector::Named(&args.job) };
    let Some(log) = history::open(&storage, which)? else {
        let what = format!("there are no jobs in {}", storage.display());
        return Err(Failure::usage(StoreError::NotFound { what, suggestion: None }));
    };
    let mut verified = log.verify();
    if let Some(digest) = &args.digest
        && verified.faults.is_empty()
        && verified.digest.as_ref() != Some(digest)
    {
        let path = log.job_file();
        let what = "the job has another digest than the one that was given".to_owned();
        verified.faults.push(RecordFault { path, line: None, record: None, what });
    }
    let mut page = Page::stdout(process);
    let form = args.form.form();
    let written = match form {
        Form::Text => write_text(&log, &verified, &mut page),
        Form::Json | Form::PrettyJson => {
            laid_out(&to_json(&log, &verified), form).and_then(|text| page.raw(&(text + "\n")))
        }
    };
    page.close(written.map(|()| if verified.faults.is_empty() { Exit::Completed } else { Exit::Failed }))
}

fn write_text(log: &JobLog, verified: &Verification, page: &mut Page) -> io::Result<()> {
    let paint = page.paint();
    let job = log.short_id();
    for fault in &verified.faults {
        page.whole_line(&format!("{} {}", paint.red("does not fit:"), visible(&fault_text(log.storage(), fault))))?;
    }
    for note in &verified.notes {
        page.whole_line(&visible(&fault_text(log.storage(), note)))?;
    }
    let facts: u64 = verified.runs.iter().map(|run| run.facts).sum();
    let checkpoints: u64 = verified.runs.iter().map(|run| run.checkpoints).sum();
    let read = [counted(verified.runs.len() as u64, "run"), counted(facts, "fact"), counted(checkpoints, "checkpoint")];
    let read = read.join(", ");
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
    let fault = |fault: &RecordFault| json!({"file": fault.path, "line": fault.line, "record": fault.record, "what": fault.what});
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
