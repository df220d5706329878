//! `perstack install`, `perstack check`, and runs with a lock.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Answer, Provider, Test};

/// Two experts; one has files to read only.
const TOML: &str = r#"
[experts.librarian]
instruction = "You find things in books."
delegates = []

[experts.reader]
instruction = "You read."
[experts.reader.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
pick = ["readTextFile", "attemptCompletion"]
"#;

/// A skill whose server does not exist.
const GHOST: &str = r#"
[experts.reader.skills.ghost]
type = "mcpStdioSkill"
command = "no-such-server-anywhere"
args = ["--stdio"]
requiredEnv = ["GHOST_KEY"]
"#;

fn test() -> Test {
    Test::new().toml(TOML).provider(Provider::Anthropic)
}

fn lock(test: &Test) -> PathBuf {
    test.workspace().join("perstack.lock")
}

fn text(test: &Test) -> String {
    fs::read_to_string(lock(test)).unwrap()
}

/// Replaces in the lock, which must have it.
fn edit(test: &Test, from: &str, to: &str) {
    let before = text(test);
    assert!(before.contains(from), "{from:?} is not in:\n{before}");
    fs::write(lock(test), before.replace(from, to)).unwrap();
}

#[test]
fn install_writes_every_experts_tools_beside_the_configuration() {
    let test = test();
    let ran = test.run(["install"]).assert_code(0);
    assert_eq!(ran.stdout, "");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let [librarian, "reader: 2 tools", wrote] = lines.as_slice() else { panic!("{}", ran.stderr) };
    assert!(librarian.starts_with("librarian: "), "{librarian}");
    assert!(wrote.starts_with("wrote ") && wrote.ends_with("work/perstack.lock"), "{wrote}");

    let document: toml::Table = text(&test).parse().unwrap();
    assert_eq!(document["version"].as_str(), Some("1"));
    assert_eq!(document["configPath"].as_str(), Some("perstack.toml"));
    assert!(document["generatedAt"].as_integer().is_some_and(|at| at > 1_700_000_000_000));
    let experts: Vec<&String> = document["experts"].as_table().unwrap().keys().collect();
    assert_eq!(experts, ["librarian", "reader"]);
    let tools = document["experts"]["reader"]["toolDefinitions"].as_array().unwrap();
    let mut names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["attemptCompletion", "readTextFile"]);
    assert!(tools.iter().all(|tool| tool["inputSchema"]["type"].as_str() == Some("object")));
    assert_eq!(test.server().requests().len(), 0, "no model is asked");
}

#[test]
fn install_again_changes_no_byte() {
    let test = test();
    test.run(["install"]).assert_code(0);
    let before = text(&test);
    let ran = test.run(["install"]).assert_code(0);
    ran.snapshot("lockfile/install-again-changes-no-byte");
    assert_eq!(text(&test), before);
    let names = fs::read_dir(test.workspace()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["perstack.lock", "perstack.toml"], "nothing is left behind");
}

#[test]
fn install_prints_nothing_when_quiet() {
    let ran = test().run(["install", "--quiet"]).assert_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn install_check_writes_nothing_and_prints_what_differs() {
    let test = test();
    test.run(["install", "--check"])
        .assert_code(2)
        .snapshot("lockfile/install-check-writes-nothing-and-prints-what-differs-1");
    assert!(!lock(&test).exists());
    test.run(["install"]).assert_code(0);
    let fresh = text(&test);
    let ran = test.run(["install", "--check"]).assert_code(0);
    assert_eq!(ran.stdout, "");

    let test = test.toml(&TOML.replace("\"readTextFile\", ", "\"readTextFile\", \"exec\", ").replace("find", "seek"));
    let ran = test
        .run(["install", "--check"])
        .assert_code(2)
        .snapshot("lockfile/install-check-writes-nothing-and-prints-what-differs-2");
    assert_eq!(
        ran.stdout,
        "expert librarian: changed: instruction\nexpert reader: changed: skill @perstack/base\n\
         expert reader: skill @perstack/base: tool exec added\n"
    );
    assert_eq!(text(&test), fresh);
    test.run(["install"]).assert_code(0);
    test.run(["install", "--check"]).assert_code(0);
}

#[test]
fn an_install_that_fails_leaves_the_old_lock() {
    let test = test();
    test.run(["install"]).assert_code(0);
    let before = text(&test);
    let test = test.toml(&(TOML.to_owned() + GHOST)).env("GHOST_KEY", "boo");
    let ran = test.run(["install"]).assert_code(2);
    ran.snapshot("lockfile/an-install-that-fails-leaves-the-old-lock");
    assert_eq!(text(&test), before);
}

#[test]
fn a_locked_run_needs_a_fresh_lock_and_a_clean_configuration() {
    let test = test().answers([Answer::text("Owls."), Answer::text("Owls.")]);
    test.run(["run", "librarian", "q", "--locked"])
        .assert_code(2)
        .snapshot("lockfile/a-locked-run-needs-a-fresh-lock-and-a-clean-configuration-1");
    test.run(["run", "librarian", "q", "--frozen"])
        .assert_code(2)
        .snapshot("lockfile/a-locked-run-needs-a-fresh-lock-and-a-clean-configuration-2");
    test.run(["install"]).assert_code(0);
    assert_eq!(test.run(["run", "librarian", "q", "--locked"]).assert_code(0).stdout, "Owls.\n");

    let test = test.toml(&TOML.replace("find", "seek"));
    let ran = test.run(["run", "librarian", "q", "--locked"]).assert_code(2);
    ran.snapshot("lockfile/a-locked-run-needs-a-fresh-lock-and-a-clean-configuration-3");
    assert_eq!(test.run(["run", "librarian", "q", "--frozen"]).assert_code(0).stdout, "Owls.\n");

    let test = test.toml(&format!("maxStep = 3\n{TOML}"));
    let ran = test.run(["run", "librarian", "q", "--locked"]).assert_code(2);
    ran.snapshot("lockfile/a-locked-run-needs-a-fresh-lock-and-a-clean-configuration-4");
    assert_eq!(test.server().requests().len(), 2, "what is refused asks no model");
    assert_eq!(test.storage().jobs().len(), 2, "what is refused stores nothing");
}

#[test]
fn a_lock_that_cannot_be_read_is_a_warning_and_refused_when_it_must_serve() {
    for (broken, case) in
        [("version = \"1\"\n[experts", "no-toml"), ("version = \"7\"\n", "newer"), ("generatedAt = 1\n", "no-lock")]
    {
        let test = test().file("perstack.lock", broken).answers([Answer::text("Owls.")]);
        let ran = test.run(["run", "librarian", "q"]).assert_code(0).snapshot(&format!("lockfile/{case}-run"));
        assert_eq!(ran.stderr.lines().filter(|line| line.contains("warning:")).count(), 1, "{}", ran.stderr);
        for flag in ["--locked", "--frozen"] {
            test.run(["run", "librarian", "q", flag]).assert_code(2).snapshot(&format!("lockfile/{case}-run{flag}"));
        }
        test.run(["install", "--check"]).assert_code(2).snapshot(&format!("lockfile/{case}-install--check"));
        test.run(["check"]).assert_code(2).snapshot(&format!("lockfile/{case}-check"));
    }
}

#[test]
fn a_newer_lock_is_not_overwritten_and_a_broken_one_is() {
    let test = test().file("perstack.lock", "version = \"7\"\n");
    test.run(["install"]).assert_code(2).snapshot("lockfile/a-newer-lock-is-not-overwritten-and-a-broken-one-is-1");
    assert_eq!(text(&test), "version = \"7\"\n");
    let test = test.file("perstack.lock", "version = \"1\"\n[experts");
    test.run(["install"]).assert_code(0).snapshot("lockfile/a-newer-lock-is-not-overwritten-and-a-broken-one-is-2");
}

#[test]
fn a_lock_of_the_original_serves() {
    let original = r#"
version = "1"
generatedAt = 1771000000000
configPath = "perstack.toml"

[experts.librarian]
key = "librarian"
name = "librarian"
version = "1.0.0"
instruction = "An older one."
delegates = []
tags = []
toolDefinitions = []

[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
name = "@perstack/base"
description = "Base skill"
pick = []
omit = []
command = "npx"
args = [ "-y", "@perstack/base" ]
requiredEnv = []
lazyInit = false
"#;
    let test = test().file("perstack.lock", original).answers([Answer::text("Owls.")]);
    test.run(["run", "librarian", "q", "--locked"]).assert_code(0);
    let ran = test.run(["install", "--check"]).assert_code(2);
    assert_eq!(ran.stdout, "expert reader added\n", "the entry of librarian is fresh to both");
}

#[test]
fn the_continuing_command_keeps_the_lock() {
    let test = test().answers([Answer::calls([crate::support::call("c1", "healthCheck", json!({}))])]);
    test.run(["install"]).assert_code(0);
    let ran = test.run(["run", "librarian", "q", "--locked", "--max-steps", "1"]).assert_code(3);
    assert!(ran.stderr.lines().last().unwrap().contains("--locked"), "{}", ran.stderr);
}

/// Lines of the folder's trust, of what the kernel offers, and of what experts can do by it.
fn is_of_the_machine(line: &str) -> bool {
    [" trust: ", " sandbox: ", ": can: "].iter().any(|part| line.contains(part))
}

#[test]
fn a_sound_configuration_passes_the_check() {
    let test = test();
    let ran = test.run(["check"]).assert_code(0);
    assert_eq!(ran.stderr, "");
    let lines: Vec<&str> = ran.stdout.lines().filter(|line| !is_of_the_machine(line)).collect();
    assert!(lines[0].starts_with("✓ configuration: ") && lines[0].ends_with("perstack.toml defines 2 experts"));
    assert_eq!(
        lines[1..],
        ["✓ provider: anthropic can be used", "✓ perstack.lock: there is none: every run starts its skills",]
    );
    test.run(["install"]).assert_code(0);
    let ran = test.run(["check"]).assert_code(0);
    assert_eq!(ran.stdout.lines().last(), Some("✓ perstack.lock: fresh"));
    assert_eq!(test.server().requests().len(), 0, "no model is asked");
}

#[test]
fn the_check_reports_everything_that_is_wrong_at_once() {
    let test = test();
    test.run(["install"]).assert_code(0);
    let toml =
        format!("maxStep = 3\n{}{GHOST}", TOML.replace("delegates = []", "delegates = [\"librarian\", \"reader\"]"));
    let test = test.toml(&toml).env("ANTHROPIC_API_KEY", "");
    edit(&test, "[experts.reader", "[experts.former");
    let ran = test.run(["check"]).assert_code(2);
    let configuration = test.workspace().join("perstack.toml");
    let configuration = configuration.display();
    let lines: Vec<String> = ran
        .stdout
        .lines()
        .filter(|line| !is_of_the_machine(line))
        .skip(1)
        .map(|line| line.replace(&configuration.to_string(), "P"))
        .collect();
    assert_eq!(lines[0], "✗ configuration: P:1:1: maxStep: unknown key; did you mean \"maxSteps\"?");
    assert!(lines[1].starts_with("! configuration: P:5:14: experts.librarian.delegates.0: "), "{}", lines[1]);
    assert_eq!(
        lines[2..],
        [
            "! delegates: librarian → librarian is a circle: only the budgets of a job end it",
            "✗ expert reader, skill ghost: the command no-such-server-anywhere is not found: install it, or correct its \
             name or PATH",
            "✗ expert reader, skill ghost: the variable GHOST_KEY is not set: set it in the environment or in .env",
            "! provider: ANTHROPIC_API_KEY is not set: provider anthropic needs a key; set it in the environment or in \
             .env",
            "✗ perstack.lock: stale for expert librarian (changed since: delegates): run `perstack install` to renew it",
            "✗ perstack.lock: no entry for expert reader: run `perstack install` to renew it",
            "! perstack.lock: has an entry for former, which is not defined: run `perstack install` to renew it",
        ]
    );
}

#[test]
fn the_check_gives_json() {
    let test = test().toml("[experts.a]\ninstruction = 3\ndelegates = [\"b\"]\n");
    let ran = test.run(["check", "--json"]).assert_code(2);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let findings = report["findings"].as_array().unwrap();
    let levels: Vec<&Value> = findings.iter().map(|finding| &finding["level"]).collect();
    assert_eq!(levels[..2], ["error", "error"]);
    let message = findings[0]["message"].as_str().unwrap();
    assert!(
        message.ends_with("perstack.toml:2:15: experts.a.instruction: expected string, received number"),
        "{message}"
    );
    let ran = Test::new().run(["check", "--json"]).assert_code(2);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["ok"], false);
}

#[test]
fn a_skill_that_is_given_more_than_was_locked_is_named() {
    let given = |reads: &str| TOML.replace("pick = [", &format!("reads = [{reads}]\npick = ["));
    let test = test().toml(&given("\"/usr/share\""));
    test.run(["install", "--trust"]).assert_code(0);
    assert!(text(&test).contains("/usr/share"), "{}", text(&test));
    let test = test.toml(&given("\"/usr/share\", \"/usr/lib\""));
    let more = "changed since: skill @perstack/base (given more: read /usr/lib)";
    let ran = test.run(["check"]).assert_code(2);
    assert!(ran.stdout.contains(&format!("stale for expert reader ({more})")), "{}", ran.stdout);
    let ran = test.run(["run", "reader", "Read.", "--locked", "--trust"]).assert_code(2);
    assert!(ran.stderr.contains(more), "{}", ran.stderr);
    // Less is another definition, and nothing to review.
    let test = test.toml(TOML);
    let ran = test.run(["check"]).assert_code(2);
    assert!(ran.stdout.contains("(changed since: skill @perstack/base)"), "{}", ran.stdout);
}
