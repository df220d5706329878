//! [`warn`]: a line on stderr about what a person should know, from wherever a command finds it.

use std::io::Write as _;

use super::Process;
use super::render::{Paint, visible};

/// Writes a line to stderr, unless `quiet`.
pub fn note(quiet: bool, text: &str) {
    if !quiet {
        // As below.
        let _ = writeln!(std::io::stderr().lock(), "{}", visible(text));
    }
}

/// Writes a warning to stderr, unless `quiet`.
pub fn warn(process: &Process, quiet: bool, warning: &str) {
    if !quiet {
        let paint = Paint::of_stderr(process);
        // With stderr closed there is no place left to report to.
        let _ = writeln!(std::io::stderr().lock(), "{} {}", paint.yellow("warning:"), visible(warning));
    }
}
