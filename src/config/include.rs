//! [`Includes`]: the further files that `include` names, in their order and with their texts. `file` asks for one after
//! the other; their contents are read like the first file's own.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::FileOwner;
use super::diagnostics::SourceSpan;
use super::error::quoted;
use super::glob;
use super::keys::tables::{INCLUDED, TOP};
use super::read_file::{OwnedText, is_absence, read_owned};
use super::reader::{Diagnostics, Node, Table};
use crate::hint::ErrorHint as _;

/// Most files that one configuration may include.
const MAX_FILES: usize = 1000;
/// Most files in a row, each of which includes the next.
const MAX_DEPTH: usize = 10;
/// Most bytes of all included files together; each alone is bounded too.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The files that a configuration includes, level by level and in the order they are named. A file that is named twice,
/// or includes itself, is read once.
#[derive(Default)]
pub(super) struct Includes {
    waiting: VecDeque<Waiting>,
    /// Every file that was named, by its canonical path: two spellings of one file are one file.
    known: HashSet<PathBuf>,
    read: Vec<FileOwner>,
    bytes: usize,
    has_gaps: bool,
}

struct Waiting {
    path: PathBuf,
    depth: usize,
    /// The entry that names it.
    spot: SourceSpan,
}

/// An included file's text.
pub(super) struct Included {
    pub(super) path: PathBuf,
    pub(super) text: Rc<str>,
    /// 1 for a file that the first one includes.
    pub(super) depth: usize,
}

impl Includes {
    /// Adds the files named by the `include` of the file at `path`, if it has one. `depth`: the number of files that
    /// led there.
    pub fn add(&mut self, root: &Table<'_>, path: &Path, depth: usize, diagnostics: &mut Diagnostics) {
        let Some(node) = root.get("include") else { return };
        if self.known.is_empty() {
            self.known.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let items = node.list(diagnostics);
        self.has_gaps |= items.is_none();
        for item in items.unwrap_or_default() {
            let paths = named(&item, folder, diagnostics);
            self.has_gaps |= paths.is_none();
            for path in paths.unwrap_or_default() {
                self.enqueue(path, depth + 1, &item, diagnostics);
            }
        }
    }

    fn enqueue(&mut self, path: PathBuf, depth: usize, item: &Node<'_>, diagnostics: &mut Diagnostics) {
        let identity = match path.canonicalize() {
            Ok(identity) => identity,
            Err(error) => return self.gap(item.spot(), unreachable(&path, &error), diagnostics),
        };
        if self.known.contains(&identity) {
            return;
        }
        if depth > MAX_DEPTH {
            let message = format!("{} would be file {depth} in a row: include it from further up", path.display());
            return self.gap(
                item.spot(),
                format!("files include files at most {MAX_DEPTH} deep; {message}"),
                diagnostics,
            );
        }
        self.known.insert(identity);
        // `known` holds the first file too.
        match self.known.len() - 1 {
            ..=MAX_FILES => self.waiting.push_back(Waiting { path, depth, spot: item.spot() }),
            count if count == MAX_FILES + 1 => {
                let message = format!("more than {MAX_FILES} files are included: name fewer");
                self.gap(item.spot(), message, diagnostics);
            }
            _ => {}
        }
    }

    /// Reads the next file. Files that cannot be read are reported and skipped.
    pub fn next(&mut self, diagnostics: &mut Diagnostics) -> Option<Included> {
        while let Some(Waiting { path, depth, spot }) = self.waiting.pop_front() {
            let OwnedText { text, owner } = match read_owned(&path) {
                Ok(Some(read)) => read,
                Ok(None) => {
                    self.gap(spot, unreachable(&path, &io::ErrorKind::NotFound.into()), diagnostics);
                    continue;
                }
                Err(error) => {
                    let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
                    self.gap(spot, format!("{}{cause}", error.with_hint()), diagnostics);
                    continue;
                }
            };
            self.bytes = self.bytes.saturating_add(text.len());
            if self.bytes > MAX_BYTES {
                self.waiting.clear();
                self.gap(spot, format!("the included files have more than {MAX_BYTES} bytes: name fewer"), diagnostics);
                return None;
            }
            self.read.push(FileOwner { path: path.clone(), owner });
            return Some(Included { path, text: text.into(), depth });
        }
        None
    }

    /// Reports a file that is missing from the whole.
    fn gap(&mut self, spot: SourceSpan, message: String, diagnostics: &mut Diagnostics) {
        self.has_gaps = true;
        diagnostics.problem(spot, message);
    }

    /// Returns whether a file could not be read, so that its experts are unknown.
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// The files that were read, in the order of reading.
    pub fn into_read(self) -> Vec<FileOwner> {
        self.read
    }
}

/// Warns of keys at the top of an included file that only the first file may have.
pub(super) fn warn_ignored(root: &Table<'_>, diagnostics: &mut Diagnostics) {
    for (key, _) in root.iter().filter(|(key, _)| INCLUDED.get(key.name).is_none()) {
        if TOP.names().contains(&key.name) {
            key.unknown(&[], "belongs in the configuration's first file", diagnostics);
        } else {
            key.unknown(&INCLUDED.names(), "unknown key in an included file", diagnostics);
        }
    }
}

/// The paths that an entry names; `None` when they cannot be found out, which is reported.
fn named(item: &Node<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<BTreeSet<PathBuf>> {
    let text = item.filled(diagnostics)?;
    if text.contains("://") {
        let message =
            format!("{} is an address, and only local files are included: save it and name its path", quoted(text));
        item.problem(message, diagnostics);
        return None;
    }
    if !glob::is_pattern(text) {
        return Some(BTreeSet::from([glob::plain(&folder.join(text))]));
    }
    match glob::files(folder, text) {
        Ok(files) if files.is_empty() => {
            item.warning(format!("{} matches no file", quoted(text)), diagnostics);
            Some(files)
        }
        Ok(files) => Some(files),
        Err(error) => {
            item.problem(format!("{}: {error}", quoted(text)), diagnostics);
            None
        }
    }
}

fn unreachable(path: &Path, error: &io::Error) -> String {
    if is_absence(error) {
        format!("{} does not exist: check its spelling (it is relative to this file)", path.display())
    } else {
        format!("cannot reach {} ({error})", path.display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{ConfigError, Project, load};
    use super::*;
    use crate::expert::ExpertKey;

    /// A folder of files.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                folder.write(path, text);
            }
            folder
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn load(&self) -> Result<Project, ConfigError> {
            load(&self.0.path().join("perstack.toml"))
        }

        fn experts(&self) -> Vec<String> {
            self.load().unwrap().experts.keys().map(ToString::to_string).collect()
        }

        /// Lines without the folder's own path.
        fn bare<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
            let prefix = format!("{}/", self.0.path().display());
            lines.into_iter().map(|line| line.replace(&prefix, "")).collect()
        }

        fn problems(&self) -> Vec<String> {
            self.bare(self.load().unwrap_err().to_string().lines())
        }

        fn warnings(&self) -> Vec<String> {
            self.bare(self.load().unwrap().warnings.iter().map(String::as_str))
        }
    }

    fn expert(key: &str) -> String {
        format!("[experts.{key:?}]\ninstruction = \"i\"\n")
    }

    #[test]
    fn experts_come_from_all_files_in_order() {
        let folder = Folder::new(&[
            ("perstack.toml", &format!("include = [\"team/z.toml\", \"experts/*.toml\"]\n{}", expert("own"))),
            ("experts/b.toml", &expert("b")),
            ("experts/a.toml", &format!("include = [\"deep/*.toml\"]\n{}delegates = [\"z\", \"own\"]\n", expert("a"))),
            ("experts/deep/d.toml", &expert("d")),
            ("team/z.toml", &format!("include = [\"y.toml\"]\n{}", expert("z"))),
            ("team/y.toml", &expert("y")),
        ]);
        assert_eq!(folder.experts(), ["own", "z", "a", "b", "y", "d"]);
        let project = folder.load().unwrap();
        let included: Vec<&Path> =
            project.included.iter().map(|path| path.strip_prefix(folder.0.path()).unwrap()).collect();
        let expected =
            ["team/z.toml", "experts/a.toml", "experts/b.toml", "team/y.toml", "experts/deep/d.toml"].map(Path::new);
        assert_eq!(included, expected);
        let delegates: Vec<&str> = project.expert("a").unwrap().delegates.iter().map(ExpertKey::as_str).collect();
        assert_eq!(delegates, ["z", "own"]);
        let error = project.expert("nobody").unwrap_err().to_string();
        assert!(error.contains("is not defined in ") && error.contains(" or the 5 files that it includes "), "{error}");
    }

    #[test]
    fn a_file_is_read_once_however_it_is_named() {
        let folder = Folder::new(&[
            (
                "perstack.toml",
                &format!("include = [\"a.toml\", \"./a.toml\", \"x/../a.toml\", \"*.toml\"]\n{}", expert("own")),
            ),
            ("a.toml", &format!("include = [\"perstack.toml\", \"b.toml\", \"a.toml\"]\n{}", expert("a"))),
            ("b.toml", &format!("include = [\"a.toml\"]\n{}", expert("b"))),
            ("x/none", ""),
        ]);
        assert_eq!(folder.experts(), ["own", "a", "b"]);
        assert_eq!(folder.warnings(), Vec::<String>::new());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("a.toml", folder.0.path().join("link.toml")).unwrap();
            assert_eq!(folder.experts(), ["own", "a", "b"]);
        }
    }

    #[test]
    fn a_file_that_cannot_be_included_is_reported_at_its_entry() {
        let folder = Folder::new(&[
            (
                "perstack.toml",
                "include = [\"none.toml\", \"https://host/x.toml\", \"\", 3, \"sub\", \"latin1.toml\"]\n\
                 [experts.own]\ninstruction = \"i\"\ndelegates = [\"elsewhere\"]\n",
            ),
            ("sub/x", ""),
        ]);
        fs::write(folder.0.path().join("latin1.toml"), b"# one\n# t\xe9\n").unwrap();
        assert_eq!(
            folder.problems(),
            [
                "perstack.toml:1:12: include.0: none.toml does not exist: check its spelling (it is relative to this file)",
                "perstack.toml:1:25: include.1: \"https://host/x.toml\" is an address, and only local files are included: \
                 save it and name its path",
                "perstack.toml:1:48: include.2: expected a non-empty string",
                "perstack.toml:1:52: include.3: expected string, received number",
                "perstack.toml:1:55: include.4: cannot read sub: it is no regular file; name a file",
                "perstack.toml:1:62: include.5: latin1.toml:2:4: not UTF-8 text; save the file as UTF-8",
            ]
        );
    }

    #[test]
    fn a_pattern_without_a_match_is_a_warning() {
        let folder = Folder::new(&[("perstack.toml", "include = [\"experts/*.toml\"]\n")]);
        assert_eq!(folder.warnings(), ["perstack.toml:1:12: include.0: \"experts/*.toml\" matches no file"]);
    }

    #[test]
    fn mistakes_are_reported_in_the_file_that_has_them() {
        let folder = Folder::new(&[
            ("perstack.toml", "include = [\"a.toml\", \"b.toml\"]\nmaxSteps = 0\n[experts.own]\ninstruction = \"\"\n"),
            ("a.toml", "\n[experts.a]\ninstruction = 3\ndelegates = [\"bb\", \"b\"]\n"),
            ("b.toml", &format!("{}version = \"x\"\ndelegates = [\"own\", \"nobody\"]\n", expert("b"))),
        ]);
        assert_eq!(
            folder.problems(),
            [
                "perstack.toml:2:12: maxSteps: expected a whole number from 1 to 9007199254740991, received another number",
                "perstack.toml:4:15: experts.own.instruction: expected 1 to 20480 characters, received 0",
                "a.toml:3:15: experts.a.instruction: expected string, received number",
                "a.toml:4:14: experts.a.delegates.0: expert \"bb\" is not defined; did you mean \"b\"?",
                "b.toml:3:11: experts.b.version: expected a version such as \"1.2.3\", received \"x\"",
                "b.toml:4:21: experts.b.delegates.1: expert \"nobody\" is not defined",
            ]
        );
        // The experts of a file with broken syntax are unknown, so no delegate is reported as missing.
        folder.write("b.toml", "[experts.b]\ninstruction = \n");
        let lines = folder.problems();
        assert!(lines[3].starts_with("b.toml:2:"), "{lines:?}");
        assert_eq!(lines.len(), 4, "{lines:?}");
    }

    #[test]
    fn an_expert_defined_twice_is_reported_with_both_places() {
        let folder = Folder::new(&[
            ("perstack.toml", "include = [\"a.toml\", \"b.toml\"]\n"),
            ("a.toml", &format!("# first\n{}", expert("a"))),
            ("b.toml", &format!("{}{}", expert("b"), expert("a"))),
        ]);
        assert_eq!(
            folder.problems(),
            ["b.toml:3:10: experts.a: already defined at a.toml:2:10: rename one of them, or leave one out"]
        );
    }

    #[test]
    fn only_the_first_file_sets_run_options() {
        let folder = Folder::new(&[
            ("perstack.toml", "include = [\"a.toml\"]\nmodel = \"m\"\n"),
            ("a.toml", &format!("model = \"other\"\nexprts = 1\n{}tag = 1\n", expert("a"))),
        ]);
        let expected = [
            "a.toml:1:1: model: belongs in the configuration's first file",
            "a.toml:2:1: exprts: unknown key in an included file; did you mean \"experts\"?",
            "a.toml:5:1: experts.a.tag: unknown key; did you mean \"tags\"?",
        ];
        assert_eq!(folder.warnings(), expected);
        let project = folder.load().unwrap();
        assert_eq!(project.overrides.model.as_deref(), Some("m"));
        assert_eq!(project.unknown_keys, project.warnings);
    }

    #[test]
    fn depth_has_a_limit() {
        let folder = Folder::new(&[("perstack.toml", "include = [\"1.toml\"]\n"), ("10.toml", "")]);
        for depth in 1..MAX_DEPTH {
            folder.write(&format!("{depth}.toml"), &format!("include = [\"{}.toml\"]\n", depth + 1));
        }
        assert_eq!(folder.load().unwrap().included.len(), MAX_DEPTH);
        folder.write("10.toml", "include = [\"1.toml\", \"11.toml\"]\n");
        folder.write("11.toml", "");
        assert_eq!(
            folder.problems(),
            [
                "10.toml:1:22: include.1: files include files at most 10 deep; 11.toml would be file 11 in a row: include it \
              from further up"
            ]
        );
        folder.write("perstack.toml", "include = [\"1.toml\", \"11.toml\"]\n");
        assert_eq!(folder.load().unwrap().included.len(), MAX_DEPTH + 1);
    }

    #[test]
    fn number_and_size_have_limits() {
        let folder = Folder::new(&[("perstack.toml", "include = [\"x/*\", \"y\", \"z\"]\n"), ("y", ""), ("z", "")]);
        for file in 1..MAX_FILES {
            folder.write(&format!("x/{file}"), "");
        }
        assert_eq!(folder.problems(), ["perstack.toml:1:24: include.2: more than 1000 files are included: name fewer"]);
        folder.write("perstack.toml", "include = [\"x/*\", \"y\"]\n");
        assert_eq!(folder.load().unwrap().included.len(), MAX_FILES);

        let comment = "#".repeat(4 << 20);
        for file in 1..=5 {
            folder.write(&format!("large/{file}"), &comment);
        }
        folder.write("perstack.toml", "include = [\"large/*\"]\n");
        assert_eq!(
            folder.problems(),
            ["perstack.toml:1:12: include.0: the included files have more than 16777216 bytes: name fewer"]
        );
    }
}
