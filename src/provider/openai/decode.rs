//! Events of a Responses stream to deltas.
//!
//! The stream tells of output items, each with events of its own. Servers that imitate the protocol leave out ids,
//! indices or whole kinds of events and tell items twice, so that an item is looked for by all that an event says of
//! it, and what did not stream is taken from the item's end, or from the end of the whole response.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::generation::{Delta, FinishReason, GenerationFailure};
use crate::provider::reported_error::ReportedError;
use crate::provider::typed_event::TypedEvent;
use crate::provider::{Decoder, Frame};
use crate::usage::Usage;

/// Decodes one answer. A part's index is its item's place in the order of appearance: imitators number every item 0.
#[derive(Default)]
pub(super) struct ResponsesDecoder {
    items: Vec<Item>,
    /// The model refused, in words that went out as text.
    is_refused: bool,
}

/// The kinds of items that are ours; others (a server's own tools) are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Reasoning,
    Call,
}

impl Kind {
    fn of(item: &Value) -> Option<Self> {
        match item.get("type")?.as_str()? {
            "message" => Some(Self::Message),
            "reasoning" => Some(Self::Reasoning),
            "function_call" => Some(Self::Call),
            _ => None,
        }
    }
}

/// An item of the output, as far as it was told.
struct Item {
    kind: Kind,
    /// The item's id, empty when not told.
    id: String,
    output_index: Option<u64>,
    /// A call's own id and its tool.
    call: (String, String),
    /// The content or summary parts that streamed.
    told_parts: BTreeSet<u64>,
    /// All was told: what comes after is a repetition.
    is_done: bool,
}

impl Decoder for ResponsesDecoder {
    fn frame(&mut self, frame: &Frame) -> Result<Vec<Delta>, GenerationFailure> {
        let Some(event) = TypedEvent::read(frame)? else { return Ok(Vec::new()) };
        let output_index = event.number("/output_index");
        Ok(match event.name() {
            "response.output_item.added" => self.item_added(&event, output_index),
            "response.output_item.done" => {
                event.at("/item").map(|item| self.item_done(item, output_index)).unwrap_or_default()
            }
            "response.output_text.delta" => self.text(&event, "/delta", Part::Piece),
            "response.output_text.done" => self.text(&event, "/text", Part::Whole),
            "response.refusal.delta" => {
                self.is_refused = true;
                self.text(&event, "/delta", Part::Piece)
            }
            "response.refusal.done" => {
                self.is_refused = true;
                self.text(&event, "/refusal", Part::Whole)
            }
            "response.reasoning_summary_text.delta" => self.thinking(&event, "/summary_index"),
            "response.reasoning_text.delta" => self.thinking(&event, "/content_index"),
            "response.function_call_arguments.delta" => self.arguments_piece(&event),
            "response.function_call_arguments.done" => self.arguments_whole(&event),
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

/// Whether an event has a piece of a part's text or all of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Piece,
    Whole,
}

impl ResponsesDecoder {
    fn item_added(&mut self, event: &TypedEvent, output_index: Option<u64>) -> Vec<Delta> {
        let Some(item) = event.at("/item") else { return Vec::new() };
        let Some(kind) = Kind::of(item) else { return Vec::new() };
        // The same output index is no sign of the same item here: see the type's documentation.
        if self.named(kind, string(item, "id"), string(item, "call_id")).is_some() {
            return Vec::new();
        }
        let place = self.open(kind, string(item, "id"), output_index);
        if kind == Kind::Call { self.tell_call(place, item).into_iter().collect() } else { Vec::new() }
    }

    /// Takes from a complete item what did not stream.
    fn item_done(&mut self, item: &Value, output_index: Option<u64>) -> Vec<Delta> {
        let Some(kind) = Kind::of(item) else { return Vec::new() };
        let (id, call_id) = (string(item, "id"), string(item, "call_id"));
        let known = self.named(kind, id, call_id).or_else(|| self.unfinished(kind, id, call_id, output_index));
        let place = known.unwrap_or_else(|| self.open(kind, id, output_index));
        let Some(entry) = self.items.get_mut(place) else { return Vec::new() };
        if std::mem::replace(&mut entry.is_done, true) {
            return Vec::new();
        }
        let index = wire_index(place);
        match kind {
            Kind::Message => self.message_rest(place, item),
            Kind::Reasoning => {
                let text = if entry.told_parts.is_empty() { readable(item) } else { String::new() };
                let text = (!text.is_empty()).then_some(Delta::Thinking { index, text });
                // Without its encrypted content a reasoning item cannot be sent back.
                let is_portable = !string(item, "encrypted_content").is_empty();
                let block = is_portable.then(|| Delta::ThinkingOpaque { index, block: item.clone() });
                text.into_iter().chain(block).collect()
            }
            Kind::Call => {
                let json = string(item, "arguments").to_owned();
                let whole = (!json.is_empty()).then_some(Delta::ToolArgumentsWhole { index, json });
                self.tell_call(place, item).into_iter().chain(whole).collect()
            }
        }
    }

    fn message_rest(&mut self, place: usize, item: &Value) -> Vec<Delta> {
        let parts = item.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut deltas = Vec::new();
        for (number, part) in (0_u64..).zip(parts) {
            let refusal = string(part, "refusal");
            self.is_refused |= !refusal.is_empty();
            let text = if refusal.is_empty() { string(part, "text") } else { refusal };
            let is_new = self.items.get_mut(place).is_some_and(|entry| entry.told_parts.insert(number));
            if is_new && !text.is_empty() {
                deltas.push(Delta::Text { index: wire_index(place), text: text.to_owned() });
            }
        }
        deltas
    }

    /// The call's id and tool, as far as they were not told already.
    fn tell_call(&mut self, place: usize, item: &Value) -> Option<Delta> {
        let (known_id, known_name) = &self.items.get(place)?.call;
        let first = |texts: [&str; 3]| texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default().to_owned();
        let id = first([string(item, "call_id"), known_id, string(item, "id")]);
        let name = first([string(item, "name"), known_name, ""]);
        if (known_id, known_name) == (&id, &name) {
            return None;
        }
        self.items.get_mut(place)?.call = (id.clone(), name.clone());
        Some(Delta::ToolCall { index: wire_index(place), id, name })
    }

    fn text(&mut self, event: &TypedEvent, pointer: &str, part: Part) -> Vec<Delta> {
        let text = event.text(pointer).to_owned();
        let place = self.meant(Kind::Message, event).unwrap_or_else(|| self.open_for(Kind::Message, event));
        let Some(entry) = self.items.get_mut(place).filter(|entry| !entry.is_done && !text.is_empty()) else {
            return Vec::new();
        };
        let is_new = entry.told_parts.insert(event.number("/content_index").unwrap_or_default());
        if part == Part::Whole && !is_new {
            return Vec::new();
        }
        vec![Delta::Text { index: wire_index(place), text }]
    }

    /// Parts of a summary (or of open reasoning) are set apart by a blank line.
    fn thinking(&mut self, event: &TypedEvent, part: &str) -> Vec<Delta> {
        let place = self.meant(Kind::Reasoning, event).unwrap_or_else(|| self.open_for(Kind::Reasoning, event));
        let piece = event.text("/delta");
        let Some(entry) = self.items.get_mut(place).filter(|entry| !entry.is_done && !piece.is_empty()) else {
            return Vec::new();
        };
        let is_first = entry.told_parts.is_empty();
        let is_new = entry.told_parts.insert(event.number(part).unwrap_or_default());
        let gap = if is_new && !is_first { "\n\n" } else { "" };
        vec![Delta::Thinking { index: wire_index(place), text: format!("{gap}{piece}") }]
    }

    fn arguments_piece(&mut self, event: &TypedEvent) -> Vec<Delta> {
        let json = event.text("/delta").to_owned();
        match self.open_call(event) {
            Some(place) if !json.is_empty() => vec![Delta::ToolArguments { index: wire_index(place), json }],
            _ => Vec::new(),
        }
    }

    fn arguments_whole(&mut self, event: &TypedEvent) -> Vec<Delta> {
        let json = event.text("/arguments").to_owned();
        match self.open_call(event) {
            Some(place) if !json.is_empty() => vec![Delta::ToolArgumentsWhole { index: wire_index(place), json }],
            _ => Vec::new(),
        }
    }

    /// The call that an event of arguments belongs to. One that nobody announced comes with its item's end.
    fn open_call(&self, event: &TypedEvent) -> Option<usize> {
        let place = self.meant(Kind::Call, event)?;
        self.items.get(place).filter(|entry| !entry.is_done).map(|_| place)
    }

    fn end(&mut self, event: &TypedEvent) -> Vec<Delta> {
        let mut deltas = Vec::new();
        if self.items.is_empty() {
            let output = event.at("/response/output").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for (number, item) in (0_u64..).zip(output) {
                deltas.extend(self.item_done(item, Some(number)));
            }
        }
        deltas.extend(event.at("/response/usage").filter(|usage| usage.is_object()).map(usage));
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
            "" if self.items.iter().any(|item| item.kind == Kind::Call) => FinishReason::ToolCalls,
            "" => FinishReason::Stop,
            other => FinishReason::Other(other.to_owned()),
        }
    }

    fn open(&mut self, kind: Kind, id: &str, output_index: Option<u64>) -> usize {
        let call = (String::new(), String::new());
        self.items.push(Item {
            kind,
            id: id.to_owned(),
            output_index,
            call,
            told_parts: BTreeSet::new(),
            is_done: false,
        });
        self.items.len() - 1
    }

    fn open_for(&mut self, kind: Kind, event: &TypedEvent) -> usize {
        self.open(kind, event.text("/item_id"), event.number("/output_index"))
    }

    /// The item of this id, or the call of this call id.
    fn named(&self, kind: Kind, id: &str, call_id: &str) -> Option<usize> {
        self.items.iter().rposition(|item| {
            let is_same_item = !id.is_empty() && item.id == id;
            let is_same_call = !call_id.is_empty() && item.call.0 == call_id;
            item.kind == kind && (is_same_item || is_same_call)
        })
    }

    /// The item that still goes on and that nothing told of an unknown one contradicts: at the same output index, since
    /// gateways that disguise ids give an item's end another one; without indices, one of them without an id.
    fn unfinished(&self, kind: Kind, id: &str, call_id: &str, output_index: Option<u64>) -> Option<usize> {
        self.items.iter().rposition(|item| {
            let is_there = match (output_index, item.output_index) {
                (Some(told), Some(known)) => told == known,
                _ => id.is_empty() || item.id.is_empty(),
            };
            let is_other_call = !call_id.is_empty() && !item.call.0.is_empty();
            item.kind == kind && !item.is_done && is_there && !is_other_call
        })
    }

    /// The item that an event within one means: by id, by output index, or the latest when it tells neither.
    fn meant(&self, kind: Kind, event: &TypedEvent) -> Option<usize> {
        let (id, output_index) = (event.text("/item_id"), event.number("/output_index"));
        let by_name = self.named(kind, id, id);
        let by_index = || match output_index {
            Some(_) => self.items.iter().rposition(|item| item.kind == kind && item.output_index == output_index),
            None if id.is_empty() => self.items.iter().rposition(|item| item.kind == kind),
            None => None,
        };
        by_name.or_else(by_index)
    }
}

/// A place as a part's index.
fn wire_index(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(u64::MAX)
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The readable text of a whole reasoning item: its summary, or else its open content.
fn readable(item: &Value) -> String {
    let texts = |key: &str| {
        let parts = item.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        parts.iter().map(|part| string(part, "text")).collect::<Vec<_>>().join("\n\n")
    };
    Some(texts("summary")).filter(|text| !text.is_empty()).unwrap_or_else(|| texts("content"))
}

fn usage(told: &Value) -> Delta {
    let count = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64);
    let input_tokens = count("/input_tokens").unwrap_or_default();
    let output_tokens = count("/output_tokens").unwrap_or_default();
    let sum = input_tokens.saturating_add(output_tokens);
    let usage = Usage {
        input_tokens,
        output_tokens,
        reasoning_tokens: count("/output_tokens_details/reasoning_tokens").unwrap_or_default(),
        total_tokens: count("/total_tokens").unwrap_or(sum),
        cached_input_tokens: count("/input_tokens_details/cached_tokens").unwrap_or_default(),
        cache_write_input_tokens: count("/input_tokens_details/cache_write_tokens").unwrap_or_default(),
    };
    Delta::Usage { usage, context_tokens: Some(sum) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::generation::FailureKind;
    use crate::provider::openai::OpenAiResponses;
    use crate::provider::recorded;

    macro_rules! recording {
        ($name:literal) => {
            include_str!(concat!("../../../tests/data/openai-responses/", $name, ".sse"))
        };
    }

    fn text(index: u64, text: &str) -> Delta {
        Delta::Text { index, text: text.into() }
    }

    fn thinking(index: u64, text: &str) -> Delta {
        Delta::Thinking { index, text: text.into() }
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

    /// The usage that all recordings but the imitators' end with.
    fn usage() -> Delta {
        let usage = Usage {
            input_tokens: 311,
            output_tokens: 57,
            reasoning_tokens: 32,
            total_tokens: 368,
            cached_input_tokens: 256,
            cache_write_input_tokens: 0,
        };
        Delta::Usage { usage, context_tokens: Some(368) }
    }

    fn failure(kind: FailureKind, message: &str) -> Option<GenerationFailure> {
        let message = message.to_owned();
        Some(GenerationFailure { kind, message, status_code: None, is_retryable: true, retry_after_ms: None })
    }

    fn deltas(recording: &str) -> Vec<Delta> {
        recorded::deltas(&OpenAiResponses, recording)
    }

    #[test]
    fn text_streams_once() {
        let expected = vec![
            text(0, "The owl file "),
            text(0, "is birds.md."),
            usage(),
            Delta::Finish(FinishReason::Stop),
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
            usage(),
            Delta::Finish(FinishReason::Stop),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("multibyte")), expected);
    }

    #[test]
    fn reasoning_is_shown_and_its_complete_item_kept() {
        let item = json!({
            "id": "rs_1",
            "type": "reasoning",
            "encrypted_content": "gAAAAABo",
            "summary": [
                {"type": "summary_text", "text": "Owls are birds."},
                {"type": "summary_text", "text": "Search them."},
            ],
        });
        let expected = vec![
            thinking(0, "Owls are "),
            thinking(0, "birds."),
            thinking(0, "\n\nSearch them."),
            Delta::ThinkingOpaque { index: 0, block: item },
            call(1, "call_1", "search"),
            arguments(1, r#"{"q":"#),
            arguments(1, r#""owl"}"#),
            whole_arguments(1, r#"{"q":"owl"}"#),
            whole_arguments(1, r#"{"q":"owl"}"#),
            usage(),
            Delta::Finish(FinishReason::ToolCalls),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("reasoning")), expected);
    }

    #[test]
    fn parallel_calls_keep_apart_even_when_interleaved() {
        let expected = vec![
            text(0, "Both at once."),
            call(1, "call_1", "search"),
            call(2, "call_2", "now"),
            arguments(2, "{}"),
            arguments(1, r#"{"q":"owl"}"#),
            whole_arguments(2, "{}"),
            whole_arguments(2, "{}"),
            whole_arguments(1, r#"{"q":"owl"}"#),
            whole_arguments(1, r#"{"q":"owl"}"#),
            usage(),
            Delta::Finish(FinishReason::ToolCalls),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("parallel-calls")), expected);
    }

    #[test]
    fn arguments_cut_by_the_limit_stay_as_they_came() {
        let cut = r#"{"path":"owl.md","text":"Owls"#;
        let expected = vec![
            call(0, "call_1", "writeTextFile"),
            arguments(0, cut),
            whole_arguments(0, cut),
            whole_arguments(0, cut),
            usage(),
            Delta::Finish(FinishReason::Length),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("incomplete")), expected);
    }

    #[test]
    fn a_filtered_answer_says_so() {
        let expected = vec![text(0, "The"), usage(), Delta::Finish(FinishReason::ContentFilter), Delta::End];
        assert_eq!(deltas(recording!("filtered")), expected);
    }

    #[test]
    fn a_refusal_is_text_and_a_content_filter() {
        let expected = vec![
            text(0, "I cannot "),
            text(0, "do that."),
            usage(),
            Delta::Finish(FinishReason::ContentFilter),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("refusal")), expected);
    }

    #[test]
    fn a_failed_response_and_an_error_are_failures() {
        assert_eq!(
            recorded::decode(&OpenAiResponses, recording!("failed")),
            (vec![text(0, "The owl")], failure(FailureKind::Provider, "The model had an error."))
        );
        assert_eq!(
            recorded::decode(&OpenAiResponses, recording!("error")),
            (vec![], failure(FailureKind::RateLimit, "Slow down."))
        );
    }

    #[test]
    fn a_cut_stream_has_no_end() {
        assert_eq!(deltas(recording!("cut")), vec![text(0, "The owl file is")]);
    }

    #[test]
    fn a_call_told_twice_is_one_call() {
        let expected = vec![
            call(0, "call_1", "search"),
            arguments(0, r#"{"q":"owl"}"#),
            whole_arguments(0, r#"{"q":"owl"}"#),
            whole_arguments(0, r#"{"q":"owl"}"#),
            usage(),
            Delta::Finish(FinishReason::ToolCalls),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("duplicate-calls")), expected);
    }

    #[test]
    fn what_did_not_stream_comes_from_the_items_ends() {
        let expected = vec![
            thinking(0, "Hm."),
            text(1, "Looking."),
            call(2, "call_1", "search"),
            whole_arguments(2, r#"{"q":"owl"}"#),
            call(3, "call_2", "search"),
            whole_arguments(3, r#"{"q":"ibis"}"#),
            Delta::Finish(FinishReason::ToolCalls),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("only-item-ends")), expected);
    }

    #[test]
    fn what_came_in_no_item_comes_from_the_response() {
        let expected = vec![
            text(0, "Looking."),
            call(1, "call_1", "now"),
            whole_arguments(1, "{}"),
            usage(),
            Delta::Finish(FinishReason::ToolCalls),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("only-completed")), expected);
    }

    #[test]
    fn items_without_ids_and_indices_are_told_apart() {
        let usage = Usage { input_tokens: 20, output_tokens: 8, total_tokens: 28, ..Usage::default() };
        let expected = vec![
            text(0, "Look"),
            text(0, "ing."),
            call(1, "fc_a", "search"),
            arguments(1, r#"{"q":"owl"}"#),
            whole_arguments(1, r#"{"q":"owl"}"#),
            call(2, "fc_b", "now"),
            whole_arguments(2, "{}"),
            Delta::Usage { usage, context_tokens: Some(28) },
            Delta::Finish(FinishReason::ToolCalls),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("no-ids")), expected);
    }

    #[test]
    fn items_whose_ids_change_are_known_by_their_index() {
        let item = json!({
            "id": "rs_c",
            "type": "reasoning",
            "encrypted_content": "gAAA",
            "summary": [{"type": "summary_text", "text": "Hm."}],
        });
        let expected = vec![
            thinking(0, "Hm."),
            Delta::ThinkingOpaque { index: 0, block: item },
            text(1, "Owls."),
            usage(),
            Delta::Finish(FinishReason::Stop),
            Delta::End,
        ];
        assert_eq!(deltas(recording!("changing-ids")), expected);
    }

    #[test]
    fn torn_frames_do_no_harm() {
        let recordings = [
            recording!("text"),
            recording!("multibyte"),
            recording!("reasoning"),
            recording!("parallel-calls"),
            recording!("incomplete"),
            recording!("filtered"),
            recording!("failed"),
            recording!("error"),
            recording!("refusal"),
            recording!("duplicate-calls"),
            recording!("only-item-ends"),
            recording!("only-completed"),
            recording!("no-ids"),
            recording!("changing-ids"),
        ];
        for recording in recordings {
            recorded::assert_torn_frames_do_no_harm(&OpenAiResponses, recording);
        }
    }
}
