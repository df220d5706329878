//! [`Cassette`]: where the records of a cassette are, and what they are found by.
//!
//! `play` asks for records. The file is read once from beginning to end; its records stay there until they are wanted.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::abridge::{Unabridger, Unreadable};
use super::cassette::{
    IndexedRecord, MAX_HEADER, Record, RecordedAnswer, RecordedRequest, RecordedStart, ToolExchange,
};
use super::digest::Digest;
use super::kept::KeptBody;
use super::stops::RunStops;
use super::{CassetteHeader, ReplayError, workspace};
use crate::checkpoint::Status;
use crate::expert::ExpertKey;
use crate::id::RunId;
use crate::tool::ToolCall;

/// Most bytes of a line, which is in memory whole: an exchange with all its images stays well below.
const MAX_LINE: u64 = 1 << 30;

/// A cassette that is read. What it takes in memory is some bytes for each of its records.
#[derive(Debug)]
pub struct Cassette {
    pub(super) path: PathBuf,
    header: CassetteHeader,
    file: Mutex<OpenFile>,
    /// The beginnings of all lines, in bytes.
    beginnings: Vec<u64>,
    pub(super) exchanges: Vec<(Place, Digest)>,
    pub(super) tools: Vec<(Place, Digest)>,
    pub(super) offers: IndexMap<ExpertKey, Vec<Place>>,
    pub(super) decisions: Vec<(Place, Digest)>,
    /// The changes of servers' tools, by Run and the number of its requests before.
    pub(super) changes: HashMap<(RunId, u64), Vec<Place>>,
    /// The exchanges of all parts.
    pub(super) recorded_exchanges: u64,
    parts: Vec<Part>,
    /// The number of the last whole line.
    last_line: u64,
    /// The place behind it, in bytes, and whether it has its line end.
    pub(super) whole: (u64, bool),
}

/// A part of a recording: a job's beginning, or a continuation of it.
#[derive(Debug)]
struct Part {
    start: Place,
    end: Option<(Status, Place)>,
}

/// The file, to read lines from in any order.
#[derive(Debug)]
struct OpenFile {
    reader: BufReader<File>,
    /// The place that is read next, in bytes. Out of any file's reach after a failure.
    at: u64,
    unabridger: Unabridger,
}

impl OpenFile {
    fn open(path: &Path) -> Result<Self, ReplayError> {
        let file = File::open(path).map_err(ReplayError::io("read", path))?;
        Ok(Self { reader: BufReader::new(file), at: 0, unabridger: Unabridger::default() })
    }

    /// The line that begins at a place.
    fn line(&mut self, beginning: u64) -> io::Result<Vec<u8>> {
        // Most lines are asked for in their order: they are in the buffer already.
        match beginning.checked_signed_diff(std::mem::replace(&mut self.at, u64::MAX)) {
            Some(way) => self.reader.seek_relative(way)?,
            None => _ = self.reader.seek(SeekFrom::Start(beginning))?,
        }
        let mut line = Vec::new();
        let read = (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
        self.at = beginning.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(line)
    }

    /// The whole text of a line that is written by another.
    fn whole(&mut self, line: &[u8], beginnings: &[u64]) -> Result<Vec<u8>, Unreadable<io::Error>> {
        let mut unabridger = std::mem::take(&mut self.unabridger);
        let whole = unabridger.whole(line, |number| {
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            beginnings.get(index).map(|beginning| self.line(*beginning))
        });
        self.unabridger = unabridger;
        whole
    }
}

/// The place of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    offset: u64,
    line: u64,
}

impl Cassette {
    /// Reads a cassette. A torn last line is skipped.
    ///
    /// # Errors
    /// [`ReplayError::NoCassette`], [`ReplayError::Newer`], [`ReplayError::Damaged`] or the system's error.
    pub fn load(path: &Path) -> Result<Self, ReplayError> {
        Self::load_part(path, None)
    }

    /// Reads a cassette for one part of it alone: 0 is the beginning of its job, the others are its continuations.
    ///
    /// # Errors
    /// As [`Cassette::load`].
    pub fn load_part(path: &Path, wanted: Option<usize>) -> Result<Self, ReplayError> {
        let (header, mut lines) = Lines::open(path)?;
        let file = Mutex::new(OpenFile::open(path)?);
        let mut cassette = Self {
            path: path.to_owned(),
            header,
            file,
            beginnings: Vec::new(),
            exchanges: Vec::new(),
            tools: Vec::new(),
            offers: IndexMap::new(),
            decisions: Vec::new(),
            changes: HashMap::new(),
            recorded_exchanges: 0,
            parts: Vec::new(),
            last_line: 0,
            whole: lines.whole(),
        };
        let mut bodies = Bodies::default();
        while let Some((place, record)) = lines.record()? {
            (cassette.last_line, cassette.whole) = (place.line, lines.whole());
            let is_wanted = wanted.is_none_or(|wanted| wanted == cassette.parts.len().saturating_sub(1));
            let record = match record {
                IndexedRecord::Request(number, request) => {
                    let digest = bodies.follow(number, request, path, place)?.1;
                    if is_wanted {
                        cassette.exchanges.push((place, digest));
                    }
                    continue;
                }
                IndexedRecord::Other(record) => record,
            };
            match record {
                Record::Start(start) => {
                    if let Some(started) = start.started.filter(|_| wanted == Some(cassette.parts.len())) {
                        cassette.header.started = started;
                    }
                    cassette.parts.push(Part { start: place, end: None });
                }
                Record::End(end) => {
                    if let Some(part) = cassette.parts.last_mut() {
                        part.end = Some((end.status, place));
                    }
                }
                // Read as a request above.
                Record::Exchange(_) => {}
                _ if !is_wanted => {}
                Record::Tool(tool) => cassette.tools.push((place, digest_of(&tool.call))),
                Record::Permission(record) => cassette.decisions.push((place, digest_of(&record.call))),
                Record::Change(change) => {
                    cassette.changes.entry((change.run, change.behind)).or_default().push(place);
                }
                Record::Offer(offer) => cassette.offers.entry(offer.expert).or_default().push(place),
            }
        }
        cassette.recorded_exchanges = bodies.exchanges;
        cassette.beginnings = lines.beginnings;
        Ok(cassette)
    }

    /// The number of parts that its job was recorded in; none in older cassettes.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// The beginning of a part.
    ///
    /// # Errors
    /// [`ReplayError::NoStart`], or as [`Cassette::load`].
    pub fn start(&self, part: usize) -> Result<RecordedStart, ReplayError> {
        let Some(found) = self.parts.get(part) else { return Err(ReplayError::NoStart { path: self.path.clone() }) };
        match self.record(found.start)? {
            Record::Start(start) => Ok(*start),
            _ => Err(self.changed()),
        }
    }

    /// The status in which a part ended; none for a recording that was cut short.
    pub fn end(&self, part: usize) -> Option<Status> {
        Some(self.parts.get(part)?.end?.0)
    }

    /// The places of the Runs when something outside stopped a part; none if nothing did.
    ///
    /// # Errors
    /// As [`Cassette::load`].
    pub fn stops(&self, part: usize) -> Result<Option<RunStops>, ReplayError> {
        let Some((_, place)) = self.parts.get(part).and_then(|part| part.end) else { return Ok(None) };
        match self.record(place)? {
            Record::End(end) => Ok(Some(end.stops).filter(|stops| !stops.is_empty())),
            _ => Err(self.changed()),
        }
    }

    /// The requests of all parts.
    pub fn exchanges(&self) -> u64 {
        self.recorded_exchanges
    }

    /// The number of the last whole line.
    pub fn last_line(&self) -> u64 {
        self.last_line
    }

    /// The provider, model and start of the recording.
    pub fn header(&self) -> &CassetteHeader {
        &self.header
    }

    /// The record at a place.
    ///
    /// # Errors
    /// The file was changed since it was read, or the system's error.
    pub(super) fn record(&self, place: Place) -> Result<Record, ReplayError> {
        serde_json::from_slice(&self.line(place)?).map_err(|error| damaged(&self.path, place.line, &error.to_string()))
    }

    /// The answer of the exchange at a place.
    ///
    /// # Errors
    /// The file was changed since it was read, or the system's error.
    pub(super) fn answer(&self, place: Place) -> Result<RecordedAnswer, ReplayError> {
        let answer = RecordedAnswer::of_line(&self.line(place)?);
        answer.map_err(|error| damaged(&self.path, place.line, &error.to_string()))?.ok_or_else(|| self.changed())
    }

    /// The call at a place and its result, and whether they have placeholders of paths.
    ///
    /// # Errors
    /// The file was changed since it was read, or the system's error.
    pub(super) fn tool(&self, place: Place) -> Result<(ToolExchange, bool), ReplayError> {
        let line = self.line(place)?;
        match IndexedRecord::of_line(&line) {
            Ok(IndexedRecord::Other(Record::Tool(exchange))) => Ok((exchange, workspace::has_placeholder(&line))),
            Ok(_) => Err(self.changed()),
            Err(error) => Err(damaged(&self.path, place.line, &error.to_string())),
        }
    }

    /// The line of a record, whole.
    fn line(&self, place: Place) -> Result<Vec<u8>, ReplayError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let line = file.line(place.offset).map_err(ReplayError::io("read", &self.path))?;
        if !Unabridger::is_abridged(&line) {
            return Ok(line);
        }
        let whole = file.whole(&line, &self.beginnings);
        whole.map_err(|error| unreadable(error, &self.path, place))
    }

    /// The path and body of a request. Reads the file again up to there.
    ///
    /// # Errors
    /// The file was changed since it was read, or the system's error.
    pub(super) fn request(&self, wanted: Place) -> Result<(String, Value), ReplayError> {
        let (_, mut lines) = Lines::open(&self.path)?;
        let mut bodies = Bodies::default();
        while let Some((place, record)) = lines.record()? {
            let IndexedRecord::Request(number, request) = record else { continue };
            let request_path = request.path.clone();
            let (body, _) = bodies.follow(number, request, &self.path, place)?;
            if place.line == wanted.line {
                let body = body.to_value().map_err(|_| misfit(&self.path, place))?;
                return Ok((request_path, body));
            }
        }
        Err(self.changed())
    }

    /// The error for a record that is not where it was.
    pub(super) fn changed(&self) -> ReplayError {
        ReplayError::Changed { path: self.path.clone() }
    }
}

/// The digest of a call, by its id, tool and arguments.
pub(super) fn digest_of(call: &ToolCall) -> Digest {
    let args = call.args.iter().map(|(name, value)| (name.as_str(), Digest::of_value(value)));
    Digest::of_object(args).at(&call.tool_name).at(&call.id)
}

/// The parts of a call by which it is found.
pub(super) fn shown(call: &ToolCall) -> Value {
    json!({"id": call.id, "toolName": call.tool_name, "args": call.args})
}

fn damaged(path: &Path, line: u64, what: &str) -> ReplayError {
    ReplayError::Damaged { path: path.to_owned(), line, what: what.to_owned() }
}

fn unreadable(error: Unreadable<io::Error>, path: &Path, place: Place) -> ReplayError {
    match error {
        Unreadable::NoJson(error) => damaged(path, place.line, &error.to_string()),
        Unreadable::NoSuchLine(line) => damaged(path, place.line, &format!("it is not like line {line}")),
        Unreadable::Other(error) => ReplayError::io("read", path)(error),
    }
}

fn misfit(path: &Path, place: Place) -> ReplayError {
    damaged(path, place.line, "its changes do not fit the request before it")
}

/// The latest body of each conversation, while the records are read in their order.
#[derive(Default)]
struct Bodies {
    kept: HashMap<usize, KeptBody>,
    exchanges: u64,
}

impl Bodies {
    /// Reads a request. Returns its body, and the digest of it and its path.
    fn follow(
        &mut self,
        number: Option<u64>,
        request: RecordedRequest,
        path: &Path,
        place: Place,
    ) -> Result<(&KeptBody, Digest), ReplayError> {
        self.exchanges = self.exchanges.saturating_add(1);
        if let Some(number) = number.filter(|number| *number != self.exchanges) {
            let what = format!("it is exchange {number}, where exchange {} is due", self.exchanges);
            return Err(damaged(path, place.line, &what));
        }
        let RecordedRequest { path: request_path, conversation, from, body, changes } = request;
        let body = match (body, changes) {
            // Nothing refers to a body without a conversation: its lists are not needed one by one.
            (Some(body), None) if conversation.is_none() => KeptBody::Other(body),
            (Some(body), None) => KeptBody::new(body),
            (None, Some(changes)) => {
                let earlier = match from {
                    Some(from) => self.kept.get(&from).cloned(),
                    None => conversation.and_then(|own| self.kept.remove(&own)),
                };
                let mut body = earlier.ok_or_else(|| misfit(path, place))?;
                body.change(changes).map_err(|_| misfit(path, place))?;
                body
            }
            _ => return Err(damaged(path, place.line, "its request has no `body`, or `changes` beside it")),
        };
        let digest = body.digest().at(&request_path);
        Ok((self.kept.entry(conversation.unwrap_or_default()).insert_entry(body).into_mut(), digest))
    }
}

/// The lines of a cassette, one by one.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    /// The place of the next line.
    next: Place,
    /// The beginnings of the lines before it, in bytes.
    beginnings: Vec<u64>,
    /// The same file, for the lines that others are written by.
    others: OpenFile,
}

impl Lines {
    /// The header, and the lines behind it.
    fn open(path: &Path) -> Result<(CassetteHeader, Self), ReplayError> {
        // Checked before it is opened: a device or pipe might never end.
        let metadata = fs::metadata(path).map_err(ReplayError::io("read", path))?;
        if !metadata.is_file() {
            return Err(ReplayError::NoCassette { path: path.to_owned() });
        }
        let reader = BufReader::new(File::open(path).map_err(ReplayError::io("read", path))?);
        let next = Place { offset: 0, line: 1 };
        let (line, beginnings, others) = (Vec::new(), Vec::new(), OpenFile::open(path)?);
        let mut lines = Self { path: path.to_owned(), reader, line, next, beginnings, others };
        lines.read(MAX_HEADER)?;
        let header = CassetteHeader::of_line(&lines.line, path)?;
        Ok((header, lines))
    }

    /// The place behind the line that was read last, and whether it has its line end.
    fn whole(&self) -> (u64, bool) {
        (self.next.offset, self.line.ends_with(b"\n"))
    }

    /// The next record, unless the file ends, or is torn.
    fn record(&mut self) -> Result<Option<(Place, IndexedRecord)>, ReplayError> {
        let place = self.read(MAX_LINE)?;
        let read = if Unabridger::is_abridged(&self.line) {
            match self.others.whole(&self.line, &self.beginnings) {
                Ok(whole) => IndexedRecord::of_line(&whole),
                Err(Unreadable::NoJson(error)) => Err(error),
                Err(error) => return Err(unreadable(error, &self.path, place)),
            }
        } else {
            IndexedRecord::of_line(&self.line)
        };
        match read {
            Ok(record) => Ok(Some((place, record))),
            // Whole lines end in a newline, so that what has none is empty or torn.
            Err(_) if self.line.last() != Some(&b'\n') && self.line.len() < bytes(MAX_LINE) => Ok(None),
            Err(error) => Err(damaged(&self.path, place.line, &error.to_string())),
        }
    }

    fn read(&mut self, most: u64) -> Result<Place, ReplayError> {
        self.line.clear();
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut self.line);
        let read = read.map_err(ReplayError::io("read", &self.path))?;
        let offset = self.next.offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        let following = Place { offset, line: self.next.line.saturating_add(1) };
        self.beginnings.push(self.next.offset);
        Ok(std::mem::replace(&mut self.next, following))
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
