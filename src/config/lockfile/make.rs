//! Entries made from experts and their discovered tools. `install` calls it; starting the skills is left to the
//! runtime.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::digest::digest;
use super::entry::{LockedExpert, LockedSkill, LockedTool};
use super::{Lock, VERSION};
use crate::expert::{Expert, SkillSpec};
use crate::tool::{ToolKind, ToolSpec};

/// An expert as it is configured: the input of an entry.
#[derive(Debug, Clone, Copy)]
pub struct Definition<'a> {
    pub expert: &'a Expert,
    /// `perstackBaseSkillCommand`, which replaces the built-in base skill.
    pub base_command: Option<&'a [String]>,
}

/// The tools found when an expert's skills were opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DiscoveredTools {
    /// Every tool that the expert would see.
    pub tools: Vec<ToolSpec>,
    /// By skill: the protocol version negotiated with its server.
    pub protocols: IndexMap<String, String>,
    /// By skill: the names of all tools of its server, where they are known.
    pub listed: IndexMap<String, Vec<String>>,
    /// By skill: the reasons why tools of its server are left out.
    pub left_out: IndexMap<String, Vec<String>>,
    /// The names in `pick` and `omit` that fit no tool, a line each; not part of the lock.
    pub unmatched: Vec<String>,
    /// Warnings to show; not part of the lock.
    pub warnings: Vec<String>,
}

impl<'a> Definition<'a> {
    /// An expert's definition.
    pub fn new(expert: &'a Expert, base_command: Option<&'a [String]>) -> Self {
        Self { expert, base_command }
    }

    /// The digest of the expert's whole configuration.
    pub fn digest(&self) -> String {
        // Cannot fail: the type has string keys only, and no number that JSON lacks.
        let mut expert = serde_json::to_value(self.expert).unwrap_or(Value::Null);
        // The same tools, however they reach the model: a search over a lock needs no other lock.
        if let Some(fields) = expert.as_object_mut() {
            fields.remove("toolSearch");
        }
        // The canonical form sorts keys, but the order of skills matters: of two tools with one name the first skill's
        // is offered.
        let skills: Vec<&String> = self.expert.skills.keys().collect();
        let has_base = self.expert.skills.values().any(SkillSpec::is_built_in_base);
        let base_command = self.base_command.filter(|_| has_base);
        digest(&json!({ "expert": expert, "skills": skills, "baseSkillCommand": base_command }))
    }

    /// The skills that need a server to be started or reached: those that a lock can replace.
    pub fn servers(&self) -> impl Iterator<Item = &'a SkillSpec> {
        let is_replaced = self.base_command.is_some();
        self.expert.skills.values().filter(move |spec| match spec {
            SkillSpec::McpStdioSkill { .. } => is_replaced || !spec.is_built_in_base(),
            SkillSpec::McpSseSkill { .. } => true,
            SkillSpec::InteractiveSkill { .. } => false,
        })
    }

    /// The expert's entry.
    pub(super) fn entry(&self, found: &DiscoveredTools) -> LockedExpert {
        let expert = self.expert;
        // Delegates are declared anew in every run, and so are the loop's own tools when no skill brings them.
        let is_kept =
            |tool: &&ToolSpec| tool.kind != ToolKind::Delegate && expert.skills.contains_key(&tool.skill_name);
        let mut entry = LockedExpert {
            key: expert.key.as_str().to_owned(),
            name: expert.name.clone(),
            version: expert.version.clone(),
            description: expert.description.clone(),
            instruction: expert.instruction.clone(),
            digest: Some(self.digest()),
            delegates: expert.delegates.iter().map(|key| key.as_str().to_owned()).collect(),
            tags: expert.tags.clone(),
            skills: expert.skills.iter().map(|(name, spec)| (name.clone(), LockedSkill::new(spec))).collect(),
            tools: found.tools.iter().filter(is_kept).map(LockedTool::new).collect(),
        };
        let digests: Vec<String> = entry.skills.keys().map(|name| entry.digest_of_tools(name)).collect();
        for ((name, skill), digest) in entry.skills.iter_mut().zip(digests) {
            skill.tools_digest = Some(digest);
            skill.protocol = found.protocols.get(name).cloned();
            let is_offered =
                |tool: &str| found.tools.iter().any(|known| known.skill_name == *name && known.name == tool);
            let others = |listed: &Vec<String>| listed.iter().filter(|tool| !is_offered(tool)).cloned().collect();
            let others: Option<Vec<String>> = found.listed.get(name).map(others);
            let chooses = [&skill.pick, &skill.omit].into_iter().flatten().any(|names| !names.is_empty());
            // Without a choice, all that is there is known.
            skill.other_tools = others.filter(|others| chooses || !others.is_empty());
            skill.left_out = found.left_out.get(name).cloned().unwrap_or_default();
        }
        entry
    }
}

impl Lock {
    /// A lock of these experts, in this order, beside the configuration file. `at`: milliseconds since 1970.
    pub fn from_experts<'a>(
        config: &Path,
        at: u64,
        experts: impl IntoIterator<Item = (Definition<'a>, &'a DiscoveredTools)>,
    ) -> Self {
        Self {
            version: VERSION.to_owned(),
            generated_at: at,
            config_path: config.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            experts: experts
                .into_iter()
                .map(|(definition, found)| (definition.expert.key.as_str().to_owned(), definition.entry(found)))
                .collect(),
            path: super::find(config),
            text_digest: String::new(),
        }
    }
}
