//! [`AccessCount`]: a judgement on connections of a skill's programs, counted. Facts carry it, so that a job's record has
//! what was reached and what was refused; an [`AccessTally`] collects it between two facts.

use serde::{Deserialize, Serialize};

/// Most judgements that one fact carries apart from each other. Our own choice: far more hosts than a step of an honest
/// program reaches, and a line of the log that a scan of ports does not make long.
const MOST_APART: usize = 100;

/// Stands for all hosts beyond [`MOST_APART`]; no host is written so.
const OTHERS: &str = "*";

/// Connections of one skill that were judged alike: to the same host and port, with the same outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessCount {
    /// The time of the first, in milliseconds since the epoch.
    #[serde(with = "crate::count::Count")]
    pub at: u64,
    pub skill_name: String,
    /// A name or an address, as URLs have it; `*` for hosts that are counted together.
    pub domain: String,
    /// 0 beside `*`.
    pub port: u16,
    /// The entry of the list that allowed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The reason for which they were refused; none where they were allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Their number.
    #[serde(with = "crate::count::Count")]
    pub count: u64,
}

impl AccessCount {
    fn is_like(&self, other: &Self) -> bool {
        let key = |it: &Self| (it.port, it.reason.is_some());
        key(self) == key(other)
            && self.skill_name == other.skill_name
            && self.domain == other.domain
            && self.rule == other.rule
            && self.reason == other.reason
    }
}

/// The judgements since the latest fact.
#[derive(Debug, Default)]
pub struct AccessTally(Vec<AccessCount>);

impl AccessTally {
    /// Adds a judgement, which is counted with those that are alike, or, beyond a hundred, with all others of its
    /// skill that had the same outcome.
    pub fn add(&mut self, judged: AccessCount) {
        if self.count(&judged) {
            return;
        }
        if self.0.len() < MOST_APART {
            return self.0.push(judged);
        }
        let reason = judged.reason.is_some().then(|| format!("more than {MOST_APART} hosts between two facts"));
        let others = AccessCount { domain: OTHERS.to_owned(), port: 0, rule: None, reason, ..judged };
        if !self.count(&others) {
            self.0.push(others);
        }
    }

    /// Counts a judgement with one that is alike; returns whether there is one.
    fn count(&mut self, judged: &AccessCount) -> bool {
        let alike = self.0.iter_mut().find(|kept| kept.is_like(judged));
        alike.map(|kept| kept.count = kept.count.saturating_add(judged.count)).is_some()
    }

    /// Takes all, for a fact.
    pub fn take(&mut self) -> Vec<AccessCount> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(at: u64, skill: &str, domain: &str, reason: Option<&str>) -> AccessCount {
        AccessCount {
            at,
            skill_name: skill.to_owned(),
            domain: domain.to_owned(),
            port: 443,
            rule: reason.is_none().then(|| "*.example".to_owned()),
            reason: reason.map(str::to_owned),
            count: 1,
        }
    }

    #[test]
    fn judgements_that_are_alike_are_counted_from_the_first_on() {
        let mut tally = AccessTally::default();
        for (at, skill, domain, reason) in [
            (1, "web", "a.example", None),
            (2, "web", "b.example", Some("not listed")),
            (3, "web", "a.example", None),
            (4, "mail", "a.example", None),
            (5, "web", "a.example", Some("private")),
        ] {
            tally.add(judged(at, skill, domain, reason));
        }
        let taken: Vec<(u64, u64)> = tally.take().iter().map(|kept| (kept.at, kept.count)).collect();
        assert_eq!(taken, [(1, 2), (2, 1), (4, 1), (5, 1)]);
        assert!(tally.take().is_empty());
    }

    #[test]
    fn a_scan_is_counted_together_by_skill_and_outcome() {
        let mut tally = AccessTally::default();
        for n in 0..1000 {
            tally.add(judged(n, "web", &format!("n{n}.example"), Some("not listed")));
        }
        tally.add(judged(1001, "web", "n7.example", Some("not listed")));
        tally.add(judged(1002, "web", "late.example", None));
        let taken = tally.take();
        assert_eq!(taken.len(), MOST_APART + 2);
        assert_eq!(taken[7].count, 2, "one that is kept apart stays so");
        let others: Vec<_> =
            taken[MOST_APART..].iter().map(|it| (it.domain.as_str(), it.count, it.reason.is_some())).collect();
        assert_eq!(others, [("*", 900, true), ("*", 1, false)]);
    }
}
