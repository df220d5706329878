//! Typed reading of a TOML document that collects every problem instead of stopping at the first.
//!
//! A [`Node`] is a value and its place, a [`Table`] a node with keys; reading from them returns `None` on a mistake and
//! adds the reason to [`Diagnostics`]. The meaning of the values is left to the callers. Values are quoted only where
//! they must be one of a few words: any other may be a secret.

use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) use super::diagnostics::Diagnostics;
use super::diagnostics::SourceSpan;
use super::error::{quoted, shown};
use super::keys::{KeyTable, Presence};

/// The text of a file, parsed.
pub(super) struct Document<'a> {
    pub(super) table: DeTable<'a>,
    pub(super) file: usize,
    pub(super) is_sound: bool,
}

impl<'a> Document<'a> {
    /// Parses the text of the file at `path`. All mistakes of syntax are found; none is quoted, as the text may hold a
    /// secret.
    pub fn parse(path: &Path, text: &'a Rc<str>, diagnostics: &mut Diagnostics) -> Self {
        let file = diagnostics.add_source(path, text);
        let (document, errors) = DeTable::parse_recoverable(text);
        let is_sound = errors.is_empty();
        for error in errors {
            let at = error.span().map_or(text.len(), |span| span.start);
            diagnostics.problem(SourceSpan { file, at, path: String::new() }, error.message());
        }
        Self { table: document.into_inner(), file, is_sound }
    }
}

impl Document<'_> {
    /// The table at the top, unless the syntax is wrong: reading a broken text would report mistakes that are none.
    pub fn root(&self) -> Option<Table<'_>> {
        let spot = SourceSpan { file: self.file, at: 0, path: String::new() };
        self.is_sound.then_some(Table { entries: &self.table, spot })
    }
}

/// A key and its place.
pub(super) struct Key<'a> {
    pub name: &'a str,
    spot: SourceSpan,
}

impl Key<'_> {
    /// The key's place.
    pub fn spot(&self) -> SourceSpan {
        self.spot.clone()
    }

    /// Adds a warning that the key has no meaning here.
    pub fn unknown(&self, known: &[&str], reason: &str, diagnostics: &mut Diagnostics) {
        diagnostics.unfit_word(self.spot(), self.name, known.iter().copied(), reason);
    }

    /// Adds a warning that the key is of older versions, which old files still have.
    pub fn obsolete(&self, diagnostics: &mut Diagnostics) {
        diagnostics.warning(self.spot(), "no longer used, ignored");
    }

    /// Reports a problem with the key itself.
    pub fn problem(&self, message: impl Into<String>, diagnostics: &mut Diagnostics) {
        diagnostics.problem(self.spot.clone(), message);
    }
}

/// A value and its place.
pub(super) struct Node<'a> {
    value: &'a DeValue<'a>,
    spot: SourceSpan,
}

impl<'a> Node<'a> {
    /// The value's place.
    pub fn spot(&self) -> SourceSpan {
        self.spot.clone()
    }

    /// Reports a problem with the value.
    pub fn problem(&self, message: impl Into<String>, diagnostics: &mut Diagnostics) {
        diagnostics.problem(self.spot.clone(), message);
    }

    /// Adds a warning about the value.
    pub fn warning(&self, message: impl Into<String>, diagnostics: &mut Diagnostics) {
        diagnostics.warning(self.spot.clone(), message);
    }

    /// Returns whether the value is a table.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Reports that the value is of another kind.
    pub fn mismatch(&self, expected: &str, diagnostics: &mut Diagnostics) {
        let received = match self.value {
            DeValue::Integer(_) | DeValue::Float(_) => "number",
            other => other.type_str(),
        };
        self.problem(format!("expected {expected}, received {received}"), diagnostics);
    }

    pub fn string(&self, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.mismatch("string", diagnostics);
        }
        text
    }

    /// A string whose number of characters is within `length`.
    pub fn text(&self, length: &RangeInclusive<usize>, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        let text = self.string(diagnostics)?;
        let characters = text.chars().count();
        if length.contains(&characters) {
            return Some(text);
        }
        let (least, most) = (length.start(), length.end());
        self.problem(format!("expected {least} to {most} characters, received {characters}"), diagnostics);
        None
    }

    /// A string that is not empty.
    pub fn filled(&self, diagnostics: &mut Diagnostics) -> Option<&'a str> {
        let text = self.string(diagnostics)?;
        if text.is_empty() {
            self.problem("expected a non-empty string", diagnostics);
            return None;
        }
        Some(text)
    }

    pub fn boolean(&self, diagnostics: &mut Diagnostics) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.mismatch("boolean", diagnostics);
        }
        flag
    }

    /// A whole number of `range`; `40.0` is one too, as in the original.
    pub fn whole(&self, range: &RangeInclusive<u64>, diagnostics: &mut Diagnostics) -> Option<u64> {
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        let Some(number) = self.number() else {
            self.mismatch(&expected(), diagnostics);
            return None;
        };
        let found = number.ok().filter(|number| range.contains(number));
        if found.is_none() {
            self.problem(format!("expected {}, received another number", expected()), diagnostics);
        }
        found
    }

    /// `None`: not a number; `Some(Err)`: negative, fractional or too large.
    fn number(&self) -> Option<Result<u64, std::num::ParseIntError>> {
        match self.value {
            DeValue::Integer(integer) => Some(u64::from_str_radix(integer.as_str(), integer.radix())),
            DeValue::Float(float) => {
                let value: f64 = float.as_str().parse().unwrap_or(f64::NAN);
                Some(value.to_string().parse())
            }
            _ => None,
        }
    }

    /// Any number; `expected` names the kind for the message.
    pub fn float(&self, expected: &str, diagnostics: &mut Diagnostics) -> Option<f64> {
        let text = match self.value {
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Float(float) => float.as_str(),
            _ => {
                self.mismatch(expected, diagnostics);
                return None;
            }
        };
        text.parse().ok()
    }

    /// Returns whether the value is a number.
    pub fn is_number(&self) -> bool {
        matches!(self.value, DeValue::Integer(_) | DeValue::Float(_))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, options: &[(&str, T)], diagnostics: &mut Diagnostics) -> Option<T> {
        let expected = one_of(options);
        self.word(&expected, options, diagnostics)
    }

    /// One of a few words; `otherwise` names the other kind of value that is accepted.
    pub fn choice_or<T: Copy>(
        &self,
        otherwise: &str,
        options: &[(&str, T)],
        diagnostics: &mut Diagnostics,
    ) -> Option<T> {
        let expected = format!("{} or {otherwise}", one_of(options));
        self.word(&expected, options, diagnostics)
    }

    fn word<T: Copy>(&self, expected: &str, options: &[(&str, T)], diagnostics: &mut Diagnostics) -> Option<T> {
        let Some(text) = self.value.as_str() else {
            self.mismatch(expected, diagnostics);
            return None;
        };
        let found = options.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let hint = diagnostics.hint(text, options.iter().map(|(word, _)| *word));
            self.problem(format!("expected {expected}, received {}{hint}", quoted(text)), diagnostics);
        }
        found
    }

    pub fn list(&self, diagnostics: &mut Diagnostics) -> Option<Vec<Node<'a>>> {
        if self.value.as_array().is_none() {
            self.mismatch("array", diagnostics);
            return None;
        }
        Some(self.items())
    }

    /// The value as JSON; a time, a number that JSON has not, or one that cannot be held is a problem.
    pub fn json(&self, diagnostics: &mut Diagnostics) -> Option<serde_json::Value> {
        let value = match self.value {
            DeValue::String(text) => text.as_ref().into(),
            DeValue::Boolean(flag) => (*flag).into(),
            DeValue::Integer(integer) => {
                let Ok(number) = i64::from_str_radix(integer.as_str(), integer.radix()) else {
                    self.problem("expected a whole number of 64 bits, received a larger one", diagnostics);
                    return None;
                };
                number.into()
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(serde_json::Number::from_f64);
                let Some(number) = number else {
                    self.problem("expected a number that JSON has", diagnostics);
                    return None;
                };
                number.into()
            }
            DeValue::Datetime(_) => {
                self.problem("JSON has no times: write a string", diagnostics);
                return None;
            }
            DeValue::Array(_) => {
                let items = self.items().into_iter().map(|item| item.json(diagnostics)).collect::<Option<Vec<_>>>();
                serde_json::Value::Array(items?)
            }
            DeValue::Table(_) => {
                let table = self.table(diagnostics)?;
                let entries = table.iter().map(|(key, node)| Some((key.name.to_owned(), node.json(diagnostics)?)));
                serde_json::Value::Object(entries.collect::<Option<_>>()?)
            }
        };
        Some(value)
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> Vec<Node<'a>> {
        let item = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Node {
            value: value.get_ref(),
            spot: SourceSpan {
                file: self.spot.file,
                at: value.span().start,
                path: format!("{}.{index}", self.spot.path),
            },
        };
        self.value.as_array().into_iter().flatten().enumerate().map(item).collect()
    }

    pub fn strings(&self, diagnostics: &mut Diagnostics) -> Option<Vec<String>> {
        let items = self.list(diagnostics)?;
        Some(items.iter().filter_map(|item| item.string(diagnostics)).map(str::to_owned).collect())
    }

    pub fn table(&self, diagnostics: &mut Diagnostics) -> Option<Table<'a>> {
        let Some(entries) = self.value.as_table() else {
            self.mismatch("table", diagnostics);
            return None;
        };
        Some(Table { entries, spot: self.spot.clone() })
    }
}

/// A table and its place.
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    spot: SourceSpan,
}

impl<'a> Table<'a> {
    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        self.entries.get_key_value(name).map(|(key, value)| self.entry(key, value).1)
    }

    /// The value of `name`; reports a problem when it is missing.
    pub fn required(&self, name: &str, expected: &str, diagnostics: &mut Diagnostics) -> Option<Node<'a>> {
        let found = self.get(name);
        if found.is_none() {
            diagnostics.problem(self.below(name, self.spot.at), format!("missing, expected {expected}"));
        }
        found
    }

    /// All keys with their values, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (Key<'a>, Node<'a>)> {
        self.entries.iter().map(|(key, value)| self.entry(key, value))
    }

    /// Warns of every key that is not among `known`, and of those without a use.
    pub fn warn_unknown(&self, known: &KeyTable, diagnostics: &mut Diagnostics) {
        self.warn_unknown_beside(&[], known, diagnostics);
    }

    /// Warns of every key that is neither among `known` nor `tag`, by which several tables differ.
    pub fn warn_unknown_beside(&self, tag: &[&str], known: &KeyTable, diagnostics: &mut Diagnostics) {
        for (key, _) in self.iter().filter(|(key, _)| !tag.contains(&key.name)) {
            match known.get(key.name) {
                Some(known) if known.presence == Presence::Obsolete => key.obsolete(diagnostics),
                Some(_) => {}
                None => key.unknown(&[tag, &known.names()].concat(), "unknown key", diagnostics),
            }
        }
    }

    /// Reports a problem with the table as a whole.
    pub fn problem(&self, message: impl Into<String>, diagnostics: &mut Diagnostics) {
        diagnostics.problem(self.spot.clone(), message);
    }

    fn below(&self, name: &str, at: usize) -> SourceSpan {
        let SourceSpan { file, path, .. } = &self.spot;
        let separator = if path.is_empty() { "" } else { "." };
        SourceSpan { file: *file, at, path: format!("{path}{separator}{}", shown(name)) }
    }

    fn entry(
        &self,
        key: &'a Spanned<std::borrow::Cow<'a, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> (Key<'a>, Node<'a>) {
        let name: &'a str = key.get_ref();
        let spot = self.below(name, key.span().start);
        // The span of a table is that of a header, which may be far away or missing; users look for the key.
        let at = if value.get_ref().is_table() { spot.at } else { value.span().start };
        let node = Node { value: value.get_ref(), spot: SourceSpan { at, ..spot.clone() } };
        (Key { name, spot }, node)
    }
}

fn one_of<T>(options: &[(&str, T)]) -> String {
    let words: Vec<String> = options.iter().map(|(word, _)| quoted(word)).collect();
    format!("one of {}", words.join(", "))
}
