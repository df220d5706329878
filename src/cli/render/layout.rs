//! [`WordLayout`]: words on lines of a terminal: where each goes, in which style, and how many rows there are. Called by
//! `markdown`.
//!
//! A word is held back until its end is known; in scripts without spaces that is the next character.

use console::measure_text_width;

use super::unseen::{is_unseen, spelt};

/// Columns of a tab in text.
const TAB: usize = 4;

/// Most characters of a word that are held back.
const LONGEST_WORD: usize = 200;

/// Bold, italic and the like, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextStyle(u8);

impl TextStyle {
    pub const PLAIN: Self = Self(0);
    pub const BOLD: Self = Self(1);
    pub const ITALIC: Self = Self(2);
    pub const CODE: Self = Self(4);
    pub const DIM: Self = Self(8);

    /// Both together.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns true if it is that of code.
    pub fn is_code(self) -> bool {
        self.0 & Self::CODE.0 != 0
    }

    fn painted(self, text: &str) -> String {
        let codes = [(Self::BOLD, "1"), (Self::ITALIC, "3"), (Self::CODE, "36"), (Self::DIM, "2")];
        let codes: Vec<&str> = codes.iter().filter(|(style, _)| self.0 & style.0 != 0).map(|(_, code)| *code).collect();
        if codes.is_empty() || text.is_empty() {
            text.to_owned()
        } else {
            format!("\x1b[{}m{text}\x1b[0m", codes.join(";"))
        }
    }
}

/// The lines that are being filled.
#[derive(Debug)]
pub struct WordLayout {
    columns: usize,
    /// Columns of the line so far.
    column: usize,
    rows: usize,
    /// In front of each further row of the line, and its columns.
    indent: (String, usize),
    /// Blanks that are written if a word follows on the same row.
    gap: usize,
    /// The word that is not at its end yet.
    word: Vec<(TextStyle, String)>,
    /// The word is written as it is, wherever it ends.
    is_verbatim: bool,
}

impl WordLayout {
    pub fn new(columns: usize) -> Self {
        Self {
            columns: columns.max(1),
            column: 0,
            rows: 0,
            indent: (String::new(), 0),
            gap: 0,
            word: Vec::new(),
            is_verbatim: false,
        }
    }

    pub fn set_columns(&mut self, columns: usize) {
        self.columns = columns.max(1);
    }

    pub fn column(&self) -> usize {
        self.column
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Something else has ended the line, with all that belongs to it.
    pub fn line_was_ended(&mut self) {
        (self.column, self.gap, self.is_verbatim) = (0, 0, false);
        self.indent = (String::new(), 0);
    }

    /// Columns that words may take: the last one is left free, so that a full row does not run on by itself.
    fn width(&self) -> usize {
        self.columns.saturating_sub(1).max(1)
    }

    /// A mark in front of the line's text; its further rows are indented behind it.
    pub fn mark(&mut self, mark: &str, style: TextStyle, out: &mut String) {
        let mark = spelt(mark);
        let width = measure_text_width(&mark);
        let is_repeated = style == TextStyle::DIM;
        out.push_str(&style.painted(&mark));
        self.column += width;
        // On a terminal that has no room for it, nothing is indented.
        if self.indent.1 + width > self.columns / 2 {
            return;
        }
        self.indent.0.push_str(&if is_repeated { style.painted(&mark) } else { " ".repeat(width) });
        self.indent.1 += width;
    }

    /// A line across the terminal.
    pub fn rule(&mut self, out: &mut String) {
        let width = self.width().min(40);
        out.push_str(&TextStyle::DIM.painted(&"─".repeat(width)));
        self.column += width;
    }

    /// Adds text of one style, in which words end at blanks.
    pub fn words(&mut self, text: &str, style: TextStyle, out: &mut String) {
        for c in text.chars() {
            if c == ' ' || c == '\t' {
                self.flush(out);
                self.gap += if c == '\t' { TAB } else { 1 };
                continue;
            }
            self.add(c, style, out);
        }
    }

    fn add(&mut self, c: char, style: TextStyle, out: &mut String) {
        let length: usize = self.word.iter().map(|(_, text)| text.chars().count()).sum();
        let last = self.word.last().and_then(|(_, text)| text.chars().next_back());
        if length >= LONGEST_WORD || last.is_some_and(|last| may_break(last, c)) {
            self.flush(out);
        }
        match self.word.last_mut() {
            Some((last, text)) if *last == style => text.push(c),
            _ => self.word.push((style, c.to_string())),
        }
    }

    /// Adds a character that stays on its row.
    pub fn verbatim_char(&mut self, c: char, style: TextStyle, out: &mut String) {
        self.is_verbatim = true;
        self.add(c, style, out);
    }

    /// Adds a blank that stays as it is.
    pub fn verbatim_space(&mut self, c: char, out: &mut String) {
        self.is_verbatim = true;
        self.flush(out);
        self.column += if c == '\t' { 8 - self.column % 8 } else { 1 };
        out.push(c);
    }

    /// Writes the word that is held back: it is at its end.
    pub fn flush(&mut self, out: &mut String) {
        let word: Vec<(TextStyle, String)> = self.word.drain(..).map(|(style, text)| (style, spelt(&text))).collect();
        let width: usize = word.iter().map(|(_, text)| measure_text_width(text)).sum();
        if word.is_empty() {
            return;
        }
        if self.is_verbatim {
            self.column += width;
            out.extend(word.iter().map(|(style, text)| style.painted(text)));
            return;
        }
        let gap = std::mem::take(&mut self.gap);
        if self.column > self.indent.1 && self.column + gap + width > self.width() {
            self.next_row(out);
        } else {
            out.push_str(&" ".repeat(gap));
            self.column += gap;
        }
        if self.column + width <= self.width() {
            self.column += width;
            out.extend(word.iter().map(|(style, text)| style.painted(text)));
            return;
        }
        // Longer than a row.
        for (style, text) in word {
            let mut part = String::new();
            for c in text.chars() {
                let width = measure_text_width(c.encode_utf8(&mut [0; 4]));
                if self.column + width > self.width() && self.column > self.indent.1 {
                    out.push_str(&style.painted(&std::mem::take(&mut part)));
                    self.next_row(out);
                }
                part.push(c);
                self.column += width;
            }
            out.push_str(&style.painted(&part));
        }
    }

    fn next_row(&mut self, out: &mut String) {
        self.rows += 1 + self.column.saturating_sub(1) / self.columns;
        self.column = self.indent.1;
        out.push('\n');
        out.push_str(&self.indent.0);
    }

    /// Ends the line.
    pub fn end_line(&mut self, out: &mut String) {
        self.flush(out);
        self.rows += 1 + self.column.saturating_sub(1) / self.columns;
        (self.column, self.gap, self.is_verbatim) = (0, 0, false);
        self.indent = (String::new(), 0);
        out.push('\n');
    }
}

/// Returns true if a row may end between two characters of a word: scripts without blanks are broken anywhere but before
/// what belongs to the character before it.
fn may_break(before: char, after: char) -> bool {
    let is_wide = |c: char| measure_text_width(c.encode_utf8(&mut [0; 4])) == 2;
    let is_flag_letter = |c: char| matches!(c, '\u{1f1e6}'..='\u{1f1ff}');
    let belongs = |c: char| {
        is_unseen(c) || matches!(c, '\u{1f3fb}'..='\u{1f3ff}') || measure_text_width(c.encode_utf8(&mut [0; 4])) == 0
    };
    (is_wide(before) || is_wide(after))
        && before != '\u{200d}'
        && !belongs(after)
        && !(is_flag_letter(before) && is_flag_letter(after))
        && !matches!(
            after,
            '、' | '。'
                | '，'
                | '．'
                | '！'
                | '？'
                | '：'
                | '；'
                | '）'
                | '」'
                | '』'
                | '】'
                | '》'
                | '”'
                | '’'
                | 'ー'
                | ')'
                | ','
                | '.'
                | '!'
                | '?'
                | ':'
                | ';'
        )
        && !matches!(before, '（' | '「' | '『' | '【' | '《' | '“' | '‘' | '(')
}
