//! [`ConfigKey`]: the keys of `perstack.toml` and the user's `config.toml` as data: each with its kind of value, bounds,
//! default and meaning.
//!
//! The readers of this folder take their known keys, bounds and words from here; [`schema`](mod@schema) makes the JSON
//! Schema of it, and a test the reference page. Reading values and rules that join several tables are left to the
//! readers.

use std::ops::RangeInclusive;

use serde_json::Value;

pub(super) mod provider_tables;
pub(super) mod provider_tool_tables;
pub(super) mod schema;
pub(super) mod skill_tables;
pub(super) mod tables;
pub(super) mod values;
#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

/// The largest number that the original could count to (JavaScript's safe integers).
pub(super) const MAX_NUMBER: u64 = 9_007_199_254_740_991;

/// A key of a table.
pub(super) struct ConfigKey {
    pub name: &'static str,
    pub kind: KeyKind,
    pub presence: Presence,
    /// The value that applies where the key is absent, as it would be written; empty: none.
    pub default: &'static str,
    /// The meaning, in a line of Markdown.
    pub doc: &'static str,
}

/// The demand for a key in its table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
    /// Read by older versions of the original, and ignored.
    Obsolete,
}

impl ConfigKey {
    /// An optional key without a default.
    pub const fn new(name: &'static str, kind: KeyKind, doc: &'static str) -> Self {
        Self { name, kind, presence: Presence::Optional, default: "", doc }
    }

    /// The same key with a default, as it would be written in the file.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// The same key with another demand for it.
    #[must_use]
    pub const fn is(mut self, presence: Presence) -> Self {
        self.presence = presence;
        self
    }
}

/// The kind of value that a key takes.
pub(super) enum KeyKind {
    Flag,
    /// A whole number; `40.0` is one too.
    Whole(RangeInclusive<u64>),
    /// A number of US dollars above 0.
    Dollars,
    /// Text of so many characters.
    Text(RangeInclusive<usize>),
    /// Text of a form that a pattern describes.
    Form(&'static TextForm),
    /// Text of a form, or a whole number.
    FormOrWhole(&'static TextForm, RangeInclusive<u64>),
    /// One of a few words.
    Choice(fn() -> Vec<&'static str>),
    /// One of a few words, or a whole number.
    ChoiceOrWhole(fn() -> Vec<&'static str>, RangeInclusive<u64>),
    /// Text; these words are known to have a meaning.
    Suggestion(fn() -> Vec<&'static str>),
    List(&'static KeyKind),
    /// A table whose keys are names; the form of the names, and the kind of the values.
    Map(Option<&'static TextForm>, &'static KeyKind),
    Table(&'static KeyTable),
    /// A JSON Schema as a table, or the path of its file.
    JsonSchema,
    /// A table whose keys depend on the word that one of them has.
    Tagged(&'static KeyUnion),
}

/// Any text, the empty one too.
pub(super) const TEXT: KeyKind = KeyKind::Text(0..=usize::MAX);

/// Text that is not empty.
pub(super) const FILLED: KeyKind = KeyKind::Text(1..=usize::MAX);

/// The form of a text.
pub(super) struct TextForm {
    /// The form in words, after "a" or "an".
    pub words: &'static str,
    /// A regular expression of ECMA-262 that finds nothing in other texts.
    pub pattern: &'static str,
    /// The largest number of characters.
    pub longest: Option<usize>,
    pub example: &'static str,
}

/// The keys of one table.
pub(super) struct KeyTable {
    /// The table's place or word, for the reference page.
    pub title: &'static str,
    pub groups: &'static [&'static [ConfigKey]],
    /// Rules on several keys at once, as JSON Schemas that the table has to meet.
    pub rules: fn() -> Vec<Value>,
}

impl KeyTable {
    /// A table without rules on several keys.
    pub const fn new(title: &'static str, groups: &'static [&'static [ConfigKey]]) -> Self {
        Self { title, groups, rules: Vec::new }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static ConfigKey> {
        self.groups.iter().copied().flatten()
    }

    /// The key `name`.
    pub fn get(&self, name: &str) -> Option<&'static ConfigKey> {
        self.keys().find(|key| key.name == name)
    }

    /// The names of the keys that have a meaning.
    pub fn names(&self) -> Vec<&'static str> {
        self.keys().filter(|key| key.presence != Presence::Obsolete).map(|key| key.name).collect()
    }
}

/// Tables that differ by the word that the key `tag` has.
pub(super) struct KeyUnion {
    pub tag: &'static str,
    pub doc: &'static str,
    pub cases: fn() -> Vec<(&'static str, &'static KeyTable)>,
}
