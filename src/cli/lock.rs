//! The lock beside the configuration, read for `run`, `resume` and `list-tools` as their flags ask for it.

use std::sync::Arc;

use perstack::config::ConfigError;
use perstack::config::lockfile::{self, LockUse};

use super::Process;
use super::failure::Failure;
use super::options::{LockArgs, PlaceArgs};
use super::owners::OwnerCheck;
use super::setup::{Setup, warn};
use super::tool_names;

impl Setup {
    /// Adds the lock beside the configuration. One that cannot be read gives a warning, unless it is required or `quiet`.
    ///
    /// # Errors
    /// With `--locked`, for unknown keys and lists that are not enforced; and when the lock must serve and cannot be read.
    pub fn with_lock(
        mut self,
        args: LockArgs,
        process: &Process,
        place: &PlaceArgs,
        quiet: bool,
    ) -> Result<Self, Failure> {
        self.lock = args.lock_use();
        let Some(project) = &self.project else { return Ok(self) };
        if self.lock == LockUse::Locked && !project.unknown_keys.is_empty() {
            let keys = project.unknown_keys.clone();
            return Err(Failure::usage(ConfigError::UnknownKeys { keys })
                .help("correct or remove them, or run without --locked"));
        }
        // Also where the folder lifts containment once it is trusted, which is decided later.
        let settings = [&self.settings, self.trusted_settings()];
        let unenforced = settings.into_iter().flat_map(|settings| self.unenforced_lists(settings)).next();
        if let Some(unenforced) = unenforced.filter(|_| self.lock == LockUse::Locked) {
            return Err(Failure::usage(anyhow::anyhow!("{unenforced}"))
                .help("run where it can be, remove allowedDomains, or run without --locked"));
        }
        let path = lockfile::find(&project.path);
        if !self.places.is_named() {
            let owners = OwnerCheck::new(process, place.trust);
            owners.accept_path(&path, "name its configuration with --config")?;
        }
        match lockfile::read(&path) {
            Ok(lock) => {
                for line in lock.iter().flat_map(|lock| tool_names::unknown_to_lock(project, lock)) {
                    warn(process, quiet, &line);
                }
                self.lockfile = lock.map(Arc::new);
            }
            Err(error) if self.lock == LockUse::Auto => {
                let error = Failure::usage(error).line();
                warn(process, quiet, &format!("{error}; skills are started instead"));
            }
            Err(error) => return Err(Failure::usage(error)),
        }
        Ok(self)
    }
}
