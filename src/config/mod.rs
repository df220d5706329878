//! [`Project`] and [`Settings`]: `perstack.toml` with its includes, `.env` files and the user's defaults, read strictly
//! and merged by precedence.
//!
//! The command line calls it before each job and hands the flags over as [`Overrides`]. Options themselves are left to
//! the command line, and the providers' own variables to the provider layer.

use std::fmt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Serialize;

use crate::budget::Budgets;
use crate::expert::{ContextLimit, Expert, ToolSearch};
use crate::expert_map::ExpertMap;
use crate::model_name::ModelName;
use crate::permission::Permissions;
use crate::sandbox::Sandbox;
use crate::setting::{
    DEFAULT_MAX_PARALLEL_DELEGATES, DEFAULT_MAX_TOOL_OUTPUT, DEFAULT_TIMEOUT_MS, Limits, ProviderName, ProviderSetting,
    ReasoningBudget,
};
use crate::snapshot::SnapshotMode;

mod read_file;
mod agent_skills;
mod context_files;
mod cycles;
mod dotenv;
mod env;
mod error;
mod expert_files;
mod experts;
mod file;
mod diagnostics;
mod glob;
mod graph;
pub mod lockfile;
mod include;
mod keys;
mod native;
mod output_schema;
mod suggest;
mod test_cases;
mod provider;
mod reader;
mod precedence;
mod root;
mod skills;
pub mod trust;
mod user;
mod verify;

pub use agent_skills::{AgentSkill, AgentSkills, SKILL_FILE, SkillPlaces, load_agent_skills};
pub use context_files::{ContextFiles, ContextPlaces, read_context};
pub use env::{DEFAULT_ENV_FILES, FolderFiles, LeftOut, environment};
pub use error::{ConfigError, Problem};
pub use expert_files::ExpertFiles;
pub use file::{load, load_with, parse};
pub use keys::schema::{SCHEMA_FILE, SCHEMA_LINE, schema};
pub use output_schema::read_output_schema;
pub use precedence::{settle, settle_in_folder};
pub use root::{Discovered, FILE_NAME, discover};
pub use suggest::nearest;
pub use test_cases::{Expectations, Judge, LiveCase, NeededPasses, REPEATS, TestCase, read_test_cases};
pub use user::{UserDefaults, user_defaults, user_models};

/// The run options that one source (flags, environment, a file) sets. `None`: not set there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    pub provider: Option<ProviderName>,
    pub model: Option<String>,
    /// The models to ask when the one above has failed.
    pub fallback: Option<Vec<ModelName>>,
    pub reasoning_budget: Option<ReasoningBudget>,
    pub max_steps: Option<u64>,
    pub max_retries: Option<u32>,
    /// Milliseconds for one generation.
    pub timeout_ms: Option<u64>,
    /// Delegates that work at the same time.
    pub max_parallel_delegates: Option<u64>,
    /// The job's budgets. [`Budgets::max_steps`] is `maxTotalSteps`; the `max_steps` above bounds each line of Runs.
    pub budgets: Budgets,
    pub sandbox: Option<Sandbox>,
    pub snapshot: Option<SnapshotMode>,
}

/// Mistakes of single experts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpertMistakes {
    /// Each with its expert's name, in the order of the files.
    problems: Vec<(String, Problem)>,
    /// The experts' names of those beyond a limit.
    omitted: Vec<String>,
}

impl ExpertMistakes {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// All of them as an error of the configuration at `file`.
    pub fn error(&self, file: &Path) -> ConfigError {
        let problems = self.problems.iter().map(|(_, problem)| problem.clone()).collect();
        ConfigError::Invalid { path: file.to_owned(), problems, omitted: self.omitted.len() }
    }

    /// The experts with mistakes, each with its own as text.
    pub fn by_expert(&self) -> IndexMap<&str, String> {
        let mut texts: IndexMap<&str, String> = IndexMap::new();
        for (name, problem) in &self.problems {
            let text = texts.entry(name).or_default();
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&problem.to_string());
        }
        for name in &self.omitted {
            texts.entry(name).or_insert_with(|| "has mistakes: `perstack check` lists the first of all".to_owned());
        }
        texts
    }
}

impl Project {
    /// The project, if no expert has a mistake.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all mistakes.
    pub fn sound(self) -> Result<Self, ConfigError> {
        if self.mistakes.is_empty() { Ok(self) } else { Err(self.mistakes.error(&self.path)) }
    }
}

/// A file that was read, with the user that it belonged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOwner {
    pub path: PathBuf,
    /// The user's number; `None` where files have no owner.
    pub owner: Option<u32>,
}

/// A read and validated `perstack.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// The file it came from.
    pub path: PathBuf,
    /// The files that it includes, and those that they include, in the order they were read.
    pub included: Vec<PathBuf>,
    /// The owners of the files that were read, the first one's first; empty for text that came from no file.
    pub owners: Vec<FileOwner>,
    pub overrides: Overrides,
    /// `[provider.setting]`.
    pub provider_setting: ProviderSetting,
    /// `envPath`; absent means the default files.
    pub env_path: Option<Vec<PathBuf>>,
    /// `workspace`: the folder that experts work in, relative to the file's; absent means the root.
    pub workspace: Option<PathBuf>,
    /// `maxToolOutput`: most bytes of one tool result's text that reach the model.
    pub max_tool_output: Option<usize>,
    /// `contextLimit`, for experts without one of their own.
    pub context_limit: Option<ContextLimit>,
    /// `toolSearch`, for experts without one of their own.
    pub tool_search: Option<ToolSearch>,
    /// `permissions` of all experts.
    pub permissions: Permissions,
    pub api_base_url: String,
    /// `perstackBaseSkillCommand`, when not empty.
    pub base_skill_command: Option<Vec<String>>,
    /// By key, in the order of the file, followed by those of the included files. Experts with mistakes are in it as
    /// unusable.
    pub experts: ExpertMap,
    /// The mistakes of single experts, which stop only runs that reach them.
    pub mistakes: ExpertMistakes,
    /// Findings that do not stop a run, ready to print and in the order of the files: ignored keys with their place and
    /// the nearest known key, delegations that newer runtimes refuse.
    pub warnings: Vec<String>,
    /// The warnings about unknown keys, which are among `warnings` too.
    pub unknown_keys: Vec<String>,
}

/// The run options after precedence: flag > environment > `perstack.toml` > user defaults > built-in.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `None`: no source names one, and the provider layer looks for a key.
    pub provider: Option<ProviderName>,
    /// The file's setting when the file's provider is the one chosen, otherwise empty.
    pub provider_setting: ProviderSetting,
    /// `[provider.setting]` of the file, with its provider, whichever one is chosen.
    pub file_provider: Option<(ProviderName, ProviderSetting)>,
    /// `None`: the provider's default.
    pub model: Option<String>,
    /// `--model` (or its variable) was given, so an expert's own tier does not apply.
    pub model_is_explicit: bool,
    /// The models to ask when an expert's model has failed, for experts without a list of their own.
    pub fallback: Vec<ModelName>,
    pub reasoning_budget: ReasoningBudget,
    pub limits: Limits,
    /// The job's budgets. A job that is continued keeps its own, except for those whose origin is a flag.
    pub budgets: Budgets,
    /// Milliseconds for one generation.
    pub timeout_ms: u64,
    /// Delegates that work at the same time, over all of the job's tree; at least 1.
    pub max_parallel_delegates: u64,
    /// The containment of started programs.
    pub sandbox: Sandbox,
    /// The moments at which the state of the workspace is stored.
    pub snapshot: SnapshotMode,
    /// Most bytes of one tool result's text that reach the model: the file's, else the built-in.
    pub max_tool_output: usize,
    /// For experts without one of their own: the file's, else the built-in.
    pub context_limit: ContextLimit,
    /// For experts without one of their own: the file's, else the built-in.
    pub tool_search: ToolSearch,
    /// The source of each value.
    pub origins: Origins,
    /// The limits that neither a folder's file nor a stored job exceeds: the user's own, in a folder that is not trusted.
    pub ceilings: Ceilings,
}

impl Settings {
    /// The models to ask when the model of `expert` has failed.
    pub fn fallbacks_of<'a>(&'a self, expert: &'a Expert) -> &'a [ModelName] {
        expert.fallback.as_deref().unwrap_or(&self.fallback)
    }

    /// The settings of a provider that is asked as a fallback: the file's, if they are of that provider.
    pub fn setting_of(&self, provider: ProviderName) -> ProviderSetting {
        let of_file = self.file_provider.as_ref().filter(|(name, _)| *name == provider);
        of_file.map(|(_, setting)| setting.clone()).unwrap_or_default()
    }
}

/// The most that limits may be, where nothing stronger than a file sets them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ceilings {
    pub budgets: Budgets,
    pub max_steps: Option<u64>,
}

impl Default for Settings {
    /// The built-in values, which apply where no source sets one.
    fn default() -> Self {
        Self {
            provider: None,
            provider_setting: ProviderSetting::default(),
            file_provider: None,
            model: None,
            model_is_explicit: false,
            fallback: Vec::new(),
            reasoning_budget: ReasoningBudget::default(),
            limits: Limits::default(),
            budgets: Budgets::default(),
            timeout_ms: DEFAULT_TIMEOUT_MS,
            max_parallel_delegates: DEFAULT_MAX_PARALLEL_DELEGATES,
            sandbox: Sandbox::default(),
            snapshot: SnapshotMode::default(),
            max_tool_output: DEFAULT_MAX_TOOL_OUTPUT,
            context_limit: ContextLimit::default(),
            tool_search: ToolSearch::default(),
            origins: Origins::default(),
            ceilings: Ceilings::default(),
        }
    }
}

/// The source of each value of [`Settings`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origins {
    pub provider: Origin,
    pub model: Origin,
    pub fallback: Origin,
    pub reasoning_budget: Origin,
    pub max_steps: Origin,
    pub max_retries: Origin,
    pub timeout: Origin,
    pub max_parallel_delegates: Origin,
    pub max_cost: Origin,
    pub max_tokens: Origin,
    pub max_duration: Origin,
    pub max_total_steps: Origin,
    pub max_tool_repetitions: Origin,
    pub max_delegates: Origin,
    pub sandbox: Origin,
    pub snapshot: Origin,
}

impl Origins {
    /// The names of the values that flags and variables gave: they belong to an invocation, and not to a configuration.
    pub fn asked(&self) -> Vec<&'static str> {
        let all = [
            ("provider", self.provider),
            ("reasoningBudget", self.reasoning_budget),
            ("maxSteps", self.max_steps),
            ("maxRetries", self.max_retries),
            ("timeout", self.timeout),
            ("maxParallelDelegates", self.max_parallel_delegates),
            ("maxCost", self.max_cost),
            ("maxTokens", self.max_tokens),
            ("maxDuration", self.max_duration),
            ("maxTotalSteps", self.max_total_steps),
            ("maxToolRepetitions", self.max_tool_repetitions),
            ("maxDelegates", self.max_delegates),
            ("sandbox", self.sandbox),
        ];
        let asked = all.into_iter().filter(|(_, origin)| matches!(origin, Origin::Flag | Origin::Environment));
        asked.map(|(name, _)| name).collect()
    }
}

/// The addresses that remote skills may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Endpoints {
    /// Public ones; others only for skills with `allowPrivateEndpoint = true`.
    #[default]
    PublicOnly,
    /// Private ones too, for every skill (`PERSTACK_ALLOW_PRIVATE_ENDPOINTS=1`).
    PrivateToo,
}

/// The trust that a project's folder has of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FolderTrust {
    /// The user agreed to it, or named it.
    Trusted,
    /// Its budgets do not exceed the user's own.
    Untrusted,
}

/// A source of run options, strongest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Options of this one invocation.
    Flag,
    /// `PERSTACK_*` variables.
    Environment,
    /// `perstack.toml`.
    File,
    /// The user's `config.toml`.
    User,
    /// No source sets the value.
    #[default]
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "the options given",
            Self::Environment => "the environment",
            Self::File => "perstack.toml",
            Self::User => "the user's config.toml",
            Self::BuiltIn => "the built-in default",
        })
    }
}
