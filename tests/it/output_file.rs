//! Files in place of standard output and beside it: `--output-file` and `--summary-file`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Answer, KEY, Provider, Test, call};

fn question() -> Answer {
    Answer::calls([call("q1", "ask", json!({"question": "Which owl?"}))])
}

const ASKING: &str = "[experts.librarian]\ninstruction = \"You find things in books.\"\n\
                      [experts.librarian.skills.person]\ntype = \"interactiveSkill\"\n\
                      [experts.librarian.skills.person.tools.ask]\ndescription = \"Asks.\"\n\
                      inputJsonSchema = '{\"type\": \"object\", \"properties\": {\"question\": {\"type\": \"string\"}}}'\n";

#[test]
fn the_file_has_what_standard_output_would_have() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Owls."), Answer::text("Owls.")]);
    let ran = test.run(["run", "librarian", "Which birds?", "--output-file", "answer.txt"]).assert_code(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.ends_with("the result is in answer.txt\n"), "{}", ran.stderr);
    let file = test.workspace().join("answer.txt");
    assert_eq!(fs::read_to_string(&file).unwrap(), "Owls.\n");
    let ran = test.run(["run", "librarian", "q", "--output", "json", "--output-file", "answer.txt"]).assert_code(0);
    assert_eq!(ran.stdout, "");
    let object: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(object["text"], "Owls.");
    let leftover = fs::read_dir(test.workspace())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "tmp"));
    assert_eq!(leftover.count(), 0);
}

#[test]
fn a_failed_run_leaves_the_file_as_it_was() {
    for flags in ["", "--output json"] {
        let test = Test::with(Provider::Anthropic).file("answer.txt", "older").answers([Answer::status(400)]);
        let mut command = Command::new(test.binary());
        command.args(["run", "librarian", "q", "--output-file", "answer.txt"]).args(flags.split_whitespace());
        let ran = test.start(command).finish().assert_code(1);
        assert!(ran.stderr.contains("there is no result for answer.txt, which is left as it was\n"), "{}", ran.stderr);
        assert!(ran.stderr.trim_end().lines().last().unwrap().contains("--output-file answer.txt"), "{}", ran.stderr);
        assert_eq!(fs::read_to_string(test.workspace().join("answer.txt")).unwrap(), "older");
    }
}

#[test]
fn a_job_that_waits_writes_its_object_and_no_text() {
    let test = Test::new().toml(ASKING).provider(Provider::Anthropic).answers([question(), question()]);
    let test = test.file("answer.txt", "older");
    let file = test.workspace().join("answer.txt");
    test.run(["run", "librarian", "q", "--output-file", "answer.txt"]).assert_code(4);
    assert_eq!(fs::read_to_string(&file).unwrap(), "older");
    test.run(["run", "librarian", "q", "--output", "json", "--output-file", "answer.txt"]).assert_code(4);
    let object: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(object["pendingToolCalls"][0]["args"]["question"], "Which owl?");
}

#[test]
fn events_are_appended_also_by_the_command_that_continues() {
    let test = Test::with(Provider::Anthropic).answers([Answer::text("Owls."), Answer::text("Bees.")]);
    let ran = test.run(["run", "librarian", "q", "--json", "--output-file", "events.jsonl"]).assert_code(0);
    assert_eq!(ran.stdout, "");
    test.run(["resume", "latest", "And?", "--json", "--output-file", "events.jsonl"]).assert_code(0);
    let written = fs::read_to_string(test.workspace().join("events.jsonl")).unwrap();
    let events = written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answers: Vec<Value> =
        events.filter(|event| event["type"] == "completeRun").map(|e| e["text"].clone()).collect();
    assert_eq!(answers, ["Owls.", "Bees."]);
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_runs() {
    let test = Test::with(Provider::Anthropic).file("older.txt", "older").file("perstack/jobs/kept", "");
    let folder = test.workspace();
    fs::create_dir(folder.join("out")).unwrap();
    symlink("older.txt", folder.join("link.txt")).unwrap();
    symlink("perstack", folder.join("storage")).unwrap();
    for (path, why) in [
        ("out", "it is a folder"),
        ("out/", "it names a folder"),
        ("..", "it names a folder"),
        ("missing/answer.txt", "cannot be opened"),
        ("older.txt/answer.txt", "cannot be opened"),
        ("link.txt", "it is a link"),
        ("/dev/full", "it is a device or a pipe"),
        ("perstack/answer.txt", "it is in the storage"),
        ("perstack/jobs/answer.txt", "it is in the storage"),
        ("storage/answer.txt", "it is in the storage"),
    ] {
        for flag in ["--output-file", "--summary-file"] {
            for output in ["text", "json", "jsonl"] {
                let ran = test.run(["run", "librarian", "q", flag, path, "--output", output]).assert_code(2);
                let shown = format!("error: {flag} {path} cannot be written: ");
                assert!(ran.stderr.starts_with(&shown) && ran.stderr.contains(why), "{path}: {}", ran.stderr);
                assert!(ran.stderr.contains("\n  help: "), "{path}: {}", ran.stderr);
            }
        }
    }
    test.run(["resume", "latest", "--output-file", "out"]).assert_code(2).assert_stderr(["it is a folder"]);
    let both = ["run", "librarian", "q", "--output-file", "a.md", "--summary-file", "./a.md"];
    test.run(both).assert_code(2).assert_stderr(["the same file"]);
    test.run(["run", "librarian", "q", "--output-file", "a", "--stream"]).assert_code(2);
    assert_eq!(test.server().requests().len(), 0);
    assert_eq!(fs::read_to_string(folder.join("older.txt")).unwrap(), "older");
}

#[test]
fn a_folder_without_write_permission_is_refused() {
    let test = Test::with(Provider::Anthropic).may_leave_answers().answers([Answer::text("Owls.")]);
    let folder = test.workspace().join("closed");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    let ran = test.run(["run", "librarian", "q", "--output-file", "closed/answer.txt"]);
    // The superuser may write everywhere.
    let is_written = folder.join("answer.txt").exists();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    ran.assert_code(if is_written { 0 } else { 2 });
}

#[test]
fn a_closed_standard_output_does_not_matter_beside_a_file() {
    for flags in ["", "--output json", "--output jsonl"] {
        let test = Test::with(Provider::Anthropic).answers([Answer::text("Owls.")]);
        let mut shell = Command::new("sh");
        let line = format!("\"$0\" run librarian q --output-file out {flags} >&-");
        shell.args(["-c", &line]).arg(test.binary());
        test.start(shell).finish().assert_code(0);
        assert!(fs::read_to_string(test.workspace().join("out")).unwrap().contains("Owls."), "{flags}");
    }
}

#[test]
fn a_summary_is_appended_for_every_end() {
    let answers = [Answer::text("Owls.\n```\n<b>x</b>"), Answer::status(400), question()];
    let test = Test::new().toml(ASKING).provider(Provider::Anthropic).answers(answers);
    let test = test.file("summary.md", "# Build");
    let ran = test.run(["run", "librarian", "q", "--summary-file", "summary.md"]).assert_code(0);
    assert_eq!(ran.stdout, "Owls.\n```\n<b>x</b>\n");
    test.run(["run", "librarian", "q", "--summary-file", "summary.md"]).assert_code(1);
    test.run(["run", "librarian", "q", "--summary-file", "summary.md"]).assert_code(4);
    test.run(["run", "nobody", "q", "--summary-file", "summary.md"]).assert_code(2);
    let written = fs::read_to_string(test.workspace().join("summary.md")).unwrap();
    let titles: Vec<&str> = written.lines().filter(|line| line.starts_with('#')).collect();
    let expected =
        ["# Build", "### `librarian` completed", "### `librarian` failed", "### `librarian` waits for an answer"];
    assert_eq!(titles, expected, "{written}");
    assert!(written.contains("\n````text\nOwls.\n```\n<b>x</b>\n````\n"), "{written}");
    assert!(written.contains("Which owl?"), "{written}");
    assert_eq!(written.matches("To continue:").count(), 2, "{written}");
    assert!(!written.contains("--summary-file"), "{written}");
}

#[test]
fn a_summary_has_no_secret() {
    let test = Test::with(Provider::Anthropic).answers([Answer::status(400).message(KEY)]);
    let instruction = format!("Say {KEY}.");
    test.run(["run", "--instruction", &instruction, "q", "--summary-file", "summary.md"]).assert_code(1);
    let written = fs::read_to_string(test.workspace().join("summary.md")).unwrap();
    assert!(written.contains("[redacted]") && !written.contains(KEY), "{written}");
}
