//! [`SkillNotice`]: an event of a running skill, for its owner: it starts, is up, printed a line, is gone.
//!
//! The parts of `mcp/` send notices through [`Reporter`], which makes servers' texts fit to be shown: no control
//! characters, no secrets, bounded in length and number. Who shows or stores them is left to the owner.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::event::ServerInfo;
use crate::redact::Redactor;
use crate::skill::egress::NetworkAccess;

/// Most bytes of one line that is passed on; log lines are shorter.
pub(super) const MAX_LINE: usize = 4 << 10;

/// Most lines of one skill that are passed on: a server that logs without end must not drown everything else.
const MAX_LINES: u32 = 10_000;

/// Lines kept for an error text.
const LAST_LINES: usize = 5;

/// Most characters of each of them.
const LAST_LINES_LENGTH: usize = 300;

/// Something that happened to a skill.
#[derive(Debug, Clone, PartialEq)]
pub enum SkillNotice {
    /// A server's process is about to be started.
    Starting { command: String, args: Vec<String> },
    /// The server is up and its tools are known.
    Connected { server: Option<ServerInfo>, timings: Timings },
    /// The server printed something for people: a line on stderr, or a log message.
    Stderr { line: String },
    /// The server reported how far a call of `tool` is.
    Progress { tool: String, progress: f64, total: Option<f64>, message: Option<String> },
    /// The server is gone, by itself or because the skill was closed.
    Disconnected,
    /// A connection of its programs was allowed or refused.
    Access(NetworkAccess),
    /// Something its owner should know.
    Warning { message: String },
}

/// How long the parts of a start took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Until the process ran; zero for remote servers.
    pub spawn: Duration,
    /// Until the protocol was agreed on.
    pub handshake: Duration,
    /// Until the tools were listed.
    pub discovery: Duration,
}

/// Receives the notices of one skill. Must not block.
pub type Notices = Arc<dyn Fn(SkillNotice) + Send + Sync>;

/// Sends notices, and keeps a server's last lines for error texts.
pub(super) struct Reporter {
    notices: Notices,
    redactor: Redactor,
    lines: AtomicU32,
    last_lines: Mutex<VecDeque<String>>,
}

impl Reporter {
    pub(super) fn new(notices: Notices, redactor: Redactor) -> Self {
        Self { notices, redactor, lines: AtomicU32::new(0), last_lines: Mutex::default() }
    }

    /// Knows the secrets that the server was given.
    pub(super) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    pub(super) fn send(&self, notice: SkillNotice) {
        (self.notices)(notice);
    }

    pub(super) fn warn(&self, message: impl AsRef<str>) {
        self.send(SkillNotice::Warning { message: self.fit(message.as_ref()) });
    }

    /// Passes on a line that the server wrote for people.
    pub(super) fn line(&self, text: &str) {
        let line = self.fit(text);
        if line.is_empty() {
            return;
        }
        {
            let mut words = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if words.len() == LAST_LINES {
                words.pop_front();
            }
            words.push_back(line.chars().take(LAST_LINES_LENGTH).collect());
        }
        match self.lines.fetch_add(1, Ordering::Relaxed) {
            earlier if earlier < MAX_LINES => self.send(SkillNotice::Stderr { line }),
            MAX_LINES => self.send(SkillNotice::Warning {
                message: format!("{MAX_LINES} lines of its output were shown, further ones are left out"),
            }),
            // Not to wrap around, ever.
            _ => self.lines.store(MAX_LINES + 1, Ordering::Relaxed),
        }
    }

    /// The last lines.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.last_lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// `text` as it may be shown.
    pub(super) fn fit(&self, text: &str) -> String {
        let text = self.redactor.text(&plain(text));
        let end = text.floor_char_boundary(MAX_LINE);
        text.get(..end).unwrap_or_default().trim().to_owned()
    }
}

/// `text` without control characters and terminal sequences.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            // A terminal sequence: `ESC [ parameters final`, or `ESC` and one character.
            '\u{1b}' => {
                if rest.next() == Some('[') {
                    rest.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c));
                }
            }
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A reporter, and the notices it sent.
    pub(in super::super) fn listening() -> (Arc<Reporter>, Arc<Mutex<Vec<SkillNotice>>>) {
        let seen: Arc<Mutex<Vec<SkillNotice>>> = Arc::default();
        let sink = Arc::clone(&seen);
        let mut redactor = Redactor::default();
        redactor.add("hunter2-hunter2");
        let notices: Notices = Arc::new(move |notice| sink.lock().unwrap().push(notice));
        (Arc::new(Reporter::new(notices, redactor)), seen)
    }

    #[test]
    fn lines_are_shown_without_control_characters_and_secrets() {
        let (reporter, seen) = listening();
        reporter.line("  \u{1b}[1;31mfailed\u{1b}[0m\ta\u{7}b \u{1b}cwith hunter2-hunter2\r\n");
        reporter.line(" \u{1b}[2K ");
        let line = "failed ab with [redacted]".to_owned();
        assert_eq!(*seen.lock().unwrap(), [SkillNotice::Stderr { line: line.clone() }]);
        assert_eq!(reporter.last_lines(), [line]);
    }

    #[test]
    fn endless_output_is_cut_with_one_warning() {
        let (reporter, seen) = listening();
        for number in 0..MAX_LINES + 5 {
            reporter.line(&number.to_string());
        }
        reporter.line(&"x".repeat(2 * MAX_LINE));
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), MAX_LINES as usize + 1);
        assert!(matches!(seen.last(), Some(SkillNotice::Warning { .. })));
        assert_eq!(reporter.last_lines().len(), LAST_LINES);
        assert_eq!(reporter.last_lines().last().map(String::len), Some(LAST_LINES_LENGTH));
    }
}
