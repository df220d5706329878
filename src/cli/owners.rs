//! [`OwnerCheck`]: refuses configuration, `.env`, lock and storage of another user, unless the user named them. Called by
//! `setup`, `lock` and `log` before anything of them is used.

use std::path::Path;

use perstack::config::ConfigError;
use perstack::config::trust::owner::{FileOwners, owner, user_name};

use super::Process;
use super::failure::Failure;

/// The users whose files are used.
pub struct OwnerCheck {
    /// `None` where every owner is accepted.
    owners: Option<FileOwners>,
    /// The way on that every file has.
    general_way: &'static str,
}

impl OwnerCheck {
    /// Reads the users of this process. With `--trust` or `PERSTACK_TRUST=1`, files of every user are used.
    pub fn new(process: &Process, trust: bool) -> Self {
        let accepts_all = trust || process.variable("PERSTACK_TRUST") == Some("1");
        let owners = (!accepts_all).then(|| of_process(process)).flatten();
        Self { owners, general_way: "use --trust or PERSTACK_TRUST=1" }
    }

    /// As [`OwnerCheck::new`], for a command without `--trust`.
    pub fn without_flag(process: &Process) -> Self {
        Self { general_way: "set PERSTACK_TRUST=1", ..Self::new(process, false) }
    }

    /// Returns true if files of `owner` are used.
    pub fn trusts(&self, owner: Option<u32>) -> bool {
        self.owners.as_ref().is_none_or(|owners| owners.trusts(owner))
    }

    /// Returns true if a file or folder is used, by its owner now.
    pub fn trusts_path(&self, path: &Path) -> bool {
        self.trusts(owner(path))
    }

    /// Accepts a file by the owner that it had when it was read.
    ///
    /// # Errors
    /// With the exit code for usage, for a file of another user; names the file and the user.
    pub fn accept(&self, path: &Path, owner: Option<u32>, way_on: &str) -> Result<(), Failure> {
        if self.trusts(owner) {
            return Ok(());
        }
        let owner = owner.map(user_name).unwrap_or_default();
        Err(Failure::usage(ConfigError::ForeignOwner { path: path.to_owned(), owner })
            .help(format!("if it can be trusted, {way_on}, or {}", self.general_way)))
    }

    /// Accepts a file or folder by its owner now; one that is not there is no matter.
    ///
    /// # Errors
    /// As [`OwnerCheck::accept`].
    pub fn accept_path(&self, path: &Path, way_on: &str) -> Result<(), Failure> {
        self.accept(path, owner(path), way_on)
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have none")]
fn of_process(process: &Process) -> Option<FileOwners> {
    Some(FileOwners::of_process(&process.folder, process.variable("SUDO_UID")))
}

#[cfg(not(unix))]
fn of_process(_process: &Process) -> Option<FileOwners> {
    None
}
