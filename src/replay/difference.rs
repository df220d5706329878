//! Differences between two JSON values, for people to read. `play` adds them to its errors.

use std::fmt::Write as _;

use serde_json::Value;

/// Most differences that are shown.
const MAX_SHOWN: usize = 3;

/// Most characters of a value that are shown.
const MAX_CHARS: usize = 60;

/// Characters that are shown before the first one that differs.
const LEAD: usize = 15;

/// One place where two values differ; `None` where one of them has nothing.
struct Difference<'a> {
    /// A JSON pointer (RFC 6901).
    pointer: String,
    recorded: Option<&'a Value>,
    now: Option<&'a Value>,
}

/// The first differences between `now` and `recorded`, a line each; empty when they are equal.
pub(super) fn describe(recorded: &Value, now: &Value) -> String {
    let mut found = Vec::new();
    collect(String::new(), Some(recorded), Some(now), &mut found);
    let mut text = String::new();
    for Difference { pointer, recorded, now } in found.iter().take(MAX_SHOWN) {
        let place = if pointer.is_empty() { "the whole" } else { pointer };
        let (recorded, now) = show_both(*recorded, *now);
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {place}: recorded {recorded}, now {now}");
    }
    if let Some(more @ 1..) = found.len().checked_sub(MAX_SHOWN) {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

/// Values come from parsed JSON, whose depth `serde_json` bounds.
fn collect<'a>(pointer: String, recorded: Option<&'a Value>, now: Option<&'a Value>, found: &mut Vec<Difference<'a>>) {
    match (recorded, now) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                collect(format!("{pointer}/{escaped}"), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                collect(format!("{pointer}/{index}"), old.get(index), new.get(index), found);
            }
        }
        _ if recorded == now => {}
        _ => found.push(Difference { pointer, recorded, now }),
    }
}

fn show_both(recorded: Option<&Value>, now: Option<&Value>) -> (String, String) {
    let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    let (recorded, now) = (text(recorded), text(now));
    let same = recorded.chars().zip(now.chars()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(LEAD);
    (shorten(&recorded, from), shorten(&now, from))
}

/// The part of `text` around its character number `from`, with `…` for what is left out.
fn shorten(text: &str, from: usize) -> String {
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    let mut shown: String = text.chars().skip(from).take(MAX_CHARS).collect();
    if from > 0 {
        shown.insert(0, '…');
    }
    if text.chars().count() > from + MAX_CHARS {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_have_no_difference() {
        let value = json!({"a": [1, {"b": null}]});
        assert_eq!(describe(&value, &json!({"a": [1, {"b": null}]})), "");
    }

    #[test]
    fn differences_are_named_by_pointer() {
        let recorded = json!({"model": "a", "messages": [{"text": "hi"}], "a/b~c": 1});
        let now = json!({"model": "b", "messages": [{"text": "hi"}, {"text": "more"}], "a/b~c": 1, "top": {}});
        assert_eq!(
            describe(&recorded, &now),
            "\n  /model: recorded \"a\", now \"b\"\
             \n  /messages/1: recorded nothing, now {\"text\":\"more\"}\
             \n  /top: recorded nothing, now {}"
        );
    }

    #[test]
    fn long_values_are_shown_around_the_difference_and_long_lists_are_counted() {
        let recorded = json!(["é".repeat(100) + "old" + &"x".repeat(100), 1, 2, 3, 4]);
        let now = json!(["é".repeat(100) + "new" + &"x".repeat(100), 0, 0, 0, 0]);
        let (lead, tail) = ("é".repeat(15), "x".repeat(42));
        assert_eq!(
            describe(&recorded, &now),
            format!(
                "\n  /0: recorded …{lead}old{tail}…, now …{lead}new{tail}…\
                 \n  /1: recorded 1, now 0\n  /2: recorded 2, now 0\n  and 2 more"
            )
        );
        assert_eq!(describe(&json!(1), &json!("1")), "\n  the whole: recorded 1, now \"1\"");
    }
}
