//! [`OutputFile`]: a file that a command writes at the user's word, `--output-file` and `--summary-file`. `run` and `resume`
//! check it before anything else happens; the renderers write it. What is written is left to them.
//!
//! An expert may work in the same folder meanwhile. So the folder is opened once, no link is followed in it, and a file is
//! replaced by its name.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::Process;
use super::failure::Failure;
use super::options::OutputArgs;
use super::render::visible;

/// Most temporary names tried for one file.
const MAX_TEMPORARY: u32 = 100;

/// The files that one invocation writes beside its job.
#[derive(Debug, Default)]
pub struct OutputFiles {
    /// The result, instead of standard output.
    pub result: Option<OutputFile>,
    /// A summary, behind what the file has.
    pub summary: Option<OutputFile>,
}

impl OutputFiles {
    /// Checks that the files which are asked for can be written. Nothing is left behind by it.
    ///
    /// # Errors
    /// When one of them cannot.
    pub fn check(args: &OutputArgs, process: &Process, storage: &Path) -> Result<Self, Failure> {
        let check = |flag: &'static str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| OutputFile::check(flag, path, &process.folder, storage)).transpose()
        };
        let files = Self {
            result: check("--output-file", &args.output_file)?,
            summary: check("--summary-file", &args.summary_file)?,
        };
        match (&files.result, &files.summary) {
            (Some(result), Some(summary)) if result.path == summary.path => {
                Err(Failure::usage(anyhow!("--output-file and --summary-file name the same file"))
                    .help("name another for one of them"))
            }
            _ => Ok(files),
        }
    }
}

/// A file in a folder that is held open.
#[derive(Debug)]
pub struct OutputFile {
    folder: Dir,
    name: OsString,
    /// With all links of its folder followed.
    path: PathBuf,
    /// The path as it was given.
    shown: String,
}

impl OutputFile {
    /// Checks that `path`, below `here` unless it is absolute, is a file or nothing yet, in a folder that can be written and
    /// is not part of the storage.
    ///
    /// # Errors
    /// With the exit code for usage, when it cannot be written.
    pub fn check(flag: &'static str, path: &Path, here: &Path, storage: &Path) -> Result<Self, Failure> {
        let shown = visible(&path.display().to_string());
        let refused = |why: String, help: &str| {
            Err(Failure::usage(anyhow!("{flag} {shown} cannot be written: {why}")).help(help))
        };
        let is_folder_name = path.as_os_str().as_encoded_bytes().last().is_some_and(|byte| *byte == b'/');
        let whole = here.join(path);
        let (Some(parent), Some(name), false) = (whole.parent(), whole.file_name(), is_folder_name) else {
            return refused("it names a folder".to_owned(), "name a file in it");
        };
        let opened =
            parent.canonicalize().and_then(|real| Ok((Dir::open_ambient_dir(&real, ambient_authority())?, real)));
        let (folder, real) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let parent = visible(&parent.display().to_string());
                return refused(
                    format!("its folder {parent} cannot be opened ({error})"),
                    "create the folder, or name another",
                );
            }
        };
        if storage.canonicalize().is_ok_and(|storage| real.starts_with(storage)) {
            let why = "it is in the storage, whose files are perstack's own".to_owned();
            return refused(why, "name a file in another folder");
        }
        let file = Self { folder, name: name.to_owned(), path: real.join(name), shown: shown.clone() };
        match file.folder.symlink_metadata(&file.name) {
            Ok(metadata) if metadata.is_symlink() => {
                refused("it is a link".to_owned(), "name the file that it leads to")
            }
            Ok(metadata) if metadata.is_dir() => refused("it is a folder".to_owned(), "name a file in it"),
            Ok(metadata) if !metadata.is_file() => {
                let help = "name a regular file; without the option the result goes to standard output";
                refused("it is a device or a pipe".to_owned(), help)
            }
            found => match found.map(drop).or_else(nothing_there).and_then(|()| file.try_out()) {
                Ok(()) => Ok(file),
                Err(error) => refused(error.to_string(), "make the file and its folder writable, or name another file"),
            },
        }
    }

    /// Opens the file for writing if it is there, and creates a file beside it for a moment.
    fn try_out(&self) -> io::Result<()> {
        self.open(OpenOptions::new().write(true)).map(drop).or_else(nothing_there)?;
        let (_, temporary) = self.create_temporary()?;
        self.folder.remove_file(temporary)
    }

    /// The path as it was given.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Replaces the file by one of these bytes: it is the old or the new one at any time, never a part. One that cannot be
    /// replaced (a mount point, another user's file in a shared folder) is written over.
    ///
    /// # Errors
    /// The system's; the file is then as it was, unless it was being written over.
    pub fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace_with(&mut |file| file.write_all(bytes))
    }

    /// The same, with what `write` writes to the new file.
    ///
    /// # Errors
    /// As [`OutputFile::replace`], or those of `write`.
    pub fn replace_with(&self, write: &mut dyn FnMut(&mut File) -> io::Result<()>) -> io::Result<()> {
        let (mut file, temporary) = self.create_temporary()?;
        let written = self
            .keep_permissions(&file)
            .and_then(|()| write(&mut file))
            .and_then(|()| file.sync_data())
            .and_then(|()| self.folder.rename(&temporary, &self.folder, &self.name));
        if written.is_err() {
            // Best effort: the first error is what counts.
            let _ = self.folder.remove_file(&temporary);
        }
        match written {
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ResourceBusy) => {
                let mut file = self.open(OpenOptions::new().write(true))?;
                file.set_len(0).and_then(|()| write(&mut file)).and_then(|()| file.sync_data())
            }
            written => written,
        }
    }

    /// Opens the file, and nothing that a link or another thing of its name leads to.
    fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        // A pipe would wait for its other end.
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::custom_flags(options, libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = self.folder.open_with(&self.name, options)?.into_std();
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file any more")) }
    }

    /// Opens the file to write behind what it has, and creates it where it is not there. A last line without an end is
    /// ended.
    ///
    /// # Errors
    /// The system's.
    pub fn open_to_append(&self) -> io::Result<File> {
        let mut file = self.open(OpenOptions::new().read(true).append(true).create(true))?;
        if file.metadata()?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }

    /// Opens the file to write it anew from its beginning, as it comes.
    ///
    /// # Errors
    /// The system's.
    pub fn open_to_rewrite(&self) -> io::Result<File> {
        let file = self.open(OpenOptions::new().write(true).create(true))?;
        file.set_len(0)?;
        Ok(file)
    }

    /// Gives `file` the permissions of the one that it is to replace.
    fn keep_permissions(&self, file: &File) -> io::Result<()> {
        let old = self.folder.symlink_metadata(&self.name);
        if let Some(old) = old.ok().filter(cap_std::fs::Metadata::is_file) {
            file.set_permissions(old.permissions().into_std(file)?)?;
        }
        Ok(())
    }

    fn create_temporary(&self) -> io::Result<(File, PathBuf)> {
        let mut taken = io::Error::from(io::ErrorKind::AlreadyExists);
        for n in 0..MAX_TEMPORARY {
            let temporary = PathBuf::from(format!(".perstack-{}-{n}.tmp", std::process::id()));
            match self.folder.open_with(&temporary, OpenOptions::new().write(true).create_new(true)) {
                Ok(file) => return Ok((file.into_std(), temporary)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
                Err(error) => return Err(error),
            }
        }
        Err(taken)
    }
}

/// No error if the file is not there.
fn nothing_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn checked(folder: &Path, path: &str) -> Result<OutputFile, String> {
        OutputFile::check("--output-file", Path::new(path), folder, &folder.join("perstack"))
            .map_err(|failure| failure.line())
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let file = checked(folder.path(), "answer.txt").unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "a check leaves nothing");
        file.replace(b"one").unwrap();
        let path = folder.path().join("answer.txt");
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        #[cfg(unix)]
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o640);
        fs::set_permissions(&path, permissions).unwrap();
        let permissions = fs::metadata(&path).unwrap().permissions();
        file.replace(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions(), permissions);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn what_is_appended_begins_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let append = |text: &[u8]| {
            checked(folder.path(), "events.jsonl").unwrap().open_to_append().unwrap().write_all(text).unwrap();
        };
        append(b"{}\n{\"torn");
        append(b"{}\n");
        append(b"{}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n{\"torn\n{}\n{}\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_comes_later_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let file = checked(folder.path(), "answer.txt").unwrap();
        fs::write(folder.path().join("precious"), "as it was").unwrap();
        std::os::unix::fs::symlink("precious", folder.path().join("answer.txt")).unwrap();
        file.open_to_append().unwrap_err();
        file.replace(b"new").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("precious")).unwrap(), "as it was");
        assert_eq!(fs::read_to_string(folder.path().join("answer.txt")).unwrap(), "new");
    }
}
