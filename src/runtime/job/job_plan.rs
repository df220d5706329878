//! [`JobPlan`]: all that a job would begin or go on with, for a dry run. [`plan`](super::plan) makes it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::budget::Budgets;
use crate::checkpoint::{CheckpointHead, Status};
use crate::config::lockfile::Definition;
use crate::expert::{ContextFile, Expert, ExpertKey, ToolSearch};
use crate::id::CheckpointId;
use crate::machine::Action;
use crate::message::Message;
use crate::model_name::ModelName;
use crate::permission::PermissionVerdict;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::rules;
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::options::Options;
use crate::runtime::tools::open::{ToolSource, ToolsetBuilder};
use crate::runtime::tools::search::{self, SearchRule};
use crate::runtime::tools::{Toolset, containment, lock};
use crate::sandbox::SandboxState;
use crate::setting::Limits;
use crate::token_estimate::tools_tokens;
use crate::tool::{TOOL_SEARCH_SKILL, ToolCall, ToolKind, ToolSpec};

/// All that a job would begin or go on with. Tokens are estimates.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobPlan {
    pub expert: ExpertKey,
    /// The checkpoint that the job goes on from; null for a new job.
    pub from: Option<CheckpointId>,
    /// The first thing that it would do.
    pub first: FirstAction,
    /// The model that is asked first.
    pub model: ModelName,
    /// The model's context window in tokens, where it is known.
    pub context_window: Option<u64>,
    pub fallback: Vec<ModelName>,
    pub instruction: String,
    pub instruction_tokens: u64,
    /// The reason why the instruction of a job that goes on is another.
    pub instruction_change: Option<String>,
    /// The files whose texts are in the instruction, and the `SKILL.md` of each Agent Skill.
    pub files: Vec<ContextFile>,
    pub tools: Vec<PlannedTool>,
    /// The search that stands for tools, where it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_search: Option<PlannedSearch>,
    /// The skills whose tools are known only once their servers are started.
    pub unknown_tools_of: Vec<String>,
    /// The number of messages of the job so far, without the instruction.
    pub earlier_messages: usize,
    pub earlier_tokens: u64,
    /// The query as it is sent, without what is attached; of a job that waits for an answer, the answer.
    pub query: Option<String>,
    /// The kinds of files that are sent along, beside those that are text.
    pub attached: Vec<String>,
    /// The query with what is sent along.
    pub input_tokens: u64,
    /// All of the first request.
    pub tokens: u64,
    /// The messages of the first request, the instruction first.
    pub messages: Vec<Message>,
    pub limits: Limits,
    /// The most time that an answer may take, in milliseconds.
    pub timeout_ms: u64,
    pub budgets: Budgets,
    pub sandbox: SandboxState,
    /// The warnings that a run would begin with.
    pub warnings: Vec<String>,
}

/// A tool that the model would be offered.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlannedTool {
    pub skill: String,
    pub name: String,
    pub kind: ToolKind,
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    pub input_schema: Arc<Map<String, Value>>,
    pub tokens: u64,
    pub permission: ToolPermission,
    /// It is not sent until the model has found it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_searched: bool,
}

/// The search by which a model would find tools.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlannedSearch {
    /// The number of tools behind it.
    pub tools: usize,
    /// Those of their definitions.
    pub tokens: u64,
}

/// The answer of the permissions for a tool, whatever its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum ToolPermission {
    Allowed,
    Asks,
    Denied,
}

/// The first thing that a job would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum FirstAction {
    /// It asks the model: `messages` and `tools` are the request.
    AsksModel,
    /// It has the model summarise older steps: `messages` are the request, which has no tools.
    Summarizes,
    /// It decides about calls that the model had made, by the permissions; `messages` are those before.
    DecidesCalls { calls: Vec<ToolCall> },
    /// It calls tools, perhaps again; `messages` are those before.
    CallsTools { calls: Vec<ToolCall> },
    /// It checks the answer against its schema.
    ChecksAnswer,
    /// It runs the command that verifies the answer.
    VerifiesAnswer,
    /// It starts or continues these experts, whom the coordinator waits for; `messages` are the coordinator's.
    Delegates { delegates: Vec<ExpertKey> },
    /// It ends with this status, and asks nothing.
    Ends { status: Status },
}

impl FirstAction {
    /// The first action of a Run with this state.
    pub(super) fn new(action: Action, head: &CheckpointHead) -> Self {
        match action {
            Action::Proceed | Action::TakeSnapshot | Action::Generate { .. } | Action::Wait => Self::AsksModel,
            Action::Summarize { .. } => Self::Summarizes,
            Action::DecideCalls { calls } => Self::DecidesCalls { calls },
            Action::CallTools { calls, .. } => Self::CallsTools { calls },
            Action::CheckAnswer { .. } => Self::ChecksAnswer,
            Action::VerifyAnswer => Self::VerifiesAnswer,
            Action::Stop(Status::StoppedByDelegate) => Self::of_stopped(head),
            Action::Stop(status) => Self::Ends { status },
        }
    }

    /// The first action behind a Run that stopped so.
    pub(super) fn of_stopped(head: &CheckpointHead) -> Self {
        if head.status == Status::StoppedByDelegate {
            let delegates = head.delegate_to.iter().map(|to| to.expert.key.clone()).collect();
            return Self::Delegates { delegates };
        }
        Self::Ends { status: head.status }
    }
}

/// The tools that are known without a process.
pub(super) struct PlannedTools {
    pub toolset: Toolset,
    pub known: Vec<PlannedTool>,
    /// The skills whose tools are not.
    pub unknown_of: Vec<String>,
    pub warnings: Vec<String>,
}

impl PlannedTools {
    pub async fn open(
        expert: &Expert,
        options: &Options,
        backends: &JobBackends,
        files: &InstructionFiles,
    ) -> Result<Self, RunError> {
        containment::require(options, expert)?;
        let lock = lock::choose(expert, options)?;
        let source = ToolSource::Definitions(lock.servers.as_ref().map_or(&[], |lock| lock.tools()));
        let builder = ToolsetBuilder::new(expert, options, &options.cancel, &backends.redactor);
        let builder = builder.agent_skills(files.agent_skills(&expert.key).to_vec());
        let definition = Definition::new(expert, options.base_skill_command.as_deref());
        let rule = SearchRule::new(expert, options, backends)?;
        let mut builder = builder.source(source).running_nothing(true);
        let mut warnings = Vec::new();
        if lock.servers.is_some() {
            builder = builder.searching(rule);
        } else if rule.setting == ToolSearch::On && definition.servers().next().is_some() {
            warnings.push(search::no_lock(expert, rule.setting));
        }
        let toolset = builder.open().await?;
        warnings.extend(toolset.warnings.iter().cloned());
        warnings.extend(containment::warning(expert, options, &backends.sandbox_state(options))?);
        warnings.extend(lock.warnings);
        let rules = rules(options, expert);
        let permission = |tool: &ToolSpec| {
            let is_search = toolset.searched.is_some() && tool.skill_name == TOOL_SEARCH_SKILL;
            if tool.kind == ToolKind::Conversation {
                return ToolPermission::Allowed;
            }
            match rules.decide_tool(tool, toolset.skills.own_name(&tool.name).unwrap_or(&tool.name)).0 {
                PermissionVerdict::Allowed(_) => ToolPermission::Allowed,
                PermissionVerdict::Asks(_) if is_search => ToolPermission::Allowed,
                PermissionVerdict::Asks(_) => ToolPermission::Asks,
                PermissionVerdict::Denied(_) => ToolPermission::Denied,
            }
        };
        let planned = |tool: &ToolSpec| PlannedTool {
            skill: tool.skill_name.clone(),
            name: tool.name.clone(),
            kind: tool.kind,
            description: tool.description.clone(),
            input_schema: Arc::clone(&tool.input_schema),
            tokens: tools_tokens(std::slice::from_ref(tool)),
            permission: permission(tool),
            is_searched: toolset.searched.as_ref().is_some_and(|searched| searched.names.contains(&tool.name)),
        };
        let known = toolset.skills.tools().iter().map(planned).collect();
        let unknown = definition.servers().filter(|_| lock.servers.is_none()).map(|spec| spec.common().name.clone());
        let unknown_of = unknown.collect();
        Ok(Self { toolset, known, unknown_of, warnings })
    }

    /// Offers what searches of the job so far have found.
    pub fn offer_found(&mut self, found: &[String]) {
        self.toolset.skills.offer_found(found);
        let (offered, _) = self.toolset.skills.offered();
        for tool in &mut self.known {
            tool.is_searched &= !offered.iter().any(|other| other.name == tool.name);
        }
    }

    /// The search that stands for tools.
    pub fn search(&self) -> Option<PlannedSearch> {
        let searched = self.toolset.searched.as_ref()?;
        Some(PlannedSearch { tools: searched.names.len(), tokens: searched.tokens })
    }
}
