//! [`LockArgs`]: the use of the lock by `run` and `resume`: the flags, and the file beside the configuration.

use std::sync::Arc;

use clap::Args;
use perstack::config::ConfigError;
use perstack::config::lockfile::{self, LockUse};

use super::Process;
use super::failure::Failure;
use super::setup::{Setup, warn};

/// The options of the lock.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct LockArgs {
    /// Refuse to run unless perstack.lock is there and fresh, and the configuration has no unknown keys (for CI)
    #[arg(long)]
    pub locked: bool,
    /// Use perstack.lock as it is, without checking that it is fresh
    #[arg(long, conflicts_with = "locked")]
    pub frozen: bool,
}

impl LockArgs {
    fn lock_use(self) -> LockUse {
        match (self.locked, self.frozen) {
            (true, _) => LockUse::Locked,
            (false, true) => LockUse::Frozen,
            (false, false) => LockUse::Auto,
        }
    }
}

impl Setup {
    /// Adds the lock beside the configuration. One that cannot be read gives a warning, unless it is required or `quiet`.
    ///
    /// # Errors
    /// With `--locked`, for unknown keys and lists that are not enforced; and when the lock must serve and cannot be read.
    pub fn with_lock(mut self, args: LockArgs, process: &Process, quiet: bool) -> Result<Self, Failure> {
        self.lock = args.lock_use();
        let Some(project) = &self.project else { return Ok(self) };
        if self.lock == LockUse::Locked && !project.unknown_keys.is_empty() {
            let keys = project.unknown_keys.clone();
            return Err(Failure::usage(ConfigError::UnknownKeys { keys })
                .help("correct or remove them, or run without --locked"));
        }
        if let Some(unenforced) = self.unenforced_lists().first().filter(|_| self.lock == LockUse::Locked) {
            return Err(
                Failure::usage(anyhow::anyhow!("{unenforced}")).help("remove allowedDomains, or run without --locked")
            );
        }
        match lockfile::read(&lockfile::find(&project.path)) {
            Ok(lock) => self.lockfile = lock.map(Arc::new),
            Err(error) if self.lock == LockUse::Auto => {
                let error = Failure::usage(error).lines().join(" ");
                warn(process, quiet, &format!("{error}; skills are started instead"));
            }
            Err(error) => return Err(Failure::usage(error)),
        }
        Ok(self)
    }
}
