//! Tool output too long for the model: what it is sent, and how it reads the rest.

use std::fs;

use serde_json::{Value, json};

use crate::mcp::{calling, tool_results};
use crate::support::process::Ran;
use crate::support::storage::files_with;
use crate::support::tool_server::{librarian, stdio_skill};
use crate::support::{Answer, Provider, Test, call};

const BASE: &str = "[experts.librarian.skills.\"@perstack/base\"]\ntype = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\n";

/// Lines of ten bytes each.
fn lines(count: usize) -> String {
    (0..count).flat_map(|number| [format!("owl {number:05}"), "\n".to_owned()]).collect()
}

fn prints(script: &str) -> Value {
    json!({ "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true })
}

/// Prints `lines(30_000)`: 300 kB.
fn flood() -> Value {
    prints("awk 'BEGIN { for (i = 0; i < 30000; i++) printf \"owl %05d\\n\", i }'")
}

fn part_of(path: &str) -> Value {
    json!({ "path": path, "from": 15_000, "to": 15_002 })
}

/// What `readTextFile` says of those lines.
fn owls(path: &str, content: &str) -> Value {
    json!({ "path": path, "content": content, "from": 15_000, "to": 15_002 })
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_programs_long_output_is_read_on_from_its_file() {
    let path = "perstack-output/0001-exec.txt";
    let (test, requests) = calling(
        Test::with(Provider::Anthropic),
        [
            ("exec", flood()),
            ("readTextFile", part_of(path)),
            ("readTextFile", json!({ "path": "perstack-output/0009-exec.txt" })),
            ("deleteFile", json!({ "path": path })),
        ],
    );
    let results = tool_results(&requests[4]);
    let output = json_of(&results[0].0)["output"].as_str().unwrap().to_owned();
    assert!(output.len() < 101_000 && output.starts_with("owl 00000\n") && output.ends_with("owl 29999\n"));
    assert!(output.contains(&format!("all of it is in {path}: ")), "the note names the file");
    assert_eq!((json_of(&results[1].0), results[1].1), (owls(path, "owl 15000\nowl 15001"), false));
    let missing = "File perstack-output/0009-exec.txt does not exist.";
    assert_eq!(json_of(&results[2].0)["message"], missing);
    assert!(results[3].1, "kept output can be read, and nothing else: {}", results[3].0);
    let kept = test.storage().runs()[0].join("outputs/0001-exec.txt");
    assert_eq!(fs::read_to_string(kept).unwrap(), lines(30_000));
}

#[test]
fn a_failing_programs_streams_are_kept_each_in_its_file() {
    let script = "awk 'BEGIN { for (i = 0; i < 9000; i++) print \"to stdout\" }'; \
                  awk 'BEGIN { for (i = 0; i < 9000; i++) print \"to stderr\" }' >&2; exit 3";
    let path = "perstack-output/0001-exec-stderr.txt";
    let (test, requests) = calling(
        Test::with(Provider::Anthropic),
        [("exec", prints(script)), ("readTextFile", json!({ "path": path, "from": 8999 }))],
    );
    let results = tool_results(&requests[2]);
    let report = json_of(&results[0].0);
    assert!(results[0].1 && report["error"].as_str().unwrap().contains(path));
    assert!(report["stderr"].as_str().unwrap().contains(path));
    assert!(report["stdout"].as_str().unwrap().contains("perstack-output/0001-exec-stdout.txt"));
    assert_eq!(json_of(&results[1].0)["content"], "to stderr\n");
    assert_eq!(fs::read_dir(test.storage().runs()[0].join("outputs")).unwrap().count(), 2);
}

#[test]
fn a_servers_long_result_is_read_on_from_its_file() {
    let test = librarian(&format!("{}{BASE}", stdio_skill("owls", ["polite"])));
    let path = "perstack-output/0001-echo.txt";
    let (_test, requests) =
        calling(test, [("echo", json!({ "text": lines(30_000) })), ("readTextFile", part_of(path))]);
    let results = tool_results(&requests[2]);
    assert!(!results[0].1 && results[0].0.len() < 101_000, "{} bytes", results[0].0.len());
    assert!(results[0].0.contains(path));
    assert_eq!(json_of(&results[1].0), owls(path, "owl 15000\nowl 15001"));
}

#[test]
fn the_size_is_configurable_and_a_storage_elsewhere_serves_as_well() {
    let toml = "maxToolOutput = 2000\n[experts.librarian]\ninstruction = \"You look.\"\n";
    let path = "perstack-output/0001-exec.txt";
    let turns = [
        Answer::calls([call("c1", "exec", flood())]),
        Answer::calls([call("c2", "readTextFile", part_of(path))]),
        Answer::text("Done."),
    ];
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers(turns);
    let storage = test.root().join("elsewhere");
    let storage_name = storage.to_str().unwrap();
    test.run(["run", "librarian", "Look.", "--storage", storage_name]).assert_code(0);
    let results = tool_results(&test.server().requests()[2]);
    assert!(results[0].0.len() < 3_000, "{} bytes", results[0].0.len());
    assert_eq!(json_of(&results[1].0), owls(path, "owl 15000\nowl 15001"));
    let kept = files_with(&storage, "owl 14999\nowl 15000\n");
    assert!(kept.len() == 1 && kept[0].ends_with("outputs/0001-exec.txt"), "{kept:?}");
}

#[test]
fn secrets_do_not_reach_the_file() {
    let key = "not-to-be-kept-0123456789";
    // Put together by the program: what a model says is clean before.
    let script = "awk 'BEGIN { for (i = 0; i < 12000; i++) print \"not-to-be-kept\" \"-0123456789\" }'".to_owned();
    let test = Test::with(Provider::Anthropic).env("OWL_API_KEY", key);
    let (test, requests) = calling(test, [("exec", prints(&script))]);
    assert!(tool_results(&requests[1])[0].0.contains("perstack-output/0001-exec.txt"));
    let kept = fs::read_to_string(test.storage().runs()[0].join("outputs/0001-exec.txt")).unwrap();
    assert_eq!(kept, "[redacted]\n".repeat(12_000));
}

#[test]
fn a_continued_run_still_reads_what_was_kept_before() {
    let path = "perstack-output/0001-exec.txt";
    let test = Test::with(Provider::Anthropic).answers([
        Answer::calls([call("c1", "exec", flood())]),
        Answer::text("Many owls."),
        Answer::calls([call("c2", "exec", flood()), call("c3", "readTextFile", part_of(path))]),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Look."]).assert_code(0);
    test.run(["resume", "latest", "Look again."]).assert_code(0);
    let results = tool_results(&test.server().requests()[3]);
    assert!(results[1].0.contains("perstack-output/0002-exec.txt"), "no name is given twice");
    assert_eq!(json_of(&results[2].0), owls(path, "owl 15000\nowl 15001"));
}

#[test]
fn replays_name_the_same_files() {
    // The first call ends last.
    let slow = prints("while [ ! -e b ]; do :; done; awk 'BEGIN { for (i = 0; i < 30000; i++) print \"slow\" }'");
    let quick = prints("awk 'BEGIN { for (i = 0; i < 30000; i++) print \"quick\" }'; touch b");
    let test = Test::with(Provider::Anthropic).answers([
        Answer::calls([call("c1", "exec", slow), call("c2", "exec", quick)]),
        Answer::calls([call("c3", "readTextFile", part_of("perstack-output/0001-exec.txt"))]),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "Look.", "--record", "owls.cassette"]).assert_code(0);
    let replay = [
        "run",
        "librarian",
        "Look.",
        "--replay",
        "owls.cassette",
        "--output",
        "jsonl",
        "--storage",
        "again",
        "--trust",
    ];
    let events = |ran: Ran| ran.assert_code(0).stdout;
    let first = events(test.run(replay));
    assert!(first.contains("perstack-output/0001-exec.txt") && first.contains("slow\\\\nslow"));
    assert_eq!(events(test.run(replay)), first);
}
