//! The way in: a first configuration, a run without one, the list of experts, and the nearest right word.

use crate::support::{Answer, KEY, Provider, Test, call};
use std::process::Command;

use serde_json::{Value, json};

/// The model's answers reach the mock server whatever configuration is written.
fn empty() -> Test {
    Test::new().provider(Provider::Anthropic)
}

#[test]
fn init_writes_what_runs_and_shows_the_next_command() {
    let test = empty().unset("ANTHROPIC_API_KEY").answers([Answer::text("Nothing.")]);
    test.run(["init"]).assert_code(0).snapshot("way-in/init");
    let ignored = std::fs::read_to_string(test.workspace().join(".gitignore")).unwrap();
    assert_eq!(ignored, "/perstack/\n.env\n.env.local\n");
    let test = test.env("ANTHROPIC_API_KEY", KEY);
    test.run(["check"]).assert_code(0);
    assert_eq!(test.run(["run", "assistant", "What is in this folder?"]).assert_code(0).stdout, "Nothing.\n");
    let shown = test.run(["trust", "--show"]).assert_code(0).stdout;
    assert!(shown.starts_with("trusted:"), "{shown}");
}

#[test]
fn init_takes_names_and_writes_over_nothing() {
    let test = empty().file("perstack.toml", "# mine\n");
    test.run(["init"]).assert_code(2).assert_stderr(["is there already: nothing was written"]);
    assert_eq!(std::fs::read_to_string(test.workspace().join("perstack.toml")).unwrap(), "# mine\n");
    assert!(!test.workspace().join(".gitignore").exists());
    let test = empty();
    let ran = test.run(["init", "--expert", "owl", "--provider", "openai"]).assert_code(0);
    assert!(ran.stdout.contains("export OPENAI_API_KEY") && ran.stdout.contains("perstack run owl"), "{}", ran.stdout);
    let listed = test.run(["experts", "--json"]).assert_code(0).object();
    assert_eq!(listed[0]["key"], "owl");
    empty().run(["init", "--expert", "Big Owl"]).assert_code(2);
}

#[test]
fn what_lies_in_the_folder_is_not_trusted_along_with_what_init_wrote() {
    let test = empty().file(".env", "OPENAI_API_KEY=sk-of-the-folder\nOPENAI_BASE_URL=https://elsewhere.example\n");
    test.run(["init", "--provider", "openai"]).assert_code(0);
    let shown = test.run(["trust", "--show"]).assert_code(0).stdout;
    assert!(shown.starts_with("not trusted yet:"), "{shown}");
}

#[test]
fn an_instruction_runs_without_a_file() {
    let test = empty().stdin("barn\n").answers([
        Answer::calls([call("c1", "writeTextFile", json!({"path": "owl.txt", "text": "owl"}))]),
        Answer::text("Written."),
        Answer::text("Still there."),
    ]);
    let ran = test.run(["run", "--instruction", "You know owls.", "Which owl?"]).assert_code(0);
    assert_eq!(ran.stdout, "Written.\n");
    let request = test.server().requests().remove(0);
    assert!(request.contains("You know owls.") && request.contains("Which owl?\n\nbarn"));
    assert!(test.workspace().join("owl.txt").exists());
    let refused = test.run(["resume", "latest", "And now?", "--no-stdin"]).assert_code(2);
    refused.assert_stderr(["--instruction"]);
    test.run(["resume", "latest", "And now?", "--no-stdin", "--instruction", "You know owls."]).assert_code(0);
    assert!(test.server().requests()[2].contains("You know owls."));
}

#[test]
fn the_ways_on_from_a_job_of_an_instruction_have_it() {
    const INSTRUCTION: &str = "You're an owl.\nHoot $HOME.";
    const FLAG: &str = r"--instruction $'You\'re an owl.\nHoot $HOME.'";
    let test = empty().answers([Answer::text("Hoot."), Answer::text("Hoot hoot."), Answer::text("A barn owl.")]);
    let ran = test.run(["run", "--instruction", INSTRUCTION, "q", "--storage", "jobs", "--no-stdin"]).assert_code(0);
    assert!(!ran.stderr.contains("--instruction"), "{}", ran.stderr);
    for view in [
        ["log", "--storage=jobs"].as_slice(),
        &["log", "latest", "--storage=jobs"],
        &["log", "--steps", "--storage=jobs"],
    ] {
        let mut command = Command::new(test.binary());
        command.args(view);
        let shown = test.start(command).finish().assert_code(0).stdout;
        let line = shown.lines().find(|line| line.contains("perstack resume")).unwrap_or_default();
        assert!(line.contains(" QUERY ") && line.contains(FLAG) && line.ends_with(FLAG), "{view:?}: {shown}");
        assert!(line.contains("--storage jobs"), "{shown}");
    }
    // As it is typed: it goes on.
    let shown = test.run(["log", "--storage", "jobs"]).assert_code(0).stdout;
    let line =
        shown.lines().find_map(|line| line.split_once("perstack resume")).unwrap().1.replace("QUERY", "'And now?'");
    let mut command = Command::new("bash");
    command.args(["-c", &format!("'{}' resume{line} --no-stdin", test.binary().display())]);
    assert_eq!(test.start(command).finish().assert_code(0).stdout, "Hoot hoot.\n");
    // An expert of the configuration that looks the same needs no flag.
    let test = test.toml("[experts.assistant]\ninstruction = \"You know owls.\"\n");
    test.run(["run", "assistant", "q", "--no-stdin"]).assert_code(0);
    let shown = test.run(["log"]).assert_code(0).stdout;
    assert!(!shown.contains("--instruction"), "{shown}");
}

#[test]
fn an_instruction_takes_one_word_and_has_a_text() {
    let test = empty();
    test.run(["run", "--instruction", "You know owls.", "expert", "q"]).assert_code(2).assert_stderr(["two words"]);
    test.run(["run", "--instruction", " ", "q"]).assert_code(2).assert_stderr(["--instruction is empty"]);
}

#[test]
fn of_several_keys_the_first_is_used_and_none_is_an_error() {
    let test = empty().env("OPENAI_API_KEY", "sk-other").answers([Answer::text("An owl.")]);
    let ran = test.run(["run", "--instruction", "You know owls.", "q"]).assert_code(0);
    ran.assert_stderr(["there are keys of anthropic, openai: anthropic is used; --provider chooses another"]);
    let test = Test::new().env("OLLAMA_HOST", "127.0.0.1:1");
    let ran = test.run(["run", "--instruction", "You know owls.", "q"]).assert_code(2);
    ran.assert_stderr(["no model provider can be used", "ANTHROPIC_API_KEY"]);
}

#[test]
fn experts_are_listed_with_their_descriptions() {
    let toml = "[experts.owl]\ninstruction = \"Hoot.\"\ndescription = \"Knows owls.\"\ndelegates = [\"mouse\"]\n\
                [experts.mouse]\ninstruction = \"Squeak.\"\n[experts.cat]\ndescription = \"No instruction.\"\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic);
    test.run(["experts"]).assert_code(0).snapshot("way-in/experts");
    let listed: Value = test.run(["experts", "--json"]).assert_code(0).object();
    assert_eq!((&listed[0]["delegates"], &listed[1]["description"]), (&json!(["mouse"]), &Value::Null));
    assert!(listed[2]["mistakes"].is_string(), "{listed}");
}

#[test]
fn a_misspelt_tool_is_named_with_the_right_one() {
    let toml = "[experts.owl]\ninstruction = \"Hoot.\"\n[experts.owl.skills.\"@perstack/base\"]\n\
                type = \"mcpStdioSkill\"\ncommand = \"npx\"\npackageName = \"@perstack/base\"\n\
                pick = [\"readTxtFile\", \"attemptCompletion\"]\n";
    let test = Test::new().toml(toml).provider(Provider::Anthropic).answers([Answer::text("Hoo.")]);
    let line = "the skill has no tool \"readTxtFile\"; did you mean \"readTextFile\"?";
    let checked = test.run(["check"]).assert_code(2);
    assert!(checked.stdout.contains(line), "{}", checked.stdout);
    test.run(["run", "owl", "q"]).assert_code(0).assert_stderr([line]);
}

#[test]
fn without_a_file_the_error_shows_ways_on() {
    empty().run(["run", "researcher", "q"]).assert_code(2).snapshot("way-in/no-file");
}
