//! Tools as the model sees them, calls to them, and what they return.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::content::Content;
use crate::id::ToolCallId;

/// The skill that the built-in tools belong to.
pub const BASE_SKILL: &str = "@perstack/base";

/// Most characters of a tool's name: what Anthropic and OpenAI's Responses take. Protocols that take fewer shorten it.
pub const LONGEST_NAME: usize = 128;

/// The loop's own tools, which every expert has, whether or not it has the base skill.
pub const CONVERSATION_TOOLS: [&str; 3] = ["todo", "clearTodo", "attemptCompletion"];

/// The skill that the tool belongs to by which a model searches the tools of servers.
pub const TOOL_SEARCH_SKILL: &str = "@perstack/tool-search";

/// All tools of the built-in base skill, the loop's own among them.
pub const BASE_TOOLS: [&str; 17] = [
    "todo",
    "clearTodo",
    "attemptCompletion",
    "exec",
    "healthCheck",
    "readTextFile",
    "writeTextFile",
    "appendTextFile",
    "editTextFile",
    "readImageFile",
    "readPdfFile",
    "moveFile",
    "deleteFile",
    "getFileInfo",
    "listDirectory",
    "createDirectory",
    "deleteDirectory",
];

/// The kind of a tool, by what answers its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum ToolKind {
    /// A skill, by running it: MCP servers and the built-in base skill.
    Mcp,
    /// The machine itself: the tool touches only the conversation's own state (`todo`, `clearTodo`,
    /// `attemptCompletion`).
    Conversation,
    /// Another expert, in a Run of its own.
    Delegate,
    /// A person, after the Run has stopped.
    Interactive,
}

/// The promises of a tool about its effects (MCP's annotations).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "MCP's four independent hints")]
pub struct ToolHints {
    /// Changes nothing outside.
    pub read_only: bool,
    /// Done twice with the same arguments is as done once.
    pub idempotent: bool,
    /// May destroy or overwrite something.
    pub destructive: bool,
    /// Reaches beyond the workspace.
    pub open_world: bool,
}

impl ToolHints {
    /// Returns true if a call that may or may not have happened can simply be made again.
    pub fn is_repeatable(self) -> bool {
        self.read_only || self.idempotent
    }
}

/// A tool's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpec {
    /// The skill it belongs to; for a delegate the expert's key.
    pub skill_name: String,
    /// The name the model calls it by.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON Schema of type `object`; shared, as it is the large part and definitions are copied often.
    pub input_schema: Arc<Map<String, Value>>,
    pub kind: ToolKind,
    #[serde(default)]
    pub hints: ToolHints,
}

impl ToolSpec {
    /// The part of the tool that the machine needs to know.
    pub fn route(&self) -> ToolRoute {
        ToolRoute { name: self.name.clone(), skill_name: self.skill_name.clone(), kind: self.kind }
    }
}

/// A tool's name and who answers it: all that a machine needs of a [`ToolSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolRoute {
    pub name: String,
    pub skill_name: String,
    pub kind: ToolKind,
}

/// A call that the model made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    pub id: ToolCallId,
    pub skill_name: String,
    pub tool_name: String,
    #[serde(default)]
    pub args: Map<String, Value>,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// The call's id.
    pub id: ToolCallId,
    pub skill_name: String,
    pub tool_name: String,
    pub result: Vec<Content>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// The tools that a search has found by this call, in order: requests have their definitions from here on.
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    pub found_tools: Box<[String]>,
}

impl ToolResult {
    /// A result for `call`.
    pub fn new(call: &ToolCall, result: Vec<Content>) -> Self {
        Self {
            id: call.id.clone(),
            skill_name: call.skill_name.clone(),
            tool_name: call.tool_name.clone(),
            result,
            is_error: false,
            found_tools: Box::default(),
        }
    }

    /// A result for `call` that shows the model what went wrong.
    pub fn error(call: &ToolCall, message: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::new(call, vec![Content::text(message)]) }
    }
}
