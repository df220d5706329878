//! The ground of the binary's tests: a builder that gives each test its own folder, home, environment and mock model
//! server, and readers of what a run leaves behind.
//!
//! It knows no subject; those are the modules beside it.

pub mod answer;
pub mod cassette;
pub mod contracts;
pub mod conversation;
pub mod crash;
pub mod credentials;
pub mod endpoint;
pub mod gate;
pub mod http;
pub mod log;
pub mod owners;
pub mod process;
pub mod render;
pub mod request;
pub mod s3;
mod saved;
pub mod screen;
pub mod server;
pub mod settle;
pub mod signpost;
pub mod sigv4;
pub mod storage;
pub mod tool_server;
pub mod world;

pub use answer::{Answer, Call, Stop, Tokens, call, raw_call};
pub use gate::Gate;
pub use process::Ran;
pub use render::error::reports_wait;
pub use request::{Protocol, Request};
pub use server::Server;
pub use world::{Provider, Test};

use std::time::Duration;

/// How long anything that a test waits for may take. Far above what a loaded machine needs: reaching it is a failure,
/// never a measurement.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The one key that the mock server accepts. Tests look for it wherever it must not be.
pub const KEY: &str = "test-key-4f1d9c27b0";

/// A number that a person sets for a longer series than `usual`.
#[expect(clippy::disallowed_methods, reason = "a knob for people and nightly builds")]
pub fn length(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// Prints on standard error why a test proves nothing here.
#[expect(clippy::print_stderr, reason = "a test that is left out must not look like one that passed")]
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
