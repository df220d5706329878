//! The clock that leases are counted with.

use std::time::Duration;

/// The time since the machine was started, that for which it was suspended included: who was suspended has to notice that
/// the lease ended meanwhile.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

/// The time of day: the system has no other clock that is known to go on in suspension.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn since_boot() -> Duration {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
