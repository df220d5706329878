//! A server whose tools leave traces: `add` appends its text as a line to a file, `put` makes its text all that another
//! file holds, `look` only says what it is told.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

/// Serves the client at standard input and output; `file` is what `add` appends to, `FILE.put` what `put` writes.
pub fn over_stdio(file: &Path) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let message: Value = serde_json::from_str(&line).expect("clients speak JSON");
        let Some(id) = message.get("id") else { continue };
        let mut answer = match message["method"].as_str() {
            Some("initialize") => json!({"id": id, "result": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "effects", "version": "1.0.0"},
            }}),
            Some("tools/list") => json!({"id": id, "result": {"tools": tools()}}),
            Some("tools/call") => {
                let text = call(file, &message["params"]);
                json!({"id": id, "result": {"content": [{"type": "text", "text": text}]}})
            }
            _ => json!({"id": id, "error": {"code": -32601, "message": "no such method"}}),
        };
        answer["jsonrpc"] = json!("2.0");
        let mut out = std::io::stdout().lock();
        // A client that has gone away is noticed at the end of standard input.
        let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
    }
}

fn tools() -> Vec<Value> {
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}});
    let tool = |name: &str, description: &str| {
        json!({
            "name": name, "description": description, "inputSchema": schema,
            "annotations": {"readOnlyHint": name == "look"},
        })
    };
    vec![tool("add", "Appends a line"), tool("put", "Replaces a file"), tool("look", "Says what it is told")]
}

fn call(file: &Path, params: &Value) -> String {
    let text = params["arguments"]["text"].as_str().expect("a text");
    match params["name"].as_str() {
        Some("add") => {
            let mut file = OpenOptions::new().create(true).append(true).open(file).expect("a file");
            // In one call: two servers of one test may come to the same file.
            file.write_all(format!("{text}\n").as_bytes()).expect("a line in the file");
        }
        Some("put") => fs::write(file.with_extension("put"), text).expect("a file"),
        Some("look") => {}
        other => panic!("no such tool: {other:?}"),
    }
    format!("done: {text}")
}
