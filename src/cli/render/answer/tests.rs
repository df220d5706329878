//! Tests of the answer as it is printed while it streams.

use perstack::checkpoint::CheckpointHead;
use perstack::cost::Spend;
use perstack::message::Message;
use perstack::usage::Usage;

use super::super::fixture::{KeptOutput, child, event, event_checkpoint, head, retry};
use super::*;

/// An answer that is watched: the text written, and the lines that follow.
struct Watched(AnswerWriter, KeptOutput, Vec<AnswerNote>);

impl Watched {
    fn new(make: impl FnOnce(KeptOutput) -> AnswerWriter) -> Self {
        let out = KeptOutput::default();
        let mut watched = Self(make(out.clone()), out, Vec::new());
        watched.start(head("r1", 1));
        watched
    }

    fn terminal() -> Self {
        Self::new(|out| AnswerWriter::to_terminal(out, TextForm::Wrapped, true))
    }

    fn pipe() -> Self {
        Self::new(|out| AnswerWriter::to_pipe(out, CancellationToken::new()))
    }

    fn see(&mut self, body: EventBody) {
        self.see_in("r1", body);
    }

    fn see_in(&mut self, run: &str, body: EventBody) {
        let event = event(run, body);
        if self.0.concerns(&event) {
            self.2.extend(self.0.apply(&event, Room { columns: 20, rows: 5 }));
        }
    }

    fn start(&mut self, head: CheckpointHead) {
        let run = head.run_id.as_str().to_owned();
        let initial_checkpoint = event_checkpoint(head);
        self.see_in(&run, EventBody::StartRun { initial_checkpoint, input_messages: Vec::new() });
    }

    fn text(&mut self, text: &str) {
        self.see(EventBody::StreamText { delta: text.to_owned() });
    }

    fn calls(&mut self) {
        self.see(EventBody::CompleteStreamingText { text: String::new() });
        let new_message = Message::ExpertMessage { id: String::new(), contents: Vec::new(), cache: false };
        let (tool_calls, usage, spend) = (Vec::new(), Usage::default(), Spend::default());
        self.see(EventBody::CallTools { new_message, tool_calls, usage, spend });
    }

    fn result(&mut self, text: &str) {
        self.see(EventBody::CompleteStreamingRunResult { text: text.to_owned() });
    }

    fn written(&self) -> String {
        self.1.text()
    }
}

#[test]
fn an_answer_is_written_once_as_it_comes() {
    for mut seen in [Watched::terminal(), Watched::pipe()] {
        seen.text("Two ");
        assert!(seen.written().starts_with("Two"));
        seen.text("owls.");
        assert!(!seen.0.is_delivered());
        seen.result("Two owls.");
        assert_eq!((seen.written().as_str(), seen.0.is_delivered()), ("Two owls.\n", true));
        assert_eq!(seen.2, []);
    }
}

#[test]
fn parts_of_an_answer_that_are_joined_otherwise_are_the_same_answer() {
    let mut seen = Watched::terminal();
    seen.text("Two");
    seen.text(" owls.Three bees.");
    seen.result("Two\n owls.Three bees.");
    assert_eq!(seen.written(), "Two owls.Three bees.\n".replace("owls.Three bees", "owls.Three\nbees"));
}

#[test]
fn text_beside_calls_goes_where_it_belongs() {
    let mut seen = Watched::terminal();
    seen.text("I look into it, and then I answer");
    seen.calls();
    assert_eq!(seen.2, [AnswerNote::BesideCalls("I look into it, and then I answer".to_owned())]);
    assert_eq!(seen.written(), "I look into it, and\nthen I answer\r\x1b[1A\x1b[J");
    seen.text("Owls.");
    seen.result("Owls.");
    assert!(seen.written().ends_with("\x1b[JOwls.\n"));
    let mut seen = Watched::pipe();
    seen.text("I look.");
    seen.calls();
    seen.text("Owls.");
    seen.result("Owls.");
    assert_eq!((seen.written().as_str(), seen.2), ("I look.\nOwls.\n", Vec::new()));
}

#[test]
fn a_try_that_is_repeated_is_replaced_or_marked() {
    let mut seen = Watched::terminal();
    seen.text("Two ow");
    seen.see(EventBody::CompleteStreamingText { text: "Two ow".to_owned() });
    seen.see(retry("cut", Some(1_000)));
    seen.text("Two owls.");
    seen.result("Two owls.");
    assert_eq!((seen.written().as_str(), seen.2), ("Two ow\r\x1b[JTwo owls.\n", Vec::new()));
    // Too much of it to be taken away.
    let mut seen = Watched::terminal();
    seen.text("1\n2\n3\n4\n5\n6");
    seen.see(retry("cut", Some(1_000)));
    assert_eq!((seen.written().as_str(), seen.2), ("1\n2\n3\n4\n5\n6\n", vec![AnswerNote::NotTheAnswer]));
    // Something else was written below it.
    let mut seen = Watched::terminal();
    seen.text("Two ");
    seen.0.disturbed();
    seen.see(retry("cut", Some(1_000)));
    assert_eq!(seen.2, [AnswerNote::NotTheAnswer]);
}

#[test]
fn an_answer_that_was_cut_off_goes_on_where_it_ended() {
    for mut seen in [Watched::terminal(), Watched::pipe()] {
        seen.text("Two ow");
        seen.see(EventBody::CompleteStreamingText { text: "Two ow".to_owned() });
        seen.see(retry(r#"{"error":"Error: AnswerWriter cut off","message":"Go on."}"#, None));
        assert_eq!(seen.0.goes_on_in_line(), seen.0.column() > 0);
        seen.text("ls.");
        assert!(!seen.0.goes_on_in_line());
        seen.result("Two owls.");
        assert_eq!((seen.written().as_str(), seen.2), ("Two owls.\n", Vec::new()));
    }
}

#[test]
fn a_result_that_was_no_text_is_written_whole() {
    let mut seen = Watched::terminal();
    seen.text("Now I finish.");
    seen.result("Two owls.");
    assert_eq!(seen.written(), "Now I finish.\r\x1b[JTwo owls.\n");
}

#[test]
fn what_was_shown_stays_when_the_job_is_stopped() {
    let mut seen = Watched::terminal();
    seen.text("Two owls and");
    seen.see(EventBody::CompleteStreamingText { text: "Two owls and".to_owned() });
    let checkpoint = event_checkpoint(head("r1", 1));
    seen.see(EventBody::StopRunByCancellation { checkpoint, step: super::super::fixture::step(1, Vec::new()) });
    assert_eq!((seen.written().as_str(), seen.0.is_delivered()), ("Two owls and\n", false));
}

#[test]
fn answers_of_delegates_are_not_the_jobs() {
    let mut seen = Watched::terminal();
    seen.start(child("r2", 2, "reader", ("r1", "a")));
    seen.see_in("r2", EventBody::StreamText { delta: "Part.".to_owned() });
    seen.see_in("r2", EventBody::CompleteStreamingRunResult { text: "Part.".to_owned() });
    assert_eq!((seen.written().as_str(), seen.0.is_delivered()), ("", false));
}
