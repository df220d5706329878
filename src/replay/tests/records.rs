//! The lines of a cassette, as they are read.

use serde_json::json;

use crate::replay::cassette::{IndexedRecord, Record, RecordedAnswer};

/// A line as it is read for an index, and for an answer.
fn read(line: &[u8]) -> serde_json::Result<(IndexedRecord, Option<RecordedAnswer>)> {
    Ok((IndexedRecord::of_line(line)?, RecordedAnswer::of_line(line)?))
}

#[test]
fn a_record_is_the_same_wherever_its_kind_is_named() {
    let request = json!({"path": "/v1/messages", "body": {"a": 1}});
    let events = json!({"named": true, "events": [{"type": "a"}, ["/b", {"b": ""}, ["1", "2"]], "[DONE]"]});
    let cut = json!({"kind": "connection", "message": "m"});
    for (kind, rest) in [
        ("exchange", json!({"request": request, "response": {"status": 200, "headers": [["a", "b"]], "body": "t"}})),
        ("exchange", json!({"number": 1, "request": request, "response": {"status": 200, "bodyEvents": events}})),
        ("exchange", json!({"request": request, "response": {"status": 200, "bodyBase64": "AA==", "cut": cut}})),
        ("exchange", json!({"request": request, "failure": cut})),
        (
            "tool",
            json!({"call": {"id": "t", "skillName": "s", "toolName": "t", "args": {}},
                "result": {"id": "t", "skillName": "s", "toolName": "t", "result": []}}),
        ),
    ] {
        let rest = rest.to_string();
        let rest = rest.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
        let first = format!("{{\"record\":\"{kind}\",{rest}}}\n").into_bytes();
        let last = format!("{{{rest},\"record\":\"{kind}\"}}").into_bytes();
        assert_eq!(read(&first).unwrap(), read(&last).unwrap());
        let record: Record = serde_json::from_slice(&last).unwrap();
        let written = serde_json::to_vec(&record).unwrap();
        assert!(written.starts_with(format!("{{\"record\":\"{kind}\",").as_bytes()), "as it is looked for");
        assert_eq!(read(&written).unwrap(), read(&first).unwrap());
        assert_eq!(serde_json::from_slice::<Record>(&written).unwrap(), record);
    }
}

#[test]
fn an_exchange_has_one_answer_with_one_body() {
    let line = |answer: &str| {
        let line = format!(r#"{{"record":"exchange","request":{{"path":"/","body":1}}{answer}}}"#);
        read(line.as_bytes()).unwrap_err().to_string()
    };
    assert!(line("").contains("a response or a failure"));
    for body in ["", r#","body":"a","bodyBase64":"""#] {
        assert!(line(&format!(r#","response":{{"status":200{body}}}"#)).contains("`bodyEvents`"));
    }
    assert!(
        line(r#","response":{"status":200,"bodyEvents":{"events":[1]}}"#).contains("an event, its text, or a list")
    );
}
