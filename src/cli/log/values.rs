//! [`value_lines`]: arguments and results for reading: a line for each field, texts of several lines as such, edits as
//! differences.

use serde_json::{Map, Value};

use crate::cli::render::{Paint, visible, visible_lines};
use crate::cli::text_diff::difference;

/// Arguments of the tools that replace a part of a file: the text before and after.
const EDITS: [(&str, &str); 3] = [("oldText", "newText"), ("old_text", "new_text"), ("old_string", "new_string")];

/// Most levels of a value that are laid out; deeper ones are JSON.
const MAX_DEPTH: usize = 4;

/// The arguments of a call. An edit is shown by what it changes.
pub fn argument_lines(args: &Map<String, Value>, paint: Paint) -> Vec<String> {
    let edit =
        EDITS.into_iter().find_map(|(old, new)| Some((old, args.get(old)?.as_str()?, new, args.get(new)?.as_str()?)));
    let Some((old_key, old, new_key, new)) = edit else { return field_lines(args, paint, 0) };
    let others: Map<String, Value> = args
        .iter()
        .filter(|(key, _)| *key != old_key && *key != new_key)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    field_lines(&others, paint, 0).into_iter().chain(difference(old, new, paint)).collect()
}

/// Returns whether the arguments are shown as an edit, with lines that begin with `+` and `-`.
pub fn is_edit(args: &Map<String, Value>) -> bool {
    EDITS.iter().any(|(old, new)| [old, new].into_iter().all(|key| args.get(*key).is_some_and(Value::is_string)))
}

/// A text that a tool returned: laid out if it is a JSON object or array, else its lines. Fields that repeat an argument
/// are left out.
pub fn result_lines(text: &str, args: &Map<String, Value>, paint: Paint) -> Vec<String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(mut fields)) => {
            fields.retain(|key, value| args.get(key) != Some(value));
            field_lines(&fields, paint, 0)
        }
        Ok(value @ Value::Array(_)) => value_lines(&value, paint, 0),
        _ => visible_lines(text),
    }
}

/// A value of any kind.
pub fn value_lines(value: &Value, paint: Paint, depth: usize) -> Vec<String> {
    match value {
        Value::Object(fields) if depth < MAX_DEPTH => field_lines(fields, paint, depth),
        Value::Array(all) if depth < MAX_DEPTH && all.iter().any(|item| item.is_object() || item.is_array()) => {
            all.iter().flat_map(|item| item_lines(item, paint, depth)).collect()
        }
        Value::String(text) => visible_lines(text),
        other => vec![visible(&other.to_string())],
    }
}

fn field_lines(fields: &Map<String, Value>, paint: Paint, depth: usize) -> Vec<String> {
    fields.iter().flat_map(|(key, value)| field(key, value, paint, depth)).collect()
}

/// `key: value`, or the value's lines below its key.
fn field(key: &str, value: &Value, paint: Paint, depth: usize) -> Vec<String> {
    let key = paint.cyan(&visible(key));
    let mut lines = value_lines(value, paint, depth + 1);
    let is_nested = matches!(value, Value::Object(_) | Value::Array(_)) && lines.len() > 1;
    match lines.pop() {
        Some(line) if lines.is_empty() && !is_nested => vec![format!("{key}: {line}")],
        None => vec![format!("{key}:")],
        Some(last) => {
            lines.push(last);
            let below = lines.into_iter().map(|line| format!("  {line}").trim_end().to_owned());
            std::iter::once(format!("{key}:")).chain(below).collect()
        }
    }
}

/// `- item`, with its further lines below it.
fn item_lines(item: &Value, paint: Paint, depth: usize) -> Vec<String> {
    let lines = value_lines(item, paint, depth + 1).into_iter().enumerate();
    lines.map(|(at, line)| format!("{} {line}", if at == 0 { "-" } else { " " }).trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(value: Value) -> String {
        let Value::Object(args) = value else { panic!("an object") };
        argument_lines(&args, Paint::plain()).join("\n")
    }

    #[test]
    fn fields_have_lines_and_long_texts_blocks() {
        let args = json!({"path": "a.txt", "text": "one\n\ttwo\n", "n": 3, "list": ["a", 1], "none": {}, "deep": {"x": {"y": true}}});
        let expected = "path: a.txt\ntext:\n  one\n      two\nn: 3\nlist: [\"a\",1]\nnone:\ndeep: x: y: true";
        assert_eq!(arguments(args), expected);
        assert_eq!(arguments(json!({"files": [{"a": 1, "b": 2}, {"a": 3}]})), "files:\n  - a: 1\n    b: 2\n  - a: 3");
    }

    #[test]
    fn an_edit_is_its_difference() {
        let edit = json!({"path": "a.txt", "oldText": "owl\nbee", "newText": "owl\nwasp\nbee"});
        assert_eq!(arguments(edit), "path: a.txt\n  owl\n+ wasp\n  bee");
        assert_eq!(arguments(json!({"oldText": "only"})), "oldText: only");
    }

    #[test]
    fn a_result_that_is_json_is_laid_out_and_any_other_kept() {
        let lines = |text: &str| result_lines(text, &Map::new(), Paint::plain()).join("|");
        assert_eq!(lines(r#"{"path":"a","content":"x\ny"}"#), "path: a|content:|  x|  y");
        assert_eq!(lines("plain\x1b[1m\n text"), "plain\\x1b[1m| text");
        assert_eq!(lines("42"), "42");
        let args = Map::from_iter([("path".to_owned(), json!("a")), ("to".to_owned(), json!(1))]);
        assert_eq!(result_lines(r#"{"path":"a","to":2}"#, &args, Paint::plain()), ["to: 2"]);
    }
}
