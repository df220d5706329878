//! [`ChatCompletionsDecoder`]: a Chat Completions stream to deltas.

mod prose;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use prose::{Prose, prose};

use super::attached;

use crate::generation::{Delta, FailureKind, FinishReason, GenerationFailure};
use crate::provider::wire::reported_error::ReportedError;
use crate::provider::wire::usage_counts::UsageCounts;
use crate::provider::{Decoder, Frame, failure};
use crate::usage::UsageReport;

/// The end mark of a stream; it is not JSON.
const DONE_MARK: &str = "[DONE]";

/// The protocol numbers calls only; reasoning and text are one part each.
const THINKING_INDEX: u64 = 0;
const TEXT_INDEX: u64 = 1;
const FIRST_CALL_INDEX: u64 = 2;
/// The index of fields attached to the message, among thinking parts.
const ATTACHED_INDEX: u64 = 1;

/// The names of the field for reasoning.
const REASONING_FIELDS: [&str; 4] = ["reasoning_content", "reasoning", "reasoning_text", "thinking"];

/// Most calls in one answer; models make a handful, and each chunk is looked up among them.
const CALL_LIMIT: usize = 1024;

/// Turns one stream's frames into deltas.
#[derive(Debug, Default)]
pub(super) struct ChatCompletionsDecoder {
    /// In order of first appearance.
    calls: Vec<Call>,
    /// Fields of the message that its server wants back.
    attached: Map<String, Value>,
}

/// A call, as far as it has arrived.
#[derive(Debug)]
struct Call {
    /// The server's number for it, when it gave one.
    number: Option<u64>,
    id: String,
    name: String,
    /// The JSON of its arguments so far.
    arguments: String,
    /// Fields of the call that its server wants back.
    attached: Map<String, Value>,
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
        if let Some(choice) = chunk.pointer("/choices/0") {
            self.choice(choice, &mut deltas)?;
        }
        deltas.extend(usage(&chunk));
        Ok(deltas)
    }
}

impl ChatCompletionsDecoder {
    fn choice(&mut self, choice: &Value, deltas: &mut Vec<Delta>) -> Result<(), GenerationFailure> {
        let delta = choice.get("delta").unwrap_or(&Value::Null);
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
        for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            is_attached |= self.call(call, deltas)?;
        }
        if is_attached {
            let block = attached::block(&self.attached, self.calls.iter().map(|call| &call.attached));
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

    /// Reads a piece of a call; true when the server attached a field to it.
    fn call(&mut self, chunk: &Value, deltas: &mut Vec<Delta>) -> Result<bool, GenerationFailure> {
        let text = |pointer: &str| chunk.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let piece = Piece {
            number: chunk.get("index").and_then(Value::as_u64),
            id: text("/id"),
            name: text("/function/name"),
            arguments: text("/function/arguments"),
        };
        let at = self.position(&piece);
        let index = FIRST_CALL_INDEX.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        let Some(call) = self.calls.get_mut(at).filter(|_| at < CALL_LIMIT) else {
            return Err(malformed(&format!("more than {CALL_LIMIT} calls")));
        };
        // Some servers repeat id and name in every chunk: they are assigned, never appended.
        let is_new = call.id.is_empty() && call.name.is_empty();
        let before = (call.id.clone(), call.name.clone());
        if !piece.id.is_empty() && (call.id.is_empty() || !piece.name.is_empty()) {
            piece.id.clone_into(&mut call.id);
        }
        if !piece.name.is_empty() {
            piece.name.clone_into(&mut call.name);
        }
        if is_new || before != (call.id.clone(), call.name.clone()) {
            deltas.push(Delta::ToolCall { index, id: call.id.clone(), name: call.name.clone() });
        }
        match chunk.pointer("/function/arguments") {
            // Some servers send all of the arguments once more at the end.
            Some(Value::String(json)) if call.is_complete() && json.trim() == call.arguments.trim() => {}
            Some(Value::String(json)) if !json.is_empty() => {
                call.arguments.push_str(json);
                deltas.push(Delta::ToolArguments { index, json: json.clone() });
            }
            // Some servers send the arguments as an object, not as its text.
            Some(whole @ Value::Object(_)) => {
                call.arguments = whole.to_string();
                deltas.push(Delta::ToolArgumentsWhole { index, json: whole.to_string() });
            }
            _ => {}
        }
        Ok(attached::collect(&mut call.attached, chunk, &attached::OF_CALL))
    }

    /// The place of the call that a piece belongs to; a new call gets a new place.
    ///
    /// The number identifies it, unless the piece begins another call under the same number (some servers number all
    /// calls 0). Without a number the id does, and without either it is the last call.
    fn position(&mut self, piece: &Piece<'_>) -> usize {
        let Piece { number, id, name, .. } = *piece;
        let found = match number {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.number == number)
                .filter(|at| !self.calls.get(*at).is_some_and(|call| call.is_ended_by(piece))),
            None if id.is_empty() && name.is_empty() => self.calls.len().checked_sub(1),
            None if id.is_empty() => None,
            None => self.calls.iter().rposition(|call| call.id == id),
        };
        found.unwrap_or_else(|| {
            self.calls.push(Call {
                number,
                id: String::new(),
                name: String::new(),
                arguments: String::new(),
                attached: Map::new(),
            });
            self.calls.len() - 1
        })
    }
}

/// A chunk's part of a call. Missing texts are empty.
struct Piece<'a> {
    number: Option<u64>,
    id: &'a str,
    name: &'a str,
    arguments: &'a str,
}

impl Call {
    /// Returns true when `piece`, which has the same number, begins another call: it has another id, or, where ids are
    /// missing, another name, or arguments of its own behind complete ones.
    fn is_ended_by(&self, piece: &Piece<'_>) -> bool {
        if piece.name.is_empty() || self.name.is_empty() {
            return false;
        }
        if !piece.id.is_empty() && !self.id.is_empty() {
            return piece.id != self.id;
        }
        piece.name != self.name || (!piece.arguments.trim().is_empty() && self.is_complete())
    }

    /// Returns true when the arguments are a whole JSON object.
    fn is_complete(&self) -> bool {
        self.arguments.trim_end().ends_with('}')
            && serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok()
    }
}

/// An error comes as `{"error": ..}`, as a bare object without choices, or as an event of that name.
fn is_error(chunk: &Value, frame: &Frame) -> bool {
    let has_error = chunk.get("error").is_some_and(|error| !error.is_null());
    let is_error_object = chunk.get("object").and_then(Value::as_str) == Some("error");
    has_error || is_error_object || frame.event.as_deref() == Some("error")
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

/// Usage comes in a last chunk without choices, in every chunk, or not at all.
fn usage(chunk: &Value) -> Option<Delta> {
    let mut counts = UsageCounts::new(chunk.get("usage"))?;
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
