//! A running job as a person sees it: on terminals of several widths, in a dumb one and in a pipe.

mod waits;

use serde_json::{Value, json};

use crate::interactive::at_new_terminal;
use crate::support::process::Running;
use crate::support::screen::last_screen;
use crate::support::settle::assert_snapshot;
use crate::support::{Answer, Gate, Provider, Test, call};

const ANSWER: &str = "# Owls\n\nThere are **two** kinds of owls in this *forest*, which `grep` finds at once; this \
    paragraph is long enough to be broken between words.\n\n- barn owl: hunts at night over open fields and sleeps in old barns \
    all day long\n- tawny owl\n\n| owl | nest |\n|---|---|\n| barn | barn |\n\n```sh\nls -l owls\n```";

/// Starts the binary on a terminal of this size; `None` where no program here makes one.
fn at(test: &Test, (columns, rows): (usize, usize), args: &str) -> Option<Running> {
    let binary = test.binary().display();
    at_new_terminal(test, &format!("stty cols {columns} rows {rows}; PERSTACK_TRUST=1 exec '{binary}' {args}"))
}

fn terminal() -> Test {
    Test::with(Provider::Anthropic).env("TERM", "xterm").silent_stdin()
}

fn shell(id: &str, script: &str) -> crate::support::answer::Call {
    call(
        id,
        "exec",
        json!({"command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true}),
    )
}

/// A job with commands, edits, a failure, text beside calls, and an answer.
fn busy() -> [Answer; 3] {
    let long = format!("echo {} && false", "very ".repeat(30));
    let edit: Value = json!({"path": "owls.md", "oldText": "barn\ntawny", "newText": "barn owl\ntawny\nsnowy"});
    [
        Answer::calls([
            shell("c1", "printf 'barn\\ntawny\\n' > owls.md && cat owls.md"),
            call("c2", "writeTextFile", json!({"path": "notes.md", "text": "one\ntwo\n"})),
        ])
        .and_text("I look at the owls first."),
        Answer::calls([
            call("c3", "editTextFile", edit),
            call("c4", "readTextFile", json!({"path": "bees.md"})),
            shell("c5", &long),
        ]),
        Answer::text(ANSWER),
    ]
}

#[test]
fn calls_and_their_answer_fit_the_terminal() {
    for columns in [40, 60, 100, 160] {
        let test = terminal().answers(busy());
        let Some(running) = at(&test, (columns, 60), "run librarian q") else { return };
        let screen = last_screen(&running.finish().assert_code(0).stdout, columns);
        let widest = screen.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns), "{screen}");
        assert_snapshot(test.root(), &format!("screens/calls-{columns}"), &screen);
    }
}

#[test]
fn a_retry_fits_the_terminal() {
    for columns in [60, 100, 160] {
        let busy = Answer::busy(10).message("The owls are asleep.");
        let test = terminal().answers([busy, Answer::text("Two owls.")]);
        let Some(running) = at(&test, (columns, 24), "run librarian q") else { return };
        let stdout = running.finish().assert_code(0).stdout;
        assert!(stdout.contains("retry 1"), "{stdout}");
        let screen = last_screen(&stdout, columns);
        assert!(screen.lines().all(|line| line.chars().count() <= columns), "{screen}");
        assert_snapshot(test.root(), &format!("screens/retry-{columns}"), &screen);
    }
}

#[test]
fn delegates_fit_the_terminal() {
    const TEAM: &str = "[experts.lead]\ninstruction = \"You lead.\"\ndelegates = [\"reader\"]\n\
                        [experts.reader]\ninstruction = \"You read.\"\ndescription = \"Reads.\"\n";
    let query = "Find the sentence about the barn owl in all the books of the library and report where it is.";
    for columns in [60, 100, 160] {
        let test = terminal().toml(TEAM).answers([
            Answer::calls([call("d1", "reader", json!({ "query": query }))]),
            Answer::calls([call("c1", "readTextFile", json!({"path": "owls.md"}))]),
            Answer::text("On page 2."),
            Answer::text("It is on page 2."),
        ]);
        let Some(running) = at(&test, (columns, 40), "run lead 'Where is it?'") else { return };
        let screen = last_screen(&running.finish().assert_code(0).stdout, columns);
        assert!(screen.lines().all(|line| line.chars().count() <= columns), "{screen}");
        assert_snapshot(test.root(), &format!("screens/delegate-{columns}"), &screen);
    }
}

#[test]
fn more_is_shown_when_it_is_asked_for_and_the_answer_once() {
    let test = terminal().answers(busy());
    let Some(running) = at(&test, (100, 60), "run librarian q --verbose") else { return };
    let screen = last_screen(&running.finish().assert_code(0).stdout, 100);
    assert_eq!(screen.matches("tawny owl").count(), 1, "{screen}");
    assert_snapshot(test.root(), "screens/verbose-100", &screen);
}

#[test]
fn a_dumb_terminal_gets_plain_lines_and_the_answer_as_it_comes() {
    let test = Test::with(Provider::Anthropic).env("TERM", "dumb").silent_stdin().answers(busy());
    let Some(running) = at(&test, (80, 24), "run librarian q") else { return };
    let stdout = running.finish().assert_code(0).stdout;
    assert!(!stdout.contains('\u{1b}'), "{stdout:?}");
    assert_snapshot(test.root(), "screens/dumb", &stdout.replace('\r', ""));
}

#[test]
fn a_pipe_gets_the_same_lines_and_the_answer_at_the_end() {
    let test = Test::with(Provider::Anthropic).answers(busy());
    let ran = test.run(["run", "librarian", "q"]).assert_code(0).snapshot("screens/pipe");
    assert_eq!(ran.stdout, format!("{ANSWER}\n"));
}

#[test]
fn an_answer_is_shown_while_it_comes() {
    let gate = Gate::new();
    let test = terminal().may_leave_answers();
    test.server().script([Answer::text(&"Owls hunt at night. ".repeat(200)).pause_after(3_000, &gate)]);
    // Without progress, which would be drawn between the pieces.
    let Some(running) = at(&test, (80, 24), "run librarian q --quiet") else { return };
    running.wait_for_stdout("Owls hunt at night. Owls hunt");
    gate.open();
    let screen = last_screen(&running.finish().assert_code(0).stdout, 80);
    assert_eq!(screen.split_whitespace().filter(|word| *word == "hunt").count(), 200, "{screen}");
}

/// The screen of a job whose first answer breaks off, on a terminal that is so high.
fn broken_off(rows: usize) -> Option<String> {
    let first = Answer::text(&"First try. ".repeat(200)).cut_after(10_000);
    let test = terminal().answers([first, Answer::text("Two owls.")]);
    let running = at(&test, (80, rows), "run librarian q")?;
    Some(last_screen(&running.finish().assert_code(0).stdout, 80))
}

#[test]
fn a_try_that_is_repeated_is_replaced_or_marked() {
    let Some(screen) = broken_off(60) else { return };
    assert!(screen.contains("retry 1") && screen.contains("\nTwo owls.\n") && !screen.contains("First"), "{screen}");
    let Some(screen) = broken_off(6) else { return };
    assert!(screen.contains("First") && screen.contains("\n· the text above is not part of the answer\n"), "{screen}");
}

#[test]
fn an_interrupt_keeps_what_was_shown() {
    let gate = Gate::new();
    let test = terminal().may_leave_answers();
    test.server().script([Answer::text(&"Owls hunt at night. ".repeat(200)).pause_after(3_000, &gate)]);
    let Some(running) = at(&test, (80, 24), "run librarian q") else { return };
    running.wait_for_stdout("hunt at");
    running.type_in("\u{3}");
    let ran = running.finish().assert_code(130);
    gate.open();
    let screen = last_screen(&ran.stdout, 80);
    let (answer, end) = screen.split_once("stopping: ").unwrap();
    assert!(answer.contains("\nOwls hunt at"), "{screen}");
    assert!(end.contains("\nstopped by SIGINT\nto continue:\nperstack resume "), "{screen}");
}

#[test]
fn a_wait_is_shown_from_the_start() {
    let gate = Gate::new();
    let test = terminal();
    test.server().script([Answer::text("Owls.").delay(&gate)]);
    let Some(running) = at(&test, (80, 24), "run librarian q") else { return };
    running.wait_for_stdout("getting ready");
    running.wait_for_stdout("asking the model");
    running.wait_for_stdout("asking the model 1 s");
    gate.open();
    let stdout = running.finish().assert_code(0).stdout;
    assert!(!last_screen(&stdout, 80).contains("asking"), "{stdout}");
}

#[test]
fn a_stream_into_a_pipe_is_for_eyes() {
    let look = Answer::calls([call("c1", "healthCheck", json!({}))]).and_text("I look first.");
    let broken = Answer::text(&"First try. ".repeat(200)).cut_after(2_000);
    let test = Test::with(Provider::Anthropic).answers([look, broken, Answer::text("Two owls.")]);
    let ran = test.run(["run", "librarian", "q", "--stream"]).assert_code(0);
    assert!(ran.stdout.starts_with("I look first.\nFirst try. First"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("\nTwo owls.\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("↻ retry 1 in "), "{}", ran.stderr);
    let ran = test.run(["run", "librarian", "q", "--stream", "--output", "json"]).assert_code(2);
    assert!(ran.stderr.contains("--stream is for text"), "{}", ran.stderr);
}
