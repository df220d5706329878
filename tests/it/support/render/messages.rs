//! Anthropic Messages: <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use serde_json::{Value, json};

use super::super::answer::{Stop, Tokens, Turn};
use super::super::request::Request;
use super::{deltas, named_event};

pub(super) fn stream(turn: &Turn, request: &Request, number: usize) -> String {
    let mut out = String::new();
    let tokens = turn.tokens.unwrap_or(Tokens { input: 0, cached: 0, output: 0, reasoning: 0 });
    let mut usage = json!({
        "input_tokens": tokens.input - tokens.cached, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached, "output_tokens": 1, "service_tier": "standard",
    });
    if turn.tokens.is_none() {
        usage = json!({});
    }
    named_event(
        &mut out,
        &json!({"type": "message_start", "message": {
            "id": format!("msg_mock{number}"), "type": "message", "role": "assistant", "model": request.body["model"],
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage,
        }}),
    );
    named_event(&mut out, &json!({"type": "ping"}));
    for (index, (start, deltas)) in blocks(turn).into_iter().enumerate() {
        named_event(&mut out, &json!({"type": "content_block_start", "index": index, "content_block": start}));
        for delta in deltas {
            named_event(&mut out, &json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        named_event(&mut out, &json!({"type": "content_block_stop", "index": index}));
    }
    if let Some((kind, message)) = &turn.failure {
        named_event(&mut out, &json!({"type": "error", "error": {"type": kind, "message": message}}));
        return out;
    }
    let stop = match turn.ending() {
        Stop::End => "end_turn",
        Stop::Calls => "tool_use",
        Stop::Length => "max_tokens",
        Stop::Window => "model_context_window_exceeded",
        Stop::Filtered => "refusal",
    };
    let mut last = json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": {}});
    if turn.tokens.is_some() {
        last["usage"] = json!({"output_tokens": tokens.output});
    }
    named_event(&mut out, &last);
    named_event(&mut out, &json!({"type": "message_stop"}));
    out
}

/// Each content block as it starts, and the deltas that fill it.
fn blocks(turn: &Turn) -> Vec<(Value, Vec<Value>)> {
    let mut blocks = Vec::new();
    if let Some(thinking) = turn.thinking.as_ref().filter(|thinking| thinking.is_hidden()) {
        blocks.push((json!({"type": "redacted_thinking", "data": thinking.signature}), Vec::new()));
    } else if let Some(thinking) = &turn.thinking {
        let mut pieces: Vec<_> = deltas(&thinking.text)
            .into_iter()
            .map(|piece| json!({"type": "thinking_delta", "thinking": piece}))
            .collect();
        pieces.push(json!({"type": "signature_delta", "signature": thinking.signature}));
        blocks.push((json!({"type": "thinking", "thinking": "", "signature": ""}), pieces));
    }
    if !turn.text.is_empty() {
        let pieces = deltas(&turn.text).into_iter().map(|piece| json!({"type": "text_delta", "text": piece}));
        blocks.push((json!({"type": "text", "text": ""}), pieces.collect()));
    }
    for call in &turn.calls {
        // A call without arguments has one empty delta; others start with one.
        let mut pieces = vec![String::new()];
        if call.arguments != "{}" {
            pieces.extend(deltas(&call.arguments));
        }
        let pieces = pieces.into_iter().map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
        blocks.push((json!({"type": "tool_use", "id": call.id, "name": call.tool, "input": {}}), pieces.collect()));
    }
    blocks
}

pub(super) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"})
}
