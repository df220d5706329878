//! A server's tools, read when it starts and whenever it says that they have changed.

use std::sync::{PoisonError, Weak};
use std::time::Duration;

use super::connection::{Connection, Fault, Listing, Patience};
use super::{McpSkill, tools};

impl McpSkill {
    /// Reads the server's tools anew.
    pub(super) async fn list(&self, connection: &Connection, limit: Duration) -> Result<(), Fault> {
        let listing = if connection.has_tools() {
            connection.tools(Patience { silence: limit, total: limit }).await?
        } else {
            Listing { tools: Vec::new(), is_cut: false }
        };
        let (tools, warnings) = tools::read(listing, &self.common);
        for warning in warnings {
            self.reporter.warn(warning);
        }
        *self.tools.write().unwrap_or_else(PoisonError::into_inner) = tools;
        Ok(())
    }
}

/// Reads the tools anew whenever the server says that they have changed, for as long as both are there.
pub(super) async fn follow(skill: Weak<McpSkill>, connection: Weak<Connection>) {
    loop {
        let Some(current) = connection.upgrade() else { return };
        current.tools_changed().await;
        let Some(skill) = skill.upgrade() else { return };
        match skill.list(&current, skill.start_timeout()).await {
            Ok(()) => skill.reporter.warn(format!(
                "skill {}: its tools have changed; the next step goes on with the new ones",
                skill.common.name
            )),
            Err(_) if current.is_over() => return,
            Err(fault) => skill.reporter.warn(format!(
                "skill {}: its tools have changed and cannot be listed: {}",
                skill.common.name,
                skill.words(&fault)
            )),
        }
    }
}
