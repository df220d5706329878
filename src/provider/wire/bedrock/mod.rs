//! [`BedrockConverse`]: the Converse protocol of Amazon Bedrock, for models of many makers.
//!
//! Documentation: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>. Addresses,
//! credentials and signatures are left to the vendor table.

mod block;
mod decode;
mod encode;
mod failure;
mod family;

use serde_json::Value;

use crate::generation::GenerateRequest;
use crate::provider::wire::whole_answer;
use crate::provider::{Decoder, Encoder, ErrorBody, Frame, Framing, Protocol};

/// The protocol's name in thinking parts and cassettes.
const NAME: &str = "bedrock-converse";

/// The Converse protocol, streaming.
#[derive(Debug, Clone, Copy, Default)]
pub struct BedrockConverse;

impl Protocol for BedrockConverse {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(encode::ConverseEncoder::new(request))
    }

    fn framing(&self) -> Framing {
        Framing::AwsEventStream
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::ConverseDecoder::default())
    }

    fn whole_answer(&self, document: Value) -> Vec<Frame> {
        whole_answer::converse(&document)
    }

    fn read_error(&self, body: &[u8]) -> Option<ErrorBody> {
        failure::error_body(body)
    }
}

/// A model's id as one segment of a path: an ARN has colons and slashes. All but RFC 3986's unreserved characters
/// are encoded, as AWS signatures require; signing encodes the path once more.
fn path_segment(id: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte: u8| if is_unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    id.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::EncodedRequest;
    use crate::provider::testing::bare_request;

    fn encode(model: &str) -> EncodedRequest {
        BedrockConverse.encode(&bare_request(model))
    }

    #[test]
    fn the_model_stands_in_the_path_and_nowhere_else() {
        let expected = EncodedRequest {
            path: "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream".into(),
            headers: Vec::new(),
            body: json!({"messages": [{"role": "user", "content": [{"text": "Go on."}, {"cachePoint": {"type": "default"}}]}]}).into(),
        };
        assert_eq!(encode("anthropic.claude-sonnet-4-5-20250929-v1:0"), expected);
    }

    #[test]
    fn an_arn_is_one_segment_and_encoded_once() {
        let arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1~b_2.c";
        let path = "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fa1~b_2.c/converse-stream";
        assert_eq!(encode(arn).path, path);
        assert_eq!(path_segment("ü %?#"), "%C3%BC%20%25%3F%23");
    }
}
