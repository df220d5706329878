//! The user's own files in the platform's configuration folder: defaults, `config.toml`, and models, `models.toml`. The
//! command line knows where they are and calls this with their paths.

use std::path::Path;

use super::Overrides;
use super::error::{ConfigError, Problem, position};
use super::experts;
use super::file::{limits, own_model};
use super::keys::tables::{PERMISSIONS, USER};
use super::provider::fallback;
use super::read_file::read_text;
use super::reader::{Diagnostics, Document, Table};
use crate::model::Catalogue;
use crate::permission::Permissions;
use crate::setting::ProviderName;

/// The user's `config.toml`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserDefaults {
    pub overrides: Overrides,
    /// `trustFolders`: folders that are trusted with all beneath them, as they are written (`~/work`).
    pub trust_folders: Vec<String>,
    /// `permissions`: they hold for all of the user's runs.
    pub permissions: Permissions,
}

/// Reads the user's defaults at `path`: the run options of `perstack.toml`, with `provider` as a plain name. An absent
/// file sets none. Unknown keys are errors, as no older program wrote such a file.
pub fn user_defaults(path: &Path) -> Result<UserDefaults, ConfigError> {
    let Some(text) = read_text(path)? else { return Ok(UserDefaults::default()) };
    let mut diagnostics = Diagnostics::default();
    let text = text.into();
    let document = Document::parse(path, &text, &mut diagnostics);
    let mut defaults = UserDefaults::default();
    if let Some(root) = document.root() {
        for (key, _) in root.iter() {
            if USER.get(key.name).is_none() {
                key.problem(format!("unknown key{}", diagnostics.hint(key.name, USER.names())), &mut diagnostics);
            }
        }
        let mut overrides = limits(&root, &mut diagnostics);
        let names = ProviderName::ALL.map(|name| (name.as_str(), name));
        overrides.provider = root.get("provider").and_then(|node| node.choice(&names, &mut diagnostics));
        let own = own_model(&overrides);
        overrides.fallback = root.get("fallback").and_then(|node| fallback(&node, own.as_ref(), &mut diagnostics));
        let folders = root.get("trustFolders").and_then(|node| node.strings(&mut diagnostics));
        let permissions = root.get("permissions").map(|node| {
            let table = node.table(&mut Diagnostics::default());
            for (key, _) in table.iter().flat_map(Table::iter).filter(|(key, _)| PERMISSIONS.get(key.name).is_none()) {
                key.problem(
                    format!("unknown key{}", diagnostics.hint(key.name, PERMISSIONS.names())),
                    &mut diagnostics,
                );
            }
            experts::permissions(&node, &mut diagnostics)
        });
        defaults = UserDefaults {
            overrides,
            trust_folders: folders.unwrap_or_default(),
            permissions: permissions.unwrap_or_default(),
        };
    }
    diagnostics.conclude(path)?;
    Ok(defaults)
}

/// Reads the user's own catalogue of models at `path`; `None` when there is none.
pub fn user_models(path: &Path) -> Result<Option<Catalogue>, ConfigError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    Catalogue::parse(&text, &path.display().to_string()).map(Some).map_err(|error| {
        let (line, column) = position(&text, error.span.start);
        let problem = Problem { file: path.to_owned(), line, column, path: String::new(), message: error.message };
        ConfigError::Invalid { path: path.to_owned(), problems: vec![problem], omitted: 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budgets;
    use crate::setting::ReasoningBudget;

    fn read(text: &str) -> Result<UserDefaults, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        user_defaults(&path)
    }

    #[test]
    fn every_key_is_read() {
        let text = "provider = \"openai\"\nmodel = \"m\"\nfallback = [\"openai/n\"]\nreasoningBudget = \"high\"\n\
                    maxSteps = 7\nmaxRetries = 0\ntimeout = 1000\nmaxTokens = 9\nmaxParallelDelegates = 2\nsandbox = \"off\"\n\
                    snapshot = \"stop\"\n\
                    trustFolders = [\"~/w\"]\npermissions = { deny = [\"exec(rm *)\"] }\n";
        let expected = Overrides {
            provider: Some(ProviderName::OpenAi),
            model: Some("m".to_owned()),
            fallback: Some(vec!["openai/n".parse().unwrap()]),
            reasoning_budget: Some(ReasoningBudget::High),
            max_steps: Some(7),
            max_retries: Some(0),
            timeout_ms: Some(1000),
            max_parallel_delegates: Some(2),
            budgets: Budgets { max_tokens: Some(9), ..Budgets::default() },
            sandbox: Some(crate::sandbox::Sandbox::Off),
            snapshot: Some(crate::snapshot::SnapshotMode::Stop),
        };
        let trust_folders = vec!["~/w".to_owned()];
        let permissions = Permissions { deny: vec!["exec(rm *)".parse().unwrap()], ..Permissions::default() };
        assert_eq!(read(text).unwrap(), UserDefaults { overrides: expected, trust_folders, permissions });
    }

    #[test]
    fn an_absent_file_sets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(user_defaults(&folder.path().join("config.toml")).unwrap(), UserDefaults::default());
    }

    #[test]
    fn mistakes_are_listed() {
        let text = "provider = \"opnai\"\nmaxstep = 3\npermissions = { deny = [\"exec(\"], denny = [] }\n";
        let error = read(text).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().map(|line| line.split_once("config.toml:").unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "1:12: provider: expected one of \"anthropic\", \"openai\", \"google\", \"deepseek\", \"fireworks\", \"azure-openai\", \
                 \"amazon-bedrock\", \"google-vertex\", \"ollama\", received \"opnai\"; did you mean \"openai\"?",
                "2:1: maxstep: unknown key; did you mean \"maxSteps\"?",
                "3:25: permissions.deny.0: a pattern ends within its (: write the closing ) last",
                "3:35: permissions.denny: unknown key; did you mean \"deny\"?",
            ]
        );
    }
}
