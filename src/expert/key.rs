//! [`ExpertKey`]: the name of an expert, with an optional version or tag. Parsed at the edges, from configuration, command
//! line and stored files; a key that is held is valid.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most bytes of an expert key (the original's limit).
const MAX_KEY: usize = 511;

/// A text that is no expert key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid expert key {0:?}: use lower-case letters, digits, - _ . , with an optional @scope/ before \
     and @version or @tag behind"
)]
pub struct InvalidExpertKey(String);

/// Names an expert: `name`, `@scope/name`, each with an optional `@1.2.3` or `@tag` behind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpertKey {
    /// Shared by all copies: every event has one.
    text: Arc<str>,
    /// Bytes of `text` that are the name, scope included.
    name_len: usize,
}

impl ExpertKey {
    /// The key of an expert whose JSON has none.
    pub(super) fn of_nameless() -> Self {
        let text: Arc<str> = "expert".into();
        Self { name_len: text.len(), text }
    }

    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key without version or tag.
    pub fn name(&self) -> &str {
        self.text.get(..self.name_len).unwrap_or(&self.text)
    }

    /// The part behind the name's `@`: a version or a tag.
    pub fn version_or_tag(&self) -> Option<&str> {
        self.text.get(self.name_len + 1..).filter(|rest| !rest.is_empty())
    }

    /// The key without version or tag, as a key.
    #[must_use]
    pub fn without_version(&self) -> Self {
        Self { text: self.name().into(), name_len: self.name_len }
    }

    /// The name of the tool by which other experts call this one: the name's part after the last `/`.
    pub fn tool_name(&self) -> &str {
        let name = self.name();
        name.rsplit_once('/').map_or(name, |(_, last)| last)
    }
}

/// `[a-z0-9][a-z0-9_.-]*`
fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.as_bytes().first().is_some_and(|b| plain(*b))
        && text.bytes().all(|b| plain(b) || matches!(b, b'_' | b'.' | b'-'))
}

/// Returns true if `text` is a semantic version: `MAJOR.MINOR.PATCH`, then optionally `-pre` and `+build`.
pub fn is_version(text: &str) -> bool {
    let label =
        |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    let (rest, build) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers
            .iter()
            .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && (n.len() == 1 || !n.starts_with('0')))
        && build.is_none_or(label)
        && pre.is_none_or(label)
}

impl FromStr for ExpertKey {
    type Err = InvalidExpertKey;
    fn from_str(text: &str) -> Result<Self, InvalidExpertKey> {
        let bad = || InvalidExpertKey(text.chars().take(120).collect());
        let (scope_len, rest) = match text.strip_prefix('@') {
            Some(scoped) => {
                let (scope, rest) = scoped.split_once('/').ok_or_else(bad)?;
                if !is_word(scope) {
                    return Err(bad());
                }
                (scope.len() + 2, rest)
            }
            None => (0, text),
        };
        let (name, suffix) = rest.split_once('@').map_or((rest, None), |(n, s)| (n, Some(s)));
        let suffix_ok = suffix.is_none_or(|s| is_version(s) || is_word(s));
        if text.len() > MAX_KEY || !is_word(name) || !suffix_ok {
            return Err(bad());
        }
        Ok(Self { text: text.into(), name_len: scope_len + name.len() })
    }
}

impl fmt::Display for ExpertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ExpertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ExpertKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ExpertKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_split_into_name_and_version() {
        let parse = |t: &str| {
            t.parse::<ExpertKey>()
                .map(|k| (k.name().to_owned(), k.version_or_tag().map(str::to_owned), k.tool_name().to_owned()))
        };
        let some = |n: &str, v: Option<&str>, t: &str| Ok((n.to_owned(), v.map(str::to_owned), t.to_owned()));
        assert_eq!(parse("my-expert"), some("my-expert", None, "my-expert"));
        assert_eq!(parse("@org/my-expert"), some("@org/my-expert", None, "my-expert"));
        assert_eq!(parse("@org/e@1.2.3-rc.1+b.7"), some("@org/e", Some("1.2.3-rc.1+b.7"), "e"));
        assert_eq!(parse("e@latest"), some("e", Some("latest"), "e"));
        for bad in ["", "A", "@org", "@/x", "a/b", "a@", "a@01.2.3@x", "a b", "@a/b/c", "é"] {
            assert!(bad.parse::<ExpertKey>().is_err(), "{bad:?}");
        }
    }
}
