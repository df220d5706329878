//! What Anthropic's Messages endpoint refuses.

use serde_json::Value;

use super::super::request::{Request, list, text_at};
use super::{Given, Review};

/// Explicit cache breakpoints in one request.
const MAX_BREAKPOINTS: usize = 4;
/// What a tool of the server's own found.
const SERVER_RESULT: &str = "web_search_tool_result";
/// Tokens; the least that may be given to thinking.
const MIN_BUDGET: u64 = 1024;

pub(super) fn check(request: &Request, given: &Given, review: &mut Review) {
    let body = &request.body;
    let version = request.header("anthropic-version");
    review.demand(version == Some("2023-06-01"), || format!("anthropic-version is {version:?}"));
    review.content(&body["system"], &["text"], "system");
    check_limits(body, review);
    // Tools of the server's own have a type and no schema.
    let ours = list(&body["tools"]).iter().filter(|tool| tool["type"].is_null());
    review.tools(ours.map(|tool| (text_at(tool, "/name"), &tool["input_schema"])));
    let breakpoints = count_breakpoints(body);
    review.demand(breakpoints <= MAX_BREAKPOINTS, || format!("{breakpoints} cache breakpoints"));

    let messages = list(&body["messages"]);
    review.demand(!messages.is_empty(), || "no messages".to_owned());
    let mut expected = "user";
    for (number, message) in messages.iter().enumerate() {
        let place = format!("message {number}");
        let role = text_at(message, "/role");
        review.demand(role == expected, || format!("{place} is the {role}'s, not the {expected}'s"));
        if role == "assistant" {
            review.settle(&place);
            assistant(message, given, review, &place);
            expected = "user";
        } else {
            user(message, review, &place);
            expected = "assistant";
        }
    }
    review.settle("the end");
    let is_paused = messages.last().is_some_and(|last| list(&last["content"]).iter().any(is_server_call));
    review.demand(expected == "assistant" || is_paused, || "the last message is the assistant's".to_owned());
}

fn check_limits(body: &Value, review: &mut Review) {
    let max_tokens = body["max_tokens"].as_u64().unwrap_or(0);
    review.demand(max_tokens > 0, || "no max_tokens".to_owned());
    if body["thinking"]["type"] == "enabled" {
        let budget = body["thinking"]["budget_tokens"].as_u64().unwrap_or(0);
        review.demand(budget >= MIN_BUDGET, || format!("a thinking budget of {budget}"));
        review.demand(budget < max_tokens, || format!("a thinking budget of {budget} of {max_tokens} tokens"));
        let choice = text_at(body, "/tool_choice/type");
        review.demand(!matches!(choice, "any" | "tool"), || "a forced tool while thinking".to_owned());
        review.demand(body["temperature"].is_null() || body["temperature"] == 1, || {
            "a temperature while thinking".to_owned()
        });
    }
}

fn user(message: &Value, review: &mut Review, place: &str) {
    review.content(&message["content"], &["text", "image", "document", "tool_result"], place);
    let mut others = false;
    for block in list(&message["content"]) {
        if block["type"] == "tool_result" {
            review.demand(!others, || format!("{place} has a tool result after other content"));
            review.result(text_at(block, "/tool_use_id"));
            let content = &block["content"];
            if content.as_array().is_some_and(|parts| !parts.is_empty()) {
                review.content(content, &["text", "image", "document"], &format!("a tool result of {place}"));
            }
        } else {
            others = true;
        }
    }
    review.settle(&format!("the end of {place}"));
}

fn assistant(message: &Value, given: &Given, review: &mut Review, place: &str) {
    let kinds = ["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", SERVER_RESULT];
    review.content(&message["content"], &kinds, place);
    let blocks = list(&message["content"]);
    let mut others = false;
    for block in blocks {
        match text_at(block, "/type") {
            "thinking" => {
                review.demand(!others, || format!("{place} thinks after other content"));
                review.demand(!text_at(block, "/signature").is_empty(), || format!("{place} thinks without signature"));
            }
            SERVER_RESULT => {
                let id = &block["tool_use_id"];
                let is_called = blocks.iter().any(|call| is_server_call(call) && call["id"] == *id);
                review.demand(is_called, || format!("{place} has a result of the server's tool, but no call {id}"));
                // The model may think again about it.
                others = false;
            }
            "redacted_thinking" => review.demand(!others, || format!("{place} thinks after other content")),
            "tool_use" => {
                others = true;
                let id = text_at(block, "/id");
                review.call(id, text_at(block, "/name"));
                review.demand(block["input"].is_object(), || format!("the input of {id:?} is no object"));
                if let Some(thinking) = given.thinking(id) {
                    let is_kept = blocks.iter().any(|block| {
                        if thinking.is_hidden() {
                            return text_at(block, "/data") == thinking.signature;
                        }
                        text_at(block, "/thinking") == thinking.text
                            && text_at(block, "/signature") == thinking.signature
                    });
                    review.demand(is_kept, || format!("the thinking that came with {id:?} is not sent back"));
                }
            }
            _ => others = true,
        }
    }
}

fn is_server_call(block: &Value) -> bool {
    block["type"] == "server_tool_use"
}

fn count_breakpoints(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(count_breakpoints).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| usize::from(name == "cache_control") + count_breakpoints(field)).sum()
        }
        _ => 0,
    }
}
