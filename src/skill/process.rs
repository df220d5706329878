//! [`Child`]: a program that a skill started, which ends with everything that it started itself, whatever that does to
//! its session and group.
//!
//! Between the runner and each child stands a `keeper`, a bare fork of the runner that is the reaper of
//! all its descendants. It kills them when the runner lets go of it, and when the runner is gone, `kill -9` included. A
//! keeper that is killed itself takes the child along, and the runner kills the rest (`orphans`). Both
//! hold one end of a socket, whose end is how each learns of the other's. It serves as a pidfd would: no other process has
//! either end, since a keeper closes all that it inherits and every program is executed without them; it carries the
//! child's status and requests as well, and is there on every Unix. A keeper that was stopped is resumed when its child is
//! to end, and by the kernel when the runner does. In a storm of forks the keeper goes on killing for as long as it takes,
//! also after the runner has given up waiting.
//!
//! Skills start children here; what to run and what is made of its output is left to them. This folder is the only one
//! with unsafe code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use std::{fs, io};

use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use self::kept::Kept;
use crate::environment::{Environment, PROTECTED_VARIABLES, SAFE_VARIABLES};
use crate::skill::SkillError;

mod ability;
mod block;
mod heap;
mod confinement;
#[cfg(unix)]
mod keeper;
#[cfg(unix)]
mod kept;
#[cfg(target_os = "linux")]
mod orphans;
#[cfg(not(unix))]
#[path = "process/plain.rs"]
mod kept;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod held;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(target_os = "linux")]
mod own_listeners;
#[cfg(target_os = "linux")]
mod restrict;
#[cfg(target_os = "linux")]
mod system_calls;
#[cfg(target_os = "linux")]
mod tree;

pub use ability::KernelAbility;
pub use block::wipe_environment_block;
pub use confinement::{Confinement, FileLists, FileRules, PlaceMount};
pub use heap::share_one_heap;
#[cfg(target_os = "linux")]
pub use held::{CallAnswer, CallJudge, HeldCall, HeldCalls};
#[cfg(target_os = "linux")]
pub use own_listeners::{is_of_same_child, listens_itself};

/// The environment of a child: the safe variables of `environment`, and `added` without the protected names.
///
/// Names that are empty or contain `=` are dropped too: `LD_PRELOAD=x` would smuggle in a protected one.
pub fn child_environment(
    environment: &Environment,
    added: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let safe = SAFE_VARIABLES
        .iter()
        .filter_map(|name| environment.get(name).map(|value| ((*name).to_owned(), value.to_owned())));
    let added = added.into_iter().filter(|(name, _)| {
        !name.is_empty() && !name.contains('=') && !PROTECTED_VARIABLES.contains(&name.to_uppercase().as_str())
    });
    safe.chain(added).collect()
}

/// The directory that a child starts in.
#[derive(Debug)]
pub enum Cwd {
    /// By path.
    Path(PathBuf),
    /// In an open directory, whatever its path has become meanwhile. Unix only.
    Handle(fs::File),
}

/// The standard input of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildInput {
    /// Nothing.
    Null,
    /// The bytes written to [`Child::stdin`].
    Piped,
}

/// A child to be started.
#[derive(Debug)]
pub struct ChildSpec {
    /// A path, or a name to be looked up in the `PATH` of `env`.
    pub program: String,
    pub args: Vec<String>,
    /// The whole environment, as [`child_environment`] makes it.
    pub env: BTreeMap<String, String>,
    pub cwd: Cwd,
    pub stdin: ChildInput,
    /// On Linux; elsewhere there are no restrictions.
    pub confinement: Confinement,
    /// The system calls that a judge answers; none for a child that makes all its calls itself.
    #[cfg(target_os = "linux")]
    pub held_calls: Option<HeldCalls>,
}

/// A running child. Dropping it kills it at once, with everything that it started.
#[derive(Debug)]
pub struct Child {
    /// Present when piped and not taken.
    pub stdin: Option<ChildStdin>,
    /// Present until taken.
    pub stdout: Option<ChildStdout>,
    /// Present until taken.
    pub stderr: Option<ChildStderr>,
    kept: Kept,
}

impl Child {
    /// Waits for the child to end, kills what it left behind, and returns how it ended. May be dropped and called again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.ended().await?;
        self.kept.end().await
    }

    /// Waits for the child to end, and leaves alone what it left behind. May be dropped and called again.
    pub async fn ended(&mut self) -> io::Result<()> {
        self.kept.ended().await
    }

    /// Asks the child's group to end (SIGTERM), and kills everything when the child has not ended within `grace`.
    pub async fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.kept.ask_to_end().await;
        // A child that is still there after the grace period is no error: it is killed now.
        let _ = tokio::time::timeout(grace, self.ended()).await;
        self.kept.end().await
    }
}

/// Starts a child, with its stdout and stderr piped.
///
/// To be called within a tokio runtime with I/O enabled.
///
/// # Errors
/// The program cannot be started.
pub async fn spawn(spec: ChildSpec) -> Result<Child, SkillError> {
    let program = spec.program.clone();
    kept::start(spec).map_err(|source| SkillError::Spawn { program, source })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
