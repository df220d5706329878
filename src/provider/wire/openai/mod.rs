//! [`OpenAiResponses`]: the OpenAI Responses protocol, also of Azure and local servers.
//!
//! Documentation: <https://developers.openai.com/api/docs/api-reference/responses>. Addresses and credentials are left
//! to the vendor table; Chat Completions is another protocol. Nothing is kept at the provider (`store: false`): every
//! request carries the whole conversation.

mod decode;
mod encode;
mod items;
mod native;

use serde_json::Value;

pub(super) use encode::{ERROR_NOTE, cache_key, is_reasoning_model};

use crate::generation::GenerateRequest;
use crate::provider::wire::whole_answer;
use crate::provider::{Decoder, Encoder, Frame, NativeSupport, Protocol};

/// The protocol's name in thinking parts and cassettes.
const NAME: &str = "openai-responses";

/// The OpenAI Responses protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiResponses;

impl Protocol for OpenAiResponses {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(encode::ResponsesEncoder::new(request))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::ResponsesDecoder::default())
    }

    fn native_support(&self) -> NativeSupport {
        native::SUPPORT
    }

    fn whole_answer(&self, document: Value) -> Vec<Frame> {
        whole_answer::responses(&document)
    }
}

/// The string under a key, empty when there is none.
fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::EncodedRequest;
    use crate::provider::testing::bare_request;

    #[test]
    fn requests_go_to_responses() {
        let expected = EncodedRequest {
            path: "/responses".into(),
            headers: vec![],
            body: serde_json::json!({"model": "m", "stream": true, "store": false, "input": []}).into(),
        };
        assert_eq!(OpenAiResponses.encode(&bare_request("m")), expected);
    }
}
