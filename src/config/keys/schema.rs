//! [`schema`]: the JSON Schema of `perstack.toml`, for editors and other checkers. The command line prints it, and a test
//! holds it equal to the readers' judgement.
//!
//! It declares draft 2020-12 and uses only what draft 7 reads alike, as the TOML extensions of editors do not know more:
//! no `$ref` beside other keywords, no `prefixItems`, no `unevaluatedProperties`.

use serde_json::{Map, Value, json};

use super::tables::TOP;
use super::{ConfigKey, KeyKind, KeyTable, KeyUnion, Presence, TextForm};
use crate::cost::Cost;

/// The schema's usual file name.
pub const SCHEMA_FILE: &str = "perstack.schema.json";

/// The line at a `perstack.toml`'s top by which editors find the schema in a file beside it.
pub const SCHEMA_LINE: &str = "#:schema ./perstack.schema.json";

/// The JSON Schema (draft 2020-12) of `perstack.toml`, included files among them. Keys that `perstack check` would refuse
/// are refused.
pub fn schema() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "Declarative AI experts and how to run them. docs/reference/keys.md of the source has the same keys.",
    });
    if let (Value::Object(schema), Value::Object(root)) = (&mut schema, table(&TOP, Map::new(), &[])) {
        schema.extend(root);
    }
    schema
}

/// A table: `properties` and `required` are those of its keys, after the given ones.
fn table(table: &KeyTable, mut properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut required = required.to_vec();
    for key in table.keys() {
        properties.insert(key.name.to_owned(), property(key));
        if key.presence == Presence::Required {
            required.push(key.name);
        }
    }
    let mut schema =
        json!({ "title": table.title, "type": "object", "properties": properties, "additionalProperties": false });
    let rules = (table.rules)();
    for (keyword, values) in [("required", json!(required)), ("allOf", json!(rules))] {
        if values.as_array().is_some_and(|values| !values.is_empty()) {
            insert(&mut schema, keyword, values);
        }
    }
    schema
}

fn property(key: &ConfigKey) -> Value {
    let mut schema = value(&key.kind);
    let description = match &key.kind {
        KeyKind::Form(form) | KeyKind::FormOrWhole(form, _) => format!("{} Form: {}.", key.doc, form.words),
        _ => key.doc.to_owned(),
    };
    insert(&mut schema, "description", description.into());
    if let Some(default) = toml::from_str::<toml::Table>(&format!("default = {}", key.default)).ok().and_then(json_of) {
        insert(&mut schema, "default", default);
    }
    if key.presence == Presence::Obsolete {
        // Old files have any value there.
        schema = json!({ "description": key.doc, "deprecated": true });
    }
    schema
}

/// The value of `default` in a table, as JSON.
fn json_of(mut table: toml::Table) -> Option<Value> {
    serde_json::to_value(table.remove("default")?).ok()
}

fn value(kind: &KeyKind) -> Value {
    match kind {
        KeyKind::Flag => json!({ "type": "boolean" }),
        KeyKind::Whole(range) => json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() }),
        KeyKind::Dollars => {
            let most = Cost::from_picodollars(u64::MAX).usd();
            json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": most })
        }
        KeyKind::Text(length) => {
            let mut schema = json!({ "type": "string" });
            if *length.start() > 0 {
                insert(&mut schema, "minLength", (*length.start()).into());
            }
            if *length.end() < usize::MAX {
                insert(&mut schema, "maxLength", (*length.end()).into());
            }
            schema
        }
        KeyKind::Form(form) => text_form(form),
        KeyKind::FormOrWhole(form, range) => {
            let number = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
            json!({ "anyOf": [text_form(form), number] })
        }
        KeyKind::Choice(words) => json!({ "enum": words() }),
        KeyKind::ChoiceOrWhole(words, range) => {
            let number = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
            json!({ "anyOf": [{ "enum": words() }, number] })
        }
        KeyKind::Suggestion(words) => json!({ "anyOf": [{ "enum": words() }, { "type": "string" }] }),
        KeyKind::List(kind) => json!({ "type": "array", "items": value(kind) }),
        KeyKind::Map(names, kind) => {
            let mut schema = json!({ "type": "object", "additionalProperties": value(kind) });
            if let Some(names) = names {
                insert(&mut schema, "propertyNames", text_form(names));
            }
            schema
        }
        KeyKind::Table(keys) => table(keys, Map::new(), &[]),
        KeyKind::JsonSchema => json!({ "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "object" }] }),
        KeyKind::Tagged(union) => tagged(union),
    }
}

fn text_form(form: &TextForm) -> Value {
    let mut schema = json!({ "type": "string", "pattern": form.pattern, "examples": [form.example] });
    if let Some(longest) = form.longest {
        insert(&mut schema, "maxLength", longest.into());
    }
    schema
}

fn tagged(union: &KeyUnion) -> Value {
    let case = |(word, keys): (&str, &KeyTable)| {
        let tag = json!({ "enum": [word], "description": union.doc });
        table(keys, Map::from_iter([(union.tag.to_owned(), tag)]), &[union.tag])
    };
    json!({ "type": "object", "oneOf": (union.cases)().into_iter().map(case).collect::<Vec<_>>() })
}

fn insert(schema: &mut Value, keyword: &str, value: Value) {
    if let Value::Object(schema) = schema {
        schema.insert(keyword.to_owned(), value);
    }
}
