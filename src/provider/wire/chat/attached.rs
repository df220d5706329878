//! Fields that a server attaches to a message or a call and wants back with it: signatures and encrypted reasoning.
//!
//! `decode` keeps them as opaque blocks beside the message's parts, `encode` puts them back. That they go only to the model
//! that made them is left to the caller of the protocol.

use serde_json::{Map, Value, json};

/// Fields of a message: those of `OpenRouter`, Google, `LiteLLM` and Copilot.
pub const OF_MESSAGE: [&str; 5] =
    ["reasoning_details", "extra_content", "thinking_blocks", "provider_specific_fields", "reasoning_opaque"];

/// Fields of a call.
pub const OF_CALL: [&str; 3] = ["extra_content", "provider_specific_fields", "thought_signature"];

/// The type of a block that keeps such fields.
const ATTACHED: &str = "attached";

/// Adds the fields of a chunk to those so far; true when there are any. Objects are merged, lists joined.
pub fn collect(known: &mut Map<String, Value>, chunk: &Value, fields: &[&str]) -> bool {
    let mut has_any = false;
    for key in fields {
        let value = chunk.get(*key).filter(|value| !is_empty(value));
        let Some(value) = value else { continue };
        has_any = true;
        match known.get_mut(*key) {
            Some(known) => merge(known, value),
            None => _ = known.insert((*key).to_owned(), value.clone()),
        }
    }
    has_any
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn merge(known: &mut Value, more: &Value) {
    match (known, more) {
        (Value::Object(known), Value::Object(more)) => {
            for (key, value) in more {
                match known.get_mut(key) {
                    Some(known) => merge(known, value),
                    None => _ = known.insert(key.clone(), value.clone()),
                }
            }
        }
        (Value::Array(known), Value::Array(more)) => more.iter().for_each(|item| join_item(known, item)),
        (known, more) if !is_empty(more) => *known = more.clone(),
        _ => {}
    }
}

/// Adds an item of a list. Text of one entry comes in pieces: they have its type and index, and follow one another.
fn join_item(known: &mut Vec<Value>, item: &Value) {
    let of = |value: &Value, key: &str| value.get(key).cloned();
    let last = known.last_mut().filter(|last| {
        item.get("index").is_some() && ["index", "type"].iter().all(|key| of(last, key) == of(item, key))
    });
    let (Some(Value::Object(last)), Value::Object(more)) = (last, item) else {
        known.push(item.clone());
        return;
    };
    for (key, value) in more {
        match (last.get_mut(key), value) {
            (Some(Value::String(text)), Value::String(piece))
                if matches!(key.as_str(), "text" | "summary" | "data") =>
            {
                text.push_str(piece);
            }
            (Some(_), value) if is_empty(value) => {}
            _ => _ = last.insert(key.clone(), value.clone()),
        }
    }
}

/// The block that keeps the fields of a message and, by their places, of its calls.
pub fn block<'a>(message: &Map<String, Value>, calls: impl Iterator<Item = &'a Map<String, Value>>) -> Value {
    let calls: Vec<&Map<String, Value>> = calls.collect();
    json!({"type": ATTACHED, "message": message, "calls": calls})
}

/// Puts the fields that a block keeps back into a message and its calls.
pub fn restore(block: &Value, message: &mut Map<String, Value>, calls: &mut [Value]) {
    if block.get("type").and_then(Value::as_str) != Some(ATTACHED) {
        return;
    }
    if let Some(fields) = block.get("message").and_then(Value::as_object) {
        message.extend(fields.clone());
    }
    let kept = block.get("calls").and_then(Value::as_array).into_iter().flatten();
    for (call, fields) in calls.iter_mut().zip(kept) {
        if let (Value::Object(call), Value::Object(fields)) = (call, fields) {
            call.extend(fields.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_one_entry_are_joined_and_others_follow() {
        let mut known = Map::new();
        let entry = |text: &str, signature: Value| {
            json!({"reasoning_details": [
                {"type": "reasoning.text", "index": 0, "text": text, "signature": signature}]})
        };
        assert!(collect(&mut known, &entry("a", Value::Null), &OF_MESSAGE));
        assert!(collect(&mut known, &entry("b", json!("S")), &OF_MESSAGE));
        let encrypted = json!({"type": "reasoning.encrypted", "data": "E", "index": 1});
        assert!(collect(&mut known, &json!({"reasoning_details": [encrypted]}), &OF_MESSAGE));
        assert!(!collect(&mut known, &json!({"reasoning_details": [], "content": "x"}), &OF_MESSAGE));
        let expected = json!({"reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "S"}, encrypted]});
        assert_eq!(Value::Object(known.clone()), expected);
        let mut message = Map::new();
        restore(&block(&known, [].into_iter()), &mut message, &mut []);
        assert_eq!(message, known);
    }

    #[test]
    fn objects_are_merged() {
        let mut known = Map::new();
        for part in [json!({"google": {"thought_signature": "S"}}), json!({"google": {"x": 1}, "y": 2})] {
            assert!(collect(&mut known, &json!({"extra_content": part}), &OF_CALL));
        }
        let expected = json!({"extra_content": {"google": {"thought_signature": "S", "x": 1}, "y": 2}});
        assert_eq!(Value::Object(known.clone()), expected);
        let mut calls = [json!({"id": "a"}), json!({"id": "b"})];
        let none = Map::new();
        restore(&block(&none, [&none, &known].into_iter()), &mut Map::new(), &mut calls);
        assert_eq!((&calls[0], &calls[1]["extra_content"]), (&json!({"id": "a"}), &expected["extra_content"]));
    }
}
