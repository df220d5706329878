//! [`messages`]: the way from a server's output to tools and results, without a server. Called by the fuzz target of MCP
//! messages alone; the running of servers is left to the rest of the folder.

use serde_json::{Map, Value};

use super::connection::Listing;
use super::{dialect, result, tools};
use crate::expert::SkillCommon;
use crate::redact::Redactor;
use crate::skill::output::Outputs;
use crate::tool::ToolCall;

/// Most bytes of a result's text that reach the model: small, so that the fuzzer exceeds it.
const MAX_OUTPUT: usize = 256;

/// Reads `bytes` as lines of a server's standard output, and each result in them as a list of tools and as a call's.
pub fn messages(bytes: &[u8]) {
    let outputs = Outputs::new(MAX_OUTPUT);
    let common = SkillCommon { name: "server".to_owned(), ..SkillCommon::default() };
    for message in bytes.split(|byte| *byte == b'\n').flat_map(dialect::messages) {
        let Ok(Value::Object(message)) = serde_json::to_value(&message) else { continue };
        let Some(answer) = message.get("result") else { continue };
        if let Some(Value::Array(listed)) = answer.get("tools") {
            tools::read(Listing { tools: listed.clone(), is_cut: false }, &common);
        }
        let call = ToolCall {
            id: "c".to_owned(),
            skill_name: common.name.clone(),
            tool_name: "tool".to_owned(),
            args: Map::new(),
        };
        result::read(&call, answer, &outputs.of_call("tool", &Redactor::default()), None);
    }
}
