//! [`Blocks`]: parts of messages as content blocks.
//!
//! Called by `encode`, which puts them into turns.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::NAME;
use super::family::Family;
use crate::content::{Content, ExpertPart, ResultPart, Thinking};
use crate::hex;
use crate::provider::tool_names;
use crate::provider::wire::media::{Media, MediaLimits};
use crate::provider::wire::openai::ERROR_NOTE;

/// Most letters of a call's id and of a tool's name (`ToolUseId`, `ToolName` in the service's model).
const LONGEST_NAME: usize = 64;
/// Characters of a digest that replace the rest of a longer one.
const DIGEST: usize = 16;

/// The text beside documents that have none: the provider refuses documents without one.
const DOCUMENT_NOTE: &str = "See the attached document.";
/// The note in an empty result.
const EMPTY_NOTE: &str = "[no output]";
/// The note in a result in place of an image or a document, which the model takes only from the user.
const MOVED_NOTE: &str = "[an image or a file of this result follows behind the results]";

/// Converse's limits, in base64: 3.75 MiB and 8000 pixels for an image, 4.5 MiB for a document.
const LIMITS: MediaLimits = MediaLimits { image: 5 << 20, side: 8000, pdf: 6 << 20 };

/// Writes the blocks of one request.
pub(super) struct Blocks {
    family: Family,
    /// The number of documents so far: their names must differ, and stay the same in the next request.
    documents: usize,
}

impl Blocks {
    pub(super) fn new(family: Family) -> Self {
        Self { family, documents: 0 }
    }

    /// The blocks of a user's message or of a tool's result.
    pub(super) fn user(&mut self, contents: &[Content]) -> Vec<Value> {
        contents.iter().filter_map(|content| self.content(content)).collect()
    }

    /// The block of an answer's part; `None` for one that cannot be sent back.
    pub(super) fn expert(&self, part: &ExpertPart) -> Option<Value> {
        match part {
            ExpertPart::ThinkingPart { thinking, .. } => self.reasoning(thinking),
            ExpertPart::TextPart { text, .. } => text_block(text),
            // Another protocol's.
            ExpertPart::OpaquePart { .. } => None,
            ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
                let input = tool_names::sent_arguments(args, self.family.property_rule());
                let (id, name) = (wire_name(tool_call_id), wire_name(&tool_names::short(tool_name)));
                Some(json!({"toolUse": {"toolUseId": id, "name": name, "input": input}}))
            }
        }
    }

    /// A tool's result, and the blocks of it that must follow outside.
    pub(super) fn result(&mut self, part: &ResultPart) -> (Value, Vec<Value>) {
        let ResultPart::ToolResultPart { tool_call_id, tool_name, contents, is_error, .. } = part;
        let is_rich = self.family.takes_rich_results();
        let mut inside: Vec<Value> = Vec::new();
        let mut outside: Vec<Value> = Vec::new();
        if *is_error && !is_rich {
            inside.extend(text_block(ERROR_NOTE));
        }
        for block in self.user(contents) {
            if is_rich || is(&block, "text") {
                inside.push(block);
                continue;
            }
            if outside.is_empty() {
                inside.extend(text_block(MOVED_NOTE));
                outside.extend(text_block(&format!("From the result of {tool_name} ({tool_call_id}):")));
            }
            outside.push(block);
        }
        if inside.is_empty() {
            inside.extend(text_block(EMPTY_NOTE));
        }
        explain_documents(&mut inside);
        let mut result = Map::new();
        result.insert("toolUseId".into(), json!(wire_name(tool_call_id)));
        result.insert("content".into(), Value::Array(inside));
        if is_rich {
            result.insert("status".into(), json!(if *is_error { "error" } else { "success" }));
        }
        (json!({"toolResult": result}), outside)
    }

    /// Reasoning as it arrived, for models that accept it: Claude takes signed or encrypted reasoning, Nova only its
    /// own plain form. DeepSeek's models refuse their own.
    fn reasoning(&self, thinking: &Thinking) -> Option<Value> {
        if thinking.protocol.as_deref() != Some(NAME) {
            return None;
        }
        let (takes_signed, takes_plain) = match self.family {
            Family::Claude { .. } => (true, false),
            Family::Nova { .. } => (false, true),
            Family::DeepSeek => (false, false),
            Family::Other => (true, true),
        };
        let text = &thinking.thinking;
        let signature = thinking.signature.as_deref().filter(|signature| !signature.is_empty());
        let reasoning = match (&thinking.opaque, signature) {
            (Some(block), _) if takes_signed => json!({"redactedContent": block.get("redactedContent")?.as_str()?}),
            (None, Some(signature)) if takes_signed => {
                json!({"reasoningText": {"text": text, "signature": signature}})
            }
            (None, None) if takes_plain && !text.trim().is_empty() => json!({"reasoningText": {"text": text}}),
            _ => return None,
        };
        Some(json!({"reasoningContent": reasoning}))
    }

    /// Text or media; `None` for empty text.
    fn content(&mut self, content: &Content) -> Option<Value> {
        if let Some((format, data)) = office_file(content) {
            return Some(self.document(format, data));
        }
        match Media::from_content(content, LIMITS) {
            Media::Text(text) => text_block(&text),
            // The protocol takes only addresses in Amazon's own storage.
            Media::ImageUrl(url) => text_block(&format!("[an image that was not sent: {url}]")),
            Media::PdfUrl(url) => text_block(&format!("[a PDF file that was not sent: {url}]")),
            Media::Image { mime_type, data } => {
                let format = mime_type.strip_prefix("image/").unwrap_or(mime_type);
                Some(json!({"image": {"format": format, "source": {"bytes": data}}}))
            }
            Media::Pdf { data } => Some(self.document("pdf", &data)),
        }
    }

    /// The protocol asks for a name, of letters, digits, hyphens and few others; the stored part has none.
    fn document(&mut self, format: &str, data: &str) -> Value {
        self.documents = self.documents.saturating_add(1);
        let name = format!("document-{}", self.documents);
        json!({"document": {"format": format, "name": name, "source": {"bytes": data}}})
    }
}

/// Files of office programs, which this protocol takes beside those that all do.
fn office_file(content: &Content) -> Option<(&'static str, &str)> {
    let (Content::FileInlinePart { encoded_data: data, mime_type, .. }
    | Content::FileBinaryPart { data, mime_type, .. }) = content
    else {
        return None;
    };
    let format = match mime_type.as_str() {
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        _ => return None,
    };
    Some((format, data))
}

/// Adds a text to documents that have none beside them.
pub(super) fn explain_documents(blocks: &mut Vec<Value>) {
    if blocks.iter().any(|block| is(block, "document")) && !blocks.iter().any(|block| is(block, "text")) {
        blocks.extend(text_block(DOCUMENT_NOTE));
    }
}

/// A text; `None` for a blank one, which the provider refuses.
pub(super) fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"text": text}))
}

/// The mark up to which the provider caches.
pub(super) fn cache_point() -> Value {
    json!({"cachePoint": {"type": "default"}})
}

/// Returns true for a block of this kind, e.g. `toolResult`.
pub(super) fn is(block: &Value, kind: &str) -> bool {
    block.get(kind).is_some()
}

/// A call's id or a tool's name in the characters that the protocol allows. Other providers' ids, and names that a
/// model made up, may have others or be longer. Each other character becomes its code point in hexadecimal, and the
/// rest of a long text its digest, so that different ones stay different.
fn wire_name(text: &str) -> String {
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let wire = |letter| if is_taken(letter) { letter.to_string() } else { format!("_{:x}_", u32::from(letter)) };
    let name: String = text.chars().map(wire).collect();
    if (1..=LONGEST_NAME).contains(&name.len()) {
        return name;
    }
    let mut short: String = name.chars().take(LONGEST_NAME - DIGEST - 1).collect();
    short.push('_');
    short.extend(hex::digits(&Sha256::digest(text)).chars().take(DIGEST));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_of_others_are_spelled_in_the_protocols_letters() {
        assert_eq!(wire_name("tooluse_a-1"), "tooluse_a-1");
        assert_eq!(wire_name("f.s:0"), "f_2e_s_3a_0");
        assert_eq!(wire_name(&"x".repeat(64)), "x".repeat(64));
        let (long, other) = (wire_name(&"x".repeat(65)), wire_name(&"x".repeat(66)));
        assert_eq!((long.len(), other.len()), (64, 64));
        assert_ne!(long, other);
        assert_eq!(wire_name("").len(), 17);
        assert_eq!(wire_name(&"ü".repeat(30)).len(), 64);
    }
}
