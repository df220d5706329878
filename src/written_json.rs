//! Messages and facts in the very form in which this program writes them, read some times as quickly as serde reads them in
//! any form: [`messages`], [`fact`]. And messages in that form, written as quickly ([`mod@write`]). `store` reads and writes long
//! records with it.
//!
//! Whatever is written otherwise, a part of a message or all of it, is left to serde. So nothing is read here that serde
//! would read as something else, or not at all; `tests` hold it to that.

pub mod write;

use serde::de::DeserializeOwned;

use crate::content::{Content, ExpertPart, ResultPart};
use crate::count;
use crate::fact::{Fact, FactBody, Stamp};
use crate::generation::{Arguments, GeneratedPart, Generation};
use crate::message::Message;
use crate::tool::ToolResult;
use crate::usage::Usage;

/// JSON on its way from its beginning to its end.
#[derive(Debug, Clone, Copy)]
pub struct WrittenJson<'a> {
    rest: &'a str,
}

impl<'a> WrittenJson<'a> {
    /// All of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The part that was not read yet.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Passes `text` over, if it is next.
    pub fn is(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).map(|rest| self.rest = rest).is_some()
    }

    fn needs(&mut self, text: &str) -> Option<()> {
        self.is(text).then_some(())
    }

    /// The next value as serde reads it, in any form.
    pub fn value<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter();
        let value = values.next()?.ok()?;
        self.rest = self.rest.get(values.byte_offset()..)?;
        Some(value)
    }

    /// The next value, a text.
    fn text(&mut self) -> Option<String> {
        let behind = self.rest.strip_prefix('"')?;
        let end = behind.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
        match (behind.get(..end)?, behind.get(end..)?.strip_prefix('"')) {
            (text, Some(rest)) => {
                self.rest = rest;
                Some(text.to_owned())
            }
            // With an escape, or broken.
            _ => self.value(),
        }
    }

    /// The next value, by `quick` if that can read it.
    fn value_by<T: DeserializeOwned>(&mut self, quick: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut ahead = *self;
        if let Some(value) = quick(&mut ahead) {
            *self = ahead;
            return Some(value);
        }
        self.value()
    }

    fn list<T: DeserializeOwned>(&mut self, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.needs("[")?;
        if self.is("]") {
            return Some(Vec::new());
        }
        // Most have one item.
        let mut items = vec![self.value_by(&item)?];
        while !self.is("]") {
            self.needs(",")?;
            items.push(self.value_by(&item)?);
        }
        Some(items)
    }

    fn count(&mut self) -> Option<u64> {
        self.value().filter(|count| *count <= count::MAX)
    }
}

/// The list of messages that is next.
pub fn messages(json: &mut WrittenJson<'_>) -> Option<Vec<Message>> {
    json.list(message)
}

fn message(json: &mut WrittenJson<'_>) -> Option<Message> {
    json.needs(r#"{"type":""#)?;
    let (is_expert, is_tool) = (json.is("expert"), json.is("tool"));
    let is_user = !is_expert && !is_tool && json.is("user");
    if !is_expert && !is_tool && !is_user {
        json.needs("instruction")?;
    }
    json.needs(r#"Message","id":"#)?;
    let id = json.text()?;
    json.needs(r#","contents":"#)?;
    // A mark for the cache, which is next to never there, is left to serde.
    let cache = false;
    let message = if is_expert {
        Message::ExpertMessage { id, contents: json.list(expert_part)?, cache }
    } else if is_tool {
        Message::ToolMessage { id, contents: json.list(result_part)?, cache }
    } else if is_user {
        Message::UserMessage { id, contents: json.list(text_part)?, cache }
    } else {
        Message::InstructionMessage { id, contents: json.list(text_part)?, cache }
    };
    json.needs("}")?;
    Some(message)
}

fn text_part(json: &mut WrittenJson<'_>) -> Option<Content> {
    let (id, text) = id_and_text(json)?;
    Some(Content::TextPart { id, text })
}

fn id_and_text(json: &mut WrittenJson<'_>) -> Option<(String, String)> {
    json.needs(r#"{"type":"textPart","id":"#)?;
    let id = json.text()?;
    json.needs(r#","text":"#)?;
    let text = json.text()?;
    json.needs("}")?;
    Some((id, text))
}

fn expert_part(json: &mut WrittenJson<'_>) -> Option<ExpertPart> {
    if !json.is(r#"{"type":"toolCallPart","id":"#) {
        let (id, text) = id_and_text(json)?;
        return Some(ExpertPart::TextPart { id, text });
    }
    let id = json.text()?;
    json.needs(r#","toolCallId":"#)?;
    let tool_call_id = json.text()?;
    json.needs(r#","toolName":"#)?;
    let tool_name = json.text()?;
    json.needs(r#","args":"#)?;
    let args = json.value()?;
    json.needs("}")?;
    Some(ExpertPart::ToolCallPart { id, tool_call_id, tool_name, args })
}

fn result_part(json: &mut WrittenJson<'_>) -> Option<ResultPart> {
    json.needs(r#"{"type":"toolResultPart","id":"#)?;
    let id = json.text()?;
    json.needs(r#","toolCallId":"#)?;
    let tool_call_id = json.text()?;
    json.needs(r#","toolName":"#)?;
    let tool_name = json.text()?;
    json.needs(r#","contents":"#)?;
    let contents = json.list(text_part)?;
    let is_error = json.is(r#","isError":true"#);
    json.needs("}")?;
    Some(ResultPart::ToolResultPart { id, tool_call_id, tool_name, contents, is_error })
}

/// The fact of a log's line, without the digest behind it: of the kinds that nearly all lines have.
pub fn fact(json: &mut WrittenJson<'_>) -> Option<Fact> {
    json.needs(r#"{"at":"#)?;
    let at = json.count()?;
    json.needs(r#","seed":"#)?;
    let seed = json.value()?;
    let body = if json.is(r#","fact":"generated","generation":"#) {
        FactBody::Generated { generation: json.value_by(generation)? }
    } else {
        json.needs(r#","fact":"toolReturned","result":"#)?;
        FactBody::ToolReturned { result: json.value_by(result)? }
    };
    Some(Fact::new(Stamp { at, seed }, body))
}

fn generation(json: &mut WrittenJson<'_>) -> Option<Generation> {
    json.needs(r#"{"parts":"#)?;
    let parts = json.list(generated_part)?;
    json.needs(r#","finish":"#)?;
    let finish = json.value()?;
    let usage = if json.is(r#","usage":"#) { Some(json.value_by(usage)?) } else { None };
    let context_tokens = if json.is(r#","contextTokens":"#) { Some(json.count()?) } else { None };
    json.needs("}")?;
    Some(Generation { parts, finish, usage, context_tokens })
}

fn generated_part(json: &mut WrittenJson<'_>) -> Option<GeneratedPart> {
    if json.is(r#"{"type":"text","text":"#) {
        let text = json.text()?;
        json.needs("}")?;
        return Some(GeneratedPart::Text { text });
    }
    json.needs(r#"{"type":"toolCall","id":"#)?;
    let id = json.text()?;
    json.needs(r#","name":"#)?;
    let name = json.text()?;
    json.needs(r#","arguments":{"valid":"#)?;
    let arguments = Arguments::Valid(json.value()?);
    json.needs("}}")?;
    Some(GeneratedPart::ToolCall { id, name, arguments })
}

fn usage(json: &mut WrittenJson<'_>) -> Option<Usage> {
    json.needs(r#"{"inputTokens":"#)?;
    let input_tokens = json.count()?;
    json.needs(r#","outputTokens":"#)?;
    let output_tokens = json.count()?;
    json.needs(r#","reasoningTokens":"#)?;
    let reasoning_tokens = json.count()?;
    json.needs(r#","totalTokens":"#)?;
    let total_tokens = json.count()?;
    json.needs(r#","cachedInputTokens":"#)?;
    let cached_input_tokens = json.count()?;
    let is_written = json.is(r#","cacheWriteInputTokens":"#);
    let cache_write_input_tokens = if is_written { json.count()? } else { 0 };
    json.needs("}")?;
    Some(Usage {
        input_tokens,
        output_tokens,
        reasoning_tokens,
        total_tokens,
        cached_input_tokens,
        cache_write_input_tokens,
    })
}

fn result(json: &mut WrittenJson<'_>) -> Option<ToolResult> {
    json.needs(r#"{"id":"#)?;
    let id = json.text()?;
    json.needs(r#","skillName":"#)?;
    let skill_name = json.text()?;
    json.needs(r#","toolName":"#)?;
    let tool_name = json.text()?;
    json.needs(r#","result":"#)?;
    let result = json.list(text_part)?;
    let is_error = json.is(r#","isError":true"#);
    json.needs("}")?;
    Some(ToolResult { id, skill_name, tool_name, result, is_error, found_tools: Box::default() })
}

#[cfg(test)]
mod tests;
