//! [`ConverseDecoder`]: events of a Converse stream to deltas.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::failure;
use crate::generation::{Delta, FailureKind, FinishReason, GenerationFailure};
use crate::provider::failure::retryable;
use crate::provider::wire::typed_event::TypedEvent;
use crate::provider::wire::usage_counts::UsageCounts;
use crate::provider::{Decoder, Frame};
use crate::usage::UsageReport;

/// Decodes one answer. A part's index is its content block's.
#[derive(Default)]
pub(super) struct ConverseDecoder {
    blocks: BTreeMap<u64, Block>,
}

/// The state of a content block; text and reasoning need no start.
enum Block {
    /// A tool call.
    Call,
    /// Encrypted reasoning, as far as it has arrived.
    Redacted(Vec<u8>),
    /// A block that is not read (a tool of the provider's own, an image): deltas are skipped.
    Foreign,
}

impl Decoder for ConverseDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        if frame.is_failure {
            return Err(failure::of_frame(frame));
        }
        let Some(event) = TypedEvent::read(frame)? else { return Ok(Vec::new()) };
        Ok(match frame.event.as_deref().unwrap_or_default() {
            "contentBlockStart" => self.start(&event).into_iter().collect(),
            "contentBlockDelta" => self.delta(&event)?,
            "messageStop" => vec![Delta::Finish(finish(event.text("/stopReason"))?)],
            // The last event.
            "metadata" => event.at("/usage").and_then(usage).into_iter().chain([Delta::End]).collect(),
            _ => Vec::new(),
        })
    }
}

impl ConverseDecoder {
    fn start(&mut self, event: &TypedEvent) -> Option<Delta> {
        let index = event.number("/contentBlockIndex").unwrap_or_default();
        event.at("/start").and_then(Value::as_object).filter(|start| !start.is_empty())?;
        let call = event.at("/start/toolUse").filter(|_| event.at("/start/toolUse/type").is_none());
        self.blocks.insert(index, if call.is_some() { Block::Call } else { Block::Foreign });
        let id = event.text("/start/toolUse/toolUseId").to_owned();
        let name = event.text("/start/toolUse/name").to_owned();
        call.map(|_| Delta::ToolCall { index, id, name })
    }

    fn delta(&mut self, event: &TypedEvent) -> Result<Vec<Delta>, GenerationFailure> {
        let index = event.number("/contentBlockIndex").unwrap_or_default();
        let piece = |pointer| Some(event.text(pointer).to_owned()).filter(|text| !text.is_empty());
        match self.blocks.get(&index) {
            Some(Block::Foreign) => return Ok(Vec::new()),
            Some(Block::Call) => {
                let json = piece("/delta/toolUse/input");
                return Ok(json.map(|json| Delta::ToolArguments { index, json }).into_iter().collect());
            }
            Some(Block::Redacted(_)) | None => {}
        }
        let text = piece("/delta/text").map(|text| Delta::Text { index, text });
        let thinking = piece("/delta/reasoningContent/text").map(|text| Delta::Thinking { index, text });
        let signature = piece("/delta/reasoningContent/signature");
        let signature = signature.map(|signature| Delta::ThinkingSignature { index, signature });
        let redacted = piece("/delta/reasoningContent/redactedContent");
        let redacted = redacted.map(|piece| self.redacted(index, &piece)).transpose()?;
        Ok([text, thinking, signature, redacted].into_iter().flatten().collect())
    }

    /// Takes the next piece of encrypted reasoning. Bytes in base64 cannot be joined as text.
    fn redacted(&mut self, index: u64, piece: &str) -> Result<Delta, GenerationFailure> {
        let piece = STANDARD.decode(piece).map_err(|error| {
            let message = format!("the provider's stream is damaged: redacted reasoning is no base64 ({error})");
            retryable(FailureKind::Malformed, message)
        })?;
        let block = self.blocks.entry(index).or_insert(Block::Redacted(Vec::new()));
        if let Block::Redacted(bytes) = block {
            bytes.extend(piece);
            return Ok(Delta::ThinkingOpaque { index, block: json!({"redactedContent": STANDARD.encode(bytes)}) });
        }
        Ok(Delta::ThinkingOpaque { index, block: json!({"redactedContent": STANDARD.encode(piece)}) })
    }
}

/// The reason why the model stopped.
///
/// # Errors
/// A retryable failure when the model wrote something that Bedrock could not read: there is nothing to continue with, and
/// the next answer may be whole.
fn finish(stop_reason: &str) -> Result<FinishReason, GenerationFailure> {
    Ok(match stop_reason {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextWindow,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        "malformed_model_output" | "malformed_tool_use" => {
            let message = format!("the provider could not read the model's output ({stop_reason})");
            return Err(retryable(FailureKind::Malformed, message));
        }
        other => FinishReason::Other(other.to_owned()),
    })
}

/// `inputTokens` are those that were neither read from the cache nor written to it.
fn usage(reported: &Value) -> Option<Delta> {
    let mut counts = UsageCounts::new(Some(reported))?;
    let report = UsageReport {
        input: counts.get("/inputTokens"),
        output: counts.get("/outputTokens"),
        cached_input: counts.get("/cacheReadInputTokens"),
        cache_write_input: counts.get("/cacheWriteInputTokens"),
        total: counts.get("/totalTokens"),
        has_cache_beside: true,
        ..UsageReport::default()
    };
    Some(Delta::Usage(counts.into_report(report)))
}

#[cfg(test)]
mod tests;
