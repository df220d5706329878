//! What servers of Chat Completions refuse: OpenAI's own, those that imitate it, DeepSeek's and Azure's.

use serde_json::Value;

use super::super::endpoint::Service;
use super::super::request::{Request, list, text_at};
use super::{Given, Review};

pub(super) fn check(request: &Request, given: &Given, review: &mut Review) {
    let body = &request.body;
    let is_deepseek = request.service == Service::DeepSeek;
    // DeepSeek takes text alone.
    let kinds: &[&str] = if is_deepseek { &["text"] } else { &["text", "image_url", "file"] };
    let messages = list(&body["messages"]);
    let first = messages.first().map_or("", |message| text_at(message, "/role"));
    review.demand(matches!(first, "system" | "developer"), || "the first message is not the system's".to_owned());
    let function = |tool: &'_ Value, field: &str| tool.pointer(&format!("/function/{field}")).is_some();
    for tool in list(&body["tools"]) {
        let is_whole = tool["type"] == "function" && function(tool, "name") && function(tool, "parameters");
        review.demand(is_whole, || format!("a tool that is no whole function: {tool}"));
    }
    let tools = list(&body["tools"]).iter();
    review.tools(tools.map(|tool| (text_at(tool, "/function/name"), &tool["function"]["parameters"])));
    for (number, message) in messages.iter().enumerate() {
        let place = format!("message {number}");
        let role = text_at(message, "/role");
        if role != "tool" {
            review.settle(&place);
        }
        match role {
            "system" | "developer" => review.content(&message["content"], &["text"], &place),
            "user" => review.content(&message["content"], kinds, &place),
            "assistant" => {
                assistant(message, review, &place);
                if is_deepseek && request.is_deepseek_thinking() {
                    reasoning(message, given, review, &place);
                }
            }
            "tool" => {
                review.result(text_at(message, "/tool_call_id"));
                review.demand(message["content"].is_string(), || format!("{place} has no text as content"));
            }
            role => review.find(format!("{place} is by {role:?}")),
        }
    }
    review.settle("the end");
    let last = messages.last().map_or("", |message| text_at(message, "/role"));
    review.demand(last != "assistant", || "the last message is the assistant's".to_owned());
}

/// A missing or null content is a 500 on one real engine, an empty one works on all.
fn assistant(message: &Value, review: &mut Review, place: &str) {
    let calls = list(&message["tool_calls"]);
    review.demand(message["content"].is_string(), || format!("{place} has no text as content"));
    if calls.is_empty() {
        review.demand(message["tool_calls"].is_null(), || format!("{place} has an empty list of calls"));
        review.text(&message["content"], place);
    }
    for call in calls {
        let id = text_at(call, "/id");
        review.demand(call["type"] == "function", || format!("the call {id:?} is of no function"));
        review.call(id, text_at(call, "/function/name"));
        review.arguments(id, &call["function"]["arguments"]);
    }
}

/// DeepSeek wants the reasoning that led to calls in every later request:
/// <https://api-docs.deepseek.com/guides/thinking_mode>.
fn reasoning(message: &Value, given: &Given, review: &mut Review, place: &str) {
    let mut calls = list(&message["tool_calls"]).iter();
    let Some(thinking) = calls.find_map(|call| given.thinking(text_at(call, "/id"))) else { return };
    review.demand(message["reasoning_content"] == thinking.text.as_str(), || {
        format!("The `reasoning_content` in the thinking mode must be passed back to the API ({place})")
    });
}
