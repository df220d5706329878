//! [`DangerousParts`]: the parts of a project that can do harm, and their digest. A person agrees to them once per folder.
//!
//! Called by the command line, which asks, and keeps the answer by [`record`]. The parts are taken from the project as it
//! was parsed, never from a second reading; only the files that commands name are read here (`programs.rs`). Asking and
//! refusing are left to the caller.

pub mod cassettes;
mod collect;
pub mod owner;
mod programs;
pub mod record;
mod shown;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::expert::ExpertKey;
use crate::hex;

pub use collect::{TrustInputs, VendorRules};
pub use programs::is_found_beneath;

/// The kind of a part; those that cost the most come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartKind {
    /// A variable that is sent to an address or given to a command.
    Variable,
    /// A server that is not the vendor's own, or a part of its address.
    Address,
    /// A header that goes to the models' server.
    Header,
    /// A model's key that the folder brings: the texts that experts read go to its account.
    Key,
    /// Containment that is lifted, or files and sockets that contained programs are given.
    Access,
    /// A command that is started.
    Command,
    /// Experts that may run any command.
    Exec,
    /// The contents of a file that a command runs or reads.
    File,
}

/// One part, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustPart {
    pub kind: PartKind,
    /// A line for a person.
    pub text: String,
    /// The digest of all that the part is made of, secrets included.
    pub digest: String,
    /// The experts that it belongs to; empty for those of the whole project.
    #[serde(skip)]
    pub experts: Vec<ExpertKey>,
    /// The reason why it is refused where there is nobody to ask.
    #[serde(skip)]
    pub refusal: Option<String>,
    /// It is a file that is too large to be read: its contents are in no digest.
    #[serde(skip)]
    pub is_unread: bool,
}

impl TrustPart {
    fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.text, &self.digest) == (other.kind, &other.text, &other.digest)
    }
}

/// The dangerous parts of a project, in their order for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DangerousParts(Vec<TrustPart>);

/// A difference between the parts that were agreed to and those of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartChange {
    Added(String),
    /// The line is the same; the contents behind it are not.
    Changed(String),
    Removed(String),
}

impl DangerousParts {
    /// Sorts the parts and joins equal ones.
    fn new(parts: Vec<TrustPart>) -> Self {
        let mut joined: Vec<TrustPart> = Vec::new();
        for part in parts {
            match joined.iter_mut().find(|other| other.is_same(&part)) {
                Some(other) => {
                    let more = part.experts.into_iter().filter(|key| !other.experts.contains(key)).collect::<Vec<_>>();
                    other.experts.extend(more);
                    other.refusal = other.refusal.take().or(part.refusal);
                }
                None => joined.push(part),
            }
        }
        joined.sort_by(|one, other| (one.kind, &one.text, &one.digest).cmp(&(other.kind, &other.text, &other.digest)));
        Self(joined)
    }

    /// All parts.
    pub fn parts(&self) -> &[TrustPart] {
        &self.0
    }

    /// Returns true if there is nothing to agree to.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first file that is too large to be known by its contents.
    pub fn unread(&self) -> Option<&TrustPart> {
        self.0.iter().find(|part| part.is_unread)
    }

    /// The digest over all parts: 64 hexadecimal digits. It does not depend on the machine or the user's environment. None
    /// where it would not stand for all of them, as of [`DangerousParts::unread`]: an agreement to it would hold for any
    /// contents.
    pub fn digest(&self) -> Option<String> {
        if self.unread().is_some() {
            return None;
        }
        let mut all = String::new();
        for part in &self.0 {
            // Lengths keep one part's text from passing for two. Writing to a String does not fail.
            let _ = writeln!(all, "{:?} {} {} {}", part.kind, part.text.len(), part.text, part.digest);
        }
        Some(hex_digest(all.as_bytes()))
    }

    /// The reasons to refuse, where nobody can be asked: of these experts' parts, and of the whole project's if a model is
    /// asked.
    pub fn refusals(&self, experts: &BTreeSet<ExpertKey>, asks_models: bool) -> Vec<&str> {
        let concerns = |part: &&TrustPart| match part.experts.as_slice() {
            [] => asks_models,
            keys => keys.iter().any(|key| experts.contains(key)),
        };
        self.0.iter().filter(concerns).filter_map(|part| part.refusal.as_deref()).collect()
    }

    /// The differences from the parts of an earlier agreement.
    pub fn changes_since(&self, earlier: &[TrustPart]) -> Vec<PartChange> {
        let has_line = |parts: &[TrustPart], part: &TrustPart| {
            parts.iter().any(|other| (other.kind, &other.text) == (part.kind, &part.text))
        };
        let new = self.0.iter().filter(|part| !earlier.iter().any(|other| other.is_same(part))).map(|part| {
            let text = part.text.clone();
            if has_line(earlier, part) { PartChange::Changed(text) } else { PartChange::Added(text) }
        });
        let gone = earlier.iter().filter(|part| !has_line(&self.0, part));
        new.chain(gone.map(|part| PartChange::Removed(part.text.clone()))).collect()
    }
}

/// SHA-256 as 64 hexadecimal digits.
fn hex_digest(bytes: &[u8]) -> String {
    hex::digits(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
