//! [`copy`]: a folder's files in another one. Links are copied as links and never followed. A folder's keys and jobs, which its
//! experts do not see where they lie, are not copied to where they would.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::anyhow;

use crate::cli::failure::Failure;

/// The files of keys that a project's own runs load, and the folder that they store jobs in.
const KEYS: [&str; 2] = [".env", ".env.local"];
const STORAGE: &str = "perstack";

/// Copies what is in `from`, a folder, to the empty folder `to`; keys, jobs, sockets, pipes and devices are left out.
///
/// # Errors
/// With the exit code for usage, when `from` is no folder or holds `to`; a file that cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let shown = from.display();
    let real = from
        .canonicalize()
        .map_err(|error| Failure::usage(anyhow::Error::new(error).context(format!("cannot read {shown}"))))?;
    if !real.is_dir() {
        return Err(Failure::usage(anyhow!("{shown} is no folder")));
    }
    if to.canonicalize().is_ok_and(|to| to.starts_with(&real)) {
        return Err(Failure::usage(anyhow!("{} is beneath {shown}, which is to be copied", to.display()))
            .help("name a folder elsewhere with --workspace"));
    }
    let is_left_out = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        KEYS.iter().any(|key| name == *key) || name == STORAGE && entry.path().join("jobs").is_dir()
    };
    copy_folder(&real, to, &is_left_out).map_err(|(path, error)| {
        Failure::other(anyhow::Error::new(error).context(format!("cannot copy {}", path.display())))
    })
}

type CopyError = (std::path::PathBuf, io::Error);

fn copy_folder(from: &Path, to: &Path, is_left_out: &dyn Fn(&fs::DirEntry) -> bool) -> Result<(), CopyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        if is_left_out(&entry) {
            continue;
        }
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed(&path))?;
        if kind.is_symlink() {
            fs::read_link(&path).and_then(|link| make_link(&link, &target)).map_err(failed(&path))?;
        } else if kind.is_dir() {
            fs::create_dir(&target).map_err(failed(&target))?;
            copy_folder(&path, &target, &|_| false)?;
            let permissions = fs::metadata(&path).map_err(failed(&path))?.permissions();
            fs::set_permissions(&target, permissions).map_err(failed(&target))?;
        } else if kind.is_file() {
            fs::copy(&path, &target).map_err(failed(&path))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn make_link(link: &Path, target: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(link, target)
}

#[cfg(not(unix))]
fn make_link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::other("links are copied on unix only"))
}
