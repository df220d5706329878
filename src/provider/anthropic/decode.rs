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
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::ContentFilter,
        "pause_turn" => FinishReason::Pause,
        other => FinishReason::Other(other.to_owned()),
    }
}
