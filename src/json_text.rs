//! JSON text from outside whose strings may not be Unicode: a `\ud83d` without its other half, which JSON's grammar
//! allows and no Rust string holds. And fields whose `null` is a value, changes of all strings of a value, and texts
//! that are written quickly.
//!
//! `provider` and `skill` read their servers' JSON with it. Bytes that are not UTF-8 are left to them. `redact` and `replay`
//! change strings; `provider` and `written_json` write texts.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Deserializer, Serialize};
use serde_json::Value;

const HIGH: RangeInclusive<u16> = 0xD800..=0xDBFF;
const LOW: RangeInclusive<u16> = 0xDC00..=0xDFFF;

/// Bytes of an escape, `\ud83d`.
const ESCAPE: usize = 6;

/// Parses JSON; each unpaired half of a character becomes U+FFFD.
///
/// # Errors
/// As [`serde_json::from_str`].
pub fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    // Some programs put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).or_else(|error| match replace_halves(text, |_| char::REPLACEMENT_CHARACTER) {
        Cow::Owned(mended) => serde_json::from_str(&mended),
        Cow::Borrowed(_) => Err(error),
    })
}

/// Writes a value as JSON.
pub fn write<T: Serialize + ?Sized>(text: &mut Vec<u8>, value: &T) {
    // Writing to memory cannot fail, nor can a value whose keys are texts.
    let _ = serde_json::to_writer(text, value);
}

/// Writes a text as JSON, as [`write()`] does. Conversations are mostly texts, and serde's code for any writer and any format
/// takes some times as long.
pub fn write_text(json: &mut Vec<u8>, text: &str) {
    let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    json.reserve(text.len().saturating_add(2));
    json.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(is_escaped)
        && let Some((plain, [escaped, behind @ ..])) = rest.split_at_checked(at)
    {
        json.extend_from_slice(plain);
        let short = match escaped {
            b'"' | b'\\' => Some(*escaped),
            b'\n' => Some(b'n'),
            b'\t' => Some(b't'),
            b'\r' => Some(b'r'),
            0x08 => Some(b'b'),
            0x0C => Some(b'f'),
            _ => None,
        };
        match short {
            Some(letter) => json.extend_from_slice(&[b'\\', letter]),
            None => json.extend_from_slice(format!("\\u{escaped:04x}").as_bytes()),
        }
        rest = behind;
    }
    json.extend_from_slice(rest);
    json.push(b'"');
}

/// Reads a value that may be `null`, in a field that may be absent.
///
/// # Errors
/// What is there is no JSON.
pub fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// Changes the strings of a value in place, names of fields included. `change` returns `None` for one that stays, as most
/// do: those cost no copy.
pub fn change_strings(value: &mut Value, change: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(changed) = change(text) {
                *text = changed;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| change_strings(item, change)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|field| change_strings(field, change));
            if fields.keys().any(|key| change(key).is_some()) {
                let renamed = std::mem::take(fields).into_iter();
                *fields = renamed.map(|(key, field)| (change(&key).unwrap_or(key), field)).collect();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `text` with each unpaired half's escape replaced by the character that `replacement` makes of the half.
pub fn replace_halves(text: &str, replacement: impl Fn(u16) -> char) -> Cow<'_, str> {
    let mut mended: Option<String> = None;
    let mut kept = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match unit(text, at) {
            // An escape of another kind, `\\` above all.
            None => at = text.len().min(text.ceil_char_boundary(at + 2)),
            Some(high) if HIGH.contains(&high) && unit(text, at + ESCAPE).is_some_and(|low| LOW.contains(&low)) => {
                at += 2 * ESCAPE;
            }
            Some(half) if HIGH.contains(&half) || LOW.contains(&half) => {
                let mended = mended.get_or_insert_default();
                mended.push_str(text.get(kept..at).unwrap_or_default());
                mended.push(replacement(half));
                at += ESCAPE;
                kept = at;
            }
            Some(_) => at += ESCAPE,
        }
    }
    match mended {
        None => Cow::Borrowed(text),
        Some(mut mended) => {
            mended.push_str(text.get(kept..).unwrap_or_default());
            Cow::Owned(mended)
        }
    }
}

/// The UTF-16 unit of the escape at `at`; `None` for anything else.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn halves_of_characters_are_replaced_and_pairs_stay() {
        let cases = [
            (r#""\ud83d\ude00""#, json!("😀")),
            (r#""a\ud83d""#, json!("a\u{fffd}")),
            (r#""\ude00\ud83d b""#, json!("\u{fffd}\u{fffd} b")),
            (r#""\uD83D\uD83D\uDE00""#, json!("\u{fffd}😀")),
            (r#"{"\ud83d": ["\u00e4\\ud83d", "\"\udfff\""]}"#, json!({"\u{fffd}": ["ä\\ud83d", "\"\u{fffd}\""]})),
            ("\u{feff}[1]", json!([1])),
        ];
        for (text, expected) in cases {
            assert_eq!(parse::<Value>(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_text_is_written_as_serde_writes_it() {
        let every: String = ('\0'..='\u{100}').chain(['\u{2028}', '🦉']).collect();
        for text in ["", "owl", "\"", "\\n", "\n", "a\tb\r", &every, &every.repeat(2)] {
            let mut own = b"[".to_vec();
            write_text(&mut own, text);
            assert_eq!(String::from_utf8(own).unwrap(), format!("[{}", json!(text)));
        }
    }

    #[test]
    fn every_string_of_a_value_is_changed() {
        let mut value = json!({"a": ["x", 1, {"b": "x"}], "x": null, "c": "z"});
        change_strings(&mut value, &|text| text.contains('x').then(|| text.replace('x', "y")));
        assert_eq!(value, json!({"a": ["y", 1, {"b": "y"}], "y": null, "c": "z"}));
        // Of fields that have the same name then, the last one is left.
        let mut value = json!({"x": 1, "y": 2});
        change_strings(&mut value, &|text| (text == "x").then(|| "y".to_owned()));
        assert_eq!(value, json!({"y": 2}));
    }

    #[test]
    fn other_faults_stay_faults() {
        for text in ["", "{", r#""\ud83"#, r#""\ud83d"#, r#""\u12""#, "\"\\", r#"["\ud83d", }"#, r#""\é""#] {
            assert!(parse::<Value>(text).is_err(), "{text}");
        }
        assert!(matches!(replace_halves(r#"{"a": "\n\u0041\\"}"#, |_| '?'), Cow::Borrowed(_)));
    }
}
