//! `--dry-run`: what would be sent, without a request, a process or a file.

mod same_request;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::tool_server::{command_skill, librarian, program};
use crate::support::{Answer, KEY, Provider, Test, call};

const TOML: &str = "maxCost = 0.5\npermissions = { deny = [\"deleteFile\"], ask = [\"exec\"] }\n\
                    [experts.librarian]\ninstruction = \"You find things in books.\"\ncontext = [\"AGENTS.md\"]\n\
                    agentSkills = [\"owls\"]\n";

fn project() -> Test {
    let test = Test::new().toml(TOML).provider(Provider::Anthropic).file("AGENTS.md", "Owls first.");
    test.file(".agents/skills/owls/SKILL.md", "---\nname: owls\ndescription: Counts owls.\n---\nCount.\n")
}

/// Every file of the test with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap_or_default());
        }
    }
    found
}

#[test]
fn what_would_be_sent_is_shown_and_nothing_is_sent_or_written() {
    let test = project();
    test.binary();
    let before = files(test.root());
    let ran = test.run(["run", "librarian", "Which owls?", "--dry-run", "--max-steps", "7"]).assert_code(0);
    for text in [
        "dry run: nothing was sent, started or written",
        "anthropic/claude-sonnet-4-5 (context window of 200000 tokens)",
        "maxSteps 7",
        "maxCost 0.5 US dollars",
        "deny deleteFile, ask exec",
        "deleteFile (@perstack/base, denied)",
        "exec (@perstack/base, asks)",
        "readSkillFile (@perstack/agent-skills)",
        "AGENTS.md (11 bytes)",
        ".agents/skills/owls/SKILL.md",
        "You find things in books.",
        "Owls first.",
        "<skill name=\"owls\">",
        "Which owls?",
    ] {
        let squeezed = ran.stdout.replace("ask exec, deny deleteFile", "deny deleteFile, ask exec");
        assert!(squeezed.contains(text), "{text}\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains(KEY), "{}", ran.stdout);
    assert_eq!(test.server().requests().len(), 0);
    assert_eq!(files(test.root()), before, "nothing was written");
}

#[test]
fn the_estimate_is_the_sum_of_its_parts() {
    let test = project();
    let dry = test.run(["run", "librarian", "Which owls?", "--dry-run", "--output", "json"]).assert_code(0).object();
    assert_eq!((&dry["schemaVersion"], &dry["query"]), (&json!(1), &json!("Which owls?")));
    assert_eq!(dry["budgets"]["maxCost"], json!(0.5));
    let sum: u64 = dry["tools"].as_array().unwrap().iter().map(|tool| tool["tokens"].as_u64().unwrap()).sum();
    let parts = ["instructionTokens", "earlierTokens", "inputTokens"].map(|key| dry[key].as_u64().unwrap());
    assert_eq!(dry["tokens"].as_u64().unwrap(), sum + parts.iter().sum::<u64>());
}

#[test]
fn a_resumption_shows_the_job_so_far() {
    let test =
        project().answers([Answer::calls([call("c1", "todo", json!({"newTodos": ["look"]}))]), Answer::text("Two.")]);
    test.run(["run", "librarian", "Which owls?"]).assert_code(0);
    let continued = test.run(["run", "librarian", "And?", "--continue", "--dry-run"]).assert_code(0);
    assert!(continued.stdout.contains("4 messages of the job so far"), "{}", continued.stdout);
    assert!(continued.stdout.contains("goes on from"), "{}", continued.stdout);
}

#[test]
fn no_server_is_started_and_a_lock_has_its_tools() {
    let serve = format!("#!/bin/sh\ntouch started\nexec {} polite\n", program());
    let test = librarian(&command_skill("owls", "sh", &["serve.sh"])).file("serve.sh", serve);
    let mark = test.workspace().join("started");
    let ran = test.run(["run", "librarian", "q", "--dry-run"]).assert_code(0);
    assert!(ran.stdout.contains("the tools of owls: no lock has them"), "{}", ran.stdout);
    assert!(!mark.exists());
    test.run(["install", "--trust"]).assert_code(0);
    fs::remove_file(&mark).unwrap();
    let ran = test.run(["run", "librarian", "q", "--dry-run"]).assert_code(0);
    assert!(ran.stdout.contains(" (owls)") && !ran.stdout.contains("no lock has them"), "{}", ran.stdout);
    assert!(!mark.exists());
}

#[test]
fn what_a_run_refuses_is_refused() {
    let broken = Test::new().toml("[experts.librarian]\ninstruction = 3\n").provider(Provider::Anthropic);
    for words in [["run", "librarian", "q", "--dry-run"], ["run", "nobody", "q", "--dry-run"]] {
        let dry = broken.run(words).assert_code(2);
        let run = broken.run([words[0], words[1], words[2], "--no-stdin"]).assert_code(2);
        assert_eq!(dry.stderr, run.stderr);
    }
    let test = project().file("AGENTS.md", b"\x00");
    test.run(["run", "librarian", "q", "--dry-run"]).assert_code(2).assert_stderr(["is no text"]);
    let test = project().unset("ANTHROPIC_API_KEY");
    test.run(["run", "librarian", "q", "--dry-run"]).assert_code(2).assert_stderr(["ANTHROPIC_API_KEY"]);
    let test = project();
    test.run(["run", "librarian", "q", "--dry-run", "--output", "jsonl"]).assert_code(2).assert_stderr(["no events"]);
    test.run(["run", "librarian", "q", "--dry-run", "--record", "c.jsonl"]).assert_code(2);
    test.run(["resume", "latest", "--dry-run"]).assert_code(2);
    test.run(["run", "librarian", "", "--dry-run"]).assert_code(2).assert_stderr(["the query is empty"]);
}
