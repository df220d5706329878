//! The base tools' definitions: what a model reads of them, and what they promise.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::exec::{DEFAULT_TIMEOUT_MS, MAX_TIMEOUT_MS};
use crate::tool::{ToolHints, ToolKind, ToolSpec};

/// The draft of JSON Schema that all schemas are written in.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

const READS: ToolHints = ToolHints { read_only: true, idempotent: true, destructive: false, open_world: false };
/// A second time fails or does more: whether it was done must be known.
const ADDS: ToolHints = ToolHints { read_only: false, idempotent: false, destructive: false, open_world: false };
const DESTROYS: ToolHints = ToolHints { destructive: true, ..ADDS };
const OVERWRITES: ToolHints = ToolHints { idempotent: true, ..DESTROYS };
const ANYTHING: ToolHints = ToolHints { open_world: true, ..DESTROYS };

/// The tools that the state machine answers itself: `todo`, `clearTodo`, `attemptCompletion`.
pub(super) fn conversation(skill_name: &str) -> Vec<ToolSpec> {
    let tool = |name, description, properties| {
        let schema = schema(properties, &[]);
        ToolSpec { kind: ToolKind::Conversation, ..spec(skill_name, name, description, ADDS, schema) }
    };
    let mut completion = tool(
        "attemptCompletion",
        "Finish the task, with the final answer in result. While todos are open, they are returned \
         instead and the task goes on.",
        json!({ "result": { "type": "string", "description": "The final answer." } }),
    );
    Arc::make_mut(&mut completion.input_schema).insert("additionalProperties".to_owned(), Value::Bool(false));
    vec![
        tool(
            "todo",
            "Keep a list of tasks: add new ones, mark finished ones. Returns the whole list, each todo with its id. \
             Without arguments, only returns it.",
            json!({
                "newTodos": { "type": "array", "items": { "type": "string" }, "description": "Titles of tasks to add." },
                "completedTodos": {
                    "type": "array",
                    "items": { "type": "number" },
                    "description": "Ids of tasks that are finished.",
                },
            }),
        ),
        tool("clearTodo", "Empty the list of tasks.", json!({})),
        completion,
    ]
}

/// The tools that run.
pub(super) fn running(skill_name: &str) -> Vec<ToolSpec> {
    [processes(), text(), media(), files(), directories()]
        .into_iter()
        .flatten()
        .map(|tool| spec(skill_name, tool.0, tool.1, tool.2, schema(tool.3, tool.4)))
        .collect()
}

/// Name, description, promises, properties, required ones.
type Row = (&'static str, &'static str, ToolHints, Value, &'static [&'static str]);

fn processes() -> Vec<Row> {
    vec![
        (
            "exec",
            "Run one program and return its output. There is no shell: no pipes, wildcards or redirection, unless the \
             program is a shell itself. It is stopped after timeout milliseconds, together with all it started; \
             nothing stays running in the background. Long output is shortened in the middle.",
            ANYTHING,
            json!({
                "command": { "type": "string", "description": "The program: a name on PATH, or a path." },
                "args": { "type": "array", "items": { "type": "string" }, "description": "Its arguments, one by one; none when left out." },
                "env": {
                    "type": "object",
                    "additionalProperties": { "type": "string" },
                    "description": "Variables to add to its environment; none when left out.",
                },
                "cwd": { "type": "string", "description": "The directory to run in; the workspace when left out." },
                "stdout": { "type": "boolean", "description": "Whether to return its standard output; true when left out." },
                "stderr": { "type": "boolean", "description": "Whether to return its standard error; true when left out." },
                "timeout": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_TIMEOUT_MS,
                    "description": format!("Milliseconds; {DEFAULT_TIMEOUT_MS} when left out."),
                },
            }),
            &["command"],
        ),
        (
            "healthCheck",
            "Check that the tools work; returns the workspace, how long they have run, memory and process id.",
            READS,
            json!({}),
            &[],
        ),
    ]
}

fn text() -> Vec<Row> {
    vec![
        (
            "readTextFile",
            "Read a UTF-8 text file, or the lines from (inclusive) to to (exclusive), counted from 0. Long content is \
             shortened in the middle.",
            READS,
            json!({
                "path": path("The file."),
                "from": { "type": "integer", "minimum": 0, "description": "First line; 0 when left out." },
                "to": { "type": "integer", "minimum": 0, "description": "Line to stop before; the end when left out." },
            }),
            &["path"],
        ),
        (
            "writeTextFile",
            "Create a text file, or replace all of an existing one. Its directory must exist.",
            OVERWRITES,
            json!({ "path": path("The file."), "text": { "type": "string", "description": "The whole content." } }),
            &["path", "text"],
        ),
        (
            "appendTextFile",
            "Add text to the end of an existing file, as it is: begin with a line break where one is needed.",
            ADDS,
            json!({ "path": path("The file."), "text": { "type": "string", "description": "What to add." } }),
            &["path", "text"],
        ),
        (
            "editTextFile",
            "Replace the first place in a text file that matches oldText exactly, white space included. Line ends \
             stay as they are in the file.",
            DESTROYS,
            json!({
                "path": path("The file."),
                "newText": { "type": "string", "description": "What to put in its place." },
                "oldText": { "type": "string", "description": "What to replace." },
            }),
            &["path", "newText", "oldText"],
        ),
    ]
}

fn media() -> Vec<Row> {
    vec![
        (
            "readImageFile",
            "Look at an image: PNG, JPEG, GIF or WebP, at most 15 MiB.",
            READS,
            json!({ "path": path("The image.") }),
            &["path"],
        ),
        ("readPdfFile", "Read a PDF file of at most 30 MiB.", READS, json!({ "path": path("The file.") }), &["path"]),
    ]
}

fn files() -> Vec<Row> {
    vec![
        (
            "moveFile",
            "Move or rename a file. Nothing may be at the destination yet; its directory must exist.",
            ADDS,
            json!({ "source": path("The file."), "destination": path("Its new path.") }),
            &["source", "destination"],
        ),
        ("deleteFile", "Delete a file.", DESTROYS, json!({ "path": path("The file.") }), &["path"]),
        (
            "getFileInfo",
            "Return a file's or directory's type, size, times and permissions.",
            READS,
            json!({ "path": path("The file or directory.") }),
            &["path"],
        ),
    ]
}

fn directories() -> Vec<Row> {
    vec![
        (
            "listDirectory",
            "List what is in a directory, by name.",
            READS,
            json!({ "path": path("The directory; the workspace when left out.") }),
            &[],
        ),
        (
            "createDirectory",
            "Create a directory. Its parent must exist.",
            ADDS,
            json!({ "path": path("The directory.") }),
            &["path"],
        ),
        (
            "deleteDirectory",
            "Delete a directory: an empty one, or with recursive everything in it.",
            DESTROYS,
            json!({
                "path": path("The directory."),
                "recursive": { "type": "boolean", "description": "Whether to delete what is in it too." },
            }),
            &["path"],
        ),
    ]
}

fn path(what: &str) -> Value {
    json!({ "type": "string", "description": format!("{what} Relative to the workspace, or absolute within it.") })
}

fn schema(properties: Value, required: &[&str]) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), Value::from(DRAFT));
    schema.insert("type".to_owned(), Value::from("object"));
    schema.insert("properties".to_owned(), properties);
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::from(required));
    }
    schema
}

fn spec(
    skill_name: &str,
    name: &str,
    description: &str,
    hints: ToolHints,
    input_schema: Map<String, Value>,
) -> ToolSpec {
    ToolSpec {
        skill_name: skill_name.to_owned(),
        name: name.to_owned(),
        description: Some(description.to_owned()),
        input_schema: Arc::new(input_schema),
        kind: ToolKind::Mcp,
        hints,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::{BASE_SKILL, BASE_TOOLS, CONVERSATION_TOOLS};

    #[test]
    fn the_names_that_others_know_are_those_of_the_tools() {
        let names = |tools: Vec<ToolSpec>| tools.into_iter().map(|tool| tool.name).collect::<Vec<_>>();
        assert_eq!(names(conversation(BASE_SKILL)), CONVERSATION_TOOLS);
        assert_eq!([names(conversation(BASE_SKILL)), names(running(BASE_SKILL))].concat(), BASE_TOOLS);
    }
}
