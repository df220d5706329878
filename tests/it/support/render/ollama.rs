//! Ollama: <https://docs.ollama.com/api/chat>.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::answer::{Stop, Turn};
use super::super::request::Request;
use super::deltas;

pub(super) fn stream(turn: &Turn, request: &Request) -> String {
    let mut out = String::new();
    let line = |message: Value| {
        json!({
            "model": request.model, "created_at": "2026-02-13T16:26:40.123456789Z", "message": message, "done": false,
        })
    };
    for (field, content) in content(turn, request) {
        let mut message = json!({"role": "assistant", "content": ""});
        message[field] = content;
        end_line(&mut out, &line(message));
    }
    if let Some((_, message)) = &turn.failure {
        end_line(&mut out, &json!({"error": message}));
        return out;
    }
    let mut last = line(json!({"role": "assistant", "content": ""}));
    last["done"] = json!(true);
    // It has no filter that would end an answer.
    last["done_reason"] = json!(if matches!(turn.ending(), Stop::Length | Stop::Window) { "length" } else { "stop" });
    let nanoseconds =
        [("total_duration", 5_191_566_416_u64), ("load_duration", 2_154_458), ("eval_duration", 4_799_921_000)];
    for (name, duration) in nanoseconds {
        last[name] = json!(duration);
    }
    if let Some(tokens) = turn.tokens {
        last["prompt_eval_count"] = json!(tokens.input);
        last["eval_count"] = json!(tokens.output);
    }
    end_line(&mut out, &last);
    out
}

/// The field of each line's message, and what stands in it. Calls come whole.
fn content(turn: &Turn, request: &Request) -> Vec<(&'static str, Value)> {
    let mut content = Vec::new();
    let asked = !matches!(request.body["think"], Value::Null | Value::Bool(false));
    if let Some(thinking) = turn.thinking.as_ref().filter(|_| asked) {
        content.extend(deltas(&thinking.text).into_iter().map(|piece| ("thinking", json!(piece))));
    }
    content.extend(deltas(&turn.text).into_iter().map(|piece| ("content", json!(piece))));
    content.extend(turn.calls.iter().map(|call| {
        ("tool_calls", json!([{"id": call.id, "function": {"name": call.tool, "arguments": call.value()}}]))
    }));
    content
}

fn end_line(out: &mut String, value: &Value) {
    writeln!(out, "{value}").expect("writing to a string");
}
