//! Drift: the differences between the tools that servers offer and those that were locked, as lines for people.
//! `install --check`, `list-tools` and a run with `--locked` print them; the judgement is left to the callers.

use std::fmt;

use serde_json::{Map, Value};

use super::Lock;
use super::digest::canonical;
use super::entry::{LockedExpert, LockedSkill, LockedTool};
use super::fresh::{changed_parts, difference_of_sources};
use super::schema::Stored;
use crate::tool::{BASE_SKILL, ToolSpec};

/// Most differences that are shown of one tool.
const MAX_DETAILS: usize = 6;
/// Most characters of a value that are shown.
const MAX_SHOWN: usize = 60;
/// Most differences that are shown of one lock.
const MAX_DIFFERENCES: usize = 200;

/// A tool that differs from its locked definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDifference {
    pub skill: String,
    pub tool: String,
    pub change: Change,
}

/// The kind of difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The lock does not have it.
    Added,
    /// Only the lock has it.
    Removed,
    /// Its definition differs: the old and the new value, part by part.
    Changed(Vec<String>),
}

/// `skill index: tool search changed: description "a" is now "b"`.
impl fmt::Display for ToolDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { skill, tool, change } = self;
        match change {
            Change::Added => write!(f, "skill {skill}: tool {tool} added"),
            Change::Removed => write!(f, "skill {skill}: tool {tool} removed"),
            Change::Changed(parts) => write!(f, "skill {skill}: tool {tool} changed: {}", parts.join("; ")),
        }
    }
}

impl LockedExpert {
    /// The differences between the tools that the skill's server offers now, after `pick` and `omit`, and the locked
    /// ones. Order does not count, nor do parts that locks of the original lack (kinds and hints).
    pub fn drift(&self, skill: &str, live: &[ToolSpec]) -> Vec<ToolDifference> {
        let live: Vec<LockedTool> = live.iter().filter(|tool| tool.skill_name == skill).map(LockedTool::new).collect();
        compare(&self.tools_of(skill).collect::<Vec<_>>(), &live.iter().collect::<Vec<_>>())
    }
}

/// Changes to the tools of an entry, in its order, followed by new tools.
fn compare(before: &[&LockedTool], after: &[&LockedTool]) -> Vec<ToolDifference> {
    let is_same = |a: &LockedTool, b: &LockedTool| a.skill_name == b.skill_name && a.name == b.name;
    let difference =
        |tool: &LockedTool, change| ToolDifference { skill: tool.skill_name.clone(), tool: tool.name.clone(), change };
    let mut differences = Vec::new();
    for old in before {
        match after.iter().find(|new| is_same(old, new)) {
            None => differences.push(difference(old, Change::Removed)),
            Some(new) => {
                let parts = parts(old, new);
                if !parts.is_empty() {
                    differences.push(difference(old, Change::Changed(parts)));
                }
            }
        }
    }
    let is_new = |new: &&&LockedTool| !before.iter().any(|old| is_same(old, new));
    differences.extend(after.iter().filter(is_new).map(|new| difference(new, Change::Added)));
    differences
}

/// The parts of a definition that differ.
fn parts(old: &LockedTool, new: &LockedTool) -> Vec<String> {
    let mut parts = Vec::new();
    let text = |text: &Option<String>| Value::from(text.clone().unwrap_or_default());
    values("description", &text(&old.description), &text(&new.description), &mut parts);
    if let (Some(old), Some(new)) = (old.kind, new.kind)
        && old != new
    {
        parts.push(format!("kind {old:?} is now {new:?}"));
    }
    if let (Some(old), Some(new)) = (&old.hints, &new.hints)
        && old != new
    {
        parts.push(format!("hints {old:?} are now {new:?}"));
    }
    // The original's lock cannot hold all of a schema; parts that it left out are no change.
    let schema = |tool: &LockedTool, is_whole: bool| {
        let whole = tool.schema();
        Value::Object(if is_whole { Map::clone(&whole) } else { Stored::new(&whole).table })
    };
    let is_whole = old.digest.is_some() && new.digest.is_some();
    values("inputSchema", &schema(old, is_whole), &schema(new, is_whole), &mut parts);
    if parts.len() > MAX_DETAILS {
        let more = parts.len() - MAX_DETAILS;
        parts.truncate(MAX_DETAILS);
        parts.push(format!("and {more} more"));
    }
    parts
}

/// Adds the places where two values differ, by path.
fn values(path: &str, old: &Value, new: &Value, parts: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, old) in before {
                match after.get(key) {
                    Some(new) => values(&format!("{path}.{key}"), old, new, parts),
                    None => parts.push(format!("{path}.{key} is gone")),
                }
            }
            let added = after.keys().filter(|key| !before.contains_key(*key));
            parts.extend(added.map(|key| format!("{path}.{key} is new")));
        }
        _ if canonical(old) == canonical(new) => {}
        _ => parts.push(format!("{path} {} is now {}", shown(old), shown(new))),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().nth(MAX_SHOWN).is_none() {
        return text;
    }
    text.chars().take(MAX_SHOWN).chain(['…']).collect()
}

/// The differences of an entry of the original, by the rule of [`LockState`](super::LockState) for these: the sources of the
/// tools, and the tools of servers. The rest of such an entry decides nothing, and lacks what this program would write.
fn original_entry(before: &LockedExpert, after: &LockedExpert) -> Vec<String> {
    let mut lines: Vec<String> = difference_of_sources(before, &after.skills).into_iter().collect();
    let is_base = |skill: &LockedSkill| {
        skill.name == BASE_SKILL || skill.package_name.as_deref().is_some_and(|package| package == BASE_SKILL)
    };
    for skill in after.skills.values().filter(|skill| skill.kind != "interactiveSkill" && !is_base(skill)) {
        // The original keeps definitions that `omit` leaves out.
        let is_admitted = |tool: &&LockedTool| {
            let has = |names: &Option<Vec<String>>| names.as_ref().is_some_and(|names| names.contains(&tool.name));
            let picks = skill.pick.as_ref().is_some_and(|names| !names.is_empty());
            !has(&skill.omit) && (!picks || has(&skill.pick))
        };
        let old: Vec<&LockedTool> = before.tools_of(&skill.name).filter(is_admitted).collect();
        let found = compare(&old, &after.tools_of(&skill.name).collect::<Vec<_>>());
        lines.extend(found.iter().map(ToString::to_string));
    }
    lines
}

/// The differences between a lock and the one that would be written now, a line each; none when both are equivalent.
pub fn differences(old: &Lock, new: &Lock) -> Vec<String> {
    let (old, new) = (&as_offered(old), &as_offered(new));
    if old.is_equivalent_to(new) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if old.config_path != new.config_path {
        lines.push(format!("made from {}, not from {}", old.config_path, new.config_path));
    }
    for (key, before) in &old.experts {
        match new.experts.get(key) {
            Some(after) => {
                let found = if before.digest.is_some() { entry(before, after) } else { original_entry(before, after) };
                lines.extend(found.into_iter().map(|line| format!("expert {key}: {line}")));
            }
            None => lines.push(format!("expert {key} removed")),
        }
    }
    let added = new.experts.keys().filter(|key| !old.experts.contains_key(*key));
    lines.extend(added.map(|key| format!("expert {key} added")));
    let is_original = old.experts.values().all(|entry| entry.digest.is_none());
    if lines.is_empty() && !is_original {
        lines.push("experts or skills are in another order".to_owned());
    }
    if lines.len() > MAX_DIFFERENCES {
        let more = lines.len() - MAX_DIFFERENCES;
        lines.truncate(MAX_DIFFERENCES);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// A lock without what it knows of tools that no expert sees: whatever becomes of them changes no run.
fn as_offered(lock: &Lock) -> Lock {
    let mut lock = lock.clone();
    for skill in lock.experts.values_mut().flat_map(|expert| expert.skills.values_mut()) {
        (skill.other_tools, skill.left_out) = (None, Vec::new());
    }
    lock
}

fn entry(old: &LockedExpert, new: &LockedExpert) -> Vec<String> {
    let mut lines = Vec::new();
    if old.digest != new.digest {
        match changed_parts(old, new) {
            parts if parts.is_empty() => lines.push("its definition changed".to_owned()),
            parts => lines.push(format!("changed: {}", parts.join(", "))),
        }
    }
    let both = old.skills.iter().filter_map(|(name, before)| Some((name, before, new.skills.get(name)?)));
    lines.extend(both.filter_map(|(name, before, after)| protocol(name, before, after)));
    let tools = compare(&old.tools.iter().collect::<Vec<_>>(), &new.tools.iter().collect::<Vec<_>>());
    lines.extend(tools.iter().map(ToString::to_string));
    if lines.is_empty() && !old.is_equivalent_to(new) {
        lines.push("the entry was changed by hand".to_owned());
    }
    lines
}

fn protocol(name: &str, old: &LockedSkill, new: &LockedSkill) -> Option<String> {
    let version = |skill: &LockedSkill| skill.protocol.clone().unwrap_or_else(|| "none".to_owned());
    (old.protocol != new.protocol && old.tools_digest.is_some())
        .then(|| format!("skill {name}: protocol {} is now {}", version(old), version(new)))
}
