//! The rules that real model servers hold a conversation to, and the product's own (results in call order): what is
//! wrong with a request, in words.

mod chat;
mod converse;
mod gemini;
mod messages;
mod ollama;
mod responses;

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::answer::{Call, Thinking, Turn};
use super::request::{Protocol, Request, list, text_at};

/// What the model has given so far that comes back, or shows what comes back.
#[derive(Default)]
pub struct Given {
    /// The thinking that came with each call, which its vendor may want back unchanged.
    thoughts: HashMap<String, Thinking>,
    /// Of calls by tool and arguments. Of calls side by side only the first has a signature.
    signatures: HashMap<(String, String), Vec<String>>,
    /// Of calls by tool and arguments, for protocols that do not send them.
    ids: HashMap<(String, String), Vec<String>>,
}

impl Given {
    /// Keeps what a turn of the model gave.
    pub fn keep(&mut self, turn: &Turn) {
        let key = |call: &Call| (call.tool.clone(), call.value().to_string());
        for call in &turn.calls {
            self.ids.entry(key(call)).or_default().push(call.id.clone());
        }
        let Some(thinking) = &turn.thinking else { return };
        self.thoughts.extend(turn.calls.iter().map(|call| (call.id.clone(), thinking.clone())));
        if let Some(call) = turn.calls.first() {
            self.signatures.entry(key(call)).or_default().push(thinking.signature.clone());
        }
    }

    /// The script's ids of these calls, given by tool and arguments; the tool's name for calls that it does not have.
    pub fn ids<'a>(&self, calls: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<String> {
        let mut met: HashMap<(String, String), usize> = HashMap::new();
        calls
            .map(|(tool, arguments)| {
                let key = (tool.to_owned(), arguments.to_string());
                let number = met.entry(key.clone()).or_default();
                *number += 1;
                self.ids.get(&key).and_then(|ids| ids.get(*number - 1)).cloned().unwrap_or(key.0)
            })
            .collect()
    }

    /// The thinking that came with a call.
    fn thinking(&self, id: &str) -> Option<&Thinking> {
        self.thoughts.get(id)
    }

    /// The signatures that came with calls like this one.
    fn signatures_with(&self, tool: &str, arguments: &Value) -> &[String] {
        self.signatures.get(&(tool.to_owned(), arguments.to_string())).map_or(&[], Vec::as_slice)
    }
}

/// Everything that is wrong with a request.
pub fn check(request: &Request, given: &Given) -> Vec<String> {
    let mut review = Review {
        longest_name: longest_name(request.protocol),
        refused_words: refused_words(request.protocol),
        ..Review::default()
    };
    let body = &request.body;
    review.demand(request.header("content-type").is_some_and(|t| t.starts_with("application/json")), || {
        "the content type is not application/json".to_owned()
    });
    review.demand(!request.model.is_empty(), || "no model is named".to_owned());
    // Elsewhere it is in the address.
    let is_told = !matches!(request.protocol, Protocol::Gemini | Protocol::Converse);
    review.demand(!is_told || body["stream"] == true, || "the request is not for a stream".to_owned());
    match request.protocol {
        Protocol::Messages => messages::check(request, given, &mut review),
        Protocol::Responses => responses::check(body, &mut review),
        Protocol::Chat => chat::check(request, given, &mut review),
        Protocol::Gemini => gemini::check(request, given, &mut review),
        Protocol::Converse => converse::check(request, given, &mut review),
        Protocol::Ollama => ollama::check(request, &mut review),
    }
    review.findings
}

/// Collects findings, and keeps account of calls and their results.
#[derive(Default)]
struct Review {
    findings: Vec<String>,
    /// Letters of a tool's name.
    longest_name: usize,
    /// Words that may not stand at the top of a tool's schema.
    refused_words: &'static [&'static str],
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
        self.name(tool);
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
            self.name(name);
            self.demand(names.insert(name), || format!("the tool {name:?} is offered twice"));
            self.demand(schema["type"] == "object", || format!("the schema of {name:?} is of no object: {schema}"));
            let refused: Vec<_> = self.refused_words.iter().filter(|word| !schema[word].is_null()).collect();
            self.demand(refused.is_empty(), || format!("the schema of {name:?} has {refused:?} at its top"));
        }
    }

    /// An object of these fields and no others.
    fn keys(&mut self, object: &Value, known: &[&str], place: &str) {
        let fields = object.as_object().into_iter().flat_map(|fields| fields.keys());
        for field in fields.filter(|field| !known.contains(&field.as_str())) {
            self.find(format!("{place} has a field {field:?}"));
        }
    }

    /// Bytes as text.
    fn base64(&mut self, data: &Value, place: &str) {
        let bytes = data.as_str().and_then(|data| STANDARD.decode(data).ok());
        self.demand(bytes.is_some_and(|bytes| !bytes.is_empty()), || format!("a file of {place} is no base64"));
    }

    /// A file within the request, of a type named at `pointer`.
    fn media(&mut self, file: &Value, pointer: &str, types: &[&str], place: &str) {
        let kind = text_at(file, pointer);
        self.demand(types.contains(&kind), || format!("a file of type {kind:?} in {place}"));
        self.base64(file.pointer("/source/bytes").unwrap_or(&file["data"]), place);
    }

    /// The name of a tool, in letters that all vendors take.
    fn name(&mut self, name: &str) {
        let is_name = (1..=self.longest_name).contains(&name.len()) && is_plain(name);
        self.demand(is_name, || format!("{name:?} is no name of a tool"));
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

/// The ids that all vendors take.
fn is_call_id(id: &str) -> bool {
    !id.is_empty() && is_plain(id)
}

/// Words that may not stand at the top of a tool's schema.
fn refused_words(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::Messages | Protocol::Converse => &["allOf", "anyOf", "oneOf"],
        Protocol::Responses | Protocol::Chat => &["allOf", "anyOf", "oneOf", "enum", "not"],
        Protocol::Gemini | Protocol::Ollama => &[],
    }
}

/// Letters that a tool's name may have. Ollama documents nothing.
fn longest_name(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Messages | Protocol::Responses | Protocol::Ollama => 128,
        Protocol::Chat | Protocol::Gemini | Protocol::Converse => 64,
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
