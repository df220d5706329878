//! [`TurnInput`] and [`TurnEnd`]: the work on a job from its begin, or an answer, to its next stop; as they travel through the
//! engine. Fields are only ever added within a version of the format.

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use perstack::config::lockfile::FILE_NAME;
use perstack::expert::ExpertKey;
use perstack::hex;
use perstack::id::{AccountId, CheckpointId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cli::Exit;
use crate::cli::command_line::CommandLine;
use crate::cli::options::ModelArgs;
use crate::cli::setup::Setup;

/// The newest version of this form. A job is of the oldest that has all of it: a worker that did not know of a field would go
/// without.
pub const FORMAT_VERSION: u32 = 2;

/// Work to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnInput {
    pub format_version: u32,
    pub expert: ExpertKey,
    pub query: String,
    /// The state of the project that it was submitted from, by [`ProjectFiles::digest`].
    pub project: String,
    /// The flags of model and budgets, as words.
    #[serde(default)]
    pub flags: Vec<String>,
    /// The account of the workers' storage that it draws on. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The repository that its workspace is made from, with a revision. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_from: Option<String>,
    /// The answer to the question that the job waits with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<TurnAnswer>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnAnswer {
    /// The checkpoint that waits for it.
    pub checkpoint: CheckpointId,
    pub text: String,
}

/// The end of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnEnd {
    /// The exit code of the command that ran it.
    pub exit: u8,
    /// The object that `run --output json` prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The last lines of its standard error.
    #[serde(default)]
    pub messages: String,
}

/// The job as the engine knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetJobState {
    /// The engine's name of the turn.
    pub invocation: String,
    pub input: TurnInput,
    /// Absent while it is at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<TurnEnd>,
    /// The reason why the latest turn that was handed over for another job of this id was not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl FleetJobState {
    /// The reason why this cannot be the job of `input`; `None` if it can. A job that was refused leaves its id to others: where
    /// something is stored of it all the same, the storage refuses them.
    pub fn refusal(&self, input: &TurnInput) -> Option<String> {
        let TurnInput { expert, query, workspace_from, .. } = &self.input;
        if self.end.as_ref().is_some_and(|end| end.exit == Exit::Usage as u8) {
            None
        } else if *expert != input.expert {
            Some(format!("a job of this id was submitted before, of another expert: {expert}"))
        } else if *query != input.query {
            Some("a job of this id was submitted before, with another query".to_owned())
        } else if *workspace_from != input.workspace_from {
            let from = workspace_from.as_deref().unwrap_or("that of the worker");
            Some(format!("a job of this id was submitted before, with another workspace: {from}"))
        } else {
            None
        }
    }

    /// Returns whether it is at work as `input` asks for.
    pub fn is_at_work_on(&self, input: &TurnInput) -> bool {
        self.end.is_none() && TurnInput { answer: None, ..self.input.clone() } == *input
    }
}

impl TurnEnd {
    /// A turn that was not begun.
    pub fn refused(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage as u8, result: None, messages: format!("error: {}\n", message.into()) }
    }

    /// A turn that was cancelled before it had begun.
    pub fn cancelled() -> Self {
        Self { exit: Exit::Terminated as u8, result: None, messages: String::new() }
    }
}

/// The flags that a job may bring along.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct TurnFlags {
    #[command(flatten)]
    model: ModelArgs,
}

/// Reads the flags that a job brings along. There are none but those of model and budgets: all else is the worker's to choose.
///
/// # Errors
/// With the text of the parser.
pub fn parse_flags(words: &[String]) -> Result<ModelArgs, String> {
    TurnFlags::try_parse_from(words).map(|flags| flags.model).map_err(|error| error.to_string())
}

/// The flags of model and budgets as words.
pub fn flags_of(model: &ModelArgs) -> Vec<String> {
    let mut words = CommandLine::default();
    model.add_to(&mut words);
    words.into_words()
}

/// The files of a project that a job depends on: the configuration, what it includes, and the lock.
#[derive(Debug, Clone)]
pub struct ProjectFiles(Vec<PathBuf>);

impl ProjectFiles {
    /// Those of the project.
    pub fn of(setup: &Setup) -> Self {
        let Some(project) = &setup.project else { return Self(Vec::new()) };
        let files = std::iter::once(project.path.clone()).chain(project.included.iter().cloned());
        Self(files.chain([project.path.with_file_name(FILE_NAME)]).collect())
    }

    /// The digest of their contents as they are now: SHA-256 in hexadecimal digits. Where they lie does not count; one that is
    /// not there is empty.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn digest(&self) -> anyhow::Result<String> {
        let mut all = Sha256::new();
        for path in &self.0 {
            let bytes = match std::fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                read => read.with_context(|| format!("cannot read {}", path.display()))?,
            };
            // By its own digest, so that no two lists of files are the same.
            all.update(Sha256::digest(bytes));
        }
        Ok(hex::digits(&all.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_job_brings_limits_along_and_nothing_else() {
        let line = "--provider openai --model m --max-steps 3 --max-cost 0.5";
        assert_eq!(flags_of(&parse_flags(&words(line)).unwrap()), words(line));
        for line in ["--storage elsewhere", "--trust", "--config other.toml", "--allow exec", "word", "--env-path x"] {
            assert!(parse_flags(&words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn what_later_versions_add_is_read_over() {
        let text = r#"{"formatVersion":1,"expert":"owl","query":"q","project":"d","later":[1]}"#;
        let input: TurnInput = serde_json::from_str(text).unwrap();
        assert_eq!((input.expert.as_str(), input.flags.len(), input.answer), ("owl", 0, None));
    }

    #[test]
    fn an_id_stays_with_its_job_unless_that_was_refused() {
        let input = |query: &str| TurnInput {
            format_version: 1,
            expert: "owl".parse().unwrap(),
            query: query.to_owned(),
            project: String::new(),
            flags: words("--max-steps 3"),
            account: None,
            workspace_from: None,
            answer: None,
        };
        let state =
            |end: Option<TurnEnd>| FleetJobState { invocation: "i".to_owned(), input: input("q"), end, refused: None };
        let another = TurnInput { expert: "bee".parse().unwrap(), ..input("q") };
        let larger = TurnInput { flags: words("--max-steps 9"), ..input("q") };
        for end in [None, Some(TurnEnd::cancelled())] {
            let known = state(end);
            assert!(known.refusal(&input("q")).is_none() && known.refusal(&larger).is_none());
            assert!(known.refusal(&input("other")).unwrap().contains("with another query"));
            assert!(known.refusal(&another).unwrap().contains("of another expert: owl"));
            let elsewhere = TurnInput { workspace_from: Some("https://example.com/owls#v1".to_owned()), ..input("q") };
            assert!(known.refusal(&elsewhere).unwrap().contains("with another workspace: that of the worker"));
            assert_eq!(known.is_at_work_on(&input("q")), known.end.is_none());
            assert!(!known.is_at_work_on(&larger));
        }
        assert!(state(Some(TurnEnd::refused("no"))).refusal(&input("other")).is_none());
    }
}
