//! Arguments checked against a tool's schema, with messages that name the field, and read into a tool's own type.
//!
//! Knows as much of JSON Schema as the base tools' schemas use.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads `args` by the schema.
///
/// Small models write numbers as text, lists as JSON text and numbers where a text is due: where the meaning is plain it is
/// taken. `null` for a field that may be left out counts as left out; fields that the schema does not name are ignored
/// ([`unknown`] names them).
///
/// # Errors
/// The first field that does not fit the schema, with the expected and the received type.
pub(super) fn read<T: DeserializeOwned>(schema: &Map<String, Value>, args: &Map<String, Value>) -> Result<T, String> {
    let mut args = args.clone();
    for (field, expected) in properties(schema) {
        if !is_required(schema, field) && args.get(field).is_some_and(Value::is_null) {
            args.shift_remove(field);
        }
        if let Some(value) = args.get_mut(field) {
            mend(expected, value);
        }
        match args.get(field) {
            None | Some(Value::Null) if !is_required(schema, field) => {}
            None => return Err(format!("{field} is required: expected {}", describe(expected))),
            Some(value) => check(field, expected, value)?,
        }
    }
    serde_json::from_value(Value::Object(args)).map_err(|error| error.to_string())
}

/// A note on arguments that the schema does not name; none when all are known.
pub(super) fn unknown(schema: &Map<String, Value>, args: &Map<String, Value>) -> Option<String> {
    let known: Vec<&str> = properties(schema).map(|(name, _)| name.as_str()).collect();
    let unknown: Vec<&str> = args.keys().map(String::as_str).filter(|name| !known.contains(name)).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    (!unknown.is_empty())
        .then(|| format!("Note: unknown arguments were ignored: {}. This tool takes: {known}.", unknown.join(", ")))
}

fn properties(schema: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// Gives `value` the type that is expected, where it plainly means one of it.
fn mend(expected: &Value, value: &mut Value) {
    let meant = match (type_of(expected), &*value) {
        ("string", Value::Number(number)) => Some(Value::from(number.to_string())),
        ("integer" | "boolean" | "array" | "object", Value::String(text)) => serde_json::from_str(text.trim()).ok(),
        // As `1.0`.
        ("integer", Value::Number(number)) => whole(number.as_f64()),
        _ => None,
    };
    if let Some(mut meant) = meant {
        if let ("integer", Value::Number(number)) = (type_of(expected), &meant)
            && number.as_u64().is_none()
            && let Some(number) = whole(number.as_f64())
        {
            meant = number;
        }
        if check("", expected, &meant).is_ok() || matches!(meant, Value::Array(_) | Value::Object(_)) {
            *value = meant;
        }
    }
    match (expected.get("items"), expected.get("additionalProperties"), value) {
        (Some(items), _, Value::Array(values)) => values.iter_mut().for_each(|value| mend(items, value)),
        (_, Some(each), Value::Object(values)) => values.values_mut().for_each(|value| mend(each, value)),
        _ => {}
    }
}

/// A number without a fraction, as an integer.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
fn whole(number: Option<f64>) -> Option<Value> {
    let number = number.filter(|number| number.fract() == 0.0 && (0.0..9.0e15).contains(number))?;
    Some(Value::from(number as u64))
}

fn is_required(schema: &Map<String, Value>, field: &str) -> bool {
    schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|name| name == field))
}

fn check(place: &str, expected: &Value, value: &Value) -> Result<(), String> {
    let fits = match type_of(expected) {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_u64().is_some_and(|number| in_bounds(expected, number)),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !fits {
        return Err(format!("{place}: expected {}, received {}", describe(expected), received(value)));
    }
    if let (Some(items), Value::Array(values)) = (expected.get("items"), value) {
        for (index, value) in values.iter().enumerate() {
            check(&format!("{place}[{index}]"), items, value)?;
        }
    }
    if let (Some(each), Value::Object(values)) = (expected.get("additionalProperties"), value) {
        for (name, value) in values {
            check(&format!("{place}.{name}"), each, value)?;
        }
    }
    Ok(())
}

fn type_of(schema: &Value) -> &str {
    schema.get("type").and_then(Value::as_str).unwrap_or("object")
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name).and_then(Value::as_u64)
}

fn in_bounds(schema: &Value, number: u64) -> bool {
    bound(schema, "minimum").is_none_or(|least| number >= least)
        && bound(schema, "maximum").is_none_or(|most| number <= most)
}

fn describe(schema: &Value) -> String {
    match (type_of(schema), schema.get("items"), bound(schema, "maximum")) {
        ("integer", _, Some(most)) => {
            format!("an integer from {} to {most}", bound(schema, "minimum").unwrap_or_default())
        }
        ("integer", _, None) => format!("an integer from {} up", bound(schema, "minimum").unwrap_or_default()),
        ("array", Some(items), _) => format!("an array, each item {}", describe(items)),
        ("array", None, _) => "an array".to_owned(),
        ("object", ..) => "an object".to_owned(),
        (other, ..) => format!("a {other}"),
    }
}

fn received(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(args: &Value) -> Result<Value, String> {
        let schema = json!({
            "type": "object",
            "properties": {
                "path": { "type": "string" },
                "args": { "type": "array", "items": { "type": "string" } },
                "env": { "type": "object", "additionalProperties": { "type": "string" } },
                "from": { "type": "integer", "minimum": 0 },
                "timeout": { "type": "integer", "minimum": 1, "maximum": 9 },
            },
            "required": ["path"],
        });
        read(schema.as_object().unwrap(), args.as_object().unwrap())
    }

    #[test]
    fn arguments_that_fit_are_read_without_null_ones() {
        let args = json!({ "path": "a", "from": null, "args": [], "env": { "A": "b" }, "timeout": 9, "other": 1 });
        let read = json!({ "path": "a", "args": [], "env": { "A": "b" }, "timeout": 9, "other": 1 });
        assert_eq!(outcome(&args), Ok(read));
    }

    #[test]
    fn what_is_plainly_meant_is_taken() {
        let args = json!({ "path": 5, "from": "3", "args": "[\"x\", 1]", "env": { "A": 1.5 }, "timeout": 2.0 });
        let read = json!({ "path": "5", "from": 3, "args": ["x", "1"], "env": { "A": "1.5" }, "timeout": 2 });
        assert_eq!(outcome(&args), Ok(read));
    }

    #[test]
    fn arguments_that_do_not_fit_are_named_with_what_was_expected() {
        for (args, message) in [
            (json!({}), "path is required: expected a string"),
            (json!({ "path": null }), "path: expected a string, received null"),
            (json!({ "path": [5] }), "path: expected a string, received an array"),
            (json!({ "path": "", "from": "three" }), "from: expected an integer from 0 up, received a string"),
            (json!({ "path": "", "args": "x" }), "args: expected an array, each item a string, received a string"),
            (json!({ "path": "", "args": ["x", true] }), "args[1]: expected a string, received a boolean"),
            (json!({ "path": "", "env": { "A": true } }), "env.A: expected a string, received a boolean"),
            (json!({ "path": "", "from": -1 }), "from: expected an integer from 0 up, received the number -1"),
            (json!({ "path": "", "timeout": 10 }), "timeout: expected an integer from 1 to 9, received the number 10"),
        ] {
            assert_eq!(outcome(&args), Err(message.to_owned()));
        }
    }
}
