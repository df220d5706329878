//! The syntax of environment files, as the `dotenv` package for Node.js reads it
//! (<https://github.com/motdotla/dotenv>): `NAME=value` or `NAME: value`, `export ` before it, `#` comments, quotes of
//! three kinds that may span lines, and the escapes `\n` and `\r` within double quotes. Variables are not expanded.
//!
//! That package skips a line that it cannot read; here such a line is an error, because a key that is silently missing
//! costs its user more time than a message. `env` calls [`parse`] and decides which of the variables may be set.

/// A line that cannot be read, without its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DotenvError {
    /// From 1.
    pub line: usize,
    pub reason: &'static str,
}

/// All names and values, in the order of the text.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
    // Editors on Windows begin a UTF-8 file with a byte order mark, which would become part of the first name.
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (assignment, after) = first_line(rest);
        let assignment = assignment.trim();
        if assignment.is_empty() || assignment.starts_with('#') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let fault = |reason| DotenvError { line, reason };
        let (name, value_start) = name(rest).ok_or_else(|| fault("expected NAME=value"))?;
        let (value, after) = value(value_start).map_err(fault)?;
        line += rest.len().checked_sub(after.len()).and_then(|taken| rest.get(..taken)).map_or(1, line_ends);
        pairs.push((name.to_owned(), value));
        rest = after;
    }
    Ok(pairs)
}

/// Splits off the first line. A line ends with LF, CR LF or CR.
fn first_line(text: &str) -> (&str, &str) {
    let Some(end) = text.find(['\n', '\r']) else { return (text, "") };
    let (line, rest) = text.split_at(end);
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
    (line, rest)
}

fn line_ends(text: &str) -> usize {
    text.bytes().filter(|b| matches!(b, b'\n' | b'\r')).count() - text.matches("\r\n").count()
}

/// The name that `text` begins with, and the rest after its `=` or `: ` and the blanks around them.
fn name(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(BLANKS);
    // `export NAME=value` names NAME, but `export=value` and `exported=value` set variables of those names.
    let text = match text.strip_prefix("export").map(|rest| (rest, rest.trim_start_matches(BLANKS))) {
        Some((rest, after)) if rest.len() > after.len() && !after.starts_with(['=', ':']) => after,
        _ => text,
    };
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))?;
    let (name, rest) = text.split_at(end);
    let value = match rest.trim_start_matches(BLANKS).strip_prefix('=') {
        Some(value) => value,
        None => rest.strip_prefix(':').filter(|value| value.starts_with(BLANKS))?,
    };
    (!name.is_empty()).then(|| (name, value.trim_start_matches(BLANKS)))
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The value that `text` begins with, and the lines after it.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
        let (line, after) = first_line(text);
        let value = line.split('#').next().unwrap_or_default().trim();
        return Ok((value.to_owned(), after));
    };
    let body = text.get(1..).unwrap_or_default();
    let (inner, rest) = body.split_at(closing_quote(body, quote)?);
    let (_, after) = first_line(rest);
    let inner = inner.replace("\r\n", "\n");
    let value = if quote == '"' { inner.replace("\\n", "\n").replace("\\r", "\r") } else { inner };
    Ok((value, after))
}

/// The position of the quote that ends a value: the first without a backslash before it.
///
/// A backslash before the last quote is ambiguous: `"C:\dir\"` is a path that ends with one, `"say \"x\""` escapes. So
/// when there is no unescaped quote, or more than a comment follows it on its line, the last escaped quote before it
/// that ends a line is taken, as the regular expressions of that package do by backtracking.
fn closing_quote(text: &str, quote: char) -> Result<usize, &'static str> {
    let is_escaped = |at: usize| text.get(..at).is_some_and(|before| before.ends_with('\\'));
    let ends_line = |at: usize| {
        let tail = text.get(at + 1..).unwrap_or_default().trim_start_matches(BLANKS);
        tail.is_empty() || tail.starts_with(['#', '\n', '\r'])
    };
    let mut found = Err("a quoted value has no closing quote");
    for (at, _) in text.match_indices(quote) {
        if ends_line(at) {
            found = Ok(at);
        }
        if !is_escaped(at) {
            return found.map_err(|_| "text after the closing quote of a value");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    fn one(text: &str) -> String {
        let pairs = read(text);
        assert_eq!(pairs.len(), 1, "{text:?} gave {pairs:?}");
        pairs.into_iter().next().unwrap().1
    }

    #[test]
    fn values_are_read_as_the_original_reads_them() {
        for (text, value) in [
            ("A=b", "b"),
            ("A = b ", "b"),
            ("  export A=b", "b"),
            ("A: b", "b"),
            ("A=", ""),
            ("A=b # comment", "b"),
            ("A=b#comment", "b"),
            ("A=b=c", "b=c"),
            ("A=$HOME/x ${B}", "$HOME/x ${B}"),
            ("A={\"k\": 1}", "{\"k\": 1}"),
            ("A='single # \\n \"x\"'", "single # \\n \"x\""),
            ("A=\"double # 'x'\" # comment", "double # 'x'"),
            ("A=`both ' and \"`", "both ' and \""),
            ("A=\"one\\ntwo\\r\"", "one\ntwo\r"),
            ("A=\"one\ntwo\r\nthree\"", "one\ntwo\nthree"),
            ("A='one\ntwo'", "one\ntwo"),
            ("A=\"say \\\"x\\\"\"", "say \\\"x\\\""),
            ("A=\" kept \"", " kept "),
            ("A='C:\\dir\\' # comment", "C:\\dir\\"),
            ("\u{feff}A=b", "b"),
        ] {
            assert_eq!(one(text), value, "{text:?}");
        }
    }

    #[test]
    fn blank_lines_comments_and_line_ends_separate() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read("# head\r\n\r\nA=1\r\nexport=2\rB.c-d='x\ny'\n  # foot\nE=\nF=3"),
            [pair("A", "1"), pair("export", "2"), pair("B.c-d", "x\ny"), pair("E", ""), pair("F", "3")]
        );
    }

    #[test]
    fn faults_have_the_line_they_begin_on() {
        for (text, line, reason) in [
            ("A=1\n\nnothing here\n", 3, "expected NAME=value"),
            ("export A\n", 1, "expected NAME=value"),
            ("=x", 1, "expected NAME=value"),
            ("Ü=x", 1, "expected NAME=value"),
            ("A='1\n2'\r\nB=\"x\nC=1", 3, "a quoted value has no closing quote"),
            ("A='C:\\dir\\'\nB='x'y'", 2, "text after the closing quote of a value"),
            ("A='x'y", 1, "text after the closing quote of a value"),
        ] {
            assert_eq!(parse(text), Err(DotenvError { line, reason }), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-C=:#'\"`\\\\ \n\r\tüé.]{0,60}") {
            let lines = line_ends(&text) + 1;
            if let Err(fault) = parse(&text) {
                prop_assert!((1..=lines).contains(&fault.line));
            }
        }

        #[test]
        fn quoted_values_come_back(value in "[^'\\\\\r]{0,40}") {
            prop_assert_eq!(read(&format!("A=1\nKEY='{value}'\n"))[1..].to_vec(), vec![("KEY".to_owned(), value)]);
        }
    }
}
