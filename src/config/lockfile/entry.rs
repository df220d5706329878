//! The shapes of the file: an expert, its skills, and the definitions of their tools.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::digest::{Entry, digest, digest_of_entries};
use super::reach::LockedReach;
use super::schema::Stored;
use crate::expert::{InteractiveTool, SkillSpec};
use crate::redact::Redactor;
use crate::tool::{ToolHints, ToolKind, ToolSpec};

/// An expert's entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedExpert {
    pub key: String,
    pub name: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub instruction: String,
    /// The digest of the definition that the entry was made from; none in locks of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub delegates: Vec<String>,
    pub tags: Vec<String>,
    /// By name, in the order of the configuration.
    pub skills: IndexMap<String, LockedSkill>,
    /// Of all skills, after `pick` and `omit`. The original leaves the key out when there are none.
    #[serde(default, rename = "toolDefinitions")]
    pub tools: Vec<LockedTool>,
}

/// A skill as it was configured, and what its server reported of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedSkill {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omit: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lazy_init: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The protocol version that was negotiated with the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The digest of the digests of its tools; none in locks of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_digest: Option<String>,
    /// The names of the tools that its server has and the entry does not, since `pick` and `omit` keep them away or no
    /// model could use them; none in locks of the original, where the server's list had no end, and where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_tools: Option<Vec<String>>,
    /// The reasons why tools that no model could use are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// The files, sockets, grants and hosts that it was given; none where it declared nothing, and in locks of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<LockedReach>,
    /// The questions of an interactive skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<IndexMap<String, LockedQuestion>>,
}

/// A question of an interactive skill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedQuestion {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub input_json_schema: String,
}

/// A tool's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedTool {
    pub skill_name: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Absent in locks of the original, whose tools all belong to servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ToolKind>,
    /// The server's hints; absent in locks of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hints: Option<Vec<Hint>>,
    /// The digest of this definition; none in locks of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The schema as JSON text, where `inputSchema` cannot hold all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) input_schema_json: Option<String>,
    pub(super) input_schema: Arc<Map<String, Value>>,
}

/// One hint of [`ToolHints`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hint {
    ReadOnly,
    Idempotent,
    Destructive,
    OpenWorld,
}

impl Hint {
    fn all_of(hints: ToolHints) -> Vec<Self> {
        [
            (hints.read_only, Self::ReadOnly),
            (hints.idempotent, Self::Idempotent),
            (hints.destructive, Self::Destructive),
            (hints.open_world, Self::OpenWorld),
        ]
        .into_iter()
        .filter_map(|(is_given, hint)| is_given.then_some(hint))
        .collect()
    }
}

impl LockedExpert {
    /// Returns whether both are equal, except for the order in which servers list tools and schemas' keys.
    pub(super) fn is_equivalent_to(&self, other: &Self) -> bool {
        let in_order = |entry: &Self| {
            let mut tools = entry.tools.clone();
            tools.sort_by(|a, b| (&a.skill_name, &a.name).cmp(&(&b.skill_name, &b.name)));
            Self { tools, ..entry.clone() }
        };
        self.skills.keys().eq(other.skills.keys()) && in_order(self) == in_order(other)
    }

    /// The definitions of one skill.
    pub fn tools_of<'a>(&'a self, skill: &'a str) -> impl Iterator<Item = &'a LockedTool> {
        self.tools.iter().filter(move |tool| tool.skill_name == skill)
    }

    /// The digest over the definitions of one skill, as the entry holds them.
    pub(super) fn digest_of_tools(&self, skill: &str) -> String {
        let mut digests: Vec<&str> = self.tools_of(skill).filter_map(|tool| tool.digest.as_deref()).collect();
        digests.sort_unstable();
        digest(&json!(digests))
    }
}

impl LockedSkill {
    /// The skill as it is configured.
    pub(super) fn new(spec: &SkillSpec) -> Self {
        let common = spec.common();
        // A lock is committed and shared; a key that the configuration contains must not travel with it.
        let redactor = Redactor::of_declaration(spec);
        let mut skill = Self {
            kind: String::new(),
            name: common.name.clone(),
            description: common.description.clone(),
            rule: common.rule.clone(),
            pick: None,
            omit: None,
            command: None,
            package_name: None,
            args: None,
            required_env: None,
            lazy_init: None,
            endpoint: None,
            protocol: None,
            tools_digest: None,
            other_tools: None,
            left_out: Vec::new(),
            reach: LockedReach::of(spec),
            tools: None,
        };
        if !matches!(spec, SkillSpec::InteractiveSkill { .. }) {
            skill.pick = Some(common.pick.clone());
            skill.omit = Some(common.omit.clone());
        }
        match spec {
            SkillSpec::McpStdioSkill { command, package_name, args, required_env, lazy_init, .. } => {
                "mcpStdioSkill".clone_into(&mut skill.kind);
                skill.command = Some(command.clone());
                skill.package_name.clone_from(package_name);
                skill.args = Some(args.iter().map(|arg| redactor.text(arg)).collect());
                skill.required_env = Some(required_env.clone());
                skill.lazy_init = Some(*lazy_init);
            }
            SkillSpec::McpSseSkill { endpoint, .. } => {
                "mcpSseSkill".clone_into(&mut skill.kind);
                skill.endpoint = Some(redactor.text(endpoint));
            }
            SkillSpec::InteractiveSkill { tools, .. } => {
                "interactiveSkill".clone_into(&mut skill.kind);
                skill.tools = Some(tools.iter().map(LockedQuestion::from_tool).collect());
            }
        }
        skill
    }

    /// Returns whether both name the same server.
    pub(super) fn has_the_server_of(&self, other: &Self) -> bool {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        self.kind == other.kind
            && self.command == other.command
            && self.package_name == other.package_name
            && self.endpoint == other.endpoint
            && list(&self.args) == list(&other.args)
    }

    /// Returns whether both name the same server and pass the same of its tools.
    pub(super) fn has_the_source_of(&self, other: &Self) -> bool {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        self.has_the_server_of(other) && list(&self.pick) == list(&other.pick) && list(&self.omit) == list(&other.omit)
    }

    /// Everything that this one is given and `before` was not, in words.
    pub(super) fn reach_beyond(&self, before: &Self) -> Vec<String> {
        let reach = |skill: &Self| skill.reach.clone().unwrap_or_default();
        reach(self).beyond(&reach(before))
    }

    /// Returns whether both are configured alike, whatever their servers reported.
    pub(super) fn is_configured_as(&self, other: &Self) -> bool {
        let configured = |skill: &Self| Self {
            protocol: None,
            tools_digest: None,
            other_tools: None,
            left_out: Vec::new(),
            ..skill.clone()
        };
        configured(self) == configured(other)
    }
}

impl LockedQuestion {
    fn from_tool((name, tool): (&String, &InteractiveTool)) -> (String, Self) {
        let question = Self {
            name: name.clone(),
            description: tool.description.clone(),
            input_json_schema: tool.input_json_schema.clone(),
        };
        (name.clone(), question)
    }
}

impl LockedTool {
    /// The definition of a discovered tool.
    pub(super) fn new(tool: &ToolSpec) -> Self {
        let Stored { table, exact } = Stored::new(&tool.input_schema);
        let mut locked = Self {
            skill_name: tool.skill_name.clone(),
            name: tool.name.clone(),
            description: tool.description.clone(),
            kind: Some(tool.kind),
            hints: Some(Hint::all_of(tool.hints)),
            digest: None,
            input_schema_json: exact,
            input_schema: Arc::new(table),
        };
        locked.digest = Some(locked.computed_digest());
        locked
    }

    /// The tool's schema: the exact form where the entry holds both.
    pub fn schema(&self) -> Arc<Map<String, Value>> {
        let exact = self.input_schema_json.as_deref().and_then(|text| serde_json::from_str(text).ok());
        exact.map_or_else(|| Arc::clone(&self.input_schema), Arc::new)
    }

    /// The digest of the definition as the entry holds it.
    fn computed_digest(&self) -> String {
        digest_of_entries([
            ("description", self.description.as_deref().map_or(Entry::Value(Value::Null), Entry::Text)),
            ("hints", Entry::Value(json!(self.hints))),
            ("inputSchema", Entry::Object(&self.schema())),
            ("kind", Entry::Value(json!(self.kind))),
            ("name", Entry::Text(&self.name)),
            ("skillName", Entry::Text(&self.skill_name)),
        ])
    }

    /// Returns whether the definition is unchanged since it was written: its digest fits, and both forms of its schema
    /// agree.
    pub(super) fn is_intact(&self) -> bool {
        let agrees = || Stored::new(&self.schema()).table == Stored::new(&self.input_schema).table;
        self.digest.as_ref() == Some(&self.computed_digest()) && (self.input_schema_json.is_none() || agrees())
    }

    /// The tool as an expert sees it.
    pub fn to_spec(&self) -> ToolSpec {
        let hints = self.hints.as_deref().unwrap_or_default();
        ToolSpec {
            skill_name: self.skill_name.clone(),
            name: self.name.clone(),
            description: self.description.clone(),
            input_schema: self.schema(),
            kind: self.kind.unwrap_or(ToolKind::Mcp),
            hints: ToolHints {
                read_only: hints.contains(&Hint::ReadOnly),
                idempotent: hints.contains(&Hint::Idempotent),
                destructive: hints.contains(&Hint::Destructive),
                open_world: hints.contains(&Hint::OpenWorld),
            },
        }
    }
}
