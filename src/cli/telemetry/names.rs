//! Every name that traces have: of spans, attributes and values. The other files of this folder spell none themselves.
//!
//! The names are those of OpenTelemetry's semantic conventions for generative AI as they are at present
//! (<https://github.com/open-telemetry/semantic-conventions-genai>); what those have no name for begins with `perstack.`.
//! `docs/telemetry.md` is held equal to [`ATTRIBUTES`] by a test.

use perstack::checkpoint::Status;
use perstack::generation::FinishReason;

/// The kind of a span, which its name begins with and the attribute [`OPERATION`] repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum SpanOperation {
    /// A job, as far as this process runs it; followed by the name of its coordinator's expert.
    InvokeWorkflow,
    /// A Run, with those that continue it behind delegates; followed by the expert's name.
    InvokeAgent,
    /// One request to a model; followed by the model's name.
    Chat,
    /// A call; followed by the tool's name.
    ExecuteTool,
}

impl SpanOperation {
    /// The name, as spans and attributes spell it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

pub const OPERATION: &str = "gen_ai.operation.name";
pub const CONVERSATION: &str = "gen_ai.conversation.id";
pub const ERROR_TYPE: &str = "error.type";
pub const WORKFLOW_NAME: &str = "gen_ai.workflow.name";
pub const AGENT_ID: &str = "gen_ai.agent.id";
pub const AGENT_NAME: &str = "gen_ai.agent.name";
pub const AGENT_VERSION: &str = "gen_ai.agent.version";
pub const PROVIDER: &str = "gen_ai.provider.name";
pub const REQUEST_MODEL: &str = "gen_ai.request.model";
pub const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub const TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub const CACHE_CREATION_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
pub const REASONING_TOKENS: &str = "gen_ai.usage.reasoning.output_tokens";
pub const TOOL_NAME: &str = "gen_ai.tool.name";
pub const TOOL_CALL_ID: &str = "gen_ai.tool.call.id";
pub const TOOL_TYPE: &str = "gen_ai.tool.type";
pub const SYSTEM_INSTRUCTIONS: &str = "gen_ai.system_instructions";
pub const INPUT_MESSAGES: &str = "gen_ai.input.messages";
pub const OUTPUT_MESSAGES: &str = "gen_ai.output.messages";
pub const TOOL_CALL_ARGUMENTS: &str = "gen_ai.tool.call.arguments";
pub const TOOL_CALL_RESULT: &str = "gen_ai.tool.call.result";
pub const RUN: &str = "perstack.run.id";
pub const STEP: &str = "perstack.step";
pub const STATUS: &str = "perstack.status";
pub const SKILL: &str = "perstack.skill.name";

/// All attributes of spans.
#[cfg(test)]
pub const ATTRIBUTES: [&str; 28] = [
    OPERATION,
    CONVERSATION,
    ERROR_TYPE,
    WORKFLOW_NAME,
    AGENT_ID,
    AGENT_NAME,
    AGENT_VERSION,
    PROVIDER,
    REQUEST_MODEL,
    FINISH_REASONS,
    TIME_TO_FIRST_CHUNK,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_CREATION_TOKENS,
    REASONING_TOKENS,
    TOOL_NAME,
    TOOL_CALL_ID,
    TOOL_TYPE,
    SYSTEM_INSTRUCTIONS,
    INPUT_MESSAGES,
    OUTPUT_MESSAGES,
    TOOL_CALL_ARGUMENTS,
    TOOL_CALL_RESULT,
    RUN,
    STEP,
    STATUS,
    SKILL,
];

/// The scope that the spans belong to, and the service where the environment names none.
pub const SCOPE: &str = "perstack";
pub const SERVICE_NAME: &str = "service.name";
/// Attributes of the resource besides those that the environment gives.
pub const RESOURCE: [(&str, &str); 4] = [
    ("service.version", env!("CARGO_PKG_VERSION")),
    ("telemetry.sdk.name", SCOPE),
    ("telemetry.sdk.language", "rust"),
    ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
];

/// The only type of tool that there is: the runner executes it, with arguments that the model made.
pub const TOOL_TYPE_FUNCTION: &str = "function";
/// The [`ERROR_TYPE`] of a call whose tool reported a failure.
pub const TOOL_ERROR: &str = "tool_error";
/// The [`ERROR_TYPE`] of a call that permissions or a person denied.
pub const DENIED: &str = "permission_denied";
/// The [`ERROR_TYPE`] of a job that ended without a Run's own end.
pub const OTHER_ERROR: &str = "_OTHER";

/// The conventions' name of a provider.
pub fn provider(name: &str) -> &str {
    match name {
        "google" => "gcp.gemini",
        "google-vertex" => "gcp.vertex_ai",
        "amazon-bedrock" => "aws.bedrock",
        "azure-openai" => "azure.ai.openai",
        // These are the conventions' own, or the conventions have none.
        other => other,
    }
}

/// The conventions' name of a reason for which a model stopped.
pub fn finish_reason(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_call",
        FinishReason::Length | FinishReason::ContextWindow => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Pause => "pause",
        FinishReason::Other(reason) => reason,
    }
}

/// The [`ERROR_TYPE`] of a Run that stopped so, and of what was under way in it; none where nothing has gone wrong.
pub fn error_of(status: Status) -> Option<&'static str> {
    match status {
        Status::Completed | Status::StoppedByInteractiveTool | Status::StoppedByDelegate => None,
        other => Some(other.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_name() {
        let page = include_str!("../../../docs/telemetry.md");
        let missing: Vec<&str> =
            ATTRIBUTES.into_iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
        assert_eq!(missing, Vec::<&str>::new(), "docs/telemetry.md has no row for these");
        let rows = page.lines().filter(|line| line.starts_with("| `gen_ai.") || line.starts_with("| `perstack."));
        let error = page.lines().filter(|line| line.starts_with("| `error.type`"));
        assert_eq!(rows.chain(error).count(), ATTRIBUTES.len(), "docs/telemetry.md has a row for what is not exported");
        for operation in
            [SpanOperation::InvokeWorkflow, SpanOperation::InvokeAgent, SpanOperation::Chat, SpanOperation::ExecuteTool]
        {
            assert!(page.contains(&format!("| `{} ", operation.name())), "{}", operation.name());
        }
    }
}
