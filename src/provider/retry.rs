//! [`delay`]: the wait before a failed request is sent again, if it is.
//!
//! Called by `runtime` after a failure. Pure: waiting, and reporting it to the user, is left to the caller.

use std::time::Duration;

use crate::fact::split_mix;
use crate::generation::GenerationFailure;

/// The first wait; each further one is twice as long (the original's: 2 s × 2ⁿ).
const FIRST_DELAY: Duration = Duration::from_secs(2);

/// The longest wait, asked for or not (the original's limit of a reasonable `Retry-After`).
pub const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// Returns the wait after `failure`, when `failures_so_far` requests failed before it; `None` when sending the request
/// again is of no use: the failure is lasting, or the provider asks for a longer wait than [`LONGEST_DELAY`].
///
/// The wait lies between half and the whole of the exponential delay, by `seed`, so that Runs that failed together do
/// not retry together. It is never shorter than the provider asked for.
pub fn delay(failures_so_far: u32, failure: &GenerationFailure, seed: u64) -> Option<Duration> {
    if !failure.is_retryable {
        return None;
    }
    let asked = Duration::from_millis(failure.retry_after_ms.unwrap_or(0));
    if asked > LONGEST_DELAY {
        return None;
    }
    let whole = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(failures_so_far)).min(LONGEST_DELAY);
    let half = whole / 2;
    let spread = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
    let jitter = Duration::from_millis(split_mix(seed) % spread.saturating_add(1));
    Some((half + jitter).max(asked))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generation::FailureKind;

    fn failure(is_retryable: bool, retry_after_ms: Option<u64>) -> GenerationFailure {
        GenerationFailure {
            kind: FailureKind::RateLimit,
            message: "slow down".to_owned(),
            status_code: Some(429),
            is_retryable,
            retry_after_ms,
        }
    }

    #[test]
    fn what_cannot_pass_is_not_tried_again() {
        assert_eq!(delay(0, &failure(false, None), 1), None);
        assert_eq!(delay(0, &failure(false, Some(1000)), 1), None);
    }

    #[test]
    fn a_wait_beyond_a_minute_is_not_waited_for() {
        assert_eq!(delay(0, &failure(true, Some(60_001)), 1), None);
        assert_eq!(delay(0, &failure(true, Some(60_000)), 1), Some(LONGEST_DELAY));
    }

    #[test]
    fn the_same_seed_gives_the_same_wait_and_another_another() {
        assert_eq!(delay(2, &failure(true, None), 7), delay(2, &failure(true, None), 7));
        assert_ne!(delay(2, &failure(true, None), 7), delay(2, &failure(true, None), 8));
    }

    proptest! {
        #[test]
        fn waits_double_up_to_a_minute_and_never_undercut_what_was_asked(
            failures in any::<u32>(), seed in any::<u64>(), asked in prop::option::of(0_u64..=60_000),
        ) {
            let wait = delay(failures, &failure(true, asked), seed).unwrap();
            let whole = Duration::from_secs(2_u64.saturating_mul(1 << failures.min(5))).min(LONGEST_DELAY);
            let asked = Duration::from_millis(asked.unwrap_or(0));
            prop_assert!(wait >= (whole / 2).max(asked));
            prop_assert!(wait <= whole.max(asked));
        }
    }
}
