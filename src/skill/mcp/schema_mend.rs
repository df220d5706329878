//! [`mend`]: a tool's input schema in JSON Schema 2020-12, where a server wrote an older draft or a mistake whose meaning
//! is clear. <https://json-schema.org/draft/2020-12>
//!
//! Called by `schema` before it checks. Providers refuse a whole request for one unsound keyword, and the server checks
//! the arguments itself, so that a keyword that cannot be mended is better left out than the tool.

use regex_syntax::ast::ErrorKind;
use regex_syntax::ast::parse::Parser;
use serde_json::{Map, Number, Value, json};

/// Deepest nesting that is mended; deeper schemas stay unchanged.
const DEPTH_LIMIT: usize = 64;

/// Other names of the standard's types.
const OTHER_NAMES: [(&str, &str); 20] = [
    ("int", "integer"),
    ("int32", "integer"),
    ("int64", "integer"),
    ("long", "integer"),
    ("uint", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("decimal", "number"),
    ("numeric", "number"),
    ("str", "string"),
    ("text", "string"),
    ("date", "string"),
    ("datetime", "string"),
    ("bool", "boolean"),
    ("list", "array"),
    ("tuple", "array"),
    ("dict", "object"),
    ("map", "object"),
    ("none", "null"),
    ("nil", "null"),
];

/// The standard's types.
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

/// The schema of a tool's arguments; `Err` with what came for a value that is no schema. Nothing at all (null, or the
/// empty list of a language in which lists and maps are one) is a tool without arguments.
pub(super) fn mend(schema: Option<Value>) -> Result<Value, Value> {
    let mut schema = match schema {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Array(items)) if items.is_empty() => Map::new(),
        Some(Value::Object(schema)) => schema,
        Some(other) => return Err(other),
    };
    mend_object(&mut schema, 0);
    let is_any = schema.get("type").is_some_and(is_list_with_object);
    if is_any {
        schema.insert("type".into(), json!("object"));
    }
    Ok(Value::Object(schema))
}

/// `["object", "null"]`: arguments are always an object.
fn is_list_with_object(kind: &Value) -> bool {
    kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
}

fn mend_schema(schema: &mut Value, depth: usize) {
    match schema {
        Value::Object(fields) => mend_object(fields, depth),
        // Nothing restricts nothing.
        Value::Null => *schema = json!({}),
        Value::Array(items) if items.is_empty() => *schema = json!({}),
        // `"a": "string"` in place of `"a": {"type": "string"}`.
        Value::String(name) => {
            if let Some(kind) = known_type(name) {
                *schema = json!({ "type": kind });
            } else if name.trim().eq_ignore_ascii_case("any") {
                *schema = json!({});
            }
        }
        _ => {}
    }
}

fn mend_object(schema: &mut Map<String, Value>, depth: usize) {
    if depth > DEPTH_LIMIT {
        return;
    }
    // Null is nothing, but as a value that is allowed or given.
    schema.retain(|key, value| !value.is_null() || matches!(key.as_str(), "const" | "default"));
    mend_type(schema);
    mend_bounds(schema);
    mend_required(schema);
    mend_tuple(schema);
    mend_definitions(schema);
    leave_out_unsound(schema);
    for (key, value) in schema.iter_mut() {
        let deeper = depth + 1;
        match key.as_str() {
            "properties" | "patternProperties" | "$defs" | "dependentSchemas" => {
                if value.as_array().is_some_and(Vec::is_empty) {
                    *value = json!({});
                }
                for schema in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
                    mend_schema(schema, deeper);
                }
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                value.as_array_mut().into_iter().flatten().for_each(|schema| mend_schema(schema, deeper));
            }
            "items"
            | "additionalProperties"
            | "propertyNames"
            | "contains"
            | "not"
            | "if"
            | "then"
            | "else"
            | "unevaluatedProperties"
            | "unevaluatedItems" => mend_schema(value, deeper),
            _ => {}
        }
    }
}

/// The standard's name of a type; `None` for one that means any, and for an unknown one.
fn known_type(name: &str) -> Option<&'static str> {
    let name = name.trim().to_ascii_lowercase();
    let known = TYPES.iter().find(|known| **known == name).copied();
    known.or_else(|| OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, known)| *known))
}

/// Other names of types, and types as they are written outside JSON Schema. A type that means nothing is left out.
fn mend_type(schema: &mut Map<String, Value>) {
    let Some(kind) = schema.get("type") else { return };
    let mended = match kind {
        // One of some other language, which the description may explain, is left out like one that means any.
        Value::String(name) => known_type(name).map(|known| json!(known)),
        Value::Array(names) => {
            let known: Option<Vec<&str>> =
                names.iter().map(|name| known_type(name.as_str().unwrap_or_default())).collect();
            let mut known = known.unwrap_or_default();
            known.sort_unstable();
            known.dedup();
            // In the order in which they came, when nothing has to be mended.
            let is_sound =
                names.len() == known.len() && names.iter().all(|name| known.iter().any(|known| name == known));
            match known.as_slice() {
                [] => None,
                _ if is_sound => Some(kind.clone()),
                _ => Some(json!(known)),
            }
        }
        // A schema in place of a type: it holds too.
        Value::Object(inner) => {
            let inner = inner.clone();
            schema.shift_remove("type");
            for (key, value) in inner {
                schema.entry(key).or_insert(value);
            }
            mend_type(schema);
            return;
        }
        _ => None,
    };
    match mended {
        Some(kind) => _ = schema.insert("type".into(), kind),
        None => _ = schema.shift_remove("type"),
    }
    // OpenAPI's word.
    if schema.shift_remove("nullable") == Some(Value::Bool(true))
        && let Some(Value::String(kind)) = schema.get("type")
    {
        let both = json!([kind, "null"]);
        schema.insert("type".into(), both);
    }
}

/// Draft-04 has exclusive bounds as `true` beside the bound; numbers come as text.
fn mend_bounds(schema: &mut Map<String, Value>) {
    for key in [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    ] {
        if let Some(Value::String(text)) = schema.get(key)
            && let Ok(number) = text.trim().parse::<Number>()
        {
            schema.insert(key.into(), Value::Number(number));
        }
    }
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match schema.get(exclusive) {
            Some(Value::Bool(true)) => {
                let bound = schema.shift_remove(bound);
                match bound {
                    Some(bound) => _ = schema.insert(exclusive.into(), bound),
                    None => _ = schema.shift_remove(exclusive),
                }
            }
            Some(Value::Bool(false)) => _ = schema.shift_remove(exclusive),
            _ => {}
        }
    }
}

/// Draft-03 has `required: true` in a property, which its object takes up; a name alone is a list of one.
fn mend_required(schema: &mut Map<String, Value>) {
    let mut names: Vec<Value> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter(|name| name.is_string()).cloned().collect(),
        Some(name @ Value::String(_)) => vec![name.clone()],
        _ => Vec::new(),
    };
    for (name, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let own = property.as_object_mut().filter(|own| own.get("required").is_some_and(Value::is_boolean));
        if own.and_then(|own| own.shift_remove("required")) == Some(Value::Bool(true)) {
            names.push(json!(name));
        }
    }
    let mut unique: Vec<Value> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    if !unique.is_empty() {
        schema.insert("required".into(), Value::Array(unique));
    } else if schema.get("required").is_some_and(|required| !required.is_array() || required == &json!([])) {
        schema.shift_remove("required");
    }
}

/// Drafts before 2020-12 have tuples as a list of `items`, with `additionalItems` for the rest.
fn mend_tuple(schema: &mut Map<String, Value>) {
    let rest = schema.shift_remove("additionalItems");
    if !schema.get("items").is_some_and(Value::is_array) {
        return;
    }
    if let Some(Value::Array(items)) = schema.shift_remove("items")
        && !items.is_empty()
    {
        schema.insert("prefixItems".into(), Value::Array(items));
        schema.extend(rest.filter(|rest| rest.is_object() || rest.is_boolean()).map(|rest| ("items".to_owned(), rest)));
    }
}

/// Older drafts have `definitions` and `dependencies`.
fn mend_definitions(schema: &mut Map<String, Value>) {
    if let Some(Value::Object(dependencies)) = schema.shift_remove("dependencies") {
        let (lists, schemas): (Map<String, Value>, Map<String, Value>) =
            dependencies.into_iter().partition(|(_, value)| value.is_array());
        for (key, part) in [("dependentRequired", lists), ("dependentSchemas", schemas)] {
            if !part.is_empty() {
                schema.entry(key).or_insert(Value::Object(part));
            }
        }
    }
    if let Some(definitions) = schema.get_mut("definitions").and_then(Value::as_object_mut) {
        definitions.values_mut().for_each(|schema| mend_schema(schema, 1));
    }
}

/// Leaves out keywords whose value means nothing: they restrict less, and the server checks for itself.
fn leave_out_unsound(schema: &mut Map<String, Value>) {
    schema.retain(|key, value| match key.as_str() {
        "pattern" => value.as_str().is_some_and(is_pattern),
        "patternProperties" => {
            value.as_object().is_none_or(|schemas| schemas.keys().all(|pattern| is_pattern(pattern)))
        }
        "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => value.as_array().is_none_or(|schemas| !schemas.is_empty()),
        "title" | "description" | "format" | "$comment" => value.is_string(),
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            value.as_f64().is_some_and(|number| number >= 0.0 && number.fract() == 0.0)
        }
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => value.is_number(),
        "multipleOf" => value.as_f64().is_some_and(|number| number > 0.0),
        "uniqueItems" | "deprecated" | "readOnly" | "writeOnly" => value.is_boolean(),
        "examples" => value.is_array(),
        // An older draft's, which the newer ones refuse in some validators.
        "id" => !value.is_string() || value.as_str().is_some_and(|id| !id.contains('#') && !id.contains(':')),
        _ => true,
    });
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        let mut unique: Vec<Value> = Vec::with_capacity(values.len());
        for value in values.drain(..) {
            if !unique.contains(&value) {
                unique.push(value);
            }
        }
        *values = unique;
    }
}

/// Returns true for a regular expression. The standard's have looks around and references to groups, which the parser
/// here knows but refuses.
fn is_pattern(pattern: &str) -> bool {
    let plain = ["(?=", "(?!", "(?<=", "(?<!"].iter().fold(pattern.to_owned(), |text, look| text.replace(look, "(?:"));
    match Parser::new().parse(&plain) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::UnsupportedBackreference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(schema: &Value) -> Value {
        let mended = mend(Some(json!({"type": "object", "properties": {"a": schema}}))).unwrap();
        mended["properties"]["a"].clone()
    }

    #[test]
    fn sound_schemas_are_unchanged() {
        let sound = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "a": {"type": ["string", "null"], "pattern": "^(?!x)\\p{L}+$", "default": null, "minLength": 1},
                "b": {"type": "array", "prefixItems": [{"const": null}], "items": false},
                "required": {"type": "boolean"},
                "id": {"exclusiveMinimum": 0, "enum": [1, null, "x"]},
                "type": {"anyOf": [{"type": "string"}, true]},
            },
            "required": ["a"],
            "additionalProperties": false,
        });
        assert_eq!(mend(Some(sound.clone())).unwrap().to_string(), sound.to_string());
    }

    #[test]
    fn nothing_in_its_other_forms_is_nothing() {
        for schema in [None, Some(Value::Null), Some(json!([]))] {
            assert_eq!(mend(schema), Ok(json!({})));
        }
        let php = json!({"type": "object", "properties": [], "required": []});
        assert_eq!(mend(Some(php)), Ok(json!({"type": "object", "properties": {}})));
        let go = json!({"type": "object", "properties": null, "required": null, "additionalProperties": null});
        assert_eq!(mend(Some(go)), Ok(json!({"type": "object"})));
        assert_eq!(property(&json!({"type": "string", "description": null})), json!({"type": "string"}));
        assert_eq!(mend(Some(json!({"type": ["object", "null"]}))), Ok(json!({"type": "object"})));
        assert_eq!(mend(Some(json!("see the manual"))), Err(json!("see the manual")));
    }

    #[test]
    fn types_of_other_languages_are_those_of_the_standard() {
        for (kind, expected) in [
            (json!("any"), json!({})),
            (json!("int"), json!({"type": "integer"})),
            (json!("String"), json!({"type": "string"})),
            (json!("colour"), json!({})),
            (json!(["string", "None"]), json!({"type": ["null", "string"]})),
            (json!(["string", "any"]), json!({})),
            (json!([]), json!({})),
            (json!({"type": "string"}), json!({"type": "string"})),
        ] {
            assert_eq!(property(&json!({"type": kind})), expected, "{kind}");
        }
        assert_eq!(property(&json!("string")), json!({"type": "string"}));
        assert_eq!(property(&json!({"type": "string", "nullable": true})), json!({"type": ["string", "null"]}));
    }

    #[test]
    fn older_drafts_become_the_newest() {
        let cases = [
            (json!({"minimum": 0, "exclusiveMinimum": true}), json!({"exclusiveMinimum": 0})),
            (json!({"maximum": 9, "exclusiveMaximum": false}), json!({"maximum": 9})),
            (json!({"exclusiveMaximum": true}), json!({})),
            (
                json!({"items": [{"type": "string"}, {"type": "number"}], "additionalItems": false}),
                json!({"prefixItems": [{"type": "string"}, {"type": "number"}], "items": false}),
            ),
            (json!({"items": {"items": []}}), json!({"items": {}})),
            (
                json!({"properties": {"b": {"required": true}, "c": {"required": false}}}),
                json!({"properties": {"b": {}, "c": {}}, "required": ["b"]}),
            ),
            (json!({"required": "b"}), json!({"required": ["b"]})),
            (
                json!({"dependencies": {"b": ["c"], "d": {"type": "int"}}}),
                json!({
                "dependentRequired": {"b": ["c"]}, "dependentSchemas": {"d": {"type": "integer"}}}),
            ),
            (json!({"definitions": {"x": {"type": "int"}}}), json!({"definitions": {"x": {"type": "integer"}}})),
        ];
        for (schema, expected) in cases {
            assert_eq!(property(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn keywords_that_mean_nothing_are_left_out() {
        for unsound in [
            json!({"pattern": "(?<!x"}),
            json!({"pattern": 7}),
            json!({"enum": []}),
            json!({"anyOf": []}),
            json!({"minLength": -1}),
            json!({"multipleOf": 0}),
            json!({"description": ["a"]}),
        ] {
            assert_eq!(property(&unsound), json!({}), "{unsound}");
        }
        assert_eq!(property(&json!({"maximum": "7", "enum": [1, 1, 2]})), json!({"maximum": 7, "enum": [1, 2]}));
        for sound in [r"(?<=a)b", r"(a)\1", r"^\d+$", "[a-z]{2,}"] {
            assert_eq!(property(&json!({"pattern": sound})), json!({"pattern": sound}));
        }
    }
}
