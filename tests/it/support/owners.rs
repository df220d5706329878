//! [`Owners`]: the processes that took jobs in an object store, as its tap sees them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::s3::Passing;

/// The owners that jobs have had.
#[derive(Default)]
pub struct Owners {
    /// The process of each epoch, by the record's path.
    by_epoch: Mutex<BTreeMap<(String, u64), String>>,
    /// The questions to the model since the last of them took a job.
    questions: AtomicUsize,
}

impl Owners {
    /// Looks whether somebody takes a job, and fails if an epoch gets a second owner.
    pub fn note(&self, passing: &Passing<'_>) {
        let Passing { request, status, .. } = passing;
        if request.method != "PUT" || !request.path.ends_with("/owner.json") || *status != Some(200) {
            return;
        }
        let record: Value = serde_json::from_slice(&request.body).unwrap();
        let (epoch, nonce) = (record["epoch"].as_u64().unwrap(), record["nonce"].as_str().unwrap().to_owned());
        let owner = self.by_epoch.lock().unwrap().insert((request.path.clone(), epoch), nonce.clone());
        match owner {
            Some(owner) => assert_eq!(owner, nonce, "a second owner of epoch {epoch} of {}", request.path),
            None => self.questions.store(0, Ordering::SeqCst),
        }
    }

    /// Notes a question to the model.
    pub fn note_question(&self) {
        self.questions.fetch_add(1, Ordering::SeqCst);
    }

    /// The owners so far.
    pub fn count(&self) -> usize {
        self.by_epoch.lock().unwrap().len()
    }

    /// The questions to the model since the last of them took a job.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    /// Returns whether more than this many owners were there, and the last of them asks the model.
    pub fn is_at_work_after(&self, owners: usize) -> bool {
        self.count() > owners && self.questions() > 0
    }
}
