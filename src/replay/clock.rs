//! [`CassetteClock`]: time and randomness of recorded and replayed jobs. The runtime uses it in place of its own clock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::CassetteHeader;
use crate::fact::{Clock, Stamp};
use crate::id::RunId;

/// The step of `SplitMix64`'s state: the golden ratio in 64 bits (Steele, Lea, Flood, 2014).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A clock that gives the same stamps to every job with the same cassette: the header's time and a millisecond more
/// with every stamp, seeds derived from the header's. Recording uses it too, since ids that the runtime makes are part
/// of requests: with another clock, no replay would send the recorded requests.
#[derive(Debug)]
pub struct CassetteClock {
    started: Stamp,
    given: AtomicU64,
}

impl CassetteClock {
    /// A clock that starts where the cassette does.
    pub fn new(header: &CassetteHeader) -> Self {
        Self { started: header.started, given: AtomicU64::new(0) }
    }

    /// The clock of one Run of the job: the same for the same Run, whatever other Runs do meanwhile.
    pub fn of_run(header: &CassetteHeader, run: &RunId) -> Self {
        // FNV-1a, 64 bits: enough to keep the seeds of a job's Runs apart.
        let hash = run
            .as_str()
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        let started = Stamp { seed: header.started.seed ^ hash, ..header.started };
        Self { started, given: AtomicU64::new(0) }
    }
}

impl Clock for CassetteClock {
    fn stamp(&self) -> Stamp {
        let n = self.given.fetch_add(1, Ordering::Relaxed);
        Stamp { at: self.started.at.saturating_add(n), seed: self.started.seed.wrapping_add(n.wrapping_mul(GOLDEN)) }
    }
}
