//! [`LogWriter`] and [`LogReader`] of `log.jsonl`: a header line, then one [`Fact`] a line, appended and never changed.
//! `job` writes and the runtime's history reads; the meaning of facts is left to the machine.
//!
//! A torn last line is no damage: its write was never acknowledged, so nothing that follows from it has left the
//! process. Readers skip it, and the next writer cuts it off before it appends, as a fact behind half a line could not
//! be read. Damage anywhere else is an error that names the line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{StoreError, atomic, door};
use crate::checkpoint::FORMAT_VERSION;
use crate::fact::{Fact, KINDS};

const FORMAT: &str = "perstack-log";

/// A point in a log, and a digest of everything before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Facts before this point.
    pub facts: u64,
    /// Bytes before this point, the header line included.
    pub bytes: u64,
    /// SHA-256 of those bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// The first line.
#[derive(Serialize)]
struct Header {
    format: &'static str,
    version: u32,
}

/// Counts and digests the lines of a log.
#[derive(Clone, Default)]
struct Tally {
    facts: u64,
    bytes: u64,
    digest: Sha256,
}

impl Tally {
    fn add(&mut self, line: &[u8]) {
        self.bytes = self.bytes.saturating_add(line.len() as u64);
        self.digest.update(line);
    }

    fn position(&self) -> LogPosition {
        let sha256 = self.digest.clone().finalize().iter().fold(String::new(), |mut hex, byte| {
            // Writing to a `String` cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        LogPosition { facts: self.facts, bytes: self.bytes, sha256 }
    }
}

/// Appends facts to one log. There must be one writer at a time; the job's lock ensures it.
pub struct LogWriter {
    path: PathBuf,
    file: File,
    tally: Tally,
    /// Something was written since the last sync.
    unsynced: bool,
    /// A write or sync failed, so the file's end is unknown.
    poisoned: bool,
}

impl LogWriter {
    /// Opens the log at `path`, creating it when it does not exist and cutting off a torn last line.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`] or the system's error.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = door::open_to_append(path).map_err(StoreError::io("open", path))?;
        let mut reader = LogReader::open(path)?;
        while reader.next_fact()?.is_some() {}
        let tally = reader.tally;
        let len = file.metadata().map_err(StoreError::io("read", path))?.len();
        // Unsynced from the start: facts that an earlier process appended may not have reached the disk yet.
        let mut writer = Self { path: path.to_owned(), file, tally, unsynced: true, poisoned: false };
        if len > writer.tally.bytes {
            atomic::truncate(&writer.file, path, writer.tally.bytes)?;
        }
        if writer.tally.bytes == 0 {
            writer.write_line(&Header { format: FORMAT, version: FORMAT_VERSION })?;
        }
        Ok(writer)
    }

    /// Hands one fact to the system; it survives this process, and after [`LogWriter::sync`] a power cut.
    ///
    /// # Errors
    /// The system's error; after one, further facts are refused ([`StoreError::Poisoned`]).
    pub fn append(&mut self, fact: &Fact) -> Result<(), StoreError> {
        self.write_line(fact)?;
        self.tally.facts += 1;
        Ok(())
    }

    fn write_line<T: Serialize>(&mut self, value: &T) -> Result<(), StoreError> {
        self.check()?;
        let mut line =
            serde_json::to_vec(value).map_err(|source| StoreError::Encode { path: self.path.clone(), source })?;
        // One write for the whole line: a crash can tear this line, but not mix it with another.
        line.push(b'\n');
        self.unsynced = true;
        let written = atomic::append(&mut self.file, &self.path, &line);
        self.poisoned = written.is_err();
        written?;
        self.tally.add(&line);
        Ok(())
    }

    /// Waits until all facts are durable, and checks that the log is still where it was.
    ///
    /// # Errors
    /// The system's error; after one, further facts are refused: the disk's state after a failed sync is unknown, and
    /// the kernel may report success on the next sync without having written the data.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.check()?;
        if self.unsynced {
            let synced = atomic::sync(&self.file, &self.path);
            self.poisoned = synced.is_err();
            synced?;
            self.unsynced = false;
        }
        let found = atomic::check_place(&self.file, &self.path);
        self.poisoned = found.is_err();
        found
    }

    /// The end of the log.
    pub fn position(&self) -> LogPosition {
        self.tally.position()
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.poisoned { Err(StoreError::Poisoned { path: self.path.clone() }) } else { Ok(()) }
    }
}

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

/// Reads the facts of one log, also while another process appends to it.
pub struct LogReader {
    path: PathBuf,
    input: BufReader<File>,
    tally: Tally,
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
        let input = BufReader::new(atomic::open(path)?);
        let mut reader = Self { path: path.to_owned(), input, tally: Tally::default(), line: 0, ended: false };
        if let Some((line, value)) = reader.next_line()? {
            reader.check_header(&value)?;
            reader.tally.add(&line);
        }
        Ok(reader)
    }

    fn check_header(&self, header: &Value) -> Result<(), StoreError> {
        let version = header.get("version").and_then(Value::as_u64);
        match (header.get("format").and_then(Value::as_str), version) {
            (Some(FORMAT), Some(version)) if version > u64::from(FORMAT_VERSION) => {
                Err(StoreError::Newer { path: self.path.clone(), version, supported: FORMAT_VERSION })
            }
            (Some(FORMAT), Some(_)) => Ok(()),
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
        let Some((line, value)) = self.next_line()? else { return Ok(None) };
        let entry = match value.get("fact").and_then(Value::as_str) {
            Some(kind) if !KINDS.contains(&kind) => LogEntry::Unknown { kind: kind.to_owned(), line: self.line },
            _ => LogEntry::Fact(
                serde_json::from_value(value)
                    .map_err(|error| self.damaged(format!("it is no fact that this perstack knows ({error})")))?,
            ),
        };
        self.tally.add(&line);
        self.tally.facts += 1;
        Ok(Some(entry))
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
        self.input.seek(SeekFrom::Start(self.tally.bytes)).map_err(StoreError::io("read", &self.path))?;
        self.ended = false;
        self.line = self.line.saturating_sub(1);
        if self.tally.bytes == 0
            && let Some((line, value)) = self.next_line()?
        {
            self.check_header(&value)?;
            self.tally.add(&line);
        }
        Ok(())
    }

    /// The rest of the facts.
    ///
    /// # Errors
    /// As [`LogReader::next_fact`].
    pub fn read_all(mut self) -> Result<Vec<Fact>, StoreError> {
        let mut facts = Vec::new();
        while let Some(fact) = self.next_fact()? {
            facts.push(fact);
        }
        Ok(facts)
    }

    /// The facts before `position`, after a check that they are those it was taken of. Later facts are not read.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the log ends before, or differs; else as [`LogReader::next_fact`].
    pub fn read_to(mut self, position: &LogPosition) -> Result<Vec<Fact>, StoreError> {
        let mut facts = Vec::new();
        while self.tally.facts < position.facts && self.tally.bytes < position.bytes {
            let Some(fact) = self.next_fact()? else {
                let what =
                    format!("it ends after {} of the {} facts a checkpoint builds on", facts.len(), position.facts);
                return Err(StoreError::damaged(&self.path, None, what));
            };
            facts.push(fact);
        }
        if self.position() == *position {
            Ok(facts)
        } else {
            let what = format!("its first {} facts are not those a checkpoint builds on", position.facts);
            Err(StoreError::damaged(&self.path, None, what))
        }
    }

    /// The point up to which facts were read.
    pub fn position(&self) -> LogPosition {
        self.tally.position()
    }

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line and its JSON; `None` at the end and at a torn last line.
    fn next_line(&mut self) -> Result<Option<(Vec<u8>, Value)>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).map_err(StoreError::io("read", &self.path))?;
        self.line += 1;
        if line.last() != Some(&b'\n') {
            self.ended = true;
            return Ok(None);
        }
        match serde_json::from_slice(&line) {
            Ok(value) => Ok(Some((line, value))),
            // After a power cut a file may have its new length and zeros for its data: then the last line is torn too,
            // although it ends in a newline.
            Err(_) if self.input.fill_buf().map_err(StoreError::io("read", &self.path))?.is_empty() => {
                self.ended = true;
                Ok(None)
            }
            Err(error) => Err(self.damaged(format!("it is no JSON ({error})"))),
        }
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::damaged(&self.path, Some(self.line), what)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::super::tests::{fact, facts};
    use super::*;

    fn write(path: &Path, facts: &[Fact]) -> LogPosition {
        let mut writer = LogWriter::open(path).unwrap();
        for fact in facts {
            writer.append(fact).unwrap();
        }
        writer.sync().unwrap();
        writer.position()
    }

    fn read(path: &Path) -> Result<Vec<Fact>, StoreError> {
        LogReader::open(path)?.read_all()
    }

    #[test]
    fn a_reader_at_the_end_reads_on_when_there_is_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "").unwrap();
        let mut reader = LogReader::open(&path).unwrap();
        assert_eq!(reader.next_fact().unwrap(), None);
        write(&path, &facts(2));
        reader.read_again().unwrap();
        assert_eq!((reader.next_fact().unwrap(), reader.next_fact().unwrap()), (Some(fact(1)), Some(fact(2))));
        // Half a line, that the next writer cuts off and replaces.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"at\":3,\"se"].concat()).unwrap();
        reader.read_again().unwrap();
        assert_eq!(reader.next_fact().unwrap(), None);
        write(&path, &[fact(7)]);
        reader.read_again().unwrap();
        assert_eq!((reader.next_fact().unwrap(), reader.next_fact().unwrap()), (Some(fact(7)), None));
        assert_eq!(reader.position(), {
            let mut whole = LogReader::open(&path).unwrap();
            while whole.next_fact().unwrap().is_some() {}
            whole.position()
        });
        assert_eq!(reader.line(), 5, "the line that is waited for");
    }

    #[test]
    fn facts_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&path, &facts(3));
        assert_eq!(read(&path).unwrap(), facts(3));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().next(), Some(r#"{"format":"perstack-log","version":1}"#));
    }

    #[test]
    fn a_log_opened_again_goes_on_counting_and_digesting() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let expected = write(&whole, &facts(4));
        write(&parts, &facts(4)[..1]);
        write(&parts, &facts(4)[1..3]);
        assert_eq!(write(&parts, &facts(4)[3..]), expected);
        assert_eq!(expected.facts, 4);
        assert_eq!(expected.bytes, fs::metadata(&whole).unwrap().len());
        assert_eq!(fs::read(&whole).unwrap(), fs::read(&parts).unwrap());
    }

    #[test]
    fn the_digest_is_sha_256_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let position = write(&folder.path().join("log.jsonl"), &[]);
        // printf '{"format":"perstack-log","version":1}\n' | sha256sum
        let sha256 = "e711d7741bf4071322ad535302845928796d4421518318be85358f2a7b7f8788".to_owned();
        assert_eq!(position, LogPosition { facts: 0, bytes: 38, sha256 });
    }

    proptest! {
        #[test]
        fn a_log_cut_at_any_byte_keeps_its_whole_lines_and_takes_the_next_fact(
            ats in prop::collection::vec(0..=crate::count::MAX, 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log.jsonl");
            let facts: Vec<Fact> = ats.into_iter().map(fact).collect();
            write(&path, &facts);
            let bytes = fs::read(&path).unwrap();
            let cut = cut.index(bytes.len() + 1);
            let whole_lines = bytes[..cut].split(|byte| *byte == b'\n').count() - 1;
            let mut kept = facts[..whole_lines.saturating_sub(1)].to_vec();
            fs::write(&path, &bytes[..cut]).unwrap();
            prop_assert_eq!(&read(&path).unwrap(), &kept);
            write(&path, &[fact(9)]);
            kept.push(fact(9));
            prop_assert_eq!(&read(&path).unwrap(), &kept);
        }
    }

    #[test]
    fn a_last_line_of_noise_is_passed_over_and_then_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&path, &facts(2));
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"\0\0\0\n");
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), facts(2));
        write(&path, &[fact(9)]);
        assert_eq!(read(&path).unwrap(), [facts(2), vec![fact(9)]].concat());
    }

    #[test]
    fn damage_in_the_middle_names_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&path, &facts(3));
        let damaged = fs::read_to_string(&path).unwrap().replacen(r#"{"at":2"#, r#"{"at":"#, 1);
        fs::write(&path, damaged).unwrap();
        for error in [read(&path).unwrap_err(), LogWriter::open(&path).err().unwrap()] {
            let StoreError::Damaged { path: named, line: Some(3), .. } = &error else { panic!("{error}") };
            assert_eq!(named, &path);
            assert!(error.to_string().starts_with(&format!("{}, line 3, is damaged: it is no JSON", path.display())));
        }
    }

    #[test]
    fn an_unknown_kind_of_fact_is_an_error_even_in_the_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&path, &facts(1));
        let text = fs::read_to_string(&path).unwrap() + "{\"at\":5,\"seed\":1,\"fact\":\"dreamt\"}\n";
        fs::write(&path, &text).unwrap();
        let error = LogWriter::open(&path).err().unwrap();
        assert!(matches!(&error, StoreError::UnknownFact { line: 3, kind, .. } if kind == "dreamt"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_reader_may_skip_unknown_facts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&path, &facts(1));
        let text = fs::read_to_string(&path).unwrap();
        let known = text.lines().last().unwrap();
        fs::write(&path, format!("{text}{{\"at\":5,\"seed\":1,\"fact\":\"dreamt\"}}\n{known}\n{{\"fact\":7}}\n"))
            .unwrap();
        let mut reader = LogReader::open(&path).unwrap();
        assert_eq!(reader.next_entry().unwrap(), Some(LogEntry::Fact(fact(1))));
        assert_eq!(reader.next_entry().unwrap(), Some(LogEntry::Unknown { kind: "dreamt".to_owned(), line: 3 }));
        assert_eq!(reader.next_entry().unwrap(), Some(LogEntry::Fact(fact(1))));
        assert!(matches!(reader.next_entry(), Err(StoreError::Damaged { line: Some(5), .. })));
    }

    #[test]
    fn a_newer_log_and_no_log_are_different_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        fs::write(&path, "{\"format\":\"perstack-log\",\"version\":7}\n{}\n").unwrap();
        assert!(matches!(read(&path).unwrap_err(), StoreError::Newer { version: 7, .. }));
        fs::write(&path, "{\"some\":\"json\"}\n{}\n").unwrap();
        assert!(matches!(read(&path).unwrap_err(), StoreError::Damaged { line: Some(1), .. }));
    }

    #[test]
    fn a_position_gives_the_facts_before_it_whatever_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let position = write(&path, &facts(2));
        write(&path, &facts(3)[2..]);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(b"noise\nnoise\n");
        fs::write(&path, bytes).unwrap();
        assert_eq!(LogReader::open(&path).unwrap().read_to(&position).unwrap(), facts(2));
    }

    #[test]
    fn a_position_of_another_log_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        let position = write(&path, &facts(3));
        write(&other, &[fact(1), fact(3), fact(2)]);
        let refused = LogReader::open(&other).unwrap().read_to(&position).unwrap_err();
        assert!(refused.to_string().ends_with("its first 3 facts are not those a checkpoint builds on"), "{refused}");
        fs::write(&path, &fs::read(&path).unwrap()[..60]).unwrap();
        let short = LogReader::open(&path).unwrap().read_to(&position).unwrap_err();
        assert!(short.to_string().contains("it ends after"), "{short}");
    }

    #[cfg(unix)]
    #[test]
    fn a_log_with_a_second_name_is_not_opened_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("log.jsonl"), folder.path().join("other"));
        LogWriter::open(&path).unwrap();
        std::fs::hard_link(&path, &other).unwrap();
        assert!(matches!(LogWriter::open(&path), Err(StoreError::HardLink { .. })));
        std::fs::remove_file(&other).unwrap();
        assert!(LogWriter::open(&path).is_ok());
    }

    #[test]
    fn after_a_failed_write_further_facts_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        write(&path, &facts(1));
        // A file opened for reading refuses writes, as a full disk does.
        let mut writer = LogWriter { file: File::open(&path).unwrap(), ..LogWriter::open(&path).unwrap() };
        let error = writer.append(&fact(2)).unwrap_err();
        assert!(matches!(&error, StoreError::Io { action: "write to", .. }), "{error}");
        writer.file = door::open_to_append(&path).unwrap();
        assert!(matches!(writer.append(&fact(3)).unwrap_err(), StoreError::Poisoned { .. }));
        assert!(matches!(writer.sync().unwrap_err(), StoreError::Poisoned { .. }));
        assert_eq!(read(&path).unwrap(), facts(1));
    }
}
