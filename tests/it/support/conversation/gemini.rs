//! What Google's `streamGenerateContent` refuses. It knows no field that it does not know.

use std::collections::VecDeque;

use serde_json::Value;

use super::super::endpoint::Service;
use super::super::request::{Request, list, text_at};
use super::{Given, Review};

const FIELDS: [&str; 7] =
    ["systemInstruction", "contents", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent"];
/// What a part is, of which it has one.
const KINDS: [&str; 9] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];
/// <https://ai.google.dev/gemini-api/docs/image-understanding> and the same for documents.
const MEDIA: [&str; 7] =
    ["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "application/pdf", "text/plain"];
/// Keywords of JSON Schema that `parametersJsonSchema` knows.
const SCHEMA: [&str; 22] = [
    "$anchor",
    "$defs",
    "$id",
    "$ref",
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "oneOf",
    "prefixItems",
    "properties",
    "propertyOrdering",
    "required",
    "title",
    "type",
];
/// Google's word for calls that another model made.
const FOREIGN: &str = "skip_thought_signature_validator";

pub(super) fn check(request: &Request, given: &Given, review: &mut Review) {
    let body = &request.body;
    let labels: &[&str] = if request.service == Service::Vertex { &["labels"] } else { &[] };
    review.keys(body, &[&FIELDS, labels].concat(), "the body");
    let system = list(&body["systemInstruction"]["parts"]);
    review.demand(!system.is_empty(), || "no system instruction".to_owned());
    for part in system {
        review.text(&part["text"], "the system instruction");
    }
    check_thinking(request, review);
    check_tools(body, review);

    let contents = list(&body["contents"]);
    review.demand(!contents.is_empty(), || "no contents".to_owned());
    let mut conversation = Conversation { request, given, turn: turn(contents), open: VecDeque::new() };
    let mut before = "model";
    for (number, content) in contents.iter().enumerate() {
        let place = format!("content {number}");
        review.keys(content, &["role", "parts"], &place);
        let role = text_at(content, "/role");
        review.demand(!list(&content["parts"]).is_empty(), || format!("no parts in {place}"));
        match role {
            "model" => {
                review.demand(before == "user", || format!("{place} is the model's, as is the one before"));
                conversation.model(number, content, review, &place);
            }
            "user" => conversation.user(content, review, &place),
            role => review.find(format!("{place} is by {role:?}")),
        }
        before = role;
    }
    review.settle("the end");
    review.demand(before == "user", || "the last content is the model's".to_owned());
}

/// Where the turn begins whose calls Gemini 3 wants signed: behind the last content that a person wrote.
fn turn(contents: &[Value]) -> usize {
    let is_asked = |content: &Value| {
        content["role"] == "user" && list(&content["parts"]).iter().all(|part| part["functionResponse"].is_null())
    };
    contents.iter().rposition(is_asked).unwrap_or(0)
}

fn check_thinking(request: &Request, review: &mut Review) {
    let config = &request.body["generationConfig"]["thinkingConfig"];
    if config.is_null() {
        return;
    }
    review.keys(config, &["thinkingBudget", "thinkingLevel", "includeThoughts"], "thinkingConfig");
    let (budget, level) = (&config["thinkingBudget"], &config["thinkingLevel"]);
    review.demand(budget.is_null() || level.is_null(), || "a budget and a level of thinking".to_owned());
    review.demand(level.is_null() || request.is_current_gemini(), || {
        format!("{} has no levels of thinking", request.model)
    });
    let is_level = level.as_str().is_none_or(|level| ["MINIMAL", "LOW", "MEDIUM", "HIGH"].contains(&level));
    review.demand(is_level, || format!("a level of thinking of {level}"));
}

fn check_tools(body: &Value, review: &mut Review) {
    let functions: Vec<&Value> =
        list(&body["tools"]).iter().flat_map(|tool| list(&tool["functionDeclarations"])).collect();
    let object = Value::Object([("type".to_owned(), "object".into())].into_iter().collect());
    for function in &functions {
        let place = format!("the function {}", function["name"]);
        review.keys(function, &["name", "description", "parameters", "parametersJsonSchema"], &place);
        let is_one = function["parameters"].is_null() || function["parametersJsonSchema"].is_null();
        review.demand(is_one, || format!("{place} has two schemas"));
        let schema = &function["parametersJsonSchema"];
        check_schema(schema, review, &place);
    }
    review.tools(functions.into_iter().map(|function| {
        // A function without parameters has no schema.
        let schema = function.get("parametersJsonSchema").or_else(|| function.get("parameters")).unwrap_or(&object);
        (text_at(function, "/name"), schema)
    }));
    let mode = &body["toolConfig"]["functionCallingConfig"]["mode"];
    let is_mode = mode.as_str().is_none_or(|mode| ["AUTO", "ANY", "NONE", "VALIDATED"].contains(&mode));
    review.demand(is_mode, || format!("a mode of calling functions of {mode}"));
}

fn check_schema(schema: &Value, review: &mut Review, place: &str) {
    let Some(fields) = schema.as_object() else { return };
    review.keys(schema, &SCHEMA, &format!("the schema of {place}"));
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => {
                for schema in named.values() {
                    check_schema(schema, review, place);
                }
            }
            ("anyOf" | "oneOf" | "prefixItems", Value::Array(all)) => {
                for schema in all {
                    check_schema(schema, review, place);
                }
            }
            ("items" | "additionalProperties", schema) => check_schema(schema, review, place),
            _ => {}
        }
    }
}

struct Conversation<'a> {
    request: &'a Request,
    given: &'a Given,
    /// The content that the current turn began with.
    turn: usize,
    /// Name and made-up id of calls without an id and a result.
    open: VecDeque<(String, String)>,
}

impl Conversation<'_> {
    fn model(&mut self, number: usize, content: &Value, review: &mut Review, place: &str) {
        review.settle(place);
        let mut calls = 0;
        for (index, part) in list(&content["parts"]).iter().enumerate() {
            let kind = kind(part, review, place);
            match kind {
                "text" => {
                    let is_signed = part["thoughtSignature"].is_string();
                    review.demand(is_signed || !text_at(part, "/text").is_empty(), || {
                        format!("an empty text in {place}")
                    });
                }
                "functionCall" => {
                    self.call(number, (index, calls), part, review);
                    calls += 1;
                }
                "functionResponse" => review.find(format!("{place} of the model has a result")),
                _ => {}
            }
        }
    }

    fn call(&mut self, number: usize, (index, calls): (usize, usize), part: &Value, review: &mut Review) {
        let call = &part["functionCall"];
        review.keys(call, &["id", "name", "args"], "a call");
        let name = text_at(call, "/name");
        let id = match text_at(call, "/id") {
            "" => {
                let made = format!("{name}-{number}-{index}");
                self.open.push_back((name.to_owned(), made.clone()));
                made
            }
            id => id.to_owned(),
        };
        review.call(&id, name);
        review.demand(call["args"].is_object(), || format!("the args of {id:?} are no object"));
        let signature = part["thoughtSignature"].as_str();
        let signatures = self.given.signatures_with(name, &call["args"]);
        if calls == 0 && !signatures.is_empty() {
            let is_kept = signature.is_some_and(|signature| signatures.iter().any(|given| given == signature));
            review.demand(is_kept, || format!("the signature that came with {id:?} is not sent back"));
        }
        if self.request.is_current_gemini() && calls == 0 && number > self.turn {
            review.demand(signature.is_some(), || {
                format!("Function call is missing a thought_signature in functionCall parts: {id:?}")
            });
        }
        let is_known =
            signature.is_none_or(|signature| signature == FOREIGN || signatures.iter().any(|given| given == signature));
        // Histories that the server did not make itself may hold any.
        review.demand(is_known || signatures.is_empty(), || format!("the signature of {id:?} is another's"));
    }

    /// A person's message, or results, as many as calls, and behind them what goes with them.
    fn user(&mut self, content: &Value, review: &mut Review, place: &str) {
        let parts = list(&content["parts"]);
        let mut others = false;
        for part in parts {
            let kind = kind(part, review, place);
            review.demand(!others || kind != "functionResponse", || format!("{place} has a result after other parts"));
            others |= kind != "functionResponse";
            match kind {
                "text" => review.text(&part["text"], place),
                "inlineData" => review.media(&part["inlineData"], "/mimeType", &MEDIA, place),
                "functionResponse" => self.result(&part["functionResponse"], review, place),
                "fileData" => {}
                kind => review.find(format!("{place} of the user has a part of type {kind:?}")),
            }
            review.demand(part["thoughtSignature"].is_null(), || format!("{place} of the user is signed"));
        }
        review.settle(&format!("the end of {place}"));
        self.open.clear();
    }

    fn result(&mut self, result: &Value, review: &mut Review, place: &str) {
        review.keys(result, &["id", "name", "response", "parts"], "a result");
        let name = text_at(result, "/name");
        review.demand(result["response"].is_object(), || format!("the response of {name:?} in {place} is no object"));
        for part in list(&result["parts"]) {
            review.media(&part["inlineData"], "/mimeType", &MEDIA, place);
        }
        let id = match text_at(result, "/id") {
            // By name and place.
            "" => match self.open.pop_front() {
                Some((called, id)) if called == name => id,
                Some((called, id)) => {
                    review.find(format!("the result of {called:?} in {place} is called {name:?}"));
                    id
                }
                None => name.to_owned(),
            },
            id => id.to_owned(),
        };
        review.result(&id);
    }
}

/// The one kind that a part is of.
fn kind<'a>(part: &Value, review: &mut Review, place: &str) -> &'a str {
    review.keys(part, &[&KINDS[..], &["thought", "thoughtSignature", "videoMetadata"]].concat(), place);
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| !part[kind].is_null()).collect();
    review.demand(kinds.len() == 1, || format!("a part of {place} is {kinds:?}"));
    kinds.first().copied().unwrap_or_default()
}
