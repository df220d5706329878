//! `perstack check`: the mistakes that can be found without asking a model or starting a skill.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use perstack::config::lockfile::{self, Definition, Lock, LockState};
use perstack::config::{ConfigError, ContextPlaces, Project, Settings, read_context};
use perstack::environment::{Environment, is_users_own};
use perstack::expert::{ContextFile, Expert, ExpertKey, OAuth, SkillSpec};
use perstack::model_name::ModelName;
use perstack::provider::http::transport::HttpTransport;
use perstack::provider::{Provider, ProviderError, find};
use perstack::proxy::ProxySettings;
use perstack::redact::Redactor;
use perstack::runtime::{Connector, FallbackProblem, RunError};
use perstack::sandbox::Sandbox;
use perstack::skill::contain::declared_path;
use perstack::skill::process::KernelAbility;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::closure::Closure;
use super::failure::Failure;
use super::job_runner::async_runtime;
use super::options::{ConfigArgs, ModelArgs};
use super::permission_check::{self, StandingPermissions};
use super::program::{self, StartProblem};
use super::render::{Paint, json_for, visible};
use super::setup::{ProjectNeed, Setup};
use super::tool_names;
use super::trust::TrustSummary;
use super::{Exit, Process};

/// Checks configuration, experts, variables, commands and perstack.lock, without calling a model or starting a skill
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// One JSON object with all findings
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Level {
    Ok,
    /// No matter of right or wrong.
    Note,
    /// Worth knowing; the check passes.
    Warning,
    /// The check fails.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    level: Level,
    /// The part of the configuration that it is about.
    subject: String,
    message: String,
}

/// The result of the check in the JSON form.
#[derive(Debug, Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

/// The findings so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, subject: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding { level, subject: subject.into(), message: message.into() });
    }

    fn is_ok(&self) -> bool {
        self.0.iter().all(|finding| finding.level != Level::Error)
    }

    /// Adds `Ok` when nothing was found since there were `before` findings.
    fn ok_unless_more_than(&mut self, before: usize, subject: impl Into<String>, message: impl Into<String>) {
        if self.0.len() == before {
            self.add(Level::Ok, subject, message);
        }
    }
}

/// Runs the command.
pub fn run(args: &CheckArgs, process: &Process) -> Result<Exit, Failure> {
    let mut findings = Findings::default();
    match Setup::read(process, &args.config.place(), &ModelArgs::default(), ProjectNeed::Required) {
        Err(failure) => unreadable(&failure, &mut findings),
        Ok(setup) => check(&setup, process, args.config.place().trust, &mut findings),
    }
    let text = if args.json {
        json_for(&json(&findings)?, io::stdout().is_terminal()).into_owned()
    } else {
        lines(&findings, Paint::of_stdout(process))
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(if findings.is_ok() { Exit::Completed } else { Exit::Usage }),
    }
}

/// A configuration, or something beside it, that cannot even be read.
fn unreadable(failure: &Failure, findings: &mut Findings) {
    let errors = failure.mistakes().unwrap_or_else(|| vec![failure.line()]);
    for error in errors {
        findings.add(Level::Error, "configuration", error);
    }
}

fn check(setup: &Setup, process: &Process, trust_flag: bool, findings: &mut Findings) {
    let Some(project) = &setup.project else { return };
    if !project.mistakes.is_empty() {
        unreadable(&Failure::usage(project.mistakes.error(&project.path)), findings);
    }
    let experts = match project.experts.len() {
        1 => "1 expert".to_owned(),
        count => format!("{count} experts"),
    };
    findings.add(Level::Ok, "configuration", format!("{} defines {experts}", project.path.display()));
    for warning in &project.warnings {
        // A run ignores a misspelt key, which its author does not want.
        let level = if project.unknown_keys.contains(warning) { Level::Error } else { Level::Warning };
        findings.add(level, "configuration", warning.as_str());
    }
    for warning in setup.env_file_warnings() {
        findings.add(Level::Warning, "environment", warning);
    }
    delegates(project, findings);
    let place = Place { folder: &setup.workspace, environment: &setup.environment };
    for expert in project.experts.values() {
        skills(Definition::new(expert, project.base_skill_command.as_deref()), place, findings);
    }
    context_files(setup, project, findings);
    agent_skills(setup, project, findings);
    let summary = super::trust::summary(setup, process, trust_flag);
    let is_trusted = matches!(&summary, Ok(Some(summary)) if summary.is_trusted);
    let settings = if is_trusted { setup.trusted_settings() } else { &setup.settings };
    sandbox(setup, settings, findings);
    for warning in setup.unenforced_lists(settings) {
        let level = if settings.sandbox == Sandbox::Required { Level::Error } else { Level::Warning };
        findings.add(level, "network", warning);
    }
    let lock = lockfile::read(&lockfile::find(&project.path));
    let known = lock.as_ref().ok().and_then(Option::as_ref);
    let standing = StandingPermissions::of(setup, project);
    closures(setup, &standing, known, settings, findings);
    trust(setup, summary, findings);
    provider(setup, settings, findings);
    permissions(&standing, known, findings);
    entries_of(lock, project, findings);
}

/// The files that belong to the instructions of experts.
fn context_files(setup: &Setup, project: &Project, findings: &mut Findings) {
    for expert in project.experts.values().filter(|expert| !expert.context.is_empty()) {
        let subject = format!("expert {}, context", expert.key);
        let closed = setup.closed_files();
        let places = ContextPlaces { workspace: &setup.workspace, folders: &[], closed: &closed };
        let read = match read_context(&expert.context, places) {
            Ok(read) => read,
            Err(error) => {
                findings.add(Level::Error, subject, Failure::usage(error).line());
                continue;
            }
        };
        for (ContextFile { path, bytes, .. }, _) in &read.files {
            findings.add(Level::Ok, subject.as_str(), format!("{path} belongs to the instruction ({bytes} bytes)"));
        }
        for note in read.notes {
            findings.add(Level::Warning, subject.as_str(), note);
        }
    }
}

/// The Agent Skills of experts.
fn agent_skills(setup: &Setup, project: &Project, findings: &mut Findings) {
    for expert in project.experts.values() {
        let subject = format!("expert {}, agentSkills", expert.key);
        let found = match setup.agent_skills(expert) {
            Ok(found) => found,
            Err(error) => {
                findings.add(Level::Error, subject, Failure::usage(error).line());
                continue;
            }
        };
        for skill in &found.skills {
            let about = skill.description.lines().next().unwrap_or_default();
            findings.add(Level::Ok, subject.as_str(), format!("{} ({}): {about}", skill.name, skill.shown));
        }
        for note in found.notes {
            findings.add(Level::Warning, subject.as_str(), note);
        }
    }
}

/// The containment that a run would have, and the paths of skills' lists that are not there.
fn sandbox(setup: &Setup, settings: &Settings, findings: &mut Findings) {
    let (setting, subject) = (settings.sandbox, "sandbox");
    match KernelAbility::lacking() {
        _ if setting == Sandbox::Off => findings.add(Level::Warning, subject, "off: nothing is contained"),
        Some(lacking) => {
            let level = if setting == Sandbox::Required { Level::Error } else { Level::Warning };
            findings.add(level, subject, format!("{setting}: nothing is contained, as this system lacks {lacking}"));
        }
        None => {
            let kept = if KernelAbility::has_mounts() {
                "the storage is read-only to them, by mounts"
            } else {
                "without mounts, the storage is not read-only to them"
            };
            findings.add(Level::Ok, subject, format!("{setting}: this system can contain programs; {kept}"));
        }
    }
    let experts = setup.project.iter().flat_map(|project| project.experts.values());
    for (expert, skill) in experts.flat_map(|expert| expert.skills.values().map(move |skill| (expert, skill))) {
        let common = skill.common();
        let place = |path: &str| declared_path(path, &setup.places.root, &setup.environment);
        let is_missing = |path: &&str| place(path).is_none_or(|path| !path.exists());
        for path in common.access.paths().filter(is_missing) {
            let message = format!("{path} is not there, so that nothing is allowed by it until it is");
            findings.add(Level::Warning, format!("expert {}, skill {}", expert.key, common.name), message);
        }
    }
}

/// Everything that each expert can do, by itself and through others.
fn closures(
    setup: &Setup,
    permissions: &StandingPermissions<'_>,
    lock: Option<&Lock>,
    settings: &Settings,
    findings: &mut Findings,
) {
    let proxies = ProxySettings::settle(setup.proxy.as_deref(), &setup.environment);
    let closure = Closure { permissions, lock, rules: setup.sandbox_rules(settings, &proxies) };
    for expert in permissions.project.experts.values() {
        findings.add(Level::Note, format!("expert {}", expert.key), closure.line(expert));
    }
}

/// The dangerous parts of the folder. They are no mistake, so the check passes.
fn trust(setup: &Setup, summary: Result<Option<TrustSummary>, Failure>, findings: &mut Findings) {
    let summary = match summary {
        Ok(Some(summary)) => summary,
        Ok(None) => return,
        Err(failure) => return findings.add(Level::Error, "trust", failure.line()),
    };
    let warnings = summary.refusals.iter().map(|refusal| format!("refused until the folder is trusted: {refusal}"));
    if !summary.is_trusted {
        for warning in warnings.chain(setup.budget_warning()) {
            findings.add(Level::Warning, "trust", warning);
        }
    }
    if summary.lines.is_empty() {
        return;
    }
    for line in summary.lines {
        findings.add(Level::Note, "trust", line);
    }
    let (level, state) = if summary.is_trusted {
        (Level::Ok, "trusted")
    } else {
        (Level::Note, "not trusted yet, see `perstack trust`")
    };
    findings.add(level, "trust", format!("this folder is {state} (digest {})", summary.digest));
}

fn delegates(project: &Project, findings: &mut Findings) {
    let before = findings.0.len();
    for cycle in project.cycles() {
        let mut names: Vec<&str> = cycle.iter().map(ExpertKey::as_str).collect();
        names.extend(names.first().copied());
        let circle = names.join(" → ");
        findings.add(Level::Warning, "delegates", format!("{circle} is a circle: only the budgets of a job end it"));
    }
    if project.experts.values().any(|expert| !expert.delegates.is_empty()) {
        findings.ok_unless_more_than(before, "delegates", "no expert delegates in a circle");
    }
}

/// The finding of a variable without a value, with the places that may set it.
fn unset(name: &str) -> String {
    let or_file = if is_users_own(name) { "" } else { " or in .env" };
    format!("the variable {name} is not set: set it in the environment{or_file}")
}

/// The folder and environment that programs and variables are looked for in.
#[derive(Clone, Copy)]
struct Place<'a> {
    folder: &'a Path,
    environment: &'a Environment,
}

/// The servers of an expert: their programs and variables. Addresses were checked when the file was read.
fn skills(definition: Definition<'_>, place: Place<'_>, findings: &mut Findings) {
    let expert = definition.expert;
    for spec in definition.servers() {
        let subject = format!("expert {}, skill {}", expert.key, spec.common().name);
        let before = findings.0.len();
        match spec {
            SkillSpec::McpStdioSkill { command, required_env, .. } => {
                let replaced = definition.base_command.filter(|_| spec.is_built_in_base()).and_then(<[String]>::first);
                program(replaced.unwrap_or(command), &subject, place, findings);
                for name in required_env.iter().filter(|name| place.environment.for_skill(name).is_none()) {
                    findings.add(Level::Error, subject.as_str(), unset(name));
                }
                findings.ok_unless_more_than(before, subject, "its command and variables are there");
            }
            SkillSpec::McpSseSkill { endpoint, authorization_env, oauth, .. } => {
                let oauth = oauth.iter().flat_map(OAuth::variables);
                for name in authorization_env.as_deref().into_iter().chain(oauth) {
                    if place.environment.for_skill(name).is_none() {
                        findings.add(Level::Error, subject.as_str(), unset(name));
                    }
                }
                let message = format!("the address {} is allowed", Redactor::of_declaration(spec).text(endpoint));
                findings.ok_unless_more_than(before, subject, message);
            }
            SkillSpec::InteractiveSkill { .. } => {}
        }
    }
}

fn program(command: &str, subject: &str, place: Place<'_>, findings: &mut Findings) {
    let message = match program::find(command, place.folder, place.environment.get("PATH")) {
        Ok(_) => return,
        Err(StartProblem::Missing) => {
            format!("the command {command} is not found: install it, or correct its name or PATH")
        }
        Err(StartProblem::NotExecutable(file)) => {
            format!("the command {command} may not be run: make {} executable", file.display())
        }
    };
    findings.add(Level::Error, subject, message);
}

/// Checks that a model could be asked, and every fallback. A missing key is only a warning: many CI jobs check without keys.
fn provider(setup: &Setup, settings: &Settings, findings: &mut Findings) {
    let transport = match HttpTransport::of_environment(setup.proxy.as_deref(), &setup.environment) {
        Ok(transport) => Arc::new(transport),
        Err(error) => return findings.add(Level::Error, "provider", Failure::usage(error).line()),
    };
    let connector = Connector {
        environment: &setup.environment,
        catalogue: &setup.catalogue,
        transport: Arc::<HttpTransport>::clone(&transport),
        is_replay: false,
    };
    let connected = match async_runtime() {
        Ok(runtime) => connect(setup, settings, &connector, &runtime, &transport),
        Err(failure) => return findings.add(Level::Error, "provider", failure.line()),
    };
    let has_key = connected.is_ok();
    match connected {
        Ok(provider) => findings.add(Level::Ok, "provider", format!("{} can be used", provider.name())),
        Err(error) => {
            let level = if error.is_about_environment() { Level::Warning } else { Level::Error };
            findings.add(level, "provider", Failure::usage(error).line());
        }
    }
    for expert in setup.project.iter().flat_map(|project| project.experts.values()) {
        for model in settings.fallbacks_of(expert) {
            fallback(expert, model, settings, &connector, has_key, findings);
        }
    }
}

/// Builds the provider that a run would ask. Nothing is sent to a model; where no key is set, a local server is looked
/// for, as a run would.
fn connect(
    setup: &Setup,
    settings: &Settings,
    connector: &Connector<'_>,
    runtime: &Runtime,
    transport: &HttpTransport,
) -> Result<Provider, ProviderError> {
    let setting = &settings.provider_setting;
    let name = runtime.block_on(find(settings.provider, setting, &setup.environment, transport))?;
    connector.provider(name, setting)
}

/// Checks one fallback. Without its key it would be of no use when it is needed; only where not even the first provider's
/// key is there, keys are kept out of the check on purpose.
fn fallback(
    expert: &Expert,
    model: &ModelName,
    settings: &Settings,
    connector: &Connector<'_>,
    has_key: bool,
    findings: &mut Findings,
) {
    let subject = format!("expert {}, fallback {model}", expert.key);
    match connector.fallback(model, settings) {
        Ok(_) => findings.add(Level::Ok, subject, "it can be used"),
        Err(problem) => {
            let is_kept_out = matches!(&problem, FallbackProblem::Provider(error) if error.is_about_environment());
            let level = if is_kept_out && !has_key { Level::Warning } else { Level::Error };
            let (expert, model) = (expert.key.clone(), model.clone());
            findings.add(level, subject, Failure::from(RunError::Fallback { expert, model, source: problem }).line());
        }
    }
}

/// The calls that experts may make, and patterns that name no tool.
fn permissions(standing: &StandingPermissions<'_>, lock: Option<&Lock>, findings: &mut Findings) {
    let project = standing.project;
    for (subject, line) in permission_check::summaries(standing, lock) {
        findings.add(Level::Note, subject, line);
    }
    for (subject, acts, line) in permission_check::untrusted_readers(project, lock) {
        findings.add(if acts { Level::Warning } else { Level::Note }, subject, line);
    }
    for line in permission_check::unknown_names(project, lock) {
        findings.add(Level::Warning, "permissions", line);
    }
}

fn entries_of(lock: Result<Option<Lock>, ConfigError>, project: &Project, findings: &mut Findings) {
    let subject = lockfile::FILE_NAME;
    match lock {
        Err(error) => findings.add(Level::Error, subject, Failure::usage(error).line()),
        Ok(None) => findings.add(Level::Ok, subject, "there is none: every run starts its skills"),
        Ok(Some(lock)) => entries(&lock, project, findings),
    }
}

fn entries(lock: &Lock, project: &Project, findings: &mut Findings) {
    let subject = lockfile::FILE_NAME;
    let before = findings.0.len();
    let renew = "run `perstack install` to renew it";
    for expert in project.experts.values() {
        server_tools(lock, Definition::new(expert, project.base_skill_command.as_deref()), findings);
        match lock.expert(&Definition::new(expert, project.base_skill_command.as_deref())) {
            LockState::Fresh(_) => {}
            LockState::Stale { reason } => {
                findings.add(Level::Error, subject, format!("stale for expert {} ({reason}): {renew}", expert.key));
            }
            LockState::Missing => {
                findings.add(Level::Error, subject, format!("no entry for expert {}: {renew}", expert.key));
            }
        }
    }
    let is_defined = |key: &str| project.experts.values().any(|expert: &Expert| expert.key.as_str() == key);
    for key in lock.experts.keys().filter(|key| !is_defined(key)) {
        findings.add(Level::Warning, subject, format!("has an entry for {key}, which is not defined: {renew}"));
    }
    for line in tool_names::unknown_to_lock(project, lock) {
        findings.add(Level::Warning, subject, line);
    }
    findings.ok_unless_more_than(before, subject, "fresh");
}

/// The names that fit no tool of a server, and the tools that are left out, as far as the lock knows the server's tools.
fn server_tools(lock: &Lock, definition: Definition<'_>, findings: &mut Findings) {
    let expert = &definition.expert.key;
    let Some(entry) = lock.experts.get(expert.as_str()) else { return };
    let subject = format!("expert {expert}");
    for spec in definition.servers() {
        for line in entry.unmatched(spec) {
            findings.add(Level::Error, subject.as_str(), line);
        }
        for line in entry.left_out(&spec.common().name) {
            findings.add(Level::Warning, subject.as_str(), line.as_str());
        }
    }
}

fn json(findings: &Findings) -> Result<String, Failure> {
    let report = Report { ok: findings.is_ok(), findings: &findings.0 };
    serde_json::to_string_pretty(&report).map(|text| text + "\n").map_err(Failure::other)
}

fn lines(findings: &Findings, paint: Paint) -> String {
    let line = |Finding { level, subject, message }: &Finding| {
        let mark = match level {
            Level::Ok => paint.green("✓"),
            Level::Note => paint.dim("·"),
            Level::Warning => paint.yellow("!"),
            Level::Error => paint.red("✗"),
        };
        format!("{mark} {}: {}\n", visible(subject), visible(message))
    };
    findings.0.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let mut findings = Findings::default();
        findings.add(Level::Ok, "configuration", "p.toml defines 1 expert");
        findings.add(Level::Warning, "delegates", "a → b\u{1b}[31m → a");
        findings
    }

    #[test]
    fn findings_are_a_line_each() {
        let mut findings = findings();
        assert!(findings.is_ok());
        findings.add(Level::Error, "expert a, skill s", "the variable X is not set");
        assert!(!findings.is_ok());
        assert_eq!(
            lines(&findings, Paint::plain()),
            "✓ configuration: p.toml defines 1 expert\n! delegates: a → b\\x1b[31m → a\n\
             ✗ expert a, skill s: the variable X is not set\n"
        );
    }

    #[test]
    fn json_shows_if_all_is_well() {
        let mut findings = findings();
        findings.0.truncate(1);
        insta::assert_snapshot!(json(&findings).unwrap(), @r#"
        {
          "ok": true,
          "findings": [
            {
              "level": "ok",
              "subject": "configuration",
              "message": "p.toml defines 1 expert"
            }
          ]
        }
        "#);
    }
}
