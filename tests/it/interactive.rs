//! Questions to a person: asked on a terminal, printed where there is none, and answered whenever the person likes.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::answer::Call;
use crate::support::process::{Ran, Running};
use crate::support::screen::last_screen;
use crate::support::storage::{checkpoint_id, read_json};
use crate::support::{Answer, Gate, Provider, Test, call};

const TOML: &str = r#"
[experts.librarian]
instruction = "You ask."
[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"
[experts.librarian.skills.ask]
type = "interactiveSkill"
[experts.librarian.skills.ask.tools.askUser]
description = "Asks the reader."
inputJsonSchema = '''{"type": "object", "properties": {
  "question": {"type": "string"},
  "options": {"type": "array", "items": {"type": "string"}},
  "urgency": {"type": "string", "enum": ["low", "high"]}
}}'''
[provider]
providerName = "anthropic"
"#;

/// An expert that can ask a person.
pub fn asking() -> Test {
    Test::new().file("perstack.toml", TOML).provider(Provider::Anthropic)
}

fn which(id: &str) -> Call {
    call(id, "askUser", json!({"question": "Which owl?", "options": ["barn owl", "tawny owl"]}))
}

fn how_many(id: &str) -> Call {
    call(id, "askUser", json!({"question": "How many?"}))
}

/// The results of the model's latest calls.
fn results(test: &Test) -> Vec<(String, String)> {
    test.server().requests().pop().unwrap().results()
}

fn pair(id: &str, text: &str) -> (String, String) {
    (id.to_owned(), text.to_owned())
}

/// The tools of the calls that the newest checkpoint waits for.
fn pending(test: &Test) -> Vec<Value> {
    let head = read_json(&test.storage().last_checkpoint());
    let calls = head["pendingToolCalls"].as_array().cloned().unwrap_or_default();
    calls.into_iter().map(|call| call["id"].clone()).collect()
}

#[test]
fn a_question_without_a_terminal_stops_the_job_and_shows_how_to_answer() {
    let test = asking().answers([Answer::calls([which("c1"), how_many("c2")])]);
    let ran = test.run(["run", "librarian", "q"]).assert_code(4);
    let id = checkpoint_id(&test.storage().last_checkpoint()).to_owned();
    let told = ran.stderr.split_once("waiting for").map(|(_, told)| format!("waiting for{told}"));
    assert_eq!(
        told.unwrap(),
        format!(
            "waiting for an answer: askUser: Asks the reader.
  question: Which owl?
  options:
    - barn owl
    - tawny owl
  urgency: (one of: low, high)
waiting for an answer: askUser: Asks the reader.
  question: How many?
  urgency: (one of: low, high)
answers are given one at a time, in the order of the questions
to continue:
perstack resume {id} ANSWER -i
"
        )
    );
    assert_eq!(ran.stdout, "");
}

#[test]
fn the_answer_comes_from_another_process_later() {
    let test = asking().answers([Answer::calls([which("c1")])]);
    test.run(["run", "librarian", "q"]).assert_code(4);
    let id = checkpoint_id(&test.storage().last_checkpoint()).to_owned();
    test.server().script([Answer::text("So be it.")]);
    let ran = test.run(["resume", &id, "The barn owl.", "-i"]).assert_code(0);
    assert_eq!(ran.stdout, "So be it.\n");
    assert_eq!(results(&test), [pair("c1", "The barn owl.")]);
}

#[test]
fn the_originals_options_answer_too_and_take_the_text_as_it_is() {
    let test = asking().answers([Answer::calls([which("c1")])]);
    test.run(["run", "librarian", "q"]).assert_code(4);
    test.server().script([Answer::text("So be it.")]);
    test.run(["run", "--continue", "-i", "librarian", "2"]).assert_code(0);
    assert_eq!(results(&test), [pair("c1", "2")]);
}

#[test]
fn an_answer_to_a_checkpoint_counts_once() {
    let test = asking().answers([Answer::calls([which("c1")])]);
    let asked = test.run(["run", "librarian", "q", "--job-id", "nest", "--output", "json"]).assert_code(4).object();
    let checkpoint = asked["checkpointId"].as_str().unwrap();
    test.server().script([Answer::calls([how_many("c2")])]);
    let answer = |text: &str| test.run(["resume", "nest", text, "--answer-to", checkpoint]);
    answer("Barn.").assert_code(4);
    assert_eq!(results(&test), [pair("c1", "Barn.")]);
    // The next question is another one: it is shown, and not answered by what was said to the first.
    let again = answer("Tawny.").assert_code(4);
    assert!(again.stderr.contains("How many?"), "{}", again.stderr);
    test.server().script([Answer::text("So be it.")]);
    test.run(["resume", "nest", "Two.", "-i"]).assert_code(0);
    assert_eq!(answer("Snowy.").assert_code(0).stdout, "So be it.\n");
    assert_eq!(test.server().requests().len(), 3, "the model is not asked again");
    test.run(["resume", "owl", "Two.", "--answer-to", checkpoint]).assert_code(2);
}

#[test]
fn an_answer_that_was_interrupted_is_given_again_without_being_doubled() {
    let gate = Gate::new();
    let test = asking().answers([Answer::calls([which("c1")])]);
    let asked = test.run(["run", "librarian", "q", "--job-id", "nest", "--output", "json"]).assert_code(4).object();
    let checkpoint = asked["checkpointId"].as_str().unwrap();
    test.server().script([Answer::text("Lost.").delay(&gate)]);
    let words = ["resume", "nest", "Barn.", "--answer-to", checkpoint];
    let first = test.spawn(words);
    first.wait_for_request(2);
    first.kill();
    gate.open();
    drop(first);
    test.server().script([Answer::text("So be it.")]);
    assert_eq!(test.run(words).assert_code(0).stdout, "So be it.\n");
    assert_eq!(results(&test), [pair("c1", "Barn.")]);
}

#[test]
fn resuming_without_an_answer_shows_what_is_asked() {
    let test = asking().answers([Answer::calls([which("c1")])]);
    test.run(["run", "librarian", "q"]).assert_code(4);
    test.run(["resume", "latest"])
        .assert_code(2)
        .snapshot("interactive/resuming-without-an-answer-shows-what-is-asked");
    assert_eq!(pending(&test), ["c1"], "nothing was lost");
}

#[test]
fn an_answer_may_name_the_second_call() {
    let test = asking().answers([Answer::calls([which("c1"), how_many("c2")])]);
    let ran = test.run(["run", "librarian", "q", "--output", "json"]).assert_code(4);
    let object = ran.object();
    assert_eq!(object["status"], "stoppedByInteractiveTool");
    let waiting = &object["pendingToolCalls"];
    assert_eq!(waiting[0]["args"]["options"], json!(["barn owl", "tawny owl"]));
    assert_eq!((&waiting[1]["id"], &waiting[1]["skillName"]), (&json!("c2"), &json!("ask")));
    let answer = |id: &str, text: &str| {
        json!({"toolCallId": id, "toolName": "askUser", "skillName": "ask", "text": text}).to_string()
    };
    test.run(["resume", "latest", &answer("c2", "Two."), "-i"]).assert_code(4);
    assert_eq!(pending(&test), ["c1"]);
    test.run(["resume", "latest", &answer("c2", "Three."), "-i"])
        .assert_code(2)
        .snapshot("interactive/an-answer-may-name-the-second-call");
    test.server().script([Answer::text("So be it.")]);
    test.run(["resume", "latest", "Barn."]).assert_code(0);
    assert_eq!(results(&test), [pair("c1", "Barn."), pair("c2", "Two.")]);
}

#[test]
fn two_questions_of_one_turn_are_answered_one_after_the_other() {
    let test = asking().answers([Answer::calls([which("c1"), how_many("c2")])]);
    test.run(["run", "librarian", "q"]).assert_code(4);
    let ran = test
        .run(["resume", "latest", "Barn."])
        .assert_code(4)
        .snapshot("interactive/two-questions-of-one-turn-are-answered-one-after-the-other");
    assert!(!ran.stderr.contains("question: Which owl?"), "it is answered:\n{}", ran.stderr);
    assert_eq!(test.server().requests().len(), 1, "the model waits for both");
    test.server().script([Answer::text("So be it.")]);
    assert_eq!(test.run(["resume", "latest", "Two."]).assert_code(0).stdout, "So be it.\n");
    assert_eq!(results(&test), [pair("c1", "Barn."), pair("c2", "Two.")]);
}

#[test]
fn a_tools_result_is_kept_while_a_question_waits() {
    let append = call("c1", "appendTextFile", json!({"path": "owls.txt", "text": "owl"}));
    let test = asking().file("owls.txt", "").answers([Answer::calls([how_many("c2"), append])]);
    test.run(["run", "librarian", "q"]).assert_code(4);
    let head = read_json(&test.storage().last_checkpoint());
    assert_eq!((&head["partialToolResults"][0]["id"], &pending(&test)[..]), (&json!("c1"), &[json!("c2")][..]));
    test.server().script([Answer::text("So be it.")]);
    test.run(["resume", "latest", "Two."]).assert_code(0);
    let results = results(&test);
    let answered: Vec<&str> = results.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(answered.len(), 2, "{answered:?}");
    assert!(results.contains(&pair("c2", "Two.")), "{results:?}");
    assert_eq!(std::fs::read_to_string(test.workspace().join("owls.txt")).unwrap(), "owl", "called once");
}

#[test]
fn without_a_terminal_no_question_is_asked_whatever_stdin_is() {
    for output in ["text", "json", "jsonl"] {
        let test = asking().silent_stdin().answers([Answer::calls([which("c1")])]);
        let ran = test.run(["run", "librarian", "q", "--output", output, "--no-stdin"]).assert_code(4);
        assert!(!ran.stderr.contains("> "), "{}", ran.stderr);
        let test = asking().stdin("1\n").answers([Answer::calls([which("c1")])]);
        test.run(["run", "librarian", "q", "--output", output]).assert_code(4);
    }
}

/// Starts the binary on a terminal of its own, in a folder that is trusted; `None`, with the reason printed, where no
/// program here makes one.
pub fn on_terminal(test: &Test, args: &str) -> Option<Running> {
    at_new_terminal(test, &format!("PERSTACK_TRUST=1 exec '{}' {args}", test.binary().display()))
}

/// Runs a line of the shell on a terminal of its own; `None` as above.
#[expect(clippy::print_stderr, reason = "a test that is skipped prints why")]
pub fn at_new_terminal(test: &Test, line: &str) -> Option<Running> {
    let version = Command::new("script").arg("--version").output();
    if !version.is_ok_and(|ran| String::from_utf8_lossy(&ran.stdout).contains("util-linux")) {
        eprintln!("skipped: `script` of util-linux is not here, so there is no terminal to test on");
        return None;
    }
    let mut command = Command::new("script");
    let line = format!("stty cols 80 rows 24; {line}");
    command.args(["--quiet", "--return", "--echo", "always", "--command", &line, "/dev/null"]);
    Some(test.start(command))
}

fn at_terminal() -> Test {
    asking().env("TERM", "xterm").silent_stdin()
}

/// What a terminal ends its prompt with.
const PROMPT: &str = "stops here)\r\n> ";

#[test]
fn on_a_terminal_questions_are_answered_without_leaving() {
    let test = at_terminal().answers([Answer::calls([which("c1"), how_many("c2")]), Answer::text("So be it.")]);
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_stdout(
        "    1. barn owl\r\n    2. tawny owl\r\n  urgency: (one of: low, high)\r\n  (an option's number,",
    );
    running.wait_for_stdout(PROMPT);
    running.type_in("2\n");
    running.wait_for_stdout("How many?");
    running.wait_for_stdout("(a text; a \\ at a line's end adds a line; an empty line stops here)\r\n> ");
    running.type_in("Two,\\\nor three.\n");
    let ran = running.finish().assert_code(0);
    assert!(last_screen(&ran.stdout, 80).contains("So be it."), "{}", ran.stdout);
    let (_, after) = ran.stdout.rsplit_once("or three.").unwrap();
    assert!(after.contains("goes on at step") && after.contains("asking the model"), "no progress:\n{after}");
    assert_eq!(results(&test), [pair("c1", "tawny owl"), pair("c2", "Two,\nor three.")]);
    assert_eq!(test.storage().jobs().len(), 1);
}

#[test]
fn one_object_describes_a_job_that_was_asked_in_between() {
    let test = at_terminal().answers([Answer::calls([how_many("c1")]), Answer::text("So be it.")]);
    let Some(running) = on_terminal(&test, "run librarian q --output json > result.json") else { return };
    running.wait_for_stdout(PROMPT);
    running.type_in("Two.\n");
    running.finish().assert_code(0);
    let object = read_json(&test.workspace().join("result.json"));
    assert_eq!((&object["status"], &object["text"]), (&json!("completed"), &json!("So be it.")));
    assert!(object.get("pendingToolCalls").is_none(), "{object}");
}

/// Leaves a question on the terminal in some way.
fn leave(keys: &str, code: i32) -> Option<Ran> {
    let test = at_terminal().answers([Answer::calls([how_many("c1")])]);
    let running = on_terminal(&test, "run librarian q")?;
    running.wait_for_stdout(PROMPT);
    running.type_in(keys);
    let ran = running.finish().assert_code(code);
    assert_eq!(pending(&test), ["c1"], "{keys:?}");
    let id = checkpoint_id(&test.storage().last_checkpoint()).to_owned();
    assert!(ran.stdout.ends_with(&format!("perstack resume {id} ANSWER -i\r\n")), "{keys:?}: {}", ran.stdout);
    assert_eq!(ran.stdout.matches("question: How many?").count(), 1, "{keys:?}: {}", ran.stdout);
    Some(ran)
}

#[test]
fn an_empty_line_or_the_inputs_end_leaves_the_question() {
    leave("\n", 4);
    leave("\u{4}", 4);
}

#[test]
fn an_interrupt_leaves_the_question_and_is_reported_as_one() {
    let Some(ran) = leave("half a li\u{3}", 130) else { return };
    assert!(ran.stdout.contains("stopped by SIGINT"), "{}", ran.stdout);
}

#[test]
fn a_person_who_does_not_want_to_be_asked_is_not() {
    for (args, value) in
        [("--no-interactive", "0"), ("", "1"), ("--quiet", "0"), ("--output jsonl", "0"), ("--record t", "0")]
    {
        let test = at_terminal().env("PERSTACK_NO_INTERACTIVE", value).answers([Answer::calls([how_many("c1")])]);
        let Some(running) = on_terminal(&test, &format!("run librarian q {args}")) else { return };
        let ran = running.finish().assert_code(4);
        assert!(!ran.stdout.contains("stops here"), "{args}: {}", ran.stdout);
    }
}

#[test]
fn what_was_typed_before_the_question_is_not_its_answer() {
    let gate = Gate::new();
    let test = at_terminal().answers([Answer::calls([how_many("c1")]).delay(&gate), Answer::text("So be it.")]);
    let Some(running) = on_terminal(&test, "run librarian q") else { return };
    running.wait_for_request(1);
    running.type_in("too early\n");
    running.wait_for_stdout("too early");
    gate.open();
    running.wait_for_stdout(PROMPT);
    running.type_in("Two.\n");
    running.finish().assert_code(0);
    assert_eq!(results(&test), [pair("c1", "Two.")]);
}

#[test]
fn a_further_question_is_asked_after_an_answer_given_on_the_command_line() {
    let test = at_terminal().answers([Answer::calls([which("c1"), how_many("c2")])]);
    let Some(running) = on_terminal(&test, "run librarian q --no-interactive") else { return };
    running.finish().assert_code(4);
    test.server().script([Answer::text("So be it.")]);
    let Some(running) = on_terminal(&test, "resume latest Barn. -i") else { return };
    running.wait_for_stdout(PROMPT);
    running.type_in("Two.\n");
    running.finish().assert_code(0);
    assert_eq!(results(&test), [pair("c1", "Barn."), pair("c2", "Two.")]);
}
