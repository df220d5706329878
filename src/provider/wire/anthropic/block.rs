//! Content blocks: parts of messages as the protocol writes them.
//!
//! Called by `encode`, which decides which of them are sent.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::NAME;
use crate::content::{Content, ExpertPart, ResultPart, Thinking};
use crate::json_text::{write, write_text};
use crate::provider::tool_names;
use crate::provider::wire::media::{Media, MediaLimits};
use crate::provider::wire::turn::WireBlock;

/// Anthropic's limits: 5 MiB and 8000 pixels for an image, 32 MiB for a whole request.
const LIMITS: MediaLimits = MediaLimits { image: 5 << 20, side: 8000, pdf: 30 << 20 };

/// Bytes that a block has around its texts, escapes and short arguments included; a longer one is moved once it has more.
const AROUND: usize = 160;

/// A content block.
#[derive(Debug, Clone)]
pub(super) enum MessageBlock {
    /// One that may be looked at, or changed, before it is sent.
    Value(Value),
    /// A call of a tool as it is sent. Calls and results are nearly all of a long conversation.
    Call(Vec<u8>),
    /// A tool's result as it is sent.
    Result(Vec<u8>),
}

impl WireBlock for MessageBlock {
    fn write(&self, text: &mut Vec<u8>) {
        match self {
            Self::Value(value) => write(text, value),
            Self::Call(written) | Self::Result(written) => text.extend_from_slice(written),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Value(value) => value.length(),
            Self::Call(written) | Self::Result(written) => written.len(),
        }
    }

    fn trim_end(&mut self) {
        if let Self::Value(value) = self {
            value.trim_end();
        }
    }
}

impl MessageBlock {
    /// The block as it is looked at.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Call(_) | Self::Result(_) => None,
        }
    }
}

/// The block of an answer's part; `None` for one that cannot be sent back. Whether a block of the provider's own can be
/// is left to [`NativeCalls`](super::native::NativeCalls).
pub(super) fn expert_block(part: &ExpertPart) -> Option<MessageBlock> {
    let block = match part {
        ExpertPart::ThinkingPart { thinking, .. } => thinking_block(thinking),
        ExpertPart::TextPart { text, .. } => text_block(text),
        ExpertPart::OpaquePart { opaque, .. } => Some(opaque.block.clone()).filter(|_| opaque.protocol == NAME),
        ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
            return Some(MessageBlock::Call(call_text(tool_call_id, tool_name, args)));
        }
    };
    block.map(MessageBlock::Value)
}

fn call_text(id: &str, name: &str, args: &Value) -> Vec<u8> {
    let mut text = Vec::with_capacity(id.len().saturating_add(name.len()).saturating_add(AROUND));
    text.extend_from_slice(br#"{"type":"tool_use","id":"#);
    write_text(&mut text, &wire_id(id));
    text.extend_from_slice(br#","name":"#);
    write_text(&mut text, name);
    text.extend_from_slice(br#","input":"#);
    write(&mut text, &*tool_names::sent_arguments(args, is_property));
    text.push(b'}');
    text
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
pub(super) fn result_block(part: &ResultPart) -> MessageBlock {
    let ResultPart::ToolResultPart { tool_call_id, contents, is_error, .. } = part;
    let length = contents.iter().filter_map(Content::as_text).map(str::len).sum::<usize>();
    let mut text = Vec::with_capacity(length.saturating_add(length / 8).saturating_add(AROUND));
    text.extend_from_slice(br#"{"type":"tool_result","tool_use_id":"#);
    write_text(&mut text, &wire_id(tool_call_id));
    text.extend_from_slice(br#","content":["#);
    let empty = text.len();
    for content in contents {
        let before = text.len();
        if before > empty {
            text.push(b',');
        }
        match Media::from_content(content, LIMITS) {
            Media::Text(plain) if plain.trim().is_empty() => text.truncate(before),
            Media::Text(plain) => {
                text.extend_from_slice(br#"{"type":"text","text":"#);
                write_text(&mut text, &plain);
                text.push(b'}');
            }
            media => write(&mut text, &media_block(media)),
        }
    }
    text.push(b']');
    if *is_error {
        text.extend_from_slice(br#","is_error":true"#);
    }
    text.push(b'}');
    MessageBlock::Result(text)
}

/// A call's id in the characters that the protocol allows. Ids of other providers may have others; each of those
/// becomes its code point in hexadecimal, so that different ids stay different.
fn wire_id(id: &str) -> Cow<'_, str> {
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if id.chars().all(is_taken) {
        return Cow::Borrowed(id);
    }
    let wire = |letter| if is_taken(letter) { letter.to_string() } else { format!("_{:x}_", u32::from(letter)) };
    Cow::Owned(id.chars().map(wire).collect())
}

/// A text; `None` for an empty one, which the provider refuses.
pub(super) fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

/// Text or media; `None` for empty text.
pub(super) fn content_block(content: &Content) -> Option<Value> {
    match Media::from_content(content, LIMITS) {
        Media::Text(text) => text_block(&text),
        media => Some(media_block(media)),
    }
}

fn media_block(media: Media<'_>) -> Value {
    let (kind, source) = match media {
        Media::Text(text) => return json!({"type": "text", "text": text}),
        Media::ImageUrl(url) => ("image", json!({"type": "url", "url": url})),
        Media::PdfUrl(url) => ("document", json!({"type": "url", "url": url})),
        Media::Image { mime_type, data } => ("image", json!({"type": "base64", "media_type": mime_type, "data": data})),
        Media::Pdf { data } => ("document", json!({"type": "base64", "media_type": "application/pdf", "data": data})),
    };
    json!({"type": kind, "source": source})
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
