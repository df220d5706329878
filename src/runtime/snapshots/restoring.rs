//! Restoring a state of the workspace: in its place ([`restore_workspace`]), where the present state is stored first, or in
//! another folder ([`restore_elsewhere`]).

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointHead;
use crate::hint::ErrorHint as _;
use crate::id::JobId;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run;
use crate::runtime::job::resume_point::{self, ResumePoint};
use crate::runtime::options::{Options, ResumeFrom};
use crate::runtime::snapshots::failure::SnapshotError;
use crate::runtime::snapshots::stored::StoredSnapshots;
use crate::runtime::snapshots::timeline::timeline;
use crate::runtime::snapshots::{PackSink, closed_files, has_secret, seconds};
use crate::snapshot::SnapshotId;
use crate::store::{Found, JobStore, PackWriter, Store, StoreError};
use crate::workspace::{
    FolderList, FoundFiles, LeftOutEntry, ObjectSink, ScanError, SnapshotRules, WorkspaceChange, WorkspaceScan, restore,
};

/// The paths that a line names.
const MOST_NAMED: usize = 5;

/// A restoration that was done.
#[derive(Debug)]
pub struct Restored {
    /// The paths that were changed, from the folder.
    pub changed: Vec<PathBuf>,
    /// The state that the workspace was in, if it was another.
    pub kept: Option<SnapshotId>,
    /// The entries that the state never had.
    pub left_out: Vec<LeftOutEntry>,
}

/// A checkpoint with the state of its workspace.
#[derive(Debug, Clone)]
pub struct CheckpointSnapshot {
    pub job: JobId,
    pub head: CheckpointHead,
}

impl CheckpointSnapshot {
    /// The checkpoint that `name` means; of a job, the one that it goes on from.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn find(store: &Store, name: &str) -> Result<Self, RunError> {
        match resume_point::find(store, &ResumeFrom::Named(name.to_owned()))? {
            Found::Checkpoint(entry) => {
                let head = recorded_run::read_checkpoint(store, &entry)?.head;
                Ok(Self { job: entry.job, head })
            }
            found => Self::where_it_goes_on(store, &found),
        }
    }

    /// The point at which a resumption from `name` goes on: of a Run whose process died, behind its newest checkpoint, where
    /// calls may have changed what that has.
    ///
    /// # Errors
    /// As [`CheckpointSnapshot::find`].
    pub fn find_to_resume(store: &Store, name: &str) -> Result<Self, RunError> {
        Self::where_it_goes_on(store, &resume_point::find(store, &ResumeFrom::Named(name.to_owned()))?)
    }

    /// The same for the job of exactly this id; of a step that was interrupted, with the last state before it.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn of_job(store: &Store, job: &JobId) -> Result<Self, RunError> {
        let (point, _) = resume_point::load(store, job, &store.find_job(job)?)?;
        let mut head = point.head().clone();
        if head.snapshot.is_none() {
            let saved = match &point {
                ResumePoint::Interrupted { past, .. } => past.last_save.as_ref(),
                ResumePoint::Checkpoint(_) => None,
            };
            head.snapshot = saved.and_then(|save| save.head.snapshot.clone());
        }
        if head.snapshot.is_none() {
            head.snapshot = timeline(store, job)?.pop().map(|point| point.snapshot);
        }
        Ok(Self { job: job.clone(), head })
    }

    fn where_it_goes_on(store: &Store, found: &Found) -> Result<Self, RunError> {
        let job = match found {
            Found::Run { job, .. } => job.clone(),
            Found::Checkpoint(entry) => entry.job.clone(),
            Found::File(path) => {
                let head = store.read_checkpoint(path)?.head;
                // The states of its workspace are elsewhere.
                return Ok(Self { job: head.job_id.clone(), head: CheckpointHead { snapshot: None, ..head } });
            }
        };
        let (point, _) = resume_point::load(store, &job, found)?;
        Ok(Self { job, head: point.head().clone() })
    }

    /// Its state.
    ///
    /// # Errors
    /// It has none.
    pub fn snapshot(&self) -> Result<&SnapshotId, SnapshotError> {
        let what = || format!("checkpoint {} of job {} (step {})", self.head.id, self.job, self.head.step_number);
        self.head.snapshot.as_ref().ok_or_else(|| SnapshotError::None { what: what() })
    }
}

/// The state of `job` whose digest begins with `name`, among the lists that are there.
///
/// # Errors
/// There is none, or more than one.
pub fn find_snapshot(store: &Store, job: &JobId, name: &str) -> Result<SnapshotId, SnapshotError> {
    let unknown = || SnapshotError::Unknown { job: job.clone(), name: name.to_owned() };
    let objects = store.objects(job)?;
    let mut found = objects.ids().filter(|id| id.as_str().starts_with(name) && name.len() >= 4);
    let (Some(only), None) = (found.next(), found.next()) else { return Err(unknown()) };
    FolderList::read(&objects.get(only)?).map_err(|_| unknown())?;
    Ok(only.clone())
}

/// The differences of the workspace, as it is now, from a state of it.
///
/// # Errors
/// The workspace or the state cannot be read.
pub fn differences(
    store: &Store,
    job: &JobId,
    snapshot: &SnapshotId,
    options: &Options,
) -> Result<Vec<WorkspaceChange>, SnapshotError> {
    let stored = StoredSnapshots::open(store, job)?;
    let mut present = Lists::default();
    let id = scan(options, snapshot, &stored, &mut present)?.id;
    crate::workspace::compare(&id, snapshot, &mut |id| match present.get(id) {
        Some(list) => Ok(list),
        None => stored.list(id).map_err(SnapshotError::from),
    })
}

/// The warning that the workspace is not as the checkpoint with this head has it, or cannot be compared with it. `None` where
/// it is, and for a checkpoint without a state.
pub fn difference_warning(store: &Store, head: &CheckpointHead, options: &Options) -> Option<String> {
    match differences(store, &head.job_id, head.snapshot.as_ref()?, options) {
        Ok(changes) if changes.is_empty() => None,
        Ok(changes) => {
            let names = named_paths(changes.iter().map(|WorkspaceChange { path, .. }| path.as_path()));
            Some(format!("the workspace is not as the checkpoint had it ({names}): --restore brings it back"))
        }
        Err(error) => Some(RunError::from(error).with_hint()),
    }
}

/// The first of these paths, and how many more there are.
pub fn named_paths<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let mut names: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    let more = names.len().saturating_sub(MOST_NAMED);
    names.truncate(MOST_NAMED);
    let names = names.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// Brings the workspace to a state that `job` has. The state that it is in is stored first.
///
/// # Errors
/// [`SnapshotError`].
pub fn restore_workspace(job: &JobStore, snapshot: &SnapshotId, options: &Options) -> Result<Restored, SnapshotError> {
    let stored = StoredSnapshots::open(&job.storage(), job.id())?;
    let list = stored.list(snapshot)?;
    let mut objects = job.objects()?;
    let mut sink = PackSink(PackWriter::new(&mut objects));
    let present = scan(options, snapshot, &stored, &mut sink)?.id;
    sink.0.finish(&present)?;
    let stored = StoredSnapshots::open(&job.storage(), job.id())?;
    let kept = (present != *snapshot).then(|| present.clone());
    let workspace = real(&options.workspace)?;
    let changed = restore(&workspace, &present, snapshot, &|id| stored.list(id), &|id| stored.object(id))
        .map_err(|source| SnapshotError::Restore { kept: kept.clone(), source })?;
    Ok(Restored { changed, kept, left_out: list.left_out })
}

/// Fills a folder, which is made if it is not there, with a state that `job` has.
///
/// # Errors
/// [`SnapshotError`].
pub fn restore_elsewhere(
    stored: &StoredSnapshots,
    snapshot: &SnapshotId,
    folder: &Path,
) -> Result<Restored, SnapshotError> {
    let failed = |action| move |source| SnapshotError::Folder { action, path: folder.to_owned(), source };
    let list = stored.list(snapshot)?;
    fs::create_dir_all(folder).map_err(failed("create"))?;
    if fs::read_dir(folder).map_err(failed("read"))?.next().is_some() {
        return Err(SnapshotError::NotEmpty { path: folder.to_owned() });
    }
    let (empty, list_of_none) = empty();
    let lists = |id: &SnapshotId| if *id == empty { Ok(list_of_none.clone()) } else { stored.list(id) };
    let changed = restore(&real(folder)?, &empty, snapshot, &lists, &|id| stored.object(id))
        .map_err(|source| SnapshotError::Restore { kept: None, source })?;
    Ok(Restored { changed, kept: None, left_out: list.left_out })
}

/// The state of an empty folder.
fn empty() -> (SnapshotId, FolderList) {
    let list = FolderList::default();
    (SnapshotId::of_bytes(&serde_json::to_vec(&list).unwrap_or_default()), list)
}

fn real(folder: &Path) -> Result<PathBuf, SnapshotError> {
    folder.canonicalize().map_err(|source| SnapshotError::Folder { action: "find", path: folder.to_owned(), source })
}

/// Reads the workspace, and all in it that `snapshot` has, into `sink`.
fn scan<S: ObjectSink>(
    options: &Options,
    snapshot: &SnapshotId,
    stored: &StoredSnapshots,
    sink: &mut S,
) -> Result<crate::workspace::Scanned, SnapshotError>
where
    SnapshotError: From<S::Error>,
{
    let workspace = real(&options.workspace)?;
    let redactor = options.redactor();
    let is_secret = |bytes: &[u8]| has_secret(&redactor, bytes);
    let rules = SnapshotRules::new(&workspace, &closed_files(options), &is_secret);
    let load = |id: &SnapshotId| stored.list(id).ok();
    let wanted = stored.list(snapshot)?;
    WorkspaceScan::read(&rules, sink, seconds(), &mut FoundFiles::default(), Some((&wanted, &load))).map_err(|error| {
        match error {
            ScanError::Root { path, source } => SnapshotError::Folder { action: "read", path, source },
            ScanError::Sink(error) => error.into(),
        }
    })
}

/// The lists of a state that is looked at and not stored.
#[derive(Default)]
struct Lists(std::collections::HashMap<SnapshotId, Vec<u8>>);

impl Lists {
    fn get(&self, id: &SnapshotId) -> Option<FolderList> {
        FolderList::read(self.0.get(id)?).ok()
    }
}

impl ObjectSink for Lists {
    type Error = StoreError;

    fn put(&mut self, id: &SnapshotId, bytes: &[u8]) -> Result<(), StoreError> {
        if bytes.starts_with(b"{\"entries\":") {
            self.0.insert(id.clone(), bytes.to_owned());
        }
        Ok(())
    }

    fn has(&self, id: &SnapshotId) -> bool {
        self.0.contains_key(id)
    }
}
