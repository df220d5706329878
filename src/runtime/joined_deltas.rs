//! [`JoinedDeltas`]: the small pieces of an answer that streams in, joined to larger ones on their way to a job's sink.
//!
//! The runtime's doors put it before the sink. An event of a piece costs some 350 bytes as JSON, and a model's piece is a
//! word; joined within a time that no eye sees, an answer costs little more than its text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Event, EventBody, EventSink};
use crate::fact::Fact;
use crate::id::RunId;
use crate::message::Message;

/// The longest time for which a piece is held back.
const INTERVAL: Duration = Duration::from_millis(30);

/// Most bytes that are held back.
const MOST_HELD: usize = 64 << 10;

/// A sink that joins pieces of the same text. The first one of a text is passed on at once. Any other event of the Run
/// comes behind the pieces before it, as ever.
pub struct JoinedDeltas {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Arc<dyn EventSink>,
    /// Pieces are joined whenever they come: a replay, whose events do not depend on time, has no pauses.
    is_timeless: bool,
    streams: Mutex<HashMap<RunId, Stream>>,
}

/// The text of a Run that streams.
struct Stream {
    /// Pieces that were not passed on yet, with the envelope of the first.
    held: Option<Event>,
    /// The time at which one was passed on.
    passed: Instant,
}

impl JoinedDeltas {
    /// Joins pieces that come shortly after one another; with `is_timeless`, by their number of bytes alone.
    pub fn new(sink: Arc<dyn EventSink>, is_timeless: bool) -> Self {
        Self { shared: Arc::new(Shared { sink, is_timeless, streams: Mutex::default() }) }
    }
}

impl EventSink for JoinedDeltas {
    fn emit(&self, event: &Event, history: &[Message]) {
        let shared = &self.shared;
        // Locked while events are passed on, so that none overtakes another.
        let mut streams = shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if piece(&event.body).is_none() {
            if let Some(held) = streams.remove(&event.run_id).and_then(|stream| stream.held) {
                shared.sink.emit(&held, &[]);
            }
            return shared.sink.emit(event, history);
        }
        let Some(stream) = streams.get_mut(&event.run_id) else {
            streams.insert(event.run_id.clone(), Stream { held: None, passed: Instant::now() });
            return shared.sink.emit(event, history);
        };
        if !stream.joins(event) {
            stream.pass(&*shared.sink);
            if shared.is_due(stream) {
                stream.passed = Instant::now();
                return shared.sink.emit(event, history);
            }
            stream.held = Some(event.clone());
            if !shared.is_timeless && !shared.pass_later(&event.run_id, stream.passed) {
                stream.pass(&*shared.sink);
            }
        }
        if stream.held.as_ref().and_then(|held| piece(&held.body)).is_some_and(|text| text.len() >= MOST_HELD) {
            stream.pass(&*shared.sink);
        }
    }

    fn fact(&self, run: &RunId, fact: &Fact) {
        self.shared.sink.fact(run, fact);
    }
}

impl Shared {
    fn is_due(&self, stream: &Stream) -> bool {
        !self.is_timeless && stream.passed.elapsed() >= INTERVAL
    }

    /// Passes on what is held back of this Run when its time is up; returns false where nothing can wait for that.
    fn pass_later(self: &Arc<Self>, run: &RunId, passed: Instant) -> bool {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
        let (shared, run) = (Arc::clone(self), run.clone());
        runtime.spawn(async move {
            tokio::time::sleep_until(passed + INTERVAL).await;
            let mut streams = shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(stream) = streams.get_mut(&run).filter(|stream| shared.is_due(stream)) {
                stream.pass(&*shared.sink);
            }
        });
        true
    }
}

impl Stream {
    /// Adds the piece of `event` to what is held back, if it goes on with that; returns whether it does.
    fn joins(&mut self, event: &Event) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| held.step_number == event.step_number) else { return false };
        match (&mut held.body, &event.body) {
            (EventBody::StreamReasoning { delta }, EventBody::StreamReasoning { delta: next })
            | (EventBody::StreamText { delta }, EventBody::StreamText { delta: next })
            | (EventBody::StreamRunResult { delta }, EventBody::StreamRunResult { delta: next }) => {
                delta.push_str(next);
                true
            }
            _ => false,
        }
    }

    fn pass(&mut self, sink: &dyn EventSink) {
        if let Some(held) = self.held.take() {
            self.passed = Instant::now();
            sink.emit(&held, &[]);
        }
    }
}

fn piece(body: &EventBody) -> Option<&str> {
    match body {
        EventBody::StreamReasoning { delta }
        | EventBody::StreamText { delta }
        | EventBody::StreamRunResult { delta } => Some(delta),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SCHEMA_VERSION;

    fn event(run: &str, number: u64, body: EventBody) -> Event {
        Event {
            body,
            id: number.to_string(),
            timestamp: number,
            job_id: "job".parse().unwrap(),
            run_id: run.parse().unwrap(),
            expert_key: None,
            step_number: Some(1),
            sequence: None,
            schema_version: SCHEMA_VERSION,
        }
    }

    struct Studio {
        joined: JoinedDeltas,
        seen: Arc<Mutex<Vec<String>>>,
        emitted: u64,
    }

    impl Studio {
        fn new(is_timeless: bool) -> Self {
            let seen: Arc<Mutex<Vec<String>>> = Arc::default();
            let to = Arc::clone(&seen);
            let sink = move |event: &Event, _: &[Message]| {
                let what = piece(&event.body).map_or_else(|| event.body.type_name().to_owned(), str::to_owned);
                to.lock().unwrap().push(format!("{}{}: {what}", event.run_id.as_str(), event.id));
            };
            Self { joined: JoinedDeltas::new(Arc::new(sink), is_timeless), seen, emitted: 0 }
        }

        fn emit(&mut self, run: &str, body: EventBody) {
            self.emitted += 1;
            self.joined.emit(&event(run, self.emitted, body), &[]);
        }

        fn text(&mut self, run: &str, delta: &str) {
            self.emit(run, EventBody::StreamText { delta: delta.to_owned() });
        }

        fn seen(&self) -> Vec<String> {
            std::mem::take(&mut *self.seen.lock().unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_of_a_text_are_joined_for_a_while() {
        let mut studio = Studio::new(false);
        studio.emit("a", EventBody::StartStreamingText);
        studio.text("a", "An ");
        assert_eq!(studio.seen(), ["a1: startStreamingText", "a2: An "], "the first comes at once");
        studio.text("a", "owl ");
        studio.text("b", "Also ");
        studio.text("a", "sees");
        assert_eq!(studio.seen(), ["b4: Also "], "another Run's text is its own");
        // A little longer, as the order of timers of one moment is not known.
        tokio::time::sleep(INTERVAL + Duration::from_millis(1)).await;
        assert_eq!(studio.seen(), ["a3: owl sees"], "with the envelope of its first piece");
        studio.text("a", " at");
        studio.text("a", " night");
        studio.emit("a", EventBody::CompleteStreamingText { text: String::new() });
        assert_eq!(studio.seen(), ["a6:  at night", "a8: completeStreamingText"]);
        studio.text("a", "Next");
        assert_eq!(studio.seen(), ["a9: Next"]);
        tokio::time::sleep(INTERVAL).await;
        studio.text("a", "!");
        assert_eq!(studio.seen(), ["a10: !"], "after a pause nothing waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replay_joins_by_size_alone() {
        let mut studio = Studio::new(true);
        studio.text("a", "1");
        studio.text("a", "2");
        tokio::time::sleep(2 * INTERVAL).await;
        studio.text("a", "3");
        assert_eq!(studio.seen(), ["a1: 1"]);
        studio.emit("a", EventBody::StreamReasoning { delta: "x".repeat(MOST_HELD) });
        let seen = studio.seen();
        assert_eq!((seen.len(), seen[0].as_str(), seen[1].len()), (2, "a2: 23", "a4: ".len() + MOST_HELD));
    }

    #[test]
    fn without_a_runtime_nothing_waits() {
        let mut studio = Studio::new(false);
        studio.text("a", "1");
        studio.text("a", "2");
        assert_eq!(studio.seen(), ["a1: 1", "a2: 2"]);
    }
}
