//! Waiting within a limit of time that counts only while this process runs ([`Allowance`]).

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::allowance::Allowance;

/// Waits until `limit` has passed.
pub(super) async fn passed(limit: Duration) {
    let mut left = Allowance::new(limit);
    while !left.is_spent() {
        let began = Instant::now();
        sleep(left.stretch()).await;
        left.spend(began.elapsed());
    }
}

/// The output of `future`; `None` when `limit` passes first.
pub(super) fn within<T>(limit: Duration, future: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    // Boxed, or whoever waits would hold a large future twice.
    let future = Box::pin(future);
    async move {
        tokio::select! {
            biased;
            value = future => Some(value),
            () = passed(limit) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_passes_when_nothing_comes() {
        let began = Instant::now();
        let limit = Duration::from_millis(2500);
        assert_eq!(within(limit, std::future::pending::<()>()).await, None);
        assert_eq!(began.elapsed(), limit);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_the_process_slept_counts() {
        let limit = Duration::from_secs(5);
        let slow = async {
            sleep(Duration::from_millis(100)).await;
            // The process is stopped here, for far longer than the limit.
            tokio::time::advance(Duration::from_mins(1)).await;
            sleep(Duration::from_millis(100)).await;
            "late"
        };
        assert_eq!(within(limit, slow).await, Some("late"));
    }
}
