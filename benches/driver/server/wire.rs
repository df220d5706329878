//! The model's answers on the wire: what [`Turn`]s are as events of each protocol.
//!
//! - <https://docs.anthropic.com/en/api/messages-streaming>
//! - <https://platform.openai.com/docs/api-reference/responses-streaming>
//! - <https://platform.openai.com/docs/api-reference/chat-streaming>
//! - <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>

use serde_json::{Value, json};

/// One call of a tool.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// One answer of the model.
pub enum Turn<'a> {
    Calls(&'a [Call]),
    /// The same piece of text, this many times.
    Text {
        piece: &'a str,
        count: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Anthropic,
    Responses,
    Chat,
    Google,
}

impl Protocol {
    /// The protocol that is spoken at this path; none where no model answers.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or(path);
        let endings = [
            ("/messages", Self::Anthropic),
            ("/responses", Self::Responses),
            ("/chat/completions", Self::Chat),
            (":streamGenerateContent", Self::Google),
        ];
        endings.into_iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, protocol)| protocol)
    }
}

/// The events of an answer, one string each.
pub fn frames(protocol: Protocol, number: usize, turn: &Turn<'_>) -> Vec<String> {
    match protocol {
        Protocol::Anthropic => named(&anthropic(number, turn)),
        Protocol::Responses => named(&responses(number, turn)),
        Protocol::Chat => {
            let mut frames = unnamed(&chat(number, turn));
            frames.push("data: [DONE]\n\n".to_owned());
            frames
        }
        Protocol::Google => unnamed(&google(turn)),
    }
}

fn named(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", name(event))).collect()
}

fn unnamed(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn anthropic(number: usize, turn: &Turn<'_>) -> Vec<Value> {
    let mut events = vec![json!({"type": "message_start", "message": {
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1}}})];
    let mut block = |index: usize, block: Value, deltas: Vec<Value>| {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let deltas = deltas.into_iter();
        events.extend(deltas.map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
        events.push(json!({"type": "content_block_stop", "index": index}));
    };
    let reason = match turn {
        Turn::Calls(calls) => {
            for (index, call) in calls.iter().enumerate() {
                let id = call_id(number, index);
                let opening = json!({"type": "tool_use", "id": id, "name": call.name, "input": {}});
                let arguments = call.arguments.to_string();
                block(index, opening, vec![json!({"type": "input_json_delta", "partial_json": arguments})]);
            }
            "tool_use"
        }
        Turn::Text { piece, count } => {
            let delta = json!({"type": "text_delta", "text": piece});
            block(0, json!({"type": "text", "text": ""}), vec![delta; *count]);
            "end_turn"
        }
    };
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}}));
    events.push(json!({"type": "message_stop"}));
    events
}

fn responses(number: usize, turn: &Turn<'_>) -> Vec<Value> {
    let id = format!("resp_{number}");
    let mut events = vec![json!({"type": "response.created", "response": {"id": id, "status": "in_progress"}})];
    let mut output = Vec::new();
    match turn {
        Turn::Calls(calls) => {
            for (index, call) in calls.iter().enumerate() {
                let item = json!({"type": "function_call", "id": format!("fc_{number}_{index}"),
                    "call_id": call_id(number, index), "name": call.name, "status": "completed",
                    "arguments": call.arguments.to_string()});
                events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
                output.push(item);
            }
        }
        Turn::Text { piece, count } => {
            let item_id = format!("msg_{number}");
            let begun = json!({"type": "message", "id": item_id, "role": "assistant", "status": "in_progress",
                "content": []});
            events.push(json!({"type": "response.output_item.added", "output_index": 0, "item": begun}));
            let delta = json!({"type": "response.output_text.delta", "item_id": item_id, "output_index": 0,
                "content_index": 0, "delta": piece});
            events.extend(vec![delta; *count]);
            let item = json!({"type": "message", "id": item_id, "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": piece.repeat(*count), "annotations": []}]});
            events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
            output.push(item);
        }
    }
    events.push(json!({"type": "response.completed", "response": {"id": id, "status": "completed", "output": output,
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}}}));
    events
}

fn chat(number: usize, turn: &Turn<'_>) -> Vec<Value> {
    let chunk = |delta: &Value, finish: Value| {
        json!({"id": format!("chat_{number}"), "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let mut events = Vec::new();
    let reason = match turn {
        Turn::Calls(calls) => {
            let parts = calls.iter().enumerate().map(|(index, call)| {
                json!({"index": index, "id": call_id(number, index), "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments.to_string()}})
            });
            let parts: Vec<Value> = parts.collect();
            events.push(chunk(&json!({"role": "assistant", "tool_calls": parts}), Value::Null));
            "tool_calls"
        }
        Turn::Text { piece, count } => {
            events.extend(vec![chunk(&json!({"role": "assistant", "content": piece}), Value::Null); *count]);
            "stop"
        }
    };
    let mut last = chunk(&json!({}), json!(reason));
    if let Some(last) = last.as_object_mut() {
        last.insert("usage".to_owned(), json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}));
    }
    events.push(last);
    events
}

fn google(turn: &Turn<'_>) -> Vec<Value> {
    let event = |parts: &[Value], finish: bool| {
        let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
        if let (true, Some(candidate)) = (finish, candidate.as_object_mut()) {
            candidate.insert("finishReason".to_owned(), json!("STOP"));
        }
        json!({"candidates": [candidate], "modelVersion": "m",
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}})
    };
    match turn {
        Turn::Calls(calls) => {
            let parts = calls.iter().map(|call| json!({"functionCall": {"name": call.name, "args": call.arguments}}));
            vec![event(&parts.collect::<Vec<_>>(), true)]
        }
        Turn::Text { piece, count } => {
            let parts = [json!({"text": piece})];
            let mut events = vec![event(&parts, false); count.saturating_sub(1)];
            events.push(event(&parts, true));
            events
        }
    }
}

fn call_id(number: usize, index: usize) -> String {
    format!("call_{number}_{index}")
}
