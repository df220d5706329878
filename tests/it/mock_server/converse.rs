//! Amazon Bedrock's protocol as the mock server speaks it.

use serde_json::{Value, json};

use super::client::{CONVERSE, Client, ask, assert_refused, joined, question, server};
use super::full_turn;
use crate::support::{Answer, KEY, Protocol, call, sigv4};

#[test]
fn turns_have_the_events_of_the_real_ones() {
    let server = server([full_turn()]);
    let events = ask(&server, Protocol::Converse, &question(Protocol::Converse)).events();
    let mut names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    names.dedup();
    let prose = ["contentBlockDelta", "contentBlockStop"];
    let call = ["contentBlockStart", "contentBlockDelta", "contentBlockStop"];
    assert_eq!(names, [&["messageStart"][..], &prose, &prose, &call, &call, &["messageStop", "metadata"]].concat());
    assert_eq!(joined(&events, "/delta/reasoningContent/text"), "Owls are birds.");
    assert_eq!(joined(&events, "/delta/reasoningContent/signature"), "c2lnbmF0dXJl");
    assert_eq!(joined(&events, "/delta/text"), "Zwei Käuze, dann ✓.");
    assert_eq!(joined(&events, "/start/toolUse/toolUseId"), "c8c9");
    assert_eq!(joined(&events, "/delta/toolUse/input"), r#"{"q":"grey owl"}{"q": tru"#);
    assert_eq!(joined(&events, "/stopReason"), "tool_use");
    let usage = &events[events.len() - 1]["usage"];
    let counts = ["inputTokens", "cacheReadInputTokens", "outputTokens", "totalTokens"];
    assert_eq!(counts.map(|name| usage[name].as_u64().unwrap()), [600, 300, 70, 970]);
}

#[test]
fn conversations_that_are_malformed_are_refused() {
    let block = |index: usize| question(Protocol::Converse)["messages"][1]["content"][index].clone();
    let result = |index: usize| question(Protocol::Converse)["messages"][2]["content"][index].clone();
    let other = json!({"toolResult": {"toolUseId": "c7", "content": [{"text": "who?"}]}});
    let text = json!({"text": "And?"});
    let document = json!({"document": {"format": "pdf", "name": "a", "source": {"bytes": "JVBERg=="}}});
    for (pointer, value, finding) in [
        ("/system", json!([]), "no system prompt"),
        ("/messages", json!([]), "no messages"),
        ("/inferenceConfig/maxTokens", json!(2048), "a thinking budget of 2048 of 2048 tokens"),
        ("/messages/1/role", json!("user"), "message 1 is the user's, not the assistant's"),
        ("/messages/0/content/0/text", json!(" "), "an empty text in message 0"),
        ("/messages/0/content/0", json!({"text": "a", "type": "text"}), "a block of message 0 is"),
        ("/messages/0/content/0", document.clone(), "has a document and no text"),
        ("/messages/0/content", json!([text, document, document]), "two documents are named \"a\""),
        ("/messages/0/content/0", json!({"image": {"format": "bmp", "source": {"bytes": "Qk0="}}}), "type \"bmp\""),
        ("/messages/1/content", json!([block(1), block(0), block(2), block(3)]), "reasons after other content"),
        ("/messages/1/content/0/reasoningContent/reasoningText/signature", json!(""), "reasons without signature"),
        ("/messages/1/content/3/toolUse/toolUseId", json!("c1"), "is used twice"),
        ("/messages/1/content/3/toolUse/input", json!("{}"), "is no object"),
        ("/messages/2/content", json!([result(0)]), "the call \"c2\" has no result"),
        ("/messages/2/content", json!([result(1), result(0)]), "\"c2\" comes before that of \"c1\""),
        ("/messages/2/content", json!([result(0), result(1), result(1)]), "two results"),
        ("/messages/2/content", json!([result(0), result(1), other]), "which nobody called"),
        ("/messages/2/content", json!([text, result(0), result(1)]), "a tool result after other content"),
        ("/messages/2/content/0/toolResult/content", json!([]), "is empty"),
        ("/messages/2/content/0/toolResult/status", json!("failed"), "has the status \"failed\""),
        ("/toolConfig", json!({}), "The toolConfig field must be defined"),
        ("/toolConfig/tools/0/toolSpec/description", json!(""), "an empty description"),
        ("/toolConfig/tools/0/toolSpec/inputSchema", json!({}), "is of no object"),
        ("/system", json!([block(1), point(), point(), point(), point(), point()]), "5 cache points"),
    ] {
        assert_refused(Protocol::Converse, pointer, value, finding);
    }
}

fn point() -> Value {
    json!({"cachePoint": {"type": "default"}})
}

#[test]
fn reasoning_that_came_with_a_call_must_come_back() {
    let made = call("c8", "search", json!({}));
    for (turn, reasoning) in [
        (
            Answer::calls([made.clone()]).thinking("Owls.", "c2ln"),
            json!({"reasoningText": {"text": "Owls.", "signature": "c2ln"}}),
        ),
        (Answer::calls([made]).hidden_thinking("owl"), json!({"redactedContent": "b3ds"})),
    ] {
        let server = server([turn, Answer::text("Done.")]);
        let mut body = question(Protocol::Converse);
        ask(&server, Protocol::Converse, &body);
        let calls = json!({"role": "assistant", "content": [
            {"reasoningContent": reasoning}, {"toolUse": {"toolUseId": "c8", "name": "search", "input": {}}},
        ]});
        let results =
            json!({"role": "user", "content": [{"toolResult": {"toolUseId": "c8", "content": [{"text": "so"}]}}]});
        body["messages"].as_array_mut().unwrap().extend([calls, results]);
        assert_eq!(ask(&server, Protocol::Converse, &body).status, 200);
        body["messages"][3]["content"].as_array_mut().unwrap().remove(0);
        assert_eq!(ask(&server, Protocol::Converse, &body).status, 400);
        assert!(server.violations()[0].contains("the reasoning that came with \"c8\" is not sent back"));
    }
}

#[test]
fn signatures_are_computed_anew() {
    let body = question(Protocol::Converse).to_string();
    let headers = [("content-type", "application/json"), ("host", "127.0.0.1"), ("x-amz-date", "20260213T162640Z")];
    let authorization = sigv4::authorization(CONVERSE, &headers, body.as_bytes());
    let ask = |authorization: &str, extra: &[(&str, &str)], body: &str| {
        let server = server([Answer::text("So.")]);
        let mut client = Client::connect(&server);
        client.send(CONVERSE, &[&headers[..], &[("authorization", authorization)], extra].concat(), body);
        let status = client.receive().unwrap().status;
        (status, server.violations().join(""))
    };
    assert_eq!(ask(&authorization, &[], &body), (200, String::new()));
    for (changed, extra, sent, finding) in [
        (authorization.clone(), &[][..], body.replace("birds", "frogs"), "the signature is "),
        (authorization.replace("eu-central-1", "us-east-1"), &[], body.clone(), "the credential is "),
        (authorization.replace("host;", ""), &[], body.clone(), "the header host is not signed"),
        (authorization.clone(), &[("x-amz-security-token", "t")], body.clone(), "x-amz-security-token is not signed"),
        (format!("Basic {KEY}"), &[], body.clone(), "no signature of version 4"),
    ] {
        let (status, violations) = ask(&changed, extra, &sent);
        assert_eq!(status, 403);
        assert!(violations.contains(finding), "{violations}");
    }
}
