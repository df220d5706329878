//! Programs looked up as starting them would, without starting them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folders of programs when no `PATH` is set (as on POSIX systems).
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// The reason why a program could not be started.
#[derive(Debug, PartialEq, Eq)]
pub enum StartProblem {
    /// There is none of that name.
    Missing,
    /// There is a file, but it may not be run.
    NotExecutable(PathBuf),
}

/// The file that would be run for `command` in `folder`: a path, or a name to be looked up in `path`.
pub fn find(command: &str, folder: &Path, path: Option<&str>) -> Result<PathBuf, StartProblem> {
    let is_path = command.contains(std::path::is_separator);
    let places: Vec<PathBuf> = if is_path {
        vec![folder.join(command)]
    } else {
        let folders = OsString::from(path.unwrap_or(DEFAULT_PATH));
        std::env::split_paths(&folders).map(|place| folder.join(place).join(command)).collect()
    };
    let mut unusable = None;
    for place in places.iter().flat_map(|place| spellings(place)) {
        if !place.is_file() {
            continue;
        }
        if is_executable(&place) {
            return Ok(place);
        }
        unusable.get_or_insert(place);
    }
    Err(unusable.map_or(StartProblem::Missing, StartProblem::NotExecutable))
}

#[cfg(unix)]
fn spellings(place: &Path) -> Vec<PathBuf> {
    vec![place.to_owned()]
}

/// Programs may be named without their ending.
#[cfg(not(unix))]
fn spellings(place: &Path) -> Vec<PathBuf> {
    let with = |ending: &str| {
        let mut name = place.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    ["", ".exe", ".cmd", ".bat"].map(with).into()
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(not(unix))]
fn is_executable(_file: &Path) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let program = |path: &str, mode| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let text = program("first/tool", 0o644);
        let tool = program("second/tool", 0o755);
        let local = program("work/bin/local", 0o755);
        fs::create_dir(root.join("second/folder")).unwrap();
        let path = std::env::join_paths([root.join("first"), root.join("second")]).unwrap();
        let (both, first) = (path.to_str().unwrap(), root.join("first"));
        let find = |command: &str, path: Option<&str>| find(command, &root.join("work"), path);
        assert_eq!(find("tool", Some(both)), Ok(tool));
        assert_eq!(find("tool", first.to_str()), Err(StartProblem::NotExecutable(text)));
        assert_eq!(find("folder", Some(both)), Err(StartProblem::Missing));
        assert_eq!(find("other", Some(both)), Err(StartProblem::Missing));
        assert_eq!(find("bin/local", Some(both)), Ok(local.clone()));
        assert_eq!(find(local.to_str().unwrap(), None), Ok(local.clone()));
        assert_eq!(find("tool/", Some(both)), Err(StartProblem::Missing));
    }
}
