//! [`GeminiDecoder`]: chunks of a Gemini stream to deltas.
//!
//! Each chunk is a response of its own: parts of the one candidate, counts so far, in the end a reason. There is no end
//! mark: the stream just ends. Sources that an answer rests on (`groundingMetadata`) are not part of the conversation
//! and are ignored.

use serde_json::Value;

use super::error;
use super::layout::{ContentLayout, LayoutPart};
use crate::generation::{Delta, FailureKind, FinishReason, GenerationFailure};
use crate::provider::wire::typed_event::at;
use crate::provider::wire::usage_counts::UsageCounts;
use crate::provider::{Decoder, Frame, failure};
use crate::usage::UsageReport;

/// The end mark that gateways add to streams; it is not JSON.
const DONE_MARK: &str = "[DONE]";

/// The layout's index among thinking parts; the others count from 0.
const LAYOUT_INDEX: u64 = u64::MAX;

/// Parts that Google makes for itself, to be sent back unchanged.
const OWN_PARTS: [&str; 4] = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"];

/// Decodes one answer.
#[derive(Debug, Default)]
pub(super) struct GeminiDecoder {
    layout: ContentLayout,
    /// The next part's index.
    next: u64,
    /// The text or thought that may go on.
    open: Option<(Prose, u64)>,
    has_finished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prose {
    Thought,
    Text,
}

impl Decoder for GeminiDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        let data = frame.data.trim();
        if data.is_empty() || data == DONE_MARK {
            return Ok(Vec::new());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|error| malformed(&format!("no JSON: {error}")))?;
        if let Some(failure) = error::from_frame(&chunk) {
            return Err(failure);
        }
        if !chunk.is_object() {
            return Err(malformed("no object"));
        }
        let candidate = at(&chunk, "/candidates/0");
        if let (None, Some(failure)) = (candidate, blocked(&chunk)) {
            return Err(failure);
        }
        let mut deltas = Vec::new();
        let parts = candidate.and_then(|candidate| at(candidate, "/content/parts")).and_then(Value::as_array);
        for part in parts.into_iter().flatten() {
            self.part(part, &mut deltas);
        }
        let reason = candidate.and_then(finish).transpose()?;
        self.has_finished |= reason.is_some();
        // Some servers send the reason in every chunk: the last layout counts.
        if self.has_finished && self.layout.is_needed() {
            let block = self.layout.to_block();
            deltas.extend(block.map(|block| Delta::ThinkingOpaque { index: LAYOUT_INDEX, block }));
        }
        deltas.extend(usage(&chunk));
        deltas.extend(reason.map(Delta::Finish));
        Ok(deltas)
    }
}

impl GeminiDecoder {
    fn part(&mut self, part: &Value, deltas: &mut Vec<Delta>) {
        let signature = string(part, "thoughtSignature").filter(|text| !text.is_empty()).map(str::to_owned);
        if let Some(call) = part.get("functionCall").filter(|call| call.is_object()) {
            return self.call(call, signature, deltas);
        }
        if OWN_PARTS.iter().any(|key| part.get(key).is_some()) {
            self.open = None;
            // The signature stays within the part.
            return self.layout.push(LayoutPart::Part(part.clone()), None);
        }
        if let Some(media) = part.get("inlineData").or_else(|| part.get("fileData")) {
            let mime_type = string(media, "mimeType").unwrap_or("unknown");
            let note = format!("[the model gave a file of type {mime_type}, which was left out]");
            self.open = None;
            self.prose(Prose::Text, &note, None, deltas);
            self.open = None;
            return;
        }
        let is_thought = part.get("thought").and_then(Value::as_bool).unwrap_or_default();
        let kind = if is_thought { Prose::Thought } else { Prose::Text };
        self.prose(kind, string(part, "text").unwrap_or_default(), signature, deltas);
    }

    /// Text and thoughts come in pieces; a signature makes a piece a part of its own when it is sent back, and no
    /// boundary for those who read it.
    fn prose(&mut self, kind: Prose, text: &str, signature: Option<String>, deltas: &mut Vec<Delta>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let part = if kind == Prose::Thought { LayoutPart::Thought(text.len()) } else { LayoutPart::Text(text.len()) };
        self.layout.push(part, signature);
        if text.is_empty() {
            return;
        }
        let index = match self.open {
            Some((open, index)) if open == kind => index,
            _ => self.new_index(),
        };
        self.open = Some((kind, index));
        let text = text.to_owned();
        deltas.push(match kind {
            Prose::Thought => Delta::Thinking { index, text },
            Prose::Text => Delta::Text { index, text },
        });
    }

    /// A call comes whole.
    fn call(&mut self, call: &Value, signature: Option<String>, deltas: &mut Vec<Delta>) {
        let name = string(call, "name").unwrap_or_default().to_owned();
        let id = string(call, "id").filter(|id| !id.is_empty()).map(str::to_owned);
        let index = self.new_index();
        self.open = None;
        self.layout.push(LayoutPart::Call { name: name.clone(), id: id.clone() }, signature);
        let arguments = call.get("args").filter(|args| !args.is_null());
        let json = arguments.map_or_else(|| "{}".to_owned(), Value::to_string);
        deltas.push(Delta::ToolCall { index, id: id.unwrap_or_default(), name });
        deltas.push(Delta::ToolArgumentsWhole { index, json });
    }

    fn new_index(&mut self) -> u64 {
        let index = self.next;
        self.next = self.next.saturating_add(1);
        index
    }
}

/// The failure for a prompt that the filter refused. A retry of the same prompt is of no use.
fn blocked(chunk: &Value) -> Option<GenerationFailure> {
    let feedback = chunk.get("promptFeedback")?;
    let reason = string(feedback, "blockReason")?;
    let message = match string(feedback, "blockReasonMessage").filter(|message| !message.is_empty()) {
        Some(message) => format!("Google's filter refused the prompt ({reason}): {message}"),
        None => format!("Google's filter refused the prompt: {reason}"),
    };
    Some(failure::lasting(FailureKind::InvalidRequest, message))
}

/// The reason to stop, or the failure that it is.
fn finish(candidate: &Value) -> Option<Result<FinishReason, GenerationFailure>> {
    let reason = string(candidate, "finishReason").filter(|reason| !reason.is_empty())?;
    let because = match string(candidate, "finishMessage").filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    };
    Some(match reason {
        "STOP" => Ok(FinishReason::Stop),
        // `CONTINUATION`: the service would continue on request, but this answer ends here.
        "MAX_TOKENS" | "CONTINUATION" => Ok(FinishReason::Length),
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "ESCALATION"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Ok(FinishReason::ContentFilter),
        // The model's output was not a call, or a call of no known tool; the next attempt gives another.
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" => {
            Err(failure::retryable(FailureKind::Malformed, format!("the model's answer could not be read ({because})")))
        }
        "MISSING_THOUGHT_SIGNATURE" => {
            Err(failure::lasting(FailureKind::InvalidRequest, format!("Google refused the conversation ({because})")))
        }
        "PUP_LIMITED_DISABLED" => {
            Err(failure::lasting(FailureKind::Authentication, format!("Google limits this account ({because})")))
        }
        other => Ok(FinishReason::Other(other.to_owned())),
    })
}

/// Counts so far. Google counts thoughts beside the answer (`candidates`), and the input of its own tools beside the
/// prompt; here `output_tokens` includes the thoughts and `input_tokens` the tools' results, as both are paid for.
fn usage(chunk: &Value) -> Option<Delta> {
    let mut counts = UsageCounts::new(chunk.get("usageMetadata"))?;
    let prompt = counts.get("/promptTokenCount");
    let tools = counts.get("/toolUsePromptTokenCount").unwrap_or(0);
    let reasoning = counts.get("/thoughtsTokenCount");
    // Absent until the answer has begun, and in one that consists of thoughts alone.
    let answer = counts.get("/candidatesTokenCount");
    let output = answer.or(reasoning).map(|_| answer.unwrap_or(0).saturating_add(reasoning.unwrap_or(0)));
    let report = UsageReport {
        input: prompt.map(|prompt| prompt.saturating_add(tools)),
        output,
        reasoning,
        cached_input: counts.get("/cachedContentTokenCount"),
        total: counts.get("/totalTokenCount"),
        // The results of Google's own tools do not stay in the conversation.
        passing_input: tools,
        ..UsageReport::default()
    };
    Some(Delta::Usage(counts.into_report(report)))
}

fn string<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn malformed(problem: &str) -> GenerationFailure {
    failure::retryable(FailureKind::Malformed, format!("the provider's stream is damaged: a chunk is {problem}"))
}

#[cfg(test)]
mod tests;
