//! A request to a Messages body.

use serde_json::{Map, Value, json};

use super::NAME;
use super::thinking::{self, ThinkingMode};
use crate::content::{Content, ExpertPart, ResultPart, Thinking};
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::media::Media;
use crate::tool::ToolSpec;

/// User turns with a cache breakpoint: the last, so that the next request finds all of this one cached, and the one
/// before, where this request finds what the previous one wrote even when more blocks came in between than the
/// provider looks back (20). With the last tool and the system prompt that makes four, the protocol's limit.
const CACHED_USER_TURNS: usize = 2;

/// The request's body. Of equal requests the bodies are equal byte for byte, and a request that goes on with a
/// conversation begins with the earlier one's messages, as prompt caching needs it.
pub(super) fn body(request: &GenerateRequest<'_>) -> Value {
    let (system, mut turns) = conversation(request.messages);
    let plan = thinking::plan(request, is_thinking_continued(&turns));
    for turn in turns.iter_mut().rev().filter(|turn| turn.role == Role::User).take(CACHED_USER_TURNS) {
        turn.blocks.last_mut().map(mark_cached);
    }

    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("max_tokens".into(), json!(plan.max_tokens));
    body.insert("stream".into(), json!(true));
    match plan.mode {
        ThinkingMode::Off => {}
        ThinkingMode::Budget(tokens) => {
            body.insert("thinking".into(), json!({"type": "enabled", "budget_tokens": tokens}));
        }
        ThinkingMode::Adaptive(effort) => {
            // Without `display`, the newest models return thinking without its text.
            body.insert("thinking".into(), json!({"type": "adaptive", "display": "summarized"}));
            body.insert("output_config".into(), json!({"effort": effort}));
        }
    }
    if !system.is_empty() {
        body.insert("system".into(), Value::Array(system));
    }
    if !request.tools.is_empty() {
        body.insert("tools".into(), tools(request.tools));
        body.insert("tool_choice".into(), json!({"type": "auto"}));
    }
    body.insert("messages".into(), turns.into_iter().map(Turn::into_value).collect());
    Value::Object(body)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
}

/// One message of the body; the protocol wants the roles to alternate.
struct Turn {
    role: Role,
    blocks: Vec<Value>,
}

impl Turn {
    /// Results of tools must come first in their turn.
    fn into_value(mut self) -> Value {
        self.blocks.sort_by_key(|block| !is_of_type(block, &["tool_result"]));
        let role = match self.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        json!({"role": role, "content": self.blocks})
    }
}

/// The system blocks and the turns, neither with an empty one.
fn conversation(messages: &[Message]) -> (Vec<Value>, Vec<Turn>) {
    let mut system = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        let (role, blocks): (Role, Vec<Value>) = match message {
            Message::InstructionMessage { contents, cache, .. } => {
                system.extend(instruction(contents, *cache));
                continue;
            }
            Message::UserMessage { contents, .. } => (Role::User, contents.iter().filter_map(content_block).collect()),
            Message::ExpertMessage { contents, .. } => {
                (Role::Assistant, contents.iter().filter_map(expert_block).collect())
            }
            Message::ToolMessage { contents, .. } => (Role::User, contents.iter().map(result_block).collect()),
        };
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(last) if last.role == role => last.blocks.extend(blocks),
            _ => turns.push(Turn { role, blocks }),
        }
    }
    trim_final_answer(&mut turns);
    (system, turns)
}

/// A text that the conversation ends with counts as the beginning of the answer, and must not end in white space.
fn trim_final_answer(turns: &mut [Turn]) {
    let Some(Turn { role: Role::Assistant, blocks }) = turns.last_mut() else { return };
    if let Some(Value::String(text)) = blocks.last_mut().and_then(|block| block.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
}

/// Whether thinking can go on: a turn that called tools must have begun with thinking if it is to go on with thinking.
/// It has not when another provider (or an imitator, without a signature) made it.
fn is_thinking_continued(turns: &[Turn]) -> bool {
    let is_asked =
        |turn: &Turn| turn.role == Role::User && !turn.blocks.iter().any(|block| is_of_type(block, &["tool_result"]));
    let start = turns.iter().rposition(is_asked).map_or(0, |asked| asked.saturating_add(1));
    let answer = turns.iter().skip(start).find(|turn| turn.role == Role::Assistant);
    answer.is_none_or(|turn| {
        turn.blocks.first().is_some_and(|block| is_of_type(block, &["thinking", "redacted_thinking"]))
    })
}

fn is_of_type(block: &Value, types: &[&str]) -> bool {
    block.get("type").and_then(Value::as_str).is_some_and(|kind| types.contains(&kind))
}

fn mark_cached(block: &mut Value) {
    if let Value::Object(block) = block {
        block.insert("cache_control".into(), json!({"type": "ephemeral"}));
    }
}

fn tools(tools: &[ToolSpec]) -> Value {
    let mut tools: Vec<Value> = tools.iter().map(tool).collect();
    tools.last_mut().map(mark_cached);
    Value::Array(tools)
}

fn tool(spec: &ToolSpec) -> Value {
    let mut tool = Map::new();
    tool.insert("name".into(), json!(spec.name));
    if let Some(description) = &spec.description {
        tool.insert("description".into(), json!(description));
    }
    tool.insert("input_schema".into(), Value::Object(spec.input_schema.clone()));
    Value::Object(tool)
}

fn instruction(contents: &[Content], is_cached: bool) -> Option<Value> {
    let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
    let mut block = text_block(&texts.join("\n"))?;
    if is_cached {
        mark_cached(&mut block);
    }
    Some(block)
}

fn expert_block(part: &ExpertPart) -> Option<Value> {
    match part {
        ExpertPart::ThinkingPart { thinking, .. } => thinking_block(thinking),
        ExpertPart::TextPart { text, .. } => text_block(text),
        ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
            let input = if args.is_object() { args.clone() } else { json!({}) };
            Some(json!({"type": "tool_use", "id": wire_id(tool_call_id), "name": tool_name, "input": input}))
        }
    }
}

/// A thinking block as it came; `None` for those of other protocols and those that nobody signed.
fn thinking_block(thinking: &Thinking) -> Option<Value> {
    if thinking.protocol.as_deref().is_some_and(|protocol| protocol != NAME) {
        return None;
    }
    if let Some(block) = &thinking.opaque {
        return is_of_type(block, &["redacted_thinking"]).then(|| block.clone());
    }
    let signature = thinking.signature.as_deref().filter(|signature| !signature.is_empty())?;
    Some(json!({"type": "thinking", "thinking": thinking.thinking, "signature": signature}))
}

fn result_block(part: &ResultPart) -> Value {
    let ResultPart::ToolResultPart { tool_call_id, contents, is_error, .. } = part;
    let mut block = Map::new();
    block.insert("type".into(), json!("tool_result"));
    block.insert("tool_use_id".into(), json!(wire_id(tool_call_id)));
    block.insert("content".into(), contents.iter().filter_map(content_block).collect());
    if *is_error {
        block.insert("is_error".into(), json!(true));
    }
    Value::Object(block)
}

/// A call's id in the letters that the protocol takes; ids of other providers may have others. Each of those becomes
/// its code point in hexadecimal, so that different ids stay different.
fn wire_id(id: &str) -> String {
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let wire = |letter| if is_taken(letter) { letter.to_string() } else { format!("_{:x}_", u32::from(letter)) };
    id.chars().map(wire).collect()
}

/// Empty text is refused by the provider, and says nothing.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

fn content_block(content: &Content) -> Option<Value> {
    let (kind, source) = match Media::of(content) {
        Media::Text(text) => return text_block(&text),
        Media::ImageUrl(url) => ("image", json!({"type": "url", "url": url})),
        Media::PdfUrl(url) => ("document", json!({"type": "url", "url": url})),
        Media::Image { mime_type, data } => ("image", json!({"type": "base64", "media_type": mime_type, "data": data})),
        Media::Pdf { data } => ("document", json!({"type": "base64", "media_type": "application/pdf", "data": data})),
    };
    Some(json!({"type": kind, "source": source}))
}
