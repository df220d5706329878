//! Input schemas as every model's provider accepts them: sound ones, with no choice between whole argument lists.
//! <https://json-schema.org/draft/2020-12>
//!
//! Providers refuse a whole request for one schema that they do not accept, so a tool that has one is better left out,
//! with a warning.

use serde_json::{Map, Value, json};

use super::schema_mend::mend;

/// Most bytes of one tool's schema; a whole context window holds a few of these.
const MAX_SIZE: usize = 256 << 10;

/// Most bytes of rules that a description spells out.
const MAX_RULES: usize = 4_000;

/// Combinations that Anthropic and OpenAI refuse at the top of a schema, though not within it.
const COMBINATIONS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// The types of the standard.
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

/// A schema that is accepted.
#[derive(Debug, PartialEq)]
pub(super) struct Accepted {
    pub schema: Map<String, Value>,
    /// Rules that the schema cannot hold in this form, for the tool's description.
    pub rules: Option<String>,
}

/// Reads a tool's input schema.
///
/// # Errors
/// The fault, as the end of a sentence that begins "the input schema of tool x".
pub(super) fn read(schema: Option<Value>) -> Result<Accepted, String> {
    let Ok(Value::Object(mut schema)) = mend(schema) else { return Err("is no JSON object".to_owned()) };
    match schema.get("type") {
        None => {
            schema.insert("type".to_owned(), Value::from("object"));
        }
        Some(kind) if kind == "object" => {}
        Some(_) => return Err("is not of type \"object\"".to_owned()),
    }
    let whole = Value::Object(schema);
    if whole.to_string().len() > MAX_SIZE {
        return Err("is larger than 256 KiB".to_owned());
    }
    check(&whole, &whole, "")?;
    let Value::Object(mut schema) = whole else { return Err("is no JSON object".to_owned()) };
    let rules = spread(&mut schema);
    Ok(Accepted { schema, rules })
}

/// Checks that every keyword of `schema`, found at `path` in `whole`, has the shape that the standard gives it.
fn check(schema: &Value, whole: &Value, path: &str) -> Result<(), String> {
    let schema = match schema {
        Value::Object(schema) => schema,
        Value::Bool(_) => return Ok(()),
        _ => return Err(at(path, "is no schema")),
    };
    for (key, value) in schema {
        let path = format!("{path}.{key}");
        let is_sound = match key.as_str() {
            "type" => is_type(value),
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                let Value::Object(schemas) = value else { return Err(at(&path, "is no object of schemas")) };
                for (name, schema) in schemas {
                    check(schema, whole, &format!("{path}.{name}"))?;
                }
                true
            }
            "additionalProperties"
            | "propertyNames"
            | "contains"
            | "items"
            | "not"
            | "if"
            | "then"
            | "else"
            | "unevaluatedProperties"
            | "unevaluatedItems" => {
                check(value, whole, &path)?;
                true
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                let Some(schemas) = value.as_array().filter(|schemas| !schemas.is_empty()) else {
                    return Err(at(&path, "is no list of schemas"));
                };
                all(schemas, whole, &path)?;
                true
            }
            "required" => value.as_array().is_some_and(|names| names.iter().all(Value::is_string)),
            "enum" => value.as_array().is_some_and(|values| !values.is_empty()),
            "$ref" => value.as_str().is_some_and(|target| is_there(target, whole)),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                value.as_f64().is_some_and(|number| number >= 0.0 && number.fract() == 0.0)
            }
            "minimum" | "maximum" | "multipleOf" => value.is_number(),
            "pattern" | "format" | "title" | "description" | "$schema" | "$id" | "$anchor" => value.is_string(),
            _ => true,
        };
        if !is_sound {
            return Err(at(&path, "is not what JSON Schema allows there"));
        }
    }
    Ok(())
}

fn all(schemas: &[Value], whole: &Value, path: &str) -> Result<(), String> {
    for (number, schema) in schemas.iter().enumerate() {
        check(schema, whole, &format!("{path}.{number}"))?;
    }
    Ok(())
}

fn at(path: &str, what: &str) -> String {
    const LONGEST: usize = 200;
    let path: String = path.trim_start_matches('.').chars().take(LONGEST).collect();
    format!("is not sound: {path} {what}")
}

fn is_type(value: &Value) -> bool {
    let is_known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(is_known),
        name => is_known(name),
    }
}

/// Returns true when a reference leads to something; those out of the schema lead nowhere for a provider.
fn is_there(target: &str, whole: &Value) -> bool {
    // Anchors and identifiers are too rare to be looked for.
    target == "#"
        || target.strip_prefix('#').is_some_and(|path| !path.starts_with('/') || at_pointer(whole, path).is_some())
}

fn at_pointer<'a>(whole: &'a Value, path: &str) -> Option<&'a Value> {
    whole.pointer(path).or_else(|| whole.pointer(&path.replace("%24", "$")))
}

/// Takes combinations away from the top: all the properties that their branches know may be given, and what belongs
/// together is put in words. The server itself refuses what it refused before.
fn spread(schema: &mut Map<String, Value>) -> Option<String> {
    let whole = Value::Object(schema.clone());
    let combinations: Map<String, Value> = COMBINATIONS
        .iter()
        .filter_map(|key| schema.shift_remove(*key).map(|branches| ((*key).to_owned(), branches)))
        .collect();
    if combinations.is_empty() {
        return None;
    }
    let mut properties = match schema.get("properties") {
        Some(Value::Object(properties)) => properties.clone(),
        _ => Map::new(),
    };
    let own: Vec<String> = properties.keys().cloned().collect();
    for branch in combinations.values().filter_map(Value::as_array).flatten() {
        let branch = match branch.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) {
            Some(path) => at_pointer(&whole, path).unwrap_or(branch),
            None => branch,
        };
        for (name, property) in branch.get("properties").and_then(Value::as_object).into_iter().flatten() {
            match properties.get_mut(name) {
                Some(known) if !own.contains(name) && known != property => also(known, property),
                Some(_) => {}
                None => {
                    properties.insert(name.clone(), property.clone());
                }
            }
        }
    }
    schema.insert("properties".to_owned(), Value::Object(properties));
    let rules = Value::Object(combinations).to_string();
    Some(if rules.len() > MAX_RULES {
        "Not all arguments go together; an error names those that do.".to_owned()
    } else {
        format!("The arguments must also fit this JSON Schema: {rules}")
    })
}

/// Lets `known` admit what `other` does too.
fn also(known: &mut Value, other: &Value) {
    let is_choice = known.as_object().is_some_and(|known| known.len() == 1 && known.contains_key("anyOf"));
    match known.get_mut("anyOf").and_then(Value::as_array_mut).filter(|_| is_choice) {
        Some(choices) if choices.contains(other) => {}
        Some(choices) => choices.push(other.clone()),
        None => *known = json!({ "anyOf": [known.take(), other] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(schema: Value) -> Option<String> {
        read(Some(schema)).err()
    }

    #[test]
    fn sound_schemas_are_taken_as_they_are() {
        let sound = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "a": {"type": ["string", "null"], "minLength": 1, "pattern": "^x"},
                "b": {"type": "array", "items": {"$ref": "#/$defs/B"}},
                "c": {"anyOf": [{"const": 1}, {"type": "integer", "minimum": 0}]},
                "d": true,
                "required": {"type": "string", "default": null},
            },
            "required": ["a"],
            "additionalProperties": false,
            "$defs": {"B": {"type": "object", "properties": {"again": {"$ref": "#"}}}},
            "x-own": 7,
        });
        let Accepted { schema, rules } = read(Some(sound.clone())).unwrap();
        assert_eq!((Value::Object(schema), rules), (sound, None));
        assert_eq!(Value::Object(read(Some(json!({}))).unwrap().schema), json!({"type": "object"}));
    }

    #[test]
    fn what_is_not_sound_is_named_by_its_place() {
        for (schema, expected) in [
            (json!("{}"), "is no JSON object"),
            (json!({"type": "array"}), "is not of type \"object\""),
            (json!({"properties": [1]}), "is not sound: properties is no object of schemas"),
            (json!({"properties": {"a": 7}}), "is not sound: properties.a is no schema"),
            (json!({"properties": {"a": "as it likes"}}), "is not sound: properties.a is no schema"),
            (
                json!({"properties": {"a": {"$ref": "#/$defs/Gone"}}}),
                "is not sound: properties.a.$ref is not what JSON Schema allows there",
            ),
            (
                json!({"properties": {"a": {"$ref": "other.json"}}}),
                "is not sound: properties.a.$ref is not what JSON Schema allows there",
            ),
            (json!({"properties": {"a": {"anyOf": {}}}}), "is not sound: properties.a.anyOf is no list of schemas"),
            (json!({"x": "x".repeat(MAX_SIZE)}), "is larger than 256 KiB"),
        ] {
            assert_eq!(fault(schema).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_choice_at_the_top_becomes_properties_and_words() {
        let schema = json!({
            "properties": {"id": {"type": "string"}},
            "anyOf": [
                {"properties": {"id": {"type": "integer"}, "text": {"type": "string"}}, "required": ["text"]},
                {"$ref": "#/$defs/Url"},
                {"required": ["id"]},
            ],
            "$defs": {"Url": {"properties": {"url": {"type": "string"}, "text": {"type": "null"}}}},
        });
        let branches = schema["anyOf"].clone();
        let Accepted { schema, rules } = read(Some(schema)).unwrap();
        assert_eq!(schema.get("anyOf"), None);
        let expected = json!({
            "id": {"type": "string"},
            "text": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "url": {"type": "string"},
        });
        assert_eq!(schema["properties"], expected);
        let rest = json!({ "anyOf": branches });
        assert_eq!(rules.unwrap(), format!("The arguments must also fit this JSON Schema: {rest}"));
    }

    #[test]
    fn long_rules_are_not_spelled_out() {
        let branch = json!({"required": ["x".repeat(MAX_RULES)]});
        let rules = read(Some(json!({"oneOf": [branch]}))).unwrap().rules;
        assert_eq!(rules.as_deref(), Some("Not all arguments go together; an error names those that do."));
    }
}
