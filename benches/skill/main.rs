//! An MCP server over stdio: `skill NUMBER TOOLS MILLISECONDS`. It offers this many tools with its number in their
//! names, all of which answer at once, and goes on for this long after its input has ended.
//!
//! <https://modelcontextprotocol.io/specification/2025-11-25>

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

const VERSION: &str = "2025-11-25";
/// JSON-RPC's code for a method that is not there.
const NO_SUCH_METHOD: i32 = -32601;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>().map_err(io::Error::other));
    let mut argument = || arguments.next().ok_or_else(|| io::Error::other("usage: skill NUMBER TOOLS MILLISECONDS"))?;
    let (own, tools) = (argument()?, argument()?);
    let lingering = Duration::from_millis(argument()?);
    for line in io::stdin().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if let Some(id) = message.get("id") {
            let mut answer = json!({"jsonrpc": "2.0", "id": id});
            let (key, value) = match message.get("method").and_then(Value::as_str) {
                Some("initialize") => (
                    "result",
                    json!({"protocolVersion": VERSION, "capabilities": {"tools": {}},
                    "serverInfo": {"name": "books", "version": "1.0.0"}}),
                ),
                Some("tools/list") => {
                    ("result", json!({"tools": (0..tools).map(|number| tool(own, number)).collect::<Vec<_>>()}))
                }
                Some("tools/call") => ("result", json!({"content": [{"type": "text", "text": "tawny"}]})),
                Some("ping") => ("result", json!({})),
                _ => ("error", json!({"code": NO_SUCH_METHOD, "message": "no such method"})),
            };
            if let Some(answer) = answer.as_object_mut() {
                answer.insert(key.to_owned(), value);
            }
            let mut out = io::stdout().lock();
            writeln!(out, "{answer}")?;
            out.flush()?;
        }
    }
    thread::sleep(lingering);
    Ok(())
}

/// A tool with a schema of usual size.
fn tool(own: u64, number: u64) -> Value {
    json!({
        "name": format!("find_{own}_{number}"),
        "description": format!("Finds the passages of shelf {number} that have all of the given words."),
        "annotations": {"readOnlyHint": true},
        "inputSchema": {"type": "object", "required": ["words"], "properties": {
            "words": {"type": "array", "items": {"type": "string"}, "description": "Words that have to be there"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "At most this many passages"},
            "order": {"type": "string", "enum": ["page", "date", "relevance"], "description": "What comes first"},
        }},
    })
}
