//! The files that a pattern of names matches; `include` calls it.
//!
//! `*` matches any run of characters of one name, `?` one character, `**` any number of folders; everything else
//! matches itself. A name that begins with a dot is matched only by a pattern that begins with one, and `**` does not
//! follow links to folders. The number of entries visited is limited, so that no pattern keeps a job from starting;
//! crates for this task have no such limit.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use super::read_file::is_absence;

/// Most files and folders that one pattern may visit: a second or less on a common disk.
const MAX_ENTRIES: usize = 100_000;

/// The reason why a pattern's files cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum GlobError {
    #[error("cannot look into {} ({source})", folder.display())]
    Unreadable { folder: PathBuf, source: io::Error },
    #[error("looks through more than {limit} files: begin it with the folder that they are in")]
    TooMuch { limit: usize },
}

/// The path without redundant slashes and dots.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Returns whether `text` is a pattern, and not the name of one file.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The files that `pattern`, a path relative to `folder`, matches; sorted, each once.
pub(super) fn files(folder: &Path, pattern: &str) -> Result<BTreeSet<PathBuf>, GlobError> {
    files_within(folder, pattern, MAX_ENTRIES)
}

fn files_within(folder: &Path, pattern: &str, limit: usize) -> Result<BTreeSet<PathBuf>, GlobError> {
    let (start, names) = split(pattern);
    let mut walk = Walk { names: &names, waiting: vec![(plain(&folder.join(start)), 0)], entries: 0, limit };
    let mut found = BTreeSet::new();
    while let Some((folder, at)) = walk.waiting.pop() {
        walk.step(folder, at, &mut found)?;
    }
    Ok(found)
}

/// The part before the first name with a wildcard, and the names from there on. Neighbouring `**` are merged, and one
/// at the end matches all files below.
fn split(pattern: &str) -> (&str, Vec<&str>) {
    let first = pattern.find(['*', '?']).unwrap_or(pattern.len());
    let cut = pattern.get(..first).and_then(|plain| plain.rfind('/')).map_or(0, |slash| slash + 1);
    let (start, rest) = pattern.split_at_checked(cut).unwrap_or(("", pattern));
    let mut names: Vec<&str> = rest.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    names.dedup_by(|a, b| *a == "**" && a == b);
    if names.last() == Some(&"**") {
        names.push("*");
    }
    (start, names)
}

/// A search, without recursion: folders may be nested deeper than the stack allows.
struct Walk<'a> {
    names: &'a [&'a str],
    /// Folders to visit, each with the number of the name that its entries are to match.
    waiting: Vec<(PathBuf, usize)>,
    /// Entries visited so far.
    entries: usize,
    limit: usize,
}

impl Walk<'_> {
    fn step(&mut self, folder: PathBuf, at: usize, found: &mut BTreeSet<PathBuf>) -> Result<(), GlobError> {
        let Some(&name) = self.names.get(at) else { return Ok(()) };
        let is_last = at + 1 == self.names.len();
        if name == "**" {
            for entry in self.entries(&folder)? {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder && !is_hidden(&entry) {
                    self.waiting.push((entry.path(), at));
                }
            }
            self.waiting.push((folder, at + 1));
        } else if !is_pattern(name) {
            let path = folder.join(name);
            if !is_last {
                self.waiting.push((path, at + 1));
            } else if exists(&folder, &path)? && !path.is_dir() {
                found.insert(path);
            }
        } else {
            for entry in self.entries(&folder)? {
                if is_hidden(&entry) && !name.starts_with('.') || !matches(name, &entry.file_name().to_string_lossy()) {
                    continue;
                }
                let path = entry.path();
                match is_last {
                    true if !path.is_dir() => drop(found.insert(path)),
                    true => {}
                    false => self.waiting.push((path, at + 1)),
                }
            }
        }
        Ok(())
    }

    /// The entries of a folder; none when it is not a folder.
    fn entries(&mut self, folder: &Path) -> Result<Vec<DirEntry>, GlobError> {
        let unreadable = |source| GlobError::Unreadable { folder: folder.to_owned(), source };
        // The folder of a bare pattern has no name of its own.
        let named = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let listing = match fs::read_dir(named) {
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            listing => listing.map_err(unreadable)?,
        };
        let mut entries = Vec::new();
        for entry in listing {
            self.entries += 1;
            if self.entries > self.limit {
                return Err(GlobError::TooMuch { limit: self.limit });
            }
            entries.push(entry.map_err(unreadable)?);
        }
        Ok(entries)
    }
}

/// Returns whether something in `folder` is at `path`, even a dangling link.
fn exists(folder: &Path, path: &Path) -> Result<bool, GlobError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(source) => Err(GlobError::Unreadable { folder: folder.to_owned(), source }),
    }
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().first() == Some(&b'.')
}

/// Returns whether a name matches a pattern of `*`, `?` and characters.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // The point to retry from: behind the last `*`, which then takes one more character of the name. Going back to the
    // last `*` alone is enough, and keeps the search quadratic where recursion over all of them would be exponential.
    let mut again = None;
    loop {
        let here = (pattern.clone(), name.clone());
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                again = Some((pattern.clone(), here.1.clone()));
                name = here.1;
            }
            (Some('?'), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => {
                let Some((after_star, mut rest)) = again else { return false };
                if rest.next().is_none() {
                    return false;
                }
                (pattern, name) = (after_star.clone(), rest.clone());
                again = Some((after_star, rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    /// The files found, relative to the folder.
    fn found(folder: &Path, pattern: &str) -> Vec<String> {
        let files = files(folder, pattern).unwrap();
        files.iter().map(|file| file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn names_match_by_character() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml", true),
            ("*.toml", "a.toml~", false),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbYb", false),
            ("a?c", "aüc", true),
            ("a?c", "ac", false),
            ("**a", "bba", true),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(2_000), &"a".repeat(1_999)));
    }

    #[test]
    fn files_are_found_in_order() {
        let top =
            folder(&["b.toml", "a.toml", "a.txt", ".h.toml", "x/c.toml", "x/y/d.toml", "x/.z/e.toml", "f.toml/g"]);
        for (pattern, expected) in [
            ("*.toml", &["a.toml", "b.toml"][..]),
            ("?.toml", &["a.toml", "b.toml"]),
            (".*.toml", &[".h.toml"]),
            ("*/*.toml", &["x/c.toml"]),
            ("*/c.toml", &["x/c.toml"]),
            ("x/*", &["x/c.toml"]),
            ("x//./*.toml", &["x/c.toml"]),
            ("**/*.toml", &["a.toml", "b.toml", "x/c.toml", "x/y/d.toml"]),
            ("**/**/d.toml", &["x/y/d.toml"]),
            ("**/y/**/d.toml", &["x/y/d.toml"]),
            ("x/**", &["x/c.toml", "x/y/d.toml"]),
            ("x/.z/*", &["x/.z/e.toml"]),
            ("none/*", &[]),
            ("a.toml/*", &[]),
            ("*/none", &[]),
        ] {
            assert_eq!(found(top.path(), pattern), expected, "{pattern}");
        }
        assert_eq!(found(top.path(), &format!("{}/x/*", top.path().display())), ["x/c.toml"]);
        let above: Vec<PathBuf> = files(&top.path().join("x"), "../?.toml").unwrap().into_iter().collect();
        assert_eq!(above, [top.path().join("x/../a.toml"), top.path().join("x/../b.toml")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_cycle_of_links_is_not_followed() {
        let top = folder(&["x/c.toml"]);
        std::os::unix::fs::symlink("..", top.path().join("x/up")).unwrap();
        std::os::unix::fs::symlink("nowhere", top.path().join("x/dead.toml")).unwrap();
        assert_eq!(found(top.path(), "**/*.toml"), ["x/c.toml", "x/dead.toml"]);
        assert_eq!(found(top.path(), "x/*/*/c.toml"), ["x/up/x/c.toml"]);
    }

    #[test]
    fn a_search_has_a_limit() {
        let top = folder(&["a", "b", "c"]);
        assert_eq!(files_within(top.path(), "*", 3).unwrap().len(), 3);
        assert!(matches!(files_within(top.path(), "*", 2), Err(GlobError::TooMuch { limit: 2 })));
        assert!(matches!(files_within(top.path(), "**/a", 2), Err(GlobError::TooMuch { limit: 2 })));
    }
}
