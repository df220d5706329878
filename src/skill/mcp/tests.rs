//! Whole skills against small servers: shell scripts that answer what this client is known to ask.

mod local;
mod locked;
mod questions;
mod requests;
mod web;

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Era};
use super::connection::{CallFailure, Connection, ConnectionFailure, Patience};
use super::health::Health;
use super::server_requests::Replies;
use super::stdio::StdioTransport;
use super::*;
use crate::content::Content;
use crate::skill::output::DEFAULT_LIMIT;

/// The notices of a skill, in order.
type SeenNotices = Arc<Mutex<Vec<SkillNotice>>>;

fn listen() -> (Notices, SeenNotices) {
    let seen = SeenNotices::default();
    let sink = Arc::clone(&seen);
    (Arc::new(move |notice| sink.lock().unwrap().push(notice)), seen)
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let path = [("PATH", "/usr/local/bin:/usr/bin:/bin")];
    path.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn call(tool: &str, args: Value) -> ToolCall {
    let Value::Object(args) = args else { panic!("arguments are an object") };
    ToolCall { id: "c1".parse().unwrap(), skill_name: "s".to_owned(), tool_name: tool.to_owned(), args }
}

fn texts(result: &ToolResult) -> String {
    result.result.iter().filter_map(Content::as_text).collect::<Vec<_>>().join("\n")
}

async fn ask(skill: &Arc<McpSkill>, tool: &str) -> ToolResult {
    let call = call(tool, json!({}));
    Arc::clone(skill).call(call, CancellationToken::new()).await
}

/// The answer to `initialize`.
fn greeting() -> Value {
    json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
        "serverInfo": {"name": "fake", "version": "7"}})
}

/// A list of tools that all look alike.
fn listing(names: &[&str]) -> Value {
    let tools: Vec<Value> = names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
    json!({ "tools": tools })
}

fn text_result(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn response(id: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

fn names(tools: &[ToolSpec]) -> Vec<&str> {
    tools.iter().map(|tool| tool.name.as_str()).collect()
}

fn no_arguments() -> Map<String, Value> {
    Map::new()
}
