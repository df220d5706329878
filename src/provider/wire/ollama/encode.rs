//! [`OllamaEncoder`]: requests to chat bodies.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::NAME;
use super::think::think;
use crate::content::{Content, ExpertPart, ResultPart};
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::media::{Media, MediaLimits};
use crate::provider::wire::settled_text::{Edit, SettledText, json};
use crate::provider::wire::text_message;
use crate::provider::{EncodedRequest, Encoder};

/// The note in a result in place of an image: tool messages are text.
const MOVED_NOTE: &str = "[an image of this result is in the next user message]";

/// Writes the requests of one conversation. Of equal requests the bodies are equal byte for byte. Every message is settled
/// at once, but for the thinking of the turn under way, which leaves the text when the turn ends.
///
/// The size of the context (`num_ctx`) is left to the server: it depends on the machine's memory and on its owner's
/// settings, a model's whole window may need more memory than there is, and another size makes the server load the
/// model again. But the server by default drops what does not fit in silence; `truncate` and `shift` forbid that.
/// Servers that do not know these two ignore them.
pub(super) struct OllamaEncoder {
    /// The list of tools; `None` without any.
    tools: Option<Bytes>,
    messages: SettledText,
    /// The removal of each thinking in the turn under way.
    removals: Vec<Edit>,
}

impl Encoder for OllamaEncoder {
    fn add(&mut self, message: &Message) {
        match message {
            Message::InstructionMessage { contents, .. } => {
                self.messages.push_items(&[text_message::instruction(contents)]);
            }
            Message::UserMessage { contents, .. } => {
                self.messages.edit(std::mem::take(&mut self.removals));
                let parts = contents.iter().map(sendable).collect();
                self.messages.push_items(user(parts).as_slice());
            }
            Message::ExpertMessage { contents, .. } => self.add_answer(contents),
            Message::ToolMessage { contents, .. } => {
                let mut items = Vec::new();
                results(contents, &mut items);
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
        body.field("truncate", &false);
        body.field("shift", &false);
        if let Some(think) = think(request.model, request.reasoning) {
            body.field("think", &think);
        }
        if let Some(limit) = request.max_output_tokens {
            body.field("options", &json!({"num_predict": limit}));
        }
        if let Some(tools) = &self.tools {
            body.shared("tools", tools);
        }
        body.list("messages", &self.messages);
        EncodedRequest { path: "/chat".to_owned(), headers: Vec::new(), body: body.finish() }
    }
}

impl OllamaEncoder {
    pub(super) fn new(request: &GenerateRequest<'_>) -> Self {
        Self { tools: tools(request), messages: SettledText::default(), removals: Vec::new() }
    }

    /// Thinking goes back only within the turn that made it and with the calls it led to, which is where models want it.
    fn add_answer(&mut self, contents: &[ExpertPart]) {
        let Some((message, thinking)) = assistant(contents) else { return };
        if thinking.is_empty() || !message.contains_key("tool_calls") {
            return self.messages.push_items(&[Value::Object(message)]);
        }
        self.removals.push(self.messages.push_object(&message, BEFORE_THINKING, ("thinking", &thinking)));
    }
}

/// The list of tools; `None` without any.
fn tools(request: &GenerateRequest<'_>) -> Option<Bytes> {
    let tools: Vec<Value> = request.tools.iter().map(|spec| text_message::function(spec, &spec.name)).collect();
    (!tools.is_empty()).then(|| json(&tools).into())
}

/// The fields of an answer before its thinking: role and content.
const BEFORE_THINKING: usize = 2;

/// A part as text or as an image, the only ones that the protocol takes.
fn sendable(content: &Content) -> Media<'_> {
    let note = match Media::from_content(content, MediaLimits::USUAL) {
        Media::Image { mime_type: "image/gif", .. } => {
            "[a GIF image was left out: only JPEG, PNG and WebP images can be sent]".to_owned()
        }
        Media::ImageUrl(url) => format!("[an image that was not sent: {url}]"),
        Media::PdfUrl(url) => format!("[a PDF file that was not sent: {url}]"),
        Media::Pdf { .. } => "[a PDF file was left out: only text and images can be sent to this model]".to_owned(),
        other @ (Media::Text(_) | Media::Image { .. }) => return other,
    };
    Media::Text(note.into())
}

/// A user message; `None` for nothing at all.
fn user(parts: Vec<Media<'_>>) -> Option<Value> {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Media::Text(text) if text.is_empty() => {}
            Media::Text(text) => texts.push(text),
            Media::Image { data, .. } => images.push(data),
            // Not made by `sendable`.
            Media::ImageUrl(_) | Media::PdfUrl(_) | Media::Pdf { .. } => {}
        }
    }
    match (texts.is_empty(), images.is_empty()) {
        (true, true) => None,
        (_, true) => Some(json!({"role": "user", "content": texts.join("\n")})),
        (_, false) => Some(json!({"role": "user", "content": texts.join("\n"), "images": images})),
    }
}

/// An answer without its thinking, and the thinking. `None` for an answer of which nothing can be sent.
fn assistant(contents: &[ExpertPart]) -> Option<(Map<String, Value>, String)> {
    let (mut texts, mut thinking, mut calls) = (Vec::new(), String::new(), Vec::new());
    for part in contents {
        match part {
            ExpertPart::ThinkingPart { thinking: part, .. } if part.protocol.as_deref() == Some(NAME) => {
                thinking.push_str(&part.thinking);
            }
            ExpertPart::ThinkingPart { .. } | ExpertPart::OpaquePart { .. } => {}
            ExpertPart::TextPart { text, .. } => texts.push(text.as_str()),
            ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
                let arguments = if args.is_object() { args.clone() } else { json!({}) };
                calls.push(json!({"id": tool_call_id, "function": {"name": tool_name, "arguments": arguments}}));
            }
        }
    }
    if texts.is_empty() && calls.is_empty() {
        return None;
    }
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    message.insert("content".into(), json!(texts.join("\n")));
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    Some((message, thinking))
}

/// All results follow the calls at once; their images come after them, in one user message.
fn results(parts: &[ResultPart], items: &mut Vec<Value>) {
    let mut moved = Vec::new();
    for part in parts {
        let ResultPart::ToolResultPart { tool_call_id, tool_name, .. } = part;
        let text = text_message::result_text(part, sendable, MOVED_NOTE, &mut moved);
        items.push(json!({"role": "tool", "tool_name": tool_name, "tool_call_id": tool_call_id, "content": text}));
    }
    items.extend(user(moved));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{NativeTools, Occasion};
    use crate::provider::Protocol as _;
    use crate::provider::wire::ollama::OllamaChat;
    use crate::provider::wire::openai::ERROR_NOTE;
    use crate::setting::ReasoningBudget;
    use crate::tool::{ToolHints, ToolKind, ToolSpec};

    fn encode(model: &str, messages: Value, tools: &[ToolSpec], max_output_tokens: Option<u64>) -> Value {
        let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
        let request = GenerateRequest {
            model,
            messages: &messages,
            tools,
            reasoning: ReasoningBudget::Low,
            max_output_tokens,
            native: NativeTools::default(),
            found: 0,
            occasion: Occasion::default(),
        };
        OllamaChat.encode(&request).body.json()
    }

    fn sent(messages: Value) -> Value {
        encode("gemma3:4b", messages, &[], None)["messages"].take()
    }

    fn text(text: &str) -> Value {
        json!({"type": "textPart", "id": "p", "text": text})
    }

    fn user(parts: &Value) -> Value {
        json!({"type": "userMessage", "id": "u", "contents": parts})
    }

    fn expert(parts: &Value) -> Value {
        json!({"type": "expertMessage", "id": "e", "contents": parts})
    }

    fn thought(protocol: &str) -> Value {
        json!({"type": "thinkingPart", "id": "p", "thinking": "Hm.", "protocol": protocol})
    }

    fn call(id: &str, args: &Value) -> Value {
        json!({"type": "toolCallPart", "id": "p", "toolCallId": id, "toolName": "search", "args": args})
    }

    fn result(id: &str, contents: &Value, is_error: bool) -> Value {
        json!({"type": "toolResultPart", "id": "p", "toolCallId": id, "toolName": "search", "contents": contents,
               "isError": is_error})
    }

    fn sent_call(id: &str, arguments: &Value) -> Value {
        json!({"id": id, "function": {"name": "search", "arguments": arguments}})
    }

    #[test]
    fn a_whole_request_is_as_documented() {
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]});
        let spec = ToolSpec {
            skill_name: "web".into(),
            name: "search".into(),
            description: Some("Searches.".into()),
            input_schema: schema.as_object().unwrap().clone().into(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        };
        let messages = json!([
            {"type": "instructionMessage", "id": "i", "contents": [text("You are"), text("an owl.")]},
            user(&json!([text("Which file?")])),
            expert(&json!([thought(NAME), text("Looking."), call("call_1", &json!({"q": "owl"}))])),
            {"type": "toolMessage", "id": "t", "contents": [result("call_1", &json!([text("birds.md")]), false)]},
        ]);
        let expected = json!({
            "model": "gpt-oss:20b",
            "stream": true,
            "truncate": false,
            "shift": false,
            "think": "low",
            "options": {"num_predict": 8192},
            "tools": [{"type": "function", "function": {"name": "search", "description": "Searches.", "parameters": schema}}],
            "messages": [
                {"role": "system", "content": "You are\nan owl."},
                {"role": "user", "content": "Which file?"},
                {"role": "assistant", "content": "Looking.", "thinking": "Hm.",
                 "tool_calls": [sent_call("call_1", &json!({"q": "owl"}))]},
                {"role": "tool", "tool_name": "search", "tool_call_id": "call_1", "content": "birds.md"},
            ],
        });
        assert_eq!(encode("gpt-oss:20b", messages, &[spec], Some(8192)).to_string(), expected.to_string());
    }

    #[test]
    fn empty_parts_are_left_out() {
        let expected = json!({"model": "gemma3:4b", "stream": true, "truncate": false, "shift": false, "messages": []});
        let nothing = json!([user(&json!([text("")])), expert(&json!([thought(NAME)]))]);
        assert_eq!(encode("gemma3:4b", nothing, &[], None), expected);
    }

    #[test]
    fn thinking_goes_back_within_its_turn_and_with_its_calls_only() {
        let answer = |protocol| expert(&json!([thought(protocol), call("c", &json!({}))]));
        let messages = json!([
            user(&json!([text("1")])),
            answer(NAME),
            user(&json!([text("2")])),
            answer("openai-chat"),
            answer(NAME),
            expert(&json!([thought(NAME), text("yes")])),
        ]);
        let calls = json!([sent_call("c", &json!({}))]);
        let expected = json!([
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "user", "content": "2"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": calls},
            {"role": "assistant", "content": "yes"},
        ]);
        assert_eq!(sent(messages), expected);
    }

    #[test]
    fn arguments_that_are_no_object_are_sent_as_an_empty_one() {
        let messages = json!([expert(&json!([call("c", &json!("{\"q"))]))]);
        assert_eq!(sent(messages)[0]["tool_calls"], json!([sent_call("c", &json!({}))]));
    }

    #[test]
    fn images_are_sent_and_other_files_are_noted() {
        let image = |kind: &str, data: &str| json!({"type": "imageInlinePart", "encodedData": data, "mimeType": kind});
        let parts = json!([
            text("See:"),
            image("image/png", "iVBORw0KGgo="),
            image("image/gif", "R0lGODlh"),
            {"type": "imageUrlPart", "url": "https://x/y.png", "mimeType": "image/png"},
            {"type": "fileInlinePart", "encodedData": "JVBERi0=", "mimeType": "application/pdf"},
            {"type": "fileUrlPart", "url": "https://x/y.pdf", "mimeType": "application/pdf"},
            {"type": "fileBinaryPart", "data": "aGk=", "mimeType": "text/plain"},
        ]);
        let notes = "[a GIF image was left out: only JPEG, PNG and WebP images can be sent]\n\
                     [an image that was not sent: https://x/y.png]\n\
                     [a PDF file was left out: only text and images can be sent to this model]\n\
                     [a PDF file that was not sent: https://x/y.pdf]\nhi";
        let question = sent(json!([user(&parts)]));
        assert_eq!(
            question,
            json!([{"role": "user", "content": format!("See:\n{notes}"), "images": ["iVBORw0KGgo="]}])
        );
        let results = json!([result("c1", &parts, false), result("c2", &json!([text("no")]), true)]);
        let expected = json!([
            {"role": "tool", "tool_name": "search", "tool_call_id": "c1",
             "content": format!("See:\n{MOVED_NOTE}\n{notes}")},
            {"role": "tool", "tool_name": "search", "tool_call_id": "c2", "content": format!("{ERROR_NOTE}\nno")},
            {"role": "user", "content": "From the result of search (c1):", "images": ["iVBORw0KGgo="]},
        ]);
        assert_eq!(sent(json!([{"type": "toolMessage", "id": "t", "contents": results}])), expected);
    }
}
