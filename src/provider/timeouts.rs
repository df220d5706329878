//! [`GenerationTimeouts`]: time limits on one answer, for the whole and for silence within it.
//!
//! `generate` waits through [`Watch`]. Limits count the time that this process runs, so that an answer is not given up,
//! and paid for again, because its user pressed Ctrl-Z.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::allowance::Allowance;
use crate::generation::{Delta, FailureKind, GenerationFailure};

use crate::provider::failure;

/// The longest time-out; keeps sums of times in range.
const LONGEST_TIMEOUT: Duration = Duration::from_hours(24 * 365);

/// The longest silences of a server. Silence is the absence of *data*: keep-alive comments and pings do not end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationTimeouts {
    /// Before the first piece of content. Half the whole time-out counts when that is more: a local server evaluates a
    /// long prompt in silence, a large model reasons in silence, and a longer time-out for the whole is meant for
    /// that. Never more than the whole.
    pub first_data: Duration,
    /// Between pieces of content. A quarter of the whole time-out counts when that is more, for the same reasons.
    pub between_data: Duration,
    /// After the reason to stop, for usage and the end mark. The answer is complete without them.
    pub after_finish: Duration,
}

impl Default for GenerationTimeouts {
    /// 120 s, 90 s and 5 s: our own choice, not measured. A limit that is too short makes the user pay for a request
    /// twice, one that is too long only makes them wait.
    fn default() -> Self {
        Self {
            first_data: Duration::from_mins(2),
            between_data: Duration::from_secs(90),
            after_finish: Duration::from_secs(5),
        }
    }
}

/// The clock of one answer: when it must be complete, and when its next piece must arrive.
pub(super) struct Watch {
    limits: GenerationTimeouts,
    timeout: Duration,
    whole: Allowance,
    data: Allowance,
    /// The moment up to which time was taken off both.
    counted: Instant,
    awaiting: Awaiting,
    /// Keep-alives without data came.
    pub(super) has_keep_alives: bool,
}

/// The wait for a piece.
#[derive(Clone, Copy)]
struct Awaiting {
    is_first: bool,
    limit: Duration,
    /// The limit is at least the whole time-out divided by this.
    divisor: u32,
}

impl Watch {
    /// Starts now.
    pub(super) fn start(timeout: Duration, limits: GenerationTimeouts) -> Self {
        let timeout = timeout.min(LONGEST_TIMEOUT);
        let first = limits.first_data.max(timeout / 2).min(timeout);
        Self {
            limits,
            timeout,
            whole: Allowance::new(timeout),
            data: Allowance::new(first),
            counted: Instant::now(),
            awaiting: Awaiting { is_first: true, limit: first, divisor: 2 },
            has_keep_alives: false,
        }
    }

    /// Awaits `future`, unless a limit passes first. A limit that has passed counts even when the future is ready:
    /// a server that never pauses must not outlive it.
    pub(super) async fn within<T>(&mut self, future: impl Future<Output = T>) -> Result<T, GenerationFailure> {
        let mut future = pin!(future);
        loop {
            let come = timeout(self.whole.stretch().min(self.data.stretch()), &mut future).await;
            // Of two that have passed since the last look, the shorter one passed first.
            let whole_is_shorter = self.whole <= self.data;
            self.count();
            if self.whole.is_spent() || self.data.is_spent() {
                return Err(self.expired(whole_is_shorter));
            }
            if let Ok(value) = come {
                return Ok(value);
            }
        }
    }

    /// Takes the time since the last look off both limits.
    fn count(&mut self) {
        let now = Instant::now();
        let took = now.duration_since(self.counted);
        self.counted = now;
        self.whole.spend(took);
        self.data.spend(took);
    }

    /// Restarts the limit on silence after a delta; the kind of delta decides how long it is.
    pub(super) fn saw(&mut self, delta: &Delta) {
        let (limit, divisor) = match delta {
            // Usage is in the first event of some protocols, long before the model's first word.
            Delta::Usage(_) | Delta::End => return,
            // The answer is complete: the end of this wait is no failure.
            Delta::Finish(_) => (self.limits.after_finish, 1),
            // A tool that the provider runs may work in silence.
            Delta::Opaque { .. } => (self.limits.first_data.max(self.timeout / 2), 2),
            _ => (self.limits.between_data.max(self.timeout / 4), 4),
        };
        let limit = limit.min(LONGEST_TIMEOUT);
        self.count();
        self.data = Allowance::new(limit);
        self.awaiting = Awaiting { is_first: false, limit, divisor };
    }

    fn expired(&self, of_whole: bool) -> GenerationFailure {
        let Awaiting { is_first, limit, divisor } = self.awaiting;
        let message = match is_first {
            _ if of_whole => format!("the answer was not complete within {:?}", self.timeout),
            true => format!("the provider sent no data within {limit:?}"),
            false => format!("the answer stalled, no data for {limit:?}"),
        };
        let alive = if self.has_keep_alives { " (only keep-alives came)" } else { "" };
        // The time-out from which on a longer one raises the limit.
        let raised_from = limit.saturating_mul(divisor);
        let remedy = if of_whole || limit >= self.timeout || raised_from <= self.timeout {
            "a longer timeout allows more".to_owned()
        } else {
            format!("a timeout above {raised_from:?} allows more")
        };
        failure::retryable(FailureKind::Timeout, format!("timeout: {message}{alive}; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_time_for_the_whole_is_more_time_for_the_first_piece() {
        let first = |timeout: u64| {
            Watch::start(Duration::from_secs(timeout), GenerationTimeouts::default()).awaiting.limit.as_secs()
        };
        assert_eq!([first(60), first(200), first(300), first(3600)], [60, 120, 150, 1800]);
        assert_eq!(first(u64::MAX), LONGEST_TIMEOUT.as_secs() / 2);
    }

    /// The limits behind the first piece of content, and the errors at their ends.
    fn limits(timeout: u64) -> [(u64, String); 3] {
        let error = |watch: &Watch, of_whole| watch.expired(of_whole).message;
        let mut watch = Watch::start(Duration::from_secs(timeout), GenerationTimeouts::default());
        let first = (watch.awaiting.limit.as_secs(), error(&watch, false));
        watch.saw(&Delta::Text { index: 0, text: "a".to_owned() });
        let next = (watch.awaiting.limit.as_secs(), error(&watch, false));
        [first, next, (timeout, error(&watch, true))]
    }

    #[tokio::test]
    async fn every_limit_is_raised_by_the_time_out_and_its_error_names_that() {
        let [first, next, whole] = limits(200);
        let message = "timeout: the provider sent no data within 120s; a timeout above 240s allows more";
        assert_eq!(first, (120, message.to_owned()));
        let message = "timeout: the answer stalled, no data for 90s; a timeout above 360s allows more";
        assert_eq!(next, (90, message.to_owned()));
        let message = "timeout: the answer was not complete within 200s; a longer timeout allows more";
        assert_eq!(whole, (200, message.to_owned()));
        let [first, next, _] = limits(3600);
        let message = "timeout: the provider sent no data within 1800s; a longer timeout allows more";
        assert_eq!(first, (1800, message.to_owned()));
        let message = "timeout: the answer stalled, no data for 900s; a longer timeout allows more";
        assert_eq!(next, (900, message.to_owned()));
        let [first, ..] = limits(60);
        let message = "timeout: the provider sent no data within 60s; a longer timeout allows more";
        assert_eq!(first, (60, message.to_owned()));
    }
}
