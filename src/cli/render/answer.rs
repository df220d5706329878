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
                    | EventBody::FallBack { .. }
                    | EventBody::StopRunByError { .. }
                    | EventBody::StopRunByCancellation { .. }
                    | EventBody::StopRunByBudget { .. }
                    | EventBody::StopRunByVerification { .. }
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
            EventBody::Retry { .. } | EventBody::FallBack { .. } => {
                let has_text = !self.shown.is_empty();
                let is_gone = self.drop_try(room);
                let is_seen = has_text && !is_gone && matches!(self.target, Target::Terminal(_));
                is_seen.then_some(AnswerNote::NotTheAnswer)
            }
            EventBody::CompleteStreamingRunResult { text } => self.deliver(text, room),
            EventBody::StopRunByError { .. }
            | EventBody::StopRunByCancellation { .. }
            | EventBody::StopRunByBudget { .. }
            | EventBody::StopRunByVerification { .. } => {
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
            if before.is_empty() && is_document(text) {
                self.end_line();
                self.write_raw(text, room);
            } else if let Some(rest) = text.strip_prefix(&before) {
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

    /// Writes a whole text as it is: a JSON document is no Markdown, and its lines are its own.
    fn write_raw(&mut self, text: &str, room: Room) {
        if let Target::Terminal(terminal) = &mut self.target {
            let form = std::mem::replace(&mut terminal.writer, MarkdownWriter::new(TextForm::Raw, room.columns));
            self.write(text, room);
            self.end_line();
            if let Target::Terminal(terminal) = &mut self.target {
                terminal.writer = form;
            }
        } else {
            self.write(text, room);
        }
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

/// Returns true if a text is a JSON document of several values.
pub(super) fn is_document(text: &str) -> bool {
    text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Returns true if two texts differ in white space alone: the parts of an answer are joined by line ends.
fn same_words(one: &str, other: &str) -> bool {
    one.split_whitespace().flat_map(str::chars).eq(other.split_whitespace().flat_map(str::chars))
}

#[cfg(test)]
mod tests;
