//! Servers whose tools are locked: started when they are called, and held to what was locked.

use std::fs;

use serde_json::{Value, json};

use super::{processes, script, tool_results};
use crate::support::signpost::Signpost;
use crate::support::tool_server::{command_skill, librarian, lines, program};
use crate::support::{Answer, Gate, Test, call};
use crate::trust::{attack, neighbour};

/// A flag that leaves it to the lock whether it serves.
const FRESH: &str = "--max-steps=9";

/// A test whose expert's server is started by a script, with the lock of a server that works.
fn locked() -> Test {
    let test = librarian(&command_skill("owls", "sh", &["server.sh"]));
    let test = serving(test, "diary=before");
    test.run(["install"]).assert_code(0);
    assert_eq!(lines(&test, "before"), ["listed"]);
    test
}

/// The same, with a server that is rough in these ways from now on.
fn serving(test: Test, faults: &str) -> Test {
    let script = format!("exec '{}' rough {faults}\n", program());
    fs::write(test.workspace().join("server.sh"), script).unwrap();
    test
}

/// The life of servers, and the requests to the model.
fn life(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().filter_map(|event| event["type"].as_str());
    kinds.filter(|kind| kind.starts_with("skill") || *kind == "startGeneration").collect()
}

fn warnings(events: &[Value]) -> Vec<&str> {
    let warnings = events.iter().filter(|event| event["type"] == "runtimeWarning");
    warnings.map(|event| event["message"].as_str().unwrap()).collect()
}

fn echo() -> [(&'static str, Value); 1] {
    [("echo", json!({"text": "owl"}))]
}

fn script_of_echo() -> Vec<Answer> {
    script(echo())
}

#[test]
fn a_server_that_is_never_called_is_never_started() {
    for flag in [FRESH, "--locked", "--frozen"] {
        // It would keep the run for a minute.
        let test = serving(locked(), "start=hang processes=ids").answers([Answer::text("Done.")]);
        let events = test.run(["run", "librarian", "Look.", "--output", "jsonl", flag]).assert_code(0).events();
        assert_eq!(life(&events), ["startGeneration"]);
        assert_eq!(warnings(&events), Vec::<&str>::new());
        assert!(test.server().requests()[0].tools().contains(&"echo"));
        assert!(!test.workspace().join("ids").exists(), "a server was started");
    }
}

#[test]
fn a_server_is_started_by_the_first_call_and_serves_the_next() {
    neighbour("a server that is as it was locked serves every call");
    let [echo] = echo();
    let test = serving(locked(), "diary=diary").answers(script([echo.clone(), echo]));
    let events = test.run(["run", "librarian", "Look.", "--locked", "--output", "jsonl"]).assert_code(0).events();
    assert_eq!(
        life(&events),
        [
            "startGeneration",
            "skillStarting",
            "skillConnected",
            "startGeneration",
            "startGeneration",
            "skillDisconnected"
        ]
    );
    assert_eq!(warnings(&events), Vec::<&str>::new());
    assert_eq!(lines(&test, "diary"), ["listed", "called echo", "called echo"]);
    let said = ("echo: owl".to_owned(), false);
    assert_eq!(tool_results(&test.server().requests()[2]), [said.clone(), said]);
}

#[test]
fn a_start_that_fails_is_a_result_that_quotes_the_server() {
    let test = serving(locked(), "start=exit processes=ids").answers(script(echo()));
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let [(words, true)] = &tool_results(&test.server().requests()[1])[..] else { panic!("one result, an error") };
    assert!(words.contains("skill owls did not start") && words.contains("no database at owls.db"), "{words}");
    super::assert_gone(processes(&test, "ids"));
}

#[test]
fn drift_is_a_warning_and_under_locked_a_refusal() {
    attack("a server redefines its tools after they were locked");
    let differs = |text: &str| {
        text.contains("owls: its server differs from perstack.lock")
            && text.contains("tool echo removed")
            && text.contains("tool hoot added")
    };
    // The first tool is renamed; the call is of one that both have.
    let call = || script([("nothing", json!({}))]);
    let drifted = || serving(locked(), "first=hoot diary=diary processes=ids").answers(call());
    for flag in [FRESH, "--frozen"] {
        let test = drifted();
        let events = test.run(["run", "librarian", "Look.", "--output", "jsonl", flag]).assert_code(0).events();
        let [warning] = warnings(&events)[..] else { panic!("one warning: {events:#?}") };
        assert!(differs(warning), "{warning}");
        assert_eq!(lines(&test, "diary"), ["listed", "called nothing"]);
    }
    let test = drifted();
    test.run(["run", "librarian", "Look.", "--locked"]).assert_code(0);
    let [(words, true)] = &tool_results(&test.server().requests()[1])[..] else { panic!("one result, an error") };
    assert!(differs(words), "{words}");
    assert_eq!(lines(&test, "diary"), ["listed"], "nothing was called");
    super::assert_gone(processes(&test, "ids"));
}

#[test]
fn tools_that_come_later_are_held_against_the_lock() {
    let test = librarian(&command_skill("owls", "sh", &["server.sh"]));
    let test = serving(test, "list=growing relisted=relisted");
    test.run(["install"]).assert_code(0);
    let relisted = Gate::new();
    let test = test.answers([
        Answer::calls([call("c1", "grow", json!({}))]),
        Answer::calls([call("c2", "echo", json!({"text": "a"}))]).delay(&relisted),
        // By the answer to this call, the list that came before it over the same pipe is known.
        Answer::calls([call("c3", "echo", json!({"text": "b"}))]),
        Answer::text("Done."),
    ]);
    let signpost = Signpost::at(&test.workspace(), "relisted");
    let running = test.spawn(["run", "librarian", "Look.", "--locked", "--output", "jsonl"]);
    running.wait_for_request(2);
    signpost.wait();
    relisted.open();
    let events = running.finish().assert_code(0).events();
    let [warning] = warnings(&events)[..] else { panic!("one warning: {events:#?}") };
    assert!(
        warning.contains("owls: its server differs from perstack.lock (skill owls: tool grown added)"),
        "{warning}"
    );
    let requests = test.server().requests();
    assert!(!requests[3].tools().contains(&"grown"), "the expert goes on with what was locked");
    assert_eq!(
        tool_results(&requests[3]).pop().unwrap(),
        ("echo: b".to_owned(), false),
        "what did not change is called"
    );
}

#[test]
fn the_locked_way_is_gone_without_a_guess() {
    for (options, greeted) in [("newest", "2026-07-28"), ("sessions", "2025-11-25")] {
        let test = librarian(&command_skill("owls", "sh", &["server.sh"]));
        let script = format!("echo started >> diary; exec '{}' polite {options}\n", program());
        fs::write(test.workspace().join("server.sh"), script).unwrap();
        test.run(["install"]).assert_code(0);
        let lock = fs::read_to_string(test.workspace().join("perstack.lock")).unwrap();
        assert!(lock.contains(&format!("protocol = \"{greeted}\"")), "{lock}");
        fs::remove_file(test.workspace().join("diary")).unwrap();
        let test = test.answers(script_of_echo());
        test.run(["run", "librarian", "Look.", "--locked"]).assert_code(0);
        assert_eq!(tool_results(&test.server().requests()[1]), [("echo: owl".to_owned(), false)], "{options}");
        assert_eq!(lines(&test, "diary"), ["started"], "{options}");
    }
}

#[test]
fn a_server_that_left_the_locked_revision_is_drift() {
    let test = librarian(&command_skill("owls", "sh", &["server.sh"]));
    let polite = |options: &str| format!("exec '{}' polite {options}\n", program());
    fs::write(test.workspace().join("server.sh"), polite("newest")).unwrap();
    test.run(["install"]).assert_code(0);
    fs::write(test.workspace().join("server.sh"), polite("sessions")).unwrap();
    let differs = "owls: its server differs from perstack.lock (protocol 2026-07-28 is now 2025-11-25)";
    let test = test.answers(script_of_echo());
    test.run(["run", "librarian", "Look."])
        .assert_code(0)
        .snapshot("mcp-locked/a-server-that-left-the-locked-revision-is-drift");
    assert_eq!(tool_results(&test.server().requests()[1]), [("echo: owl".to_owned(), false)]);
    test.server().script(script_of_echo());
    test.run(["run", "librarian", "Look.", "--locked"]).assert_code(0);
    let [(words, true)] = &tool_results(&test.server().requests()[3])[..] else { panic!("one result, an error") };
    assert!(words.contains(differs), "{words}");
}

#[test]
fn list_tools_starts_nothing_while_the_lock_is_fresh_unless_it_is_to_ask() {
    let test = locked();
    let table = test.run(["list-tools"]).assert_code(0).stdout;
    let live = test.run(["list-tools", "--live"]).assert_code(0).stdout;
    assert_eq!(table, live);
    assert!(table.contains("echo"), "{table}");

    let test = serving(test, "first=hoot diary=diary");
    assert_eq!(test.run(["list-tools"]).assert_code(0).stdout, table);
    assert_eq!(lines(&test, "diary"), Vec::<String>::new());
    let live = test.run(["list-tools", "--live"]).assert_code(0).stdout;
    assert!(live.contains("hoot") && !live.contains("echo"), "{live}");
    assert_eq!(lines(&test, "diary"), ["listed"]);

    let skill = command_skill("owls", "sh", &["server.sh"]);
    let test = test.toml(&format!("[experts.librarian]\ninstruction = \"You look for owls.\"\n{skill}"));
    let stale = test.run(["list-tools"]).assert_code(0);
    assert!(stale.stdout.contains("hoot"), "{}", stale.stdout);
    stale.snapshot("mcp-locked/list-tools-starts-nothing-while-the-lock-is-fresh-unless-it-is-to-ask");
}

#[test]
fn the_lock_holds_the_revision_that_was_agreed_on() {
    let lock = std::fs::read_to_string(locked().workspace().join("perstack.lock")).unwrap();
    let revisions: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("protocol = ")).collect();
    assert_eq!(revisions.len(), 1, "{lock}");
    assert!(revisions[0].starts_with("\"20"), "{revisions:?}");
}
