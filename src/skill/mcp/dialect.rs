//! Messages as servers write them, mended into those that the protocol has: nothing as `null` or as an empty list, halves
//! of characters, a name without a version, an error that is a text. Every transport reads through here.

use rmcp::model::{ErrorCode, ErrorData, RequestId, ServerJsonRpcMessage};
use serde_json::{Map, Value, json};

/// The messages that a text holds: one, those of a batch (revision 2025-03-26), or none.
pub(super) fn messages(bytes: &[u8]) -> Vec<ServerJsonRpcMessage> {
    // A byte order mark may open a stream.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let parsed = serde_json::from_slice(bytes).or_else(|_| serde_json::from_str(&whole_characters(bytes)));
    match parsed {
        Ok(Value::Array(batch)) => batch.into_iter().filter_map(message).collect(),
        Ok(value) => message(value).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

/// The message that `value` is. An answer that keeps to no known shape becomes an error, so that nobody waits for it.
fn message(mut value: Value) -> Option<ServerJsonRpcMessage> {
    mend(&mut value);
    let is_answer = value.get("method").is_none() && (value.get("result").is_some() || value.get("error").is_some());
    let id: Option<RequestId> = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
    serde_json::from_value(value).ok().or_else(|| {
        let error = ErrorData::internal_error("the server's answer is no JSON-RPC 2.0 response", None);
        is_answer.then_some(id?).map(|id| ServerJsonRpcMessage::error(error, Some(id)))
    })
}

fn mend(message: &mut Value) {
    let Some(message) = message.as_object_mut() else { return };
    // A member that is null is absent, where the other one is there.
    for (one, other) in [("result", "error"), ("error", "result")] {
        if message.get(one).is_some_and(Value::is_null) && message.get(other).is_some_and(|value| !value.is_null()) {
            message.shift_remove(one);
        }
    }
    if let Some(error) = message.get_mut("error") {
        mend_error(error);
    }
    let Some(result) = message.get_mut("result").and_then(Value::as_object_mut) else { return };
    if result.contains_key("protocolVersion") {
        mend_greeting(result);
    }
}

/// The reason in an error: its text, or whatever is in its place.
fn mend_error(error: &mut Value) {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let Some(object) = error.as_object_mut() else {
        *error = json!({"code": ErrorCode::INTERNAL_ERROR, "message": text(error.take())});
        return;
    };
    let code = object.get("code").and_then(|code| match code {
        Value::String(digits) => digits.trim().parse().ok(),
        number => number.as_i64().and_then(|number| i32::try_from(number).ok()),
    });
    object.insert("code".to_owned(), code.unwrap_or(ErrorCode::INTERNAL_ERROR.0).into());
    if !object.get("message").is_some_and(Value::is_string) {
        let words = object.get_mut("message").map_or_else(|| "no reason given".to_owned(), |words| text(words.take()));
        object.insert("message".to_owned(), words.into());
    }
}

/// The answer to `initialize`.
fn mend_greeting(greeting: &mut Map<String, Value>) {
    let capabilities = greeting.entry("capabilities").or_insert_with(|| Value::Object(Map::new()));
    *capabilities = object(capabilities.take()).unwrap_or_default().into();
    if let Some(capabilities) = capabilities.as_object_mut() {
        for name in ["tools", "resources", "prompts", "logging", "completions", "experimental", "extensions"] {
            if let Some(value) = capabilities.get_mut(name) {
                match object(value.take()) {
                    Some(object) => *value = object.into(),
                    None => drop(capabilities.shift_remove(name)),
                }
            }
        }
    }
    match greeting.get_mut("serverInfo") {
        Some(Value::Object(info)) => {
            for member in ["name", "version"] {
                if !info.get(member).is_some_and(Value::is_string) {
                    info.insert(member.to_owned(), Value::from("unknown"));
                }
            }
        }
        _ => drop(greeting.insert("serverInfo".to_owned(), json!({"name": "unknown", "version": "unknown"}))),
    }
}

/// An object, also where it is written as an empty list, as PHP does, or as `true`. None for what stands for nothing.
fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        Value::Array(list) if list.is_empty() => Some(Map::new()),
        Value::Bool(true) => Some(Map::new()),
        _ => None,
    }
}

/// A JSON text with U+FFFD in the place of bytes that are no UTF-8 and of escapes of half a character.
fn whole_characters(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut whole = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let unit = |from: usize| -> Option<u32> {
            let escape = escape.get(from..from + 6)?.strip_prefix("\\u")?;
            u32::from_str_radix(escape, 16).ok()
        };
        let (end, replacement) = match unit(0) {
            Some(0xd800..0xdc00) if matches!(unit(6), Some(0xdc00..0xe000)) => (12, None),
            Some(0xd800..0xe000) => (6, Some("\\ufffd")),
            // The next character is part of the escape, a backslash above all.
            _ => (1 + escape.chars().nth(1).map_or(0, char::len_utf8), None),
        };
        whole.push_str(replacement.unwrap_or_else(|| escape.get(..end).unwrap_or_default()));
        rest = escape.get(end..).unwrap_or_default();
    }
    whole.push_str(rest);
    whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<Value> {
        messages(text.as_bytes()).into_iter().map(|message| serde_json::to_value(message).unwrap()).collect()
    }

    #[test]
    fn halves_of_characters_are_replaced_and_whole_ones_stay() {
        for (text, expected) in [
            (r"a \ud83d", "a \u{fffd}"),
            (r"\ude00 b", "\u{fffd} b"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
            (r"\\ud83d \ud83d", "\\ud83d \u{fffd}"),
            (r"\ud83dx \u00e4", "\u{fffd}x \u{e4}"),
            (r"\ud83", "\\ud83"),
        ] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{text}"}}}}"#);
            let found = read(&line).first().map(|message| message["result"]["x"].clone());
            assert!(found == Some(json!(expected)) || (text == r"\ud83" && found.is_none()), "{text}: {found:?}");
        }
        let bytes = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":\"a\xff\"}}";
        assert_eq!(messages(bytes).len(), 1);
    }

    #[test]
    fn nothing_is_nothing_however_it_is_written() {
        let found = read(r#"{"jsonrpc":"2.0","id":1,"result":{"x":1},"error":null}"#);
        assert_eq!(found, [json!({"jsonrpc": "2.0", "id": 1, "result": {"x": 1}})]);
        let found = read(r#"{"jsonrpc":"2.0","id":1,"result":null,"error":{"code":-1,"message":"no"}}"#);
        assert_eq!(found[0]["error"]["message"], "no");
    }

    #[test]
    fn an_error_keeps_its_reason_however_it_is_written() {
        for (error, expected) in [
            (json!("oops"), json!({"code": -32603, "message": "oops"})),
            (json!({"message": "oops"}), json!({"message": "oops", "code": -32603})),
            (json!({"code": "-32601", "message": "oops"}), json!({"code": -32601, "message": "oops"})),
            (json!({"code": 5e9, "message": {"why": 1}}), json!({"code": -32603, "message": r#"{"why":1}"#})),
            (json!({"code": 7}), json!({"code": 7, "message": "no reason given"})),
            (json!([1]), json!({"code": -32603, "message": "[1]"})),
            (json!({"code": 7, "message": "m", "data": 1}), json!({"code": 7, "message": "m", "data": 1})),
        ] {
            let found = read(&json!({"jsonrpc": "2.0", "id": 1, "error": error}).to_string());
            assert_eq!(found, [json!({"jsonrpc": "2.0", "id": 1, "error": expected})], "{error}");
        }
    }

    #[test]
    fn greetings_are_read_whatever_they_leave_out() {
        for (capabilities, expected) in [
            (json!({"tools": []}), json!({"tools": {}})),
            (json!([]), json!({})),
            (json!(null), json!({})),
            (json!({"tools": true, "prompts": null, "logging": false}), json!({"tools": {}})),
            (json!({"tools": {"listChanged": true}}), json!({"tools": {"listChanged": true}})),
        ] {
            let greeting = json!({"jsonrpc": "2.0", "id": 0, "result": {
                "protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": {"name": "odd"}}});
            let found = read(&greeting.to_string()).remove(0)["result"].clone();
            assert_eq!(found["capabilities"], expected, "{capabilities}");
            assert_eq!(found["serverInfo"]["version"], "unknown");
        }
        let greeting = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18"}}"#;
        let found = read(greeting).remove(0)["result"].clone();
        assert_eq!(found["serverInfo"], json!({"name": "unknown", "version": "unknown"}));
    }
}
