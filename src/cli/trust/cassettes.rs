//! The cassettes that a replay may act on: calls have effects only in a trusted folder, and from a recording that was made
//! here or that lies beneath that folder. Called by [`job_runner`](super::super::job_runner).

use std::path::Path;

use perstack::config::FolderTrust;
use perstack::config::trust::cassettes;

use super::RECORDS;
use crate::cli::Process;
use crate::cli::setup::{Setup, warn};

/// The reason why calls that write or run are answered from a cassette; none if they are made.
pub fn reason_to_contain(setup: &Setup, process: &Process, cassette: &Path) -> Option<&'static str> {
    if setup.trust == FolderTrust::Untrusted {
        return Some("this folder is not trusted: see `perstack trust`, or use --trust");
    }
    let folder = setup.project.as_ref().and_then(|project| project.path.parent()).unwrap_or(&process.folder);
    let is_beneath = || Some(cassette.canonicalize().ok()?.starts_with(folder.canonicalize().ok()?));
    let is_known = || setup.user_folder.as_ref().is_some_and(|user| cassettes::is_known(&user.join(RECORDS), cassette));
    let may_act = is_beneath() == Some(true) || is_known();
    (!may_act).then_some("it was not recorded on this machine: move it into the folder if it can be trusted")
}

/// Remembers a cassette that was recorded just now. A failure is a warning: the cassette itself is good.
pub fn remember(user_folder: Option<&Path>, process: &Process, quiet: bool, cassette: &Path) {
    let Some(folder) = user_folder else { return };
    if let Err(error) = cassettes::remember(&folder.join(RECORDS), cassette) {
        let name = cassette.display();
        warn(process, quiet, &format!("a replay of {name} elsewhere will not act: it cannot be remembered ({error})"));
    }
}
