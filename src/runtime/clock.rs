//! [`SystemClock`]: the one place that reads the time and draws randomness. Everything else is given stamps.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fact::{Clock, Stamp};

/// The computer's clock and the operating system's randomness.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn stamp(&self) -> Stamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let now = SystemTime::now();
        // Before 1970 counts as 1970: a wrong clock must not stop a run.
        let at = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        // The standard library keys its hash maps from the operating system's randomness; seeds only keep ids apart.
        let seed = RandomState::new().hash_one(at);
        Stamp { at: u64::try_from(at).unwrap_or(u64::MAX), seed }
    }
}
