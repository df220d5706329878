//! Runs declarative AI experts: loads them, drives the loop through a deterministic state machine, streams events and
//! writes a checkpoint at every step, so that a job continues from any of them.

// Nouns: each imports only those above it.
pub mod future;
pub mod allowance;
pub mod id;
pub mod count;
pub mod usage;
pub mod cost;
pub mod budget;
pub mod content;
pub mod message;
pub mod tool;
pub mod token_estimate;
pub mod expert;
pub mod expert_map;
pub mod environment;
pub mod address;
pub mod proxy;
pub mod setting;
pub mod model;
pub mod generation;
pub mod checkpoint;
pub mod fact;
pub mod job;
pub mod event;
pub mod redact;

// Pure logic.
pub mod machine;

// Capabilities: they know the nouns, not each other.
pub mod config;
pub mod provider;
pub mod skill;
pub mod store;

// Drivers.
pub mod replay;
pub mod runtime;

pub use runtime::VERSION;

use checkpoint::Checkpoint;
use runtime::{Options, ResumeInput, RunError, RunInput};

/// Runs a job and returns the checkpoint that it ended with; see [`runtime::run`].
///
/// # Errors
/// [`RunError`] when the job cannot start or cannot be stored. A job that stops by error, at its step limit or for an
/// answer returns its checkpoint.
pub async fn run(input: RunInput, options: &Options) -> Result<Checkpoint, RunError> {
    Ok(runtime::run(input, options).await?.checkpoint)
}

/// Continues a job and returns the checkpoint that it ended with; see [`runtime::resume`].
///
/// # Errors
/// As [`run`].
pub async fn resume(input: ResumeInput, options: &Options) -> Result<Checkpoint, RunError> {
    Ok(runtime::resume(input, options).await?.checkpoint)
}
