//! [`WorkspacePaths`]: replaces the workspace's path in recorded text, and puts it back into replayed text.

use std::path::Path;

use serde_json::Value;

const PLACEHOLDER: &str = "{workspace}";

/// The path that `{workspace}` replaces.
#[derive(Debug, Clone)]
pub(super) struct WorkspacePaths {
    path: String,
}

impl WorkspacePaths {
    pub fn new(path: &Path) -> Self {
        let path = path.to_string_lossy();
        Self { path: path.trim_end_matches(['/', '\\']).to_owned() }
    }

    /// `text` with the placeholder for the path, where it is the whole path or the beginning of a longer one: not in
    /// the `/work` of `/workshop`.
    pub fn hide(&self, text: &str) -> String {
        // The root folder's path is empty here and would match everywhere.
        if self.path.is_empty() {
            return text.to_owned();
        }
        let mut hidden = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(self.path.as_str()) {
            hidden.push_str(before);
            let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
            hidden.push_str(if goes_on { &self.path } else { PLACEHOLDER });
            rest = after;
        }
        hidden.push_str(rest);
        hidden
    }

    /// `text` with the path for the placeholder.
    pub fn show(&self, text: &str) -> String {
        text.replace(PLACEHOLDER, &self.path)
    }
}

/// `value` with `change` applied to every string in it; keys stay.
pub(super) fn map_strings(value: Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(items) => items.into_iter().map(|item| map_strings(item, change)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, field)| (key, map_strings(field, change))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_workspace_itself_is_hidden() {
        let workspace = WorkspacePaths::new(Path::new("/home/me/work/"));
        for (text, hidden) in [
            ("/home/me/work", "{workspace}"),
            ("cat /home/me/work/a.txt /home/me/work.", "cat {workspace}/a.txt {workspace}."),
            ("/home/me/workshop and /home/me/work-2", "/home/me/workshop and /home/me/work-2"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(workspace.hide(text), hidden);
            assert_eq!(workspace.show(hidden), text.replace("work/ ", "work "));
        }
        assert_eq!(WorkspacePaths::new(Path::new("/")).hide("/etc"), "/etc");
    }

    #[test]
    fn every_string_of_a_value_is_changed() {
        let value = json!({"a": ["x", 1, {"b": "x"}], "x": null});
        let changed = map_strings(value, &|text| text.replace('x', "y"));
        assert_eq!(changed, json!({"a": ["y", 1, {"b": "y"}], "x": null}));
    }
}
