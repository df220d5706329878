//! [`Decisions`]: the record of what one skill's programs were allowed and refused on the network. The proxy and the judge
//! of connections add to it; it is reported as it grows, and read for a model whose call failed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain_list::NetworkTarget;

/// Most refusals that are reported, and most connections that are: a program in a loop must not drown everything else, nor hide
/// what it reached behind what it was refused.
const MAX_REPORTED: u64 = 10_000;

/// Refusals that are kept for the models' results.
const KEPT: usize = 100;

/// Most lines of one result.
const MAX_LINES: usize = 5;

/// A decision on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAccess {
    pub host: String,
    pub port: u16,
    /// The entry of the list that allowed it; none where all may be reached.
    pub rule: Option<String>,
    /// The reason for which it was refused; none where it was allowed.
    pub refusal: Option<String>,
}

/// Receives the decisions. Must not block.
pub type AccessReport = Arc<dyn Fn(NetworkAccess) + Send + Sync>;

/// A place in the list of refusals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalMark(u64);

/// The decisions on one skill's connections.
pub(super) struct Decisions {
    pub skill: String,
    report: AccessReport,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    allowed: u64,
    refused: u64,
    /// The last ones, with their numbers from 1.
    refusals: VecDeque<(u64, String)>,
}

impl Decisions {
    pub(super) fn new(skill: &str, report: AccessReport) -> Self {
        Self { skill: skill.to_owned(), report, state: Mutex::default() }
    }

    /// Records that `target` may be connected to, by the entry `rule` of the list.
    pub(super) fn allow(&self, target: &NetworkTarget, rule: Option<&str>) {
        self.add(target, rule.map(str::to_owned), None);
    }

    /// Records the refusal, and returns its reason.
    pub(super) fn refuse(&self, target: &NetworkTarget, reason: String) -> String {
        self.add(target, None, Some(reason.clone()));
        reason
    }

    /// Records the refusal of a target that the list does not have.
    pub(super) fn refuse_unlisted(&self, target: &NetworkTarget) -> String {
        self.refuse(target, format!("{target} is not in allowedDomains of skill {}", self.skill))
    }

    fn add(&self, target: &NetworkTarget, rule: Option<String>, refusal: Option<String>) {
        {
            let mut state = self.state();
            if let Some(reason) = &refusal {
                state.refused += 1;
                let number = state.refused;
                if state.refusals.len() == KEPT {
                    state.refusals.pop_front();
                }
                state.refusals.push_back((number, reason.clone()));
            }
            let counted = if refusal.is_some() {
                state.refused
            } else {
                state.allowed = state.allowed.saturating_add(1);
                state.allowed
            };
            if counted > MAX_REPORTED {
                return;
            }
        }
        (self.report)(NetworkAccess { host: target.host(), port: target.port, rule, refusal });
    }

    pub(super) fn mark(&self) -> RefusalMark {
        RefusalMark(self.state().refused)
    }

    /// The distinct ones among those since then, from the first on.
    pub(super) fn refused_since(&self, mark: RefusalMark) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for (_, reason) in self.state().refusals.iter().filter(|(number, _)| *number > mark.0) {
            let line = format!("network: {reason}");
            if !lines.contains(&line) && lines.len() < MAX_LINES {
                lines.push(line);
            }
        }
        lines
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("skill", &self.skill).field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_from_a_mark_on_each_once() {
        let reported: Arc<Mutex<Vec<NetworkAccess>>> = Arc::default();
        let sink = Arc::clone(&reported);
        let decisions = Decisions::new("web", Arc::new(move |access| sink.lock().unwrap().push(access)));
        let target = |host: &str| NetworkTarget::new(host, 443).unwrap();
        decisions.refuse_unlisted(&target("early.example"));
        let mark = decisions.mark();
        decisions.allow(&target("api.example"), Some("*.example"));
        for host in ["a.example", "b.example", "a.example"] {
            decisions.refuse_unlisted(&target(host));
        }
        let line = |host: &str| format!("network: {host}:443 is not in allowedDomains of skill web");
        assert_eq!(decisions.refused_since(mark), [line("a.example"), line("b.example")]);
        assert!(decisions.refused_since(decisions.mark()).is_empty());
        let allowed = NetworkAccess {
            host: "api.example".to_owned(),
            port: 443,
            rule: Some("*.example".to_owned()),
            refusal: None,
        };
        assert_eq!(reported.lock().unwrap()[1], allowed);
        for number in 0..MAX_REPORTED {
            decisions.refuse_unlisted(&target(&format!("n{number}.example")));
        }
        let most = usize::try_from(MAX_REPORTED).unwrap();
        assert_eq!(reported.lock().unwrap().len(), most + 1, "with the one that was allowed");
        decisions.allow(&target("api.example"), Some("*.example"));
        assert_eq!(reported.lock().unwrap().last(), Some(&allowed), "refusals do not hide what is reached");
        assert_eq!(decisions.refused_since(mark).len(), MAX_LINES);
    }
}
