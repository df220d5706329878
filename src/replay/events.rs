//! [`Events`]: an answer that streamed in, as the JSON of its events.
//!
//! `record` writes answers so where their text can be made again byte for byte, `play` makes it. An answer of single words
//! is hereby a list of words, where its text repeats a whole event for each.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::json_text::change_strings;

/// Fewest events that are worth a template.
const MIN_RUN: usize = 3;

/// The events of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Events {
    /// Each event has a line with the type that is in its data.
    #[serde(default, skip_serializing_if = "is_false")]
    named: bool,
    events: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Entry {
    /// Events that differ in one string: a pointer to it, one of the events, and the strings.
    Run(String, Value, Vec<String>),
    /// Data that is no JSON, such as `[DONE]`.
    Text(String),
    Data(Value),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Told apart by the kind of JSON: serde's own reading of such types tries each in a copy of the text's values.
impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfEntry;

        impl<'de> Visitor<'de> for OfEntry {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event, its text, or a list of events that differ in one string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Value::deserialize(MapAccessDeserializer::new(map)).map(Entry::Data)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Entry, A::Error> {
                let (pointer, like, strings) = Deserialize::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Entry::Run(pointer, like, strings))
            }
        }

        from.deserialize_any(OfEntry)
    }
}

impl Events {
    /// The events of a text, with `clean` applied to every string in them; `None` when they would not give the same text
    /// again without that. A string that came in pieces is cleaned as a whole.
    pub fn of_text(text: &str, clean: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let named = text.starts_with("event: ");
        let mut entries = Vec::new();
        for event in text.strip_suffix("\n\n")?.split("\n\n") {
            let data = if named { event.split_once('\n')?.1 } else { event };
            let data = data.strip_prefix("data: ")?;
            entries.push(match serde_json::from_str(data) {
                Ok(value @ Value::Object(_)) => Entry::Data(value),
                Ok(_) => return None,
                Err(_) => Entry::Text(data.to_owned()),
            });
        }
        let events = Self { named, events: entries };
        (events.to_text()? == text).then(|| Self { named, events: with_runs(cleaned(events.events, clean)) })
    }

    /// The text; `None` when a run's pointer leads nowhere.
    pub fn to_text(&self) -> Option<String> {
        let mut text = String::new();
        for entry in &self.events {
            match entry {
                Entry::Data(value) => self.add(&mut text, value),
                Entry::Text(data) => {
                    text.push_str("data: ");
                    text.push_str(data);
                    text.push_str("\n\n");
                }
                Entry::Run(pointer, like, strings) => {
                    let mut event = like.clone();
                    for string in strings {
                        *event.pointer_mut(pointer)? = Value::String(string.clone());
                        self.add(&mut text, &event);
                    }
                }
            }
        }
        Some(text)
    }

    fn add(&self, text: &mut String, data: &Value) {
        if self.named {
            text.push_str("event: ");
            text.push_str(data.get("type").and_then(Value::as_str).unwrap_or_default());
            text.push('\n');
        }
        text.push_str("data: ");
        text.push_str(&data.to_string());
        text.push_str("\n\n");
    }
}

/// The entries with `clean` applied to every string in them, and to what the pieces of one string are together. A piece
/// list that is changed hereby is in its first piece; the others are empty.
fn cleaned(mut entries: Vec<Entry>, clean: &dyn Fn(&str) -> Option<String>) -> Vec<Entry> {
    let mut from = 0;
    while let Some(Entry::Data(first)) = entries.get(from) {
        let first = without_counts(first);
        let (mut end, mut pointer) = (from + 1, None);
        while let Some(Entry::Data(next)) = entries.get(end)
            && let Some(place) = difference(&first, &without_counts(next)).filter(|place| !place.is_empty())
            && pointer.as_ref().is_none_or(|known| *known == place)
        {
            (end, pointer) = (end + 1, Some(place));
        }
        if let Some(pointer) = &pointer {
            clean_pieces(entries.get_mut(from..end).unwrap_or_default(), pointer, clean);
        }
        from = next_data(&entries, end);
    }
    for entry in &mut entries {
        match entry {
            Entry::Data(value) => change_strings(value, clean),
            Entry::Text(text) => {
                if let Some(cleaned) = clean(text) {
                    *text = cleaned;
                }
            }
            Entry::Run(..) => {}
        }
    }
    entries
}

/// The place of the next event that is JSON, from `from` on.
fn next_data(entries: &[Entry], from: usize) -> usize {
    let is_data = |entry: &Entry| matches!(entry, Entry::Data(_));
    entries.iter().skip(from).position(is_data).map_or(entries.len(), |at| from + at)
}

fn clean_pieces(pieces: &mut [Entry], pointer: &str, clean: &dyn Fn(&str) -> Option<String>) {
    let cleaned = |text: &str| clean(text).unwrap_or_else(|| text.to_owned());
    let strings = || pieces.iter().filter_map(|piece| piece.string(pointer));
    let (whole, single): (String, String) = (strings().collect(), strings().map(cleaned).collect());
    let mut changed = cleaned(&whole);
    if changed == single {
        return;
    }
    for piece in pieces {
        if let Entry::Data(event) = piece
            && let Some(string) = event.pointer_mut(pointer)
        {
            *string = Value::String(std::mem::take(&mut changed));
        }
    }
}

/// An event without what changes from piece to piece besides the piece: numbers, and OpenAI's padding.
fn without_counts(value: &Value) -> Value {
    match value {
        Value::Number(_) => Value::Null,
        Value::Array(items) => items.iter().map(without_counts).collect(),
        Value::Object(fields) => {
            let kept = |(key, field): (&String, &Value)| {
                let field = if key == "obfuscation" { Value::Null } else { without_counts(field) };
                (key.clone(), field)
            };
            fields.iter().map(kept).collect()
        }
        other => other.clone(),
    }
}

impl Entry {
    /// The string at a pointer of an event.
    fn string(&self, pointer: &str) -> Option<&str> {
        match self {
            Self::Data(value) => value.pointer(pointer)?.as_str(),
            Self::Run(..) | Self::Text(_) => None,
        }
    }
}

/// The entries, with those joined that differ in one string.
fn with_runs(entries: Vec<Entry>) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut rest = entries.into_iter().peekable();
    while let Some(entry) = rest.next() {
        let (Entry::Data(first), Some(Entry::Data(second))) = (&entry, rest.peek()) else {
            all.push(entry);
            continue;
        };
        let Some(pointer) = difference(first, second).filter(|pointer| !pointer.is_empty()) else {
            all.push(entry);
            continue;
        };
        let mut run = vec![first.clone()];
        while let Some(Entry::Data(next)) = rest.peek()
            && difference(first, next).is_some_and(|other| other == pointer || other.is_empty())
            && let Some(Entry::Data(next)) = rest.next()
        {
            run.push(next);
        }
        if run.len() < MIN_RUN {
            all.extend(run.into_iter().map(Entry::Data));
            continue;
        }
        let string = |event: &Value| event.pointer(&pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let strings = run.iter().map(string).collect();
        let mut like = first.clone();
        if let Some(string) = like.pointer_mut(&pointer) {
            *string = Value::from("");
        }
        all.push(Entry::Run(pointer, like, strings));
    }
    all
}

/// The place of the one string in which two values differ, empty when they are equal; `None` when they differ in something
/// else.
fn difference(one: &Value, other: &Value) -> Option<String> {
    let parts: Vec<(String, &Value, &Value)> = match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            if !one.keys().eq(other.keys()) {
                return None;
            }
            let key = |key: &str| key.replace('~', "~0").replace('/', "~1");
            one.iter().zip(other.values()).map(|((name, one), other)| (key(name), one, other)).collect()
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).enumerate().map(|(at, (one, other))| (at.to_string(), one, other)).collect()
        }
        _ => return (one == other).then(String::new),
    };
    let mut found = String::new();
    for (name, one, other) in parts {
        let below = match (one, other) {
            (Value::String(one), Value::String(other)) if one != other => Some(String::new()),
            _ if one == other => None,
            _ => Some(difference(one, other)?),
        };
        if let Some(below) = below {
            if !found.is_empty() {
                return None;
            }
            found = format!("/{name}{below}");
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let events = Events::of_text(text, &|_| None).unwrap();
        let written = serde_json::to_string(&events).unwrap();
        let read: Events = serde_json::from_str(&written).unwrap();
        assert_eq!(read.to_text().as_deref(), Some(text));
        written
    }

    #[test]
    fn words_are_a_list() {
        let delta = |text: &str| {
            format!("event: delta\ndata: {{\"type\":\"delta\",\"index\":0,\"delta\":{{\"text\":{text:?}}}}}\n\n")
        };
        let start = "event: start\ndata: {\"type\":\"start\"}\n\n";
        let text = [start, &delta("An"), &delta(" owl"), &delta(" owl"), &delta(" sees"), start].concat();
        assert_eq!(
            written(&text),
            r#"{"named":true,"events":[{"type":"start"},["/delta/text",{"type":"delta","index":0,"delta":{"text":""}},["An"," owl"," owl"," sees"]],{"type":"start"}]}"#
        );
        let two = [delta("An"), delta(" owl")].concat();
        assert!(!written(&two).contains("/delta/text"));
    }

    #[test]
    fn a_string_in_pieces_is_cleaned_as_a_whole() {
        let clean = |text: &str| text.contains("/home/me").then(|| text.replace("/home/me", "{home}"));
        let delta = |at: usize, text: &str| {
            format!("data: {{\"sequence\":{at},\"delta\":{text:?},\"obfuscation\":\"{}\"}}\n\n", "x".repeat(at))
        };
        let text = ["a /ho", "me/m", "e/owl", " b"].iter().enumerate().map(|(at, piece)| delta(at, piece));
        let text = text.collect::<String>() + "data: [DONE]\n\n";
        let cleaned = Events::of_text(&text, &clean).unwrap().to_text().unwrap();
        let expected = [delta(0, "a {home}/owl b"), delta(1, ""), delta(2, ""), delta(3, "")].concat();
        assert_eq!(cleaned, expected + "data: [DONE]\n\n");
        // What is whole in a piece leaves the pieces as they are.
        let text = [delta(0, "a "), delta(1, "/home/me/owl"), delta(2, " b")].concat();
        let cleaned = Events::of_text(&text, &clean).unwrap().to_text().unwrap();
        assert_eq!(cleaned, [delta(0, "a "), delta(1, "{home}/owl"), delta(2, " b")].concat());
        // Pieces of different strings are not one.
        let text = "data: {\"a\":\"/ho\",\"b\":\"\"}\n\ndata: {\"a\":\"/ho\",\"b\":\"me/me\"}\n\n";
        assert_eq!(Events::of_text(text, &clean).unwrap().to_text().unwrap(), text);
    }

    #[test]
    fn data_that_is_no_json_is_text() {
        let text = "data: {\"a\":[{\"b/c\":\"1\"}]}\n\ndata: {\"a\":[{\"b/c\":\"2\"}]}\n\ndata: {\"a\":[{\"b/c\":\"3\"}]}\n\ndata: [DONE]\n\n";
        assert_eq!(written(text), r#"{"events":[["/a/0/b~1c",{"a":[{"b/c":""}]},["1","2","3"]],"[DONE]"]}"#);
    }

    #[test]
    fn a_text_that_would_not_come_back_is_none() {
        for text in [
            "",
            "data: {}",
            "data: {}\n",
            "data: {}\r\n\r\n",
            "data:{}\n\n",
            "data: { }\n\n",
            "data: \"text\"\n\n",
            "data: [1,{},[\"a\"]]\n\n",
            "data: 1.50\n\n",
            ": comment\n\ndata: {}\n\n",
            "id: 1\ndata: {}\n\n",
            "event: a\ndata: {\"type\":\"b\"}\n\n",
            "event: a\ndata: {\"type\":\"a\"}\n\ndata: {}\n\n",
            "data: {\"a\":1,\"a\":2}\n\n",
            "data: {}\n\ndata: {\"torn",
        ] {
            assert_eq!(Events::of_text(text, &|_| None), None, "{text:?}");
        }
    }
}
