//! [`AccountRecord`]: what jobs that share an account have spent and set aside together. The runtime's budget decides
//! what is granted; every change goes through [`Store::change_account`], one process after the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::atomic::FileLock;
use super::{Store, StoreError, atomic, snapshot};
use crate::budget::{Budgets, Charge};
use crate::checkpoint::FORMAT_VERSION;
use crate::id::{AccountId, JobId, RunId};

/// An account that jobs share. Readers tolerate unknown keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRecord {
    format_version: u32,
    /// Cost and tokens alone: the others are a job's own.
    pub limits: Budgets,
    /// By all jobs, those that are open included.
    pub spent: Charge,
    /// Jobs that draw on the account now, or whose process died while they did.
    #[serde(default)]
    pub open: BTreeMap<JobId, OpenJob>,
}

/// A job that draws on an account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenJob {
    /// The job's own spending, as far as the account has it or does not count it: what its records have beyond this is to
    /// be added.
    pub counted: Charge,
    /// Set aside for the requests under way.
    #[serde(default)]
    pub held: BTreeMap<RunId, Charge>,
}

impl Default for AccountRecord {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            limits: Budgets::default(),
            spent: Charge::default(),
            open: BTreeMap::new(),
        }
    }
}

impl AccountRecord {
    /// The amounts set aside for all requests under way.
    pub fn held(&self) -> Vec<Charge> {
        self.open.values().flat_map(|job| job.held.values().copied()).collect()
    }

    /// Adds what a job has spent beyond what is counted, and frees what it held. `keep`: it goes on drawing.
    pub fn settle_job(&mut self, job: &JobId, spent: Charge, keep: bool) {
        let counted = self.open.remove(job).map_or(spent, |open| open.counted);
        self.spent = self.spent.plus(spent.minus(counted));
        if keep {
            self.open.insert(job.clone(), OpenJob { counted: spent, held: BTreeMap::new() });
        }
    }
}

impl Store {
    /// The account as it is; `None` before its first use.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`] or the system's error.
    pub fn account(&self, account: &AccountId) -> Result<Option<AccountRecord>, StoreError> {
        match snapshot::read_versioned(&self.layout.account(account)) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes an account, alone among all processes, and waits until the change is durable. Waits for other processes
    /// for as long as they write.
    ///
    /// # Errors
    /// As [`Store::account`]; the account is then as it was.
    pub fn change_account<T>(
        &self,
        account: &AccountId,
        change: impl FnOnce(&mut AccountRecord) -> T,
    ) -> Result<T, StoreError> {
        atomic::create_folder(&self.layout.accounts())?;
        let path = self.layout.account_lock(account);
        let _lock = FileLock::wait(&path)?;
        let before = self.account(account)?;
        let mut record = before.clone().unwrap_or_default();
        let done = change(&mut record);
        if before.as_ref() != Some(&record) {
            atomic::write_json(&self.layout.account(account), &record)?;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::World;
    use super::*;
    use crate::cost::Cost;

    fn charge(tokens: u64) -> Charge {
        Charge { tokens, cost: Cost::ZERO }
    }

    #[test]
    fn changes_of_many_threads_are_made_one_after_the_other() {
        let world = World::new();
        let id: AccountId = "nightly".parse().unwrap();
        assert_eq!(world.store.account(&id).unwrap(), None);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        world
                            .store
                            .change_account(&id, |account| account.spent = account.spent.plus(charge(1)))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(world.store.account(&id).unwrap().unwrap().spent, charge(40));
    }

    #[test]
    fn a_job_is_counted_once_however_often_it_is_settled() {
        let mut account = AccountRecord::default();
        let job: JobId = "j1".parse().unwrap();
        // What it had spent before it drew on the account is not the account's.
        account.settle_job(&job, charge(100), true);
        assert_eq!(account.spent, charge(0));
        account.open.get_mut(&job).unwrap().held.insert("r1".parse().unwrap(), charge(50));
        assert_eq!(account.held().len(), 1);
        account.settle_job(&job, charge(130), true);
        assert_eq!((account.spent, account.held().len()), (charge(30), 0));
        account.settle_job(&job, charge(130), false);
        account.settle_job(&job, charge(130), false);
        assert_eq!((account.spent, account.open.len()), (charge(30), 0));
    }

    #[test]
    fn a_damaged_account_is_an_error_and_left_as_it_is() {
        let world = World::new();
        let id: AccountId = "nightly".parse().unwrap();
        world.store.change_account(&id, |account| account.spent = charge(7)).unwrap();
        let path = world.store.layout().account(&id);
        std::fs::write(&path, "{\"formatVersion\": 1").unwrap();
        let error = world.store.change_account(&id, |account| account.spent = charge(0)).unwrap_err();
        assert!(error.is_damaged(), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"formatVersion\": 1");
    }
}
