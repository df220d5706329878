//! [`open`] of a skill's folder, and [`check`]: its files, looked at before any is read: links, their number and size, scripts
//! that may not be run; and [`digest`], of all that the folder contains.
//!
//! Everything is read beneath the handle that was opened first: whoever changes the path meanwhile leads it nowhere else.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};
use sha2::{Digest as _, Sha256};

use crate::config::error::ConfigError;
use crate::hex;

/// Most files and folders of one skill. Our own choice: those in use have a few dozen.
const MOST_FILES: usize = 2_000;

/// Most bytes of all files of one skill together. All are read for the digest that an agreement counts on.
const MOST_BYTES: u64 = 64 << 20;

/// The folder whose files are meant to be run.
const SCRIPTS: &str = "scripts";

/// Something in a skill's folder.
struct Entry {
    /// From the folder.
    relative: PathBuf,
    metadata: Metadata,
}

/// Opens the folder `real`; beneath `root`, where it is there.
pub(super) fn open(real: &Path, root: &Path) -> io::Result<Dir> {
    match real.strip_prefix(root) {
        Ok(inside) if inside.as_os_str().is_empty() => Dir::open_ambient_dir(root, ambient_authority()),
        Ok(inside) => Dir::open_ambient_dir(root, ambient_authority())?.open_dir(inside),
        Err(_) => Dir::open_ambient_dir(real, ambient_authority()),
    }
}

/// Opens a file in a skill's folder. A pipe is not waited for.
pub(super) fn open_file(dir: &Dir, path: &Path) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    dir.open_with(path, &options).map(cap_std::fs::File::into_std)
}

/// Looks at all files of the skill in `dir`, which is `real` and is called `named`. Returns the scripts that may not be run.
///
/// # Errors
/// A link that leads out of it, another name of one of `closed`, more files or bytes than a skill has, or a folder that cannot be listed.
pub(super) fn check(dir: &Dir, real: &Path, named: &Path, closed: &[PathBuf]) -> Result<Vec<String>, ConfigError> {
    let refused = |problem| Err(ConfigError::AgentSkillFolder { path: named.to_owned(), problem });
    let closed: Vec<(&PathBuf, Metadata)> = closed.iter().filter_map(|path| Some((path, on_disk(path)?))).collect();
    let mut without_right = Vec::new();
    let mut bytes = 0_u64;
    for Entry { relative, metadata } in entries(dir, named)? {
        let shown = relative.display();
        if metadata.is_symlink() {
            let path = real.join(&relative);
            let target = path.canonicalize().unwrap_or(path);
            if !target.starts_with(real) {
                let target = target.display();
                return refused(format!("{shown} leads to {target}, out of the skill's folder: put a copy there"));
            }
        } else if let Some((path, _)) = closed.iter().find(|(_, other)| is_same(other, &metadata)) {
            let path = path.display();
            return refused(format!(
                "{shown} is {path} by another name (a hard link), which no skill has: put a copy there"
            ));
        } else if metadata.is_file() {
            bytes = bytes.saturating_add(metadata.len());
            if bytes > MOST_BYTES {
                let most = MOST_BYTES >> 20;
                return refused(format!(
                    "with {shown} ({} bytes) its files have more than {most} MiB together, the most that a skill may \
                     have: keep large files elsewhere",
                    metadata.len()
                ));
            }
            if relative.starts_with(SCRIPTS) && !may_be_run(&metadata) && begins_as_script(dir, &relative) {
                without_right.push(shown.to_string());
            }
        }
    }
    Ok(without_right)
}

/// The digest of the names, rights and contents of all files in a skill's folder. Empty for one that cannot be listed, and
/// so is not used either.
pub fn digest(dir: &Dir) -> String {
    let Ok(entries) = entries(dir, Path::new("")) else { return String::new() };
    let mut hasher = Sha256::new();
    for Entry { relative, metadata } in entries {
        let name = relative.to_string_lossy();
        let kind = match () {
            () if metadata.is_dir() => "folder",
            () if metadata.is_symlink() => "link",
            () if may_be_run(&metadata) => "program",
            () => "file",
        };
        let content = match kind {
            "folder" => String::new(),
            "link" => {
                let target = dir.read_link_contents(&relative);
                target.map(|target| target.to_string_lossy().into_owned()).unwrap_or_default()
            }
            _ => file_digest(dir, &relative),
        };
        // Lengths keep one name from passing for two.
        hasher.update(format!("{} {name} {kind} {} {content}\n", name.len(), content.len()));
    }
    hex::digits(&hasher.finalize())
}

fn file_digest(dir: &Dir, path: &Path) -> String {
    let Ok(file) = open_file(dir, path) else { return String::new() };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    // One that grows behind the check is not followed without end.
    let mut file = file.take(MOST_BYTES);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return hex::digits(&hasher.finalize()),
            Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return String::new(),
        }
    }
}

/// Everything in the folder and below, by path. Links are not followed.
fn entries(dir: &Dir, named: &Path) -> Result<Vec<Entry>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: named.to_owned(), source };
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(inner) = open.pop() {
        let place = if inner.as_os_str().is_empty() { Path::new(".") } else { &inner };
        for entry in dir.read_dir(place).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let relative = inner.join(entry.file_name());
            let metadata = entry.metadata().map_err(unreadable)?;
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

fn begins_as_script(dir: &Dir, path: &Path) -> bool {
    let mut beginning = [0; 2];
    open_file(dir, path).and_then(|mut file| file.read_exact(&mut beginning)).is_ok() && beginning == *b"#!"
}

fn on_disk(path: &Path) -> Option<Metadata> {
    std::fs::metadata(path).ok().map(Metadata::from_just_metadata)
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use cap_std::fs::MetadataExt as _;
    one.dev() == other.dev() && one.ino() == other.ino()
}

/// False: this system's files are not asked for their names.
#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    false
}

#[cfg(unix)]
fn may_be_run(metadata: &Metadata) -> bool {
    use cap_std::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn may_be_run(_: &Metadata) -> bool {
    true
}
