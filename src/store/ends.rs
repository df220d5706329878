//! [`Store::add_ends`]: the ends of a job's Runs, for its `job.json`, so that a Run that is missing, was cut short or was
//! added is seen. The runtime calls it when a job ends; the check of a job's record asks for the end of a Run that has none.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};

use sha2::{Digest as _, Sha256};

use super::{LogReader, Store, StoreError, atomic, chain};
use crate::fact::FactBody;
use crate::hex;
use crate::id::{JobId, RunId};

impl Store {
    /// Adds the ends of the Runs of `job` that `ends` does not have, and moves those of Runs that had not ended and went on
    /// in their logs since. Each is read by the end of its log.
    ///
    /// # Errors
    /// The system's error.
    pub fn add_ends(&self, job: &JobId, ends: &mut BTreeMap<RunId, String>) -> Result<(), StoreError> {
        for run in self.run_ids(job)? {
            let end = match ends.get(&run) {
                None => self.end_of(job, &run)?,
                // Of another kind of change nothing is taken over: the check is to name it.
                Some(known) => self.tail_of(job, &run)?.filter(|end| end != known && self.went_on(job, &run, known)),
            };
            ends.extend(end.map(|end| (run, end)));
        }
        Ok(())
    }

    /// Returns whether a Run was resumed in its own log behind the fact with the digest `end`.
    fn went_on(&self, job: &JobId, run: &RunId, end: &str) -> bool {
        let Ok(mut log) = self.open_log(job, run) else { return false };
        let mut is_behind = false;
        while let Ok(Some(fact)) = log.next_fact() {
            if is_behind {
                return matches!(fact.body, FactBody::Resumed { .. });
            }
            is_behind = log.position().chain == end;
        }
        false
    }

    /// The digest at the last whole line of a Run's log, also of one without digests; of a Run without facts, that of its
    /// newest checkpoint's file, or else of the original's files of its events. `None` for a Run that recorded nothing, or
    /// whose log cannot be read to its end.
    ///
    /// # Errors
    /// The system's error.
    pub fn end_of(&self, job: &JobId, run: &RunId) -> Result<Option<String>, StoreError> {
        if let Some(digest) = self.tail_of(job, run)? {
            return Ok(Some(digest));
        }
        if self.has_facts(job, run) {
            // The last line is torn, or has no digest.
            let end = self.open_log(job, run).and_then(LogReader::read_to_end);
            return Ok(end.ok().map(|end| end.position().chain));
        }
        if let Some(checkpoint) = self.newest_checkpoint(job, run)? {
            return Ok(Some(hex::digits(&Sha256::digest(atomic::read(&checkpoint.path)?))));
        }
        let mut events = None;
        for (_, path) in self.original_events(job, run)? {
            events.get_or_insert_with(Sha256::new).update(atomic::read(&path)?);
        }
        Ok(events.map(|events| hex::digits(&events.finalize())))
    }

    /// The digest in the last bytes of a Run's log; `None` where there is none.
    fn tail_of(&self, job: &JobId, run: &RunId) -> Result<Option<String>, StoreError> {
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
        Ok(chain::last_digest(&tail))
    }

    /// Returns whether a Run left neither a fact nor a checkpoint, as when its process died while it began.
    pub fn is_blank(&self, job: &JobId, run: &RunId) -> bool {
        let is_none = |found: Result<bool, StoreError>| found.unwrap_or(false);
        !self.has_facts(job, run)
            && is_none(self.newest_checkpoint(job, run).map(|newest| newest.is_none()))
            && is_none(self.original_events(job, run).map(|events| events.is_empty()))
    }
}
