//! Progress where there is no terminal: a plain line per finished step, retry and end, without times.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use perstack::event::{Event, EventSink};
use perstack::message::Message;

use super::note_line;
use super::text::Paint;
use super::view::View;

/// Writes notes as they come.
pub struct PlainLines<W> {
    paint: Paint,
    state: Mutex<(View, W)>,
}

impl<W: Write> PlainLines<W> {
    /// Writes to `out`, usually stderr.
    pub fn new(out: W, view: View, paint: Paint) -> Self {
        Self { paint, state: Mutex::new((view, out)) }
    }
}

impl<W: Write + Send> EventSink for PlainLines<W> {
    fn emit(&self, event: &Event, _history: &[Message]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (view, out) = &mut *state;
        for note in view.apply(event) {
            // A line in one write, so that other processes' lines on the same stderr do not cut it. A failure
            // is ignored: the job is worth more than its progress.
            let _ = out.write_all((note_line(&note, self.paint) + "\n").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use perstack::event::EventBody;

    use super::super::fixture::{call, event, event_checkpoint, head, step};
    use super::super::view::Verbosity;
    use super::*;

    #[test]
    fn steps_are_plain_lines() {
        let lines = PlainLines::new(Vec::new(), View::new(Verbosity::Normal), Paint::plain());
        let emit = |body| lines.emit(&event("r1", body), &[]);
        emit(EventBody::StartRun { initial_checkpoint: event_checkpoint(head("r1", 1)), input_messages: Vec::new() });
        emit(EventBody::ContinueToNextStep {
            checkpoint: event_checkpoint(head("r1", 1)),
            step: step(1, vec![call("c1", "readTextFile", "path", "notes/a.md")]),
            next_checkpoint: event_checkpoint(head("r1", 2)),
        });
        let (_, written) = lines.state.into_inner().unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "▸ researcher\n✓ step 1  readTextFile notes/a.md\n");
    }
}
