//! The terminal that progress is drawn on.

use std::io;

use console::Term;
use indicatif::TermLike;

/// Columns that stay free at the right: room for the `^C` or `^Z` that a terminal itself writes where the cursor
/// stands. At the very edge it would begin a line that nobody knows of, and the drawing below it be left behind.
const MARGIN: u16 = 3;

/// Standard error, narrower by [`MARGIN`].
#[derive(Debug, Clone)]
pub struct Terminal(Term);

impl Terminal {
    /// The process's standard error.
    pub fn stderr() -> Self {
        Self(Term::buffered_stderr())
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.0.size().1.saturating_sub(MARGIN).max(1)
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.0.write_line(s)
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.0.write_str(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
