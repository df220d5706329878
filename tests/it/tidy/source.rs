//! The files that the rules look at, as text. Called by every rule; knows none of them.

use std::fs;
use std::path::Path;

/// One file of the product or of its tests.
pub struct Source {
    /// Beneath its root, with forward slashes.
    pub path: String,
    pub text: String,
}

impl Source {
    /// All Rust files beneath a folder of the package.
    pub fn all(folder: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut sources = Vec::new();
        collect(&root, "", &mut sources);
        assert!(!sources.is_empty(), "no files in {folder}");
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        sources
    }

    /// The module's names from the root; none for a root such as `lib.rs`.
    pub fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|_| !matches!(path, "lib" | "main")).collect()
    }

    /// The noun or folder that the file belongs to.
    pub fn room(&self) -> &str {
        self.module().first().copied().unwrap_or_default()
    }

    /// The text without comments, line for line.
    pub fn code(&self) -> String {
        self.text.lines().map(|line| without_comment(line).to_owned() + "\n").collect()
    }

    /// The lines whose code contains this, as places to look at.
    pub fn places(&self, needle: &str) -> Vec<String> {
        let code = self.code();
        let lines = code.lines().enumerate().filter(|(_, line)| line.contains(needle));
        lines.map(|(number, line)| format!("{}:{}: {}", self.path, number + 1, line.trim())).collect()
    }
}

fn collect(folder: &Path, prefix: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), sources);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            sources.push(Source { text: fs::read_to_string(entry.path()).unwrap(), path });
        }
    }
}

/// A line up to its comment. `//` inside a string is taken for one unless it is part of an address.
pub fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//").map(|at| at + from) {
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

#[track_caller]
pub fn assert_none(places: &[String], rule: &str) {
    assert!(places.is_empty(), "{rule}:\n{}", places.join("\n"));
}

/// Every place of these needles, in the files that a rule is for.
pub fn all_places(sources: &[Source], needles: &[&str], applies: impl Fn(&Source) -> bool) -> Vec<String> {
    let sources = sources.iter().filter(|source| applies(source));
    sources.flat_map(|source| needles.iter().flat_map(|needle| source.places(needle))).collect()
}

pub fn is_binary(source: &Source) -> bool {
    source.path == "main.rs" || source.room() == "cli"
}

#[test]
fn a_comment_ends_a_line_and_an_address_does_not() {
    assert_eq!(without_comment("let a = \"http://b\"; // c"), "let a = \"http://b\"; ");
}
