//! [`choose`]: decides whether an entry may be used, by comparing it with the configuration and with its own digests.
//! The runtime calls it before it opens an expert's tools.

use indexmap::IndexMap;

use super::entry::{LockedExpert, LockedSkill};
use super::{Definition, DiscoveredTools, Lock};
use crate::config::ConfigError;
use crate::expert::SkillSpec;
use crate::tool::ToolSpec;

/// The use that a run may make of a lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockUse {
    /// Uses a lock that exists and is fresh; otherwise skills are started.
    #[default]
    Auto,
    /// Requires a lock that exists and is fresh.
    Locked,
    /// Requires a lock that exists, and uses it even when it is stale.
    Frozen,
}

/// The state of an expert's entry.
#[derive(Debug, Clone, PartialEq)]
pub enum LockState<'a> {
    /// The entry was made from the expert as it is configured now.
    Fresh(&'a LockedExpert),
    /// It was made from another definition, or changed since.
    Stale { reason: String },
    /// There is no entry.
    Missing,
}

/// The source of an expert's tools.
#[derive(Debug)]
pub enum LockChoice {
    /// From the lock: `tools` are those of the skills that have servers ([`Definition::servers`]), in the order of
    /// the configuration. Skills within this process are opened as always.
    UseLocked {
        tools: Vec<ToolSpec>,
        /// The tools that are left out, and names that fit none, a line each.
        warnings: Vec<String>,
    },
    /// By starting the skills.
    Discover {
        /// The reason why an existing lock is not used.
        warning: Option<String>,
    },
    /// None: the lock must be used and cannot be.
    Refuse(ConfigError),
}

impl Lock {
    /// The state of an expert's entry.
    pub fn expert(&self, definition: &Definition<'_>) -> LockState<'_> {
        let Some(entry) = self.experts.get(definition.expert.key.as_str()) else { return LockState::Missing };
        let fault = match &entry.digest {
            Some(digest) if *digest != definition.digest() => Some(changes(entry, definition)),
            Some(_) => damage(entry, definition),
            None => visible_difference(entry, definition),
        };
        fault.map_or(LockState::Fresh(entry), |reason| LockState::Stale { reason })
    }
}

/// Decides where the tools of an expert come from. `lock`: the one beside the configuration, when there is one.
pub fn choose(definition: &Definition<'_>, lock: Option<&Lock>, lock_use: LockUse) -> LockChoice {
    let key = definition.expert.key.as_str();
    let needs_none = definition.servers().next().is_none();
    let Some(lock) = lock else {
        return match lock_use {
            LockUse::Auto => LockChoice::Discover { warning: None },
            LockUse::Locked | LockUse::Frozen => {
                LockChoice::Refuse(ConfigError::LockMissing { expert: key.to_owned() })
            }
        };
    };
    let state = match lock_use {
        LockUse::Frozen => lock.experts.get(key).map_or(LockState::Missing, LockState::Fresh),
        LockUse::Auto | LockUse::Locked => lock.expert(definition),
    };
    let reason = match state {
        LockState::Fresh(entry) => match missing_skill(entry, definition) {
            None => return used(lock, entry, definition, lock_use),
            Some(skill) => format!("it has no skill {skill}"),
        },
        LockState::Stale { reason } => reason,
        LockState::Missing => "it has no entry".to_owned(),
    };
    match lock_use {
        // No server would be started for this expert, so a stale entry costs nothing and deserves no warning.
        LockUse::Auto if needs_none => LockChoice::Discover { warning: None },
        LockUse::Auto => LockChoice::Discover {
            warning: Some(format!(
                "{} is stale for expert {key} ({reason}): its skills are started instead; run `perstack install` to renew it",
                lock.path().display()
            )),
        },
        LockUse::Locked | LockUse::Frozen => {
            let (path, expert) = (lock.path().to_owned(), key.to_owned());
            LockChoice::Refuse(ConfigError::LockStale { path, expert, reason })
        }
    }
}

/// The choice of an entry that serves. Names that fit no tool are refused where the lock must be as it is configured.
fn used(lock: &Lock, entry: &LockedExpert, definition: &Definition<'_>, lock_use: LockUse) -> LockChoice {
    let unmatched: Vec<String> = definition.servers().flat_map(|spec| entry.unmatched(spec)).collect();
    if lock_use == LockUse::Locked && !unmatched.is_empty() {
        let (path, expert) = (lock.path().to_owned(), definition.expert.key.as_str().to_owned());
        return LockChoice::Refuse(ConfigError::UnmatchedTools { path, expert, names: unmatched.join("; ") });
    }
    let left_out = definition.servers().flat_map(|spec| entry.left_out(&spec.common().name)).cloned();
    let warnings = left_out.chain(unmatched).collect();
    LockChoice::UseLocked { tools: locked_tools(entry, definition), warnings }
}

/// A skill with a server that the entry lacks.
fn missing_skill<'a>(entry: &LockedExpert, definition: &Definition<'a>) -> Option<&'a str> {
    let names = definition.servers().map(|spec| spec.common().name.as_str());
    names.into_iter().find(|name| !entry.skills.contains_key(*name))
}

/// The tools of the entry that belong to servers and pass the current `pick` and `omit`.
fn locked_tools(entry: &LockedExpert, definition: &Definition<'_>) -> Vec<ToolSpec> {
    let mut tools = Vec::new();
    for common in definition.servers().map(SkillSpec::common) {
        for tool in entry.tools_of(&common.name).filter(|tool| common.admits(&tool.name)) {
            let mut tool = tool.to_spec();
            tool.hints.idempotent |= common.idempotent.contains(&tool.name);
            tools.push(tool);
        }
    }
    tools
}

/// The changes of the configuration since the entry was made.
fn changes(entry: &LockedExpert, definition: &Definition<'_>) -> String {
    let changed = changed_parts(entry, &definition.entry(&DiscoveredTools::default()));
    if changed.is_empty() {
        // Native tools, the model's tier, the base skill's command: the entry has no copy to compare.
        "the expert's definition changed".to_owned()
    } else {
        format!("changed since: {}", changed.join(", "))
    }
}

/// The parts of two entries that show a change of the definition.
pub(super) fn changed_parts(old: &LockedExpert, new: &LockedExpert) -> Vec<String> {
    let plain = [
        ("name", old.name != new.name),
        ("version", old.version != new.version),
        ("description", old.description != new.description),
        ("instruction", old.instruction != new.instruction),
        ("delegates", old.delegates != new.delegates),
        ("tags", old.tags != new.tags),
    ];
    let mut changed: Vec<String> =
        plain.into_iter().filter(|(_, is_changed)| *is_changed).map(|(part, _)| part.to_owned()).collect();
    for (name, skill) in &new.skills {
        match old.skills.get(name) {
            Some(before) if before.is_configured_as(skill) => {}
            Some(before) => changed.push(match skill.reach_beyond(before) {
                more if more.is_empty() => format!("skill {name}"),
                more => format!("skill {name} (given more: {})", more.join(", ")),
            }),
            None => changed.push(format!("skill {name} (new)")),
        }
    }
    let gone = old.skills.keys().filter(|name| !new.skills.contains_key(*name));
    changed.extend(gone.map(|name| format!("skill {name} (gone)")));
    changed
}

/// A change that was made to the entry by hand, in a part that would be used.
fn damage(entry: &LockedExpert, definition: &Definition<'_>) -> Option<String> {
    for name in definition.servers().map(|spec| spec.common().name.as_str()) {
        if let Some(tool) = entry.tools_of(name).find(|tool| !tool.is_intact()) {
            return Some(format!("the definition of tool {} of skill {name} was changed by hand", tool.name));
        }
        let written = entry.skills.get(name).and_then(|skill| skill.tools_digest.as_ref());
        if written != Some(&entry.digest_of_tools(name)) {
            return Some(format!("the tools of skill {name} are not those that were written: something is missing"));
        }
    }
    None
}

/// The first difference between an entry of the original, which has no digests, and the configuration, as far as it
/// decides which tools exist.
fn visible_difference(entry: &LockedExpert, definition: &Definition<'_>) -> Option<String> {
    let skills = definition.expert.skills.iter().map(|(name, spec)| (name.clone(), LockedSkill::new(spec)));
    difference_of_sources(entry, &skills.collect())
}

/// The first difference between the skills of an entry and those of now, as far as it decides which tools exist.
pub(super) fn difference_of_sources(entry: &LockedExpert, skills: &IndexMap<String, LockedSkill>) -> Option<String> {
    if let Some(gone) = entry.skills.keys().find(|name| !skills.contains_key(*name)) {
        return Some(format!("skill {gone} is no longer there"));
    }
    for (name, now) in skills {
        match entry.skills.get(name) {
            None => return Some(format!("skill {name} is new")),
            Some(skill) if !skill.has_the_source_of(now) => return Some(format!("skill {name} changed")),
            Some(_) => {}
        }
    }
    None
}
