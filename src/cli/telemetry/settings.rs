//! [`TelemetrySettings`]: the standard variables of OpenTelemetry, read. Called once by the folder's door; the variables
//! are the user's own, as a downloaded project must not choose where a job's traces go.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use perstack::environment::Environment;
use perstack::redact::percent_decoded;
use url::Url;

use super::names;
use super::trace_context::{Sampler, TraceParent};

/// The time that one export may take (the specification's default).
const TIMEOUT: Duration = Duration::from_secs(10);

/// The encoding of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpEncoding {
    Protobuf,
    Json,
}

/// The whole of what the variables ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    pub parent: Option<TraceParent>,
    pub sampler: Sampler,
    /// Messages, arguments and results are exported too.
    pub captures_content: bool,
    pub export: ExportSettings,
}

/// The way to the collector.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportSettings {
    pub endpoint: String,
    pub encoding: OtlpEncoding,
    /// Values may be secrets.
    pub headers: Vec<(String, String)>,
    /// Of one export.
    pub timeout: Duration,
    /// Attributes of the resource, the service's name first.
    pub resource: Vec<(String, String)>,
}

/// Reads the user's variables and collects what is wrong with them.
struct Variables<'a> {
    environment: &'a Environment,
    warnings: Vec<String>,
}

impl TelemetrySettings {
    /// Reads the variables. Without an endpoint, or switched off, there are none. The texts name what is ignored.
    pub fn read(environment: &Environment) -> (Option<Self>, Vec<String>) {
        let mut variables = Variables { environment, warnings: Vec::new() };
        let settings = variables.settings();
        (settings, variables.warnings)
    }
}

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.environment.users(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The variable for traces, else that for all signals.
    fn of_exporter(&self, rest: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{rest}"), format!("OTEL_EXPORTER_OTLP_{rest}")];
        names.into_iter().find_map(|name| Some((self.get(&name)?.to_owned(), name)))
    }

    fn settings(&mut self) -> Option<TelemetrySettings> {
        if self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let endpoint = self.endpoint()?;
        if !self.exports_otlp() {
            return None;
        }
        let export = ExportSettings {
            endpoint,
            encoding: self.encoding()?,
            headers: self.headers()?,
            timeout: self.timeout(),
            resource: self.resource(),
        };
        Some(TelemetrySettings {
            parent: self.parent(),
            sampler: self.sampler(),
            captures_content: self.captures_content(),
            export,
        })
    }

    fn endpoint(&mut self) -> Option<String> {
        let of_traces = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned);
        let of_all = || Some(format!("{}/v1/traces", self.get("OTEL_EXPORTER_OTLP_ENDPOINT")?.trim_end_matches('/')));
        let is_of_traces = of_traces.is_some();
        let endpoint = of_traces.or_else(of_all)?;
        let is_usable = Url::parse(&endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_usable {
            let name = if is_of_traces { "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" } else { "OTEL_EXPORTER_OTLP_ENDPOINT" };
            // The address may hold a password.
            self.warnings.push(format!("{name} is no http or https URL: no traces are exported"));
        }
        is_usable.then_some(endpoint)
    }

    fn exports_otlp(&mut self) -> bool {
        let Some(exporters) = self.get("OTEL_TRACES_EXPORTER") else { return true };
        let mut exporters = exporters.split(',').map(str::trim);
        if exporters.clone().any(|exporter| exporter == "otlp") {
            return true;
        }
        if let Some(unknown) = exporters.find(|exporter| *exporter != "none") {
            self.warnings
                .push(format!("OTEL_TRACES_EXPORTER={unknown}: there are otlp and none; no traces are exported"));
        }
        false
    }

    fn encoding(&mut self) -> Option<OtlpEncoding> {
        let Some((protocol, name)) = self.of_exporter("PROTOCOL") else { return Some(OtlpEncoding::Protobuf) };
        match protocol.as_str() {
            "http/protobuf" => Some(OtlpEncoding::Protobuf),
            "http/json" => Some(OtlpEncoding::Json),
            _ => {
                self.warnings.push(format!(
                    "{name}={protocol}: traces are exported by http/protobuf or http/json (most collectors take them on \
                     port 4318); no traces are exported"
                ));
                None
            }
        }
    }

    fn headers(&mut self) -> Option<Vec<(String, String)>> {
        let Some((text, name)) = self.of_exporter("HEADERS") else { return Some(Vec::new()) };
        let is_header = |(name, value): &(String, String)| {
            HeaderName::try_from(name.as_str()).is_ok() && HeaderValue::try_from(value.as_str()).is_ok()
        };
        let headers = pairs(&text).filter(|headers| headers.iter().all(is_header));
        if headers.is_none() {
            self.warnings.push(format!("{name}: expected NAME=VALUE,NAME=VALUE; no traces are exported"));
        }
        headers
    }

    fn timeout(&mut self) -> Duration {
        let Some((text, name)) = self.of_exporter("TIMEOUT") else { return TIMEOUT };
        if let Some(ms) = text.parse().ok().filter(|ms| *ms > 0) {
            return Duration::from_millis(ms);
        }
        self.warnings.push(format!("{name}={text}: expected a number of milliseconds; it is taken as 10000"));
        TIMEOUT
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        let given = self.get("OTEL_RESOURCE_ATTRIBUTES").map(pairs);
        let mut given = given.unwrap_or_else(|| Some(Vec::new())).unwrap_or_else(|| {
            self.warnings.push("OTEL_RESOURCE_ATTRIBUTES: ignored: expected NAME=VALUE,NAME=VALUE".to_owned());
            Vec::new()
        });
        let of_list = given.iter().position(|(name, _)| name == names::SERVICE_NAME).map(|at| given.remove(at).1);
        let service = self.get("OTEL_SERVICE_NAME").map(str::to_owned).or(of_list);
        let service = service.unwrap_or_else(|| names::SCOPE.to_owned());
        let own = names::RESOURCE.iter().filter(|(name, _)| !given.iter().any(|(other, _)| other == name));
        let own: Vec<(String, String)> = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut resource = vec![(names::SERVICE_NAME.to_owned(), service)];
        resource.extend(own);
        resource.append(&mut given);
        resource
    }

    fn parent(&mut self) -> Option<TraceParent> {
        let parent = TraceParent::parse(self.get("TRACEPARENT")?);
        if parent.is_none() {
            self.warnings.push("TRACEPARENT is no trace context: the job's spans are a trace of their own".to_owned());
        }
        parent
    }

    fn sampler(&mut self) -> Sampler {
        let Some(name) = self.get("OTEL_TRACES_SAMPLER") else { return Sampler::default() };
        let argument = self.get("OTEL_TRACES_SAMPLER_ARG");
        if let Some(sampler) = Sampler::parse(name, argument) {
            return sampler;
        }
        let argument = argument.map(|argument| format!(" with {argument}")).unwrap_or_default();
        let warning = format!("OTEL_TRACES_SAMPLER={name}{argument}: not known; taken as parentbased_always_on");
        self.warnings.push(warning);
        Sampler::default()
    }

    fn captures_content(&self) -> bool {
        let value = self.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT").unwrap_or_default();
        ["true", "span_only", "span_and_event"].iter().any(|on| value.eq_ignore_ascii_case(on))
    }
}

/// Names and values of a list `NAME=VALUE,NAME=VALUE`, whose values are percent-encoded; none where it is no such list.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let pair = |entry: &str| {
        let (name, value) = entry.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        (!name.is_empty()).then(|| (name.to_owned(), percent_decoded(value).unwrap_or_else(|| value.to_owned())))
    };
    entries.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<TelemetrySettings>, Vec<String>) {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        TelemetrySettings::read(&pairs.collect())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    /// The settings with this variable beside the endpoint, and no warning.
    fn with(name: &str, value: &str) -> TelemetrySettings {
        let (settings, warnings) = read(&[ENDPOINT, (name, value)]);
        assert_eq!(warnings, Vec::<String>::new(), "{name}={value}");
        settings.unwrap()
    }

    #[test]
    fn without_an_endpoint_or_switched_off_there_are_none() {
        assert_eq!(read(&[("OTEL_SERVICE_NAME", "owl"), ("TRACEPARENT", "x")]), (None, Vec::new()));
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(read(&[ENDPOINT, off]), (None, Vec::new()), "{off:?}");
        }
        for on in [("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "console, otlp")] {
            with(on.0, on.1);
        }
    }

    #[test]
    fn a_folders_own_file_does_not_choose_the_collector() {
        use perstack::environment::VariableSource;
        let mut environment = Environment::default();
        environment.set_if_absent(ENDPOINT.0, ENDPOINT.1, VariableSource::FolderForSkills);
        assert_eq!(TelemetrySettings::read(&environment), (None, Vec::new()));
    }

    #[test]
    fn the_variable_for_traces_goes_before_that_for_all_signals() {
        assert_eq!(read(&[ENDPOINT]).0.unwrap().export.endpoint, "http://collector:4318/v1/traces");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/x");
        let (settings, _) = read(&[
            ENDPOINT,
            traces,
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", " api-key = x%20y , Authorization=Bearer z="),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ]);
        let settings = settings.unwrap().export;
        assert_eq!((settings.endpoint.as_str(), settings.encoding), ("https://other/x", OtlpEncoding::Json));
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [header("api-key", "x y"), header("Authorization", "Bearer z=")]);
        assert_eq!(settings.timeout, Duration::from_millis(2500));
    }

    #[test]
    fn a_header_is_masked_as_it_is_sent() {
        for (given, sent) in [
            ("Bearer%20owl-1234-key", "Bearer owl-1234-key"),
            ("Bearer owl-1234-key%", "Bearer owl-1234-key%"),
            ("Bearer%20owl-1234%zz-key", "Bearer%20owl-1234%zz-key"),
            ("Bearer%20owl-1234%+1-key", "Bearer%20owl-1234%+1-key"),
            ("Bearer%20owl-1234%FF-key", "Bearer%20owl-1234%FF-key"),
        ] {
            let variables = [ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization={given}"))];
            let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let environment: Environment = variables.into_iter().collect();
            let headers = TelemetrySettings::read(&environment).0.unwrap().export.headers;
            assert_eq!(headers, [("authorization".to_owned(), sent.to_owned())]);
            let shown = perstack::redact::Redactor::of_environment(&environment).text(&format!("got {sent}"));
            assert!(shown.ends_with("[redacted]") && !shown.contains("owl"), "{given}: {shown}");
        }
    }

    #[test]
    fn the_service_has_a_name_whoever_gives_it() {
        let service = |pairs: &[(&str, &str)]| {
            let given = [&[ENDPOINT], pairs].concat();
            read(&given).0.unwrap().export.resource
        };
        let list = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=list,team=owls%2Cbats,service.version=9");
        assert_eq!(service(&[])[0].1, "perstack");
        assert_eq!(service(&[list, ("OTEL_SERVICE_NAME", "own")])[0].1, "own");
        let resource = service(&[list]);
        assert_eq!(resource[0].1, "list");
        let find = |name: &str| {
            let found: Vec<&str> = resource.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect();
            found.join("|")
        };
        assert_eq!((find("service.name").as_str(), find("team").as_str()), ("list", "owls,bats"));
        assert_eq!(find("service.version"), "9");
    }

    #[test]
    fn content_is_captured_when_it_is_asked_for() {
        const NAME: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
        assert!(!read(&[ENDPOINT]).0.unwrap().captures_content);
        for (value, captures) in
            [("true", true), ("SPAN_ONLY", true), ("span_and_event", true), ("false", false), ("EVENT_ONLY", false)]
        {
            assert_eq!(with(NAME, value).captures_content, captures, "{value}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_consequence() {
        for (name, value, goes_on, warning) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318", false, "is no http or https URL"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", false, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: traces are exported by"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret-token", false, "expected NAME=VALUE"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c", false, "expected NAME=VALUE"),
            ("OTEL_TRACES_EXPORTER", "zipkin", false, "there are otlp and none"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", true, "expected a number of milliseconds"),
            ("OTEL_RESOURCE_ATTRIBUTES", "owl", true, "ignored"),
            ("TRACEPARENT", "owl", true, "is no trace context"),
            ("OTEL_TRACES_SAMPLER", "owl", true, "taken as parentbased_always_on"),
        ] {
            let (settings, warnings) = read(&[ENDPOINT, (name, value)]);
            assert_eq!(settings.is_some(), goes_on, "{name}={value}");
            let [text] = warnings.as_slice() else { panic!("{name}={value}: {warnings:?}") };
            assert!(text.starts_with(name) && text.contains(warning), "{text}");
            assert!(!text.contains("secret-token"), "{text}");
        }
    }
}
