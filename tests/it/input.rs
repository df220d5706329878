//! What is sent along with a query: standard input, of every kind that a shell or a service hands on, and files.

mod attached;

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Answer, Provider, Test};

const DIFF: &str = "diff --git a/owl b/owl\n+hoot\n";

const JOINED: &str = "Review this\n\ndiff --git a/owl b/owl\n+hoot\n\n\
                      [The 2 lines above are what was piped in on standard input.]";

fn reviewer() -> Test {
    Test::with(Provider::Anthropic)
}

/// The text of the last request's only message.
fn asked(test: &Test) -> String {
    let requests = test.server().requests();
    let content = &requests.last().expect("a request").body["messages"][0]["content"];
    let texts = content.as_array().expect("parts").iter().filter_map(|part| part["text"].as_str());
    texts.collect::<Vec<_>>().join("|")
}

/// A line of the shell, in which `$P` is the binary.
fn shell(test: &Test, line: &str) -> Command {
    let mut command = Command::new("sh");
    let line = format!("P='{}'\n{line}", test.binary().display());
    command.args(["-c", &line]);
    command
}

#[test]
fn what_is_piped_in_is_sent_behind_the_query() {
    for test in [reviewer().stdin(DIFF), reviewer().stdin_socket(DIFF)] {
        let test = test.answers([Answer::text("Fine.")]);
        let ran = test.run(["run", "librarian", "Review this"]).assert_code(0);
        assert_eq!(asked(&test), JOINED);
        assert!(ran.stderr.contains("sent along: standard input (2 lines, 28 bytes)\n"), "{}", ran.stderr);
    }
}

#[test]
fn a_further_message_takes_what_is_piped_in_too() {
    let test = reviewer().stdin(DIFF).answers([Answer::text("Fine."), Answer::text("Still fine.")]);
    test.run(["run", "librarian", "q", "--no-stdin"]).assert_code(0);
    assert_eq!(asked(&test), "q");
    test.run(["resume", "latest", "Review this"]).assert_code(0);
    assert!(test.server().requests()[1].contains("Review this\n\ndiff --git a/owl b/owl\n+hoot"));
}

#[test]
fn nothing_piped_in_leaves_the_query_alone() {
    let test = reviewer().answers([Answer::text("Fine."), Answer::text("Fine.")]);
    let ran = test.run(["run", "librarian", "Review this"]).assert_code(0);
    assert!(!ran.stderr.contains("standard input"), "{}", ran.stderr);
    assert_eq!(asked(&test), "Review this");
    // A closed descriptor.
    let ran = test.start(shell(&test, "exec \"$P\" run librarian 'Review this' <&-")).finish().assert_code(0);
    assert!(!ran.stderr.contains("standard input"), "{}", ran.stderr);
    assert_eq!(asked(&test), "Review this");
}

#[test]
fn an_open_silent_pipe_is_explained_and_not_waited_for_long() {
    let test = reviewer().silent_stdin().answers([Answer::text("Fine.")]);
    let running = test.spawn(["run", "librarian", "Review this"]);
    running.wait_for_stderr("waiting for standard input, at most 10 s; --no-stdin sends the query alone\n");
    running.finish().assert_code(0).assert_stderr(["went on without standard input: silent for 10 s"]);
    assert_eq!(asked(&test), "Review this");
}

#[test]
fn what_has_begun_is_read_to_its_end_and_a_dash_waits() {
    let test = reviewer().silent_stdin().answers([Answer::text("Fine."), Answer::text("Fine.")]);
    let mut running = test.spawn(["run", "librarian", "Review this"]);
    running.type_in("diff --git a/owl b/owl\n");
    running.wait_for_stderr("waiting for standard input to end; --no-stdin sends the query alone\n");
    running.type_in("+hoot\n");
    running.end_stdin();
    running.finish().assert_code(0);
    assert_eq!(asked(&test), JOINED);
    let mut running = test.spawn(["run", "librarian", "Review this", "-"]);
    running.wait_for_stderr("waiting for standard input; --no-stdin");
    running.type_in(DIFF);
    running.end_stdin();
    running.finish().assert_code(0);
    assert_eq!(asked(&test), JOINED);
}

#[test]
fn a_loop_over_lines_keeps_its_list() {
    let body = "while read -r owl; do \"$P\" run librarian \"Look at $owl\"; done";
    for line in [
        format!("printf 'barn\\ntawny\\nscops\\n' | {body}"),
        format!("{body} < owls.txt"),
        format!("printf 'barn\\ntawny\\nscops\\n' | {}", body.replace("$owl\"", "$owl\" --no-stdin")),
    ] {
        let test = reviewer().file("owls.txt", "barn\ntawny\nscops\n");
        let test = test.answers([Answer::text("Fine."), Answer::text("Fine."), Answer::text("Fine.")]);
        let ran = test.start(shell(&test, &line)).finish().assert_code(0);
        let requests = test.server().requests();
        let asked: Vec<_> = requests.iter().map(|it| it.body["messages"][0]["content"][0]["text"].clone()).collect();
        assert_eq!(asked, ["Look at barn", "Look at tawny", "Look at scops"], "{line}\n{}", ran.stderr);
    }
}

#[test]
fn in_a_loop_a_dash_takes_the_rest() {
    let line = "printf 'barn\\ntawny\\n' | while read -r owl; do \"$P\" run librarian \"Look at $owl\" -; done";
    let test = reviewer().answers([Answer::text("Fine.")]);
    test.start(shell(&test, line)).finish().assert_code(0);
    assert!(asked(&test).starts_with("Look at barn\n\ntawny\n"), "{}", asked(&test));
}

#[test]
fn a_program_between_shell_and_command_does_not_hide_the_pipe() {
    let test = reviewer().answers([Answer::text("Fine.")]);
    let line = "printf 'diff --git a/owl b/owl\\n+hoot\\n' | timeout 60 \"$P\" run librarian 'Review this'";
    test.start(shell(&test, line)).finish().assert_code(0);
    assert_eq!(asked(&test), JOINED);
}

#[test]
fn bytes_that_are_no_text_are_mended_or_refused() {
    let test = reviewer().answers([Answer::text("Fine.")]);
    let ran = test.start(shell(&test, "printf 'Gr\\374\\337e' | \"$P\" run librarian 'Review this'")).finish();
    ran.assert_code(0).assert_stderr(["standard input is not all UTF-8 text: 2 places replaced by \u{fffd}\n"]);
    assert!(asked(&test).contains("Gr\u{fffd}\u{fffd}e"), "{}", asked(&test));
    let ran = test.start(shell(&test, "printf 'PK\\000' | \"$P\" run librarian 'Review this'")).finish();
    ran.assert_code(2).assert_stderr(["holds bytes that are no text", "--file"]);
}

#[test]
fn an_answer_is_sent_as_it_is() {
    let toml = "[experts.librarian]\ninstruction = \"You find things.\"\n[experts.librarian.skills.person]\n\
                type = \"interactiveSkill\"\n[experts.librarian.skills.person.tools.ask]\n\
                description = \"Asks.\"\ninputJsonSchema = '{\"type\":\"object\"}'\n";
    let question = Answer::calls([crate::support::call("c1", "ask", serde_json::json!({}))]);
    let test = Test::new().toml(toml).provider(Provider::Anthropic).stdin(DIFF);
    let test = test.answers([question, Answer::text("So be it.")]);
    test.run(["run", "librarian", "q", "--no-stdin"]).assert_code(4);
    test.run(["resume", "latest", "Yes.", "-i"]).assert_code(0);
    assert_eq!(test.server().requests()[1].results(), [("c1".to_owned(), "Yes.".to_owned())]);
}

#[test]
fn files_are_sent_along() {
    let (image, pdf) = (b"\x89PNG\r\n\x1a\nowl".as_slice(), b"%PDF-1.7 owls".as_slice());
    let test = reviewer().file("notes/owl.md", "barn\n").file("owl.png", image).file("owls.pdf", pdf);
    let test = test.stdin(DIFF).answers([Answer::text("Fine.")]);
    let command =
        ["run", "librarian", "Review this", "--file", "owl.png", "--file", "notes/owl.md", "--file", "owls.pdf"];
    let ran = test.run(command).assert_code(0);
    ran.assert_stderr([
        "sent along: owl.png (image/png, 11 bytes)\n",
        "sent along: notes/owl.md (text, 1 line, 4 bytes)\n",
        "sent along: owls.pdf (application/pdf, 13 bytes)\n",
    ]);
    assert_eq!(asked(&test), format!("{JOINED}\n\nbarn\n\n[The line above is the file notes/owl.md.]"));
    let request = test.server().requests().remove(0);
    for bytes in [image, pdf] {
        assert!(request.contains(&STANDARD.encode(bytes)));
    }
}

#[test]
fn files_that_cannot_be_sent_are_refused_before_anything_is_asked() {
    let test = reviewer().file("owls.zip", b"PK\x03\x04\0");
    for (path, reason) in [("none.txt", "cannot be opened"), ("owls.zip", "is neither"), (".", "is a folder")] {
        let ran = test.run(["run", "librarian", "q", "--file", path]).assert_code(2);
        let expected = format!("--file {path}: {reason}");
        ran.assert_stderr([expected.as_str()]);
    }
}
