//! Messages, arguments and results as the conventions have them: JSON texts, each bounded. `agent` calls it where the user
//! asks for content.

use perstack::content::{Content, ExpertPart, ResultPart};
use perstack::generation::{Arguments, GeneratedPart, Generation};
use perstack::message::Message;
use serde_json::{Value, json};

use super::names;

/// Most bytes of one attribute: enough to read a conversation's latest turns, and far below what collectors refuse.
const MOST_BYTES: usize = 32 << 10;

/// The instruction of a conversation.
pub fn instructions(history: &[Message]) -> Option<String> {
    let parts = history.iter().find_map(|message| match message {
        Message::InstructionMessage { contents, .. } => Some(contents.iter().map(part).collect::<Vec<Value>>()),
        _ => None,
    })?;
    // In whole parts, or not at all: a text that is cut is no JSON.
    Some(Value::from(parts).to_string()).filter(|text| text.len() <= MOST_BYTES)
}

/// The messages of a conversation without its instruction: the latest of them, as far as there is room.
pub fn input(history: &[Message]) -> String {
    let mut room = MOST_BYTES;
    let mut texts = Vec::new();
    for message in history.iter().rev().filter_map(message) {
        let text = message.to_string();
        let Some(left) = room.checked_sub(text.len() + 1) else { break };
        room = left;
        texts.push(text);
    }
    texts.reverse();
    format!("[{}]", texts.join(","))
}

/// The answer of a model.
pub fn output(generation: &Generation) -> Option<String> {
    let parts: Vec<Value> = generation.parts.iter().filter_map(generated).collect();
    let reason = names::finish_reason(&generation.finish);
    let message = json!([{ "role": "assistant", "parts": parts, "finish_reason": reason }]);
    Some(message.to_string()).filter(|text| text.len() <= MOST_BYTES)
}

/// A call's arguments.
pub fn arguments(arguments: &serde_json::Map<String, Value>) -> String {
    cut(Value::from(arguments.clone()).to_string())
}

/// A call's result.
pub fn result(contents: &[Content]) -> String {
    cut(text_of(contents))
}

/// As much of `text` as there is room for.
fn cut(mut text: String) -> String {
    if text.len() > MOST_BYTES {
        text.truncate(text.floor_char_boundary(MOST_BYTES));
    }
    text
}

/// The text of a result: of several parts, all of it, each on lines of its own.
fn text_of(contents: &[Content]) -> String {
    let texts =
        contents.iter().map(|content| content.as_text().map_or_else(|| part(content).to_string(), str::to_owned));
    texts.collect::<Vec<String>>().join("\n")
}

fn message(message: &Message) -> Option<Value> {
    let (role, parts): (&str, Vec<Value>) = match message {
        Message::InstructionMessage { .. } => return None,
        Message::UserMessage { contents, .. } => ("user", contents.iter().map(part).collect()),
        Message::ExpertMessage { contents, .. } => ("assistant", contents.iter().filter_map(of_expert).collect()),
        Message::ToolMessage { contents, .. } => ("tool", contents.iter().map(answered).collect()),
    };
    Some(json!({ "role": role, "parts": parts }))
}

/// A part of a message of the user. Media are named, not sent along.
fn part(content: &Content) -> Value {
    match content {
        Content::TextPart { text, .. } => json!({ "type": "text", "content": text }),
        Content::ImageUrlPart { url, mime_type, .. } => uri("image", mime_type, url),
        Content::FileUrlPart { url, mime_type, .. } => uri("document", mime_type, url),
        Content::ImageInlinePart { mime_type, .. } | Content::ImageBinaryPart { mime_type, .. } => {
            left_out("image", mime_type)
        }
        Content::FileInlinePart { mime_type, .. } | Content::FileBinaryPart { mime_type, .. } => {
            left_out("document", mime_type)
        }
    }
}

fn uri(modality: &str, mime_type: &str, uri: &str) -> Value {
    json!({ "type": "uri", "modality": modality, "mime_type": mime_type, "uri": uri })
}

fn left_out(modality: &str, mime_type: &str) -> Value {
    json!({ "type": "left_out", "modality": modality, "mime_type": mime_type })
}

/// A part of an earlier answer; blocks that only their provider reads are left out.
fn of_expert(part: &ExpertPart) -> Option<Value> {
    match part {
        ExpertPart::TextPart { text, .. } => Some(json!({ "type": "text", "content": text })),
        ExpertPart::ThinkingPart { thinking, .. } => reasoning(&thinking.thinking),
        ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => Some(call(tool_call_id, tool_name, args)),
        ExpertPart::OpaquePart { .. } => None,
    }
}

fn generated(part: &GeneratedPart) -> Option<Value> {
    match part {
        GeneratedPart::Text { text } => Some(json!({ "type": "text", "content": text })),
        GeneratedPart::Thinking { thinking } => reasoning(&thinking.thinking),
        GeneratedPart::ToolCall { id, name, arguments: Arguments::Valid(map) } => {
            Some(call(id, name, &Value::from(map.clone())))
        }
        GeneratedPart::ToolCall { id, name, arguments: Arguments::Invalid(text) } => {
            Some(call(id, name, &Value::from(text.as_str())))
        }
        GeneratedPart::Opaque { .. } => None,
    }
}

fn reasoning(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!({ "type": "reasoning", "content": text }))
}

fn call(id: &str, name: &str, arguments: &Value) -> Value {
    json!({ "type": "tool_call", "id": id, "name": name, "arguments": arguments })
}

fn answered(part: &ResultPart) -> Value {
    let ResultPart::ToolResultPart { tool_call_id, contents, .. } = part;
    json!({ "type": "tool_call_response", "id": tool_call_id, "response": text_of(contents) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Message {
        Message::UserMessage { id: "m".to_owned(), contents: vec![Content::text(text)], cache: false }
    }

    #[test]
    fn a_conversation_has_the_conventions_form() {
        let instruction =
            Message::InstructionMessage { id: "i".to_owned(), contents: vec![Content::text("Rule.")], cache: true };
        let calls = Message::ExpertMessage {
            id: "e".to_owned(),
            contents: vec![ExpertPart::ToolCallPart {
                id: "p".to_owned(),
                tool_call_id: "c1".to_owned(),
                tool_name: "find".to_owned(),
                args: json!({"q": "owl"}),
            }],
            cache: false,
        };
        let results = Message::ToolMessage {
            id: "t".to_owned(),
            contents: vec![ResultPart::ToolResultPart {
                id: "p".to_owned(),
                tool_call_id: "c1".to_owned(),
                tool_name: "find".to_owned(),
                contents: vec![Content::text("one"), Content::text("two")],
                is_error: false,
            }],
            cache: false,
        };
        let history = [instruction, user("Hi."), calls, results];
        assert_eq!(instructions(&history).as_deref(), Some(r#"[{"type":"text","content":"Rule."}]"#));
        let expected = json!([
            { "role": "user", "parts": [{ "type": "text", "content": "Hi." }] },
            { "role": "assistant", "parts": [
                { "type": "tool_call", "id": "c1", "name": "find", "arguments": { "q": "owl" } }
            ] },
            { "role": "tool", "parts": [{ "type": "tool_call_response", "id": "c1", "response": "one\ntwo" }] },
        ]);
        assert_eq!(serde_json::from_str::<Value>(&input(&history)).unwrap(), expected);
    }

    #[test]
    fn a_long_conversation_is_cut_at_its_beginning_and_stays_json() {
        let history: Vec<Message> = (0..100).map(|n| user(&format!("{n} {}", "owl".repeat(500)))).collect();
        let text = input(&history);
        assert!(text.len() <= MOST_BYTES + 2, "{}", text.len());
        let messages: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(messages.len() > 10, "{}", messages.len());
        assert!(messages.last().unwrap().to_string().contains("99 owl"));
        assert_eq!(input(&[user(&"é".repeat(MOST_BYTES))]), "[]");
        assert_eq!(result(&[Content::text(format!("a{}", "é".repeat(MOST_BYTES)))]).len(), MOST_BYTES - 1);
    }
}
