//! [`check`]: the files of a skill's folder, looked at before any is read: links, their number, scripts that may not be run;
//! and [`digest`], of all that the folder contains.

use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::config::error::ConfigError;
use crate::config::read_file::open;
use crate::hex;

/// Most files and folders of one skill. Our own choice: those in use have a few dozen.
const MOST_FILES: usize = 2_000;

/// The folder whose files are meant to be run.
const SCRIPTS: &str = "scripts";

/// Something in a skill's folder.
struct Entry {
    /// From the folder.
    relative: PathBuf,
    metadata: Metadata,
}

/// Looks at all files of the skill in `real`, which is called `named`. Returns the scripts that may not be run.
///
/// # Errors
/// A link that leads out of it, more files than a skill has, or a folder that cannot be listed.
pub(super) fn check(real: &Path, named: &Path) -> Result<Vec<String>, ConfigError> {
    let mut without_right = Vec::new();
    for entry in entries(real, named)? {
        let path = real.join(&entry.relative);
        if entry.metadata.is_symlink() {
            let target = path.canonicalize().unwrap_or_else(|_| path.clone());
            if !target.starts_with(real) {
                let (shown, target) = (entry.relative.display(), target.display());
                let problem = format!("{shown} leads to {target}, out of the skill's folder: put a copy there");
                return Err(ConfigError::AgentSkillFolder { path: named.to_owned(), problem });
            }
        } else if entry.metadata.is_file()
            && entry.relative.starts_with(SCRIPTS)
            && !may_be_run(&entry.metadata)
            && begins_as_script(&path)
        {
            without_right.push(entry.relative.display().to_string());
        }
    }
    Ok(without_right)
}

/// The digest of the names, rights and contents of all files in a skill's folder. Empty for one that cannot be listed, and
/// so is not used either.
pub fn digest(folder: &Path) -> String {
    let Ok(entries) = entries(folder, folder) else { return String::new() };
    let mut hasher = Sha256::new();
    for Entry { relative, metadata } in entries {
        let name = relative.to_string_lossy();
        let path = folder.join(&relative);
        let kind = match () {
            () if metadata.is_dir() => "folder",
            () if metadata.is_symlink() => "link",
            () if may_be_run(&metadata) => "program",
            () => "file",
        };
        let content = match kind {
            "folder" => String::new(),
            "link" => path.read_link().map(|target| target.to_string_lossy().into_owned()).unwrap_or_default(),
            _ => file_digest(&path),
        };
        // Lengths keep one name from passing for two.
        hasher.update(format!("{} {name} {kind} {} {content}\n", name.len(), content.len()));
    }
    hex::digits(&hasher.finalize())
}

fn file_digest(path: &Path) -> String {
    let Ok(mut file) = open(path) else { return String::new() };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return hex::digits(&hasher.finalize()),
            Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return String::new(),
        }
    }
}

/// Everything in the folder and below, by path. Links are not followed.
fn entries(folder: &Path, named: &Path) -> Result<Vec<Entry>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: named.to_owned(), source };
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(inner) = open.pop() {
        for entry in std::fs::read_dir(folder.join(&inner)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let relative = inner.join(entry.file_name());
            let metadata = entry.path().symlink_metadata().map_err(unreadable)?;
            if metadata.is_dir() {
                open.push(relative.clone());
            }
            found.push(Entry { relative, metadata });
            if found.len() > MOST_FILES {
                let problem = format!("it has more than {MOST_FILES} files: that is no skill's folder");
                return Err(ConfigError::AgentSkillFolder { path: named.to_owned(), problem });
            }
        }
    }
    found.sort_by(|one, other| one.relative.cmp(&other.relative));
    Ok(found)
}

fn begins_as_script(path: &Path) -> bool {
    let mut beginning = [0; 2];
    open(path).and_then(|mut file| file.read_exact(&mut beginning)).is_ok() && beginning == *b"#!"
}

#[cfg(unix)]
fn may_be_run(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn may_be_run(_: &Metadata) -> bool {
    true
}
