//! The rules that real model servers hold a conversation to, and the product's own (results in call order): what is
//! wrong with a request, in words.

mod chat;
mod messages;
mod responses;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::KEY;
use super::answer::Thinking;
use super::request::{Protocol, Request, list, text_at};

/// The thinking that came with each call, by the call's id: Anthropic wants it back unchanged.
pub type Thoughts = HashMap<String, Thinking>;

/// What is wrong with a request's credentials.
pub fn check_key(request: &Request) -> Option<String> {
    let (name, wanted) = match request.protocol {
        Protocol::Messages => ("x-api-key", KEY.to_owned()),
        Protocol::Responses | Protocol::Chat => ("authorization", format!("Bearer {KEY}")),
    };
    (request.header(name) != Some(&wanted)).then(|| format!("the header {name} is missing or wrong"))
}

/// Everything that is wrong with a request.
pub fn check(request: &Request, thoughts: &Thoughts) -> Vec<String> {
    let mut review = Review::default();
    let body = &request.body;
    review.demand(request.header("content-type").is_some_and(|t| t.starts_with("application/json")), || {
        "the content type is not application/json".to_owned()
    });
    review.demand(!text_at(body, "/model").is_empty(), || "no model is named".to_owned());
    review.demand(body["stream"] == true, || "the request is not for a stream".to_owned());
    match request.protocol {
        Protocol::Messages => messages::check(request, thoughts, &mut review),
        Protocol::Responses => responses::check(body, &mut review),
        Protocol::Chat => chat::check(body, &mut review),
    }
    review.findings
}

/// Collects findings, and keeps account of calls and their results.
#[derive(Default)]
struct Review {
    findings: Vec<String>,
    called: HashSet<String>,
    /// Calls without a result so far, in call order.
    open: Vec<String>,
}

impl Review {
    fn find(&mut self, finding: impl Into<String>) {
        self.findings.push(finding.into());
    }

    fn demand(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.find(finding());
        }
    }

    fn call(&mut self, id: &str, tool: &str) {
        self.demand(is_call_id(id), || format!("the id of a call of {tool:?} is {id:?}"));
        self.demand(is_tool_name(tool), || format!("{tool:?} is no name of a tool"));
        let is_new = self.called.insert(id.to_owned());
        self.demand(is_new, || format!("the call id {id:?} is used twice"));
        self.open.push(id.to_owned());
    }

    fn result(&mut self, id: &str) {
        match self.open.iter().position(|open| open == id) {
            Some(0) => {}
            Some(_) => self.find(format!("the result of {id:?} comes before that of {:?}", self.open[0])),
            None if self.called.contains(id) => self.find(format!("the call {id:?} has two results, or a late one")),
            None => self.find(format!("a result of {id:?}, which nobody called")),
        }
        self.open.retain(|open| open != id);
    }

    /// Every call must be answered by now.
    fn settle(&mut self, place: &str) {
        for id in std::mem::take(&mut self.open) {
            self.find(format!("the call {id:?} has no result before {place}"));
        }
    }

    /// Arguments in a history must be an object's JSON: some servers fail on anything else for ever.
    fn arguments(&mut self, id: &str, arguments: &Value) {
        let parsed = arguments.as_str().map(serde_json::from_str::<Value>);
        self.demand(matches!(parsed, Some(Ok(Value::Object(_)))), || {
            format!("the arguments of {id:?} are no JSON object in a string: {arguments}")
        });
    }

    /// Tools by name and schema.
    fn tools<'a>(&mut self, tools: impl Iterator<Item = (&'a str, &'a Value)>) {
        let mut names = HashSet::new();
        for (name, schema) in tools {
            self.demand(is_tool_name(name), || format!("{name:?} is no name of a tool"));
            self.demand(names.insert(name), || format!("the tool {name:?} is offered twice"));
            self.demand(schema["type"] == "object", || format!("the schema of {name:?} is of no object: {schema}"));
        }
    }

    /// Text that may not be empty.
    fn text(&mut self, text: &Value, place: &str) {
        let is_text = text.as_str().is_some_and(|text| !text.trim().is_empty());
        self.demand(is_text, || format!("an empty text in {place}: {text}"));
    }

    /// A string, or a list of parts of the kinds named, of which texts are not empty.
    fn content(&mut self, content: &Value, kinds: &[&str], place: &str) {
        if content.is_string() {
            return self.text(content, place);
        }
        self.demand(!list(content).is_empty(), || format!("no content in {place}"));
        for part in list(content) {
            let kind = text_at(part, "/type");
            self.demand(kinds.contains(&kind), || format!("a part of type {kind:?} in {place}"));
            if kind.ends_with("text") {
                self.text(&part["text"], place);
            }
        }
    }
}

/// The ids that all three vendors take.
fn is_call_id(id: &str) -> bool {
    !id.is_empty() && is_plain(id)
}

/// The names that all three vendors take.
fn is_tool_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && is_plain(name)
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
