//! Definitions that were locked: they stand in for those of a server that is not started before it is called.

use std::fmt;
use std::sync::Arc;

use super::McpError;
use super::notice::Reporter;
use crate::tool::ToolSpec;

/// Most differences told at one time. Our own choice: more than anybody reads, and a bound for a server that renamed all.
const MAX_TOLD: usize = 20;

/// Tells how the tools that a server offers differ from the locked ones; nothing when they do not.
pub type Compare = Arc<dyn Fn(&[ToolSpec]) -> Vec<ToolDrift> + Send + Sync>;

/// How one tool differs from the locked one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDrift {
    pub tool: String,
    /// In words.
    pub text: String,
}

/// What is done when a server's tools are not those that were locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrift {
    /// Its owner is told, and the call is made.
    Warn,
    /// The call is refused; a server that differs when it starts is ended again.
    Refuse,
}

/// The locked tools of one skill.
#[derive(Clone)]
pub struct Locked {
    /// What the expert sees, after `pick` and `omit`.
    pub tools: Vec<ToolSpec>,
    /// The revision of the protocol that was agreed on when they were locked; none in locks of the original.
    pub protocol: Option<String>,
    pub compare: Compare,
    pub on_drift: OnDrift,
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tools, protocol, compare: _, on_drift } = self;
        let mut shown = f.debug_struct("Locked");
        shown.field("tools", tools).field("protocol", protocol).field("on_drift", on_drift).finish_non_exhaustive()
    }
}

impl Locked {
    /// Compares with what the server of `skill` speaks and offers as it starts.
    ///
    /// # Errors
    /// [`McpError::Drift`] when it differs and must not.
    pub(super) fn check(
        &self,
        skill: &str,
        protocol: Option<&str>,
        live: &[ToolSpec],
        reporter: &Reporter,
    ) -> Result<Drift, McpError> {
        let drift = Drift((self.compare)(live));
        let revision = match (self.protocol.as_deref(), protocol) {
            (Some(before), Some(now)) if before != now => Some(format!("protocol {before} is now {now}")),
            _ => None,
        };
        let texts: Vec<String> = revision.into_iter().chain(drift.texts()).collect();
        if texts.is_empty() {
            return Ok(drift);
        }
        let error = told(skill, texts, reporter);
        match self.on_drift {
            OnDrift::Refuse => Err(error),
            OnDrift::Warn => {
                reporter.warn(error.to_string());
                Ok(drift)
            }
        }
    }

    /// Compares with what the server of `skill` says that it offers from now on. Tells its owner of what was not known
    /// from `before`.
    pub(super) fn check_again(&self, skill: &str, before: &Drift, live: &[ToolSpec], reporter: &Reporter) -> Drift {
        let drift = Drift((self.compare)(live));
        if !drift.0.is_empty() && drift != *before {
            reporter.warn(told(skill, drift.texts().collect(), reporter).to_string());
        }
        drift
    }

    /// Why `tool` must not be called now, if that is so.
    pub(super) fn refusal(&self, skill: &str, tool: &str, drift: &Drift, reporter: &Reporter) -> Option<McpError> {
        if self.on_drift != OnDrift::Refuse {
            return None;
        }
        let texts: Vec<String> =
            drift.0.iter().filter(|difference| difference.tool == tool).map(|one| one.text.clone()).collect();
        (!texts.is_empty()).then(|| told(skill, texts, reporter))
    }
}

/// How a running server differs from its lock.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Drift(Vec<ToolDrift>);

impl Drift {
    fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|difference| difference.text.clone())
    }
}

fn told(skill: &str, mut texts: Vec<String>, reporter: &Reporter) -> McpError {
    if texts.len() > MAX_TOLD {
        let more = texts.len() - MAX_TOLD;
        texts.truncate(MAX_TOLD);
        texts.push(format!("and {more} more"));
    }
    McpError::Drift { skill: skill.to_owned(), differences: reporter.fit(&texts.join("; ")) }
}
