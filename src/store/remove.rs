//! Removal of jobs, and the space that it frees. The command line's `job rm` calls it.
//!
//! A job's folder gets a name that is no id before its files go, so that a crash in the middle leaves no half job: what
//! is left under such a name is passed over by readers and removed by the next [`Store::remove_leftovers`].

use std::path::Path;

use super::layout::removed_job;
use super::list::names;
use super::{JobStore, Store, StoreError, atomic, disk, door};
use crate::id::JobId;

impl Store {
    /// The bytes of all files of a job.
    ///
    /// # Errors
    /// The system's error.
    pub fn size(&self, job: &JobId) -> Result<u64, StoreError> {
        size(&self.layout.job(job))
    }

    /// Removes what was left of jobs whose removal was cut short. Returns the jobs that are gone with that.
    ///
    /// # Errors
    /// The system's error, beside the jobs that are gone all the same.
    pub fn remove_leftovers(&self) -> (Vec<JobId>, Result<(), StoreError>) {
        let mut finished = Vec::new();
        let left = match names(&self.layout.jobs()) {
            Ok(names) => names.into_iter().filter_map(|name| removed_job(&name)),
            Err(error) => return (finished, Err(error)),
        };
        let mut result = Ok(());
        for job in left {
            match atomic::remove_folder(&self.layout.removed(&job)) {
                Ok(()) => finished.push(job),
                Err(error) => result = result.and(Err(error)),
            }
        }
        (finished, result)
    }
}

impl JobStore {
    /// Removes the job with all that is stored of it. Links in its folder are removed, never followed.
    ///
    /// # Errors
    /// The system's error. A job that could not be given its last name is as it was.
    pub fn remove(self) -> Result<(), StoreError> {
        if self.remote().is_some() {
            return Err(StoreError::NotRemote { what: "removing a job" });
        }
        let storage = self.storage();
        let (folder, removed) = (storage.layout.job(self.id()), storage.layout.removed(self.id()));
        // Of an earlier job of this id.
        atomic::remove_folder(&removed)?;
        door::rename(&folder, &removed).map_err(StoreError::io("remove", &folder))?;
        // Before any file goes: after a power cut the job is whole, or gone.
        atomic::sync_folder(&storage.layout.jobs())?;
        atomic::remove_folder(&removed)
    }
}

fn size(folder: &Path) -> Result<u64, StoreError> {
    let mut bytes = 0_u64;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for (name, _) in disk::names(&folder).map_err(StoreError::io("read", &folder))? {
            let path = folder.join(name);
            let metadata = disk::metadata(&path).map_err(StoreError::io("read", &path))?;
            if metadata.is_dir() {
                folders.push(path);
            } else {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{World, fact, job};
    use super::*;
    use crate::setting::RunSetting;

    fn setting() -> RunSetting {
        super::super::tests::setting("j1", "r1", 1)
    }

    fn filled() -> (World, JobStore) {
        let world = World::new();
        let job_store = world.store.create_job(&job("j1", 1)).unwrap();
        job_store.create_run(&setting()).unwrap().append(&fact(1)).unwrap();
        (world, job_store)
    }

    #[test]
    fn a_job_is_removed_with_all_its_files_and_its_id_is_free_again() {
        let (world, job_store) = filled();
        assert!(world.store.size(job_store.id()).unwrap() > 200);
        job_store.remove().unwrap();
        assert!(world.store.job_ids().unwrap().is_empty());
        assert_eq!(fs::read_dir(world.store.layout().jobs()).unwrap().count(), 0);
        drop(world.store.create_job(&job("j1", 2)).unwrap());
    }

    #[test]
    fn what_a_crash_leaves_of_a_job_is_no_job_and_in_nobodys_way() {
        let (world, job_store) = filled();
        let removed = world.store.layout().removed(job_store.id());
        drop(job_store);
        fs::rename(world.store.layout().job(&"j1".parse().unwrap()), &removed).unwrap();
        fs::remove_file(removed.join("job.json")).unwrap();
        assert!(world.store.job_times().unwrap().is_empty() && world.store.jobs_by_work().unwrap().is_empty());
        assert!(world.store.find("latest").unwrap_err().is_not_found());
        // Of another job of the same id.
        world.store.create_job(&job("j1", 2)).unwrap().remove().unwrap();
        assert!(!removed.exists());
        fs::create_dir(&removed).unwrap();
        let (finished, result) = world.store.remove_leftovers();
        assert_eq!((finished, result.is_ok()), (vec!["j1".parse().unwrap()], true));
        assert!(!removed.exists());
    }

    #[test]
    fn a_job_that_another_process_works_on_is_not_removed() {
        let (world, job_store) = filled();
        assert!(world.store.open_job(job_store.id()).err().unwrap().is_locked());
        assert_eq!(world.store.job_ids().unwrap().len(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_of_a_job_that_is_gone_keeps_nobody_out() {
        let (world, job_store) = filled();
        let id = job_store.id().clone();
        let gone = world.store.layout().removed(&id);
        drop(job_store);
        fs::rename(world.store.layout().job(&id), &gone).unwrap();
        fs::create_dir(world.store.layout().job(&id)).unwrap();
        assert!(world.store.open_job(&id).is_ok(), "a folder without a lock file is locked anew");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_removed_and_not_followed() {
        let (world, job_store) = filled();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("owl"), "barn").unwrap();
        let folder = world.store.layout().job(job_store.id());
        std::os::unix::fs::symlink(elsewhere.path(), folder.join("link")).unwrap();
        assert!(world.store.size(job_store.id()).unwrap() < 10_000);
        job_store.remove().unwrap();
        assert!(!folder.exists() && elsewhere.path().join("owl").exists());
    }
}
