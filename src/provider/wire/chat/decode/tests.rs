//! Chunks, and the deltas that they make.

use serde_json::json;

use super::*;
use crate::provider::wire::chat::{ChatCompletions, Dialect};
use crate::provider::wire::recorded;

fn decode(chunks: &[Value]) -> Result<Vec<Delta>, GenerationFailure> {
    let mut decoder = ChatCompletionsDecoder::default();
    let mut deltas = Vec::new();
    for chunk in chunks {
        deltas.extend(decoder.frame(&Frame::event(None, chunk.to_string()))?);
    }
    Ok(deltas)
}

fn choice(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn calls(calls: &Value) -> Value {
    choice(&json!({ "tool_calls": calls }))
}

fn call(index: u64, id: &str, name: &str) -> Delta {
    Delta::ToolCall { index, id: id.to_owned(), name: name.to_owned() }
}

fn arguments(index: u64, json: &str) -> Delta {
    Delta::ToolArguments { index, json: json.to_owned() }
}

#[test]
fn text_and_reasoning_stream_and_nulls_are_skipped() {
    let deltas = decode(&[
        choice(&json!({"role": "assistant", "content": null})),
        choice(&json!({"content": "", "reasoning_content": "hm"})),
        choice(&json!({"reasoning": "m"})),
        choice(&json!({"content": "a"})),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    ]);
    let expected = vec![
        Delta::Thinking { index: THINKING_INDEX, text: "hm".to_owned() },
        Delta::Thinking { index: THINKING_INDEX, text: "m".to_owned() },
        Delta::Text { index: TEXT_INDEX, text: "a".to_owned() },
        Delta::Finish(FinishReason::Stop),
    ];
    assert_eq!(deltas, Ok(expected));
}

#[test]
fn parallel_calls_are_distinguished_by_their_number() {
    let deltas = decode(&[
        calls(&json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "x", "arguments": ""}}])),
        calls(&json!([{"index": 1, "id": "b", "type": "function", "function": {"name": "y", "arguments": "{"}}])),
        calls(&json!([{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "}"}}])),
    ]);
    let expected = vec![call(2, "a", "x"), call(3, "b", "y"), arguments(3, "{"), arguments(2, "{}"), arguments(3, "}")];
    assert_eq!(deltas, Ok(expected));
}

#[test]
fn repeated_ids_and_names_are_one_call() {
    let chunk = |json: &str| calls(&json!([{"index": 0, "id": "a", "function": {"name": "x", "arguments": json}}]));
    let expected = vec![call(2, "a", "x"), arguments(2, "{\"q\""), arguments(2, ":1}")];
    assert_eq!(decode(&[chunk("{\"q\""), chunk(":1}")]), Ok(expected));
}

#[test]
fn calls_without_a_number_are_distinguished_by_their_ids() {
    let deltas = decode(&[
        calls(&json!([{"id": "a", "function": {"name": "x", "arguments": "{"}}])),
        calls(&json!([{"function": {"arguments": "}"}}])),
        calls(&json!([{"id": "b", "function": {"name": "x", "arguments": "{}"}}])),
        calls(&json!([{"id": "a", "function": {"arguments": " "}}])),
        calls(&json!([{"function": {"name": "y"}}])),
    ]);
    let expected = vec![
        call(2, "a", "x"),
        arguments(2, "{"),
        arguments(2, "}"),
        call(3, "b", "x"),
        arguments(3, "{}"),
        arguments(2, " "),
        call(4, "", "y"),
    ];
    assert_eq!(deltas, Ok(expected));
}

#[test]
fn another_id_and_name_under_the_same_number_is_another_call() {
    let chunk = |id: &str, name: &str| calls(&json!([{"index": 0, "id": id, "function": {"name": name}}]));
    let deltas = decode(&[chunk("a", "x"), chunk("b", "x"), chunk("c", "")]);
    assert_eq!(deltas, Ok(vec![call(2, "a", "x"), call(3, "b", "x")]));
}

#[test]
fn parallel_calls_of_one_number_are_distinguished_without_ids() {
    let chunk = |id: Option<&str>, name: &str, json: &str| {
        let mut chunk = json!({"index": 0, "function": {"name": name, "arguments": json}});
        chunk["id"] = json!(id);
        calls(&json!([chunk]))
    };
    for id in [None, Some("")] {
        let deltas = decode(&[chunk(id, "x", "{\"a\":1}"), chunk(id, "x", "{\"a\":2}"), chunk(id, "y", "{}")]);
        let expected = vec![
            call(2, "", "x"),
            arguments(2, "{\"a\":1}"),
            call(3, "", "x"),
            arguments(3, "{\"a\":2}"),
            call(4, "", "y"),
            arguments(4, "{}"),
        ];
        assert_eq!(deltas, Ok(expected), "{id:?}");
    }
    // One call whose name comes with every piece, and once more as a whole.
    let deltas = decode(&[chunk(None, "x", "{\"a\""), chunk(None, "x", ":1}"), chunk(Some("i"), "", "{\"a\":1}")]);
    let expected = vec![call(2, "", "x"), arguments(2, "{\"a\""), arguments(2, ":1}"), call(2, "i", "x")];
    assert_eq!(deltas, Ok(expected));
}

#[test]
fn content_may_be_a_list_of_chunks() {
    let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "A greeting."}]}]);
    let deltas = decode(&[
        choice(&json!({"content": thinking})),
        choice(&json!({"content": [{"type": "text", "text": "Hello "}, {"type": "reference", "ids": [1]}]})),
        choice(&json!({"content": "there", "reasoning_content": [{"text": "hm"}]})),
        choice(&json!({"content": [7], "reasoning": {}})),
    ]);
    let text = |text: &str| Delta::Text { index: TEXT_INDEX, text: text.to_owned() };
    let thought = |text: &str| Delta::Thinking { index: THINKING_INDEX, text: text.to_owned() };
    assert_eq!(deltas, Ok(vec![thought("A greeting."), text("Hello "), thought("hm"), text("there")]));
}

#[test]
fn an_answer_that_is_broken_off_is_retryable() {
    for reason in ["abort", "error", "network_error"] {
        let chunk = json!({"choices": [{"delta": {}, "finish_reason": reason}]});
        let failure = decode(&[chunk]).unwrap_err();
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true), "{reason}");
    }
}

#[test]
fn arguments_that_come_as_an_object_are_whole() {
    let deltas = decode(&[calls(&json!([{"id": "a", "function": {"name": "x", "arguments": {"q": 1}}}]))]);
    let whole = Delta::ToolArgumentsWhole { index: 2, json: "{\"q\":1}".to_owned() };
    assert_eq!(deltas, Ok(vec![call(2, "a", "x"), whole]));
}

#[test]
fn usage_comes_with_or_without_choices() {
    let details = json!({
        "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3},
    });
    let deepseek = json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4});
    let usage = UsageReport {
        input: Some(10),
        output: Some(5),
        reasoning: Some(3),
        cached_input: Some(4),
        total: Some(15),
        ..UsageReport::default()
    };
    let bare = UsageReport { reasoning: None, total: None, ..usage };
    let deltas = decode(&[
        json!({"choices": [], "usage": details}),
        json!({"choices": [{"delta": {}}], "usage": deepseek}),
        json!({"choices": [], "usage": null}),
    ]);
    assert_eq!(deltas, Ok(vec![Delta::Usage(usage), Delta::Usage(bare)]));
}

#[test]
fn a_stream_of_deepseeks_is_read_whole() {
    let recording = include_str!("../../../../../tests/data/openai-chat/deepseek-reasoner.sse");
    let usage = UsageReport {
        input: Some(330),
        output: Some(61),
        reasoning: Some(24),
        cached_input: Some(320),
        total: Some(391),
        ..UsageReport::default()
    };
    let expected = vec![
        Delta::Thinking { index: THINKING_INDEX, text: "Owls are ".to_owned() },
        Delta::Thinking { index: THINKING_INDEX, text: "„Eulen“ 🦉.".to_owned() },
        Delta::Text { index: TEXT_INDEX, text: "Looking.".to_owned() },
        call(2, "call_00_a", "search"),
        arguments(2, "{\"q\": "),
        arguments(2, "\"owl\"}"),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::Usage(usage),
        Delta::End,
    ];
    assert_eq!(recorded::deltas(&ChatCompletions::default(), recording), expected);
}

#[test]
fn an_answer_that_deepseek_breaks_off_can_pass() {
    let recording = include_str!("../../../../../tests/data/openai-chat/deepseek-broken-off.sse");
    let (deltas, failure) = recorded::decode(&ChatCompletions::default(), recording);
    assert_eq!(deltas, [Delta::Text { index: TEXT_INDEX, text: "The owl".to_owned() }]);
    let message = "the provider broke the answer off: insufficient system resource";
    assert_eq!(failure, Some(failure::retryable(FailureKind::Provider, message)));
}

#[test]
fn azures_filter_reports_are_passed_over_and_its_verdict_is_not() {
    let recording = include_str!("../../../../../tests/data/openai-chat/azure-filtered.sse");
    let expected = vec![
        Delta::Text { index: TEXT_INDEX, text: "The".to_owned() },
        Delta::Finish(FinishReason::ContentFilter),
        Delta::End,
    ];
    assert_eq!(recorded::deltas(&ChatCompletions { dialect: Dialect::Azure }, recording), expected);
}

#[test]
fn torn_chunks_do_no_harm() {
    for recording in [
        include_str!("../../../../../tests/data/openai-chat/deepseek-reasoner.sse"),
        include_str!("../../../../../tests/data/openai-chat/deepseek-broken-off.sse"),
        include_str!("../../../../../tests/data/openai-chat/azure-filtered.sse"),
    ] {
        recorded::assert_torn_frames_do_no_harm(&ChatCompletions::default(), recording);
    }
}

#[test]
fn reasons_to_stop_are_read() {
    let of = |reason: &str| decode(&[json!({"choices": [{"delta": {}, "finish_reason": reason}]})]);
    let expected = [
        ("stop", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("tool_calls", FinishReason::ToolCalls),
        ("content_filter", FinishReason::ContentFilter),
        ("EOS", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("odd", FinishReason::Other("odd".to_owned())),
    ];
    for (reason, finish) in expected {
        assert_eq!(of(reason), Ok(vec![Delta::Finish(finish)]));
    }
    assert_eq!(of(""), Ok(Vec::new()));
    let broken_off = of("insufficient_system_resource").unwrap_err();
    assert_eq!((broken_off.kind, broken_off.is_retryable), (FailureKind::Provider, true));
}

#[test]
fn errors_in_mid_stream_are_failures_in_every_form() {
    let of = |chunk: Value| {
        let failure = decode(&[chunk]).unwrap_err();
        (failure.message, failure.is_retryable)
    };
    let expected = |is_retryable| ("no".to_owned(), is_retryable);
    assert_eq!(of(json!({"error": {"message": "no", "code": 500}})), expected(true));
    assert_eq!(of(json!({"error": {"message": "no", "code": 400}, "choices": []})), expected(false));
    assert_eq!(of(json!({"error": "no"})), expected(true));
    assert_eq!(of(json!({"object": "error", "message": "no", "type": "invalid_request_error"})), expected(false));
    assert_eq!(of(json!({"message": "no", "code": 502})), expected(true));
    assert_eq!(of(json!({"detail": "no"})), expected(true));
    assert_eq!(decode(&[json!({"error": null, "choices": []})]), Ok(Vec::new()));
    assert_eq!(decode(&[json!({"message": "all is well", "choices": []})]), Ok(Vec::new()));
}

#[test]
fn what_is_no_chunk_is_a_failure_and_the_mark_is_the_end() {
    let frame = |data: &str| ChatCompletionsDecoder::default().frame(&Frame::event(None, data.to_owned()));
    assert_eq!(frame(" [DONE]"), Ok(vec![Delta::End]));
    assert_eq!(frame(""), Ok(Vec::new()));
    let failure = frame("{\"choices\":").unwrap_err();
    assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Malformed, true));
}

/// The calls of a stream as id, name and arguments.
fn whole_calls(chunks: &[Value]) -> Vec<(String, String, String)> {
    let mut whole: Vec<(u64, (String, String, String))> = Vec::new();
    for delta in decode(chunks).unwrap() {
        let index = match &delta {
            Delta::ToolCall { index, .. }
            | Delta::ToolArguments { index, .. }
            | Delta::ToolArgumentsWhole { index, .. } => *index,
            _ => continue,
        };
        let at = whole.iter().position(|(known, _)| *known == index).unwrap_or_else(|| {
            whole.push((index, Default::default()));
            whole.len() - 1
        });
        let (id, name, json) = &mut whole[at].1;
        match delta {
            Delta::ToolCall { id: new_id, name: new_name, .. } => (*id, *name) = (new_id, new_name),
            Delta::ToolArguments { json: piece, .. } => json.push_str(&piece),
            Delta::ToolArgumentsWhole { json: all, .. } => *json = all,
            _ => {}
        }
    }
    whole.into_iter().map(|(_, call)| call).collect()
}

fn triples(calls: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    calls.iter().map(|(id, name, json)| ((*id).to_owned(), (*name).to_owned(), (*json).to_owned())).collect()
}

#[test]
fn pieces_with_a_name_alone_are_put_together() {
    let chunk = |name: &str, arguments: Value| calls(&json!([{"function": {"name": name, "arguments": arguments}}]));
    for arguments in ["{}", "{\"q\":1}"] {
        let (start, end) = arguments.split_at(1);
        let chunks =
            [chunk("x", json!(start)), chunk("x", json!(end)), chunk("x", json!(arguments)), chunk("y", json!("{}"))];
        let expected = [("", "x", arguments), ("", "x", arguments), ("", "y", "{}")];
        assert_eq!(whole_calls(&chunks), triples(&expected));
    }
    let objects = [chunk("x", json!({"q": 1})), chunk("x", json!({"q": 2}))];
    assert_eq!(whole_calls(&objects), triples(&[("", "x", "{\"q\":1}"), ("", "x", "{\"q\":2}")]));
}

#[test]
fn numbers_may_be_texts_and_empty_pieces_are_no_calls() {
    let chunks = [
        calls(
            &json!([{}, null, {"index": 0, "function": null}, {"index": 1, "function": {"name": "", "arguments": ""}}]),
        ),
        calls(&json!([{"index": "0", "id": "a", "function": {"name": "x", "arguments": "{"}}])),
        calls(&json!([{"index": "1", "id": "b", "function": {"name": "y", "arguments": "{"}}])),
        calls(&json!([{"index": "0", "function": {"arguments": "}"}}, {"index": "1", "function": {"arguments": "}"}}])),
    ];
    assert_eq!(whole_calls(&chunks), triples(&[("a", "x", "{}"), ("b", "y", "{}")]));
}

#[test]
fn the_form_before_tools_is_one_call() {
    let function = |function: Value| choice(&json!({ "function_call": function }));
    let chunks = [
        function(json!({"name": "x", "arguments": ""})),
        function(json!({"arguments": "{\"q\""})),
        function(json!({"arguments": ":1}"})),
        json!({"choices": [{"delta": {}, "finish_reason": "function_call"}]}),
    ];
    assert_eq!(whole_calls(&chunks), triples(&[("", "x", "{\"q\":1}")]));
    // Both forms of one call are one call.
    let both = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "x", "arguments": "{}"}}],
                      "function_call": {"name": "x", "arguments": "{}"}});
    assert_eq!(whole_calls(&[choice(&both)]), triples(&[("a", "x", "{}")]));
}

#[test]
fn arguments_of_another_type_are_the_models_to_correct() {
    for arguments in [json!([1]), json!(7), json!(true)] {
        let chunk = calls(&json!([{"index": 0, "id": "a", "function": {"name": "x", "arguments": arguments}}]));
        assert_eq!(whole_calls(&[chunk]), triples(&[("a", "x", &arguments.to_string())]));
    }
}

#[test]
fn an_answer_in_one_event_is_read_and_one_behind_its_pieces_is_not_read_twice() {
    let message = json!({"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]});
    let text = Delta::Text { index: TEXT_INDEX, text: "a".to_owned() };
    let whole = vec![text.clone(), Delta::Finish(FinishReason::Stop)];
    assert_eq!(decode(std::slice::from_ref(&message)), Ok(whole.clone()));
    assert_eq!(decode(&[choice(&json!({"content": "a"})), message]), Ok(whole));
}

#[test]
fn a_refusal_beside_no_content_is_the_text() {
    let chunks =
        [choice(&json!({"content": null, "refusal": "I "})), choice(&json!({"content": null, "refusal": "won't."}))];
    let text = |text: &str| Delta::Text { index: TEXT_INDEX, text: text.to_owned() };
    assert_eq!(decode(&chunks), Ok(vec![text("I "), text("won't.")]));
}

#[test]
fn usage_is_found_in_each_servers_place() {
    let counts = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let expected = UsageReport { input: Some(10), output: Some(5), total: Some(15), ..UsageReport::default() };
    for chunk in [
        json!({"choices": [], "usage": counts}),
        json!({"choices": [{"delta": {}}], "usage": null, "x_groq": {"id": "r", "usage": counts}}),
        json!({"choices": [{"delta": {}, "usage": counts}]}),
        json!({"choices": [{"delta": {"usage": counts}}]}),
        json!({"usage": counts}),
    ] {
        assert_eq!(decode(std::slice::from_ref(&chunk)), Ok(vec![Delta::Usage(expected)]), "{chunk}");
    }
}
