//! Standard output as the log's commands write it: buffered, lines cut to a terminal's width, through a pager where there
//! is more than the terminal shows, quietly ended by a reader that goes away.

use std::io::{self, BufWriter, IsTerminal, Write};

use console::truncate_str;
use serde::Serialize;

use super::Form;
use super::local_time::LocalTime;
use super::pager::{self, PagedOutput};
use super::wrap::broken;
use crate::cli::failure::Failure;
use crate::cli::list_tools::width;
use crate::cli::render::{Paint, json_for};
use crate::cli::{Exit, Process};

/// The output of results.
pub struct Page {
    out: PageOutput,
    /// Columns of the terminal; `None` where nothing is cut.
    width: Option<usize>,
    paint: Paint,
    is_terminal: bool,
    local: LocalTime,
}

enum PageOutput {
    Plain(Box<dyn Write>),
    Paged(PagedOutput),
}

impl Page {
    /// The process's standard output.
    pub fn stdout(process: &Process) -> Self {
        Self {
            out: PageOutput::Plain(Box::new(BufWriter::new(io::stdout().lock()))),
            width: width(process),
            paint: Paint::of_stdout(process),
            is_terminal: io::stdout().is_terminal(),
            local: LocalTime::system(),
        }
    }

    /// The same, through the user's pager where it is a terminal that can show one.
    pub fn paged(process: &Process) -> Self {
        let page = Self::stdout(process);
        let (Some(columns), Some(rows)) = (page.width, rows()) else { return page };
        if process.variable("TERM").is_none_or(|term| term == "dumb") {
            return page;
        }
        match pager::command(process) {
            Some(command) => Self { out: PageOutput::Paged(PagedOutput::new(command, rows, columns)), ..page },
            None => page,
        }
    }

    /// A page without colours that keeps to a width, at a moment in UTC.
    #[cfg(test)]
    pub fn to(out: impl Write + 'static, width: Option<usize>, now: u64) -> Self {
        let out = PageOutput::Plain(Box::new(out));
        Self { out, width, paint: Paint::plain(), is_terminal: false, local: LocalTime::utc(now) }
    }

    /// The colours of stdout.
    pub fn paint(&self) -> Paint {
        self.paint
    }

    /// Columns of the terminal; `None` where there is none.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Returns true if a terminal shows the page.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// The zone of the times on the page.
    pub fn local(&self) -> &LocalTime {
        &self.local
    }

    /// Writes a line, cut to the terminal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        match self.width {
            Some(width) => self.whole_line(&truncate_str(text, width, "…")),
            None => self.whole_line(text),
        }
    }

    /// Writes a line whole: on a terminal, broken between words.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn wrapped_line(&mut self, text: &str) -> io::Result<()> {
        match self.width {
            Some(width) => broken(text, width).iter().try_for_each(|line| self.whole_line(line)),
            None => self.whole_line(text),
        }
    }

    /// Writes a line that the terminal may have to break anywhere: a command, to be copied.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn whole_line(&mut self, text: &str) -> io::Result<()> {
        self.write(&format!("{text}\n"))
    }

    /// Writes JSON; on a terminal, characters that act on it are escapes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        let text = json_for(text, self.is_terminal);
        self.write(&text)
    }

    /// The writer behind the page, for what is no text of lines.
    pub fn writer(&mut self) -> &mut dyn Write {
        match &mut self.out {
            PageOutput::Plain(out) => out,
            PageOutput::Paged(out) => out,
        }
    }

    /// Shows what was written so far.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            PageOutput::Plain(out) => out.flush(),
            PageOutput::Paged(out) => out.flush(),
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        match &mut self.out {
            PageOutput::Plain(out) => out.write_all(text.as_bytes()),
            PageOutput::Paged(out) => out.write_all(text.as_bytes()),
        }
    }

    /// Writes what is buffered. A reader that has gone away is no error.
    ///
    /// # Errors
    /// When something could not be written for another reason.
    pub fn close(self, written: io::Result<Exit>) -> Result<Exit, Failure> {
        let finished = match self.out {
            PageOutput::Plain(mut out) => written.and_then(|exit| out.flush().map(|()| exit)),
            // The pager is waited for, whatever became of the writing.
            PageOutput::Paged(out) => {
                let finished = out.finish();
                written.and_then(|exit| finished.map(|()| exit))
            }
        };
        match finished {
            Ok(exit) => Ok(exit),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Completed),
            Err(error) => Err(Failure::other(anyhow::Error::new(error).context("cannot write to standard output"))),
        }
    }
}

#[cfg(unix)]
fn rows() -> Option<usize> {
    rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0)
}

#[cfg(not(unix))]
fn rows() -> Option<usize> {
    None
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
