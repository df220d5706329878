//! Digests: SHA-256 over JSON in one canonical form, so that the order of keys and the spelling of numbers do not
//! count.

use std::fmt::Write as _;

use serde_json::{Number, Value};
use sha2::{Digest as _, Sha256};

/// Floats below this are whole without doubt (JavaScript's safe integers).
const MAX_WHOLE: f64 = 9_007_199_254_740_991.0;

/// The digest of a value: `sha256:` and 64 hexadecimal digits.
pub(super) fn digest(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    let mut digest = "sha256:".to_owned();
    for byte in Sha256::digest(text) {
        // Writing to a String does not fail.
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

/// JSON text without white space, keys sorted, whole numbers without a fraction.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_canonical(&Value::from(key.as_str()), text);
                text.push(':');
                write_canonical(value, text);
            }
            text.push('}');
        }
        Value::Number(number) => {
            let _ = write!(text, "{}", plain(number));
        }
        // Git may convert line ends on checkout; that is no change of the definition.
        Value::String(string) if string.contains("\r\n") => {
            let _ = write!(text, "{}", Value::from(string.replace("\r\n", "\n")));
        }
        other => {
            let _ = write!(text, "{other}");
        }
    }
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
