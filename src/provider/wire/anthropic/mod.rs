//! [`AnthropicMessages`]: the Anthropic Messages protocol, also of gateways and local servers.
//!
//! Documentation: <https://platform.claude.com/docs/en/api/messages>. Addresses and credentials are left to the vendor
//! table. Tool names are sent unchanged.

mod block;
mod decode;
mod encode;
mod native;
mod thinking;

pub(super) use block::is_property;
pub(super) use thinking::{ThinkingMode, can_think, plan};

use serde_json::Value;

use crate::generation::GenerateRequest;
use crate::provider::wire::whole_answer;
use crate::provider::{Decoder, Encoder, Frame, NativeSupport, Protocol};

/// The protocol's name in thinking parts and cassettes.
const NAME: &str = "anthropic-messages";

/// The version of the protocol, sent with every request. The only one since 2023.
const VERSION: &str = "2023-06-01";

/// The Anthropic Messages protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicMessages;

impl Protocol for AnthropicMessages {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(encode::MessagesEncoder::new(request))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::MessagesDecoder::default())
    }

    fn native_support(&self) -> NativeSupport {
        native::SUPPORT
    }

    fn whole_answer(&self, document: Value) -> Vec<Frame> {
        whole_answer::messages(&document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::EncodedRequest;
    use crate::provider::testing::bare_request;

    #[test]
    fn requests_go_to_messages_with_the_protocols_version() {
        let expected = EncodedRequest {
            path: "/messages".into(),
            headers: vec![("anthropic-version".into(), "2023-06-01".into())],
            body: serde_json::json!({"model": "m", "max_tokens": 4096, "stream": true, "messages": []}).into(),
        };
        assert_eq!(AnthropicMessages.encode(&bare_request("m")), expected);
    }
}
