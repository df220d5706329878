//! Events of a Messages stream to deltas.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::generation::{Delta, FinishReason, GenerationFailure};
use crate::provider::reported_error::ReportedError;
use crate::provider::typed_event::TypedEvent;
use crate::provider::{Decoder, Frame};
use crate::usage::Usage;

/// Decodes one answer. A part's index is its content block's.
#[derive(Default)]
pub(super) struct MessagesDecoder {
    blocks: BTreeMap<u64, Block>,
    /// Counts so far: the stream's start tells the prompt's, its end the answer's.
    usage: Usage,
}

/// What is known of a content block that has started.
enum Block {
    /// Text or thinking.
    Prose,
    /// A tool call. `is_whole` while its arguments are those it started with, as some imitators send them.
    Call { is_whole: bool },
    /// Complete from its start (redacted thinking), or none of ours (a server's own tool): deltas are skipped.
    Closed,
}

impl Decoder for MessagesDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        let Some(event) = TypedEvent::read(frame)? else { return Ok(Vec::new()) };
        Ok(match event.name() {
            "message_start" => self.usage(event.at("/message/usage")).into_iter().collect(),
            "content_block_start" => self.start(&event),
            "content_block_delta" => self.delta(&event).into_iter().collect(),
            "message_delta" => {
                let usage = self.usage(event.at("/usage"));
                let stop = event.at("/delta/stop_reason").and_then(Value::as_str).map(finish);
                usage.into_iter().chain(stop.map(Delta::Finish)).collect()
            }
            "message_stop" => vec![Delta::End],
            "error" => return Err(ReportedError::from_value(event.value()).into_failure()),
            _ => Vec::new(),
        })
    }
}

impl MessagesDecoder {
    fn start(&mut self, event: &TypedEvent) -> Vec<Delta> {
        let index = event.number("/index").unwrap_or_default();
        let mut deltas = Vec::new();
        let block = match event.text("/content_block/type") {
            "text" => {
                deltas.extend(text(index, event.text("/content_block/text")));
                Block::Prose
            }
            "thinking" => {
                deltas.extend(thinking(index, event.text("/content_block/thinking")));
                deltas.extend(signature(index, event.text("/content_block/signature")));
                Block::Prose
            }
            "redacted_thinking" => {
                let block = json!({"type": "redacted_thinking", "data": event.text("/content_block/data")});
                deltas.push(Delta::ThinkingOpaque { index, block });
                Block::Closed
            }
            "tool_use" => {
                let id = event.text("/content_block/id").to_owned();
                let name = event.text("/content_block/name").to_owned();
                deltas.push(Delta::ToolCall { index, id, name });
                let input = event.at("/content_block/input").filter(|input| **input != json!({}));
                if let Some(input) = input {
                    deltas.push(Delta::ToolArgumentsWhole { index, json: input.to_string() });
                }
                Block::Call { is_whole: input.is_some() }
            }
            _ => Block::Closed,
        };
        self.blocks.insert(index, block);
        deltas
    }

    /// Text and thinking are taken without a start, too; arguments need to belong to a call.
    fn delta(&mut self, event: &TypedEvent) -> Option<Delta> {
        let index = event.number("/index").unwrap_or_default();
        let block = self.blocks.entry(index).or_insert(Block::Prose);
        match (event.text("/delta/type"), block) {
            ("text_delta", Block::Prose) => text(index, event.text("/delta/text")),
            ("thinking_delta", Block::Prose) => thinking(index, event.text("/delta/thinking")),
            ("signature_delta", Block::Prose) => signature(index, event.text("/delta/signature")),
            ("input_json_delta", Block::Call { is_whole }) => {
                let json = event.text("/delta/partial_json").to_owned();
                if json.is_empty() {
                    return None;
                }
                let replaces = std::mem::take(is_whole);
                Some(if replaces {
                    Delta::ToolArgumentsWhole { index, json }
                } else {
                    Delta::ToolArguments { index, json }
                })
            }
            _ => None,
        }
    }

    /// Takes over the counts that an event tells; `None` when it tells none.
    fn usage(&mut self, told: Option<&Value>) -> Option<Delta> {
        let told = told.filter(|told| told.is_object())?;
        let usage = &mut self.usage;
        let counts = [
            ("/input_tokens", &mut usage.input_tokens),
            ("/output_tokens", &mut usage.output_tokens),
            ("/output_tokens_details/thinking_tokens", &mut usage.reasoning_tokens),
            ("/cache_read_input_tokens", &mut usage.cached_input_tokens),
            ("/cache_creation_input_tokens", &mut usage.cache_write_input_tokens),
        ];
        for (pointer, count) in counts {
            if let Some(told) = told.pointer(pointer).and_then(Value::as_u64) {
                *count = told;
            }
        }
        usage.total_tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let cached = usage.cached_input_tokens.saturating_add(usage.cache_write_input_tokens);
        Some(Delta::Usage { usage: *usage, context_tokens: Some(usage.total_tokens.saturating_add(cached)) })
    }
}

fn text(index: u64, text: &str) -> Option<Delta> {
    (!text.is_empty()).then(|| Delta::Text { index, text: text.to_owned() })
}

fn thinking(index: u64, text: &str) -> Option<Delta> {
    (!text.is_empty()).then(|| Delta::Thinking { index, text: text.to_owned() })
}

fn signature(index: u64, signature: &str) -> Option<Delta> {
    (!signature.is_empty()).then(|| Delta::ThinkingSignature { index, signature: signature.to_owned() })
}

fn finish(stop_reason: &str) -> FinishReason {
    match stop_reason {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "refusal" => FinishReason::ContentFilter,
        "pause_turn" => FinishReason::Pause,
        other => FinishReason::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::FailureKind;
    use crate::provider::anthropic::AnthropicMessages;
    use crate::provider::recorded;

    macro_rules! recording {
        ($name:literal) => {
            include_str!(concat!("../../../tests/data/anthropic-messages/", $name, ".sse"))
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

    fn whole_arguments(index: u64, json: &str) -> Delta {
        Delta::ToolArgumentsWhole { index, json: json.into() }
    }

    /// The usage after so many tokens of the answer; all recordings but one have the same prompt.
    fn usage(output_tokens: u64) -> Delta {
        let total_tokens = 472 + output_tokens;
        let usage = Usage { input_tokens: 472, output_tokens, total_tokens, ..Usage::default() };
        Delta::Usage { usage, context_tokens: Some(total_tokens) }
    }

    fn deltas(recording: &str) -> Vec<Delta> {
        recorded::deltas(&AnthropicMessages, recording)
    }

    #[test]
    fn text_streams_between_the_counts() {
        let expected = vec![
            usage(2),
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
            usage(2),
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
        let usage = |output_tokens: u64, reasoning_tokens: u64| Delta::Usage {
            usage: Usage {
                input_tokens: 5,
                output_tokens,
                reasoning_tokens,
                total_tokens: 5 + output_tokens,
                cached_input_tokens: 1800,
                cache_write_input_tokens: 96,
            },
            context_tokens: Some(5 + 1800 + 96 + output_tokens),
        };
        let expected = vec![
            usage(2, 0),
            Delta::Thinking { index: 0, text: "Owls are birds, ".into() },
            Delta::Thinking { index: 0, text: "so look there.".into() },
            Delta::ThinkingSignature { index: 0, signature: "EqQBCgIYAhIM".into() },
            Delta::ThinkingSignature { index: 0, signature: "x7Yq==".into() },
            text(1, "Looking."),
            call(2, "toolu_01A", "search"),
            arguments(2, r#"{"q": "o"#),
            arguments(2, r#"wl"}"#),
            usage(88, 40),
            Delta::Finish(FinishReason::ToolCalls),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("thinking")), expected);
    }

    #[test]
    fn redacted_thinking_is_kept_to_be_sent_back() {
        let expected = vec![
            usage(2),
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
            usage(2),
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
        let expected = (vec![usage(2), text(0, "The owl")], Some(failure));
        assert_eq!(recorded::decode(&AnthropicMessages, recording!("overloaded")), expected);
    }

    #[test]
    fn a_cut_stream_has_no_end() {
        assert_eq!(deltas(recording!("cut")), vec![usage(2), text(0, "The owl file is")]);
    }

    #[test]
    fn arguments_cut_by_the_limit_stay_as_they_came() {
        let expected = vec![
            usage(2),
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
            usage(2),
            text(0, "I cannot help with that."),
            usage(9),
            Delta::Finish(FinishReason::ContentFilter),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("refusal")), expected);
    }

    #[test]
    fn a_paused_turn_says_so_and_the_servers_own_tools_are_skipped() {
        let expected = vec![
            usage(2),
            text(0, "Searching the web."),
            text(3, "More to come."),
            usage(60),
            Delta::Finish(FinishReason::Pause),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("pause")), expected);
    }

    #[test]
    fn events_deltas_and_reasons_of_the_future_do_no_harm() {
        let expected = vec![
            usage(2),
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
            recording!("unknown-events"),
            recording!("imitator"),
        ];
        for recording in recordings {
            recorded::assert_torn_frames_do_no_harm(&AnthropicMessages, recording);
        }
    }
}
