//! [`ConfigError`]: the faults of a configuration. Every text names the place, and [`ErrorHint`] the way on; the command
//! line adds which of its options help.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

use super::Origin;
use crate::expert::ExpertKey;
use crate::expert_map::ExpertError;
use crate::hint::ErrorHint;
use crate::output_schema::InvalidOutputSchema;

/// Most experts that an error lists.
const EXPERTS_LISTED: usize = 20;

/// The reason why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No `perstack.toml` in the folder or any above it.
    #[error("perstack.toml not found (looked in {} and every folder above it)", start.display())]
    NotFound { start: PathBuf },
    /// The named file does not exist.
    #[error("Given config path \"{}\" is not found", path.display())]
    Missing { path: PathBuf },
    /// The file exists, but cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// A folder, pipe or device in a file's place.
    #[error("cannot read {}: it is no regular file", path.display())]
    NotAFile { path: PathBuf },
    /// More bytes than any sensible configuration has.
    #[error("cannot read {}: it is larger than {limit} bytes", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    /// Bytes that are no text. Line and column count from 1, columns in characters.
    #[error("{}:{line}:{column}: not UTF-8 text", path.display())]
    NotUtf8 { path: PathBuf, line: usize, column: usize },
    /// TOML with mistakes, in the file at `path` or in those that it includes; all of them, in the order of the files.
    #[error("{}", listed(path, problems, *omitted))]
    Invalid {
        path: PathBuf,
        problems: Vec<Problem>,
        /// The number of problems that are not listed.
        omitted: usize,
    },
    /// A line of an environment file that cannot be read. Never quotes the line: it may hold a secret.
    #[error("{}:{line}: {reason}", path.display())]
    EnvFile { path: PathBuf, line: usize, reason: &'static str },
    /// The file of a schema for answers does not exist.
    #[error("{} does not exist", path.display())]
    NoOutputSchema { path: PathBuf },
    /// A file that has to be JSON. Never quotes it.
    #[error("{}:{line}:{column}: not JSON", path.display())]
    NoJson { path: PathBuf, line: usize, column: usize },
    /// JSON that answers cannot be checked against.
    #[error("{} is no schema for answers: {problem}", path.display())]
    OutputSchema { path: PathBuf, problem: InvalidOutputSchema },
    /// A context file that is elsewhere by a link.
    #[error("{} leads to {}, outside of the workspace: it is no context file", path.display(), target.display())]
    ContextOutside { path: PathBuf, target: PathBuf },
    /// A context file that no tool may read either.
    #[error("{} holds keys or records of runs: it is no context file", path.display())]
    ContextClosed { path: PathBuf },
    /// A context file with bytes that no text has.
    #[error("{} is no text: it has a byte 0", path.display())]
    ContextBinary { path: PathBuf },
    /// A mistake in the head of a `SKILL.md`.
    #[error("{}:{line}: {problem}", path.display())]
    AgentSkill { path: PathBuf, line: usize, problem: String },
    /// An Agent Skill's folder that cannot be used.
    #[error("{}: {problem}", path.display())]
    AgentSkillFolder { path: PathBuf, problem: String },
    /// A variable with a value of the wrong kind.
    #[error("{name}: {reason}")]
    Variable { name: &'static str, reason: String },
    /// A limit that allows no first step.
    #[error("timeout is 0 in {origin}")]
    NoTime { origin: Origin },
    /// No delegate may work, or more than a system carries.
    #[error("maxParallelDelegates is {number} in {origin}")]
    ParallelDelegates { number: u64, origin: Origin },
    /// No step may be taken.
    #[error("maxSteps is 0 in {origin}")]
    NoSteps { origin: Origin },
    /// An expert that has mistakes in its definition is needed.
    #[error(transparent)]
    Expert(#[from] ExpertError),
    /// Unknown keys, where none are allowed; a line each.
    #[error("{}", keys.join("\n"))]
    UnknownKeys { keys: Vec<String> },
    /// The lock that must be used does not exist.
    #[error("there is no perstack.lock with the tools of expert {expert}")]
    LockMissing { expert: String },
    /// A file that is no lock, or only part of one.
    #[error("{}:{line}:{column}: not a usable lock: {reason}", path.display())]
    LockDamaged { path: PathBuf, line: usize, column: usize, reason: String },
    /// A lock of another format.
    #[error("{} has version {}, and this program reads version \"1\"", path.display(), quoted(version))]
    LockVersion { path: PathBuf, version: String },
    /// A lock that differs from the configuration, where it must not.
    #[error("{} is stale for expert {expert} ({reason})", path.display())]
    LockStale { path: PathBuf, expert: String, reason: String },
    /// Names in `pick` and `omit` that fit no locked tool, where the lock must be as it is configured.
    #[error("expert {expert}: {names} (the tools are those of {})", path.display())]
    UnmatchedTools { path: PathBuf, expert: String, names: String },
    /// A lock that the format cannot hold.
    #[error("cannot store {}: {reason}", path.display())]
    LockUnwritable { path: PathBuf, reason: String },
    /// A lock that would be written through a link.
    #[error("{} is a link, and a lock is not written through one", path.display())]
    LockIsLink { path: PathBuf },
    /// A lock that the file system refuses to write.
    #[error("cannot write {}", path.display())]
    LockNotWritten { path: PathBuf, source: io::Error },
    /// An expert that the configuration does not define.
    #[error("{}", unknown_expert(key, path, *included, nearest.is_some(), known))]
    UnknownExpert {
        key: String,
        path: PathBuf,
        /// The number of further files that the one at `path` includes.
        included: usize,
        nearest: Option<String>,
        known: Vec<String>,
    },
    /// A file or folder that belongs to another user of this machine.
    #[error("{} belongs to {owner}, not to you: it is not used", path.display())]
    ForeignOwner { path: PathBuf, owner: String },
    /// A version or tag of an expert that the configuration defines otherwise.
    #[error(
        "expert {} is not defined in {}: {}", quoted(key.as_str()), path.display(), defined_version(key, version)
    )]
    OtherVersion {
        key: ExpertKey,
        path: PathBuf,
        /// The one that is defined.
        version: String,
    },
}

impl ErrorHint for ConfigError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let hint = match self {
            Self::NotFound { .. } => "create one, or name the file",
            Self::NoOutputSchema { .. } => "check its spelling (the path of an outputSchema is relative to its file)",
            Self::NoJson { .. } => "name a file with a JSON Schema",
            Self::Missing { .. } => "check its spelling and the current folder",
            Self::Unreadable { .. } => "check its permissions",
            Self::NotAFile { .. } => "name a file",
            Self::TooLarge { .. } => "is it the right file?",
            Self::NotUtf8 { .. } => "save the file as UTF-8",
            Self::ContextOutside { .. } => "put a copy in its place, or take it out of `context`",
            Self::ContextClosed { .. } | Self::ContextBinary { .. } => "take it out of `context`",
            Self::NoTime { .. } => "use a whole number of milliseconds, of at least 1",
            Self::ParallelDelegates { .. } => "use a whole number from 1 to 1000",
            Self::NoSteps { .. } => "use a whole number of at least 1",
            Self::LockMissing { .. } => "run `perstack install`",
            Self::LockDamaged { .. } => "run `perstack install` to write it anew",
            Self::LockVersion { .. } => "use a newer program, or remove the file and run `perstack install`",
            Self::LockStale { .. } => "run `perstack install` to renew it",
            Self::UnmatchedTools { .. } => "correct the names in perstack.toml",
            Self::LockIsLink { .. } => "remove it, or run `perstack install` beside the file that it leads to",
            Self::LockNotWritten { .. } => "check that its folder may be written to and has room",
            Self::UnknownExpert { nearest: Some(nearest), .. } => {
                return Some(format!("did you mean {}?", quoted(nearest)).into());
            }
            Self::UnknownExpert { known, .. } if known.is_empty() => "add [experts.\"NAME\"] with an instruction",
            Self::OtherVersion { key, version, .. } => return Some(name_version(key, version).into()),
            Self::Expert(error) => return error.hint(),
            Self::Invalid { .. }
            | Self::AgentSkill { .. }
            | Self::AgentSkillFolder { .. }
            | Self::EnvFile { .. }
            | Self::OutputSchema { .. }
            | Self::Variable { .. }
            | Self::UnknownKeys { .. }
            | Self::LockUnwritable { .. }
            | Self::UnknownExpert { .. }
            | Self::ForeignOwner { .. } => return None,
        };
        Some(hint.into())
    }
}

/// One mistake in a file; as text `file:line:column: path: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file with the mistake: the configuration's first, or one that it includes.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Keys from the top, joined by dots; list items by number from 0. Empty for the file as a whole.
    pub path: String,
    /// The expected and the received value, and the advice.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, path, message } = self;
        let separator = if path.is_empty() { "" } else { ": " };
        write!(f, "{}:{line}:{column}: {path}{separator}{message}", file.display())
    }
}

fn listed(file: &Path, problems: &[Problem], omitted: usize) -> String {
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if omitted > 0 {
        lines.push(format!("{}: and {omitted} more problems", file.display()));
    }
    lines.join("\n")
}

fn unknown_expert(key: &str, file: &Path, included: usize, is_near: bool, known: &[String]) -> String {
    let mut text = format!("expert {} is not defined in {}", quoted(key), file.display());
    match included {
        0 => {}
        1 => text.push_str(" or the file that it includes"),
        _ => {
            let _ = write!(text, " or the {included} files that it includes");
        }
    }
    if !is_near {
        text.push_str(unpublished(key));
    }
    if known.is_empty() {
        text.push_str("; no experts are defined");
    } else {
        let some: Vec<&str> = known.iter().take(EXPERTS_LISTED).map(String::as_str).collect();
        let _ = write!(text, " (defined: {}", some.join(", "));
        if known.len() > EXPERTS_LISTED {
            let _ = write!(text, " and {} more", known.len() - EXPERTS_LISTED);
        }
        text.push(')');
    }
    text
}

/// The addition for an expert `key` that is not defined and that its author may expect to be published.
pub(super) fn unpublished(key: &str) -> &'static str {
    if key.contains('@') {
        "; published experts are not looked up, as this version does not ask the Perstack API"
    } else {
        ""
    }
}

/// The advice for a `key` with another version or tag than the one that is defined.
pub(super) fn other_version(key: &ExpertKey, version: &str) -> String {
    format!("{}; {}", defined_version(key, version), name_version(key, version))
}

fn defined_version(key: &ExpertKey, version: &str) -> String {
    format!("{} is defined as version {version}", quoted(key.name()))
}

fn name_version(key: &ExpertKey, version: &str) -> String {
    let name = key.name();
    format!(
        "write {} or {} (this version does not ask the Perstack API for other versions and tags)",
        quoted(name),
        quoted(&format!("{name}@{version}"))
    )
}

/// Most characters of a user's word that messages show.
const SHOWN: usize = 80;

/// A user's word for a message: quoted, without control characters, and cut to a line's length.
pub(super) fn quoted(word: &str) -> String {
    format!("\"{}\"", shown(word))
}

/// A user's word for a message: without control characters, and cut to a line's length.
pub(super) fn shown(word: &str) -> String {
    let mut text = String::new();
    for c in word.chars().take(SHOWN) {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    if word.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

/// The line and column of a byte offset, both from 1, columns in characters.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "ab\nüx\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 2), (1, 3));
        assert_eq!(position(text, 5), (2, 2));
        assert_eq!(position(text, 7), (3, 1));
        assert_eq!(position(text, 99), (3, 1));
    }

    #[test]
    fn control_characters_in_users_words_are_escaped() {
        assert_eq!(quoted("a\u{1b}[2Jb\n"), "\"a\\u{1b}[2Jb\\n\"");
        assert_eq!(shown(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
    }

    #[test]
    fn several_problems_are_a_line_each() {
        let problem = |file: &str, line, path: &str| Problem {
            file: PathBuf::from(file),
            line,
            column: 1,
            path: path.to_owned(),
            message: "wrong".to_owned(),
        };
        let error = ConfigError::Invalid {
            path: PathBuf::from("p.toml"),
            problems: vec![problem("p.toml", 1, ""), problem("q.toml", 2, "a.b")],
            omitted: 3,
        };
        assert_eq!(error.to_string(), "p.toml:1:1: wrong\nq.toml:2:1: a.b: wrong\np.toml: and 3 more problems");
    }
}
