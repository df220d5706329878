//! Tests of reading by the form in which records are written: it is quick where it should be, and reads as serde does.

use serde_json::json;

use super::*;
use crate::content::{Opaque, Thinking};
use crate::generation::FinishReason;

/// Texts with all that JSON escapes.
const TEXT: &str = "a\"\\/\n\u{1}\u{7f}\u{2028}ü🦉 {\"type\":\"textPart\"}";

fn text(text: &str) -> Content {
    Content::TextPart { id: "t".into(), text: text.into() }
}

fn image() -> Content {
    Content::ImageInlinePart { id: "i".into(), encoded_data: "b3ds".into(), mime_type: "image/png".into() }
}

fn call(args: serde_json::Value) -> ExpertPart {
    ExpertPart::ToolCallPart { id: "p".into(), tool_call_id: "c".into(), tool_name: "t".into(), args }
}

fn answer(contents: Vec<Content>, is_error: bool) -> ResultPart {
    let (tool_call_id, tool_name) = ("c".into(), "t".into());
    ResultPart::ToolResultPart { id: "r".into(), tool_call_id, tool_name, contents, is_error }
}

/// Messages that nearly all of a conversation is made of.
fn usual_messages() -> Vec<Message> {
    let (id, cache) = (|| "m".to_owned(), false);
    let beside = ExpertPart::TextPart { id: "e".into(), text: TEXT.into() };
    vec![
        Message::InstructionMessage { id: id(), contents: vec![text("")], cache },
        Message::UserMessage { id: TEXT.into(), contents: vec![text(TEXT), text("b")], cache },
        Message::UserMessage { id: id(), contents: Vec::new(), cache },
        Message::ExpertMessage {
            id: id(),
            contents: vec![beside, call(json!({"path": TEXT, "n": [1.5, null]}))],
            cache,
        },
        Message::ExpertMessage { id: id(), contents: vec![call(json!(null))], cache },
        Message::ToolMessage {
            id: id(),
            contents: vec![answer(vec![text(TEXT)], false), answer(Vec::new(), true)],
            cache,
        },
    ]
}

/// Messages of which a part, or all, is left to serde.
fn other_messages() -> Vec<Message> {
    let id = || "m".to_owned();
    let thinking = Thinking { thinking: TEXT.into(), signature: Some("s".into()), ..Thinking::default() };
    let opaque = Opaque { protocol: "p".into(), block: json!(null) };
    vec![
        Message::UserMessage { id: id(), contents: vec![text("a"), image()], cache: true },
        Message::ExpertMessage {
            id: id(),
            contents: vec![
                ExpertPart::ThinkingPart { id: "x".into(), thinking },
                ExpertPart::OpaquePart { id: "o".into(), opaque },
            ],
            cache: false,
        },
        Message::ToolMessage { id: id(), contents: vec![answer(vec![image()], true)], cache: true },
    ]
}

fn generated(parts: Vec<GeneratedPart>, usage: Option<Usage>, context_tokens: Option<u64>) -> FactBody {
    let generation = Generation { parts, finish: FinishReason::Other(TEXT.into()), usage, context_tokens };
    FactBody::Generated { generation }
}

fn returned(result: Vec<Content>, is_error: bool, found_tools: &[&str]) -> FactBody {
    let found_tools = found_tools.iter().map(|tool| (*tool).to_owned()).collect();
    let (id, skill_name, tool_name) = ("c".into(), TEXT.into(), "t".into());
    FactBody::ToolReturned { result: ToolResult { id, skill_name, tool_name, result, is_error, found_tools } }
}

fn usual_facts() -> Vec<Fact> {
    let stamp = Stamp { at: count::MAX, seed: u64::MAX };
    let arguments = Arguments::Valid(serde_json::Map::from_iter([("a".to_owned(), json!({"b": TEXT}))]));
    let called = GeneratedPart::ToolCall { id: "c".into(), name: "t".into(), arguments };
    let usage = Usage { input_tokens: 1, output_tokens: 2, total_tokens: 3, ..Usage::default() };
    let cached = Usage { cache_write_input_tokens: 9, cached_input_tokens: 8, ..usage };
    [
        generated(vec![GeneratedPart::Text { text: TEXT.into() }, called], Some(usage), Some(7)),
        generated(Vec::new(), Some(cached), None),
        generated(Vec::new(), None, None),
        returned(vec![text(TEXT)], false, &[]),
        returned(Vec::new(), true, &[]),
    ]
    .map(|body| Fact::new(stamp, body))
    .into()
}

fn other_facts() -> Vec<Fact> {
    let stamp = Stamp { at: 1, seed: 2 };
    let broken =
        GeneratedPart::ToolCall { id: "c".into(), name: "t".into(), arguments: Arguments::Invalid("{".into()) };
    let mut facts: Vec<Fact> = [
        generated(vec![broken], None, None),
        returned(vec![image(), text("a")], false, &["found"]),
        FactBody::Interrupted,
    ]
    .map(|body| Fact::new(stamp, body))
    .into();
    facts.extend(usual_facts().into_iter().take(1).map(|fact| Fact { recorded: true, ..fact }));
    facts
}

/// All of `text` by the quick way alone.
fn quickly<T>(text: &str, read: impl FnOnce(&mut WrittenJson<'_>) -> Option<T>) -> Option<T> {
    let mut json = WrittenJson::new(text);
    read(&mut json).filter(|_| json.rest().is_empty())
}

/// A fact, whose object is ended behind what is read of it.
fn fact_quickly(text: &str) -> Option<Fact> {
    quickly(text, |json| fact(json).filter(|_| json.is("}")))
}

#[test]
fn what_a_record_is_mostly_made_of_is_not_left_to_serde() {
    for message in usual_messages() {
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(quickly(&text, super::message).as_ref(), Some(&message), "{text}");
    }
    for fact in usual_facts() {
        let text = serde_json::to_string(&fact).unwrap();
        assert_eq!(fact_quickly(&text).as_ref(), Some(&fact), "{text}");
    }
}

#[test]
fn messages_of_any_form_are_read() {
    let all: Vec<Message> = usual_messages().into_iter().chain(other_messages()).collect();
    let compact = serde_json::to_string(&all).unwrap();
    let spaced = compact.replace("},{", "},\n {").replace("\",\"", "\" , \"");
    for text in [compact, spaced] {
        assert_eq!(quickly(&text, messages).as_ref(), Some(&all), "{text}");
    }
    assert_eq!(quickly("[]", messages), Some(Vec::new()));
}

#[test]
fn messages_are_written_as_serde_writes_them() {
    let all: Vec<Message> = usual_messages().into_iter().chain(other_messages()).collect();
    for some in [&all[..], &all[..1], &[]] {
        let mut written = b"[".to_vec();
        write::messages(&mut written, some);
        written.push(b']');
        assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(some).unwrap());
    }
}

/// Texts that a few wrong bytes make of `text`.
fn damaged(text: &str) -> impl Iterator<Item = String> {
    let places = text.char_indices().map(|(at, letter)| (at, at + letter.len_utf8()));
    places.flat_map(move |(from, to)| {
        let (before, behind) = (&text[..from], &text[to..]);
        ["", "\"", "\\", "}", "]", ",", "0", "-", " ", "x", "\u{1}", "\"id\":\"z\","]
            .map(|other| format!("{before}{other}{behind}"))
    })
}

#[test]
fn nothing_is_read_as_something_else_than_serde_reads() {
    for message in usual_messages().into_iter().chain(other_messages()) {
        for text in damaged(&serde_json::to_string(&message).unwrap()) {
            if let Some(read) = quickly(&text, super::message) {
                assert_eq!(serde_json::from_str::<Message>(&text).ok(), Some(read), "{text}");
            }
        }
    }
    for fact in usual_facts().into_iter().chain(other_facts()) {
        for text in damaged(&serde_json::to_string(&fact).unwrap()) {
            if let Some(read) = fact_quickly(&text) {
                assert_eq!(serde_json::from_str::<Fact>(&text).ok(), Some(read), "{text}");
            }
        }
    }
}
