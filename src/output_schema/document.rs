//! [`parse`]: the one JSON document that an answer has to be, read strictly: a document that two readers could take for
//! two different ones is none.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The text within the code fence that is the whole answer; an answer that is not fenced as a whole, trimmed.
pub(super) fn unfenced(answer: &str) -> &str {
    let answer = answer.trim();
    let within = || {
        let (mark, rest) = answer.split_once('\n')?;
        let ticks = mark.trim_end_matches(|c: char| c != '`');
        let is_fence = ticks.len() >= 3 && ticks.bytes().all(|byte| byte == b'`');
        let word = mark.get(ticks.len()..).filter(|_| is_fence)?.trim();
        let is_json = word.is_empty() || word.eq_ignore_ascii_case("json");
        let (document, end) = rest.rsplit_once('\n')?;
        (is_json && end == ticks).then(|| document.trim())
    };
    within().unwrap_or(answer)
}

/// Reads `text` as one JSON document.
///
/// # Errors
/// The problem, for the model: no JSON, something around it, a key that is there twice, a number that cannot be held as
/// it is.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Err("it is empty, and a JSON document is wanted".to_owned());
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let document = Strict.deserialize(&mut reader).and_then(|document| reader.end().map(|()| document));
    let document = document.map_err(|error| format!("it is not one JSON document and nothing else: {error}"))?;
    match unheld_number(text) {
        Some(number) => {
            Err(format!("the whole number {number} is too large to be checked: write it as a string, or shorter"))
        }
        None => Ok(document),
    }
}

/// The first whole number of a JSON text that 64 bits do not hold, shortened.
fn unheld_number(text: &str) -> Option<String> {
    let mut outside = true;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '\\' || (outside && (c.is_ascii_digit() || c == '-'))) {
        let found = rest.get(at..)?;
        let taken = match found.as_bytes().first()? {
            b'"' => {
                outside = !outside;
                1
            }
            // The escaped character is one byte long, or begins with one that is of no interest.
            b'\\' => found.char_indices().nth(2).map_or(found.len(), |(end, _)| end),
            _ => {
                let end =
                    found.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(found.len());
                let number = found.get(..end)?;
                let is_whole = !number.contains(['.', 'e', 'E']);
                if is_whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(if end > 40 { format!("{}…", number.get(..40)?) } else { number.to_owned() });
                }
                end
            }
        };
        rest = found.get(taken..)?;
    }
    None
}

/// Reads a value in which no object has a key twice.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !keys.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            let value = entries.next_value_seed(Self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_fence_around_all_is_taken_off() {
        for (answer, expected) in [
            ("```json\n{}\n```", "{}"),
            ("\n ```\n[1,\n2]\n```\n\n", "[1,\n2]"),
            ("````JSON\n{}\n````", "{}"),
            ("{}", "{}"),
            ("```python\n{}\n```", "```python\n{}\n```"),
            ("```json\n{}\n````", "```json\n{}\n````"),
            ("Here:\n```json\n{}\n```", "Here:\n```json\n{}\n```"),
            ("```json\n{}\n```\nDone.", "```json\n{}\n```\nDone."),
            ("```json\n{}", "```json\n{}"),
            ("``\n{}\n``", "``\n{}\n``"),
            ("```", "```"),
        ] {
            assert_eq!(unfenced(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_is_almost_json_is_refused() {
        for (text, expected) in [
            ("", "it is empty"),
            ("{'a': 1}", "not one JSON document"),
            (r#"{"a": 1,}"#, "trailing comma"),
            (r#"{"a": 1"#, "EOF"),
            (r#"{"a": 1} Done."#, "trailing characters"),
            ("Here: {}", "not one JSON document"),
            ("{} {}", "trailing characters"),
            ("```json\n{}\n```\n```json\n{}\n```", "not one JSON document"),
            (r#"{"a": NaN}"#, "not one JSON document"),
            (r#"{"a": {"b": 1, "b": 1}}"#, r#"the key "b" is there twice"#),
            (r#"{"a": 1, "\u0061": 2}"#, r#"the key "a" is there twice"#),
            ("1e999", "number out of range"),
            ("[18446744073709551616]", "the whole number 18446744073709551616 is too large"),
            ("-9223372036854775809", "too large"),
            (&"9".repeat(400), "number out of range"),
            (&"[".repeat(200), "recursion limit"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn honest_documents_are_read_as_they_are() {
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "6.022e23",
            "3.14159265358979323846264338327950288",
            "1e300",
            r#"{"id": "99999999999999999999999999", "q": "a \" 99999999999999999999999 \\", "n": [1, -2]}"#,
            r#"{"a": {"b": 1}, "c": {"b": 1}}"#,
            "null",
            r#""\ud83e\udd89""#,
        ] {
            assert_eq!(parse(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        assert_eq!(parse(" {\"a\": []}\n").unwrap(), json!({"a": []}));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(text in "[-0-9eE.\"\\\\{}\\[\\],:a`\né ]{0,40}") {
            let text = unfenced(&text);
            if let Ok(document) = parse(text) {
                prop_assert_eq!(document, serde_json::from_str::<Value>(text).unwrap());
            }
        }
    }
}
