//! [`read_context`]: the files of a workspace that belong to an expert's instruction, such as `AGENTS.md`; and the key
//! `context`, which names them.
//!
//! The runtime calls it as a job begins or goes on, `perstack check` to show what would be read. Putting the texts into an
//! instruction is the runtime's.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use sha2::{Digest as _, Sha256};

use super::error::{ConfigError, position, quoted};
use super::read_file::is_absence;
use super::reader::{Diagnostics, Node};
use serde::{Deserialize, Serialize};

use crate::expert::ContextFile;
use crate::hex;

/// Most bytes of one file that an instruction has. Our own choice: some 16,000 tokens, several times the usual.
const MOST_OF_FILE: u64 = 64 * 1024;

/// Most bytes of all files together.
const MOST_OF_ALL: u64 = 128 * 1024;

/// The places that context files are read from.
#[derive(Debug, Clone, Copy)]
pub struct ContextPlaces<'a> {
    pub workspace: &'a Path,
    /// Folders whose files are read too, with all folders between the workspace and them. Those elsewhere do not count.
    pub folders: &'a [PathBuf],
    /// Files and folders that nothing is read from.
    pub closed: &'a [PathBuf],
}

/// The context files of an expert, those nearest to the files that are sent along last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContextFiles {
    /// Each with its text, which may be cut.
    pub files: Vec<(ContextFile, String)>,
    /// The files that are not there, are empty or are not whole, a line each.
    pub notes: Vec<String>,
    /// Those of these lines that a reader of the instruction needs.
    pub left_out: Vec<String>,
}

/// `context` of an expert.
pub(super) fn paths(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for item in node.list(diagnostics).unwrap_or_default() {
        let Some(path) = item.string(diagnostics) else { continue };
        if !is_beneath(path) {
            let message =
                format!("expected a file beneath the workspace, such as \"AGENTS.md\", received {}", quoted(path));
            item.problem(message, diagnostics);
        } else if paths.iter().any(|other| plain(other) == plain(path)) {
            item.warning("listed twice, ignored", diagnostics);
        } else {
            paths.push(path.to_owned());
        }
    }
    paths
}

/// Returns true for a relative path that goes downwards.
fn is_beneath(path: &str) -> bool {
    !path.starts_with('~')
        && !path.contains(['\\', '*', '?', '\0'])
        && path.split('/').all(|part| !part.is_empty() && part != "..")
}

/// The path without `.` in it.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

/// Reads the files called `names` in the workspace and in the folders from there to those of `places`.
///
/// # Errors
/// A file that leads out of the workspace, is closed, is no text, or cannot be read.
pub fn read_context(names: &[String], places: ContextPlaces<'_>) -> Result<ContextFiles, ConfigError> {
    let mut read = ContextFiles::default();
    if names.is_empty() {
        return Ok(read);
    }
    let unreadable = |source| ConfigError::Unreadable { path: places.workspace.to_owned(), source };
    let root = places.workspace.canonicalize().map_err(unreadable)?;
    let reader = ContextReader {
        workspace: places.workspace,
        dir: Dir::open_ambient_dir(&root, ambient_authority()).map_err(unreadable)?,
        closed: places.closed.iter().filter_map(|path| path.canonicalize().ok()).collect(),
        root,
    };
    let mut absent: Vec<&String> = names.iter().collect();
    let (mut left, mut seen) = (MOST_OF_ALL, BTreeSet::new());
    for folder in reader.folders(places.folders) {
        for name in names {
            let Some((file, text)) = reader.read(&folder, name, left)? else { continue };
            absent.retain(|other| *other != name);
            // `src/AGENTS.md` is `AGENTS.md` in `src` too.
            if !seen.insert(file.path.clone()) {
                continue;
            }
            let ContextFile { path, bytes, left_out, .. } = &file;
            if let Some(line) = cut_line(path, *bytes, *left_out) {
                read.notes.push(line.clone());
                read.left_out.push(line);
            } else if text.trim().is_empty() {
                read.notes.push(format!("{path} is empty: it adds nothing to the instruction"));
            }
            left = left.saturating_sub(bytes.saturating_sub(*left_out));
            if !text.trim().is_empty() {
                read.files.push((file, text));
            }
        }
    }
    read.notes.extend(absent.into_iter().map(|name| format!("there is no {name} in {}", places.workspace.display())));
    Ok(read)
}

/// The digest of what an instruction can have of a file, and of its length; `None` for what is no regular file.
pub(super) fn digest(path: &Path) -> std::io::Result<Option<String>> {
    let file = super::read_file::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut taken = Vec::new();
    // With the character that the limit may cut.
    file.take(MOST_OF_FILE + 4).read_to_end(&mut taken)?;
    let hasher = Sha256::new_with_prefix(taken).chain_update(metadata.len().to_le_bytes());
    Ok(Some(hex::digits(&hasher.finalize())))
}

/// The line on a file that is not whole.
fn cut_line(path: &str, bytes: u64, left_out: u64) -> Option<String> {
    match left_out {
        0 => None,
        _ if left_out == bytes => Some(format!(
            "{path} is left out: the files before it have {} KiB together, the most there may be",
            MOST_OF_ALL / 1024
        )),
        _ => Some(format!("the last {left_out} of {bytes} bytes of {path} are left out: it is too long")),
    }
}

/// Reads files beneath a workspace.
struct ContextReader<'a> {
    /// As it was given, for messages.
    workspace: &'a Path,
    /// Without links.
    root: PathBuf,
    dir: Dir,
    closed: Vec<PathBuf>,
}

impl ContextReader<'_> {
    /// The workspace, as an empty path, and all folders from there to `ends`, each behind those that it is in.
    fn folders(&self, ends: &[PathBuf]) -> Vec<PathBuf> {
        let ends = ends.iter().filter_map(|end| {
            let real = self.root.join(end).canonicalize().ok()?;
            real.strip_prefix(&self.root).ok().map(Path::to_owned)
        });
        let all: BTreeSet<(usize, PathBuf)> = std::iter::once(PathBuf::new())
            .chain(ends)
            .flat_map(|end| {
                end.ancestors().map(|folder| (folder.components().count(), folder.to_owned())).collect::<Vec<_>>()
            })
            .collect();
        all.into_iter().map(|(_, folder)| folder).collect()
    }

    /// The file `name` in `folder`, of which at most `room` bytes are taken; `None` where there is none.
    fn read(&self, folder: &Path, name: &str, room: u64) -> Result<Option<(ContextFile, String)>, ConfigError> {
        let relative = folder.join(plain(name));
        let path = self.workspace.join(&relative);
        let unreadable = |source| ConfigError::Unreadable { path: path.clone(), source };
        match self.root.join(&relative).symlink_metadata() {
            Err(error) if is_absence(&error) => return Ok(None),
            met => met.map_err(unreadable)?,
        };
        let target = self.root.join(&relative).canonicalize().map_err(unreadable)?;
        let Ok(inside) = target.strip_prefix(&self.root) else {
            return Err(ConfigError::ContextOutside { path, target });
        };
        if self.closed.iter().any(|closed| target.starts_with(closed)) {
            return Err(ConfigError::ContextClosed { path });
        }
        // By the handle, and without links: whoever changes the folder meanwhile leads it nowhere else.
        let file = self.dir.open_with(inside, &without_waiting()).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ConfigError::NotAFile { path });
        }
        let most = MOST_OF_FILE.min(room);
        let mut taken = Vec::new();
        // A few more, by which a character at the end of the limit is known to be whole.
        file.take(most.saturating_add(4)).read_to_end(&mut taken).map_err(unreadable)?;
        let text = text_of(&taken, most, &path)?;
        let bytes = metadata.len().max(taken.len() as u64);
        let digest = hex::digits(&Sha256::digest(text.as_bytes()));
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let file = ContextFile {
            path: shown(&relative),
            folder: shown(folder),
            digest,
            bytes,
            left_out: bytes.saturating_sub(text.len() as u64),
        };
        Ok(Some((file, text)))
    }
}

/// The text of a file's first bytes, of which `most` count: up to the end of a line, where one is cut.
fn text_of(taken: &[u8], most: u64, path: &Path) -> Result<String, ConfigError> {
    if taken.contains(&0) {
        return Err(ConfigError::ContextBinary { path: path.to_owned() });
    }
    let is_cut = taken.len() as u64 > most;
    let sound = match std::str::from_utf8(taken) {
        Ok(text) => text,
        // The character at the end of what was taken may go on.
        Err(error) if is_cut && error.error_len().is_none() => {
            std::str::from_utf8(taken.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        }
        Err(error) => {
            let before = String::from_utf8_lossy(taken.get(..error.valid_up_to()).unwrap_or_default());
            let (line, column) = position(&before, before.len());
            return Err(ConfigError::NotUtf8 { path: path.to_owned(), line, column });
        }
    };
    let end = usize::try_from(most).unwrap_or(usize::MAX).min(sound.len());
    let text = sound.get(..sound.floor_char_boundary(end)).unwrap_or_default();
    let text = if is_cut { text.rfind('\n').and_then(|at| text.get(..=at)).unwrap_or(text) } else { text };
    Ok(text.to_owned())
}

/// Opens no pipe's other end, and makes no terminal this process's own.
fn without_waiting() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW);
    options
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::hint::ErrorHint as _;

    /// A workspace with these files.
    fn workspace(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn read_beside(folder: &Path, names: &[&str], folders: &[&str], closed: &[&str]) -> Result<ContextFiles, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let [folders, closed] =
            [folders, closed].map(|paths| paths.iter().map(|path| folder.join(path)).collect::<Vec<_>>());
        let places = ContextPlaces { workspace: folder, folders: &folders, closed: &closed };
        let shown = |error: ConfigError| error.with_hint().replace(&folder.display().to_string(), "");
        read_context(&names, places).map_err(shown)
    }

    fn read(folder: &Path) -> Result<ContextFiles, String> {
        read_beside(folder, &["AGENTS.md"], &[], &[])
    }

    #[test]
    fn files_of_the_workspace_and_of_the_folders_down_to_a_file_are_read_the_nearest_last() {
        let files: [(&str, &[u8]); 5] = [
            ("AGENTS.md", b"Root.\n"),
            ("a/b/AGENTS.md", "Nähe.".as_bytes()),
            ("a/b/x.rs", b""),
            ("c/AGENTS.md", b"Elsewhere."),
            ("docs/STYLE.md", b"Style."),
        ];
        let folder = workspace(&files);
        let read = read_beside(folder.path(), &["AGENTS.md", "./docs/STYLE.md"], &["a/b"], &[]).unwrap();
        let texts: Vec<(&str, &str, &str)> =
            read.files.iter().map(|(file, text)| (&*file.path, &*file.folder, &**text)).collect();
        let expected =
            [("AGENTS.md", "", "Root.\n"), ("docs/STYLE.md", "", "Style."), ("a/b/AGENTS.md", "a/b", "Nähe.")];
        assert_eq!(texts, expected);
        assert_eq!(read.notes, [""; 0]);
        let elsewhere = tempfile::tempdir().unwrap();
        let far = read_beside(folder.path(), &["AGENTS.md"], &[elsewhere.path().to_str().unwrap()], &[]).unwrap();
        assert_eq!(far.files.len(), 1);
    }

    #[test]
    fn what_adds_nothing_is_noted() {
        let folder = workspace(&[("AGENTS.md", b" \n")]);
        let found = read_beside(folder.path(), &["AGENTS.md", "NONE.md"], &[], &[]).unwrap();
        assert!(found.files.is_empty() && found.left_out.is_empty());
        let notes: Vec<String> =
            found.notes.iter().map(|note| note.replace(&folder.path().display().to_string(), "W")).collect();
        assert_eq!(notes, ["AGENTS.md is empty: it adds nothing to the instruction", "there is no NONE.md in W"]);
        let one = workspace(&[("AGENTS.md", b"x")]);
        assert_eq!(read(one.path()).unwrap().files.len(), 1);
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_elsewhere_is_refused_and_one_within_is_followed() {
        use std::os::unix::fs::symlink;
        let elsewhere = workspace(&[("secret.md", b"Secret.")]);
        for link in ["AGENTS.md", "sub"] {
            let folder = workspace(&[("docs/real.md", b"Real.")]);
            let target = if link == "sub" { elsewhere.path().to_owned() } else { elsewhere.path().join("secret.md") };
            symlink(&target, folder.path().join(link)).unwrap();
            let name = if link == "sub" { "sub/secret.md" } else { link };
            let refused = read_beside(folder.path(), &[name], &[], &[]).unwrap_err();
            let real = elsewhere.path().canonicalize().unwrap().join("secret.md");
            let expected = format!("/{name} leads to {}, outside of the workspace", real.display());
            assert!(refused.contains(&expected), "{refused}");
        }
        let folder = workspace(&[("docs/real.md", b"Real.")]);
        symlink(folder.path().join("docs/real.md"), folder.path().join("AGENTS.md")).unwrap();
        assert_eq!(read(folder.path()).unwrap().files[0].1, "Real.");
        fs::remove_file(folder.path().join("docs/real.md")).unwrap();
        assert!(read(folder.path()).unwrap_err().contains("cannot read /AGENTS.md"));
    }

    #[test]
    fn the_digest_is_of_what_an_instruction_has_and_of_the_length() {
        let folder = workspace(&[("AGENTS.md", b"One.")]);
        let path = folder.path().join("AGENTS.md");
        let digest_of = || digest(&path).unwrap().unwrap();
        let first = digest_of();
        fs::write(&path, "Two.").unwrap();
        let second = digest_of();
        // The most that a file can have: it is not read to its end.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(7 << 40).unwrap();
        let long = digest_of();
        file.set_len(6 << 40).unwrap();
        assert!(first != second && second != long && long != digest_of());
        assert_eq!(digest(folder.path()).unwrap(), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        for (bytes, expected) in [
            (&b"\x7fELF\0\0"[..], "/AGENTS.md is no text: it has a byte 0"),
            (b"one\ncaf\xe9\n", "/AGENTS.md:2:4: not UTF-8 text"),
            // Cut in the middle of its last character.
            ("é".as_bytes().get(..1).unwrap(), "/AGENTS.md:1:1: not UTF-8 text"),
        ] {
            let refused = read(workspace(&[("AGENTS.md", bytes)]).path()).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        let folder = workspace(&[("AGENTS.md/x", b"")]);
        assert!(read(folder.path()).unwrap_err().contains("it is no regular file"));
    }

    #[test]
    fn keys_and_records_are_no_context_under_any_name() {
        let folder = workspace(&[(".env", b"KEY=1"), ("perstack/jobs/a", b"x"), ("AGENTS.md", b"x")]);
        let closed = [".env", "perstack"];
        for name in [".env", "perstack/jobs/a"] {
            let refused = read_beside(folder.path(), &[name], &[], &closed).unwrap_err();
            assert!(refused.contains("holds keys or records of runs"), "{refused}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(".env", folder.path().join("RULES.md")).unwrap();
            assert!(read_beside(folder.path(), &["RULES.md"], &[], &closed).is_err());
        }
        assert!(read_beside(folder.path(), &["AGENTS.md"], &[], &closed).is_ok());
    }

    #[test]
    fn long_files_are_cut_at_a_line_and_what_is_left_out_is_named() {
        let line = format!("{}\n", "ü".repeat(50));
        let long = line.repeat(2000);
        let folder = workspace(&[
            ("AGENTS.md", long.as_bytes()),
            ("a/AGENTS.md", long.as_bytes()),
            ("a/b/AGENTS.md", long.as_bytes()),
            ("a/b/c/AGENTS.md", b"short"),
        ]);
        let read = read_beside(folder.path(), &["AGENTS.md"], &["a/b/c"], &[]).unwrap();
        let (first, text) = &read.files[0];
        assert!(text.len() <= 64 * 1024 && text.len() > 65_000 && text.ends_with("ü\n"), "{}", text.len());
        assert_eq!((first.bytes, first.left_out), (202_000, 202_000 - text.len() as u64));
        assert!(read.files.iter().map(|(_, text)| text.len()).sum::<usize>() <= 128 * 1024);
        assert!(read.left_out[0].starts_with(&format!("the last {} of 202000 bytes of AGENTS.md", first.left_out)));
        assert_eq!(read.left_out, read.notes);
        assert!(read.notes.iter().any(|note| note.contains("a/b/AGENTS.md")), "{:?}", read.notes);
        // Ten million bytes are not read for it.
        let huge = workspace(&[]);
        fs::File::create(huge.path().join("big")).unwrap().set_len(10_000_000).unwrap();
        assert!(read_beside(huge.path(), &["big"], &[], &[]).unwrap_err().contains("a byte 0"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = workspace(&[]);
        mknodat(CWD, folder.path().join("AGENTS.md"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(read(folder.path()).unwrap_err().contains("it is no regular file"));
    }

    #[test]
    fn paths_go_downwards_and_are_named_once() {
        let read = |list: &str| {
            let text = format!("[experts.e]\ninstruction = \"i\"\ncontext = {list}\n");
            crate::config::parse(&text, Path::new("p.toml"))
        };
        let project = read("[\"AGENTS.md\", \"docs/a.md\", \"./AGENTS.md\"]").unwrap();
        assert_eq!(project.expert("e").unwrap().context, ["AGENTS.md", "docs/a.md"]);
        assert_eq!(project.warnings, ["p.toml:3:38: experts.e.context.2: listed twice, ignored"]);
        for bad in ["../a", "/etc/passwd", "~/a", "a/../../b", "", "a/", "*.md", "a\\\\b"] {
            let problem = read(&format!("[\"{bad}\"]")).unwrap_err().to_string();
            assert!(problem.contains("experts.e.context.0: expected a file beneath the workspace"), "{problem}");
        }
    }
}
