//! [`MarkdownWriter`]: the text of an answer for a terminal, made ready while it comes: lines broken between words, light
//! Markdown as bold, italic and colour. Called by `answer`; knows no terminal but its width.
//!
//! Any cut of a text into pieces gives the same output: something is only decided once nothing that may follow can
//! change it, and held back until then. Code blocks and tables stay as they are; so does what only looks like Markdown.

use super::layout::{TextStyle, WordLayout};

/// Most characters of a line that are held back until it is known what they are; longer ones are plain text.
const HELD: usize = 400;

/// How a text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm {
    /// Word-wrapped, with Markdown as styles.
    Styled,
    /// Word-wrapped, the marks of Markdown left in.
    Wrapped,
    /// As it came, but for characters that act on a terminal.
    Raw,
}

/// Makes a text ready, piece by piece.
#[derive(Debug)]
pub struct MarkdownWriter {
    form: TextForm,
    layout: WordLayout,
    /// Text that is not decided yet.
    pending: String,
    line: Line,
    /// The mark that ends the code block that is open.
    fence: Option<String>,
    /// The character before `pending`.
    before: Option<char>,
}

/// The line that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Its kind is not known yet.
    Start,
    /// Words, in this style.
    Text(TextStyle),
    /// As it is, in this style.
    Verbatim(TextStyle),
}

/// The kind of a line, by its beginning, which has a number of bytes.
enum Beginning {
    Text(TextStyle),
    Verbatim(TextStyle),
    /// A line of its own: the text shown in its place.
    Rule,
    OpensFence(String),
    ClosesFence,
    /// A mark in front of the text, after which the line's other rows are indented; the bytes it takes.
    Marked(String, TextStyle, usize),
    /// A quotation's mark; another beginning follows. The bytes it takes.
    Quote(usize),
}

impl MarkdownWriter {
    /// Nothing is written yet; lines have at most `columns`.
    pub fn new(form: TextForm, columns: usize) -> Self {
        Self {
            form,
            layout: WordLayout::new(columns),
            pending: String::new(),
            line: Line::Start,
            fence: None,
            before: None,
        }
    }

    /// Takes more of the text and returns what can be written of it. Lines that begin from here on have at most `columns`.
    pub fn push(&mut self, text: &str, columns: usize) -> String {
        self.layout.set_columns(columns);
        self.pending.push_str(text);
        self.advance(false)
    }

    /// Returns the rest; the text ends here, without a line's end of its own.
    pub fn finish(&mut self) -> String {
        let mut out = self.advance(true);
        self.layout.flush(&mut out);
        (self.line, self.fence, self.before) = (Line::Start, None, None);
        out
    }

    /// The columns of the last line so far; 0 if none is begun.
    pub fn column(&self) -> usize {
        self.layout.column()
    }

    /// The rows that were ended so far on a terminal of that width.
    pub fn rows(&self) -> usize {
        self.layout.rows()
    }

    /// Something else has ended the line.
    pub fn line_was_ended(&mut self) {
        self.layout.line_was_ended();
    }

    fn advance(&mut self, is_end: bool) -> String {
        let mut out = String::new();
        while !self.pending.is_empty() {
            let taken = match self.line {
                Line::Start => self.begin_line(is_end, &mut out),
                Line::Text(style) => self.words(style, is_end, &mut out),
                Line::Verbatim(style) => self.verbatim(style, is_end, &mut out),
            };
            if !taken {
                break;
            }
        }
        out
    }

    /// Drops this many bytes of what is pending.
    fn take(&mut self, bytes: usize) {
        let rest = self.pending.split_off(bytes.min(self.pending.len()));
        self.before = self.pending.chars().next_back().or(self.before);
        self.pending = rest;
    }

    fn begin_line(&mut self, is_end: bool, out: &mut String) -> bool {
        let plain = match self.form {
            TextForm::Raw => Some(Line::Verbatim(TextStyle::PLAIN)),
            TextForm::Wrapped | TextForm::Styled => None,
        };
        if let Some(line) = plain {
            self.line = line;
            return true;
        }
        let Some(beginning) = beginning(&self.pending, self.fence.as_deref(), is_end) else { return false };
        let form = self.form;
        let styled = |style: TextStyle| if form == TextForm::Styled { style } else { TextStyle::PLAIN };
        match beginning {
            Beginning::Text(style) => self.line = Line::Text(styled(style)),
            Beginning::Verbatim(style) => self.line = Line::Verbatim(styled(style)),
            Beginning::OpensFence(mark) => {
                self.fence = Some(mark);
                self.line = Line::Verbatim(styled(TextStyle::DIM));
            }
            Beginning::ClosesFence => {
                self.fence = None;
                self.line = Line::Verbatim(styled(TextStyle::DIM));
            }
            Beginning::Rule if self.form == TextForm::Styled => {
                let bytes = self.pending.find('\n').unwrap_or(self.pending.len());
                self.take(bytes);
                self.layout.rule(out);
                self.line = Line::Verbatim(TextStyle::PLAIN);
            }
            Beginning::Rule => self.line = Line::Verbatim(TextStyle::PLAIN),
            Beginning::Marked(mark, style, bytes) => {
                let style = styled(style);
                // The marks of headings are dropped where the style shows them.
                let own = self.pending.get(..bytes).unwrap_or_default().to_owned();
                let mark = if self.form == TextForm::Styled { mark } else { own };
                self.take(bytes);
                self.layout.mark(&mark, TextStyle::PLAIN, out);
                self.line = Line::Text(style);
            }
            Beginning::Quote(bytes) => {
                self.take(bytes);
                let mark = if self.form == TextForm::Styled { "│ " } else { "> " };
                self.layout.mark(mark, styled(TextStyle::DIM), out);
                // Another beginning follows, but only within the line.
                self.line = if self.pending.is_empty() && is_end { Line::Text(TextStyle::PLAIN) } else { Line::Start };
            }
        }
        true
    }

    fn end_line(&mut self, bytes: usize, out: &mut String) {
        self.take(bytes);
        self.layout.end_line(out);
        self.line = Line::Start;
        self.before = None;
    }

    /// Takes the line's end, if it is next. `None`: it is not; `Some(false)`: that is not known yet.
    fn line_end(&mut self, is_end: bool, out: &mut String) -> Option<bool> {
        if self.pending.starts_with('\n') {
            self.end_line(1, out);
            return Some(true);
        }
        if self.pending.starts_with("\r\n") {
            self.end_line(2, out);
            return Some(true);
        }
        (self.pending == "\r" && !is_end).then_some(false)
    }

    fn verbatim(&mut self, style: TextStyle, is_end: bool, out: &mut String) -> bool {
        if let Some(taken) = self.line_end(is_end, out) {
            return taken;
        }
        let Some(c) = self.pending.chars().next() else { return false };
        if c == ' ' || c == '\t' {
            self.layout.verbatim_space(c, out);
        } else {
            self.layout.verbatim_char(c, style, out);
        }
        self.take(c.len_utf8());
        true
    }

    fn words(&mut self, style: TextStyle, is_end: bool, out: &mut String) -> bool {
        if let Some(taken) = self.line_end(is_end, out) {
            return taken;
        }
        let inline = if self.form == TextForm::Styled {
            inline(&self.pending, self.before, is_end)
        } else {
            plain(&self.pending)
        };
        let Some(Inline { shown, style: own, bytes }) = inline else { return false };
        if own.is_code() {
            self.layout.words(&shown, style.with(own), out);
        } else if own == TextStyle::PLAIN {
            self.layout.words(&shown, style, out);
        } else {
            self.nested(&shown, style.with(own), out);
        }
        self.take(bytes);
        true
    }

    /// A span in a style may have others within.
    fn nested(&mut self, text: &str, style: TextStyle, out: &mut String) {
        let (mut rest, mut before) = (text, None);
        while let Some(Inline { shown, style: own, bytes }) = inline(rest, before, true) {
            self.layout.words(&shown, style.with(own), out);
            before = rest.get(..bytes).and_then(|taken| taken.chars().next_back());
            rest = rest.get(bytes..).unwrap_or_default();
        }
    }
}

/// The beginning of the line that `text` begins with; `None` while that is not known. A line that is longer than what is
/// held back is known by that.
fn beginning(text: &str, fence: Option<&str>, is_end: bool) -> Option<Beginning> {
    let (line, is_whole) = match text.find('\n') {
        Some(end) => (text.get(..end).unwrap_or_default(), true),
        None => (text, is_end),
    };
    // The same line is judged the same however much of it has come.
    let head: String = line.chars().take(HELD).collect();
    let is_long = head.len() < line.len() || head.chars().count() == HELD;
    let (line, is_known) = (head.as_str(), is_whole || is_long);
    let body = line.trim_start_matches([' ', '\t']);
    if body.is_empty() || body == "\r" {
        return is_known.then_some(if fence.is_some() {
            Beginning::Verbatim(TextStyle::CODE)
        } else {
            Beginning::Text(TextStyle::PLAIN)
        });
    }
    let indent = line.len() - body.len();
    if let Some(mark) = fence {
        let char = mark.chars().next().unwrap_or('`');
        if !body.trim_end().chars().all(|c| c == char) {
            return Some(Beginning::Verbatim(TextStyle::CODE));
        }
        let closes = body.trim_end().len() >= mark.len() && is_whole;
        return is_known.then_some(if closes { Beginning::ClosesFence } else { Beginning::Verbatim(TextStyle::CODE) });
    }
    let first = body.chars().next()?;
    let run = body.chars().take_while(|c| *c == first).count();
    let behind = body.get(run * first.len_utf8()..).unwrap_or_default();
    match first {
        '`' | '~' => {
            if run < 3 {
                return (is_known || !behind.is_empty()).then_some(Beginning::Text(TextStyle::PLAIN));
            }
            // A span of code on one line has its end there.
            match (behind.contains('`') && first == '`', is_known) {
                (true, _) => Some(Beginning::Text(TextStyle::PLAIN)),
                (false, true) => Some(Beginning::OpensFence(first.to_string().repeat(run))),
                (false, false) => None,
            }
        }
        '#' if indent == 0 => match behind.chars().next() {
            Some(' ') if run <= 6 => Some(Beginning::Marked(String::new(), TextStyle::BOLD, run + 1)),
            None if !is_known => None,
            _ => Some(Beginning::Text(TextStyle::PLAIN)),
        },
        '>' => match body.chars().nth(1) {
            Some(' ') => Some(Beginning::Quote(indent + 2)),
            None if !is_known => None,
            _ => Some(Beginning::Quote(indent + 1)),
        },
        '|' => Some(Beginning::Verbatim(TextStyle::PLAIN)),
        '-' | '*' | '_' | '+' => {
            let is_rule_so_far = first != '+' && body.trim_end().chars().all(|c| c == first || c == ' ');
            let count = body.chars().filter(|c| *c == first).count();
            if is_rule_so_far {
                return match (is_known, count >= 3) {
                    (false, _) => None,
                    (true, true) => Some(Beginning::Rule),
                    (true, false) if run == 1 && first != '_' && body.starts_with([first]) && body.len() > 1 => {
                        Some(item(line, indent, "•", 2))
                    }
                    (true, false) => Some(Beginning::Text(TextStyle::PLAIN)),
                };
            }
            match behind.chars().next() {
                Some(' ') if run == 1 && first != '_' => Some(item(line, indent, "•", 2)),
                None if !is_known => None,
                _ => Some(Beginning::Text(TextStyle::PLAIN)),
            }
        }
        '0'..='9' => {
            let digits = body.chars().take_while(char::is_ascii_digit).count();
            let mut behind = body.get(digits..).unwrap_or_default().chars();
            match (behind.next(), behind.next()) {
                (Some('.' | ')'), Some(' ')) if digits <= 9 => {
                    let mark = body.get(..=digits).unwrap_or_default();
                    Some(item(line, indent, mark, digits + 2))
                }
                (None, _) | (Some('.' | ')'), None) if !is_known && digits <= 9 => None,
                _ => Some(Beginning::Text(TextStyle::PLAIN)),
            }
        }
        _ => Some(Beginning::Text(TextStyle::PLAIN)),
    }
}

/// An item of a list: its indentation and mark, `bytes` long behind the indentation.
fn item(line: &str, indent: usize, mark: &str, bytes: usize) -> Beginning {
    let blank: String = line.get(..indent).unwrap_or_default().replace('\t', "    ");
    Beginning::Marked(format!("{blank}{mark} "), TextStyle::PLAIN, indent + bytes)
}

/// A part of a line: the text shown, its style, and the bytes of the source that it stands for.
struct Inline {
    shown: String,
    style: TextStyle,
    bytes: usize,
}

impl Inline {
    /// The first `bytes` of `text`, as they are.
    fn plain(text: &str, bytes: usize) -> Option<Self> {
        let shown = text.get(..bytes)?.to_owned();
        Some(Self { shown, style: TextStyle::PLAIN, bytes })
    }
}

/// The first character, whatever it is.
fn plain(text: &str) -> Option<Inline> {
    Inline::plain(text, text.chars().next()?.len_utf8())
}

/// The first part of `text`, behind the character `before`; `None` while it is not known, or at the end.
fn inline(text: &str, before: Option<char>, is_end: bool) -> Option<Inline> {
    let first = text.chars().next()?;
    match first {
        '\\' => match text.chars().nth(1) {
            Some(c) if c.is_ascii_punctuation() => {
                Some(Inline { shown: c.to_string(), style: TextStyle::PLAIN, bytes: 2 })
            }
            None if !is_end => None,
            _ => Inline::plain(text, 1),
        },
        '`' | '*' | '_' => {
            let run = text.chars().take_while(|c| *c == first).count();
            if run == text.len() && !is_end {
                // Runs that go on without end are no marks.
                return if run > HELD { Inline::plain(text, 1) } else { None };
            }
            if run > HELD {
                return Inline::plain(text, 1);
            }
            let behind = text.get(run..).unwrap_or_default();
            if first != '`' && !opens(first, run, before, behind) {
                return Inline::plain(text, run);
            }
            match closing(first, run, behind, is_end) {
                Closing::At(at) => {
                    let inner = behind.get(..at).unwrap_or_default();
                    let (style, inner) = match (first, run) {
                        ('`', _) => (TextStyle::CODE, unpadded(inner)),
                        (_, 1) => (TextStyle::ITALIC, inner),
                        (_, 2) => (TextStyle::BOLD, inner),
                        _ => (TextStyle::BOLD.with(TextStyle::ITALIC), inner),
                    };
                    Some(Inline { shown: inner.to_owned(), style, bytes: run + at + run })
                }
                Closing::Nowhere => Inline::plain(text, run),
                Closing::Unknown => None,
            }
        }
        c => Inline::plain(text, c.len_utf8()),
    }
}

/// Returns true if a run of marks begins a span.
fn opens(mark: char, run: usize, before: Option<char>, behind: &str) -> bool {
    let is_in_word = before.is_some_and(char::is_alphanumeric);
    run <= 3 && behind.chars().next().is_some_and(|c| !c.is_whitespace()) && !(is_in_word && (mark == '_' || run == 1))
}

/// Code in double marks may be padded, to begin or end with a mark itself.
fn unpadded(inner: &str) -> &str {
    inner.strip_prefix(' ').and_then(|inner| inner.strip_suffix(' ')).filter(|inner| !inner.is_empty()).unwrap_or(inner)
}

enum Closing {
    At(usize),
    Nowhere,
    Unknown,
}

/// The place of the run that ends a span, within its line and what is held back of it.
fn closing(mark: char, run: usize, behind: &str, is_end: bool) -> Closing {
    let mut runs = 0;
    let mut last: Option<char> = None;
    for (count, (at, c)) in behind.char_indices().enumerate() {
        if c == mark {
            runs += 1;
        } else {
            if runs == run && ends(mark, run, last, Some(c)) {
                return Closing::At(at - runs);
            }
            if c == '\n' || count >= HELD {
                return Closing::Nowhere;
            }
            (runs, last) = (0, Some(c));
        }
        if count >= HELD {
            return Closing::Nowhere;
        }
    }
    match is_end {
        true if runs == run && ends(mark, run, last, None) => Closing::At(behind.len() - runs),
        true => Closing::Nowhere,
        false => Closing::Unknown,
    }
}

/// Returns true if a run behind `last` and before `next` ends a span.
fn ends(mark: char, run: usize, last: Option<char>, next: Option<char>) -> bool {
    let Some(last) = last else { return false };
    let goes_on = next.is_some_and(char::is_alphanumeric);
    mark == '`' || (!last.is_whitespace() && !(goes_on && (mark == '_' || run == 1)))
}

#[cfg(test)]
mod tests;
