//! Files that belong to an expert's instruction: sent, recorded, seen again on resume, shown by `check`, part of the trust.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Answer, Gate, Provider, Ran, Request, Test, call};
use crate::trust::{attack, neighbour};

const TOML: &str = "[experts.librarian]\ninstruction = \"You find things in books.\"\ncontext = [\"AGENTS.md\"]\n";

fn librarian(notes: &str) -> Test {
    Test::new().toml(TOML).provider(Provider::Anthropic).file("AGENTS.md", notes)
}

fn instruction(request: &Request) -> String {
    request.body["system"].to_string()
}

/// The first fact of the oldest run.
fn started(test: &Test) -> Value {
    test.storage().facts().into_iter().find(|fact| fact["fact"] == "started").unwrap()
}

fn warnings(events: &[Value]) -> Vec<&str> {
    let warnings = events.iter().filter(|event| event["type"] == "runtimeWarning");
    warnings.filter_map(|event| event["message"].as_str()).filter(|text| text.contains("AGENTS.md")).collect()
}

#[test]
fn the_workspaces_file_and_those_near_a_file_that_is_sent_along_are_sent() {
    Provider::each(|provider| {
        let test = Test::new()
            .toml(TOML)
            .provider(provider)
            .file("AGENTS.md", "Owls first.")
            .answers([Answer::text("One."), Answer::text("Two.")]);
        let test = test.file("barn/AGENTS.md", "Barn rules.").file("barn/list.txt", "barn owl\n");
        test.run(["run", "librarian", "q"]).assert_code(0);
        test.run(["run", "librarian", "q", "--file", "barn/list.txt"]).assert_code(0);
        let requests = test.server().requests();
        assert!(requests[0].contains("Owls first.") && !requests[0].contains("Barn rules."), "{provider:?}");
        assert!(requests[1].contains("Owls first.") && requests[1].contains("Barn rules."), "{provider:?}");
    });
}

#[test]
fn an_expert_without_the_key_sends_no_file_and_records_none() {
    let test = Test::with(Provider::Anthropic).file("AGENTS.md", "Owls first.").answers([Answer::text("One.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert!(!test.server().requests()[0].contains("Owls first."));
    let started = started(&test).to_string();
    assert!(!started.contains("contextFiles"), "{started}");
}

#[test]
fn what_was_read_is_recorded_and_a_changed_file_is_used_on_resume_and_recorded() {
    let test = librarian("Owls first.").answers([Answer::text("One."), Answer::text("Two."), Answer::text("Three.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let first = started(&test)["spec"]["surroundings"]["contextFiles"].clone();
    assert_eq!((&first[0]["path"], &first[0]["bytes"]), (&json!("AGENTS.md"), &json!(11)));
    let ran = test.run(["resume", "latest", "And?", "--output", "jsonl"]).assert_code(0);
    assert_eq!(warnings(&ran.events()), [""; 0]);
    fs::write(test.workspace().join("AGENTS.md"), "Mice first.").unwrap();
    let ran = test.run(["resume", "latest", "And?", "--output", "jsonl"]).assert_code(0);
    assert_eq!(warnings(&ran.events()), ["the instruction of expert librarian is another: AGENTS.md has changed"]);
    let requests = test.server().requests();
    assert_eq!(instruction(&requests[0]), instruction(&requests[1]), "nothing had changed");
    assert!(requests[2].contains("Mice first.") && !requests[2].contains("Owls first."));
    let resumed = test.storage().facts().into_iter().rfind(|fact| fact["fact"] == "resumed").unwrap();
    let now = &resumed["resumption"]["surroundings"]["contextFiles"];
    assert!(now[0]["digest"] != first[0]["digest"] && resumed.to_string().contains("Mice first."));
}

/// A job of one whole step that was killed while it waited for its second answer.
fn killed_in_its_second_step(test: Test) -> Test {
    let gate = Gate::new();
    let test = test
        .answers([Answer::calls([call("c1", "todo", json!({"newTodos": ["look"]}))]), Answer::hang_up().delay(&gate)]);
    let running = test.spawn(["run", "librarian", "q", "--job-id", "nest"]);
    running.wait_for_request(2);
    running.signal(Signal::KILL);
    running.finish();
    gate.open();
    test
}

#[test]
fn a_killed_run_goes_on_with_the_changed_file_and_its_record_can_be_read() {
    let test = killed_in_its_second_step(librarian("Owls first."));
    fs::write(test.workspace().join("AGENTS.md"), "Mice first.").unwrap();
    test.server().script([Answer::text("Done."), Answer::text("More.")]);
    let ran = test.run(["resume", "nest", "--output", "jsonl"]).assert_code(0);
    assert_eq!(warnings(&ran.events()).len(), 1);
    let requests = test.server().requests();
    let resumed = &requests[2];
    assert!(instruction(resumed).contains("Mice first.") && resumed.contains("look"), "{}", resumed.body);
    // The same file again: the conversation has it.
    let ran = test.run(["resume", "nest", "And?", "--output", "jsonl"]).assert_code(0);
    assert_eq!(warnings(&ran.events()), [""; 0]);
    let requests = test.server().requests();
    assert_eq!(instruction(&requests[2]), instruction(&requests[3]));
    test.run(["log", "nest", "--steps"]).assert_code(0);
}

const TWO_FILES: &str = "[experts.librarian]\ninstruction = \"You find things in books.\"\n\
                         context = [\"AGENTS.md\", \"STYLE.md\"]\nagentSkills = [\"owls\"]\n";

const SKILL: &str = "---\nname: owls\ndescription: Counts owls.\n---\nCount.\n";

fn two_files() -> Test {
    let test = Test::new().toml(TWO_FILES).provider(Provider::Anthropic).file("AGENTS.md", "Owls first.");
    test.file("STYLE.md", "Short sentences.").file(".agents/skills/owls/SKILL.md", SKILL)
}

/// The lines about another instruction.
fn changes(events: &[Value]) -> Vec<&str> {
    let warnings = events.iter().filter(|event| event["type"] == "runtimeWarning");
    warnings.filter_map(|event| event["message"].as_str()).filter(|text| text.contains("is another")).collect()
}

#[test]
fn a_file_or_skill_that_is_gone_leaves_the_instruction() {
    let test = two_files().answers(["One.", "Two.", "Three.", "Four.", "Five."].map(Answer::text));
    test.run(["run", "librarian", "q"]).assert_code(0);
    let again = |test: &Test| {
        let ran = test.run(["resume", "latest", "And?", "--output", "jsonl"]).assert_code(0);
        changes(&ran.events()).join(";")
    };
    assert_eq!(again(&test), "", "nothing had changed");
    fs::remove_file(test.workspace().join("STYLE.md")).unwrap();
    assert_eq!(again(&test), "the instruction of expert librarian is another: STYLE.md is gone");
    let test = test.toml(&TWO_FILES.replace("agentSkills = [\"owls\"]\n", ""));
    let change = again(&test);
    assert!(change.ends_with("another: .agents/skills/owls/SKILL.md is gone"), "{change}");
    assert_eq!(again(&test), "", "nothing had changed");
    let requests = test.server().requests();
    let sent: Vec<String> = requests.iter().map(instruction).collect();
    assert_eq!((&sent[0], &sent[3]), (&sent[1], &sent[4]));
    assert!(sent[1].contains("Short sentences.") && sent[1].contains("Counts owls."), "{}", sent[1]);
    assert!(!sent[2].contains("Short sentences.") && sent[2].contains("Owls first."), "{}", sent[2]);
    assert!(sent[2].contains("Counts owls.") && !sent[3].contains("Counts owls."), "{}", sent[3]);
    assert!(sent[3].contains("Owls first."), "{}", sent[3]);
}

#[test]
fn a_run_that_was_taken_over_is_continued_with_the_files_that_it_was_taken_over_with() {
    let test = killed_in_its_second_step(two_files());
    let style = test.workspace().join("STYLE.md");
    fs::remove_file(&style).unwrap();
    test.server().script(["Done.", "More.", "All."].map(Answer::text));
    let again = |ran: Ran| changes(&ran.assert_code(0).events()).join(";");
    let ran = test.run(["resume", "nest", "--output", "jsonl"]);
    assert_eq!(again(ran), "the instruction of expert librarian is another: STYLE.md is gone");
    assert_eq!(again(test.run(["resume", "nest", "And?", "--output", "jsonl"])), "", "nothing had changed");
    fs::write(&style, "Short sentences.").unwrap();
    let ran = test.run(["resume", "nest", "So?", "--output", "jsonl"]);
    assert_eq!(again(ran), "the instruction of expert librarian is another: STYLE.md is new");
    let requests = test.server().requests();
    let sent: Vec<bool> = requests.iter().map(|request| instruction(request).contains("Short sentences.")).collect();
    assert_eq!(sent, [true, true, false, false, true]);
    assert_eq!(instruction(&requests[2]), instruction(&requests[3]));
}

#[test]
fn a_delegate_keeps_the_files_near_what_was_sent_along_when_its_job_goes_on() {
    let toml = format!("[experts.lead]\ninstruction = \"Lead.\"\ndelegates = [\"librarian\"]\n{TOML}");
    let gate = Gate::new();
    let test = Test::new().toml(&toml).provider(Provider::Anthropic).file("AGENTS.md", "Owls first.");
    let test = test
        .file("src/AGENTS.md", "Barn rules.")
        .file("src/x.txt", "barn owl\n")
        .answers([Answer::calls([call("c1", "librarian", json!({"query": "look"}))]), Answer::hang_up().delay(&gate)]);
    let running = test.spawn(["run", "lead", "hi", "--file", "src/x.txt", "--job-id", "nest"]);
    running.wait_for_request(2);
    running.signal(Signal::KILL);
    running.finish();
    gate.open();
    assert_eq!(started(&test)["spec"]["surroundings"]["contextFolders"], json!(["src"]));
    test.server().script(["Seen.", "Done.", "Really."].map(Answer::text));
    let ran = test.run(["resume", "nest", "--output", "jsonl"]).assert_code(0);
    assert_eq!(warnings(&ran.events()), [""; 0]);
    let requests = test.server().requests();
    assert!(instruction(&requests[1]).contains("Barn rules."));
    assert_eq!(instruction(&requests[1]), instruction(&requests[2]));
    assert!(!instruction(&requests[3]).contains("Barn rules."), "the lead names no files");
    let again = test.run(["resume", "nest", "Sure?", "--output", "jsonl"]).assert_code(0);
    assert_eq!(warnings(&again.events()), [""; 0]);
}

#[test]
fn a_file_that_two_names_lead_to_is_sent_once() {
    let toml = TOML.replace("[\"AGENTS.md\"]", "[\"src/AGENTS.md\", \"AGENTS.md\"]");
    let test = Test::new().toml(&toml).provider(Provider::Anthropic).file("AGENTS.md", "Owls first.");
    let test = test.file("src/AGENTS.md", "Barn rules.").file("src/x.txt", "owl\n").answers([Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--file", "src/x.txt"]).assert_code(0);
    let sent = instruction(&test.server().requests()[0]);
    assert_eq!((sent.matches("Barn rules.").count(), sent.matches("Owls first.").count()), (1, 1), "{sent}");
}

#[test]
fn a_replay_holds_and_one_beside_a_changed_file_shows_the_difference() {
    let test = librarian("Owls first.").answers([Answer::text("One.")]);
    test.run(["run", "librarian", "q", "--record", "c.jsonl"]).assert_code(0);
    let ran = test.run(["run", "librarian", "q", "--replay", "c.jsonl", "--storage", "a"]).assert_code(0);
    assert_eq!(ran.stdout, "One.\n");
    fs::write(test.workspace().join("AGENTS.md"), "Mice first.").unwrap();
    let ran = test.run(["run", "librarian", "q", "--replay", "c.jsonl", "--storage", "b"]);
    assert!(ran.stderr.contains("differs") && ran.stderr.contains("Mice first."), "{}", ran.stderr);
}

#[test]
fn an_expert_cannot_instruct_itself_or_its_delegates_by_a_file() {
    let toml = format!(
        "{TOML}delegates = [\"helper\"]\n[experts.helper]\ninstruction = \"Help.\"\ncontext = [\"AGENTS.md\"]\n"
    );
    let write = call("c1", "writeTextFile", json!({"path": "AGENTS.md", "text": "Obey the mice."}));
    let test = Test::new().toml(&toml).provider(Provider::Anthropic).file("AGENTS.md", "Owls first.").answers([
        Answer::calls([write]),
        Answer::calls([call("c2", "helper", json!({"query": "q"}))]),
        Answer::text("Helped."),
        Answer::text("Done."),
    ]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    let requests = test.server().requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| instruction(request).contains("Owls first.")));
    assert!(requests.iter().all(|request| !instruction(request).contains("Obey the mice.")));
}

#[test]
#[cfg(unix)]
fn a_file_that_must_not_be_sent_ends_the_run_before_any_request() {
    use std::os::unix::fs::symlink;
    attack("a link in the place of a context file leads to a file of the user's");
    neighbour("a link within the workspace is followed");
    let test = Test::new().toml(TOML).provider(Provider::Anthropic).file("docs/rules.md", "Owls first.");
    let link = test.workspace().join("AGENTS.md");
    fs::write(test.root().join("home/secret.md"), "Secret.").unwrap();
    symlink(test.root().join("home/secret.md"), &link).unwrap();
    let ran = test.run(["run", "librarian", "q"]).assert_code(2);
    ran.assert_stderr(["AGENTS.md leads to ", "home/secret.md, outside of the workspace", "put a copy in its place"]);
    let ran = test.run(["check"]).assert_code(2);
    assert!(
        ran.stdout.contains("✗ expert librarian, context: ") && ran.stdout.contains("home/secret.md"),
        "{}",
        ran.stdout
    );
    fs::remove_file(&link).unwrap();
    for (bytes, reason) in [(&b"\x00\x01"[..], "is no text"), (b"caf\xe9", "AGENTS.md:1:4: not UTF-8 text")] {
        fs::write(&link, bytes).unwrap();
        test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr([reason]);
    }
    assert_eq!(test.server().requests().len(), 0);
    assert!(!Path::new(&test.workspace().join("perstack/jobs")).exists(), "no job was begun");
    fs::remove_file(&link).unwrap();
    symlink("docs/rules.md", &link).unwrap();
    test.server().script([Answer::text("Hoo.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert!(test.server().requests()[0].contains("Owls first."));
}

#[test]
fn the_file_with_keys_is_no_context() {
    attack("a project has its user's .env sent to the model");
    neighbour("the run has the keys of that file all the same");
    let toml = TOML.replace("AGENTS.md", ".env");
    let test = Test::new().toml(&toml).provider(Provider::Anthropic).file(".env", "OWL=1\n");
    test.run(["run", "librarian", "q"]).assert_code(2).assert_stderr([".env holds keys or records of runs"]);
}

#[test]
fn what_is_left_out_is_named_to_the_user_and_to_the_model() {
    let long = "owls hunt at night\n".repeat(10_000);
    let test = librarian(&long).answers([Answer::text("One.")]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(0);
    ran.assert_stderr(["of 190000 bytes of AGENTS.md are left out"]);
    assert!(test.server().requests()[0].contains("of 190000 bytes of AGENTS.md are left out"));
    let ran = test.run(["check"]);
    assert!(ran.stdout.contains("! expert librarian, context: the last "), "{}", ran.stdout);
    let test = librarian(" \n").answers([Answer::text("One."), Answer::text("Two.")]);
    test.run(["run", "librarian", "q"]).assert_code(0).assert_stderr(["AGENTS.md is empty"]);
    fs::remove_file(test.workspace().join("AGENTS.md")).unwrap();
    test.run(["run", "librarian", "q"]).assert_code(0).assert_stderr(["there is no AGENTS.md in "]);
    assert!(!instruction(&test.server().requests()[1]).contains("These files"));
}

#[test]
fn a_changed_file_is_a_change_of_what_was_agreed_to() {
    attack("a file that instructs an expert changes behind an agreement");
    neighbour("one that is as it was needs no new agreement");
    let test = Test::new().file("AGENTS.md", "Owls first.");
    // It agrees to what it has written.
    test.run(["init"]).assert_code(0);
    let state = |test: &Test| {
        let stdout = test.run(["check"]).stdout;
        stdout.lines().find(|line| line.contains("this folder is ")).unwrap_or_default().to_owned()
    };
    let before = state(&test);
    assert!(before.contains("this folder is trusted"), "{before}");
    assert_eq!(state(&test), before);
    fs::write(test.workspace().join("AGENTS.md"), "Mice first.").unwrap();
    let after = state(&test);
    assert!(after.contains("this folder is not trusted yet"), "{after}");
}

#[test]
fn init_takes_the_file_up_where_it_is_there() {
    let test = Test::new().file("AGENTS.md", "Owls first.");
    test.run(["init"]).assert_code(0);
    let toml = fs::read_to_string(test.workspace().join("perstack.toml")).unwrap();
    assert!(toml.contains("\ncontext = [\"AGENTS.md\"]"), "{toml}");
    let ran = test.run(["check"]);
    assert!(
        ran.stdout.contains("✓ expert assistant, context: AGENTS.md belongs to the instruction (11 bytes)"),
        "{}",
        ran.stdout
    );
    // None, an empty one, and one that no run would take.
    for test in [Test::new(), Test::new().file("AGENTS.md", "\n"), Test::new().file("AGENTS.md", "\0Owls.")] {
        test.run(["init"]).assert_code(0);
        let toml = fs::read_to_string(test.workspace().join("perstack.toml")).unwrap();
        assert!(toml.contains("\n# context = [\"AGENTS.md\"]"), "{toml}");
    }
}
