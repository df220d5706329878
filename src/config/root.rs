//! [`discover`]: the `perstack.toml` of the folder that one is in, found upwards, and the root of its project. The command
//! line calls it where no file is named.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::read_file::is_absence;

/// The configuration's name.
pub const FILE_NAME: &str = "perstack.toml";

/// The name of what a repository is known by: a folder, or a file in a work tree that is linked to another.
const REPOSITORY: &str = ".git";

/// A configuration that was found, and the project's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// The file.
    pub path: PathBuf,
    /// The folder of `.env`, the storage and the experts' work: the file's, unless that is the home folder or the root of
    /// the file system, which are no projects. A file there gives experts alone, and the root is where the search began.
    pub root: PathBuf,
}

/// Finds `perstack.toml` in `start` or in the nearest folder above it. The search passes neither a repository, nor the
/// home folder, nor the root of the file system. A file that exists but cannot be read is an error: going on to the next
/// folder would run another project. `start` should be absolute and without `..`.
///
/// # Errors
/// [`ConfigError::NotFound`], or a folder that cannot be looked into.
pub fn discover(start: &Path, home: Option<&Path>) -> Result<Discovered, ConfigError> {
    let unreadable = |path: &Path, source| ConfigError::Unreadable { path: path.to_owned(), source };
    let start = std::path::absolute(start).map_err(|source| unreadable(start, source))?;
    // The current folder is a real path, and the home folder may be named by a link.
    let real_home = home.and_then(|home| home.canonicalize().ok());
    let is_home = |folder: &Path| Some(folder) == home || Some(folder) == real_home.as_deref();
    for folder in start.ancestors() {
        let is_no_project = is_home(folder) || folder.parent().is_none();
        let path = folder.join(FILE_NAME);
        if is_there(&path)? {
            let root = if is_no_project { start.clone() } else { folder.to_owned() };
            return Ok(Discovered { path, root });
        }
        if is_no_project || is_there(&folder.join(REPOSITORY))? {
            break;
        }
    }
    Err(ConfigError::NotFound { start })
}

fn is_there(path: &Path) -> Result<bool, ConfigError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    /// A folder with these files and folders (those that end in `/`).
    fn folder_with(paths: &[&str]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for path in paths {
            let place = top.path().join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            match path.strip_suffix('/') {
                Some(_) => std::fs::create_dir_all(&place).unwrap(),
                None => std::fs::write(&place, "").unwrap(),
            }
        }
        top
    }

    /// The file and the root, relative to `top`.
    fn found(top: &tempfile::TempDir, start: &str, home: Option<&str>) -> Option<(String, String)> {
        let home = home.map(|home| top.path().join(home));
        let Discovered { path, root } = discover(&top.path().join(start), home.as_deref()).ok()?;
        let relative = |path: &Path| path.strip_prefix(top.path()).unwrap().display().to_string();
        Some((relative(&path), relative(&root)))
    }

    fn pair(path: &str, root: &str) -> (String, String) {
        (path.to_owned(), root.to_owned())
    }

    #[test]
    fn the_nearest_file_above_is_found_and_its_folder_is_the_root() {
        let top = folder_with(&["a/b/", "a/perstack.toml", "perstack.toml"]);
        assert_eq!(found(&top, "a/b", None), Some(pair("a/perstack.toml", "a")));
        assert_eq!(found(&top, "", None), Some(pair("perstack.toml", "")));
    }

    #[test]
    fn a_repository_is_not_passed() {
        let top =
            folder_with(&["perstack.toml", "repo/.git/", "repo/src/", "linked/.git", "own/.git/", "own/perstack.toml"]);
        assert_eq!(found(&top, "repo/src", None), None);
        assert_eq!(found(&top, "linked", None), None);
        assert_eq!(found(&top, "own", None), Some(pair("own/perstack.toml", "own")));
    }

    #[test]
    fn the_home_folder_is_not_passed_and_no_project() {
        let top = folder_with(&["perstack.toml", "home/work/", "home/owls/perstack.toml", "home/owls/sub/"]);
        assert_eq!(found(&top, "home/work", Some("home")), None);
        std::fs::write(top.path().join("home/perstack.toml"), "").unwrap();
        assert_eq!(found(&top, "home/work", Some("home")), Some(pair("home/perstack.toml", "home/work")));
        assert_eq!(found(&top, "home", Some("home")), Some(pair("home/perstack.toml", "home")));
        assert_eq!(found(&top, "home/owls/sub", Some("home")), Some(pair("home/owls/perstack.toml", "home/owls")));
    }

    #[cfg(unix)]
    #[test]
    fn a_home_folder_that_is_named_by_a_link_is_known() {
        let top = folder_with(&["perstack.toml", "real/work/"]);
        std::os::unix::fs::symlink(top.path().join("real"), top.path().join("home")).unwrap();
        assert_eq!(found(&top, "real/work", Some("home")), None);
    }

    #[test]
    fn what_is_there_but_unreadable_is_not_passed_over() {
        let top = folder_with(&["perstack.toml", "below/perstack.toml/"]);
        let path = discover(&top.path().join("below"), None).unwrap().path;
        assert_eq!(
            load(&path).unwrap_err().to_string(),
            format!("cannot read {}: it is no regular file", path.display())
        );
    }
}
