//! Answers that came as one JSON document to a request for a stream, as the frames that a stream would have had.
//!
//! Called by the protocols' [`Protocol::whole_answer`](crate::provider::Protocol::whole_answer): some gateways ignore the
//! request for a stream. Each function gives nothing for a document that is no answer of its protocol.

use serde_json::{Value, json};

use crate::provider::Frame;

fn frame(value: &Value) -> Frame {
    Frame::event(None, value.to_string())
}

fn named(event: &str, payload: &Value) -> Frame {
    Frame::event(Some(event.to_owned()), payload.to_string())
}

/// Chat Completions: the message stands for one delta with everything. A chunk of a stream is a frame as it is.
pub fn chat(mut document: Value) -> Vec<Frame> {
    let has_usage = document.get("usage").is_some_and(Value::is_object);
    let choices = document.get_mut("choices").and_then(Value::as_array_mut);
    let Some(choices) = choices.filter(|choices| !choices.is_empty() || has_usage) else { return Vec::new() };
    let mut is_whole = false;
    for choice in choices.iter_mut().filter_map(Value::as_object_mut) {
        let Some(mut message) = choice.shift_remove("message") else { continue };
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
        for (at, call) in calls.enumerate() {
            if let Value::Object(call) = call {
                call.insert("index".into(), json!(at));
            }
        }
        choice.insert("delta".into(), message);
        is_whole = true;
    }
    let end = is_whole.then(|| Frame::event(None, "[DONE]".to_owned()));
    std::iter::once(frame(&document)).chain(end).collect()
}

/// Anthropic Messages: each block starts whole.
pub fn messages(document: &Value) -> Vec<Frame> {
    let Some(blocks) = document.get("content").and_then(Value::as_array) else { return Vec::new() };
    let start = json!({"type": "message_start",
                       "message": {"usage": document.get("usage"), "container": document.get("container")}});
    let mut frames = vec![frame(&start)];
    for (index, block) in blocks.iter().enumerate() {
        frames.push(frame(&json!({"type": "content_block_start", "index": index, "content_block": block})));
        frames.push(frame(&json!({"type": "content_block_stop", "index": index})));
    }
    let delta = json!({"stop_reason": document.get("stop_reason"), "stop_details": document.get("stop_details")});
    frames.push(frame(&json!({"type": "message_delta", "delta": delta, "usage": document.get("usage")})));
    frames.push(frame(&json!({"type": "message_stop"})));
    frames
}

/// OpenAI Responses: the last event of a stream has the same document.
pub fn responses(document: &Value) -> Vec<Frame> {
    if document.get("output").is_none_or(|output| !output.is_array()) {
        return Vec::new();
    }
    let event = match document.get("status").and_then(Value::as_str) {
        Some("failed") => "response.failed",
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    vec![frame(&json!({"type": event, "response": document}))]
}

/// Gemini: one response, or a list of those that a stream would have had.
pub fn gemini(document: &Value) -> Vec<Frame> {
    let responses = document.as_array().map_or(std::slice::from_ref(document), Vec::as_slice);
    let is_response =
        |value: &Value| ["candidates", "promptFeedback", "usageMetadata"].iter().any(|key| value.get(key).is_some());
    if responses.iter().all(is_response) { responses.iter().map(frame).collect() } else { Vec::new() }
}

/// Bedrock Converse: each block as one delta.
pub fn converse(document: &Value) -> Vec<Frame> {
    let Some(blocks) = document.pointer("/output/message/content").and_then(Value::as_array) else {
        return Vec::new();
    };
    let mut frames = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let mut delta = |delta: Value| {
            frames.push(named("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": delta})));
        };
        if let Some(call) = block.get("toolUse") {
            let input = call.get("input").cloned().unwrap_or_else(|| json!({}));
            let start = json!({"toolUse": {"toolUseId": call.get("toolUseId"), "name": call.get("name")}});
            frames.push(named("contentBlockStart", &json!({"contentBlockIndex": index, "start": start})));
            let input = json!({"toolUse": {"input": input.to_string()}});
            frames.push(named("contentBlockDelta", &json!({"contentBlockIndex": index, "delta": input})));
        } else if let Some(text) = block.get("text") {
            delta(json!({"text": text}));
        } else if let Some(reasoning) = block.get("reasoningContent") {
            let whole = reasoning.get("reasoningText").unwrap_or(reasoning);
            delta(json!({"reasoningContent": whole}));
        }
    }
    frames.push(named("messageStop", &json!({"stopReason": document.get("stopReason")})));
    frames.push(named("metadata", &json!({"usage": document.get("usage")})));
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{Arguments, FinishReason, GeneratedPart, Generation};
    use crate::provider::Protocol;
    use crate::provider::assemble::Assembler;
    use crate::provider::wire::anthropic::AnthropicMessages;
    use crate::provider::wire::bedrock::BedrockConverse;
    use crate::provider::wire::chat::ChatCompletions;
    use crate::provider::wire::google::GeminiGenerateContent;
    use crate::provider::wire::openai::OpenAiResponses;

    fn answer(protocol: &dyn Protocol, document: Value) -> Generation {
        let (mut decoder, mut assembler) = (protocol.decoder(), Assembler::new(protocol.name()));
        for frame in protocol.whole_answer(document) {
            decoder.frame(&frame).unwrap().into_iter().for_each(|delta| assembler.push(delta));
        }
        assembler.finish().unwrap()
    }

    #[test]
    fn a_document_is_the_answer_that_a_stream_would_have_been() {
        let arguments = json!({"q": "owl"});
        let cases: [(&dyn Protocol, Value); 5] = [
            (
                &ChatCompletions::default(),
                json!({"choices": [{"message": {"content": "Looking.", "tool_calls": [
                    {"id": "a", "function": {"name": "x", "arguments": arguments.to_string()}},
                    {"id": "b", "function": {"name": "x", "arguments": arguments.to_string()}},
                ]}, "finish_reason": "tool_calls"}]}),
            ),
            (
                &AnthropicMessages,
                json!({"type": "message", "content": [{"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "a", "name": "x", "input": arguments},
                    {"type": "tool_use", "id": "b", "name": "x", "input": arguments},
                ], "stop_reason": "tool_use"}),
            ),
            (
                &OpenAiResponses,
                json!({"status": "completed", "output": [
                    {"type": "message", "content": [{"type": "output_text", "text": "Looking."}]},
                    {"type": "function_call", "call_id": "a", "name": "x", "arguments": arguments.to_string()},
                    {"type": "function_call", "call_id": "b", "name": "x", "arguments": arguments.to_string()},
                ]}),
            ),
            (
                &GeminiGenerateContent,
                json!([{"candidates": [{"content": {"parts": [{"text": "Looking."}]}}]},
                    {"candidates": [{"content": {"parts": [
                        {"functionCall": {"id": "a", "name": "x", "args": arguments}},
                        {"functionCall": {"id": "b", "name": "x", "args": arguments}},
                    ]}, "finishReason": "STOP"}]},
                ]),
            ),
            (
                &BedrockConverse,
                json!({"output": {"message": {"content": [{"text": "Looking."},
                    {"toolUse": {"toolUseId": "a", "name": "x", "input": arguments}},
                    {"toolUse": {"toolUseId": "b", "name": "x", "input": arguments}},
                ]}}, "stopReason": "tool_use"}),
            ),
        ];
        for (protocol, document) in cases {
            let Generation { parts, finish, .. } = answer(protocol, document);
            let call = |id: &str| GeneratedPart::ToolCall {
                id: id.to_owned(),
                name: "x".to_owned(),
                arguments: Arguments::parse(&arguments.to_string()),
            };
            let is_prose = |part: &GeneratedPart| !matches!(part, GeneratedPart::Thinking { .. });
            let parts: Vec<GeneratedPart> = parts.into_iter().filter(is_prose).collect();
            let text = GeneratedPart::Text { text: "Looking.".to_owned() };
            assert_eq!(
                (parts, finish),
                (vec![text, call("a"), call("b")], FinishReason::ToolCalls),
                "{}",
                protocol.name()
            );
        }
    }

    #[test]
    fn a_document_that_is_no_answer_gives_nothing() {
        let protocols: [&dyn Protocol; 5] = [
            &ChatCompletions::default(),
            &AnthropicMessages,
            &OpenAiResponses,
            &GeminiGenerateContent,
            &BedrockConverse,
        ];
        for protocol in protocols {
            for document in [json!({"status": "ok"}), json!({"choices": []}), json!("x")] {
                let frames = protocol.whole_answer(document.clone());
                assert!(frames.is_empty(), "{} {document}", protocol.name());
            }
        }
    }
}
