//! [`DrawnAccount`]: an account in an object store as one job draws on it. Its block is [`JobBlock`]'s, the account's record
//! the store's.
//!
//! Nothing is granted or changed unless the job is this process's, which is looked at right before: who finds that it is not
//! draws nothing more. A job whose process is silent is taken over by who needs what it has set aside, as by who resumes it,
//! so that its process is fenced before its block is settled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::budget::{Budgets, Charge};
use crate::id::{AccountId, JobId, RunId};
use crate::machine::{ReservationOutcome, ReservationRefusal, ReservationRequest};
use crate::runtime::budget::block::JobBlock;
use crate::runtime::error::RunError;
use crate::runtime::job::spending::JobSpending;
use crate::store::remote::{LeaseWatch, OwnerRecord, RemoteAccount, RemoteAccountRecord};
use crate::store::{JobStore, Store, StoreError};

/// The time between two looks at whether others wait for what is set aside and not used.
const GIVES_BACK: Duration = Duration::from_secs(5);

/// A job's access to an account in an object store.
pub struct DrawnAccount {
    store: Store,
    account: RemoteAccount,
    /// The job, for as long as its process works on it.
    owned: Weak<JobStore>,
    block: Mutex<JobBlock>,
    /// Somebody looks for jobs whose process is silent.
    looks: Arc<AtomicBool>,
}

impl DrawnAccount {
    /// Begins to draw for a job that has spent so much before.
    ///
    /// # Errors
    /// The job is not this process's any more, or the object store cannot be asked.
    pub fn enter(
        (store, id): (&Store, &AccountId),
        account: &RemoteAccount,
        owned: &Arc<JobStore>,
        spent: Charge,
    ) -> Result<Arc<Self>, StoreError> {
        let (job, epoch) = (owned.id().clone(), owned.epoch());
        let entering = job.clone();
        let (limits, block) = change(account, owned, move |record| match record.enter(&entering, epoch, spent) {
            Some(block) => Ok((record.limits, block)),
            None => Err(StoreError::Fenced { job: entering.clone() }),
        })?;
        let drawn = Arc::new(Self {
            store: store.clone(),
            account: account.clone(),
            owned: Arc::downgrade(owned),
            block: Mutex::new(JobBlock::new((id.clone(), limits), job, spent, block)),
            looks: Arc::default(),
        });
        tokio::spawn(give_back_to_others(Arc::downgrade(&drawn)));
        Ok(drawn)
    }

    /// Gives back what is left of the block of a job that has spent so much in all. The limits, and what all have spent.
    ///
    /// # Errors
    /// As [`DrawnAccount::enter`].
    pub fn leave(&self, spent: Charge) -> Result<(Budgets, Charge), StoreError> {
        let mut block = lock(&self.block);
        let (job, epoch) = (block.job().clone(), block.epoch());
        block.doubt();
        self.change(&job.clone(), move |record| {
            // Whoever else takes the block has the job. Where it is gone, it was with a put whose answer was lost.
            record.leave(&job, epoch, spent);
            Ok((record.limits, record.spent))
        })
    }

    /// Sets aside what a request may take; `None` where others hold too much.
    ///
    /// # Errors
    /// As [`DrawnAccount::enter`].
    pub fn reserve(&self, run: &RunId, request: &ReservationRequest) -> Result<Option<ReservationOutcome>, StoreError> {
        let mut block = lock(&self.block);
        let job = block.job().clone();
        self.owned(&job)?.check_owned()?;
        if let Some(granted) = block.grant(run, request) {
            return Ok(Some(ReservationOutcome::Granted(Some(granted))));
        }
        let (asking, run, request) = (block.doubt(), run.clone(), request.clone());
        let (drawn, granted) = self.change(&job, move |record| asking.clone().draw(record, &run, &request))?;
        *block = drawn;
        // The answer may have been long in coming.
        self.owned(&job)?.check_owned()?;
        Ok(match granted {
            Ok(granted) => Some(ReservationOutcome::Granted(Some(granted))),
            Err(ReservationRefusal::Later) => None,
            Err(ReservationRefusal::Never(reached)) => Some(ReservationOutcome::Refused(reached)),
        })
    }

    /// Charges a request that has ended. Where others may be short of it, what it did not take is given back at once.
    ///
    /// # Errors
    /// As [`DrawnAccount::enter`]; the request is charged all the same.
    pub fn settle(&self, run: &RunId, charge: Charge) -> Result<(), StoreError> {
        let mut block = lock(&self.block);
        if block.settle(run, charge) { self.give_back(&mut block) } else { Ok(()) }
    }

    /// Settles, beside the work, the jobs whose process is silent for a whole lease.
    pub fn look_for_the_silent(&self) {
        if self.looks.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, account, looks) = (self.store.clone(), self.account.clone(), Arc::clone(&self.looks));
        let own = lock(&self.block).job().clone();
        tokio::spawn(async move {
            if let Err(error) = settle_the_silent(&store, &account, &own).await {
                tracing::debug!("silent jobs are not settled: {error}");
            }
            looks.store(false, Ordering::Release);
        });
    }

    fn owned(&self, job: &JobId) -> Result<Arc<JobStore>, StoreError> {
        self.owned.upgrade().ok_or_else(|| StoreError::Fenced { job: job.clone() })
    }

    fn change<T: Send + 'static>(
        &self,
        job: &JobId,
        edit: impl FnMut(&mut RemoteAccountRecord) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<T, StoreError> {
        change(&self.account, &*self.owned(job)?, edit)
    }

    fn give_back(&self, block: &mut JobBlock) -> Result<(), StoreError> {
        let (job, giving) = (block.job().clone(), block.doubt());
        *block = self.change(&job, move |record| giving.clone().give_back(record))?;
        Ok(())
    }

    /// Gives back what is not used, if another job needs it.
    fn give_back_if_needed(&self) -> Result<(), StoreError> {
        let (job, has_rest) = {
            let block = lock(&self.block);
            (block.job().clone(), block.has_rest())
        };
        if !has_rest || !self.account.read()?.is_some_and(|record| record.is_waited_for(&job)) {
            return Ok(());
        }
        self.give_back(&mut lock(&self.block))
    }
}

/// Changes an account for a job that is this process's. Each put is sent while it is.
fn change<T: Send + 'static>(
    account: &RemoteAccount,
    owned: &JobStore,
    edit: impl FnMut(&mut RemoteAccountRecord) -> Result<T, StoreError> + Clone + Send + 'static,
) -> Result<T, StoreError> {
    loop {
        let watch = owned.check_owned()?;
        let mut edit = edit.clone();
        let changed = account.change(move |record| {
            let holds = watch.as_ref().is_none_or(LeaseWatch::holds);
            holds.then(|| edit(record)).transpose()
        })?;
        if let Some(changed) = changed {
            return Ok(changed);
        }
    }
}

/// Gives back what is not used whenever another job needs it, for as long as the job draws.
async fn give_back_to_others(drawn: Weak<DrawnAccount>) {
    loop {
        tokio::time::sleep(GIVES_BACK).await;
        let Some(drawn) = drawn.upgrade() else { return };
        let given = in_background(move || drawn.give_back_if_needed()).await;
        if let Ok(Err(error)) | Err(RunError::Store(error)) = given {
            // The next request asks the account, and finds the same.
            tracing::debug!("nothing is given back: {error}");
        }
    }
}

/// Settles the jobs whose owner has not been heard of for a whole lease.
async fn settle_the_silent(store: &Store, account: &RemoteAccount, own: &JobId) -> Result<(), RunError> {
    let (asked, of) = (account.clone(), store.clone());
    let own = own.clone();
    let owners = move || -> Result<_, StoreError> {
        let blocks = asked.read()?.map(|record: RemoteAccountRecord| record.blocks).unwrap_or_default();
        of.owners(blocks.into_keys().filter(|job| *job != own).collect())
    };
    let before = in_background(owners.clone()).await??;
    let lease = before.iter().filter_map(|(_, owner)| owner.as_ref().map(OwnerRecord::lease)).max();
    tokio::time::sleep(lease.unwrap_or_default()).await;
    let after = in_background(owners).await??;
    for (job, _) in after.into_iter().filter(|owner| before.contains(owner)) {
        let (store, account) = (store.clone(), account.clone());
        in_background(move || settle_silent(&store, &account, job)).await??;
    }
    Ok(())
}

/// Settles a job by its records, or by what it has set aside where they are gone. Its process is fenced by then.
fn settle_silent(store: &Store, account: &RemoteAccount, job: JobId) -> Result<(), StoreError> {
    let owned = match store.open_job(&job) {
        Ok(owned) => Some(owned),
        Err(error) if error.is_not_found() => None,
        // It was heard of meanwhile; or the next look finds the same.
        Err(_) => return Ok(()),
    };
    let records = owned.as_ref().and_then(|owned| Some((owned.epoch(), JobSpending::read(store, &job).ok()?.charge())));
    account.change(move |record| {
        match records {
            Some((epoch, spent)) => drop(record.leave(&job, epoch, spent)),
            None => record.write_off(&job),
        }
        Ok(())
    })
}

/// Performs what waits for the disk, for an object store and for other processes.
pub async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| RunError::Internal(panic.to_string()))
}

fn lock(block: &Mutex<JobBlock>) -> MutexGuard<'_, JobBlock> {
    // Behind a panic it is in doubt, or as it was.
    block.lock().unwrap_or_else(PoisonError::into_inner)
}
