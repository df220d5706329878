//! `perstack job restore`: the workspace, or another folder, as it was at a checkpoint.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use perstack::checkpoint::Status;
use perstack::event::Event;
use perstack::id::JobId;
use perstack::message::Message;
use perstack::runtime::snapshots::restoring::{
    CheckpointSnapshot, Restored, find_snapshot, named_paths, restore_elsewhere, restore_workspace,
};
use perstack::runtime::snapshots::stored::StoredSnapshots;
use perstack::runtime::{CassetteMode, InDoubt, Options, RunError};
use perstack::snapshot::SnapshotId;
use perstack::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::options::{ModelArgs, PlaceArgs};
use crate::cli::render::visible;
use crate::cli::setup::{ProjectNeed, Setup};
use crate::cli::warning::warn;
use crate::cli::{Exit, Process};

const AFTER_HELP: &str = "\
What the workspace holds now is kept first, as a snapshot of the job, and the command that brings
it back is printed. Files that are no part of snapshots stay as they are: ignored ones, secrets,
repositories, the configuration.

Examples:
  perstack job restore 0244ac3f
  perstack job restore latest --to ../before
  perstack job restore 0244ac3f --snapshot 9f2b4c01";

/// Brings the workspace back to the snapshot of a checkpoint
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RestoreArgs {
    /// A checkpoint's id, that of a run or a job, a beginning or an end that one of them alone has, or `latest`
    #[arg(value_name = "CHECKPOINT", add = candidates::resumable())]
    checkpoint: String,
    /// Fill this folder, which is new or empty, and leave the workspace alone
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// The snapshot of the same job whose digest begins so, in the place of the checkpoint's
    #[arg(long, value_name = "DIGEST")]
    snapshot: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs the command.
pub fn run(args: &RestoreArgs, process: &Process) -> Result<Exit, Failure> {
    let options = options_of(&args.place, process, false)?;
    let store = options.store();
    store.fetch(Some(&args.checkpoint)).map_err(RunError::from)?;
    let checkpoint = CheckpointSnapshot::find(&store, &args.checkpoint)?;
    let snapshot = match &args.snapshot {
        Some(name) => find_snapshot(&store, &checkpoint.job, name).map_err(RunError::from)?,
        None => checkpoint.snapshot().map_err(RunError::from)?.clone(),
    };
    match &args.to {
        Some(folder) => {
            let stored = StoredSnapshots::open(&store, &checkpoint.job).map_err(RunError::from)?;
            let restored =
                restore_elsewhere(&stored, &snapshot, &process.folder.join(folder)).map_err(RunError::from)?;
            report(&restored, &checkpoint.job, &snapshot, false);
        }
        None => restore_in_place(&store, &checkpoint.job, &snapshot, &options, false)?,
    }
    Ok(Exit::Completed)
}

/// The options that say where the workspace and the storage are, and what is closed. `quiet`: warnings of the configuration
/// were printed.
pub fn options_of(place: &PlaceArgs, process: &Process, quiet: bool) -> Result<Options, Failure> {
    let setup = Setup::read(process, place, &ModelArgs::default(), ProjectNeed::IfFound)?;
    setup.print_warnings(process, quiet);
    let sink = Arc::new(|_: &Event, _: &[Message]| {});
    Ok(setup.options(sink, CancellationToken::new(), InDoubt::default(), CassetteMode::None))
}

/// Brings the workspace to a state, and reports it.
fn restore_in_place(
    store: &Store,
    job: &JobId,
    snapshot: &SnapshotId,
    options: &Options,
    quiet: bool,
) -> Result<(), Failure> {
    let held = store.open_job(job).map_err(RunError::from)?;
    let restored = restore_workspace(&held, snapshot, options).map_err(RunError::from)?;
    report(&restored, job, snapshot, quiet);
    Ok(())
}

/// Restores the state of the checkpoint `name`, for a job that is resumed from it.
pub fn restore_for_resume(place: &PlaceArgs, name: &str, process: &Process, quiet: bool) -> Result<(), Failure> {
    let options = options_of(place, process, true)?;
    let store = options.store();
    store.fetch(Some(name)).map_err(RunError::from)?;
    let checkpoint = CheckpointSnapshot::find_to_resume(&store, name)?;
    let snapshot = checkpoint.snapshot().map_err(RunError::from)?;
    restore_in_place(&store, &checkpoint.job, snapshot, &options, quiet)
}

/// Restores the state that the job goes on from, for one that is brought to its end in a workspace made anew; nothing where
/// there is no such job, and where it has completed.
pub fn restore_to_go_on(place: &PlaceArgs, job: &JobId, process: &Process, quiet: bool) -> Result<(), Failure> {
    let options = options_of(place, process, true)?;
    let store = options.store();
    store.fetch_job(job).map_err(RunError::from)?;
    let checkpoint = match CheckpointSnapshot::of_job(&store, job) {
        Err(RunError::Store(StoreError::NotFound { .. })) => return Ok(()),
        found => found?,
    };
    if checkpoint.head.status == Status::Completed {
        return Ok(());
    }
    let Some(snapshot) = &checkpoint.head.snapshot else {
        let text = format!("job {job} has no snapshot of its workspace: it goes on with the files of the source");
        warn(process, quiet, &text);
        return Ok(());
    };
    restore_in_place(&store, job, snapshot, &options, quiet)
}

fn report(restored: &Restored, job: &JobId, snapshot: &SnapshotId, quiet: bool) {
    if quiet {
        return;
    }
    let print = |line: &str| {
        // With stderr closed there is no place left to report to.
        let _ = writeln!(std::io::stderr().lock(), "{}", visible(line));
    };
    let changed = named_paths(restored.changed.iter().map(PathBuf::as_path));
    match restored.changed.len() {
        0 => print(&format!("the workspace is as snapshot {} has it", snapshot.short())),
        1 => print(&format!("restored snapshot {}: 1 path ({changed})", snapshot.short())),
        count => print(&format!("restored snapshot {}: {count} paths ({changed})", snapshot.short())),
    }
    if let Some(kept) = restored.kept.as_ref().filter(|_| !restored.changed.is_empty()) {
        print(&format!("what was there is kept: perstack job restore {job} --snapshot {}", kept.short()));
    }
}
