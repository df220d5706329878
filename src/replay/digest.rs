//! [`Digest`]: a short name of a JSON value, by which a request finds its equal among those of a cassette.
//!
//! `outline` and `kept` make the digests of requests, of which only what is new is read; `play` and `index` look
//! records up by them. Values that are equal as JSON have the same digest, in whatever order their fields are.
//!
//! Digests are compared within this process and written nowhere, and whoever made a cassette may put any answer into it:
//! nobody gains by two values of one digest. So they are of a quick hash, not of one that withstands attacks.

use std::hash::{DefaultHasher, Hasher as _};

use serde_json::Value;

/// The hash of a value, in 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest(u64, u64);

/// The bytes that are hashed, in one piece: a hash of many small ones costs some times as much.
#[derive(Default)]
struct Hash(Vec<u8>);

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.update(&number.to_le_bytes());
    }

    fn digest(&mut self, digest: Digest) {
        self.number(digest.0);
        self.number(digest.1);
    }

    /// Two hashes, one of which begins with another byte.
    fn finish(self) -> Digest {
        let (mut one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
        one.write(&self.0);
        other.write_u8(1);
        other.write(&self.0);
        Digest(one.finish(), other.finish())
    }
}

impl Digest {
    /// The digest of an empty list, to which [`Digest::and`] adds items.
    pub const EMPTY_LIST: Self = Self(0, 0);

    /// The digest of a value.
    pub fn of_value(value: &Value) -> Self {
        let mut hash = Hash::default();
        feed(&mut hash, value);
        hash.finish()
    }

    /// The digest of a list with one more item.
    pub fn and(self, item: Self) -> Self {
        let mut hash = Hash::default();
        hash.update(b"+");
        hash.digest(self);
        hash.digest(item);
        hash.finish()
    }

    /// The digest of a field's value: of a list, that of its items one by one.
    pub fn of_field(value: &Value) -> Self {
        match value {
            Value::Array(items) => items.iter().fold(Self::EMPTY_LIST, |list, item| list.and(Self::of_value(item))),
            other => Self::of_value(other),
        }
    }

    /// The digest of an object with these fields.
    pub fn of_object<'a>(fields: impl Iterator<Item = (&'a str, Self)>) -> Self {
        let mut fields: Vec<(&str, Self)> = fields.collect();
        fields.sort_unstable_by_key(|(key, _)| *key);
        let mut hash = Hash::default();
        hash.update(b"o");
        for (key, value) in fields {
            text(&mut hash, key);
            hash.digest(value);
        }
        hash.finish()
    }

    /// The digest of a request's body.
    pub fn of_body(body: &Value) -> Self {
        match body {
            Value::Object(fields) => {
                Self::of_object(fields.iter().map(|(key, value)| (key.as_str(), Self::of_field(value))))
            }
            other => Self::of_value(other),
        }
    }

    /// The digest of a body that is sent to this path.
    pub fn at(self, path: &str) -> Self {
        let mut hash = Hash::default();
        hash.digest(self);
        text(&mut hash, path);
        hash.finish()
    }
}

/// Each value begins with a letter of its kind and, where it has no fixed length, with its length.
fn feed(hash: &mut Hash, value: &Value) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(flag) => hash.update(&[b'b', u8::from(*flag)]),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(count), ..) => {
                hash.update(b"u");
                hash.number(count);
            }
            (None, Some(count), _) => {
                hash.update(b"i");
                hash.update(&count.to_le_bytes());
            }
            // Zero is equal to its negative, unlike their bits.
            (None, None, number) => {
                hash.update(b"f");
                hash.number((number.unwrap_or_default() + 0.0).to_bits());
            }
        },
        Value::String(value) => text(hash, value),
        Value::Array(items) => {
            hash.update(b"[");
            for item in items {
                feed(hash, item);
            }
            hash.update(b"]");
        }
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            hash.update(b"{");
            for (key, value) in fields {
                text(hash, key);
                feed(hash, value);
            }
            hash.update(b"}");
        }
    }
}

fn text(hash: &mut Hash, text: &str) {
    hash.update(b"s");
    hash.number(u64::try_from(text.len()).unwrap_or(u64::MAX));
    hash.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_alone_have_the_same_digest() {
        let values = [
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(1),
            json!(-1),
            json!(1.0),
            json!(0.0),
            json!(""),
            json!("1"),
            json!([]),
            json!([[]]),
            json!([[], []]),
            json!([1, 2]),
            json!(["12"]),
            json!(["1", "2"]),
            json!({}),
            json!({"a": 1}),
            json!({"a": {"b": 1}}),
            json!({"a": {}, "b": 1}),
            json!({"a": [1]}),
            json!({"a": [1, 1]}),
        ];
        for (at, one) in values.iter().enumerate() {
            for (other_at, other) in values.iter().enumerate() {
                let is_same = at == other_at;
                assert_eq!(Digest::of_value(one) == Digest::of_value(other), is_same, "{one} {other}");
                assert_eq!(Digest::of_body(one) == Digest::of_body(other), is_same, "{one} {other}");
            }
        }
        let (one, other) = (json!({"a": {"b": 1, "c": -0.0}, "d": 2}), json!({"d": 2, "a": {"c": 0.0, "b": 1}}));
        assert_eq!(Digest::of_body(&one), Digest::of_body(&other));
        assert_ne!(Digest::of_body(&one).at("/a"), Digest::of_body(&one).at("/b"));
    }
}
