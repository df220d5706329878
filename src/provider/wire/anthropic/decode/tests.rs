//! Tests of Messages streams.

use super::*;
use crate::generation::FailureKind;
use crate::provider::wire::anthropic::AnthropicMessages;
use crate::provider::wire::recorded;

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/data/anthropic-messages/", $name, ".sse"))
    };
}

fn text(index: u64, text: &str) -> Delta {
    Delta::Text { index, text: text.into() }
}

fn opaque(index: u64, block: Value) -> Delta {
    Delta::Opaque { index, block }
}

fn call(index: u64, id: &str, name: &str) -> Delta {
    Delta::ToolCall { index, id: id.into(), name: name.into() }
}

fn arguments(index: u64, json: &str) -> Delta {
    Delta::ToolArguments { index, json: json.into() }
}

fn whole_arguments(index: u64, json: &str) -> Delta {
    Delta::ToolArgumentsWhole { index, json: json.into() }
}

/// The counts that an answer begins with; all recordings but one have the same prompt.
fn started() -> Delta {
    Delta::Usage(UsageReport {
        input: Some(472),
        output: Some(2),
        cached_input: Some(0),
        cache_write_input: Some(0),
        has_cache_beside: true,
        is_early: true,
        ..UsageReport::default()
    })
}

/// The counts that it ends with.
fn usage(output: u64) -> Delta {
    Delta::Usage(UsageReport { output: Some(output), has_cache_beside: true, ..UsageReport::default() })
}

fn deltas(recording: &str) -> Vec<Delta> {
    recorded::deltas(&AnthropicMessages, recording)
}

#[test]
fn text_streams_between_the_counts() {
    let expected = vec![
        started(),
        text(0, "The owl file "),
        text(0, "is birds.md."),
        usage(14),
        Delta::Finish(FinishReason::Stop),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("text")), expected);
}

#[test]
fn characters_of_many_bytes_come_through() {
    let expected = vec![
        started(),
        text(0, "Grüße, "),
        text(0, "梟"),
        text(0, "は🦉"),
        text(0, "です"),
        usage(11),
        Delta::Finish(FinishReason::Stop),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("multibyte")), expected);
}

#[test]
fn thinking_keeps_its_signature_and_the_counts_their_parts() {
    let usage = |output: u64, reasoning: Option<u64>| {
        Delta::Usage(UsageReport {
            input: Some(5),
            output: Some(output),
            reasoning,
            cached_input: Some(1800),
            cache_write_input: Some(96),
            has_cache_beside: true,
            is_early: reasoning.is_none(),
            ..UsageReport::default()
        })
    };
    let expected = vec![
        usage(2, None),
        Delta::Thinking { index: 0, text: "Owls are birds, ".into() },
        Delta::Thinking { index: 0, text: "so look there.".into() },
        Delta::ThinkingSignature { index: 0, signature: "EqQBCgIYAhIM".into() },
        Delta::ThinkingSignature { index: 0, signature: "x7Yq==".into() },
        text(1, "Looking."),
        call(2, "toolu_01A", "search"),
        arguments(2, r#"{"q": "o"#),
        arguments(2, r#"wl"}"#),
        usage(88, Some(40)),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("thinking")), expected);
}

#[test]
fn redacted_thinking_is_kept_to_be_sent_back() {
    let expected = vec![
        started(),
        Delta::ThinkingOpaque { index: 0, block: json!({"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}) },
        text(1, "Done."),
        usage(30),
        Delta::Finish(FinishReason::Stop),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("redacted-thinking")), expected);
}

#[test]
fn parallel_calls_keep_apart() {
    let expected = vec![
        started(),
        text(0, "Both at once."),
        call(1, "toolu_01A", "search"),
        arguments(1, r#"{"q":"owl"}"#),
        call(2, "toolu_01B", "now"),
        call(3, "toolu_01C", "search"),
        arguments(3, r#"{"q":"#),
        arguments(3, r#""ibis"}"#),
        usage(97),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("parallel-calls")), expected);
}

#[test]
fn an_error_in_mid_stream_is_the_providers_own() {
    let failure = GenerationFailure {
        kind: FailureKind::Provider,
        message: "Overloaded".into(),
        status_code: None,
        is_retryable: true,
        retry_after_ms: None,
    };
    let expected = (vec![started(), text(0, "The owl")], Some(failure));
    assert_eq!(recorded::decode(&AnthropicMessages, recording!("overloaded")), expected);
}

#[test]
fn a_cut_stream_has_no_end() {
    assert_eq!(deltas(recording!("cut")), vec![started(), text(0, "The owl file is")]);
}

#[test]
fn arguments_cut_by_the_limit_stay_as_they_came() {
    let expected = vec![
        started(),
        call(0, "toolu_01A", "writeTextFile"),
        arguments(0, r#"{"path": "owl.md", "te"#),
        arguments(0, r#"xt": "Owls hun"#),
        usage(4096),
        Delta::Finish(FinishReason::Length),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("max-tokens")), expected);
}

#[test]
fn a_refusal_is_a_content_filter() {
    let expected = vec![
        started(),
        text(0, "I cannot help with that."),
        opaque(u64::MAX - 1, json!({"type": "refusal", "category": "bio", "explanation": null})),
        usage(9),
        Delta::Finish(FinishReason::ContentFilter),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("refusal")), expected);
}

#[test]
fn a_paused_turn_is_a_pause_and_what_the_provider_ran_is_kept() {
    let call =
        |input: Value| json!({"type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search", "input": input});
    let expected = vec![
        started(),
        text(0, "Searching the web."),
        opaque(1, call(json!({}))),
        opaque(1, call(json!({"query": "owl"}))),
        opaque(2, json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01", "content": []})),
        text(3, "More to come."),
        usage(60),
        Delta::Finish(FinishReason::Pause),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("pause")), expected);
}

#[test]
fn a_text_with_citations_is_one_text_and_the_container_is_kept() {
    let citation = |url: &str| {
        json!({"type": "web_search_result_location", "url": url, "title": "Owls", "encrypted_index": "Eo8B",
               "cited_text": "Owls hunt at night."})
    };
    let cited = |all: &[Value]| opaque(2, json!({"type": "text", "citations": all}));
    let container = json!({"type": "container", "id": "container_01", "expires_at": "2026-10-02T09:15:30Z"});
    let run = |input: Value| json!({"type": "server_tool_use", "id": "srvtoolu_01", "name": "bash_code_execution", "input": input});
    let result = json!({"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_01", "content":
        {"type": "bash_code_execution_result", "stdout": "42", "stderr": "", "return_code": 0, "content": []}});
    let expected = vec![
        started(),
        opaque(0, run(json!({}))),
        opaque(0, run(json!({"command": "echo 42"}))),
        opaque(1, result),
        text(2, "Owls "),
        text(2, "hunt at night"),
        cited(&[citation("https://owls.example/a")]),
        text(2, " and sleep"),
        cited(&[citation("https://owls.example/a"), citation("https://owls.example/b")]),
        text(2, "."),
        cited(&[citation("https://owls.example/a"), citation("https://owls.example/b")]),
        opaque(u64::MAX, container),
        usage(60),
        Delta::Finish(FinishReason::Stop),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("code-and-citations")), expected);
}

#[test]
fn events_deltas_and_reasons_of_the_future_do_no_harm() {
    let expected = vec![
        started(),
        text(0, "Owls."),
        usage(3),
        Delta::Finish(FinishReason::Other("astonished".into())),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("unknown-events")), expected);
}

#[test]
fn imitators_may_leave_out_types_usage_and_signatures() {
    let expected = vec![
        Delta::Thinking { index: 0, text: "Hm.".into() },
        call(1, "t1", "search"),
        whole_arguments(1, r#"{"q":"owl"}"#),
        call(2, "t2", "search"),
        whole_arguments(2, r#"{"q":"o"}"#),
        whole_arguments(2, r#"{"q":"#),
        arguments(2, r#""ibis"}"#),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("imitator")), expected);
}

#[test]
fn a_full_context_window_is_no_mere_length() {
    assert_eq!(finish("model_context_window_exceeded"), FinishReason::ContextWindow);
}

#[test]
fn torn_frames_do_no_harm() {
    let recordings = [
        recording!("text"),
        recording!("multibyte"),
        recording!("thinking"),
        recording!("redacted-thinking"),
        recording!("parallel-calls"),
        recording!("overloaded"),
        recording!("max-tokens"),
        recording!("refusal"),
        recording!("pause"),
        recording!("code-and-citations"),
        recording!("unknown-events"),
        recording!("imitator"),
    ];
    for recording in recordings {
        recorded::assert_torn_frames_do_no_harm(&AnthropicMessages, recording);
    }
}
