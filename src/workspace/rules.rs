//! [`SnapshotRules`]: what is in the state of the workspace. The product's own files, git's, secrets, and what is ignored are not.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, Metadata};

use super::open;

/// Files and folders that belong to the product or hold keys, found by what they are and not by their names.
#[derive(Debug, Clone, Default)]
pub struct ClosedFiles {
    pub paths: Vec<PathBuf>,
}

/// The rules of one workspace.
pub struct SnapshotRules<'a> {
    /// Without links.
    pub root: &'a Path,
    closed: Vec<Metadata>,
    /// Returns whether a file's bytes hold a known secret.
    pub is_secret: &'a (dyn Fn(&[u8]) -> bool + Sync),
}

/// The folder of the product in the workspace.
const OWN: &str = "perstack";
/// Repositories of version control, and folders that package managers fill.
const NEVER: [&str; 6] = [".git", ".hg", ".svn", ".jj", "node_modules", ".venv"];
/// The first bytes of the file by which a program marks a folder as its cache (bford.info/cachedir).
const CACHE_TAG: (&str, &[u8]) = ("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");
/// Files and folders of keys and tokens, by their names.
const SECRETS: [&str; 22] = [
    ".aws",
    ".azure",
    ".docker",
    ".gnupg",
    ".kube",
    ".ssh",
    ".git-credentials",
    ".htpasswd",
    ".my.cnf",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".vault-token",
    ".yarnrc.yml",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "credentials.json",
    "secrets.toml",
];
/// The endings of files with keys.
const SECRET_ENDINGS: [&str; 8] = [".key", ".keystore", ".jks", ".p12", ".pem", ".pfx", ".ppk", ".kdbx"];
/// The endings of `.env` files that are made to be shared.
const SHARED_ENV: [&str; 5] = ["example", "sample", "template", "dist", "defaults"];

/// The reasons for which an entry is not in the state of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exclusion {
    /// It is never part of it, and not mentioned.
    Never,
    /// It belongs to the product now, and may not later, as a cassette that is being recorded: its folder's list names it.
    Own,
    /// It may hold secrets, which is mentioned.
    Secret,
}

impl<'a> SnapshotRules<'a> {
    /// The rules for the folder `root`, a path without links, and the files at `closed` as they are now.
    pub fn new(root: &'a Path, closed: &ClosedFiles, is_secret: &'a (dyn Fn(&[u8]) -> bool + Sync)) -> Self {
        let found = |path: &PathBuf| std::fs::metadata(path).ok().map(Metadata::from_just_metadata);
        Self { root, closed: closed.paths.iter().filter_map(found).collect(), is_secret }
    }

    /// The reason for which the entry `name` of a folder is not stored. `is_top`: the folder is the workspace itself.
    pub(super) fn exclusion(&self, name: &OsStr, metadata: &Metadata, is_top: bool) -> Option<Exclusion> {
        let text = name.to_string_lossy().to_lowercase();
        if NEVER.contains(&text.as_str()) || (is_top && text == OWN) {
            return Some(Exclusion::Never);
        }
        if self.is_closed(metadata) {
            return Some(Exclusion::Own);
        }
        is_secret_name(&text).then_some(Exclusion::Secret)
    }

    fn is_closed(&self, metadata: &Metadata) -> bool {
        self.closed.iter().any(|closed| is_same(closed, metadata))
    }
}

fn is_secret_name(name: &str) -> bool {
    let is_env = match name.strip_prefix(".env") {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(|rest| !SHARED_ENV.contains(&rest)),
        None => name.rsplit_once('.').is_some_and(|(_, ending)| ending == "env"),
    };
    is_env || SECRETS.contains(&name) || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Returns whether a program has marked `folder` as its cache.
pub(super) fn is_cache(folder: &Dir) -> bool {
    let (name, tag) = CACHE_TAG;
    let Ok(file) = open::file(folder, OsStr::new(name)) else { return false };
    let mut found = Vec::new();
    file.take(tag.len().try_into().unwrap_or(0)).read_to_end(&mut found).is_ok() && found == tag
}

#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use cap_std::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_and_their_neighbours_are_not() {
        for name in [".env", ".env.local", "prod.env", ".npmrc", "id_rsa", "server.pem", "tls.key"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [".env.example", ".envrc-notes", "env.rs", "keys.rs", "monkey", "id_rsa.pub", "notes.md"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
