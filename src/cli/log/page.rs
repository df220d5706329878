//! Standard output as the log's commands write it: buffered, lines cut to a terminal's width, quietly ended by a reader
//! that goes away.

use std::io::{self, BufWriter, IsTerminal, Write};

use console::truncate_str;
use serde::Serialize;

use super::Form;
use crate::cli::failure::Failure;
use crate::cli::list_tools::width;
use crate::cli::render::{Paint, json_for};
use crate::cli::{Exit, Process};

/// The output of results.
pub struct Page {
    out: Box<dyn Write>,
    /// Columns of the terminal; `None` where nothing is cut.
    width: Option<usize>,
    paint: Paint,
    is_terminal: bool,
}

impl Page {
    /// The process's standard output.
    pub fn stdout(process: &Process) -> Self {
        Self {
            out: Box::new(BufWriter::new(io::stdout().lock())),
            width: width(process),
            paint: Paint::of_stdout(process),
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// A page without colours that keeps to a width.
    #[cfg(test)]
    pub fn to(out: impl Write + 'static, width: Option<usize>) -> Self {
        Self { out: Box::new(out), width, paint: Paint::plain(), is_terminal: false }
    }

    /// The colours of stdout.
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// Writes a line, cut to the terminal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        match self.width {
            Some(width) => writeln!(self.out, "{}", truncate_str(text, width, "…")),
            None => writeln!(self.out, "{text}"),
        }
    }

    /// Writes JSON; on a terminal, characters that act on it are escapes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(json_for(text, self.is_terminal).as_bytes())
    }

    /// Writes what is buffered. A reader that has gone away is no error.
    ///
    /// # Errors
    /// When something could not be written for another reason.
    pub fn close(mut self, written: io::Result<Exit>) -> Result<Exit, Failure> {
        match written.and_then(|exit| self.out.flush().map(|()| exit)) {
            Ok(exit) => Ok(exit),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Completed),
            Err(error) => Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output"))),
        }
    }
}

/// A value as text, without a line end. Strings hold no line breaks in JSON, so that lines can be indented further.
///
/// # Errors
/// When the value has no JSON form.
pub fn laid_out(value: &impl Serialize, form: Form) -> io::Result<String> {
    Ok(match form {
        Form::PrettyJson => serde_json::to_string_pretty(value)?,
        Form::Text | Form::Json => serde_json::to_string(value)?,
    })
}
