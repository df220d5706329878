//! `perstack replay`: a recorded job once more, from its cassette alone.
//!
//! This file reads the options and reports the end; [`player`] runs the parts of the job, [`compare`] does so with another
//! configuration, [`live`] goes on from there with a model, [`temporary`] holds the job's state meanwhile.

pub mod compare;
pub mod live;
pub mod player;
pub mod temporary;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args;
use perstack::checkpoint::Status;
use perstack::replay::ReplayError;
use perstack::runtime::{Outcome, RecordedJob};
use tokio_util::sync::CancellationToken;

use self::compare::{Candidate, Comparison, compare};
use self::live::{DifferingJob, LiveArgs};
use self::player::{ReplayEnd, play};
use self::temporary::JobFolder;
use super::failure::Failure;
use super::options::{Format, OutputArgs};
use super::outcome::{error_of, exit_of};
use super::output_file::OutputFiles;
use super::render::{Paint, Screen, steps, visible};
use super::storage::StoragePlace;
use super::{Exit, Process};

const EXAMPLES: &str = "\
Examples:
  perstack run researcher \"Which owls hunt at night?\" --record owls.cassette
  perstack replay owls.cassette
  perstack replay owls.cassette --output jsonl | sha256sum
  perstack replay owls.cassette --against perstack.toml
  perstack replay owls.cassette --against perstack.toml --model claude-haiku-4-5
  perstack replay owls.cassette --against perstack.toml --live --max-cost 0.5

A replay sends nothing, starts nothing and leaves the workspace alone: models' answers, results of
tools, permissions and a person's answers come from the cassette, and so do experts and settings.
Its events are the same on every machine, byte for byte.
With --against, experts, model and settings are those of another configuration: the first request
that differs from the recorded one is shown, with its cause. Nothing is asked.
With --live, the job goes on behind that with the model and the tools, as with `perstack run`: what is
before it costs nothing and changes nothing. The job is stored below replays in the storage.

Exit codes:
  As of `perstack run` for a job that ends so; 1 when the replay does not follow the recording.
  With --against: 0 the same, 1 a difference, 2 a mistake in the configuration.
  With --live: 0 the same; behind a difference as of `perstack run`.";

/// Runs a recorded job again, from its cassette alone
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The cassette, as `--record` writes it
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Compare with this configuration: *same*, or the first step that differs, and why
    #[arg(long, value_name = "CONFIG", value_hint = clap::ValueHint::FilePath)]
    against: Option<PathBuf>,
    /// With --against: the model, as its provider spells it [default: the one that was asked for in the recording, else the
    /// configuration's]
    #[arg(long, value_name = "MODEL", requires = "against")]
    model: Option<String>,
    /// Keep the job in this folder [default: it is removed at the end; with --live, a new one below replays in the storage]
    #[arg(long, value_name = "PATH")]
    storage: Option<PathBuf>,
    #[command(flatten)]
    live: LiveArgs,
    /// Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON
    #[arg(long, value_name = "FORMAT", value_enum, help_heading = "Output")]
    output: Option<Format>,
    /// Every event with its whole messages and checkpoints; implies --output jsonl
    #[arg(long, conflicts_with = "against", help_heading = "Output")]
    full_events: bool,
    /// Write to FILE what stdout would have, and nothing to stdout
    #[arg(long, value_name = "FILE", conflicts_with = "against", help_heading = "Output")]
    output_file: Option<PathBuf>,
    /// Show errors only
    #[arg(long, short, conflicts_with_all = ["verbose", "against"], help_heading = "Output")]
    quiet: bool,
    /// Show more: reasoning, the text beside calls, edits and the head of outputs
    #[arg(long, short, conflicts_with = "against", help_heading = "Output")]
    verbose: bool,
}

impl ReplayArgs {
    /// The folder that was named for the job.
    fn named_folder(&self, process: &Process) -> Result<Option<PathBuf>, Failure> {
        let named = self.storage.as_ref().map(|named| StoragePlace::named(named, process)?.only_folder("a replay"));
        named.transpose()
    }

    fn output(&self) -> OutputArgs {
        OutputArgs {
            output: self.output,
            full_events: self.full_events,
            output_file: self.output_file.clone(),
            quiet: self.quiet,
            verbose: self.verbose,
            ..OutputArgs::default()
        }
    }
}

/// Runs the command.
pub fn run(args: &ReplayArgs, process: &Process) -> Result<Exit, Failure> {
    let output = args.output();
    let format = output.format()?;
    let recorded = load(&process.folder.join(&args.file), &args.file)?;
    if let Some(config) = &args.against {
        if args.storage.is_some() && !args.live.live {
            return Err(
                Failure::usage(anyhow!("--against keeps no job for --storage")).help("--live runs one, and stores it")
            );
        }
        let candidate = args.live.candidate(config, args.model.as_ref());
        return run_against(&recorded, &candidate, (args, &output), format, process);
    }
    let folder = JobFolder::open(args.named_folder(process)?)?;
    let files = OutputFiles::check(&output, process, folder.path())?;
    let cancel = CancellationToken::new();
    let screen = Arc::new(Screen::new(process, &output, format, files.result, &cancel)?);
    let last = recorded.parts().saturating_sub(1);
    if recorded.end(last).is_none() {
        screen.warn(&format!(
            "{} was cut short: its last whole line is {}, and the end of the job is missing; what there is, is replayed",
            args.file.display(),
            recorded.last_line()
        ));
    }
    let sink = screen.sink();
    let options = |part: usize| {
        let mut options = recorded.options(part, folder.path()).map_err(Failure::usage)?;
        (options.sink, options.cancel) = (Arc::clone(&sink), cancel.clone());
        Ok(options)
    };
    let played = play(&recorded, recorded.parts(), &options, &cancel)?;
    screen.close();
    let ReplayEnd { mut outcome, part, signal } = played;
    if folder.is_temporary() {
        outcome.path = outcome.path.strip_prefix(folder.path()).map(Path::to_owned).unwrap_or(outcome.path);
    }
    let written = screen.write_result(&outcome).err().or_else(|| screen.stream_error());
    if let Some(error) = written.filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
        let error = anyhow::Error::new(error).context(format!("cannot write to {}", screen.destination()));
        return Err(Failure::other(error));
    }
    if let Some(signal) = signal {
        return Ok(signal.exit());
    }
    Ok(report(&screen, &outcome, recorded.end(part)))
}

/// Compares with another configuration, and prints the result.
fn run_against(
    recorded: &RecordedJob,
    candidate: &Candidate,
    (args, output): (&ReplayArgs, &OutputArgs),
    format: Format,
    process: &Process,
) -> Result<Exit, Failure> {
    if format == Format::Jsonl {
        return Err(Failure::usage(anyhow!("--against has no events")).help("--output text or --output json"));
    }
    let comparison = compare(recorded, candidate, process)?;
    if let Comparison::Stopped(signal) = comparison {
        return Ok(signal.exit());
    }
    let cannot = |error| Failure::other(anyhow::Error::new(error).context("cannot write to standard output"));
    if let (Comparison::Differs(difference, part), true) = (&comparison, args.live.live) {
        if format == Format::Text {
            let text = difference.text(Paint::of_stdout(process));
            writeln!(std::io::stdout().lock(), "{text}\n").map_err(cannot)?;
        }
        let storage = args.named_folder(process)?;
        let job = DifferingJob { recorded, candidate, difference, part: *part };
        return live::go_on(job, &args.live, output, storage, process);
    }
    let is_same = compare::print(&comparison, format == Format::Json, Paint::of_stdout(process)).map_err(cannot)?;
    Ok(if is_same { Exit::Completed } else { Exit::Failed })
}

/// Reads the cassette at `path`.
///
/// # Errors
/// As [`RecordedJob::load`], with what to do.
pub fn load(path: &Path, shown: &Path) -> Result<RecordedJob, Failure> {
    let file = visible(&shown.display().to_string());
    RecordedJob::load(path).map_err(|error| {
        let help = match &error {
            ReplayError::NoStart { .. } => Some(format!(
                "name them: perstack run EXPERT QUERY --replay {file} --replay-tools --storage FOLDER; or record it again"
            )),
            ReplayError::Middle { checkpoint, .. } => Some(format!(
                "perstack resume {checkpoint} --replay {file} --replay-tools, where the job is stored; or record it from its beginning"
            )),
            ReplayError::Io { .. } => Some("name a file that `perstack run --record FILE` has written".to_owned()),
            _ => None,
        };
        let failure = Failure::usage(error);
        match help {
            Some(help) => failure.help(help),
            None => failure,
        }
    })
}

/// Reports the end of the replay. `recorded`: the status of the same part in the recording.
fn report(screen: &Screen, outcome: &Outcome, recorded: Option<Status>) -> Exit {
    match outcome.status {
        Status::StoppedByError | Status::StoppedByVerification => {
            error_of(&outcome.checkpoint.head).print(screen.paint());
        }
        Status::Proceeding => {
            screen.info(&format!("replayed up to where its process died: {}", steps(outcome.steps)));
        }
        status => screen.info(&format!("replayed: {}, {}", status.name(), steps(outcome.steps))),
    }
    if let Some(recorded) = recorded.filter(|recorded| *recorded != outcome.status) {
        let (now, then) = (outcome.status.name(), recorded.name());
        let failure =
            Failure::other(anyhow!("the replay does not follow the recording: {now}, and recorded was {then}"));
        failure.print(screen.paint());
        return Exit::Failed;
    }
    exit_of(outcome.status, None)
}
