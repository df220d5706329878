//! [`copy`]: the workspace of a case as a copy for one repetition, so that repetitions disturb neither each other nor the user's files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

/// Most files and folders of a workspace. More is a folder that was named by mistake.
const MOST_ENTRIES: usize = 100_000;

/// Most bytes of its files, a gigabyte.
const MOST_BYTES: u64 = 1 << 30;

/// Copies what is in the folder `from` into the empty folder `to`, but for the files and folders `closed`, which hold keys and
/// records. Links are copied as links.
///
/// # Errors
/// Something cannot be read or written, is no file, folder or link, or it is too much.
pub fn copy(from: &Path, to: &Path, closed: &[PathBuf]) -> anyhow::Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let closed: Vec<PathBuf> = closed.iter().map(|path| real(path)).collect();
    let from = real(from);
    let (mut entries, mut bytes) = (0_usize, 0_u64);
    let mut folders = vec![(from.clone(), to.to_owned())];
    while let Some((from_folder, to_folder)) = folders.pop() {
        let cannot = || format!("cannot copy {}", from_folder.display());
        for entry in fs::read_dir(&from_folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let (path, target) = (entry.path(), to_folder.join(entry.file_name()));
            let cannot = || format!("cannot copy {}", path.display());
            // A copy that lies in its own original would never end.
            if closed.contains(&path) || to.starts_with(&path) {
                continue;
            }
            entries = entries.saturating_add(1);
            let metadata = entry.metadata().with_context(cannot)?;
            bytes = bytes.saturating_add(if metadata.is_file() { metadata.len() } else { 0 });
            if entries > MOST_ENTRIES || bytes > MOST_BYTES {
                let most = MOST_BYTES >> 20;
                return Err(anyhow!("{} has more than {MOST_ENTRIES} files or {most} MiB", from.display()));
            }
            if metadata.is_dir() {
                fs::create_dir(&target).with_context(cannot)?;
                folders.push((path, target));
            } else if metadata.is_symlink() {
                link(&path, &target).with_context(cannot)?;
            } else if metadata.is_file() {
                fs::copy(&path, &target).with_context(cannot)?;
            } else {
                return Err(anyhow!("{} is no file, folder or link", path.display()));
            }
        }
    }
    Ok(())
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(fs::read_link(from)?, to)
}

#[cfg(not(unix))]
fn link(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn all_but_keys_and_records_is_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| from.path().join(name);
        fs::create_dir_all(at("src/deep")).unwrap();
        fs::create_dir_all(at("perstack/jobs")).unwrap();
        for (name, text) in [("src/deep/a.txt", "a"), (".env", "KEY=1"), ("perstack/jobs/j", "j"), ("b", "b")] {
            fs::write(at(name), text).unwrap();
        }
        std::os::unix::fs::symlink("b", at("link")).unwrap();
        copy(from.path(), to.path(), &[at(".env"), at("perstack")]).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("src/deep/a.txt")).unwrap(), "a");
        assert_eq!(fs::read_link(to.path().join("link")).unwrap(), Path::new("b"));
        assert!(!to.path().join(".env").exists() && !to.path().join("perstack").exists());
    }

    #[test]
    fn what_is_no_file_is_named_and_a_copy_within_itself_ends() {
        let from = tempfile::tempdir().unwrap();
        let within = from.path().join("within");
        fs::create_dir(&within).unwrap();
        fs::write(from.path().join("a"), "a").unwrap();
        copy(from.path(), &within, &[]).unwrap();
        assert_eq!(fs::read_dir(&within).unwrap().count(), 1);
        let _socket = std::os::unix::net::UnixListener::bind(from.path().join("socket")).unwrap();
        let to = tempfile::tempdir().unwrap();
        let error = copy(from.path(), to.path(), &[]).unwrap_err().to_string();
        assert!(error.ends_with("socket is no file, folder or link"), "{error}");
        assert!(copy(&from.path().join("none"), to.path(), &[]).is_err());
    }
}
