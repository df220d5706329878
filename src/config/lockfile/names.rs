//! [`unmatched`]: the names in `pick` and `omit` that fit no tool of a server, as lines for people: what they were meant
//! to admit or to keep away is not. The runtime asks with a running server's list, `check` with a lock's.

use super::entry::{LockedExpert, LockedSkill};
use crate::config::suggest::nearest;
use crate::expert::{SkillCommon, SkillSpec};
use crate::tool::CONVERSATION_TOOLS;

/// Most characters of a name that are shown.
const MAX_SHOWN: usize = 60;

/// A line for each name of `skill` that none of the tools `listed` has.
pub fn unmatched<'a>(skill: &SkillCommon, listed: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let listed: Vec<&str> = listed.into_iter().collect();
    let mut lines = Vec::new();
    for (key, names) in [("pick", &skill.pick), ("omit", &skill.omit)] {
        for name in names.iter().filter(|name| !listed.contains(&name.as_str())) {
            // The loop's own tools are left out of a base skill whether its server has them or not.
            if CONVERSATION_TOOLS.contains(&name.as_str()) {
                continue;
            }
            let shown: String = name.chars().take(MAX_SHOWN).collect();
            let remedy = match nearest(name, listed.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!("remove it from {key}, or correct it"),
            };
            lines
                .push(format!("skill {}: {key} names {shown:?}, which is no tool of its server: {remedy}", skill.name));
        }
    }
    lines
}

impl LockedExpert {
    /// A line for each name of the skill `spec`, as it is configured now, that fits no tool of its server when the entry was made;
    /// none where the entry does not know all of them, or knows another server's.
    pub fn unmatched(&self, spec: &SkillSpec) -> Vec<String> {
        let (skill, now) = (spec.common(), LockedSkill::new(spec));
        let Some(locked) = self.skills.get(&skill.name).filter(|locked| locked.has_the_server_of(&now)) else {
            return Vec::new();
        };
        let has_all = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
        let others = match &locked.other_tools {
            Some(others) => others.as_slice(),
            None if has_all(&locked.pick) && has_all(&locked.omit) => &[],
            None => return Vec::new(),
        };
        let locked = self.tools_of(&skill.name).map(|tool| tool.name.as_str());
        unmatched(skill, locked.chain(others.iter().map(String::as_str)))
    }

    /// The reasons why tools of the skill's server were left out when the entry was made.
    pub fn left_out(&self, skill: &str) -> &[String] {
        self.skills.get(skill).map_or(&[], |skill| &skill.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skill(pick: &[&str], omit: &[&str]) -> SkillCommon {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        SkillCommon { name: "index".to_owned(), pick: owned(pick), omit: owned(omit), ..SkillCommon::default() }
    }

    #[test]
    fn a_name_that_no_tool_has_is_shown_with_the_nearest() {
        let listed = ["search", "readTextFile"];
        assert_eq!(unmatched(&skill(&["search"], &["readTextFile"]), listed), Vec::<String>::new());
        let lines = unmatched(&skill(&["serach", "readTxtFile"], &["unlike", "todo"]), listed);
        let line = |key: &str, name: &str, remedy: &str| {
            format!("skill index: {key} names {name:?}, which is no tool of its server: {remedy}")
        };
        let expected = [
            line("pick", "serach", "did you mean \"search\"?"),
            line("pick", "readTxtFile", "did you mean \"readTextFile\"?"),
            line("omit", "unlike", "remove it from omit, or correct it"),
        ];
        assert_eq!(lines, expected);
    }
}
