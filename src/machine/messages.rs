//! The messages that a machine adds to its conversation, made from facts. Every part gets an id of the present stamp.

use crate::content::{Content, ExpertPart, ResultPart};
use crate::fact::IdGenerator;
use crate::generation::{GeneratedPart, Generation};
use crate::message::Message;
use crate::tool::{ToolCall, ToolResult};

pub fn instruction(text: &str, ids: &mut IdGenerator) -> Message {
    Message::InstructionMessage { id: ids.id(), contents: with_ids(vec![Content::text(text)], ids), cache: true }
}

/// A message of the user with one text.
pub fn user_text(text: impl Into<String>, ids: &mut IdGenerator) -> Message {
    user(vec![Content::text(text)], ids)
}

/// A message of the user with these parts.
pub fn user(contents: Vec<Content>, ids: &mut IdGenerator) -> Message {
    Message::UserMessage { id: ids.id(), contents: with_ids(contents, ids), cache: false }
}

/// The answers of a turn, in call order.
pub fn tool_results(results: Vec<ToolResult>, ids: &mut IdGenerator) -> Message {
    let contents = results
        .into_iter()
        .map(|result| ResultPart::ToolResultPart {
            id: ids.id(),
            tool_call_id: result.id,
            tool_name: result.tool_name,
            contents: with_ids(result.result, ids),
            is_error: result.is_error,
        })
        .collect();
    Message::ToolMessage { id: ids.id(), contents, cache: false }
}

/// A model's answer: `calls` come last, the rest as it came, since the place of what a provider ran itself is between
/// the thinking and the texts before and after it.
pub fn expert<'a>(
    generation: &Generation,
    calls: impl IntoIterator<Item = &'a ToolCall>,
    ids: &mut IdGenerator,
) -> Message {
    let mut contents = Vec::new();
    for part in &generation.parts {
        contents.push(match part {
            GeneratedPart::Thinking { thinking } => {
                ExpertPart::ThinkingPart { id: ids.id(), thinking: thinking.clone() }
            }
            GeneratedPart::Text { text } if !text.is_empty() => {
                ExpertPart::TextPart { id: ids.id(), text: text.clone() }
            }
            GeneratedPart::Opaque { opaque } => ExpertPart::OpaquePart { id: ids.id(), opaque: opaque.clone() },
            GeneratedPart::Text { .. } | GeneratedPart::ToolCall { .. } => continue,
        });
    }
    for call in calls {
        contents.push(ExpertPart::ToolCallPart {
            id: ids.id(),
            tool_call_id: call.id.clone(),
            tool_name: call.tool_name.clone(),
            args: call.args.clone().into(),
        });
    }
    Message::ExpertMessage { id: ids.id(), contents, cache: false }
}

/// A final answer of the model's that came as a call's argument.
pub fn expert_text(text: String, ids: &mut IdGenerator) -> Message {
    let contents = vec![ExpertPart::TextPart { id: ids.id(), text }];
    Message::ExpertMessage { id: ids.id(), contents, cache: false }
}

/// Gives ids to the parts that have none.
pub fn with_ids(mut contents: Vec<Content>, ids: &mut IdGenerator) -> Vec<Content> {
    for id in contents.iter_mut().map(Content::id_mut).filter(|id| id.is_empty()) {
        *id = ids.id();
    }
    contents
}
