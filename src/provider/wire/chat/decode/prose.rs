//! [`Prose`]: text and reasoning of one field of a message.

use serde_json::Value;

/// Text and reasoning of one field.
#[derive(Debug, Default)]
pub(super) struct Prose {
    pub(super) thinking: String,
    pub(super) text: String,
}

impl Prose {
    pub(super) fn whole(self) -> String {
        self.thinking + &self.text
    }
}

/// Reads a text, or a list of chunks with a type, as Mistral's reasoning models send it. Chunks of other types (images,
/// references to sources) have no text.
pub(super) fn prose(value: &Value) -> Prose {
    match value {
        Value::String(text) => Prose { thinking: String::new(), text: text.clone() },
        Value::Array(chunks) => {
            let mut all = Prose::default();
            for chunk in chunks {
                let Prose { thinking, text } = prose(chunk);
                all.thinking.push_str(&thinking);
                all.text.push_str(&text);
            }
            all
        }
        Value::Object(chunk) => {
            let kind = chunk.get("type").and_then(Value::as_str).unwrap_or("text");
            let is_thinking = matches!(kind, "thinking" | "reasoning" | "reasoning_content");
            let fields =
                ["thinking", "reasoning", "text", "content", "refusal"].iter().filter_map(|key| chunk.get(*key));
            let text = fields.map(|field| prose(field).whole()).find(|text| !text.is_empty()).unwrap_or_default();
            if is_thinking {
                Prose { thinking: text, text: String::new() }
            } else {
                Prose { thinking: String::new(), text }
            }
        }
        _ => Prose::default(),
    }
}
