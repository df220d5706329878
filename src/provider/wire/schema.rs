//! [`parameters`]: a tool's JSON Schema in the form that providers accept, which is at the top an object with
//! properties, without `anyOf`, `oneOf`, `allOf`, `enum`, `const` or `not` (OpenAI answers 400 to them, Anthropic to
//! the first three).
//!
//! Called by the encoders. Within the properties nothing is changed. The meaning of a refused keyword at the top moves
//! into the properties where they can express it, else into the schema's description, which the model reads too.
//! Checking arguments is left to the tool's server in any case. Accepted schemas are sent unchanged.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::provider::tool_names;

/// Keywords that providers refuse at the top of a schema.
const REFUSED: [&str; 6] = ["allOf", "anyOf", "oneOf", "enum", "const", "not"];

/// Deepest nesting of alternatives and references at the top that is followed; real schemas have two.
const DEPTH_LIMIT: usize = 8;

/// Most alternatives that are looked at in one list; real schemas have a dozen.
const ALTERNATIVES_LIMIT: usize = 64;

/// Most characters of JSON that are quoted in the description.
const QUOTE_LIMIT: usize = 500;

/// The schema of a tool's parameters. `is_name` accepts the names of properties that the provider takes; a property of
/// another name is sent under one that stands for it (see `provider/tool_names.rs`).
pub fn parameters(schema: &Map<String, Value>, is_name: fn(&str) -> bool) -> Cow<'_, Map<String, Value>> {
    if is_accepted(schema, is_name) { Cow::Borrowed(schema) } else { Cow::Owned(converted(schema, is_name)) }
}

/// Returns true where [`converted`] would change nothing.
fn is_accepted(schema: &Map<String, Value>, is_name: fn(&str) -> bool) -> bool {
    let Some(Value::Object(properties)) = schema.get("properties") else { return false };
    let is_distinct = |names: &[Value]| {
        let is_first =
            |(at, name): (usize, &Value)| name.is_string() && names.iter().position(|n| n == name) == Some(at);
        names.iter().enumerate().all(is_first)
    };
    schema.get("type").is_some_and(|kind| kind == "object")
        && properties.iter().all(|(name, property)| is_name(name) && !property.is_boolean())
        && schema.keys().all(|key| key != "$ref" && !REFUSED.contains(&key.as_str()))
        && schema.get("required").is_none_or(|names| names.as_array().is_some_and(|names| is_distinct(names)))
}

fn converted(schema: &Map<String, Value>, is_name: fn(&str) -> bool) -> Map<String, Value> {
    let flat = Flat::new(schema, schema, DEPTH_LIMIT);
    let notes = flat.notes;
    let sent = |name: String| if is_name(&name) { name } else { tool_names::property(&name) };
    let mut properties: Map<String, Value> =
        flat.properties.into_iter().map(|(name, property)| (sent(name), explicit(property))).collect();
    let required: Vec<String> = flat.required.into_iter().map(sent).collect();

    let mut converted = Map::new();
    for (key, value) in schema {
        match key.as_str() {
            "type" => _ = converted.insert(key.clone(), json!("object")),
            "properties" => _ = converted.insert(key.clone(), Value::Object(std::mem::take(&mut properties))),
            "required" => _ = converted.insert(key.clone(), json!(required)),
            "$ref" => {}
            key if REFUSED.contains(&key) => {}
            _ => _ = converted.insert(key.clone(), value.clone()),
        }
    }
    converted.entry("type").or_insert_with(|| json!("object"));
    // OpenAI refuses a schema of an object without properties, even of a tool without parameters.
    converted.entry("properties").or_insert_with(|| Value::Object(properties));
    if !required.is_empty() {
        converted.entry("required").or_insert_with(|| json!(required));
    }
    if !notes.is_empty() {
        let description = converted.get("description").and_then(Value::as_str).map(str::to_owned);
        let sentences: Vec<String> = description.into_iter().chain(notes).collect();
        converted.insert("description".into(), json!(sentences.join(" ")));
    }
    converted
}

/// Accepts any name of a property.
pub fn any_name(_: &str) -> bool {
    true
}

/// The schemas `true` and `false` as the objects of the same meaning: some servers accept only objects.
fn explicit(schema: Value) -> Value {
    match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => json!({"not": {}}),
        schema => schema,
    }
}

/// The top of a schema in accepted keywords.
#[derive(Default)]
struct Flat {
    properties: Map<String, Value>,
    required: Vec<String>,
    /// Sentences about the rest.
    notes: Vec<String>,
}

impl Flat {
    fn new(document: &Map<String, Value>, schema: &Map<String, Value>, depth: usize) -> Self {
        let mut flat = Self::default();
        if let Some(Value::Object(properties)) = schema.get("properties") {
            flat.properties.clone_from(properties);
        }
        flat.require(names(schema.get("required")));
        let Some(depth) = depth.checked_sub(1) else { return flat };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|path| resolve(document, path)) {
            flat.also(Self::new(document, target, depth));
        }
        for part in list(schema, "allOf") {
            flat.also(Self::new(document, part, depth));
        }
        for (word, meaning) in [("anyOf", "at least one"), ("oneOf", "exactly one")] {
            let alternatives: Vec<Self> =
                list(schema, word).into_iter().map(|part| Self::new(document, part, depth)).collect();
            flat.either(alternatives, meaning);
        }
        for (word, meaning) in [("enum", "The arguments must be one of"), ("const", "The arguments must be")] {
            flat.quote(schema.get(word), meaning);
        }
        flat.quote(schema.get("not"), "The arguments must not match the schema");
        flat
    }

    fn require(&mut self, names: Vec<String>) {
        for name in names {
            if !self.required.contains(&name) {
                self.required.push(name);
            }
        }
    }

    /// Adds a schema that holds too.
    fn also(&mut self, other: Self) {
        for (name, property) in other.properties {
            match self.properties.get_mut(&name) {
                None => _ = self.properties.insert(name, property),
                Some(known) if *known == property => {}
                Some(known) => *known = json!({"allOf": [known.take(), property]}),
            }
        }
        self.require(other.required);
        self.notes.extend(other.notes);
    }

    /// Adds schemas of which one holds too.
    fn either(&mut self, alternatives: Vec<Self>, meaning: &str) {
        if alternatives.is_empty() {
            return;
        }
        let always = |name: &String| alternatives.iter().all(|other| other.required.contains(name));
        let required: Vec<String> = alternatives
            .first()
            .map(|first| first.required.iter().filter(|name| always(name)).cloned().collect())
            .unwrap_or_default();
        let sets: Vec<String> = alternatives
            .iter()
            .map(|other| {
                let own: Vec<&str> = if other.required.is_empty() {
                    other.properties.keys().map(String::as_str).collect()
                } else {
                    other.required.iter().map(String::as_str).collect()
                };
                if own.is_empty() { "(any)".to_owned() } else { own.join(", ") }
            })
            .collect();
        if sets.len() > 1 && sets.iter().any(|set| Some(set) != sets.first()) {
            self.notes.push(format!("Give {meaning} of these sets of arguments: {}.", sets.join("; ")));
        }
        let mut forms: Map<String, Value> = Map::new();
        for other in alternatives {
            self.notes.extend(other.notes);
            for (name, property) in other.properties {
                let known = forms.entry(name).or_insert_with(|| json!([]));
                if let Value::Array(known) = known
                    && !known.contains(&property)
                {
                    known.push(property);
                }
            }
        }
        for (name, forms) in forms {
            let property = match forms {
                Value::Array(mut forms) if forms.len() == 1 => forms.pop().unwrap_or_default(),
                forms => json!({"anyOf": forms}),
            };
            self.properties.entry(name).or_insert(property);
        }
        self.require(required);
    }

    fn quote(&mut self, value: Option<&Value>, meaning: &str) {
        let Some(value) = value else { return };
        let text: String = value.to_string();
        let note = match text.char_indices().nth(QUOTE_LIMIT) {
            None => format!("{meaning} {text}."),
            Some(_) => format!("{meaning} that its documentation names."),
        };
        self.notes.push(note);
    }
}

/// The schemas under a keyword; `true` and values that are no schemas are skipped.
fn list<'a>(schema: &'a Map<String, Value>, word: &str) -> Vec<&'a Map<String, Value>> {
    let parts = schema.get(word).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter_map(Value::as_object).take(ALTERNATIVES_LIMIT).collect()
}

fn names(list: Option<&Value>) -> Vec<String> {
    let names = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The target of a reference within the document.
fn resolve<'a>(document: &'a Map<String, Value>, path: &str) -> Option<&'a Map<String, Value>> {
    let mut steps = path.strip_prefix("#/")?.split('/');
    let first = document.get(steps.next()?)?;
    steps
        .try_fold(first, |value, step| value.get(step.replace("~1", "/").replace("~0", "~")))
        .and_then(Value::as_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(schema: &Value) -> Value {
        let schema = schema.as_object().unwrap();
        let sent = parameters(schema, any_name).into_owned();
        assert_eq!(json!(sent).to_string(), json!(converted(schema, any_name)).to_string(), "as it would be converted");
        Value::Object(sent)
    }

    #[test]
    fn an_accepted_schema_is_sent_unchanged() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "description": "Where to look.",
            "properties": {
                "q": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "in": {"$ref": "#/$defs/Place"},
                "how": {"enum": ["fast", "well"]},
            },
            "required": ["q"],
            "additionalProperties": false,
            "$defs": {"Place": {"oneOf": [{"const": "here"}, {"const": "there"}]}},
        });
        assert_eq!(sent(&schema).to_string(), schema.to_string());
        assert!(matches!(parameters(schema.as_object().unwrap(), any_name), Cow::Borrowed(_)));
    }

    #[test]
    fn the_top_is_an_object_with_properties() {
        let (a, string) = (json!({"a": {"type": "string"}}), json!({"type": "string"}));
        let cases = [
            (json!({}), json!({"type": "object", "properties": {}})),
            (json!({"type": "object"}), json!({"type": "object", "properties": {}})),
            (json!({"type": ["object", "null"], "properties": a}), json!({"type": "object", "properties": a})),
            (
                json!({"properties": {"a": true, "b": false}}),
                json!({"properties": {"a": {}, "b": {"not": {}}}, "type": "object"}),
            ),
            (
                json!({"$ref": "#/$defs/A~1b", "$defs": {"A/b": {"properties": a, "required": ["a"]}}}),
                json!({"$defs": {"A/b": {"properties": a, "required": ["a"]}}, "type": "object", "properties": a,
                       "required": ["a"]}),
            ),
            (
                json!({"type": "object", "allOf": [{"properties": a}, {"properties": {"b": string}, "required": ["b"]}]}),
                json!({"type": "object", "properties": {"a": string, "b": string}, "required": ["b"]}),
            ),
            (
                json!({"properties": a, "allOf": [{"properties": {"a": {"maxLength": 5}}}]}),
                json!({"properties": {"a": {"allOf": [string, {"maxLength": 5}]}}, "type": "object"}),
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(sent(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn alternatives_are_merged_and_described() {
        let cases = [
            // At least one of fields that are there already.
            (
                json!({"type": "object", "properties": {"id": {}, "title": {}, "text": {}}, "required": ["id"],
                       "anyOf": [{"required": ["title"]}, {"required": ["text"]}]}),
                json!({"type": "object", "properties": {"id": {}, "title": {}, "text": {}}, "required": ["id"],
                       "description": "Give at least one of these sets of arguments: title; text."}),
            ),
            // Forms of their own, distinguished by a field of the same name.
            (
                json!({"description": "Changes.", "oneOf": [
                    {"properties": {"op": {"const": "add"}, "text": {"type": "string"}}, "required": ["op", "text"]},
                    {"properties": {"op": {"const": "drop"}}, "required": ["op"]},
                ]}),
                json!({
                    "description": "Changes. Give exactly one of these sets of arguments: op, text; op.",
                    "type": "object",
                    "properties": {"op": {"anyOf": [{"const": "add"}, {"const": "drop"}]}, "text": {"type": "string"}},
                    "required": ["op"],
                }),
            ),
            // The same everywhere: no sentence is needed.
            (
                json!({"anyOf": [{"properties": {"a": {}}, "required": ["a"]}, {"required": ["a"]}]}),
                json!({"type": "object", "properties": {"a": {}}, "required": ["a"]}),
            ),
            (
                json!({"type": "object", "not": {"required": ["a", "b"]}, "const": {}}),
                json!({"type": "object", "properties": {}, "description":
                       "The arguments must be {}. The arguments must not match the schema {\"required\":[\"a\",\"b\"]}."}),
            ),
        ];
        for (schema, expected) in cases {
            assert_eq!(sent(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn no_schema_has_a_refused_keyword_at_the_top() {
        let endless = json!({"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, true, 5]}}});
        let odd = json!({"anyOf": "x", "oneOf": [], "allOf": [[]], "enum": [1], "not": true, "required": 5, "properties": []});
        for schema in [endless, odd] {
            let sent = sent(&schema);
            assert_eq!((&sent["type"], sent["properties"].is_object()), (&json!("object"), true), "{sent}");
            assert!(REFUSED.iter().all(|word| sent.get(word).is_none()), "{sent}");
            assert!(sent.get("required").is_none_or(Value::is_array), "{sent}");
        }
    }

    #[test]
    fn a_property_with_a_refused_name_is_sent_under_another() {
        let schema =
            json!({"type": "object", "properties": {"a": {}, "$b": {"type": "string"}}, "required": ["a", "$b"]});
        let sent = parameters(schema.as_object().unwrap(), |name| !name.starts_with('$'));
        let name = tool_names::property("$b");
        let expected =
            json!({"type": "object", "properties": {"a": {}, &name: {"type": "string"}}, "required": ["a", name]});
        assert_eq!(json!(sent), expected);
    }
}
