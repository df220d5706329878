//! [`OllamaChat`]: Ollama's own chat protocol, which has fields for thinking and tools. Its imitation of Chat
//! Completions is another protocol.
//!
//! Documentation: <https://docs.ollama.com/api/chat>, errors <https://docs.ollama.com/api/errors>, thinking
//! <https://docs.ollama.com/capabilities/thinking>. Addresses are left to the vendor table; there are no credentials.

mod decode;
mod encode;
mod think;

use super::reported_error::ReportedError;
use crate::generation::GenerateRequest;
use crate::provider::{Decoder, Encoder, ErrorBody, Framing, Protocol};

/// The protocol's name in thinking parts and cassettes.
const NAME: &str = "ollama-chat";

/// Remedies for Ollama's errors: a part of the message, in lower case, and the remedy. The server sends no codes.
const REMEDIES: [(&str, &str); 5] = [
    ("does not support thinking", "set the reasoning budget to none, or use a model that thinks"),
    ("does not support tools", "use a model that can call tools, see https://ollama.com/search?c=tools"),
    ("context length", CONTEXT_REMEDY),
    ("context size", CONTEXT_REMEDY),
    ("more system memory", "use a smaller model, or a smaller context: OLLAMA_CONTEXT_LENGTH of the server"),
];

/// The remedy for a small context. Agents need far more than the server's default on small machines (4096 tokens).
const CONTEXT_REMEDY: &str = "start the server with a larger context, e.g. OLLAMA_CONTEXT_LENGTH=64000";

/// Ollama's chat protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct OllamaChat;

impl Protocol for OllamaChat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(encode::OllamaEncoder::new(request))
    }

    fn framing(&self) -> Framing {
        Framing::Ndjson
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::OllamaDecoder::default())
    }

    fn read_error(&self, body: &[u8]) -> Option<ErrorBody> {
        ReportedError::from_body(body).map(|error| ErrorBody { message: with_remedy(&error.message), ..error })
    }
}

/// A message with its remedy, where one is known.
fn with_remedy(message: &str) -> String {
    let lower = message.to_lowercase();
    let remedy = REMEDIES.iter().find(|(part, _)| lower.contains(part)).map(|(_, remedy)| remedy);
    remedy.map_or_else(|| message.to_owned(), |remedy| format!("{message} ({remedy})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_with_a_remedy() {
        let message = |body: &str| OllamaChat.read_error(body.as_bytes()).map(|error| error.message);
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
            assert_eq!(message(body).as_deref(), Some(expected));
        }
        assert_eq!(message("<html>"), None);
    }
}
