//! Snapshots through the one filter that makes output comparable: what differs from run to run becomes a word in
//! brackets.

use std::path::Path;

use perstack::skill::process::KernelAbility;

/// Holds a text from a test's folder against `tests/it/snapshots/NAME.snap`, where `NAME` is `subject/case`.
#[track_caller]
pub fn assert_snapshot(root: &Path, name: &str, text: &str) {
    let (subject, case) = name.split_once('/').expect("a name of the form subject/case");
    let mut settings = settled(root);
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots").join(subject));
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(case, text));
}

/// Settings for snapshots of anything that came from a test's folder: ids, times, durations, paths and ports settle.
pub fn settled(root: &Path) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    let root = root.to_str().expect("a path in UTF-8");
    if KernelAbility::lacking().is_some() {
        // Tests run with containment lifted then; snapshots are of a system that has the means.
        settings.add_filter(r#""setting":"off","inForce":false"#, r#""setting":"auto","inForce":true"#);
        settings.add_filter("  sandbox off", "  sandbox auto");
        let (off, can) = ("off: nothing is contained", "auto: this system can contain programs; [mounts]");
        settings.add_filter(&format!("! sandbox: {off}"), format!("✓ sandbox: {can}"));
        let json = |level: &str, text: &str| {
            format!("\"level\": \"{level}\",\n      \"subject\": \"sandbox\",\n      \"message\": \"{text}\"")
        };
        settings.add_filter(&json("warning", off), json("ok", can));
    }
    let (with, without) =
        ("the storage is read-only to them, by mounts", "without mounts, the storage is not read-only to them");
    settings.add_filter(&format!("{with}|{without}"), "[mounts]");
    // Longer forms first: a root contains what looks like other things.
    settings.add_filter(&literally(&format!("/private{root}")), "[root]");
    settings.add_filter(&literally(root), "[root]");
    settings.add_filter(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]");
    // The short form of an id: its end.
    settings.add_filter(r"\b[0-9a-f]{8}\b", "[short]");
    settings.add_filter(r"127\.0\.0\.1:\d{2,}", "127.0.0.1:[port]");
    settings.add_filter(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?Z?", "[time]");
    settings.add_filter(r"\b1\d{12}\b", "[time]");
    settings.add_filter(r#""([a-zA-Z]*[dD]uration(?:Ms)?)": ?\d+(\.\d+)?"#, r#""$1":[duration]"#);
    settings.add_filter(r"\b(?:\d+m )?\d+(\.\d+)? ?(?:ms|s)\b", "[duration]");
    settings.add_filter(r"\b\d{2}:\d{2}:\d{2}\b", "[time]");
    settings.add_filter(r"\b\d+(\.\d)? kB\b", "[size]");
    settings.add_filter(r"\b(pid|process) \d+", "$1 [pid]");
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[digest]");
    // The tests' own server, wherever it was built.
    settings.add_filter(r"/\S+/examples/mcp_server", "[mcp_server]");
    // Logins: what protects one, and the file named for its server, port and all.
    settings.add_filter(r"\b(state|code_challenge)=[\w-]+", "$1=[random]");
    settings.add_filter(r"127\.0\.0\.1%3A\d+", "127.0.0.1%3A[port]");
    settings.add_filter(r"127\.0\.0\.1-[0-9a-f]{16}", "127.0.0.1-[hash]");
    // Counts of bytes in texts that hold the workspace's path.
    settings.add_filter(r"at line \d+ column \d+", "at line [line] column [column]");
    settings.add_filter(r"(\babout|\bmay take|--max-tokens) \d{4,}", "$1 [count]");
    settings.add_filter(r#""next":( ?)\d+"#, r#""next":$1[count]"#);
    settings.add_filter(r#""activeMs":( ?)\d+"#, r#""activeMs":$1[duration]"#);
    // The instruction is the same in every event that has it.
    settings.add_filter(r#""You are Perstack(?:[^"\\]|\\.)*""#, r#""[instruction]""#);
    settings
}

/// A regular expression for exactly this text.
fn literally(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect()
}
