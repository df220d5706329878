//! A request as the mock server saw it, and what can be asked of it in any protocol.

use std::sync::Arc;

use serde_json::Value;

use super::conversation::Given;
use super::endpoint::{Endpoint, Service};
use super::http::RawRequest;

/// The wire protocols that the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// Chat Completions.
    Chat,
    /// Google's `streamGenerateContent`.
    Gemini,
    /// Amazon Bedrock's Converse.
    Converse,
    /// Ollama's own.
    Ollama,
}

impl Protocol {
    /// The name that the program gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "anthropic-messages",
            Self::Responses => "openai-responses",
            Self::Chat => "openai-chat",
            Self::Gemini => "google-gemini",
            Self::Converse => "bedrock-converse",
            Self::Ollama => "ollama-chat",
        }
    }

    /// Whether arguments of calls are values, so that a model cannot write broken ones.
    pub fn has_whole_arguments(self) -> bool {
        matches!(self, Self::Gemini | Self::Ollama)
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub protocol: Protocol,
    /// Whose server was asked.
    pub service: Service,
    /// The model, wherever the protocol names it.
    pub model: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
    /// The body as it came.
    pub bytes: Arc<[u8]>,
    /// The ids of the calls in it that have none, in order.
    unnamed: Vec<String>,
}

impl Request {
    pub(super) fn new(endpoint: Endpoint, raw: RawRequest) -> serde_json::Result<Self> {
        let body: Value = serde_json::from_slice(&raw.body)?;
        let Endpoint { service, protocol, model } = endpoint;
        Ok(Self {
            protocol,
            service,
            model: model.unwrap_or_else(|| text_at(&body, "/model").to_owned()),
            path: raw.path,
            headers: raw.headers,
            body,
            bytes: raw.body.into(),
            unnamed: Vec::new(),
        })
    }

    /// The same with the ids of its calls known, also of those that Google gives none.
    pub(super) fn naming_calls(self, given: &Given) -> Self {
        let parts = list(&self.body["contents"]).iter().flat_map(|content| list(&content["parts"]));
        let calls = parts.map(|part| &part["functionCall"]).filter(|call| call.is_object() && call["id"].is_null());
        let unnamed = given.ids(calls.map(|call| (text_at(call, "/name"), &call["args"])));
        Self { unnamed, ..self }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether any text in the body contains this.
    pub fn contains(&self, text: &str) -> bool {
        contains_text(&self.body, text)
    }

    /// Whether the model is of Gemini 3 or later, whose calls are signed.
    pub fn is_current_gemini(&self) -> bool {
        self.model.starts_with("gemini-3")
    }

    /// Whether DeepSeek's model thinks: it does unless asked not to.
    pub fn is_deepseek_thinking(&self) -> bool {
        self.body["thinking"]["type"] != "disabled" && self.model != "deepseek-chat"
    }

    /// The names of the tools offered, in order.
    pub fn tools(&self) -> Vec<&str> {
        let (tools, name) = match self.protocol {
            Protocol::Chat | Protocol::Ollama => (&self.body["tools"], "/function/name"),
            Protocol::Messages | Protocol::Responses => (&self.body["tools"], "/name"),
            Protocol::Converse => (&self.body["toolConfig"]["tools"], "/toolSpec/name"),
            Protocol::Gemini => (&self.body["tools"][0]["functionDeclarations"], "/name"),
        };
        list(tools).iter().map(|tool| text_at(tool, name)).filter(|name| !name.is_empty()).collect()
    }

    /// Every tool result of the conversation, in order: the call's id and the text.
    pub fn results(&self) -> Vec<(String, String)> {
        let blocks_of = |messages: &'static str, blocks: &'static str| {
            list(&self.body[messages]).iter().flat_map(move |message| list(&message[blocks])).collect::<Vec<_>>()
        };
        let (items, id, content) = match self.protocol {
            Protocol::Messages => (blocks_of("messages", "content"), "/tool_use_id", "/content"),
            Protocol::Responses => (list(&self.body["input"]).iter().collect(), "/call_id", "/output"),
            Protocol::Chat | Protocol::Ollama => {
                (list(&self.body["messages"]).iter().collect(), "/tool_call_id", "/content")
            }
            Protocol::Converse => (blocks_of("messages", "content"), "/toolResult/toolUseId", "/toolResult/content"),
            Protocol::Gemini => (blocks_of("contents", "parts"), "/functionResponse/id", "/functionResponse/response"),
        };
        let mut unnamed = self.unnamed.iter();
        items
            .into_iter()
            .filter(|item| {
                matches!(text_at(item, "/type"), "tool_result" | "function_call_output")
                    || item["role"] == "tool"
                    || !item["toolResult"].is_null()
                    || !item["functionResponse"].is_null()
            })
            .map(|item| {
                let id = match text_at(item, id) {
                    "" => unnamed.next().map_or("", String::as_str),
                    id => id,
                };
                (id.to_owned(), text_of(item.pointer(content).unwrap_or(&Value::Null)))
            })
            .collect()
    }
}

/// The items of an array; none of anything else.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The string at a JSON pointer, or an empty one.
pub(super) fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The text of content: a string, the text parts of a list joined by newlines, or what a function gave in an object.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields.values().map(text_of).collect::<Vec<_>>().join("\n"),
        parts => list(parts).iter().map(|part| text_at(part, "/text")).collect::<Vec<_>>().join("\n"),
    }
}

fn contains_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| contains_text(item, text)),
        Value::Object(fields) => fields.values().any(|field| contains_text(field, text)),
        _ => false,
    }
}
