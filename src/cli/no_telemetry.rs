//! [`NoTelemetry`]: what a build without the cargo feature `telemetry` has in place of the folder `telemetry/`: nothing but
//! a warning where traces are asked for. `job_runner` and `each` use it by the names of that folder.

use std::future::Ready;
use std::sync::Arc;

use perstack::checkpoint::Status;
use perstack::environment::Environment;
use perstack::event::EventSink;
use perstack::runtime::{CassetteMode, Options};
use tokio::runtime::Handle;

pub use self::{NoTelemetry as Telemetry, NoTracedJob as TracedJob};

/// No traces: there is no value of this type.
pub enum NoTelemetry {}

/// The trace of no job.
pub enum NoTracedJob {}

impl NoTelemetry {
    /// Returns none, with a warning where traces would be exported.
    pub fn start(options: &Options, _runtime: &Handle, mut warn: impl FnMut(&str)) -> Option<Self> {
        let is_replay = matches!(options.cassette, CassetteMode::Replay { .. });
        if let Some(name) = endpoint(&options.environment).filter(|_| !is_replay) {
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
    pub fn end(&self, _outcome: Result<Status, String>) {
        match *self {}
    }
}

/// The variable that asks for traces, if one does and no other takes it back.
fn endpoint(environment: &Environment) -> Option<&'static str> {
    let get = |name: &str| environment.users(name).map(str::trim).filter(|value| !value.is_empty());
    let is_disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let exports = |list: &str| list.split(',').any(|exporter| exporter.trim() != "none");
    if is_disabled || !get("OTEL_TRACES_EXPORTER").is_none_or(exports) {
        return None;
    }
    let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    names.into_iter().find(|name| get(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_is_about_traces_that_would_be_exported() {
        const NAME: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let find = |pairs: &[(&str, &str)]| {
            endpoint(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let url = (NAME, "http://collector:4318");
        for pairs in [&[url][..], &[url, ("OTEL_SDK_DISABLED", "false")], &[url, ("OTEL_TRACES_EXPORTER", "none,otlp")]]
        {
            assert_eq!(find(pairs), Some(NAME), "{pairs:?}");
        }
        for pairs in [
            &[(NAME, " ")][..],
            &[("OTEL_SERVICE_NAME", "owl")],
            &[url, ("OTEL_SDK_DISABLED", "TRUE")],
            &[url, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(find(pairs), None, "{pairs:?}");
        }
    }
}
