//! The tools of a rough server, as it lists them.

use serde_json::{Value, json};

use crate::fault::{Faults, List};

/// What the rough server can be asked to do.
const TOOLS: [(&str, &str); 16] = [
    ("echo", "Says what it is told"),
    ("refuse", "Answers with a protocol error"),
    ("hang", "Never answers"),
    ("die", "Ends the server"),
    ("dieOnce", "Ends the server at the first call, works at later ones"),
    ("readDyingOnce", "The same, and says of itself that it only reads"),
    ("flood", "Returns as many bytes as it is told"),
    ("slow", "Takes its steps with pauses, and reports progress"),
    ("stall", "Reports progress once, and never answers"),
    ("babble", "Writes lines that are no messages before its answer"),
    ("misaddress", "Answers to a call that nobody made, then to this one"),
    ("odd", "Returns contents of no known kind, and halves of known ones"),
    ("nothing", "Returns no content"),
    ("elicit", "Asks the user"),
    ("sample", "Asks the model"),
    ("roots", "Asks for the client's roots"),
];

/// The answer to one `tools/list`, or an error's message; `None` for no answer.
pub fn page(faults: &Faults, cursor: Option<&str>, has_grown: bool) -> Option<Result<Value, &'static str>> {
    let page = match faults.list {
        List::Hang => return None,
        List::Refuse => return Some(Err("the catalogue is closed")),
        List::None => json!({"tools": []}),
        List::Fine => json!({"tools": all(faults)}),
        List::Pages => pages(faults, cursor),
        List::Endless => {
            let number: u64 = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            json!({"tools": [tool(&format!("echo{number}"), "One of many")], "nextCursor": (number + 1).to_string()})
        }
        List::Odd => json!({"tools": odd()}),
        List::Growing => {
            let mut tools = vec![tool("echo", "Says what it is told"), tool("grow", "Adds a tool")];
            if has_grown {
                tools.push(tool("grown", "Was not there before"));
            }
            json!({"tools": tools})
        }
    };
    Some(Ok(page))
}

fn all(faults: &Faults) -> Vec<Value> {
    let mut tools: Vec<Value> = TOOLS.iter().map(|(name, description)| tool(name, description)).collect();
    if let Some(name) = &faults.first_tool {
        tools[0]["name"] = json!(name);
    }
    tools
}

/// Three pages: one tool, one tool, the rest.
fn pages(faults: &Faults, cursor: Option<&str>) -> Value {
    let all = all(faults);
    match cursor {
        None => json!({"tools": all[..1], "nextCursor": "second"}),
        Some("second") => json!({"tools": all[1..2], "nextCursor": "third ✓"}),
        Some("third ✓") => json!({"tools": all[2..]}),
        Some(other) => panic!("no such page: {other}"),
    }
}

fn odd() -> Vec<Value> {
    let with = |name: &str, schema: Value| json!({"name": name, "inputSchema": schema});
    vec![
        tool("echo", "Says what it is told"),
        with("untyped", json!({"type": "string"})),
        with("listed", json!({"type": ["object"], "properties": 7})),
        tool("find owls!", "Has a name with a space"),
        tool("", "Has no name"),
        tool(&"long".repeat(60), "Has a name of 240 letters"),
        tool("echo", "Comes twice"),
        json!({"name": "bare", "inputSchema": {"type": "object"}}),
    ]
}

/// A tool that takes anything. Some say of themselves that they change nothing.
fn tool(name: &str, description: &str) -> Value {
    let is_reading = name.starts_with("echo") || name.starts_with("read");
    json!({
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
        "annotations": {"readOnlyHint": is_reading, "destructiveHint": !is_reading},
    })
}
