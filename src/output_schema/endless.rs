//! [`circle`]: schemas that lead back to themselves without a step into the document, so that they ask for nothing: `a` is
//! what `b` is, and `b` is what `a` is. One that refers to itself below a property or an item describes a tree, and is
//! honest.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Keywords with a schema for the same value.
const ONE: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords with several.
const SEVERAL: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords with several under names.
const NAMED: [&str; 2] = ["dependentSchemas", "dependencies"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The reference of `root` that closes a circle; `None` when there is none.
pub(super) fn circle(root: &Value) -> Option<String> {
    let mut search = Search { root, anchors: HashMap::new(), seen: HashMap::new() };
    let mut starts = Vec::new();
    collect(root, &mut starts, &mut search.anchors);
    starts.into_iter().find_map(|start| search.visit(start))
}

/// Collects every object that may be a schema, and the anchors.
fn collect<'a>(value: &'a Value, found: &mut Vec<&'a Value>, anchors: &mut HashMap<&'a str, &'a Value>) {
    match value {
        Value::Object(keys) => {
            if REFERENCES.iter().any(|keyword| keys.get(*keyword).is_some_and(Value::is_string)) {
                found.push(value);
            }
            for keyword in ["$anchor", "$dynamicAnchor"] {
                if let Some(name) = keys.get(keyword).and_then(Value::as_str) {
                    anchors.entry(name).or_insert(value);
                }
            }
            keys.values().for_each(|value| collect(value, found, anchors));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, found, anchors)),
        _ => {}
    }
}

struct Search<'a> {
    root: &'a Value,
    anchors: HashMap<&'a str, &'a Value>,
    /// By address: true once all behind it was looked at.
    seen: HashMap<*const Value, bool>,
}

/// A step of the search: into a schema, with the reference that led there, or out of it again.
enum Visit<'a> {
    Enter(&'a Value, Option<&'a str>),
    Leave(&'a Value),
}

impl<'a> Search<'a> {
    /// Without recursion: a file may hold a very long chain.
    fn visit(&mut self, start: &'a Value) -> Option<String> {
        let mut steps = vec![Visit::Enter(start, None)];
        while let Some(step) = steps.pop() {
            match step {
                Visit::Leave(schema) => {
                    self.seen.insert(std::ptr::from_ref(schema), true);
                }
                Visit::Enter(schema, reference) => match self.seen.get(&std::ptr::from_ref(schema)) {
                    Some(true) => {}
                    Some(false) => return Some(reference.unwrap_or("#").to_owned()),
                    None => {
                        self.seen.insert(std::ptr::from_ref(schema), false);
                        steps.push(Visit::Leave(schema));
                        if let Some(keys) = schema.as_object() {
                            self.next(keys, &mut steps);
                        }
                    }
                },
            }
        }
        None
    }

    /// The schemas that apply to the same value.
    fn next(&self, keys: &'a Map<String, Value>, steps: &mut Vec<Visit<'a>>) {
        let within = ONE.iter().filter_map(|keyword| keys.get(*keyword));
        let several = SEVERAL.iter().filter_map(|keyword| keys.get(*keyword)?.as_array()).flatten();
        let named = NAMED.iter().filter_map(|keyword| keys.get(*keyword)?.as_object()).flat_map(Map::values);
        steps.extend(within.chain(several).chain(named).map(|schema| Visit::Enter(schema, None)));
        for reference in REFERENCES.iter().filter_map(|keyword| keys.get(*keyword)?.as_str()) {
            steps.extend(self.target(reference).map(|schema| Visit::Enter(schema, Some(reference))));
        }
    }

    /// The schema that a reference within this document leads to.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let own = self.root.get("$id").and_then(Value::as_str).unwrap_or_default();
        let fragment = match reference.split_once('#') {
            Some((document, fragment)) if document.is_empty() || document == own => fragment,
            None if reference == own => "",
            _ => return None,
        };
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(fragment);
        }
        self.anchors.get(fragment).copied()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn circles_are_found() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}),
            json!({"anyOf": [{"type": "null"}, {"not": {"$ref": "#"}}]}),
            json!({"properties": {"x": {"$ref": "#/properties/x"}}}),
            json!({"$dynamicRef": "#n", "$dynamicAnchor": "n"}),
            json!({"$id": "https://x.example/r", "if": {"$ref": "https://x.example/r"}}),
            json!({"dependentSchemas": {"a": {"$ref": "#"}}}),
        ] {
            assert!(circle(&schema).is_some(), "{schema}");
        }
    }

    #[test]
    fn trees_and_long_chains_are_none() {
        let tree = json!({"properties": {"of": {"items": {"$ref": "#"}}, "next": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}});
        assert_eq!(circle(&tree), None);
        let twice =
            json!({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "string"}}});
        assert_eq!(circle(&twice), None);
        let mut chain: Map<String, Value> =
            (0..2000).map(|at| (at.to_string(), json!({"$ref": format!("#/$defs/{}", at + 1)}))).collect();
        chain.insert("2000".to_owned(), json!({"type": "string"}));
        assert_eq!(circle(&json!({"$ref": "#/$defs/0", "$defs": chain})), None);
    }
}
