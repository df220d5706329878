//! Tests of files that were changed, cut, or are no lock at all.

use crate::hint::ErrorHint as _;
use std::fs;

use serde_json::json;

use super::*;
use crate::config::ConfigError;

#[test]
fn definitions_changed_by_hand_are_seen() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    let by_hand = "the definition of tool search of skill index was changed by hand";
    for (from, to) in [
        ("Does search.", "Does anything."),
        ("minLength = 1", "minLength = 2"),
        (r#""enum":["asc",null]"#, r#""enum":["asc","up"]"#),
        ("\"readOnly\"", "\"idempotent\""),
        ("\"openWorld\",", ""),
    ] {
        assert_eq!(stale(edited(&lock, from, to).expert(&librarian(&project))), by_hand, "{from}");
    }
    let missing = "the tools of skill index are not those that were written: something is missing";
    let renamed = edited(&lock, "skillName = \"index\"\nname = \"count\"", "skillName = \"gone\"\nname = \"count\"");
    assert_eq!(stale(renamed.expert(&librarian(&project))), missing);
}

/// A file cut anywhere never passes for a whole one.
#[test]
fn a_truncated_lock_is_never_fresh() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    let text = text(&lock);
    // The rest is the interactive skill's, which a run takes from the configuration.
    let last_of_servers = "additionalProperties = false";
    let end = text.find(last_of_servers).unwrap() + last_of_servers.len();
    for cut in (0..end).filter(|at| text.is_char_boundary(*at)) {
        let Ok(read) = file::parse(&text[..cut], Path::new("l")) else { continue };
        let state = read.expert(&librarian(&project));
        assert!(!matches!(state, LockState::Fresh(_)), "fresh when cut at {cut}:\n{}", &text[..cut]);
    }
}

#[test]
fn a_file_that_is_no_lock_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let error = |text: &str| {
        fs::write(&path, text).unwrap();
        read(&path).unwrap_err().with_hint().replace(&format!("{}", path.display()), "L")
    };
    assert_eq!(
        error("version = \"1\"\ngeneratedAt = \n"),
        "L:2:15: not a usable lock: string values must be quoted, expected literal string; run `perstack install` to \
         write it anew"
    );
    assert_eq!(
        error("version = \"1\"\nconfigPath = \"p\"\n[experts]\n"),
        "L:1:1: not a usable lock: missing field `generatedAt`; run `perstack install` to write it anew"
    );
    assert_eq!(
        error("version = \"2\"\nshape = \"other\"\n"),
        "L has version \"2\", and this program reads version \"1\"; use a newer program, or remove the file and run \
         `perstack install`"
    );
    assert!(error("version = 2\n").contains("not a usable lock"));
    assert!(error(&format!("x = {}", "[".repeat(100_000))).contains("not a usable lock"));
    // A newer lock is not overwritten by accident, a broken one is replaced.
    fs::write(&path, "version = \"2\"\n").unwrap();
    let new = lock(&project(TOML), 1);
    assert!(matches!(write(&path, &new), Err(ConfigError::LockVersion { .. })));
    fs::write(&path, b"\xff").unwrap();
    assert_eq!(write(&path, &new).unwrap(), Written::Replaced);
}

#[test]
fn a_schema_too_deep_for_the_format_is_refused_and_the_old_file_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let project = project(TOML);
    write(&path, &lock(&project, 1)).unwrap();
    let before = fs::read(&path).unwrap();
    let deep = (0..100).fold(json!({"type": "object"}), |inner, _| json!({ "not": inner }));
    let found = DiscoveredTools { tools: vec![tool("index", "deep", deep)], ..DiscoveredTools::default() };
    let new = Lock::from_experts(Path::new("perstack.toml"), 2, [(librarian(&project), &found)]);
    assert!(matches!(write(&path, &new), Err(ConfigError::LockUnwritable { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}
