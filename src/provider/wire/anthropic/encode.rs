//! [`MessagesEncoder`]: requests to Messages bodies.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::block::{
    MessageBlock, content_block, expert_block, is_of_type, is_property, mark_cached, result_block, text_block,
};
use super::native::{NativeCalls, RequestedNative, container_block, is_call};
use super::{VERSION, thinking};
use crate::content::{Content, ExpertPart};
use crate::generation::GenerateRequest;
use crate::json_text::write;
use crate::message::Message;
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::schema;
use crate::provider::wire::settled_text::json;
use crate::provider::wire::turn::{BlockForm, BlockTurns, TurnRole};
use crate::provider::{EncodedRequest, Encoder};

/// Writes the requests of one conversation. Of equal requests the bodies are equal byte for byte, and a request that goes
/// on with a conversation begins with the earlier one's messages, as prompt caching needs it.
pub(super) struct MessagesEncoder {
    native: RequestedNative,
    /// The list of tools; `None` without any.
    tools: Option<Bytes>,
    system: Vec<Value>,
    is_system_cached: bool,
    /// The system blocks as they are sent; `None` without any.
    instruction: Option<Bytes>,
    turns: BlockTurns<MessageBlocks>,
    /// The blocks of messages since a call of the provider's tools that is open: whether it is sent is not settled.
    held: Vec<(TurnRole, Vec<MessageBlock>)>,
    calls: NativeCalls,
    /// The block of the latest container of the provider's tools.
    container: Option<Value>,
}

impl MessagesEncoder {
    pub(super) fn new(request: &GenerateRequest<'_>) -> Self {
        let native = RequestedNative::new(request.native);
        Self {
            tools: tools(request, &native.tools),
            native,
            system: Vec::new(),
            is_system_cached: false,
            instruction: None,
            turns: BlockTurns::new(MessageBlocks),
            held: Vec::new(),
            calls: NativeCalls::default(),
            container: None,
        }
    }

    fn add_instruction(&mut self, contents: &[Content], cache: bool) {
        let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
        self.system.extend(text_block(&texts.join("\n")));
        self.is_system_cached |= cache;
        let mut system = self.system.clone();
        system.last_mut().filter(|_| self.is_system_cached).map(mark_cached);
        self.instruction = (!system.is_empty()).then(|| json(&system).into());
    }

    fn settle(&mut self) {
        for (role, blocks) in self.held.drain(..) {
            self.turns.add(role, blocks);
        }
    }

    /// The turns with those that are not settled.
    fn all_turns(&self) -> Cow<'_, BlockTurns<MessageBlocks>> {
        if self.held.is_empty() {
            return Cow::Borrowed(&self.turns);
        }
        let mut turns = self.turns.clone();
        for (role, blocks) in &self.held {
            turns.add(*role, blocks.clone());
        }
        Cow::Owned(turns)
    }
}

impl Encoder for MessagesEncoder {
    fn add(&mut self, message: &Message) {
        let (role, blocks): (TurnRole, Vec<MessageBlock>) = match message {
            Message::InstructionMessage { contents, cache, .. } => return self.add_instruction(contents, *cache),
            Message::UserMessage { contents, .. } => {
                // The provider continues its calls only within their turn.
                let abandoned = self.calls.abandon();
                for (_, blocks) in &mut self.held {
                    let is_abandoned = |block: &Value| abandoned.iter().any(|id| is_call(block, id));
                    blocks.retain(|block| !block.value().is_some_and(is_abandoned));
                }
                (TurnRole::User, contents.iter().filter_map(content_block).map(MessageBlock::Value).collect())
            }
            Message::ExpertMessage { contents, .. } => {
                self.container = container_block(message).cloned().or(self.container.take());
                (TurnRole::Assistant, expert_blocks(contents, &mut self.calls))
            }
            Message::ToolMessage { contents, .. } => (TurnRole::User, contents.iter().map(result_block).collect()),
        };
        self.held.push((role, blocks));
        if !self.calls.is_open() {
            self.settle();
        }
    }

    fn set_tools(&mut self, request: &GenerateRequest<'_>) {
        self.tools = tools(request, &self.native.tools);
    }

    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        let turns = self.all_turns();
        let plan = thinking::plan(request, turns.is_thinking_continued());
        let mut body = BodyText::new();
        body.field("model", request.model);
        body.field("max_tokens", &plan.max_tokens);
        body.field("stream", &true);
        body.fields(&plan.mode.fields());
        if let Some(system) = &self.instruction {
            body.shared("system", system);
        }
        if let Some(container) = self.native.container(self.container.as_ref(), request.occasion.at) {
            body.field("container", &container);
        }
        if let Some(tools) = &self.tools {
            body.shared("tools", tools);
            body.field("tool_choice", &json!({"type": "auto"}));
        }
        body.key("messages");
        turns.write(&mut body);
        let mut headers = vec![("anthropic-version".to_owned(), VERSION.to_owned())];
        if !self.native.betas.is_empty() {
            headers.push(("anthropic-beta".to_owned(), self.native.betas.join(",")));
        }
        EncodedRequest { path: "/messages".to_owned(), headers, body: body.finish() }
    }
}

/// The blocks of an answer. The provider's own blocks keep their places; citations, which arrived beside a text, are
/// sent back within it.
fn expert_blocks(contents: &[ExpertPart], calls: &mut NativeCalls) -> Vec<MessageBlock> {
    let mut blocks: Vec<MessageBlock> = Vec::new();
    for part in contents {
        let Some(block) = expert_block(part) else { continue };
        let own = block.value().filter(|_| matches!(part, ExpertPart::OpaquePart { .. }));
        if own.is_none_or(|own| calls.admit(own)) {
            blocks.push(block);
        } else if let Some(citations) =
            own.filter(|own| is_of_type(own, &["text"])).and_then(|own| own.get("citations"))
            && let Some(MessageBlock::Value(Value::Object(text))) = blocks.last_mut()
            && text.contains_key("text")
        {
            text.insert("citations".into(), citations.clone());
        }
    }
    blocks
}

/// The form of the protocol's blocks.
#[derive(Clone, Copy)]
struct MessageBlocks;

impl BlockForm for MessageBlocks {
    type Block = MessageBlock;

    const MARK: &'static str = r#","cache_control":{"type":"ephemeral"}"#;
    /// The mark is the last field of the last block.
    const BEHIND_MARK: &'static str = "}]}";

    fn is_result(block: &MessageBlock) -> bool {
        matches!(block, MessageBlock::Result(_))
    }

    fn is_thinking(block: &MessageBlock) -> bool {
        block.value().is_some_and(|block| is_of_type(block, &["thinking", "redacted_thinking"]))
    }

    fn may_be_marked(&self, _: &[MessageBlock]) -> bool {
        true
    }
}

/// The list of tools as it is sent; `None` without any. Of those that all requests of a conversation have the last one is
/// marked for the cache, which then serves whatever was found; the mark of the instruction is behind all of them.
fn tools(request: &GenerateRequest<'_>, native: &[Value]) -> Option<Bytes> {
    let (tools, staying) = (request.tools, request.split_tools().0.len());
    let mut native = native.to_vec();
    if staying == 0 {
        native.last_mut().map(mark_cached);
    }
    if native.is_empty() && tools.is_empty() {
        return None;
    }
    let mut list = json(&native);
    // Open again, for those that follow.
    list.pop();
    for (at, spec) in tools.iter().enumerate() {
        let cache_control = (at + 1 == staying).then(|| json!({"type": "ephemeral"}));
        let (name, description) = (&*spec.name, spec.description.as_deref());
        let input_schema = schema::parameters(&spec.input_schema, is_property);
        if list.len() > 1 {
            list.push(b',');
        }
        write(&mut list, &ToolDefinition { name, description, input_schema, cache_control });
    }
    list.push(b']');
    Some(list.into())
}

/// A tool as it is sent.
#[derive(Serialize)]
struct ToolDefinition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Cow<'a, Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Value>,
}

#[cfg(test)]
mod tests;
