//! Time that may be spent on something, counted while this process runs. A process that is stopped (Ctrl-Z, a debugger)
//! spends none: what was waited for may have come long ago, and must not be given up on the moment the process goes on.
//!
//! A waiting task waits in short stretches and states how long each took; one that took far longer than it should was
//! spent asleep. Nothing here waits or reads a clock.

use std::time::Duration;

/// The longest stretch of waiting. Also what a stretch counts for that was slept through.
const STRETCH: Duration = Duration::from_secs(1);

/// The time beyond [`STRETCH`] that a stretch may take and still count in full: more than a busy machine lets a process
/// wait for its turn, less than a person takes to stop a program and go on with it.
const DELAY: Duration = Duration::from_secs(1);

/// The rest of a time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allowance {
    left: Duration,
}

impl Allowance {
    /// All of `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { left: limit }
    }

    /// The longest wait before the next [`Allowance::spend`].
    pub fn stretch(&self) -> Duration {
        self.left.min(STRETCH)
    }

    /// Takes off what was spent since the last time.
    pub fn spend(&mut self, took: Duration) {
        self.left = self.left.saturating_sub(awake(took));
    }

    /// Returns true if nothing is left.
    pub fn is_spent(&self) -> bool {
        self.left.is_zero()
    }
}

/// The part of a stretch of this length in which the process was awake, as far as can be known.
fn awake(took: Duration) -> Duration {
    if took > STRETCH + DELAY { STRETCH } else { took }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_limit_is_spent_in_stretches_of_a_second() {
        let mut allowance = Allowance::new(Duration::from_millis(2500));
        for left in [seconds(1), seconds(1), Duration::from_millis(500)] {
            assert_eq!(allowance.stretch(), left);
            assert!(!allowance.is_spent());
            allowance.spend(left);
        }
        assert!(allowance.is_spent());
    }

    #[test]
    fn a_stretch_that_was_slept_through_counts_for_one() {
        let mut allowance = Allowance::new(seconds(10));
        allowance.spend(seconds(3600));
        assert_eq!(allowance, Allowance::new(seconds(9)));
    }

    #[test]
    fn a_stretch_on_a_busy_machine_counts_in_full() {
        let mut allowance = Allowance::new(seconds(10));
        allowance.spend(Duration::from_millis(1900));
        assert_eq!(allowance, Allowance::new(Duration::from_millis(8100)));
        allowance.spend(seconds(2));
        assert_eq!(allowance, Allowance::new(Duration::from_millis(6100)));
    }
}
