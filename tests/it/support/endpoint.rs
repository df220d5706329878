//! Where a request goes: which vendor the server plays there, and which wire protocol it speaks.
//!
//! Addresses are the vendors' own below their hosts; only DeepSeek, whose paths are OpenAI's, has a folder of its own.

use super::request::Protocol;

/// Whose server it is at an address. Servers of one protocol differ in credentials, errors and dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    Anthropic,
    /// OpenAI itself, and those who imitate it.
    OpenAi,
    DeepSeek,
    Azure,
    /// Google's Gemini API.
    Gemini,
    /// Google's Vertex AI.
    Vertex,
    /// Amazon Bedrock.
    Bedrock,
    Ollama,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub service: Service,
    pub protocol: Protocol,
    /// The model, where the path names it, decoded.
    pub model: Option<String>,
}

/// Vertex AI's models of the one project that the server has.
pub const VERTEX: &str = "/v1beta1/projects/nest/locations/europe-west4/publishers/google";

impl Endpoint {
    /// The endpoint of a request; `None` where no server has one.
    pub fn parse(method: &str, target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if method != "POST" {
            return None;
        }
        let at = |service, protocol, model: Option<String>| Some(Self { service, protocol, model });
        match (path, query) {
            ("/v1/messages", "") => return at(Service::Anthropic, Protocol::Messages, None),
            ("/v1/responses", "") => return at(Service::OpenAi, Protocol::Responses, None),
            ("/v1/chat/completions", "") => return at(Service::OpenAi, Protocol::Chat, None),
            ("/deepseek/v1/chat/completions", "") => return at(Service::DeepSeek, Protocol::Chat, None),
            ("/api/chat" | "/chat", "") => return at(Service::Ollama, Protocol::Ollama, None),
            _ => {}
        }
        if let Some(path) = path.strip_prefix("/openai") {
            return azure(path, query);
        }
        if let Some(path) = path.strip_prefix("/model/").and_then(|path| path.strip_suffix("/converse-stream")) {
            return at(Service::Bedrock, Protocol::Converse, Some(segment(path)?));
        }
        let (service, path) = if let Some(path) = path.strip_prefix(VERTEX) {
            (Service::Vertex, path)
        } else {
            (Service::Gemini, path.strip_prefix("/v1beta")?)
        };
        let model = path.strip_prefix("/models/")?.strip_suffix(":streamGenerateContent")?;
        // Without it the answer is one array of JSON and no stream of events.
        (query == "alt=sse").then(|| segment(model))?.and_then(|model| at(service, Protocol::Gemini, Some(model)))
    }
}

/// Azure's addresses: the version of the interface is in the query, a deployment in the path or in the body.
fn azure(path: &str, query: &str) -> Option<Endpoint> {
    query.strip_prefix("api-version=").filter(|version| !version.is_empty() && !version.contains('&'))?;
    let (deployment, path) = match path.strip_prefix("/deployments/").and_then(|rest| rest.split_once('/')) {
        Some((deployment, rest)) => (Some(segment(deployment)?), rest),
        None => (None, path.strip_prefix("/v1/")?),
    };
    let protocol = match path {
        "chat/completions" => Protocol::Chat,
        "responses" => Protocol::Responses,
        _ => return None,
    };
    Some(Endpoint { service: Service::Azure, protocol, model: deployment })
}

/// One segment of a path, decoded; `None` when it is empty, more than one, or no percent-encoding.
fn segment(encoded: &str) -> Option<String> {
    if encoded.is_empty() || encoded.contains('/') {
        return None;
    }
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[test]
fn every_vendors_addresses_are_known() {
    let of = |path: &str| Endpoint::parse("POST", path).map(|e| (e.service, e.protocol, e.model.unwrap_or_default()));
    let found = |service, protocol, model: &str| Some((service, protocol, model.to_owned()));
    let vertex = format!("{VERTEX}/models/gemini-2.5-pro:streamGenerateContent?alt=sse");
    for (path, expected) in [
        ("/v1/messages", found(Service::Anthropic, Protocol::Messages, "")),
        ("/v1/responses", found(Service::OpenAi, Protocol::Responses, "")),
        ("/v1/chat/completions", found(Service::OpenAi, Protocol::Chat, "")),
        ("/deepseek/v1/chat/completions", found(Service::DeepSeek, Protocol::Chat, "")),
        ("/openai/v1/chat/completions?api-version=v1", found(Service::Azure, Protocol::Chat, "")),
        ("/openai/v1/responses?api-version=preview", found(Service::Azure, Protocol::Responses, "")),
        (
            "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
            found(Service::Azure, Protocol::Chat, "my gpt"),
        ),
        ("/v1beta/models/g-1:streamGenerateContent?alt=sse", found(Service::Gemini, Protocol::Gemini, "g-1")),
        (&vertex, found(Service::Vertex, Protocol::Gemini, "gemini-2.5-pro")),
        ("/model/a.claude-v1%3A0/converse-stream", found(Service::Bedrock, Protocol::Converse, "a.claude-v1:0")),
        ("/api/chat", found(Service::Ollama, Protocol::Ollama, "")),
        ("/chat", found(Service::Ollama, Protocol::Ollama, "")),
        ("/v1/messages?beta=true", None),
        ("/openai/v1/chat/completions", None),
        ("/openai/deployments/chat/completions?api-version=v1", None),
        ("/v1beta/models/g-1:streamGenerateContent", None),
        ("/v1beta/models/g/1:streamGenerateContent?alt=sse", None),
        ("/model/a/b/converse-stream", None),
        ("/model/%zz/converse-stream", None),
        ("/api/generate", None),
    ] {
        assert_eq!(of(path), expected, "{path}");
    }
    assert_eq!(Endpoint::parse("GET", "/v1/messages"), None);
}
