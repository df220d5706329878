//! [`PagedOutput`]: standard output through a pager, once there is more of it than the terminal has rows. The page writes
//! to it.
//!
//! The pager is the user's: it is named by the process's own environment, never by a file that a folder brings along.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use console::measure_text_width;

use crate::cli::Process;
use crate::cli::program;
use crate::cli::setup::warn;

/// The pager where none is named, if it is there.
const DEFAULT: &str = "less";

/// Options of `less` where the user has set none: colours pass, what was read stays on the screen.
const LESS: &str = "FRX";

/// A pager as the user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagerCommand {
    /// For the shell.
    line: String,
    /// The user has set options of `less`.
    has_less_options: bool,
}

/// Output that is held back until it is known whether it needs a pager.
pub struct PagedOutput {
    /// `None` once it was started, or could not be.
    command: Option<PagerCommand>,
    rows: usize,
    columns: usize,
    held: Vec<u8>,
    shown_rows: usize,
    pager: Option<Pager>,
}

struct Pager {
    child: Child,
    input: ChildStdin,
    /// Kept so that Ctrl-C, which the pager has a use for, does not end this process before it.
    #[cfg(unix)]
    _signals: Option<(tokio::runtime::Runtime, tokio::signal::unix::Signal)>,
}

/// The pager that the user's environment names, else `less`; `None` for `cat`, for nothing, and where there is none.
pub fn command(process: &Process) -> Option<PagerCommand> {
    let named = ["PERSTACK_PAGER", "PAGER"]
        .into_iter()
        .find_map(|name| process.variables.iter().find(|(other, _)| other == name).map(|(_, value)| value.trim()));
    let line = named.unwrap_or(DEFAULT);
    let command = PagerCommand { line: line.to_owned(), has_less_options: process.variable("LESS").is_some() };
    let program = line.split_whitespace().next().filter(|program| *program != "cat")?;
    match program::find(program, &process.folder, process.variable("PATH")) {
        Ok(_) => Some(command),
        // Variables and quotes are the shell's to read.
        Err(_) if program.contains(|c: char| "$'\"`\\=~".contains(c)) => Some(command),
        Err(_) => {
            if named.is_some() {
                warn(process, false, &format!("the pager {program} cannot be started; --no-pager does without"));
            }
            None
        }
    }
}

impl PagedOutput {
    /// For a terminal of this size.
    pub fn new(command: PagerCommand, rows: usize, columns: usize) -> Self {
        Self { command: Some(command), rows, columns: columns.max(1), held: Vec::new(), shown_rows: 0, pager: None }
    }

    fn start(&mut self) -> io::Result<()> {
        let Some(command) = self.command.take() else { return Ok(()) };
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(&command.line).stdin(Stdio::piped());
        if !command.has_less_options {
            shell.env("LESS", LESS);
        }
        #[cfg(unix)]
        let signals = ignore_interrupts();
        let Ok(mut child) = shell.spawn() else { return self.release() };
        let Some(input) = child.stdin.take() else { return self.release() };
        self.pager = Some(Pager {
            child,
            input,
            #[cfg(unix)]
            _signals: signals,
        });
        let held = std::mem::take(&mut self.held);
        self.write_all(&held)
    }

    /// Writes what was held to the terminal itself.
    fn release(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let mut out = io::stdout().lock();
        out.write_all(&held)?;
        out.flush()
    }

    /// Writes the rest, and waits until the user has left the pager.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        match self.pager.take() {
            Some(Pager { mut child, input, .. }) => {
                drop(input);
                // Its own troubles are shown by itself.
                let _ = child.wait();
                Ok(())
            }
            None => self.release(),
        }
    }
}

impl Write for PagedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(pager) = &mut self.pager {
            pager.input.write_all(bytes)?;
            return Ok(bytes.len());
        }
        self.held.extend_from_slice(bytes);
        if self.command.is_none() {
            self.release()?;
            return Ok(bytes.len());
        }
        let text = String::from_utf8_lossy(bytes);
        let rows =
            text.split_inclusive('\n').map(|line| measure_text_width(line.trim_end()).max(1).div_ceil(self.columns));
        self.shown_rows = self.shown_rows.saturating_add(rows.sum());
        // The prompt of the shell takes a row as well.
        if self.shown_rows >= self.rows {
            self.start()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.pager {
            Some(pager) => pager.input.flush(),
            None => Ok(()),
        }
    }
}

/// Keeps Ctrl-C from ending this process.
#[cfg(unix)]
fn ignore_interrupts() -> Option<(tokio::runtime::Runtime, tokio::signal::unix::Signal)> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().ok()?;
    let interrupts = {
        let _entered = runtime.enter();
        signal(SignalKind::interrupt()).ok()?
    };
    Some((runtime, interrupts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        command(&Process { variables, folder: "/".into(), color: clap::ColorChoice::Auto, log: None })
            .map(|command| command.line)
    }

    #[test]
    fn the_pager_is_named_by_the_environment_and_may_be_none() {
        assert_eq!(named(&[("PAGER", "sh -x")]).as_deref(), Some("sh -x"));
        assert_eq!(named(&[("PAGER", "sh"), ("PERSTACK_PAGER", "env sh")]).as_deref(), Some("env sh"));
        assert_eq!(named(&[("PAGER", "sh"), ("PERSTACK_PAGER", "cat")]), None);
        assert_eq!(named(&[("PAGER", "sh"), ("PERSTACK_PAGER", "")]), None);
        assert_eq!(named(&[("PAGER", "no-such-pager -R")]), None);
        assert_eq!(named(&[("PATH", "/nowhere")]), None, "less is not there");
    }
}
