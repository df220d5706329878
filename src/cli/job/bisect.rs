//! `perstack job bisect`: the first step of a job after which a command fails.

use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use clap::Args;
use perstack::budget::Span;
use perstack::expert::VerifyCommand;
use perstack::fact::VerifyOutcome;
use perstack::runtime::RunError;
use perstack::runtime::snapshots::bisect::{BisectEnd, BisectVerdict, FirstFailure, bisect};
use perstack::runtime::snapshots::stored::StoredSnapshots;
use perstack::runtime::snapshots::timeline::SnapshotPoint;
use perstack::snapshot::SnapshotId;
use perstack::store::short_id;
use perstack::workspace::{EntryKind, WorkspaceChange};
use serde_json::{Value, json};

use super::restore::options_of;
use super::verify::open_log;
use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::job_runner::{async_runtime, control_runtime};
use crate::cli::log::options::{Form, FormArgs};
use crate::cli::log::page::{Page, laid_out};
use crate::cli::log::values::argument_lines;
use crate::cli::options::PlaceArgs;
use crate::cli::render::{Paint, visible};
use crate::cli::replay::temporary::JobFolder;
use crate::cli::signals::Signals;
use crate::cli::text_diff::difference;
use crate::cli::{Exit, Process};

const AFTER_HELP: &str = "\
Needs the snapshots of a job that was run with --snapshot every. Restores them into a temporary
folder, runs COMMAND there, contained as the commands of exec are, and halves the steps between one
after which it passes and one after which it fails. The workspace is left alone. Files that are no
part of snapshots (ignored ones, secrets) are not there.

COMMAND passes with exit code 0, has a state skipped with 125, and fails otherwise, by a signal or
by taking too long. 126 and 127 mean that it cannot be run.

Exit codes: 0 the step was found, 1 there is none to find, 2 the command cannot be run.

Examples:
  perstack job bisect latest --test 'cargo test'
  perstack job bisect 0244ac3f --test 'python -m pytest -q' --time 2m --json";

/// The lines of a file's difference that are shown, and the bytes of a file that is compared.
const MOST_LINES: usize = 60;
const MOST_BYTES: u64 = 200_000;

/// Finds the first step of a job after which a command fails
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct BisectArgs {
    /// The job: its id, a beginning or an end that no other job's id has, or `latest`
    #[arg(value_name = "JOB", add = candidates::jobs())]
    job: String,
    /// The command, as the shell takes it
    #[arg(long, value_name = "COMMAND")]
    test: String,
    /// The longest time of one test, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "10m")]
    time: Span,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs the command.
pub fn run(args: &BisectArgs, process: &Process) -> Result<Exit, Failure> {
    if args.test.trim().is_empty() {
        return Err(Failure::usage(anyhow!("the command is empty")).help("--test 'cargo test'"));
    }
    let options = options_of(&args.place, process, false)?;
    let store = options.store();
    store.fetch(Some(&args.job)).map_err(RunError::from)?;
    let job = open_log(&options.storage, &args.job)?.id().clone();
    let folder = JobFolder::open(None)?;
    let copy = folder.path().join("workspace");
    let command = VerifyCommand { timeout_ms: args.time.ms(), ..VerifyCommand::new(args.test.clone()) };
    let form = args.form.form();
    let paint = Paint::of_stderr(process);
    let report = move |point: &SnapshotPoint, verdict: BisectVerdict, outcome: &VerifyOutcome| {
        let word = match verdict {
            BisectVerdict::Passes => paint.green("passes"),
            BisectVerdict::Fails => paint.red("fails"),
            BisectVerdict::Skipped => paint.yellow("skipped"),
        };
        // With stderr closed there is no place left to report to.
        let _ = writeln!(
            io::stderr().lock(),
            "{word} {}: it {}",
            visible(&place(point)),
            visible(&outcome.end.to_string())
        );
    };
    let (workers, control) = (async_runtime()?, control_runtime()?);
    let cancel = options.cancel.clone();
    let ended = control.block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals").map_err(Failure::other)?;
        let (store, options) = (store.clone(), options.clone());
        let mut search = workers
            .spawn(async move { bisect(&store, &job, &command, &copy, &options, &report).await.map(|end| (job, end)) });
        let mut signal = None;
        let returned = tokio::select! {
            returned = &mut search => returned,
            first = signals.next() => {
                signal = Some(first);
                cancel.cancel();
                // The command gets its time to end. A second signal does not wait for it.
                tokio::select! {
                    returned = &mut search => returned,
                    second = signals.next() => return Ok((None, Some(second))),
                }
            }
        };
        let (job, end) = returned.unwrap_or_else(|lost| Err(RunError::Internal(lost.to_string())))?;
        Ok::<_, Failure>((Some((job, end)), signal))
    });
    control.shutdown_background();
    workers.shutdown_background();
    let (end, signal) = ended?;
    if let Some(signal) = signal {
        return Ok(signal.exit());
    }
    let Some((job, end)) = end else { return Ok(Exit::Interrupted) };
    let stored = StoredSnapshots::open(&store, &job).map_err(RunError::from)?;
    if let BisectEnd::NotRun(outcome) = &end {
        let failure = Failure::usage(anyhow!("the command cannot be run: it {}", outcome.end));
        let last = outcome.output.lines().last().unwrap_or_default().to_owned();
        return Err(if last.is_empty() { failure } else { failure.help(last) });
    }
    write(&end, &stored, form, process)
}

/// Prints the end of the search.
fn write(end: &BisectEnd, stored: &StoredSnapshots, form: Form, process: &Process) -> Result<Exit, Failure> {
    let mut page = Page::stdout(process);
    let written = match form {
        Form::Text => text(end, stored, page.paint()).into_iter().try_for_each(|line| page.whole_line(&line)),
        Form::Json | Form::PrettyJson => laid_out(&to_json(end), form).and_then(|text| page.raw(&(text + "\n"))),
    };
    let exit = if matches!(end, BisectEnd::Found(_)) { Exit::Completed } else { Exit::Failed };
    page.close(written.map(|()| exit))
}

/// `step 3 of writer (run 1a2b)`, or where a Run begins.
fn place(point: &SnapshotPoint) -> String {
    let run = short_id(point.run.as_str(), std::iter::empty());
    match point.step {
        Some(step) => format!("after step {step} of {} (run {run})", point.expert),
        None => format!("where {} begins (run {run})", point.expert),
    }
}

fn text(end: &BisectEnd, stored: &StoredSnapshots, paint: Paint) -> Vec<String> {
    match end {
        BisectEnd::Found(found) => found_text(found, stored, paint),
        BisectEnd::OneOf(points) => {
            let mut lines =
                vec!["the command fails after one of these steps; the states between were skipped:".to_owned()];
            lines.extend(points.iter().map(|point| format!("  {}", visible(&place(point)))));
            lines
        }
        BisectEnd::FailsAtBeginning(at) => {
            vec![format!("nothing to find: the command fails at the beginning already, {}", visible(&place(at)))]
        }
        BisectEnd::PassesAtEnd(at) => {
            vec![format!("nothing to find: the command passes at the end too, {}", visible(&place(at)))]
        }
        BisectEnd::EndSkipped(at) => {
            vec![format!("nothing to find: the command does not judge the state {}", visible(&place(at)))]
        }
        BisectEnd::TooFew(count) => {
            let states = if *count == 1 { "1 state".to_owned() } else { format!("{count} states") };
            vec![format!(
                "nothing to find: the job has {states} of the workspace; --snapshot every stores one with each step"
            )]
        }
        BisectEnd::NotRun(_) | BisectEnd::Cancelled => Vec::new(),
    }
}

fn found_text(found: &FirstFailure, stored: &StoredSnapshots, paint: Paint) -> Vec<String> {
    let FirstFailure { point, outcome, changes, tested } = found;
    let mut lines = vec![
        format!("{} {}", paint.red("the command fails first"), visible(&place(point))),
        format!("  it {}; {tested} states were tested", visible(&outcome.end.to_string())),
    ];
    for call in &point.calls {
        lines.push(format!("  {} {}", paint.cyan("▸"), visible(&call.tool_name)));
        lines.extend(argument_lines(&call.args, paint).into_iter().map(|line| format!("      {line}")));
    }
    for change in changes {
        let sign = match change.kind.into() {
            "added" => paint.green("+"),
            "removed" => paint.red("-"),
            _ => paint.yellow("~"),
        };
        lines.push(format!("  {sign} {}", visible(&change.path.display().to_string())));
        lines.extend(change_lines(change, stored, paint).into_iter().map(|line| format!("      {line}")));
    }
    lines
}

/// The difference of a file, where both sides are text.
fn change_lines(change: &WorkspaceChange, stored: &StoredSnapshots, paint: Paint) -> Vec<String> {
    let content = |kind: &Option<EntryKind>| match kind {
        None => Some(String::new()),
        Some(EntryKind::File { id, bytes, .. }) if *bytes <= MOST_BYTES => {
            stored.object(id).ok().and_then(|bytes| String::from_utf8(bytes).ok())
        }
        Some(_) => None,
    };
    let (Some(before), Some(after)) = (content(&change.before), content(&change.after)) else { return Vec::new() };
    let mut lines = difference(&before, &after, paint);
    if lines.len() > MOST_LINES {
        let more = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(paint.dim(&format!("… {more} more lines")));
    }
    lines
}

fn to_json(end: &BisectEnd) -> Value {
    let point = |point: &SnapshotPoint| {
        json!({"runId": point.run, "expertKey": point.expert, "stepNumber": point.step, "checkpointId": point.checkpoint,
            "snapshot": point.snapshot})
    };
    let id = |kind: &Option<EntryKind>| -> Option<SnapshotId> {
        match kind {
            Some(EntryKind::File { id, .. }) => Some(id.clone()),
            _ => None,
        }
    };
    let change = |change: &WorkspaceChange| {
        let kind: &'static str = change.kind.into();
        json!({"path": change.path.to_string_lossy(), "change": kind, "before": id(&change.before), "after": id(&change.after)})
    };
    match end {
        BisectEnd::Found(found) => json!({
            "outcome": "found",
            "first": point(&found.point),
            "end": found.outcome.end,
            "output": found.outcome.output,
            "tested": found.tested,
            "toolCalls": found.point.calls,
            "changes": found.changes.iter().map(change).collect::<Vec<_>>(),
        }),
        BisectEnd::OneOf(points) => json!({"outcome": "oneOf", "steps": points.iter().map(point).collect::<Vec<_>>()}),
        BisectEnd::FailsAtBeginning(at) => json!({"outcome": "failsAtBeginning", "at": point(at)}),
        BisectEnd::PassesAtEnd(at) => json!({"outcome": "passesAtEnd", "at": point(at)}),
        BisectEnd::EndSkipped(at) => json!({"outcome": "endSkipped", "at": point(at)}),
        BisectEnd::TooFew(states) => json!({"outcome": "tooFew", "states": states}),
        BisectEnd::NotRun(_) | BisectEnd::Cancelled => Value::Null,
    }
}
