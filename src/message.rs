//! Messages of a conversation, in the original's JSON shape.

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::content::{Content, ExpertPart, ResultPart};

/// One message. A Run's history is `instructionMessage`, `userMessage`, then expert and tool messages in turn, with a
/// user message wherever a query or a nudge came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
