//! [`MadeWorkspace`]: the workspace of a job, made from a folder or a git repository in a folder of its own
//! (`--workspace-from`). `run` and `resume` make it before they read anything else.
//!
//! Nothing that the source brings along decides anything: its `perstack.toml` is a file like others, no hook, filter or
//! submodule of a repository counts, and nothing is asked of an address that the user did not name.

mod copy;
mod git;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use perstack::fact::{Clock as _, IdGenerator};
use perstack::runtime::SystemClock;
use perstack::workspace_source::{MadeFrom, WorkspaceSource};

use super::Process;
use super::failure::Failure;
use super::options::JobArgs;
use super::user_folder::cache_folder;

/// The folder in the user's cache that workspaces are in where no other is named.
const WORKSPACES: &str = "workspaces";

/// A workspace that was made. Dropped before its job begins, it is removed, unless the user named its folder.
pub struct MadeWorkspace {
    folder: PathBuf,
    from: MadeFrom,
    is_named: bool,
    is_kept: bool,
}

impl MadeWorkspace {
    /// Makes the workspace that the flags ask for. The flags of the job that works in it: those without its source.
    ///
    /// # Errors
    /// Its folder is not empty, or the source cannot be had.
    pub fn make(args: &JobArgs, process: &Process) -> Result<(JobArgs, Option<Self>), Failure> {
        let mut args = args.clone();
        let Some(source) = args.workspace_from.take() else { return Ok((args, None)) };
        let named = args.place.workspace.as_ref().map(|named| process.folder.join(named));
        let is_named = named.is_some();
        let folder = named.or_else(|| own_folder(process)).ok_or_else(|| {
            Failure::usage(anyhow!("there is no cache folder for the workspace"))
                .help("set HOME or XDG_CACHE_HOME, or name a folder with --workspace")
        })?;
        begin(&folder)?;
        // From here on it is removed where something fails.
        let from = MadeFrom::Folder { path: String::new() };
        let mut made = Self { folder, from, is_named, is_kept: false };
        made.from = match &source {
            WorkspaceSource::Folder(path) => {
                let path = process.folder.join(path);
                copy::copy(&path, &made.folder)?;
                MadeFrom::Folder { path: path.canonicalize().unwrap_or(path).display().to_string() }
            }
            WorkspaceSource::Git(source) => {
                let commit = git::check_out(source, &made.folder, process)?;
                MadeFrom::Git { address: source.address.clone(), commit }
            }
        };
        args.place.workspace = Some(made.folder.clone());
        Ok((args, Some(made)))
    }

    /// Keeps it for its job. The source, for the job's record.
    pub fn keep(mut self) -> MadeFrom {
        self.is_kept = true;
        self.from.clone()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for MadeWorkspace {
    fn drop(&mut self) {
        if !self.is_kept && !self.is_named {
            // What is left of it is in a folder of its own in the cache.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The path of a folder of its own in the user's cache, which is not there yet; `None` where there is no cache.
pub fn own_folder(process: &Process) -> Option<PathBuf> {
    let name = IdGenerator::new(SystemClock.stamp()).uuid();
    Some(cache_folder(|name| process.variable(name))?.join(WORKSPACES).join(name.to_string()))
}

/// Creates the folder, which may be there if it is empty.
fn begin(folder: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(anyhow::Error::new(error).context(format!("cannot make {}", folder.display())))
    };
    create_private(folder).map_err(failed)?;
    if fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(Failure::usage(anyhow!(
            "{} is not empty, and a workspace is made in a folder of its own",
            folder.display()
        ))
        .help("name a folder that is new or empty with --workspace, or none"));
    }
    Ok(())
}

/// Creates a folder that others cannot read, and those above it.
fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
