//! `toolSearch`: the tools of servers are found by the model, not sent to it, and their servers start when they are called.

use std::fs;

use serde_json::{Value, json};

use crate::mcp::{script, tool_results};
use crate::support::process::Ran;
use crate::support::request::Request;
use crate::support::tool_server::{command_skill, librarian, lines, program};
use crate::support::{Answer, Test, call};

/// A test whose expert has two servers with tools of the same names, both in the lock, and these settings.
fn locked(settings: &str) -> Test {
    let test = searching(settings);
    test.run(["install"]).assert_code(0);
    for skill in ["owls", "bees"] {
        assert_eq!(lines(&test, skill), ["listed"]);
    }
    test
}

/// The same without a lock.
fn searching(settings: &str) -> Test {
    let server = |name: &str| {
        let arguments = format!("exec '{}' rough diary={name}", program());
        command_skill(name, "sh", &["-c", &arguments])
    };
    let expert = "[experts.librarian]";
    librarian("").toml(&format!(
        "{settings}\n{expert}\ninstruction = \"You find things in books.\"\n{}{}",
        server("owls"),
        server("bees")
    ))
}

fn search(query: &str) -> (&'static str, Value) {
    ("searchTools", json!({"query": query}))
}

fn echo() -> (&'static str, Value) {
    ("echo", json!({"text": "owl"}))
}

/// Runs the expert, whose model makes these calls and is then done; every request of it.
#[track_caller]
fn calling<const N: usize>(test: &Test, calls: [(&str, Value); N]) -> Vec<Request> {
    let before = test.server().requests().len();
    test.server().script(script(calls));
    test.run(["run", "librarian", "Look."]).assert_code(0);
    test.server().requests().split_off(before)
}

/// The tools of a request without the loop's own.
fn tools(request: &Request) -> Vec<&str> {
    let own = ["attemptCompletion", "todo", "clearTodo"];
    request.tools().into_iter().filter(|tool| !own.contains(tool)).collect()
}

/// The life of servers, and the requests to the model.
fn life(ran: &Ran) -> Vec<String> {
    let kinds = ran.events().into_iter().filter_map(|event| Some(event["type"].as_str()?.to_owned()));
    kinds.filter(|kind| kind.starts_with("skill") || kind == "startGeneration").collect()
}

const ON: &str = "toolSearch = \"on\"";

#[test]
fn a_tool_is_found_and_its_server_starts_when_it_is_called() {
    let test = locked(ON).answers(script([search("says what it is told, of the owls"), echo()]));
    let ran = test.run(["run", "librarian", "Look.", "--output", "jsonl"]).assert_code(0);
    let requests = test.server().requests();
    assert_eq!(tools(&requests[0]), ["searchTools"]);
    let found = tools(&requests[1]);
    assert_eq!(found[..2], ["searchTools", "echo"], "{found:?}");
    assert_eq!(tools(&requests[2]), found, "what was found stays, in its order");
    let results = tool_results(&requests[2]);
    assert!(results[0].0.contains("- echo (owls): Says what it is told"), "{results:?}");
    assert_eq!(results[1], ("echo: owl".to_owned(), false));
    let expected = [
        "startGeneration",
        "startGeneration",
        "skillStarting",
        "skillConnected",
        "startGeneration",
        "skillDisconnected",
    ];
    assert_eq!(life(&ran), expected);
    assert_eq!(lines(&test, "owls"), ["listed", "listed", "called echo"]);
    assert_eq!(lines(&test, "bees"), ["listed"], "a server that is not called is not started");
    test.run(["job", "verify", "latest"]).assert_code(0);
}

#[test]
fn the_beginning_of_the_list_is_what_a_cache_keeps() {
    let test = locked(ON);
    let requests = calling(&test, [search("bees_echo"), search("elicit")]);
    let listed = |request: &Request| request.body["tools"].as_array().unwrap().clone();
    let [first, second, third] = requests.iter().map(listed).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(second[..first.len()], first[..], "mark of the cache and all");
    assert_eq!(third[..second.len()], second[..]);
    let marks = third.iter().filter(|tool| tool.get("cache_control").is_some());
    assert_eq!(marks.count(), 1);
    assert!(third.len() > second.len() && second.len() > first.len());
}

#[test]
fn two_searches_of_one_turn_are_found_in_the_order_of_the_calls() {
    let test = locked(ON);
    let search = |id: &str, query: &str| call(id, "searchTools", json!({"query": query, "maxResults": 1}));
    let both = Answer::calls([search("c1", "bees_echo"), search("c2", "elicit"), search("c3", "bees_echo")]);
    test.server().script([both, Answer::text("Done.")]);
    test.run(["run", "librarian", "Look."]).assert_code(0);
    let requests = test.server().requests();
    assert_eq!(tools(&requests[1]), ["searchTools", "bees_echo", "elicit"]);
}

#[test]
fn a_resumed_run_has_what_was_found() {
    let test = locked(ON).answers([Answer::calls([call("c1", "searchTools", json!({"query": "elicit"}))])]);
    test.run(["run", "librarian", "Look.", "--max-steps", "1"]).assert_code(3);
    let first = test.server().requests().len();
    test.server().script(script([echo()]));
    test.run(["resume", "latest", "--max-steps", "9"]).assert_code(0);
    let requests = test.server().requests().split_off(first);
    assert!(tools(&requests[0]).contains(&"elicit"), "{:?}", tools(&requests[0]));
    test.run(["job", "verify", "latest"]).assert_code(0);
}

#[test]
fn a_recording_is_replayed_with_its_searches() {
    let test = locked(ON).answers(script([search("echo"), echo()]));
    test.run(["run", "librarian", "Look.", "--record", "c.cassette"]).assert_code(0);
    let diary = lines(&test, "owls");
    fs::remove_file(test.workspace().join("perstack.lock")).unwrap();
    for storage in ["one", "two"] {
        let ran =
            test.run(["run", "librarian", "Look.", "--replay", "c.cassette", "--replay-tools", "--storage", storage]);
        assert_eq!(ran.assert_code(0).stdout, "Done.\n");
    }
    assert_eq!(test.run(["replay", "c.cassette"]).assert_code(0).stdout, "Done.\n");
    assert_eq!(lines(&test, "owls"), diary, "no server was started");
}

#[test]
fn a_tool_that_is_known_by_name_is_called_and_then_there() {
    let test = locked(ON);
    let requests = calling(&test, [("bees_echo", json!({"text": "bee"})), ("no_such_tool", json!({}))]);
    assert_eq!(tools(&requests[1]), ["searchTools", "bees_echo"]);
    let results = tool_results(&requests[2]);
    assert_eq!(results[0], ("echo: bee".to_owned(), false));
    assert!(results[1].1 && results[1].0.contains("Search for the one that is meant with searchTools"), "{results:?}");
}

#[test]
fn a_search_that_finds_nothing_names_the_servers() {
    let test = locked(ON);
    let calls =
        [search("weather"), search("  "), ("searchTools", json!({"query": "echo", "maxResults": 0})), search("owls")];
    let requests = calling(&test, calls);
    let results = tool_results(&requests[4]);
    assert!(results[0].0.starts_with("No tool fits \"weather\".") && !results[0].1, "{results:?}");
    assert!(results[1].1 && results[1].0.contains("The servers: owls ("), "{results:?}");
    assert!(results[2].1 && results[2].0.contains("from 1 to 20"), "{results:?}");
    assert_eq!(tools(&requests[3]), ["searchTools"]);
    assert_eq!(tools(&requests[4]).len(), 6);
}

#[test]
fn rules_hold_for_what_is_found_and_none_asks_about_a_search() {
    let test = locked(&format!("{ON}\npermissions = {{ allow = [\"owls.*\"], deny = [\"echo\"] }}"));
    let requests = calling(&test, [search("echo"), echo()]);
    let found = tools(&requests[1]);
    assert!(!found.contains(&"echo") && !found.contains(&"bees_echo"), "what is denied is not found: {found:?}");
    let results = tool_results(&requests[2]);
    assert!(!results[0].1, "a search is not asked about: {results:?}");
    assert!(results[1].1 && results[1].0.contains("denied"), "{results:?}");
    assert_eq!(lines(&test, "owls"), ["listed"]);

    let test = locked(&format!("{ON}\npermissions = {{ deny = [\"searchTools\"] }}"));
    let results = tool_results(&calling(&test, [search("echo")])[1]);
    assert!(results[0].1 && results[0].0.contains("denied"), "{results:?}");
}

#[test]
fn without_a_lock_all_tools_are_sent_and_the_reason_is_named() {
    let test = searching(ON).answers([Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "Look."]).assert_code(0);
    assert!(ran.stderr.contains("no fresh perstack.lock to search"), "{}", ran.stderr);
    assert!(test.server().requests()[0].tools().contains(&"echo"));
    assert!(test.run(["check"]).stdout.contains("no fresh perstack.lock to search"));
    // A lock of another configuration is none.
    test.run(["install"]).assert_code(0);
    let toml = fs::read_to_string(test.workspace().join("perstack.toml")).unwrap();
    let test = test.toml(&toml.replace("You find", "You seek"));
    test.server().script([Answer::text("Done.")]);
    let ran = test.run(["run", "librarian", "Look.", "--trust"]).assert_code(0);
    assert!(ran.stderr.contains("stale") && ran.stderr.contains("to search"), "{}", ran.stderr);
    assert!(test.server().requests()[1].tools().contains(&"echo"));
}

#[test]
fn off_and_few_definitions_are_as_ever() {
    for settings in ["", "toolSearch = \"off\"", "toolSearch = \"auto\""] {
        let test = locked(settings).answers([Answer::text("Done.")]);
        let ran = test.run(["run", "librarian", "Look."]).assert_code(0);
        assert!(!ran.stderr.contains("toolSearch"), "{}", ran.stderr);
        let requests = test.server().requests();
        assert!(requests[0].tools().contains(&"bees_echo") && !requests[0].tools().contains(&"searchTools"));
    }
}

#[test]
fn a_search_needs_no_new_lock_and_a_wrong_word_is_named() {
    let test = locked("");
    let toml = fs::read_to_string(test.workspace().join("perstack.toml")).unwrap();
    let expert = "[experts.librarian]\n";
    let test = test.toml(&toml.replace(expert, &format!("{expert}{ON}\n")));
    test.run(["install", "--check"]).assert_code(0);
    test.server().script([Answer::text("Done.")]);
    test.run(["run", "librarian", "Look.", "--locked"]).assert_code(0);
    assert_eq!(tools(&test.server().requests()[0]), ["searchTools"]);
    let test = test.toml(&toml.replace(expert, &format!("{expert}toolSearch = \"atuo\"\n")));
    let ran = test.run(["check"]).assert_code(2);
    assert!(ran.stdout.contains("did you mean \"auto\""), "{}", ran.stdout);
}

#[test]
fn check_list_tools_and_a_dry_run_show_what_is_searched() {
    let test = locked(ON);
    let line = "toolSearch is \"on\"";
    let check = test.run(["check"]).stdout;
    assert!(check.contains(line) && check.contains("owls (") && check.contains("searchTools"), "{check}");
    let table = test.run(["list-tools"]).assert_code(0).stdout;
    let row = |name: &str| table.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
    assert!(row(" bees_echo ").contains("by search") || row(" echo ").contains("by search"), "{table}");
    assert!(row(" todo ").contains("always"), "{table}");
    let rows = test.run(["list-tools", "--json"]).assert_code(0).stdout;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let searched =
        |name: &str| rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()["isSearched"].clone();
    assert_eq!((searched("echo"), searched("todo")), (json!(true), Value::Null));
    let dry = test.run(["run", "librarian", "Look.", "--dry-run"]).assert_code(0).stdout;
    assert!(dry.contains("4 tools\n"), "{dry}");
    assert!(dry.contains("tools that are not sent until the model has found them"), "{dry}");
    let dry = test.run(["run", "librarian", "Look.", "--dry-run", "--output", "json"]).assert_code(0).stdout;
    let dry: Value = serde_json::from_str(&dry).unwrap();
    assert!(dry["toolSearch"]["tools"].as_u64().unwrap() > 10 && dry["tokens"].as_u64().unwrap() < 3000, "{dry}");
}
