//! How many tokens something is likely to be for a model, before a provider has counted it.
//!
//! Good enough to tell a request that cannot fit from one that can; a bound it is not.

use crate::content::{Content, ExpertPart, ResultPart};
use crate::message::Message;
use crate::tool::ToolSpec;

/// Bytes of text in a token. OpenAI's and Anthropic's help pages say four characters of English; source code and other
/// languages have fewer, so that a request is rather taken for smaller than it is.
const BYTES_PER_TOKEN: u64 = 4;
/// Tokens around a message and around each of its parts: roles, separators, call ids. OpenAI's cookbook counts 3 to 4
/// for a message.
const FRAME: u64 = 4;
/// Tokens of an image: the most for models up to Claude Opus 4.6 (Anthropic, "Vision"), and more than others count.
const IMAGE: u64 = 1600;
/// Bytes of base64 in a token of a document. A page is 1500 to 3000 tokens (Anthropic, "PDF support"), and a file has
/// some ten thousand bytes for it.
const DOCUMENT_BYTES_PER_TOKEN: u64 = 16;

/// Tokens of a text.
pub fn text_tokens(text: &str) -> u64 {
    bytes_of(text).div_ceil(BYTES_PER_TOKEN)
}

/// Tokens of a message.
pub fn message_tokens(message: &Message) -> u64 {
    let parts = match message {
        Message::InstructionMessage { contents, .. } | Message::UserMessage { contents, .. } => {
            sum(contents.iter().map(content_tokens))
        }
        Message::ExpertMessage { contents, .. } => sum(contents.iter().map(expert_tokens)),
        Message::ToolMessage { contents, .. } => {
            sum(contents.iter().flat_map(|ResultPart::ToolResultPart { contents, .. }| contents).map(content_tokens))
        }
    };
    FRAME.saturating_add(parts)
}

/// Tokens of the definitions of tools.
pub fn tools_tokens(tools: &[ToolSpec]) -> u64 {
    sum(tools.iter().map(|tool| {
        let schema: u64 = sum(tool.input_schema.iter().map(|(key, value)| {
            let value = u64::try_from(value.to_string().len()).unwrap_or(u64::MAX);
            value.saturating_add(bytes_of(key)).div_ceil(BYTES_PER_TOKEN)
        }));
        let description = tool.description.as_deref().map_or(0, text_tokens);
        FRAME.saturating_add(text_tokens(&tool.name)).saturating_add(description).saturating_add(schema)
    }))
}

fn expert_tokens(part: &ExpertPart) -> u64 {
    let tokens = match part {
        ExpertPart::TextPart { text, .. } => text_tokens(text),
        ExpertPart::ThinkingPart { thinking, .. } => text_tokens(&thinking.thinking),
        ExpertPart::OpaquePart { opaque, .. } => text_tokens(&opaque.block.to_string()),
        ExpertPart::ToolCallPart { tool_name, args, .. } => {
            text_tokens(tool_name).saturating_add(text_tokens(&args.to_string()))
        }
    };
    FRAME.saturating_add(tokens)
}

fn content_tokens(content: &Content) -> u64 {
    let tokens = match content {
        Content::TextPart { text, .. } => text_tokens(text),
        // Nobody here knows how long a file is that the provider fetches.
        Content::ImageUrlPart { .. }
        | Content::ImageInlinePart { .. }
        | Content::ImageBinaryPart { .. }
        | Content::FileUrlPart { .. } => IMAGE,
        Content::FileInlinePart { encoded_data: data, .. } | Content::FileBinaryPart { data, .. } => {
            bytes_of(data).div_ceil(DOCUMENT_BYTES_PER_TOKEN)
        }
    };
    FRAME.saturating_add(tokens)
}

fn bytes_of(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

fn sum(tokens: impl Iterator<Item = u64>) -> u64 {
    tokens.fold(0, u64::saturating_add)
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
            input_schema: schema.as_object().unwrap().clone(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        };
        // "type" and "\"object\"": 12 bytes; "properties" and "{}": 12.
        assert_eq!(tools_tokens(&[tool]), 4 + 1 + 3 + 3 + 3);
        assert_eq!(tools_tokens(&[]), 0);
    }
}
