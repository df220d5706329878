//! Tests of Responses streams.

use serde_json::json;

use super::*;
use crate::generation::FailureKind;
use crate::provider::wire::openai::OpenAiResponses;
use crate::provider::wire::recorded;

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/data/openai-responses/", $name, ".sse"))
    };
}

fn text(index: u64, text: &str) -> Delta {
    Delta::Text { index, text: text.into() }
}

fn thinking(index: u64, text: &str) -> Delta {
    Delta::Thinking { index, text: text.into() }
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

/// The usage that all recordings but the imitators' end with.
fn usage() -> Delta {
    Delta::Usage(UsageReport {
        input: Some(311),
        output: Some(57),
        reasoning: Some(32),
        cached_input: Some(256),
        cache_write_input: Some(0),
        total: Some(368),
        ..UsageReport::default()
    })
}

fn failure(kind: FailureKind, message: &str) -> GenerationFailure {
    let message = message.to_owned();
    GenerationFailure { kind, message, status_code: None, is_retryable: true, retry_after_ms: None }
}

fn deltas(recording: &str) -> Vec<Delta> {
    recorded::deltas(&OpenAiResponses, recording)
}

#[test]
fn text_streams_once() {
    let expected =
        vec![text(0, "The owl file "), text(0, "is birds.md."), usage(), Delta::Finish(FinishReason::Stop), Delta::End];
    assert_eq!(deltas(recording!("text")), expected);
}

#[test]
fn characters_of_many_bytes_come_through() {
    let expected = vec![
        text(0, "Grüße, "),
        text(0, "梟"),
        text(0, "は🦉"),
        usage(),
        Delta::Finish(FinishReason::Stop),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("multibyte")), expected);
}

#[test]
fn reasoning_is_shown_and_its_complete_item_kept() {
    let item = json!({
        "id": "rs_1",
        "type": "reasoning",
        "encrypted_content": "gAAAAABo",
        "summary": [
            {"type": "summary_text", "text": "Owls are birds."},
            {"type": "summary_text", "text": "Search them."},
        ],
    });
    let expected = vec![
        thinking(0, "Owls are "),
        thinking(0, "birds."),
        thinking(0, "\n\nSearch them."),
        Delta::ThinkingOpaque { index: 0, block: item },
        call(1, "call_1", "search"),
        arguments(1, r#"{"q":"#),
        arguments(1, r#""owl"}"#),
        whole_arguments(1, r#"{"q":"owl"}"#),
        whole_arguments(1, r#"{"q":"owl"}"#),
        usage(),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("reasoning")), expected);
}

#[test]
fn parallel_calls_keep_apart_even_when_interleaved() {
    let expected = vec![
        text(0, "Both at once."),
        call(1, "call_1", "search"),
        call(2, "call_2", "now"),
        arguments(2, "{}"),
        arguments(1, r#"{"q":"owl"}"#),
        whole_arguments(2, "{}"),
        whole_arguments(2, "{}"),
        whole_arguments(1, r#"{"q":"owl"}"#),
        whole_arguments(1, r#"{"q":"owl"}"#),
        usage(),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("parallel-calls")), expected);
}

#[test]
fn arguments_cut_by_the_limit_stay_as_they_came() {
    let cut = r#"{"path":"owl.md","text":"Owls"#;
    let expected = vec![
        call(0, "call_1", "writeTextFile"),
        arguments(0, cut),
        whole_arguments(0, cut),
        whole_arguments(0, cut),
        usage(),
        Delta::Finish(FinishReason::Length),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("incomplete")), expected);
}

#[test]
fn a_filtered_answer_is_recognised() {
    let expected = vec![text(0, "The"), usage(), Delta::Finish(FinishReason::ContentFilter), Delta::End];
    assert_eq!(deltas(recording!("filtered")), expected);
}

#[test]
fn a_refusal_is_text_and_a_content_filter() {
    let expected = vec![
        text(0, "I cannot "),
        text(0, "do that."),
        usage(),
        Delta::Finish(FinishReason::ContentFilter),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("refusal")), expected);
}

#[test]
fn a_failed_response_and_an_error_are_failures() {
    assert_eq!(
        recorded::decode(&OpenAiResponses, recording!("failed")),
        (vec![text(0, "The owl")], Some(failure(FailureKind::Provider, "The model had an error.")))
    );
    assert_eq!(
        recorded::decode(&OpenAiResponses, recording!("error")),
        (vec![], Some(failure(FailureKind::RateLimit, "Slow down.")))
    );
}

#[test]
fn a_cut_stream_has_no_end() {
    assert_eq!(deltas(recording!("cut")), vec![text(0, "The owl file is")]);
}

#[test]
fn a_call_sent_twice_is_one_call() {
    let expected = vec![
        call(0, "call_1", "search"),
        arguments(0, r#"{"q":"owl"}"#),
        whole_arguments(0, r#"{"q":"owl"}"#),
        whole_arguments(0, r#"{"q":"owl"}"#),
        usage(),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("duplicate-calls")), expected);
}

#[test]
fn what_did_not_stream_comes_from_the_items_ends() {
    let expected = vec![
        thinking(0, "Hm."),
        text(1, "Looking."),
        call(2, "call_1", "search"),
        whole_arguments(2, r#"{"q":"owl"}"#),
        call(3, "call_2", "search"),
        whole_arguments(3, r#"{"q":"ibis"}"#),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("only-item-ends")), expected);
}

#[test]
fn what_came_in_no_item_comes_from_the_response() {
    let expected = vec![
        text(0, "Looking."),
        call(1, "call_1", "now"),
        whole_arguments(1, "{}"),
        usage(),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("only-completed")), expected);
}

#[test]
fn items_that_were_only_announced_come_from_the_response() {
    let expected = vec![
        call(1, "call_1", "now"),
        text(0, "Looking."),
        whole_arguments(1, "{}"),
        usage(),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("announced-only")), expected);
}

#[test]
fn items_without_ids_and_indices_are_distinguished() {
    let usage = UsageReport { input: Some(20), output: Some(8), ..UsageReport::default() };
    let expected = vec![
        text(0, "Look"),
        text(0, "ing."),
        call(1, "fc_a", "search"),
        arguments(1, r#"{"q":"owl"}"#),
        whole_arguments(1, r#"{"q":"owl"}"#),
        call(2, "fc_b", "now"),
        whole_arguments(2, "{}"),
        Delta::Usage(usage),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("no-ids")), expected);
}

#[test]
fn items_whose_ids_change_are_known_by_their_index() {
    let item = json!({
        "id": "rs_c",
        "type": "reasoning",
        "encrypted_content": "gAAA",
        "summary": [{"type": "summary_text", "text": "Hm."}],
    });
    let expected = vec![
        thinking(0, "Hm."),
        Delta::ThinkingOpaque { index: 0, block: item },
        text(1, "Owls."),
        usage(),
        Delta::Finish(FinishReason::Stop),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("changing-ids")), expected);
}

#[test]
fn torn_frames_do_no_harm() {
    let recordings = [
        recording!("text"),
        recording!("multibyte"),
        recording!("reasoning"),
        recording!("parallel-calls"),
        recording!("incomplete"),
        recording!("filtered"),
        recording!("failed"),
        recording!("error"),
        recording!("refusal"),
        recording!("duplicate-calls"),
        recording!("only-item-ends"),
        recording!("only-completed"),
        recording!("announced-only"),
        recording!("no-ids"),
        recording!("changing-ids"),
        recording!("web-search"),
        recording!("code-and-image"),
    ];
    for recording in recordings {
        recorded::assert_torn_frames_do_no_harm(&OpenAiResponses, recording);
    }
}

#[test]
fn calls_that_the_provider_ran_and_phases_are_kept_in_their_place() {
    let opaque = |index: u64, block: Value| Delta::Opaque { index, block };
    let search = |status: &str| json!({"id": "ws_1", "type": "web_search_call", "status": status});
    let mut found = search("completed");
    found["action"] = json!({"type": "search", "query": "owl", "queries": ["owl"]});
    let expected = vec![
        opaque(0, search("in_progress")),
        opaque(0, found),
        text(1, "Owls: see "),
        text(1, "owls.example."),
        opaque(1, json!({"type": "message", "phase": "final_answer"})),
        usage(),
        Delta::Finish(FinishReason::Stop),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("web-search")), expected);
}

#[test]
fn code_and_images_that_the_provider_made_are_kept_whole() {
    let code = json!({"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "6*7",
                      "container_id": "cntr_1", "outputs": [{"type": "logs", "logs": "42"}]});
    let image = json!({"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "aW1n"});
    let blocks: Vec<Value> = deltas(recording!("code-and-image"))
        .into_iter()
        .filter_map(|delta| match delta {
            Delta::Opaque { block, .. } if block["status"] == "completed" => Some(block),
            _ => None,
        })
        .collect();
    assert_eq!(blocks, [code, image]);
}
