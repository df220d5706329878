//! JSON Schemas in TOML, which has no `null` and no whole number above 2⁶³−1. The entries of a lock hold them.

use serde_json::{Map, Number, Value};

use super::digest::{canonical, plain};

/// A schema as the lock stores it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    /// The parts of the schema that TOML can hold.
    pub table: Map<String, Value>,
    /// The whole schema as JSON text, when TOML cannot hold everything.
    pub exact: Option<String>,
}

impl Stored {
    /// Splits a schema into the parts that TOML can hold, and the whole text when those are not everything.
    pub fn new(schema: &Map<String, Value>) -> Self {
        let table = storable_map(schema);
        let whole = canonical(&Value::Object(schema.clone()));
        let is_whole = canonical(&Value::Object(table.clone())) == whole;
        Self { table, exact: (!is_whole).then_some(whole) }
    }
}

fn storable_map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().filter_map(|(key, value)| Some((key.clone(), storable(value)?))).collect()
}

/// The value without the parts that TOML cannot express.
fn storable(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => return None,
        Value::Array(items) => Value::Array(items.iter().filter_map(storable).collect()),
        Value::Object(map) => Value::Object(storable_map(map)),
        Value::Number(number) => Value::Number(storable_number(number)?),
        Value::Bool(_) | Value::String(_) => value.clone(),
    })
}

fn storable_number(number: &Number) -> Option<Number> {
    let number = plain(number);
    if number.is_i64() || number.is_f64() { Some(number) } else { Number::from_f64(number.as_f64()?) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(schema: &Value) -> Stored {
        Stored::new(schema.as_object().unwrap())
    }

    #[test]
    fn a_usual_schema_needs_no_second_form() {
        let schema = json!({"type": "object", "properties": {"q": {"type": "string", "minLength": 1.0}}});
        let expected = json!({"type": "object", "properties": {"q": {"type": "string", "minLength": 1}}});
        assert_eq!(stored(&schema), Stored { table: expected.as_object().unwrap().clone(), exact: None });
    }

    #[test]
    fn parts_that_toml_lacks_are_kept_as_text() {
        let schema = json!({"enum": [null, "a"], "default": null, "maximum": u64::MAX});
        let Stored { table, exact } = stored(&schema);
        assert_eq!(Value::Object(table), json!({"enum": ["a"], "maximum": 18_446_744_073_709_551_615.0}));
        assert_eq!(exact.as_deref(), Some(r#"{"default":null,"enum":[null,"a"],"maximum":18446744073709551615}"#));
    }
}
