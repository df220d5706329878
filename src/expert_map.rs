//! [`ExpertMap`]: the experts of a configuration by their keys, and the graph of their delegations. Configuration makes
//! it, drivers look experts up in it; checks of the graph with places in a file are the configuration's.

use std::borrow::Cow;
use std::collections::HashSet;

use indexmap::IndexMap;

use crate::expert::{Expert, ExpertKey};
use crate::hint::ErrorHint;

/// A key of no expert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no expert {key} is defined{}", listed(known))]
pub struct UnknownExpert {
    pub key: ExpertKey,
    /// The keys that are defined.
    pub known: Vec<ExpertKey>,
}

/// An expert that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpertError {
    #[error(transparent)]
    Unknown(#[from] UnknownExpert),
    /// It has mistakes in its definition.
    #[error("{mistakes}\nso that expert {key} cannot be used")]
    Unusable { key: ExpertKey, mistakes: String },
    #[error(transparent)]
    Delegate(#[from] UnknownDelegate),
}

/// A delegate of an expert that is not defined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expert {expert} delegates to {delegate}, which is not defined")]
pub struct UnknownDelegate {
    pub expert: ExpertKey,
    pub delegate: ExpertKey,
}

impl ErrorHint for ExpertError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Delegate(error) => error.hint(),
            Self::Unknown(_) | Self::Unusable { .. } => None,
        }
    }
}

impl ErrorHint for UnknownDelegate {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some("define it, or take it out of delegates".into())
    }
}

/// Experts by their keys, in the order of their configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpertMap {
    experts: IndexMap<ExpertKey, Expert>,
    /// Experts with mistakes in their definitions, which are not among the others.
    unusable: IndexMap<ExpertKey, String>,
}

impl ExpertMap {
    /// The expert `key`.
    ///
    /// # Errors
    /// No expert of that key is defined, or it is unusable.
    pub fn get(&self, key: &ExpertKey) -> Result<&Expert, ExpertError> {
        if let Some(mistakes) = self.unusable.get(key) {
            return Err(ExpertError::Unusable { key: key.clone(), mistakes: mistakes.clone() });
        }
        let unknown = || UnknownExpert { key: key.clone(), known: self.keys().cloned().collect() };
        Ok(self.experts.get(key).ok_or_else(unknown)?)
    }

    /// Returns whether an expert `key` is defined, be it unusable.
    pub fn contains(&self, key: &ExpertKey) -> bool {
        self.experts.contains_key(key) || self.unusable.contains_key(key)
    }

    /// Adds an expert; one of the same key is replaced.
    pub fn insert(&mut self, expert: Expert) {
        self.unusable.shift_remove(&expert.key);
        self.experts.insert(expert.key.clone(), expert);
    }

    /// Makes the expert `key` unusable because of `mistakes` in its definition.
    pub fn set_unusable(&mut self, key: ExpertKey, mistakes: String) {
        self.experts.shift_remove(&key);
        self.unusable.insert(key, mistakes);
    }

    /// The experts that `expert` delegates to, in its order.
    ///
    /// # Errors
    /// One of them is not defined, or unusable.
    pub fn delegates(&self, expert: &Expert) -> Result<Vec<&Expert>, ExpertError> {
        let delegate = |key: &ExpertKey| match self.get(key) {
            Err(ExpertError::Unknown(_)) => {
                Err(UnknownDelegate { expert: expert.key.clone(), delegate: key.clone() }.into())
            }
            found => found,
        };
        expert.delegates.iter().map(delegate).collect()
    }

    /// The expert `key` and all that it can reach by delegation, each before those that it leads to. Delegates that are not
    /// defined are left out.
    ///
    /// # Errors
    /// The expert `key` is not defined, or one of them is unusable.
    pub fn reachable(&self, key: &ExpertKey) -> Result<Vec<&Expert>, ExpertError> {
        // Without recursion: a file may hold a very long chain.
        let mut next = vec![self.get(key)?];
        let mut seen = HashSet::new();
        let mut reached = Vec::new();
        while let Some(expert) = next.pop() {
            if seen.insert(&expert.key) {
                reached.push(expert);
                for key in expert.delegates.iter().rev().filter(|key| self.contains(key)) {
                    next.push(self.get(key)?);
                }
            }
        }
        Ok(reached)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &ExpertKey> {
        self.experts.keys()
    }

    /// The experts, in order.
    pub fn values(&self) -> impl Iterator<Item = &Expert> {
        self.experts.values()
    }

    /// The number of experts.
    pub fn len(&self) -> usize {
        self.experts.len()
    }

    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.experts.is_empty()
    }

    /// The expert at a place in the order.
    pub fn at(&self, index: usize) -> Option<&Expert> {
        self.experts.get_index(index).map(|(_, expert)| expert)
    }

    /// The place of the expert `key` in the order.
    pub fn index_of(&self, key: &ExpertKey) -> Option<usize> {
        self.experts.get_index_of(key)
    }
}

/// Of experts with the same key, the last counts.
impl FromIterator<Expert> for ExpertMap {
    fn from_iter<I: IntoIterator<Item = Expert>>(experts: I) -> Self {
        let experts = experts.into_iter().map(|expert| (expert.key.clone(), expert)).collect();
        Self { experts, unusable: IndexMap::new() }
    }
}

impl<const N: usize> From<[Expert; N]> for ExpertMap {
    fn from(experts: [Expert; N]) -> Self {
        experts.into_iter().collect()
    }
}

/// The keys that are defined, as a message ends with them.
pub(crate) fn listed(known: &[ExpertKey]) -> String {
    let known: Vec<&str> = known.iter().map(ExpertKey::as_str).collect();
    if known.is_empty() { String::new() } else { format!(": there are {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expert(key: &str, delegates: &[&str]) -> Expert {
        let expert = serde_json::json!({"key": key, "name": key, "version": "1.0.0", "instruction": "Be good.",
            "skills": {}, "delegates": delegates});
        serde_json::from_value(expert).unwrap()
    }

    fn keys<'a>(experts: &[&'a Expert]) -> Vec<&'a str> {
        experts.iter().map(|expert| expert.key.as_str()).collect()
    }

    #[test]
    fn what_an_expert_reaches_comes_once_and_in_the_order_of_delegation() {
        let map = ExpertMap::from([
            expert("alone", &[]),
            expert("lead", &["a", "b", "gone"]),
            expert("b", &["lead"]),
            expert("a", &["c", "b"]),
            expert("c", &[]),
        ]);
        let reached = |key: &str| map.reachable(&key.parse().unwrap()).map(|experts| keys(&experts));
        assert_eq!(reached("lead"), Ok(vec!["lead", "a", "c", "b"]));
        assert_eq!(reached("b"), Ok(vec!["b", "lead", "a", "c"]));
        assert_eq!(reached("alone"), Ok(vec!["alone"]));
        assert_eq!(
            reached("gone").unwrap_err().to_string(),
            "no expert gone is defined: there are alone, lead, b, a, c"
        );
    }

    #[test]
    fn a_delegate_that_is_not_defined_is_named() {
        let map = ExpertMap::from([expert("lead", &["a", "gone"]), expert("a", &[])]);
        let delegates = |key: &str| map.delegates(map.get(&key.parse().unwrap()).unwrap());
        assert_eq!(delegates("a"), Ok(vec![]));
        assert_eq!(
            delegates("lead").unwrap_err().with_hint(),
            "expert lead delegates to gone, which is not defined; define it, or take it out of delegates"
        );
    }

    #[test]
    fn an_unusable_expert_stops_those_that_reach_it_and_no_other() {
        let key = |key: &str| key.parse::<ExpertKey>().unwrap();
        let mut map = ExpertMap::from([expert("lead", &["a"]), expert("a", &["bad"]), expert("alone", &[])]);
        map.set_unusable(key("bad"), "p.toml:9:1: experts.bad: wrong".to_owned());
        let reached = |from: &str| map.reachable(&key(from)).map(|experts| keys(&experts)).map_err(|e| e.to_string());
        assert_eq!(reached("alone"), Ok(vec!["alone"]));
        let error = "p.toml:9:1: experts.bad: wrong\nso that expert bad cannot be used".to_owned();
        assert_eq!([reached("lead"), reached("bad")], [Err(error.clone()), Err(error)]);
        assert!(map.contains(&key("bad")) && map.len() == 3);
    }

    #[test]
    fn a_long_chain_of_delegates_is_walked() {
        let key = |n: usize| format!("e{n}");
        let map: ExpertMap = (0..20_000).map(|n| expert(&key(n), &[&key(n + 1)])).collect();
        assert_eq!(map.reachable(&key(0).parse().unwrap()).unwrap().len(), 20_000);
    }
}
