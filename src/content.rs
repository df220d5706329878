//! The parts that messages are made of. JSON shapes are the original's (tagged by `type`, camelCase).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::json_text;

/// Text, an image or a file: what users give and tools return.
///
/// `id` is empty until the machine that takes the part into a conversation gives it one.
#[derive(Debug, Clone, PartialEq, Serialize, strum::EnumDiscriminants)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[strum_discriminants(name(ContentKind), vis(), derive(Deserialize), serde(rename_all = "camelCase"))]
#[strum_discriminants(allow(clippy::enum_variant_names, reason = "they are named as the JSON names them"))]
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

/// The keys of all kinds of [`Content`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContentFields {
    #[serde(rename = "type")]
    kind: ContentKind,
    #[serde(default)]
    id: String,
    text: Option<String>,
    url: Option<String>,
    encoded_data: Option<String>,
    data: Option<String>,
    mime_type: Option<String>,
}

impl<'de> Deserialize<'de> for Content {
    /// In one pass, whatever the order of the keys. Serde's own code for a value with a tag first builds a tree of all
    /// that it holds, at every level of a history anew.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let ContentFields { kind, id, text, url, encoded_data, data, mime_type } = ContentFields::deserialize(from)?;
        let mime_type = || needed(mime_type, "mimeType");
        Ok(match kind {
            ContentKind::TextPart => Self::TextPart { id, text: needed(text, "text")? },
            ContentKind::ImageUrlPart => Self::ImageUrlPart { id, url: needed(url, "url")?, mime_type: mime_type()? },
            ContentKind::ImageInlinePart => Self::ImageInlinePart {
                id,
                encoded_data: needed(encoded_data, "encodedData")?,
                mime_type: mime_type()?,
            },
            ContentKind::ImageBinaryPart => {
                Self::ImageBinaryPart { id, data: needed(data, "data")?, mime_type: mime_type()? }
            }
            ContentKind::FileUrlPart => Self::FileUrlPart { id, url: needed(url, "url")?, mime_type: mime_type()? },
            ContentKind::FileInlinePart => {
                Self::FileInlinePart { id, encoded_data: needed(encoded_data, "encodedData")?, mime_type: mime_type()? }
            }
            ContentKind::FileBinaryPart => {
                Self::FileBinaryPart { id, data: needed(data, "data")?, mime_type: mime_type()? }
            }
        })
    }
}

/// A field that a kind must have.
fn needed<T, E: serde::de::Error>(field: Option<T>, name: &'static str) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(name))
}

/// A piece of a model's answer: thinking, text and a provider's own blocks in the order in which they came, then tool
/// calls.
#[derive(Debug, Clone, PartialEq, Serialize, strum::EnumDiscriminants)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[strum_discriminants(name(ExpertPartKind), vis(), derive(Deserialize), serde(rename_all = "camelCase"))]
#[strum_discriminants(allow(clippy::enum_variant_names, reason = "they are named as the JSON names them"))]
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

/// The keys of all kinds of [`ExpertPart`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpertFields {
    #[serde(rename = "type")]
    kind: ExpertPartKind,
    id: String,
    text: Option<String>,
    #[serde(default)]
    thinking: String,
    signature: Option<String>,
    protocol: Option<String>,
    made_by: Option<String>,
    opaque: Option<Value>,
    #[serde(default, deserialize_with = "json_text::present")]
    block: Option<Value>,
    tool_call_id: Option<String>,
    tool_name: Option<String>,
    #[serde(default, deserialize_with = "json_text::present")]
    args: Option<Value>,
}

impl<'de> Deserialize<'de> for ExpertPart {
    /// In one pass, as [`Content`].
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let fields = ExpertFields::deserialize(from)?;
        let id = fields.id;
        Ok(match fields.kind {
            ExpertPartKind::TextPart => Self::TextPart { id, text: needed(fields.text, "text")? },
            ExpertPartKind::ToolCallPart => Self::ToolCallPart {
                id,
                tool_call_id: needed(fields.tool_call_id, "toolCallId")?,
                tool_name: needed(fields.tool_name, "toolName")?,
                args: needed(fields.args, "args")?,
            },
            ExpertPartKind::ThinkingPart => {
                let ExpertFields { thinking, signature, protocol, made_by, opaque, .. } = fields;
                Self::ThinkingPart { id, thinking: Thinking { thinking, signature, protocol, made_by, opaque } }
            }
            ExpertPartKind::OpaquePart => {
                let protocol = needed(fields.protocol, "protocol")?;
                Self::OpaquePart { id, opaque: Opaque { protocol, block: needed(fields.block, "block")? } }
            }
        })
    }
}

/// One reasoning block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Opaque {
    /// The wire protocol that made it, as in [`Thinking::protocol`].
    pub protocol: String,
    /// The block; an object with a `type` of the provider's.
    pub block: Value,
}

/// A tool's answer within a tool message.
#[derive(Debug, Clone, PartialEq, Serialize, strum::EnumDiscriminants)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[strum_discriminants(name(ResultPartKind), vis(), derive(Deserialize), serde(rename_all = "camelCase"))]
#[strum_discriminants(allow(clippy::enum_variant_names, reason = "they are named as the JSON names them"))]
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

/// The keys of a [`ResultPart`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResultFields {
    #[serde(rename = "type")]
    kind: ResultPartKind,
    id: String,
    tool_call_id: String,
    tool_name: String,
    contents: Vec<Content>,
    #[serde(default)]
    is_error: bool,
}

impl<'de> Deserialize<'de> for ResultPart {
    /// In one pass, as [`Content`].
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let ResultFields { kind, id, tool_call_id, tool_name, contents, is_error } = ResultFields::deserialize(from)?;
        match kind {
            ResultPartKind::ToolResultPart => {
                Ok(Self::ToolResultPart { id, tool_call_id, tool_name, contents, is_error })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_read_whatever_the_order_of_their_keys() {
        let part = json!({"mimeType": "image/png", "data": "aaaa", "type": "imageBinaryPart"});
        let content: Content = serde_json::from_value(part).unwrap();
        assert_eq!(
            content,
            Content::ImageBinaryPart { id: String::new(), data: "aaaa".into(), mime_type: "image/png".into() }
        );
        let part = json!({"args": null, "toolName": "t", "toolCallId": "c", "id": "p", "type": "toolCallPart"});
        let expected = ExpertPart::ToolCallPart {
            id: "p".into(),
            tool_call_id: "c".into(),
            tool_name: "t".into(),
            args: Value::Null,
        };
        assert_eq!(serde_json::from_value::<ExpertPart>(part).unwrap(), expected);
    }

    #[test]
    fn every_kind_of_part_is_read_as_it_was_written() {
        let thinking = Thinking { signature: Some("s".into()), opaque: Some(json!({"a": 1})), ..Thinking::default() };
        let block = Opaque { protocol: "anthropic-messages".into(), block: json!({"type": "server_tool_use"}) };
        let parts = [
            ExpertPart::ThinkingPart { id: "1".into(), thinking },
            ExpertPart::TextPart { id: "2".into(), text: "tawny".into() },
            ExpertPart::OpaquePart { id: "3".into(), opaque: block },
        ];
        let text = serde_json::to_string(&parts).unwrap();
        assert_eq!(serde_json::from_str::<Vec<ExpertPart>>(&text).unwrap(), parts);
    }

    #[test]
    fn a_kind_or_a_key_that_is_wrong_is_named() {
        for (part, expected) in [
            (json!({"type": "dreamPart"}), "unknown variant `dreamPart`"),
            (json!({"type": "textPart"}), "missing field `text`"),
            (json!({"type": "fileUrlPart", "url": "u"}), "missing field `mimeType`"),
            (json!({"text": "t"}), "missing field `type`"),
        ] {
            let error = serde_json::from_value::<Content>(part).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
