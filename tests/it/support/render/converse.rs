//! Amazon Bedrock's Converse: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::answer::{Stop, Tokens, Turn};
use super::deltas;
use perstack::provider::event_stream::{event, exception};

pub(super) fn stream(turn: &Turn) -> Vec<u8> {
    // Every event is filled up to hide the length of its text.
    let mut out = event("messageStart", &json!({"p": "abcd", "role": "assistant"}));
    for (index, (start, deltas)) in blocks(turn).into_iter().enumerate() {
        if let Some(start) = start {
            out.extend(event("contentBlockStart", &json!({"contentBlockIndex": index, "p": "ab", "start": start})));
        }
        for delta in deltas {
            out.extend(event(
                "contentBlockDelta",
                &json!({"contentBlockIndex": index, "delta": delta, "p": "abcdefgh"}),
            ));
        }
        out.extend(event("contentBlockStop", &json!({"contentBlockIndex": index, "p": "abc"})));
    }
    if let Some((_, message)) = &turn.failure {
        out.extend(exception("serviceUnavailableException", &json!({"message": message})));
        return out;
    }
    let stop = match turn.ending() {
        Stop::End => "end_turn",
        Stop::Calls => "tool_use",
        Stop::Length => "max_tokens",
        Stop::Window => "model_context_window_exceeded",
        Stop::Filtered => "content_filtered",
    };
    out.extend(event("messageStop", &json!({"p": "abcdef", "stopReason": stop})));
    let mut metadata = json!({"metrics": {"latencyMs": 512}, "p": "abcde"});
    if let Some(tokens) = turn.tokens {
        metadata["usage"] = usage(tokens);
    }
    out.extend(event("metadata", &metadata));
    out
}

/// Each content block: its start, where it has one, and the deltas that fill it.
fn blocks(turn: &Turn) -> Vec<(Option<Value>, Vec<Value>)> {
    let mut blocks = Vec::new();
    if let Some(thinking) = &turn.thinking {
        let reasoning = |field: &str, text: &str| json!({"reasoningContent": {field: text}});
        let mut pieces: Vec<_> = deltas(&thinking.text).iter().map(|piece| reasoning("text", piece)).collect();
        pieces.push(if thinking.is_hidden() {
            reasoning("redactedContent", &STANDARD.encode(&thinking.signature))
        } else {
            reasoning("signature", &thinking.signature)
        });
        blocks.push((None, pieces));
    }
    if !turn.text.is_empty() {
        blocks.push((None, deltas(&turn.text).iter().map(|piece| json!({"text": piece})).collect()));
    }
    for call in &turn.calls {
        let pieces = if call.arguments == "{}" { Vec::new() } else { deltas(&call.arguments) };
        let pieces = pieces.iter().map(|piece| json!({"toolUse": {"input": piece}}));
        blocks.push((Some(json!({"toolUse": {"toolUseId": call.id, "name": call.tool}})), pieces.collect()));
    }
    blocks
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "inputTokens": tokens.input - tokens.cached, "outputTokens": tokens.output,
        "totalTokens": tokens.input + tokens.output, "cacheReadInputTokens": tokens.cached, "cacheWriteInputTokens": 0,
    })
}
