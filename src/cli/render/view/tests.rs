//! Tests of the progress lines as a person sees them.

use perstack::checkpoint::{CheckpointHead, RunFailure};
use perstack::cost::{Cost, Spend};
use perstack::message::Message;
use perstack::tool::{ToolCall, ToolResult};
use perstack::usage::Usage;

use super::super::fixture::{
    awaiting, call, delegated, event, event_checkpoint, fall_back, head, initialize, retry, step,
};
use super::super::text::Paint;
use super::*;

/// A view, and every line that it noted.
struct Watched(View, Vec<String>);

impl Watched {
    fn new(verbosity: Verbosity) -> Self {
        Self(View::new(verbosity), Vec::new())
    }

    fn see(&mut self, run: &str, body: EventBody) {
        let notes = self.0.apply(&event(run, body), 0);
        self.1.extend(notes.iter().map(|note| note.line(Paint::plain(), usize::MAX)));
    }

    fn lines(&self) -> Vec<String> {
        self.0.active().filter_map(|id| self.0.line(id, 0, usize::MAX)).collect()
    }
}

fn start(head: CheckpointHead) -> EventBody {
    EventBody::StartRun { initial_checkpoint: event_checkpoint(head), input_messages: Vec::new() }
}

fn calls(tool_calls: Vec<ToolCall>, total_tokens: u64) -> EventBody {
    let new_message = Message::ExpertMessage { id: String::new(), contents: Vec::new(), cache: false };
    let usage = Usage { total_tokens, ..Usage::default() };
    // A microdollar a token.
    let spend = Spend::known(Cost::from_picodollars(total_tokens * 1_000_000));
    EventBody::CallTools { new_message, tool_calls, usage, spend }
}

#[test]
fn a_step_is_a_line_while_it_lasts_and_a_note_when_it_is_over() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", initialize("researcher"));
    assert_eq!(seen.lines(), ["researcher  getting ready"]);
    seen.see("r1", start(head("r1", 1)));
    seen.see("r1", EventBody::StartGeneration { messages: 2 });
    assert_eq!(seen.lines(), ["researcher  step 1/100  asking the model"]);
    let made = vec![call("c1", "readTextFile", "path", "notes/a.md"), call("c2", "todo", "n", "x")];
    seen.see("r1", calls(made.clone(), 1_500));
    assert_eq!(seen.lines(), ["researcher  step 1/100  readTextFile notes/a.md, todo  1.5k tokens  $0.0015"]);
    seen.see("r1", EventBody::ResolveToolResults { tool_results: vec![ToolResult::error(&made[1], "no")] });
    let usage = Usage { total_tokens: 1_600, ..Usage::default() };
    let spend = Spend { cost: Cost::from_picodollars(1_600_000_000), is_complete: false };
    let after = CheckpointHead { usage, spend, context_window_usage: Some(0.137), ..head("r1", 1) };
    let (step, next_checkpoint) = (step(1, made), event_checkpoint(head("r1", 2)));
    seen.see("r1", EventBody::ContinueToNextStep { checkpoint: event_checkpoint(after), step, next_checkpoint });
    assert_eq!(seen.lines(), ["researcher  step 2/100  1.6k tokens  ≥$0.0016  context 14%"]);
    assert_eq!(seen.1, ["▸ researcher, at most 100 steps", "✓ step 1  readTextFile  notes/a.md", "✗ step 1  todo  no"]);
}

#[test]
fn text_of_models_and_servers_cannot_act_on_the_terminal() {
    let mut seen = Watched::new(Verbosity::Verbose);
    seen.see("r1", start(head("r1", 1)));
    seen.see("r1", calls(vec![call("c1", "a\x1b[2J", "path", "b\r\n\u{9b}1A")], 0));
    let lines = seen.lines();
    seen.see("r1", EventBody::SkillStderr { skill_name: "s".to_owned(), message: "\x1b]0;x\x07".to_owned() });
    seen.see("r1", retry("\x1b[31m", None));
    let shown = [lines, seen.lines(), seen.1].concat().join("\n");
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    assert!(shown.contains("a\\x1b[2J b \\u{9b}1A"), "{shown}");
}

#[test]
fn a_retry_shows_the_providers_message_and_the_wait() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", start(head("r1", 1)));
    seen.see("r1", retry(r#"{"error":"RateLimitError","message":"slow down"}"#, Some(3_200)));
    assert_eq!(seen.lines(), ["researcher  step 1  retry 2 in 4 s"]);
    seen.see("r1", retry("empty answer", None));
    assert_eq!(seen.1, ["▸ researcher", "↻ retry 2 in 3.2 s: slow down", "↻ retry 2: empty answer"]);
}

#[test]
fn a_change_of_the_model_shows_both_and_the_reason() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", start(head("r1", 1)));
    seen.see("r1", fall_back(r#"{"error":"ProviderError","message":"overloaded"}"#));
    assert_eq!(seen.lines(), ["researcher  step 1  asking the model"]);
    assert_eq!(seen.1[1..], ["↻ anthropic/some-model failed (overloaded), going on with openai/other"]);
}

#[test]
fn a_warning_stays_and_an_unused_context_is_not_shown() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", start(CheckpointHead { context_window_usage: Some(0.0), ..head("r1", 1) }));
    seen.see("r1", EventBody::RuntimeWarning { message: "cut\x1b[2J off".to_owned() });
    assert_eq!(seen.lines(), ["researcher  step 1"]);
    assert_eq!(seen.1, ["▸ researcher", "! cut\\x1b[2J off"]);
}

#[test]
fn a_parent_waits_for_its_delegates_and_goes_on_as_a_new_run() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", start(head("r1", 1)));
    let child = delegated(head("r2", 1), "reader", "r1");
    let stopped = awaiting(head("r1", 1), &[("c1", "reader")]);
    seen.see("r1", EventBody::StopRunByDelegate { checkpoint: event_checkpoint(stopped), step: step(1, Vec::new()) });
    seen.see("r2", start(child.clone()));
    assert_eq!(seen.lines(), ["researcher  step 1  waits for reader", "  reader  step 1"]);
    let error =
        RunFailure { name: "E".to_owned(), message: "no key".to_owned(), status_code: None, is_retryable: false };
    let (checkpoint, step) = (event_checkpoint(child), step(1, Vec::new()));
    seen.see("r2", EventBody::StopRunByError { checkpoint, step, error });
    seen.see("r3", EventBody::ResumeFromStop { checkpoint: event_checkpoint(head("r3", 2)) });
    assert_eq!(seen.lines(), ["researcher  step 2"]);
    assert_eq!(
        seen.1,
        ["▸ researcher", "▸ step 1  delegated to reader  \"q\"", "  ✗ reader  stopped by error: no key",]
    );
}

#[test]
fn reasoning_is_shown_as_it_comes_and_text_once_it_is_known_to_be_no_answer() {
    let stream = |verbosity| {
        let mut seen = Watched::new(verbosity);
        seen.see("r1", start(head("r1", 1)));
        seen.see("r1", EventBody::StartStreamingReasoning);
        for delta in ["I sh", "ould\nsea", "rch"] {
            seen.see("r1", EventBody::StreamReasoning { delta: delta.to_owned() });
        }
        seen.see("r1", EventBody::CompleteStreamingReasoning { text: "I should\nsearch".to_owned() });
        seen.see("r1", EventBody::StartStreamingText);
        seen.see("r1", EventBody::StreamText { delta: "I look.".to_owned() });
        seen.see("r1", EventBody::CompleteStreamingText { text: "I look.".to_owned() });
        seen.see("r1", EventBody::StreamText { delta: "Owls.".to_owned() });
        seen.see("r1", EventBody::CompleteStreamingRunResult { text: "Owls.".to_owned() });
        seen.1
    };
    assert_eq!(stream(Verbosity::Normal), ["▸ researcher"]);
    assert_eq!(stream(Verbosity::Verbose), ["▸ researcher", "· I should", "· search", "· I look."]);
}

#[test]
fn long_reasoning_without_lines_is_shown_in_pieces() {
    let mut seen = Watched::new(Verbosity::Verbose);
    seen.see("r1", start(head("r1", 1)));
    seen.see("r1", EventBody::StartStreamingReasoning);
    seen.see("r1", EventBody::StreamReasoning { delta: "owl ".repeat(30) + &"日".repeat(34) });
    let owls = |count| format!("· {}", vec!["owl"; count].join(" "));
    assert_eq!(seen.1[1..], [owls(25), owls(5), format!("· {}", "日".repeat(33))]);
}

#[test]
fn calls_that_were_made_before_a_stop_are_shown_once() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", start(head("r1", 1)));
    let made = vec![call("c1", "exec", "command", "make"), call("c2", "askUser", "question", "Which?")];
    seen.see("r1", calls(made.clone(), 0));
    let stopped = Step { partial_tool_results: vec![ToolResult::new(&made[0], Vec::new())], ..step(1, made.clone()) };
    seen.see("r1", EventBody::StopRunByInteractiveTool { checkpoint: event_checkpoint(head("r1", 1)), step: stopped });
    seen.see("r2", EventBody::ResumeFromStop { checkpoint: event_checkpoint(head("r2", 1)) });
    let results = made.iter().map(|call| ToolResult::new(call, Vec::new())).collect();
    let step = Step { tool_results: results, ..step(1, made) };
    let (checkpoint, next_checkpoint) = (event_checkpoint(head("r2", 1)), event_checkpoint(head("r2", 2)));
    seen.see("r2", EventBody::ContinueToNextStep { checkpoint, step, next_checkpoint });
    assert_eq!(
        seen.1,
        ["▸ researcher", "✓ step 1  exec  make", "▸ goes on at step 1", "✓ step 1  askUser  \"Which?\""]
    );
}

#[test]
fn more_is_shown_of_a_call_when_asked_for() {
    let mut seen = Watched::new(Verbosity::Verbose);
    seen.see("r1", start(head("r1", 1)));
    let mut edit = call("c1", "editTextFile", "path", "a.rs");
    edit.args.insert("oldText".to_owned(), Value::from("one\ntwo"));
    edit.args.insert("newText".to_owned(), Value::from("one\n2\n3"));
    let list = call("c2", "exec", "command", "ls");
    let result = ToolResult::new(&list, vec![perstack::content::Content::text("{\"output\":\"a\\nb\\n\"}")]);
    let results = vec![ToolResult::new(&edit, Vec::new()), result];
    let step = Step { tool_results: results, ..step(1, vec![edit, list]) };
    let (checkpoint, next_checkpoint) = (event_checkpoint(head("r1", 1)), event_checkpoint(head("r1", 2)));
    seen.see("r1", EventBody::ContinueToNextStep { checkpoint, step, next_checkpoint });
    assert_eq!(
        seen.1,
        [
            "▸ researcher",
            "✓ step 1  editTextFile  a.rs  +2 −1",
            "  − two",
            "  + 2",
            "  + 3",
            "✓ step 1  exec  ls",
            "  │ a",
            "  │ b",
        ]
    );
}

#[test]
fn a_long_wait_is_a_note_where_it_is_asked_for() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", initialize("researcher"));
    seen.see(
        "r1",
        EventBody::SkillStarting {
            skill_name: "web".to_owned(),
            command: "npx".to_owned(),
            args: vec!["web".to_owned()],
        },
    );
    assert_eq!(seen.0.line(&"r1".parse().unwrap(), 4_200, 80).unwrap(), "researcher  starting skill web: npx web 4 s");
    assert_eq!(seen.0.overdue(9_000), []);
    let note = |notes: Vec<Note>| notes.iter().map(|note| note.line(Paint::plain(), 80)).collect::<Vec<_>>();
    assert_eq!(note(seen.0.overdue(10_000)), ["· starting skill web: npx web 10 s (startTimeout)"]);
    assert_eq!(seen.0.overdue(11_000), []);
}

#[test]
fn the_coordinators_stop_is_left_to_the_outcome_but_for_what_its_last_step_did() {
    let mut seen = Watched::new(Verbosity::Normal);
    seen.see("r1", start(head("r1", 1)));
    let (checkpoint, step) =
        (event_checkpoint(head("r1", 1)), step(1, vec![call("c1", "readTextFile", "path", "notes/a.md")]));
    seen.see("r1", EventBody::StopRunByExceededMaxSteps { checkpoint, step });
    assert_eq!(seen.lines(), [""; 0]);
    assert_eq!(seen.1, ["▸ researcher", "✓ step 1  readTextFile  notes/a.md"]);
}
