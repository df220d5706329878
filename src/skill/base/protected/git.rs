//! The files of a git repository that decide which programs git starts, and the settings among them that do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Kept;

/// Deepest nesting of submodules that is looked into.
const MAX_DEPTH: usize = 6;

/// Sections of settings that start programs, name further settings, or lead requests elsewhere.
const SECTIONS: [&str; 19] = [
    "alias",
    "browser",
    "credential",
    "difftool",
    "filter",
    "gpg",
    "http",
    "imap",
    "include",
    "includeif",
    "instaweb",
    "man",
    "mergetool",
    "pager",
    "protocol",
    "sendemail",
    "sequence",
    "url",
    "web",
];

/// Names of settings, of whichever section, that do.
const NAMES: [&str; 20] = [
    "alternaterefscommand",
    "askpass",
    "attributesfile",
    "cmd",
    "command",
    "difffilter",
    "driver",
    "editor",
    "external",
    "fsmonitor",
    "gitproxy",
    "hookspath",
    "pager",
    "packobjectshook",
    "proxy",
    "receivepack",
    "sshcommand",
    "textconv",
    "uploadpack",
    "vcs",
];

/// Adds the files of the repository's folder `repository` that are there.
pub(super) fn control_files(repository: &Path, paths: &mut Vec<PathBuf>) {
    add_control_files(repository, MAX_DEPTH, paths);
}

fn add_control_files(repository: &Path, depth: usize, paths: &mut Vec<PathBuf>) {
    // `commondir` names the folder that git takes settings and hooks from.
    paths.extend(["commondir", "config", "config.worktree", "hooks"].map(|name| repository.join(name)));
    let is_hook = |path: &PathBuf| path.extension().is_none_or(|ending| ending != "sample" && ending != "changed");
    let hooks = repository.join("hooks");
    // Through no link: what it leads to is not the repository's.
    if !hooks.is_symlink() {
        paths.extend(entries(&hooks).filter(is_hook));
    }
    paths.extend(entries(&repository.join("worktrees")).map(|tree| tree.join("config.worktree")));
    add_modules(&repository.join("modules"), depth, paths);
}

/// A submodule's name may have folders of its own.
fn add_modules(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    for path in entries(folder).filter(|path| path.is_dir() && !path.is_symlink()) {
        if path.join("HEAD").exists() {
            add_control_files(&path, depth, paths);
        } else {
            add_modules(&path, depth, paths);
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Returns true for a path of [`control_files`].
pub(super) fn is_control_file(path: &Path) -> bool {
    is_settings(path)
        || path.ends_with("commondir")
        || path.ends_with("hooks")
        || path.parent().is_some_and(|folder| folder.ends_with("hooks"))
}

fn is_settings(path: &Path) -> bool {
    path.ends_with("config") || path.ends_with("config.worktree")
}

/// Returns true if the repository that the control file `path` belongs to is still there.
pub(super) fn repository_is_there(path: &Path) -> bool {
    path.ancestors().skip(1).take(3).any(|folder| folder.join("HEAD").exists())
}

/// The treatment of a protected file that has changed.
pub(super) enum PutBack {
    /// It may stay as it is.
    Nothing,
    /// It gets this text.
    Text(String),
    /// It gets its whole state before.
    Whole,
}

/// The treatment of the file at `path`, which was one way and is another: of settings, only the dangerous ones count.
pub(super) fn treatment(path: &Path, was: Option<&Kept>, is: Option<&Kept>) -> PutBack {
    if is_settings(path) { settings_put_back(was, is).unwrap_or(PutBack::Whole) } else { PutBack::Whole }
}

fn settings_put_back(was: Option<&Kept>, is: Option<&Kept>) -> Option<PutBack> {
    let text = |kept: Option<&Kept>| match kept {
        Some(Kept::File { bytes, .. }) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Some(Kept::Link(_) | Kept::BehindLink | Kept::Other { .. }) => None,
        None => Some(String::new()),
    };
    let (was, is) = (text(was)?, text(is)?);
    let (before, after) = (dangerous(&was), dangerous(&is));
    if before == after {
        return Some(PutBack::Nothing);
    }
    if !before.is_subset(&after) {
        return None;
    }
    let mut kept = String::new();
    let mut section = String::new();
    for line in is.split_inclusive('\n') {
        let found = settings_in(line, &mut section);
        if found.iter().all(|setting| before.contains(setting) || !is_dangerous(setting)) {
            kept.push_str(line);
        }
    }
    // A setting that goes on over several lines leaves a rest behind.
    (dangerous(&kept) == before && !is.contains("\\\n")).then_some(PutBack::Text(kept))
}

/// The dangerous settings of a text, as `section.name=value`.
fn dangerous(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let text = text.replace("\\\r\n", "").replace("\\\n", "");
    let all = text.lines().flat_map(|line| settings_in(line, &mut section)).collect::<Vec<_>>();
    all.into_iter().filter(|setting| is_dangerous(setting)).collect()
}

fn is_dangerous(setting: &str) -> bool {
    let key = setting.split('=').next().unwrap_or_default();
    let first = key.split('.').next().unwrap_or_default();
    let name = key.rsplit('.').next().unwrap_or_default();
    // A remote's address may name a program (`ext::`).
    SECTIONS.contains(&first)
        || NAMES.contains(&name)
        || setting.contains("ext::")
        || (first == "submodule" && name == "update")
}

/// The settings of a line, which may begin a section too.
fn settings_in(line: &str, section: &mut String) -> Vec<String> {
    let mut rest = line.trim();
    while let Some(inner) = rest.strip_prefix('[') {
        let end = section_end(inner);
        let name = inner.get(..end).unwrap_or_default().to_lowercase();
        *section = name.split([' ', '\t', '"']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        rest = inner.get(end + 1..).unwrap_or_default().trim();
    }
    if rest.is_empty() || rest.starts_with(['#', ';']) {
        return Vec::new();
    }
    let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
    vec![format!("{section}.{}={}", name.trim().to_lowercase(), value.trim())]
}

/// The place of the bracket that ends a section's name, behind what is quoted.
fn section_end(text: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if std::mem::take(&mut is_escaped) => {}
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ']' if !is_quoted => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_start_programs_are_found_however_they_are_written() {
        for text in [
            "[core]\n\thooksPath = x",
            "[core] hooksPath = x",
            "[CORE]\nHOOKSPATH=x",
            "[core]\nhooks\\\nPath = x",
            "[include]\npath = /tmp/x",
            "[includeIf \"gitdir:~/\"]\npath = x",
            "[filter \"a]b\"]\nclean = evil",
            "[alias] x = !evil",
            "[remote \"o\"]\nurl = ext::sh -c evil",
            "[remote \"o\"]\nuploadpack = evil",
            "[diff \"x\"]\ntextconv = evil",
            "[a][credential]\nhelper = !evil",
            "[url \"http://evil/\"]\ninsteadOf = https://",
        ] {
            assert_eq!(dangerous(text).len(), 1, "{text}");
        }
        let plain = "[core]\nbare = false\n# [alias]\n[remote \"o\"]\nurl = https://x\nfetch = +refs\n[branch \"m\"]\nremote = o\n";
        assert!(dangerous(plain).is_empty());
    }
}
