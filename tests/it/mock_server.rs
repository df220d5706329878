//! The mock model server holds to its own word: its streams are whole, its refusals real, its gates shut.

use std::panic::AssertUnwindSafe;

use serde_json::{Value, json};

use client::{Client, PROTOCOLS, Received, ask, assert_refused, joined, question, server, types};

use crate::support::settle::settled;
use crate::support::{Answer, Gate, Protocol, Stop, Test, Tokens, call, raw_call};

mod client;
mod converse;
mod gemini;
mod ollama;
mod vendors;

pub fn full_turn() -> Answer {
    Answer::calls([call("c8", "search", json!({"q": "grey owl"})), raw_call("c9", "search", "{\"q\": tru")])
        .thinking("Owls are birds.", "c2lnbmF0dXJl")
        .and_text("Zwei Käuze, dann ✓.")
        .usage(Tokens { input: 900, cached: 300, output: 70, reasoning: 12 })
}

/// The same for protocols whose calls have values as arguments.
pub fn whole_turn() -> Answer {
    Answer::calls([call("c8", "search", json!({"q": "grey owl"})), call("c9", "search", json!({"q": true}))])
        .thinking("Owls are birds.", "c2lnbmF0dXJl")
        .and_text("Zwei Käuze, dann ✓.")
        .usage(Tokens { input: 900, cached: 300, output: 70, reasoning: 12 })
}

#[test]
fn anthropic_turns_have_the_events_of_the_real_ones() {
    let server = server([full_turn()]);
    let received = ask(&server, Protocol::Messages, &question(Protocol::Messages));
    let events = received.events();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    assert_eq!(
        types(&events),
        [&["message_start", "ping"][..], &block, &block, &block, &block, &["message_delta", "message_stop"]].concat()
    );
    assert_eq!(joined(&events, "/delta/thinking"), "Owls are birds.");
    assert_eq!(joined(&events, "/delta/signature"), "c2lnbmF0dXJl");
    assert_eq!(joined(&events, "/delta/text"), "Zwei Käuze, dann ✓.");
    assert_eq!(joined(&events, "/delta/partial_json"), r#"{"q":"grey owl"}{"q": tru"#);
    assert_eq!(joined(&events, "/delta/stop_reason"), "tool_use");
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 600);
    assert_eq!(events[0]["message"]["usage"]["cache_read_input_tokens"], 300);
    assert_eq!(events[events.len() - 2]["usage"], json!({"output_tokens": 70}));
}

#[test]
fn responses_turns_have_the_events_of_the_real_ones() {
    let server = server([full_turn()]);
    let received = ask(&server, Protocol::Responses, &question(Protocol::Responses));
    let events = received.events();
    insta::assert_snapshot!(types(&events).join("\n"), @"
    response.created
    response.in_progress
    response.output_item.added
    response.reasoning_summary_part.added
    response.reasoning_summary_text.delta
    response.reasoning_summary_text.done
    response.reasoning_summary_part.done
    response.output_item.done
    response.output_item.added
    response.content_part.added
    response.output_text.delta
    response.output_text.done
    response.content_part.done
    response.output_item.done
    response.output_item.added
    response.function_call_arguments.delta
    response.function_call_arguments.done
    response.output_item.done
    response.output_item.added
    response.function_call_arguments.delta
    response.function_call_arguments.done
    response.output_item.done
    response.completed
    ");
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let last = &events[events.len() - 1]["response"];
    assert_eq!(last["output"][0]["encrypted_content"], "c2lnbmF0dXJl");
    assert_eq!(last["output"][1]["content"][0]["text"], "Zwei Käuze, dann ✓.");
    assert_eq!(last["output"][3]["arguments"], "{\"q\": tru");
    assert_eq!(last["usage"]["total_tokens"], 970);
}

#[test]
fn chat_turns_have_the_chunks_of_the_real_ones() {
    let server = server([full_turn()]);
    let received = ask(&server, Protocol::Chat, &question(Protocol::Chat));
    assert!(received.body().ends_with("data: [DONE]\n\n"), "{}", received.body());
    let events = received.events();
    assert_eq!(joined(&events, "/choices/0/delta/reasoning_content"), "Owls are birds.");
    assert_eq!(joined(&events, "/choices/0/delta/content"), "Zwei Käuze, dann ✓.");
    assert_eq!(joined(&events, "/choices/0/delta/tool_calls/0/id"), "c8c9");
    let arguments = joined(&events, "/choices/0/delta/tool_calls/0/function/arguments");
    assert_eq!(arguments, r#"{"q":"grey owl"}{"q": tru"#);
    assert_eq!(joined(&events, "/choices/0/finish_reason"), "tool_calls");
    let last = &events[events.len() - 1];
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(970)));
}

#[test]
fn usage_is_left_out_when_scripted_or_not_asked_for() {
    let server = server([Answer::text("one").without_usage(), Answer::text("two")]);
    let mut body = question(Protocol::Chat);
    assert!(!ask(&server, Protocol::Chat, &body).body().contains("prompt_tokens"));
    body.as_object_mut().unwrap().remove("stream_options");
    assert!(!ask(&server, Protocol::Chat, &body).body().contains("usage"));
}

#[test]
fn turns_end_as_scripted() {
    for (protocol, pointer, reasons) in [
        (Protocol::Messages, "/delta/stop_reason", ["end_turn", "max_tokens", "refusal"]),
        (Protocol::Responses, "/response/incomplete_details/reason", ["", "max_output_tokens", "content_filter"]),
        (Protocol::Chat, "/choices/0/finish_reason", ["stop", "length", "content_filter"]),
        (Protocol::Gemini, "/candidates/0/finishReason", ["STOP", "MAX_TOKENS", "SAFETY"]),
        (Protocol::Converse, "/stopReason", ["end_turn", "max_tokens", "content_filtered"]),
        (Protocol::Ollama, "/done_reason", ["stop", "length", "stop"]),
    ] {
        let stops = [Stop::End, Stop::Length, Stop::Filtered];
        let server = server(stops.map(|stop| Answer::text("So").stop_reason(stop)));
        let told = stops.map(|_| joined(&ask(&server, protocol, &question(protocol)).events(), pointer));
        assert_eq!(told, reasons, "{protocol:?}");
    }
}

#[test]
fn a_failing_turn_has_an_error_event_and_no_ending() {
    for (protocol, pointer) in [
        (Protocol::Messages, "/error/message"),
        (Protocol::Responses, "/response/error/message"),
        (Protocol::Chat, "/error/message"),
        (Protocol::Gemini, "/error/message"),
        (Protocol::Converse, "/message"),
        (Protocol::Ollama, "/error"),
    ] {
        let server = server([Answer::text("So").then_fails("overloaded_error", "Overloaded")]);
        let received = ask(&server, protocol, &question(protocol));
        let events = received.events();
        assert_eq!(events[events.len() - 1].pointer(pointer), Some(&json!("Overloaded")), "{protocol:?}");
        assert!(!received.body().contains("[DONE]"), "{protocol:?}");
    }
}

#[test]
fn one_connection_serves_answers_in_order() {
    let server = server([
        Answer::status(429).header("retry-after", "0").message("slow down"),
        Answer::html(502, "<h1>Bad gateway</h1>"),
        Answer::raw_sse("data: {]\n\n"),
    ]);
    let mut client = Client::connect(&server);
    let mut next = || {
        client.ask(Protocol::Messages, &question(Protocol::Messages));
        client.receive().unwrap()
    };
    let limited = next();
    assert_eq!((limited.status, limited.body().contains("slow down")), (429, true), "{limited:?}");
    assert!(limited.body().contains("rate_limit_error"), "{limited:?}");
    assert_eq!(next(), Received { status: 502, bytes: b"<h1>Bad gateway</h1>".to_vec(), is_whole: true });
    assert_eq!(next(), Received { status: 200, bytes: b"data: {]\n\n".to_vec(), is_whole: true });
    assert_eq!((server.answers_left(), server.violations()), (0, vec![]));
}

#[test]
fn answers_wait_for_requests_that_fit() {
    let server = server([
        Answer::text("to the child").when(|request| request.contains("Read birds.md")),
        Answer::text("to the parent"),
    ]);
    let mut body = question(Protocol::Chat);
    assert_eq!(joined(&ask(&server, Protocol::Chat, &body).events(), "/choices/0/delta/content"), "to the parent");
    body["messages"][1]["content"] = json!("Read birds.md, please.");
    assert_eq!(joined(&ask(&server, Protocol::Chat, &body).events(), "/choices/0/delta/content"), "to the child");
}

#[test]
fn pieces_leave_the_body_as_it_is() {
    for protocol in PROTOCOLS {
        let turn = if protocol.has_whole_arguments() { whole_turn() } else { full_turn() };
        let server = server([turn.clone(), turn.clone().in_chunks_of(1), turn.in_chunks_of(7)]);
        let bodies = [(); 3].map(|()| ask(&server, protocol, &question(protocol)).events().len());
        assert_eq!(bodies[1..], [bodies[0]; 2], "{protocol:?}");
    }
}

#[test]
fn gates_hold_answers_back_until_they_are_opened() {
    let (start, rest) = (Gate::new(), Gate::new());
    let server = server([Answer::text("late").delay(&start).pause_after(5, &rest)]);
    let mut client = Client::connect(&server);
    client.ask(Protocol::Chat, &question(Protocol::Chat));
    let seen = server.wait_for_request(1);
    assert_eq!((seen.protocol, seen.path.as_str()), (Protocol::Chat, "/v1/chat/completions"));
    start.open();
    assert_eq!(client.status(), Some(200));
    assert_eq!(client.chunk().unwrap(), b"data:");
    rest.open();
    assert!(client.chunk().unwrap().starts_with(b" {"));
}

#[test]
fn broken_deliveries_break_where_they_are_scripted_to() {
    let server = server([
        Answer::text("gone").cut_after(20),
        Answer::hang_up(),
        Answer::text("stuck").stall_with_comments_after(20),
        Answer::text("stuck").stall_after(20),
        Answer::silence(),
    ]);
    let body = question(Protocol::Messages);
    let cut = ask(&server, Protocol::Messages, &body);
    assert_eq!(cut, Received { status: 200, bytes: b"event: message_start".to_vec(), is_whole: false });

    let [mut hung_up, mut commented, mut stalled, mut silent] = [2, 3, 4, 5].map(|number| {
        let mut client = Client::connect(&server);
        client.ask(Protocol::Messages, &body);
        server.wait_for_request(number);
        client
    });
    assert_eq!(hung_up.receive(), None);
    assert_eq!(commented.status(), Some(200));
    assert_eq!(commented.chunk().unwrap().len(), 20);
    assert_eq!(commented.chunk().unwrap(), b": keep-alive\n\n");
    assert_eq!(stalled.status(), Some(200));
    assert_eq!(stalled.chunk().unwrap().len(), 20);
    drop(server);
    assert_eq!(stalled.chunk(), None);
    assert_eq!(silent.receive(), None);
}

#[test]
fn tools_and_results_are_read_from_requests_of_every_protocol() {
    for protocol in PROTOCOLS {
        let server = server([Answer::text("Fine.")]);
        ask(&server, protocol, &question(protocol));
        let request = server.requests().remove(0);
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.tools(), ["search"], "{protocol:?}");
        let results = [("c1", "birds.md"), ("c2", "none")].map(|(id, text)| (id.to_owned(), text.to_owned()));
        assert_eq!(request.results(), results, "{protocol:?}");
    }
}

#[test]
fn anthropic_conversations_that_are_malformed_are_refused() {
    let block = |index: usize| question(Protocol::Messages)["messages"][1]["content"][index].clone();
    let result = |index: usize| question(Protocol::Messages)["messages"][2]["content"][index].clone();
    let other = json!({"type": "tool_result", "tool_use_id": "c7", "content": "who?"});
    let text = json!({"type": "text", "text": "And?"});
    for (pointer, value, finding) in [
        ("/system", Value::Null, "no content in system"),
        ("/stream", json!(false), "not for a stream"),
        ("/model", json!(""), "no model"),
        ("/max_tokens", json!(2048), "a thinking budget of 2048 of 2048 tokens"),
        ("/thinking/budget_tokens", json!(10), "a thinking budget of 10"),
        ("/tools/0/input_schema", json!({}), "is of no object"),
        ("/tools/0/name", json!("a.b"), "no name of a tool"),
        ("/tools/0/input_schema", json!({"type": "object", "anyOf": []}), "has [\"anyOf\"] at its top"),
        ("/messages", json!([]), "no messages"),
        ("/messages/1/role", json!("user"), "message 1 is the user's, not the assistant's"),
        ("/messages/0/content/0/text", json!(""), "an empty text in message 0"),
        ("/messages/1/content", json!([block(1), block(0), block(2), block(3)]), "thinks after other content"),
        ("/messages/1/content/0/signature", json!(""), "thinks without signature"),
        ("/messages/1/content/3/id", json!("c1"), "is used twice"),
        ("/messages/1/content/3/id", json!("call 3"), "the id of a call of \"search\" is \"call 3\""),
        ("/messages/1/content/3/input", json!("{}"), "is no object"),
        ("/messages/2/content", json!([result(0)]), "the call \"c2\" has no result"),
        ("/messages/2/content", json!([result(1), result(0)]), "\"c2\" comes before that of \"c1\""),
        ("/messages/2/content", json!([result(0), result(1), result(1)]), "two results"),
        ("/messages/2/content", json!([result(0), result(1), other]), "which nobody called"),
        ("/messages/2/content", json!([text, result(0), result(1)]), "a tool result after other content"),
    ] {
        assert_refused(Protocol::Messages, pointer, value, finding);
    }
}

#[test]
fn responses_conversations_that_are_malformed_are_refused() {
    let without = |skipped: usize| {
        let mut body = question(Protocol::Responses);
        body["input"].as_array_mut().unwrap().remove(skipped);
        body["input"].clone()
    };
    for (pointer, value, finding) in [
        ("/input", without(0), "neither instructions nor a developer message"),
        ("/input", without(4), "a result of \"c2\", which nobody called"),
        ("/input", without(6), "the call \"c2\" has no result"),
        ("/input/1/content/0/text", json!(" "), "an empty text in item 1"),
        ("/input/1/content/0/type", json!("text"), "a part of type \"text\""),
        ("/input/3/arguments", json!("{\"q\": tru"), "no JSON object"),
        ("/input/3/call_id", json!("c2"), "is used twice"),
        ("/input/5/call_id", json!("c2"), "comes before that of \"c1\""),
        ("/input/2/encrypted_content", Value::Null, "neither stored nor sent along"),
        ("/tools/0/parameters", json!({"type": "string"}), "is of no object"),
        ("/tools/0/strict", json!(true), "is strict, its schema is not"),
    ] {
        assert_refused(Protocol::Responses, pointer, value, finding);
    }
}

#[test]
fn chat_conversations_that_are_malformed_are_refused() {
    let without = |skipped: usize| {
        let mut body = question(Protocol::Chat);
        body["messages"].as_array_mut().unwrap().remove(skipped);
        body["messages"].clone()
    };
    for (pointer, value, finding) in [
        ("/messages", without(0), "the first message is not the system's"),
        ("/messages", without(2), "a result of \"c1\", which nobody called"),
        ("/messages", without(4), "the call \"c2\" has no result"),
        ("/messages/1/content", json!(""), "an empty text in message 1"),
        ("/messages/2/content", Value::Null, "no text as content"),
        ("/messages/2/tool_calls/0/function/arguments", json!("owl"), "no JSON object"),
        ("/messages/2/tool_calls/0/function/name", json!(""), "no name of a tool"),
        ("/messages/3/tool_call_id", json!("c2"), "comes before that of \"c1\""),
        ("/messages/3/role", json!("function"), "is by \"function\""),
        ("/tools/0/function", json!({}), "no whole function"),
    ] {
        assert_refused(Protocol::Chat, pointer, value, finding);
    }
}

#[test]
fn thinking_that_came_with_a_call_must_come_back() {
    let server = server([full_turn(), Answer::text("Done.")]);
    let mut body = question(Protocol::Messages);
    ask(&server, Protocol::Messages, &body);
    let calls = json!({"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Owls are birds.", "signature": "c2lnbmF0dXJl"},
        {"type": "tool_use", "id": "c8", "name": "search", "input": {"q": "grey owl"}},
        {"type": "tool_use", "id": "c9", "name": "search", "input": {}},
    ]});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id, "content": "so"});
    let results = json!({"role": "user", "content": [result("c8"), result("c9")]});
    body["messages"].as_array_mut().unwrap().extend([calls, results]);
    assert_eq!(ask(&server, Protocol::Messages, &body).status, 200);
    body["messages"][3]["content"].as_array_mut().unwrap().remove(0);
    assert_eq!(ask(&server, Protocol::Messages, &body).status, 400);
    assert!(server.violations()[0].contains("the thinking that came with \"c8\" is not sent back"));
}

#[test]
fn strangers_and_wrong_addresses_are_refused() {
    let server = server([]);
    let mut client = Client::connect(&server);
    client.send("/v1/messages", &[("content-type", "application/json")], &question(Protocol::Messages).to_string());
    assert_eq!(client.receive().unwrap().status, 401);
    client.send("/v1/models", &[], "");
    assert_eq!(client.receive().unwrap().status, 404);
    client.send("/v1/responses", &[], "{");
    assert_eq!(client.receive().unwrap().status, 400);
    assert_eq!(ask(&server, Protocol::Chat, &question(Protocol::Chat)).status, 400);
    insta::assert_snapshot!(server.violations().join("\n"), @"
    request 1: the header x-api-key is missing or wrong
    POST /v1/models is no endpoint
    the body is no JSON: EOF while parsing an object at line 1 column 1
    request 2: the script has no answer to it
    ");
}

#[test]
fn a_test_fails_when_the_server_refused_something_or_was_not_asked() {
    let end = |test: Test| std::panic::catch_unwind(AssertUnwindSafe(|| drop(test))).is_ok();
    let refused = |test: Test| {
        let mut client = Client::connect(test.server());
        client.send("/v1/nests", &[], "");
        assert_eq!(client.receive().unwrap().status, 404);
        test
    };
    assert!(end(Test::new()));
    assert!(!end(refused(Test::new())));
    assert!(end(refused(Test::new().expecting_violations())));
    assert!(!end(Test::new().expecting_violations()));
    assert!(!end(Test::new().answers([Answer::text("unheard")])));
    assert!(end(Test::new().answers([Answer::text("unheard")]).may_leave_answers()));
}

#[test]
fn output_settles_into_what_can_be_compared() {
    let root = tempfile::tempdir().unwrap();
    let text = format!(
        "wrote {}/work/perstack in 1.25s (17 ms of it)\n\
         job 0192f0c4-7f3a-7cc1-8000-5d2f5c3b9a11 at http://127.0.0.1:40123/v1, pid 4711\n\
         {{\"timestamp\":1771000000123,\"durationMs\":42,\"stepNumber\":3}} 2026-02-13T16:26:40.123Z",
        root.path().display()
    );
    settled(root.path()).bind(|| {
        insta::assert_snapshot!(text, @r#"
        wrote [root]/work/perstack in [duration] ([duration] of it)
        job [id] at http://127.0.0.1:[port]/v1, pid [pid]
        {"timestamp":[time],"durationMs":[duration],"stepNumber":3} [time]
        "#);
    });
}
