//! Events on stdout: one JSON object a line, flushed line by line.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use perstack::event::{Detail, Event, EventSink};
use perstack::message::Message;
use tokio_util::sync::CancellationToken;

use super::text::json_for;

/// Writes events until their reader goes away; then stops the job.
pub struct JsonLines<W> {
    /// Empty: all types.
    filter: HashSet<String>,
    detail: Detail,
    is_terminal: bool,
    cancel: CancellationToken,
    state: Mutex<State<W>>,
}

struct State<W> {
    out: W,
    /// A write failed; nothing more is written.
    failed: bool,
    error: Option<io::Error>,
}

impl<W: Write> JsonLines<W> {
    /// Writes events of the types in `filter`, or all when it is empty, to `out`, usually stdout.
    pub fn new(out: W, filter: &[String], detail: Detail, cancel: CancellationToken) -> Self {
        let state = Mutex::new(State { out, failed: false, error: None });
        Self { filter: filter.iter().cloned().collect(), detail, is_terminal: false, cancel, state }
    }

    /// With `is_terminal`, characters that act on a terminal are escapes.
    #[must_use]
    pub fn escaped(self, is_terminal: bool) -> Self {
        Self { is_terminal, ..self }
    }

    /// The first failure to write, once.
    pub fn take_error(&self) -> Option<io::Error> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).error.take()
    }
}

impl<W: Write + Send> EventSink for JsonLines<W> {
    fn emit(&self, event: &Event, history: &[Message]) {
        if !self.filter.is_empty() && !self.filter.contains(event.body.type_name()) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed {
            return;
        }
        let written = event.to_json(history, self.detail).map_err(io::Error::from).and_then(|line| {
            let line = json_for(&line, self.is_terminal).into_owned() + "\n";
            state.out.write_all(line.as_bytes())?;
            state.out.flush()
        });
        if let Err(error) = written {
            state.failed = true;
            state.error = Some(error);
            self.cancel.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use perstack::event::EventBody;

    use super::super::fixture::{event, event_checkpoint, head, step};
    use super::*;

    /// Takes two lines, then is closed.
    struct TwoLines(Vec<u8>, usize);

    impl Write for TwoLines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 2 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            self.1 += 1;
            Ok(())
        }
    }

    fn types(written: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(written).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
            .collect()
    }

    fn complete() -> EventBody {
        let checkpoint = event_checkpoint(head("r1", 1));
        let usage = perstack::usage::Usage::default();
        EventBody::CompleteRun {
            checkpoint,
            step: step(1, Vec::new()),
            text: "done".to_owned(),
            usage,
            spend: perstack::cost::Spend::default(),
        }
    }

    #[test]
    fn only_the_filters_types_are_written() {
        let cancel = CancellationToken::new();
        let sink = JsonLines::new(Vec::new(), &["completeRun".to_owned()], Detail::New, cancel.clone());
        sink.emit(&event("r1", EventBody::StartStreamingReasoning), &[]);
        sink.emit(&event("r1", complete()), &[]);
        assert_eq!(types(&sink.state.into_inner().unwrap().out), ["completeRun"]);
        assert!(!cancel.is_cancelled());
    }

    #[test]
    fn a_reader_that_goes_away_stops_the_job_once() {
        let cancel = CancellationToken::new();
        let sink = JsonLines::new(TwoLines(Vec::new(), 0), &[], Detail::New, cancel.clone());
        for _ in 0..4 {
            sink.emit(&event("r1", EventBody::StartStreamingReasoning), &[]);
        }
        assert!(cancel.is_cancelled());
        assert_eq!(sink.take_error().map(|e| e.kind()), Some(io::ErrorKind::BrokenPipe));
        assert_eq!(types(&sink.state.into_inner().unwrap().out.0).len(), 2);
    }
}
