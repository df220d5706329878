//! [`CassetteHeader`] and [`Record`]: the lines of a cassette. `record` writes them, `index` reads them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ReplayError;
use super::change::ValueChange;
use super::events::Events;
use super::stops::RunStops;
use crate::checkpoint::Status;
use crate::content::Content;
use crate::expert::ExpertKey;
use crate::fact::Stamp;
use crate::id::{CheckpointId, JobId, RunId};
use crate::json_text;
use crate::permission::CallDecision;
use crate::provider::http::transport::TransportError;
use crate::setting::ProviderName;
use crate::tool::{ToolCall, ToolResult, ToolSpec};

/// The mistake of an exchange that is not one.
const NO_ANSWER: &str = "an exchange has a response or a failure";
const FORMAT: &str = "perstack-cassette";
/// Version 2 records the tools that servers offer too, version 3 the differences of a request from the one before it,
/// version 4 all that a job was run with, its end, and the home folder's path as a placeholder, version 5 lines by what
/// differs from earlier ones.
const VERSION: u32 = 5;
/// Most bytes of a first line that are read to recognise a cassette.
pub(super) const MAX_HEADER: u64 = 64 << 10;
/// The first version that hides the home folder.
const HIDES_HOME: u64 = 4;
/// The first version that may have lines by what differs from earlier ones.
const ABRIDGES: u64 = 5;

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
    /// The home folder's path is written as a placeholder. False for older cassettes.
    pub hides_home: bool,
    /// A line may have what differs from an earlier one alone. False for older cassettes, which older programs go on with.
    pub abridges: bool,
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
    #[serde(with = "crate::count::Count")]
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

    pub(super) fn of_line(line: &[u8], path: &Path) -> Result<Self, ReplayError> {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(ReplayError::NoCassette { path: path.to_owned() });
        }
        let version = value.get("version").and_then(Value::as_u64).unwrap_or_default();
        if version > u64::from(VERSION) {
            return Err(ReplayError::Newer { path: path.to_owned(), version, supported: VERSION });
        }
        let line: HeaderLine = serde_json::from_value(value).map_err(|error| ReplayError::Damaged {
            path: path.to_owned(),
            line: 1,
            what: error.to_string(),
        })?;
        let started = Stamp { at: line.started_at, seed: line.seed };
        let HeaderLine { provider, model, model_is_explicit, .. } = line;
        let (hides_home, abridges) = (version >= HIDES_HOME, version >= ABRIDGES);
        Ok(Self { provider, model, model_is_explicit, started, hides_home, abridges })
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
    Start(Box<RecordedStart>),
    Exchange(Exchange),
    Tool(ToolExchange),
    Offer(RecordedOffer),
    Change(RecordedChange),
    Permission(PermissionRecord),
    End(EndRecord),
}

/// One line after the header, as it is read for an index.
#[derive(Debug, PartialEq)]
pub(super) enum IndexedRecord {
    /// The request of an exchange.
    Request(Option<u64>, RecordedRequest),
    Other(Record),
}

impl IndexedRecord {
    /// Reads a line.
    ///
    /// # Errors
    /// It has no record.
    pub fn of_line(line: &[u8]) -> serde_json::Result<Self> {
        // The kinds that a cassette consists of, as they are written: with their name in front, what follows is read at
        // once. Read by kind wherever its name is, a line is copied as a tree first.
        if line.starts_with(br#"{"record":"exchange","#) {
            let RequestLine { number, request, response, failure } = serde_json::from_slice(line)?;
            if response.is_some() == failure.is_some() {
                return Err(de::Error::custom(NO_ANSWER));
            }
            return Ok(Self::Request(number, request));
        }
        if line.starts_with(br#"{"record":"tool","#) {
            return serde_json::from_slice(line).map(|tool| Self::Other(Record::Tool(tool)));
        }
        Ok(match serde_json::from_slice(line)? {
            Record::Exchange(exchange) => Self::Request(exchange.number, exchange.request),
            other => Self::Other(other),
        })
    }
}

/// The beginning of a job, or of its continuation: all that it was run with, besides what follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedStart {
    pub job_id: JobId,
    /// The coordinator's Run, of a job that begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The checkpoint that the job is continued from; none at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<CheckpointId>,
    pub expert: ExpertKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Images and files that were sent with the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<Content>,
    /// The query is a person's answer to a call.
    #[serde(default)]
    pub is_answer: bool,
    /// The job's process had died: its Run goes on where its log ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovers: bool,
    /// Time and randomness that a continuation's stamps follow from; those of a beginning are in the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Stamp>,
    /// The job's options, in the runtime's form.
    pub options: Value,
}

/// The end of a job, or of what was recorded of it at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EndRecord {
    /// `Proceeding` if the job's process died, which was noticed when the job was continued.
    pub status: Status,
    /// The places of its Runs, if something outside stopped the job.
    #[serde(default, skip_serializing_if = "RunStops::is_empty")]
    pub stops: RunStops,
}

/// A request to a model and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ExchangeLine")]
pub(super) struct Exchange {
    /// Its place among the exchanges, from 1 on. Absent in versions 1 and 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    pub request: RecordedRequest,
    #[serde(flatten)]
    pub answer: RecordedAnswer,
}

/// An exchange as it is read. Fields instead of kinds, which serde would read from a copy.
#[derive(Deserialize)]
struct ExchangeLine {
    #[serde(default)]
    number: Option<u64>,
    request: RecordedRequest,
    response: Option<RecordedResponse>,
    failure: Option<TransportError>,
}

impl TryFrom<ExchangeLine> for Exchange {
    type Error = &'static str;

    fn try_from(line: ExchangeLine) -> Result<Self, Self::Error> {
        let ExchangeLine { number, request, response, failure } = line;
        Ok(Self { number, request, answer: RecordedAnswer::new(response, failure)? })
    }
}

/// The request of an exchange. The answer is passed over: it is read where it is wanted.
#[derive(Deserialize)]
struct RequestLine {
    #[serde(default)]
    number: Option<u64>,
    request: RecordedRequest,
    response: Option<IgnoredAny>,
    failure: Option<IgnoredAny>,
}

/// The answer of an exchange; its request is passed over.
#[derive(Deserialize)]
struct AnswerLine {
    record: String,
    response: Option<RecordedResponse>,
    failure: Option<TransportError>,
}

/// The parts of a request by which it is found again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RecordedRequest {
    /// The address's path: no scheme, host or query.
    pub path: String,
    /// The number of the conversation whose latest request this is now. Absent in versions 1 and 2, where each request
    /// is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<usize>,
    /// The conversation from whose latest request this one differs, if not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<usize>,
    /// The body's JSON; a string when it is none.
    #[serde(default, deserialize_with = "json_text::present", skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The fields of the body that differ, in the place of a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<IndexMap<String, ValueChange>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum RecordedAnswer {
    Response(RecordedResponse),
    /// No response came.
    Failure(TransportError),
}

impl RecordedAnswer {
    fn new(response: Option<RecordedResponse>, failure: Option<TransportError>) -> Result<Self, &'static str> {
        match (response, failure) {
            (Some(response), None) => Ok(Self::Response(response)),
            (None, Some(failure)) => Ok(Self::Failure(failure)),
            _ => Err(NO_ANSWER),
        }
    }

    /// Reads the answer of the exchange in a line; `None` if the line has another record.
    ///
    /// # Errors
    /// It has no record, or an exchange without an answer.
    pub fn of_line(line: &[u8]) -> serde_json::Result<Option<Self>> {
        let AnswerLine { record, response, failure } = serde_json::from_slice(line)?;
        let answer = (record == "exchange").then(|| Self::new(response, failure));
        answer.transpose().map_err(de::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ResponseLine")]
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

/// A response as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseLine {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_events: Option<Events>,
    body_base64: Option<String>,
    #[serde(default)]
    cut: Option<TransportError>,
}

impl TryFrom<ResponseLine> for RecordedResponse {
    type Error = &'static str;

    fn try_from(line: ResponseLine) -> Result<Self, Self::Error> {
        let ResponseLine { status, headers, body, body_events, body_base64, cut } = line;
        let body = match (body, body_events, body_base64) {
            (Some(text), None, None) => RecordedBody::Text(text),
            (None, Some(events), None) => RecordedBody::Events(events),
            (None, None, Some(bytes)) => RecordedBody::Base64(bytes),
            _ => return Err("a response has one of `body`, `bodyEvents` and `bodyBase64`"),
        };
        Ok(Self { status, headers, body, cut })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) enum RecordedBody {
    #[serde(rename = "body")]
    Text(String),
    /// The events of a text that streamed in. Absent in versions 1 and 2.
    #[serde(rename = "bodyEvents")]
    Events(Events),
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

    /// The same body with `clean` applied to its text, as events if it is a text of events. Base64 is left alone: a match
    /// in it is a coincidence, and replacing it would change the bytes.
    #[must_use]
    pub fn cleaned(self, clean: &dyn Fn(&str) -> Option<String>) -> Self {
        match self {
            Self::Text(text) => match Events::of_text(&text, clean) {
                Some(events) => Self::Events(events),
                None => Self::Text(clean(&text).unwrap_or(text)),
            },
            other => other,
        }
    }

    /// The body's bytes; `restore` undoes the changes to text, and returns `None` for one without any.
    ///
    /// # Errors
    /// The reason why the record gives none.
    pub fn bytes(&self, restore: &dyn Fn(&str) -> Option<String>) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(restore(text).unwrap_or_else(|| text.clone()).into_bytes()),
            Self::Events(events) => {
                let text = events.to_text().ok_or("events whose text is not where they say")?;
                Ok(restore(&text).unwrap_or(text).into_bytes())
            }
            Self::Base64(text) => STANDARD.decode(text).map_err(|error| format!("a body that is no base64 ({error})")),
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

/// A call that a person was asked about, and the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PermissionRecord {
    pub call: ToolCall,
    pub decision: CallDecision,
}

/// The tools that the servers of an expert offered when they were started, or that a lock had in their place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedOffer {
    pub expert: ExpertKey,
    pub tools: Vec<ToolSpec>,
    /// They are those of a lock, which a model may search. Absent in older cassettes, in which none did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_locked: bool,
}

/// The tools that the servers of an expert have offered since the middle of a Run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedChange {
    pub run: RunId,
    /// The requests that the Run had sent before.
    #[serde(with = "crate::count::Count")]
    pub behind: u64,
    pub tools: Vec<ToolSpec>,
}
