//! [`LiveLines`]: lines at the bottom of a terminal that are drawn again and again, with text that stays above them.
//!
//! Called by `progress`. A drawing is one write, within the marks of synchronized output, which terminals without it
//! pass over. No line is filled up to the terminal's edge, and the rows to clear are counted by its width of now: a
//! terminal that became narrower has broken the lines anew. The cursor is never hidden, so that it need not be given back.

use std::io::{self, Write};

use console::{Term, measure_text_width};

/// Columns that stay free at the right of a line. There is room then for the `^C` or `^Z` that a terminal itself writes at
/// the cursor; at the very edge it would begin a row that is not counted.
pub const MARGIN: usize = 3;

/// The marks of synchronized output: the terminal shows what is between them at once.
const BEGIN_UPDATE: &str = "\x1b[?2026h";
const END_UPDATE: &str = "\x1b[?2026l";

/// A terminal that can be drawn on.
pub trait Canvas: Send {
    /// Columns and rows.
    fn size(&self) -> (usize, usize);

    /// Writes at once.
    fn write(&mut self, text: &str) -> io::Result<()>;
}

/// The process's standard error.
pub struct Stderr;

impl Canvas for Stderr {
    fn size(&self) -> (usize, usize) {
        let (rows, columns) = Term::stderr().size();
        (usize::from(columns), usize::from(rows))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stderr().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// The lines that are drawn.
pub struct LiveLines {
    canvas: Box<dyn Canvas>,
    /// Columns of each line that is drawn, from the top.
    drawn: Vec<usize>,
    /// Columns of the line above them that is not at its end yet; 0 if there is none.
    open: usize,
}

impl LiveLines {
    /// Nothing is drawn.
    pub fn new(canvas: impl Canvas + 'static) -> Self {
        Self { canvas: Box::new(canvas), drawn: Vec::new(), open: 0 }
    }

    /// Columns and rows of the terminal.
    pub fn size(&self) -> (usize, usize) {
        let (columns, rows) = self.canvas.size();
        // A terminal that reports none has some.
        (columns.max(1), rows.max(1))
    }

    /// Writes `above` (whole lines, each with its end, or none) and draws `lines` below it.
    pub fn draw(&mut self, above: &str, lines: &[String]) {
        let erased = self.erased();
        // Text that stays does not go into the middle of a line.
        let end = if self.open > 0 && !above.is_empty() {
            self.open = 0;
            "\n"
        } else {
            ""
        };
        let drawing = self.drawing(lines);
        let text = format!("{erased}{end}{above}{drawing}");
        let text = if text == above { text } else { format!("{BEGIN_UPDATE}{text}{END_UPDATE}") };
        // With the terminal gone there is no place left to report to.
        let _ = self.canvas.write(&text);
    }

    /// Takes the lines away while `write` writes to the same terminal by another stream, and draws `lines` below it.
    /// `write` returns the columns of the line that it leaves unfinished.
    pub fn around<R>(&mut self, lines: &[String], write: impl FnOnce() -> (usize, R)) -> R {
        let erased = self.erased();
        let _ = self.canvas.write(&format!("{BEGIN_UPDATE}{erased}"));
        let (open, result) = write();
        self.open = open;
        let drawing = self.drawing(lines);
        // As in `draw`.
        let _ = self.canvas.write(&format!("{drawing}{END_UPDATE}"));
        result
    }

    /// Takes the lines away.
    pub fn clear(&mut self) {
        let erased = self.erased();
        if !erased.is_empty() {
            // As in `draw`.
            let _ = self.canvas.write(&erased);
        }
    }

    /// Forgets the line above that is not at its end: something else has ended it.
    pub fn end_open_line(&mut self) {
        self.open = 0;
    }

    /// The controls that take the drawn lines away, and bring the cursor to the end of the text above.
    fn erased(&mut self) -> String {
        if self.drawn.is_empty() {
            return String::new();
        }
        let (columns, _) = self.size();
        let rows: usize = self.drawn.drain(..).map(|width| width.div_ceil(columns).max(1)).sum();
        let up = rows - 1;
        let up = if up > 0 { format!("\x1b[{up}A") } else { String::new() };
        // A line that ends at the terminal's edge goes on in the next row, which is the first that was taken away.
        let back = match self.open % columns {
            0 => String::new(),
            column => format!("\x1b[1A\x1b[{}G", column + 1),
        };
        format!("\r{up}\x1b[J{back}")
    }

    fn drawing(&mut self, lines: &[String]) -> String {
        let (_, height) = self.size();
        // What has scrolled off cannot be taken away again.
        let shown = lines.get(..height.saturating_sub(2).max(1).min(lines.len())).unwrap_or_default();
        self.drawn = shown.iter().map(|line| measure_text_width(line)).collect();
        let start = if self.open > 0 && !shown.is_empty() { "\n" } else { "" };
        start.to_owned() + &shown.join("\n")
    }
}

#[cfg(test)]
pub mod fake {
    //! A terminal in memory, with what was written to it.

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone)]
    pub struct FakeTerminal {
        pub size: Arc<Mutex<(usize, usize)>>,
        pub written: Arc<Mutex<String>>,
    }

    impl FakeTerminal {
        pub fn new(columns: usize, rows: usize) -> Self {
            Self { size: Arc::new(Mutex::new((columns, rows))), written: Arc::default() }
        }

        /// The text written since the last time, without the marks of synchronized output.
        pub fn take(&self) -> String {
            let written = std::mem::take(&mut *self.written.lock().unwrap());
            written.replace(BEGIN_UPDATE, "").replace(END_UPDATE, "")
        }
    }

    impl Canvas for FakeTerminal {
        fn size(&self) -> (usize, usize) {
            *self.size.lock().unwrap()
        }

        fn write(&mut self, text: &str) -> io::Result<()> {
            self.written.lock().unwrap().push_str(text);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeTerminal;
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn lines_are_drawn_over_and_text_stays_above() {
        let terminal = FakeTerminal::new(20, 10);
        let mut live = LiveLines::new(terminal.clone());
        live.draw("", &lines(&["one", "two"]));
        assert_eq!(terminal.take(), "one\ntwo");
        live.draw("note\n", &lines(&["three"]));
        assert_eq!(terminal.take(), "\r\x1b[1A\x1b[Jnote\nthree");
        live.clear();
        live.clear();
        assert_eq!(terminal.take(), "\r\x1b[J");
    }

    #[test]
    fn a_narrower_terminal_has_broken_the_lines_anew() {
        let terminal = FakeTerminal::new(20, 10);
        let mut live = LiveLines::new(terminal.clone());
        live.draw("", &lines(&["fifteen columns", "x"]));
        terminal.size.lock().unwrap().0 = 8;
        terminal.take();
        live.draw("", &lines(&["y"]));
        assert_eq!(terminal.take(), "\r\x1b[2A\x1b[Jy");
    }

    #[test]
    fn a_line_that_is_written_by_another_stream_goes_on_where_it_was() {
        let terminal = FakeTerminal::new(20, 10);
        let mut live = LiveLines::new(terminal.clone());
        live.draw("", &lines(&["busy"]));
        live.around(&lines(&["busy"]), || (7, ()));
        live.around(&lines(&["busy"]), || (0, ()));
        assert_eq!(terminal.take(), "busy\r\x1b[J\nbusy\r\x1b[J\x1b[1A\x1b[8Gbusy");
        live.around(&lines(&["busy"]), || (7, ()));
        terminal.take();
        live.draw("note\n", &lines(&["busy"]));
        assert_eq!(terminal.take(), "\r\x1b[J\x1b[1A\x1b[8G\nnote\nbusy");
    }

    #[test]
    fn no_more_is_drawn_than_the_terminal_is_high() {
        let terminal = FakeTerminal::new(20, 4);
        let mut live = LiveLines::new(terminal.clone());
        live.draw("", &lines(&["a", "b", "c", "d"]));
        assert_eq!(terminal.take(), "a\nb");
    }
}
