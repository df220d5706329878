//! [`StopSignal`]: the one signal that ends a job early, whether its owner asked for that or its time is up. The tree
//! of Runs fires it; Runs, calls and skills watch it.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::Reached;

/// The reason for which a job stops before it is done.
#[derive(Debug, Clone, PartialEq)]
pub enum StopReason {
    /// Its owner asked for it.
    Cancelled,
    /// A budget of the job is used up.
    Budget(Reached),
}

/// The signal for all that works on a job to stop.
#[derive(Clone)]
pub struct StopSignal {
    /// Fires when the owner wants the job to stop.
    owner: CancellationToken,
    /// Fires with the owner's, and when the time is up.
    token: CancellationToken,
    deadline: Option<Deadline>,
}

/// A job's limit of working time.
#[derive(Clone, Copy)]
struct Deadline {
    limit_ms: u64,
    /// Spent before this invocation.
    before_ms: u64,
    began: Instant,
}

impl StopSignal {
    /// The signal of a job that has worked for `before_ms`, whose present invocation began at `began`.
    pub fn new(owner: &CancellationToken, limit_ms: Option<u64>, before_ms: u64, began: Instant) -> Self {
        let deadline = limit_ms.map(|limit_ms| Deadline { limit_ms, before_ms, began });
        Self { owner: owner.clone(), token: owner.child_token(), deadline }
    }

    /// Returns once the job is to stop.
    pub async fn fired(&self) {
        self.token.cancelled().await;
    }

    /// Returns whether the job is to stop.
    pub fn is_fired(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Stops the job because its time is up.
    pub fn fire(&self) {
        self.token.cancel();
    }

    /// The token that fires with the signal, for code that knows nothing of jobs.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Returns once the owner asks the job to stop.
    pub async fn cancelled(&self) {
        self.owner.cancelled().await;
    }

    /// Returns when the time is up; never when there is no limit.
    pub async fn time_is_up(&self) {
        let end = self.deadline.and_then(|time| {
            time.began.checked_add(Duration::from_millis(time.limit_ms.saturating_sub(time.before_ms)))
        });
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// The reason for the stop, once the signal has fired. An owner who asked comes first, also after the time is up:
    /// it is the answer to what was asked.
    pub fn reason(&self) -> StopReason {
        match self.deadline {
            Some(deadline) if !self.owner.is_cancelled() => StopReason::Budget(deadline.reached()),
            _ => StopReason::Cancelled,
        }
    }
}

impl Deadline {
    /// The time budget, as reached.
    fn reached(self) -> Reached {
        let worked = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let spent_ms = self.before_ms.saturating_add(worked).max(self.limit_ms);
        Reached::Duration { limit_ms: self.limit_ms, spent_ms }
    }
}
