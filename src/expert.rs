//! [`Expert`]: a declared role with its skills and delegates, as `perstack.toml` or a program has it. Keys and skills have
//! files of their own.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model_name::ModelName;
use crate::output_schema::OutputSchema;
use crate::permission::{PermissionPattern, Permissions};
use crate::tool::BASE_SKILL;

mod access;
mod context_file;
mod key;
mod skill;
mod verify;

pub use access::{AccessGrant, SkillAccess};
pub use context_file::ContextFile;
pub use key::{ExpertKey, InvalidExpertKey, is_version};
pub use skill::{Grant, InteractiveTool, MAX_SKILL_TIMEOUT_MS, OAuth, SkillCommon, SkillSpec};
pub use verify::{MOST_VERIFY_ROUNDS, VerifyCommand};

/// The version of an expert that names none (the original's default).
pub const DEFAULT_VERSION: &str = "1.0.0";

/// Which expert, in checkpoints and events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExpertRef {
    pub key: ExpertKey,
    pub name: String,
    pub version: String,
}

/// The capability of the model that an expert wants, of those its provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ModelTier {
    Low,
    Middle,
    High,
}

/// The reaction to a conversation that no longer fits the model's context window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContextLimit {
    /// The Run stops with an error, and can be resumed.
    #[default]
    Stop,
    /// The same model summarises older steps into one message, and the Run goes on.
    Summarize,
}

impl ContextLimit {
    /// Returns true if it is the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The way in which the tools of an expert's servers reach its model: all at once, or as it searches for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolSearch {
    /// Every request has all of them.
    #[default]
    Off,
    /// A search tool stands for them where their definitions take much of the model's context window.
    Auto,
    /// A search tool always stands for them.
    On,
}

impl ToolSearch {
    /// The word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::On => "on",
        }
    }

    /// Returns true if it is the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A declared role. [`Expert::new`] makes one in code, and its JSON needs only `instruction`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "ExpertJson")]
pub struct Expert {
    pub key: ExpertKey,
    pub name: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_runtime_version: Option<String>,
    /// The expert's purpose; experts that may delegate to it see this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub instruction: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_model_tier: Option<ModelTier>,
    /// The models to ask when the expert's own has failed. Absent: as the configuration has it for all experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Vec<ModelName>>,
    /// Absent: as the configuration has it for all experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_limit: Option<ContextLimit>,
    /// Absent: as the configuration has it for all experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_search: Option<ToolSearch>,
    /// The schema that its answers have to be valid against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<OutputSchema>,
    /// The command that has to succeed before its answers count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyCommand>,
    /// Files of the workspace that belong to its instruction, by their paths from there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
    /// Its Agent Skills: names, paths, or `*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agent_skills: Vec<String>,
    /// By name, in the order of the file.
    pub skills: IndexMap<String, SkillSpec>,
    pub delegates: Vec<ExpertKey>,
    pub tags: Vec<String>,
    /// The calls that it may make; beside those that the project and the command line have for all experts.
    #[serde(skip_serializing_if = "Permissions::is_empty")]
    pub permissions: Permissions,
    /// The tools that it may call once it has read text from strangers. Absent: those that only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_untrusted: Option<Vec<PermissionPattern>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider_tools: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_skills: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_tool_options: Option<Value>,
}

/// An expert's JSON as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExpertJson {
    key: Option<ExpertKey>,
    name: Option<String>,
    version: Option<String>,
    min_runtime_version: Option<String>,
    description: Option<String>,
    instruction: String,
    default_model_tier: Option<ModelTier>,
    fallback: Option<Vec<ModelName>>,
    context_limit: Option<ContextLimit>,
    tool_search: Option<ToolSearch>,
    output_schema: Option<OutputSchema>,
    verify: Option<VerifyCommand>,
    #[serde(default)]
    context: Vec<String>,
    #[serde(default)]
    agent_skills: Vec<String>,
    skills: Option<IndexMap<String, SkillSpec>>,
    #[serde(default)]
    delegates: Vec<ExpertKey>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    permissions: Permissions,
    after_untrusted: Option<Vec<PermissionPattern>>,
    #[serde(default)]
    provider_tools: Vec<String>,
    provider_skills: Option<Value>,
    provider_tool_options: Option<Value>,
}

impl From<ExpertJson> for Expert {
    fn from(json: ExpertJson) -> Self {
        let expert = Self::new(json.key.unwrap_or_else(ExpertKey::of_nameless), json.instruction);
        Self {
            name: json.name.unwrap_or(expert.name),
            version: json.version.unwrap_or(expert.version),
            min_runtime_version: json.min_runtime_version,
            description: json.description,
            default_model_tier: json.default_model_tier,
            fallback: json.fallback,
            context_limit: json.context_limit,
            tool_search: json.tool_search,
            output_schema: json.output_schema,
            verify: json.verify,
            context: json.context,
            agent_skills: json.agent_skills,
            skills: json.skills.unwrap_or(expert.skills),
            delegates: json.delegates,
            tags: json.tags,
            permissions: json.permissions,
            after_untrusted: json.after_untrusted,
            provider_tools: json.provider_tools,
            provider_skills: json.provider_skills,
            provider_tool_options: json.provider_tool_options,
            key: expert.key,
            instruction: expert.instruction,
        }
    }
}

impl Expert {
    /// An expert with the base skill, no delegates, and everything else as in a file that has only `instruction`.
    ///
    /// ```
    /// use perstack::expert::Expert;
    ///
    /// let owl = Expert {
    ///     description: Some("Knows owls.".to_owned()),
    ///     ..Expert::new("owl".parse()?, "You know owls. Answer in one sentence.")
    /// };
    /// assert_eq!((owl.name.as_str(), owl.version.as_str()), ("owl", "1.0.0"));
    /// # Ok::<(), perstack::expert::InvalidExpertKey>(())
    /// ```
    pub fn new(key: ExpertKey, instruction: impl Into<String>) -> Self {
        Self {
            name: key.as_str().to_owned(),
            key,
            version: DEFAULT_VERSION.to_owned(),
            min_runtime_version: None,
            description: None,
            instruction: instruction.into(),
            default_model_tier: None,
            fallback: None,
            context_limit: None,
            tool_search: None,
            output_schema: None,
            verify: None,
            context: Vec::new(),
            agent_skills: Vec::new(),
            skills: IndexMap::from([(BASE_SKILL.to_owned(), SkillSpec::base())]),
            delegates: Vec::new(),
            tags: Vec::new(),
            permissions: Permissions::default(),
            after_untrusted: None,
            provider_tools: Vec::new(),
            provider_skills: None,
            provider_tool_options: None,
        }
    }

    /// The short form for checkpoints and events.
    pub fn reference(&self) -> ExpertRef {
        ExpertRef { key: self.key.clone(), name: self.name.clone(), version: self.version.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experts_json_needs_only_its_instruction() {
        let read = |json: serde_json::Value| serde_json::from_value::<Expert>(json).unwrap();
        let bare = read(serde_json::json!({"instruction": "Be good."}));
        assert_eq!(bare, Expert::new("expert".parse().unwrap(), "Be good."));
        assert!(bare.skills.get(BASE_SKILL).is_some_and(SkillSpec::is_built_in_base));
        let keyed = read(serde_json::json!({"key": "@a/owl", "instruction": "Be good.", "skills": {}}));
        assert_eq!((keyed.name.as_str(), keyed.skills.len()), ("@a/owl", 0));
        assert_eq!(read(serde_json::to_value(&keyed).unwrap()), keyed);
        assert!(serde_json::from_value::<Expert>(serde_json::json!({"key": "owl"})).is_err());
    }
}
