//! The findings of `check` about permissions: what the tools of each expert may do, and patterns that name no tool.
//!
//! Tools are known as far as the configuration and the lock have them: those of a server without a lock are not.

use std::path::PathBuf;

use perstack::config::lockfile::{Lock, LockedTool};
use perstack::config::{Project, nearest};
use perstack::expert::{Expert, SkillSpec};
use perstack::permission::{PermissionPattern, PermissionRules, PermissionVerdict, Permissions, RunPermissions};
use perstack::skill::base::running_tools;
use perstack::skill::declare;
use perstack::tool::{ToolKind, ToolSpec};

use super::setup::Setup;

/// The permissions that hold in every run: those of a project and of its user.
pub struct StandingPermissions<'a> {
    pub project: &'a Project,
    pub user: &'a Permissions,
    /// The user's configuration, where it has permissions.
    pub user_file: Option<PathBuf>,
    no_flags: RunPermissions,
}

impl<'a> StandingPermissions<'a> {
    /// Those of this configuration.
    pub fn of(setup: &'a Setup, project: &'a Project) -> Self {
        let user = &setup.user_permissions;
        let user_file = setup.user_folder.as_ref().filter(|_| !user.is_empty());
        let user_file = user_file.map(|folder| folder.join("config.toml"));
        Self { project, user, user_file, no_flags: RunPermissions::default() }
    }

    /// The rules for the calls of an expert.
    pub fn rules<'b>(&'b self, expert: &'b Expert) -> PermissionRules<'b> {
        PermissionRules {
            run: &self.no_flags,
            user: self.user,
            project: &self.project.permissions,
            expert: &expert.permissions,
        }
    }
}

/// The tools of an expert that are known without starting a server.
pub struct KnownTools {
    pub tools: Vec<ToolSpec>,
    /// There are no others.
    is_complete: bool,
}

/// A line for each expert with permissions: the tools that may be called, that are asked about, and that may not.
pub fn summaries(permissions: &StandingPermissions<'_>, lock: Option<&Lock>) -> Vec<(String, String)> {
    let project = permissions.project;
    let mut lines = Vec::new();
    for expert in project.experts.values() {
        let rules = permissions.rules(expert);
        if rules.is_empty() {
            continue;
        }
        let known = known_tools(project, expert, lock);
        let mut parts = Vec::new();
        for word in ["allowed", "asks", "denied"] {
            let listed = known.tools.iter().map(|tool| listed(&rules, tool));
            let names: Vec<String> = listed.filter(|(verdict, _)| *verdict == word).map(|(_, name)| name).collect();
            if !names.is_empty() {
                parts.push(format!("{word}: {}", names.join(", ")));
            }
        }
        if !known.is_complete {
            parts.push("and tools of servers that perstack.lock does not have".to_owned());
        }
        if let Some(file) = &permissions.user_file {
            parts.push(format!("with the permissions of {}", file.display()));
        }
        lines.push((format!("expert {}", expert.key), format!("calls {}", parts.join("; "))));
    }
    lines
}

/// The word for a tool, and its name with marks: `*` where arguments decide, and `read-only`.
fn listed(rules: &PermissionRules<'_>, tool: &ToolSpec) -> (&'static str, String) {
    let (verdict, differs) = rules.decide_tool(tool, &tool.name);
    let star = if differs { "*" } else { "" };
    let reads = if tool.hints.read_only { " (read-only)" } else { "" };
    (word(&verdict), format!("{}{star}{reads}", tool.name))
}

/// The verdict in a word.
pub fn word(verdict: &PermissionVerdict) -> &'static str {
    match verdict {
        PermissionVerdict::Allowed(_) => "allowed",
        PermissionVerdict::Asks(_) => "asks",
        PermissionVerdict::Denied(_) => "denied",
    }
}

/// A line for each pattern that names no tool, with the nearest name, where all tools are known.
pub fn unknown_names(project: &Project, lock: Option<&Lock>) -> Vec<String> {
    let mut lines = Vec::new();
    let known: Vec<(&Expert, KnownTools)> =
        project.experts.values().map(|expert| (expert, known_tools(project, expert, lock))).collect();
    for (expert, known) in known.iter().filter(|(_, known)| known.is_complete) {
        let unknown = expert.permissions.patterns().filter(|(_, pattern)| !names_any(pattern, &known.tools));
        lines.extend(unknown.map(|(list, pattern)| {
            format!("expert {}, permissions.{list}: {}", expert.key, unknown_line(pattern, &known.tools))
        }));
    }
    if known.iter().all(|(_, known)| known.is_complete) {
        let all: Vec<ToolSpec> = known.into_iter().flat_map(|(_, known)| known.tools).collect();
        let unknown = project.permissions.patterns().filter(|(_, pattern)| !names_any(pattern, &all));
        lines.extend(unknown.map(|(list, pattern)| format!("permissions.{list}: {}", unknown_line(pattern, &all))));
    }
    lines
}

/// A line for each expert that can read text from strangers, itself or through delegates, and whether it, or a delegate,
/// can act after that.
pub fn untrusted_readers(project: &Project, lock: Option<&Lock>) -> Vec<(String, bool, String)> {
    let mut lines = Vec::new();
    for expert in project.experts.values() {
        let reachable = project.experts.reachable(&expert.key).unwrap_or_default();
        let by = |other: &Expert, names: Vec<String>| {
            let through = if other.key == expert.key { String::new() } else { format!("through {}: ", other.key) };
            (!names.is_empty()).then(|| format!("{through}{}", names.join(", ")))
        };
        let sources: Vec<String> = reachable.iter().filter_map(|other| by(other, untrusted_skills(other))).collect();
        if sources.is_empty() {
            continue;
        }
        let acting: Vec<String> =
            reachable.iter().filter_map(|other| by(other, acting_tools(project, other, lock))).collect();
        let sources = sources.join("; ");
        let line = if acting.is_empty() {
            format!("can read untrusted text ({sources}); after that it can call only tools that read")
        } else {
            format!("can read untrusted text ({sources}) and act after that: {}", acting.join("; "))
        };
        lines.push((format!("expert {}", expert.key), !acting.is_empty(), line));
    }
    lines
}

fn untrusted_skills(expert: &Expert) -> Vec<String> {
    let skills = expert.skills.values().map(SkillSpec::common);
    skills.filter(|common| common.untrusted).map(|common| common.name.clone()).collect()
}

/// The tools that may change something and that an expert may call after it has read text from strangers.
fn acting_tools(project: &Project, expert: &Expert, lock: Option<&Lock>) -> Vec<String> {
    let Some(patterns) = &expert.after_untrusted else { return Vec::new() };
    let known = known_tools(project, expert, lock);
    let mut names: Vec<String> = known
        .tools
        .iter()
        .filter(|tool| tool.kind == ToolKind::Mcp && !tool.hints.read_only)
        .filter(|tool| patterns.iter().any(|pattern| pattern.names(tool, &tool.name, true)))
        .map(|tool| tool.name.clone())
        .collect();
    // Tools of servers that nobody has asked yet may be named too.
    if !known.is_complete {
        let unknown = patterns.iter().filter(|pattern| !names_any(pattern, &known.tools));
        names.extend(unknown.map(ToString::to_string));
    }
    names
}

fn names_any(pattern: &PermissionPattern, tools: &[ToolSpec]) -> bool {
    tools.iter().any(|tool| pattern.names(tool, &tool.name, true))
}

fn unknown_line(pattern: &PermissionPattern, tools: &[ToolSpec]) -> String {
    let text = pattern.to_string();
    let name = text.split('(').next().unwrap_or(&text);
    let hint = nearest(name, tools.iter().map(|tool| tool.name.as_str()));
    let hint = hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default();
    format!("no tool is named by {text:?}{hint}")
}

/// Those of `expert`, as far as `lock` has them.
pub fn known_tools(project: &Project, expert: &Expert, lock: Option<&Lock>) -> KnownTools {
    let mut tools = Vec::new();
    let mut is_complete = true;
    let locked = lock.and_then(|lock| lock.experts.get(expert.key.as_str()));
    for skill in expert.skills.values() {
        let common = skill.common();
        match skill {
            SkillSpec::InteractiveSkill { .. } => tools.extend(declare::interactive(skill).unwrap_or_default()),
            _ if skill.is_built_in_base() && project.base_skill_command.is_none() => {
                tools.extend(running_tools(&common.name).into_iter().filter(|tool| common.admits(&tool.name)));
            }
            _ => {
                let found: Vec<ToolSpec> =
                    locked.into_iter().flat_map(|it| it.tools_of(&common.name)).map(LockedTool::to_spec).collect();
                is_complete &= !found.is_empty();
                tools.extend(found);
            }
        }
    }
    for delegate in &expert.delegates {
        match project.experts.get(delegate) {
            Ok(delegate) => tools.push(declare::delegate(delegate)),
            Err(_) => is_complete = false,
        }
    }
    KnownTools { tools, is_complete }
}
