//! [`Programs`]: the confinement of all programs of one skill, as the runtime settles it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Containment, WorkspaceTooWide, system};
use crate::environment::Environment;
use crate::proxy::InvalidProxy;
use crate::skill::egress::{Egress, RefusalMark};
use crate::skill::process::Confinement;
#[cfg(target_os = "linux")]
use crate::skill::process::HeldCalls;

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
    /// They would have to be kept to a list of hosts, and cannot, as the user's own proxy cannot be used.
    Unconnected(InvalidProxy),
}

/// The place in the record of what a skill's programs were refused on the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkMark(Option<RefusalMark>);

impl Programs {
    /// The variable with the temporary folder of contained programs, where the usual one is out of their reach. What a skill
    /// or a call sets goes before it.
    pub fn temporary_folder(&self, environment: &Environment) -> Option<(String, String)> {
        let Self::Contained(_) = self else { return None };
        let folder = system::other_temporary(environment)?;
        Some(("TMPDIR".to_owned(), folder.display().to_string()))
    }

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
            Self::Unconnected(invalid) => Err(io::Error::other(*invalid)),
        }
    }

    fn egress(&self) -> Option<&Egress> {
        match self {
            Self::Contained(containment) => containment.egress.as_ref(),
            _ => None,
        }
    }

    /// Sets the variables by which a program that is kept to a list of hosts reaches them. Within a tokio runtime.
    ///
    /// # Errors
    /// Its proxy cannot be started.
    pub fn set_network(&self, environment: &mut BTreeMap<String, String>) -> io::Result<()> {
        self.egress().map_or(Ok(()), |egress| egress.set_variables(environment))
    }

    /// The system calls that are held of a program which is started now, by the name `program` in the folder `cwd` with this
    /// environment: where it is kept to a list of hosts, or its needs are learned. Within a tokio runtime.
    ///
    /// # Errors
    /// As [`Programs::set_network`].
    #[cfg(target_os = "linux")]
    pub fn held_calls(
        &self,
        program: &str,
        cwd: &Path,
        environment: &BTreeMap<String, String>,
    ) -> io::Result<Option<HeldCalls>> {
        let connects = self.egress().map(Egress::held_calls).transpose()?;
        Ok(match self {
            Self::Contained(containment) => match &containment.needs {
                Some(needs) => {
                    let search = environment.get("PATH").map_or("", String::as_str);
                    let program = super::watch::found(program, search, cwd);
                    Some(super::watch::held_calls(containment, needs, connects, program))
                }
                None => connects,
            },
            _ => connects,
        })
    }

    /// The place at present in the record of refusals on the network.
    pub fn network_mark(&self) -> NetworkMark {
        NetworkMark(self.egress().map(Egress::mark))
    }

    /// The refusals of the programs on the network since then, a line each; none without a list.
    pub fn refused_since(&self, mark: NetworkMark) -> Option<String> {
        let lines = self.egress()?.refused_since(mark.0.unwrap_or_default());
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// A line on why a program that printed `output` in the folder `cwd` may have failed, if its containment may be why.
    pub fn reason(&self, output: &str, cwd: &Path) -> Option<String> {
        match self {
            Self::Contained(containment) => {
                let names = || containment.egress.as_ref().and_then(|egress| egress.reason(output));
                containment.reason(output, cwd).or_else(names)
            }
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
