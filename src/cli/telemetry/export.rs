//! [`Exporter`]: sends finished spans to the collector, in batches, beside the job.
//!
//! A job waits for nothing here but, at its end, for [`CLOSING`]. What a collector does not take while there is no room
//! for more is lost, and counted: traces are never worth a job.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use perstack::provider::http::fetch::{Fetch, Method};
use perstack::provider::http::transport::{HttpTransport, Transport as _};
use perstack::redact::Redactor;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::otlp;
use super::settings::ExportSettings;
use super::span::TraceSpan;

/// The time between two exports, and of a batch that was not taken until it is sent again (the specification's default of
/// `OTEL_BSP_SCHEDULE_DELAY`).
const INTERVAL: Duration = Duration::from_secs(5);

/// The time that the last export has once the job is over, connection and all: within the second that the end of a job may
/// take longer.
const CLOSING: Duration = Duration::from_millis(800);

/// Most spans of one export, and most that wait for one (the specification's defaults).
const BATCH: usize = 512;
const MOST_WAITING: usize = 2048;

/// Most bytes of one export, and of the spans that wait; collectors take several megabytes.
const BATCH_BYTES: usize = 1 << 20;
const MOST_BYTES_WAITING: usize = 16 << 20;

/// Sends spans until it is closed.
pub struct Exporter {
    queue: Arc<SpanQueue>,
    task: JoinHandle<()>,
}

/// The spans that wait to be sent.
#[derive(Default)]
pub struct SpanQueue {
    state: Mutex<QueueState>,
    wake: Notify,
}

#[derive(Default)]
struct QueueState {
    spans: VecDeque<TraceSpan>,
    bytes: usize,
    /// All that were ever pushed, and those of them that a collector has taken.
    pushed: usize,
    delivered: usize,
    is_closed: bool,
    /// The reason for which the latest export failed.
    problem: Option<String>,
}

/// The failure of an export.
enum ExportFailure {
    /// The same may be taken later.
    Passing(String),
    Final(String),
}

impl SpanQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds finished spans; those that there is no room for are lost.
    pub fn push(&self, spans: Vec<TraceSpan>) {
        if spans.is_empty() {
            return;
        }
        let mut state = self.lock();
        for span in spans {
            state.pushed += 1;
            let size = span.size();
            if state.spans.len() < MOST_WAITING && state.bytes + size <= MOST_BYTES_WAITING {
                state.bytes += size;
                state.spans.push_back(span);
            }
        }
        let is_due = state.spans.len() >= BATCH || state.bytes >= BATCH_BYTES;
        drop(state);
        if is_due {
            self.wake.notify_one();
        }
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_one();
    }

    /// Waits until an export is due: after a while, when there is enough for one (unless the last one failed), or at the
    /// end. Returns whether it is the last.
    async fn due(&self, has_failed: bool) -> bool {
        let mut timer = std::pin::pin!(tokio::time::sleep(INTERVAL));
        loop {
            let is_closed = self.lock().is_closed;
            if is_closed {
                return true;
            }
            tokio::select! {
                () = &mut timer => return self.lock().is_closed,
                () = self.wake.notified() => {
                    let is_closed = self.lock().is_closed;
                    if is_closed || !has_failed {
                        return is_closed;
                    }
                }
            }
        }
    }

    fn next_batch(&self) -> Vec<TraceSpan> {
        let mut state = self.lock();
        let mut bytes = 0_usize;
        let mut batch = Vec::new();
        while let Some(span) = state
            .spans
            .pop_front_if(|span| batch.len() < BATCH && (batch.is_empty() || bytes + span.size() <= BATCH_BYTES))
        {
            bytes += span.size();
            batch.push(span);
        }
        state.bytes = state.bytes.saturating_sub(bytes);
        batch
    }

    /// Puts a batch back to where it came from.
    fn put_back(&self, batch: Vec<TraceSpan>) {
        let mut state = self.lock();
        state.bytes += batch.iter().map(TraceSpan::size).sum::<usize>();
        batch.into_iter().rev().for_each(|span| state.spans.push_front(span));
    }

    /// The warning about spans that were not delivered, if there are any.
    fn report(&self) -> Option<String> {
        let state = self.lock();
        let lost = state.pushed.saturating_sub(state.delivered);
        let why = match &state.problem {
            _ if lost == 0 => return None,
            Some(problem) => problem.clone(),
            None => format!("no answer within {} ms of the job's end", CLOSING.as_millis()),
        };
        Some(format!("telemetry: {lost} of {} spans were not delivered: {why}", state.pushed))
    }
}

impl Exporter {
    /// Starts to send what is pushed, as a task of `runtime`.
    pub fn start(settings: ExportSettings, transport: HttpTransport, redactor: Redactor, runtime: &Handle) -> Self {
        let queue = Arc::new(SpanQueue::default());
        let sender = Sender { settings, transport, redactor };
        let task = runtime.spawn({
            let queue = Arc::clone(&queue);
            async move { sender.run(&queue).await }
        });
        Self { queue, task }
    }

    /// The spans that are to be sent.
    pub fn queue(&self) -> Arc<SpanQueue> {
        Arc::clone(&self.queue)
    }

    /// Sends what is left, for [`CLOSING`] at most. Returns the warning about what was not delivered, if anything.
    pub async fn close(mut self) -> Option<String> {
        self.queue.close();
        // A collector that does not answer is given up.
        if tokio::time::timeout(CLOSING, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.queue.report()
    }
}

/// The way to the collector.
struct Sender {
    settings: ExportSettings,
    transport: HttpTransport,
    redactor: Redactor,
}

impl Sender {
    async fn run(&self, queue: &SpanQueue) {
        let mut has_failed = false;
        loop {
            let is_last = queue.due(has_failed).await;
            has_failed = self.send_all(queue).await.is_err();
            if is_last {
                return;
            }
        }
    }

    /// Sends all that waits. Stops at a failure that may pass.
    async fn send_all(&self, queue: &SpanQueue) -> Result<(), ()> {
        loop {
            let mut batch = queue.next_batch();
            if batch.is_empty() {
                return Ok(());
            }
            for span in &mut batch {
                span.mask(&self.redactor);
            }
            match self.send(&batch).await {
                Ok(()) => {
                    let mut state = queue.lock();
                    state.delivered += batch.len();
                    state.problem = None;
                }
                Err(ExportFailure::Final(problem)) => queue.lock().problem = Some(problem),
                Err(ExportFailure::Passing(problem)) => {
                    queue.lock().problem = Some(problem);
                    queue.put_back(batch);
                    return Err(());
                }
            }
        }
    }

    async fn send(&self, batch: &[TraceSpan]) -> Result<(), ExportFailure> {
        let ExportSettings { endpoint, encoding, headers, timeout, resource } = &self.settings;
        let body = otlp::encode(batch, resource, *encoding);
        let mut headers = headers.clone();
        headers.push(("content-type".to_owned(), otlp::content_type(*encoding).to_owned()));
        headers.push(("user-agent".to_owned(), concat!("perstack/", env!("CARGO_PKG_VERSION")).to_owned()));
        let request = Fetch { method: Method::Post, url: endpoint.clone(), headers, body, limit: *timeout };
        let sent = self.transport.fetch(request).await;
        let response = sent.map_err(|error| ExportFailure::Passing(self.redactor.text(&error.to_string())))?;
        match response.status {
            _ if response.is_success() => Ok(()),
            status @ (429 | 502 | 503 | 504) => Err(ExportFailure::Passing(refusal(status))),
            status => Err(ExportFailure::Final(refusal(status))),
        }
    }
}

fn refusal(status: u16) -> String {
    let hint = match status {
        401 | 403 => ": the key is to be in OTEL_EXPORTER_OTLP_HEADERS",
        404 | 405 => ": OTEL_EXPORTER_OTLP_ENDPOINT is the address before /v1/traces",
        _ => "",
    };
    format!("the collector refused them with status {status}{hint}")
}

#[cfg(test)]
mod tests {
    use super::super::names::SpanOperation;
    use super::super::span::{SpanId, TraceId};
    use super::*;

    fn span(text: &str) -> TraceSpan {
        TraceSpan {
            trace: TraceId([1; 16]),
            id: SpanId([2; 8]),
            parent: None,
            is_entry: false,
            operation: SpanOperation::Chat,
            subject: String::new(),
            began: 1,
            ended: 2,
            attributes: vec![("a", text.into())],
            error: None,
        }
    }

    #[test]
    fn batches_are_bounded_in_number_and_bytes() {
        let queue = SpanQueue::default();
        queue.push(vec![span("x"); 600]);
        assert_eq!((queue.next_batch().len(), queue.next_batch().len(), queue.next_batch().len()), (512, 88, 0));
        assert_eq!(queue.lock().bytes, 0);
        queue.push(vec![span(&"x".repeat(600 << 10)); 3]);
        assert_eq!(queue.next_batch().len(), 1);
        let rest = queue.next_batch();
        queue.put_back(rest);
        assert_eq!(queue.lock().spans.len(), 2);
        // One that is larger than any batch is sent alone.
        let queue = SpanQueue::default();
        queue.push(vec![span(&"x".repeat(2 * BATCH_BYTES)), span("x")]);
        assert_eq!((queue.next_batch().len(), queue.next_batch().len()), (1, 1));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_as_lost() {
        let queue = SpanQueue::default();
        assert_eq!(queue.report(), None);
        queue.push(vec![span("x"); MOST_WAITING + 5]);
        queue.lock().delivered = MOST_WAITING;
        queue.lock().problem = Some("it is down".to_owned());
        let expected = format!("telemetry: 5 of {} spans were not delivered: it is down", MOST_WAITING + 5);
        assert_eq!(queue.report(), Some(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn an_export_is_due_after_a_while_for_a_full_batch_and_at_the_end() {
        let queue = SpanQueue::default();
        queue.push(vec![span("x")]);
        let began = tokio::time::Instant::now();
        assert!(!queue.due(false).await);
        assert_eq!(began.elapsed(), INTERVAL);
        queue.push(vec![span("x"); BATCH]);
        assert!(!queue.due(false).await);
        assert_eq!(began.elapsed(), INTERVAL, "a full batch does not wait");
        queue.push(vec![span("x")]);
        assert!(!queue.due(true).await);
        assert_eq!(began.elapsed(), 2 * INTERVAL, "but behind a failure it does");
        queue.close();
        assert!(queue.due(true).await);
        assert_eq!(began.elapsed(), 2 * INTERVAL);
    }
}
