//! [`Programs`]: the confinement of all programs of one skill, as the runtime settles it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Containment, WorkspaceTooWide};
use crate::skill::process::Confinement;

/// The confinement of a skill's programs.
#[derive(Debug, Clone, Default)]
pub enum Programs {
    /// They have all of the user's rights.
    Lifted,
    /// They gain no privileges; files are theirs as the user's.
    #[default]
    Guarded,
    Contained(Arc<Containment>),
    /// They would have to be contained, and cannot.
    Refused(WorkspaceTooWide),
}

impl Programs {
    /// The restrictions of a program that is started now.
    ///
    /// # Errors
    /// It cannot be contained.
    pub fn confinement(&self) -> io::Result<Confinement> {
        match self {
            Self::Lifted => Ok(Confinement::Lifted),
            Self::Guarded => Ok(Confinement::Guarded),
            Self::Contained(containment) => containment.confinement(),
            Self::Refused(refusal) => Err(io::Error::other(refusal.clone())),
        }
    }

    /// A line on why a program that printed `output` in the folder `cwd` may have failed, if its containment may be why.
    pub fn reason(&self, output: &str, cwd: &Path) -> Option<String> {
        match self {
            Self::Contained(containment) => containment.reason(output, cwd),
            _ => None,
        }
    }

    /// The same for a program that could not be started for want of permission.
    pub fn reason_for_program(&self, program: &str, cwd: &Path) -> Option<String> {
        match self {
            Self::Contained(containment) => containment.reason_for_program(program, cwd),
            _ => None,
        }
    }
}
