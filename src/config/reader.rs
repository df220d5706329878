//! Typed reading of a TOML document that collects every problem instead of stopping at the first.
//!
//! A [`Node`] is a value and its place, a [`Table`] a node with keys; reading from them gives `None` when something is
//! wrong and leaves the reason in [`Findings`]. What the values mean is the callers' business. Values are quoted only
//! where they must be one of a few words: any other may be a secret.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use super::error::{Problem, position, quoted, shown};
use super::nearest::nearest;

/// Problems, and warnings, that are shown at most.
const MAX_SHOWN: usize = 100;
/// The largest number that the original could count to (JavaScript's safe integers).
pub(super) const MAX_NUMBER: u64 = 9_007_199_254_740_991;

/// What was found wrong with a document so far.
#[derive(Default)]
pub(super) struct Findings {
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
    unknown_keys: Vec<Finding>,
}

#[derive(Clone)]
struct Finding {
    at: usize,
    path: String,
    message: String,
}

impl Findings {
    /// Parses `text`. All mistakes of syntax are found, and none is quoted.
    pub fn document<'a>(&mut self, text: &'a str) -> DeTable<'a> {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let at = error.span().map_or(text.len(), |span| span.start);
            self.problems.push(Finding { at, path: String::new(), message: error.message().to_owned() });
        }
        document.into_inner()
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes a key that means nothing here.
    pub fn unknown_key(&mut self, key: &Key<'_>, known: &[&str], why: &str) {
        let hint = self.hint(key.name, known.iter().copied());
        let finding = Finding { at: key.at, path: key.path.clone(), message: format!("{why}, ignored{hint}") };
        self.unknown_keys.push(finding.clone());
        self.warnings.push(finding);
    }

    /// Notes a key that once meant something, so that old files have it.
    pub fn obsolete_key(&mut self, key: &Key<'_>) {
        let message = "no longer used, ignored".to_owned();
        self.warnings.push(Finding { at: key.at, path: key.path.clone(), message });
    }

    /// `; did you mean "X"?`, when a known word is near.
    pub fn hint<'a>(&self, word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
        self.hint_with(|| nearest(word, known))
    }

    /// `; did you mean "X"?`, when `search` finds one. It is not asked once more was found than is shown, so that a
    /// file with endless mistakes costs no endless search.
    pub fn hint_with<'a>(&self, search: impl FnOnce() -> Option<&'a str>) -> String {
        if self.problems.len().max(self.warnings.len()) > MAX_SHOWN {
            return String::new();
        }
        search().map(|near| format!("; did you mean {}?", quoted(near))).unwrap_or_default()
    }

    /// The warnings as lines, and those of them that are about unknown keys; or all problems, when there are any.
    pub fn conclude(self, text: &str, file: &Path) -> Result<(Vec<String>, Vec<String>), ConfigError> {
        if !self.problems.is_empty() {
            let omitted = self.problems.len().saturating_sub(MAX_SHOWN);
            let problems = located(self.problems, text);
            return Err(ConfigError::Invalid { path: file.to_owned(), problems, omitted });
        }
        let omitted = self.warnings.len().saturating_sub(MAX_SHOWN);
        let lines = |findings| located(findings, text).iter().map(|finding| finding.in_file(file)).collect();
        let mut warnings: Vec<String> = lines(self.warnings);
        if omitted > 0 {
            warnings.push(format!("{}: and {omitted} more warnings", file.display()));
        }
        Ok((warnings, lines(self.unknown_keys)))
    }
}

/// The first findings in the order of the text, with line and column.
fn located(mut findings: Vec<Finding>, text: &str) -> Vec<Problem> {
    findings.sort_by_key(|finding| finding.at);
    findings.truncate(MAX_SHOWN);
    findings
        .into_iter()
        .map(|Finding { at, path, message }| {
            let (line, column) = position(text, at);
            Problem { line, column, path, message }
        })
        .collect()
}

/// A key and its place.
pub(super) struct Key<'a> {
    pub name: &'a str,
    path: String,
    at: usize,
}

impl Key<'_> {
    /// Notes what is wrong with the key itself.
    pub fn problem(&self, message: impl Into<String>, findings: &mut Findings) {
        findings.problems.push(Finding { at: self.at, path: self.path.clone(), message: message.into() });
    }
}

/// A value and its place.
pub(super) struct Node<'a> {
    value: &'a DeValue<'a>,
    path: String,
    at: usize,
}

impl<'a> Node<'a> {
    /// Notes what is wrong with the value.
    pub fn problem(&self, message: impl Into<String>, findings: &mut Findings) {
        findings.problems.push(Finding { at: self.at, path: self.path.clone(), message: message.into() });
    }

    /// Notes what is odd about the value.
    pub fn warning(&self, message: impl Into<String>, findings: &mut Findings) {
        findings.warnings.push(Finding { at: self.at, path: self.path.clone(), message: message.into() });
    }

    fn mismatch(&self, expected: &str, findings: &mut Findings) {
        let received = match self.value {
            DeValue::Integer(_) | DeValue::Float(_) => "number",
            other => other.type_str(),
        };
        self.problem(format!("expected {expected}, received {received}"), findings);
    }

    pub fn string(&self, findings: &mut Findings) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.mismatch("string", findings);
        }
        text
    }

    /// A string whose number of characters is within `length`.
    pub fn text(&self, length: Range<usize>, findings: &mut Findings) -> Option<&'a str> {
        let text = self.string(findings)?;
        let characters = text.chars().count();
        if length.contains(&characters) {
            return Some(text);
        }
        let most = length.end.saturating_sub(1);
        self.problem(format!("expected {} to {most} characters, received {characters}", length.start), findings);
        None
    }

    /// A string that is not empty.
    pub fn filled(&self, findings: &mut Findings) -> Option<&'a str> {
        let text = self.string(findings)?;
        if text.is_empty() {
            self.problem("expected a non-empty string", findings);
            return None;
        }
        Some(text)
    }

    pub fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.mismatch("boolean", findings);
        }
        flag
    }

    /// A whole number from `least` to `most`; `40.0` is one too, as it was to the original.
    pub fn whole(&self, least: u64, most: u64, findings: &mut Findings) -> Option<u64> {
        let expected = || format!("a whole number from {least} to {most}");
        let Some(number) = self.number() else {
            self.mismatch(&expected(), findings);
            return None;
        };
        let found = number.ok().filter(|number| (least..=most).contains(number));
        if found.is_none() {
            self.problem(format!("expected {}, received another number", expected()), findings);
        }
        found
    }

    /// `None`: no number at all; `Some(Err)`: negative, fractional or too large.
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

    /// Whether the value is a number.
    pub fn is_number(&self) -> bool {
        matches!(self.value, DeValue::Integer(_) | DeValue::Float(_))
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, options: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let expected = one_of(options);
        self.word(&expected, options, findings)
    }

    /// One of a few words, where `otherwise` would have done as well.
    pub fn choice_or<T: Copy>(&self, otherwise: &str, options: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let expected = format!("{} or {otherwise}", one_of(options));
        self.word(&expected, options, findings)
    }

    fn word<T: Copy>(&self, expected: &str, options: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let Some(text) = self.value.as_str() else {
            self.mismatch(expected, findings);
            return None;
        };
        let found = options.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let hint = findings.hint(text, options.iter().map(|(word, _)| *word));
            self.problem(format!("expected {expected}, received {}{hint}", quoted(text)), findings);
        }
        found
    }

    pub fn list(&self, findings: &mut Findings) -> Option<Vec<Node<'a>>> {
        let Some(items) = self.value.as_array() else {
            self.mismatch("array", findings);
            return None;
        };
        let item = |(index, value): (usize, &'a Spanned<DeValue<'a>>)| Node {
            value: value.get_ref(),
            path: format!("{}.{index}", self.path),
            at: value.span().start,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    pub fn strings(&self, findings: &mut Findings) -> Option<Vec<String>> {
        let items = self.list(findings)?;
        Some(items.iter().filter_map(|item| item.string(findings)).map(str::to_owned).collect())
    }

    pub fn table(&self, findings: &mut Findings) -> Option<Table<'a>> {
        let Some(entries) = self.value.as_table() else {
            self.mismatch("table", findings);
            return None;
        };
        Some(Table { entries, path: self.path.clone(), at: self.at })
    }
}

/// A table and its place.
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    path: String,
    at: usize,
}

impl<'a> Table<'a> {
    /// The document itself.
    pub fn root(entries: &'a DeTable<'a>) -> Self {
        Self { entries, path: String::new(), at: 0 }
    }

    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        self.entries.get_key_value(name).map(|(key, value)| self.entry(key, value).1)
    }

    /// The value of `name`, whose absence is a problem.
    pub fn required(&self, name: &str, expected: &str, findings: &mut Findings) -> Option<Node<'a>> {
        let found = self.get(name);
        if found.is_none() {
            let message = format!("missing, expected {expected}");
            findings.problems.push(Finding { at: self.at, path: self.below(name), message });
        }
        found
    }

    /// All keys with their values, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (Key<'a>, Node<'a>)> {
        self.entries.iter().map(|(key, value)| self.entry(key, value))
    }

    /// Notes every key that is not among `known`.
    pub fn warn_unknown(&self, known: &[&str], findings: &mut Findings) {
        for (key, _) in self.iter() {
            if !known.contains(&key.name) {
                findings.unknown_key(&key, known, "unknown key");
            }
        }
    }

    /// Notes what is wrong with the table as a whole.
    pub fn problem(&self, message: impl Into<String>, findings: &mut Findings) {
        findings.problems.push(Finding { at: self.at, path: self.path.clone(), message: message.into() });
    }

    fn below(&self, name: &str) -> String {
        let separator = if self.path.is_empty() { "" } else { "." };
        format!("{}{separator}{}", self.path, shown(name))
    }

    fn entry(
        &self,
        key: &'a Spanned<std::borrow::Cow<'a, str>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> (Key<'a>, Node<'a>) {
        let name: &'a str = key.get_ref();
        let (path, key_at) = (self.below(name), key.span().start);
        // A table's own span is a header's that may stand far from it, or nothing at all; its key is where one looks.
        let at = if value.get_ref().is_table() { key_at } else { value.span().start };
        (Key { name, path: path.clone(), at: key_at }, Node { value: value.get_ref(), path, at })
    }
}

fn one_of<T>(options: &[(&str, T)]) -> String {
    let words: Vec<String> = options.iter().map(|(word, _)| quoted(word)).collect();
    format!("one of {}", words.join(", "))
}
