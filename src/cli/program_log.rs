//! [`ProgramLog`]: the program's own log lines on standard error, where `RUST_LOG` asks for them: requests, servers, locks.
//! `cli` starts it before any command; a command that knows more secrets, or draws on the terminal, attaches them.
//!
//! The library reports through `tracing` alone. Lines of the libraries beneath it are left out: they print what they are
//! given, keys in encodings that nobody foresees included.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use perstack::environment::Environment;
use perstack::fact::Clock as _;
use perstack::redact::Redactor;
use perstack::runtime::SystemClock;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;

use super::Process;
use super::render::visible;
use super::setup::warn;

/// The variable that holds the filter.
const VARIABLE: &str = "RUST_LOG";

/// The crate whose lines are printed.
const OWN: &str = "perstack";

/// A way to print a line on standard error.
type Print = Box<dyn Fn(&str) + Send + Sync>;

/// The way of log lines to standard error.
#[derive(Clone)]
pub struct ProgramLog(Arc<RwLock<LogOutput>>);

struct LogOutput {
    redactor: Redactor,
    print: Print,
}

impl ProgramLog {
    /// Starts to print lines if the variable asks for it; a filter that is none is a warning.
    pub fn start(process: &Process) -> Option<Self> {
        let text = process.variable(VARIABLE)?;
        let filter: Targets = match text.parse() {
            Ok(filter) => filter,
            Err(error) => {
                let example = "perstack=debug, or perstack::provider=debug,perstack::skill=info";
                warn(
                    process,
                    false,
                    &format!("{VARIABLE}={text}: {error}: no logs are printed; a filter is {example}"),
                );
                return None;
            }
        };
        let environment: Environment = process.variables.iter().cloned().collect();
        let redactor = Redactor::of_environment(&environment);
        let output = Arc::new(RwLock::new(LogOutput { redactor, print: Box::new(print_log_line) }));
        let lines = LogLines { filter, output: Arc::clone(&output) };
        // Nothing of this program has set another.
        tracing::subscriber::set_global_default(lines).ok()?;
        Some(Self(output))
    }

    /// From now on masks what `redactor` knows, and prints by `print`.
    pub fn attach(&self, redactor: Redactor, print: impl Fn(&str) + Send + Sync + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = LogOutput { redactor, print: Box::new(print) };
    }
}

/// Prints a line where nothing is drawn.
pub fn print_log_line(line: &str) {
    // With stderr closed there is no place left to report to.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Takes events, and makes lines of those that the filter lets through.
struct LogLines {
    filter: Targets,
    output: Arc<RwLock<LogOutput>>,
}

impl Subscriber for LogLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_own = target.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        metadata.is_event() && is_own && self.filter.would_enable(target, metadata.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter.iter().map(|(_, level)| level).chain(self.filter.default_level()).max()
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = LogMessage::default();
        event.record(&mut message);
        let metadata = event.metadata();
        let output = self.output.read().unwrap_or_else(PoisonError::into_inner);
        let message = visible(&output.redactor.text(&message.0));
        let at = i64::try_from(SystemClock.stamp().at).unwrap_or_default();
        let at = Timestamp::from_millisecond(at).unwrap_or_default();
        (output.print)(&format!("{at:.3} {} {}: {message}", metadata.level(), metadata.target()));
    }

    // There are no spans: the filter lets none through.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The text of an event: its message, then other fields by name.
#[derive(Default)]
struct LogMessage(String);

impl Visit for LogMessage {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The lines that `log` makes under a filter, without their times.
    fn lines(filter: &str, log: impl FnOnce()) -> Vec<String> {
        let printed = Arc::new(Mutex::new(Vec::new()));
        let mut redactor = Redactor::default();
        redactor.add("sk-ant-0123456789");
        let print: Print = Box::new({
            let printed = Arc::clone(&printed);
            move |line: &str| printed.lock().unwrap().push(line.split_once(' ').unwrap().1.to_owned())
        });
        let output = Arc::new(RwLock::new(LogOutput { redactor, print }));
        tracing::subscriber::with_default(LogLines { filter: filter.parse().unwrap(), output }, log);
        printed.lock().unwrap().clone()
    }

    #[test]
    fn the_filter_chooses_among_the_programs_own_lines() {
        let log = || {
            tracing::debug!(target: "perstack::provider", "a request");
            tracing::info!(target: "perstack::skill::mcp", server = "owl", "a server");
            tracing::error!(target: "perstacked", "of another crate");
            tracing::error!(target: "hyper::client", "of another crate");
            let _span = tracing::error_span!(target: "perstack", "span").entered();
        };
        let (request, server) =
            ("DEBUG perstack::provider: a request", "INFO perstack::skill::mcp: a server server=\"owl\"");
        assert_eq!(lines("perstack=debug", log), [request, server]);
        assert_eq!(lines("trace", log), [request, server]);
        assert_eq!(lines("info", log), [server]);
        assert_eq!(lines("off,perstack::provider=debug", log), [request]);
        assert_eq!(lines("hyper=trace", log), Vec::<String>::new());
    }

    #[test]
    fn a_line_is_one_line_without_secrets() {
        let shown = lines("debug", || tracing::debug!(target: "perstack", "key sk-ant-0123456789\n\u{1b}[2J end"));
        let [line] = shown.as_slice() else { panic!("{shown:?}") };
        assert!(line.starts_with("DEBUG perstack: key [redacted] ") && line.ends_with(" end"), "{line}");
        assert!(!line.contains('\u{1b}') && !line.contains('\n'), "{line}");
    }
}
