//! [`is_closed`]: whether a schema leaves no room for free text, in which a stranger's words could travel.
//!
//! Numbers, booleans, `null`, values that the schema lists itself, and short texts of a pattern that holds no sentence.
//! Every doubt means no.

use std::collections::HashSet;

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use serde_json::{Map, Value};

/// Most characters of a patterned text. Our own choice: room for an id, a hash's beginning, a date or a version.
const MAX_TEXT: u64 = 64;
/// The characters besides letters and digits that a patterned text may have: none that parts words, as a space does.
const MARKS: &[u8] = b"-_.:/+@#";
/// Most schemas within each other, and in all, that are looked at.
const MAX_DEPTH: usize = 128;
const MAX_WORK: usize = 10_000;

/// Returns true if every document that is valid against `schema` holds values without free text alone.
pub(super) fn is_closed(schema: &Value) -> bool {
    // In older drafts other keywords beside a reference have no meaning.
    let is_present_draft =
        schema.get("$schema").is_none_or(|draft| draft.as_str().is_some_and(|it| it.contains("2020-12")));
    let judge = || Judge {
        root: schema,
        has_ids: has_embedded_ids(schema),
        under_way: HashSet::new(),
        depth: 0,
        left: MAX_WORK,
    };
    is_present_draft && judge().judge(schema)
}

struct Judge<'a> {
    root: &'a Value,
    has_ids: bool,
    depth: usize,
    /// Schemas that are still looked at: references may multiply them without end.
    left: usize,
    /// References that are being followed: a tree of closed values is closed.
    under_way: HashSet<&'a str>,
}

impl<'a> Judge<'a> {
    fn judge(&mut self, schema: &'a Value) -> bool {
        if self.depth >= MAX_DEPTH || self.left == 0 {
            return false;
        }
        (self.depth, self.left) = (self.depth + 1, self.left - 1);
        let is_closed = self.judge_here(schema);
        self.depth -= 1;
        is_closed
    }

    fn judge_here(&mut self, schema: &'a Value) -> bool {
        let keys = match schema {
            // No value is valid.
            Value::Bool(false) => return true,
            Value::Object(keys) => keys,
            _ => return false,
        };
        keys.contains_key("enum")
            || keys.contains_key("const")
            || self.refers(keys)
            || self.lists(keys, "allOf", |judge, all| all.iter().any(|one| judge.judge(one)))
            || self.lists(keys, "anyOf", |judge, all| all.iter().all(|one| judge.judge(one)))
            || self.lists(keys, "oneOf", |judge, all| all.iter().all(|one| judge.judge(one)))
            || self.types(keys)
    }

    fn refers(&mut self, keys: &'a Map<String, Value>) -> bool {
        let Some(reference) = keys.get("$ref").and_then(Value::as_str) else { return false };
        // Only by its place: an embedded `$id` could make the same text lead elsewhere.
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) else {
            return false;
        };
        if self.has_ids {
            return false;
        }
        if !self.under_way.insert(reference) {
            return true;
        }
        let is_closed = self.judge(target);
        self.under_way.remove(reference);
        is_closed
    }

    fn lists(
        &mut self,
        keys: &'a Map<String, Value>,
        keyword: &str,
        judge: impl FnOnce(&mut Self, &'a [Value]) -> bool,
    ) -> bool {
        keys.get(keyword).and_then(Value::as_array).is_some_and(|all| !all.is_empty() && judge(self, all))
    }

    fn types(&mut self, keys: &'a Map<String, Value>) -> bool {
        let names: Vec<&str> = match keys.get("type") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => return false,
        };
        !names.is_empty()
            && names.into_iter().all(|name| match name {
                "null" | "boolean" | "integer" | "number" => true,
                "string" => is_short_patterned(keys),
                "array" => self.items(keys),
                "object" => self.properties(keys),
                _ => false,
            })
    }

    fn items(&mut self, keys: &'a Map<String, Value>) -> bool {
        let first = match keys.get("prefixItems") {
            Some(first) => first.as_array().is_some_and(|first| first.iter().all(|item| self.judge(item))),
            None => true,
        };
        // As a list, it is an older draft's, in which further items are free.
        first && keys.get("items").is_some_and(|items| self.judge(items))
    }

    fn properties(&mut self, keys: &'a Map<String, Value>) -> bool {
        let is_shut =
            ["additionalProperties", "unevaluatedProperties"].iter().any(|key| keys.get(*key) == Some(&false.into()));
        let known = match keys.get("properties") {
            Some(known) => known.as_object().is_some_and(|known| known.values().all(|value| self.judge(value))),
            None => true,
        };
        // The names of other properties would be text, and `unevaluatedProperties` admits those of other keywords.
        let others = ["patternProperties", "allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "dependentSchemas"];
        is_shut && known && others.iter().all(|key| !keys.contains_key(*key))
    }
}

/// Returns true if a schema within `root` has an `$id` of its own.
fn has_embedded_ids(root: &Value) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::Object(keys) => {
                ["$id", "id"].iter().any(|key| keys.get(*key).is_some_and(Value::is_string))
                    || keys.values().any(within)
            }
            Value::Array(items) => items.iter().any(within),
            _ => false,
        }
    }
    match root {
        Value::Object(keys) => keys.values().any(within),
        _ => false,
    }
}

/// Returns true if the texts of a schema have a pattern from their beginning to their end, in which no word can be set
/// apart from the next, and are short.
fn is_short_patterned(keys: &Map<String, Value>) -> bool {
    let Some(pattern) = keys.get("pattern").and_then(Value::as_str) else { return false };
    // As the check reads it: the classes of ECMA-262 are those of ASCII.
    let Ok(pattern) = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern) else { return false };
    let properties = pattern.properties();
    let is_anchored =
        properties.look_set_prefix().contains(Look::Start) && properties.look_set_suffix().contains(Look::End);
    let most = keys.get("maxLength").and_then(Value::as_u64);
    let most = most.or(properties.maximum_len().and_then(|bytes| u64::try_from(bytes).ok()));
    is_anchored && most.is_some_and(|most| most <= MAX_TEXT) && holds_no_sentence(&pattern)
}

fn holds_no_sentence(pattern: &Hir) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || MARKS.contains(&byte);
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(text) => text.0.iter().all(|byte| is_plain(*byte)),
        HirKind::Class(Class::Bytes(class)) => {
            class.ranges().iter().all(|range| (range.start()..=range.end()).all(is_plain))
        }
        HirKind::Class(Class::Unicode(class)) => class.ranges().iter().all(|range| {
            let bytes = |c: char| u8::try_from(c).ok();
            bytes(range.start()).zip(bytes(range.end())).is_some_and(|(first, last)| (first..=last).all(is_plain))
        }),
        HirKind::Repetition(repetition) => holds_no_sentence(&repetition.sub),
        HirKind::Capture(capture) => holds_no_sentence(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(holds_no_sentence),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(of: &Value) -> Value {
        json!({"type": "object", "properties": {"x": of}, "additionalProperties": false})
    }

    #[test]
    fn values_without_free_text_are_closed() {
        for schema in [
            json!({"type": "integer"}),
            json!({"type": ["number", "null", "boolean"]}),
            json!({"enum": ["bug", "feature", "question that was asked before"]}),
            json!({"const": {"a": "text"}}),
            json!({"type": "string", "pattern": "^[A-Z]{2,5}-[0-9]+$", "maxLength": 20}),
            json!({"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}),
            json!({"type": "string", "pattern": "^(bug|feature)$"}),
            json!({"type": "array", "items": object(&json!({"type": "number"}))}),
            json!({"type": "array", "prefixItems": [{"type": "integer"}], "items": false}),
            json!({"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}], "$defs": {"n": {"type": "integer"}}}),
            json!({"type": "string", "allOf": [{"enum": ["a"]}]}),
            json!({"type": "object", "additionalProperties": false, "properties": {"id": {"$ref": "#/$defs/n"}},
                "$defs": {"n": {"type": "integer"}}}),
            json!({"type": "object", "additionalProperties": false, "properties": {
                "value": {"type": "integer"}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
            }}),
        ] {
            assert!(is_closed(&schema), "{schema}");
        }
    }

    #[test]
    fn room_for_free_text_is_found() {
        for schema in [
            json!({}),
            json!({"type": "string"}),
            json!({"type": "string", "maxLength": 10}),
            json!({"type": "string", "format": "date"}),
            json!({"type": "string", "pattern": "^[a-z]+$"}),
            json!({"type": "string", "pattern": "[a-z]", "maxLength": 20}),
            json!({"type": "string", "pattern": "^a|b$", "maxLength": 20}),
            json!({"type": "string", "pattern": "^.{1,20}$"}),
            json!({"type": "string", "pattern": "^[a-z ]{1,20}$"}),
            json!({"type": "string", "pattern": "^[^0-9]{1,20}$"}),
            json!({"type": "string", "pattern": r"^\S{1,20}$"}),
            json!({"type": "string", "pattern": "^[a-z]{1,500}$"}),
            json!({"type": "string", "pattern": "^(?=x)x$"}),
            json!({"type": "object", "properties": {"x": {"type": "integer"}}}),
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"type": "object", "additionalProperties": false, "patternProperties": {"": {"type": "integer"}}}),
            json!({"type": "object", "unevaluatedProperties": false, "allOf": [{"properties": {"x": true}}]}),
            object(&json!({"type": ["integer", "string"]})),
            json!({"type": "array"}),
            json!({"type": "array", "items": [{"type": "integer"}]}),
            json!({"type": "array", "items": {"type": "integer"}, "prefixItems": [{"type": "string"}]}),
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!({"not": {"type": "string"}}),
            json!({"minLength": 1}),
            json!({"$ref": "#/$defs/s", "$defs": {"s": {"type": "string"}}}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "$ref": "#/d", "enum": [1], "d": {"type": "string"}}),
            json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}, "o": {"$id": "https://x.example/o"}}}),
        ] {
            assert!(!is_closed(&schema), "{schema}");
        }
    }
}
