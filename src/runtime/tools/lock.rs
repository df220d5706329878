//! The lock at run time ([`choose`]): whether it serves for an expert, asked before the expert's skills are opened.
//! With it, no server is started before one of its tools is called. What makes a lock fresh is the configuration's.

use std::sync::Arc;

use crate::config::lockfile::{self, Definition, Lock, LockUse, LockedExpert};
use crate::expert::{Expert, ExpertKey, SkillCommon};
use crate::runtime::error::RunError;
use crate::runtime::options::Options;
use crate::skill::mcp::{Locked, OnDrift, ToolDrift};
use crate::tool::ToolSpec;

/// The choice between an expert's lock and its servers.
#[derive(Default)]
pub struct LockUsage {
    /// The locked servers; `None` when the servers are asked.
    pub servers: Option<LockedServers>,
    /// The reason for which the lock does not serve, when it should have; else what it knows of tools that are not offered.
    pub warnings: Vec<String>,
}

/// The lock's entry of the servers of one expert.
pub struct LockedServers {
    tools: Vec<ToolSpec>,
    entry: EntryOfLock,
    on_drift: OnDrift,
}

/// Decides whether the lock serves for `expert`.
///
/// # Errors
/// The lock must serve and cannot.
pub fn choose(expert: &Expert, options: &Options) -> Result<LockUsage, RunError> {
    let definition = Definition::new(expert, options.base_skill_command.as_deref());
    match lockfile::choose(&definition, options.lockfile.as_deref(), options.lock) {
        lockfile::LockChoice::UseLocked { tools, warnings } => {
            let entry = options.lockfile.as_ref().and_then(|lock| EntryOfLock::find(lock, &expert.key));
            let entry = entry.ok_or_else(|| RunError::Internal(format!("no entry of {} in its lock", expert.key)))?;
            let on_drift = match options.lock {
                LockUse::Locked => OnDrift::Refuse,
                LockUse::Auto | LockUse::Frozen => OnDrift::Warn,
            };
            let servers = LockedServers { tools, entry, on_drift };
            Ok(LockUsage { servers: Some(servers), warnings })
        }
        lockfile::LockChoice::Discover { warning } => {
            Ok(LockUsage { servers: None, warnings: warning.into_iter().collect() })
        }
        lockfile::LockChoice::Refuse(error) => Err(error.into()),
    }
}

/// An expert's entry, in the lock that has it.
#[derive(Clone)]
struct EntryOfLock {
    lock: Arc<Lock>,
    at: usize,
}

impl EntryOfLock {
    fn find(lock: &Arc<Lock>, key: &ExpertKey) -> Option<Self> {
        Some(Self { at: lock.experts.get_index_of(key.as_str())?, lock: Arc::clone(lock) })
    }

    fn get(&self) -> Option<&LockedExpert> {
        self.lock.experts.get_index(self.at).map(|(_, entry)| entry)
    }
}

impl LockedServers {
    /// The locked tools of all of them.
    pub fn tools(&self) -> &[ToolSpec] {
        &self.tools
    }

    /// The locked tools of one skill, as it admits them.
    fn tools_of(&self, skill: &SkillCommon) -> Vec<ToolSpec> {
        let is_of_it = |tool: &&ToolSpec| tool.skill_name == skill.name && skill.admits(&tool.name);
        self.tools.iter().filter(is_of_it).cloned().collect()
    }

    /// The stand-in for the server of one skill, until it is started.
    pub fn for_skill(&self, skill: &SkillCommon) -> Locked {
        let (entry, common) = (self.entry.clone(), skill.clone());
        let compare = move |live: &[ToolSpec]| {
            let differences = entry.get().into_iter().flat_map(|entry| entry.drift(&common.name, live));
            // A lock that is used without being asked for may hold what `pick` and `omit` leave out by now.
            let seen = differences.filter(|difference| common.admits(&difference.tool));
            seen.map(|difference| ToolDrift { text: difference.to_string(), tool: difference.tool }).collect()
        };
        let locked = self.entry.get().and_then(|entry| entry.skills.get(&skill.name));
        let protocol = locked.and_then(|locked| locked.protocol.clone());
        Locked { tools: self.tools_of(skill), protocol, compare: Arc::new(compare), on_drift: self.on_drift }
    }
}
