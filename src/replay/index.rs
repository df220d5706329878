//! [`Cassette`]: where the records of a cassette are, and what they are found by.
//!
//! `play` asks for records. The file is read once from beginning to end; its records stay there until they are wanted.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::cassette::{Exchange, Record, RecordedRequest};
use super::digest::Digest;
use super::kept::KeptBody;
use super::{CassetteHeader, ReplayError};
use crate::expert::ExpertKey;
use crate::tool::ToolCall;

/// Most bytes of a line, which is in memory whole: an exchange with all its images stays well below.
const MAX_LINE: u64 = 1 << 30;

/// A cassette that is read. What it takes in memory is some bytes for each of its records.
#[derive(Debug)]
pub struct Cassette {
    pub(super) path: PathBuf,
    header: CassetteHeader,
    file: Mutex<BufReader<File>>,
    pub(super) exchanges: Vec<(Place, Digest)>,
    pub(super) tools: Vec<(Place, Digest)>,
    pub(super) offers: IndexMap<ExpertKey, Vec<Place>>,
    pub(super) decisions: Vec<(Place, Digest)>,
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
        let (header, mut lines) = Lines::open(path)?;
        let file = Mutex::new(BufReader::new(File::open(path).map_err(ReplayError::io("read", path))?));
        let (exchanges, tools, offers, decisions) = (Vec::new(), Vec::new(), IndexMap::new(), Vec::new());
        let mut cassette = Self { path: path.to_owned(), header, file, exchanges, tools, offers, decisions };
        let mut bodies = Bodies::default();
        while let Some((place, record)) = lines.record()? {
            match record {
                Record::Exchange(exchange) => {
                    let digest = bodies.follow(exchange, path, place)?.1;
                    cassette.exchanges.push((place, digest));
                }
                Record::Tool(tool) => cassette.tools.push((place, digest_of(&tool.call))),
                Record::Permission(record) => cassette.decisions.push((place, digest_of(&record.call))),
                Record::Offer(offer) => cassette.offers.entry(offer.expert).or_default().push(place),
            }
        }
        Ok(cassette)
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
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = Vec::new();
        file.seek(SeekFrom::Start(place.offset))
            .and_then(|_| (&mut *file).take(MAX_LINE).read_until(b'\n', &mut line))
            .map_err(ReplayError::io("read", &self.path))?;
        serde_json::from_slice(&line).map_err(|error| damaged(&self.path, place.line, &error.to_string()))
    }

    /// The path and body of a request. Reads the file again up to there.
    ///
    /// # Errors
    /// The file was changed since it was read, or the system's error.
    pub(super) fn request(&self, wanted: Place) -> Result<(String, Value), ReplayError> {
        let (_, mut lines) = Lines::open(&self.path)?;
        let mut bodies = Bodies::default();
        while let Some((place, record)) = lines.record()? {
            let Record::Exchange(exchange) = record else { continue };
            let request_path = exchange.request.path.clone();
            let (body, _) = bodies.follow(exchange, &self.path, place)?;
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
    Digest::of_value(&shown(call))
}

/// The parts of a call by which it is found.
pub(super) fn shown(call: &ToolCall) -> Value {
    json!({"id": call.id, "toolName": call.tool_name, "args": call.args})
}

fn damaged(path: &Path, line: u64, what: &str) -> ReplayError {
    ReplayError::Damaged { path: path.to_owned(), line, what: what.to_owned() }
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
    fn follow(&mut self, exchange: Exchange, path: &Path, place: Place) -> Result<(&KeptBody, Digest), ReplayError> {
        self.exchanges = self.exchanges.saturating_add(1);
        if let Some(number) = exchange.number.filter(|number| *number != self.exchanges) {
            let what = format!("it is exchange {number}, where exchange {} is due", self.exchanges);
            return Err(damaged(path, place.line, &what));
        }
        let RecordedRequest { path: request_path, conversation, from, body, changes } = exchange.request;
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
        let mut lines = Self { path: path.to_owned(), reader, line: Vec::new(), next };
        lines.read(super::record::MAX_HEADER)?;
        let header = CassetteHeader::of_line(&lines.line, path)?;
        Ok((header, lines))
    }

    /// The next record, unless the file ends, or is torn.
    fn record(&mut self) -> Result<Option<(Place, Record)>, ReplayError> {
        let place = self.read(MAX_LINE)?;
        match serde_json::from_slice(&self.line) {
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
        Ok(std::mem::replace(&mut self.next, following))
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
