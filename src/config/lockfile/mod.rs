//! [`Lock`], `perstack.lock`: experts and the tool definitions of their skills, so that a run starts without starting a
//! server. `install` writes it and every job reads it; starting skills is left to the runtime.
//!
//! The file is the original's TOML with fields of our own, which the original ignores: digests of what an entry was
//! made from and of each definition, the negotiated protocol, a tool's kind and hints. Locks of the original are read
//! too.
//!
//! A lock holds nothing but what the configuration and the servers contain: no variable's value gets here.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

mod definitions;
mod digest;
mod drift;
mod entry;
mod file;
mod fresh;
mod make;
mod names;
mod open_tables;
mod reach;
mod schema;
mod text_reader;

pub use drift::{Change, ToolDifference, differences};
pub use entry::{LockedExpert, LockedSkill, LockedTool};
pub use file::{Written, find, read, write};
pub use fresh::{LockChoice, LockState, LockUse, choose};
pub use make::{Definition, DiscoveredTools};
pub use names::unmatched;

/// The file's name.
pub const FILE_NAME: &str = "perstack.lock";
/// The one version of the format (the original's).
const VERSION: &str = "1";

/// A lock, read from a file or made anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    version: String,
    /// Milliseconds since 1970.
    pub generated_at: u64,
    /// The base name of the configuration file.
    pub config_path: String,
    /// By key, in the order of the configuration.
    pub experts: IndexMap<String, LockedExpert>,
    /// The file it was read from, or will be written to.
    #[serde(skip)]
    path: PathBuf,
    /// SHA-256 of the text it was read from, in hexadecimal digits; empty for one that was made anew.
    #[serde(skip)]
    text_digest: String,
}

impl Lock {
    /// SHA-256 of the text it was read from, with line feeds for line ends, in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.text_digest
    }

    /// The file it was read from, or will be written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether both are equal, except for the time and the order in which servers list tools and schemas' keys.
    pub fn is_equivalent_to(&self, other: &Self) -> bool {
        self.config_path == other.config_path
            && self.experts.len() == other.experts.len()
            && self.experts.iter().zip(&other.experts).all(|((a, one), (b, two))| a == b && one.is_equivalent_to(two))
    }
}

#[cfg(test)]
mod tests;
