//! A request as the mock server saw it, and what can be asked of it in any protocol.

use serde_json::Value;

use super::http::RawRequest;

/// The wire protocols that the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Responses.
    Responses,
    /// Chat Completions.
    Chat,
}

impl Protocol {
    /// The protocol of an endpoint.
    pub fn of(method: &str, path: &str) -> Option<Self> {
        // Azure adds a query to every address.
        match (method, path.split('?').next().unwrap_or(path)) {
            ("POST", "/v1/messages") => Some(Self::Messages),
            ("POST", "/v1/responses") => Some(Self::Responses),
            ("POST", "/v1/chat/completions") => Some(Self::Chat),
            _ => None,
        }
    }

    /// The name that the program gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "anthropic-messages",
            Self::Responses => "openai-responses",
            Self::Chat => "openai-chat",
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub protocol: Protocol,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Request {
    pub(super) fn new(protocol: Protocol, raw: RawRequest) -> serde_json::Result<Self> {
        let body = serde_json::from_slice(&raw.body)?;
        Ok(Self { protocol, path: raw.path, headers: raw.headers, body })
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether any text in the body contains this.
    pub fn says(&self, text: &str) -> bool {
        says(&self.body, text)
    }

    /// The names of the tools offered, in order.
    pub fn tools(&self) -> Vec<&str> {
        let name = |tool| match self.protocol {
            Protocol::Chat => text_at(tool, "/function/name"),
            Protocol::Messages | Protocol::Responses => text_at(tool, "/name"),
        };
        list(&self.body["tools"]).iter().map(name).collect()
    }

    /// Every tool result of the conversation, in order: the call's id and the text.
    pub fn results(&self) -> Vec<(String, String)> {
        let (items, id, content) = match self.protocol {
            Protocol::Messages => {
                let blocks = list(&self.body["messages"]).iter().flat_map(|message| list(&message["content"]));
                (blocks.collect::<Vec<_>>(), "/tool_use_id", "content")
            }
            Protocol::Responses => (list(&self.body["input"]).iter().collect(), "/call_id", "output"),
            Protocol::Chat => (list(&self.body["messages"]).iter().collect(), "/tool_call_id", "content"),
        };
        items
            .into_iter()
            .filter(|item| {
                matches!(text_at(item, "/type"), "tool_result" | "function_call_output") || item["role"] == "tool"
            })
            .map(|item| (text_at(item, id).to_owned(), text_of(&item[content])))
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

/// The text of content: a string, or the text parts of a list joined by newlines.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        parts => list(parts).iter().map(|part| text_at(part, "/text")).collect::<Vec<_>>().join("\n"),
    }
}

fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(items) => items.iter().any(|item| says(item, text)),
        Value::Object(fields) => fields.values().any(|field| says(field, text)),
        _ => false,
    }
}
