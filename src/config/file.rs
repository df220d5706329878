//! `perstack.toml`: found, read, and checked as a whole.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::bounded::{is_absence, read_text};
use super::error::ConfigError;
use super::reader::{Findings, MAX_NUMBER, Node, Table};
use super::{Overrides, Project, experts, provider};
use crate::setting::{DEFAULT_API_BASE_URL, ProviderSetting, ReasoningBudget};

/// The file's name.
const FILE_NAME: &str = "perstack.toml";

/// The keys at the top of a file.
const KEYS: [&str; 10] = [
    "model",
    "reasoningBudget",
    "maxSteps",
    "maxRetries",
    "timeout",
    "envPath",
    "provider",
    "experts",
    "perstackApiBaseUrl",
    "perstackBaseSkillCommand",
];

/// Keys at the top that older versions of the original read.
const OBSOLETE_KEYS: [&str; 1] = ["runtime"];

/// Which addresses remote skills may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Endpoints {
    /// Public ones; others only for skills that say `allowPrivateEndpoint = true`.
    #[default]
    PublicOnly,
    /// Private ones too, for every skill (`PERSTACK_ALLOW_PRIVATE_ENDPOINTS=1`).
    PrivateToo,
}

/// Finds `perstack.toml` in `start`, or in the nearest folder above it. A file that is there but cannot be read is an
/// error, as going on to another would run something else. `start` should be absolute and without `..`.
pub fn discover(start: &Path) -> Result<PathBuf, ConfigError> {
    let folder =
        std::path::absolute(start).map_err(|source| ConfigError::Unreadable { path: start.to_owned(), source })?;
    for folder in folder.ancestors() {
        let path = folder.join(FILE_NAME);
        match std::fs::symlink_metadata(&path) {
            Ok(_) => return Ok(path),
            Err(error) if is_absence(&error) => {}
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        }
    }
    Err(ConfigError::NotFound { start: folder })
}

/// Reads the file at `path` (at most 4 MiB of UTF-8), with public endpoints only.
pub fn load(path: &Path) -> Result<Project, ConfigError> {
    load_with(path, Endpoints::PublicOnly)
}

/// Reads the file at `path` (at most 4 MiB of UTF-8).
pub fn load_with(path: &Path, endpoints: Endpoints) -> Result<Project, ConfigError> {
    let text = read_text(path)?.ok_or_else(|| ConfigError::Missing { path: path.to_owned() })?;
    parse_with(&text, path, endpoints)
}

/// Reads the text of a file, with public endpoints only. `path` is for messages. Either everything is right, or the
/// error holds everything that is wrong.
pub fn parse(text: &str, path: &Path) -> Result<Project, ConfigError> {
    parse_with(text, path, Endpoints::PublicOnly)
}

fn parse_with(text: &str, path: &Path, endpoints: Endpoints) -> Result<Project, ConfigError> {
    let mut findings = Findings::default();
    let document = findings.document(text);
    // What a broken text means is guesswork: its syntax first.
    let project = findings.is_clean().then(|| project(&Table::root(&document), endpoints, &mut findings));
    let (warnings, has_unknown_keys) = findings.conclude(text, path)?;
    Ok(Project { path: path.to_owned(), warnings, has_unknown_keys, ..project.unwrap_or_else(nothing) })
}

/// A file that says nothing.
fn nothing() -> Project {
    Project {
        path: PathBuf::new(),
        overrides: Overrides::default(),
        provider_setting: ProviderSetting::default(),
        env_path: None,
        api_base_url: DEFAULT_API_BASE_URL.to_owned(),
        base_skill_command: None,
        experts: IndexMap::new(),
        warnings: Vec::new(),
        has_unknown_keys: false,
    }
}

fn project(root: &Table<'_>, endpoints: Endpoints, findings: &mut Findings) -> Project {
    for (key, _) in root.iter() {
        if OBSOLETE_KEYS.contains(&key.name) {
            findings.unknown_key(&key, &[], "no longer used");
        } else if !KEYS.contains(&key.name) {
            findings.unknown_key(&key, &KEYS, "unknown key");
        }
    }
    let mut project = nothing();
    project.overrides = limits(root, findings);
    if let Some((name, setting)) = root.get("provider").and_then(|node| provider::provider(&node, findings)) {
        project.overrides.provider = Some(name);
        project.provider_setting = setting;
    }
    let env_path = root.get("envPath").and_then(|node| node.strings(findings));
    project.env_path = env_path.map(|files| files.into_iter().map(PathBuf::from).collect());
    if let Some(url) = root.get("perstackApiBaseUrl").and_then(|node| api_base_url(&node, findings)) {
        project.api_base_url = url;
    }
    project.base_skill_command =
        root.get("perstackBaseSkillCommand").and_then(|node| base_skill_command(&node, findings));
    if let Some(node) = root.get("experts") {
        project.experts = experts::experts(&node, endpoints, findings);
    }
    project
}

/// The keys of how to run that `perstack.toml` and the user's `config.toml` share: all but the provider.
pub(super) fn limits(root: &Table<'_>, findings: &mut Findings) -> Overrides {
    Overrides {
        provider: None,
        model: root.get("model").and_then(|node| node.filled(findings)).map(str::to_owned),
        reasoning_budget: root.get("reasoningBudget").and_then(|node| reasoning_budget(&node, findings)),
        max_steps: root.get("maxSteps").and_then(|node| node.whole(1, MAX_NUMBER, findings)),
        max_retries: root
            .get("maxRetries")
            .and_then(|node| node.whole(0, u32::MAX.into(), findings))
            .and_then(|number| number.try_into().ok()),
        timeout_ms: root.get("timeout").and_then(|node| node.whole(0, MAX_NUMBER, findings)),
    }
}

fn reasoning_budget(node: &Node<'_>, findings: &mut Findings) -> Option<ReasoningBudget> {
    if node.is_number() {
        return node.whole(0, MAX_NUMBER, findings).map(ReasoningBudget::from_tokens);
    }
    let words = [
        ("none", ReasoningBudget::None),
        ("minimal", ReasoningBudget::Minimal),
        ("low", ReasoningBudget::Low),
        ("medium", ReasoningBudget::Medium),
        ("high", ReasoningBudget::High),
    ];
    node.choice_or("a number of tokens", &words, findings)
}

fn api_base_url(node: &Node<'_>, findings: &mut Findings) -> Option<String> {
    let text = node.string(findings)?;
    let scheme = reqwest::Url::parse(text).ok().map(|url| url.scheme().to_owned());
    match scheme.as_deref() {
        Some("https") => return Some(text.to_owned()),
        Some(_) => node.problem("perstackApiBaseUrl must use HTTPS", findings),
        None => node.problem("Invalid URL: write an absolute address, such as https://host", findings),
    }
    None
}

fn base_skill_command(node: &Node<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    let command = node.strings(findings)?;
    if command.first().is_some_and(String::is_empty) {
        node.problem("expected the name of a program first", findings);
    }
    (!command.is_empty()).then_some(command)
}
