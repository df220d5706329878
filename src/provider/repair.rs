//! [`Repairs`]: what a provider refused of a conversation, and which requests therefore leave out or write otherwise.
//!
//! A provider refuses a whole request for one part: an image that it cannot read, reasoning that it cannot decrypt, ids
//! of calls in another server's form. The part would be in every later request of the conversation too. `generate` asks
//! here after a refusal whether another request is worth sending, and sends it.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::content::{Content, ExpertPart, ResultPart};
use crate::generation::{FailureKind, GenerationFailure};
use crate::message::Message;
use crate::provider::call_ids::CallIds;
use crate::provider::failure::shortened;

/// Most repairs of one request; each leaves out something more.
pub(super) const REPAIR_LIMIT: usize = 4;

/// Most characters of the provider's reason in a note.
const REASON_LIMIT: usize = 200;

/// The refusals so far.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Parts, by a hash of their data, with the note that replaces them.
    parts: HashMap<u64, String>,
    /// Ids of calls are sent as nine letters and digits, which every server takes.
    has_short_ids: bool,
}

/// A reason to send a refused request once more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repair {
    /// Something is lost to the model, which the owner of the run should know.
    pub(super) warning: Option<String>,
}

/// The kind of part that a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    Media,
    Reasoning,
    CallIds,
}

impl Repairs {
    /// The messages without refused parts.
    pub(super) fn apply<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        if self.count() == 0 || (!self.has_short_ids && !messages.iter().any(|message| self.has_refused(message))) {
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
                    contents.retain(|part| reasoning(part).is_none_or(|key| !self.parts.contains_key(&key)));
                }
                Message::InstructionMessage { .. } => {}
            }
            if self.has_short_ids {
                ids(message).for_each(|id| *id = CallIds::Mistral.wire(id).into_owned());
            }
        }
        Cow::Owned(messages)
    }

    /// The number of refusals. As long as it is the same, [`Repairs::apply`] does the same.
    pub(super) fn count(&self) -> usize {
        self.parts.len().saturating_add(usize::from(self.has_short_ids))
    }

    /// Learns from a refusal what to leave out or write otherwise; `None` when it is about nothing of that kind, or
    /// nothing more can be done. `body` is the refused request, in which the refusal may name a place; `code` is the
    /// provider's.
    pub(super) fn learn(
        &mut self,
        messages: &[Message],
        body: &Value,
        failure: &GenerationFailure,
        code: Option<&str>,
    ) -> Option<Repair> {
        let refused: Vec<u64> = match complaint(failure, code)? {
            Complaint::CallIds => return self.learn_ids(messages),
            Complaint::Reasoning => parts(messages).filter_map(reasoning).collect(),
            Complaint::Media => self.suspects(messages, body, &failure.message),
        };
        let refused: Vec<u64> = refused.into_iter().filter(|key| !self.parts.contains_key(key)).collect();
        if refused.is_empty() {
            return None;
        }
        let reason = shortened(failure.message.lines().next().unwrap_or_default(), REASON_LIMIT);
        let lost: Vec<&str> = contents(messages)
            .filter(|content| media(content).is_some_and(|data| refused.contains(&key(data))))
            .map(kind)
            .collect();
        let note = format!("[a file was left out: the model's provider refused it: {reason}]");
        self.parts.extend(refused.into_iter().map(|key| (key, note.clone())));
        let warning = (!lost.is_empty()).then(|| {
            format!("the model's provider refused {}, so the model gets a note instead: {reason}", lost.join(", "))
        });
        Some(Repair { warning })
    }

    /// `None` when the ids have the form already.
    fn learn_ids(&mut self, messages: &[Message]) -> Option<Repair> {
        let mut ids = messages.iter().flat_map(Message::call_ids);
        let has_others = ids.any(|id| CallIds::Mistral.wire(id) != id);
        if self.has_short_ids || !has_others {
            return None;
        }
        self.has_short_ids = true;
        Some(Repair { warning: None })
    }

    /// The media that a refusal may be about: that at the place it names, else those since the last answer, which the
    /// provider has not accepted before, else all.
    fn suspects(&self, messages: &[Message], body: &Value, message: &str) -> Vec<u64> {
        let sent = |messages: &[Message]| -> Vec<u64> {
            contents(messages).filter_map(media).map(key).filter(|key| !self.parts.contains_key(key)).collect()
        };
        if let Some(place) = named_place(body, message) {
            let text = place.to_string();
            let named: Vec<u64> =
                contents(messages).filter_map(media).filter(|data| text.contains(*data)).map(key).collect();
            if named.iter().any(|key| !self.parts.contains_key(key)) {
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
            .any(|key| self.parts.contains_key(&key))
    }

    fn replace(&self, contents: &mut [Content]) {
        for content in contents {
            if let Some(note) = media(content).and_then(|data| self.parts.get(&key(data))) {
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
    // Under any status: templates of open models raise it as an error of the server's own.
    if failure.status_code.is_some() && is_about_ids(&failure.message.to_ascii_lowercase()) {
        return Some(Complaint::CallIds);
    }
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

/// Returns true for a message about the form of calls' ids, in lower case: Mistral's own, those of the templates and of the
/// library of its open models, and the patterns of others. A missing or unknown id is another matter.
fn is_about_ids(message: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let names_ids = has(&["tool call id", "tool_call_id", "toolcallid", "tool-call id", "tool_use.id", "tool_use_id"])
        || has(&["tooluseid"])
        || (message.contains("tool_calls") && has(&["].id", ".id:", ".id'"]));
    let names_form = has(&["length of 9", "length 9", "9 character", "nine character", "alphanumeric"])
        || has(&["a-z0-9", "a-z, 0-9", "match pattern", "expression pattern"]);
    names_ids && names_form
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

/// The ids of calls, and of results for them.
fn ids(message: &mut Message) -> Box<dyn Iterator<Item = &mut String> + '_> {
    match message {
        Message::ExpertMessage { contents, .. } => Box::new(contents.iter_mut().filter_map(|part| match part {
            ExpertPart::ToolCallPart { tool_call_id, .. } => Some(tool_call_id),
            _ => None,
        })),
        Message::ToolMessage { contents, .. } => {
            Box::new(contents.iter_mut().map(|ResultPart::ToolResultPart { tool_call_id, .. }| tool_call_id))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// The kind of a part that is not text, for a person.
fn kind(content: &Content) -> &'static str {
    match content {
        Content::ImageUrlPart { .. } | Content::ImageInlinePart { .. } | Content::ImageBinaryPart { .. } => "an image",
        _ => "a document",
    }
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
