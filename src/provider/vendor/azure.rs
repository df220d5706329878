//! [`AzureDeployments`]: Azure's older addresses, which name the deployment in their path.
//!
//! Used by Azure's row around another protocol, which encodes and decodes.

use serde_json::Value;

use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::{Decoder, EncodedRequest, Encoder, ErrorBody, Frame, Framing, NativeSupport, Protocol};

/// A protocol whose paths lie below `/deployments/NAME`.
pub struct AzureDeployments(pub Box<dyn Protocol>);

impl Protocol for AzureDeployments {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(DeploymentEncoder(self.0.encoder(request)))
    }

    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        self.0.decoder()
    }

    fn whole_answer(&self, document: Value) -> Vec<Frame> {
        self.0.whole_answer(document)
    }

    fn native_support(&self) -> NativeSupport {
        self.0.native_support()
    }

    fn read_error(&self, body: &[u8]) -> Option<ErrorBody> {
        self.0.read_error(body)
    }
}

struct DeploymentEncoder(Box<dyn Encoder>);

impl Encoder for DeploymentEncoder {
    fn add(&mut self, message: &Message) {
        self.0.add(message);
    }

    fn set_tools(&mut self, request: &GenerateRequest<'_>) {
        self.0.set_tools(request);
    }

    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        let encoded = self.0.request(request);
        let path = format!("/deployments/{}{}", segment(request.model), encoded.path);
        EncodedRequest { path, ..encoded }
    }
}

/// One segment of a path: what is not unreserved (RFC 3986, section 2.3) is escaped.
fn segment(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        // A segment of dots would climb.
        b'.' if text.bytes().any(|byte| byte != b'.') => ".".to_owned(),
        byte => format!("%{byte:02X}"),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{NativeTools, Occasion};
    use crate::provider::wire::chat::ChatCompletions;
    use crate::setting::ReasoningBudget;

    #[test]
    fn the_deployment_is_in_the_path() {
        let request = GenerateRequest {
            model: "my gpt/4.1",
            messages: &[],
            tools: &[],
            reasoning: ReasoningBudget::None,
            max_output_tokens: None,
            native: NativeTools::default(),
            found: 0,
            occasion: Occasion::default(),
        };
        let path = AzureDeployments(Box::new(ChatCompletions::default())).encode(&request).path;
        assert_eq!(path, "/deployments/my%20gpt%2F4.1/chat/completions");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
