//! What OpenAI's Responses endpoint refuses.

use serde_json::Value;

use super::super::request::{list, text_at};
use super::Review;

pub(super) fn check(body: &Value, review: &mut Review) {
    let items = list(&body["input"]);
    let first = items.first().map_or("", |item| text_at(item, "/role"));
    let has_system = !text_at(body, "/instructions").is_empty() || matches!(first, "developer" | "system");
    review.demand(has_system, || "neither instructions nor a developer message".to_owned());
    let own = ["web_search", "file_search", "code_interpreter", "image_generation"];
    let is_ours = |tool: &&Value| !own.contains(&text_at(tool, "/type"));
    let tools: Vec<&Value> = list(&body["tools"]).iter().filter(is_ours).collect();
    review.tools(tools.iter().map(|tool| (text_at(tool, "/name"), &tool["parameters"])));
    for tool in tools {
        review.demand(tool["type"] == "function", || format!("a tool of type {}", tool["type"]));
        let is_strict = tool["strict"] != false;
        review.demand(!is_strict || tool["parameters"]["additionalProperties"] == false, || {
            format!("the tool {} is strict, its schema is not", tool["name"])
        });
    }
    review.demand(!items.is_empty(), || "no input".to_owned());
    let mut calling = true;
    for (number, item) in items.iter().enumerate() {
        let place = format!("item {number}");
        match item["type"].as_str().unwrap_or("message") {
            "message" => {
                review.settle(&place);
                message(item, review, &place);
                calling = true;
            }
            "reasoning" => {
                review.settle(&place);
                reasoning(item, body, items.get(number + 1), review, &place);
                calling = true;
            }
            "function_call" => {
                if !calling {
                    review.settle(&place);
                    calling = true;
                }
                let id = text_at(item, "/call_id");
                review.call(id, text_at(item, "/name"));
                review.arguments(id, &item["arguments"]);
            }
            "function_call_output" => {
                calling = false;
                review.result(text_at(item, "/call_id"));
                let output = &item["output"];
                if output.is_array() {
                    review.content(output, &["input_text", "input_image", "input_file"], &place);
                } else {
                    review.demand(output.is_string(), || format!("{place} has no output"));
                }
            }
            "web_search_call" | "code_interpreter_call" | "image_generation_call" => {
                review.settle(&place);
                review.demand(item["status"] == "completed", || format!("the call of {place} never ended"));
                calling = true;
            }
            other => review.find(format!("{place} is of type {other:?}")),
        }
    }
    review.settle("the end");
    let last = items.last().map_or("", |item| text_at(item, "/role"));
    review.demand(last != "assistant", || "the last item is the assistant's".to_owned());
}

fn message(item: &Value, review: &mut Review, place: &str) {
    let kinds: &[&str] = match text_at(item, "/role") {
        "user" => &["input_text", "input_image", "input_file"],
        "developer" | "system" => &["input_text"],
        "assistant" if item["content"].is_string() => &[],
        "assistant" => &["output_text", "refusal"],
        role => return review.find(format!("{place} is by {role:?}")),
    };
    review.content(&item["content"], kinds, place);
}

fn reasoning(item: &Value, body: &Value, next: Option<&Value>, review: &mut Review, place: &str) {
    review.demand(item["summary"].is_array(), || format!("the reasoning of {place} has no summary"));
    review.demand(body["store"] != false || item["encrypted_content"].is_string(), || {
        format!("the reasoning of {place} is neither stored nor sent along")
    });
    let leads = next.is_some_and(|next| next["type"] == "function_call" || next["role"] == "assistant");
    review.demand(leads, || format!("the reasoning of {place} leads to nothing"));
}
