//! [`Screen`]: everything that a command prints while a job runs; the result on stdout, everything else on stderr.
//!
//! [`view`] folds events into lines of text; [`progress`] shows them on a terminal or anywhere else; [`jsonl`] and
//! [`result`] write stdout, or the file that takes its place. Called by `job_runner`; the text of a job's end is left to `outcome`.

mod activity;
mod answer;
mod call_text;
mod fit;
mod jsonl;
mod layout;
mod markdown;
mod note;
mod progress;
mod question;
mod result;
mod run_view;
mod terminal;
mod text;
mod tree;
mod unseen;
mod view;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, OnceLock};

use perstack::checkpoint::Status;
use perstack::event::{Event, EventSink};
use perstack::id::JobId;
use perstack::message::Message;
use perstack::runtime::Outcome;
use tokio_util::sync::CancellationToken;

pub use self::question::Question;
pub use self::terminal::{LiveLines, MARGIN, Stderr};
pub use self::text::{Paint, count, duration, json_for, money, shortened, steps, visible, visible_lines};

use self::answer::AnswerWriter;
use self::jsonl::JsonLines;
use self::markdown::TextForm;
use self::progress::Progress;
use self::view::{Verbosity, View};
use super::Process;
use super::failure::Failure;
use super::options::{Format, OutputArgs};
use super::output_file::OutputFile;

/// The output of one invocation while its job runs.
pub struct Screen {
    paint: Paint,
    quiet: bool,
    progress: Option<Arc<Progress>>,
    events: Option<Arc<JsonLines<Box<dyn Write + Send>>>>,
    fanout: Arc<Fanout>,
    format: Format,
    /// The form of text on standard output, where that is a terminal.
    form: Option<TextForm>,
    /// The file that the result goes to instead of standard output.
    file: Option<OutputFile>,
    /// The difference from a recording that a JSON result begins with.
    difference: Option<serde_json::Value>,
}

impl Screen {
    /// Chooses the outputs; with a `file`, standard output is none of them. `cancel` is fired when the reader of the events
    /// has gone away.
    ///
    /// # Errors
    /// When the file for events cannot be opened.
    pub fn new(
        process: &Process,
        output: &OutputArgs,
        format: Format,
        file: Option<OutputFile>,
        cancel: &CancellationToken,
    ) -> Result<Self, Failure> {
        let paint = Paint::of_stderr(process);
        let verbosity = if output.verbose { Verbosity::Verbose } else { Verbosity::Normal };
        let is_terminal = io::stderr().is_terminal() && process.variable("TERM") != Some("dumb");
        // Events go to a reader that usually writes to this terminal too, and cannot know of lines that are drawn.
        let prints_events = format == Format::Jsonl && file.is_none();
        let draws = is_terminal && !prints_events;
        // Events on a terminal are what is looked at; progress would be drawn over them.
        let hidden = output.quiet || (prints_events && io::stdout().is_terminal());
        let form = (file.is_none() && io::stdout().is_terminal()).then(|| match output.plain {
            true => TextForm::Raw,
            false if Paint::of_stdout(process).is_on() => TextForm::Styled,
            false => TextForm::Wrapped,
        });
        let answer = match form {
            _ if format != Format::Text => None,
            Some(form) => Some(AnswerWriter::to_terminal(io::stdout(), form, process.variable("TERM") != Some("dumb"))),
            None => output.stream.then(|| AnswerWriter::to_pipe(io::stdout(), cancel.clone())),
        };
        let view = View::new(verbosity);
        let progress = match (hidden, answer) {
            (true, None) => None,
            (true, Some(answer)) => Some(Progress::quiet(view, paint, answer)),
            (false, answer) if draws => Some(Progress::drawn(view, paint, answer)),
            (false, answer) => Some(Progress::plain(view, paint, io::stderr(), answer)),
        };
        let target = match (&file, format) {
            (_, Format::Text | Format::Json) => None,
            (None, Format::Jsonl) => Some(Box::new(io::stdout()) as Box<dyn Write + Send>),
            (Some(file), Format::Jsonl) => Some(events_file(file)?),
        };
        let events = target.map(|target| {
            let lines = JsonLines::new(target, &output.filter, output.detail(), cancel.clone());
            Arc::new(lines.escaped(file.is_none() && io::stdout().is_terminal()))
        });
        let mut sinks: Vec<Arc<dyn EventSink>> = Vec::new();
        if let Some(progress) = &progress {
            sinks.push(progress.clone());
        }
        if let Some(events) = &events {
            sinks.push(events.clone());
        }
        let fanout = Arc::new(Fanout { job: OnceLock::new(), sinks });
        Ok(Self { paint, quiet: output.quiet, progress, events, fanout, format, form, file, difference: None })
    }

    /// The same for a job that goes on where it differs from a recording.
    #[must_use]
    pub fn with_difference(self, difference: serde_json::Value) -> Self {
        Self { difference: Some(difference), ..self }
    }

    /// The sink for the job's events.
    pub fn sink(&self) -> Arc<dyn EventSink> {
        self.fanout.clone()
    }

    /// The job's id, once an event has named it.
    pub fn job(&self) -> Option<&JobId> {
        self.fanout.job.get()
    }

    /// The colours of stderr.
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// The first failure to write events, or the answer as it came, to stdout.
    pub fn stream_error(&self) -> Option<io::Error> {
        let of_events = self.events.as_ref().and_then(|events| events.take_error());
        of_events.or_else(|| self.progress.as_ref().and_then(|progress| progress.answer_error()))
    }

    /// The place of the result, for messages.
    pub fn destination(&self) -> &str {
        self.file.as_ref().map_or("standard output", OutputFile::shown)
    }

    /// The line on what happened to the file that the result was to go to.
    pub fn file_line(&self, outcome: &Outcome) -> Option<String> {
        let shown = self.file.as_ref()?.shown();
        Some(match self.format {
            Format::Jsonl => format!("the events are in {shown}"),
            Format::Text | Format::Json if self.replaces_file(outcome) => format!("the result is in {shown}"),
            Format::Text | Format::Json => format!("there is no result for {shown}, which is left as it was"),
        })
    }

    /// Returns true if the result goes to its file: the answer of a job that has completed, the object of one that did not
    /// fail.
    fn replaces_file(&self, outcome: &Outcome) -> bool {
        match self.format {
            Format::Text => outcome.status == Status::Completed,
            Format::Json => !matches!(outcome.status, Status::StoppedByError | Status::StoppedByCancellation),
            Format::Jsonl => false,
        }
    }

    /// Writes the result of the job to its file or to stdout, unless it is there already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_result(&self, outcome: &Outcome) -> io::Result<()> {
        if self.progress.as_ref().is_some_and(|progress| progress.has_delivered()) {
            return Ok(());
        }
        if let Some(file) = &self.file {
            if !self.replaces_file(outcome) {
                return Ok(());
            }
            let mut bytes = Vec::new();
            result::write(outcome, (self.format, self.difference.as_ref()), &mut bytes, None)?;
            return file.replace(&bytes);
        }
        let columns = usize::from(console::Term::stdout().size().1);
        let form = self.form.map(|form| (form, columns));
        result::write(outcome, (self.format, self.difference.as_ref()), &mut io::stdout().lock(), form)
    }

    /// Writes a line that is no error to stderr; nothing with `--quiet`.
    pub fn info(&self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    /// Writes a warning to stderr; nothing with `--quiet`.
    pub fn warn(&self, text: &str) {
        self.info(&format!("{} {}", self.paint.yellow("warning:"), visible(text)));
    }

    /// Writes a line to stderr, `--quiet` or not.
    pub fn print(&self, text: &str) {
        match &self.progress {
            Some(progress) => progress.print(text),
            // With stderr closed there is no place left to report to.
            None => drop(writeln!(io::stderr().lock(), "{text}")),
        }
    }

    /// Clears the progress lines until [`Screen::come_back`], so that a question has the terminal for itself.
    pub fn set_aside(&self) {
        if let Some(progress) = &self.progress {
            progress.set_aside();
        }
    }

    /// Shows the progress again.
    pub fn come_back(&self) {
        if let Some(progress) = &self.progress {
            progress.come_back();
        }
    }

    /// Clears the progress for good; later lines are printed below it.
    pub fn close(&self) {
        if let Some(progress) = &self.progress {
            progress.close();
        }
    }
}

/// The file that events are appended to.
fn events_file(file: &OutputFile) -> Result<Box<dyn Write + Send>, Failure> {
    let opened = file.open_to_append();
    let cannot = |error| anyhow::Error::new(error).context(format!("cannot write to {}", file.shown()));
    Ok(Box::new(opened.map_err(cannot).map_err(Failure::usage)?))
}

/// Passes events to every sink, and keeps the id of their job.
struct Fanout {
    job: OnceLock<JobId>,
    sinks: Vec<Arc<dyn EventSink>>,
}

impl EventSink for Fanout {
    fn emit(&self, event: &Event, history: &[Message]) {
        // Events about the process come before anything is stored; of a step, after.
        if event.step_number.is_some() {
            self.job.get_or_init(|| event.job_id.clone());
        }
        for sink in &self.sinks {
            sink.emit(event, history);
        }
    }
}

#[cfg(test)]
pub mod fixture;
