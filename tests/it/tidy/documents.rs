//! Documents: a file that one names exists.

use std::fs;
use std::path::Path;

use super::source::assert_none;

const DOCUMENTS: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/reliability.md", "docs/security.md"];

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).flat_map(str::split_whitespace)
}

/// The paths of files and folders of the package that a word can only mean.
fn is_path(word: &str) -> bool {
    let within = ["src/", "tests/", "docs/", "examples/", "completions/", "benches/", ".ci/"];
    let is_whole = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    word.chars().all(is_whole)
        && (Path::new(word).extension().is_some_and(|end| end == "rs")
            || within.iter().any(|folder| word.starts_with(folder)))
}

#[test]
fn files_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let gone = quoted(&text).filter(|word| is_path(word)).filter(|word| {
            // A file may be named by its path below the folder that the paragraph is about.
            let below =
                ["", "src", "src/runtime", "src/provider", "src/skill", "src/store", "src/machine", "src/config"];
            !below.iter().any(|folder| root.join(folder).join(word).exists())
        });
        wrong.extend(gone.map(|word| format!("{document}: {word}")));
    }
    assert_none(&wrong, "files that are named and do not exist");
}
