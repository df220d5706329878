//! The words that a shell may complete: experts, jobs, checkpoints, models, skills and tools. The options name these functions; the
//! engine calls them while it answers a shell.
//!
//! Nothing is started and no model is asked. Configuration and storage are read where a run would read them, and those of
//! other users are left alone. What cannot be read gives no words: a shell has no place for an error.

mod tools;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::ColorChoice;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use perstack::config::{self, Endpoints, Project};
use perstack::content::Content;
use perstack::expert::{Expert, SkillSpec};
use perstack::fact::FactBody;
use perstack::id::JobId;
use perstack::setting::ProviderName;
use perstack::store::{CheckpointEntry, Store};

use crate::cli::Process;
use crate::cli::owners::OwnerCheck;
use crate::cli::places::{Places, ProjectNeed};
use crate::cli::render::{shortened, visible};
use crate::cli::setup::open_storage;
use crate::cli::user_folder::catalogue;

pub use self::tools::{permissions, tools_and_skills};

/// Most jobs and checkpoints that are offered, the newest first: more is no choice, and each is a file to be read.
const MOST: usize = 40;

/// Columns of a description.
const DESCRIPTION: usize = 60;

/// The experts of the configuration.
pub fn experts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(project) = project() else { return Vec::new() };
        let candidate =
            |expert: &Expert| described(expert.key.as_str(), expert.description.as_deref().unwrap_or_default());
        project.experts.values().filter_map(candidate).collect()
    })
}

/// The skills of the configuration, each name once.
pub fn skills() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(project) = project() else { return Vec::new() };
        let mut words: Vec<CompletionCandidate> = Vec::new();
        for (expert, name) in
            project.experts.values().flat_map(|expert| expert.skills.keys().map(move |name| (expert, name)))
        {
            if !words.iter().any(|word| word.get_value() == OsStr::new(name)) {
                words.extend(described(name, &format!("skill of {}", expert.key)));
            }
        }
        words
    })
}

/// The remote skills, which can be logged in to.
pub fn remote_skills() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(project) = project() else { return Vec::new() };
        let mut words: Vec<CompletionCandidate> = Vec::new();
        for (expert, skill) in
            project.experts.values().flat_map(|expert| expert.skills.values().map(move |skill| (expert, skill)))
        {
            if let SkillSpec::McpSseSkill { common, .. } = skill
                && !words.iter().any(|word| word.get_value() == OsStr::new(&common.name))
            {
                words.extend(described(&common.name, &format!("skill of {}", expert.key)));
            }
        }
        words
    })
}

/// The models that are known.
pub fn models() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Some(catalogue) = process().and_then(|process| catalogue(&process).ok()) else {
            return Vec::new();
        };
        let chosen = given("--provider").and_then(|name| name.to_str()?.parse::<ProviderName>().ok());
        let providers = chosen.map_or_else(|| ProviderName::ALL.to_vec(), |only| vec![only]);
        let mut words: Vec<CompletionCandidate> = Vec::new();
        for provider in providers {
            for model in catalogue.models(provider) {
                if !words.iter().any(|word| word.get_value() == OsStr::new(&model.id)) {
                    words.extend(described(&model.id, provider.as_str()));
                }
            }
        }
        words
    })
}

/// The latest jobs, each with its query.
pub fn jobs() -> ArgValueCandidates {
    ArgValueCandidates::new(latest_jobs)
}

/// The checkpoints of the job that the line names, else of the latest.
pub fn checkpoints() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let named = given("--continue-job").or_else(|| given("--job")).and_then(|job| job.to_str()?.parse().ok());
        store().map(|store| checkpoints_of(&store, named)).unwrap_or_default()
    })
}

/// All that `resume` and `job diff` take: `latest`, jobs, checkpoints of the latest job, files.
pub fn resumable() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let latest = described("latest", "the latest job");
        let of_latest = store().map(|store| checkpoints_of(&store, None)).unwrap_or_default();
        let words = latest.into_iter().chain(latest_jobs()).chain(of_latest);
        let begins = |word: &CompletionCandidate| {
            let (word, current) = (word.get_value().as_encoded_bytes(), current.as_encoded_bytes());
            word.starts_with(current)
        };
        let mut words: Vec<CompletionCandidate> = words.filter(begins).collect();
        if words.is_empty() {
            words = PathCompleter::file().complete(current);
        }
        words
    })
}

/// A word with its description. Shells put a word into the line as it is: `None` for one that means something to them.
/// (A hidden candidate would still be offered where it is the only one.)
fn described(word: &str, description: &str) -> Option<CompletionCandidate> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if word.is_empty() || !word.chars().all(is_plain) {
        return None;
    }
    let description = shortened(&visible(description), DESCRIPTION);
    Some(CompletionCandidate::new(word).help((!description.is_empty()).then(|| description.into())))
}

fn process() -> Option<Process> {
    Process::read(ColorChoice::Never).ok()
}

/// The project, if its file is one that a run would read unasked.
fn project() -> Option<Project> {
    trusted_project().map(|(project, _)| project)
}

/// As [`project`], with the places that it was found by.
fn trusted_project() -> Option<(Project, Places)> {
    let process = process()?;
    let named = given("--config").map(PathBuf::from);
    let places = Places::find(&process, named.as_deref(), ProjectNeed::IfFound).ok()?;
    let path = places.config.as_ref()?;
    let owners = OwnerCheck::new(&process, false);
    if !places.is_named() && !owners.trusts_path(path) {
        return None;
    }
    let project = config::load_with(path, Endpoints::PrivateToo).ok()?;
    Some((project, places))
}

fn store() -> Option<Store> {
    let process = process()?;
    let named = given("--storage").map(PathBuf::from);
    // As the last command left it: nobody waits for an object store to complete a word.
    let storage = open_storage(&process, named.as_deref(), &OwnerCheck::new(&process, false)).ok()?;
    Some(Store::new(&storage.folder))
}

fn latest_jobs() -> Vec<CompletionCandidate> {
    let Some(store) = store() else { return Vec::new() };
    let ids = newest_jobs(&store);
    let candidate = |(at, id): (usize, &JobId)| Some(job(&store, id)?.display_order(Some(at)));
    ids.iter().take(MOST).enumerate().filter_map(candidate).collect()
}

/// The jobs by their names, which sort by time, the newest first.
fn newest_jobs(store: &Store) -> Vec<JobId> {
    let mut ids = store.job_ids().unwrap_or_default();
    ids.sort_unstable();
    ids.reverse();
    ids
}

fn job(store: &Store, id: &JobId) -> Option<CompletionCandidate> {
    let expert = store.job(id).map(|job| job.coordinator_expert_key.to_string()).unwrap_or_default();
    let query = query(store, id).unwrap_or_default();
    described(id.as_str(), &format!("{expert}: {query}"))
}

/// The query that a job began with.
fn query(store: &Store, id: &JobId) -> Option<String> {
    let run = store.runs(id).ok()?.into_iter().next()?;
    match store.first_fact(id, &run.id)?.body {
        FactBody::Started { input, .. } => input.first().and_then(Content::as_text).map(str::to_owned),
        _ => None,
    }
}

fn checkpoints_of(store: &Store, job: Option<JobId>) -> Vec<CompletionCandidate> {
    let Some(job) = job.or_else(|| newest_jobs(store).into_iter().next()) else { return Vec::new() };
    let mut entries = store.checkpoints(&job).unwrap_or_default();
    entries.reverse();
    let candidate = |(at, entry): (usize, &CheckpointEntry)| {
        Some(described(entry.id.as_str(), &format!("step {}", entry.step))?.display_order(Some(MOST + at)))
    };
    entries.iter().take(MOST).enumerate().filter_map(candidate).collect()
}

/// The value of an option on the line that is completed.
fn given(option: &str) -> Option<OsString> {
    let mut words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    while let Some(word) = words.next() {
        if word == option {
            return words.next().filter(|value| !value.is_empty());
        }
        let value = word.to_str().and_then(|word| word.strip_prefix(option)?.strip_prefix('='));
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            return Some(value.into());
        }
    }
    None
}
