//! Ollama's own chat protocol, in which thinking and tools come apart from the text; its imitation of Chat Completions
//! is another one.
//!
//! Documentation: <https://docs.ollama.com/api/chat>, errors <https://docs.ollama.com/api/errors>, thinking
//! <https://docs.ollama.com/capabilities/thinking>. Addresses are left to the vendor table; there are no credentials.

mod decode;
mod encode;
mod think;

use super::reported_error::ReportedError;
use crate::generation::GenerateRequest;
use crate::provider::{Decoder, EncodedRequest, ErrorBody, Framing, Protocol};

/// The protocol's name in thinking parts and cassettes.
const NAME: &str = "ollama-chat";

/// Ollama's complaints that leave open what to do, and what to do: a part of the complaint, in lower case, and the
/// remedy. The server tells them by words alone.
const REMEDIES: [(&str, &str); 5] = [
    ("does not support thinking", "set the reasoning budget to none, or use a model that thinks"),
    ("does not support tools", "use a model that can call tools, see https://ollama.com/search?c=tools"),
    ("context length", CONTEXT_REMEDY),
    ("context size", CONTEXT_REMEDY),
    ("more system memory", "use a smaller model, or a smaller context: OLLAMA_CONTEXT_LENGTH of the server"),
];

/// How the context grows. Agents need far more than the server's default on small machines (4096 tokens).
const CONTEXT_REMEDY: &str = "start the server with a larger context, e.g. OLLAMA_CONTEXT_LENGTH=64000";

/// Ollama's chat protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct OllamaChat;

impl Protocol for OllamaChat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encode(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        EncodedRequest { path: "/chat".to_owned(), headers: Vec::new(), body: encode::body(request) }
    }

    fn framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::OllamaDecoder::default())
    }

    fn read_error(&self, body: &[u8]) -> Option<ErrorBody> {
        ReportedError::from_body(body).map(|told| ErrorBody { message: with_remedy(&told.message), ..told })
    }
}

/// A complaint with what to do about it, where that is known.
fn with_remedy(message: &str) -> String {
    let said = message.to_lowercase();
    let remedy = REMEDIES.iter().find(|(complaint, _)| said.contains(complaint)).map(|(_, remedy)| remedy);
    remedy.map_or_else(|| message.to_owned(), |remedy| format!("{message} ({remedy})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_with_a_remedy() {
        let told = |body: &str| OllamaChat.read_error(body.as_bytes()).map(|told| told.message);
        let cases = [
            (
                r#"{"error":"registry.ollama.ai/library/gemma3:1b does not support thinking"}"#,
                "registry.ollama.ai/library/gemma3:1b does not support thinking (set the reasoning budget to none, or \
                 use a model that thinks)",
            ),
            (
                r#"{"error":"the input length exceeds the context length"}"#,
                "the input length exceeds the context length (start the server with a larger context, e.g. \
                 OLLAMA_CONTEXT_LENGTH=64000)",
            ),
            (
                r#"{"error":"model 'owl' not found, try pulling it first"}"#,
                "model 'owl' not found, try pulling it first",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(told(body).as_deref(), Some(expected));
        }
        assert_eq!(told("<html>"), None);
    }
}
