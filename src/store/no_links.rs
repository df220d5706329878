//! Opening of folders by a path without links, in any part of it. `disk` makes every call of the storage beneath such a
//! handle; [`real_root`] takes links out of the storage folder's own path, which its user chose.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

/// The path of the storage folder without links; of a folder that does not exist yet, that of the part that does.
pub fn real_root(root: &Path) -> PathBuf {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let real = absolute.ancestors().find_map(|folder| {
        let rest = absolute.strip_prefix(folder).ok()?;
        let real = fs::canonicalize(folder).ok()?;
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    });
    real.unwrap_or(absolute)
}

/// The link at `path` or in the part of the path before it, if there is one.
pub fn link_in(path: &Path) -> Option<&Path> {
    let is_link = |path: &&Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    path.ancestors().filter(is_link).last()
}

/// Opens the parent folder of `path` for calls beneath it, and returns it with the last name.
pub fn parent(path: &Path) -> io::Result<(Dir, &OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((search_folder(path.parent().unwrap_or(Path::new("")))?, name))
}

/// Opens the folder at `path` for calls beneath it.
pub fn search_folder(path: &Path) -> io::Result<Dir> {
    imp::search(named(path))
}

/// Opens the folder at `path` for listing and syncing.
pub fn open_folder(path: &Path) -> io::Result<Dir> {
    imp::read(named(path))
}

/// Opens the file at `path` below `folder` for reading, in one call. Does not wait for the other end of a pipe.
///
/// # Errors
/// The system's, also where it has no such call.
pub fn open_beneath(folder: &Dir, path: &Path) -> io::Result<File> {
    imp::open_beneath(folder, path)
}

/// The empty path is the current folder's.
fn named(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::{Component, Path};

    use cap_std::fs::Dir;
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::io::Errno;

    /// Access that names in a folder need; reading it is more than that.
    #[cfg(target_os = "linux")]
    const SEARCH: OFlags = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    const SEARCH: OFlags = OFlags::RDONLY;

    pub fn search(path: &Path) -> io::Result<Dir> {
        open(path, SEARCH)
    }

    pub fn read(path: &Path) -> io::Result<Dir> {
        open(path, OFlags::RDONLY)
    }

    fn open(path: &Path, access: OFlags) -> io::Result<Dir> {
        let folder = match in_one_call(path, access) {
            // Older kernels lack the call, and some containers refuse what they do not know.
            Err(Errno::NOSYS | Errno::PERM) => name_by_name(path, access),
            opened => opened,
        };
        Ok(Dir::from_std_file(File::from(folder?)))
    }

    #[cfg(target_os = "linux")]
    fn in_one_call(path: &Path, access: OFlags) -> Result<OwnedFd, Errno> {
        use rustix::fs::{ResolveFlags, openat2};
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    }

    #[cfg(target_os = "linux")]
    pub fn open_beneath(folder: &Dir, path: &Path) -> io::Result<File> {
        use rustix::fs::{ResolveFlags, openat2};
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        Ok(File::from(openat2(folder, path, flags, Mode::empty(), resolve)?))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn open_beneath(_folder: &Dir, _path: &Path) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(target_os = "linux"))]
    fn in_one_call(_path: &Path, _access: OFlags) -> Result<OwnedFd, Errno> {
        Err(Errno::NOSYS)
    }

    fn name_by_name(path: &Path, access: OFlags) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let start = if path.is_absolute() { "/" } else { "." };
        let mut folder = openat(CWD, start, SEARCH | flags, Mode::empty())?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => "..".as_ref(),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            folder = openat(&folder, name, SEARCH | flags, Mode::empty()).map_err(|error| match error {
                // Of a link the system reports that it is no folder.
                Errno::NOTDIR if is_link(&folder, name) => Errno::LOOP,
                error => error,
            })?;
        }
        if access == SEARCH { Ok(folder) } else { openat(&folder, ".", access | flags, Mode::empty()) }
    }

    fn is_link(folder: &OwnedFd, name: &std::ffi::OsStr) -> bool {
        use rustix::fs::{AtFlags, FileType, statat};
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn both_ways_to_open_a_folder_refuse_links_and_agree_otherwise() {
            let top = tempfile::tempdir().unwrap();
            let top = top.path().canonicalize().unwrap();
            std::fs::create_dir_all(top.join("a/b")).unwrap();
            std::fs::write(top.join("file"), "").unwrap();
            std::os::unix::fs::symlink("a", top.join("link")).unwrap();
            for access in [SEARCH, OFlags::RDONLY] {
                for open in [in_one_call, name_by_name] {
                    let opened = |path: &str| open(&top.join(path), access).map(drop);
                    #[cfg(not(target_os = "linux"))]
                    if opened("a") == Err(Errno::NOSYS) {
                        continue;
                    }
                    assert_eq!(opened("a/b"), Ok(()));
                    assert_eq!(opened("none"), Err(Errno::NOENT));
                    assert_eq!(opened("file"), Err(Errno::NOTDIR));
                    assert_eq!(opened("link"), Err(Errno::LOOP));
                    assert_eq!(opened("link/b"), Err(Errno::LOOP));
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod imp {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    pub fn search(path: &Path) -> io::Result<Dir> {
        Dir::open_ambient_dir(path, ambient_authority())
    }

    pub fn open_beneath(_folder: &Dir, _path: &Path) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn read(path: &Path) -> io::Result<Dir> {
        search(path)
    }
}
