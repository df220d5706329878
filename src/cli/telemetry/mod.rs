//! [`Telemetry`]: traces of jobs, sent to the collector that the standard variables name. `job_runner` and `each` start it,
//! put a [`TracedJob`]'s sink around each job's own, and close it at the end.
//!
//! Facts and events become spans in `spans`, their names are in `names`, and `export` sends them. Nothing of this exists
//! where no endpoint is set.

mod agent;
mod content;
mod export;
mod names;
mod otlp;
mod settings;
mod span;
mod spans;
mod trace_context;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use perstack::checkpoint::Status;
use perstack::event::{Event, EventBody, EventSink};
use perstack::fact::{Clock as _, Fact};
use perstack::id::RunId;
use perstack::message::Message;
use perstack::provider::http::transport::HttpTransport;
use perstack::runtime::{CassetteMode, Options, SystemClock};
use tokio::runtime::Handle;

use self::export::{Exporter, SpanQueue};
use self::settings::TelemetrySettings;
use self::spans::{SpanBuilder, TraceSettings};

/// The traces of this process's jobs.
pub struct Telemetry {
    settings: TraceSettings,
    exporter: Exporter,
}

/// The trace of one job.
pub struct TracedJob {
    recorder: Arc<SpanRecorder>,
}

/// Makes spans and hands on those that are finished.
struct SpanRecorder {
    builder: Mutex<SpanBuilder>,
    queue: Arc<SpanQueue>,
}

impl Telemetry {
    /// Starts to export, as a task of `runtime`, if the variables ask for it. What is wrong with them is passed to `warn`.
    /// A replay is no work of its own: it is not exported.
    pub fn start(options: &Options, runtime: &Handle, mut warn: impl FnMut(&str)) -> Option<Self> {
        if matches!(options.cassette, CassetteMode::Replay { .. }) {
            return None;
        }
        let (settings, warnings) = TelemetrySettings::read(&options.environment);
        for warning in &warnings {
            warn(warning);
        }
        let settings = settings?;
        let transport = match HttpTransport::of_environment(options.proxy.as_deref(), &options.environment) {
            Ok(transport) => transport,
            Err(error) => {
                warn(&format!("no traces are exported: {error}"));
                return None;
            }
        };
        let TelemetrySettings { parent, sampler, captures_content, mut export } = settings;
        let redactor = options.redactor();
        for (_, value) in &mut export.resource {
            *value = redactor.text(value);
        }
        let exporter = Exporter::start(export, transport, redactor, runtime);
        Some(Self { settings: TraceSettings { parent, sampler, captures_content }, exporter })
    }

    /// The trace of a further job.
    pub fn job(&self) -> TracedJob {
        let stamp = SystemClock.stamp();
        let builder = SpanBuilder::new(self.settings.clone(), format!("{} {}", stamp.at, stamp.seed));
        TracedJob { recorder: Arc::new(SpanRecorder { builder: Mutex::new(builder), queue: self.exporter.queue() }) }
    }

    /// Sends what is left, for less than a second. Returns the warning about spans that were not delivered, if there are
    /// any.
    pub async fn close(self) -> Option<String> {
        self.exporter.close().await
    }
}

impl TracedJob {
    /// A sink that passes everything on to `sink`, and makes spans of it.
    pub fn around(&self, sink: Arc<dyn EventSink>) -> Arc<dyn EventSink> {
        Arc::new(TracedSink { sink, recorder: Arc::clone(&self.recorder) })
    }

    /// Ends the job's spans. `outcome` is the job's status, or the reason for which it has none.
    pub fn end(&self, outcome: Result<Status, String>) {
        let spans = self.recorder.lock().end(outcome);
        self.recorder.queue.push(spans);
    }
}

impl SpanRecorder {
    fn lock(&self) -> MutexGuard<'_, SpanBuilder> {
        self.builder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, record: impl FnOnce(&mut SpanBuilder)) {
        let mut builder = self.lock();
        record(&mut builder);
        let finished = builder.take_finished();
        drop(builder);
        self.queue.push(finished);
    }
}

struct TracedSink {
    sink: Arc<dyn EventSink>,
    recorder: Arc<SpanRecorder>,
}

impl EventSink for TracedSink {
    fn emit(&self, event: &Event, history: &[Message]) {
        self.sink.emit(event, history);
        let is_piece = matches!(
            event.body,
            EventBody::StreamReasoning { .. } | EventBody::StreamText { .. } | EventBody::StreamRunResult { .. }
        );
        if !is_piece {
            self.recorder.record(|builder| builder.event(event, history));
        }
    }

    fn fact(&self, run: &RunId, fact: &Fact) {
        self.sink.fact(run, fact);
        self.recorder.record(|builder| builder.fact(run, fact));
    }
}
