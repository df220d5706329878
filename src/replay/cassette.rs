//! [`Cassette`]: the lines of a cassette, and reading them. `record` writes the lines, `play` answers from them.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ReplayError;
use crate::expert::ExpertKey;
use crate::fact::Stamp;
use crate::provider::http::transport::TransportError;
use crate::setting::ProviderName;
use crate::tool::{ToolCall, ToolResult, ToolSpec};

const FORMAT: &str = "perstack-cassette";
/// Version 2 records the tools that servers offer too.
const VERSION: u32 = 2;

/// Largest cassette that is read, in bytes: exchanges of a long job with all its images stay well below.
const MAX_FILE: u64 = 1 << 30;

/// The provider, model and start of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassetteHeader {
    pub provider: ProviderName,
    /// Empty when none was configured.
    pub model: String,
    /// The model was requested for every expert; otherwise an expert's own tier takes precedence.
    pub model_is_explicit: bool,
    /// Time and randomness of the recording's start: all other stamps follow from it.
    pub started: Stamp,
}

/// The header as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeaderLine {
    format: String,
    version: u32,
    provider: ProviderName,
    model: String,
    /// Absent in older cassettes, which used their model for every expert.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    model_is_explicit: bool,
    /// Milliseconds since the epoch.
    #[serde(with = "crate::count")]
    started_at: u64,
    seed: u64,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

impl CassetteHeader {
    /// The first line, without its end.
    pub(super) fn to_line(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&HeaderLine {
            format: FORMAT.to_owned(),
            version: VERSION,
            provider: self.provider,
            model: self.model.clone(),
            model_is_explicit: self.model_is_explicit,
            started_at: self.started.at,
            seed: self.started.seed,
        })
    }

    fn of_line(line: &[u8], path: &Path) -> Result<Self, ReplayError> {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(ReplayError::NoCassette { path: path.to_owned() });
        }
        if let Some(version) = value.get("version").and_then(Value::as_u64).filter(|v| *v > u64::from(VERSION)) {
            return Err(ReplayError::Newer { path: path.to_owned(), version, supported: VERSION });
        }
        let line: HeaderLine = serde_json::from_value(value).map_err(|error| damaged(path, 1, &error))?;
        let started = Stamp { at: line.started_at, seed: line.seed };
        Ok(Self { provider: line.provider, model: line.model, model_is_explicit: line.model_is_explicit, started })
    }

    /// Returns whether `line` is the first line of a cassette, of any version.
    pub(super) fn is_header(line: &[u8]) -> bool {
        !matches!(Self::of_line(line, Path::new("")), Err(ReplayError::NoCassette { .. }))
    }
}

/// One line after the header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "camelCase")]
pub(super) enum Record {
    Exchange(Exchange),
    Tool(ToolExchange),
    Offer(Offer),
}

/// A request to a model and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Exchange {
    pub request: RecordedRequest,
    #[serde(flatten)]
    pub answer: RecordedAnswer,
}

/// The parts of a request by which it is found again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RecordedRequest {
    /// The address's path: no scheme, host or query.
    pub path: String,
    /// The body's JSON; a string when it is none.
    pub body: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum RecordedAnswer {
    Response(RecordedResponse),
    /// No response came.
    Failure(TransportError),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RecordedResponse {
    pub status: u16,
    /// The headers needed to read the body, and to know when to try again.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(flatten)]
    pub body: RecordedBody,
    /// The error that cut the body short, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<TransportError>,
}

/// The key of [`RecordedBody::Base64`].
pub(super) const BINARY_BODY: &str = "bodyBase64";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RecordedBody {
    #[serde(rename = "body")]
    Text(String),
    /// A binary body, or one cut in the middle of a character.
    #[serde(rename = "bodyBase64")]
    Base64(String),
}

impl RecordedBody {
    /// The body as it is recorded. A body of a binary type is stored as base64 even if its bytes happen to be text,
    /// since text is changed: the workspace's path is removed from it.
    pub fn new(bytes: Vec<u8>, content_type: &str) -> Self {
        if is_binary(content_type) {
            return Self::Base64(STANDARD.encode(bytes));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(STANDARD.encode(error.as_bytes())),
        }
    }

    /// The body's bytes; `restore` undoes the changes to text.
    pub fn bytes(&self, restore: impl FnOnce(&str) -> String) -> Result<Vec<u8>, base64::DecodeError> {
        match self {
            Self::Text(text) => Ok(restore(text).into_bytes()),
            Self::Base64(text) => STANDARD.decode(text),
        }
    }
}

/// Returns whether the type is of messages with lengths and checksums, which any change of bytes would break.
fn is_binary(content_type: &str) -> bool {
    content_type.trim_start().to_ascii_lowercase().starts_with("application/vnd.amazon.eventstream")
}

/// A tool's call and its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToolExchange {
    pub call: ToolCall,
    pub result: ToolResult,
}

/// The tools that the servers of an expert offered when they were started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub expert: ExpertKey,
    pub tools: Vec<ToolSpec>,
}

/// A cassette in memory.
#[derive(Debug)]
pub struct Cassette {
    pub(super) path: PathBuf,
    header: CassetteHeader,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) tools: Vec<ToolExchange>,
    pub(super) offers: Vec<Offer>,
}

impl Cassette {
    /// Reads a cassette. A torn last line is skipped.
    ///
    /// # Errors
    /// [`ReplayError::NoCassette`], [`ReplayError::Newer`], [`ReplayError::Damaged`] or the system's error.
    pub fn load(path: &Path) -> Result<Self, ReplayError> {
        // Checked before reading: a device or pipe might never end.
        let metadata = fs::metadata(path).map_err(ReplayError::io("read", path))?;
        if !metadata.is_file() || metadata.len() > MAX_FILE {
            return Err(ReplayError::NoCassette { path: path.to_owned() });
        }
        let bytes = fs::read(path).map_err(ReplayError::io("read", path))?;
        let mut lines = (1..).zip(bytes.split(|byte| *byte == b'\n')).peekable();
        let (_, first) = lines.next().unwrap_or_default();
        let header = CassetteHeader::of_line(first, path)?;
        let mut cassette =
            Self { path: path.to_owned(), header, exchanges: Vec::new(), tools: Vec::new(), offers: Vec::new() };
        while let Some((number, line)) = lines.next() {
            match serde_json::from_slice(line) {
                Ok(Record::Exchange(exchange)) => cassette.exchanges.push(exchange),
                Ok(Record::Tool(tool)) => cassette.tools.push(tool),
                Ok(Record::Offer(offer)) => cassette.offers.push(offer),
                // Whole lines end in a newline, so the part behind the last one is empty or torn.
                Err(_) if lines.peek().is_none() => {}
                Err(error) => return Err(damaged(path, number, &error)),
            }
        }
        Ok(cassette)
    }

    /// The provider, model and start of the recording.
    pub fn header(&self) -> &CassetteHeader {
        &self.header
    }
}

fn damaged(path: &Path, line: u64, error: &serde_json::Error) -> ReplayError {
    ReplayError::Damaged { path: path.to_owned(), line, what: error.to_string() }
}
