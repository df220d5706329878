//! Permissions: calls that are denied, asked about on a terminal, and made; what the model, the log, cassettes and resumed
//! jobs have of it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::interactive::on_terminal;
use crate::mcp::wait_until;
use crate::support::answer::Call;
use crate::support::process::Running;
use crate::support::storage::read_json;
use crate::support::{Answer, Provider, Test, call};

/// The end of the question for permission.
const PROMPT: &str = "reason for the model)\r\n> ";

fn toml(permissions: &str) -> String {
    format!(
        "permissions = {permissions}\n[provider]\nproviderName = \"anthropic\"\n\
         [experts.librarian]\ninstruction = \"You write.\"\n"
    )
}

fn asking(permissions: &str) -> Test {
    Test::new().file("perstack.toml", toml(permissions)).provider(Provider::Anthropic)
}

fn at_terminal(permissions: &str) -> Test {
    asking(permissions).env("TERM", "xterm").silent_stdin()
}

fn write(id: &str, path: &str) -> Call {
    call(id, "writeTextFile", json!({"path": path, "text": "tawny"}))
}

/// The results of the model's latest calls.
fn results(test: &Test) -> Vec<String> {
    test.server().requests().pop().unwrap().results().into_iter().map(|(_, text)| text).collect()
}

fn exists(test: &Test, path: &str) -> bool {
    test.workspace().join(path).exists()
}

/// Kills the program that runs on the terminal of the process `pid`.
fn kill_child(pid: i32) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let killed = Command::new("kill").arg("-9").args(children.split_whitespace()).status();
    assert!(killed.is_ok_and(|status| status.success()));
}

fn decisions(test: &Test) -> Vec<Value> {
    let facts = test.storage().facts().into_iter().filter(|fact| fact["fact"] == "callsDecided");
    facts.flat_map(|fact| fact["decisions"].as_array().cloned().unwrap()).collect()
}

#[test]
fn a_denied_call_is_not_made_and_the_model_reads_why() {
    let calls = [write("c1", "a.txt"), write("c2", "keys/b.txt"), call("c3", "listDirectory", json!({}))];
    let test = asking("{ deny = [\"writeTextFile(keys/**)\"] }").file("keys/k", "");
    let test = test.answers([Answer::calls(calls), Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "q", "--json"]).assert_code(0);
    assert!(exists(&test, "a.txt") && !exists(&test, "keys/b.txt"));
    let results = results(&test);
    assert!(
        results[1].starts_with(
            "not run: writeTextFile is denied by deny = writeTextFile(keys/**) of the configuration. Do not try"
        ),
        "{results:?}"
    );
    let decided = ran.events().into_iter().find(|event| event["type"] == "decideToolCalls").unwrap();
    assert_eq!(decided["decisions"], json!(decisions(&test)));
    let verdicts: Vec<&str> =
        decided["decisions"].as_array().unwrap().iter().filter_map(|it| it["decision"].as_str()).collect();
    assert_eq!(verdicts, ["allowed", "denied", "allowed"]);
    let log = test.run(["log", "--tools"]).assert_code(0);
    assert!(
        log.stdout.contains("writeTextFile: denied by a rule (deny = writeTextFile(keys/**) of the configuration)"),
        "{}",
        log.stdout
    );
}

#[test]
fn without_permissions_nothing_is_decided_and_nothing_is_recorded() {
    let test = asking("{}").answers([Answer::calls([write("c1", "a.txt")]), Answer::text("Done.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert!(exists(&test, "a.txt"));
    assert_eq!(decisions(&test), [json!(null); 0]);
}

#[test]
fn flags_hold_for_delegates_too() {
    let toml = "[provider]\nproviderName = \"anthropic\"\n[experts.librarian]\ninstruction = \"You lead.\"\n\
                delegates = [\"writer\"]\n[experts.writer]\ninstruction = \"You write.\"\n";
    let test = Test::new().file("perstack.toml", toml).provider(Provider::Anthropic).answers([
        Answer::calls([call("c1", "writer", json!({"query": "write"}))]),
        Answer::calls([write("w1", "a.txt")]),
        Answer::text("I may not."),
        Answer::text("So be it."),
    ]);
    test.run(["run", "librarian", "q", "--read-only"]).assert_code(0);
    assert!(!exists(&test, "a.txt"));
    assert!(test.server().requests()[2].contains("denied by --read-only"));
}

#[test]
fn a_denied_delegate_is_not_started() {
    let toml = "[provider]\nproviderName = \"anthropic\"\n[experts.librarian]\ninstruction = \"You lead.\"\n\
                delegates = [\"writer\"]\npermissions = { deny = [\"writer\"] }\n[experts.writer]\ninstruction = \"You write.\"\n";
    let test = Test::new().file("perstack.toml", toml).provider(Provider::Anthropic);
    let test =
        test.answers([Answer::calls([call("c1", "writer", json!({"query": "write"}))]), Answer::text("So be it.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert_eq!(test.storage().runs().len(), 1);
    assert!(results(&test)[0].starts_with("not run: writer is denied"));
}

#[test]
fn without_a_terminal_a_question_is_a_denial_with_its_reason() {
    let test = asking("{ ask = [\"writeTextFile\"] }");
    let test = test.answers([Answer::calls([write("c1", "a.txt")]), Answer::text("So be it.")]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert!(!exists(&test, "a.txt"));
    assert!(results(&test)[0].contains("needs a person's permission (ask = writeTextFile of the configuration)"));
    test.server().script([Answer::calls([write("c2", "a.txt")]), Answer::text("Done.")]);
    test.run(["run", "librarian", "q", "--allow", "writeTextFile(*.txt)"]).assert_code(0);
    assert!(exists(&test, "a.txt"));
}

#[test]
fn a_person_allows_once_always_or_not() {
    let test = at_terminal("{ ask = [\"writeTextFile\"] }").answers([
        Answer::calls([write("c1", "a.txt"), write("c2", "b.txt")]),
        Answer::calls([write("c3", "c.txt")]),
        Answer::calls([write("c4", "d.txt")]),
        Answer::text("Done."),
    ]);
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout("? librarian wants to call writeTextFile (ask = writeTextFile of the configuration)\r\n");
    running.wait_for_stdout("new file: a.txt\r\n  + tawny\r\n");
    running.type_in("n\n");
    running.wait_for_stdout("no reason)\r\n> ");
    assert!(!exists(&test, "b.txt"), "nothing of the turn is done before all of it is decided");
    running.type_in("barn owls only\n");
    running.wait_for_stdout("new file: b.txt");
    running.type_in("y\n");
    running.wait_for_stdout("new file: c.txt");
    running.type_in("a\n");
    running.finish().assert_code(0);
    assert_eq!(["a.txt", "b.txt", "c.txt", "d.txt"].map(|path| exists(&test, path)), [false, true, true, true]);
    let second = &test.server().requests()[1].results()[0].1;
    assert_eq!(second, "not run: the user denied writeTextFile, because: barn owls only");
    let by: Vec<Value> =
        decisions(&test).into_iter().map(|it| json!([it["toolCallId"], it["by"], it["always"]])).collect();
    assert_eq!(json!(by)[0], json!(["c1", "person", null]));
    assert_eq!(json!(by)[2], json!(["c3", "person", true]));
}

#[test]
fn an_interrupt_at_the_question_leaves_the_call_open_and_unmade() {
    let test = at_terminal("{ ask = [\"writeTextFile\"] }")
        .answers([Answer::calls([write("c1", "a.txt"), write("c2", "b.txt")])]);
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout("new file: a.txt");
    running.type_in("y\n");
    running.wait_for_stdout("new file: b.txt");
    running.type_in("\u{3}");
    running.finish().assert_code(130);
    assert!(!exists(&test, "a.txt"));
    assert_eq!(read_json(&test.storage().last_checkpoint())["deciding"], json!(["c1"]));
    // Resumed, the first is not asked about again, and neither counts as made.
    test.server().script([Answer::text("Done.")]);
    let Some(running) = on_terminal(&test, "resume latest") else { return };
    running.wait_for_stdout("new file: b.txt");
    running.type_in("y\n");
    let ran = running.finish().assert_code(0);
    assert!(!ran.stdout.contains("a.txt ("), "{}", ran.stdout);
    assert!(exists(&test, "a.txt") && exists(&test, "b.txt"));
}

/// Three delegates beside each other, each of which asks before it writes a file.
fn writers() -> Test {
    let toml = "permissions = { ask = [\"writeTextFile\"] }\n[provider]\nproviderName = \"anthropic\"\n\
                [experts.librarian]\ninstruction = \"You lead.\"\ndelegates = [\"writer\"]\n\
                [experts.writer]\ninstruction = \"You write.\"\n";
    let delegate = |id: &str| call(id, "writer", json!({"query": "write"}));
    Test::new().file("perstack.toml", toml).provider(Provider::Anthropic).env("TERM", "xterm").silent_stdin().answers([
        Answer::calls([delegate("c1"), delegate("c2"), delegate("c3")]),
        Answer::calls([write("w1", "a.txt")]),
        Answer::calls([write("w2", "b.txt")]),
        Answer::calls([write("w3", "c.txt")]),
    ])
}

/// Waits until all three have their answer, so that they wait for the person.
fn wait_for_writers(test: &Test, running: &Running) {
    running.poll(Duration::from_millis(5), || {
        let logs =
            test.storage().runs().into_iter().filter_map(|run| std::fs::read_to_string(run.join("log.jsonl")).ok());
        logs.map(|log| log.matches("\"fact\":\"generated\"").count()).sum::<usize>() == 4
    });
}

#[test]
fn an_answer_for_the_whole_run_is_one_for_delegates_beside_each_other() {
    let test = writers();
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout(PROMPT);
    wait_for_writers(&test, &running);
    test.server().script(["One.", "Two.", "Three.", "Done."].map(Answer::text));
    running.type_in("a\n");
    let ran = running.finish().assert_code(0);
    assert_eq!(["a.txt", "b.txt", "c.txt"].map(|path| exists(&test, path)), [true; 3]);
    assert_eq!(ran.stdout.matches("wants to call writeTextFile").count(), 1, "{}", ran.stdout);
}

#[test]
fn an_interrupt_withdraws_the_question_while_others_wait_for_theirs() {
    let test = writers();
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout(PROMPT);
    wait_for_writers(&test, &running);
    running.type_in("\u{3}");
    let ran = running.finish().assert_code(130);
    assert!(ran.stdout.contains("(not asked any more)"), "{}", ran.stdout);
    assert_eq!(["a.txt", "b.txt", "c.txt"].map(|path| exists(&test, path)), [false; 3]);
}

#[test]
fn a_run_killed_at_the_question_is_asked_again() {
    let test = at_terminal("{ ask = [\"exec\"] }").answers([Answer::calls([call(
        "c1",
        "exec",
        json!({"command": "touch", "args": ["a.txt"]}),
    )])]);
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout(PROMPT);
    kill_child(running.pid());
    let _ = running.finish();
    let log = test.run(["log", "--job", &test.storage().job_id()]);
    assert!(log.stdout.contains("asking for permission for exec"), "{}", log.stdout);
    test.server().script([Answer::text("So be it.")]);
    test.run(["resume", "latest"]).assert_code(0);
    assert!(!exists(&test, "a.txt"));
    assert!(results(&test)[0].contains("needs a person's permission"), "{:?}", results(&test));
}

#[test]
fn a_run_killed_behind_the_answer_neither_asks_again_nor_makes_the_call_twice() {
    let script = "echo once >> made; echo $$ > new; mv new pid; exec sleep 1000";
    let command = json!({"command": "sh", "args": ["-c", script]});
    let test = at_terminal("{ ask = [\"exec\"] }").answers([Answer::calls([call("c1", "exec", command)])]);
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout(PROMPT);
    running.type_in("y\n");
    wait_until("the call", || exists(&test, "pid"));
    kill_child(running.pid());
    let _ = running.finish();
    test.server().script([Answer::text("So be it.")]);
    // Asked again, it would be denied here for want of a person.
    test.run(["resume", "latest"]).assert_code(0);
    assert!(results(&test)[0].starts_with("interrupted: exec was called"), "{:?}", results(&test));
    assert_eq!(std::fs::read_to_string(test.workspace().join("made")).unwrap(), "once\n");
    assert_eq!(decisions(&test).len(), 1);
}

#[test]
fn the_users_own_permissions_hold_in_every_run_and_no_project_makes_exceptions() {
    let test = asking("{ allow = [\"exec\", \"writeTextFile\"] }")
        .file("home/.config/perstack/config.toml", "permissions = { ask = [\"writeTextFile\"], deny = [\"exec\"] }\n");
    let home = test.workspace().join("home");
    let test = test.env("HOME", home.to_str().unwrap()).env("XDG_CONFIG_HOME", "").answers([
        Answer::calls([write("c1", "a.txt"), call("c2", "exec", json!({"command": "touch", "args": ["b.txt"]}))]),
        Answer::text("So be it."),
    ]);
    test.run(["run", "librarian", "q"]).assert_code(0);
    assert!(!exists(&test, "a.txt") && !exists(&test, "b.txt"));
    let reasons = results(&test);
    assert!(reasons[0].contains("(ask = writeTextFile of your config.toml)"), "{reasons:?}");
    assert!(reasons[1].contains("denied by deny = exec of your config.toml"), "{reasons:?}");
    test.server().script([Answer::calls([write("c3", "a.txt")]), Answer::text("Done.")]);
    test.run(["run", "librarian", "q", "--allow", "writeTextFile(*.txt)"]).assert_code(0);
    assert!(exists(&test, "a.txt"), "the command line is the user's, too");
    let check = test.run(["check"]).stdout;
    assert!(check.contains("denied: exec") && check.contains("with the permissions of "), "{check}");
    assert!(check.contains("home/.config/perstack/config.toml"), "{check}");
    let info = test.run(["info"]).assert_code(0).stdout;
    assert!(info.contains("ask writeTextFile, deny exec (your config.toml, all runs)"), "{info}");
}

#[test]
fn a_cassette_has_the_answers_of_the_person() {
    let test = at_terminal("{ ask = [\"writeTextFile\"] }")
        .answers([Answer::calls([write("c1", "a.txt"), write("c2", "b.txt")]), Answer::text("Done.")]);
    let Some(running) = on_terminal(&test, "run librarian q --record s.jsonl") else { return };
    running.wait_for_stdout("new file: a.txt");
    running.type_in("y\n");
    running.wait_for_stdout("new file: b.txt");
    running.type_in("no, not that\n");
    running.finish().assert_code(0);
    let cassette = std::fs::read_to_string(test.workspace().join("s.jsonl")).unwrap();
    assert_eq!(cassette.matches("\"record\":\"permission\"").count(), 2, "{cassette}");
    std::fs::remove_file(test.workspace().join("a.txt")).unwrap();
    let ran = test
        .run(["run", "librarian", "q", "--replay", "s.jsonl", "--trust", "--no-stdin", "--storage", "replayed"])
        .assert_code(0);
    assert_eq!(ran.stdout, "Done.\n");
    assert!(exists(&test, "a.txt") && !exists(&test, "b.txt"));
}

#[test]
fn what_is_no_pattern_has_its_place_and_the_nearest_name() {
    let toml = "[experts.librarian]\ninstruction = \"i\"\npermissions = { allow = [], deny = [\"exce(rm *)\"] }\n";
    let ran = Test::new().file("perstack.toml", toml).run(["check"]).assert_code(2);
    let line = "perstack.toml:3:37: experts.librarian.permissions.deny.0: \"exce\" takes no pattern of arguments: only exec \
                and the file tools do; did you mean \"exec\"?";
    assert!(ran.stdout.contains(line), "{}", ran.stdout);
    let ran = Test::new().file("perstack.toml", toml.replace("exce", "exec")).run([
        "run",
        "librarian",
        "q",
        "--deny",
        "readTextfile(a)",
    ]);
    let ran = ran.assert_code(2);
    assert!(ran.stderr.contains("did you mean \"readTextFile\"?"), "{}", ran.stderr);
}

#[test]
fn check_and_list_tools_show_what_each_tool_may_do() {
    let test =
        asking("{ ask = [\"exec\", \"wrietTextFile\"], allow = [\"exec(git status*)\"], deny = [\"deleteFile\"] }");
    let ran = test.run(["check"]);
    assert!(
        ran.stdout.contains(
            "! permissions: permissions.ask: no tool is named by \"wrietTextFile\"; did you mean \"writeTextFile\"?"
        ),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("asks: exec*; denied: deleteFile"), "{}", ran.stdout);
    let ran = test.run(["list-tools", "--read-only"]).assert_code(0);
    let row = |name: &str| ran.stdout.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
    assert!(row("readTextFile").contains("  allowed, read-only  "), "{}", ran.stdout);
    assert!(row("writeTextFile").contains("  denied  ") && row("exec").contains("  denied*  "), "{}", ran.stdout);
}
