//! `perstack check`: the mistakes that can be found without asking a model or starting a skill.
//!
//! This file looks at all parts of the configuration; models and the lock have files of their own, [`findings`] holds what
//! is found.

mod findings;
mod lock;
mod models;

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use perstack::config::lockfile::{self, Definition, Lock};
use perstack::config::{AgentSkill, ContextPlaces, Project, Settings, read_context};
use perstack::environment::{Environment, is_users_own};
use perstack::expert::{ContextFile, ExpertKey, OAuth, SkillSpec};
use perstack::proxy::ProxySettings;
use perstack::redact::Redactor;
use perstack::sandbox::Sandbox;
use perstack::skill::contain::declared_path;
use perstack::skill::process::KernelAbility;

use self::findings::{Findings, Level};
use super::closure::Closure;
use super::failure::Failure;
use super::options::{ConfigArgs, ModelArgs};
use super::permission_check::{self, StandingPermissions};
use super::program::{self, StartProblem};
use super::render::{Paint, json_for};
use super::setup::{ProjectNeed, Setup};
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

/// Runs the command.
pub fn run(args: &CheckArgs, process: &Process) -> Result<Exit, Failure> {
    let mut findings = Findings::default();
    match Setup::read(process, &args.config.place(), &ModelArgs::default(), ProjectNeed::Required) {
        Err(failure) => unreadable(&failure, &mut findings),
        Ok(setup) => check(&setup, process, args.config.place().trust, &mut findings),
    }
    let text = if args.json {
        json_for(&findings.to_json()?, io::stdout().is_terminal()).into_owned()
    } else {
        findings.to_lines(Paint::of_stdout(process))
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
    let agent_skills = agent_skills(setup, project, findings);
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
    let proxies = ProxySettings::settle(setup.proxy.as_deref(), &setup.environment);
    let rules = setup.sandbox_rules(settings, &proxies);
    closures(&Closure { permissions: &standing, lock: known, rules, agent_skills: &agent_skills }, findings);
    trust(setup, summary, findings);
    models::provider(setup, settings, findings);
    permissions(&standing, known, findings);
    lock::tool_search(known, setup, settings, project, findings);
    lock::entries_of(lock, project, findings);
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

/// The Agent Skills of experts; they are returned as far as they are right.
fn agent_skills(setup: &Setup, project: &Project, findings: &mut Findings) -> HashMap<ExpertKey, Vec<AgentSkill>> {
    let mut all = HashMap::new();
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
        all.insert(expert.key.clone(), found.skills);
    }
    all
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
fn closures(closure: &Closure<'_>, findings: &mut Findings) {
    for expert in closure.permissions.project.experts.values() {
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
    let digest = summary.digest.map_or_else(|| "no digest".to_owned(), |digest| format!("digest {digest}"));
    findings.add(level, "trust", format!("this folder is {state} ({digest})"));
}

fn delegates(project: &Project, findings: &mut Findings) {
    let before = findings.len();
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
        let before = findings.len();
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
