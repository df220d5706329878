//! [`LocalPaths`]: replaces the paths of workspace and home folder in recorded text, and puts them back into replayed text.

use std::path::Path;

use serde_json::Value;

use crate::json_text::change_strings;

/// The workspace's path in a cassette.
pub const WORKSPACE: &str = "{workspace}";
/// The home folder's path in a cassette.
pub const HOME: &str = "{home}";

/// The paths that `{workspace}` and `{home}` replace.
#[derive(Debug, Clone)]
pub struct LocalPaths {
    workspace: String,
    /// Empty for cassettes that do not hide it.
    home: String,
}

impl LocalPaths {
    /// The paths of a job in `workspace`, by a user whose home folder, if it is to be hidden, is `home`.
    pub fn new(workspace: &Path, home: Option<&str>) -> Self {
        let trimmed = |path: &str| path.trim_end_matches(['/', '\\']).to_owned();
        Self {
            workspace: trimmed(&workspace.to_string_lossy()),
            home: home.map(trimmed).filter(|home| is_specific(home)).unwrap_or_default(),
        }
    }

    /// `text` with the placeholders for the paths, where these are whole paths or the beginnings of longer ones: not in
    /// the `/work` of `/workshop`. `None` if it stays as it is.
    pub(super) fn hide(&self, text: &str) -> Option<String> {
        let hidden = hide(text, &self.workspace, WORKSPACE, |_| true);
        hide(hidden.as_deref().unwrap_or(text), &self.home, HOME, begins_path).or(hidden)
    }

    /// `value` with the placeholders in every string, as a recording has it.
    pub fn hidden(&self, mut value: Value) -> Value {
        change_strings(&mut value, &|text| self.hide(text));
        value
    }

    /// A recorded value with the paths in every string.
    pub fn shown(&self, mut value: Value) -> Value {
        change_strings(&mut value, &|text| self.show(text));
        value
    }

    /// `text` with the paths for the placeholders; `None` if it has none.
    pub(super) fn show(&self, text: &str) -> Option<String> {
        let shown = replace(text, WORKSPACE, &self.workspace);
        // What was recorded without the placeholder has it by coincidence.
        if self.home.is_empty() {
            return shown;
        }
        replace(shown.as_deref().unwrap_or(text), HOME, &self.home).or(shown)
    }
}

/// Returns whether the JSON of a record may have a placeholder in a string.
pub(super) fn has_placeholder(json: &[u8]) -> bool {
    // As it is recorded: neither has a character that JSON escapes.
    let json = String::from_utf8_lossy(json);
    json.contains(WORKSPACE) || json.contains(HOME)
}

/// Returns true for a path that names a folder of one user: not for the root folder, or a relative path.
fn is_specific(home: &str) -> bool {
    home == HOME || (Path::new(home).is_absolute() && home.len() > 1)
}

/// Returns whether an absolute path can begin behind `before`: as in `-I/home/me`, and behind an escape such as `\n`, but
/// not in the middle of `/srv/home/me`.
fn begins_path(before: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let behind = before.trim_end_matches(is_of_name);
    !behind.ends_with('}') && (behind.len() == before.len() || !behind.ends_with('/'))
}

fn replace(text: &str, from: &str, to: &str) -> Option<String> {
    text.contains(from).then(|| text.replace(from, to))
}

fn hide(text: &str, path: &str, placeholder: &str, begins: impl Fn(&str) -> bool) -> Option<String> {
    // The root folder's path is empty here and would match everywhere.
    if path.is_empty() || !text.contains(path) {
        return None;
    }
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(path) {
        hidden.push_str(before);
        let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
        hidden.push_str(if goes_on || !begins(&hidden) { path } else { placeholder });
        rest = after;
    }
    hidden.push_str(rest);
    Some(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hide(paths: &LocalPaths, text: &str) -> String {
        paths.hide(text).unwrap_or_else(|| text.to_owned())
    }

    fn show(paths: &LocalPaths, text: &str) -> String {
        paths.show(text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn only_the_workspace_itself_is_hidden() {
        let workspace = LocalPaths::new(Path::new("/home/me/work/"), None);
        for (text, hidden) in [
            ("/home/me/work", "{workspace}"),
            ("cat /home/me/work/a.txt /home/me/work.", "cat {workspace}/a.txt {workspace}."),
            ("/home/me/workshop and /home/me/work-2", "/home/me/workshop and /home/me/work-2"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(hide(&workspace, text), hidden);
            assert_eq!(show(&workspace, hidden), text.replace("work/ ", "work "));
        }
        assert_eq!(LocalPaths::new(Path::new("/"), None).hide("/etc"), None);
    }

    #[test]
    fn the_home_folder_is_hidden_beside_the_workspace() {
        let paths = LocalPaths::new(Path::new("/home/me/work"), Some("/home/me/"));
        for (text, hidden) in [
            ("/home/me/work/a /home/me/b /home/me", "{workspace}/a {home}/b {home}"),
            ("/home/me2 /srv/home/me /home/me-2", "/home/me2 /srv/home/me /home/me-2"),
            ("HOME=/home/me, \"/home/me/.ssh\"", "HOME={home}, \"{home}/.ssh\""),
            ("-I/home/me/inc \u{1b}[01;34m/home/me/a", "-I{home}/inc \u{1b}[01;34m{home}/a"),
            ("Files:\\n/home/me/a file:///home/me/b", "Files:\\n{home}/a file://{home}/b"),
            ("/srv/x.y/home/me /home/me/work/home/me", "/srv/x.y/home/me {workspace}/home/me"),
        ] {
            assert_eq!(hide(&paths, text), hidden);
            assert_eq!(show(&paths, hidden), text);
        }
        for home in [Some("/"), Some(""), Some("relative"), None] {
            let paths = LocalPaths::new(Path::new("/w"), home);
            assert_eq!(
                (hide(&paths, "/a relative"), show(&paths, "{home}")),
                ("/a relative".to_owned(), "{home}".to_owned())
            );
        }
        // Where the placeholders are the paths, all stays as it was recorded.
        let paths = LocalPaths::new(Path::new(WORKSPACE), Some(HOME));
        assert_eq!(hide(&paths, "{home}/a {workspace}/b"), "{home}/a {workspace}/b");
        assert_eq!(show(&paths, "{home}/a {workspace}/b"), "{home}/a {workspace}/b");
    }
}
