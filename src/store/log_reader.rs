//! [`LogReader`] of `log.jsonl`, also while another process appends to it. The runtime's history reads with it, and
//! `log` before it appends; the meaning of facts is left to the machine.
//!
//! Every line is checked against the digests before it (`chain`), so that a line which was changed, added or removed is
//! named, whoever reads. That costs no more than reading does: a log is read from its beginning, or not at all.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::chain::{Chain, ChainFault, LogPosition};
use super::{StoreError, atomic, chain};
use crate::fact::{Fact, KINDS};
use crate::written_json::{self, WrittenJson};

/// The text by which a log's header is known.
pub const FORMAT: &str = "perstack-log";
/// The version of new logs. Version 1 has no chain.
pub const LOG_VERSION: u32 = 2;

/// The bytes that are read at a time: a long log is read whole.
const BUFFER: usize = 64 << 10;

/// A line of a log, as far as this version understands it.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEntry {
    Fact(Fact),
    /// A kind of fact that a later version added.
    Unknown {
        kind: String,
        /// From 1.
        line: u64,
    },
}

/// The first line.
#[derive(Deserialize)]
struct Header {
    format: String,
    version: u64,
}

/// The header line of a version.
fn header_of(version: u32) -> String {
    format!("{{\"format\":\"{FORMAT}\",\"version\":{version}}}\n")
}

/// The fact of a line.
fn read_fact(line: &[u8]) -> serde_json::Result<Fact> {
    let mut json = std::str::from_utf8(line).ok().map(WrittenJson::new);
    let fact = json.as_mut().and_then(written_json::fact);
    match (fact, json) {
        (Some(fact), Some(json)) if chain::is_end(json.rest().as_bytes()) => Ok(fact),
        _ => serde_json::from_slice(line),
    }
}

/// Reads the facts of one log.
pub struct LogReader {
    path: PathBuf,
    input: BufReader<File>,
    /// The line that was read last.
    text: Vec<u8>,
    /// The line behind it, or a part of it, where that was looked at.
    ahead: Vec<u8>,
    /// All lines so far.
    chain: Chain,
    /// Begun by a version without chains.
    is_old: bool,
    /// Lines read, for messages.
    line: u64,
    ended: bool,
}

impl LogReader {
    /// Opens the log at `path` and reads its header.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is no log, [`StoreError::Newer`], or the system's error.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut reader = Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(BUFFER, atomic::open(path)?),
            text: Vec::new(),
            ahead: Vec::new(),
            chain: Chain::default(),
            is_old: false,
            line: 0,
            ended: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// Returns whether the line that was read last is the header of a log as it is written.
    pub fn is_at_header(&self) -> bool {
        (1..=LOG_VERSION).any(|version| self.text == header_of(version).as_bytes())
    }

    fn read_header(&mut self) -> Result<(), StoreError> {
        if !self.next_line()? {
            return Ok(());
        }
        match serde_json::from_slice::<Header>(&self.text) {
            Ok(header) if header.format == FORMAT && header.version > u64::from(LOG_VERSION) => {
                Err(StoreError::Newer { path: self.path.clone(), version: header.version, supported: LOG_VERSION })
            }
            Ok(header) if header.format == FORMAT => {
                self.is_old = header.version < u64::from(LOG_VERSION);
                self.chain.add_unchained(&self.text);
                Ok(())
            }
            _ if self.is_torn()? => Ok(()),
            _ => Err(self.damaged("it is not the header of a log")),
        }
    }

    /// The next fact; `None` at the end, and where a crash cut the last line short.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::UnknownFact`], naming the line, or the system's error.
    pub fn next_fact(&mut self) -> Result<Option<Fact>, StoreError> {
        Ok(match self.next_entry()? {
            Some(LogEntry::Fact(fact)) => Some(fact),
            Some(LogEntry::Unknown { kind, line }) => {
                return Err(StoreError::UnknownFact { path: self.path.clone(), line, kind });
            }
            None => None,
        })
    }

    /// The next line, for readers that can skip unknown facts; `None` as for [`LogReader::next_fact`].
    ///
    /// # Errors
    /// [`StoreError::Damaged`], naming the line, or the system's error.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, StoreError> {
        if !self.next_line()? {
            return Ok(None);
        }
        let entry = match read_fact(&self.text) {
            Ok(fact) => LogEntry::Fact(fact),
            Err(_) if self.is_torn()? => return Ok(None),
            Err(error) => match self.unknown_kind() {
                Some(kind) => LogEntry::Unknown { kind, line: self.line },
                None => return Err(self.damaged(format!("it is no fact that this perstack knows ({error})"))),
            },
        };
        match self.chain.add(&self.text, self.is_old) {
            Ok(()) => Ok(Some(entry)),
            // What takes the place of a digest may be no JSON: the quick way does not look at it.
            Err(_) if self.is_torn()? => Ok(None),
            Err(ChainFault::Missing) => Err(self.damaged("its digest (\"chain\") is missing")),
            Err(ChainFault::Wrong) => Err(self.damaged(
                "its digest (\"chain\") does not fit: it was changed, or is not behind the line it was written behind",
            )),
        }
    }

    /// Continues behind the last whole line, for facts that were appended since the end was reached.
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn read_again(&mut self) -> Result<(), StoreError> {
        if !self.ended {
            return Ok(());
        }
        // A torn line may since have been cut off, and another written in its place.
        self.input.seek(SeekFrom::Start(self.chain.bytes())).map_err(StoreError::io("read", &self.path))?;
        self.ended = false;
        self.ahead.clear();
        self.line = self.line.saturating_sub(1);
        if self.chain.bytes() == 0 { self.read_header() } else { Ok(()) }
    }

    /// The rest of the facts.
    #[cfg(test)]
    pub(super) fn read_all(mut self) -> Result<Vec<Fact>, StoreError> {
        let mut facts = Vec::new();
        while let Some(fact) = self.next_fact()? {
            facts.push(fact);
        }
        Ok(facts)
    }

    /// Reads to the end of the last whole line, for a writer that goes on from there.
    ///
    /// # Errors
    /// As [`LogReader::next_fact`].
    pub fn read_to_end(mut self) -> Result<Chain, StoreError> {
        while self.next_fact()?.is_some() {}
        Ok(self.chain)
    }

    /// The next fact before `position`; `None` once it is reached, after a check that this is the log, and the point in
    /// it, which it was taken of. Later facts are not read.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the log ends before, or differs; else as [`LogReader::next_fact`].
    pub fn next_before(&mut self, position: &LogPosition) -> Result<Option<Fact>, StoreError> {
        let facts = self.chain.facts();
        if facts < position.facts && self.chain.bytes() < position.bytes {
            let fact = self.next_fact()?;
            return fact.map(Some).ok_or_else(|| {
                let what = format!("it ends after {facts} of the {} facts a checkpoint builds on", position.facts);
                StoreError::damaged(&self.path, None, what)
            });
        }
        if self.position() == *position {
            Ok(None)
        } else {
            let what = format!("its first {} facts are not those a checkpoint builds on", position.facts);
            Err(StoreError::damaged(&self.path, None, what))
        }
    }

    /// Returns whether the line behind the one that was read last is a whole fact of this kind.
    ///
    /// # Errors
    /// The system's error.
    pub fn is_next(&mut self, kind: &str) -> Result<bool, StoreError> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            fact: &'a str,
        }
        if self.ended {
            return Ok(false);
        }
        if self.ahead.last() != Some(&b'\n') {
            self.input.read_until(b'\n', &mut self.ahead).map_err(StoreError::io("read", &self.path))?;
        }
        let is_whole = self.ahead.last() == Some(&b'\n');
        Ok(is_whole && serde_json::from_slice::<Kind<'_>>(&self.ahead).is_ok_and(|next| next.fact == kind))
    }

    /// The point up to which facts were read.
    pub fn position(&self) -> LogPosition {
        self.chain.position()
    }

    /// The chain up to the line that was read last.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The bytes of the line that was read last.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns whether the line that was read last has a digest.
    pub fn is_at_chained_line(&self) -> bool {
        chain::last_digest(&self.text).is_some()
    }

    /// Returns whether the log was begun by a version without chains.
    pub fn is_old(&self) -> bool {
        self.is_old
    }

    /// Returns whether the line that was read last, of a log that seems to be old, is the first behind the header of one
    /// that is not: the header was changed.
    pub fn had_other_header(&self) -> bool {
        let mut chain = Chain::default();
        chain.add_unchained(header_of(LOG_VERSION).as_bytes());
        self.is_old && self.chain.facts() == 0 && chain.add(&self.text, false).is_ok()
    }

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Reads the next whole line; returns false at the end, and where the last line has no end.
    fn next_line(&mut self) -> Result<bool, StoreError> {
        if self.ended {
            return Ok(false);
        }
        self.text.clear();
        self.text.append(&mut self.ahead);
        if self.text.last() != Some(&b'\n') {
            self.input.read_until(b'\n', &mut self.text).map_err(StoreError::io("read", &self.path))?;
        }
        self.line += 1;
        self.ended = self.text.last() != Some(&b'\n');
        Ok(!self.ended)
    }

    /// Returns whether the line that was read last, and not understood, is what a power cut left of a write: it may have
    /// given a file its new length, with zeros for its data, so that even a torn line ends in a newline.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when it is no JSON and lines follow it, or the system's error.
    fn is_torn(&mut self) -> Result<bool, StoreError> {
        let Err(error) = serde_json::from_slice::<IgnoredAny>(&self.text) else { return Ok(false) };
        self.ended =
            self.ahead.is_empty() && self.input.fill_buf().map_err(StoreError::io("read", &self.path))?.is_empty();
        if self.ended { Ok(true) } else { Err(self.damaged(format!("it is no JSON ({error})"))) }
    }

    /// The kind of the fact that was read last, if a later version added it.
    fn unknown_kind(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Kind {
            fact: String,
        }
        let Kind { fact } = serde_json::from_slice(&self.text).ok()?;
        (!KINDS.contains(&fact.as_str())).then_some(fact)
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::damaged(&self.path, Some(self.line), what)
    }
}
