//! The example that comes with perstack: its configuration, its small library, and the recorded session.
//!
//! `UPDATE_EXAMPLE=1 cargo test --test it example` records the session anew, against the mock server, whenever what is
//! sent to a model has changed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::answer::Tokens;
use crate::support::{Answer, KEY, Provider, Test, call};

const QUERY: &str = "Which owls in examples/library hunt at night?";
const ANSWER: &str = "Two of the three owls hunt at night: the barn owl, which finds mice by ear alone, and the eagle \
                      owl, the largest. The little owl hunts at dusk and by day. (examples/library/birds.md)";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The example as a user has it after cloning.
fn example(mut test: Test) -> Test {
    for name in
        ["perstack.toml.example", "examples/library/index.md", "examples/library/birds.md", "examples/library/bees.md"]
    {
        test = test.file(name, fs::read_to_string(shipped(name)).unwrap());
    }
    test
}

fn session() -> [Answer; 3] {
    let tokens = |input, output, cached| Tokens { input, output, cached, reasoning: 0 };
    [
        Answer::calls([
            call("toolu_01", "todo", json!({"newTodos": ["Find out which files matter", "Read them"]})),
            call("toolu_02", "readTextFile", json!({"path": "examples/library/index.md"})),
        ])
        .thinking("The folder should have an index. I note what to do and read it.", "cmVjb3JkZWQ=")
        .usage(tokens(1432, 118, 0)),
        Answer::calls([
            call("toolu_03", "readTextFile", json!({"path": "examples/library/birds.md"})),
            call("toolu_04", "readTextFile", json!({"path": "examples/library/bees.md"})),
        ])
        .and_text("birds.md has the owls; bees.md may mention them, too.")
        .usage(tokens(1688, 131, 1024)),
        Answer::calls([
            call("toolu_05", "todo", json!({"completedTodos": [0, 1]})),
            call("toolu_06", "attemptCompletion", json!({"result": ANSWER})),
        ])
        .usage(tokens(1990, 142, 1024)),
    ]
}

#[test]
fn the_shipped_session_replays_without_key_or_network() {
    let cassette = shipped("examples/researcher.cassette");
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        let test = example(Test::new().provider(Provider::Anthropic)).answers(session());
        test.run(["run", "researcher", QUERY, "--config", "perstack.toml.example", "--record", "new.cassette"])
            .assert_code(0);
        fs::copy(test.workspace().join("new.cassette"), &cassette).unwrap();
    }
    let recorded = fs::read_to_string(&cassette).unwrap_or_default();
    assert!(!recorded.contains(KEY) && !recorded.contains("127.0.0.1"));

    let test = example(Test::new()).file("examples/researcher.cassette", &recorded);
    let command =
        ["run", "researcher", QUERY, "--config", "perstack.toml.example", "--replay", "examples/researcher.cassette"];
    let ran = test.run(command).assert_code(0);
    assert_eq!(ran.stdout, format!("{ANSWER}\n"));
    assert!(
        ran.stderr.contains("replaying a recorded session") && ran.stderr.contains("to run it live"),
        "{}",
        ran.stderr
    );

    // Without its configuration and its library, too.
    let alone = Test::new().file("researcher.cassette", &recorded);
    assert_eq!(alone.run(["replay", "researcher.cassette"]).assert_code(0).stdout, format!("{ANSWER}\n"));

    // Again and again, in the same place and with the same bytes.
    let events = |ran: crate::support::process::Ran| ran.assert_code(0).stdout;
    let [run, expert, query, config, file, replay, cassette] = command;
    let jsonl = [run, expert, query, config, file, replay, cassette, "--output", "jsonl"];
    let first = events(test.run(jsonl));
    assert_eq!(events(test.run(jsonl)), first);
}

#[test]
fn what_the_example_shows_as_comments_can_be_used() {
    // One of two alternatives, or what needs a further file.
    let left_out = ["include", "outputSchema", "authorizationEnv", "workspace"];
    let line = |line: &str| {
        let shown = line.strip_prefix("# ").unwrap_or_default();
        let key = shown.split(" = ").next().unwrap_or_default();
        let is_key = shown.contains(" = ") && key.chars().all(char::is_alphanumeric) && !left_out.contains(&key);
        if is_key || shown.starts_with('[') { shown.to_owned() } else { line.to_owned() }
    };
    let example = fs::read_to_string(shipped("perstack.toml.example")).unwrap();
    let uncommented: Vec<String> = example.lines().map(line).collect();
    let test = Test::new().file("perstack.toml", uncommented.join("\n") + "\n");
    let ran = test.run(["check", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let findings =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["subject"] == "configuration");
    let levels: Vec<_> = findings.map(|finding| (&finding["level"], &finding["message"])).collect();
    assert!(levels.iter().all(|(level, _)| *level == "ok"), "{levels:?}");
    for shown in ["sandbox = ", "permissions = ", "allowedDomains = ", "untrusted = "] {
        assert!(uncommented.iter().any(|line| line.starts_with(shown)), "no {shown}");
    }
}
