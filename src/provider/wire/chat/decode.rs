//! [`ChatCompletionsDecoder`]: a Chat Completions stream to deltas.

use serde_json::{Map, Value};

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

/// Text and reasoning of one field.
#[derive(Debug, Default)]
struct Prose {
    thinking: String,
    text: String,
}

impl Prose {
    fn whole(self) -> String {
        self.thinking + &self.text
    }
}

/// Reads a text, or a list of chunks with a type, as Mistral's reasoning models send it. Chunks of other types (images,
/// references to sources) have no text.
fn prose(value: &Value) -> Prose {
    match value {
        Value::String(text) => Prose { thinking: String::new(), text: text.clone() },
        Value::Array(chunks) => {
            let mut all = Prose::default();
            for chunk in chunks {
                let Prose { thinking, text } = prose(chunk);
                all.thinking.push_str(&thinking);
                all.text.push_str(&text);
            }
            all
        }
        Value::Object(chunk) => {
            let kind = chunk.get("type").and_then(Value::as_str).unwrap_or("text");
            let is_thinking = matches!(kind, "thinking" | "reasoning" | "reasoning_content");
            let fields =
                ["thinking", "reasoning", "text", "content", "refusal"].iter().filter_map(|key| chunk.get(*key));
            let text = fields.map(|field| prose(field).whole()).find(|text| !text.is_empty()).unwrap_or_default();
            if is_thinking {
                Prose { thinking: text, text: String::new() }
            } else {
                Prose { thinking: String::new(), text }
            }
        }
        _ => Prose::default(),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::wire::chat::{ChatCompletions, Dialect};
    use crate::provider::wire::recorded;

    fn decode(chunks: &[Value]) -> Result<Vec<Delta>, GenerationFailure> {
        let mut decoder = ChatCompletionsDecoder::default();
        let mut deltas = Vec::new();
        for chunk in chunks {
            deltas.extend(decoder.frame(&Frame::event(None, chunk.to_string()))?);
        }
        Ok(deltas)
    }

    fn choice(delta: &Value) -> Value {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    fn calls(calls: &Value) -> Value {
        choice(&json!({ "tool_calls": calls }))
    }

    fn call(index: u64, id: &str, name: &str) -> Delta {
        Delta::ToolCall { index, id: id.to_owned(), name: name.to_owned() }
    }

    fn arguments(index: u64, json: &str) -> Delta {
        Delta::ToolArguments { index, json: json.to_owned() }
    }

    #[test]
    fn text_and_reasoning_stream_and_nulls_are_skipped() {
        let deltas = decode(&[
            choice(&json!({"role": "assistant", "content": null})),
            choice(&json!({"content": "", "reasoning_content": "hm"})),
            choice(&json!({"reasoning": "m"})),
            choice(&json!({"content": "a"})),
            json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
        ]);
        let expected = vec![
            Delta::Thinking { index: THINKING_INDEX, text: "hm".to_owned() },
            Delta::Thinking { index: THINKING_INDEX, text: "m".to_owned() },
            Delta::Text { index: TEXT_INDEX, text: "a".to_owned() },
            Delta::Finish(FinishReason::Stop),
        ];
        assert_eq!(deltas, Ok(expected));
    }

    #[test]
    fn parallel_calls_are_distinguished_by_their_number() {
        let deltas = decode(&[
            calls(&json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "x", "arguments": ""}}])),
            calls(&json!([{"index": 1, "id": "b", "type": "function", "function": {"name": "y", "arguments": "{"}}])),
            calls(
                &json!([{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "}"}}]),
            ),
        ]);
        let expected =
            vec![call(2, "a", "x"), call(3, "b", "y"), arguments(3, "{"), arguments(2, "{}"), arguments(3, "}")];
        assert_eq!(deltas, Ok(expected));
    }

    #[test]
    fn repeated_ids_and_names_are_one_call() {
        let chunk = |json: &str| calls(&json!([{"index": 0, "id": "a", "function": {"name": "x", "arguments": json}}]));
        let expected = vec![call(2, "a", "x"), arguments(2, "{\"q\""), arguments(2, ":1}")];
        assert_eq!(decode(&[chunk("{\"q\""), chunk(":1}")]), Ok(expected));
    }

    #[test]
    fn calls_without_a_number_are_distinguished_by_their_ids() {
        let deltas = decode(&[
            calls(&json!([{"id": "a", "function": {"name": "x", "arguments": "{"}}])),
            calls(&json!([{"function": {"arguments": "}"}}])),
            calls(&json!([{"id": "b", "function": {"name": "x", "arguments": "{}"}}])),
            calls(&json!([{"id": "a", "function": {"arguments": " "}}])),
            calls(&json!([{"function": {"name": "y"}}])),
        ]);
        let expected = vec![
            call(2, "a", "x"),
            arguments(2, "{"),
            arguments(2, "}"),
            call(3, "b", "x"),
            arguments(3, "{}"),
            arguments(2, " "),
            call(4, "", "y"),
        ];
        assert_eq!(deltas, Ok(expected));
    }

    #[test]
    fn another_id_and_name_under_the_same_number_is_another_call() {
        let chunk = |id: &str, name: &str| calls(&json!([{"index": 0, "id": id, "function": {"name": name}}]));
        let deltas = decode(&[chunk("a", "x"), chunk("b", "x"), chunk("c", "")]);
        assert_eq!(deltas, Ok(vec![call(2, "a", "x"), call(3, "b", "x")]));
    }

    #[test]
    fn parallel_calls_of_one_number_are_distinguished_without_ids() {
        let chunk = |id: Option<&str>, name: &str, json: &str| {
            let mut chunk = json!({"index": 0, "function": {"name": name, "arguments": json}});
            chunk["id"] = json!(id);
            calls(&json!([chunk]))
        };
        for id in [None, Some("")] {
            let deltas = decode(&[chunk(id, "x", "{\"a\":1}"), chunk(id, "x", "{\"a\":2}"), chunk(id, "y", "{}")]);
            let expected = vec![
                call(2, "", "x"),
                arguments(2, "{\"a\":1}"),
                call(3, "", "x"),
                arguments(3, "{\"a\":2}"),
                call(4, "", "y"),
                arguments(4, "{}"),
            ];
            assert_eq!(deltas, Ok(expected), "{id:?}");
        }
        // One call whose name comes with every piece, and once more as a whole.
        let deltas = decode(&[chunk(None, "x", "{\"a\""), chunk(None, "x", ":1}"), chunk(Some("i"), "", "{\"a\":1}")]);
        let expected = vec![call(2, "", "x"), arguments(2, "{\"a\""), arguments(2, ":1}"), call(2, "i", "x")];
        assert_eq!(deltas, Ok(expected));
    }

    #[test]
    fn content_may_be_a_list_of_chunks() {
        let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "A greeting."}]}]);
        let deltas = decode(&[
            choice(&json!({"content": thinking})),
            choice(&json!({"content": [{"type": "text", "text": "Hello "}, {"type": "reference", "ids": [1]}]})),
            choice(&json!({"content": "there", "reasoning_content": [{"text": "hm"}]})),
            choice(&json!({"content": [7], "reasoning": {}})),
        ]);
        let text = |text: &str| Delta::Text { index: TEXT_INDEX, text: text.to_owned() };
        let thought = |text: &str| Delta::Thinking { index: THINKING_INDEX, text: text.to_owned() };
        assert_eq!(deltas, Ok(vec![thought("A greeting."), text("Hello "), thought("hm"), text("there")]));
    }

    #[test]
    fn an_answer_that_is_broken_off_is_retryable() {
        for reason in ["abort", "error", "network_error"] {
            let chunk = json!({"choices": [{"delta": {}, "finish_reason": reason}]});
            let failure = decode(&[chunk]).unwrap_err();
            assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Connection, true), "{reason}");
        }
    }

    #[test]
    fn arguments_that_come_as_an_object_are_whole() {
        let deltas = decode(&[calls(&json!([{"id": "a", "function": {"name": "x", "arguments": {"q": 1}}}]))]);
        let whole = Delta::ToolArgumentsWhole { index: 2, json: "{\"q\":1}".to_owned() };
        assert_eq!(deltas, Ok(vec![call(2, "a", "x"), whole]));
    }

    #[test]
    fn usage_comes_with_or_without_choices() {
        let details = json!({
            "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 3},
        });
        let deepseek = json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4});
        let usage = UsageReport {
            input: Some(10),
            output: Some(5),
            reasoning: Some(3),
            cached_input: Some(4),
            total: Some(15),
            ..UsageReport::default()
        };
        let bare = UsageReport { reasoning: None, total: None, ..usage };
        let deltas = decode(&[
            json!({"choices": [], "usage": details}),
            json!({"choices": [{"delta": {}}], "usage": deepseek}),
            json!({"choices": [], "usage": null}),
        ]);
        assert_eq!(deltas, Ok(vec![Delta::Usage(usage), Delta::Usage(bare)]));
    }

    #[test]
    fn a_stream_of_deepseeks_is_read_whole() {
        let recording = include_str!("../../../../tests/data/openai-chat/deepseek-reasoner.sse");
        let usage = UsageReport {
            input: Some(330),
            output: Some(61),
            reasoning: Some(24),
            cached_input: Some(320),
            total: Some(391),
            ..UsageReport::default()
        };
        let expected = vec![
            Delta::Thinking { index: THINKING_INDEX, text: "Owls are ".to_owned() },
            Delta::Thinking { index: THINKING_INDEX, text: "„Eulen“ 🦉.".to_owned() },
            Delta::Text { index: TEXT_INDEX, text: "Looking.".to_owned() },
            call(2, "call_00_a", "search"),
            arguments(2, "{\"q\": "),
            arguments(2, "\"owl\"}"),
            Delta::Finish(FinishReason::ToolCalls),
            Delta::Usage(usage),
            Delta::End,
        ];
        assert_eq!(recorded::deltas(&ChatCompletions::default(), recording), expected);
    }

    #[test]
    fn an_answer_that_deepseek_breaks_off_can_pass() {
        let recording = include_str!("../../../../tests/data/openai-chat/deepseek-broken-off.sse");
        let (deltas, failure) = recorded::decode(&ChatCompletions::default(), recording);
        assert_eq!(deltas, [Delta::Text { index: TEXT_INDEX, text: "The owl".to_owned() }]);
        let message = "the provider broke the answer off: insufficient system resource";
        assert_eq!(failure, Some(failure::retryable(FailureKind::Provider, message)));
    }

    #[test]
    fn azures_filter_reports_are_passed_over_and_its_verdict_is_not() {
        let recording = include_str!("../../../../tests/data/openai-chat/azure-filtered.sse");
        let expected = vec![
            Delta::Text { index: TEXT_INDEX, text: "The".to_owned() },
            Delta::Finish(FinishReason::ContentFilter),
            Delta::End,
        ];
        assert_eq!(recorded::deltas(&ChatCompletions { dialect: Dialect::Azure }, recording), expected);
    }

    #[test]
    fn torn_chunks_do_no_harm() {
        for recording in [
            include_str!("../../../../tests/data/openai-chat/deepseek-reasoner.sse"),
            include_str!("../../../../tests/data/openai-chat/deepseek-broken-off.sse"),
            include_str!("../../../../tests/data/openai-chat/azure-filtered.sse"),
        ] {
            recorded::assert_torn_frames_do_no_harm(&ChatCompletions::default(), recording);
        }
    }

    #[test]
    fn reasons_to_stop_are_read() {
        let of = |reason: &str| decode(&[json!({"choices": [{"delta": {}, "finish_reason": reason}]})]);
        let expected = [
            ("stop", FinishReason::Stop),
            ("length", FinishReason::Length),
            ("tool_calls", FinishReason::ToolCalls),
            ("content_filter", FinishReason::ContentFilter),
            ("EOS", FinishReason::Stop),
            ("max_tokens", FinishReason::Length),
            ("odd", FinishReason::Other("odd".to_owned())),
        ];
        for (reason, finish) in expected {
            assert_eq!(of(reason), Ok(vec![Delta::Finish(finish)]));
        }
        assert_eq!(of(""), Ok(Vec::new()));
        let broken_off = of("insufficient_system_resource").unwrap_err();
        assert_eq!((broken_off.kind, broken_off.is_retryable), (FailureKind::Provider, true));
    }

    #[test]
    fn errors_in_mid_stream_are_failures_in_every_form() {
        let of = |chunk: Value| {
            let failure = decode(&[chunk]).unwrap_err();
            (failure.message, failure.is_retryable)
        };
        let expected = |is_retryable| ("no".to_owned(), is_retryable);
        assert_eq!(of(json!({"error": {"message": "no", "code": 500}})), expected(true));
        assert_eq!(of(json!({"error": {"message": "no", "code": 400}, "choices": []})), expected(false));
        assert_eq!(of(json!({"error": "no"})), expected(true));
        assert_eq!(of(json!({"object": "error", "message": "no", "type": "invalid_request_error"})), expected(false));
        assert_eq!(decode(&[json!({"error": null, "choices": []})]), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_chunk_is_a_failure_and_the_mark_is_the_end() {
        let frame = |data: &str| ChatCompletionsDecoder::default().frame(&Frame::event(None, data.to_owned()));
        assert_eq!(frame(" [DONE]"), Ok(vec![Delta::End]));
        assert_eq!(frame(""), Ok(Vec::new()));
        let failure = frame("{\"choices\":").unwrap_err();
        assert_eq!((failure.kind, failure.is_retryable), (FailureKind::Malformed, true));
    }
}
