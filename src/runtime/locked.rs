//! The lock at run time: asked for each expert before its skills are opened.

use crate::config::lockfile::{Definition, LockChoice, choose};
use crate::expert::Expert;
use crate::runtime::{Options, RunError};

/// Asks whether the lock may serve for `expert`, and returns what its owner should know.
///
/// # Errors
/// When the lock must serve and cannot.
pub fn check(expert: &Expert, options: &Options) -> Result<Vec<String>, RunError> {
    let definition = Definition::new(expert, options.base_skill_command.as_deref());
    match choose(&definition, options.lockfile.as_deref(), options.lock) {
        LockChoice::UseLocked(_) => Ok(Vec::new()),
        LockChoice::Discover { warning } => Ok(warning.into_iter().collect()),
        LockChoice::Refuse(error) => Err(error.into()),
    }
}
