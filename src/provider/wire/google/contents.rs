//! [`Contents`]: messages to contents, which are turns of parts.
//!
//! Called by `encode`. The places of an answer's parts come from its [`ContentLayout`].

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::NAME;
use super::layout::{ContentLayout, LayoutPart, Placed};
use crate::content::{Content, ExpertPart, ResultPart};
use crate::json_text::write;
use crate::message::Message;
use crate::provider::tool_names;
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::media::{Media, MediaLimits};
use crate::provider::wire::settled_text::SettledText;

/// The signature that Google documents for calls that another model made, which have no signature
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>). Of its two values, the one that Vertex AI documents
/// too.
const FOREIGN_SIGNATURE: &str = "skip_thought_signature_validator";

/// The rules of the model and the service for a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRules {
    /// A turn's first call has a signature, and media of results are within them.
    pub(super) is_current: bool,
    /// Calls of Google's own tools and their answers are sent back.
    pub(super) takes_tool_parts: bool,
}

/// The contents so far, none of them empty.
pub(super) struct Contents {
    rules: ContentRules,
    /// All but the end of the last one, whose list of parts may go on.
    text: SettledText,
    last: Option<Kind>,
    /// The calls of the latest answer.
    calls: Vec<SentCall>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    User,
    Model,
    /// A user's turn too, but of results alone: there must be as many as calls.
    Results,
}

impl Contents {
    /// None yet.
    pub(super) fn new(rules: ContentRules) -> Self {
        Self { rules, text: SettledText::default(), last: None, calls: Vec::new() }
    }

    /// Adds a message.
    pub(super) fn add(&mut self, message: &Message) {
        let rules = self.rules;
        let (kind, parts) = match message {
            Message::InstructionMessage { .. } => return,
            Message::UserMessage { contents, .. } => (Kind::User, contents.iter().filter_map(user_part).collect()),
            Message::ExpertMessage { contents, .. } => {
                let (parts, calls) = model_parts(contents, rules);
                self.calls = calls;
                (Kind::Model, parts)
            }
            Message::ToolMessage { contents, .. } => (Kind::Results, result_parts(contents, &self.calls, rules)),
        };
        if parts.is_empty() {
            return;
        }
        let begin = match (kind, self.last.replace(kind)) {
            // Calls must follow the user's turn directly, in one turn with the text before them.
            (kind, Some(last)) if kind == last => ",",
            (Kind::Model, None) => r#"{"role":"model","parts":["#,
            (Kind::Model, Some(_)) => r#"]},{"role":"model","parts":["#,
            (_, None) => r#"{"role":"user","parts":["#,
            (_, Some(_)) => r#"]},{"role":"user","parts":["#,
        };
        let mut text = begin.as_bytes().to_vec();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            write(&mut text, part);
        }
        self.text.push(text);
    }

    /// Writes the list.
    pub(super) fn write(&self, body: &mut BodyText) {
        body.text("[");
        body.settled(&self.text);
        body.text(if self.last.is_some() { "]}]" } else { "]" });
    }
}

/// A call as it was sent: the results follow in this order.
struct SentCall {
    tool_call_id: String,
    /// The id that Google gave it.
    id: Option<String>,
}

/// An answer's parts in their places, and its calls. Empty for thoughts alone, as of an answer that was cut off.
fn model_parts(contents: &[ExpertPart], rules: ContentRules) -> (Vec<Value>, Vec<SentCall>) {
    let mut answer = Answer::new(contents);
    let mut parts = Vec::new();
    for placed in std::mem::take(&mut answer.layout.parts) {
        parts.extend(answer.part(placed, rules));
    }
    for at in 0..answer.calls.len() {
        parts.extend(answer.call(at, None, None));
    }
    if rules.is_current
        && let Some(Value::Object(first)) = parts.iter_mut().find(|part| part.get("functionCall").is_some())
    {
        first.entry("thoughtSignature").or_insert_with(|| json!(FOREIGN_SIGNATURE));
    }
    if parts.iter().all(|part| part.get("thought").is_some()) {
        parts.clear();
    }
    (parts, answer.sent)
}

/// An answer while it is laid out.
struct Answer<'a> {
    layout: ContentLayout,
    thoughts: String,
    texts: String,
    /// Bytes of the thoughts and the texts that have been sent.
    thoughts_sent: usize,
    texts_sent: usize,
    /// Tool's name as it is sent, id and arguments of calls that were not sent yet.
    calls: Vec<Option<(Cow<'a, str>, &'a str, &'a Value)>>,
    sent: Vec<SentCall>,
}

impl<'a> Answer<'a> {
    fn new(contents: &'a [ExpertPart]) -> Self {
        let (mut thoughts, mut texts, mut calls) = (String::new(), String::new(), Vec::new());
        let (mut stored, mut plain) = (None, ContentLayout::default());
        for part in contents {
            match part {
                ExpertPart::ThinkingPart { thinking, .. } if thinking.protocol.as_deref() == Some(NAME) => {
                    if let Some(block) = &thinking.opaque {
                        stored = ContentLayout::from_block(block);
                    } else {
                        thoughts.push_str(&thinking.thinking);
                        plain.push(LayoutPart::Thought(thinking.thinking.len()), None);
                    }
                }
                // Another protocol's.
                ExpertPart::ThinkingPart { .. } | ExpertPart::OpaquePart { .. } => {}
                ExpertPart::TextPart { text, .. } => {
                    texts.push_str(text);
                    // Not joined to the one before: they are parts of their own.
                    plain.parts.push(Placed { part: LayoutPart::Text(text.len()), signature: None });
                }
                ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
                    calls.push(Some((tool_names::short(tool_name), tool_call_id.as_str(), args)));
                }
            }
        }
        let layout = match stored {
            Some(layout) if layout.covers(&thoughts, &texts) => layout,
            // The texts are others than those that were signed: only the rest applies.
            Some(layout) => {
                let rest = layout.parts.into_iter();
                plain
                    .parts
                    .extend(rest.filter(|placed| !matches!(placed.part, LayoutPart::Thought(_) | LayoutPart::Text(_))));
                plain
            }
            None => plain,
        };
        Self { layout, thoughts, texts, thoughts_sent: 0, texts_sent: 0, calls, sent: Vec::new() }
    }

    fn part(&mut self, placed: Placed, rules: ContentRules) -> Option<Value> {
        let signature = placed.signature;
        match placed.part {
            LayoutPart::Thought(length) => {
                let thought = slice(&self.thoughts, &mut self.thoughts_sent, length);
                prose(thought, &[("thought", json!(true))], signature)
            }
            LayoutPart::Text(length) => prose(slice(&self.texts, &mut self.texts_sent, length), &[], signature),
            LayoutPart::Call { name, id } => {
                let is_of_tool =
                    |call: &Option<(Cow<'_, str>, &str, &Value)>| call.as_ref().is_some_and(|(tool, ..)| *tool == name);
                self.call(self.calls.iter().position(is_of_tool)?, id, signature)
            }
            LayoutPart::Part(part) => {
                let is_tool_part = part.get("toolCall").or_else(|| part.get("toolResponse")).is_some();
                (rules.takes_tool_parts || !is_tool_part).then_some(part)
            }
        }
    }

    /// The call at a place among the calls, unless it has been sent.
    fn call(&mut self, at: usize, id: Option<String>, signature: Option<String>) -> Option<Value> {
        let (name, tool_call_id, args) = self.calls.get_mut(at)?.take()?;
        let mut call = Map::new();
        call.extend(id.as_ref().map(|id| ("id".to_owned(), json!(id))));
        call.insert("name".into(), json!(name));
        call.insert("args".into(), if args.is_object() { args.clone() } else { json!({}) });
        self.sent.push(SentCall { tool_call_id: tool_call_id.to_owned(), id });
        let mut part = json!({"functionCall": call});
        sign(&mut part, signature);
        Some(part)
    }
}

/// The next bytes of a text. Layouts that do not fit their texts are not used.
fn slice<'a>(text: &'a str, sent: &mut usize, length: usize) -> &'a str {
    let from = *sent;
    *sent = from.saturating_add(length);
    text.get(from..*sent).unwrap_or_default()
}

/// A text; an empty one only with the signature that it is for.
fn prose(text: &str, fields: &[(&str, Value)], signature: Option<String>) -> Option<Value> {
    if text.is_empty() && signature.is_none() {
        return None;
    }
    let mut part = Map::new();
    part.insert("text".into(), json!(text));
    part.extend(fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let mut part = Value::Object(part);
    sign(&mut part, signature);
    Some(part)
}

fn sign(part: &mut Value, signature: Option<String>) {
    if let (Value::Object(part), Some(signature)) = (part, signature) {
        part.insert("thoughtSignature".into(), json!(signature));
    }
}

/// Text or media; `None` for empty text.
fn user_part(content: &Content) -> Option<Value> {
    match Part::from_content(content) {
        Part::Text(text) => (!text.is_empty()).then(|| json!({"text": text})),
        Part::Inline(data) | Part::File(data) => Some(data),
    }
}

/// A content as Gemini takes it.
enum Part<'a> {
    Text(Cow<'a, str>),
    Inline(Value),
    /// A file to be fetched by Google, which only users' turns take.
    File(Value),
}

impl<'a> Part<'a> {
    fn from_content(content: &'a Content) -> Self {
        match Media::from_content(content, MediaLimits::USUAL) {
            Media::Text(text) => Self::Text(text),
            // Every other type of image that is known here is one of Gemini's, too.
            Media::Image { mime_type: "image/gif", .. } => {
                Self::Text("[an image of type image/gif was left out: Gemini takes JPEG, PNG and WebP]".into())
            }
            Media::Image { mime_type, data } => Self::Inline(inline(mime_type, &data)),
            Media::Pdf { data } => Self::Inline(inline("application/pdf", &data)),
            Media::ImageUrl(url) => Self::File(file(image_type(content, url), url)),
            Media::PdfUrl(url) => Self::File(file(Some("application/pdf"), url)),
        }
    }
}

fn inline(mime_type: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": mime_type, "data": data}})
}

fn file(mime_type: Option<&str>, url: &str) -> Value {
    match mime_type {
        Some(mime_type) => json!({"fileData": {"mimeType": mime_type, "fileUri": url}}),
        None => json!({"fileData": {"fileUri": url}}),
    }
}

/// The type that the part names, else that of the address's ending.
fn image_type<'a>(content: &'a Content, url: &str) -> Option<&'a str> {
    if let Content::ImageUrlPart { mime_type, .. } | Content::FileUrlPart { mime_type, .. } = content
        && mime_type.contains('/')
    {
        return Some(mime_type);
    }
    let path = url.split(['?', '#']).next().unwrap_or(url).to_ascii_lowercase();
    let types = [(".png", "image/png"), (".jpg", "image/jpeg"), (".jpeg", "image/jpeg"), (".webp", "image/webp")];
    types.into_iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, mime_type)| mime_type)
}

/// The results in the order of their calls, followed by the media that cannot be within them.
fn result_parts(results: &[ResultPart], calls: &[SentCall], rules: ContentRules) -> Vec<Value> {
    let place = |id: &str| calls.iter().position(|call| call.tool_call_id == id);
    let mut results: Vec<&ResultPart> = results.iter().collect();
    results.sort_by_key(|ResultPart::ToolResultPart { tool_call_id, .. }| place(tool_call_id).unwrap_or(usize::MAX));
    let (mut parts, mut behind) = (Vec::new(), Vec::new());
    for ResultPart::ToolResultPart { tool_call_id, tool_name, contents, is_error, .. } in results {
        let (mut texts, mut within, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for content in contents {
            match Part::from_content(content) {
                Part::Text(text) => texts.push(text),
                Part::Inline(data) if rules.is_current => within.push(data),
                Part::Inline(data) | Part::File(data) => moved.push(data),
            }
        }
        if !moved.is_empty() {
            texts.push("[an image or a file of this result follows the results]".into());
            behind.push(json!({"text": format!("From the result of {tool_name}:")}));
            behind.append(&mut moved);
        }
        let mut response = Map::new();
        let id = place(tool_call_id).and_then(|at| calls.get(at)?.id.as_deref());
        response.extend(id.map(|id| ("id".to_owned(), json!(id))));
        response.insert("name".into(), json!(tool_names::short(tool_name)));
        // A text even where a tool gave JSON: Google reads some keys in it (`$ref`) as its own.
        let key = if *is_error { "error" } else { "output" };
        response.insert("response".into(), json!({key: texts.join("\n")}));
        if !within.is_empty() {
            response.insert("parts".into(), Value::Array(within));
        }
        parts.push(json!({"functionResponse": response}));
    }
    parts.append(&mut behind);
    parts
}

#[cfg(test)]
mod tests;
