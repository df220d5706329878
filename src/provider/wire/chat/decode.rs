//! [`ChatCompletionsDecoder`]: a Chat Completions stream to deltas.

mod calls;
mod prose;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use calls::StreamedCalls;
use prose::{Prose, prose};

use super::attached;

use crate::generation::{Delta, FailureKind, FinishReason, GenerationFailure};
use crate::provider::wire::reported_error::ReportedError;
use crate::provider::wire::typed_event::at;
use crate::provider::wire::usage_counts::UsageCounts;
use crate::provider::{Decoder, Frame, failure};
use crate::usage::UsageReport;

/// The end mark of a stream; it is not JSON.
const DONE_MARK: &str = "[DONE]";

/// The protocol numbers calls only; reasoning and text are one part each.
const THINKING_INDEX: u64 = 0;
const TEXT_INDEX: u64 = 1;
/// The index of fields attached to the message, among thinking parts.
const ATTACHED_INDEX: u64 = 1;

/// The names of the field for reasoning.
const REASONING_FIELDS: [&str; 4] = ["reasoning_content", "reasoning", "reasoning_text", "thinking"];

/// Turns one stream's frames into deltas.
#[derive(Debug, Default)]
pub(super) struct ChatCompletionsDecoder {
    calls: StreamedCalls,
    /// Fields of the message that its server wants back.
    attached: Map<String, Value>,
    /// A piece of the answer has come.
    has_begun: bool,
}

impl Decoder for ChatCompletionsDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        let data = frame.data.trim();
        if data.is_empty() {
            return Ok(Vec::new());
        }
        if data == DONE_MARK {
            return Ok(vec![Delta::End]);
        }
        let chunk: Value = serde_json::from_str(data).map_err(|error| malformed(&format!("no JSON: {error}")))?;
        if is_error(&chunk, frame) {
            return Err(ReportedError::from_value(&chunk).into_failure());
        }
        let mut deltas = Vec::new();
        if let Some(choice) = at(&chunk, "/choices/0") {
            self.choice(choice, &mut deltas)?;
        }
        deltas.extend(usage(&chunk));
        self.has_begun |= !deltas.is_empty();
        Ok(deltas)
    }
}

impl ChatCompletionsDecoder {
    fn choice(&mut self, choice: &Value, deltas: &mut Vec<Delta>) -> Result<(), GenerationFailure> {
        // Some servers answer in one event, with the message of an answer that is no stream; others add it at the end.
        let whole = choice.get("message").filter(|_| !self.has_begun);
        let delta = choice.get("delta").filter(|delta| delta.is_object()).or(whole).unwrap_or(&Value::Null);
        // DeepSeek's name for reasoning, and those of newer servers. Those that send several send the same in each.
        let reasoning = REASONING_FIELDS.iter().filter_map(|key| delta.get(*key));
        if let Some(text) = reasoning.map(prose).map(Prose::whole).find(|text| !text.is_empty()) {
            deltas.push(Delta::Thinking { index: THINKING_INDEX, text });
        }
        for key in ["content", "refusal"] {
            let Prose { thinking, text } = delta.get(key).map(prose).unwrap_or_default();
            if !thinking.is_empty() {
                deltas.push(Delta::Thinking { index: THINKING_INDEX, text: thinking });
            }
            if !text.is_empty() {
                deltas.push(Delta::Text { index: TEXT_INDEX, text });
            }
        }
        let mut is_attached = attached::collect(&mut self.attached, delta, &attached::OF_MESSAGE);
        is_attached |= self.calls.read(delta, deltas)?;
        if is_attached {
            let block = attached::block(&self.attached, self.calls.attached());
            deltas.push(Delta::ThinkingOpaque { index: ATTACHED_INDEX, block });
        }
        if let Some(error) = choice.get("error").filter(|error| error.is_object()) {
            return Err(ReportedError::from_value(error).into_failure());
        }
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
            deltas.push(Delta::Finish(finish(reason)?));
        }
        Ok(())
    }
}

/// An error comes as `{"error": ..}`, as a bare object with a message and without choices, or as an event of that name.
fn is_error(chunk: &Value, frame: &Frame) -> bool {
    let has_error = chunk.get("error").is_some_and(|error| !error.is_null());
    let is_error_object = chunk.get("object").and_then(Value::as_str) == Some("error");
    let is_text = |key: &str| chunk.get(key).is_some_and(Value::is_string);
    let is_bare = chunk.get("choices").is_none() && (is_text("message") || is_text("detail"));
    has_error || is_error_object || is_bare || frame.event.as_deref() == Some("error")
}

/// The reason to stop. Imitators use the words of other protocols and engines.
fn finish(reason: &str) -> Result<FinishReason, GenerationFailure> {
    Ok(match reason.to_ascii_lowercase().as_str() {
        "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" | "complete" | "completed" => FinishReason::Stop,
        "tool_calls" | "tool_call" | "tool_use" | "function_call" | "function_calls" => FinishReason::ToolCalls,
        "length" | "max_tokens" | "max_output_tokens" | "max_length" | "model_length" => FinishReason::Length,
        "content_filter" | "content_filtered" | "safety" | "sensitive" => FinishReason::ContentFilter,
        // DeepSeek's reason for an answer that was broken off because it lacked machines.
        "insufficient_system_resource" => {
            let message = "the provider broke the answer off: insufficient system resource";
            return Err(failure::retryable(FailureKind::Provider, message));
        }
        // The answer so far is half a text: vLLM and SGLang abort it, gateways end it by an error of their upstream.
        "abort" | "aborted" | "error" | "cancelled" | "canceled" | "network_error" | "engine_error" | "failed"
        | "timeout" => {
            let message = format!("the provider broke the answer off (it ended with {reason:?})");
            return Err(failure::retryable(FailureKind::Connection, message));
        }
        _ => FinishReason::Other(reason.to_owned()),
    })
}

/// The places of usage: the protocol's, Groq's, Moonshot's.
const USAGE_PLACES: [&str; 4] = ["/usage", "/x_groq/usage", "/choices/0/usage", "/choices/0/delta/usage"];

/// Usage comes in a last chunk without choices, in every chunk, or not at all.
fn usage(chunk: &Value) -> Option<Delta> {
    let reported = USAGE_PLACES.iter().filter_map(|place| at(chunk, place)).find(|usage| !usage.is_null());
    let mut counts = UsageCounts::new(reported)?;
    let report = UsageReport {
        input: counts.get_unless_contradicted("/prompt_tokens", "/input_tokens"),
        output: counts.get_unless_contradicted("/completion_tokens", "/output_tokens"),
        reasoning: counts.get("/completion_tokens_details/reasoning_tokens"),
        // OpenAI's name, DeepSeek's, Moonshot's; a server that has two of them means one thing.
        cached_input: counts.largest(&[
            "/prompt_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
            "/cached_tokens",
        ]),
        // OpenRouter's, for models that charge for writing.
        cache_write_input: counts.get("/prompt_tokens_details/cache_write_tokens"),
        total: counts.get("/total_tokens"),
        ..UsageReport::default()
    };
    Some(Delta::Usage(counts.into_report(report)))
}

fn malformed(problem: &str) -> GenerationFailure {
    failure::retryable(FailureKind::Malformed, format!("the provider's stream is damaged: a chunk has {problem}"))
}
