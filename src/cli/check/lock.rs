//! The part of the check that is about `perstack.lock`.

use std::sync::Arc;

use perstack::config::lockfile::{self, Definition, Lock, LockState};
use perstack::config::{ConfigError, Project, Settings};
use perstack::expert::Expert;
use perstack::runtime::{Options, SearchState};

use super::findings::{Findings, Level};
use crate::cli::failure::Failure;
use crate::cli::setup::Setup;
use crate::cli::tool_names;

/// Checks that the lock, if there is one, is as the experts are.
pub fn entries_of(lock: Result<Option<Lock>, ConfigError>, project: &Project, findings: &mut Findings) {
    let subject = lockfile::FILE_NAME;
    match lock {
        Err(error) => findings.add(Level::Error, subject, Failure::usage(error).line()),
        Ok(None) => findings.add(Level::Ok, subject, "there is none: every run starts its skills"),
        Ok(Some(lock)) => entries(&lock, project, findings),
    }
}

fn entries(lock: &Lock, project: &Project, findings: &mut Findings) {
    let subject = lockfile::FILE_NAME;
    let before = findings.len();
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

/// The experts whose models search for tools, or would if there were a lock.
pub fn tool_search(
    lock: Option<&Lock>,
    setup: &Setup,
    settings: &Settings,
    project: &Project,
    findings: &mut Findings,
) {
    let options = Options {
        settings: settings.clone(),
        environment: setup.environment.clone(),
        base_skill_command: project.base_skill_command.clone(),
        catalogue: Arc::clone(&setup.catalogue),
        lockfile: lock.cloned().map(Arc::new),
        ..Options::new(project.experts.clone(), setup.workspace.clone())
    };
    for expert in project.experts.values() {
        // What keeps an expert from being used at all is found elsewhere.
        let Ok(state) = SearchState::new(&expert.key, &options) else { continue };
        let level = if state.warning().is_some() { Level::Warning } else { Level::Note };
        if let Some(line) = state.line() {
            findings.add(level, format!("expert {}", expert.key), line);
        }
    }
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
