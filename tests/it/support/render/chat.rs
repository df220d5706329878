//! Chat Completions: <https://platform.openai.com/docs/api-reference/chat-streaming>; `reasoning_content` is
//! DeepSeek's addition, and a first chunk about the prompt Azure's.

use serde_json::{Value, json};

use super::super::answer::{Stop, Tokens, Turn};
use super::super::endpoint::Service;
use super::super::request::Request;
use super::{CREATED, data_event, deltas};

pub(super) fn stream(turn: &Turn, request: &Request, number: usize) -> String {
    let mut out = String::new();
    let wants_usage = request.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true));
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": format!("chatcmpl-mock{number}"), "object": "chat.completion.chunk", "created": CREATED,
            "model": request.body["model"], "system_fingerprint": "fp_mock", "choices": choices,
        });
        if wants_usage {
            chunk["usage"] = usage;
        }
        chunk
    };
    let choice = |delta: Value, finish: Option<&str>| {
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        chunk(choices, Value::Null)
    };
    if request.service == Service::Azure {
        data_event(&mut out, &prompt_filter());
    }
    let first = if turn.calls.is_empty() { json!("") } else { Value::Null };
    data_event(&mut out, &choice(json!({"role": "assistant", "content": first, "refusal": null}), None));
    for delta in content(turn, request) {
        data_event(&mut out, &choice(delta, None));
    }
    if let Some((kind, message)) = &turn.failure {
        data_event(&mut out, &json!({"error": {"message": message, "type": kind, "param": null, "code": null}}));
        return out;
    }
    let finish = match turn.ending() {
        Stop::End => "stop",
        Stop::Calls => "tool_calls",
        Stop::Length | Stop::Window => "length",
        Stop::Filtered => "content_filter",
    };
    data_event(&mut out, &choice(json!({}), Some(finish)));
    if let Some(tokens) = turn.tokens.filter(|_| wants_usage) {
        data_event(&mut out, &chunk(json!([]), usage(tokens, request.service)));
    }
    out.push_str("data: [DONE]\n\n");
    out
}

fn content(turn: &Turn, request: &Request) -> Vec<Value> {
    let mut out = Vec::new();
    let thinks = request.service != Service::DeepSeek || request.is_deepseek_thinking();
    if let Some(thinking) = turn.thinking.as_ref().filter(|_| thinks) {
        out.extend(deltas(&thinking.text).into_iter().map(|piece| json!({"reasoning_content": piece})));
    }
    out.extend(deltas(&turn.text).into_iter().map(|piece| json!({"content": piece})));
    for (index, call) in turn.calls.iter().enumerate() {
        out.push(json!({"tool_calls": [{
            "index": index, "id": call.id, "type": "function", "function": {"name": call.tool, "arguments": ""},
        }]}));
        let pieces = deltas(&call.arguments).into_iter();
        out.extend(pieces.map(|piece| json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})));
    }
    out
}

fn usage(tokens: Tokens, service: Service) -> Value {
    let mut usage = json!({
        "prompt_tokens": tokens.input, "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning, "audio_tokens": 0},
    });
    if service == Service::DeepSeek {
        // Older than OpenAI's details, which it tells too but for audio.
        usage["prompt_tokens_details"] = json!({"cached_tokens": tokens.cached});
        usage["prompt_cache_hit_tokens"] = json!(tokens.cached);
        usage["prompt_cache_miss_tokens"] = json!(tokens.input - tokens.cached);
    }
    usage
}

/// What Azure's filter found in the prompt; it comes before everything.
fn prompt_filter() -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    json!({
        "id": "", "object": "", "created": 0, "model": "", "choices": [],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {
            "hate": safe, "jailbreak": {"filtered": false, "detected": false}, "self_harm": safe, "sexual": safe,
            "violence": safe,
        }}],
    })
}
