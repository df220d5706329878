//! [`NoTelemetry`]: what a build without the cargo feature `telemetry` has in place of the folder `telemetry/`: nothing but
//! a warning where traces are asked for. `job_runner` and `each` use it by the names of that folder.

use std::future::Ready;
use std::sync::Arc;

use perstack::event::EventSink;
use perstack::runtime::Options;
use tokio::runtime::Handle;

pub use self::{NoTelemetry as Telemetry, NoTracedJob as TracedJob};

/// No traces: there is no value of this type.
pub enum NoTelemetry {}

/// The trace of no job.
pub enum NoTracedJob {}

impl NoTelemetry {
    /// Returns none, with a warning where an endpoint is set.
    pub fn start(options: &Options, _runtime: &Handle, mut warn: impl FnMut(&str)) -> Option<Self> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        if let Some(name) = names.into_iter().find(|name| options.environment.users(name).is_some()) {
            warn(&format!("{name} is ignored: this build has no telemetry (cargo feature `telemetry`)"));
        }
        None
    }

    /// Never called.
    pub fn job(&self) -> NoTracedJob {
        match *self {}
    }

    /// Never called.
    pub fn close(self) -> Ready<Option<String>> {
        match self {}
    }
}

impl NoTracedJob {
    /// Never called.
    pub fn around(&self, _sink: Arc<dyn EventSink>) -> Arc<dyn EventSink> {
        match *self {}
    }

    /// Never called.
    pub fn end(&self, _failure: Option<String>) {
        match *self {}
    }
}
