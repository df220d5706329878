//! [`Progress`]: a job as it is watched on standard error: on a terminal a line per active Run at the bottom and what
//! is done above it, elsewhere the latter alone. The stream of the answer on standard output is part of it, since both
//! may share a terminal.
//!
//! Takes the job's events from [`Screen`](super::Screen)'s fan-out. A thread of its own moves the spinner and the times,
//! and reports long waits where no line is drawn.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use console::Term;
use perstack::event::{Event, EventSink};
use perstack::message::Message;

use super::activity::seconds;
use super::answer::{AnswerNote, AnswerWriter, Room};
use super::note::{Note, NoteKind, PLAIN_WIDTH};
use super::terminal::{LiveLines, MARGIN, Stderr};
use super::text::{Paint, visible_lines};
use super::view::View;

/// The interval at which spinner and elapsed time move: often enough to look alive, rarely enough to cost nothing. Also the
/// time after which a line is drawn although nothing has happened yet.
const TICK: Duration = Duration::from_millis(100);

/// The interval at which long waits are looked for where no line is drawn.
const SLOW_TICK: Duration = Duration::from_secs(1);

/// The spinner's pictures.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Columns that a Run's line needs besides the view's words: spinner, a blank, and the margin.
const SURROUNDINGS: usize = 2 + MARGIN;

/// Shows a job.
pub struct Progress {
    paint: Paint,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    view: View,
    output: Output,
    /// The stream of the answer to standard output, if it has one.
    answer: Option<AnswerWriter>,
    shown: Shown,
    /// An event has come.
    has_begun: bool,
    /// The picture of the spinner.
    spin: usize,
}

/// The place where lines go.
enum Output {
    Terminal(LiveLines),
    /// One write for each line, so that other processes' lines on the same stream do not cut it.
    Plain(Box<dyn Write + Send>),
    /// Nothing of the job is shown; what has to be printed goes to standard error.
    Quiet,
}

/// The use of the terminal's lowest lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Live,
    /// Cleared while a question is asked.
    Aside,
    /// Cleared for good.
    Closed,
}

impl Progress {
    /// Draws on standard error, which is a terminal, from the first moment on.
    pub fn drawn(view: View, paint: Paint, answer: Option<AnswerWriter>) -> Arc<Self> {
        Self::start(view, paint, Output::Terminal(LiveLines::new(Stderr)), answer, TICK)
    }

    /// Writes plain lines to `out`, usually standard error.
    pub fn plain(
        view: View,
        paint: Paint,
        out: impl Write + Send + 'static,
        answer: Option<AnswerWriter>,
    ) -> Arc<Self> {
        Self::start(view, paint, Output::Plain(Box::new(out)), answer, SLOW_TICK)
    }

    /// Shows the answer alone.
    pub fn quiet(view: View, paint: Paint, answer: AnswerWriter) -> Arc<Self> {
        Arc::new(Self::new(view, paint, Output::Quiet, Some(answer)))
    }

    fn start(view: View, paint: Paint, output: Output, answer: Option<AnswerWriter>, tick: Duration) -> Arc<Self> {
        let progress = Arc::new(Self::new(view, paint, output, answer));
        let weak = Arc::downgrade(&progress);
        // Without a thread nothing moves, and everything else is shown.
        let _ = std::thread::Builder::new().name("progress".to_owned()).spawn(move || keep_moving(&weak, tick));
        progress
    }

    fn new(view: View, paint: Paint, output: Output, answer: Option<AnswerWriter>) -> Self {
        let view = view.beside_answer_stream(answer.is_some());
        let state = State { view, output, answer, shown: Shown::Live, has_begun: false, spin: 0 };
        Self { paint, began: Instant::now(), state: Mutex::new(state) }
    }

    /// Returns true if the whole answer is on standard output.
    pub fn has_delivered(&self) -> bool {
        self.state().answer.as_ref().is_some_and(AnswerWriter::is_delivered)
    }

    /// The first failure to write the answer, once.
    pub fn answer_error(&self) -> Option<io::Error> {
        self.state().answer.as_mut().and_then(AnswerWriter::take_error)
    }

    /// Writes a line above the active Runs; while they are taken away, at the cursor.
    pub fn print(&self, text: &str) {
        let mut state = self.state();
        self.write(&mut state, &format!("{text}\n"));
    }

    /// Takes the active Runs' lines away, and shows nothing of the job from here on.
    pub fn close(&self) {
        let mut state = self.state();
        state.take_away();
        state.shown = Shown::Closed;
    }

    /// Takes the active Runs' lines away until [`Progress::come_back`], so that the terminal is free for a question.
    pub fn set_aside(&self) {
        let mut state = self.state();
        if state.shown == Shown::Live {
            state.take_away();
            state.shown = Shown::Aside;
        }
    }

    /// Shows the active Runs again.
    pub fn come_back(&self) {
        let mut state = self.state();
        if state.shown == Shown::Aside {
            state.shown = Shown::Live;
            self.write(&mut state, "");
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes whole lines above the active Runs, and draws those anew.
    fn write(&self, state: &mut State, text: &str) {
        let lines = if state.shown == Shown::Live { self.lines(state) } else { Vec::new() };
        let State { output, answer, .. } = state;
        match output {
            Output::Terminal(live) => {
                live.draw(text, &lines);
                if let Some(answer) = answer.as_mut().filter(|_| !text.is_empty()) {
                    answer.disturbed();
                }
            }
            Output::Plain(_) | Output::Quiet if text.is_empty() => {}
            Output::Plain(out) => {
                if let Some(answer) = answer.as_mut().filter(|_| io::stderr().is_terminal()) {
                    answer.break_row();
                }
                // With the stream gone there is no place left to report to: the job is worth more than its progress.
                drop(out.write_all(text.as_bytes()));
            }
            Output::Quiet => {
                if let Some(answer) = answer.as_mut().filter(|_| io::stderr().is_terminal()) {
                    answer.break_row();
                }
                drop(io::stderr().lock().write_all(text.as_bytes()));
            }
        }
    }

    /// Writes what an event adds to the answer; returns the lines for standard error that follow from it.
    fn stream(&self, state: &mut State, event: &Event) -> Vec<Note> {
        if !state.answer.as_ref().is_some_and(|answer| answer.concerns(event)) {
            return Vec::new();
        }
        let lines = if state.shown == Shown::Live { self.lines(state) } else { Vec::new() };
        let State { output, answer, .. } = state;
        let Some(answer) = answer.as_mut() else { return Vec::new() };
        let note = match output {
            Output::Terminal(live) => {
                let (columns, rows) = live.size();
                let room = Room { columns, rows: rows.saturating_sub(lines.len() + 1) };
                live.around(&lines, || {
                    let note = answer.apply(event, room);
                    (answer.column(), note)
                })
            }
            Output::Plain(_) | Output::Quiet => {
                let (rows, columns) = Term::stdout().size();
                answer.apply(event, Room { columns: usize::from(columns), rows: usize::from(rows).saturating_sub(1) })
            }
        };
        let detail = |text: String| Note { kind: NoteKind::Detail, text, ..Note::default() };
        match note {
            None => Vec::new(),
            Some(AnswerNote::BesideCalls(text)) => {
                visible_lines(&text).into_iter().filter(|line| !line.trim().is_empty()).map(detail).collect()
            }
            Some(AnswerNote::NotTheAnswer) => vec![detail("the text above is not part of the answer".to_owned())],
        }
    }

    /// The active Runs' lines.
    fn lines(&self, state: &State) -> Vec<String> {
        let Output::Terminal(live) = &state.output else { return Vec::new() };
        let (now, width) = (self.now(), live.size().0.saturating_sub(SURROUNDINGS).max(1));
        let spinner = self.paint.cyan(SPINNER.get(state.spin % SPINNER.len()).copied().unwrap_or_default());
        let mut lines: Vec<String> = state.view.active().filter_map(|id| state.view.line(id, now, width)).collect();
        if lines.is_empty() && !state.has_begun {
            let waited = if now < 1_000 { String::new() } else { format!(" {}", seconds(now)) };
            lines.push(format!("getting ready{waited}"));
        }
        lines.into_iter().map(|line| format!("{spinner} {line}")).collect()
    }

    fn note_lines(&self, state: &State, notes: &[Note]) -> String {
        let width = match &state.output {
            Output::Terminal(live) => live.size().0,
            Output::Plain(_) => PLAIN_WIDTH,
            Output::Quiet => return String::new(),
        };
        notes.iter().map(|note| note.line(self.paint, width) + "\n").collect()
    }

    /// Moves what moves with time. Returns false once nothing will move any more.
    fn tick(&self) -> bool {
        let mut state = self.state();
        if state.shown != Shown::Live {
            return state.shown == Shown::Aside;
        }
        match &state.output {
            Output::Terminal(_) => {
                state.spin = state.spin.wrapping_add(1);
                self.write(&mut state, "");
            }
            Output::Quiet => {}
            Output::Plain(_) => {
                let notes = state.view.overdue(self.now());
                if !notes.is_empty() {
                    let text = self.note_lines(&state, &notes);
                    self.write(&mut state, &text);
                }
            }
        }
        true
    }
}

impl State {
    fn take_away(&mut self) {
        if let Output::Terminal(live) = &mut self.output {
            live.clear();
            live.end_open_line();
        }
        if let Some(answer) = &mut self.answer {
            answer.end_line();
        }
    }
}

/// Ticks until the progress is gone or closed.
fn keep_moving(progress: &Weak<Progress>, tick: Duration) {
    loop {
        std::thread::sleep(tick);
        if !progress.upgrade().is_some_and(|progress| progress.tick()) {
            return;
        }
    }
}

impl EventSink for Progress {
    fn emit(&self, event: &Event, _history: &[Message]) {
        let mut state = self.state();
        if state.shown == Shown::Closed {
            return;
        }
        state.has_begun = true;
        let mut notes = self.stream(&mut state, event);
        let now = self.now();
        notes.extend(state.view.apply(event, now));
        // A line in the middle of an answer would tear it; the Run's own line shows that it is asked for the rest.
        if state.answer.as_ref().is_some_and(AnswerWriter::goes_on_in_line) {
            notes.clear();
        }
        let text = self.note_lines(&state, &notes);
        self.write(&mut state, &text);
    }
}

#[cfg(test)]
mod tests {
    use perstack::event::EventBody;

    use super::super::fixture::{KeptOutput, call, delegated, event, event_checkpoint, head, initialize, step};
    use super::super::terminal::fake::FakeTerminal;
    use super::super::view::Verbosity;
    use super::*;

    fn on(terminal: &FakeTerminal) -> Progress {
        let output = Output::Terminal(LiveLines::new(terminal.clone()));
        Progress::new(View::new(Verbosity::Normal), Paint::plain(), output, None)
    }

    fn start(head: perstack::checkpoint::CheckpointHead) -> EventBody {
        EventBody::StartRun { initial_checkpoint: event_checkpoint(head), input_messages: Vec::new() }
    }

    /// The lines that are drawn, from the top, without their spinners.
    fn lines(progress: &Progress) -> Vec<String> {
        let state = progress.state();
        let lines = if state.shown == Shown::Live { progress.lines(&state) } else { Vec::new() };
        lines.iter().map(|line| line.chars().skip(2).collect()).collect()
    }

    #[test]
    fn a_line_is_drawn_before_anything_happens() {
        let terminal = FakeTerminal::new(80, 24);
        let progress = on(&terminal);
        assert!(progress.tick());
        assert_eq!(terminal.take(), "⠙ getting ready");
        progress.close();
        assert_eq!(terminal.take(), "\r\x1b[J");
        assert!(!progress.tick());
    }

    #[test]
    fn a_delegates_line_is_below_its_parents() {
        let progress = on(&FakeTerminal::new(80, 24));
        let emit = |run: &str, body| progress.emit(&event(run, body), &[]);
        emit("r1", initialize("researcher"));
        emit("r1", start(head("r1", 1)));
        emit("r2", initialize("reader"));
        emit("r3", initialize("writer"));
        emit("r3", start(delegated(head("r3", 1), "writer", "r2")));
        emit("r2", start(delegated(head("r2", 1), "reader", "r1")));
        assert_eq!(lines(&progress), ["researcher  step 1/100", "  reader  step 1/100", "    writer  step 1/100"]);
    }

    #[test]
    fn lines_of_runs_that_ended_are_taken_away() {
        let progress = on(&FakeTerminal::new(80, 24));
        let emit = |run: &str, body| progress.emit(&event(run, body), &[]);
        emit("r1", start(head("r1", 1)));
        emit("r2", start(delegated(head("r2", 1), "reader", "r1")));
        let usage = perstack::usage::Usage::default();
        let checkpoint = event_checkpoint(delegated(head("r2", 1), "reader", "r1"));
        let (step, text, spend) = (step(1, Vec::new()), "x".to_owned(), perstack::cost::Spend::default());
        emit("r2", EventBody::CompleteRun { checkpoint, step, text, usage, spend });
        assert_eq!(lines(&progress), ["researcher  step 1"]);
        progress.close();
        emit("r3", start(head("r3", 1)));
        assert_eq!(lines(&progress), [""; 0]);
    }

    #[test]
    fn lines_make_room_for_a_question_and_come_back() {
        let progress = on(&FakeTerminal::new(80, 24));
        let emit = |run: &str, body| progress.emit(&event(run, body), &[]);
        emit("r1", start(head("r1", 1)));
        progress.set_aside();
        assert_eq!(lines(&progress), [""; 0]);
        emit("r2", initialize("reader"));
        assert_eq!(lines(&progress), [""; 0]);
        progress.come_back();
        assert_eq!(lines(&progress), ["researcher  step 1", "reader  getting ready"]);
        progress.close();
        progress.come_back();
        assert_eq!(lines(&progress), [""; 0]);
    }

    #[test]
    fn without_a_terminal_steps_are_plain_lines() {
        let written = KeptOutput::default();
        let progress = Progress::plain(View::new(Verbosity::Normal), Paint::plain(), written.clone(), None);
        let emit = |body| progress.emit(&event("r1", body), &[]);
        emit(start(head("r1", 1)));
        emit(EventBody::ContinueToNextStep {
            checkpoint: event_checkpoint(head("r1", 1)),
            step: step(1, vec![call("c1", "readTextFile", "path", "notes/a.md")]),
            next_checkpoint: event_checkpoint(head("r1", 2)),
        });
        assert_eq!(written.text(), "▸ researcher\n✓ step 1  readTextFile  notes/a.md\n");
    }
}
