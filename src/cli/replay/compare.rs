//! `perstack replay FILE --against CONFIG`: the recorded job with another configuration, up to the first request that
//! differs, and the cause of that.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use perstack::budget::Span;
use perstack::checkpoint::Status;
use perstack::config::FolderTrust;
use perstack::event::{Event, EventBody, EventSink};
use perstack::message::Message;
use perstack::provider::{RequestChange, RequestPart, changed_part};
use perstack::replay::{HOME, LocalPaths, ReplayDifference, WORKSPACE};
use perstack::runtime::{InstructionPart, Options, RecordedJob, changed_instruction};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::player::{ReplayEnd, play};
use super::temporary::JobFolder;
use crate::cli::Process;
use crate::cli::failure::Failure;
use crate::cli::options::{BudgetArgs, LockArgs, ModelArgs, PlaceArgs};
use crate::cli::render::{Paint, steps, visible};
use crate::cli::setup::{ProjectNeed, Setup, is_own_expert};
use crate::cli::signals::Signal;
use crate::cli::text_diff::difference;

/// The advice for a server whose tools are not known.
const INSTALL: &str = "neither the recording nor a fresh lock has the tools of this skill: run `perstack install`";

/// Most lines of a difference that are shown.
const MOST_LINES: usize = 40;

/// A configuration that a recording is compared with.
pub struct Candidate {
    /// The file, if one is named; relative to the current folder.
    pub config: Option<PathBuf>,
    pub model: Option<String>,
    /// The folder that context files are read from [default: the configuration's workspace].
    pub workspace: Option<PathBuf>,
    /// The folder is trusted by a flag.
    pub trust: bool,
}

/// The first difference from a recording.
#[derive(Debug, Clone, Serialize)]
pub struct StepDifference {
    pub expert: String,
    pub step: u64,
    /// `model`, `instruction`, `context file`, `agent skill`, `delegate`, `tool definition`, `tool result`, `conversation`,
    /// `setting` or `end`.
    pub cause: &'static str,
    /// The name of the tool, setting or Agent Skill, or the path of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub recorded: String,
    pub now: String,
    /// The next thing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

/// A job that is as it was recorded.
pub struct SameJob {
    pub end: ReplayEnd,
    /// The tools that its experts called, each once.
    pub tools: Vec<String>,
}

/// The end of a comparison.
pub enum Comparison {
    Same(Box<SameJob>),
    /// In the part of this number.
    Differs(Box<StepDifference>, usize),
    Stopped(Signal),
}

/// The expert and step that the first difference belongs to; and the tools that were called.
#[derive(Default)]
struct LatestStep {
    step: Mutex<(String, u64)>,
    is_settled: AtomicBool,
    tools: Mutex<Vec<String>>,
    first: Arc<OnceLock<ReplayDifference>>,
}

impl LatestStep {
    /// Returns true for a step that is not behind the difference. A request differs behind the events of its step, and the
    /// servers of an expert before them.
    fn is_due(&self, expert: &str) -> bool {
        match self.first.get() {
            None => true,
            Some(ReplayDifference::Server { expert: of, .. }) if of.as_str() == expert => {
                !self.is_settled.swap(true, Ordering::Relaxed)
            }
            Some(_) => false,
        }
    }
}

impl EventSink for LatestStep {
    fn emit(&self, event: &Event, _: &[Message]) {
        if let EventBody::CallTools { tool_calls, .. } = &event.body {
            let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
            for call in tool_calls {
                if !tools.contains(&call.tool_name) {
                    tools.push(call.tool_name.clone());
                }
            }
        }
        if let (Some(expert), Some(step)) = (&event.expert_key, event.step_number)
            && self.is_due(expert.as_str())
        {
            *self.step.lock().unwrap_or_else(PoisonError::into_inner) = (expert.as_str().to_owned(), step);
        }
    }
}

/// Compares `recorded` with a configuration.
///
/// # Errors
/// A mistake in the configuration, or a job that cannot be begun with it.
pub fn compare(recorded: &RecordedJob, candidate: &Candidate, process: &Process) -> Result<Comparison, Failure> {
    let folder = JobFolder::open(None)?;
    let first: Arc<OnceLock<ReplayDifference>> = Arc::default();
    let latest = Arc::new(LatestStep { first: Arc::clone(&first), ..LatestStep::default() });
    let cancel = CancellationToken::new();
    let sink: Arc<dyn EventSink> = Arc::clone(&latest) as Arc<dyn EventSink>;
    let options = |part: usize| {
        let mut options = options(recorded, part, candidate, process, folder.path())?;
        (options.sink, options.cancel) = (Arc::clone(&sink), cancel.clone());
        options.difference = Some(Arc::clone(&first));
        Ok(options)
    };
    let end = play(recorded, recorded.parts(), &options, &cancel)?;
    if let Some(signal) = end.signal {
        return Ok(Comparison::Stopped(signal));
    }
    let (expert, step) = latest.step.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let then = recorded.end(end.part);
    let differing = first.get();
    let is_behind_end =
        |differing: &ReplayDifference| matches!(differing, ReplayDifference::Request { recorded: None, .. });
    if then.is_none() && differing.is_none_or(is_behind_end) {
        let recorded = format!("cut short: the last whole line is {}", recorded.last_line());
        let now = "as recorded up to there".to_owned();
        let differs = StepDifference { expert, step, cause: "end", name: None, recorded, now, hint: None };
        return Ok(Comparison::Differs(Box::new(differs), end.part));
    }
    if let Some(differing) = differing {
        return Ok(Comparison::Differs(Box::new(explained(differing, expert, step, recorded)), end.part));
    }
    if then.is_some_and(|then| then != end.outcome.status) {
        let (recorded, now) = (then.map_or("", Status::name).to_owned(), end.outcome.status.name().to_owned());
        let differs = StepDifference { expert, step, cause: "end", name: None, recorded, now, hint: None };
        return Ok(Comparison::Differs(Box::new(differs), end.part));
    }
    let tools = latest.tools.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Comparison::Same(Box::new(SameJob { end, tools })))
}

/// A part of a recording with a configuration.
pub struct PartSetup {
    pub setup: Setup,
    pub place: PlaceArgs,
    /// The flags of the recorded command that stay.
    pub model: ModelArgs,
    /// The recorded options, with the paths of here.
    pub then: Options,
}

impl PartSetup {
    /// Reads the configuration for what the command line had in the recording. `flags` go before those that were recorded.
    ///
    /// # Errors
    /// A mistake in the configuration, or options that cannot be read.
    pub fn read(
        recorded: &RecordedJob,
        part: usize,
        (candidate, flags): (&Candidate, &BudgetArgs),
        process: &Process,
        storage: &Path,
    ) -> Result<Self, Failure> {
        let as_recorded = LocalPaths::new(Path::new(WORKSPACE), Some(HOME));
        let (then, asked) = recorded.options_here(part, storage, &as_recorded).map_err(Failure::usage)?;
        let model = asked_args(recorded, &then, &asked, candidate, flags);
        let sandbox = asked.iter().any(|name| name == "sandbox").then_some(then.settings.sandbox);
        let (config, workspace) = (candidate.config.clone(), candidate.workspace.clone());
        let place = PlaceArgs { config, workspace, sandbox, trust: candidate.trust, ..PlaceArgs::default() };
        let mut setup = Setup::read(process, &place, &model, ProjectNeed::Required)?;
        // What the command line had about files is about the same files here.
        let here = LocalPaths::new(&setup.workspace, setup.environment.get("HOME"));
        let (then, _) = recorded.options_here(part, storage, &here).map_err(Failure::usage)?;
        setup.untrusted_input = then.untrusted_input;
        setup.output_schema.clone_from(&then.output_schema);
        let files = then.recorded_context.iter().flat_map(|all| all.values()).flat_map(|files| &files.context.files);
        setup.context_folders = files.map(|(file, _)| PathBuf::from(&file.folder)).collect();
        let setup = setup.with_lock(LockArgs::default(), process, &place, true)?;
        Ok(Self { setup, place, model, then })
    }
}

/// The options of a part with the configuration, for what the command line had in the recording.
pub fn options(
    recorded: &RecordedJob,
    part: usize,
    candidate: &Candidate,
    process: &Process,
    storage: &Path,
) -> Result<Options, Failure> {
    let read = PartSetup::read(recorded, part, (candidate, &BudgetArgs::default()), process, storage)?;
    let PartSetup { setup, then, .. } = read;
    // Nothing is started or sent.
    let setup = setup.with_trust(FolderTrust::Trusted, process, true);
    let mut options = setup.options(Arc::clone(&then.sink), then.cancel.clone(), then.in_doubt, then.cassette.clone());
    storage.clone_into(&mut options.storage);
    RecordedJob::lend_address(&mut options, &then);
    add_own_experts(&mut options, &then);
    options.run_permissions = then.run_permissions;
    Ok(options)
}

/// Adds the experts that the recorded command line defined.
pub fn add_own_experts(options: &mut Options, then: &Options) {
    for own in then.experts.values().filter(|expert| is_own_expert(expert)) {
        if !options.experts.contains(&own.key) {
            options.experts.insert(own.clone());
        }
    }
}

/// The flags that the recorded command had, or the variables in their place: they are a part of its input. The model of the
/// candidate takes the place of theirs.
fn asked_args(
    recorded: &RecordedJob,
    then: &Options,
    asked: &[String],
    candidate: &Candidate,
    flags: &BudgetArgs,
) -> ModelArgs {
    let is_asked = |name: &str| asked.iter().any(|asked| asked == name);
    let model = recorded.explicit_model().filter(|_| candidate.model.is_none());
    let (settings, budgets) = (&then.settings, &then.settings.budgets);
    ModelArgs {
        provider: settings.provider.filter(|_| model.is_some() || is_asked("provider")),
        model: candidate.model.clone().or(model.map(str::to_owned)),
        reasoning_budget: is_asked("reasoningBudget").then_some(settings.reasoning_budget),
        max_steps: is_asked("maxSteps").then_some(settings.limits.max_steps),
        max_retries: is_asked("maxRetries").then_some(settings.limits.max_retries),
        timeout: is_asked("timeout").then_some(settings.timeout_ms),
        max_parallel_delegates: is_asked("maxParallelDelegates").then_some(settings.max_parallel_delegates),
        budgets: BudgetArgs {
            max_total_steps: budgets.max_steps.filter(|_| is_asked("maxTotalSteps")),
            max_cost: flags.max_cost.or(budgets.max_cost.filter(|_| is_asked("maxCost"))),
            max_tokens: flags.max_tokens.or(budgets.max_tokens.filter(|_| is_asked("maxTokens"))),
            max_duration: flags
                .max_duration
                .or(budgets.max_duration_ms.filter(|_| is_asked("maxDuration")).map(Span::from_ms)),
            max_tool_repetitions: budgets.max_tool_repetitions.filter(|_| is_asked("maxToolRepetitions")),
            max_delegates: budgets.max_delegates.filter(|_| is_asked("maxDelegates")),
        },
    }
}

/// The cause of a difference, and both values.
fn explained(differing: &ReplayDifference, expert: String, step: u64, recorded: &RecordedJob) -> StepDifference {
    let (then, (path, body)) = match differing {
        ReplayDifference::Request { recorded, now } => (recorded, now),
        ReplayDifference::Server { skill, recorded, now, .. } => {
            return StepDifference {
                expert,
                step,
                cause: "tool definition",
                name: Some(skill.clone()),
                recorded: shown(recorded.as_ref(), false),
                now: shown(Some(now), false),
                hint: Some(INSTALL),
            };
        }
    };
    let hint = None;
    let Some((old_path, old_body)) = then else {
        let (recorded, now) = ("no further request".to_owned(), format!("a request to {path}"));
        return StepDifference { expert, step, cause: "conversation", name: None, recorded, now, hint };
    };
    let found = changed_part(old_body, body).filter(|change| old_path == path || change.part == RequestPart::Model);
    let Some(RequestChange { part, name, recorded: before, now: after }) = found else {
        // Some vendors have the model in the path.
        let (recorded, now) = (old_path.clone(), path.clone());
        return StepDifference { expert, step, cause: "model", name: None, recorded, now, hint };
    };
    let is_delegate = |name: &String| {
        let start = recorded.start(0).ok();
        let experts = start.as_ref().and_then(|start| start.options.get("experts")?.as_object());
        experts.is_some_and(|experts| experts.keys().any(|key| key.rsplit('/').next() == Some(name)))
    };
    let texts = (shown(before.as_ref(), true), shown(after.as_ref(), true));
    let (cause, name) = match part {
        RequestPart::Model => ("model", name),
        RequestPart::Instruction => match changed_instruction(&texts.0, &texts.1) {
            InstructionPart::Own => ("instruction", name),
            InstructionPart::Delegate(name) => ("delegate", name),
            InstructionPart::ContextFile(name) => ("context file", name),
            InstructionPart::AgentSkill(name) => ("agent skill", name),
        },
        RequestPart::Tool if name.as_ref().is_some_and(is_delegate) => ("delegate", name),
        RequestPart::Tool => ("tool definition", name),
        RequestPart::ToolResult => ("tool result", name),
        RequestPart::Conversation => ("conversation", name),
        RequestPart::Setting => ("setting", name),
    };
    // Where the texts are the same, something beside them differs.
    let (recorded, now) =
        if texts.0 == texts.1 { (shown(before.as_ref(), false), shown(after.as_ref(), false)) } else { texts };
    StepDifference { expert, step, cause, name, recorded, now, hint }
}

/// A part of a request for people: its texts, or its JSON.
fn shown(value: Option<&Value>, as_text: bool) -> String {
    let Some(value) = value else { return String::new() };
    let mut texts = Vec::new();
    texts_of(value, &mut texts);
    if as_text && !texts.is_empty() {
        texts.join("\n")
    } else {
        serde_json::to_string_pretty(value).unwrap_or_default()
    }
}

/// The texts of instructions and messages.
fn texts_of<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, found)),
        Value::Object(fields) => {
            for key in ["content", "text", "parts", "output"] {
                fields.get(key).into_iter().for_each(|field| texts_of(field, found));
            }
        }
        _ => {}
    }
}

impl StepDifference {
    /// The place and cause, on a line.
    pub fn title(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        visible(&format!("step {} of expert {} differs: {}{name}", self.step, self.expert, self.cause))
    }

    /// The title, and the lines that differ.
    pub fn text(&self, paint: Paint) -> String {
        let mut lines = difference(&self.recorded, &self.now, paint);
        if let Some(more @ 1..) = lines.len().checked_sub(MOST_LINES) {
            lines.truncate(MOST_LINES);
            lines.push(format!("  and {more} more lines"));
        }
        lines.insert(0, self.title());
        lines.extend(self.hint.map(|hint| format!("hint: {hint}")));
        lines.join("\n")
    }
}

/// Prints a comparison. Returns true if the job is the same.
///
/// # Errors
/// When it cannot be printed.
pub fn print(comparison: &Comparison, as_json: bool, paint: Paint) -> std::io::Result<bool> {
    let (text, is_same) = match comparison {
        Comparison::Same(_) if as_json => ("{\"same\":true}".to_owned(), true),
        Comparison::Same(same) => (format!("same: {} as recorded", steps(same.end.outcome.steps)), true),
        Comparison::Differs(differs, _) if as_json => {
            (serde_json::json!({"same": false, "difference": differs}).to_string(), false)
        }
        Comparison::Differs(differs, _) => (differs.text(paint), false),
        Comparison::Stopped(_) => return Ok(false),
    };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(is_same)
}
