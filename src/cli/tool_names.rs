//! Names in `pick` that no tool of a locked server has: a misspelt one takes a tool away without a word. Called by `lock` and
//! `check`. The configuration knows the tools of the built-in base skill; those of a server without a lock are not known
//! before it is started.

use perstack::config::lockfile::{Definition, Lock, LockState};
use perstack::config::{Project, nearest};
use perstack::expert::{Expert, SkillSpec};

/// A line for each name in `pick` that a fresh lock does not have. It holds the tools that were picked alone, so that
/// nothing is known of those to omit.
pub fn unknown_to_lock(project: &Project, lock: &Lock) -> Vec<String> {
    let mut lines = Vec::new();
    for expert in project.experts.values() {
        let definition = Definition::new(expert, project.base_skill_command.as_deref());
        let Some(locked) = lock.experts.get(expert.key.as_str()) else { continue };
        let of_skill = |skill: &SkillSpec| {
            let tools: Vec<&str> = locked.tools_of(&skill.common().name).map(|tool| tool.name.as_str()).collect();
            unknown(expert, skill, &tools)
        };
        let found: Vec<String> = definition.servers().flat_map(of_skill).collect();
        // Asked for last: every definition in the entry is checked for it, and usually there is nothing to report.
        if !found.is_empty() && matches!(lock.expert(&definition), LockState::Fresh(_)) {
            lines.extend(found);
        }
    }
    lines
}

fn unknown(expert: &Expert, skill: &SkillSpec, tools: &[&str]) -> Vec<String> {
    let common = skill.common();
    let line = |name: &String| {
        let meant = nearest(name, tools.iter().copied());
        let meant = meant.map(|tool| format!("; did you mean {tool:?}?")).unwrap_or_default();
        format!("expert {}, skill {}: the lock has no tool {name:?}, which pick names{meant}", expert.key, common.name)
    };
    common.pick.iter().filter(|name| !tools.contains(&name.as_str())).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_gets_the_nearest_tool() {
        let expert = Expert::new("owl".parse().unwrap(), "Hoot.");
        let mut skill = SkillSpec::base();
        if let SkillSpec::McpStdioSkill { common, .. } = &mut skill {
            common.pick = ["serch", "get"].map(str::to_owned).into();
        }
        let line = "expert owl, skill @perstack/base: the lock has no tool \"serch\", which pick names; did you mean \"search\"?";
        assert_eq!(unknown(&expert, &skill, &["search", "get"]), [line]);
        assert_eq!(unknown(&expert, &skill, &["serch", "get", "other"]), [""; 0]);
    }
}
