//! The order of lists of jobs: [`Store::job_times`] by the start of each, [`Store::by_work`] by the last
//! work on each. The runtime's history and `find` call it, and read of a job what they show of it.
//!
//! The times are in the jobs' files, and nowhere else: ids may be chosen, times of files change when a storage is copied,
//! and a clock may have gone back. So every `job.json` counts; one that is as it was when an earlier list read it is looked
//! at ([`TimesCache`]), any other is read, with as few calls as that takes. A job that has ended names the start of its last
//! Run there, so that its Runs need not be looked at. Whatever is unusual about a job is left to the plain reading of `list`.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Deserialize;

use super::disk::ReadFolder;
use super::file_state::FileState;
use super::times_cache::{COARSEST_TICK, CachedTimes, NextCache, TimesCache};
use super::{Store, StoreError, disk};
use crate::checkpoint::FORMAT_VERSION;
use crate::id::JobId;
use crate::job::{Job, JobStatus};

/// Longest `job.json` that is read in one call, in bytes. (They have some 700.)
const BUFFER: usize = 4 << 10;

/// Most threads that read: the kernel's part of the work is one of locks from there on.
const MAX_THREADS: usize = 4;

/// Fewest jobs for which a thread pays.
const MIN_SHARE: usize = 500;

/// A job by the times that lists are ordered by, in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTimes {
    pub id: JobId,
    /// The start; `None` when nothing of the job can be read.
    pub started_at: Option<u64>,
    /// The start of its last Run, as far as `job.json` has it: of a job that may have begun others since it has not.
    last_run_at: Option<u64>,
}

impl Store {
    /// All jobs, the last started first; those of which nothing can be read are at the end.
    ///
    /// # Errors
    /// The system's error when the storage folder cannot be read; one that does not exist holds no jobs.
    pub fn job_times(&self) -> Result<Vec<JobTimes>, StoreError> {
        self.job_times_by(COARSEST_TICK)
    }

    /// The same on a file system whose clock has this tick, in nanoseconds.
    fn job_times_by(&self, tick: i64) -> Result<Vec<JobTimes>, StoreError> {
        let ids = self.job_ids()?;
        let mut times = match ReadFolder::open(&self.layout.jobs()) {
            Ok(folder) => self.cached_times(&folder, &ids, tick),
            Err(_) => in_parallel(&ids, |id| self.plain_times(id)),
        };
        times.sort_unstable_by(|a, b| (b.started_at.unwrap_or(0), &b.id).cmp(&(a.started_at.unwrap_or(0), &a.id)));
        Ok(times)
    }

    fn cached_times(&self, folder: &ReadFolder, ids: &[JobId], tick: i64) -> Vec<JobTimes> {
        let path = self.layout.times_cache();
        let cache = TimesCache::read(&path);
        let look = |id: &JobId| {
            let state = folder.state(&job_file(id)).ok()?;
            Some((state, cache.times(state)?))
        };
        let known = if cache.is_empty() { vec![None; ids.len()] } else { in_parallel(ids, look) };
        let missing: Vec<&JobId> =
            ids.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(id, _)| id).collect();
        let next = TimesCache::begin_next(&path, missing.len(), ids.len(), tick);
        let read = in_parallel(&missing, |id| match quick_times(folder, id, next.as_ref()) {
            Some((state, times)) => (state.map(|state| (state, times)), JobTimes::new(id, Some(times))),
            None => (None, self.plain_times(id)),
        });
        if let Some(next) = next {
            let new = read.iter().filter_map(|(file, _)| *file).collect();
            // It would only have saved the next list some time.
            let _ = next.write(&path, known.iter().flatten().copied(), new);
        }
        let known = ids.iter().zip(known).filter_map(|(id, known)| Some(JobTimes::new(id, Some(known?.1))));
        known.chain(read.into_iter().map(|(_, times)| times)).collect()
    }

    /// All jobs, the one that was worked on last first.
    ///
    /// # Errors
    /// The system's error.
    pub fn jobs_by_work(&self) -> Result<Vec<JobId>, StoreError> {
        self.by_work(&self.job_times()?)
    }

    /// These jobs, the one that was worked on last first.
    ///
    /// # Errors
    /// The system's error.
    pub fn by_work(&self, times: &[JobTimes]) -> Result<Vec<JobId>, StoreError> {
        // By the start of its Runs: a damaged `job.json` must not make an older job the latest.
        let worked_at = |times: &JobTimes| {
            let last_run = times.last_run_at.map_or_else(|| self.last_run_start(&times.id), Ok)?;
            Ok::<_, StoreError>((times.started_at.unwrap_or(0).max(last_run), times.id.clone()))
        };
        let mut jobs = in_parallel(times, worked_at).into_iter().collect::<Result<Vec<_>, StoreError>>()?;
        jobs.sort();
        Ok(jobs.into_iter().rev().map(|(_, job)| job).collect())
    }

    /// The start of a job's last Run, in milliseconds since the epoch; 0 when it has none.
    ///
    /// # Errors
    /// A link among its Runs, or the system's error.
    pub fn last_run_start(&self, job: &JobId) -> Result<u64, StoreError> {
        Ok(self.runs(job)?.last().map_or(0, |run| run.started_at))
    }

    fn plain_times(&self, id: &JobId) -> JobTimes {
        JobTimes::new(id, self.read_job(id).ok().flatten().map(FileTimes::from).map(CachedTimes::from))
    }
}

impl JobTimes {
    fn new(id: &JobId, times: Option<CachedTimes>) -> Self {
        let (started_at, last_run_at) =
            (times.map(|times| times.started_at), times.and_then(|times| times.last_run_at));
        Self { id: id.clone(), started_at, last_run_at }
    }
}

/// The keys of a `job.json` that decide its place on lists. Of the others it only counts that they are JSON: what is wrong
/// with one is found when the job is shown.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileTimes {
    #[serde(default)]
    format_version: u32,
    status: JobStatus,
    #[serde(with = "crate::count::Count")]
    started_at: u64,
    #[serde(default, with = "crate::count::OptionalCount")]
    last_run_at: Option<u64>,
}

impl From<Job> for FileTimes {
    fn from(job: Job) -> Self {
        let Job { format_version, status, started_at, last_run_at, .. } = job;
        Self { format_version, status, started_at, last_run_at }
    }
}

impl From<FileTimes> for CachedTimes {
    fn from(times: FileTimes) -> Self {
        let FileTimes { status, started_at, last_run_at, .. } = times;
        Self { started_at, last_run_at: last_run_at.filter(|_| status != JobStatus::Running) }
    }
}

/// The path of a job's file below the folder of jobs.
fn job_file(id: &JobId) -> PathBuf {
    Path::new(id.as_str()).join("job.json")
}

/// The times of a `job.json` that is as it should be, and its state if it is to be kept; `None` for any other.
fn quick_times(folder: &ReadFolder, id: &JobId, next: Option<&NextCache>) -> Option<(Option<FileState>, CachedTimes)> {
    let file = folder.open_file(&job_file(id)).ok()?;
    // Before it is read: it is of this state, or of a later one.
    let state = next.and_then(|next| FileState::of(&file).ok().filter(|state| next.keeps(*state)));
    let mut buffer = [0; BUFFER];
    let times: FileTimes = serde_json::from_slice(disk::read_small(&file, &mut buffer).ok()?).ok()?;
    (times.format_version <= FORMAT_VERSION).then(|| (state, times.into()))
}

/// The results for all items, in their order.
fn in_parallel<T: Sync, R: Send>(items: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    let share = items.len().div_ceil(threads).max(MIN_SHARE);
    let mut shares = items.chunks(share);
    let first = shares.next().unwrap_or_default();
    let each = &each;
    thread::scope(|scope| {
        let others: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(each).collect::<Vec<R>>())).collect();
        let mut results: Vec<R> = first.iter().map(each).collect();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::super::JobStore;
    use super::super::tests::{World, job, setting};
    use super::*;

    /// The orders by a reading of all files of all jobs.
    fn plain(store: &Store) -> (Vec<JobId>, Vec<JobId>) {
        let ids = store.job_ids().unwrap();
        let started = |id: &JobId| store.job(id).map_or(0, |job| job.started_at);
        let worked = |id: &JobId| started(id).max(store.runs(id).unwrap().last().map_or(0, |run| run.started_at));
        let by = |time: &dyn Fn(&JobId) -> u64| {
            let mut times: Vec<(u64, JobId)> = ids.iter().map(|id| (time(id), id.clone())).collect();
            times.sort_by(|a, b| b.cmp(a));
            times.into_iter().map(|(_, id)| id).collect()
        };
        (by(&started), by(&worked))
    }

    fn quick(store: &Store) -> (Vec<JobId>, Vec<JobId>) {
        let times = store.job_times().unwrap();
        let by_work = store.by_work(&times).unwrap();
        (times.into_iter().map(|times| times.id).collect(), by_work)
    }

    /// The state that a job's file is left in.
    #[derive(Debug, Clone, Copy)]
    enum Left {
        Running,
        Ended,
        /// As a version before the start of the last Run was noted.
        EndedOld,
        Torn,
        Missing,
        Newer,
        Long,
        Twice,
        #[cfg(unix)]
        Linked,
    }

    fn left() -> impl Strategy<Value = Left> {
        let mut all = vec![
            Left::Running,
            Left::Ended,
            Left::EndedOld,
            Left::Torn,
            Left::Missing,
            Left::Newer,
            Left::Long,
            Left::Twice,
        ];
        #[cfg(unix)]
        all.push(Left::Linked);
        prop::sample::select(all)
    }

    fn make(world: &World, name: &str, started_at: u64, runs: &[u64], left: Left) {
        let job = job(name, started_at);
        let store = world.store.create_job(&job).unwrap();
        for (at, run_at) in runs.iter().enumerate() {
            drop(store.create_run(&setting(name, &format!("{name}-r{at}"), *run_at)).unwrap());
        }
        leave(world, &store, job, left);
    }

    fn leave(world: &World, store: &JobStore, mut job: Job, left: Left) {
        let path = world.store.layout().job_file(&job.id);
        if matches!(left, Left::Running) {
            return;
        }
        job.status = JobStatus::Completed;
        job.last_run_at = (!matches!(left, Left::EndedOld)).then(|| world.store.last_run_start(&job.id).unwrap());
        store.write_job(&job).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        match left {
            Left::Running | Left::Ended | Left::EndedOld => {}
            Left::Torn => fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
            Left::Missing => fs::remove_file(&path).unwrap(),
            Left::Newer => fs::write(&path, whole.replace("\"formatVersion\": 1", "\"formatVersion\": 99")).unwrap(),
            Left::Long => fs::write(&path, whole + &" ".repeat(2 * BUFFER)).unwrap(),
            Left::Twice => fs::write(&path, whole.replacen('{', "{\"startedAt\": 3,", 1)).unwrap(),
            #[cfg(unix)]
            Left::Linked => {
                let elsewhere = path.with_file_name("elsewhere.json");
                fs::rename(&path, &elsewhere).unwrap();
                std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Times are of any order: ids say nothing of them, and clocks go back.
        #[test]
        fn the_order_is_that_of_a_reading_of_all_files(
            jobs in prop::collection::vec(
                (1_u64..9, prop::collection::vec(1_u64..9, 0..3), left()), 0..6),
        ) {
            let world = World::new();
            for (at, (started_at, runs, left)) in jobs.iter().enumerate() {
                make(&world, &format!("j{at}"), *started_at, runs, *left);
            }
            prop_assert_eq!(quick(&world.store), plain(&world.store));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever a cache has of a file, any change of the file counts.
        #[test]
        fn the_order_is_the_same_from_a_cache_however_jobs_changed_since(
            jobs in prop::collection::vec((1_u64..9, left(), prop::option::of((1_u64..9, left()))), 0..6),
        ) {
            let world = World::new();
            for (at, (started_at, left, _)) in jobs.iter().enumerate() {
                make(&world, &format!("j{at}"), *started_at, &[4], *left);
            }
            cache_all(&world.store);
            prop_assert_eq!(quick(&world.store), plain(&world.store));
            for (at, (_, _, change)) in jobs.iter().enumerate() {
                let Some((started_at, left)) = change else { continue };
                let job = job(&format!("j{at}"), *started_at);
                let store = world.store.open_job(&job.id).unwrap();
                store.write_job(&job).unwrap();
                leave(&world, &store, job, *left);
            }
            prop_assert_eq!(quick(&world.store), plain(&world.store));
        }
    }

    /// Writes a cache of all files, however few and new they are, with these times of each.
    fn cache_as(store: &Store, times_of: impl Fn(CachedTimes) -> CachedTimes) {
        let path = store.layout().times_cache();
        fs::create_dir_all(store.layout().jobs()).unwrap();
        let next = TimesCache::begin_next(&path, 64, 64, ANY_TICK).unwrap();
        let folder = ReadFolder::open(&store.layout().jobs()).unwrap();
        let ids = store.job_ids().unwrap();
        let files = ids.iter().filter_map(|id| quick_times(&folder, id, Some(&next)));
        let files: Vec<_> = files.map(|(state, times)| (state.unwrap(), times_of(times))).collect();
        // Enough of them to be written.
        let none = FileState { inode: u64::MAX, size: 0, changed: 0, modified: 0 };
        let new = vec![(none, CachedTimes { started_at: 0, last_run_at: None }); 64];
        next.write(&path, files.into_iter(), new).unwrap();
    }

    fn cache_all(store: &Store) {
        cache_as(store, |times| times);
    }

    /// Files of any time are kept.
    const ANY_TICK: i64 = i64::MIN / 2;

    #[test]
    fn a_file_that_is_as_it_was_is_not_read_and_one_that_changed_is() {
        let world = World::new();
        make(&world, "a", 1, &[], Left::Ended);
        make(&world, "b", 2, &[], Left::Ended);
        assert_eq!(quick(&world.store).0[0].as_str(), "b");
        cache_as(&world.store, |times| CachedTimes { started_at: 9 - times.started_at, ..times });
        assert_eq!(quick(&world.store).0[0].as_str(), "a", "as the cache has it");
        let id: JobId = "a".parse().unwrap();
        let store = world.store.open_job(&id).unwrap();
        store.write_job(&world.store.job(&id).unwrap()).unwrap();
        assert_eq!(quick(&world.store).0[0].as_str(), "b", "as the files have it: a at 1, b, of the cache, at 7");
    }

    #[test]
    fn a_list_of_many_jobs_leaves_a_cache_to_the_next_but_of_new_files() {
        let world = World::new();
        for at in 0..70 {
            make(&world, &format!("j{at}"), at % 7, &[], Left::Ended);
        }
        let path = world.store.layout().times_cache();
        let in_root = || fs::read_dir(world.store.layout().root()).unwrap().count();
        assert_eq!(quick(&world.store), plain(&world.store));
        assert_eq!(in_root(), 1, "files that were made just now are not kept");
        let first = world.store.job_times_by(ANY_TICK).unwrap();
        assert_eq!((in_root(), fs::read(&path).unwrap().len()), (2, 16 + 70 * 56));
        assert_eq!(world.store.job_times_by(ANY_TICK).unwrap(), first);
        make(&world, "late", 100, &[], Left::Ended);
        world.store.open_job(&"j3".parse().unwrap()).unwrap().remove().unwrap();
        assert_eq!(quick(&world.store), plain(&world.store));
        assert_eq!(quick(&world.store).0[0].as_str(), "late");
        // A storage that cannot be written to is read.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(world.store.job_times_by(ANY_TICK).unwrap().len(), 70);
        assert_eq!(in_root(), 2, "nothing temporary is left");
    }

    #[test]
    fn a_run_that_began_since_a_job_ended_counts() {
        let world = World::new();
        make(&world, "a", 1, &[1], Left::Ended);
        make(&world, "b", 2, &[2], Left::Ended);
        assert_eq!(quick(&world.store).1[0].as_str(), "b");
        // As a process that continues a job does it: the job's file first.
        let id: JobId = "a".parse().unwrap();
        let store = world.store.open_job(&id).unwrap();
        store.write_job(&Job { status: JobStatus::Running, ..world.store.job(&id).unwrap() }).unwrap();
        drop(store.create_run(&setting("a", "a-r1", 3)).unwrap());
        assert_eq!(quick(&world.store).1[0].as_str(), "a");
        assert_eq!(quick(&world.store), plain(&world.store));
    }

    #[test]
    fn every_item_has_its_result_however_many_there_are() {
        for count in [0, 1, MIN_SHARE, MIN_SHARE * 9 + 1] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(in_parallel(&items, |item| *item), items);
        }
    }

    #[test]
    fn a_storage_that_does_not_exist_holds_no_jobs() {
        assert_eq!(quick(&World::new().store), (Vec::new(), Vec::new()));
    }
}
