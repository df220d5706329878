//! [`CassetteRecorder`]: records requests, answers and tool results into a cassette. The runtime's tape calls it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::abridge::Abridger;
use super::cassette::{
    EndRecord, Exchange, MAX_HEADER, PermissionRecord, Record, RecordedAnswer, RecordedBody, RecordedChange,
    RecordedOffer, RecordedRequest, RecordedResponse, RecordedStart, ToolExchange,
};
use super::conversations::{Conversations, Description, PlacedBody};
use super::outline::{Difference, OutlineUse};
use super::stops::RunStops;
use super::workspace::LocalPaths;
use super::{Cassette, CassetteHeader, ReplayError};
use crate::checkpoint::Status;
use crate::future::BoxFuture;
use crate::hint::ErrorHint as _;
use crate::json_text::change_strings;
use crate::permission::CallDecision;
use crate::provider::http::fetch::{Fetch, FetchResponse};
use crate::provider::http::request_body::RequestBody;
use crate::provider::http::transport::{
    Body, HttpRequest, HttpResponse, Transport, TransportError, TransportErrorKind,
};
use crate::redact::Redactor;
use crate::tool::{ToolCall, ToolResult};

/// The response headers that are recorded: those needed to read the body and to know when to try again. Others may hold
/// account names.
const KEPT_HEADERS: [&str; 2] = ["content-type", "retry-after"];

/// The writer of one cassette, shared by the transport and the tools of a job. Each record is one write, so that a
/// crash can tear only the last line.
pub struct CassetteRecorder {
    path: PathBuf,
    paths: LocalPaths,
    redactor: Redactor,
    /// Behind a lock, as exchanges end on the tasks of several Runs.
    tape: Mutex<Tape>,
}

struct Tape {
    file: File,
    /// The latest requests that were written: a request is described in the order of the lines.
    conversations: Conversations,
    exchanges: u64,
    /// Writes lines by earlier ones, unless the cassette is older than that.
    abridger: Option<Abridger>,
    /// The number of the last line.
    last_line: u64,
    /// The first failure, until [`CassetteRecorder::finish`] returns it.
    failure: Option<ReplayError>,
    is_broken: bool,
}

impl Tape {
    /// A tape that goes on behind so many exchanges and lines.
    fn new(file: File, (exchanges, last_line): (u64, u64), abridges: bool) -> Self {
        let (conversations, failure) = (Conversations::default(), None);
        Self {
            file,
            conversations,
            exchanges,
            abridger: abridges.then(Abridger::default),
            last_line,
            failure,
            is_broken: false,
        }
    }
}

impl CassetteRecorder {
    /// Starts a cassette at `path`, replacing an earlier one. Its folder must exist.
    ///
    /// # Errors
    /// [`ReplayError::WouldOverwrite`] when the file is no cassette, or the system's error.
    pub fn create(
        path: &Path,
        header: &CassetteHeader,
        paths: LocalPaths,
        redactor: Redactor,
    ) -> Result<Self, ReplayError> {
        if !may_overwrite(path)? {
            return Err(ReplayError::WouldOverwrite { path: path.to_owned() });
        }
        let mut line = header.to_line().map_err(|source| ReplayError::Encode { path: path.to_owned(), source })?;
        line.push(b'\n');
        let mut file = create_for_owner(path).map_err(ReplayError::io("create", path))?;
        file.write_all(&line).map_err(ReplayError::io(super::WRITE, path))?;
        let tape = Tape::new(file, (0, 1), header.abridges);
        Ok(Self { path: path.to_owned(), paths, redactor, tape: Mutex::new(tape) })
    }

    /// Goes on with `cassette`, whose latest part has an end: the continuation of its job is added behind its last whole
    /// line.
    ///
    /// # Errors
    /// The system's.
    pub fn going_on(cassette: &Cassette, paths: LocalPaths, redactor: Redactor) -> Result<Self, ReplayError> {
        let path = cassette.path.as_path();
        let mut file = open_for_owner(path, OpenOptions::new().append(true)).map_err(ReplayError::io("open", path))?;
        let (whole, has_line_end) = cassette.whole;
        file.set_len(whole)
            .and_then(|()| if has_line_end { Ok(()) } else { file.write_all(b"\n") })
            .map_err(ReplayError::io(super::WRITE, path))?;
        let before = (cassette.recorded_exchanges, cassette.last_line().max(1));
        let tape = Tape::new(file, before, cassette.header().abridges);
        Ok(Self { path: path.to_owned(), paths, redactor, tape: Mutex::new(tape) })
    }

    /// Records the beginning of the job, or of its continuation. A failure is handled as by
    /// [`CassetteRecorder::note_tool`].
    pub fn note_start(&self, start: RecordedStart) {
        self.note(&Record::Start(Box::new(start)));
    }

    /// Records the end; `stops`: where something outside stopped the Runs. A failure is handled as by
    /// [`CassetteRecorder::note_tool`].
    pub fn note_end(&self, status: Status, stops: RunStops) {
        self.note(&Record::End(EndRecord { status, stops }));
    }

    fn note(&self, record: &Record) {
        if let Err(error) = self.write(record) {
            self.keep_failure(error);
        }
    }

    /// Records a tool's result. A failure to record is returned by [`CassetteRecorder::finish`]: the result itself is
    /// good, and the job goes on with it.
    pub fn note_tool(&self, call: &ToolCall, result: &ToolResult) {
        self.note(&Record::Tool(ToolExchange { call: call.clone(), result: result.clone() }));
    }

    /// Records a person's decision about a call. A failure is handled as by [`CassetteRecorder::note_tool`].
    pub fn note_decision(&self, call: &ToolCall, decision: &CallDecision) {
        self.note(&Record::Permission(PermissionRecord { call: call.clone(), decision: decision.clone() }));
    }

    /// Records the tools that the servers of an expert offer, as started for one of its Runs. A failure is handled as by
    /// [`CassetteRecorder::note_tool`].
    pub fn note_offer(&self, offer: RecordedOffer) {
        self.note(&Record::Offer(offer));
    }

    /// Records that the servers of a Run have other tools. A failure is handled as by [`CassetteRecorder::note_tool`].
    pub fn note_change(&self, change: RecordedChange) {
        self.note(&Record::Change(change));
    }

    /// Returns the first failure that could not be returned when it happened: a caller that dropped an answer cannot
    /// learn that recording it failed.
    ///
    /// # Errors
    /// The kept failure.
    pub fn finish(&self) -> Result<(), ReplayError> {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        tape.failure.take().map_or(Ok(()), Err)
    }

    fn record_exchange(&self, request: &SentRequest, answer: RecordedAnswer) -> Result<(), ReplayError> {
        let answer = match answer {
            RecordedAnswer::Response(response) => RecordedAnswer::Response(self.cleaned_response(response)?),
            RecordedAnswer::Failure(error) => RecordedAnswer::Failure(self.cleaned_as(error)?),
        };
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        let placed = tape.conversations.place(&request.body, &|value| self.cleaned(value), OutlineUse::Differences);
        tape.exchanges = tape.exchanges.saturating_add(1);
        let request = described(self.clean(&request.path).unwrap_or_else(|| request.path.clone()), placed);
        let exchange = Exchange { number: Some(tape.exchanges), request, answer };
        let line = serde_json::to_vec(&Record::Exchange(exchange)).map_err(self.encode())?;
        self.append(&mut tape, line)
    }

    fn cleaned_response(&self, response: RecordedResponse) -> Result<RecordedResponse, ReplayError> {
        let RecordedResponse { status, headers, body, cut } = response;
        let (headers, cut) = (self.cleaned_as(headers)?, self.cleaned_as(cut)?);
        Ok(RecordedResponse { status, headers, body: body.cleaned(&|text| self.clean(text)), cut })
    }

    /// `value` without secrets and local paths.
    fn cleaned_as<T: Serialize + DeserializeOwned>(&self, value: T) -> Result<T, ReplayError> {
        let value = serde_json::to_value(value).map_err(self.encode())?;
        serde_json::from_value(self.cleaned(value)).map_err(self.encode())
    }

    fn write(&self, record: &Record) -> Result<(), ReplayError> {
        let mut value = serde_json::to_value(record).map_err(self.encode())?;
        for (key, part) in value.as_object_mut().into_iter().flatten() {
            // The tag is ours; everything else may hold paths and secrets.
            if key != "record" {
                *part = self.cleaned(part.take());
            }
        }
        let line = serde_json::to_vec(&value).map_err(self.encode())?;
        self.append(&mut self.tape.lock().unwrap_or_else(PoisonError::into_inner), line)
    }

    fn append(&self, tape: &mut Tape, line: Vec<u8>) -> Result<(), ReplayError> {
        if tape.is_broken {
            return Err(ReplayError::Broken { path: self.path.clone() });
        }
        tape.last_line = tape.last_line.saturating_add(1);
        let mut line = match &mut tape.abridger {
            Some(abridger) => abridger.line(tape.last_line, line),
            None => line,
        };
        line.push(b'\n');
        tape.file.write_all(&line).map_err(|source| {
            tape.is_broken = true;
            ReplayError::io(super::WRITE, &self.path)(source)
        })
    }

    fn encode(&self) -> impl FnOnce(serde_json::Error) -> ReplayError {
        let path = self.path.clone();
        |source| ReplayError::Encode { path, source }
    }

    fn cleaned(&self, mut value: Value) -> Value {
        change_strings(&mut value, &|text| self.clean(text));
        value
    }

    /// `text` without secrets and local paths; `None` if it has none.
    fn clean(&self, text: &str) -> Option<String> {
        let masked = self.redactor.masked_text(text);
        self.paths.hide(masked.as_deref().unwrap_or(text)).or(masked)
    }

    fn keep_failure(&self, error: ReplayError) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        tape.failure.get_or_insert(error);
    }
}

/// Opens the file at `path` empty. A new one is for its owner alone, as it holds a whole conversation. A link that a
/// downloaded folder brings along is not followed.
fn create_for_owner(path: &Path) -> io::Result<File> {
    open_for_owner(path, OpenOptions::new().write(true).create(true).truncate(true))
}

fn open_for_owner(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        std::os::unix::fs::OpenOptionsExt::mode(options, 0o600),
        libc::O_NOFOLLOW,
    );
    options.open(path)
}

/// A file that does not exist, is empty or is a cassette.
fn may_overwrite(path: &Path) -> Result<bool, ReplayError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(ReplayError::io("read", path)(error)),
        Ok(metadata) if !metadata.is_file() => return Ok(false),
        Ok(metadata) if metadata.len() == 0 => return Ok(true),
        Ok(_) => {}
    }
    let file = File::open(path).map_err(ReplayError::io("read", path))?;
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_HEADER)).read_until(b'\n', &mut line).map_err(ReplayError::io("read", path))?;
    Ok(CassetteHeader::is_header(&line))
}

/// The parts of a request by which it is found again.
pub(super) struct SentRequest {
    pub path: String,
    pub body: RequestBody,
}

impl SentRequest {
    pub fn new(request: &HttpRequest) -> Self {
        Self { path: path_of(&request.url).to_owned(), body: request.body.clone() }
    }
}

/// A request as it is written.
fn described(path: String, placed: PlacedBody) -> RecordedRequest {
    let PlacedBody { conversation, content, .. } = placed;
    let (from, body, changes) = match content {
        Description::Whole(body) => (None, Some(body), None),
        Description::Differences { from, differences } => {
            let changes = differences.into_iter().map(|(key, difference)| (key, Difference::into_change(difference)));
            (Some(from).filter(|from| *from != conversation), None, Some(changes.collect()))
        }
    };
    RecordedRequest { path, conversation: Some(conversation), from, body, changes }
}

/// The path of an address: a query may hold a key.
fn path_of(url: &str) -> &str {
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind_scheme.find('/').and_then(|start| behind_scheme.get(start..)).unwrap_or("/");
    path.split(['?', '#']).next().unwrap_or(path)
}

/// A transport that records what passes through it.
pub struct RecordingTransport {
    inner: Arc<dyn Transport>,
    recorder: Arc<CassetteRecorder>,
}

impl RecordingTransport {
    /// Records the requests and answers of `inner`.
    pub fn new(inner: Arc<dyn Transport>, recorder: Arc<CassetteRecorder>) -> Self {
        Self { inner, recorder }
    }
}

impl Transport for RecordingTransport {
    fn prepare(&self, url: &str) {
        self.inner.prepare(url);
    }

    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            let sent = SentRequest::new(&request);
            match self.inner.send(request).await {
                Ok(HttpResponse { status, headers, body }) => {
                    let kept = headers.iter().filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str())).cloned();
                    let part = Part { request: sent, status, headers: kept.collect(), bytes: Vec::new() };
                    let body = RecordingBody { inner: body, part: Some(part), recorder: Arc::clone(&self.recorder) };
                    Ok(HttpResponse { status, headers, body: Box::new(body) })
                }
                Err(error) => {
                    let answer = RecordedAnswer::Failure(error.clone());
                    self.recorder.record_exchange(&sent, answer).map_err(|error| not_recorded(&error))?;
                    Err(error)
                }
            }
        })
    }

    /// Passed on and not recorded, as it fetches credentials.
    fn fetch(&self, request: Fetch) -> BoxFuture<'_, Result<FetchResponse, TransportError>> {
        self.inner.fetch(request)
    }
}

/// The part of an answer that was received so far.
struct Part {
    request: SentRequest,
    status: u16,
    headers: Vec<(String, String)>,
    bytes: Vec<u8>,
}

/// A body that is recorded when it ends, breaks off, or is dropped.
struct RecordingBody {
    inner: Box<dyn Body>,
    /// `None` once it is recorded.
    part: Option<Part>,
    recorder: Arc<CassetteRecorder>,
}

impl RecordingBody {
    fn record(&mut self, cut: Option<TransportError>) -> Result<(), ReplayError> {
        let Some(Part { request, status, headers, bytes }) = self.part.take() else { return Ok(()) };
        let content_type = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        let body = RecordedBody::new(bytes, content_type.unwrap_or_default());
        let response = RecordedResponse { status, headers, body, cut };
        self.recorder.record_exchange(&request, RecordedAnswer::Response(response))
    }
}

impl Body for RecordingBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>> {
        Box::pin(async move {
            let chunk = self.inner.chunk().await;
            match &chunk {
                Ok(Some(bytes)) => {
                    if let Some(part) = &mut self.part {
                        part.bytes.extend_from_slice(bytes);
                    }
                }
                Ok(None) => self.record(None).map_err(|error| not_recorded(&error))?,
                Err(error) => self.record(Some(error.clone())).map_err(|error| not_recorded(&error))?,
            }
            chunk
        })
    }
}

impl Drop for RecordingBody {
    fn drop(&mut self) {
        // A reader may stop before the end of the body, once the answer is complete.
        if let Err(error) = self.record(None) {
            self.recorder.keep_failure(error);
        }
    }
}

/// The error for an exchange that was not recorded. It stops the Run, which could not be replayed beyond the gap.
fn not_recorded(error: &ReplayError) -> TransportError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    TransportError { kind: TransportErrorKind::Replay, message: format!("{}{cause}", error.with_hint()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Stamp;

    /// A recorder whose file refuses writes, as a full disk does.
    fn broken(path: &Path) -> CassetteRecorder {
        let started = Stamp { at: 1, seed: 1 };
        let header = CassetteHeader {
            provider: crate::setting::ProviderName::Ollama,
            model: "m".to_owned(),
            model_is_explicit: false,
            started,
            hides_home: true,
            abridges: true,
        };
        let paths = LocalPaths::new(Path::new("/w"), None);
        let recorder = CassetteRecorder::create(path, &header, paths, Redactor::default()).unwrap();
        recorder.tape.lock().unwrap().file = File::open(path).unwrap();
        recorder
    }

    fn call() -> ToolCall {
        ToolCall {
            id: "t".to_owned(),
            skill_name: "s".to_owned(),
            tool_name: "t".to_owned(),
            args: serde_json::Map::new(),
        }
    }

    #[test]
    fn after_a_failed_write_further_records_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = broken(&folder.path().join("cassette.jsonl"));
        let result = ToolResult::new(&call(), Vec::new());
        recorder.note_tool(&call(), &result);
        recorder.note_tool(&call(), &result);
        assert!(matches!(recorder.finish(), Err(ReplayError::Io { action: "write to", .. })), "the first is returned");
        assert!(recorder.finish().is_ok(), "once");
    }

    #[test]
    fn a_failure_after_the_reader_has_gone_is_returned_at_the_end() {
        struct Silent;
        impl Body for Silent {
            fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>> {
                Box::pin(async { Ok(None) })
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let recorder = Arc::new(broken(&folder.path().join("cassette.jsonl")));
        let request = SentRequest { path: "/".to_owned(), body: RequestBody::default() };
        let part = Part { request, status: 200, headers: Vec::new(), bytes: Vec::new() };
        drop(RecordingBody { inner: Box::new(Silent), part: Some(part), recorder: Arc::clone(&recorder) });
        assert!(matches!(recorder.finish(), Err(ReplayError::Io { action: "write to", .. })));
    }

    #[test]
    fn requests_are_known_by_path_alone() {
        for (url, path) in [
            ("https://h.test:8/v1/messages?key=k", "/v1/messages"),
            ("http://h.test", "/"),
            ("http://h.test/#f", "/"),
            ("/v1", "/v1"),
        ] {
            assert_eq!(path_of(url), path);
        }
    }
}
