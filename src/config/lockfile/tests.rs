//! Tests of the lock's format, of damage to it, and of its use.

mod changes;
mod choice;
mod definitions;
mod damage;
mod format;
mod originals;

use serde_json::{Map, Value, json};

use super::*;
use crate::config::{Project, parse};
use crate::expert::{Expert, SkillSpec};
use crate::tool::{ToolHints, ToolKind, ToolSpec};

const TOML: &str = r#"
[experts.librarian]
version = "1.2.0"
description = "Finds passages."
instruction = """
Search the workspace.
Quote what you find.
"""
delegates = ["scribe"]
tags = ["search"]

[experts.librarian.skills."@perstack/base"]
type = "mcpStdioSkill"
command = "npx"
packageName = "@perstack/base"

[experts.librarian.skills.index]
type = "mcpStdioSkill"
command = "index-server"
args = ["--db", "index.db"]
requiredEnv = ["INDEX_KEY"]
omit = ["drop_index"]

[experts.librarian.skills.ask]
type = "interactiveSkill"
[experts.librarian.skills.ask.tools.choose]
inputJsonSchema = '{"type":"object"}'

[experts.scribe]
instruction = "Write."
"#;

fn project(text: &str) -> Project {
    parse(text, Path::new("perstack.toml")).unwrap()
}

fn schema(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("no object: {value}") };
    map
}

fn tool(skill: &str, name: &str, input_schema: Value) -> ToolSpec {
    ToolSpec {
        skill_name: skill.to_owned(),
        name: name.to_owned(),
        description: Some(format!("Does {name}.")),
        input_schema: schema(input_schema).into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }
}

fn search() -> ToolSpec {
    let input = json!({
        "type": "object",
        "properties": {
            "q": { "type": "string", "minLength": 1 },
            "sort": { "anyOf": [{ "type": "string", "enum": ["asc", null] }, { "type": "null" }], "default": null },
        },
        "required": ["q"],
    });
    let hints = ToolHints { read_only: true, open_world: true, ..ToolHints::default() };
    ToolSpec { hints, ..tool("index", "search", input) }
}

fn found() -> DiscoveredTools {
    let question = ToolSpec { kind: ToolKind::Interactive, ..tool("ask", "choose", json!({"type": "object"})) };
    let delegate = ToolSpec { kind: ToolKind::Delegate, ..tool("scribe", "scribe", json!({"type": "object"})) };
    DiscoveredTools {
        tools: vec![
            tool("@perstack/base", "readTextFile", json!({"type": "object"})),
            search(),
            tool("index", "count", json!({"type": "object", "additionalProperties": false})),
            question,
            delegate,
        ],
        protocols: [("index".to_owned(), "2025-06-18".to_owned())].into(),
        ..DiscoveredTools::default()
    }
}

fn librarian(project: &Project) -> Definition<'_> {
    Definition::new(project.expert("librarian").unwrap(), None)
}

fn lock(project: &Project, at: u64) -> Lock {
    Lock::from_experts(Path::new("/x/perstack.toml"), at, [(librarian(project), &found())])
}

fn text(lock: &Lock) -> String {
    toml::to_string_pretty(lock).unwrap()
}

fn stale(state: LockState<'_>) -> String {
    let LockState::Stale { reason } = state else { panic!("not stale: {state:?}") };
    reason
}

fn edited(lock: &Lock, from: &str, to: &str) -> Lock {
    let text = text(lock);
    assert!(text.contains(from), "{from:?} is not in:\n{text}");
    file::parse(&text.replace(from, to), Path::new("/x/perstack.lock")).unwrap()
}
