//! Google's Gemini API and Vertex AI: <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::answer::{Stop, Tokens, Turn};
use super::super::endpoint::Service;
use super::super::request::Request;
use super::{deltas, error};

pub(super) fn stream(turn: &Turn, request: &Request, number: usize) -> String {
    let mut out = String::new();
    let usage = turn.tokens.map(usage);
    let chunk = |parts: Vec<Value>, finish: Option<&str>| {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(reason) = finish {
            candidate["finishReason"] = json!(reason);
        }
        let mut chunk = json!({
            "candidates": [candidate], "modelVersion": request.model, "responseId": format!("mock{number}"),
        });
        if let Some(usage) = &usage {
            chunk["usageMetadata"] = usage.clone();
        }
        chunk
    };
    for part in parts(turn, request) {
        event(&mut out, &chunk(vec![part], None));
    }
    if let Some((_, message)) = &turn.failure {
        event(&mut out, &error::google(503, message, None, false));
        return out;
    }
    // A call's signature stands with the call, that of a text at the end.
    let signature = turn.thinking.as_ref().filter(|_| turn.calls.is_empty()).map(|thinking| &thinking.signature);
    let last = signature.map(|signature| json!({"text": "", "thoughtSignature": signature}));
    let finish = match turn.ending() {
        Stop::End | Stop::Calls => "STOP",
        Stop::Length | Stop::Window => "MAX_TOKENS",
        Stop::Filtered => "SAFETY",
    };
    event(&mut out, &chunk(last.into_iter().collect(), Some(finish)));
    out
}

/// Each part of the answer, texts in pieces.
fn parts(turn: &Turn, request: &Request) -> Vec<Value> {
    let mut parts = Vec::new();
    let asked = request.body.pointer("/generationConfig/thinkingConfig/includeThoughts") == Some(&Value::Bool(true));
    if let Some(thinking) = turn.thinking.as_ref().filter(|_| asked) {
        parts.extend(deltas(&thinking.text).into_iter().map(|piece| json!({"text": piece, "thought": true})));
    }
    parts.extend(deltas(&turn.text).into_iter().map(|piece| json!({"text": piece})));
    // Vertex AI and the models before Gemini 3 give calls no ids.
    let has_ids = request.service == Service::Gemini && request.is_current_gemini();
    for (index, call) in turn.calls.iter().enumerate() {
        let mut made = json!({"name": call.tool, "args": call.value()});
        if has_ids {
            made["id"] = json!(call.id);
        }
        let mut part = json!({"functionCall": made});
        // Of calls side by side the first is signed.
        if let Some(thinking) = turn.thinking.as_ref().filter(|_| index == 0) {
            part["thoughtSignature"] = json!(thinking.signature);
        }
        parts.push(part);
    }
    parts
}

fn usage(tokens: Tokens) -> Value {
    let mut usage = json!({
        "promptTokenCount": tokens.input, "candidatesTokenCount": tokens.output - tokens.reasoning,
        "totalTokenCount": tokens.input + tokens.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.input}],
    });
    if tokens.cached > 0 {
        usage["cachedContentTokenCount"] = json!(tokens.cached);
    }
    if tokens.reasoning > 0 {
        usage["thoughtsTokenCount"] = json!(tokens.reasoning);
    }
    usage
}

/// Google ends its lines as HTTP does.
fn event(out: &mut String, data: &Value) {
    write!(out, "data: {data}\r\n\r\n").expect("writing to a string");
}
