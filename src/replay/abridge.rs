//! [`Abridger`] and [`Unabridger`]: lines of a cassette that are written by what differs from an earlier one.
//!
//! Steps of a job are much alike: the same fields in the same order, and in them other ids, counts and texts. Where a line
//! has the shape of an earlier one, it names that line and has the values that differ, each with the pointer to its place:
//!
//! ```text
//! {"like":7,"with":{"/call/id":"call_2","/result/id":"call_2"}}
//! ```
//!
//! A value is a string, a number, `true`, `false`, `null`, or a list of these alone, so that pieces of a text are one value,
//! however many they are. The earlier line is whole: no line is read by way of a second one. Exchanges and results of tools
//! are written so, which a cassette grows with; the others, which its parts are found by, are whole. `record` writes such
//! lines, `index` reads them; what a line means is left to both.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

/// Most bytes of a line that others are written by; they are in memory.
const MOST_BYTES: usize = 64 << 10;
/// Most lines that are known at a time: the shapes of the exchanges and calls that take turns. The oldest gives way.
const MOST_LINES: usize = 16;
/// Most levels of a line that others are written by, as readers of JSON have it.
const MOST_LEVELS: usize = 120;
/// The beginnings of the lines that are written by others.
const RECORDS: [&[u8]; 2] = [br#"{"record":"exchange","#, br#"{"record":"tool","#];
/// The beginning of a line that is written by another.
const BEGINNING: &[u8] = br#"{"like":"#;

/// A whole line, cut at its values.
struct CutLine {
    /// From 1 on.
    number: u64,
    text: Vec<u8>,
    /// The places of its values.
    values: Vec<Range<usize>>,
    /// The pointers to them.
    pointers: Vec<String>,
}

impl CutLine {
    fn new(number: u64, text: Vec<u8>) -> Option<Self> {
        let (mut values, mut pointers) = (Vec::new(), Vec::new());
        Cut { text: &text, at: 0, values: &mut values, pointers: Some(&mut pointers) }.line()?;
        Some(Self { number, text, values, pointers })
    }

    /// The text around the values.
    fn shape<'a>(text: &'a [u8], values: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(0).chain(values.iter().map(|value| value.end));
        let ends = values.iter().map(|value| value.start).chain(std::iter::once(text.len()));
        starts.zip(ends).map(|(start, end)| text.get(start..end).unwrap_or_default())
    }

    /// Another line as it is written by this one; `None` if it has another shape.
    fn abridged(&self, text: &[u8], values: &[Range<usize>]) -> Option<Vec<u8>> {
        let is_like =
            self.values.len() == values.len() && Self::shape(&self.text, &self.values).eq(Self::shape(text, values));
        if !is_like {
            return None;
        }
        let mut abridged = BEGINNING.to_vec();
        abridged.extend_from_slice(self.number.to_string().as_bytes());
        abridged.extend_from_slice(br#","with":{"#);
        let mut is_first = true;
        for ((own, pointer), value) in self.values.iter().zip(&self.pointers).zip(values) {
            let value = text.get(value.clone())?;
            if self.text.get(own.clone()) != Some(value) {
                if !std::mem::take(&mut is_first) {
                    abridged.push(b',');
                }
                abridged.extend(serde_json::to_vec(pointer).ok()?);
                abridged.push(b':');
                abridged.extend_from_slice(value);
            }
        }
        abridged.extend_from_slice(b"}}");
        Some(abridged)
    }

    /// The line that is written by this one with other values at these places; `None` if one of them is no place here.
    fn with(&self, others: &IndexMap<String, Value>) -> Option<Vec<u8>> {
        // As they are written, they are in the order of their places.
        let mut ordered = others.iter().peekable();
        let whole = self.changed(|pointer| ordered.next_if(|(other, _)| *other == pointer).map(|(_, value)| value))?;
        if ordered.peek().is_none() {
            return Some(whole);
        }
        let mut found: usize = 0;
        let whole = self.changed(|pointer| others.get(pointer).inspect(|_| found = found.saturating_add(1)))?;
        (found == others.len()).then_some(whole)
    }

    /// The text with other values, where there is another one.
    fn changed<'a>(&self, mut other: impl FnMut(&str) -> Option<&'a Value>) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(self.text.len());
        let mut from = 0;
        for (place, pointer) in self.values.iter().zip(&self.pointers) {
            let Some(other) = other(pointer) else { continue };
            text.extend_from_slice(self.text.get(from..place.start)?);
            serde_json::to_writer(&mut text, other).ok()?;
            from = place.end;
        }
        text.extend_from_slice(self.text.get(from..)?);
        Some(text)
    }
}

/// A line while it is cut.
struct Cut<'a> {
    text: &'a [u8],
    at: usize,
    values: &'a mut Vec<Range<usize>>,
    /// Not wanted of a line that is compared alone.
    pointers: Option<&'a mut Vec<String>>,
}

impl Cut<'_> {
    /// Cuts the whole line. `None` for what is no JSON.
    fn line(mut self) -> Option<()> {
        let mut pointer = String::new();
        self.value(&mut pointer, MOST_LEVELS)?;
        self.space();
        self.peek().is_none().then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn pass(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.pass();
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.space();
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.pass();
        }
        is_there
    }

    fn value(&mut self, pointer: &mut String, levels: usize) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        self.space();
        let start = self.at;
        match self.peek()? {
            b'{' => return self.object(pointer, levels),
            b'[' if self.flat_list().is_none() => {
                self.at = start;
                return self.list(pointer, levels);
            }
            // Passed above.
            b'[' => {}
            _ => self.scalar()?,
        }
        self.note(start, pointer);
        Some(())
    }

    fn note(&mut self, start: usize, pointer: &str) {
        self.values.push(start..self.at);
        if let Some(pointers) = &mut self.pointers {
            pointers.push(pointer.to_owned());
        }
    }

    fn object(&mut self, pointer: &mut String, levels: usize) -> Option<()> {
        self.pass();
        if self.take(b'}') {
            return Some(());
        }
        loop {
            self.space();
            let start = self.at;
            self.string()?;
            let length = pointer.len();
            if self.pointers.is_some() {
                let key: String = serde_json::from_slice(self.text.get(start..self.at)?).ok()?;
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            self.take(b':').then_some(())?;
            self.value(pointer, levels)?;
            pointer.truncate(length);
            if !self.take(b',') {
                return self.take(b'}').then_some(());
            }
        }
    }

    fn list(&mut self, pointer: &mut String, levels: usize) -> Option<()> {
        self.pass();
        for index in 0_usize.. {
            let length = pointer.len();
            if self.pointers.is_some() {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            self.value(pointer, levels)?;
            pointer.truncate(length);
            if !self.take(b',') {
                break;
            }
        }
        self.take(b']').then_some(())
    }

    /// Passes a list without lists and objects; `None` for another one, somewhere within it.
    fn flat_list(&mut self) -> Option<()> {
        self.pass();
        if self.take(b']') {
            return Some(());
        }
        loop {
            self.space();
            self.scalar()?;
            if !self.take(b',') {
                return self.take(b']').then_some(());
            }
        }
    }

    fn scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(),
            b'{' | b'[' | b']' | b'}' | b',' | b':' => None,
            _ => {
                while !matches!(self.peek(), None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')) {
                    self.pass();
                }
                Some(())
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        (self.peek()? == b'"').then(|| self.pass())?;
        loop {
            let rest = self.text.get(self.at..)?;
            let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            let is_escape = rest.get(end) == Some(&b'\\');
            self.at = self.at.saturating_add(end).saturating_add(if is_escape { 2 } else { 1 });
            if !is_escape {
                return Some(());
            }
        }
    }
}

/// Writes lines by earlier ones.
#[derive(Default)]
pub(super) struct Abridger {
    lines: VecDeque<CutLine>,
}

impl Abridger {
    /// The line with this number and text as it is to be written.
    pub fn line(&mut self, number: u64, text: Vec<u8>) -> Vec<u8> {
        if text.len() > MOST_BYTES || !RECORDS.iter().any(|record| text.starts_with(record)) {
            return text;
        }
        let mut values = Vec::new();
        if (Cut { text: &text, at: 0, values: &mut values, pointers: None }).line().is_none() {
            return text;
        }
        if let Some(abridged) = self.lines.iter().find_map(|line| line.abridged(&text, &values)) {
            return if abridged.len() < text.len() { abridged } else { text };
        }
        if let Some(line) = CutLine::new(number, text.clone()) {
            if self.lines.len() == MOST_LINES {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
        text
    }
}

/// A line that is written by another.
#[derive(Deserialize)]
struct AbridgedLine {
    /// The number of the other, whole line.
    like: u64,
    with: IndexMap<String, Value>,
}

/// The reason why a line is not to be read by another.
pub(super) enum Unreadable<E> {
    /// The line itself is no JSON, as a torn one.
    NoJson(serde_json::Error),
    /// It names no line that it can be like.
    NoSuchLine(u64),
    /// The other line cannot be read.
    Other(E),
}

/// Reads lines that are written by earlier ones.
#[derive(Default)]
pub(super) struct Unabridger {
    lines: VecDeque<Arc<CutLine>>,
}

impl std::fmt::Debug for Unabridger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unabridger").field("lines", &self.lines.len()).finish()
    }
}

impl Unabridger {
    /// Returns whether a line is written by another.
    pub fn is_abridged(line: &[u8]) -> bool {
        line.starts_with(BEGINNING)
    }

    /// The whole text of a line that is written by another. `read` gives the line of a number, which is before it.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn whole<E>(
        &mut self,
        line: &[u8],
        read: impl FnOnce(u64) -> Option<Result<Vec<u8>, E>>,
    ) -> Result<Vec<u8>, Unreadable<E>> {
        let AbridgedLine { like, with } = serde_json::from_slice(line).map_err(Unreadable::NoJson)?;
        let known = self.lines.iter().find(|line| line.number == like).cloned();
        let other = known.map_or_else(|| self.keep(like, read(like)), Ok)?;
        other.with(&with).ok_or(Unreadable::NoSuchLine(like))
    }

    /// Keeps the line of this number, which is read to read others by it.
    fn keep<E>(&mut self, number: u64, text: Option<Result<Vec<u8>, E>>) -> Result<Arc<CutLine>, Unreadable<E>> {
        let text = text.ok_or(Unreadable::NoSuchLine(number))?.map_err(Unreadable::Other)?;
        let is_whole = !Self::is_abridged(&text);
        let line = CutLine::new(number, text).filter(|_| is_whole).ok_or(Unreadable::NoSuchLine(number))?;
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
        }
        let line = Arc::new(line);
        self.lines.push_back(Arc::clone(&line));
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The lines as they are written, from number 2 on, each of which reads as it was.
    fn written(lines: &[&str]) -> Vec<String> {
        let (mut abridger, mut unabridger) = (Abridger::default(), Unabridger::default());
        let mut written: Vec<String> = Vec::new();
        for (number, line) in (2..).zip(lines) {
            let text = String::from_utf8(abridger.line(number, line.as_bytes().to_vec())).unwrap();
            if Unabridger::is_abridged(text.as_bytes()) {
                let read = |number: u64| {
                    let line = written.get(usize::try_from(number).unwrap() - 2)?;
                    Some(Ok::<_, ()>(line.clone().into_bytes()))
                };
                let whole = unabridger.whole(text.as_bytes(), read);
                assert_eq!(String::from_utf8(whole.unwrap_or_default()).unwrap(), *line);
            } else {
                assert_eq!(text, *line);
            }
            written.push(text);
        }
        written
    }

    #[test]
    fn a_line_of_a_known_shape_has_what_differs_alone() {
        let lines = [
            r#"{"record":"tool","call":{"id":"c1","args":{"a/b":[1,"x"]}},"result":[{"text":"an owl"},{}],"is":null}"#,
            r#"{"record":"tool","call":{"id":"c2","args":{"a/b":[]}},"result":[{"text":"an \"owl\\"},{}],"is":true}"#,
            r#"{"record":"tool","call":{"id":"c2","args":{"a/b":[]}},"result":[{"text":"an owl"}],"is":null}"#,
            r#"{"record":"tool","call":{"id":"c3","args":{"a/b":[]}},"result":[{"text":"an owl"}],"is":null}"#,
            r#"{"record":"tool","call":{"id":"c1","args":{"a/b":[1,"x"]}},"result":[{"text":"an owl"},{}],"is":null}"#,
        ];
        let written = written(&lines);
        assert_eq!(
            written[1],
            r#"{"like":2,"with":{"/call/id":"c2","/call/args/a~1b":[],"/result/0/text":"an \"owl\\","/is":true}}"#
        );
        assert_eq!(written[2], lines[2]);
        assert_eq!(written[3], r#"{"like":4,"with":{"/call/id":"c3"}}"#);
        assert_eq!(written[4], r#"{"like":2,"with":{}}"#);
    }

    #[test]
    fn a_line_is_whole_where_that_is_shorter_or_the_line_is_long() {
        let short = [r#"{"record":"tool","a":1}"#, r#"{"record":"tool","a":2}"#];
        assert_eq!(written(&short), short);
        let long = json!({"record": "tool", "of": "x".repeat(MOST_BYTES)}).to_string();
        assert_eq!(written(&[&long, &long]), [long.clone(), long]);
        let end = json!({"record": "end", "of": "x".repeat(100)}).to_string();
        assert_eq!(written(&[&end, &end]), [end.clone(), end]);
    }

    #[test]
    fn a_line_that_is_like_none_is_named() {
        let read = |number: u64| -> Option<Result<Vec<u8>, ()>> {
            let line: &[u8] = match number {
                2 => br#"{"a":{"b":1},"c":[{}],"d":3}"#,
                3 => br#"{"like":2,"with":{}}"#,
                4 => b"no JSON",
                _ => return None,
            };
            Some(Ok(line.to_vec()))
        };
        let whole = |line: &str| Unabridger::default().whole(line.as_bytes(), read);
        for (line, like) in [
            (r#"{"like":2,"with":{"/a":1}}"#, 2),
            (r#"{"like":2,"with":{"/a/c":1}}"#, 2),
            (r#"{"like":3,"with":{}}"#, 3),
            (r#"{"like":4,"with":{}}"#, 4),
            (r#"{"like":5,"with":{}}"#, 5),
        ] {
            assert!(matches!(whole(line), Err(Unreadable::NoSuchLine(named)) if named == like), "{line}");
        }
        assert!(matches!(whole(r#"{"like":2,"with""#), Err(Unreadable::NoJson(_))));
        for (line, expected) in [
            (r#"{"like":2,"with":{"/a/b":[1,2]}}"#, r#"{"a":{"b":[1,2]},"c":[{}],"d":3}"#),
            // In another order than they are written in, as by hand.
            (r#"{"like":2,"with":{"/d":[],"/a/b":"x"}}"#, r#"{"a":{"b":"x"},"c":[{}],"d":[]}"#),
        ] {
            assert!(whole(line).is_ok_and(|whole| whole == expected.as_bytes()), "{line}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            (0..3_i64).prop_map(Value::from),
            "[ab\"\\\\/~]{0,2}".prop_map(Value::from),
            any::<f64>().prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(("[a/~\"]", inner), 0..3).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn lines_read_as_they_were_written(values in prop::collection::vec(any_value(), 1..12)) {
            let lines: Vec<String> = values.iter().map(|value| json!({"record": "tool", "of": value, "more": value}).to_string()).collect();
            written(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
