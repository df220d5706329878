//! [`Sandbox`]: how far commands and servers are contained. Configuration and command line settle it, the skills obey it.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The containment of started programs, the loosest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sandbox {
    /// None: programs have all of the user's rights, and may gain more (`sudo`).
    Off,
    /// Commands of the base skill, servers whose skills declare lists, and servers that are looked for in the workspace.
    /// Where the kernel lacks the means, programs run without, and that is reported.
    #[default]
    Auto,
    /// Every started program.
    All,
    /// As [`Sandbox::All`]; where the kernel lacks the means, nothing is started.
    Required,
}

impl Sandbox {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 4] =
        [("off", Self::Off), ("auto", Self::Auto), ("all", Self::All), ("required", Self::Required)];

    /// Its word in configuration and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::All => "all",
            Self::Required => "required",
        }
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Sandbox {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Sandbox {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A text that is no word of [`Sandbox`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no sandbox: use off, auto, all or required")]
pub struct UnknownSandbox(String);

impl FromStr for Sandbox {
    type Err = UnknownSandbox;

    fn from_str(text: &str) -> Result<Self, UnknownSandbox> {
        let word = Self::WORDS.into_iter().find(|(word, _)| *word == text);
        word.map(|(_, sandbox)| sandbox).ok_or_else(|| UnknownSandbox(text.chars().take(60).collect()))
    }
}

/// The containment in force, as events report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SandboxState {
    /// The setting.
    pub setting: Sandbox,
    /// Programs that the setting contains are contained.
    pub in_force: bool,
    /// The means that this system lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_ordered_by_strictness() {
        for (word, sandbox) in Sandbox::WORDS {
            assert_eq!((word.parse(), sandbox.to_string()), (Ok(sandbox), word.to_owned()));
        }
        assert!(Sandbox::WORDS.is_sorted_by_key(|(_, sandbox)| sandbox));
        assert_eq!("Off".parse::<Sandbox>(), Err(UnknownSandbox("Off".to_owned())));
    }
}
