//! [`ChatEncoder`]: requests to Chat Completions bodies.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::NAME;
use super::attached;
use super::dialect::{Dialect, SentReasoning};
use crate::content::{Content, ExpertPart, ResultPart};
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::call_ids::CallIds;
use crate::provider::tool_names;
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::media::{Media, MediaLimits};
use crate::provider::wire::settled_text::{Edit, SettledText, json};
use crate::provider::wire::text_message;
use crate::provider::{EncodedRequest, Encoder};

/// The note in a result in place of an image or a file: tool messages are text.
const MOVED_NOTE: &str = "[an image or a file of this result is in the next user message]";

/// The fields of an answer before its reasoning: role and content.
const BEFORE_REASONING: usize = 2;

/// Writes the requests of one conversation. Of equal requests the bodies are equal byte for byte. Two requests of one
/// turn begin alike, as prompt caching needs it. Every message is settled at once, but for the reasoning of the turn
/// under way.
pub(super) struct ChatEncoder {
    dialect: Dialect,
    ids: CallIds,
    sent: SentReasoning,
    /// The list of tools; `None` without any.
    tools: Option<Bytes>,
    messages: SettledText,
    turn: OpenTurn,
}

/// The turn under way, which is what follows a message of the user.
#[derive(Default)]
struct OpenTurn {
    has_calls: bool,
    /// The removal of each reasoning when the turn ends, or its insertion when the turn has calls.
    edits: Vec<Edit>,
}

impl ChatEncoder {
    pub(super) fn new(request: &GenerateRequest<'_>, dialect: Dialect) -> Self {
        Self {
            dialect,
            ids: CallIds::for_model(request.model),
            sent: dialect.reasoning(request),
            tools: tools(request),
            messages: SettledText::default(),
            turn: OpenTurn::default(),
        }
    }

    fn add_answer(&mut self, contents: &[ExpertPart], has_calls: bool) {
        if has_calls && !self.turn.has_calls {
            self.turn.has_calls = true;
            if self.sent == SentReasoning::OfTurnsWithCalls {
                self.messages.edit(std::mem::take(&mut self.turn.edits));
            }
        }
        let Some((message, reasoning)) = assistant(contents, self.dialect, self.ids) else { return };
        let field = ("reasoning_content", reasoning.as_str());
        match self.sent {
            SentReasoning::OfThisTurn if has_calls && !reasoning.is_empty() => {
                self.turn.edits.push(self.messages.push_object(&message, BEFORE_REASONING, field));
            }
            SentReasoning::OfTurnsWithCalls if self.turn.has_calls => {
                self.messages.push_object(&message, BEFORE_REASONING, field);
            }
            SentReasoning::OfTurnsWithCalls => {
                self.turn.edits.push(self.messages.push_object_without(&message, BEFORE_REASONING, field));
            }
            SentReasoning::OfThisTurn | SentReasoning::Never => self.messages.push_items(&[Value::Object(message)]),
        }
    }
}

impl Encoder for ChatEncoder {
    fn add(&mut self, message: &Message) {
        match message {
            Message::InstructionMessage { contents, .. } => {
                self.messages.push_items(&[text_message::instruction(contents)]);
            }
            Message::UserMessage { contents, .. } => {
                let ended = std::mem::take(&mut self.turn);
                if self.sent == SentReasoning::OfThisTurn {
                    self.messages.edit(ended.edits);
                }
                let parts = contents.iter().map(|content| sendable(content, self.dialect)).collect();
                let item = user_content(parts).map(|content| json!({"role": "user", "content": content}));
                self.messages.push_items(item.as_slice());
            }
            Message::ExpertMessage { contents, .. } => self.add_answer(contents, message.call_ids().next().is_some()),
            Message::ToolMessage { contents, .. } => {
                let mut items = Vec::new();
                results(contents, self.dialect, self.ids, &mut items);
                self.messages.push_items(&items);
            }
        }
    }

    fn set_tools(&mut self, request: &GenerateRequest<'_>) {
        self.tools = tools(request);
    }

    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        let mut body = BodyText::new();
        body.field("model", request.model);
        body.field("stream", &true);
        // Without it most servers send no usage at all.
        body.field("stream_options", &json!({"include_usage": true}));
        if let Some(limit) = request.max_output_tokens {
            body.field(self.dialect.name_of_limit(request.model), &limit);
        }
        body.fields(&self.dialect.fields(request));
        if let Some(tools) = &self.tools {
            body.shared("tools", tools);
            // The word, not the object form, which some servers ignore.
            body.field("tool_choice", "auto");
        }
        body.list("messages", &self.messages);
        EncodedRequest { path: "/chat/completions".to_owned(), headers: Vec::new(), body: body.finish() }
    }
}

/// The list of tools; `None` without any.
fn tools(request: &GenerateRequest<'_>) -> Option<Bytes> {
    let tools = request.tools.iter().map(|spec| text_message::function(spec, &tool_names::short(&spec.name)));
    let tools: Vec<Value> = tools.collect();
    (!tools.is_empty()).then(|| json(&tools).into())
}

/// A part, or a note in its place where the server does not take it.
fn sendable(content: &Content, dialect: Dialect) -> Media<'_> {
    match Media::from_content(content, MediaLimits::USUAL) {
        Media::Image { mime_type, .. } if !dialect.takes_images() => {
            Media::Text(format!("[an image ({mime_type}) was left out: only text can be sent to this model]").into())
        }
        Media::ImageUrl(url) if !dialect.takes_images() => {
            Media::Text(format!("[an image that was not sent: {url}]").into())
        }
        Media::Pdf { .. } if !dialect.takes_files() => {
            Media::Text("[a PDF file was left out: this provider does not take files]".into())
        }
        // The protocol takes no file by its address.
        Media::PdfUrl(url) => Media::Text(format!("[a PDF file that was not sent: {url}]").into()),
        other => other,
    }
}

/// Text alone as a string, which every server takes; a list only where it must be one. `None` for nothing at all.
fn user_content(parts: Vec<Media<'_>>) -> Option<Value> {
    let parts: Vec<Media<'_>> =
        parts.into_iter().filter(|part| !matches!(part, Media::Text(text) if text.is_empty())).collect();
    if parts.is_empty() {
        return None;
    }
    let texts: Option<Vec<&str>> = parts.iter().map(as_text).collect();
    Some(match texts {
        Some(texts) => json!(texts.join("\n")),
        None => parts.iter().map(user_part).collect(),
    })
}

fn as_text<'a>(part: &'a Media<'_>) -> Option<&'a str> {
    match part {
        Media::Text(text) => Some(text),
        _ => None,
    }
}

fn user_part(part: &Media<'_>) -> Value {
    match part {
        Media::Text(text) => json!({"type": "text", "text": text}),
        Media::ImageUrl(url) => image_part(url),
        Media::Image { mime_type, data } => image_part(&format!("data:{mime_type};base64,{data}")),
        Media::PdfUrl(url) => json!({"type": "text", "text": url}),
        Media::Pdf { data } => {
            // The protocol asks for a name; the stored part has none.
            let data = format!("data:application/pdf;base64,{data}");
            json!({"type": "file", "file": {"filename": "file.pdf", "file_data": data}})
        }
    }
}

fn image_part(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// An answer without its reasoning, and the reasoning. `None` for an answer of which nothing can be sent.
fn assistant(contents: &[ExpertPart], dialect: Dialect, ids: CallIds) -> Option<(Map<String, Value>, String)> {
    let (mut texts, mut reasoning, mut calls) = (Vec::new(), String::new(), Vec::new());
    for part in contents {
        match part {
            ExpertPart::ThinkingPart { thinking, .. } if thinking.protocol.as_deref() == Some(NAME) => {
                reasoning.push_str(&thinking.thinking);
            }
            ExpertPart::ThinkingPart { .. } | ExpertPart::OpaquePart { .. } => {}
            ExpertPart::TextPart { text, .. } => texts.push(text.as_str()),
            ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
                // Servers answer 500 to arguments that are no JSON object, each time the conversation is sent.
                let arguments = if args.is_object() { args.to_string() } else { "{}".to_owned() };
                let function = json!({"name": tool_names::short(tool_name), "arguments": arguments});
                calls.push(json!({"id": ids.wire(tool_call_id), "type": "function", "function": function}));
            }
        }
    }
    if texts.is_empty() && calls.is_empty() {
        return None;
    }
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    // Empty, not null and not absent: those are a 500 on some servers.
    message.insert("content".into(), json!(texts.join("\n")));
    if dialect.attaches_fields() {
        for part in contents {
            if let ExpertPart::ThinkingPart { thinking, .. } = part
                && thinking.protocol.as_deref() == Some(NAME)
                && let Some(block) = &thinking.opaque
            {
                attached::restore(block, &mut message, &mut calls);
            }
        }
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    Some((message, reasoning))
}

/// All results follow the calls at once; parts that are not text come after them, in one user message.
fn results(parts: &[ResultPart], dialect: Dialect, ids: CallIds, items: &mut Vec<Value>) {
    let mut moved = Vec::new();
    for part in parts {
        let ResultPart::ToolResultPart { tool_call_id, .. } = part;
        let text = text_message::result_text(part, |content| sendable(content, dialect), MOVED_NOTE, &mut moved);
        items.push(json!({"role": "tool", "tool_call_id": ids.wire(tool_call_id), "content": text}));
    }
    items.extend(user_content(moved).map(|content| json!({"role": "user", "content": content})));
}

#[cfg(test)]
mod tests;
