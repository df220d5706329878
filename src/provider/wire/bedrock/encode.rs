//! [`body`]: a request to a Converse body.

use serde_json::{Map, Value, json};

use super::block::{Blocks, cache_point, explain_documents, is, text_block};
use super::family::Family;
use crate::content::Content;
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::tool_names;
use crate::provider::wire::anthropic::{self, ThinkingMode};
use crate::provider::wire::schema;
use crate::provider::wire::turn::{self, BlockTurn, CACHED_USER_TURNS, TurnRole};
use crate::tool::ToolSpec;

/// The user's message that is put before a conversation that begins with an answer, which the provider refuses.
const OPENING: &str = "Go on.";

/// The placeholder tool of a request without tools whose conversation has calls: the provider refuses it without tools.
const NO_TOOL: &str = "no_tool";

/// The request's body. Of equal requests the bodies are equal byte for byte, and a request that goes on with a
/// conversation begins with the earlier one's messages, as prompt caching needs it.
pub(super) fn body(request: &GenerateRequest<'_>) -> Value {
    let family = Family::from_model(request.model);
    let (system, mut turns) = conversation(request.messages, family);
    let reasoning = Reasoning::new(request, family, &turns);
    let has_calls =
        turns.iter().flat_map(|turn| &turn.blocks).any(|block| is(block, "toolUse") || is(block, "toolResult"));
    set_cache_points(&mut turns, family);

    let mut body = Map::new();
    if !system.is_empty() {
        body.insert("system".into(), Value::Array(system));
    }
    if !request.tools.is_empty() || has_calls {
        body.insert("toolConfig".into(), json!({"tools": tools(request.tools, family)}));
    }
    body.insert("messages".into(), turns.into_iter().map(BlockTurn::into_value).collect());
    if let Some(tokens) = reasoning.max_tokens {
        body.insert("inferenceConfig".into(), json!({"maxTokens": tokens}));
    }
    if !reasoning.fields.is_empty() {
        body.insert("additionalModelRequestFields".into(), Value::Object(reasoning.fields));
    }
    Value::Object(body)
}

/// The reasoning that a request asks for, in the fields of the model's maker, and the limit on the answer, which
/// includes the reasoning.
struct Reasoning {
    max_tokens: Option<u64>,
    fields: Map<String, Value>,
}

impl Reasoning {
    /// Models whose documentation names no field get none; those that reason use their own default.
    fn new(request: &GenerateRequest<'_>, family: Family, turns: &[BlockTurn]) -> Self {
        let max_tokens = request.max_output_tokens;
        match (family, request.reasoning.effort()) {
            (Family::Claude { .. }, _) => {
                let plan = anthropic::plan(request, is_reasoning_continued(turns));
                // A budget must be below the limit, so the limit is sent with it.
                let max_tokens = if plan.mode == ThinkingMode::Off { max_tokens } else { Some(plan.max_tokens) };
                Self { max_tokens, fields: plan.mode.fields() }
            }
            (Family::Nova { reasons: true }, Some(effort)) => {
                let config = json!({"type": "enabled", "maxReasoningEffort": effort});
                // With high effort, Nova refuses a limit.
                let max_tokens = max_tokens.filter(|_| effort != "high");
                Self { max_tokens, fields: Map::from_iter([("reasoningConfig".to_owned(), config)]) }
            }
            _ => Self { max_tokens, fields: Map::new() },
        }
    }
}

fn has(turn: &BlockTurn, kind: &str) -> bool {
    turn.blocks.iter().any(|block| is(block, kind))
}

/// The system blocks and the turns, none of them empty, the first the user's.
fn conversation(messages: &[Message], family: Family) -> (Vec<Value>, Vec<BlockTurn>) {
    let mut system = Vec::new();
    let mut is_system_cached = false;
    let mut turns: Vec<BlockTurn> = Vec::new();
    let mut written = Blocks::new(family);
    for message in messages {
        let (role, blocks): (TurnRole, Vec<Value>) = match message {
            Message::InstructionMessage { contents, cache, .. } => {
                let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
                system.extend(text_block(&texts.join("\n")));
                is_system_cached |= *cache;
                continue;
            }
            Message::UserMessage { contents, .. } => (TurnRole::User, written.user(contents)),
            Message::ExpertMessage { contents, .. } => {
                (TurnRole::Assistant, contents.iter().filter_map(|part| written.expert(part)).collect())
            }
            Message::ToolMessage { contents, .. } => {
                let (results, others): (Vec<Value>, Vec<Vec<Value>>) =
                    contents.iter().map(|part| written.result(part)).unzip();
                (TurnRole::User, results.into_iter().chain(others.into_iter().flatten()).collect())
            }
        };
        turn::add(&mut turns, role, blocks);
    }
    if is_system_cached && family.caches() && !system.is_empty() {
        system.push(cache_point());
    }
    if turns.first().is_none_or(|turn| turn.role != TurnRole::User) {
        turns.insert(0, BlockTurn { role: TurnRole::User, blocks: text_block(OPENING).into_iter().collect() });
    }
    for turn in &mut turns {
        // Results of tools must come first in their turn.
        turn.blocks.sort_by_key(|block| !is(block, "toolResult"));
        explain_documents(&mut turn.blocks);
    }
    turn::trim_final_answer(&mut turns);
    (system, turns)
}

/// Returns true when Claude's reasoning can continue: a turn that called tools must have begun with reasoning if it is
/// to continue with it. It has not when another provider made it.
fn is_reasoning_continued(turns: &[BlockTurn]) -> bool {
    let is_asked = |turn: &BlockTurn| turn.role == TurnRole::User && !has(turn, "toolResult");
    let start = turns.iter().rposition(is_asked).map_or(0, |asked| asked.saturating_add(1));
    let answer = turns.iter().skip(start).find(|turn| turn.role == TurnRole::Assistant);
    answer.is_none_or(|turn| turn.blocks.first().is_some_and(|block| is(block, "reasoningContent")))
}

/// Sets the cache points. Nova caches only text, and refuses a cache point behind a tool's result.
fn set_cache_points(turns: &mut [BlockTurn], family: Family) {
    if !family.caches() {
        return;
    }
    let may_end = |turn: &BlockTurn| match family {
        Family::Nova { .. } => !has(turn, "toolResult") && turn.blocks.last().is_some_and(|block| is(block, "text")),
        _ => true,
    };
    let users = turns.iter_mut().rev().filter(|turn| turn.role == TurnRole::User && may_end(turn));
    for turn in users.take(CACHED_USER_TURNS) {
        turn.blocks.push(cache_point());
    }
}

/// The tools, or a placeholder for none. `toolChoice` is left out: it is automatic by default, and many models refuse
/// the field.
fn tools(tools: &[ToolSpec], family: Family) -> Value {
    let mut specs: Vec<Value> = tools.iter().map(|spec| tool(spec, family)).collect();
    if specs.is_empty() {
        let schema = json!({"json": {"type": "object", "properties": {}}});
        let description = "Stands for no tool: none can be called now.";
        specs.push(json!({"toolSpec": {"name": NO_TOOL, "description": description, "inputSchema": schema}}));
    }
    if family.caches_tools() {
        specs.push(cache_point());
    }
    Value::Array(specs)
}

fn tool(spec: &ToolSpec, family: Family) -> Value {
    let mut schema = schema::parameters(&spec.input_schema, family.property_rule());
    if matches!(family, Family::Nova { .. }) {
        // The only keywords that Nova's documentation allows at the top of a schema.
        schema.retain(|key, _| ["type", "properties", "required"].contains(&key.as_str()));
    }
    let mut tool = Map::new();
    tool.insert("name".into(), json!(tool_names::short(&spec.name)));
    if let Some(description) = spec.description.as_deref().filter(|description| !description.is_empty()) {
        tool.insert("description".into(), json!(description));
    }
    tool.insert("inputSchema".into(), json!({"json": schema}));
    json!({"toolSpec": tool})
}

#[cfg(test)]
mod tests;
