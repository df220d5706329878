//! [`TextReader`]: keys, values and statements of TOML in the forms that are written into a lock. `definitions` and
//! `open_tables` call it. Every other form, right or wrong, is `None`, and left to TOML's parser.
//!
//! <https://toml.io/en/v1.0.0>

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// Deepest nesting that is read here; far more than schemas have, and less than TOML's parser refuses.
pub(super) const MAX_DEPTH: usize = 32;

/// A place in a text.
#[derive(Debug, Clone)]
pub(super) struct TextReader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> TextReader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Passes `token`, which has to be next.
    pub fn expect(&mut self, token: &str) -> Option<()> {
        self.accept(token).then_some(())
    }

    /// The rest of the line without its end, which is passed.
    pub fn line(&mut self) -> &'a str {
        let rest = self.rest();
        let line = rest.split_once('\n').map_or(rest, |(line, _)| line);
        self.at = (self.at + line.len() + 1).min(self.text.len());
        line
    }

    /// A line of the form `key = value`.
    pub fn statement(&mut self) -> Option<(Cow<'a, str>, Value)> {
        let entry = self.entry(MAX_DEPTH)?;
        if self.peek().is_some() {
            self.expect("\n")?;
        }
        Some(entry)
    }

    /// A bare or quoted key.
    pub fn key(&mut self) -> Option<Cow<'a, str>> {
        match self.peek()? {
            b'"' => self.basic_string(),
            b'\'' => self.literal_string().map(Cow::Borrowed),
            _ => {
                let key = self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
                (!key.is_empty()).then_some(Cow::Borrowed(key))
            }
        }
    }

    fn entry(&mut self, depth: usize) -> Option<(Cow<'a, str>, Value)> {
        let key = self.key()?;
        self.expect(" = ")?;
        Some((key, self.value(depth)?))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        Some(match self.peek()? {
            b'"' if self.accept(r#"""""#) => Value::String(self.long_basic_string()?),
            b'"' => Value::String(self.basic_string()?.into_owned()),
            b'\'' if self.accept("'''") => Value::String(self.long_literal_string()?.to_owned()),
            b'\'' => Value::String(self.literal_string()?.to_owned()),
            b'[' => Value::Array(self.array(depth)?),
            b'{' => Value::Object(self.inline_table(depth)?),
            _ => scalar(self.run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+')))?,
        })
    }

    /// The items of `[a, b]`, in one line or a line for each.
    fn array(&mut self, depth: usize) -> Option<Vec<Value>> {
        self.expect("[")?;
        let mut items = Vec::new();
        loop {
            self.run(|byte| matches!(byte, b' ' | b'\n'));
            if self.accept("]") {
                return Some(items);
            }
            items.push(self.value(depth)?);
            if !self.accept(",") {
                self.run(|byte| matches!(byte, b' ' | b'\n'));
                self.expect("]")?;
                return Some(items);
            }
        }
    }

    /// The entries of `{ a = 1, b = 2 }`.
    fn inline_table(&mut self, depth: usize) -> Option<Map<String, Value>> {
        self.expect("{")?;
        let mut entries = Map::new();
        self.accept(" ");
        if self.accept("}") {
            return Some(entries);
        }
        loop {
            let (key, value) = self.entry(depth)?;
            if entries.insert(key.into_owned(), value).is_some() {
                return None;
            }
            if !self.accept(", ") {
                self.accept(" ");
                self.expect("}")?;
                return Some(entries);
            }
        }
    }

    /// The text between quotation marks, borrowed where it has no escapes.
    fn basic_string(&mut self) -> Option<Cow<'a, str>> {
        self.expect("\"")?;
        let plain = self.run(|byte| is_text(byte) && !matches!(byte, b'"' | b'\\'));
        if self.accept("\"") {
            return Some(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            match self.next()? {
                b'"' => return Some(Cow::Owned(text)),
                b'\\' => text.push(self.escape()?),
                _ => return None,
            }
            text.push_str(self.run(|byte| is_text(byte) && !matches!(byte, b'"' | b'\\')));
        }
    }

    /// The text up to three quotation marks, of which the first three were passed.
    fn long_basic_string(&mut self) -> Option<String> {
        self.accept("\n");
        let mut text = String::new();
        loop {
            text.push_str(self.run(|byte| (is_text(byte) || byte == b'\n') && !matches!(byte, b'"' | b'\\')));
            if self.accept(r#"""""#) {
                // Further marks would belong to the text.
                return (self.peek() != Some(b'"')).then_some(text);
            }
            match self.next()? {
                b'"' => text.push('"'),
                b'\\' => text.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn literal_string(&mut self) -> Option<&'a str> {
        self.expect("'")?;
        let text = self.run(|byte| is_text(byte) && byte != b'\'');
        self.expect("'")?;
        Some(text)
    }

    /// The text up to three apostrophes, of which the first three were passed.
    fn long_literal_string(&mut self) -> Option<&'a str> {
        self.accept("\n");
        let (text, _) = self.rest().split_once("'''")?;
        self.at += text.len() + 3;
        let is_whole = self.peek() != Some(b'\'') && text.bytes().all(|byte| is_text(byte) || byte == b'\n');
        is_whole.then_some(text)
    }

    /// The character that an escape stands for, behind its backslash.
    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            b'b' => '\u{8}',
            b't' => '\t',
            b'n' => '\n',
            b'f' => '\u{c}',
            b'r' => '\r',
            b'"' => '"',
            b'\\' => '\\',
            b'u' => self.code(4)?,
            b'U' => self.code(8)?,
            _ => return None,
        })
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        let code = self.text.get(self.at..self.at.checked_add(digits)?)?;
        self.at += digits;
        let is_hex = code.bytes().all(|byte| byte.is_ascii_hexdigit());
        char::from_u32(u32::from_str_radix(code, 16).ok().filter(|_| is_hex)?)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn accept(&mut self, token: &str) -> bool {
        let is_next = self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(token.as_bytes()));
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    /// The bytes from here on for which `is_part` holds.
    fn run(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !is_part(*byte)).unwrap_or(rest.len());
        let run = self.text.get(self.at..self.at + length).unwrap_or_default();
        self.at += run.len();
        run
    }
}

/// Returns whether a text may have this byte as it is.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// A number or boolean.
fn scalar(text: &str) -> Option<Value> {
    match text {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = digits.split_at(digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len()));
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    if rest.is_empty() {
        return text.parse::<i64>().ok().map(Value::from);
    }
    let is_float =
        rest.strip_prefix('.').is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let float = text.parse::<f64>().ok().filter(|_| is_float)?;
    Number::from_f64(float).map(Value::Number)
}
