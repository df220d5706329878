//! [`JobFolder`]: the storage of jobs that are run for their outcome alone, as replays and tests are. It is removed when it
//! is dropped, unless its user has named it or it is kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::failure::Failure;

/// Names that are tried for a folder.
const TRIES: u32 = 1000;

/// The storage of a job.
pub struct JobFolder {
    path: PathBuf,
    origin: Origin,
}

/// The owner of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Its user's, who has named it.
    Named,
    /// The program's, until it ends.
    Temporary,
    /// The program's own, which stays once something is in it.
    Kept,
}

impl JobFolder {
    /// The folder `named`, else a new one among the system's temporary files, which its user alone can read.
    ///
    /// # Errors
    /// When none can be made.
    pub fn open(named: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = named {
            return Ok(Self { path, origin: Origin::Named });
        }
        let name = format!("perstack-{}", std::process::id());
        Ok(Self { path: new_folder(&std::env::temp_dir(), &name)?, origin: Origin::Temporary })
    }

    /// A new folder in `folder`, which begins with `name` and stays, unless nothing is put into it.
    ///
    /// # Errors
    /// When none can be made.
    pub fn kept_in(folder: &Path, name: &str) -> Result<Self, Failure> {
        let made = fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()));
        made.map_err(Failure::other)?;
        Ok(Self { path: new_folder(folder, name)?, origin: Origin::Kept })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if it is removed at the end.
    pub fn is_temporary(&self) -> bool {
        self.origin == Origin::Temporary
    }

    /// Gives up what is in it, unless its user has named it.
    pub fn discard(mut self) {
        if self.origin == Origin::Kept {
            self.origin = Origin::Temporary;
        }
    }
}

impl Drop for JobFolder {
    fn drop(&mut self) {
        // What cannot be removed is the system's or the user's to remove.
        let _ = match self.origin {
            Origin::Named => Ok(()),
            Origin::Temporary => fs::remove_dir_all(&self.path),
            // Fails for one that holds something.
            Origin::Kept => fs::remove_dir(&self.path),
        };
    }
}

/// Makes the first folder of `name-0`, `name-1` and so on that is not there yet.
fn new_folder(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let made = (0..TRIES).find_map(|number| {
        let path = folder.join(format!("{name}-{number}"));
        match create_for_owner(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            made => Some(made.map(|()| path)),
        }
    });
    let made = made.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()));
    made.with_context(|| format!("cannot make a folder in {}", folder.display())).map_err(Failure::other)
}

fn create_for_owner(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
