//! [`ChatCompletions`]: the OpenAI Chat Completions protocol, as OpenAI and the many servers that imitate it use it.
//!
//! Documentation: <https://developers.openai.com/api/docs/api-reference/chat>. Differences of imitators are handled
//! where they show, in `encode` and `decode`. Addresses and credentials are left to the vendor table.

mod attached;
mod decode;
mod dialect;
mod encode;

pub use dialect::Dialect;

use serde_json::Value;

use crate::generation::GenerateRequest;
use crate::provider::wire::whole_answer;
use crate::provider::{Decoder, Encoder, Frame, Protocol};

/// The protocol's name in thinking parts and cassettes.
const NAME: &str = "openai-chat";

/// The OpenAI Chat Completions protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChatCompletions {
    pub dialect: Dialect,
}

impl Protocol for ChatCompletions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn encoder(&self, request: &GenerateRequest<'_>) -> Box<dyn Encoder> {
        Box::new(encode::ChatEncoder::new(request, self.dialect))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decode::ChatCompletionsDecoder::default())
    }

    fn whole_answer(&self, document: Value) -> Vec<Frame> {
        whole_answer::chat(document)
    }
}
