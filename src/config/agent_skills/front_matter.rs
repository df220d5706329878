//! [`FrontMatter`]: the fields at the head of a `SKILL.md`, in the part of YAML that such files are written in: texts
//! plain, quoted or as blocks, lists of texts, and maps of texts.
//!
//! Anything beyond that is refused with its line and never read as something else, but in fields that have no meaning here:
//! their values are passed over. The meaning of the fields is [`super`]'s.

use std::iter::Peekable;
use std::vec::IntoIter;

/// A mistake, with its line from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub line: usize,
    pub problem: String,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HeadField {
    /// Text, and whether YAML reads it as text: `1.0`, `true` and `null` without quotes are something else.
    Text {
        text: String,
        is_text: bool,
    },
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// The fields in the order of the file, each with its line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FrontMatter(pub Vec<(String, usize, HeadField)>);

/// Most bytes of a quoted text that goes over several lines: far more than any field may have.
const MOST_QUOTED: usize = 8 * 1024;

/// A line with its number, its indentation and its text behind that.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

impl Line<'_> {
    fn mistake(&self, problem: impl Into<String>) -> Mistake {
        Mistake { line: self.number, problem: problem.into() }
    }

    fn is_blank(&self) -> bool {
        self.text.is_empty()
    }

    fn is_comment(&self) -> bool {
        self.text.starts_with('#')
    }
}

type Lines<'a> = Peekable<IntoIter<Line<'a>>>;

impl FrontMatter {
    /// Reads the head of `text`, with the values of the fields that are known.
    ///
    /// # Errors
    /// There is none, it has no end, or it has something beyond the part of YAML that is read.
    pub fn read(text: &str, is_known: fn(&str) -> bool) -> Result<Self, Mistake> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end()));
        if lines.next().is_none_or(|(_, line)| line != "---") {
            let problem = "no front matter: expected the first line to be ---, and name and description behind it";
            return Err(Mistake { line: 1, problem: problem.to_owned() });
        }
        let mut head = Vec::new();
        let mut has_end = false;
        for (number, line) in lines {
            if line == "---" {
                has_end = true;
                break;
            }
            let trimmed = line.trim_start_matches(' ');
            head.push(Line { number, indent: line.len() - trimmed.len(), text: trimmed });
        }
        if !has_end {
            return Err(Mistake {
                line: 1,
                problem: "the front matter has no end: expected a further line ---".to_owned(),
            });
        }
        let mut lines = head.into_iter().peekable();
        let mut fields: Vec<(String, usize, HeadField)> = Vec::new();
        while let Some(line) = lines.next() {
            if line.is_blank() || line.is_comment() {
                continue;
            }
            if line.indent > 0 {
                return Err(line.mistake("expected a field at the beginning of the line, such as name: ..."));
            }
            let (key, rest) = key_of(&line)?;
            if fields.iter().any(|(other, ..)| *other == key) {
                return Err(line.mistake(format!("{key} is there twice")));
            }
            let field = if is_known(&key) { value(&line, rest, &mut lines)? } else { passed_over(&mut lines) };
            fields.push((key, line.number, field));
        }
        Ok(Self(fields))
    }

    /// The field `name`, with its line.
    pub fn get(&self, name: &str) -> Option<(usize, &HeadField)> {
        self.0.iter().find(|(key, ..)| key == name).map(|(_, line, field)| (*line, field))
    }
}

/// The key of a line, and the text behind its colon.
fn key_of<'a>(line: &Line<'a>) -> Result<(String, &'a str), Mistake> {
    let end = line.text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.'));
    let (key, rest) = line.text.split_at(end.unwrap_or(line.text.len()));
    match rest.strip_prefix(':') {
        Some(rest) if !key.is_empty() && (rest.is_empty() || rest.starts_with(' ')) => {
            Ok((key.to_owned(), rest.trim()))
        }
        _ => Err(line.mistake("expected a name, a colon and a blank, such as name: ...")),
    }
}

/// The value behind a field's colon, or on the lines below.
fn value(line: &Line<'_>, rest: &str, lines: &mut Lines<'_>) -> Result<HeadField, Mistake> {
    if let Some(header) = rest.strip_prefix(['|', '>']) {
        let text = block(line, rest.starts_with('>'), header, lines)?;
        return Ok(HeadField::Text { text, is_text: true });
    }
    if rest.starts_with('[') {
        return flow_list(line, rest).map(HeadField::List);
    }
    let rest = if rest.starts_with('#') { "" } else { rest };
    if rest.is_empty() {
        return below(lines);
    }
    scalar(line, rest, line.indent, lines)
}

/// Passes over the lines below a field of any form.
fn passed_over(lines: &mut Lines<'_>) -> HeadField {
    while lines.next_if(|line| line.is_blank() || line.indent > 0 || is_item(line)).is_some() {}
    HeadField::Text { text: String::new(), is_text: false }
}

/// Returns true for an item of a list.
fn is_item(line: &Line<'_>) -> bool {
    line.text == "-" || line.text.starts_with("- ")
}

/// A text, a list or a map on the lines below a key.
fn below(lines: &mut Lines<'_>) -> Result<HeadField, Mistake> {
    let none = HeadField::Text { text: String::new(), is_text: false };
    while lines.next_if(|line| line.is_blank() || line.is_comment()).is_some() {}
    let Some(first) = lines.peek().copied() else { return Ok(none) };
    if !is_item(&first) && first.indent == 0 {
        return Ok(none);
    }
    if !is_item(&first) && key_of(&first).is_err() {
        lines.next();
        return scalar(&first, first.text, 0, lines);
    }
    let (mut items, mut pairs) = (Vec::new(), Vec::<(String, String)>::new());
    while let Some(line) = lines.peek().copied() {
        if line.is_blank() || line.is_comment() {
            lines.next();
            continue;
        }
        if line.indent != first.indent || is_item(&line) != is_item(&first) {
            if line.indent == 0 {
                break;
            }
            return Err(line.mistake("expected the indentation of the lines before: one level is read"));
        }
        if line.indent == 0 && !is_item(&line) {
            break;
        }
        lines.next();
        if is_item(&line) {
            let rest = line.text.strip_prefix('-').unwrap_or_default().trim();
            items.push(one_text(&line, rest, lines)?);
        } else {
            let (key, rest) = key_of(&line)?;
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(line.mistake(format!("{key} is there twice")));
            }
            let text = if rest.is_empty() || rest.starts_with(['[', '{']) {
                nested(&line, lines)
            } else if let Some(header) = rest.strip_prefix(['|', '>']) {
                block(&line, rest.starts_with('>'), header, lines)?
            } else {
                one_text(&line, rest, lines)?
            };
            pairs.push((key, text));
        }
    }
    Ok(if is_item(&first) { HeadField::List(items) } else { HeadField::Map(pairs) })
}

/// Passes over what a name of a map has in the place of a text: maps have no meaning here.
fn nested(key: &Line<'_>, lines: &mut Lines<'_>) -> String {
    let is_below = |line: &Line<'_>| line.is_blank() || line.indent > key.indent;
    while lines.next_if(|line| is_below(line) || (line.indent == key.indent && is_item(line))).is_some() {}
    String::new()
}

/// The text of an item or of a pair.
fn one_text(line: &Line<'_>, rest: &str, lines: &mut Lines<'_>) -> Result<String, Mistake> {
    if rest.is_empty() || rest.starts_with(['|', '>', '[']) {
        return Err(line.mistake("expected a text on this line: one level is read"));
    }
    match scalar(line, rest, line.indent, lines)? {
        HeadField::Text { text, .. } => Ok(text),
        HeadField::List(_) | HeadField::Map(_) => Err(line.mistake("expected a text")),
    }
}

/// A text that begins on this line. It may go on, further to the right than the `outer` indentation of its key.
fn scalar(line: &Line<'_>, rest: &str, outer: usize, lines: &mut Lines<'_>) -> Result<HeadField, Mistake> {
    if rest.starts_with(['"', '\'']) {
        return quoted_lines(line, rest, outer, lines).map(|text| HeadField::Text { text, is_text: true });
    }
    let mut text = plain(line, rest)?.to_owned();
    let mut goes_on = text.len() == rest.len();
    let mut is_one_line = true;
    while let Some(next) = lines.next_if(|next| goes_on && !next.is_blank() && next.indent > outer) {
        if next.is_comment() {
            return Err(next.mistake("expected no comment within a text: quote the text, or write it as a block (|)"));
        }
        let more = plain(&next, next.text)?;
        goes_on = more.len() == next.text.len();
        text.push(' ');
        text.push_str(more);
        is_one_line = false;
    }
    let is_text = !is_one_line || !is_other_kind(&text);
    Ok(HeadField::Text { text, is_text })
}

/// The plain text of a line, without a comment behind it.
fn plain<'a>(line: &Line<'_>, rest: &'a str) -> Result<&'a str, Mistake> {
    let text = rest.split(" #").next().unwrap_or(rest).trim_end();
    let begins_otherwise =
        text.starts_with(['&', '*', '!', '{', '}', ']', '[', ',', '%', '@', '`', '|', '>', '"', '\'']);
    if begins_otherwise || text == "-" || text.starts_with("- ") || text == "?" || text.starts_with("? ") {
        return Err(line.mistake("expected a plain text: put one that begins so in quotes"));
    }
    if text.contains(": ") || text.ends_with(':') {
        return Err(line.mistake("expected no colon and blank within a plain text: put the text in quotes"));
    }
    if text.contains('\t') {
        return Err(line.mistake("expected no tab: put the text in quotes, and indent by blanks"));
    }
    Ok(text)
}

/// Returns true for a plain text that YAML reads as nothing, a truth value, a number or a date.
fn is_other_kind(text: &str) -> bool {
    let words = ["null", "~", "true", "false", "yes", "no", "on", "off", ".nan", ".inf"];
    let is_word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let other_base = ["0x", "0o", "0b"].iter().find_map(|base| unsigned.strip_prefix(base));
    let is_number = other_base.is_some_and(|digits| u128::from_str_radix(digits, 16).is_ok())
        || (unsigned.contains(|c: char| c.is_ascii_digit()) && unsigned.replace('_', "").parse::<f64>().is_ok())
        || (unsigned.contains(':') && unsigned.split(':').all(is_digits));
    let date: Vec<&str> = text.splitn(3, '-').collect();
    let is_date = matches!(date.as_slice(), [year, month, day]
        if year.len() == 4 && is_digits(year) && is_digits(month) && is_digits(day.split(['T', 't', ' ']).next().unwrap_or_default()));
    is_word || is_number || is_date
}

/// A text in quotes, which may go on on the lines below.
fn quoted_lines(line: &Line<'_>, rest: &str, outer: usize, lines: &mut Lines<'_>) -> Result<String, Mistake> {
    let mut whole = rest.to_owned();
    loop {
        if let Some((text, behind)) = quoted(line, &whole)? {
            if !behind.trim().is_empty() && !behind.trim_start().starts_with('#') {
                return Err(line.mistake("expected the end of the line behind the closing quote"));
            }
            return Ok(text);
        }
        let next = lines.next_if(|next| (next.is_blank() || next.indent > outer) && whole.len() < MOST_QUOTED);
        let next = next.ok_or_else(|| unclosed_quote(line))?;
        let is_joined =
            whole.starts_with('"') && whole.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        if is_joined {
            whole.pop();
        } else if next.is_blank() {
            whole.push('\n');
        } else if !whole.ends_with('\n') {
            whole.push(' ');
        }
        whole.push_str(next.text);
    }
}

fn unclosed_quote(line: &Line<'_>) -> Mistake {
    line.mistake("expected the closing quote, here or on indented lines below")
}

/// The text in quotes at the beginning of `rest`, and what is behind it; `None` where it goes on.
fn quoted<'a>(line: &Line<'_>, rest: &'a str) -> Result<Option<(String, &'a str)>, Mistake> {
    let is_double = rest.starts_with('"');
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if is_double => return Ok(Some((text, rest.get(at + 1..).unwrap_or_default()))),
            '\'' if !is_double => {
                if chars.next_if(|(_, next)| *next == '\'').is_none() {
                    return Ok(Some((text, rest.get(at + 1..).unwrap_or_default())));
                }
                text.push('\'');
            }
            '\\' if is_double => match chars.next().map(|(_, c)| c) {
                // The line ends with it.
                None => return Ok(None),
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(c @ ('"' | '\\' | '/' | ' ')) => text.push(c),
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                    match code.and_then(char::from_u32) {
                        Some(c) => text.push(c),
                        None => return Err(line.mistake("expected four hexadecimal digits of a character behind \\u")),
                    }
                }
                _ => return Err(line.mistake("expected one of \\\" \\\\ \\/ \\n \\t \\u00fc")),
            },
            c => text.push(c),
        }
    }
    Ok(None)
}

/// A list in brackets, on one line.
fn flow_list(line: &Line<'_>, rest: &str) -> Result<Vec<String>, Mistake> {
    let unclosed = || line.mistake("expected ] on the same line");
    let mut rest = rest.strip_prefix('[').unwrap_or(rest).trim_start();
    let mut items = Vec::new();
    loop {
        if let Some(behind) = rest.strip_prefix(']') {
            if !behind.trim().is_empty() && !behind.trim_start().starts_with('#') {
                return Err(line.mistake("expected the end of the line behind ]"));
            }
            return Ok(items);
        }
        let behind = if rest.starts_with(['"', '\'']) {
            let (text, behind) = quoted(line, rest)?.ok_or_else(|| unclosed_quote(line))?;
            items.push(text);
            behind
        } else {
            let end = rest.find([',', ']']).ok_or_else(unclosed)?;
            let (item, behind) = rest.split_at(end);
            if item.trim().is_empty() || item.contains(['[', '{', '}']) || item.contains(" #") {
                return Err(line.mistake("expected a text in the list: one level is read"));
            }
            items.push(plain(line, item.trim())?.to_owned());
            behind
        };
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if behind.starts_with(']') => behind,
            None => return Err(unclosed()),
        };
    }
}

/// A block of text below a key, as it is (`|`) or folded (`>`).
fn block(key: &Line<'_>, is_folded: bool, header: &str, lines: &mut Lines<'_>) -> Result<String, Mistake> {
    let header = header.split(" #").next().unwrap_or(header).trim();
    if !matches!(header, "" | "-" | "+") {
        return Err(key.mistake("expected the end of the line behind | or >, or - or + there"));
    }
    let mut rows: Vec<String> = Vec::new();
    let mut indent = None;
    while let Some(line) = lines.next_if(|line| line.is_blank() || line.indent > key.indent) {
        if line.is_blank() {
            rows.push(String::new());
            continue;
        }
        let first = *indent.get_or_insert(line.indent);
        if line.indent < first || line.text.starts_with('\t') {
            return Err(line.mistake("expected at least the indentation of the block's first line, in blanks"));
        }
        let beyond = line.indent - first;
        if beyond > 0 && is_folded {
            return Err(line.mistake("expected the indentation of the lines before: write the text as a block (|)"));
        }
        // The blanks beyond the block's own belong to the text.
        rows.push(format!("{:beyond$}{}", "", line.text));
    }
    // The line ends behind it, which - and + are about, count for nothing here.
    let text = if is_folded { folded(&rows) } else { rows.join("\n") };
    Ok(text.trim_end().to_owned())
}

/// The rows of a folded block: those behind each other on one line, and a line end for each blank one between.
fn folded(rows: &[String]) -> String {
    let mut text = String::new();
    for row in rows {
        match row.as_str() {
            "" => text.push('\n'),
            row => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push(' ');
                }
                text.push_str(row);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
