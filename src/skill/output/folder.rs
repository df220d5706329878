//! The folder that a Run's long outputs are kept in. Names are given by the caller; reached by handle only, so that
//! nothing but a file of such a name in such a folder is ever read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, OpenOptions};

/// Largest file kept, in bytes. Our own choice: what a tool can return at most is of this order.
pub const MAX_OUTPUT_FILE: u64 = 50 << 20;

/// Most bytes kept of one Run. Our own choice: a disk's owner should not notice a Run.
const MAX_BYTES: u64 = 500 << 20;

/// Most files kept of one Run; more in a folder make listing it slow.
const MAX_FILES: usize = 10_000;

/// The folder of a Run, and those of the Runs that it continues.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The nearest first.
    earlier: Vec<PathBuf>,
    /// Calls that end together write one after the other, and count on what is left.
    open: Mutex<Option<Open>>,
}

/// The Run's folder, open for writing.
#[derive(Debug)]
struct Open {
    handle: Dir,
    bytes: u64,
    files: usize,
}

/// Why an output was not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotKept {
    #[error("it is larger than {} MiB", MAX_OUTPUT_FILE >> 20)]
    TooLarge,
    #[error("the run has kept {} MiB already", MAX_BYTES >> 20)]
    NoRoom,
    #[error("the run has kept {MAX_FILES} files already")]
    TooManyFiles,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Folder {
    pub(super) fn new(path: PathBuf, earlier: Vec<PathBuf>) -> Self {
        Self { path, earlier, open: Mutex::new(None) }
    }

    /// The highest number that a file here or earlier begins with.
    pub(super) fn highest_number(&self) -> u32 {
        let folders = std::iter::once(&self.path).chain(&self.earlier);
        // What cannot be listed cannot be overwritten either: files are only ever created.
        let files = folders.filter_map(|path| existing(path).ok()).filter_map(|folder| folder.entries().ok()).flatten();
        let names = files.take(MAX_FILES * 10).filter_map(|file| Some(file.ok()?.file_name()));
        names.filter_map(|name| number_of(name.to_str()?)).max().unwrap_or(0)
    }

    /// Keeps `bytes` in the new file `name`. On an error there is no such file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), NotKept> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > MAX_OUTPUT_FILE {
            return Err(NotKept::TooLarge);
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match &mut *open {
            Some(open) => open,
            closed => closed.insert(Open::create(&self.path)?),
        };
        if open.files >= MAX_FILES {
            return Err(NotKept::TooManyFiles);
        }
        if open.bytes.saturating_add(size) > MAX_BYTES {
            return Err(NotKept::NoRoom);
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = open.handle.open_with(name, &options)?;
        #[cfg(unix)]
        file.set_permissions(cap_std::fs::PermissionsExt::from_mode(0o600))?;
        if let Err(error) = file.write_all(bytes).and_then(|()| file.sync_all()) {
            // The first failure is the one to report.
            let _ = open.handle.remove_file(name);
            return Err(error.into());
        }
        open.files += 1;
        open.bytes += size;
        Ok(())
    }

    /// Opens the file `name`, of this Run or else of the nearest earlier one that has it.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        for path in std::iter::once(&self.path).chain(&self.earlier) {
            match existing(path).and_then(|folder| open_file(&folder, name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => return outcome,
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Open {
    fn create(path: &Path) -> io::Result<Self> {
        let (run, name) = run_folder(path)?;
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        cap_std::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match run.create_dir_with(name, &builder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
            // Whatever the umask took.
            #[cfg(unix)]
            Ok(()) => run.set_permissions(name, cap_std::fs::PermissionsExt::from_mode(0o700))?,
            #[cfg(not(unix))]
            Ok(()) => {}
        }
        let handle = open_folder(&run, name)?;
        let (mut bytes, mut files) = (0_u64, 0);
        for file in handle.entries()?.take(MAX_FILES) {
            bytes = bytes.saturating_add(file?.metadata()?.len());
            files += 1;
        }
        Ok(Self { handle, bytes, files })
    }
}

/// The number that a kept file's name begins with; `None` for any other name.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let (number, rest) = name.split_once('-')?;
    let is_number = number.len() >= 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    let stem = rest.strip_suffix(".txt")?;
    let is_plain = stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if is_number && is_plain { number.parse().ok() } else { None }
}

/// The folder at `path`, if it is there.
fn existing(path: &Path) -> io::Result<Dir> {
    let (run, name) = run_folder(path)?;
    open_folder(&run, name)
}

/// The open folder of the Run, which the storage made beneath its real path, and the name of the outputs' folder in it.
/// A link in the path was put there since, and is not followed.
fn run_folder(path: &Path) -> io::Result<(Dir, &OsStr)> {
    let (Some(run), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok((without_links(run)?, name))
}

#[cfg(unix)]
fn without_links(path: &Path) -> io::Result<Dir> {
    use rustix::fs::{Mode, OFlags, openat};
    /// Access that names in a folder need; others' folders on the way may not be readable.
    #[cfg(target_os = "linux")]
    const SEARCH: OFlags = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    const SEARCH: OFlags = OFlags::RDONLY;
    let flags = SEARCH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.components().any(|part| matches!(part, Component::ParentDir | Component::Prefix(_))) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    #[cfg(target_os = "linux")]
    match rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), rustix::fs::ResolveFlags::NO_SYMLINKS) {
        // Older kernels lack the call, and some containers refuse what they do not know.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
        opened => return Ok(Dir::from_std_file(File::from(opened?))),
    }
    let mut folder = Dir::open_ambient_dir(if path.is_absolute() { "/" } else { "." }, ambient_authority())?;
    for component in path.components() {
        if let Component::Normal(name) = component {
            folder = Dir::from_std_file(File::from(openat(&folder, name, flags, Mode::empty())?));
        }
    }
    Ok(folder)
}

#[cfg(not(unix))]
fn without_links(path: &Path) -> io::Result<Dir> {
    Dir::open_ambient_dir(path, ambient_authority())
}

/// Opens a folder that is no link.
fn open_folder(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
    if !parent.symlink_metadata(name)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    #[cfg(unix)]
    {
        // Should it have become one since, this fails.
        let mut options = OpenOptions::new();
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        cap_std::fs::OpenOptionsExt::custom_flags(options.read(true), flags);
        Ok(Dir::from_std_file(parent.open_with(name, &options)?.into_std()))
    }
    #[cfg(not(unix))]
    parent.open_dir(name)
}

/// Opens a regular file that is no link, and waits for no pipe.
fn open_file(folder: &Dir, name: &str) -> io::Result<File> {
    if !folder.symlink_metadata(name)?.is_file() {
        return Err(io::Error::other("no regular file"));
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = folder.open_with(name, &options)?.into_std();
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("no regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(run: &Path, bytes: u64, files: usize) -> Folder {
        let folder = Folder::new(run.canonicalize().unwrap().join("outputs"), Vec::new());
        *folder.open.lock().unwrap() = Some(Open { bytes, files, ..Open::create(&folder.path).unwrap() });
        folder
    }

    #[test]
    fn files_are_never_overwritten() {
        let run = tempfile::tempdir().unwrap();
        let folder = opened(run.path(), 0, 0);
        folder.write("0001-a.txt", b"first").unwrap();
        assert!(matches!(folder.write("0001-a.txt", b"second"), Err(NotKept::Io(_))));
        assert_eq!(io::read_to_string(folder.open("0001-a.txt").unwrap()).unwrap(), "first");
    }

    #[test]
    fn what_a_run_keeps_has_limits() {
        let run = tempfile::tempdir().unwrap();
        let large = vec![b'x'; usize::try_from(MAX_OUTPUT_FILE).unwrap() + 1];
        assert!(matches!(opened(run.path(), 0, 0).write("0001-a.txt", &large), Err(NotKept::TooLarge)));
        let full = opened(run.path(), MAX_BYTES - 3, 0);
        assert!(matches!(full.write("0002-a.txt", b"four"), Err(NotKept::NoRoom)));
        full.write("0003-a.txt", b"two").unwrap();
        assert!(matches!(opened(run.path(), 0, MAX_FILES).write("0004-a.txt", b""), Err(NotKept::TooManyFiles)));
        // What is there already counts.
        assert_eq!(Open::create(&full.path).unwrap().bytes, 3);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let run = tempfile::tempdir().unwrap();
        let folder = opened(run.path(), 0, 0);
        std::fs::write(run.path().join("0001-a.txt"), "outside").unwrap();
        symlink(run.path().join("0001-a.txt"), run.path().join("outputs/0001-a.txt")).unwrap();
        assert!(folder.open("0001-a.txt").is_err());
        symlink(".", run.path().join("linked")).unwrap();
        let linked = Folder::new(run.path().join("linked"), Vec::new());
        assert!(linked.open("0001-a.txt").is_err() && linked.write("0002-a.txt", b"x").is_err());
        // The Run's own folder, put in place of the one that was there, and a folder above it.
        let jobs = tempfile::tempdir().unwrap();
        let jobs = jobs.path().canonicalize().unwrap();
        symlink(run.path(), jobs.join("run")).unwrap();
        symlink(&jobs, jobs.join("above")).unwrap();
        for path in ["run/outputs", "above/run/outputs", "../jobs/run/outputs"] {
            let linked = Folder::new(jobs.join(path), Vec::new());
            assert!(linked.write("0003-a.txt", b"x").is_err() && linked.open("0001-a.txt").is_err(), "{path}");
            assert_eq!(linked.highest_number(), 0, "{path}");
        }
        folder.write("0004-a.txt", b"x").unwrap();
        assert_eq!(folder.highest_number(), 4);
    }
}
