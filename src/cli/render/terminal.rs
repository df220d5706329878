//! The terminal that progress is drawn on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use console::Term;
use indicatif::TermLike;

/// Ends every Run's line: columns that stay free at the right of the last one. There is room then for the `^C` or `^Z`
/// that a terminal itself writes at the cursor; at the very edge it would begin a line that indicatif does not count,
/// and the drawing above it would be left behind. Blanks of their own kind, so that they are known again.
pub const MARGIN: &str = "\u{a0}\u{a0}\u{a0}";

/// Standard error. A [`MARGIN`] with nothing behind it is not written.
#[derive(Debug, Clone)]
pub struct Terminal {
    term: Term,
    /// True if a margin was left out that must be written if the drawing goes on.
    owes_margin: Arc<AtomicBool>,
}

impl Terminal {
    /// The process's standard error.
    pub fn stderr() -> Self {
        Self { term: Term::buffered_stderr(), owes_margin: Arc::default() }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.term.move_cursor_left(n)
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.term.write_line(s)
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        if s.is_empty() {
            return Ok(());
        }
        if self.owes_margin.swap(false, Ordering::Relaxed) {
            self.term.write_str(MARGIN)?;
        }
        let text = s.strip_suffix(MARGIN).unwrap_or(s);
        self.owes_margin.store(text.len() < s.len(), Ordering::Relaxed);
        self.term.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.term.clear_line()
    }

    /// The drawing ends here: the cursor stays where the margin would have begun.
    fn flush(&self) -> io::Result<()> {
        self.owes_margin.store(false, Ordering::Relaxed);
        self.term.flush()
    }
}
