//! Tests of the lines that show differences.

use std::sync::Arc;

use serde_json::json;

use super::originals::original;
use super::*;

#[test]
fn drift_is_reported_tool_by_tool() {
    let project = project(TOML);
    let lock = lock(&project, 1);
    let entry = &lock.experts["librarian"];
    assert_eq!(entry.drift("index", &found().tools), []);
    let mut changed = search();
    changed.description = Some("Finds.".to_owned());
    changed.hints.read_only = false;
    let schema = Arc::make_mut(&mut changed.input_schema);
    schema["properties"]["q"]["minLength"] = json!(2);
    schema["properties"]["lang"] = json!({"type": "string"});
    schema.shift_remove("required");
    let live = [tool("index", "erase", json!({"type": "object"})), changed];
    let lines: Vec<String> = entry.drift("index", &live).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "skill index: tool search changed: description \"Does search.\" is now \"Finds.\"; hints [ReadOnly, OpenWorld] \
             are now [OpenWorld]; inputSchema.properties.q.minLength 1 is now 2; inputSchema.properties.lang is new; \
             inputSchema.required is gone",
            "skill index: tool count removed",
            "skill index: tool erase added",
        ]
    );
}

#[test]
fn two_locks_are_compared_line_by_line() {
    let before = project(TOML);
    let old = lock(&before, 1);
    assert_eq!(differences(&old, &lock(&before, 2)), Vec::<String>::new());
    let after = project(&TOML.replace("Quote", "Cite"));
    let mut now = found();
    now.tools.remove(2);
    now.protocols.insert("index".to_owned(), "2025-11-25".to_owned());
    let scribe = Definition::new(after.expert("scribe").unwrap(), None);
    let new = Lock::from_experts(
        Path::new("perstack.toml"),
        2,
        [(librarian(&after), &now), (scribe, &DiscoveredTools::default())],
    );
    assert_eq!(
        differences(&old, &new),
        [
            "expert librarian: changed: instruction",
            "expert librarian: skill index: protocol 2025-06-18 is now 2025-11-25",
            "expert librarian: skill index: tool count removed",
            "expert scribe added",
        ]
    );
    assert_eq!(differences(&edited(&old, "Quote", "Cite"), &old), ["expert librarian: the entry was changed by hand"]);
    // A lock of the original is as fresh here as it is to a run: by its skills' sources and their tools.
    assert_eq!(differences(&original(), &old), ["expert librarian: skill index: tool count added"]);
    let mut now = found();
    now.tools.retain(|tool| tool.name != "count");
    let same = Lock::from_experts(Path::new("perstack.toml"), 2, [(librarian(&before), &now)]);
    assert_eq!(differences(&original(), &same), Vec::<String>::new());
}
