//! [`SharedAccount`]: an account in the storage that jobs draw on together, in this process and in others. A Run reserves
//! there what its job's own account has granted, and settles both.
//!
//! Every request sets its worst case aside before it is sent, so that all processes together never pass the limits. What
//! a process that died had set aside stays so until its job is resumed, or until another job finds too little left: then
//! the records of the job show what it spent. As with a job's own account, a request that a dead process had under way is
//! counted by its prompt, and is sent again by the resumption with what was set aside for it: by so much, one request for
//! each job that was killed, the sum may exceed a limit.
//!
//! In an object store a job sets aside more than one request's worst case at a time ([`drawing`](super::drawing)); the rest is
//! the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::budget::{Budgets, Charge, Spent};
use crate::id::{AccountId, JobId, RunId};
use crate::machine::{JobAccount, ReservationOutcome, ReservationRefusal, ReservationRequest};
use crate::runtime::budget::drawing::{DrawnAccount, in_background};
use crate::runtime::error::RunError;
use crate::runtime::job::spending::JobSpending;
use crate::runtime::options::{AccountEnd, AccountUse};
use crate::runtime::stop::StopSignal;
use crate::store::remote::RemoteAccount;
use crate::store::{AccountRecord, JobStore, Store, StoreError};

/// The time between two looks at an account of which others hold too much. Far below the time that a model takes to
/// answer, far above that of a look.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The longest of them where each look is a request to an object store; each is twice the one before.
const LOOK_AGAIN_ELSEWHERE: Duration = Duration::from_secs(1);

/// A job's access to an account that it shares.
pub struct SharedAccount {
    store: Store,
    id: AccountId,
    limits: Budgets,
    /// The account, if the storage is in an object store; what the job has drawn of it, once it draws.
    remote: Option<RemoteAccount>,
    drawn: OnceLock<Arc<DrawnAccount>>,
    /// The account has refused a request of this job.
    is_used_up: AtomicBool,
}

impl SharedAccount {
    /// Opens the account of `store`, and sets its limits where `account` has any.
    ///
    /// # Errors
    /// [`StoreError::AccountWithoutLimits`], or a failure of the storage.
    pub fn open(store: &Store, account: &AccountUse) -> Result<Self, StoreError> {
        let given = account.limits;
        let limits = match store.remote_account(&account.id) {
            Some(remote) => remote.change(move |record| {
                record.limits = limits_from_now(&record.limits, &given);
                Ok(record.limits)
            })?,
            None => store.change_account(&account.id, |record| {
                record.limits = limits_from_now(&record.limits, &given);
                record.limits
            })?,
        };
        Self::with(store, account, limits)
    }

    /// The account as [`Self::open`] would find it; it is neither made nor changed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn seen(store: &Store, account: &AccountUse) -> Result<Self, StoreError> {
        let limits = match store.remote_account(&account.id) {
            Some(remote) => remote.read()?.map(|record| record.limits),
            None => store.account(&account.id)?.map(|record| record.limits),
        };
        Self::with(store, account, limits_from_now(&limits.unwrap_or_default(), &account.limits))
    }

    fn with(store: &Store, account: &AccountUse, limits: Budgets) -> Result<Self, StoreError> {
        if !limits.are_reserved() {
            return Err(StoreError::AccountWithoutLimits { account: account.id.clone() });
        }
        let (id, remote) = (account.id.clone(), store.remote_account(&account.id));
        let is_used_up = AtomicBool::new(false);
        Ok(Self { store: store.clone(), id, limits, remote, drawn: OnceLock::new(), is_used_up })
    }

    /// Returns true if cost is limited, so that prices have to be known.
    pub fn limits_cost(&self) -> bool {
        self.limits.max_cost.is_some()
    }

    /// A job that has spent so much before begins to draw.
    ///
    /// # Errors
    /// A failure of the storage.
    pub fn enter(&self, job: &Arc<JobStore>, spent: Charge) -> Result<(), StoreError> {
        let Some(remote) = &self.remote else {
            return self.store.change_account(&self.id, |record| record.settle_job(job.id(), spent, true));
        };
        let drawn = DrawnAccount::enter((&self.store, &self.id), remote, job, spent)?;
        self.drawn.get_or_init(|| drawn);
        Ok(())
    }

    /// A job that has spent so much in all has ended. The account as it is then.
    ///
    /// # Errors
    /// A failure of the storage.
    pub fn leave(&self, job: &JobId, spent: Charge) -> Result<AccountEnd, StoreError> {
        let (limits, spent) = match self.drawn.get() {
            Some(drawn) => drawn.leave(spent)?,
            None => self.store.change_account(&self.id, |record| {
                record.settle_job(job, spent, false);
                (record.limits, record.spent)
            })?,
        };
        Ok(AccountEnd { id: self.id.clone(), limits, spent, is_used_up: self.is_used_up.load(Ordering::Relaxed) })
    }

    /// Sets aside what a request may take, once others have given back what is in its way. `None` when the job is to stop.
    ///
    /// # Errors
    /// A failure of the storage.
    pub async fn reserve(
        self: &Arc<Self>,
        job: &JobId,
        run: &RunId,
        request: &ReservationRequest,
        stop: &StopSignal,
    ) -> Result<Option<ReservationOutcome>, RunError> {
        let mut wait = LOOK_AGAIN;
        loop {
            let (account, job, run, request) = (Arc::clone(self), job.clone(), run.clone(), request.clone());
            // Not in a select: what is set aside must not be forgotten.
            let outcome = in_background(move || match account.drawn.get() {
                Some(drawn) => drawn.reserve(&run, &request),
                None => account.reserve_now(&job, &run, &request),
            });
            let outcome = outcome.await??;
            if let Some(outcome) = outcome {
                let is_refused = matches!(outcome, ReservationOutcome::Refused(_));
                self.is_used_up.fetch_or(is_refused, Ordering::Relaxed);
                return Ok(Some(outcome));
            }
            if let Some(drawn) = self.drawn.get() {
                drawn.look_for_the_silent();
                wait = wait.saturating_mul(2).min(LOOK_AGAIN_ELSEWHERE);
            }
            tokio::select! {
                biased;
                () = stop.fired() => return Ok(None),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// As [`Self::reserve`], without waiting; `None` where others hold too much.
    fn reserve_now(
        &self,
        job: &JobId,
        run: &RunId,
        request: &ReservationRequest,
    ) -> Result<Option<ReservationOutcome>, StoreError> {
        let mut may_tidy = true;
        self.store.change_account(&self.id, |record| {
            loop {
                let spent = Spent { tokens: record.spent.tokens, cost: record.spent.cost, ..Spent::default() };
                return match JobAccount::with_held(record.limits, spent, record.held()).reserve(request) {
                    Ok(reservation) => {
                        if let Some(reservation) = &reservation {
                            let open = record.open.entry(job.clone()).or_default();
                            open.held.insert(run.clone(), reservation.whole());
                        }
                        Some(ReservationOutcome::Granted(reservation))
                    }
                    Err(ReservationRefusal::Later) if std::mem::take(&mut may_tidy) => {
                        self.settle_the_dead(record, job);
                        continue;
                    }
                    Err(ReservationRefusal::Later) => None,
                    Err(ReservationRefusal::Never(reached)) => Some(ReservationOutcome::Refused(reached)),
                };
            }
        })
    }

    /// Settles the jobs that no process works on any more by their records; where those are gone, by what was set aside.
    fn settle_the_dead(&self, record: &mut AccountRecord, own: &JobId) {
        let others: Vec<JobId> = record.open.keys().filter(|job| *job != own).cloned().collect();
        for job in others.into_iter().filter(|job| self.store.holder(job).is_none()) {
            let held = record.open.get(&job).into_iter().flat_map(|open| open.held.values().copied());
            let held = held.fold(Charge::default(), Charge::plus);
            if let Ok(spending) = JobSpending::read(&self.store, &job) {
                record.settle_job(&job, spending.charge(), false);
            } else {
                record.open.remove(&job);
                record.spent = record.spent.plus(held);
            }
        }
    }

    /// Charges a request that has ended. What was set aside for it is free again.
    pub async fn settle(self: &Arc<Self>, job: &JobId, run: &RunId, charge: Charge) {
        let (account, job, run) = (Arc::clone(self), job.clone(), run.clone());
        let settled = in_background(move || match account.drawn.get() {
            Some(drawn) => drawn.settle(&run, charge),
            None => account.store.change_account(&account.id, |record| {
                record.spent = record.spent.plus(charge);
                if let Some(open) = record.open.get_mut(&job) {
                    open.held.remove(&run);
                    open.counted = open.counted.plus(charge);
                }
            }),
        });
        // Where it fails, it stays set aside until the job leaves, which settles by the job's records, or fails too.
        let _ = settled.await;
    }
}

/// The limits of an account with those that are `given` now.
fn limits_from_now(own: &Budgets, given: &Budgets) -> Budgets {
    Budgets { max_cost: given.max_cost.or(own.max_cost), max_tokens: given.max_tokens.or(own.max_tokens), ..*own }
}
