//! [`Commands`]: the surroundings of the commands that the base skill starts. `exec` runs those that models call; a
//! [`Verifier`](super::Verifier) that by which answers are verified.

use std::path::Path;
use std::sync::Arc;

use super::Warn;
use super::off_limits::OffLimits;
use super::protected::Protected;
use super::workspace::Workspace;
use crate::environment::Environment;
use crate::expert::SkillCommon;
use crate::skill::SkillError;
use crate::skill::contain::{Programs, granted_variables};

/// The surroundings of commands.
pub struct Commands {
    pub(super) workspace: Arc<Workspace>,
    /// Of it, commands see the safe variables only.
    pub(super) environment: Environment,
    /// Variables that they are handed besides.
    pub(super) granted: Vec<(String, String)>,
    /// The temporary folder, where it is not the usual one.
    pub(super) temporary: Option<(String, String)>,
    pub(super) programs: Programs,
    /// The files that they may not change; none where the containment is lifted.
    pub(super) protected: Option<Protected>,
    /// Receives what they did to protected files.
    pub(super) warn: Warn,
}

impl Commands {
    /// The surroundings in the directory `workspace`, with the access of the base skill `common`.
    ///
    /// # Errors
    /// The workspace cannot be opened.
    pub fn open(
        common: &SkillCommon,
        workspace: &Path,
        environment: &Environment,
        off_limits: OffLimits,
        programs: Programs,
        warn: Warn,
    ) -> Result<Self, SkillError> {
        let kept = off_limits.clone();
        let opened = Workspace::open(workspace, environment.get("HOME"), off_limits)
            .map_err(|source| SkillError::Workspace { path: workspace.to_owned(), source })?;
        Ok(Self {
            protected: (!matches!(programs, Programs::Lifted)).then(|| Protected::new(opened.path(), &kept)),
            workspace: Arc::new(opened),
            environment: environment.clone(),
            granted: granted_variables(&common.access.grants, environment),
            temporary: programs.temporary_folder(environment),
            programs,
            warn,
        })
    }
}
