//! [`VerifyCommand`]: the command that has to succeed before an answer of its expert counts. The configuration reads it; a
//! Run's machine counts its rounds, and the base skill runs it.

use serde::{Deserialize, Serialize};

/// The most rounds that a configuration can allow. Our own choice: what is not right by then is a matter for a person.
pub const MOST_VERIFY_ROUNDS: u32 = 100;

/// The command that has to succeed before an answer of its expert counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyCommand {
    /// Run by `/bin/sh -c` in the workspace.
    pub command: String,
    /// The number of rounds that may fail before the Run stops.
    #[serde(default = "VerifyCommand::default_rounds")]
    pub max_rounds: u32,
    /// Milliseconds that one round may take.
    #[serde(default = "VerifyCommand::default_timeout", with = "crate::count::Count")]
    pub timeout_ms: u64,
}

impl VerifyCommand {
    /// The number of rounds where none is named.
    pub const DEFAULT_ROUNDS: u32 = 3;
    /// The milliseconds of a round where no limit is named: builds with their tests take minutes.
    pub const DEFAULT_TIMEOUT_MS: u64 = 600_000;

    /// A command with the usual limits.
    pub fn new(command: impl Into<String>) -> Self {
        Self { command: command.into(), max_rounds: Self::DEFAULT_ROUNDS, timeout_ms: Self::DEFAULT_TIMEOUT_MS }
    }

    fn default_rounds() -> u32 {
        Self::DEFAULT_ROUNDS
    }

    fn default_timeout() -> u64 {
        Self::DEFAULT_TIMEOUT_MS
    }
}
