//! [`parameters`]: a tool's JSON Schema in the form of Gemini's `parametersJsonSchema`.
//!
//! Called by `encode`. That field takes a part of JSON Schema: `allOf` and `const` are ignored, and no keyword is
//! allowed beside `$ref`. So these are replaced by keywords that it knows. A reference into itself stays: it has no
//! finite form.

use serde_json::{Map, Value, json};

/// Deepest nesting that is converted; deeper schemas stay unchanged.
const DEPTH_LIMIT: usize = 64;

/// Most schemas that references may add to one: each may multiply the next. Large tools have some hundred.
const ADDED_LIMIT: usize = 5_000;

/// Keywords about the document itself, not about the parameters.
const DOCUMENT_KEYS: [&str; 3] = ["$schema", "$id", "$comment"];

/// The schema of a tool's parameters; `None` for a tool without any.
pub(super) fn parameters(schema: &Map<String, Value>) -> Option<Value> {
    let document = Value::Object(schema.clone());
    let mut reading = Reading { document: &document, within: Vec::new(), added: 0, has_kept_reference: false };
    let Value::Object(mut converted) = reading.schema(&document, 0) else { return None };
    if !reading.has_kept_reference {
        converted.shift_remove("$defs");
        converted.shift_remove("definitions");
    }
    let has_properties = converted.get("properties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
    let has_more = ["additionalProperties", "patternProperties", "anyOf", "oneOf", "$ref"]
        .into_iter()
        .any(|key| converted.get(key).is_some_and(|value| *value != json!(false)));
    if !has_properties && !has_more {
        return None;
    }
    converted.insert("type".into(), json!("object"));
    Some(Value::Object(converted))
}

/// A schema while it is converted.
struct Reading<'a> {
    document: &'a Value,
    /// The references that the place being read lies within.
    within: Vec<&'a str>,
    /// Schemas read in place of references.
    added: usize,
    has_kept_reference: bool,
}

impl<'a> Reading<'a> {
    fn schema(&mut self, schema: &'a Value, depth: usize) -> Value {
        let Value::Object(fields) = schema else { return schema.clone() };
        if depth > DEPTH_LIMIT {
            self.has_kept_reference = true;
            return schema.clone();
        }
        self.added = self.added.saturating_add(usize::from(!self.within.is_empty()));
        let mut converted = Map::new();
        for (key, value) in fields {
            match key.as_str() {
                key if DOCUMENT_KEYS.contains(&key) => {}
                "$ref" | "allOf" => {}
                "const" if value.is_string() || value.is_number() => {
                    converted.insert("enum".into(), json!([value]));
                }
                // Only kept for references into themselves, so not looked into.
                "$defs" | "definitions" if depth == 0 => {
                    converted.insert(key.clone(), value.clone());
                }
                _ => {
                    let value = self.keyword(key, value, depth.saturating_add(1));
                    converted.insert(key.clone(), value);
                }
            }
        }
        if let Some(parts) = fields.get("allOf").and_then(Value::as_array) {
            for part in parts {
                let part = self.schema(part, depth.saturating_add(1));
                merge(&mut converted, part);
            }
        }
        match fields.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.reference(reference, converted, depth),
            None => Value::Object(converted),
        }
    }

    /// The value of a keyword, converted; the names in `properties` are not keywords.
    fn keyword(&mut self, key: &str, value: &'a Value, depth: usize) -> Value {
        match (key, value) {
            ("properties" | "patternProperties" | "dependentSchemas", Value::Object(named)) => {
                named.iter().map(|(name, schema)| (name.clone(), self.schema(schema, depth))).collect()
            }
            ("anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                schemas.iter().map(|schema| self.schema(schema, depth)).collect()
            }
            ("items" | "additionalProperties" | "not" | "contains" | "propertyNames", schema) => {
                self.schema(schema, depth)
            }
            _ => value.clone(),
        }
    }

    /// Replaces a reference by its target, merged below its siblings. One that leads into itself, out of the document
    /// or too far stays, with only its description.
    fn reference(&mut self, reference: &'a str, mut beside: Map<String, Value>, depth: usize) -> Value {
        let target = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer));
        let is_endless = self.within.contains(&reference) || reference == "#";
        if let Some(target) = target.filter(|_| !is_endless && self.added < ADDED_LIMIT) {
            self.within.push(reference);
            let target = self.schema(target, depth.saturating_add(1));
            self.within.pop();
            merge(&mut beside, target);
            return Value::Object(beside);
        }
        self.has_kept_reference = true;
        let mut kept = Map::new();
        kept.insert("$ref".into(), json!(reference));
        kept.extend(beside.shift_remove_entry("description"));
        Value::Object(kept)
    }
}

/// Merges `more` into `fields`. Where both have a keyword, properties and required names are joined, and for the rest
/// the outer one holds: it was written for this place.
fn merge(fields: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    for (key, value) in more {
        match (fields.get_mut(&key), value) {
            (None, value) => {
                fields.insert(key, value);
            }
            (Some(Value::Object(known)), Value::Object(more)) if key == "properties" => {
                for (name, schema) in more {
                    known.entry(name).or_insert(schema);
                }
            }
            (Some(Value::Array(known)), Value::Array(more)) if key == "required" => {
                let new: Vec<Value> = more.into_iter().filter(|name| !known.contains(name)).collect();
                known.extend(new);
            }
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(schema: &Value) -> Option<Value> {
        parameters(schema.as_object().unwrap())
    }

    #[test]
    fn tools_without_parameters_have_none() {
        let cases = [
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}, "additionalProperties": false, "$schema": "s"}),
        ];
        for schema in cases {
            assert_eq!(converted(&schema), None, "{schema}");
        }
        let open = json!({"type": "object", "additionalProperties": true});
        assert_eq!(converted(&open), Some(open));
    }

    #[test]
    fn an_accepted_schema_is_sent_unchanged() {
        let schema = json!({
            "type": "object",
            "properties": {
                "q": {"type": ["string", "null"], "description": "What?", "minLength": 1, "default": null},
                "kinds": {"type": "array", "items": {"type": "string", "enum": ["owl", "ibis"]}},
                "$ref": {"type": "string"},
                "const": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]},
            },
            "required": ["q"],
            "additionalProperties": false,
        });
        assert_eq!(converted(&schema), Some(schema));
    }

    #[test]
    fn references_are_replaced_and_siblings_win() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "from": {"$ref": "#/$defs/Place", "description": "Where from?"},
                "to": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            },
            "$defs": {
                "Place": {"type": "object", "description": "A place.", "properties": {"name": {"$ref": "#/$defs/Name"}}},
                "Name": {"type": "string"},
            },
        });
        let place = |description: &str| json!({"type": "object", "description": description, "properties": {"name": {"type": "string"}}});
        let expected = json!({
            "type": "object",
            "properties": {"from": place("Where from?"), "to": {"type": "array", "items": place("A place.")}},
        });
        assert_eq!(converted(&schema), Some(expected));
    }

    #[test]
    fn references_into_themselves_stay_with_their_definitions() {
        let definitions = json!({"Tree": {"type": "object", "properties": {
            "children": {"type": "array", "items": {"$ref": "#/$defs/Tree", "description": "Below.", "title": "T"}},
        }}});
        let schema = json!({"type": "object", "properties": {"tree": {"$ref": "#/$defs/Tree"}}, "$defs": definitions});
        let kept = json!({"$ref": "#/$defs/Tree", "description": "Below."});
        let expected = json!({
            "type": "object",
            "properties": {
                "tree": {"type": "object", "properties": {"children": {"type": "array", "items": kept}}},
            },
            "$defs": definitions,
        });
        assert_eq!(converted(&schema), Some(expected));
        let lost = json!({"type": "object", "properties": {"x": {"$ref": "other.json#/x", "type": "string"}}});
        let expected = json!({"type": "object", "properties": {"x": {"$ref": "other.json#/x"}}});
        assert_eq!(converted(&lost), Some(expected));
    }

    #[test]
    fn references_that_multiply_come_to_an_end() {
        let mut definitions = Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/L{}", level + 1)});
            definitions.insert(format!("L{level}"), json!({"type": "object", "properties": {"a": next, "b": next}}));
        }
        definitions.insert("L40".into(), json!({"type": "string"}));
        let schema = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/L0"}}, "$defs": definitions});
        let converted = converted(&schema).unwrap();
        assert_eq!(converted["$defs"], Value::Object(definitions));
        assert!(converted.to_string().len() < 500_000);
    }

    #[test]
    fn a_very_deep_schema_is_taken() {
        let deep = (0..200).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner}));
        let schema = json!({"type": "object", "properties": {"x": deep}});
        assert_eq!(converted(&schema), Some(schema));
    }

    #[test]
    fn all_of_is_joined_and_a_constant_is_a_choice_of_one() {
        let schema = json!({
            "type": "object",
            "allOf": [
                {"properties": {"a": {"const": "x"}}, "required": ["a"]},
                {"properties": {"b": {"const": 1}, "a": {"type": "integer"}}, "required": ["a", "b"]},
            ],
            "properties": {"c": {"const": true}},
        });
        let expected = json!({
            "type": "object",
            "properties": {"c": {"const": true}, "a": {"enum": ["x"]}, "b": {"enum": [1]}},
            "required": ["a", "b"],
        });
        assert_eq!(converted(&schema), Some(expected));
    }
}
