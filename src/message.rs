//! Messages of a conversation, in the original's JSON shape.

use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::content::{Content, ExpertPart, ResultPart};

/// One message. A Run's history is `instructionMessage`, `userMessage`, then expert and tool messages in turn, with a
/// user message wherever a query or a nudge came in.
#[derive(Debug, Clone, PartialEq, Serialize, strum::EnumDiscriminants)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[strum_discriminants(name(MessageKind), vis(), derive(Deserialize), serde(rename_all = "camelCase"))]
#[strum_discriminants(allow(clippy::enum_variant_names, reason = "they are named as the JSON names them"))]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Message {
    /// The system prompt; `cache` asks providers with explicit caching to cache up to here.
    InstructionMessage {
        id: String,
        contents: Vec<Content>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cache: bool,
    },
    /// A message of the user, of a delegating expert, or of the loop itself as a nudge.
    UserMessage {
        id: String,
        contents: Vec<Content>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cache: bool,
    },
    /// An answer of the model.
    ExpertMessage {
        id: String,
        contents: Vec<ExpertPart>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cache: bool,
    },
    /// The results of all calls of the expert message before it.
    ToolMessage {
        id: String,
        contents: Vec<ResultPart>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cache: bool,
    },
}

impl<'de> Deserialize<'de> for Message {
    /// In one pass where the kind comes first, as it is written. Serde's own code for a value with a tag first builds a
    /// tree of all that it holds, and a history is long.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Reading)
    }
}

/// Reads a [`Message`].
struct Reading;

/// The keys of a message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Key {
    Type,
    Id,
    Contents,
    Cache,
    #[serde(other)]
    Unknown,
}

/// The parts of a message, whose kind may come behind them.
enum Parts {
    Given(Vec<Content>),
    Expert(Vec<ExpertPart>),
    Results(Vec<ResultPart>),
    OfUnknown(Value),
}

impl<'de> Visitor<'de> for Reading {
    type Value = Message;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        let (mut kind, mut id, mut contents, mut cache) = (None, None, None, false);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Type => kind = Some(map.next_value::<MessageKind>()?),
                Key::Id => id = Some(map.next_value::<String>()?),
                Key::Cache => cache = map.next_value()?,
                Key::Contents => {
                    contents = Some(match kind {
                        Some(MessageKind::InstructionMessage | MessageKind::UserMessage) => {
                            Parts::Given(map.next_value()?)
                        }
                        Some(MessageKind::ExpertMessage) => Parts::Expert(map.next_value()?),
                        Some(MessageKind::ToolMessage) => Parts::Results(map.next_value()?),
                        None => Parts::OfUnknown(map.next_value()?),
                    });
                }
                Key::Unknown => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let kind = kind.ok_or_else(|| A::Error::missing_field("type"))?;
        let id = id.ok_or_else(|| A::Error::missing_field("id"))?;
        let contents = contents.ok_or_else(|| A::Error::missing_field("contents"))?;
        message(kind, id, contents, cache)
    }
}

fn message<E: serde::de::Error>(kind: MessageKind, id: String, parts: Parts, cache: bool) -> Result<Message, E> {
    let parts = match (kind, parts) {
        (MessageKind::ExpertMessage, Parts::OfUnknown(value)) => Parts::Expert(typed(value)?),
        (MessageKind::ToolMessage, Parts::OfUnknown(value)) => Parts::Results(typed(value)?),
        (_, Parts::OfUnknown(value)) => Parts::Given(typed(value)?),
        (_, parts) => parts,
    };
    match (kind, parts) {
        (MessageKind::InstructionMessage, Parts::Given(contents)) => {
            Ok(Message::InstructionMessage { id, contents, cache })
        }
        (MessageKind::UserMessage, Parts::Given(contents)) => Ok(Message::UserMessage { id, contents, cache }),
        (MessageKind::ExpertMessage, Parts::Expert(contents)) => Ok(Message::ExpertMessage { id, contents, cache }),
        (MessageKind::ToolMessage, Parts::Results(contents)) => Ok(Message::ToolMessage { id, contents, cache }),
        // A kind that is given twice, with other parts in between.
        _ => Err(E::duplicate_field("type")),
    }
}

fn typed<T: DeserializeOwned, E: serde::de::Error>(value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(E::custom)
}

/// A message of the user that has not joined the conversation yet: a text, with images and files behind it. Stored as a
/// string when it is a text alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "StoredInput")]
pub struct UserInput {
    pub text: String,
    pub attached: Vec<Content>,
}

impl UserInput {
    /// The parts of the message.
    pub fn into_contents(self) -> Vec<Content> {
        std::iter::once(Content::text(self.text)).chain(self.attached).collect()
    }
}

impl From<String> for UserInput {
    fn from(text: String) -> Self {
        Self { text, attached: Vec::new() }
    }
}

impl Serialize for UserInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.attached.is_empty() {
            return serializer.serialize_str(&self.text);
        }
        let mut fields = serializer.serialize_struct("UserInput", 2)?;
        fields.serialize_field("text", &self.text)?;
        fields.serialize_field("attached", &self.attached)?;
        fields.end()
    }
}

/// The stored forms of a [`UserInput`].
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredInput {
    Text(String),
    WithAttached { text: String, attached: Vec<Content> },
}

impl From<StoredInput> for UserInput {
    fn from(stored: StoredInput) -> Self {
        match stored {
            StoredInput::Text(text) => text.into(),
            StoredInput::WithAttached { text, attached } => Self { text, attached },
        }
    }
}

impl Message {
    /// The message's id.
    pub fn id(&self) -> &str {
        match self {
            Self::InstructionMessage { id, .. }
            | Self::UserMessage { id, .. }
            | Self::ExpertMessage { id, .. }
            | Self::ToolMessage { id, .. } => id,
        }
    }

    /// The texts of an expert message, joined by newlines; `None` for other messages or when there is no text.
    pub fn expert_text(&self) -> Option<String> {
        let Self::ExpertMessage { contents, .. } = self else { return None };
        let texts: Vec<&str> = contents
            .iter()
            .filter_map(|part| match part {
                ExpertPart::TextPart { text, .. } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        if texts.is_empty() { None } else { Some(texts.join("\n")) }
    }

    /// The ids of the calls that an expert message makes.
    pub fn call_ids(&self) -> impl Iterator<Item = &str> {
        let parts = match self {
            Self::ExpertMessage { contents, .. } => contents.as_slice(),
            _ => &[],
        };
        parts.iter().filter_map(|part| match part {
            ExpertPart::ToolCallPart { tool_call_id, .. } => Some(tool_call_id.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whatever_the_order_of_its_keys() {
        let part = r#"{"toolCallId":"c","toolName":"t","args":{},"id":"p","type":"toolCallPart"}"#;
        for text in [
            format!(r#"{{"type":"expertMessage","id":"m","contents":[{part}],"more":1}}"#),
            format!(r#"{{"contents":[{part}],"cache":false,"id":"m","type":"expertMessage"}}"#),
        ] {
            let message: Message = serde_json::from_str(&text).unwrap();
            assert!(matches!(&message, Message::ExpertMessage { id, contents, cache: false }
                if id == "m" && matches!(&contents[..], [ExpertPart::ToolCallPart { .. }])));
        }
        for (text, expected) in [
            (r#"{"id":"m","contents":[]}"#, "missing field `type`"),
            (r#"{"type":"userMessage","id":"m"}"#, "missing field `contents`"),
            (r#"{"type":"dreamMessage"}"#, "unknown variant `dreamMessage`"),
            (
                r#"{"type":"userMessage","id":"m","contents":[{"type":"toolCallPart"}]}"#,
                "unknown variant `toolCallPart`",
            ),
            (r#"{"contents":[],"type":"userMessage","id":7}"#, "invalid type: integer `7`, expected a string"),
        ] {
            let error = serde_json::from_str::<Message>(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn an_input_of_the_user_is_stored_as_a_string_unless_something_is_attached() {
        let text = UserInput::from("q".to_owned());
        assert_eq!(serde_json::to_string(&text).unwrap(), r#""q""#);
        let image =
            Content::ImageInlinePart { id: String::new(), encoded_data: "b3ds".into(), mime_type: "i/p".into() };
        let shown = UserInput { text: "q".to_owned(), attached: vec![image.clone()] };
        let stored = serde_json::to_string(&shown).unwrap();
        assert!(stored.starts_with(r#"{"text":"q","attached":[{"type":"imageInlinePart""#), "{stored}");
        for input in [text, shown.clone()] {
            let stored = serde_json::to_string(&input).unwrap();
            assert_eq!(serde_json::from_str::<UserInput>(&stored).unwrap(), input);
        }
        assert_eq!(shown.into_contents(), [Content::text("q"), image]);
    }
}
