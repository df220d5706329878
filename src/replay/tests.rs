//! Tests that record, then replay.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::content::Content;
use crate::environment::Environment;
use crate::expert::ExpertKey;
use crate::fact::{Clock, Stamp};
use crate::future::BoxFuture;
use crate::provider::http::request_body::RequestBody;
use crate::provider::http::transport::{
    Body, HttpRequest, HttpResponse, Transport, TransportError, TransportErrorKind,
};
use crate::redact::Redactor;
use crate::tool::{ToolCall, ToolHints, ToolKind, ToolResult, ToolSpec};

/// The behaviour of a fake server for one request: no answer, or status and pieces of a body, the last of which may be
/// a cut.
type Scripted = Result<(u16, Vec<Result<Vec<u8>, TransportError>>), TransportError>;

struct Fake(Mutex<VecDeque<Scripted>>);

struct FakeBody(VecDeque<Result<Vec<u8>, TransportError>>);

impl Transport for Fake {
    fn send(&self, _request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let scripted = self.0.lock().unwrap().pop_front().unwrap();
        Box::pin(async move {
            let (status, pieces) = scripted?;
            let headers = [("content-type", "text/event-stream"), ("x-request-id", "r-1"), ("retry-after", "2")];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            Ok(HttpResponse { status, headers, body: Box::new(FakeBody(pieces.into())) })
        })
    }
}

impl Body for FakeBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>> {
        Box::pin(async move { self.0.pop_front().transpose() })
    }
}

/// The caller's view of one exchange.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    retry_after: Option<String>,
    body: Vec<u8>,
    cut: Option<TransportError>,
}

async fn exchange(transport: &dyn Transport, body: &str) -> Result<Seen, TransportError> {
    exchange_body(transport, body.as_bytes().to_vec().into()).await
}

async fn exchange_body(transport: &dyn Transport, body: RequestBody) -> Result<Seen, TransportError> {
    let request = HttpRequest {
        url: "https://models.test/v1/messages?key=sk-query-0123456789".to_owned(),
        headers: vec![("authorization".to_owned(), "Bearer sk-header-0123456789".to_owned())],
        body,
    };
    let mut response = transport.send(request).await?;
    let retry_after = response.headers.iter().find(|(name, _)| name == "retry-after").map(|(_, value)| value.clone());
    let mut seen = Seen { status: response.status, retry_after, body: Vec::new(), cut: None };
    loop {
        match response.body.chunk().await {
            Ok(Some(bytes)) => seen.body.extend(bytes),
            Ok(None) => return Ok(seen),
            Err(error) => return Ok(Seen { cut: Some(error), ..seen }),
        }
    }
}

fn error(message: &str) -> TransportError {
    TransportError { kind: TransportErrorKind::Connection, message: message.to_owned() }
}

fn header() -> CassetteHeader {
    let started = Stamp { at: 1_771_000_000_000, seed: u64::MAX };
    CassetteHeader {
        provider: "anthropic".parse().unwrap(),
        model: "m-1".to_owned(),
        model_is_explicit: true,
        started,
        hides_home: true,
        abridges: true,
    }
}

fn paths(workspace: &str) -> LocalPaths {
    LocalPaths::new(Path::new(workspace), None)
}

fn redactor() -> Redactor {
    Redactor::of_environment(&Environment::from_iter([("ANY_API_KEY".to_owned(), "sk-secret-0123456789".to_owned())]))
}

struct Studio {
    _folder: TempDir,
    file: PathBuf,
}

impl Studio {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cassette.jsonl");
        Self { _folder: folder, file }
    }

    fn recorder(&self) -> Arc<CassetteRecorder> {
        Arc::new(CassetteRecorder::create(&self.file, &header(), paths("/home/me/work"), redactor()).unwrap())
    }

    fn recording(&self, script: Vec<Scripted>) -> RecordingTransport {
        RecordingTransport::new(Arc::new(Fake(Mutex::new(script.into()))), self.recorder())
    }

    fn cassette(&self) -> Arc<Cassette> {
        Arc::new(Cassette::load(&self.file).unwrap())
    }

    fn replay(&self, workspace: &str) -> ReplayTransport {
        ReplayTransport::new(self.cassette(), paths(workspace))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }
}

fn pieces(texts: &[&str]) -> Vec<Result<Vec<u8>, TransportError>> {
    texts.iter().map(|text| Ok(text.as_bytes().to_vec())).collect()
}

#[tokio::test]
async fn answers_failures_and_cuts_replay_as_they_were() {
    let studio = Studio::new();
    let mut cut = pieces(&["half a "]);
    cut.push(Ok(vec![0xC3]));
    cut.push(Err(error("reset")));
    let live = studio.recording(vec![Ok((200, pieces(&["a", "b"]))), Err(error("refused")), Ok((429, cut))]);
    let mut seen = Vec::new();
    for body in ["{\"n\": 1}", "{\"n\": 0.30000000000000004}", "no JSON"] {
        seen.push(exchange(&live, body).await);
    }
    let retry_after = Some("2".to_owned());
    assert_eq!(
        seen,
        [
            Ok(Seen { status: 200, retry_after: retry_after.clone(), body: b"ab".to_vec(), cut: None }),
            Err(error("refused")),
            Ok(Seen { status: 429, retry_after, body: b"half a \xC3".to_vec(), cut: Some(error("reset")) }),
        ]
    );
    let replay = studio.replay("/elsewhere");
    for (body, expected) in ["{\"n\":1}", "{\"n\":0.30000000000000004}", "no JSON"].into_iter().zip(seen) {
        assert_eq!(exchange(&replay, body).await, expected);
    }
}

/// Answers with an AWS event stream.
struct Binary(Mutex<VecDeque<Vec<u8>>>);

impl Transport for Binary {
    fn send(&self, _request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let bytes = self.0.lock().unwrap().pop_front().unwrap();
        let headers = vec![("content-type".to_owned(), "application/vnd.amazon.eventstream".to_owned())];
        // In pieces, cut within characters.
        let pieces = bytes.chunks(3).map(|piece| Ok(piece.to_vec())).collect();
        Box::pin(async { Ok(HttpResponse { status: 200, headers, body: Box::new(FakeBody(pieces)) }) })
    }
}

#[tokio::test]
async fn binary_answers_replay_byte_for_byte() {
    let studio = Studio::new();
    let bodies = [
        b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff".to_vec(),
        // Text by coincidence, which the workspace's path would be taken out of.
        b"in /home/me/work".to_vec(),
        // The path by coincidence, in base64.
        STANDARD.decode("/home/me/work///").unwrap(),
    ];
    let live = RecordingTransport::new(Arc::new(Binary(Mutex::new(bodies.to_vec().into()))), studio.recorder());
    for (request, body) in ["1", "2", "3"].into_iter().zip(&bodies) {
        assert_eq!(&exchange(&live, request).await.unwrap().body, body);
    }
    let replay = studio.replay("/elsewhere");
    for (request, body) in ["1", "2", "3"].into_iter().zip(&bodies) {
        assert_eq!(&exchange(&replay, request).await.unwrap().body, body);
    }
}

#[tokio::test]
async fn cassettes_of_the_first_version_replay() {
    let studio = Studio::new();
    let lines = [
        r#"{"format":"perstack-cassette","version":1,"provider":"anthropic","model":"m-1","startedAt":1,"seed":1}"#,
        r#"{"record":"exchange","request":{"path":"/v1/messages","body":1},"response":{"status":200,"headers":[["content-type","text/event-stream"]],"body":"in {workspace}"}}"#,
        r#"{"record":"exchange","request":{"path":"/v1/messages","body":2},"response":{"status":200,"bodyBase64":"aGFsZiDD"}}"#,
    ];
    fs::write(&studio.file, lines.join("\n") + "\n").unwrap();
    let replay = studio.replay("/w");
    assert_eq!(exchange(&replay, "1").await.unwrap().body, b"in /w");
    assert_eq!(exchange(&replay, "2").await.unwrap().body, b"half \xC3");
}

#[tokio::test]
async fn no_credential_and_no_path_of_the_workspace_is_recorded() {
    let studio = Studio::new();
    let live = studio.recording(vec![Ok((401, pieces(&["bad key sk-secret-0123456789 in /home/me/work/a"])))]);
    exchange(&live, r#"{"system": "You are in /home/me/work."}"#).await.unwrap();
    let text = studio.text();
    assert!(!text.contains("sk-") && !text.contains("/home/me") && !text.contains("x-request-id"), "{text}");
    let seen = exchange(&studio.replay("/other"), r#"{"system": "You are in /other."}"#).await.unwrap();
    assert_eq!(String::from_utf8(seen.body).unwrap(), "bad key [redacted] in /other/a");
}

#[tokio::test]
async fn an_answer_that_streams_in_has_its_events() {
    let studio = Studio::new();
    let texts = ["in ", "/home/me/work", " with sk-secret-0123456789"];
    let events = texts.map(|text| format!("data: {{\"type\":\"delta\",\"text\":\"{text}\"}}\n\n"));
    let live = studio.recording(vec![Ok((200, pieces(&events.each_ref().map(String::as_str))))]);
    exchange(&live, "{}").await.unwrap();
    let expected =
        r#""bodyEvents":{"events":[["/text",{"type":"delta","text":""},["in ","{workspace}"," with [redacted]"]]]}"#;
    assert!(studio.text().contains(expected), "{}", studio.text());
    let seen = exchange(&studio.replay("/other"), "{}").await.unwrap();
    let expected = events.concat().replace("/home/me/work", "/other").replace("sk-secret-0123456789", "[redacted]");
    assert_eq!(String::from_utf8(seen.body).unwrap(), expected);

    let damaged = studio.text().replace("[\"/text\",", "[\"/words/0\",");
    fs::write(&studio.file, damaged).unwrap();
    let error = exchange(&studio.replay("/other"), "{}").await.unwrap_err();
    assert!(error.message.contains("holds events whose text is not where they say"), "{}", error.message);
}

#[tokio::test]
async fn an_answer_that_is_given_up_is_recorded_as_far_as_it_came() {
    let studio = Studio::new();
    let live = studio.recording(vec![Ok((200, pieces(&["wanted", "unwanted"])))]);
    let request = HttpRequest { url: "http://h/p".to_owned(), headers: Vec::new(), body: b"{}".to_vec().into() };
    let mut response = live.send(request.clone()).await.unwrap();
    assert_eq!(response.body.chunk().await, Ok(Some(b"wanted".to_vec())));
    drop(response);
    let mut replayed = studio.replay("/w").send(request).await.unwrap();
    assert_eq!(replayed.body.chunk().await, Ok(Some(b"wanted".to_vec())));
    assert_eq!(replayed.body.chunk().await, Ok(None));
}

#[tokio::test]
async fn requests_in_another_order_find_their_answers() {
    let studio = Studio::new();
    let live = studio.recording(vec![Ok((200, pieces(&["1"]))), Ok((200, pieces(&["2"]))), Ok((200, pieces(&["3"])))]);
    for body in ["\"a\"", "\"b\"", "\"a\""] {
        exchange(&live, body).await.unwrap();
    }
    let replay = studio.replay("/w");
    let mut answers = Vec::new();
    for body in ["\"b\"", "\"a\"", "\"a\""] {
        answers.push(exchange(&replay, body).await.unwrap().body);
    }
    assert_eq!(answers, [b"2", b"1", b"3"]);
}

#[tokio::test]
async fn an_unrecorded_request_is_refused_with_its_differences() {
    let studio = Studio::new();
    let live = studio.recording(vec![Ok((200, pieces(&["1"])))]);
    exchange(&live, r#"{"model": "m-1", "messages": ["hello"]}"#).await.unwrap();
    let replay = studio.replay("/w");
    let differs = exchange(&replay, r#"{"model": "m-1", "messages": ["goodbye"]}"#).await.unwrap_err();
    let file = studio.file.display();
    let expected = format!(
        "a request differs from number 1 in cassette {file}:\n  /messages/0: recorded \"hello\", now \"goodbye\"\n\
         record the cassette again if this is intended"
    );
    assert_eq!(differs, TransportError { kind: TransportErrorKind::Replay, message: expected });
    exchange(&replay, r#"{"model": "m-1", "messages": ["hello"]}"#).await.unwrap();
    let more = exchange(&replay, r#"{"model": "m-1", "messages": ["hello"]}"#).await.unwrap_err();
    let expected = format!(
        "a request to /v1/messages follows the last of 1 in cassette {file}; record the cassette again if this is intended"
    );
    assert_eq!(more.message, expected);
}

fn call(id: &str, path: &str) -> ToolCall {
    let args = json!({"path": path}).as_object().cloned().unwrap();
    ToolCall { id: id.to_owned(), skill_name: "s".to_owned(), tool_name: "read".to_owned(), args }
}

fn result(call: &ToolCall, text: &str) -> ToolResult {
    ToolResult::new(call, vec![Content::text(text)])
}

#[test]
fn tool_results_are_found_by_their_call() {
    let studio = Studio::new();
    let recorder = studio.recorder();
    for (id, path, text) in [("t1", "/home/me/work/a", "in /home/me/work"), ("t2", "b", "two")] {
        let call = call(id, path);
        recorder.note_tool(&call, &result(&call, text));
    }
    let tools = ReplayTools::new(studio.cassette(), paths("/other"));
    assert_eq!(tools.result(&call("t2", "b")).unwrap(), result(&call("t2", "b"), "two"));
    let differs = tools.result(&call("t1", "/other/c")).unwrap_err().to_string();
    assert!(differs.ends_with("\n  /args/path: recorded \"{workspace}/a\", now \"{workspace}/c\""), "{differs}");
    let first = call("t1", "/other/a");
    assert_eq!(tools.result(&first).unwrap(), result(&first, "in /other"));
    assert!(tools.result(&first).unwrap_err().to_string().contains("no further result of read"));
}

#[test]
fn offers_are_returned_run_by_run_and_the_last_again() {
    let studio = Studio::new();
    let tool = |description: &str| ToolSpec {
        skill_name: "s".to_owned(),
        name: "t".to_owned(),
        description: Some(description.to_owned()),
        input_schema: std::sync::Arc::default(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    };
    let [librarian, scribe]: [ExpertKey; 2] = ["librarian", "scribe"].map(|key| key.parse().unwrap());
    let recorder = studio.recorder();
    let offer =
        |description, is_locked| RecordedOffer { expert: librarian.clone(), tools: vec![tool(description)], is_locked };
    recorder.note_offer(offer("of /home/me/work/a with sk-secret-0123456789", false));
    recorder.note_offer(offer("later", true));
    let tools = ReplayTools::new(studio.cassette(), paths("/other"));
    let offers = [(); 3].map(|()| tools.offer(&librarian).unwrap().unwrap());
    assert_eq!(offers, [offer("of /other/a with [redacted]", false), offer("later", true), offer("later", true)]);
    assert_eq!(tools.offer(&scribe).unwrap(), None);
}

#[test]
fn a_cassette_of_the_first_version_has_no_offers() {
    let studio = Studio::new();
    let call = call("t1", "a");
    studio.recorder().note_tool(&call, &result(&call, "one"));
    let text = studio.text();
    assert!(text.contains("\"version\":5"), "{text}");
    fs::write(&studio.file, text.replace("\"version\":5", "\"version\":1")).unwrap();
    let tools = ReplayTools::new(studio.cassette(), paths("/w"));
    assert_eq!(tools.offer(&"librarian".parse().unwrap()).unwrap(), None);
    assert_eq!(tools.result(&call).unwrap(), result(&call, "one"));
}

#[test]
fn a_cassette_is_continued_in_lines_that_its_readers_know() {
    for (version, is_abridged) in [("4", false), ("5", true)] {
        let studio = Studio::new();
        let calls = ["t1", "t2", "t3"].map(|id| call(id, "a"));
        studio.recorder().note_tool(&calls[0], &result(&calls[0], "one"));
        fs::write(&studio.file, studio.text().replace("\"version\":5", &format!("\"version\":{version}"))).unwrap();
        let paths = paths("/w");
        let recorder = CassetteRecorder::going_on(&studio.cassette(), paths.clone(), Redactor::default()).unwrap();
        recorder.note_tool(&calls[1], &result(&calls[1], "two"));
        recorder.note_tool(&calls[2], &result(&calls[2], "three"));
        let text = studio.text();
        assert_eq!(text.contains(r#"{"like":3,"with":{"/call/id":"t3","#), is_abridged, "{text}");
        assert_eq!(text.contains("\"like\""), is_abridged, "{text}");
        let tools = ReplayTools::new(studio.cassette(), paths);
        for (call, text) in calls.iter().zip(["one", "two", "three"]).rev() {
            assert_eq!(tools.result(call).unwrap(), result(call, text));
        }
    }
}

#[test]
fn only_cassettes_and_empty_files_are_overwritten() {
    let studio = Studio::new();
    fs::write(&studio.file, "my notes\n").unwrap();
    let refused = CassetteRecorder::create(&studio.file, &header(), paths("/w"), Redactor::default()).err().unwrap();
    assert!(matches!(refused, ReplayError::WouldOverwrite { .. }), "{refused}");
    assert_eq!(studio.text(), "my notes\n");
    fs::write(&studio.file, "").unwrap();
    let call = call("t1", "a");
    studio.recorder().note_tool(&call, &result(&call, "one"));
    drop(studio.recorder());
    let expected = r#"{"format":"perstack-cassette","version":5,"provider":"anthropic","model":"m-1","startedAt":1771000000000,"seed":18446744073709551615}"#;
    assert_eq!(studio.text(), format!("{expected}\n"));
    assert_eq!(studio.cassette().header(), &header());
}

#[test]
fn a_cassette_is_read_up_to_a_torn_end_and_not_beyond_damage() {
    let studio = Studio::new();
    let call = call("t1", "a");
    studio.recorder().note_tool(&call, &result(&call, "one"));
    let whole = studio.text();
    fs::write(&studio.file, format!("{whole}{{\"record\":\"to")).unwrap();
    assert!(ReplayTools::new(studio.cassette(), paths("/w")).result(&call).is_ok());
    for (text, expected) in [
        (whole.replacen("\"tool\"", "\"tooth\"", 1), "line 2, is damaged: unknown variant `tooth`"),
        (whole.replacen("\"version\":5", "\"version\":6", 1), "has version 6, this perstack reads up to 5"),
        ("{}\n".to_owned(), "is no cassette"),
        (String::new(), "is no cassette"),
    ] {
        fs::write(&studio.file, text).unwrap();
        let error = Cassette::load(&studio.file).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn all_clocks_of_a_cassette_give_the_same_rising_stamps() {
    let stamps = || {
        let clock = CassetteClock::new(&header());
        [clock.stamp(), clock.stamp(), clock.stamp()]
    };
    let [first, second, third] = stamps();
    assert_eq!(first, header().started);
    assert_eq!((second.at, third.at), (first.at + 1, first.at + 2));
    assert!(first.seed != second.seed && second.seed != third.seed);
    assert_eq!(stamps(), [first, second, third]);
}

mod growing;
mod records;
