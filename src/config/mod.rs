//! Configuration: `perstack.toml`, `.env` files, user defaults; found, read strictly, and settled by precedence.
//!
//! Knows files and variables; leaves flags to the command line and providers' own variables to the provider layer.

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::expert::{Expert, ExpertKey};
use crate::setting::{Limits, ProviderName, ProviderSetting, ReasoningBudget};

/// What one place (flags, environment, a file) says about how to run. Absent: nothing said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    pub provider: Option<ProviderName>,
    pub model: Option<String>,
    pub reasoning_budget: Option<ReasoningBudget>,
    pub max_steps: Option<u64>,
    pub max_retries: Option<u32>,
    /// Milliseconds for one generation.
    pub timeout_ms: Option<u64>,
}

/// A read and validated `perstack.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// The file it came from.
    pub path: PathBuf,
    pub overrides: Overrides,
    /// `[provider.setting]`.
    pub provider_setting: ProviderSetting,
    /// `envPath`; absent means the default files.
    pub env_path: Option<Vec<PathBuf>>,
    pub api_base_url: String,
    /// `perstackBaseSkillCommand`, when not empty.
    pub base_skill_command: Option<Vec<String>>,
    /// By key, in the order of the file.
    pub experts: IndexMap<ExpertKey, Expert>,
    /// Things that were ignored: unknown keys with their place and nearest known key, ready to print.
    pub warnings: Vec<String>,
}

/// How to run, settled: flag > environment > `perstack.toml` > user defaults > built-in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// `None`: nobody named one; the provider layer looks for a key.
    pub provider: Option<ProviderName>,
    pub provider_setting: ProviderSetting,
    /// `None`: the provider's default.
    pub model: Option<String>,
    /// `--model` (or its variable) was given, so an expert's own tier does not apply.
    pub model_is_explicit: bool,
    pub reasoning_budget: ReasoningBudget,
    pub limits: Limits,
    /// Milliseconds for one generation.
    pub timeout_ms: u64,
}
