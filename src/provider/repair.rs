//! [`Repairs`]: parts of a conversation that the provider refused, and which requests therefore leave out.
//!
//! A provider refuses a whole request for one part: an image that it cannot read, reasoning that it cannot decrypt. The
//! part would be in every later request of the conversation too. `generate` asks here after a refusal whether a request
//! without the part is worth sending, and sends it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::content::{Content, ExpertPart, ResultPart};
use crate::generation::{FailureKind, GenerationFailure};
use crate::message::Message;
use crate::provider::failure::shortened;

/// Most repairs of one request; each leaves out something more.
pub(super) const REPAIR_LIMIT: usize = 4;

/// Most characters of the provider's reason in a note.
const REASON_LIMIT: usize = 200;

/// Parts that were refused, by a hash of their data, with the note that replaces them.
#[derive(Debug, Default)]
pub(super) struct Repairs(HashMap<u64, String>);

/// The kind of part that a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    Media,
    Reasoning,
}

impl Repairs {
    /// The messages without refused parts.
    pub(super) fn apply<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        if self.0.is_empty() || !messages.iter().any(|message| self.has_refused(message)) {
            return Cow::Borrowed(messages);
        }
        let mut messages = messages.to_vec();
        for message in &mut messages {
            match message {
                Message::UserMessage { contents, .. } => self.replace(contents),
                Message::ToolMessage { contents, .. } => {
                    for ResultPart::ToolResultPart { contents, .. } in contents {
                        self.replace(contents);
                    }
                }
                Message::ExpertMessage { contents, .. } => {
                    contents.retain(|part| reasoning(part).is_none_or(|key| !self.0.contains_key(&key)));
                }
                Message::InstructionMessage { .. } => {}
            }
        }
        Cow::Owned(messages)
    }

    /// Learns from a refusal which parts to leave out; false when it is about no part, or none more can be left out.
    /// `body` is the refused request, in which the refusal may name a place; `code` is the provider's.
    pub(super) fn learn(
        &mut self,
        messages: &[Message],
        body: &Value,
        failure: &GenerationFailure,
        code: Option<&str>,
    ) -> bool {
        let Some(complaint) = complaint(failure, code) else { return false };
        let refused: Vec<u64> = match complaint {
            Complaint::Reasoning => parts(messages).filter_map(reasoning).collect(),
            Complaint::Media => self.suspects(messages, body, &failure.message),
        };
        let reason = shortened(failure.message.lines().next().unwrap_or_default(), REASON_LIMIT);
        let note = format!("[a file was left out: the model's provider refused it: {reason}]");
        let before = self.0.len();
        self.0.extend(refused.into_iter().map(|key| (key, note.clone())));
        self.0.len() > before
    }

    /// The media that a refusal may be about: that at the place it names, else those since the last answer, which the
    /// provider has not accepted before, else all.
    fn suspects(&self, messages: &[Message], body: &Value, message: &str) -> Vec<u64> {
        let sent = |messages: &[Message]| -> Vec<u64> {
            contents(messages).filter_map(media).map(key).filter(|key| !self.0.contains_key(key)).collect()
        };
        if let Some(place) = named_place(body, message) {
            let text = place.to_string();
            let named: Vec<u64> =
                contents(messages).filter_map(media).filter(|data| text.contains(*data)).map(key).collect();
            if named.iter().any(|key| !self.0.contains_key(key)) {
                return named;
            }
        }
        let last_answer = messages.iter().rposition(|message| matches!(message, Message::ExpertMessage { .. }));
        let new = messages.get(last_answer.map_or(0, |at| at + 1)..).map(sent).unwrap_or_default();
        if new.is_empty() { sent(messages) } else { new }
    }

    fn has_refused(&self, message: &Message) -> bool {
        let message = std::slice::from_ref(message);
        contents(message)
            .filter_map(media)
            .map(key)
            .chain(parts(message).filter_map(reasoning))
            .any(|key| self.0.contains_key(&key))
    }

    fn replace(&self, contents: &mut [Content]) {
        for content in contents {
            if let Some(note) = media(content).and_then(|data| self.0.get(&key(data))) {
                *content = Content::text(note.clone());
            }
        }
    }
}

/// Returns true when a refusal is about a part that can be left out.
pub(super) fn is_about_a_part(failure: &GenerationFailure, code: Option<&str>) -> bool {
    complaint(failure, code).is_some()
}

fn complaint(failure: &GenerationFailure, code: Option<&str>) -> Option<Complaint> {
    let is_refusal = failure.kind == FailureKind::InvalidRequest && !failure.is_retryable;
    let status = failure.status_code.filter(|_| is_refusal)?;
    let message = failure.message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let is_reasoning = code == Some("invalid_encrypted_content")
        || has(&["encrypted content", "encrypted_content", "thought signature", "thought_signature"])
        || (has(&["signature"]) && has(&["thinking", "reasoning"]));
    if is_reasoning {
        return Some(Complaint::Reasoning);
    }
    let is_media = status == 413
        || status == 415
        || code.is_some_and(|code| code.contains("image") || code.contains("file"))
        || has(&[
            "image",
            "media type",
            "media_type",
            "mime type",
            "mimetype",
            "pdf",
            "document",
            "base64",
            "inline_data",
            "inlinedata",
        ]);
    is_media.then_some(Complaint::Media)
}

/// The value at the place that a message begins with or names, such as `messages.2.content.0.image` or
/// `input[3].content[1]`. Steps that are not in the body name the type of what is there.
fn named_place<'a>(body: &'a Value, message: &str) -> Option<&'a Value> {
    let is_path = |word: &&str| ["messages", "input", "contents"].iter().any(|root| word.starts_with(root));
    let word = message.split([' ', ':', ',', '\'', '"', '`', '(', ')']).find(|word| is_path(word) && word.len() > 8)?;
    let mut value = body;
    let mut depth = 0_usize;
    for step in word.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
        let next = step.parse::<usize>().ok().map_or_else(|| value.get(step), |at| value.get(at));
        if let Some(next) = next {
            value = next;
            depth = depth.saturating_add(1);
        }
    }
    // Of the message's number alone, every file in it would be meant.
    (depth > 2).then_some(value)
}

fn contents(messages: &[Message]) -> impl Iterator<Item = &Content> {
    messages.iter().flat_map(|message| -> Vec<&Content> {
        match message {
            Message::UserMessage { contents, .. } => contents.iter().collect(),
            Message::ToolMessage { contents, .. } => {
                contents.iter().flat_map(|ResultPart::ToolResultPart { contents, .. }| contents).collect()
            }
            _ => Vec::new(),
        }
    })
}

fn parts(messages: &[Message]) -> impl Iterator<Item = &ExpertPart> {
    messages.iter().flat_map(|message| match message {
        Message::ExpertMessage { contents, .. } => contents.as_slice(),
        _ => &[],
    })
}

/// The data or address of a part that is not text.
fn media(content: &Content) -> Option<&str> {
    match content {
        Content::TextPart { .. } => None,
        Content::ImageUrlPart { url, .. } | Content::FileUrlPart { url, .. } => Some(url),
        Content::ImageInlinePart { encoded_data: data, .. }
        | Content::FileInlinePart { encoded_data: data, .. }
        | Content::ImageBinaryPart { data, .. }
        | Content::FileBinaryPart { data, .. } => Some(data),
    }
}

/// The key of a reasoning part that only its maker can read.
fn reasoning(part: &ExpertPart) -> Option<u64> {
    let ExpertPart::ThinkingPart { thinking, .. } = part else { return None };
    match (&thinking.opaque, &thinking.signature) {
        (Some(block), _) => Some(key(&block.to_string())),
        (None, Some(signature)) => Some(key(signature)),
        (None, None) => None,
    }
}

fn key(data: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::failure::lasting;

    fn conversation(parts: &Value) -> Vec<Message> {
        serde_json::from_value(json!([
            {"type": "userMessage", "id": "u", "contents": [
                {"type": "imageInlinePart", "id": "p", "encodedData": "OLD", "mimeType": "image/png"}]},
            {"type": "expertMessage", "id": "e", "contents": [
                {"type": "thinkingPart", "id": "p", "thinking": "", "protocol": "openai-responses",
                 "opaque": {"encrypted_content": "E"}},
                {"type": "textPart", "id": "p", "text": "Hm."}]},
            {"type": "toolMessage", "id": "t", "contents": [
                {"type": "toolResultPart", "id": "p", "toolCallId": "c", "toolName": "x", "contents": parts}]},
        ]))
        .unwrap()
    }

    fn image(data: &str) -> Value {
        json!({"type": "imageInlinePart", "id": "p", "encodedData": data, "mimeType": "image/png"})
    }

    fn refusal(message: &str) -> GenerationFailure {
        GenerationFailure { status_code: Some(400), ..lasting(FailureKind::InvalidRequest, message) }
    }

    fn left(repairs: &Repairs, messages: &[Message]) -> Vec<String> {
        contents(&repairs.apply(messages)).filter_map(media).map(str::to_owned).collect()
    }

    #[test]
    fn the_image_at_the_named_place_is_left_out_and_no_other() {
        let messages = conversation(&json!([image("NEW-1"), image("NEW-2")]));
        let body = json!({"messages": [{}, {}, {"content": [{"content": [
            {"source": {"data": "NEW-1"}}, {"source": {"data": "NEW-2"}}]}]}]});
        let mut repairs = Repairs::default();
        let failure =
            refusal("messages.2.content.0.tool_result.content.1.image.source.base64: Could not process image");
        assert!(repairs.learn(&messages, &body, &failure, None));
        assert_eq!(left(&repairs, &messages), ["OLD", "NEW-1"]);
        // The same complaint again is about the other one.
        assert!(repairs.learn(&messages, &body, &failure, None));
        assert_eq!(left(&repairs, &messages), ["OLD"]);
        assert!(repairs.learn(&messages, &body, &failure, None));
        assert!(!repairs.learn(&messages, &body, &failure, None));
        let Message::ToolMessage { contents, .. } = &repairs.apply(&messages)[2] else { panic!("no results") };
        let ResultPart::ToolResultPart { contents, .. } = &contents[0];
        assert!(contents[1].as_text().unwrap().contains("Could not process image"));
    }

    #[test]
    fn without_a_place_the_files_since_the_last_answer_are_left_out() {
        let messages = conversation(&json!([image("NEW")]));
        let mut repairs = Repairs::default();
        assert!(repairs.learn(&messages, &json!({}), &refusal("bad"), Some("image_parse_error")));
        assert_eq!(left(&repairs, &messages), ["OLD"]);
    }

    #[test]
    fn reasoning_that_cannot_be_decrypted_is_left_out_and_the_answer_stays() {
        let messages = conversation(&json!([]));
        let mut repairs = Repairs::default();
        assert!(repairs.learn(&messages, &json!({}), &refusal("no"), Some("invalid_encrypted_content")));
        let repaired = repairs.apply(&messages);
        assert_eq!(parts(&repaired).count(), 1);
        assert_eq!(left(&repairs, &messages), ["OLD"]);
    }

    #[test]
    fn other_refusals_are_not_about_a_part() {
        let messages = conversation(&json!([image("NEW")]));
        for failure in [
            refusal("tools.0: invalid schema"),
            GenerationFailure { is_retryable: true, ..refusal("image service busy") },
            GenerationFailure { kind: FailureKind::Authentication, ..refusal("no image for you") },
            lasting(FailureKind::InvalidRequest, "an image, without a status"),
        ] {
            assert!(!Repairs::default().learn(&messages, &json!({}), &failure, None), "{failure}");
        }
        assert!(matches!(Repairs::default().apply(&messages), Cow::Borrowed(_)));
    }
}
