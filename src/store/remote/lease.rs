//! [`Lease`]: this process's hold on a job. It is renewed beside the work, looked at before anything follows from what was
//! written, and let go of at the end.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as TaskMutex, Notify};

use super::Shared;
use super::bucket::Backoff;
use super::clock::since_boot;
use super::owner::{self, Claimant, OwnerRecord, Ownership};
use super::probe;
use crate::id::JobId;
use crate::store::StoreError;

/// The longest wait for the job to be let go of: the next owner can also wait for the lease.
const RELEASE_TIME: Duration = Duration::from_secs(5);

type Callback = Box<dyn FnOnce() + Send>;

/// A hold on a job. Dropped, it is let go of.
pub struct Lease {
    shared: Arc<Shared>,
    job: JobId,
    state: Arc<LeaseState>,
}

/// A look at a lease.
pub struct LeaseWatch {
    state: Arc<LeaseState>,
    lease: Duration,
}

impl LeaseWatch {
    /// Returns whether the lease holds, without asking.
    pub fn holds(&self) -> bool {
        self.state.holds(self.lease)
    }
}

struct LeaseState {
    owned: TaskMutex<Ownership>,
    /// The end of the lease by [`since_boot`], in milliseconds.
    until: AtomicU64,
    is_lost: AtomicBool,
    /// Callbacks have been called: the work is ending, though the lease may be renewed yet.
    is_given_up: AtomicBool,
    /// To be called when the lease is about to end without a renewal.
    callbacks: Mutex<Vec<Callback>>,
    ends: Notify,
}

impl Lease {
    /// Takes a job, and begins to renew. Returns the owner before, if there was one.
    ///
    /// # Errors
    /// As [`owner::claim`]; the store is unfit.
    pub fn take(shared: &Arc<Shared>, job: &JobId) -> Result<(Self, Option<OwnerRecord>), StoreError> {
        let (owned, before) = shared.bucket.wait({
            let (shared, job) = (Arc::clone(shared), job.clone());
            async move {
                let bucket = &*shared.bucket.bucket;
                probe::check(bucket, &shared.address).await?;
                let waits = |before: &OwnerRecord, longest: Duration| {
                    let (worker, seconds) = (&before.worker, longest.as_secs_f64().ceil());
                    (shared.notice)(&format!(
                        "job {job} was worked on by {worker}, which has not let go of it: waiting {seconds} s for it"
                    ));
                };
                let claimant = Claimant {
                    job: &job,
                    worker: &shared.worker,
                    nonce: &shared.nonce,
                    lease: shared.lease,
                    takes_over: shared.takes_over,
                    waits: &waits,
                };
                owner::claim(bucket, &shared.address.owner(&job), &claimant).await
            }
        })?;
        let state = Arc::new(LeaseState {
            until: AtomicU64::new(end_of(owned.confirmed, shared.lease)),
            owned: TaskMutex::new(owned),
            is_lost: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            callbacks: Mutex::default(),
            ends: Notify::new(),
        });
        shared.bucket.spawn(keep(Arc::downgrade(shared), job.clone(), Arc::clone(&state)));
        Ok((Self { shared: Arc::clone(shared), job: job.clone(), state }, before))
    }

    /// The epoch, and the owner's own text.
    ///
    /// # Errors
    /// The thread that asks the object store has ended.
    pub fn mark(&self) -> Result<(u64, String), StoreError> {
        let state = Arc::clone(&self.state);
        self.shared.bucket.wait(async move {
            let owned = state.owned.lock().await;
            Ok((owned.record.epoch, owned.record.nonce.clone()))
        })
    }

    /// Has `callback` called as soon as the lease is about to end without a renewal: what this process has started must
    /// have ended when another takes the job.
    pub fn when_lost(&self, callback: impl FnOnce() + Send + 'static) {
        let mut callbacks = self.state.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
        callbacks.push(Box::new(callback));
        drop(callbacks);
        if self.state.is_lost.load(Ordering::Acquire) {
            self.state.call();
        }
    }

    /// Returns whether the lease was about to end without a renewal, so that all work on the job had to.
    pub fn is_given_up(&self) -> bool {
        self.state.is_given_up.load(Ordering::Acquire)
    }

    /// A look at the lease from elsewhere.
    pub fn watch(&self) -> LeaseWatch {
        LeaseWatch { state: Arc::clone(&self.state), lease: self.shared.lease }
    }

    /// Checks that the job is this process's, for long enough to do something. A lease that ended while the process was
    /// suspended is renewed, which only the owner can.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], or the object store cannot be asked.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.state.is_lost.load(Ordering::Acquire) {
            return Err(StoreError::Fenced { job: self.job.clone() });
        }
        if self.watch().holds() {
            return Ok(());
        }
        let renewed = self.shared.bucket.wait({
            let (shared, job, state) = (Arc::clone(&self.shared), self.job.clone(), Arc::clone(&self.state));
            async move { renew(&shared, &job, &state).await }
        });
        if renewed.is_err() {
            self.state.lose();
        }
        renewed
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.ends.notify_one();
        if self.state.is_lost.load(Ordering::Acquire) {
            return;
        }
        let (shared, job, state) = (Arc::clone(&self.shared), self.job.clone(), Arc::clone(&self.state));
        let released = self.shared.bucket.wait(async move {
            let mut owned = state.owned.lock().await;
            let path = shared.address.owner(&job);
            let release = owner::release(&*shared.bucket.bucket, &path, &job, &mut owned);
            tokio::time::timeout(RELEASE_TIME, release).await.unwrap_or(Ok(()))
        });
        if let Err(error) = released {
            // The next owner waits for the lease.
            tracing::debug!("{} was not let go of: {error}", self.job);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.job).finish()
    }
}

impl LeaseState {
    /// Returns whether it holds for another sixth of the lease.
    fn holds(&self, lease: Duration) -> bool {
        since_boot().saturating_add(lease / 6) < self.end()
    }

    fn end(&self) -> Duration {
        Duration::from_millis(self.until.load(Ordering::Acquire))
    }

    fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
        self.call();
    }

    fn call(&self) {
        self.is_given_up.store(true, Ordering::Release);
        let callbacks = std::mem::take(&mut *self.callbacks.lock().unwrap_or_else(PoisonError::into_inner));
        for callback in callbacks {
            callback();
        }
    }
}

fn end_of(confirmed: Duration, lease: Duration) -> u64 {
    u64::try_from(confirmed.saturating_add(lease).as_millis()).unwrap_or(u64::MAX)
}

async fn renew(shared: &Shared, job: &JobId, state: &LeaseState) -> Result<(), StoreError> {
    let mut owned = state.owned.lock().await;
    let path = shared.address.owner(job);
    let mut backoff = Backoff::default();
    let renewal = owner::renew(&*shared.bucket.bucket, &path, job, &mut owned, &mut backoff);
    let renewed = tokio::time::timeout(shared.lease / 3, renewal).await.unwrap_or_else(|_| {
        let what = format!("{path} in the object store was not renewed in time");
        Err(StoreError::Remote { what, source: "no answer".into() })
    });
    if renewed.is_ok() {
        state.until.store(end_of(owned.confirmed, shared.lease), Ordering::Release);
    }
    renewed
}

/// Renews three times in a lease, until it is let go of or lost.
async fn keep(shared: std::sync::Weak<Shared>, job: JobId, state: Arc<LeaseState>) {
    let Some(lease) = shared.upgrade().map(|shared| shared.lease) else { return };
    let mut wait = lease / 3;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = state.ends.notified() => return,
        }
        let Some(shared) = shared.upgrade() else { return };
        match renew(&shared, &job, &state).await {
            Ok(()) => wait = lease / 3,
            Err(StoreError::Fenced { .. }) => return state.lose(),
            Err(error) => {
                tracing::debug!("the lease of {job} is not renewed: {error}");
                wait = lease / 12;
                if since_boot().saturating_add(lease / 3) >= state.end() {
                    // It may yet be renewed, but what runs must not be found running by another owner.
                    state.call();
                }
            }
        }
    }
}
