//! The risk of giving a file to contained programs: places of secrets, folders with far more in them than a program needs,
//! and files that other programs are started by. Learning asks for it, so that none of them is proposed as a line to copy.

use std::path::Path;

use super::needs::{FileNeed, FileRisk};
use super::rule::{FileAccess, PathRule};
use super::{Containment, grants};
use crate::expert::AccessGrant;

/// Places outside of the home folder that hold secrets, or stand for devices and processes.
const SYSTEM_PLACES: [&str; 7] = ["/etc", "/run", "/var/run", "/proc", "/sys", "/dev", "/boot"];

/// Places of the home folder that hold secrets for which there is no grant, or a record of what somebody did.
const PRIVATE_PLACES: [&str; 18] = [
    ".bash_history",
    ".zsh_history",
    ".histfile",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".pgpass",
    ".my.cnf",
    ".password-store",
    ".pki",
    ".mozilla",
    ".thunderbird",
    ".config/google-chrome",
    ".config/chromium",
    ".config/op",
    ".local/share/keyrings",
    ".vault-token",
];

/// Places of the home folder whose content is run or obeyed by other programs.
const OBEYED_PLACES: [&str; 17] = [
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".zlogin",
    ".config/fish",
    ".config/autostart",
    ".config/systemd",
    ".config/perstack",
    ".gitconfig",
    ".config/git",
    ".vimrc",
    ".emacs.d",
];

/// Folders of the home folder that all programs keep their files in.
const SHARED_FOLDERS: [&str; 6] = [".config", ".cache", ".local", ".local/share", ".local/state", ".local/bin"];

impl Containment {
    /// The need for `real`, a path without links, that no rule gives. With `creates`, something is made or removed in its
    /// folder.
    pub(super) fn need(&self, path: &Path, real: &Path, changes: bool, creates: bool) -> FileNeed {
        let folder = real.parent().filter(|folder| self.risk(folder, folder, changes).is_none());
        // A folder that is too wide to be given may hold one that is not, once that is there.
        let is_made = creates && folder.is_none() && !real.exists();
        let place = if creates && !is_made { real.parent() } else { None };
        let (real, path) = place.map_or((real, path), |folder| (folder, folder));
        let above = folder.filter(|folder| *folder != real);
        FileNeed {
            path: real.to_owned(),
            shown: self.shown(real),
            changes,
            is_missing: !real.exists(),
            risk: self.risk(path, real, changes),
            folder: above.map(|folder| (folder.to_owned(), self.shown(folder))),
        }
    }

    /// The risk of giving `real`; `path` is the same with its links.
    fn risk(&self, path: &Path, real: &Path, changes: bool) -> Option<FileRisk> {
        let home = self.home.as_ref();
        if let Some(grant) = self.granted_by(path, real) {
            return Some(FileRisk::Credentials(grant));
        }
        let in_home = |places: &[&str]| {
            let home_places = |place| home.map(|home| home.places(place)).unwrap_or_default();
            places.iter().flat_map(|place| home_places(place)).any(|place| real.starts_with(place))
        };
        let is_shared = |folder: &&str| home.is_some_and(|home| home.places(folder).iter().any(|place| place == real));
        let is_system = SYSTEM_PLACES.iter().any(|place| real.starts_with(place));
        // The root, and what is directly in it.
        let is_near_root = real.components().count() <= 2;
        let holds_credentials = || AccessGrant::WORDS.iter().any(|(_, grant)| grants::is_beneath(*grant, real, home));
        let is_program = || {
            matches!(
                self.rule(real, FileAccess::Read),
                Some(PathRule::System | PathRule::ProgramFolder | PathRule::Toolchain | PathRule::OwnFiles)
            )
        };
        let reason = if home.is_some_and(|home| home.is_in(real)) {
            "it is or holds the home folder, with all keys, tokens and histories in it"
        } else if is_near_root || SHARED_FOLDERS.iter().any(is_shared) {
            "it holds files of many programs"
        } else if in_home(&PRIVATE_PLACES) {
            "a place of secrets"
        } else if holds_credentials() {
            "it holds credentials"
        } else if changes && (in_home(&OBEYED_PLACES) || is_program()) {
            "other programs run or obey what is in it"
        } else if is_system {
            "the system's own, which is root's or holds secrets"
        } else {
            return None;
        };
        Some(FileRisk::Other(reason))
    }
}
