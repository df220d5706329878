//! [`ExpertMap`]: the experts of a configuration by their keys, and the graph of their delegations. Configuration makes
//! it, drivers look experts up in it; checks of the graph with places in a file are the configuration's.

use std::collections::HashSet;

use indexmap::IndexMap;

use crate::expert::{Expert, ExpertKey};

/// A key of no expert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no expert {key} is defined{}", listed(known))]
pub struct UnknownExpert {
    pub key: ExpertKey,
    /// The keys that are defined.
    pub known: Vec<ExpertKey>,
}

/// A delegate of an expert that is not defined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expert {expert} delegates to {delegate}, which is not defined: define it, or take it out of delegates")]
pub struct UnknownDelegate {
    pub expert: ExpertKey,
    pub delegate: ExpertKey,
}

/// Experts by their keys, in the order of their configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpertMap(IndexMap<ExpertKey, Expert>);

impl ExpertMap {
    /// The expert `key`.
    ///
    /// # Errors
    /// [`UnknownExpert`], with the keys that are defined.
    pub fn get(&self, key: &ExpertKey) -> Result<&Expert, UnknownExpert> {
        self.0.get(key).ok_or_else(|| UnknownExpert { key: key.clone(), known: self.keys().cloned().collect() })
    }

    /// Whether an expert `key` is defined.
    pub fn contains(&self, key: &ExpertKey) -> bool {
        self.0.contains_key(key)
    }

    /// The experts that `expert` delegates to, in its order.
    ///
    /// # Errors
    /// [`UnknownDelegate`].
    pub fn delegates(&self, expert: &Expert) -> Result<Vec<&Expert>, UnknownDelegate> {
        let delegate = |key: &ExpertKey| {
            self.0.get(key).ok_or_else(|| UnknownDelegate { expert: expert.key.clone(), delegate: key.clone() })
        };
        expert.delegates.iter().map(delegate).collect()
    }

    /// The expert `key` and all that it can reach by delegation, each before those that it leads to. Delegates that are
    /// not defined are left out.
    ///
    /// # Errors
    /// [`UnknownExpert`] for `key`.
    pub fn reachable(&self, key: &ExpertKey) -> Result<Vec<&Expert>, UnknownExpert> {
        // Without recursion: a file may hold a very long chain.
        let mut next = vec![self.get(key)?];
        let mut seen = HashSet::new();
        let mut reached = Vec::new();
        while let Some(expert) = next.pop() {
            if seen.insert(&expert.key) {
                reached.push(expert);
                next.extend(expert.delegates.iter().rev().filter_map(|key| self.0.get(key)));
            }
        }
        Ok(reached)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &ExpertKey> {
        self.0.keys()
    }

    /// The experts, in order.
    pub fn values(&self) -> impl Iterator<Item = &Expert> {
        self.0.values()
    }

    /// The number of experts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The expert at a place in the order.
    pub fn at(&self, index: usize) -> Option<&Expert> {
        self.0.get_index(index).map(|(_, expert)| expert)
    }

    /// The place of the expert `key` in the order.
    pub fn index_of(&self, key: &ExpertKey) -> Option<usize> {
        self.0.get_index_of(key)
    }
}

/// Of experts with the same key, the last counts.
impl FromIterator<Expert> for ExpertMap {
    fn from_iter<I: IntoIterator<Item = Expert>>(experts: I) -> Self {
        Self(experts.into_iter().map(|expert| (expert.key.clone(), expert)).collect())
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
        let error = delegates("lead").unwrap_err();
        assert_eq!((error.expert.as_str(), error.delegate.as_str()), ("lead", "gone"));
    }

    #[test]
    fn a_long_chain_of_delegates_is_walked() {
        let key = |n: usize| format!("e{n}");
        let map: ExpertMap = (0..20_000).map(|n| expert(&key(n), &[&key(n + 1)])).collect();
        assert_eq!(map.reachable(&key(0).parse().unwrap()).unwrap().len(), 20_000);
    }
}
