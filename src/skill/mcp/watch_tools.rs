//! A server's tools, read when it starts and whenever it reports that they have changed.

use std::sync::Weak;
use std::time::Duration;

use super::connection::{CallFailure, Connection, Listing, Patience};
use super::{McpError, McpSkill, tools};

/// How long a server that announces no tools may take to list some.
const UNANNOUNCED: Duration = Duration::from_secs(5);

impl McpSkill {
    /// Reads the server's tools anew.
    pub(super) async fn list(&self, connection: &Connection, limit: Duration) -> Result<(), CallFailure> {
        let limit = if connection.has_tools() { limit } else { limit.min(UNANNOUNCED) };
        let mut listing = match connection.tools(Patience { silence: limit, total: limit }).await {
            Ok(listing) => listing,
            // Some servers have tools and do not announce them, so they are asked; one that has none may refuse.
            Err(CallFailure::Refused { .. } | CallFailure::TimedOut(_)) if !connection.has_tools() => {
                self.reporter.warn(format!("skill {}: its server announces no tools and lists none", self.common.name));
                Listing { tools: Vec::new(), is_cut: false }
            }
            Err(fault) => return Err(fault),
        };
        // Definitions are shown, stored in the lock and sent to the model.
        let redactor = self.reporter.redactor();
        listing.tools = listing.tools.into_iter().map(|tool| redactor.value(tool)).collect();
        let list = tools::read(listing, &self.common);
        for warning in &list.left_out {
            self.reporter.warn(warning.clone());
        }
        let mut state = self.state();
        state.list = list;
        state.lists_read = state.lists_read.saturating_add(1);
        Ok(())
    }

    /// Compares changed tools with the locked ones, which remain what the expert sees. Without a lock, the Run sees the new
    /// ones at its next step and reports them.
    fn changed(&self) {
        let skill = &self.common.name;
        let Some(locked) = &self.locked else { return };
        // Copied, since warnings leave by the owner's own code, which may look at this skill.
        let before = self.state().drift.clone();
        let live = self.state().list.tools.clone();
        let drift = locked.check_again(skill, &before, &live, &self.reporter);
        self.state().drift = drift;
    }

    /// Why `tool` must not be called, if the running server differs from the lock in it.
    pub(super) fn refusal(&self, tool: &str) -> Option<McpError> {
        self.locked.as_ref()?.refusal(&self.common.name, tool, &self.state().drift, &self.reporter)
    }
}

/// Reads the tools anew whenever the server reports that they have changed, for as long as both are there.
pub(super) async fn follow(skill: Weak<McpSkill>, connection: Weak<Connection>) {
    loop {
        let Some(current) = connection.upgrade() else { return };
        current.tools_changed().await;
        let Some(skill) = skill.upgrade() else { return };
        match skill.list(&current, skill.start_timeout()).await {
            Ok(()) => skill.changed(),
            Err(_) if current.is_over() => return,
            Err(fault) => skill.reporter.warn(format!(
                "skill {}: its tools have changed and cannot be listed: {}",
                skill.common.name,
                skill.words(&fault)
            )),
        }
    }
}
