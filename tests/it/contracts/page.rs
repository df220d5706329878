//! `docs/events.md`, made of the schema of events and of events from real runs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

const HEAD: &str = "# Events

Made from the types and from real runs; a test keeps this page current
(`UPDATE_DOCS=1 cargo test --test it contracts` writes it anew).

`perstack run … --output jsonl` prints one event a line, as it happens ([Scripts and CI](scripts.md#events)). The same shapes as
JSON Schemas (draft 2020-12):

| what | schema | version |
| --- | --- | --- |
| events | `perstack schema events`, [events.schema.json](events.schema.json) | `schemaVersion`, on every event |
| the object of `--output json` | `perstack schema result`, [result.schema.json](result.schema.json) | `schemaVersion` |
| the object of `--dry-run --output json` | `perstack schema dry-run`, [dry-run.schema.json](dry-run.schema.json) | `schemaVersion` |
| `job.json` | `perstack schema job`, [job.schema.json](job.schema.json) | `formatVersion` |
| checkpoint files | `perstack schema checkpoint`, [checkpoint.schema.json](checkpoint.schema.json) | `formatVersion` |
| the object of `perstack test --output json` | `perstack schema tests`, [tests.schema.json](tests.schema.json) | `schemaVersion` |

Within one version fields and types of events are only added. So a reader passes over what it does not know. A field that is
marked as optional is absent where there is nothing to report.

## Shapes and their versions

- Events, `schemaVersion` 1: the events and fields of the TypeScript version, with `schemaVersion` and `sequence` on events and
  `cost` and `costIsComplete` beside each `usage`. Further types: `contextSummarized`, `decideToolCalls`, `fallBack`, `refuseAnswer`,
  `stopRunByCancellation`, `stopRunByBudget`, `skillProgress`, `runtimeWarning`; later `startVerification`, `finishVerification`,
  `stopRunByVerification`.
- Result, `schemaVersion` 1. An object without `schemaVersion` is one of before the field was added, and has the other fields.
  `fallback` is there where a fallback answered.
- Results of tests, `schemaVersion` 1. Earlier ones have `passed`, `failed` and `cases` with their `failures` and numbers alone; a
  case without `status` has passed when it has no failures.
- Files, `formatVersion` 1. A file without it is one of the TypeScript version, and is read as well.
";

/// Events that no run here has.
const WITHOUT_EXAMPLE: [&str; 1] = ["proxyAccess"];

/// The page.
pub fn page(schema: &Value, events: &[Value]) -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n## Fields of every event\n\n");
    page.push_str(&table(schema, &["type"]));
    page.push_str("\nTexts and lists of the examples below are shortened, ids, times and durations are made up.\n");
    for variant in schema["oneOf"].as_array().unwrap() {
        let kind = variant["properties"]["type"]["const"].as_str().unwrap();
        let comes = variant["description"].as_str().unwrap_or_else(|| panic!("{kind} has no description"));
        let _ = write!(page, "\n## {kind}\n\n{comes}\n\n{}", table(variant, &["type"]));
        if let Some(example) = events.iter().find(|event| event["type"] == kind) {
            let _ = write!(page, "\n```json\n{:#}\n```\n", settled("", example));
        } else {
            assert!(WITHOUT_EXAMPLE.contains(&kind), "no scenario has a {kind}");
        }
    }
    page.push_str("\n## Objects within events\n");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let about = definition["description"].as_str().unwrap_or_default();
        let _ = write!(page, "\n### {name}\n\n{about}\n");
        if definition.get("properties").is_some() {
            let _ = write!(page, "\n{}", table(definition, &[]));
        }
        page.push_str(&variants(definition));
    }
    page
}

/// The fields of an object, but for some; nothing if there are none.
fn table(schema: &Value, but: &[&str]) -> String {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields =
        schema["properties"].as_object().into_iter().flatten().filter(|(name, _)| !but.contains(&name.as_str()));
    let rows: Vec<String> = fields
        .map(|(name, field)| {
            let optional = if required.contains(&name.as_str()) { "" } else { ", optional" };
            let about = field["description"].as_str().unwrap_or_default().replace('|', "\\|");
            format!("| `{name}` | {}{optional} | {about} |\n", kind(field)).replace("|  |", "| |")
        })
        .collect();
    let rows = rows.concat();
    if rows.is_empty() {
        "No further fields.\n".to_owned()
    } else {
        format!("| field | type | |\n| --- | --- | --- |\n{rows}")
    }
}

/// The kinds that a value may be of.
fn variants(definition: &Value) -> String {
    let kinds = ["oneOf", "anyOf"].iter().filter_map(|key| definition[*key].as_array()).flatten();
    let mut text = String::new();
    for variant in kinds {
        let about = variant["description"].as_str().map(|about| format!(": {about}")).unwrap_or_default();
        let tag = ["type", "kind"].iter().find_map(|tag| variant["properties"][*tag]["const"].as_str());
        let fields = variant["properties"].as_object().into_iter().flatten();
        let fields: Vec<String> = fields
            .filter(|(name, field)| field.get("const").is_none() && *name != "type")
            .map(|(name, field)| format!("`{name}` ({})", kind(field)))
            .collect();
        let fields = if fields.is_empty() { String::new() } else { format!(" Fields: {}.", fields.join(", ")) };
        let words: Vec<String> = match (tag, variant["enum"].as_array(), variant["const"].as_str()) {
            (Some(tag), ..) | (None, None, Some(tag)) => vec![format!("`{tag}`")],
            (None, Some(words), _) => words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect(),
            (None, None, None) => vec![kind(variant)],
        };
        let _ = writeln!(text, "- {}{about}{fields}", words.join(", "));
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// The type of a field, in words.
fn kind(field: &Value) -> String {
    if let Some(reference) = field["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(either) = field["anyOf"].as_array() {
        let kinds: Vec<String> = either.iter().filter(|one| one["type"] != "null").map(kind).collect();
        return kinds.join(" or ");
    }
    let named = match &field["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default(),
        _ => "any value",
    };
    match named {
        "array" => format!("array of {}", kind(&field["items"])),
        named => named.to_owned(),
    }
}

/// A value that is the same in each run, and short. `key` is the field that it is in.
fn settled(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            // Only some systems lack something.
            let fields = fields.iter().filter(|(key, _)| *key != "lacking");
            Value::Object(fields.map(|(key, value)| (key.clone(), settled(key, value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().take(1).map(|item| settled(key, item)).collect(),
        Value::String(text) => json!(settled_text(key, text)),
        Value::Number(_) => match key {
            "timestamp" | "startedAt" | "finishedAt" => json!(1_764_201_600_000_u64),
            "delayMs" => json!(1000),
            // Sizes of requests, which have the folder's path.
            "next" => json!(5_750),
            "tokensBefore" => json!(18_250),
            "tokensAfter" => json!(6_120),
            "durationMs" => json!(12),
            key if key.ends_with("DurationMs") => json!(12),
            _ => value.clone(),
        },
        Value::Bool(_) if key == "inForce" => json!(true),
        _ => value.clone(),
    }
}

fn settled_text(key: &str, text: &str) -> String {
    const ID: &str = "01a20244-7d8b-7008-bd08-3365e99a00b3";
    let is_id = text.len() == ID.len() && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    match key {
        _ if is_id => ID.to_owned(),
        "command" => "/usr/local/bin/owls".to_owned(),
        // Pieces are as long as the machine is fast.
        "delta" => text.chars().take(2).chain(['…']).collect(),
        _ if text.chars().count() > 60 => text.chars().take(59).collect::<String>().trim_end().to_owned() + "…",
        _ => text.to_owned(),
    }
}
