//! Recorded streams, and single chunks.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::generation::{GeneratedPart, Generation};
use crate::provider::assemble::Assembler;
use crate::provider::wire::google::{GeminiGenerateContent, NAME};
use crate::provider::wire::recorded;

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/data/google/", $name, ".sse"))
    };
}

fn text(index: u64, text: &str) -> Delta {
    Delta::Text { index, text: text.into() }
}

fn thinking(index: u64, text: &str) -> Delta {
    Delta::Thinking { index, text: text.into() }
}

fn call(index: u64, id: &str, name: &str, json: &str) -> [Delta; 2] {
    [
        Delta::ToolCall { index, id: id.into(), name: name.into() },
        Delta::ToolArgumentsWhole { index, json: json.into() },
    ]
}

fn layout(parts: &Value) -> Delta {
    Delta::ThinkingOpaque { index: LAYOUT_INDEX, block: json!({"parts": parts}) }
}

/// The counts after so many tokens; all recordings but one have the same prompt.
fn usage(answer: u64, thoughts: u64, cached: u64) -> Delta {
    Delta::Usage(UsageReport {
        input: Some(311),
        output: Some(answer + thoughts),
        reasoning: (thoughts > 0).then_some(thoughts),
        cached_input: (cached > 0).then_some(cached),
        total: Some(311 + answer + thoughts),
        ..UsageReport::default()
    })
}

fn deltas(recording: &str) -> Vec<Delta> {
    recorded::deltas(&GeminiGenerateContent, recording)
}

fn decode(chunks: &[Value]) -> Result<Vec<Delta>, GenerationFailure> {
    let mut decoder = GeminiDecoder::default();
    let mut deltas = Vec::new();
    for chunk in chunks {
        deltas.extend(decoder.frame(&Frame::event(None, chunk.to_string()))?);
    }
    Ok(deltas)
}

fn parts(parts: &Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts}}]})
}

fn finished(parts: &Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})
}

#[test]
fn text_streams_with_the_counts_and_needs_no_layout() {
    let expected = vec![
        text(0, "The owl file "),
        usage(3, 0, 0),
        text(0, "is birds.md."),
        usage(7, 0, 0),
        usage(9, 0, 0),
        Delta::Finish(FinishReason::Stop),
    ];
    assert_eq!(deltas(recording!("text")), expected);
}

#[test]
fn characters_of_many_bytes_come_through() {
    let expected = vec![
        text(0, "Grüße, "),
        usage(3, 0, 0),
        text(0, "梟"),
        usage(4, 0, 0),
        text(0, "は🦉です"),
        usage(8, 0, 0),
        Delta::Finish(FinishReason::Stop),
    ];
    assert_eq!(deltas(recording!("multibyte")), expected);
}

#[test]
fn thoughts_stream_and_a_calls_signature_is_kept() {
    let [name, arguments] = call(2, "fc-1", "search", r#"{"q":"owl"}"#);
    let order = json!([
        {"thought": 49},
        {"text": 14},
        {"call": {"name": "search", "id": "fc-1"}, "thoughtSignature": "EjQKMgFl+zA="},
    ]);
    let expected = vec![
        thinking(0, "**Where to look**\n\nOwls are birds, "),
        usage(0, 20, 256),
        thinking(0, "so look there."),
        usage(0, 32, 256),
        text(1, "Looking "),
        usage(2, 32, 256),
        text(1, "it up."),
        usage(4, 32, 256),
        name,
        arguments,
        usage(14, 32, 256),
        layout(&order),
        usage(14, 32, 256),
        Delta::Finish(FinishReason::Stop),
    ];
    assert_eq!(deltas(recording!("thinking")), expected);
}

#[test]
fn signatures_of_texts_divide_what_goes_back_and_not_what_is_read() {
    let order = json!([
        {"text": 9, "thoughtSignature": "c2lnMQ=="},
        {"text": 19},
        {"text": 0, "thoughtSignature": "c2lnMg=="},
    ]);
    let expected = vec![
        text(0, "Owls are "),
        usage(3, 12, 0),
        text(0, "birds of "),
        usage(6, 12, 0),
        text(0, "the night."),
        usage(9, 12, 0),
        layout(&order),
        usage(9, 12, 0),
        Delta::Finish(FinishReason::Stop),
    ];
    assert_eq!(deltas(recording!("signed-text")), expected);
}

#[test]
fn parallel_calls_keep_apart_with_or_without_ids_and_arguments() {
    let order = json!([
        {"text": 13},
        {"call": {"name": "search"}, "thoughtSignature": "c2ln"},
        {"call": {"name": "now"}},
        {"call": {"name": "search"}},
    ]);
    let mut expected = vec![text(0, "Both at once.")];
    expected.extend(call(1, "", "search", r#"{"q":"owl"}"#));
    expected.extend(call(2, "", "now", "{}"));
    expected.push(usage(20, 0, 0));
    expected.extend(call(3, "", "search", r#"{"q":"ibis","limit":3}"#));
    expected.extend([layout(&order), usage(31, 0, 0), Delta::Finish(FinishReason::Stop)]);
    assert_eq!(deltas(recording!("parallel-calls")), expected);
}

#[test]
fn a_cut_stream_has_no_end() {
    let (deltas, failure) = recorded::decode(&GeminiGenerateContent, recording!("cut"));
    assert_eq!(deltas, vec![text(0, "The owl file is"), usage(4, 0, 0)]);
    assert_eq!(failure.map(|failure| (failure.kind, failure.is_retryable)), Some((FailureKind::Malformed, true)));
}

#[test]
fn an_error_in_mid_stream_may_ask_for_a_wait() {
    let failure = GenerationFailure {
        kind: FailureKind::Provider,
        message: "The model is overloaded. Please try again later.".into(),
        status_code: None,
        is_retryable: true,
        retry_after_ms: Some(2500),
    };
    let expected = (vec![text(0, "The owl"), usage(2, 0, 0)], Some(failure));
    assert_eq!(recorded::decode(&GeminiGenerateContent, recording!("overloaded")), expected);
}

#[test]
fn a_blocked_prompt_is_a_failure_with_the_reason() {
    let (deltas, failure) = recorded::decode(&GeminiGenerateContent, recording!("blocked-prompt"));
    assert_eq!(deltas, vec![]);
    let expected =
        failure::lasting(FailureKind::InvalidRequest, "Google's filter refused the prompt: PROHIBITED_CONTENT");
    assert_eq!(failure, Some(expected));
    let explained = json!({"promptFeedback": {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "a rule"}});
    let message = decode(&[explained]).unwrap_err().message;
    assert_eq!(message, "Google's filter refused the prompt (MODEL_ARMOR): a rule");
    assert_eq!(decode(&[json!({"promptFeedback": {}})]), Ok(vec![]));
}

#[test]
fn an_answer_that_the_filter_ends_keeps_its_beginning() {
    let expected =
        vec![text(0, "It is done "), usage(3, 0, 0), usage(3, 0, 0), Delta::Finish(FinishReason::ContentFilter)];
    assert_eq!(deltas(recording!("safety")), expected);
}

#[test]
fn the_output_limit_is_a_length() {
    let expected = vec![text(0, "Owls hunt by"), usage(4096, 0, 0), Delta::Finish(FinishReason::Length)];
    assert_eq!(deltas(recording!("max-tokens")), expected);
}

#[test]
fn a_call_that_cannot_be_read_is_asked_for_again() {
    let (_, failure) = recorded::decode(&GeminiGenerateContent, recording!("malformed-call"));
    let message = "the model's answer could not be read (MALFORMED_FUNCTION_CALL: Malformed function call: \
                   search(q='owl')";
    assert_eq!(failure, Some(failure::retryable(FailureKind::Malformed, message)));
}

#[test]
fn every_reason_means_something() {
    let of = |reason: &str| match decode(&[json!({"candidates": [{"finishReason": reason}]})]) {
        Ok(deltas) => Ok(deltas),
        Err(failure) => Err((failure.kind, failure.is_retryable)),
    };
    let filtered = ["RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"];
    for reason in filtered {
        assert_eq!(of(reason), Ok(vec![Delta::Finish(FinishReason::ContentFilter)]), "{reason}");
    }
    for reason in ["OTHER", "LANGUAGE", "TOO_MANY_TOOL_CALLS"] {
        assert_eq!(of(reason), Ok(vec![Delta::Finish(FinishReason::Other(reason.into()))]), "{reason}");
    }
    assert_eq!(of("CONTINUATION"), Ok(vec![Delta::Finish(FinishReason::Length)]));
    assert_eq!(of("UNEXPECTED_TOOL_CALL"), Err((FailureKind::Malformed, true)));
    assert_eq!(of("MISSING_THOUGHT_SIGNATURE"), Err((FailureKind::InvalidRequest, false)));
    assert_eq!(of("PUP_LIMITED_DISABLED"), Err((FailureKind::Authentication, false)));
    assert_eq!(of(""), Ok(vec![]));
}

#[test]
fn code_that_google_ran_keeps_its_place_and_its_files_are_noted() {
    let note = "[the model gave a file of type image/png, which was left out]";
    let order = json!([
        {"text": 13},
        {"part": {"executableCode": {"language": "PYTHON", "code": "print(6 * 7)\n"}, "thoughtSignature": "Y29kZQ=="}},
        {"part": {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}}},
        {"text": note.len() + 18},
    ]);
    let usage_of = |output_tokens: u64, tools: u64| {
        Delta::Usage(UsageReport {
            input: Some(311 + tools),
            output: Some(output_tokens),
            total: Some(311 + output_tokens + tools),
            passing_input: tools,
            ..UsageReport::default()
        })
    };
    let all = deltas(recording!("code"));
    let expected_texts = [text(0, "Let me count."), text(1, note), text(2, "There are 42 owls.")];
    let texts: Vec<Delta> = all.iter().filter(|delta| matches!(delta, Delta::Text { .. })).cloned().collect();
    assert_eq!(texts, expected_texts);
    let expected = [layout(&order), usage_of(19, 40), Delta::Finish(FinishReason::Stop)];
    assert_eq!(all[all.len() - 3..], expected);
}

#[test]
fn searches_that_google_made_keep_their_place() {
    let order = json!([
        {"part": {
            "toolCall": {"id": "tc-1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["owls"]}},
            "thoughtSignature": "dGM=",
        }},
        {"part": {"toolResponse": {
            "id": "tc-1", "toolType": "GOOGLE_SEARCH_WEB", "response": {"search_suggestions": "owls"},
        }}},
        {"call": {"name": "search", "id": "fc-1"}, "thoughtSignature": "ZmM="},
    ]);
    let mut expected = vec![usage(6, 0, 0)];
    expected.extend(call(0, "fc-1", "search", r#"{"q":"owl"}"#));
    expected.extend([layout(&order), usage(17, 0, 0), Delta::Finish(FinishReason::Stop)]);
    assert_eq!(deltas(recording!("search")), expected);
}

#[test]
fn parts_and_reasons_of_the_future_do_no_harm() {
    let expected =
        vec![text(0, "Owls."), usage(2, 0, 0), usage(2, 0, 0), Delta::Finish(FinishReason::Other("ASTONISHED".into()))];
    assert_eq!(deltas(recording!("future")), expected);
}

#[test]
fn a_reason_in_every_chunk_does_not_end_the_answer() {
    let signed = json!([{"text": "b", "thoughtSignature": "s"}]);
    let all = decode(&[finished(&json!([{"text": "a"}])), finished(&signed)]).unwrap();
    assert_eq!(all[2..4], [text(0, "b"), layout(&json!([{"text": 1}, {"text": 1, "thoughtSignature": "s"}]))]);
}

#[test]
fn what_is_no_chunk_is_damage() {
    for data in ["42", "[]", "\"x\"", "<html>"] {
        let failure = GeminiDecoder::default().frame(&Frame::event(None, data.into())).unwrap_err();
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Malformed, true), "{data}");
    }
    let done = Frame::event(None, "[DONE]".into());
    assert_eq!(GeminiDecoder::default().frame(&done), Ok(vec![]));
}

#[test]
fn torn_frames_do_no_harm() {
    let recordings = [
        recording!("text"),
        recording!("multibyte"),
        recording!("thinking"),
        recording!("signed-text"),
        recording!("parallel-calls"),
        recording!("overloaded"),
        recording!("blocked-prompt"),
        recording!("safety"),
        recording!("max-tokens"),
        recording!("malformed-call"),
        recording!("code"),
        recording!("search"),
        recording!("future"),
    ];
    for recording in recordings {
        recorded::assert_torn_frames_do_no_harm(&GeminiGenerateContent, recording);
    }
}

fn assemble(deltas: Vec<Delta>) -> Generation {
    let mut assembler = Assembler::new(NAME);
    for delta in deltas {
        assembler.push(delta);
    }
    assembler.finish().unwrap()
}

proptest! {
    #[test]
    fn any_split_of_texts_and_thoughts_gives_the_same_answer(
        pieces in prop::collection::vec((any::<bool>(), "[a-cé🦉]{1,8}"), 1..6),
    ) {
        let part = |thought: bool, text: &str| json!([{"text": text, "thought": thought}]);
        let call = || json!([{"functionCall": {"name": "t"}, "thoughtSignature": "s"}]);
        let whole = pieces.iter().map(|(thought, text)| parts(&part(*thought, text)));
        let split = pieces.iter().flat_map(|(thought, text)| {
            text.chars().map(|letter| parts(&part(*thought, &letter.to_string()))).collect::<Vec<_>>()
        });
        let answer = |chunks: Vec<Value>| assemble(decode(&chunks).unwrap());
        let whole = answer(whole.chain([finished(&call())]).collect());
        prop_assert_eq!(&whole, &answer(split.chain([finished(&call())]).collect()));
        let calls = whole.parts.iter().filter(|part| matches!(part, GeneratedPart::ToolCall { .. })).count();
        prop_assert_eq!(calls, 1);
    }
}
