//! The calls of a job that is disturbed. Those that take effect each time they are made add their own id to `lines.txt`.

use serde_json::json;

use crate::support::answer::{Call, call};

/// Takes effect, by a tool of the base skill.
pub fn append(id: &str) -> Call {
    call(id, "appendTextFile", json!({"path": "lines.txt", "text": format!("{id}\n")}))
}

/// Takes effect, by a command.
pub fn shell(id: &str) -> Call {
    let script = format!("echo {id} >> lines.txt; echo heard");
    let arguments = json!({
        "command": "sh", "args": ["-c", script], "env": {}, "cwd": ".", "stdout": true, "stderr": true,
    });
    call(id, "exec", arguments)
}

/// May be made again: it writes the same each time.
pub fn write(id: &str, text: &str) -> Call {
    call(id, "writeTextFile", json!({"path": "notes.txt", "text": text}))
}

/// Only reads.
pub fn read(id: &str, path: &str) -> Call {
    call(id, "readTextFile", json!({"path": path}))
}
