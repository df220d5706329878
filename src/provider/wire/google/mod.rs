//! [`GeminiGenerateContent`]: the Gemini protocol (`streamGenerateContent`) of the Gemini API and, with the same
//! bodies, of Vertex AI ([`VertexGenerateContent`]).
//!
//! Documentation: <https://ai.google.dev/api/generate-content>. Addresses and credentials are left to the vendor table:
//! the base URL holds everything before `/models`.

mod contents;
mod decode;
mod encode;
mod error;
mod layout;
mod model;
mod native;
mod schema;

use serde_json::Value;

use std::fmt::Write as _;

use crate::generation::GenerateRequest;
use crate::provider::wire::whole_answer;
use crate::provider::{Decoder, Encoder, ErrorBody, Frame, NativeSupport, Protocol};

/// The protocol's name in thinking parts and cassettes, the same for both services: a conversation may move.
const NAME: &str = "google-gemini";

/// The protocol of the Gemini API.
#[derive(Debug, Clone, Copy, Default)]
pub struct GeminiGenerateContent;

/// The protocol of Vertex AI: the same except for some tools that Google runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct VertexGenerateContent;

/// The service that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    GeminiApi,
    VertexAi,
}

impl Protocol for GeminiGenerateContent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(encode::GeminiEncoder::new(request, Service::GeminiApi))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::GeminiDecoder::default())
    }

    fn native_support(&self) -> NativeSupport {
        native::GEMINI_API
    }

    fn whole_answer(&self, document: Value) -> Vec<Frame> {
        whole_answer::gemini(&document)
    }

    fn read_error(&self, body: &[u8]) -> Option<ErrorBody> {
        error::from_body(body)
    }
}

impl Protocol for VertexGenerateContent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(encode::GeminiEncoder::new(request, Service::VertexAi))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        GeminiGenerateContent.decoder()
    }

    fn native_support(&self) -> NativeSupport {
        native::VERTEX_AI
    }

    fn whole_answer(&self, document: Value) -> Vec<Frame> {
        whole_answer::gemini(&document)
    }

    fn read_error(&self, body: &[u8]) -> Option<ErrorBody> {
        GeminiGenerateContent.read_error(body)
    }
}

/// The endpoint of a model. `models/…` and `tunedModels/…` are resource names already; of anything else every letter
/// that has a meaning in an address is escaped.
fn path(model: &str) -> String {
    let named = ["models/", "tunedModels/"].into_iter().find_map(|kind| Some((kind, model.strip_prefix(kind)?)));
    let (kind, id) = named.unwrap_or(("models/", model));
    format!("/{kind}{}:streamGenerateContent?alt=sse", escaped(id))
}

/// Percent-encoding of all but RFC 3986's unreserved letters.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::EncodedRequest;
    use crate::provider::testing::bare_request;

    #[test]
    fn requests_go_to_the_models_own_address() {
        let request = bare_request("gemini-2.0-flash");
        let expected = EncodedRequest {
            path: "/models/gemini-2.0-flash:streamGenerateContent?alt=sse".into(),
            headers: vec![],
            body: serde_json::json!({"contents": []}).into(),
        };
        assert_eq!(GeminiGenerateContent.encode(&request), expected);
        assert_eq!(VertexGenerateContent.encode(&request), expected);
    }

    #[test]
    fn a_models_name_cannot_leave_its_place_in_the_path() {
        let cases = [
            ("models/gemini-2.5-pro", "/models/gemini-2.5-pro"),
            ("tunedModels/owls-1", "/tunedModels/owls-1"),
            ("gemini@002", "/models/gemini%40002"),
            ("google/gemini-2.5-pro", "/models/google%2Fgemini-2.5-pro"),
            ("models/../x?k=v#ü", "/models/..%2Fx%3Fk%3Dv%23%C3%BC"),
        ];
        for (model, expected) in cases {
            assert_eq!(path(model), format!("{expected}:streamGenerateContent?alt=sse"), "{model}");
        }
    }
}
