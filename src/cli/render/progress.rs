//! Progress on a terminal: a line per active Run at the bottom, finished steps scrolling above.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use perstack::event::{Event, EventSink};
use perstack::id::RunId;
use perstack::message::Message;

use super::note_line;
use super::terminal::{MARGIN, Terminal};
use super::text::Paint;
use super::view::View;

/// The interval at which spinner and elapsed time move: often enough to look alive, rarely enough to cost nothing.
const TICK: Duration = Duration::from_millis(125);

/// Redraws per second at most (indicatif's own default).
const REDRAWS: u8 = 20;

/// Columns that a line needs besides the view's words: spinner, elapsed time (`59s`, `100m`), what parts them, and the
/// margin.
const SURROUNDINGS: usize = 10;

/// Draws a job.
pub struct Progress {
    bars: MultiProgress,
    /// The terminal it is drawn on; `None` when nothing is drawn.
    terminal: Option<Terminal>,
    paint: Paint,
    state: Mutex<State>,
}

struct State {
    view: View,
    /// The Runs as they are drawn, from the top.
    drawn: Vec<RunId>,
    lines: HashMap<RunId, ProgressBar>,
    shown: Shown,
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
    /// Draws on stderr, from the first event on.
    pub fn new(view: View, paint: Paint) -> Self {
        Self::on(Some(Terminal::stderr()), view, paint)
    }

    fn on(terminal: Option<Terminal>, view: View, paint: Paint) -> Self {
        let target = match &terminal {
            Some(terminal) => ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), REDRAWS),
            None => ProgressDrawTarget::hidden(),
        };
        let state = State { view, drawn: Vec::new(), lines: HashMap::new(), shown: Shown::Live };
        Self { bars: MultiProgress::with_draw_target(target), terminal, paint, state: Mutex::new(state) }
    }

    /// Columns for the view's words.
    fn width(&self) -> usize {
        self.terminal.as_ref().map_or(usize::MAX, |terminal| usize::from(terminal.width()).saturating_sub(SURROUNDINGS))
    }

    /// Writes a line above the active Runs; while they are taken away, at the cursor.
    pub fn print(&self, text: &str) {
        self.write(self.state().shown, text);
    }

    fn write(&self, shown: Shown, text: &str) {
        // With the terminal gone there is no place left to report to.
        let _ = match shown {
            Shown::Live => self.bars.println(text),
            Shown::Aside | Shown::Closed => writeln!(io::stderr().lock(), "{text}"),
        };
    }

    /// Takes the active Runs' lines away, and shows nothing of the job from here on.
    pub fn close(&self) {
        let mut state = self.state();
        self.take_away(&mut state);
        state.shown = Shown::Closed;
    }

    /// Takes the active Runs' lines away until [`Progress::come_back`], so that the terminal is free for a question.
    pub fn set_aside(&self) {
        let mut state = self.state();
        if state.shown == Shown::Live {
            self.take_away(&mut state);
            state.shown = Shown::Aside;
        }
    }

    /// Shows the active Runs again.
    pub fn come_back(&self) {
        let mut state = self.state();
        if state.shown == Shown::Aside {
            state.shown = Shown::Live;
            self.draw(&mut state);
        }
    }

    fn take_away(&self, state: &mut State) {
        state.drawn.clear();
        for (_, line) in state.lines.drain() {
            line.finish_and_clear();
            self.bars.remove(&line);
        }
        // As in `write`.
        let _ = self.bars.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what is drawn in line with the view.
    fn draw(&self, state: &mut State) {
        let active: Vec<RunId> = state.view.active().cloned().collect();
        let width = self.width();
        let gone: Vec<RunId> = state.drawn.extract_if(.., |id| !active.contains(id)).collect();
        for line in gone.iter().filter_map(|id| state.lines.remove(id)) {
            line.finish_and_clear();
            self.bars.remove(&line);
        }
        for (at, id) in active.iter().enumerate() {
            if state.drawn.get(at) != Some(id) {
                self.place(state, at, id);
            }
            if let (Some(line), Some(text)) = (state.lines.get(id), state.view.line(id, width))
                && line.message() != text
            {
                line.set_message(text);
            }
        }
    }

    /// Puts a Run's line at its place, a new one or one that was elsewhere.
    fn place(&self, state: &mut State, at: usize, id: &RunId) {
        let line = if let Some(line) = state.lines.remove(id) {
            state.drawn.retain(|other| other != id);
            self.bars.remove(&line);
            self.bars.insert(at, line)
        } else {
            let line = self.bars.insert(at, ProgressBar::new_spinner().with_style(style(self.paint)));
            line.enable_steady_tick(TICK);
            line
        };
        state.lines.insert(id.clone(), line);
        state.drawn.insert(at.min(state.drawn.len()), id.clone());
    }
}

/// Spinner, the view's line cut to the terminal's width, elapsed time.
fn style(paint: Paint) -> ProgressStyle {
    let template =
        if paint.is_on() { "{spinner:.cyan} {wide_msg} {elapsed:.dim}" } else { "{spinner} {wide_msg} {elapsed}" };
    ProgressStyle::with_template(&format!("{template}{MARGIN}")).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl EventSink for Progress {
    fn emit(&self, event: &Event, _history: &[Message]) {
        let mut state = self.state();
        if state.shown == Shown::Closed {
            return;
        }
        for note in state.view.apply(event) {
            self.write(state.shown, &note_line(&note, self.paint));
        }
        if state.shown == Shown::Live {
            self.draw(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use perstack::event::EventBody;

    use super::super::fixture::{delegated, event, event_checkpoint, head, initialize, step};
    use super::super::view::Verbosity;
    use super::*;

    fn hidden() -> Progress {
        Progress::on(None, View::new(Verbosity::Normal), Paint::plain())
    }

    fn start(head: perstack::checkpoint::CheckpointHead) -> EventBody {
        EventBody::StartRun { initial_checkpoint: event_checkpoint(head), input_messages: Vec::new() }
    }

    /// The lines that are drawn, from the top.
    fn lines(progress: &Progress) -> Vec<String> {
        let state = progress.state();
        state.drawn.iter().filter_map(|id| state.lines.get(id)).map(ProgressBar::message).collect()
    }

    #[test]
    fn a_delegates_line_stands_below_its_parents() {
        let progress = hidden();
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
        let progress = hidden();
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
        let progress = hidden();
        let emit = |run: &str, body| progress.emit(&event(run, body), &[]);
        emit("r1", start(head("r1", 1)));
        progress.set_aside();
        assert_eq!(lines(&progress), [""; 0]);
        emit("r2", initialize("reader"));
        assert_eq!(lines(&progress), [""; 0]);
        progress.come_back();
        assert_eq!(lines(&progress), ["researcher  step 1", "reader  starting skills"]);
        progress.close();
        progress.come_back();
        assert_eq!(lines(&progress), [""; 0]);
    }
}
