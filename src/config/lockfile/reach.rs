//! [`LockedReach`]: the files, sockets, grants and hosts that a skill was given when the lock was written. A configuration
//! that gives more is another one than was reviewed; the reason of a stale lock names what it adds.

use serde::{Deserialize, Serialize};

use crate::expert::{SkillAccess, SkillSpec};

/// The reach of a skill, as it was declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockedReach {
    #[serde(flatten)]
    pub access: SkillAccess,
    /// The only hosts; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_domains: Option<Vec<String>>,
}

impl LockedReach {
    /// The reach that a skill declares; none where it declares nothing.
    pub(super) fn of(spec: &SkillSpec) -> Option<Self> {
        let allowed_domains = spec.allowed_domains().map(<[String]>::to_vec);
        let reach = Self { access: spec.common().access.clone(), allowed_domains };
        (reach != Self::default()).then_some(reach)
    }

    /// Everything that this has and `before` has not, in words.
    pub(super) fn beyond(&self, before: &Self) -> Vec<String> {
        let new = |now: &[String], before: &[String]| -> Vec<String> {
            now.iter().filter(|path| !before.contains(path)).cloned().collect()
        };
        let (now, old) = (&self.access, &before.access);
        let added = SkillAccess {
            reads: new(&now.reads, &[&*old.reads, &*old.writes].concat()),
            writes: new(&now.writes, &old.writes),
            unix_sockets: new(&now.unix_sockets, &old.unix_sockets),
            grants: now.grants.iter().filter(|grant| !old.grants.contains(grant)).copied().collect(),
        };
        let mut lines = added.lines();
        match (&self.allowed_domains, &before.allowed_domains) {
            (_, None) => {}
            (None, Some(_)) => lines.push("reach anything on the network".to_owned()),
            (Some(now), Some(old)) => {
                let hosts = new(now, old);
                lines.extend((!hosts.is_empty()).then(|| format!("reach {}", hosts.join(", "))));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(reads: &[&str], writes: &[&str], domains: Option<&[&str]>) -> LockedReach {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let access = SkillAccess { reads: owned(reads), writes: owned(writes), ..SkillAccess::default() };
        LockedReach { access, allowed_domains: domains.map(owned) }
    }

    #[test]
    fn wider_reaches_are_named_and_narrower_ones_not() {
        let before = reach(&["~/a"], &["~/b"], Some(&["x.example"]));
        let wider = [
            (reach(&["~/a", "~/c"], &["~/b"], Some(&["x.example"])), "read ~/c"),
            (reach(&["~/a"], &["~/a", "~/b"], Some(&["x.example"])), "write ~/a"),
            (reach(&["~/a"], &["~/b"], Some(&["x.example", "*.y.example"])), "reach *.y.example"),
            (reach(&["~/a"], &["~/b"], None), "reach anything on the network"),
        ];
        for (now, line) in wider {
            assert_eq!(now.beyond(&before), [line]);
            assert!(before.beyond(&now).is_empty());
        }
        assert!(reach(&["~/a", "~/b"], &[], Some(&[])).beyond(&before).is_empty());
        assert!(reach(&[], &[], Some(&["x.example"])).beyond(&LockedReach::default()).is_empty());
    }
}
