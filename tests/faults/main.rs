//! The binary with a disk that fails, and power that goes, at every single operation of the store.
//!
//! Built with the feature `fault-injection`. `PERSTACK_FAULTS` is how many faults are tried: all of them with `all`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on has failed, and may look at its own environment"
)]

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the other tests, which use more of it")]
mod support;

mod case;
mod every;
mod job;
mod kept;
mod order;
mod picture;
mod removal;
mod snapshots;
mod tally;
mod trace;
