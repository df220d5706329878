//! Ollama's protocol as the mock server speaks it.

use serde_json::{Value, json};

use super::client::{ask, assert_refused, joined, question, server};
use super::whole_turn;
use crate::support::{Answer, Protocol, raw_call};

#[test]
fn turns_have_the_lines_of_the_real_ones() {
    let server = server([whole_turn()]);
    let lines = ask(&server, Protocol::Ollama, &question(Protocol::Ollama)).events();
    assert_eq!(joined(&lines, "/message/thinking"), "Owls are birds.");
    assert_eq!(joined(&lines, "/message/content"), "Zwei Käuze, dann ✓.");
    let calls: Vec<&Value> = lines.iter().filter_map(|line| line.pointer("/message/tool_calls/0")).collect();
    let made = |id: &str, q: Value| json!({"id": id, "function": {"name": "search", "arguments": {"q": q}}});
    assert_eq!(calls, [&made("c8", json!("grey owl")), &made("c9", json!(true))]);
    let last = &lines[lines.len() - 1];
    assert_eq!(
        (&last["done"], &last["done_reason"], &last["prompt_eval_count"], &last["eval_count"]),
        (&json!(true), &json!("stop"), &json!(900), &json!(70))
    );
    assert_eq!(lines.iter().filter(|line| line["done"] == true).count(), 1);
}

#[test]
fn arguments_that_are_no_value_cannot_be_written() {
    let server = server([Answer::calls([raw_call("c1", "search", "{\"q\": tru")])]);
    assert_eq!(ask(&server, Protocol::Ollama, &question(Protocol::Ollama)).status, 400);
    assert!(server.violations()[0].contains("Ollama has no words for the call"), "{:?}", server.violations());
}

#[test]
fn conversations_that_are_malformed_are_refused() {
    let without = |skipped: usize| {
        let mut body = question(Protocol::Ollama);
        body["messages"].as_array_mut().unwrap().remove(skipped);
        body["messages"].clone()
    };
    for (pointer, value, finding) in [
        ("/stream", json!(false), "not for a stream"),
        ("/model", json!("gemma3:4b"), "\"gemma3:4b\" does not support thinking"),
        ("/think", json!("most"), "think is \"most\""),
        ("/messages", without(0), "the first message is not the system's"),
        ("/messages", without(2), "a result of \"search\", which nobody called"),
        ("/messages", without(4), "the call \"c2\" has no result"),
        ("/messages/3/tool_call_id", json!("c2"), "\"c2\" comes before that of \"c1\""),
        ("/messages/1/content", json!(""), "an empty text in message 1"),
        ("/messages/1/content", json!([{"type": "text", "text": "Hm."}]), "no text as content"),
        ("/messages/1", json!({"role": "user", "content": "", "images": ["?"]}), "is no base64"),
        ("/messages/2/tool_calls/0/function/arguments", json!("{}"), "are no object"),
        ("/messages/3/tool_name", json!("find"), "the result of \"search\" in message 3 is of \"find\""),
        ("/messages/3/role", json!("function"), "is by \"function\""),
        ("/tools/0/function/parameters", json!({}), "is of no object"),
    ] {
        assert_refused(Protocol::Ollama, pointer, value, finding);
    }
}

#[test]
fn calls_need_no_ids() {
    let server = server([Answer::text("So.")]);
    let mut body = question(Protocol::Ollama);
    for call in body["messages"][2]["tool_calls"].as_array_mut().unwrap() {
        call.as_object_mut().unwrap().remove("id");
    }
    for at in [3, 4] {
        body["messages"][at].as_object_mut().unwrap().remove("tool_call_id");
    }
    assert_eq!(ask(&server, Protocol::Ollama, &body).status, 200);
    body["messages"].as_array_mut().unwrap().pop();
    assert_eq!(ask(&server, Protocol::Ollama, &body).status, 400);
    assert!(server.violations()[0].contains("the call \"search-2-1\" has no result"), "{:?}", server.violations());
}
