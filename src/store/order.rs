//! The order of lists of jobs: [`Store::job_times`] by the start of each, [`Store::by_work`] by the last
//! work on each. The runtime's history and `find` call it, and read of a job what they show of it.
//!
//! The times are in the jobs' files, and nowhere else: ids may be chosen, times of files change when a storage is copied,
//! and a clock may have gone back. So every `job.json` is read, with as few calls as that takes; a job that has ended
//! names the start of its last Run there, so that its Runs need not be looked at. Whatever is unusual about a job is left
//! to the plain reading of `list`.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use serde::Deserialize;

use super::disk::ReadFolder;
use super::{Store, StoreError};
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
        let folder = ReadFolder::open(&self.layout.jobs()).ok();
        let mut times = in_parallel(&self.job_ids()?, |id| self.times_of(folder.as_ref(), id));
        times.sort_by(|a, b| (b.started_at.unwrap_or(0), &b.id).cmp(&(a.started_at.unwrap_or(0), &a.id)));
        Ok(times)
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

    fn times_of(&self, folder: Option<&ReadFolder>, id: &JobId) -> JobTimes {
        let quick = folder.and_then(|folder| quick_times(folder, id));
        let times = quick.or_else(|| self.read_job(id).ok().flatten().map(FileTimes::from));
        let has_ended = |times: &&FileTimes| times.status != JobStatus::Running;
        JobTimes {
            id: id.clone(),
            started_at: times.as_ref().map(|times| times.started_at),
            last_run_at: times.as_ref().filter(has_ended).and_then(|times| times.last_run_at),
        }
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

/// The times of a `job.json` that is as it should be; `None` for any other.
fn quick_times(folder: &ReadFolder, id: &JobId) -> Option<FileTimes> {
    let mut buffer = [0; BUFFER];
    let bytes = folder.read(&Path::new(id.as_str()).join("job.json"), &mut buffer).ok()?;
    serde_json::from_slice(bytes).ok().filter(|times: &FileTimes| times.format_version <= FORMAT_VERSION)
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
        let mut job = job(name, started_at);
        let store = world.store.create_job(&job).unwrap();
        for (at, run_at) in runs.iter().enumerate() {
            drop(store.create_run(&setting(name, &format!("{name}-r{at}"), *run_at)).unwrap());
        }
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
