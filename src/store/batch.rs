//! [`BatchStore`]: a batch that this process alone works on: one expert on many inputs, a job for each. The command line
//! opens it; the jobs are found by their ids, which [`BatchStore::job`] derives.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::lock::StoreLock;
use super::{Store, StoreError, atomic, snapshot};
use crate::checkpoint::FORMAT_VERSION;
use crate::expert::ExpertKey;
use crate::hex;
use crate::id::{BatchId, JobId};
use crate::output_schema::OutputSchema;

/// Hexadecimal digits of a query's digest in the id of its job: with the row's number in it too, far from any clash.
const DIGEST_LEN: usize = 12;

/// A batch as it was begun. Readers tolerate unknown keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchRecord {
    format_version: u32,
    pub expert_key: ExpertKey,
    /// The template of the queries; absent where the rows have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The file of the rows, as it was named.
    pub input: String,
    /// The digest of the schema that was given for the answers, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_schema: Option<String>,
}

impl BatchRecord {
    /// The record of a batch that begins.
    pub fn new(expert_key: ExpertKey, query: Option<String>, input: String, schema: Option<&OutputSchema>) -> Self {
        let digest = |schema: &OutputSchema| hex::digits(&Sha256::digest(schema.as_value().to_string()));
        Self { format_version: FORMAT_VERSION, expert_key, query, input, output_schema: schema.map(digest) }
    }

    /// The id of a batch that is not named: the same for the same expert, template, input and schema.
    pub fn own_id(&self) -> Option<BatchId> {
        let mut digest = Sha256::new();
        let parts = [self.expert_key.as_str(), self.query.as_deref().unwrap_or_default(), &self.input];
        for part in parts.into_iter().chain(self.output_schema.as_deref()) {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        let digits: String = hex::digits(&digest.finalize()).chars().take(DIGEST_LEN).collect();
        format!("each-{digits}").parse().ok()
    }
}

/// A batch that is held.
pub struct BatchStore {
    id: BatchId,
    _lock: StoreLock,
}

impl BatchStore {
    /// The batch's id.
    pub fn id(&self) -> &BatchId {
        &self.id
    }

    /// The id of the job for the row of this number: the same for the same query at the same place.
    ///
    /// # Errors
    /// Never, unless the batch's id is too long.
    pub fn job(&self, row: u64, query: &str) -> Result<JobId, StoreError> {
        job_id(&self.id, row, query)
    }
}

fn job_id(batch: &BatchId, row: u64, query: &str) -> Result<JobId, StoreError> {
    let digits: String = hex::digits(&Sha256::digest(query)).chars().take(DIGEST_LEN).collect();
    format!("{batch}-{row}-{digits}").parse().map_err(|_| StoreError::NotFound {
        what: format!("batch {batch} cannot be: its name is too long for the names of its jobs"),
        suggestion: Some("choose a shorter name".to_owned()),
    })
}

impl Store {
    /// Takes the lock of a batch, and records it if it is new. In an object store other machines may work on it too: each of its
    /// jobs is one process's.
    ///
    /// # Errors
    /// [`StoreError::BatchLocked`]; [`StoreError::OtherBatch`]; a name that is too long; the system's error.
    pub fn open_batch(&self, id: &BatchId, record: &BatchRecord) -> Result<BatchStore, StoreError> {
        job_id(id, u64::MAX, "")?;
        atomic::create_folder(&self.layout.batches())?;
        let taken = |pid| StoreError::BatchLocked { batch: id.clone(), pid };
        let lock = StoreLock::take_at(self.layout.batch_lock(id), taken)?;
        let path = self.layout.batch(id);
        let batch = BatchStore { id: id.clone(), _lock: lock };
        if let Some(remote) = &self.remote {
            // The one that counts; another machine may have begun it.
            atomic::write(&path, &remote.begin_batch(id, atomic::indented(&path, record)?)?)?;
        }
        match snapshot::read_versioned::<BatchRecord>(&path) {
            Ok(begun) => {
                let other = |what| Err(StoreError::OtherBatch { batch: id.clone(), what });
                if begun.expert_key != record.expert_key {
                    return other("expert");
                }
                if begun.query != record.query {
                    return other("template of the query");
                }
                if begun.output_schema != record.output_schema {
                    return other("schema of the answers");
                }
            }
            Err(error) if error.is_not_found() => atomic::write_json(&path, record)?,
            Err(error) => return Err(error),
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::World;
    use super::*;

    fn record(expert: &str, query: Option<&str>) -> BatchRecord {
        BatchRecord::new(expert.parse().unwrap(), query.map(str::to_owned), "rows.jsonl".to_owned(), None)
    }

    #[test]
    fn a_batch_is_held_by_one_and_begun_once() {
        let world = World::new();
        let record_a = record("owl", Some("{text}"));
        let id = record_a.own_id().unwrap();
        assert_eq!(record("owl", Some("{text}")).own_id().unwrap(), id);
        assert_ne!(record("owl", None).own_id().unwrap(), id);
        let held = world.store.open_batch(&id, &record_a).unwrap();
        let pid = Some(std::process::id());
        let second = world.store.open_batch(&id, &record_a).map(|_| ()).unwrap_err();
        assert!(matches!(&second, StoreError::BatchLocked { pid: found, .. } if *found == pid), "{second}");
        drop(held);
        world.store.open_batch(&id, &record_a).unwrap();
        for (other, what) in [(record("bee", Some("{text}")), "expert"), (record("owl", None), "template of the query")]
        {
            let error = world.store.open_batch(&id, &other).map(|_| ()).unwrap_err();
            assert!(matches!(&error, StoreError::OtherBatch { what: found, .. } if *found == what), "{error}");
        }
    }

    #[test]
    fn a_job_is_of_a_row_and_what_it_holds() {
        let id: BatchId = "triage".parse().unwrap();
        let job = |row, query| job_id(&id, row, query).unwrap();
        assert_eq!(job(3, "owls"), job(3, "owls"));
        assert!(job(3, "owls").as_str().starts_with("triage-3-"));
        assert_ne!(job(3, "owls"), job(4, "owls"));
        assert_ne!(job(3, "owls"), job(3, "bees"));
        assert!(job_id(&"x".repeat(120).parse().unwrap(), 1, "").is_err());
    }
}
