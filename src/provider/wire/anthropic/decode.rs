//! [`MessagesDecoder`]: events of a Messages stream to deltas.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::block::is_of_type;
use super::native::{CONTAINER, is_native};
use crate::generation::{Delta, FinishReason, GenerationFailure};
use crate::provider::wire::reported_error::ReportedError;
use crate::provider::wire::typed_event::TypedEvent;
use crate::provider::wire::usage_counts::UsageCounts;
use crate::provider::{Decoder, Frame};
use crate::usage::UsageReport;

/// The indices of data beside the content blocks: the container, and the reason for a refusal.
const CONTAINER_INDEX: u64 = u64::MAX;
const REFUSAL_INDEX: u64 = u64::MAX - 1;

/// Decodes one answer. A part's index is its content block's; that of a text is the index of the first of the texts
/// that follow one upon the other, since a text with citations comes in one block per citation.
#[derive(Default)]
pub(super) struct MessagesDecoder {
    blocks: BTreeMap<u64, Block>,
    /// The index of the text under way, if the last block was text.
    text: Option<u64>,
    /// The citations of the text under way.
    citations: Vec<Value>,
}

/// The state of a content block that has started.
enum Block {
    /// Thinking, or a block that was not announced.
    Prose,
    /// A tool call. `is_whole` while its arguments are those it started with, as some imitators send them.
    Call { is_whole: bool },
    /// Text, with the index of its part.
    Text(u64),
    /// A block of the provider's own: a call of a tool that it runs, with its input as far as it has arrived, or a
    /// result.
    Native { block: Value, input: String },
    /// Complete from its start (redacted thinking), or unknown: deltas are skipped.
    Closed,
}

impl Decoder for MessagesDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        let Some(event) = TypedEvent::read(frame)? else { return Ok(Vec::new()) };
        Ok(match event.name() {
            "message_start" => {
                let container = container(event.at("/message/container"));
                usage(event.at("/message/usage"), true).into_iter().chain(container).collect()
            }
            "content_block_start" => self.start(&event),
            "content_block_delta" => self.delta(&event).into_iter().collect(),
            "content_block_stop" => self.stop(&event).into_iter().collect(),
            "message_delta" => {
                let beside = [container(event.at("/delta/container")), refusal(event.at("/delta/stop_details"))];
                let usage = usage(event.at("/usage"), false);
                let stop = event.at("/delta/stop_reason").and_then(Value::as_str).map(finish);
                beside.into_iter().flatten().chain(usage).chain(stop.map(Delta::Finish)).collect()
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
        let kind = event.text("/content_block/type");
        if kind != "text" {
            self.text = None;
            self.citations.clear();
        }
        let block = match kind {
            "text" => {
                let first = *self.text.get_or_insert(index);
                deltas.extend(text(first, event.text("/content_block/text")));
                Block::Text(first)
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
            "" => Block::Prose,
            native if is_native(native) => {
                let block = event.at("/content_block").cloned().unwrap_or_default();
                deltas.push(Delta::Opaque { index, block: block.clone() });
                Block::Native { block, input: String::new() }
            }
            _ => Block::Closed,
        };
        self.blocks.insert(index, block);
        deltas
    }

    /// Text and thinking are accepted without a start, too; arguments must belong to a call.
    fn delta(&mut self, event: &TypedEvent) -> Option<Delta> {
        let index = event.number("/index").unwrap_or_default();
        let block = self.blocks.entry(index).or_insert(Block::Prose);
        match (event.text("/delta/type"), block) {
            ("text_delta", Block::Text(first)) => text(*first, event.text("/delta/text")),
            ("text_delta", Block::Prose) => text(index, event.text("/delta/text")),
            ("citations_delta", Block::Text(_)) => {
                // Other kinds point into documents, for which citations are not requested.
                let of_search = |citation: &&Value| is_of_type(citation, &["web_search_result_location"]);
                self.citations.extend(event.at("/delta/citation").filter(of_search).cloned());
                None
            }
            ("input_json_delta", Block::Native { input, .. }) => {
                input.push_str(event.text("/delta/partial_json"));
                None
            }
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

    /// The delta for data that is whole only at a block's end: the input of a provider's tool, the citations of a text.
    fn stop(&mut self, event: &TypedEvent) -> Option<Delta> {
        let index = event.number("/index").unwrap_or_default();
        match self.blocks.get_mut(&index)? {
            Block::Native { block: Value::Object(block), input } if !input.is_empty() => {
                let input = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
                block.insert("input".into(), input);
                Some(Delta::Opaque { index, block: Value::Object(block.clone()) })
            }
            Block::Text(first) if !self.citations.is_empty() => {
                Some(Delta::Opaque { index: *first, block: json!({"type": "text", "citations": self.citations}) })
            }
            _ => None,
        }
    }
}

/// The counts of an event; `None` when it has none. `is_start`: the answer has only begun.
fn usage(reported: Option<&Value>, is_start: bool) -> Option<Delta> {
    let mut counts = UsageCounts::new(reported)?;
    let report = UsageReport {
        input: counts.get_unless_contradicted("/input_tokens", "/prompt_tokens"),
        output: counts.get_unless_contradicted("/output_tokens", "/completion_tokens"),
        reasoning: counts.get("/output_tokens_details/thinking_tokens"),
        cached_input: counts.get("/cache_read_input_tokens"),
        cache_write_input: counts.get("/cache_creation_input_tokens"),
        has_cache_beside: true,
        is_early: is_start,
        ..UsageReport::default()
    };
    Some(Delta::Usage(counts.into_report(report)))
}

/// The container that tools work in, for the next request.
fn container(value: Option<&Value>) -> Option<Delta> {
    let container = value.filter(|value| value.is_object())?;
    let block = json!({"type": CONTAINER, "id": container.get("id"), "expires_at": container.get("expires_at")});
    Some(Delta::Opaque { index: CONTAINER_INDEX, block })
}

/// The reason for the model's refusal, if there is one.
fn refusal(details: Option<&Value>) -> Option<Delta> {
    let block = details.filter(|details| is_of_type(details, &["refusal"]))?;
    Some(Delta::Opaque { index: REFUSAL_INDEX, block: block.clone() })
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
mod tests;
