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

use super::otlp::{self, Rejection};
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

/// Most characters of a collector's own words.
const MOST_OF_REASON: usize = 300;

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
    /// The latest reason for which spans were not delivered; it stays when others are.
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
            } else {
                state.problem.get_or_insert_with(|| "too many were waiting".to_owned());
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
        let why = state.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
        (lost > 0).then(|| format!("telemetry: {lost} of {} spans were not delivered{why}", state.pushed))
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
            let problem = format!("no answer within {} ms of the job's end", CLOSING.as_millis());
            self.queue.lock().problem = Some(problem);
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
                Ok(Rejection { spans, reason }) => {
                    let mut state = queue.lock();
                    state.delivered += batch.len().saturating_sub(spans);
                    if spans > 0 {
                        state.problem = Some(rejection_text(&self.redactor.text(&reason)));
                    }
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

    /// Sends a batch. Returns what of it the collector has rejected.
    async fn send(&self, batch: &[TraceSpan]) -> Result<Rejection, ExportFailure> {
        let ExportSettings { endpoint, encoding, headers, timeout, resource } = &self.settings;
        let body = otlp::encode(batch, resource, *encoding);
        let mut headers = headers.clone();
        headers.push(("content-type".to_owned(), otlp::content_type(*encoding).to_owned()));
        headers.push(("user-agent".to_owned(), concat!("perstack/", env!("CARGO_PKG_VERSION")).to_owned()));
        let request = Fetch { method: Method::Post, url: endpoint.clone(), headers, body, limit: *timeout };
        let sent = self.transport.fetch(request).await;
        let response = sent.map_err(|error| ExportFailure::Passing(self.redactor.text(&error.to_string())))?;
        match response.status {
            _ if response.is_success() => Ok(otlp::rejection(&response.body, *encoding)),
            status @ (429 | 502 | 503 | 504) => Err(ExportFailure::Passing(refusal(status))),
            status => Err(ExportFailure::Final(refusal(status))),
        }
    }
}

fn rejection_text(reason: &str) -> String {
    let reason: String = reason.chars().take(MOST_OF_REASON).collect();
    let colon = if reason.is_empty() { "" } else { ": " };
    format!("the collector rejected them{colon}{reason}")
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
    use perstack::environment::Environment;
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::super::names::SpanOperation;
    use super::super::settings::OtlpEncoding;
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
        let expected = format!("telemetry: 5 of {} spans were not delivered: too many were waiting", MOST_WAITING + 5);
        assert_eq!(queue.report(), Some(expected));
        queue.lock().problem = Some("it is down".to_owned());
        let expected = format!("telemetry: 5 of {} spans were not delivered: it is down", MOST_WAITING + 5);
        assert_eq!(queue.report(), Some(expected));
    }

    /// An exporter with 600 spans, two batches, and its collector.
    async fn busy(encoding: OtlpEncoding) -> (Exporter, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = ExportSettings {
            endpoint: format!("http://{}/v1/traces", listener.local_addr().unwrap()),
            encoding,
            headers: Vec::new(),
            timeout: Duration::from_mins(1),
            resource: Vec::new(),
        };
        let transport = HttpTransport::of_environment(None, &Environment::default()).unwrap();
        let exporter = Exporter::start(settings, transport, Redactor::default(), &Handle::current());
        exporter.queue.push(vec![span("x"); 600]);
        (exporter, listener)
    }

    /// The report at the end of an exporter whose batches are answered so, in turn.
    async fn report(encoding: OtlpEncoding, answers: [(&str, &[u8]); 2]) -> Option<String> {
        let (exporter, listener) = busy(encoding).await;
        exporter.queue.close();
        for (status, body) in answers {
            let (stream, _) = listener.accept().await.unwrap();
            answer(stream, status, body).await;
        }
        exporter.task.await.unwrap();
        exporter.queue.report()
    }

    /// Reads a request and answers it.
    async fn answer(stream: TcpStream, status: &str, body: &[u8]) {
        let mut stream = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn the_report_has_the_reason_for_which_spans_were_lost() {
        let taken: (&str, &[u8]) = ("200 OK", b"");
        assert_eq!(report(OtlpEncoding::Json, [taken, taken]).await, None);
        let expected = "telemetry: 512 of 600 spans were not delivered: the collector refused them with status 400";
        assert_eq!(report(OtlpEncoding::Json, [("400 No", b""), taken]).await.as_deref(), Some(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_does_not_answer_at_the_end_is_the_reason_though_there_was_another() {
        let (exporter, _listener) = busy(OtlpEncoding::Json).await;
        exporter.queue.lock().problem = Some("it is down".to_owned());
        let expected = "telemetry: 600 of 600 spans were not delivered: no answer within 800 ms of the job's end";
        assert_eq!(exporter.close().await.as_deref(), Some(expected));
    }

    #[tokio::test]
    async fn spans_that_a_collector_rejects_in_its_answer_are_not_delivered() {
        let expected = "telemetry: 7 of 600 spans were not delivered: the collector rejected them: too old";
        for (encoding, rejecting, taking) in [
            (
                OtlpEncoding::Json,
                br#"{"partialSuccess":{"rejectedSpans":"7","errorMessage":"too old"}}"#.as_slice(),
                br#"{"partialSuccess":{}}"#.as_slice(),
            ),
            // partial_success: rejected_spans 7, error_message
            (OtlpEncoding::Protobuf, b"\x0a\x0b\x08\x07\x12\x07too old", b"\x0a\x00"),
        ] {
            let answers = [("200 OK", rejecting), ("200 OK", taking)];
            assert_eq!(report(encoding, answers).await.as_deref(), Some(expected), "{encoding:?}");
        }
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
