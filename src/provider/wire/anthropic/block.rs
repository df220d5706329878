//! Content blocks: parts of messages as the protocol writes them.
//!
//! Called by `encode`, which decides which of them are sent.

use serde_json::{Map, Value, json};

use super::NAME;
use crate::content::{Content, ExpertPart, ResultPart, Thinking};
use crate::provider::tool_names;
use crate::provider::wire::media::{Media, MediaLimits};

/// Anthropic's limits: 5 MiB and 8000 pixels for an image, 32 MiB for a whole request.
const LIMITS: MediaLimits = MediaLimits { image: 5 << 20, side: 8000, pdf: 30 << 20 };

/// The block of an answer's part; `None` for one that cannot be sent back. Whether a block of the provider's own can be
/// is left to [`NativeCalls`](super::native::NativeCalls).
pub(super) fn expert_block(part: &ExpertPart) -> Option<Value> {
    match part {
        ExpertPart::ThinkingPart { thinking, .. } => thinking_block(thinking),
        ExpertPart::TextPart { text, .. } => text_block(text),
        ExpertPart::OpaquePart { opaque, .. } => Some(opaque.block.clone()).filter(|_| opaque.protocol == NAME),
        ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
            let input = tool_names::sent_arguments(args, is_property);
            Some(json!({"type": "tool_use", "id": wire_id(tool_call_id), "name": tool_name, "input": input}))
        }
    }
}

/// A thinking block as it arrived; `None` for those of other protocols and those without a signature.
fn thinking_block(thinking: &Thinking) -> Option<Value> {
    if thinking.protocol.as_deref().is_some_and(|protocol| protocol != NAME) {
        return None;
    }
    if let Some(block) = &thinking.opaque {
        return is_of_type(block, &["redacted_thinking"]).then(|| block.clone());
    }
    let signature = thinking.signature.as_deref().filter(|signature| !signature.is_empty())?;
    Some(json!({"type": "thinking", "thinking": thinking.thinking, "signature": signature}))
}

/// A tool's result with its contents, without empty ones.
pub(super) fn result_block(part: &ResultPart) -> Value {
    let ResultPart::ToolResultPart { tool_call_id, contents, is_error, .. } = part;
    let mut block = Map::new();
    block.insert("type".into(), json!("tool_result"));
    block.insert("tool_use_id".into(), json!(wire_id(tool_call_id)));
    block.insert("content".into(), contents.iter().filter_map(content_block).collect());
    if *is_error {
        block.insert("is_error".into(), json!(true));
    }
    Value::Object(block)
}

/// A call's id in the characters that the protocol allows. Ids of other providers may have others; each of those
/// becomes its code point in hexadecimal, so that different ids stay different.
fn wire_id(id: &str) -> String {
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let wire = |letter| if is_taken(letter) { letter.to_string() } else { format!("_{:x}_", u32::from(letter)) };
    id.chars().map(wire).collect()
}

/// A text; `None` for an empty one, which the provider refuses.
pub(super) fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

/// Text or media; `None` for empty text.
pub(super) fn content_block(content: &Content) -> Option<Value> {
    let (kind, source) = match Media::from_content(content, LIMITS) {
        Media::Text(text) => return text_block(&text),
        Media::ImageUrl(url) => ("image", json!({"type": "url", "url": url})),
        Media::PdfUrl(url) => ("document", json!({"type": "url", "url": url})),
        Media::Image { mime_type, data } => ("image", json!({"type": "base64", "media_type": mime_type, "data": data})),
        Media::Pdf { data } => ("document", json!({"type": "base64", "media_type": "application/pdf", "data": data})),
    };
    Some(json!({"type": kind, "source": source}))
}

/// Returns true for a block of one of these types.
pub(super) fn is_of_type(block: &Value, types: &[&str]) -> bool {
    block.get("type").and_then(Value::as_str).is_some_and(|kind| types.contains(&kind))
}

/// Sets a cache breakpoint behind a block.
pub(super) fn mark_cached(block: &mut Value) {
    if let Value::Object(block) = block {
        block.insert("cache_control".into(), json!({"type": "ephemeral"}));
    }
}

/// Returns true for a property's name that the provider accepts.
pub(in crate::provider) fn is_property(name: &str) -> bool {
    let is_taken = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(is_taken)
}
