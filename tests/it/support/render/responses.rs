//! OpenAI Responses: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use serde_json::{Value, json};

use super::super::answer::{Call, Stop, Thinking, Tokens, Turn};
use super::super::request::{Request, list};
use super::{CREATED, deltas, named_event};

pub(super) fn stream(turn: &Turn, request: &Request, number: usize) -> String {
    let mut stream = Stream { out: String::new(), sequence: 0, output: Vec::new(), number };
    stream.event(json!({"type": "response.created", "response": response(request, number, "in_progress", &[])}));
    stream.event(json!({"type": "response.in_progress", "response": response(request, number, "in_progress", &[])}));
    if let Some(thinking) = &turn.thinking {
        stream.reasoning(thinking, request);
    }
    if !turn.text.is_empty() {
        stream.message(&turn.text);
    }
    for call in &turn.calls {
        stream.call(call);
    }
    stream.ending(turn, request);
    stream.out
}

struct Stream {
    out: String,
    sequence: u64,
    /// The items finished so far.
    output: Vec<Value>,
    number: usize,
}

impl Stream {
    fn event(&mut self, mut event: Value) {
        event["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        named_event(&mut self.out, &event);
    }

    fn added(&mut self, item: &Value) {
        self.event(json!({"type": "response.output_item.added", "output_index": self.output.len(), "item": item}));
    }

    fn done(&mut self, item: Value) {
        self.event(json!({"type": "response.output_item.done", "output_index": self.output.len(), "item": item}));
        self.output.push(item);
    }

    /// An event about a part of the item in work.
    fn part(&mut self, kind: &str, item: &str, index: &str, fields: &Value) {
        let mut event = json!({"type": kind, "item_id": item, "output_index": self.output.len(), index: 0});
        let fields = fields.as_object().expect("fields").clone();
        event.as_object_mut().expect("an event").extend(fields);
        self.event(event);
    }

    /// Summaries and encrypted content come only when they were asked for.
    fn reasoning(&mut self, thinking: &Thinking, request: &Request) {
        let id = format!("rs_mock{}", self.number);
        let mut item = json!({"id": id, "type": "reasoning", "summary": []});
        self.added(&item);
        if request.body["reasoning"]["summary"].is_string() && !thinking.is_hidden() {
            let (at, part) = ("summary_index", json!({"type": "summary_text", "text": ""}));
            self.part("response.reasoning_summary_part.added", &id, at, &json!({"part": part}));
            for piece in deltas(&thinking.text) {
                self.part("response.reasoning_summary_text.delta", &id, at, &json!({"delta": piece}));
            }
            self.part("response.reasoning_summary_text.done", &id, at, &json!({"text": thinking.text}));
            let part = json!({"type": "summary_text", "text": thinking.text});
            self.part("response.reasoning_summary_part.done", &id, at, &json!({"part": part}));
            item["summary"] = json!([part]);
        }
        if list(&request.body["include"]).contains(&json!("reasoning.encrypted_content")) {
            item["encrypted_content"] = json!(thinking.signature);
        }
        self.done(item);
    }

    fn message(&mut self, text: &str) {
        let id = format!("msg_mock{}", self.number);
        let item = |status: &str, content: Value| json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content});
        let part = |text: &str| json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
        let at = "content_index";
        self.added(&item("in_progress", json!([])));
        self.part("response.content_part.added", &id, at, &json!({"part": part("")}));
        for piece in deltas(text) {
            self.part("response.output_text.delta", &id, at, &json!({"delta": piece, "logprobs": []}));
        }
        self.part("response.output_text.done", &id, at, &json!({"text": text, "logprobs": []}));
        self.part("response.content_part.done", &id, at, &json!({"part": part(text)}));
        self.done(item("completed", json!([part(text)])));
    }

    fn call(&mut self, call: &Call) {
        let id = format!("fc_mock{}_{}", self.number, self.output.len());
        let item = |status: &str, arguments: &str| {
            json!({
                "id": id, "type": "function_call", "status": status, "arguments": arguments,
                "call_id": call.id, "name": call.tool,
            })
        };
        let index = self.output.len();
        self.added(&item("in_progress", ""));
        for piece in deltas(&call.arguments) {
            self.event(json!({
                "type": "response.function_call_arguments.delta", "item_id": id, "output_index": index, "delta": piece,
            }));
        }
        self.event(json!({
            "type": "response.function_call_arguments.done", "item_id": id, "output_index": index,
            "arguments": call.arguments,
        }));
        self.done(item("completed", &call.arguments));
    }

    fn ending(&mut self, turn: &Turn, request: &Request) {
        if let Some((kind, message)) = &turn.failure {
            let mut failed = response(request, self.number, "failed", &self.output);
            // Its own word for what others call overload.
            let code = if kind == "overloaded_error" { "server_error" } else { kind };
            failed["error"] = json!({"code": code, "message": message});
            self.event(json!({"type": "response.failed", "response": failed}));
            return;
        }
        let cause = match turn.ending() {
            Stop::End | Stop::Calls => None,
            Stop::Length | Stop::Window => Some("max_output_tokens"),
            Stop::Filtered => Some("content_filter"),
        };
        let status = if cause.is_some() { "incomplete" } else { "completed" };
        let mut last = response(request, self.number, status, &self.output);
        last["incomplete_details"] = cause.map_or(Value::Null, |reason| json!({"reason": reason}));
        last["usage"] = turn.tokens.map_or(Value::Null, usage);
        self.event(json!({"type": format!("response.{status}"), "response": last}));
    }
}

fn response(request: &Request, number: usize, status: &str, output: &[Value]) -> Value {
    json!({
        "id": format!("resp_mock{number}"), "object": "response", "created_at": CREATED, "status": status,
        "error": null, "incomplete_details": null, "model": request.body["model"], "output": output,
        "parallel_tool_calls": true, "store": request.body["store"], "tool_choice": "auto", "tools": [],
        "usage": null,
    })
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "input_tokens": tokens.input, "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.output, "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    })
}

/// The error body of both of OpenAI's protocols.
pub(super) fn error(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", json!("invalid_api_key")),
        429 => ("requests", json!("rate_limit_exceeded")),
        status if status >= 500 => ("server_error", Value::Null),
        _ => ("invalid_request_error", Value::Null),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}
