//! Servers that ask a person in the middle of a call, with a person at the terminal.

use serde_json::json;

use super::{script, tool_results};
use crate::interactive::on_terminal;
use crate::support::tool_server::stdio_skill;
use crate::support::{Provider, Test};

/// An expert at a terminal, whose server is asked for this tool, which asks the person.
fn asking<const N: usize>(server: [&str; N], tool: &str) -> Test {
    let configuration = format!(
        "[provider]\nproviderName = \"anthropic\"\n[experts.librarian]\ninstruction = \"You ask.\"\n{}",
        stdio_skill("owls", server)
    );
    let test = Test::new().file("perstack.toml", &configuration).provider(Provider::Anthropic);
    test.env("TERM", "xterm").silent_stdin().answers(script([(tool, json!({}))]))
}

#[test]
fn a_person_is_asked_on_the_terminal_in_both_kinds_of_revision() {
    for (server, tool) in [(&["rough"] as &[&str], "elicit"), (&["polite", "newest"], "ask")] {
        let test = match server {
            [one] => asking([one], tool),
            [one, two] => asking([one, two], tool),
            other => panic!("{other:?}"),
        };
        let Some(running) = on_terminal(&test, "run librarian q") else { return };
        running.wait_for_stdout("? owls asks: Who?\r\n");
        running.wait_for_stdout("name (a text; may be left out)\r\n> ");
        running.type_in("tawny owl\n");
        running.wait_for_stdout("send this to owls? (y/n)\r\n> ");
        running.type_in("y\n");
        running.finish().assert_code(0);
        let (words, is_error) = tool_results(&test.server().requests()[1]).remove(0);
        assert!(!is_error && words.starts_with("the client said "), "{words}");
        assert!(words.contains("\"action\":\"accept\"") && words.contains("\"name\":\"tawny owl\""), "{words}");
    }
}

#[test]
fn a_person_may_decline() {
    let test = asking(["rough"], "elicit");
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout("may be left out)\r\n> ");
    running.type_in("!\n");
    running.finish().assert_code(0);
    assert_eq!(tool_results(&test.server().requests()[1])[0].0, r#"the client said {"action":"decline"}"#);
}

#[test]
fn an_interrupt_ends_the_question_with_the_job() {
    let test = asking(["rough"], "elicit").may_leave_answers();
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout("may be left out)\r\n> ");
    running.type_in("half a na\u{3}");
    let ran = running.finish().assert_code(130);
    assert!(ran.stdout.contains("not asked any more") && ran.stdout.contains("perstack resume"), "{}", ran.stdout);
}

#[test]
fn who_does_not_want_to_be_asked_declines() {
    let test = asking(["rough"], "elicit");
    let Some(running) = on_terminal(&test, "run librarian q --no-interactive") else { return };
    let ran = running.finish().assert_code(0);
    assert!(!ran.stdout.contains("asks:"), "{}", ran.stdout);
    assert_eq!(tool_results(&test.server().requests()[1])[0].0, r#"the client said {"action":"decline"}"#);
}
