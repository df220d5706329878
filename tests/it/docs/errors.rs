//! `docs/reference/errors.md` has every message of the library's errors, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The files with the errors that reach users.
const ERRORS: [&str; 14] = [
    "src/config/error.rs",
    "src/expert_map.rs",
    "src/provider/auth/error.rs",
    "src/provider/http/frame/mod.rs",
    "src/provider/mod.rs",
    "src/proxy.rs",
    "src/replay/mod.rs",
    "src/runtime/error.rs",
    "src/runtime/snapshots/failure.rs",
    "src/workspace/restore.rs",
    "src/workspace/scan.rs",
    "src/skill/mcp/error.rs",
    "src/skill/mod.rs",
    "src/store/error.rs",
];

/// Least letters of a message that is known without what is put into it.
const LETTERS: usize = 5;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The messages of a file's errors, with `…` for what is put into them.
fn messages(code: &str) -> Vec<String> {
    let literals = code.split("#[error(").skip(1).filter_map(|rest| literal(rest.trim_start().strip_prefix('"')?));
    literals
        .map(|text| shown(&text))
        .filter(|text| text.chars().filter(|c| c.is_alphabetic()).count() >= LETTERS)
        .collect()
}

/// The text of a string literal, after its opening quote.
fn literal(code: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = code.chars();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                '\n' => {
                    let line = rest.as_str().trim_start();
                    rest = line.chars();
                }
                'n' => text.push(' '),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

fn shown(format: &str) -> String {
    let mut text = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.peek() == Some(&c) => {
                rest.next();
                text.push(c);
            }
            '{' => {
                text.push('…');
                rest.by_ref().find(|c| *c == '}');
            }
            other => text.push(other),
        }
    }
    text
}

/// The first cells of the tables of messages; the second must not be empty.
fn rows(page: &str) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    let tables = page.split("| message | what to do |\n| --- | --- |\n").skip(1);
    for line in tables.flat_map(|table| table.lines().take_while(|line| line.starts_with('|'))) {
        let (message, remedy) = line.trim_matches('|').rsplit_once(" | ").unwrap();
        assert!(remedy.trim().len() > 10, "no remedy: {line}");
        let message = message.trim();
        // A message with backticks has two of them around it.
        let whole = message.strip_prefix("`` ").and_then(|rest| rest.strip_suffix(" ``"));
        let whole = whole.or_else(|| message.strip_prefix('`')?.strip_suffix('`'));
        rows.insert(whole.unwrap_or(message).to_owned());
    }
    rows
}

#[test]
fn every_error_has_a_remedy() {
    let known: BTreeSet<String> = ERRORS.iter().flat_map(|file| messages(&read(file))).collect();
    let rows = rows(&read("docs/reference/errors.md"));
    let missing: Vec<_> = known.difference(&rows).collect();
    let stale: Vec<_> = rows.difference(&known).collect();
    assert!(missing.is_empty() && stale.is_empty(), "docs/reference/errors.md lacks {missing:#?}, and has {stale:#?}");
}

#[test]
fn every_name_of_a_stop_has_a_remedy() {
    let page = read("docs/reference/errors.md");
    for file in ["src/generation.rs", "src/machine/answer.rs", "src/machine/context.rs"] {
        let code = read(file);
        let names = code.split('"').skip(1).step_by(2).filter(|text| text.ends_with("Error"));
        for name in names.filter(|name| name.len() > "Error".len() && name.chars().all(char::is_alphanumeric)) {
            assert!(page.contains(&format!("| `{name}`")), "{name} of {file} is not in docs/reference/errors.md");
        }
    }
}

#[test]
fn messages_are_read_from_code() {
    let code = "#[error(\"cannot {a} {}: \\\n      {{b}}\", x)]\n#[error(transparent)]\n#[error(\n\"say \\\"no\\\"\")]\n#[error(\"{0}\")]";
    assert_eq!(messages(code), ["cannot … …: {b}", "say \"no\""]);
}
