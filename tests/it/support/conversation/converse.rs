//! What Amazon Bedrock's Converse refuses, of Claude's models above all.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::request::{Request, list, text_at};
use super::{Given, Review};

const FIELDS: [&str; 10] = [
    "system",
    "messages",
    "toolConfig",
    "inferenceConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
];
/// In one request.
const MAX_CACHE_POINTS: usize = 4;
const IMAGES: [&str; 4] = ["png", "jpeg", "gif", "webp"];
const DOCUMENTS: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];

pub(super) fn check(request: &Request, given: &Given, review: &mut Review) {
    let body = &request.body;
    review.keys(body, &FIELDS, "the body");
    review.demand(!list(&body["system"]).is_empty(), || "no system prompt".to_owned());
    for block in list(&body["system"]) {
        match kind(block, review, "system") {
            "text" => review.text(&block["text"], "system"),
            "cachePoint" | "guardContent" => {}
            kind => review.find(format!("a block of type {kind:?} in system")),
        }
    }
    check_limits(body, review);
    let points = cache_points(body);
    review.demand(points <= MAX_CACHE_POINTS, || format!("{points} cache points"));
    let tools = list(&body["toolConfig"]["tools"]);
    let specs = tools.iter().filter(|tool| tool["cachePoint"].is_null());
    review.tools(specs.clone().map(|tool| (text_at(tool, "/toolSpec/name"), &tool["toolSpec"]["inputSchema"]["json"])));
    for spec in specs {
        let description = &spec["toolSpec"]["description"];
        review.demand(description.as_str() != Some(""), || {
            format!("{} has an empty description", spec["toolSpec"]["name"])
        });
    }

    let messages = list(&body["messages"]);
    review.demand(!messages.is_empty(), || "no messages".to_owned());
    let mut conversation =
        Conversation { is_claude: request.model.contains("claude"), given, documents: HashSet::new() };
    let mut expected = "user";
    for (number, message) in messages.iter().enumerate() {
        let place = format!("message {number}");
        review.keys(message, &["role", "content"], &place);
        let role = text_at(message, "/role");
        review.demand(role == expected, || format!("{place} is the {role}'s, not the {expected}'s"));
        review.demand(!list(&message["content"]).is_empty(), || format!("no content in {place}"));
        if role == "assistant" {
            review.settle(&place);
            conversation.assistant(message, review, &place);
            expected = "user";
        } else {
            conversation.user(message, review, &place);
            expected = "assistant";
        }
    }
    review.settle("the end");
    review.demand(expected == "assistant", || "the last message is the assistant's".to_owned());
    let has_tool_blocks = messages
        .iter()
        .flat_map(|message| list(&message["content"]))
        .any(|block| !block["toolUse"].is_null() || !block["toolResult"].is_null());
    review.demand(!has_tool_blocks || !tools.is_empty(), || {
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.".to_owned()
    });
}

fn check_limits(body: &Value, review: &mut Review) {
    let thinking = &body["additionalModelRequestFields"]["thinking"];
    if thinking["type"] == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().unwrap_or(0);
        let max_tokens = body["inferenceConfig"]["maxTokens"].as_u64().unwrap_or(0);
        review.demand((1024..max_tokens).contains(&budget), || {
            format!("a thinking budget of {budget} of {max_tokens} tokens")
        });
    }
}

struct Conversation<'a> {
    is_claude: bool,
    given: &'a Given,
    /// The names of documents so far, which may not come twice.
    documents: HashSet<String>,
}

impl Conversation<'_> {
    fn user(&mut self, message: &Value, review: &mut Review, place: &str) {
        let mut others = false;
        for block in list(&message["content"]) {
            let kind = kind(block, review, place);
            match kind {
                "toolResult" => {
                    review.demand(!others, || format!("{place} has a tool result after other content"));
                    self.result(&block["toolResult"], review, place);
                }
                "text" | "image" | "document" | "cachePoint" => self.content(block, review, place),
                kind => review.find(format!("a block of type {kind:?} in {place}")),
            }
            others |= !matches!(kind, "toolResult" | "cachePoint");
        }
        explain_documents(list(&message["content"]), review, place);
        review.settle(&format!("the end of {place}"));
    }

    fn result(&mut self, result: &Value, review: &mut Review, place: &str) {
        review.keys(result, &["toolUseId", "content", "status", "type"], "a tool result");
        review.result(text_at(result, "/toolUseId"));
        let status = &result["status"];
        let is_status = status.is_null() || status == "success" || status == "error";
        review.demand(is_status, || format!("a tool result of {place} has the status {status}"));
        let content = list(&result["content"]);
        review.demand(!content.is_empty(), || format!("a tool result of {place} is empty"));
        for block in content {
            match kind(block, review, place) {
                "text" | "image" | "document" => self.content(block, review, place),
                "json" => review.demand(block["json"].is_object(), || format!("a json of {place} is no object")),
                kind => review.find(format!("a block of type {kind:?} in a tool result of {place}")),
            }
        }
        explain_documents(content, review, place);
    }

    fn content(&mut self, block: &Value, review: &mut Review, place: &str) {
        if !block["text"].is_null() {
            review.text(&block["text"], place);
        } else if !block["image"].is_null() {
            review.media(&block["image"], "/format", &IMAGES, place);
        } else if !block["document"].is_null() {
            let name = text_at(block, "/document/name");
            let is_name = !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_alphanumeric() || " -()[]".contains(letter));
            review.demand(is_name, || format!("the document of {place} is named {name:?}"));
            let is_new = self.documents.insert(name.to_owned());
            review.demand(is_new, || format!("two documents are named {name:?}"));
            review.media(&block["document"], "/format", &DOCUMENTS, place);
        }
    }

    fn assistant(&self, message: &Value, review: &mut Review, place: &str) {
        let blocks = list(&message["content"]);
        let mut others = false;
        for block in blocks {
            let kind = kind(block, review, place);
            match kind {
                "text" => review.text(&block["text"], place),
                "reasoningContent" => {
                    review.demand(!others || !self.is_claude, || format!("{place} reasons after other content"));
                    reasoning(&block["reasoningContent"], self.is_claude, review, place);
                }
                "toolUse" => {
                    let id = text_at(block, "/toolUse/toolUseId");
                    review.keys(&block["toolUse"], &["toolUseId", "name", "input", "type"], "a call");
                    review.call(id, text_at(block, "/toolUse/name"));
                    review
                        .demand(block["toolUse"]["input"].is_object(), || format!("the input of {id:?} is no object"));
                    self.kept(id, blocks, review);
                }
                "cachePoint" => {}
                kind => review.find(format!("a block of type {kind:?} in {place}")),
            }
            others |= kind != "reasoningContent";
        }
    }

    fn kept(&self, id: &str, blocks: &[Value], review: &mut Review) {
        let Some(thinking) = self.given.thinking(id).filter(|_| self.is_claude) else { return };
        let hidden = STANDARD.encode(&thinking.signature);
        let is_kept = blocks.iter().any(|block| {
            let plain = "/reasoningContent/reasoningText";
            if thinking.is_hidden() {
                return text_at(block, "/reasoningContent/redactedContent") == hidden;
            }
            text_at(block, &format!("{plain}/text")) == thinking.text
                && text_at(block, &format!("{plain}/signature")) == thinking.signature
        });
        review.demand(is_kept, || format!("the reasoning that came with {id:?} is not sent back"));
    }
}

fn reasoning(reasoning: &Value, is_claude: bool, review: &mut Review, place: &str) {
    review.keys(reasoning, &["reasoningText", "redactedContent"], "reasoningContent");
    let is_hidden = reasoning["redactedContent"].is_string();
    review.demand(is_hidden || reasoning["reasoningText"]["text"].is_string(), || format!("{place} reasons nothing"));
    let is_signed = is_hidden || !text_at(reasoning, "/reasoningText/signature").is_empty();
    review.demand(is_signed || !is_claude, || format!("{place} reasons without signature"));
}

fn explain_documents(blocks: &[Value], review: &mut Review, place: &str) {
    let has = |kind: &str| blocks.iter().any(|block| !block[kind].is_null());
    review.demand(!has("document") || has("text"), || format!("{place} has a document and no text"));
}

fn cache_points(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(cache_points).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| usize::from(name == "cachePoint") + cache_points(field)).sum()
        }
        _ => 0,
    }
}

/// The one kind that a block is of.
fn kind<'a>(block: &'a Value, review: &mut Review, place: &str) -> &'a str {
    let kinds: Vec<&str> = block.as_object().into_iter().flat_map(|fields| fields.keys()).map(String::as_str).collect();
    review.demand(kinds.len() == 1, || format!("a block of {place} is {kinds:?}"));
    kinds.first().copied().unwrap_or_default()
}
