//! What ends a job before it is done: its owner, or its time.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::Reached;
use crate::fact::FactBody;

/// Why a job is stopped, once it is; and when its time is up.
#[derive(Clone)]
pub struct StopSignal {
    /// Fires when the owner wants it to stop.
    owner: CancellationToken,
    time: Option<Time>,
}

#[derive(Clone, Copy)]
struct Time {
    limit_ms: u64,
    /// Spent before this invocation.
    before_ms: u64,
    began: Instant,
}

impl StopSignal {
    /// Of a job that has worked for `before_ms`, whose present invocation began at `began`.
    pub fn new(owner: CancellationToken, limit_ms: Option<u64>, before_ms: u64, began: Instant) -> Self {
        Self { owner, time: limit_ms.map(|limit_ms| Time { limit_ms, before_ms, began }) }
    }

    /// Fires when the owner wants the job to stop.
    pub fn owner(&self) -> &CancellationToken {
        &self.owner
    }

    /// Returns when the time is up; never when there is no limit.
    pub async fn time_is_up(&self) {
        let end = self.time.and_then(|time| {
            time.began.checked_add(Duration::from_millis(time.limit_ms.saturating_sub(time.before_ms)))
        });
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// The time budget, as reached; `None` where there is none.
    pub fn reached(&self) -> Option<Reached> {
        let time = self.time?;
        let worked = u64::try_from(time.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let spent_ms = time.before_ms.saturating_add(worked).max(time.limit_ms);
        Some(Reached::Duration { limit_ms: time.limit_ms, spent_ms })
    }

    /// What a Run that is stopped hears: the owner's word counts first.
    pub fn fact(&self) -> FactBody {
        match self.reached() {
            Some(reached) if !self.owner.is_cancelled() => FactBody::BudgetReached { reached },
            _ => FactBody::Interrupted,
        }
    }
}
