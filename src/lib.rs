//! Runs declarative AI experts: loads them, drives the loop through a deterministic state machine, streams events and
//! writes a checkpoint at every step, so that a job continues from any of them.

// Nouns: each imports only those above it.
pub mod future;
pub mod id;
pub mod usage;
pub mod content;
pub mod message;
pub mod tool;
pub mod expert;
pub mod environment;
pub mod setting;
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
