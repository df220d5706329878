//! [`RunSetting`]: what a Run works with, that is provider, model and limits. Every default has its source.

use std::fmt;
use std::str::FromStr;

use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::budget::Budgets;
use crate::expert::{Expert, ExpertKey};
use crate::hex;
use crate::id::{JobId, RunId};

pub use crate::model_name::{ProviderName, UnknownProvider};

/// Steps a job may take (the original's default).
pub const DEFAULT_MAX_STEPS: u64 = 100;
/// Repeats of a failed model call (the original's default).
pub const DEFAULT_MAX_RETRIES: u32 = 5;
/// Delegates that work at the same time. Our own choice: within the usual limits of providers on requests side by side.
pub const DEFAULT_MAX_PARALLEL_DELEGATES: u64 = 8;
/// The most that [`DEFAULT_MAX_PARALLEL_DELEGATES`] may be replaced by. Each has a connection and servers of its own, and
/// systems bound the files and processes of one program to some thousands.
pub const MOST_PARALLEL_DELEGATES: u64 = 1000;
/// Milliseconds for one whole generation (the original's default).
pub const DEFAULT_TIMEOUT_MS: u64 = 300_000;
/// Most bytes of one tool result's text that reach the model. About 25,000 tokens at four bytes each: an eighth of the
/// usual 200,000-token context window.
pub const DEFAULT_MAX_TOOL_OUTPUT: usize = 100_000;
/// The least that [`DEFAULT_MAX_TOOL_OUTPUT`] may be replaced by, in bytes: below, little but notes would be left.
pub const MIN_TOOL_OUTPUT: usize = 1_000;
/// The Perstack API (the original's default).
pub const DEFAULT_API_BASE_URL: &str = "https://api.perstack.ai";

/// `[provider.setting]`: every provider's fields; each provider reads those it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProviderSetting {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Added to every model request. Not stored with a run: values may be secrets.
    #[serde(skip)]
    pub headers: IndexMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_deployment_based_urls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// OpenAI and Azure: which of OpenAI's two protocols to use. Absent: Responses at OpenAI's own address, Chat
    /// Completions anywhere else, at Azure too. (Not in the original.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<OpenAiApi>,
}

/// OpenAI's two protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OpenAiApi {
    Responses,
    Chat,
}

/// The amount of thinking that a model may do before it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReasoningBudget {
    /// Not at all (`"none"`, `0`).
    None,
    Minimal,
    /// The original's default.
    #[default]
    Low,
    Medium,
    High,
    /// A number of tokens, at least 1.
    Tokens(u64),
}

impl ReasoningBudget {
    /// The budget in tokens, `None` when reasoning is off. The numbers of the words are the original's.
    pub fn tokens(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Minimal => Some(1024),
            Self::Low => Some(2048),
            Self::Medium => Some(5000),
            Self::High => Some(10_000),
            Self::Tokens(n) => Some(n),
        }
    }

    /// The budget as the effort word of models that take no number, `None` when reasoning is off. The thresholds are the
    /// original's.
    pub fn effort(self) -> Option<&'static str> {
        Some(match self.tokens()? {
            0..=2048 => "low",
            2049..=5000 => "medium",
            _ => "high",
        })
    }

    /// The budget of a number of tokens.
    pub fn from_tokens(tokens: u64) -> Self {
        if tokens == 0 { Self::None } else { Self::Tokens(tokens) }
    }

    fn word(self) -> Option<&'static str> {
        match self {
            Self::None => Some("none"),
            Self::Minimal => Some("minimal"),
            Self::Low => Some("low"),
            Self::Medium => Some("medium"),
            Self::High => Some("high"),
            Self::Tokens(_) => None,
        }
    }
}

/// A text that is no reasoning budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no reasoning budget: use none, minimal, low, medium, high or a number of tokens")]
pub struct InvalidReasoningBudget(String);

impl FromStr for ReasoningBudget {
    type Err = InvalidReasoningBudget;
    fn from_str(text: &str) -> Result<Self, InvalidReasoningBudget> {
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High]
            .into_iter()
            .find(|b| b.word() == Some(text))
            .or_else(|| text.parse().ok().map(Self::from_tokens))
            .ok_or_else(|| InvalidReasoningBudget(text.chars().take(60).collect()))
    }
}

impl fmt::Display for ReasoningBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens(n) => write!(f, "{n}"),
            word => f.write_str(word.word().unwrap_or("none")),
        }
    }
}

impl Serialize for ReasoningBudget {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Tokens(n) => to.serialize_u64(*n),
            word => to.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for ReasoningBudget {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(from)? {
            serde_json::Value::String(text) => text.parse().map_err(D::Error::custom),
            serde_json::Value::Number(n) => {
                n.as_u64().map(Self::from_tokens).ok_or_else(|| D::Error::custom(format!("{n} is no number of tokens")))
            }
            other => Err(D::Error::custom(format!("{other} is no reasoning budget"))),
        }
    }
}

/// The limits of a Run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Highest step number that a line of Runs may reach, as in the original: each Run counts on from the one that it
    /// continues or that called it. At least 1.
    #[serde(with = "crate::count::Count")]
    pub max_steps: u64,
    /// Repeats of a failed model call before the Run stops by error.
    pub max_retries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_steps: DEFAULT_MAX_STEPS, max_retries: DEFAULT_MAX_RETRIES }
    }
}

/// The settings that a Run was started with, as `run-setting.json` keeps it (no keys, no headers, no environment).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSetting {
    /// The stored format's version; see [`crate::checkpoint::FORMAT_VERSION`].
    #[serde(default)]
    pub format_version: u32,
    pub model: String,
    pub provider_config: ProviderConfig,
    pub job_id: JobId,
    pub run_id: RunId,
    pub expert_key: ExpertKey,
    /// The experts known to the run.
    pub experts: IndexMap<String, Expert>,
    pub reasoning_budget: ReasoningBudget,
    #[serde(with = "crate::count::Count")]
    pub max_steps: u64,
    pub max_retries: u32,
    /// Milliseconds for one generation.
    #[serde(with = "crate::count::Count")]
    pub timeout: u64,
    /// The job's.
    #[serde(default, skip_serializing_if = "Budgets::is_empty")]
    pub budgets: Budgets,
    /// Milliseconds since the epoch.
    #[serde(with = "crate::count::Count")]
    pub started_at: u64,
    /// Milliseconds since the epoch.
    #[serde(with = "crate::count::Count")]
    pub updated_at: u64,
}

/// Digests of what a Run works with: SHA-256 in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDigests {
    /// Of its expert's definition, as `run-setting.json` keeps it.
    pub expert: String,
    /// Of all that `run-setting.json` keeps but ids and times: the same for Runs of one expert with one configuration.
    pub configuration: String,
    /// Of the text of the lock at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

impl RunDigests {
    /// The digests of a setting, as the JSON object that is kept of it.
    pub fn of_setting(setting: &Value, lock: Option<String>) -> Self {
        let expert = setting.get("expertKey").and_then(Value::as_str).unwrap_or_default();
        let expert = setting.get("experts").and_then(|experts| experts.get(expert)).map(digest).unwrap_or_default();
        let mut configuration = setting.clone();
        if let Value::Object(fields) = &mut configuration {
            for key in ["jobId", "runId", "startedAt", "updatedAt", "seal"] {
                fields.shift_remove(key);
            }
        }
        Self { expert, configuration: digest(&configuration), lock }
    }
}

fn digest(value: &Value) -> String {
    hex::digits(&Sha256::digest(value.to_string()))
}

/// Which provider, without its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderConfig {
    pub provider_name: ProviderName,
    #[serde(flatten)]
    pub setting: ProviderSetting,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_budgets_read_words_and_numbers() {
        assert_eq!("medium".parse(), Ok(ReasoningBudget::Medium));
        assert_eq!("0".parse(), Ok(ReasoningBudget::None));
        assert_eq!("3000".parse(), Ok(ReasoningBudget::Tokens(3000)));
        assert!("huge".parse::<ReasoningBudget>().is_err());
        assert!("-1".parse::<ReasoningBudget>().is_err());
        let json = serde_json::to_string(&[ReasoningBudget::Low, ReasoningBudget::Tokens(7)]);
        assert_eq!(json.ok().as_deref(), Some(r#"["low",7]"#));
    }

    #[test]
    fn reasoning_budgets_map_to_the_originals_effort_words() {
        let efforts = [
            (ReasoningBudget::None, None),
            (ReasoningBudget::Minimal, Some("low")),
            (ReasoningBudget::Low, Some("low")),
            (ReasoningBudget::Medium, Some("medium")),
            (ReasoningBudget::High, Some("high")),
            (ReasoningBudget::Tokens(2048), Some("low")),
            (ReasoningBudget::Tokens(2049), Some("medium")),
            (ReasoningBudget::Tokens(5001), Some("high")),
        ];
        for (budget, effort) in efforts {
            assert_eq!(budget.effort(), effort, "{budget}");
        }
    }
}
