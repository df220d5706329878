//! [`body`]: a request to a Messages body.

use serde_json::{Map, Value, json};

use super::block::{content_block, expert_block, is_of_type, is_property, mark_cached, result_block, text_block};
use super::native::{Pairs, RequestedNative};
use super::thinking;
use crate::content::{Content, ExpertPart};
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::wire::schema;
use crate::provider::wire::turn::{self, BlockTurn, CACHED_USER_TURNS, TurnRole};
use crate::tool::ToolSpec;

/// The request's body. Of equal requests the bodies are equal byte for byte, and a request that goes on with a
/// conversation begins with the earlier one's messages, as prompt caching needs it.
pub(super) fn body(request: &GenerateRequest<'_>, asked: RequestedNative) -> Value {
    let (system, mut turns) = conversation(request.messages);
    let plan = thinking::plan(request, is_thinking_continued(&turns));
    for turn in turns.iter_mut().rev().filter(|turn| turn.role == TurnRole::User).take(CACHED_USER_TURNS) {
        turn.blocks.last_mut().map(mark_cached);
    }

    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("max_tokens".into(), json!(plan.max_tokens));
    body.insert("stream".into(), json!(true));
    body.extend(plan.mode.fields());
    if !system.is_empty() {
        body.insert("system".into(), Value::Array(system));
    }
    if let Some(container) = asked.container(request) {
        body.insert("container".into(), container);
    }
    if !(request.tools.is_empty() && asked.tools.is_empty()) {
        body.insert("tools".into(), tools(request.tools, asked.tools));
        body.insert("tool_choice".into(), json!({"type": "auto"}));
    }
    body.insert("messages".into(), turns.into_iter().map(BlockTurn::into_value).collect());
    Value::Object(body)
}

/// The system blocks and the turns, neither with an empty one.
fn conversation(messages: &[Message]) -> (Vec<Value>, Vec<BlockTurn>) {
    let mut system = Vec::new();
    let mut is_system_cached = false;
    let mut turns: Vec<BlockTurn> = Vec::new();
    let pairs = Pairs::new(messages);
    for (at, message) in messages.iter().enumerate() {
        let (role, blocks): (TurnRole, Vec<Value>) = match message {
            Message::InstructionMessage { contents, cache, .. } => {
                let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
                system.extend(text_block(&texts.join("\n")));
                is_system_cached |= *cache;
                continue;
            }
            Message::UserMessage { contents, .. } => {
                (TurnRole::User, contents.iter().filter_map(content_block).collect())
            }
            Message::ExpertMessage { contents, .. } => (TurnRole::Assistant, expert_blocks(contents, &pairs, at)),
            Message::ToolMessage { contents, .. } => (TurnRole::User, contents.iter().map(result_block).collect()),
        };
        turn::add(&mut turns, role, blocks);
    }
    system.last_mut().filter(|_| is_system_cached).map(mark_cached);
    for turn in &mut turns {
        // Results of tools must come first in their turn.
        turn.blocks.sort_by_key(|block| !is_of_type(block, &["tool_result"]));
    }
    turn::trim_final_answer(&mut turns);
    (system, turns)
}

/// The blocks of an answer. The provider's own blocks keep their places; citations, which arrived beside a text, are
/// sent back within it.
fn expert_blocks(contents: &[ExpertPart], pairs: &Pairs<'_>, at: usize) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    for part in contents {
        let Some(block) = expert_block(part) else { continue };
        let is_opaque = matches!(part, ExpertPart::OpaquePart { .. });
        if !is_opaque || pairs.admit(&block, at) {
            blocks.push(block);
        } else if is_of_type(&block, &["text"])
            && let (Some(citations), Some(Value::Object(text))) = (block.get("citations"), blocks.last_mut())
            && text.contains_key("text")
        {
            text.insert("citations".into(), citations.clone());
        }
    }
    blocks
}

/// Returns true when thinking can continue: a turn that called tools must have begun with thinking if it is to continue
/// with it. It has not when another provider (or an imitator, without a signature) made it.
fn is_thinking_continued(turns: &[BlockTurn]) -> bool {
    let is_asked = |turn: &BlockTurn| {
        turn.role == TurnRole::User && !turn.blocks.iter().any(|block| is_of_type(block, &["tool_result"]))
    };
    let start = turns.iter().rposition(is_asked).map_or(0, |asked| asked.saturating_add(1));
    let answer = turns.iter().skip(start).find(|turn| turn.role == TurnRole::Assistant);
    answer.is_none_or(|turn| {
        turn.blocks.first().is_some_and(|block| is_of_type(block, &["thinking", "redacted_thinking"]))
    })
}

fn tools(tools: &[ToolSpec], native: Vec<Value>) -> Value {
    let mut tools: Vec<Value> = native.into_iter().chain(tools.iter().map(tool)).collect();
    tools.last_mut().map(mark_cached);
    Value::Array(tools)
}

fn tool(spec: &ToolSpec) -> Value {
    let mut tool = Map::new();
    tool.insert("name".into(), json!(spec.name));
    if let Some(description) = &spec.description {
        tool.insert("description".into(), json!(description));
    }
    tool.insert("input_schema".into(), Value::Object(schema::parameters(&spec.input_schema, is_property)));
    Value::Object(tool)
}

#[cfg(test)]
mod tests;
