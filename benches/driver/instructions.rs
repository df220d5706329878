//! [`count`]: the instructions of a process, by callgrind. They do not depend on the machine's load.
//!
//! Valgrind runs one thread at a time and shows programs a processor of its own making, so that the same program on
//! other machines takes the same paths. The children of the process are not counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// The line of callgrind's log that has the count.
const COLLECTED: &str = "Collected : ";

/// The same program with the same arguments and environment, under callgrind, whose findings go to the file `kept`.
pub fn under_valgrind(command: &Command, kept: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind");
    valgrind.arg(format!("--callgrind-out-file={}", kept.display()));
    valgrind.arg(format!("--log-file={}", log_of(kept).display()));
    valgrind.arg(command.get_program()).args(command.get_args());
    valgrind.env_clear().env("PATH", "/usr/bin:/bin");
    valgrind.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    valgrind
}

/// Runs a command [`under_valgrind`] to its end in this folder, and returns the instructions that it counted.
pub fn count(command: &mut Command, folder: &Path, kept: &Path) -> Result<u64> {
    process::run(command, folder, |_| Ok(()))?;
    let log = fs::read_to_string(log_of(kept))?;
    let line = log.lines().find_map(|line| line.split_once(COLLECTED));
    line.and_then(|(_, count)| count.trim().parse().ok()).with_context(|| format!("callgrind counted nothing:\n{log}"))
}

fn log_of(kept: &Path) -> PathBuf {
    kept.with_added_extension("log")
}
