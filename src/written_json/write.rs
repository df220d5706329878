//! Messages written as serde writes them, in a fraction of its time: the opposite of what is read beside this.

use serde_json::Value;

use crate::content::{Content, ExpertPart, ResultPart};
use crate::json_text::{write, write_text};
use crate::message::Message;

/// Adds `messages` as the items of a list, without its brackets.
pub fn messages(json: &mut Vec<u8>, messages: &[Message]) {
    items(json, messages, message);
}

fn items<T>(json: &mut Vec<u8>, items: &[T], item: impl Fn(&mut Vec<u8>, &T)) {
    for (at, part) in items.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        item(json, part);
    }
}

fn message(json: &mut Vec<u8>, message: &Message) {
    let (kind, id, cache) = match message {
        Message::InstructionMessage { id, cache, .. } => ("instruction", id, cache),
        Message::UserMessage { id, cache, .. } => ("user", id, cache),
        Message::ExpertMessage { id, cache, .. } => ("expert", id, cache),
        Message::ToolMessage { id, cache, .. } => ("tool", id, cache),
    };
    json.extend_from_slice(br#"{"type":""#);
    json.extend_from_slice(kind.as_bytes());
    json.extend_from_slice(br#"Message","id":"#);
    write_text(json, id);
    json.extend_from_slice(br#","contents":["#);
    match message {
        Message::InstructionMessage { contents, .. } | Message::UserMessage { contents, .. } => {
            items(json, contents, content);
        }
        Message::ExpertMessage { contents, .. } => items(json, contents, expert_part),
        Message::ToolMessage { contents, .. } => items(json, contents, result_part),
    }
    json.push(b']');
    if *cache {
        json.extend_from_slice(br#","cache":true"#);
    }
    json.push(b'}');
}

fn content(json: &mut Vec<u8>, content: &Content) {
    match content {
        Content::TextPart { id, text } => text_part(json, id, text),
        other => write(json, other),
    }
}

fn text_part(json: &mut Vec<u8>, id: &str, text: &str) {
    json.extend_from_slice(br#"{"type":"textPart","id":"#);
    write_text(json, id);
    field(json, br#","text":"#, text);
    json.push(b'}');
}

fn expert_part(json: &mut Vec<u8>, part: &ExpertPart) {
    match part {
        ExpertPart::TextPart { id, text } => text_part(json, id, text),
        ExpertPart::ToolCallPart { id, tool_call_id, tool_name, args } => {
            json.extend_from_slice(br#"{"type":"toolCallPart","id":"#);
            write_text(json, id);
            field(json, br#","toolCallId":"#, tool_call_id);
            field(json, br#","toolName":"#, tool_name);
            json.extend_from_slice(br#","args":"#);
            value(json, args);
            json.push(b'}');
        }
        other => write(json, other),
    }
}

fn result_part(json: &mut Vec<u8>, part: &ResultPart) {
    let ResultPart::ToolResultPart { id, tool_call_id, tool_name, contents, is_error } = part;
    json.extend_from_slice(br#"{"type":"toolResultPart","id":"#);
    write_text(json, id);
    field(json, br#","toolCallId":"#, tool_call_id);
    field(json, br#","toolName":"#, tool_name);
    json.extend_from_slice(br#","contents":["#);
    items(json, contents, content);
    json.push(b']');
    if *is_error {
        json.extend_from_slice(br#","isError":true"#);
    }
    json.push(b'}');
}

fn field(json: &mut Vec<u8>, key: &[u8], text: &str) {
    json.extend_from_slice(key);
    write_text(json, text);
}

fn value(json: &mut Vec<u8>, of: &Value) {
    match of {
        Value::String(text) => write_text(json, text),
        Value::Array(list) => {
            json.push(b'[');
            items(json, list, value);
            json.push(b']');
        }
        Value::Object(fields) => {
            json.push(b'{');
            for (at, (key, of)) in fields.iter().enumerate() {
                if at > 0 {
                    json.push(b',');
                }
                write_text(json, key);
                json.push(b':');
                value(json, of);
            }
            json.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => write(json, of),
    }
}
