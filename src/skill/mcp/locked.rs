//! [`Locked`]: the tools of a lock, offered in place of those of a server that is not started before it is called.

use std::fmt;
use std::sync::Arc;

use super::McpError;
use super::notice::Reporter;
use crate::hint::ErrorHint as _;
use crate::tool::ToolSpec;

/// Most differences reported at one time. Our own choice: more than anybody reads, and a bound for a server that renamed all.
const MAX_SHOWN: usize = 20;

/// Returns how the tools that a server offers differ from the locked ones; nothing when they do not.
pub type Compare = Arc<dyn Fn(&[ToolSpec]) -> Vec<ToolDrift> + Send + Sync>;

/// How one tool differs from the locked one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDrift {
    pub tool: String,
    /// In words.
    pub text: String,
}

/// The reaction to a server whose tools are not those that were locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrift {
    /// Its owner is warned, and the call is made.
    Warn,
    /// The call is refused; a server that differs when it starts is ended again.
    Refuse,
}

/// The locked tools of one skill.
#[derive(Clone)]
pub struct Locked {
    /// The definitions that the expert sees, after `pick` and `omit`.
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
    /// Compares with the revision and tools of the server of `skill` as it starts.
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
        let error = drift_error(skill, texts, reporter);
        match self.on_drift {
            OnDrift::Refuse => Err(error),
            OnDrift::Warn => {
                reporter.warn(error.with_hint());
                Ok(drift)
            }
        }
    }

    /// Compares with the tools that the server of `skill` offers from now on. Warns its owner of differences that `before`
    /// does not have.
    pub(super) fn check_again(&self, skill: &str, before: &Drift, live: &[ToolSpec], reporter: &Reporter) -> Drift {
        let drift = Drift((self.compare)(live));
        if !drift.0.is_empty() && drift != *before {
            reporter.warn(drift_error(skill, drift.texts().collect(), reporter).with_hint());
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
        (!texts.is_empty()).then(|| drift_error(skill, texts, reporter))
    }
}

/// How a running server differs from its lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Drift(Vec<ToolDrift>);

impl Drift {
    fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|difference| difference.text.clone())
    }
}

fn drift_error(skill: &str, mut texts: Vec<String>, reporter: &Reporter) -> McpError {
    if texts.len() > MAX_SHOWN {
        let more = texts.len() - MAX_SHOWN;
        texts.truncate(MAX_SHOWN);
        texts.push(format!("and {more} more"));
    }
    McpError::Drift { skill: skill.to_owned(), differences: reporter.fit(&texts.join("; ")) }
}
