//! Definitions that were locked: they stand in for those of a server that is not started before it is called.

use std::fmt;
use std::sync::Arc;

use super::McpError;
use super::notice::Reporter;
use crate::tool::ToolSpec;

/// Most differences told at one time. Our own choice: more than anybody reads, and a bound for a server that renamed all.
const MAX_TOLD: usize = 20;

/// Tells how the tools that a server offers differ from the locked ones, a text each; nothing when they do not.
pub type Compare = Arc<dyn Fn(&[ToolSpec]) -> Vec<String> + Send + Sync>;

/// What is done when a server's tools are not those that were locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrift {
    /// Its owner is told, and the call is made.
    Warn,
    /// The server is ended again, and the call is refused.
    Refuse,
}

/// The locked tools of one skill.
#[derive(Clone)]
pub struct Locked {
    /// What the expert sees, after `pick` and `omit`.
    pub tools: Vec<ToolSpec>,
    pub compare: Compare,
    pub on_drift: OnDrift,
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tools, compare: _, on_drift } = self;
        f.debug_struct("Locked").field("tools", tools).field("on_drift", on_drift).finish_non_exhaustive()
    }
}

impl Locked {
    /// Compares with what the server of `skill` offers now.
    ///
    /// # Errors
    /// [`McpError::Drift`] when it differs and must not.
    pub(super) fn check(&self, skill: &str, live: &[ToolSpec], reporter: &Reporter) -> Result<(), McpError> {
        let mut differences = (self.compare)(live);
        if differences.is_empty() {
            return Ok(());
        }
        if differences.len() > MAX_TOLD {
            let more = differences.len() - MAX_TOLD;
            differences.truncate(MAX_TOLD);
            differences.push(format!("and {more} more"));
        }
        let error = McpError::Drift { skill: skill.to_owned(), differences: reporter.fit(&differences.join("; ")) };
        match self.on_drift {
            OnDrift::Refuse => Err(error),
            OnDrift::Warn => {
                reporter.warn(error.to_string());
                Ok(())
            }
        }
    }
}
