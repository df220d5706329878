//! The walk over messages and tools that counts their tokens before a provider has, and its likely weights.
//!
//! Likely is good enough to find a request that cannot fit; it is no bound. The machine walks with weights of its own,
//! which never come to fewer than a provider counts.

use serde_json::{Map, Value};

use crate::content::{Content, ExpertPart, ResultPart, Thinking};
use crate::message::Message;
use crate::tool::ToolSpec;

/// Bytes of text in a token. OpenAI's and Anthropic's help pages give four characters of English; source code and other
/// languages have fewer, so that a request is rather taken for smaller than it is.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens of an image: the most for models up to Claude Opus 4.6 (Anthropic, "Vision"), and more than others count.
const IMAGE: u64 = 1600;
/// Bytes of base64 in a token of a document. A page is 1500 to 3000 tokens (Anthropic, "PDF support"), and a file has
/// some ten thousand bytes for it.
const DOCUMENT_BYTES_PER_TOKEN: u64 = 16;

/// The tokens of the pieces that a request is made of.
pub trait TokenWeights {
    /// Around a message and around each of its parts: roles, separators.
    const FRAME: u64;
    /// Around a tool's result, in addition to its parts' own.
    const RESULT_FRAME: u64;

    fn text(text: &str) -> u64;
    /// The id of a call, with the call and with its result.
    fn call_id(id: &str) -> u64;
    fn thinking(thinking: &Thinking) -> u64;
    /// An image or a document.
    fn file(content: &Content) -> u64;
    /// The schema of a tool's arguments.
    fn schema(schema: &Map<String, Value>) -> u64;

    /// A whole message.
    fn message(message: &Message) -> u64 {
        let parts = match message {
            Message::InstructionMessage { contents, .. } | Message::UserMessage { contents, .. } => {
                sum(contents.iter().map(Self::content))
            }
            Message::ExpertMessage { contents, .. } => sum(contents.iter().map(Self::expert_part)),
            Message::ToolMessage { contents, .. } => {
                sum(contents.iter().map(|ResultPart::ToolResultPart { tool_call_id, contents, .. }| {
                    sum([Self::RESULT_FRAME, Self::call_id(tool_call_id)]
                        .into_iter()
                        .chain(contents.iter().map(Self::content)))
                }))
            }
        };
        Self::FRAME.saturating_add(parts)
    }

    /// The definition of a tool.
    fn tool(tool: &ToolSpec) -> u64 {
        let description = tool.description.as_deref().map_or(0, Self::text);
        sum([Self::FRAME, Self::text(&tool.name), description, Self::schema(&tool.input_schema)])
    }

    fn expert_part(part: &ExpertPart) -> u64 {
        let tokens = match part {
            ExpertPart::TextPart { text, .. } => Self::text(text),
            ExpertPart::ThinkingPart { thinking, .. } => Self::thinking(thinking),
            ExpertPart::OpaquePart { opaque, .. } => Self::text(&opaque.block.to_string()),
            ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
                sum([Self::call_id(tool_call_id), Self::text(tool_name), Self::text(&args.to_string())])
            }
        };
        Self::FRAME.saturating_add(tokens)
    }

    fn content(content: &Content) -> u64 {
        let tokens = match content {
            Content::TextPart { text, .. } => Self::text(text),
            file => Self::file(file),
        };
        Self::FRAME.saturating_add(tokens)
    }
}

/// As many tokens as something is likely to have.
struct Likely;

impl TokenWeights for Likely {
    /// OpenAI's cookbook counts 3 to 4 for a message.
    const FRAME: u64 = 4;
    const RESULT_FRAME: u64 = 0;

    fn text(text: &str) -> u64 {
        bytes_of(text).div_ceil(BYTES_PER_TOKEN)
    }

    /// Within the frame.
    fn call_id(_: &str) -> u64 {
        0
    }

    fn thinking(thinking: &Thinking) -> u64 {
        Self::text(&thinking.thinking)
    }

    fn file(content: &Content) -> u64 {
        match content {
            Content::FileInlinePart { encoded_data: data, .. } | Content::FileBinaryPart { data, .. } => {
                bytes_of(data).div_ceil(DOCUMENT_BYTES_PER_TOKEN)
            }
            Content::TextPart { text, .. } => Self::text(text),
            // The length of a file that the provider fetches is unknown here.
            Content::ImageUrlPart { .. }
            | Content::ImageInlinePart { .. }
            | Content::ImageBinaryPart { .. }
            | Content::FileUrlPart { .. } => IMAGE,
        }
    }

    fn schema(schema: &Map<String, Value>) -> u64 {
        let json_bytes = |value: &Value| serde_json::to_vec(value).map_or(0, |json| json.len() as u64);
        sum(schema.iter().map(|(key, value)| bytes_of(key).saturating_add(json_bytes(value)).div_ceil(BYTES_PER_TOKEN)))
    }
}

/// The likely tokens of a text.
pub fn text_tokens(text: &str) -> u64 {
    Likely::text(text)
}

/// The likely tokens of a message.
pub fn message_tokens(message: &Message) -> u64 {
    Likely::message(message)
}

/// The likely tokens of the definitions of tools.
pub fn tools_tokens(tools: &[ToolSpec]) -> u64 {
    sum(tools.iter().map(Likely::tool))
}

fn bytes_of(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

fn sum(tokens: impl IntoIterator<Item = u64>) -> u64 {
    tokens.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tool::{ToolHints, ToolKind};

    fn message(value: serde_json::Value) -> Message {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_message_counts_by_its_bytes_and_its_parts() {
        let text = |text: &str| json!({"type": "textPart", "id": "p", "text": text});
        let user = message(json!({"type": "userMessage", "id": "u", "contents": [text("owls"), text("梟")]}));
        assert_eq!(message_tokens(&user), 4 + (4 + 1) + (4 + 1));
        let call = json!({"type": "toolCallPart", "id": "p", "toolCallId": "c", "toolName": "read", "args": {"p": 1}});
        let expert = message(json!({"type": "expertMessage", "id": "e", "contents": [text("owls"), call]}));
        assert_eq!(message_tokens(&expert), 4 + (4 + 1) + (4 + 1 + 2));
        let result = json!({"type": "toolResultPart", "id": "p", "toolCallId": "c", "toolName": "read",
            "contents": [text(&"o".repeat(400))]});
        let tool = message(json!({"type": "toolMessage", "id": "t", "contents": [result]}));
        assert_eq!(message_tokens(&tool), 4 + (4 + 100));
    }

    #[test]
    fn an_image_does_not_count_by_its_bytes_and_a_document_by_few_of_them() {
        let part = |kind: &str| {
            let part = json!({"type": kind, "id": "p", "encodedData": "a".repeat(32_000), "mimeType": "x/y"});
            message_tokens(&message(json!({"type": "userMessage", "id": "u", "contents": [part]})))
        };
        assert_eq!(part("imageInlinePart"), 4 + 4 + IMAGE);
        assert_eq!(part("fileInlinePart"), 4 + 4 + 2000);
    }

    #[test]
    fn tools_count_with_their_schemas() {
        let schema = json!({"type": "object", "properties": {}});
        let tool = ToolSpec {
            skill_name: "s".to_owned(),
            name: "read".to_owned(),
            description: Some("Reads it.".to_owned()),
            input_schema: schema.as_object().unwrap().clone().into(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        };
        // "type" and "\"object\"": 12 bytes; "properties" and "{}": 12.
        assert_eq!(tools_tokens(&[tool]), 4 + 1 + 3 + 3 + 3);
        assert_eq!(tools_tokens(&[]), 0);
    }
}
