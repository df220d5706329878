//! [`run`]: what `run --dry-run` and `resume --dry-run` print: all that a job would begin or go on with.
//!
//! Nothing is sent, started or written, and nobody is asked: the trust of the folder is shown, not required.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;

use anyhow::anyhow;
use perstack::config::FolderTrust;
use perstack::expert::ExpertKey;
use perstack::runtime::{
    self, AllPermissions, CassetteMode, DRY_RUN_SCHEMA_VERSION, DryRun, FirstAction, InDoubt, JobPlan, PlanInput,
    PlannedSearch, PlannedTool, ToolPermission, TrustState,
};
use perstack::tool::ToolCall;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::job_runner::{JobCommand, async_runtime};
use super::list_tools::NoEvents;
use super::options::{Format, JobArgs};
use super::render::{json_for, visible};
use super::setup::{Setup, warn};
use super::{Exit, Process, trust};

impl From<JobCommand> for PlanInput {
    fn from(command: JobCommand) -> Self {
        match command {
            JobCommand::Run(input) => Self::Run(input),
            JobCommand::Ensure(input) => Self::Ensure(input),
            JobCommand::Resume(input) => Self::Resume(input),
            JobCommand::Answer(input) => Self::Resume(input.into()),
        }
    }
}

/// Prints what would be sent.
///
/// # Errors
/// Those that keep a run from its first request.
pub fn run(command: JobCommand, setup: Setup, process: &Process, args: &JobArgs) -> Result<Exit, Failure> {
    let format = args.output.format()?;
    if format == Format::Jsonl {
        return Err(Failure::usage(anyhow!("a dry run has no events")).help("use --output json"));
    }
    let quiet = args.output.quiet;
    let summary = trust::summary(&setup, process, args.place.trust)?;
    let is_trusted = summary.as_ref().is_some_and(|summary| summary.is_trusted);
    let (state, refusals) = match summary {
        Some(summary) if summary.is_trusted => (TrustState::Trusted, Vec::new()),
        Some(summary) if !summary.lines.is_empty() => (TrustState::NotTrusted, summary.refusals),
        _ => (TrustState::NothingToTrust, Vec::new()),
    };
    let setup =
        setup.with_trust(if is_trusted { FolderTrust::Trusted } else { FolderTrust::Untrusted }, process, quiet);
    let configuration = setup.project.as_ref().map(|project| project.path.clone());
    let cancel = CancellationToken::new();
    // Nobody is asked about calls in doubt.
    let in_doubt = args.session.in_doubt.map_or(InDoubt::Report, InDoubt::from);
    let mut options = setup.options(Arc::new(NoEvents), cancel, in_doubt, CassetteMode::None);
    options.run_permissions = args.permissions.given();
    let runtime = async_runtime()?;
    let plan = runtime.block_on(runtime::plan(command.into(), &options)).map_err(Failure::from)?;
    runtime.shutdown_background();
    for warning in &plan.warnings {
        warn(process, quiet, warning);
    }
    let expert = options.experts.get(&plan.expert).map(|expert| expert.permissions.clone()).unwrap_or_default();
    let dry = DryRun {
        schema_version: DRY_RUN_SCHEMA_VERSION,
        configuration,
        workspace: options.workspace.clone(),
        storage: options.storage.clone(),
        trust: state,
        refusals,
        permissions: AllPermissions {
            read_only: options.run_permissions.read_only,
            command_line: options.run_permissions.lists.clone(),
            user: options.user_permissions.clone(),
            project: options.permissions.clone(),
            expert,
        },
        plan,
    };
    let text = match format {
        Format::Json => {
            let masked = options.redactor().masked(&serde_json::to_value(&dry).map_err(Failure::other)?);
            let json = serde_json::to_string_pretty(&masked.map_err(Failure::other)?).map_err(Failure::other)? + "\n";
            json_for(&json, io::stdout().is_terminal()).into_owned()
        }
        Format::Text | Format::Jsonl => options.redactor().text(&lines(&dry)),
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(Exit::Completed),
    }
}

/// The expert, its model, and what bounds the job. Writing to a text does not fail.
fn head(dry: &DryRun) -> String {
    let plan = &dry.plan;
    let mut text = String::from("dry run: nothing was sent, started or written\n\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14}{}", visible(value));
    };
    row("expert", plan.expert.as_str());
    if let Some(checkpoint) = &plan.from {
        row("goes on from", checkpoint.as_str());
    }
    if let Some(first) = first_action(&plan.first) {
        row("first", &first);
    }
    let window = plan.context_window.map(|tokens| format!(" (context window of {tokens} tokens)")).unwrap_or_default();
    row("model", &format!("{}{window}", plan.model));
    for model in &plan.fallback {
        row("fallback", &model.to_string());
    }
    if let Some(path) = &dry.configuration {
        row("configuration", &path.display().to_string());
    }
    row("workspace", &dry.workspace.display().to_string());
    row("storage", &dry.storage.display().to_string());
    let limits = &plan.limits;
    row(
        "limits",
        &format!("maxSteps {}, maxRetries {}, timeout {} ms", limits.max_steps, limits.max_retries, plan.timeout_ms),
    );
    row("budgets", &budgets(plan));
    let lacking = plan.sandbox.lacking.as_deref().map(|lacking| format!(", and this system lacks {lacking}"));
    let contained = if plan.sandbox.in_force { "commands are contained" } else { "nothing is contained" };
    row("sandbox", &format!("{}: {contained}{}", plan.sandbox.setting, lacking.unwrap_or_default()));
    row(
        "trust",
        match dry.trust {
            TrustState::Trusted => "this folder is trusted",
            TrustState::NotTrusted => "this folder is not trusted: a run would ask, or go on without what is refused",
            TrustState::NothingToTrust => "there is nothing to trust",
        },
    );
    for refusal in &dry.refusals {
        row("", &format!("refused where nobody can be asked: {refusal}"));
    }
    let AllPermissions { read_only, command_line, user, project, expert } = &dry.permissions;
    if *read_only {
        row("permissions", "--read-only: only tools that read");
    }
    let lists = [("command line", command_line), ("config.toml", user), ("project", project), ("expert", expert)];
    for (name, list) in lists {
        let patterns: Vec<String> = list.patterns().map(|(list, pattern)| format!("{list} {pattern}")).collect();
        if !patterns.is_empty() {
            row("permissions", &format!("{} ({name})", patterns.join(", ")));
        }
    }
    text
}

/// The first thing that the job would do, where it is not to ask the model.
fn first_action(first: &FirstAction) -> Option<String> {
    let called = |calls: &[ToolCall]| calls.iter().map(|call| call.tool_name.as_str()).collect::<Vec<_>>().join(", ");
    Some(match first {
        FirstAction::AsksModel => return None,
        FirstAction::Summarizes => {
            "older steps are summarised: the conversation does not fit the context window".to_owned()
        }
        FirstAction::DecidesCalls { calls } => format!("permissions decide about calls of {}", called(calls)),
        FirstAction::CallsTools { calls } => format!("calls of {}, perhaps again", called(calls)),
        FirstAction::ChecksAnswer => "the answer is checked against its schema".to_owned(),
        FirstAction::VerifiesAnswer => "the command that verifies the answer is run".to_owned(),
        FirstAction::Delegates { delegates } => {
            let names: Vec<&str> = delegates.iter().map(ExpertKey::as_str).collect();
            format!("{} go on, whom the expert waits for", names.join(", "))
        }
        FirstAction::Ends { status } => format!("nothing is asked: the job ends with {}", status.name()),
    })
}

/// The estimates, with the tools and files that they are of.
fn estimates(plan: &JobPlan) -> String {
    let mut text = String::new();
    let (searched, sent): (Vec<&PlannedTool>, Vec<&PlannedTool>) = plan.tools.iter().partition(|tool| tool.is_searched);
    let of_tools: u64 = sent.iter().map(|tool| tool.tokens).sum();
    let _ = writeln!(text, "\nestimated tokens of the first request: {}", plan.tokens);
    let mut row = |tokens: u64, what: String| {
        let _ = writeln!(text, "{tokens:>8}  {}", visible(&what));
    };
    row(plan.instruction_tokens, "instruction".to_owned());
    row(of_tools, format!("{} tools", sent.len()));
    if plan.earlier_messages > 0 {
        row(plan.earlier_tokens, format!("{} messages of the job so far", plan.earlier_messages));
    }
    if plan.query.is_some() {
        let along =
            if plan.attached.is_empty() { String::new() } else { format!(", with {}", plan.attached.join(", ")) };
        row(plan.input_tokens, format!("query{along}"));
    }
    let _ = writeln!(text, "\ntools");
    let list = |text: &mut String, tools: &[&PlannedTool]| {
        for tool in tools {
            let permission: &str = tool.permission.into();
            let marked =
                if tool.permission == ToolPermission::Allowed { String::new() } else { format!(", {permission}") };
            let _ = writeln!(text, "{:>8}  {} ({}{marked})", tool.tokens, visible(&tool.name), visible(&tool.skill));
        }
    };
    list(&mut text, &sent);
    for skill in &plan.unknown_tools_of {
        let _ = writeln!(text, "       ?  the tools of {}: no lock has them, and no server is asked", visible(skill));
    }
    if let Some(PlannedSearch { tools, tokens }) = &plan.tool_search {
        let _ =
            writeln!(text, "\ntools that are not sent until the model has found them: {tools}, about {tokens} tokens");
        list(&mut text, &searched);
    }
    if !plan.files.is_empty() {
        let _ = writeln!(text, "\nfiles in the instruction");
    }
    for file in &plan.files {
        let cut = if file.left_out > 0 { format!(", {} left out", file.left_out) } else { String::new() };
        let _ = writeln!(text, "  {} ({} bytes{cut})", visible(&file.path), file.bytes);
    }
    text
}

/// The form for people.
fn lines(dry: &DryRun) -> String {
    let plan = &dry.plan;
    let mut text = head(dry) + &estimates(plan);
    if let Some(change) = &plan.instruction_change {
        let _ = writeln!(text, "\n{}", visible(change));
    }
    let _ = writeln!(text, "\ninstruction\n\n{}", visible_lines(&plan.instruction));
    if let Some(query) = &plan.query {
        let _ = writeln!(text, "query\n\n{}", visible_lines(query));
    }
    text
}

/// A text of several lines without control characters.
fn visible_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(visible).collect();
    lines.join("\n") + "\n"
}

fn budgets(plan: &JobPlan) -> String {
    let limits = &plan.budgets;
    let count = |name: &str, value: Option<u64>| value.map(|value| format!("{name} {value}"));
    let all = [
        limits.max_cost.map(|cost| format!("maxCost {} US dollars", cost.usd())),
        count("maxTokens", limits.max_tokens),
        limits.max_duration_ms.map(|ms| format!("maxDuration {ms} ms")),
        count("maxTotalSteps", limits.max_steps),
        count("maxToolRepetitions", limits.max_tool_repetitions),
        count("maxDelegates", limits.max_delegates),
    ];
    let set: Vec<String> = all.into_iter().flatten().collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}
