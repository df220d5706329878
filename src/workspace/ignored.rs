//! [`Ignored`]: the `.gitignore` files that hold in a folder: its own, those of the folders above it, and, where the
//! workspace lies in a repository, those up to its root.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::open;

/// The file with the rules of a folder.
const NAME: &str = ".gitignore";
/// The bytes that are read of one: more is no list that a person wrote.
const MAX_FILE: u64 = 1 << 20;

/// The rules of a folder and of those above it, the outermost first.
#[derive(Default)]
pub(super) struct Ignored {
    levels: Vec<(PathBuf, Gitignore)>,
}

impl Ignored {
    /// The rules above the workspace `root`, if that is below the root of a repository.
    pub(super) fn above(root: &Path) -> Self {
        let mut ignored = Self::default();
        let Some(repository) = root.ancestors().find(|folder| folder.join(".git").exists()) else { return ignored };
        let mut folders: Vec<&Path> =
            root.ancestors().skip(1).take_while(|folder| folder.starts_with(repository)).collect();
        folders.reverse();
        for folder in folders {
            if let Ok(opened) = Dir::open_ambient_dir(folder, ambient_authority()) {
                ignored.enter(&opened, folder);
            }
        }
        if let Ok(git) = Dir::open_ambient_dir(repository.join(".git/info"), ambient_authority()) {
            ignored.add(&git, "exclude", repository);
        }
        ignored
    }

    /// Adds the rules of `folder`, which is at `path`; returns how many levels to [`leave`](Self::leave).
    pub(super) fn enter(&mut self, folder: &Dir, path: &Path) -> usize {
        self.add(folder, NAME, path)
    }

    fn add(&mut self, folder: &Dir, name: &str, path: &Path) -> usize {
        let Ok(file) = open::file(folder, OsStr::new(name)) else { return 0 };
        let mut bytes = Vec::new();
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file || file.take(MAX_FILE).read_to_end(&mut bytes).is_err() {
            return 0;
        }
        let mut builder = GitignoreBuilder::new("");
        for line in String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').lines() {
            // A line that is no pattern matches nothing, as in git.
            let _ = builder.add_line(None, line);
        }
        let Ok(rules) = builder.build() else { return 0 };
        if rules.is_empty() {
            return 0;
        }
        self.levels.push((path.to_owned(), rules));
        1
    }

    /// Forgets the rules of the innermost folder.
    pub(super) fn leave(&mut self, levels: usize) {
        self.levels.truncate(self.levels.len().saturating_sub(levels));
    }

    /// Returns whether the entry at `path` is ignored. Its folder is not.
    pub(super) fn is_ignored(&self, path: &Path, is_folder: bool) -> bool {
        for (base, rules) in self.levels.iter().rev() {
            let Ok(below) = path.strip_prefix(base) else { continue };
            match rules.matched(below, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}
