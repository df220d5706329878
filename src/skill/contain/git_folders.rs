//! The parts of a git repository that lie outside of a workspace which is in it: the repository's own folder above, or
//! that of the work tree or submodule that the workspace is.

use std::fs;
use std::path::{Path, PathBuf};

/// Those folders, without links. One that a file in the workspace points to counts only if it points back, as git has it
/// for work trees and submodules: the file may be anybody's.
pub(super) fn outside(workspace: &Path) -> Vec<PathBuf> {
    let Some(entry) = workspace.ancestors().map(|folder| folder.join(".git")).find(|entry| entry.exists()) else {
        return Vec::new();
    };
    let Some(top) = entry.parent() else { return Vec::new() };
    let mut folders = Vec::new();
    if entry.is_dir() {
        folders.extend(entry.canonicalize().ok().filter(|folder| is_repository(folder)));
    } else if let Some(folder) = linked(&entry, top) {
        let common = fs::read_to_string(folder.join("commondir")).ok();
        let common = common.and_then(|text| folder.join(text.trim_end()).canonicalize().ok());
        folders.extend(common.filter(|common| is_repository(common) && folder.starts_with(common)));
        folders.push(folder);
    }
    folders.retain(|folder| !folder.starts_with(workspace));
    folders
}

/// The folders of the repository that the workspace is or is in, without links.
pub(in crate::skill) fn repositories(workspace: &Path) -> Vec<PathBuf> {
    let own = workspace.join(".git");
    let is_own = own.is_dir() && !own.is_symlink();
    is_own.then_some(own).into_iter().chain(outside(workspace)).collect()
}

fn is_repository(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir()
}

/// The folder that the file `entry` of the work tree `top` names (`gitdir: …`), if it belongs to that tree.
fn linked(entry: &Path, top: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(entry).ok()?;
    let folder = top.join(text.strip_prefix("gitdir:")?.trim()).canonicalize().ok()?;
    if !folder.join("HEAD").is_file() {
        return None;
    }
    let leads_back = if let Ok(back) = fs::read_to_string(folder.join("gitdir")) {
        folder.join(back.trim_end()).canonicalize().ok()? == entry.canonicalize().ok()?
    } else {
        // A submodule names its tree in its settings.
        let settings = fs::read_to_string(folder.join("config")).ok()?;
        let tree = settings.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == "worktree").then(|| value.trim().to_owned())
        })?;
        folder.join(tree).canonicalize().ok()? == top.canonicalize().ok()?
    };
    leads_back.then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files; those that end in `/` are folders.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let place = top.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            match path.strip_suffix('/') {
                Some(_) => fs::create_dir_all(&place).unwrap(),
                None => fs::write(&place, text.replace("TOP", top.path().to_str().unwrap())).unwrap(),
            }
        }
        top
    }

    fn found(top: &tempfile::TempDir, workspace: &str) -> Vec<String> {
        let real = top.path().canonicalize().unwrap();
        let folders = outside(&real.join(workspace));
        folders.iter().map(|folder| folder.strip_prefix(&real).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_repository_above_the_workspace_is_found_and_one_in_it_is_not_needed() {
        let top = tree(&[("r/.git/HEAD", "x"), ("r/.git/objects/", ""), ("r/sub/deep/", "")]);
        assert_eq!(found(&top, "r/sub/deep"), ["r/.git"]);
        assert_eq!(found(&top, "r"), [""; 0]);
    }

    #[test]
    fn a_work_tree_leads_to_its_repository_and_back() {
        let top = tree(&[
            ("r/.git/HEAD", "x"),
            ("r/.git/objects/", ""),
            ("r/.git/worktrees/w/HEAD", "x"),
            ("r/.git/worktrees/w/commondir", "../..\n"),
            ("r/.git/worktrees/w/gitdir", "TOP/w/.git\n"),
            ("w/.git", "gitdir: TOP/r/.git/worktrees/w\n"),
            ("thief/.git", "gitdir: TOP/r/.git/worktrees/w\n"),
            ("thief2/.git", "gitdir: TOP/r\n"),
        ]);
        assert_eq!(found(&top, "w"), ["r/.git", "r/.git/worktrees/w"]);
        assert_eq!(found(&top, "thief"), [""; 0], "it does not lead back");
        assert_eq!(found(&top, "thief2"), [""; 0]);
    }

    #[test]
    fn a_submodule_leads_to_its_folder() {
        let top = tree(&[
            ("r/.git/modules/m/HEAD", "x"),
            ("r/.git/modules/m/config", "[core]\n\tbare = false\n\tworktree = ../../../m\n"),
            ("r/m/.git", "gitdir: ../.git/modules/m\n"),
        ]);
        assert_eq!(found(&top, "r/m"), ["r/.git/modules/m"]);
    }
}
