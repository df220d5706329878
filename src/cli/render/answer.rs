//! [`AnswerWriter`]: the text of the coordinator as it streams to standard output, and what becomes of text that is no answer.
//!
//! Called by `progress` for each event. On a terminal the text is made ready by `markdown`; text that turns out to stand
//! beside calls, or to be that of a try that is repeated, is taken away again where it is still on the screen, and marked
//! where it is not. A pipe gets every piece as it comes.

use std::collections::HashSet;
use std::io::{self, Write};

use perstack::event::{Event, EventBody, EventCheckpoint};
use perstack::id::RunId;
use tokio_util::sync::CancellationToken;

use super::markdown::{MarkdownWriter, TextForm};

/// The stream of the answer.
pub struct AnswerWriter {
    out: Box<dyn Write + Send>,
    target: Target,
    /// Runs whose answers are for another Run.
    delegates: HashSet<RunId>,
    /// Pieces of an answer that was cut off and goes on.
    kept: String,
    /// The text of the latest try.
    shown: String,
    /// The whole answer was written.
    is_delivered: bool,
    cancel: CancellationToken,
    error: Option<io::Error>,
    has_failed: bool,
    /// The last text that was written ended its line.
    ends_line: bool,
}

/// The kind of standard output.
pub enum Target {
    Terminal(TerminalText),
    Pipe,
}

/// Text on a terminal.
pub struct TerminalText {
    writer: MarkdownWriter,
    /// Controls that take text away are understood.
    can_erase: bool,
    /// The place where the latest try began, if it can be returned to.
    try_began: Option<TryStart>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TryStart {
    rows: usize,
    columns: usize,
}

/// The room on the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub columns: usize,
    /// Rows that the text may take and still be on the screen.
    pub rows: usize,
}

/// A line for standard error that follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerNote {
    /// The text of a turn that made calls.
    BesideCalls(String),
    /// Text that is still to be seen is not part of the answer.
    NotTheAnswer,
}

impl AnswerWriter {
    /// A stream to a terminal that understands controls, if `can_erase`.
    pub fn to_terminal(out: impl Write + Send + 'static, form: TextForm, can_erase: bool) -> Self {
        let writer = MarkdownWriter::new(form, usize::MAX);
        Self::new(out, Target::Terminal(TerminalText { writer, can_erase, try_began: None }), CancellationToken::new())
    }

    /// A stream to a pipe or file; `cancel` is fired when its reader has gone away.
    pub fn to_pipe(out: impl Write + Send + 'static, cancel: CancellationToken) -> Self {
        Self::new(out, Target::Pipe, cancel)
    }

    fn new(out: impl Write + Send + 'static, target: Target, cancel: CancellationToken) -> Self {
        Self {
            out: Box::new(out),
            target,
            delegates: HashSet::new(),
            kept: String::new(),
            shown: String::new(),
            is_delivered: false,
            cancel,
            error: None,
            has_failed: false,
            ends_line: true,
        }
    }

    /// Returns true if the event may lead to something.
    pub fn concerns(&self, event: &Event) -> bool {
        !self.delegates.contains(&event.run_id)
            && matches!(
                event.body,
                EventBody::StartRun { .. }
                    | EventBody::ResumeFromStop { .. }
                    | EventBody::StreamText { .. }
                    | EventBody::CompleteStreamingRunResult { .. }
                    | EventBody::CallTools { .. }
                    | EventBody::Retry { .. }
                    | EventBody::StopRunByError { .. }
                    | EventBody::StopRunByCancellation { .. }
                    | EventBody::StopRunByBudget { .. }
            )
    }

    /// Writes what follows from an event.
    pub fn apply(&mut self, event: &Event, room: Room) -> Option<AnswerNote> {
        if self.delegates.contains(&event.run_id) {
            return None;
        }
        match &event.body {
            EventBody::StartRun { initial_checkpoint: checkpoint, .. } | EventBody::ResumeFromStop { checkpoint } => {
                self.begin(event, checkpoint);
                None
            }
            EventBody::StreamText { delta } => {
                self.add(delta, room);
                None
            }
            EventBody::CallTools { .. } => self.beside_calls(room),
            EventBody::Retry { reason, .. } if is_cut_answer(reason) => {
                // It goes on where it ended.
                self.kept += &std::mem::take(&mut self.shown);
                None
            }
            EventBody::Retry { .. } => {
                let has_text = !self.shown.is_empty();
                let is_gone = self.drop_try(room);
                let is_seen = has_text && !is_gone && matches!(self.target, Target::Terminal(_));
                is_seen.then_some(AnswerNote::NotTheAnswer)
            }
            EventBody::CompleteStreamingRunResult { text } => self.deliver(text, room),
            EventBody::StopRunByError { .. }
            | EventBody::StopRunByCancellation { .. }
            | EventBody::StopRunByBudget { .. } => {
                // What was shown stays.
                self.end_line();
                (self.kept, self.shown) = (String::new(), String::new());
                None
            }
            _ => None,
        }
    }

    fn begin(&mut self, event: &Event, checkpoint: &EventCheckpoint) {
        let head = &checkpoint.head;
        if head.delegated_by.is_some() {
            self.delegates.insert(event.run_id.clone());
            return;
        }
        self.is_delivered = false;
        // The pieces that an earlier invocation had shown are not on this screen.
        self.kept.clear();
        self.shown.clear();
    }

    /// Adds text of the try.
    fn add(&mut self, delta: &str, room: Room) {
        if self.shown.is_empty() {
            self.begin_try(room);
        }
        self.shown.push_str(delta);
        self.write(delta, room);
    }

    fn begin_try(&mut self, room: Room) {
        if let Target::Terminal(terminal) = &mut self.target {
            let is_at_start = terminal.writer.column() == 0;
            let start = TryStart { rows: terminal.writer.rows(), columns: room.columns };
            terminal.try_began = Some(start).filter(|_| terminal.can_erase && is_at_start);
        }
    }

    /// The text of the try stands beside calls.
    fn beside_calls(&mut self, room: Room) -> Option<AnswerNote> {
        if self.shown.trim().is_empty() {
            self.drop_try(room);
            return None;
        }
        let text = std::mem::take(&mut self.shown);
        self.kept.clear();
        if self.erase(room) {
            return Some(AnswerNote::BesideCalls(text));
        }
        self.end_line();
        matches!(self.target, Target::Terminal(_)).then_some(AnswerNote::NotTheAnswer)
    }

    /// Ends a try that is repeated. Returns true if nothing of it is left to be seen.
    fn drop_try(&mut self, room: Room) -> bool {
        if self.shown.is_empty() {
            return true;
        }
        self.shown.clear();
        let is_gone = self.erase(room);
        if !is_gone {
            self.end_line();
        }
        is_gone
    }

    /// The answer is known: what is missing of it is written.
    fn deliver(&mut self, text: &str, room: Room) -> Option<AnswerNote> {
        let before = format!("{}{}", self.kept, self.shown);
        let mut note = None;
        if !same_words(&before, text) {
            if let Some(rest) = text.strip_prefix(&before) {
                self.write(rest, room);
            } else {
                let is_gone = self.drop_try(room);
                note = (!is_gone && matches!(self.target, Target::Terminal(_))).then_some(AnswerNote::NotTheAnswer);
                self.begin_try(room);
                self.write(text, room);
            }
        }
        self.end_line();
        (self.kept, self.shown) = (String::new(), String::new());
        self.is_delivered = true;
        note
    }

    fn write(&mut self, text: &str, room: Room) {
        let ready = match &mut self.target {
            Target::Terminal(terminal) => terminal.writer.push(text, room.columns),
            Target::Pipe => text.to_owned(),
        };
        self.put(&ready);
    }

    /// Ends the line that is begun, if one is.
    pub fn end_line(&mut self) {
        let rest = match &mut self.target {
            Target::Terminal(terminal) => {
                terminal.try_began = None;
                let mut rest = terminal.writer.finish();
                if terminal.writer.column() > 0 {
                    rest.push('\n');
                    terminal.writer.line_was_ended();
                }
                rest
            }
            Target::Pipe if self.ends_line => String::new(),
            Target::Pipe => "\n".to_owned(),
        };
        self.put(&rest);
    }

    /// Takes the text of the try away again, if all of it is on the screen as it was written.
    fn erase(&mut self, room: Room) -> bool {
        let Target::Terminal(terminal) = &mut self.target else { return false };
        let Some(start) = terminal.try_began.take() else { return false };
        // What is held back was never shown.
        let rest = terminal.writer.finish();
        let rows = terminal.writer.rows().saturating_sub(start.rows);
        if start.columns != room.columns || rows >= room.rows {
            terminal.try_began = None;
            self.put(&rest);
            return false;
        }
        terminal.writer.line_was_ended();
        let up = if rows > 0 { format!("\x1b[{rows}A") } else { String::new() };
        self.put(&format!("{rest}\r{up}\x1b[J"));
        true
    }

    /// Ends the row that is begun, so that something else can be written below it.
    pub fn break_row(&mut self) {
        if self.column() > 0 {
            self.put("\n");
            self.disturbed();
        }
    }

    /// Something else was written below the text: its line is over, and it cannot be taken away.
    pub fn disturbed(&mut self) {
        if let Target::Terminal(terminal) = &mut self.target {
            terminal.writer.line_was_ended();
            terminal.try_began = None;
        }
    }

    /// Columns of the line that is begun; 0 if none is, or it is on no terminal.
    pub fn column(&self) -> usize {
        match &self.target {
            Target::Terminal(terminal) => terminal.writer.column(),
            Target::Pipe => 0,
        }
    }

    /// Returns true if the answer was cut off within a line on a terminal, and goes on in the same line.
    pub fn goes_on_in_line(&self) -> bool {
        self.shown.is_empty() && !self.kept.is_empty() && self.column() > 0
    }

    /// Returns true if the whole answer was written.
    pub fn is_delivered(&self) -> bool {
        self.is_delivered
    }

    /// The first failure to write, once.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    fn put(&mut self, text: &str) {
        if text.is_empty() || self.has_failed {
            return;
        }
        self.ends_line = text.ends_with('\n');
        if let Err(error) = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            self.error = Some(error);
            self.has_failed = true;
            self.cancel.cancel();
        }
    }
}

/// Returns true if the reason of a retry is that the answer was cut off, and goes on.
fn is_cut_answer(reason: &str) -> bool {
    reason.contains("AnswerWriter cut off")
}

/// Returns true if two texts differ in white space alone: the parts of an answer are joined by line ends.
fn same_words(one: &str, other: &str) -> bool {
    one.split_whitespace().flat_map(str::chars).eq(other.split_whitespace().flat_map(str::chars))
}

#[cfg(test)]
mod tests {
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
}
