//! [`plan`]: all that a job would begin with, or go on with, as far as it is known without asking a model, starting a process
//! or writing anything. The command line's dry run calls it; [`super::run`] and [`super::resume`] do it.

use std::path::PathBuf;

use serde::Serialize;

use crate::budget::Budgets;
use crate::config::lockfile::Definition;
use crate::content::Content;
use crate::expert::{ContextFile, Expert, ExpertKey, ToolSearch};
use crate::message::Message;
use crate::model_name::ModelName;
use crate::permission::PermissionVerdict;
use crate::runtime::error::RunError;
use crate::runtime::history;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::{rules, verify_of, without_secrets};
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::job::spending;
use crate::runtime::options::Options;
use crate::runtime::run::check::AnswerSchema;
use crate::runtime::run::instruction::{self, InstructionContext, instruction_of};
use crate::runtime::run::verify::check_read_only;
use crate::runtime::tools::open::{ToolSource, ToolsetBuilder};
use crate::runtime::tools::search::{self, SearchRule};
use crate::runtime::tools::{containment, lock};
use crate::sandbox::SandboxState;
use crate::setting::Limits;
use crate::store::Store;
use crate::token_estimate::{message_tokens, text_tokens, tools_tokens};
use crate::tool::{TOOL_SEARCH_SKILL, ToolKind, ToolSpec};

/// The job that is planned.
#[derive(Debug, Clone)]
pub struct PlanInput {
    /// The expert that begins a new job; of a job that goes on, the one that its state must be of, if any.
    pub expert: Option<ExpertKey>,
    /// The state that a job goes on from, as a user names it.
    pub from: Option<String>,
    pub query: Option<String>,
    pub attached: Vec<Content>,
}

/// All that a job would begin or go on with. Tokens are estimates.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobPlan {
    pub expert: ExpertKey,
    pub model: ModelName,
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
    /// Messages of the job so far, without the instruction.
    pub earlier_messages: usize,
    pub earlier_tokens: u64,
    pub query: Option<String>,
    /// The kinds of files that are sent along, beside those that are text.
    pub attached: Vec<String>,
    /// The query with what is sent along.
    pub input_tokens: u64,
    /// All of the first request.
    pub tokens: u64,
    pub limits: Limits,
    pub timeout_ms: u64,
    pub budgets: Budgets,
    pub sandbox: SandboxState,
    pub warnings: Vec<String>,
}

/// A tool that the model would be offered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedTool {
    pub skill: String,
    pub name: String,
    pub kind: ToolKind,
    pub tokens: u64,
    /// `allowed`, `asks` or `denied`.
    pub permission: &'static str,
    /// It is not sent until the model has found it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_searched: bool,
}

/// The search by which a model would find tools.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedSearch {
    /// The number of tools behind it.
    pub tools: usize,
    /// Those of their definitions.
    pub tokens: u64,
}

/// The part of a plan that the job so far gives.
#[derive(Default)]
struct Earlier {
    messages: Vec<Message>,
    files: Vec<ContextFile>,
    folders: Vec<String>,
    /// Its instruction is the configuration's, whatever its own is.
    from_elsewhere: bool,
    budgets: Option<Budgets>,
    max_steps: Option<u64>,
}

/// Plans a job.
///
/// # Errors
/// As a run's before its first request, without those of servers.
pub async fn plan(input: PlanInput, options: &Options) -> Result<JobPlan, RunError> {
    if input.query.as_ref().is_some_and(|query| query.trim().is_empty()) {
        return Err(RunError::EmptyQuery);
    }
    let (key, earlier) = match (&input.from, input.expert) {
        (Some(name), given) => read_earlier(name, given.as_ref(), options)?,
        (None, Some(expert)) => (expert, Earlier::default()),
        (None, None) => return Err(RunError::EmptyQuery),
    };
    let expert = options.experts.get(&key)?;
    let backends = JobBackends::without_asking(options, expert)?;
    let mut warnings = backends.doubtful_models(expert, options)?;
    backends.check_prices(expert, options, None)?;
    check_read_only(expert, options)?;
    without_secrets(options, &backends, expert)?;
    let mut options = options.clone();
    options.context_folders.extend(earlier.folders.iter().map(PathBuf::from));
    let options = &options;
    let files = InstructionFiles::read(expert, options)?;
    warnings.extend(files.notes());
    let models = backends.models_for(expert, &options.settings)?;
    let PlannedTools { tools, search, unknown_of } = tools(expert, options, &backends, &mut warnings).await?;
    let (instruction, instruction_change) = instruction(expert, options, &backends, &files, &earlier)?;
    let input_text = input.query.map(|query| backends.redactor.text(&query));
    let sent: Vec<Content> = input_text.clone().map(Content::text).into_iter().chain(input.attached).collect();
    let attached = sent.iter().filter(|part| part.as_text().is_none()).map(kind_of).collect();
    let sent = Message::UserMessage { id: String::new(), contents: sent, cache: false };
    let input_tokens = if input_text.is_some() { message_tokens(&sent) } else { 0 };
    let others = earlier.messages.iter().filter(|it| !matches!(it, Message::InstructionMessage { .. }));
    let (earlier_messages, earlier_tokens) =
        others.fold((0, 0_u64), |(count, tokens), message| (count + 1, tokens.saturating_add(message_tokens(message))));
    let instruction_tokens = text_tokens(&instruction);
    let settings = &options.settings;
    let sent = tools.iter().filter(|tool| !tool.is_searched);
    let of_tools = sent.fold(0_u64, |sum, tool| sum.saturating_add(tool.tokens));
    Ok(JobPlan {
        expert: key,
        model: models.first.name(),
        context_window: models.first.provider.context_window(&models.first.model),
        fallback: models.fallback_names(),
        tokens: [instruction_tokens, of_tools, earlier_tokens, input_tokens].into_iter().fold(0, u64::saturating_add),
        instruction,
        instruction_tokens,
        instruction_change,
        files: files.record(&expert.key),
        tools,
        tool_search: search,
        unknown_tools_of: unknown_of,
        earlier_messages,
        earlier_tokens,
        query: input_text,
        attached,
        input_tokens,
        limits: Limits { max_steps: spending::max_steps_on_resume(settings, earlier.max_steps), ..settings.limits },
        timeout_ms: settings.timeout_ms,
        budgets: earlier.budgets.map_or(settings.budgets, |before| spending::budgets_on_resume(settings, &before)),
        sandbox: containment::state(settings.sandbox),
        warnings,
    })
}

/// The state `name` of a job, and its expert.
fn read_earlier(name: &str, given: Option<&ExpertKey>, options: &Options) -> Result<(ExpertKey, Earlier), RunError> {
    let store = Store::new(&options.storage);
    let checkpoint = history::read_state(&options.storage, name)?;
    let head = &checkpoint.head;
    super::request::check_expert(given, head)?;
    let first = store.first_fact(&head.job_id, &head.run_id);
    let job = store.job(&head.job_id).ok();
    let parameters = first.and_then(crate::fact::Fact::into_parameters);
    let earlier = Earlier {
        from_elsewhere: parameters.is_none(),
        folders: parameters.clone().map(|parameters| parameters.context_folders).unwrap_or_default(),
        files: parameters.map(|parameters| parameters.context_files).unwrap_or_default(),
        budgets: job.as_ref().map(|job| job.budget.limits),
        max_steps: job.and_then(|job| job.max_steps),
        messages: checkpoint.messages,
    };
    Ok((checkpoint.head.expert.key, earlier))
}

/// The instruction, and why it is another than before.
fn instruction(
    expert: &Expert,
    options: &Options,
    backends: &JobBackends,
    files: &InstructionFiles,
    earlier: &Earlier,
) -> Result<(String, Option<String>), RunError> {
    let change = files.change(&expert.key, &earlier.files).filter(|_| !earlier.messages.is_empty());
    if change.is_none()
        && !earlier.from_elsewhere
        && let Some(before) = instruction_of(&earlier.messages)
    {
        return Ok((before.to_owned(), None));
    }
    let schema = AnswerSchema::choose(options, expert, false, None)?.schema;
    let started_at = backends.clock.stamp().at;
    let scene = InstructionContext { started_at, workspace: &options.workspace, is_delegate: false };
    let sections = files.sections(&expert.key, &backends.redactor);
    let verify = verify_of(expert, &backends.redactor);
    Ok((
        instruction::compose_whole(expert, &options.experts, scene, sections, schema.as_ref(), verify.as_ref()),
        change,
    ))
}

/// The tools of a plan.
struct PlannedTools {
    /// Those that are known without a process.
    tools: Vec<PlannedTool>,
    search: Option<PlannedSearch>,
    /// The skills whose tools are not known.
    unknown_of: Vec<String>,
}

async fn tools(
    expert: &Expert,
    options: &Options,
    backends: &JobBackends,
    warnings: &mut Vec<String>,
) -> Result<PlannedTools, RunError> {
    containment::require(options, expert)?;
    let lock = lock::choose(expert, options)?;
    let definition = Definition::new(expert, options.base_skill_command.as_deref());
    let source = ToolSource::Definitions(lock.servers.as_ref().map_or(&[], |lock| lock.tools()));
    let builder = ToolsetBuilder::new(expert, options, &options.cancel, &backends.redactor);
    let rule = SearchRule::new(expert, options, backends)?;
    let mut builder = builder.source(source).running_nothing(true);
    if lock.servers.is_some() {
        builder = builder.searching(rule);
    } else if rule.setting == ToolSearch::On && definition.servers().next().is_some() {
        warnings.push(search::no_lock(expert, rule.setting));
    }
    let toolset = builder.open().await?;
    warnings.extend(toolset.warnings.iter().cloned().chain(lock.warnings));
    let rules = rules(options, expert);
    let permission = |tool: &ToolSpec| {
        let is_search = toolset.searched.is_some() && tool.skill_name == TOOL_SEARCH_SKILL;
        if tool.kind == ToolKind::Conversation {
            return "allowed";
        }
        match rules.decide_tool(tool, toolset.skills.own_name(&tool.name).unwrap_or(&tool.name)).0 {
            PermissionVerdict::Allowed(_) => "allowed",
            PermissionVerdict::Asks(_) if is_search => "allowed",
            PermissionVerdict::Asks(_) => "asks",
            PermissionVerdict::Denied(_) => "denied",
        }
    };
    let planned = |tool: &ToolSpec| PlannedTool {
        skill: tool.skill_name.clone(),
        name: tool.name.clone(),
        kind: tool.kind,
        tokens: tools_tokens(std::slice::from_ref(tool)),
        permission: permission(tool),
        is_searched: toolset.searched.as_ref().is_some_and(|searched| searched.names.contains(&tool.name)),
    };
    let search = toolset.searched.as_ref();
    let search = search.map(|searched| PlannedSearch { tools: searched.names.len(), tokens: searched.tokens });
    let known = toolset.skills.tools().iter().map(planned).collect();
    let unknown = definition.servers().filter(|_| lock.servers.is_none()).map(|spec| spec.common().name.clone());
    Ok(PlannedTools { tools: known, search, unknown_of: unknown.collect() })
}

/// The media type of an image or a file.
fn kind_of(part: &Content) -> String {
    let json = serde_json::to_value(part).unwrap_or_default();
    let text = |key| json.get(key).and_then(serde_json::Value::as_str);
    text("mimeType").or(text("type")).unwrap_or("file").to_owned()
}
