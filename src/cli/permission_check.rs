//! The findings of `check` about permissions: what the tools of each expert may do, and patterns that name no tool.
//!
//! Tools are known as far as the configuration and the lock have them: those of a server without a lock are not.

use perstack::config::lockfile::{Lock, LockedTool};
use perstack::config::{Project, nearest};
use perstack::expert::{Expert, SkillSpec};
use perstack::permission::{PermissionPattern, PermissionRules, PermissionVerdict, RunPermissions};
use perstack::skill::base::running_tools;
use perstack::skill::declare;
use perstack::tool::ToolSpec;

/// The tools of an expert that are known without starting a server.
struct KnownTools {
    tools: Vec<ToolSpec>,
    /// There are no others.
    is_complete: bool,
}

/// A line for each expert with permissions: the tools that may be called, that are asked about, and that may not.
pub fn summaries(project: &Project, lock: Option<&Lock>) -> Vec<(String, String)> {
    let run = RunPermissions::default();
    let mut lines = Vec::new();
    for expert in project.experts.values() {
        let rules = PermissionRules { run: &run, project: &project.permissions, expert: &expert.permissions };
        if rules.is_empty() {
            continue;
        }
        let known = known_tools(project, expert, lock);
        let mut parts = Vec::new();
        for word in ["allowed", "asks", "denied"] {
            let names: Vec<String> = known
                .tools
                .iter()
                .filter_map(|tool| listed(&rules, tool).filter(|(it, _)| *it == word))
                .map(|(_, name)| name)
                .collect();
            if !names.is_empty() {
                parts.push(format!("{word}: {}", names.join(", ")));
            }
        }
        if !known.is_complete {
            parts.push("and tools of servers that perstack.lock does not have".to_owned());
        }
        lines.push((format!("expert {}", expert.key), format!("calls {}", parts.join("; "))));
    }
    lines
}

/// The word for a tool, and its name with marks: `*` where arguments decide, and `read-only`.
fn listed(rules: &PermissionRules<'_>, tool: &ToolSpec) -> Option<(&'static str, String)> {
    let (verdict, differs) = rules.decide_tool(tool, &tool.name);
    let star = if differs { "*" } else { "" };
    let reads = if tool.hints.read_only { " (read-only)" } else { "" };
    Some((word(&verdict), format!("{}{star}{reads}", tool.name)))
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

fn known_tools(project: &Project, expert: &Expert, lock: Option<&Lock>) -> KnownTools {
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
