//! Digests: SHA-256 over JSON in one canonical form, so that the order of keys and the spelling of numbers do not
//! count.

use serde::Serialize;
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

use crate::hex;

/// Floats below this are whole without doubt (JavaScript's safe integers).
const MAX_WHOLE: f64 = 9_007_199_254_740_991.0;

/// The digest of a value: `sha256:` and 64 hexadecimal digits.
pub(super) fn digest(value: &Value) -> String {
    let mut text = Vec::new();
    write_canonical(value, &mut text);
    digest_of_text(&text)
}

/// The digest of an object that has `entries`, in the order of their keys. For large ones, which need not be copied into a
/// value for it.
pub(super) fn digest_of_entries<const N: usize>(entries: [(&str, Entry<'_>); N]) -> String {
    debug_assert!(entries.is_sorted_by_key(|(key, _)| *key));
    let mut text = Vec::with_capacity(1024);
    write_entries(entries.into_iter(), &mut text, |entry, text| match entry {
        Entry::Value(value) => write_canonical(&value, text),
        Entry::Text(string) => write_string(string, text),
        Entry::Object(object) => write_object(object, text),
    });
    digest_of_text(&text)
}

/// An entry's value.
pub(super) enum Entry<'a> {
    Value(Value),
    Text(&'a str),
    Object(&'a Map<String, Value>),
}

fn digest_of_text(text: &[u8]) -> String {
    format!("sha256:{}", hex::digits(&Sha256::digest(text)))
}

/// JSON text without white space, keys sorted, whole numbers without a fraction.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = Vec::new();
    write_canonical(value, &mut text);
    // JSON text is UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

fn write_canonical(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            text.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(b',');
                }
                write_canonical(item, text);
            }
            text.push(b']');
        }
        Value::Object(entries) => write_object(entries, text),
        Value::Number(number) => write_json(&plain(number), text),
        Value::String(string) => write_string(string, text),
        other => write_json(other, text),
    }
}

fn write_object(entries: &Map<String, Value>, text: &mut Vec<u8>) {
    let mut entries: Vec<(&str, &Value)> = entries.iter().map(|(key, value)| (key.as_str(), value)).collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    write_entries(entries.into_iter(), text, write_canonical);
}

fn write_entries<'a, V>(
    entries: impl Iterator<Item = (&'a str, V)>,
    text: &mut Vec<u8>,
    write_value: impl Fn(V, &mut Vec<u8>),
) {
    text.push(b'{');
    for (at, (key, value)) in entries.enumerate() {
        if at > 0 {
            text.push(b',');
        }
        write_string(key, text);
        text.push(b':');
        write_value(value, text);
    }
    text.push(b'}');
}

/// Writes a text or a key. Git may convert line ends on checkout; that is no change of the definition.
fn write_string(string: &str, text: &mut Vec<u8>) {
    if string.contains('\r') {
        write_json(&string.replace("\r\n", "\n"), text);
    } else {
        write_json(string, text);
    }
}

fn write_json<T: Serialize + ?Sized>(value: &T, text: &mut Vec<u8>) {
    // Writing scalars to memory does not fail.
    let _ = serde_json::to_writer(text, value);
}

/// A number as JavaScript would write it: `1.0` is `1`.
pub(super) fn plain(number: &Number) -> Number {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= MAX_WHOLE => {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and within the bounds of safe integers")]
            let whole = float as i64;
            Number::from(whole)
        }
        _ => number.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_spelling_do_not_count() {
        let one = json!({"b": [1.0, "x\r\ny"], "a": {"d": null, "c": -0.0}});
        let two = json!({"a": {"c": 0, "d": null}, "b": [1, "x\ny"]});
        assert_eq!(canonical(&one), r#"{"a":{"c":0,"d":null},"b":[1,"x\ny"]}"#);
        assert_eq!(digest(&one), digest(&two));
    }

    #[test]
    fn the_order_of_lists_and_the_size_of_numbers_count() {
        assert_ne!(digest(&json!([1, 2])), digest(&json!([2, 1])));
        assert_ne!(digest(&json!(u64::MAX)), digest(&json!(u64::MAX - 1)));
        assert_ne!(digest(&json!(1.5)), digest(&json!(1)));
        assert_ne!(digest(&json!("1")), digest(&json!(1)));
    }

    #[test]
    fn a_digest_is_sha_256() {
        // Of `""`, as by `printf '""' | sha256sum`.
        assert_eq!(digest(&json!("")), "sha256:12ae32cb1ec02d01eda3581b127c1fee3b0dc53572ed6baf239721a03d82e126");
    }
}
