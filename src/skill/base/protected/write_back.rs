//! The hands of [`Protected`](super::Protected): closed folders are opened, what a command left is set aside, and what was
//! there before is written anew. What is put back is decided in the file above.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Kept, folder_mode};

/// The ending of the name under which a command's version stays.
pub(super) const CHANGED: &str = ".changed";

/// The permission of a folder's owner to change what is in it.
const OWNERS: u32 = 0o700;

/// Gives this user back the folders of `folders` that can be neither listed nor changed, so that what is in them can be
/// put back. Returns them with the modes that they had before.
pub(super) fn open_folders(folders: &BTreeMap<PathBuf, u32>) -> Vec<(&Path, u32)> {
    let mut closed = Vec::new();
    for (folder, before) in folders {
        let now = folder_mode(folder).filter(|mode| cfg!(unix) && mode & OWNERS != OWNERS);
        if let Some(now) = now
            && set_folder_mode(folder, now | OWNERS).is_ok()
        {
            closed.push((&**folder, *before));
        }
    }
    closed
}

#[cfg(unix)]
pub(super) fn set_folder_mode(folder: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if folder_mode(folder).is_none() {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(super) fn set_folder_mode(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// Moves what is at `path` beside it.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    in_place(path)?;
    move_aside(path)
}

fn move_aside(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push(CHANGED);
    // A command may have taken the name, and may not keep its change by that.
    if clear(Path::new(&name)).is_err() { clear(path) } else { fs::rename(path, &name) }
}

/// Removes what has the name, if anything has.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

/// Writes the file anew, whole.
pub(super) fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    in_place(path)?;
    match kept {
        #[cfg(unix)]
        Kept::Link(target) => std::os::unix::fs::symlink(target, path),
        #[cfg(not(unix))]
        Kept::Link(_) => Err(io::Error::other("links are not put back here")),
        Kept::BehindLink => Err(io::Error::other("a link led to it before")),
        Kept::Other { .. } => Err(io::Error::other("it was too large to be kept, or not readable")),
        Kept::File { bytes, mode } => {
            let mut name = path.as_os_str().to_owned();
            name.push(".new");
            let temporary = PathBuf::from(name);
            // Whatever has the name already is not written through.
            clear(&temporary)?;
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, *mode);
            #[cfg(not(unix))]
            let _ = mode;
            io::Write::write_all(&mut options.open(&temporary)?, bytes)?;
            fs::rename(&temporary, path)
        }
    }
}

/// Makes the folders of `path` that are gone. What is in the place of one, a link that leads elsewhere perhaps, is moved
/// aside: the path had none.
fn in_place(path: &Path) -> io::Result<()> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    for folder in folders {
        match fs::symlink_metadata(folder) {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => move_aside(folder)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir(folder)?;
    }
    Ok(())
}
