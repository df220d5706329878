//! [`ConverseEncoder`]: requests to Converse bodies.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::block::{Blocks, cache_point, explain_documents, is, text_block};
use super::family::Family;
use super::path_segment;
use crate::content::Content;
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::tool_names;
use crate::provider::wire::anthropic::{self, ThinkingMode};
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::schema;
use crate::provider::wire::settled_text::json;
use crate::provider::wire::turn::{BlockForm, BlockTurns, TurnRole};
use crate::provider::{EncodedRequest, Encoder};
use crate::tool::ToolSpec;

/// The user's message that is put before a conversation that begins with an answer, which the provider refuses.
const OPENING: &str = "Go on.";

/// The placeholder tool of a request without tools whose conversation has calls: the provider refuses it without tools.
const NO_TOOL: &str = "no_tool";

/// Writes the requests of one conversation. Of equal requests the bodies are equal byte for byte, and a request that goes
/// on with a conversation begins with the earlier one's messages, as prompt caching needs it.
pub(super) struct ConverseEncoder {
    family: Family,
    /// The list of tools; `None` without any.
    tools: Option<Bytes>,
    system: Vec<Value>,
    is_system_cached: bool,
    /// The system blocks as they are sent; `None` without any.
    instruction: Option<Bytes>,
    blocks: Blocks,
    has_calls: bool,
    turns: BlockTurns<ConverseBlocks>,
}

impl ConverseEncoder {
    pub(super) fn new(request: &GenerateRequest<'_>) -> Self {
        let family = Family::from_model(request.model);
        Self {
            family,
            tools: encoded_tools(request, family),
            system: Vec::new(),
            is_system_cached: false,
            instruction: None,
            blocks: Blocks::new(family),
            has_calls: false,
            turns: BlockTurns::new(ConverseBlocks(family)),
        }
    }

    fn add_instruction(&mut self, contents: &[Content], cache: bool) {
        let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
        self.system.extend(text_block(&texts.join("\n")));
        self.is_system_cached |= cache;
        let mark = (self.is_system_cached && self.family.caches()).then(cache_point);
        let system: Vec<&Value> = self.system.iter().chain(&mark).collect();
        self.instruction = (!self.system.is_empty()).then(|| json(&system).into());
    }
}

impl Encoder for ConverseEncoder {
    fn add(&mut self, message: &Message) {
        let (role, blocks): (TurnRole, Vec<Value>) = match message {
            Message::InstructionMessage { contents, cache, .. } => return self.add_instruction(contents, *cache),
            Message::UserMessage { contents, .. } => (TurnRole::User, self.blocks.user(contents)),
            Message::ExpertMessage { contents, .. } => {
                (TurnRole::Assistant, contents.iter().filter_map(|part| self.blocks.expert(part)).collect())
            }
            Message::ToolMessage { contents, .. } => {
                let (results, others): (Vec<Value>, Vec<Vec<Value>>) =
                    contents.iter().map(|part| self.blocks.result(part)).unzip();
                (TurnRole::User, results.into_iter().chain(others.into_iter().flatten()).collect())
            }
        };
        self.has_calls |= blocks.iter().any(|block| is(block, "toolUse") || is(block, "toolResult"));
        if self.turns.role().is_none() && role == TurnRole::Assistant && !blocks.is_empty() {
            self.turns.add(TurnRole::User, opening());
        }
        self.turns.add(role, blocks);
    }

    fn set_tools(&mut self, request: &GenerateRequest<'_>) {
        self.tools = encoded_tools(request, self.family);
    }

    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        if self.turns.role().is_none() {
            let mut opened = BlockTurns::new(ConverseBlocks(self.family));
            opened.add(TurnRole::User, opening());
            return self.request_with(request, &opened);
        }
        self.request_with(request, &self.turns)
    }
}

impl ConverseEncoder {
    fn request_with(&self, request: &GenerateRequest<'_>, turns: &BlockTurns<ConverseBlocks>) -> EncodedRequest {
        let reasoning = Reasoning::new(request, self.family, turns);
        let mut body = BodyText::new();
        if let Some(system) = &self.instruction {
            body.shared("system", system);
        }
        if let Some(tools) = &self.tools {
            body.key("toolConfig");
            body.text(r#"{"tools":"#);
            body.piece(tools);
            body.text("}");
        } else if self.has_calls {
            body.field("toolConfig", &json!({"tools": tools((&[], &[]), self.family)}));
        }
        body.key("messages");
        turns.write(&mut body);
        if let Some(tokens) = reasoning.max_tokens {
            body.field("inferenceConfig", &json!({"maxTokens": tokens}));
        }
        if !reasoning.fields.is_empty() {
            body.field("additionalModelRequestFields", &reasoning.fields);
        }
        let path = format!("/model/{}/converse-stream", path_segment(request.model));
        EncodedRequest { path, headers: Vec::new(), body: body.finish() }
    }
}

fn opening() -> Vec<Value> {
    text_block(OPENING).into_iter().collect()
}

/// The form of the protocol's blocks.
#[derive(Clone, Copy)]
struct ConverseBlocks(Family);

impl BlockForm for ConverseBlocks {
    type Block = Value;

    const MARK: &'static str = r#",{"cachePoint":{"type":"default"}}"#;
    /// The mark is a block behind the others.
    const BEHIND_MARK: &'static str = "]}";

    fn is_result(block: &Value) -> bool {
        is(block, "toolResult")
    }

    fn is_thinking(block: &Value) -> bool {
        is(block, "reasoningContent")
    }

    fn complete(blocks: &mut Vec<Value>) {
        explain_documents(blocks);
    }

    /// Nova caches only text, and refuses a cache point behind a tool's result.
    fn may_be_marked(&self, blocks: &[Value]) -> bool {
        let ends_with_text =
            || !blocks.iter().any(Self::is_result) && blocks.last().is_some_and(|block| is(block, "text"));
        self.0.caches() && (!matches!(self.0, Family::Nova { .. }) || ends_with_text())
    }
}

/// The reasoning that a request asks for, in the fields of the model's maker, and the limit on the answer, which
/// includes the reasoning.
struct Reasoning {
    max_tokens: Option<u64>,
    fields: Map<String, Value>,
}

impl Reasoning {
    /// Models whose documentation names no field get none; those that reason use their own default.
    fn new(request: &GenerateRequest<'_>, family: Family, turns: &BlockTurns<ConverseBlocks>) -> Self {
        let max_tokens = request.max_output_tokens;
        match (family, request.reasoning.effort()) {
            (Family::Claude { .. }, _) => {
                let plan = anthropic::plan(request, turns.is_thinking_continued());
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

/// The tools, or a placeholder for none. `toolChoice` is left out: it is automatic by default, and many models refuse
/// the field.
fn tools((staying, found): (&[ToolSpec], &[ToolSpec]), family: Family) -> Value {
    let mut specs: Vec<Value> = staying.iter().map(|spec| tool(spec, family)).collect();
    if specs.is_empty() && found.is_empty() {
        let schema = json!({"json": {"type": "object", "properties": {}}});
        let description = "Stands for no tool: none can be called now.";
        specs.push(json!({"toolSpec": {"name": NO_TOOL, "description": description, "inputSchema": schema}}));
    }
    // Before those that were found: what is cached serves whatever they are.
    if family.caches_tools() && !specs.is_empty() {
        specs.push(cache_point());
    }
    specs.extend(found.iter().map(|spec| tool(spec, family)));
    Value::Array(specs)
}

/// The list of tools; `None` without any.
fn encoded_tools(request: &GenerateRequest<'_>, family: Family) -> Option<Bytes> {
    (!request.tools.is_empty()).then(|| json(&tools(request.split_tools(), family)).into())
}

fn tool(spec: &ToolSpec, family: Family) -> Value {
    let mut schema = schema::parameters(&spec.input_schema, family.property_rule()).into_owned();
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
