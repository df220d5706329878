//! Arguments checked against a tool's schema, with messages that name the field, and read into a tool's own type.
//!
//! Knows as much of JSON Schema as the base tools' schemas use.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads `args` by the schema.
///
/// `null` for a field that may be left out counts as left out; fields that the schema does not name are ignored.
///
/// # Errors
/// The first field that does not fit the schema, with the expected and the received type.
pub(super) fn read<T: DeserializeOwned>(schema: &Map<String, Value>, args: &Map<String, Value>) -> Result<T, String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (field, expected) in properties.into_iter().flatten() {
        match args.get(field) {
            None | Some(Value::Null) if !is_required(schema, field) => {}
            None => return Err(format!("{field} is required: expected {}", describe(expected))),
            Some(value) => check(field, expected, value)?,
        }
    }
    serde_json::from_value(Value::Object(args.clone())).map_err(|error| error.to_string())
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
    fn arguments_that_fit_are_read_with_unknown_and_null_ones_let_be() {
        let args = json!({ "path": "a", "from": null, "args": [], "env": { "A": "b" }, "timeout": 9, "other": 1 });
        assert_eq!(outcome(&args), Ok(args));
    }

    #[test]
    fn arguments_that_do_not_fit_are_named_with_what_was_expected() {
        for (args, message) in [
            (json!({}), "path is required: expected a string"),
            (json!({ "path": null }), "path: expected a string, received null"),
            (json!({ "path": 5 }), "path: expected a string, received the number 5"),
            (json!({ "path": "", "args": "x" }), "args: expected an array, each item a string, received a string"),
            (json!({ "path": "", "args": ["x", 1] }), "args[1]: expected a string, received the number 1"),
            (json!({ "path": "", "env": { "A": true } }), "env.A: expected a string, received a boolean"),
            (json!({ "path": "", "from": -1 }), "from: expected an integer from 0 up, received the number -1"),
            (json!({ "path": "", "timeout": 10 }), "timeout: expected an integer from 1 to 9, received the number 10"),
        ] {
            assert_eq!(outcome(&args), Err(message.to_owned()));
        }
    }
}
