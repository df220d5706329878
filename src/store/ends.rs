//! [`Store::add_ends`]: the ends of a job's Runs, for its `job.json`, so that a Run that is missing or was cut short is
//! seen. The runtime calls it when a job ends.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::{Store, StoreError, atomic, chain};
use crate::hex;
use crate::id::{JobId, RunId};

impl Store {
    /// Adds the ends of the Runs of `job` that `ends` does not have. Only these are read, each by the end of its log.
    ///
    /// # Errors
    /// The system's error.
    pub fn add_ends(&self, job: &JobId, ends: &mut BTreeMap<RunId, String>) -> Result<(), StoreError> {
        for run in self.run_ids(job)? {
            if !ends.contains_key(&run)
                && let Some(end) = self.end_of(job, &run)?
            {
                ends.insert(run, end);
            }
        }
        Ok(())
    }

    /// The digest at the end of a Run's log; of a Run without facts, that of its checkpoint's file. `None` where there is
    /// neither, as in a log without digests.
    ///
    /// # Errors
    /// The system's error.
    pub fn end_of(&self, job: &JobId, run: &RunId) -> Result<Option<String>, StoreError> {
        let path = self.layout.log(job, run);
        let mut log = match atomic::open(&path) {
            Ok(log) => log,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut tail = Vec::with_capacity(chain::TAIL);
        let end = log.seek(SeekFrom::End(0)).map_err(StoreError::io("read", &path))?;
        let start = end.saturating_sub(u64::try_from(chain::TAIL).unwrap_or(u64::MAX));
        log.seek(SeekFrom::Start(start)).map_err(StoreError::io("read", &path))?;
        log.read_to_end(&mut tail).map_err(StoreError::io("read", &path))?;
        if let Some(digest) = chain::last_digest(&tail) {
            return Ok(Some(digest));
        }
        if self.has_facts(job, run) {
            return Ok(None);
        }
        let Some(checkpoint) = self.newest_checkpoint(job, run)? else { return Ok(None) };
        Ok(Some(hex::digits(&Sha256::digest(atomic::read(&checkpoint.path)?))))
    }
}
