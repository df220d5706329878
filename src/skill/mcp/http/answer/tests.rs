//! Answers of servers in their various ways, built in memory.

use rmcp::model::{ErrorCode, JsonObject};
use serde_json::{Value, json};

use super::*;

/// A request of the kind `method`, with the id 3.
fn request(method: &str) -> ClientJsonRpcMessage {
    message(&json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": {"name": "t"}}))
}

fn message(value: &Value) -> ClientJsonRpcMessage {
    serde_json::from_value(value.clone()).unwrap()
}

fn response(status: u16, kind: Option<&str>, body: &str) -> Response {
    let head = http::Response::builder().status(status).header(SESSION, "S1");
    let head = kind.into_iter().fold(head, |head, kind| head.header(CONTENT_TYPE, kind));
    head.body(body.to_owned()).unwrap().into()
}

/// The messages that an answer to `message` has, in words.
async fn answer(message: &ClientJsonRpcMessage, session: bool, response: Response) -> Result<Vec<Value>, String> {
    let reader = AnswerReader { message, has_session: session, has_stream: false, limit: 1000 };
    match reader.read(response).await {
        Ok(StreamableHttpPostResponse::Accepted) => Ok(Vec::new()),
        Ok(StreamableHttpPostResponse::Json(message, session)) => {
            assert_eq!(session.as_deref(), Some("S1"));
            Ok(vec![serde_json::to_value(message).unwrap()])
        }
        Ok(StreamableHttpPostResponse::Sse(events, _)) => {
            let data = events.map(|event| event.unwrap().data.unwrap_or_default());
            Ok(data.map(|data| serde_json::from_str(&data).unwrap()).collect().await)
        }
        Ok(_) => unreachable!("no other kind of answer"),
        Err(error) => Err(error.to_string()),
    }
}

const RESULT: &str = r#"{"jsonrpc":"2.0","id":3,"result":{"x":1}}"#;

#[tokio::test]
async fn an_answer_is_read_under_every_name_of_its_kind() {
    let stream = format!("event: message\ndata: {RESULT}\n\n");
    let kinds = [
        Some("application/json"),
        Some("Application/JSON; Charset=UTF-8"),
        Some("APPLICATION/JSON ;charset=utf-8"),
        Some("application/vnd.api+json"),
        Some("text/event-stream"),
        Some("Text/Event-Stream;charset=utf-8"),
        Some("text/plain"),
        Some(""),
        None,
    ];
    for kind in kinds {
        for body in [RESULT, &format!("\u{feff}\r\n {RESULT}\n"), &stream, stream.trim_end()] {
            let read = answer(&request("tools/call"), true, response(200, kind, body)).await;
            assert_eq!(read, Ok(vec![serde_json::from_str::<Value>(RESULT).unwrap()]), "{kind:?} {body}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_quoted_with_its_type() {
    let read = async |kind, body: &str| answer(&request("tools/call"), true, response(200, kind, body)).await;
    let page = read(Some("text/html; charset=utf-8"), "<html>Log in</html>").await.unwrap_err();
    assert!(page.contains("content type text/html): <html>Log in"), "{page}");
    let text = read(None, "ok").await.unwrap_err();
    assert!(text.contains("content type none): ok"), "{text}");
    let other = read(Some("application/json"), r#"{"detail": "later"}"#).await.unwrap_err();
    assert!(other.contains(r#"no message of the protocol: {"detail""#), "{other}");
    let long = read(None, &format!("[{}]", "1,".repeat(600))).await.unwrap_err();
    assert!(long.contains("maximum size of 1000 bytes"), "{long}");
    let blank = read(Some("application/json"), &" ".repeat(1001)).await.unwrap_err();
    assert!(blank.contains("maximum size of 1000 bytes"), "{blank}");
    let long = read(Some("text/event-stream"), &format!("data: {}\n\n", "1".repeat(1000))).await.unwrap();
    assert_eq!(
        (&long[0]["id"], &long[0]["error"]["message"]),
        (&json!(3), &json!("its answer has an event of more than 0 MiB"))
    );
}

#[tokio::test]
async fn an_empty_answer_is_enough_for_what_asks_nothing() {
    let notification = message(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let reply = message(&json!({"jsonrpc": "2.0", "id": 1, "result": JsonObject::new()}));
    for status in [200, 202, 204] {
        for kind in [None, Some("application/json"), Some("text/html")] {
            for message in [&notification, &reply] {
                assert_eq!(answer(message, true, response(status, kind, "")).await, Ok(Vec::new()));
                assert_eq!(answer(message, true, response(status, kind, "ok")).await, Ok(Vec::new()));
            }
            let empty = answer(&request("tools/call"), true, response(status, kind, "")).await.unwrap_err();
            assert!(empty.contains(&format!("HTTP {status} ")) && empty.contains("without an answer"), "{empty}");
            // The session's own stream may bring it.
            let message = &request("tools/call");
            let reader = AnswerReader { message, has_session: true, has_stream: true, limit: 1000 };
            let later = reader.read(response(status, kind, "")).await;
            assert!(matches!(later, Ok(StreamableHttpPostResponse::Accepted)), "{later:?}");
        }
    }
    let refused = answer(&notification, true, response(400, Some("text/plain"), "no notifications here")).await;
    assert_eq!(refused, Ok(Vec::new()));
    let refused = answer(&reply, true, response(400, Some("text/plain"), "no replies here")).await.unwrap_err();
    assert!(refused.contains("HTTP 400 Bad Request: no replies here"), "{refused}");
}

#[tokio::test]
async fn a_lost_session_is_known_by_its_status_or_its_words() {
    let error = |id: Value, words: &str| {
        json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": words}}).to_string()
    };
    let call = request("tools/call");
    let lost = [
        (404, "text/plain", "nothing here".to_owned()),
        (410, "text/plain", String::new()),
        (400, "text/plain", "No valid Session ID".to_owned()),
        (400, "application/json", error(json!("server-error"), "Session not found")),
        (400, "Application/Json", error(json!(3), "Bad Request: Server not initialized")),
        (200, "application/json", error(Value::Null, "session expired")),
    ];
    for (status, kind, body) in &lost {
        let read = answer(&call, true, response(*status, Some(kind), body)).await;
        assert!(read.as_ref().is_err_and(|error| error.starts_with("Session expired")), "{status} {body}: {read:?}");
        // Without a session nothing was lost.
        let read = answer(&call, false, response(*status, Some(kind), body)).await;
        assert!(!read.as_ref().is_err_and(|error| error.starts_with("Session expired")), "{status} {body}: {read:?}");
    }
    let own =
        answer(&call, true, response(200, None, &error(json!(3), "the browser's session is gone"))).await.unwrap();
    assert_eq!(own[0]["error"]["message"], "the browser's session is gone");
    let other = answer(&call, true, response(400, None, &error(Value::Null, "no such tool"))).await.unwrap();
    assert_eq!((&other[0]["id"], &other[0]["error"]["message"]), (&json!(3), &json!("no such tool")));
}

#[tokio::test]
async fn failures_keep_their_status_and_errors_their_words() {
    let error = r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32603,"message":"disk full"}}"#;
    let call = request("tools/call");
    let read = async |status, kind, body: &str| answer(&call, false, response(status, kind, body)).await;
    assert_eq!(read(500, Some("application/json"), error).await, Ok(vec![serde_json::from_str(error).unwrap()]));
    assert_eq!(read(500, Some("text/html"), error).await, Err("HTTP 500".to_owned()));
    assert_eq!(read(429, Some("application/json"), error).await, Err("HTTP 429".to_owned()));
    for status in [401, 403] {
        let denied = read(status, Some("application/json"), error).await.unwrap_err();
        assert!(denied.contains(&format!("HTTP {status} ")), "{denied}");
    }
    let moved = read(302, None, "").await.unwrap_err();
    assert!(moved.contains("HTTP 302 Found"), "{moved}");
    let probe = message(&json!({"jsonrpc": "2.0", "id": 3, "method": "server/discover", "params": {
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}}));
    let refused = answer(&probe, false, response(405, Some("text/plain"), "no")).await.unwrap();
    assert_eq!(
        refused[0]["error"],
        json!({"code": ErrorCode::INVALID_REQUEST, "message": "HTTP 405 Method Not Allowed: no"})
    );
}

#[tokio::test]
async fn an_answer_belongs_to_its_request_whatever_its_id() {
    let read = async |body: &str| answer(&request("tools/call"), false, response(200, None, body)).await.unwrap();
    for id in ["3", "3.0", "\"3\"", "4", "\"x\""] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":1}},"error":null}}"#);
        assert_eq!(read(&body).await, [serde_json::from_str::<Value>(RESULT).unwrap()], "{id}");
    }
    let error = read(r#"{"jsonrpc":"2.0","id":null,"error":"oops"}"#).await;
    assert_eq!(error[0]["error"], json!({"code": -32603, "message": "oops"}));
    let log = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let batch = read(&format!("[{log},{RESULT}]")).await;
    assert_eq!(batch, [log, RESULT].map(|text| serde_json::from_str::<Value>(text).unwrap()));
}

#[test]
fn a_challenge_names_its_scope() {
    for (challenge, expected) in [
        (r#"Bearer error="insufficient_scope", scope="files:read files:write""#, Some("files:read files:write")),
        ("Bearer Scope=read:data, error=\"x\"", Some("read:data")),
        ("Bearer error=\"invalid_token\"", None),
        ("Bearer scope=\"\"", None),
        ("Bearer scope=\"open", None),
    ] {
        assert_eq!(scope(challenge).as_deref(), expected, "{challenge}");
    }
}

#[test]
fn a_stream_is_known_by_its_first_line() {
    for stream in ["data:x", "data: x", ": hello", "event: message", "id: 1", "retry: 3"] {
        assert!(begins_stream(text(format!("\u{feff}\n{stream}").as_bytes())), "{stream}");
    }
    for other in ["<html>", "date: x", "\"data:\"", "ok", ""] {
        assert!(!begins_stream(text(other.as_bytes())), "{other}");
    }
}

#[test]
fn errors_without_an_id_belong_to_the_request_of_their_stream() {
    let id = RequestId::Number(3);
    let read = |data: &str| {
        let events = mended_event(Sse::default().id("e1").retry(5).event("reply").data(data), Some(&id));
        events.into_iter().map(|event| event.unwrap()).collect::<Vec<_>>()
    };
    let error = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-1,"message":"no"}}}}"#);
    for theirs in ["null", "\"server-error\"", "3", "\"\""] {
        assert_eq!(read(&error(theirs)), [Sse::default().id("e1").retry(5).data(error("3"))], "{theirs}");
    }
    assert_eq!(read(&error("4")), [Sse::default().id("e1").retry(5).data(error("4"))]);
    assert_eq!(read("ping"), [Sse::default().id("e1").retry(5)]);
    let (one, two) = (r#"{"jsonrpc":"2.0","id":3,"result":{"x":1}}"#, error("3"));
    let both = read(&format!("[{one},{two}]"));
    assert_eq!(both, [Sse::default().data(one), Sse::default().id("e1").retry(5).data(two)]);
}
