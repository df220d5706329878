//! The parts that messages are made of. JSON shapes are the original's (tagged by `type`, camelCase).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Text, an image or a file: what users give and tools return.
///
/// `id` is empty until the machine that takes the part into a conversation gives it one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Content {
    /// Plain text.
    TextPart {
        #[serde(default)]
        id: String,
        text: String,
    },
    /// An image to be fetched by the provider.
    ImageUrlPart {
        #[serde(default)]
        id: String,
        url: String,
        mime_type: String,
    },
    /// An image as base64.
    ImageInlinePart {
        #[serde(default)]
        id: String,
        encoded_data: String,
        mime_type: String,
    },
    /// An image as the original's "binary" string (base64 in every known file).
    ImageBinaryPart {
        #[serde(default)]
        id: String,
        data: String,
        mime_type: String,
    },
    /// A file to be fetched by the provider.
    FileUrlPart {
        #[serde(default)]
        id: String,
        url: String,
        mime_type: String,
    },
    /// A file, a PDF for example, as base64.
    FileInlinePart {
        #[serde(default)]
        id: String,
        encoded_data: String,
        mime_type: String,
    },
    /// A file as the original's "binary" string.
    FileBinaryPart {
        #[serde(default)]
        id: String,
        data: String,
        mime_type: String,
    },
}

impl Content {
    /// A text part without an id yet.
    pub fn text(text: impl Into<String>) -> Self {
        Self::TextPart { id: String::new(), text: text.into() }
    }

    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::TextPart { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The part's id, to be filled in.
    pub fn id_mut(&mut self) -> &mut String {
        match self {
            Self::TextPart { id, .. }
            | Self::ImageUrlPart { id, .. }
            | Self::ImageInlinePart { id, .. }
            | Self::ImageBinaryPart { id, .. }
            | Self::FileUrlPart { id, .. }
            | Self::FileInlinePart { id, .. }
            | Self::FileBinaryPart { id, .. } => id,
        }
    }
}

/// A piece of a model's answer: thinking, text and a provider's own blocks in the order in which they came, then tool
/// calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ExpertPart {
    /// Reasoning, sent back unchanged to the model that made it and left out for any other.
    ThinkingPart {
        id: String,
        #[serde(flatten)]
        thinking: Thinking,
    },
    /// Text.
    TextPart { id: String, text: String },
    /// A block that only the provider reads that made it.
    OpaquePart {
        id: String,
        #[serde(flatten)]
        opaque: Opaque,
    },
    /// A call of a tool.
    ToolCallPart { id: String, tool_call_id: String, tool_name: String, args: Value },
}

/// One reasoning block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thinking {
    /// The readable text; may be empty (redacted or encrypted reasoning).
    #[serde(default)]
    pub thinking: String,
    /// Anthropic's signature over the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The wire protocol that made the block: `anthropic-messages`, `openai-responses`, `openai-chat`, `google-gemini`.
    /// Absent in the original's files, where a signature means Anthropic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The provider and the model that made the block, `anthropic/claude-sonnet-4-5`: no other can read it. Absent in
    /// files of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// The provider's own block, to be sent back as it came: redacted thinking, an OpenAI reasoning item, the order
    /// and signatures of a Gemini answer's parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Value>,
}

/// A block of an answer that a provider wants back as it came, and for which there is no other part: a call of a tool
/// that it ran itself, what that tool found, or citations of the text before it. It has no effect on the run, is
/// sent back to the protocol that made it and dropped for any other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opaque {
    /// The wire protocol that made it, as in [`Thinking::protocol`].
    pub protocol: String,
    /// The block; an object with a `type` of the provider's.
    pub block: Value,
}

/// A tool's answer within a tool message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ResultPart {
    /// The only kind there is; the enum carries the `type` tag.
    ToolResultPart {
        id: String,
        tool_call_id: String,
        tool_name: String,
        contents: Vec<Content>,
        /// The tool reported that it failed; the model sees that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}
