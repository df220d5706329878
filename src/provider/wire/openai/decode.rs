//! [`ResponsesDecoder`]: events of a Responses stream to deltas.
//!
//! The stream consists of output items, each with events of its own. Content that imitators do not stream is taken from
//! the item's end, or from the end of the whole response.

use serde_json::{Value, json};

use super::items::{Item, ItemKind, Items};
use super::string;
use crate::generation::{Delta, FinishReason, GenerationFailure};
use crate::provider::wire::reported_error::ReportedError;
use crate::provider::wire::typed_event::TypedEvent;
use crate::provider::wire::usage_counts::UsageCounts;
use crate::provider::{Decoder, Frame};
use crate::usage::UsageReport;

/// Decodes one answer.
#[derive(Default)]
pub(super) struct ResponsesDecoder {
    items: Items,
    /// The model refused; its words were passed on as text.
    is_refused: bool,
}

/// The extent of an event's text: a piece of a part's or all of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Piece,
    Whole,
}

impl Decoder for ResponsesDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        let Some(event) = TypedEvent::read(frame)? else { return Ok(Vec::new()) };
        Ok(match event.name() {
            "response.output_item.added" => self.item_added(&event).into_iter().collect(),
            "response.output_item.done" => {
                let output_index = event.number("/output_index");
                event.at("/item").map(|item| self.item_done(item, output_index)).unwrap_or_default()
            }
            "response.output_text.delta" => self.text(&event, "/delta", Extent::Piece),
            "response.output_text.done" => self.text(&event, "/text", Extent::Whole),
            "response.refusal.delta" => {
                self.is_refused = true;
                self.text(&event, "/delta", Extent::Piece)
            }
            "response.refusal.done" => {
                self.is_refused = true;
                self.text(&event, "/refusal", Extent::Whole)
            }
            "response.reasoning_summary_text.delta" => self.thinking(&event, "/summary_index"),
            "response.reasoning_text.delta" => self.thinking(&event, "/content_index"),
            "response.function_call_arguments.delta" => self.arguments(&event, "/delta", Extent::Piece),
            "response.function_call_arguments.done" => self.arguments(&event, "/arguments", Extent::Whole),
            "response.completed" | "response.incomplete" => self.end(&event),
            "response.failed" => {
                let response = event.at("/response").unwrap_or(event.value());
                return Err(ReportedError::from_value(response).into_failure());
            }
            "error" => return Err(ReportedError::from_value(event.value()).into_failure()),
            _ => Vec::new(),
        })
    }
}

impl ResponsesDecoder {
    fn item_added(&mut self, event: &TypedEvent) -> Option<Delta> {
        let item = event.at("/item")?;
        let kind = ItemKind::from_item(item)?;
        let entry = self.items.announced(kind, item, event.number("/output_index"))?;
        match kind {
            ItemKind::Call => call(entry, item),
            // Shows that it is at work; its end replaces this.
            ItemKind::Native => Some(Delta::Opaque { index: entry.index, block: item.clone() }),
            ItemKind::Message | ItemKind::Reasoning => None,
        }
    }

    /// Takes the content that did not stream from a whole item.
    fn item_done(&mut self, item: &Value, output_index: Option<u64>) -> Vec<Delta> {
        let Some(kind) = ItemKind::from_item(item) else { return Vec::new() };
        let entry = self.items.ended(kind, item, output_index);
        if std::mem::replace(&mut entry.is_done, true) {
            return Vec::new();
        }
        match kind {
            ItemKind::Message => {
                self.is_refused |= parts(item, "content").iter().any(|part| !string(part, "refusal").is_empty());
                rest_of_message(entry, item)
            }
            ItemKind::Reasoning => rest_of_reasoning(entry, item),
            ItemKind::Native => vec![Delta::Opaque { index: entry.index, block: item.clone() }],
            ItemKind::Call => {
                let json = string(item, "arguments").to_owned();
                let whole = (!json.is_empty()).then_some(Delta::ToolArgumentsWhole { index: entry.index, json });
                call(entry, item).into_iter().chain(whole).collect()
            }
        }
    }

    fn text(&mut self, event: &TypedEvent, pointer: &str, extent: Extent) -> Vec<Delta> {
        let text = event.text(pointer).to_owned();
        let entry = if text.is_empty() { None } else { self.items.meant_or_new(ItemKind::Message, event) };
        let Some(entry) = entry else { return Vec::new() };
        let is_new = entry.seen_parts.insert(event.number("/content_index").unwrap_or_default());
        if extent == Extent::Whole && !is_new { Vec::new() } else { vec![Delta::Text { index: entry.index, text }] }
    }

    /// Parts of a summary (or of open reasoning) are set apart by a blank line.
    fn thinking(&mut self, event: &TypedEvent, part: &str) -> Vec<Delta> {
        let piece = event.text("/delta");
        let entry = if piece.is_empty() { None } else { self.items.meant_or_new(ItemKind::Reasoning, event) };
        let Some(entry) = entry else { return Vec::new() };
        let is_first = entry.seen_parts.is_empty();
        let is_new = entry.seen_parts.insert(event.number(part).unwrap_or_default());
        let gap = if is_new && !is_first { "\n\n" } else { "" };
        vec![Delta::Thinking { index: entry.index, text: format!("{gap}{piece}") }]
    }

    /// Arguments of a call that was not announced come with its item's end.
    fn arguments(&mut self, event: &TypedEvent, pointer: &str, extent: Extent) -> Vec<Delta> {
        let json = event.text(pointer).to_owned();
        let entry = if json.is_empty() { None } else { self.items.meant_call(event) };
        match (entry, extent) {
            (None, _) => Vec::new(),
            (Some(entry), Extent::Piece) => vec![Delta::ToolArguments { index: entry.index, json }],
            (Some(entry), Extent::Whole) => vec![Delta::ToolArgumentsWhole { index: entry.index, json }],
        }
    }

    fn end(&mut self, event: &TypedEvent) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if self.items.have_no_content() {
            let output = event.at("/response").map(|response| parts(response, "output")).unwrap_or_default();
            for (number, item) in (0_u64..).zip(output) {
                deltas.extend(self.item_done(item, Some(number)));
            }
        }
        deltas.extend(usage(event.at("/response/usage")));
        deltas.push(Delta::Finish(self.finish(event)));
        deltas.push(Delta::End);
        deltas
    }

    fn finish(&self, event: &TypedEvent) -> FinishReason {
        let is_cut = event.name() == "response.incomplete" || event.text("/response/status") == "incomplete";
        match event.text("/response/incomplete_details/reason") {
            "max_output_tokens" | "max_tokens" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            "" if is_cut => FinishReason::Other("incomplete".to_owned()),
            "" if self.is_refused => FinishReason::ContentFilter,
            "" if self.items.have_call() => FinishReason::ToolCalls,
            "" => FinishReason::Stop,
            other => FinishReason::Other(other.to_owned()),
        }
    }
}

/// The call's id and tool, unless they are known already.
fn call(entry: &mut Item, item: &Value) -> Option<Delta> {
    let first = |texts: [&str; 3]| texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned();
    let id = first([string(item, "call_id"), &entry.call_id, string(item, "id")]);
    let name = first([string(item, "name"), &entry.tool_name, ""]);
    if entry.call_id == id && entry.tool_name == name {
        return None;
    }
    entry.call_id.clone_from(&id);
    entry.tool_name.clone_from(&name);
    Some(Delta::ToolCall { index: entry.index, id, name })
}

fn rest_of_message(entry: &mut Item, item: &Value) -> Vec<Delta> {
    let mut deltas = Vec::new();
    for (number, part) in (0_u64..).zip(parts(item, "content")) {
        let words = [string(part, "text"), string(part, "refusal")].into_iter().find(|text| !text.is_empty());
        if let Some(text) = words.filter(|_| entry.seen_parts.insert(number)) {
            deltas.push(Delta::Text { index: entry.index, text: text.to_owned() });
        }
    }
    // Kept beside the text, to go back with it.
    if let Some(phase) = item.get("phase").filter(|phase| phase.is_string()) {
        deltas.push(Delta::Opaque { index: entry.index, block: json!({"type": "message", "phase": phase}) });
    }
    deltas
}

/// The summary, or else the open content; and the whole item, when it has the encrypted content without which it
/// cannot be sent back.
fn rest_of_reasoning(entry: &mut Item, item: &Value) -> Vec<Delta> {
    let index = entry.index;
    let text_of = |key| parts(item, key).iter().map(|part| string(part, "text")).collect::<Vec<_>>().join("\n\n");
    let text = [text_of("summary"), text_of("content")].into_iter().find(|text| !text.is_empty());
    let text = text.filter(|_| entry.seen_parts.is_empty()).map(|text| Delta::Thinking { index, text });
    let is_portable = !string(item, "encrypted_content").is_empty();
    let block = is_portable.then(|| Delta::ThinkingOpaque { index, block: item.clone() });
    text.into_iter().chain(block).collect()
}

fn parts<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn usage(reported: Option<&Value>) -> Option<Delta> {
    let mut counts = UsageCounts::new(reported)?;
    let report = UsageReport {
        input: counts.get_unless_contradicted("/input_tokens", "/prompt_tokens"),
        output: counts.get_unless_contradicted("/output_tokens", "/completion_tokens"),
        reasoning: counts.get("/output_tokens_details/reasoning_tokens"),
        cached_input: counts.get("/input_tokens_details/cached_tokens"),
        cache_write_input: counts.get("/input_tokens_details/cache_write_tokens"),
        total: counts.get("/total_tokens"),
        ..UsageReport::default()
    };
    Some(Delta::Usage(counts.into_report(report)))
}

#[cfg(test)]
mod tests;
