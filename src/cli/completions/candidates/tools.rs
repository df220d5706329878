//! The names of tools and skills, as far as they are known without starting a server: of the configuration, its lock, and
//! the built-in skill. The options that look for them name [`tools_and_skills`], permissions [`permissions`].

use std::ffi::OsStr;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use perstack::config::Project;
use perstack::config::lockfile::{self, Lock};
use perstack::expert::SkillSpec;
use perstack::tool::{BASE_SKILL, BASE_TOOLS, CONVERSATION_TOOLS};

use super::{described, process, trusted_project};
use crate::cli::owners::OwnerCheck;
use crate::cli::places::Places;

/// Tools and skills, each once.
pub fn tools_and_skills() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let mut words = Vec::new();
        let found = trusted_project();
        if let Some((project, places)) = &found {
            add_skills(&mut words, project);
            if let Some(lock) = lock(project, places) {
                add_locked(&mut words, &lock);
            }
        }
        for tool in BASE_TOOLS {
            add(&mut words, tool, &format!("tool of {BASE_SKILL}"));
        }
        words
    })
}

/// Tools that a permission may name.
pub fn permissions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let mut words = Vec::new();
        for tool in BASE_TOOLS.iter().filter(|tool| !CONVERSATION_TOOLS.contains(tool)) {
            add(&mut words, tool, &format!("tool of {BASE_SKILL}"));
        }
        if let Some((project, places)) = &trusted_project() {
            let experts = project.experts.values();
            for delegate in experts.flat_map(|expert| &expert.delegates) {
                add(&mut words, delegate.as_str(), "delegate");
            }
            if let Some(lock) = lock(project, places) {
                add_locked(&mut words, &lock);
            }
        }
        words
    })
}

/// The lock, if its file is one that a run would read unasked.
fn lock(project: &Project, places: &Places) -> Option<Lock> {
    let path = lockfile::find(&project.path);
    let is_trusted = places.is_named() || OwnerCheck::new(&process()?, false).trusts_path(&path);
    lockfile::read(&path).ok().flatten().filter(|_| is_trusted)
}

fn add_skills(words: &mut Vec<CompletionCandidate>, project: &Project) {
    for (expert, skill) in
        project.experts.values().flat_map(|expert| expert.skills.values().map(move |skill| (expert, skill)))
    {
        let common = skill.common();
        add(words, &common.name, &format!("skill of {}", expert.key));
        let questions = match skill {
            SkillSpec::InteractiveSkill { tools, .. } => Some(tools.keys()),
            _ => None,
        };
        for tool in questions.into_iter().flatten().chain(&common.pick) {
            add(words, tool, &format!("tool of {}", common.name));
        }
    }
}

fn add_locked(words: &mut Vec<CompletionCandidate>, lock: &Lock) {
    for tool in lock.experts.values().flat_map(|expert| &expert.tools) {
        add(words, &tool.name, &format!("tool of {}", tool.skill_name));
    }
}

fn add(words: &mut Vec<CompletionCandidate>, word: &str, description: &str) {
    if !words.iter().any(|known| known.get_value() == OsStr::new(word)) {
        words.extend(described(word, description));
    }
}
