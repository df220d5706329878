//! What Ollama refuses, and what it would pass over in silence to a conversation's harm.

use std::collections::VecDeque;

use serde_json::Value;

use super::super::request::{Request, list, text_at};
use super::Review;

const FIELDS: [&str; 11] = [
    "model",
    "messages",
    "tools",
    "stream",
    "think",
    "options",
    "format",
    "keep_alive",
    "truncate",
    "shift",
    "logprobs",
];

pub(super) fn check(request: &Request, review: &mut Review) {
    let body = &request.body;
    review.keys(body, &FIELDS, "the body");
    let think = &body["think"];
    let is_level = think.as_str().is_some_and(|level| ["low", "medium", "high"].contains(&level));
    review.demand(think.is_null() || think.is_boolean() || is_level, || format!("think is {think}"));
    let asks = is_level || think == true;
    review.demand(!asks || thinks(&request.model), || format!("\"{}\" does not support thinking", request.model));
    let tools = list(&body["tools"]).iter();
    review.tools(tools.map(|tool| (text_at(tool, "/function/name"), &tool["function"]["parameters"])));

    let messages = list(&body["messages"]);
    let first = messages.first().map_or("", |message| text_at(message, "/role"));
    review.demand(first == "system", || "the first message is not the system's".to_owned());
    let mut open = VecDeque::new();
    for (number, message) in messages.iter().enumerate() {
        let place = format!("message {number}");
        let role = text_at(message, "/role");
        review.keys(
            message,
            &["role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"],
            &place,
        );
        review.demand(message["content"].is_string(), || format!("{place} has no text as content"));
        if role != "tool" {
            review.settle(&place);
            open.clear();
        }
        for image in list(&message["images"]) {
            review.base64(image, &place);
        }
        match role {
            "system" => review.text(&message["content"], &place),
            "user" if list(&message["images"]).is_empty() => review.text(&message["content"], &place),
            "user" => {}
            "assistant" => assistant(number, message, &mut open, review, &place),
            "tool" => result(message, &mut open, review, &place),
            role => review.find(format!("{place} is by {role:?}")),
        }
    }
    review.settle("the end");
    let last = messages.last().map_or("", |message| text_at(message, "/role"));
    review.demand(last != "assistant", || "the last message is the assistant's".to_owned());
}

/// Calls need no ids: without them results are matched by the tool's name and their place.
fn assistant(number: usize, message: &Value, open: &mut VecDeque<(String, String)>, review: &mut Review, place: &str) {
    let calls = list(&message["tool_calls"]);
    if calls.is_empty() {
        review.demand(message["tool_calls"].is_null(), || format!("{place} has an empty list of calls"));
        review.text(&message["content"], place);
    }
    for (index, call) in calls.iter().enumerate() {
        let name = text_at(call, "/function/name");
        let id = match text_at(call, "/id") {
            "" => format!("{name}-{number}-{index}"),
            id => id.to_owned(),
        };
        review.call(&id, name);
        review.demand(call["function"]["arguments"].is_object(), || format!("the arguments of {id:?} are no object"));
        open.push_back((name.to_owned(), id));
    }
}

fn result(message: &Value, open: &mut VecDeque<(String, String)>, review: &mut Review, place: &str) {
    let name = text_at(message, "/tool_name");
    match open.pop_front() {
        Some((called, id)) => {
            review.demand(called == name, || format!("the result of {called:?} in {place} is of {name:?}"));
            let told = Some(text_at(message, "/tool_call_id")).filter(|told| !told.is_empty());
            review.result(told.unwrap_or(&id));
        }
        None => review.result(name),
    }
}

/// Whether a model thinks, as its own description would say.
fn thinks(model: &str) -> bool {
    ["gpt-oss", "deepseek-r1", "deepseek-v3.1", "qwen3", "magistral"].iter().any(|name| model.starts_with(name))
}
