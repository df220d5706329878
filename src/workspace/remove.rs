//! [`remove`]: a folder that a job or a command has worked in is removed. The command line and the runtime call it for folders
//! that they made for one use.

use std::fs;
use std::io;
use std::path::Path;

/// Removes a folder with all that is in it. Whoever worked there may have taken away the right to change what is in a folder: it
/// is given back. No link is followed.
///
/// # Errors
/// The system's; part of it may be removed then.
pub fn remove(folder: &Path) -> io::Result<()> {
    open_folders(folder);
    fs::remove_dir_all(folder)
}

#[cfg(unix)]
fn open_folders(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let is_folder = fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir());
    let mut folders = Vec::from_iter(is_folder.then(|| folder.to_owned()));
    while let Some(folder) = folders.pop() {
        // What cannot be opened is reported by the removal.
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|it| it.path()));
    }
}

#[cfg(not(unix))]
fn open_folders(_: &Path) {}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_may_not_be_changed_is_removed_and_what_a_link_leads_to_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (made, elsewhere) = (root.path().join("made"), root.path().join("elsewhere"));
        let set = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o500)).unwrap();
        for folder in [made.join("nest/deep"), elsewhere.clone()] {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("a.txt"), "a").unwrap();
            set(&folder);
        }
        symlink(&elsewhere, made.join("nest/link")).unwrap();
        set(&made.join("nest"));
        remove(&made).unwrap();
        symlink(&elsewhere, &made).unwrap();
        let _ = remove(&made);
        let bits = fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777;
        assert_eq!((bits, elsewhere.join("a.txt").exists()), (0o500, true));
    }
}
