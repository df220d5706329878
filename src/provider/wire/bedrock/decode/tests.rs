//! Recorded streams, decoded.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::content::Thinking;
use crate::generation::{Arguments, GeneratedPart, Generation};
use crate::provider::assemble::Assembler;
use crate::provider::failure::lasting;
use crate::provider::http::frame::{FRAME_LIMIT, Framer};
use crate::provider::wire::bedrock::{BedrockConverse, NAME};
use crate::provider::wire::recorded;
use crate::provider::{Framing, event_stream};
use crate::usage::Usage;

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/data/bedrock/", $name, ".jsonl"))
    };
}

fn text(index: u64, text: &str) -> Delta {
    Delta::Text { index, text: text.into() }
}

fn call(index: u64, id: &str, name: &str) -> Delta {
    Delta::ToolCall { index, id: id.into(), name: name.into() }
}

fn arguments(index: u64, json: &str) -> Delta {
    Delta::ToolArguments { index, json: json.into() }
}

/// The usage of so many tokens of answer; all recordings but one have the same prompt.
fn usage(output_tokens: u64) -> Delta {
    Delta::Usage(UsageReport {
        input: Some(472),
        output: Some(output_tokens),
        total: Some(472 + output_tokens),
        has_cache_beside: true,
        ..UsageReport::default()
    })
}

fn thinking_usage() -> Usage {
    Usage {
        input_tokens: 5,
        output_tokens: 88,
        reasoning_tokens: 0,
        total_tokens: 1989,
        cached_input_tokens: 1800,
        cache_write_input_tokens: 96,
    }
}

fn thinking_report() -> UsageReport {
    UsageReport {
        input: Some(5),
        output: Some(88),
        cached_input: Some(1800),
        cache_write_input: Some(96),
        total: Some(1989),
        has_cache_beside: true,
        ..UsageReport::default()
    }
}

fn deltas(recording: &str) -> Vec<Delta> {
    recorded::deltas(&BedrockConverse, recording)
}

fn decode(recording: &str) -> (Vec<Delta>, Option<GenerationFailure>) {
    recorded::decode(&BedrockConverse, recording)
}

#[test]
fn text_streams_and_the_counts_come_last() {
    let expected = vec![
        text(0, "The owl file "),
        text(0, "is birds.md."),
        Delta::Finish(FinishReason::Stop),
        usage(14),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("text")), expected);
}

#[test]
fn characters_of_many_bytes_come_through() {
    let expected = vec![
        text(0, "Grüße, "),
        text(0, "梟"),
        text(0, "は🦉"),
        text(0, "です"),
        Delta::Finish(FinishReason::Stop),
        usage(11),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("multibyte")), expected);
}

#[test]
fn thinking_keeps_its_signature_and_the_context_counts_what_is_cached() {
    let expected = vec![
        Delta::Thinking { index: 0, text: "Owls are birds, ".into() },
        Delta::Thinking { index: 0, text: "so look there.".into() },
        Delta::ThinkingSignature { index: 0, signature: "EqQBCgIYAhIMx7Yq==".into() },
        text(1, "Looking."),
        call(2, "tooluse_A1", "search"),
        arguments(2, r#"{"q": "o"#),
        arguments(2, r#"wl"}"#),
        Delta::Finish(FinishReason::ToolCalls),
        Delta::Usage(thinking_report()),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("thinking")), expected);
}

#[test]
fn pieces_of_encrypted_thinking_are_joined_as_bytes() {
    let block = |data: &str| Delta::ThinkingOpaque { index: 0, block: json!({"redactedContent": data}) };
    let expected = vec![
        block("RW13S0E="),
        block("RW13S0FoZ0I="),
        text(1, "Done."),
        Delta::Finish(FinishReason::Stop),
        usage(30),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("redacted-thinking")), expected);
    let frame = json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "?"}}}).to_string();
    let failure = ConverseDecoder::default().frame(&Frame::event(Some("contentBlockDelta".into()), frame)).unwrap_err();
    assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Malformed, true));
}

#[test]
fn parallel_calls_keep_apart() {
    let expected = vec![
        text(0, "Both at once."),
        call(1, "tooluse_A", "search"),
        arguments(1, r#"{"q":"owl"}"#),
        call(2, "tooluse_B", "now"),
        call(3, "tooluse_C", "search"),
        arguments(3, r#"{"q":"#),
        arguments(3, r#""ibis"}"#),
        Delta::Finish(FinishReason::ToolCalls),
        usage(97),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("parallel-calls")), expected);
}

#[test]
fn a_cut_stream_has_no_end() {
    assert_eq!(deltas(recording!("cut")), vec![text(0, "The owl file is")]);
}

#[test]
fn exceptions_in_mid_stream_are_the_providers_own() {
    let slow = "Too many tokens, please wait before trying again.";
    let expected = (vec![text(0, "The owl")], Some(retryable(FailureKind::RateLimit, slow)));
    assert_eq!(decode(recording!("throttled")), expected);
    let long = "The model returned the following errors: too long";
    assert_eq!(decode(recording!("refused")), (vec![], Some(lasting(FailureKind::InvalidRequest, long))));
    let broken = "The system encountered an unexpected error during processing. Try your request again. \
                  (Model produced no owl)";
    assert_eq!(decode(recording!("failed")), (vec![], Some(retryable(FailureKind::Provider, broken))));
    let error = Some(retryable(FailureKind::Provider, "Something broke."));
    assert_eq!(decode(recording!("error")), (vec![], error));
}

#[test]
fn arguments_cut_by_the_limit_stay_as_they_came() {
    let expected = vec![
        call(0, "tooluse_A", "writeTextFile"),
        arguments(0, r#"{"path": "owl.md", "te"#),
        arguments(0, r#"xt": "Owls hun"#),
        Delta::Finish(FinishReason::Length),
        usage(4096),
        Delta::End,
    ];
    assert_eq!(deltas(recording!("max-tokens")), expected);
}

#[test]
fn a_guardrail_is_a_content_filter() {
    let expected = vec![text(0, "I cannot say."), Delta::Finish(FinishReason::ContentFilter), usage(9), Delta::End];
    assert_eq!(deltas(recording!("filtered")), expected);
}

#[test]
fn what_the_provider_could_not_read_is_asked_for_again() {
    let message = "the provider could not read the model's output (malformed_tool_use)";
    let expected = (vec![text(0, "Looking.")], Some(retryable(FailureKind::Malformed, message)));
    assert_eq!(decode(recording!("malformed-call")), expected);
}

#[test]
fn the_providers_own_tools_and_what_the_future_brings_do_no_harm() {
    let expected = vec![text(2, "Owls."), Delta::Finish(FinishReason::Other("astonished".into())), Delta::End];
    assert_eq!(deltas(recording!("foreign")), expected);
}

#[test]
fn every_reason_to_stop_has_its_meaning() {
    for (reason, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("tool_use", FinishReason::ToolCalls),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::ContextWindow),
        ("guardrail_intervened", FinishReason::ContentFilter),
        ("content_filtered", FinishReason::ContentFilter),
        ("astonished", FinishReason::Other("astonished".into())),
    ] {
        assert_eq!(finish(reason), Ok(expected), "{reason}");
    }
    for reason in ["malformed_model_output", "malformed_tool_use"] {
        assert!(finish(reason).is_err_and(|failure| failure.is_retryable), "{reason}");
    }
}

#[test]
fn torn_frames_do_no_harm() {
    let recordings = [
        recording!("text"),
        recording!("multibyte"),
        recording!("thinking"),
        recording!("redacted-thinking"),
        recording!("parallel-calls"),
        recording!("max-tokens"),
        recording!("filtered"),
        recording!("foreign"),
    ];
    for recording in recordings {
        recorded::assert_torn_frames_do_no_harm(&BedrockConverse, recording);
    }
}

/// The answer that bytes in these chunks make.
fn assemble<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Generation, GenerationFailure> {
    let (mut framer, mut decoder) = (Framer::new(Framing::AwsEventStream, FRAME_LIMIT), ConverseDecoder::default());
    let mut assembler = Assembler::new(NAME);
    for chunk in chunks {
        let mut complete = Vec::new();
        framer.push(chunk, &mut complete).unwrap();
        for frame in complete {
            decoder.frame(&frame)?.into_iter().for_each(|delta| assembler.push(delta));
        }
    }
    assembler.finish()
}

fn thoughtful_answer() -> Generation {
    let thinking = Thinking {
        thinking: "Owls are birds, so look there.".into(),
        signature: Some("EqQBCgIYAhIMx7Yq==".into()),
        protocol: Some(NAME.into()),
        made_by: None,
        opaque: None,
    };
    Generation {
        parts: vec![
            GeneratedPart::Thinking { thinking },
            GeneratedPart::Text { text: "Looking.".into() },
            GeneratedPart::ToolCall {
                id: "tooluse_A1".into(),
                name: "search".into(),
                arguments: Arguments::parse(r#"{"q": "owl"}"#),
            },
        ],
        finish: FinishReason::ToolCalls,
        usage: Some(thinking_usage()),
        context_tokens: Some(1989),
    }
}

#[test]
fn a_stream_cut_in_two_at_any_byte_gives_the_same_answer() {
    let bytes = event_stream::stream(recording!("thinking").as_bytes());
    for end in 0..=bytes.len() {
        let (first, second) = bytes.split_at(end);
        assert_eq!(assemble([first, second]), Ok(thoughtful_answer()), "{end}");
    }
}

#[test]
fn a_stream_that_ends_before_its_reason_is_a_failure_that_can_pass() {
    let bytes = event_stream::stream(recording!("cut").as_bytes());
    for end in 0..=bytes.len() {
        let failure = assemble([&bytes[..end]]).unwrap_err();
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true), "{end}");
    }
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_answer(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let bytes = event_stream::stream(recording!("thinking").as_bytes());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(assemble(cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]])), Ok(thoughtful_answer()));
    }
}
