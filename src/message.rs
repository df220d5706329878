//! Messages of a conversation, in the original's JSON shape.

use serde::{Deserialize, Serialize};

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

impl Message {
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
