//! [`ResponsesEncoder`]: requests to Responses bodies.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::native;
use super::{NAME, string};
use crate::content::{Content, ExpertPart, ResultPart, Thinking};
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::media::{Media, MediaLimits};
use crate::provider::wire::schema;
use crate::provider::wire::settled_text::{SettledText, json};
use crate::provider::{EncodedRequest, Encoder};
use crate::tool::ToolSpec;

/// The note before the result of a tool that failed: the protocol has no field for it.
pub(in crate::provider) const ERROR_NOTE: &str = "The tool reported an error:";

/// Writes the requests of one conversation. Of equal requests the bodies are equal byte for byte, and a request that goes
/// on with a conversation begins with the earlier one's input, as prompt caching needs it. Every item is settled at once.
pub(super) struct ResponsesEncoder {
    is_reasoning: bool,
    native: Vec<Value>,
    /// The list of tools; `None` without any.
    tools: Option<Bytes>,
    input: SettledText,
}

impl ResponsesEncoder {
    pub(super) fn new(request: &GenerateRequest<'_>) -> Self {
        let native = native::tools(request.native);
        Self {
            is_reasoning: is_reasoning_model(request.model),
            tools: tools(request, &native),
            native,
            input: SettledText::default(),
        }
    }
}

impl Encoder for ResponsesEncoder {
    fn add(&mut self, message: &Message) {
        let system_role = if self.is_reasoning { "developer" } else { "system" };
        self.input.push_items(&items(message, system_role));
    }

    fn set_tools(&mut self, request: &GenerateRequest<'_>) {
        self.tools = tools(request, &self.native);
    }

    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        let mut body = BodyText::new();
        body.field("model", request.model);
        body.field("stream", &true);
        body.field("store", &false);
        if let Some(limit) = request.max_output_tokens {
            body.field("max_output_tokens", &limit);
        }
        if !request.occasion.run.is_empty() {
            body.field("prompt_cache_key", cache_key(request.occasion.run));
        }
        let mut include = native::include(&self.native);
        if self.is_reasoning {
            // Also when no effort is asked for: such a model reasons by default, and continues better with its reasoning.
            include.insert(0, "reasoning.encrypted_content");
            if let Some(effort) = effort(request) {
                body.field("reasoning", &json!({"effort": effort, "summary": "auto"}));
            }
        }
        if !include.is_empty() {
            body.field("include", &include);
        }
        if let Some(tools) = &self.tools {
            body.shared("tools", tools);
            body.field("tool_choice", "auto");
        }
        body.list("input", &self.input);
        EncodedRequest { path: "/responses".to_owned(), headers: Vec::new(), body: body.finish() }
    }
}

/// Most characters of a cache key that OpenAI takes.
const CACHE_KEY_LIMIT: usize = 64;

/// The key that requests of one Run share, for OpenAI's cache; the end of a long id is more specific than its
/// beginning.
pub(in crate::provider) fn cache_key(run: &str) -> &str {
    let start = run.len().saturating_sub(CACHE_KEY_LIMIT);
    run.get(start..).unwrap_or_default()
}

/// Returns true for a model that reasons, by OpenAI's names: `o1` and later, `gpt-5` and later without the chat
/// variants, `codex-*`; also as a fine-tune (`ft:`) or behind a gateway's prefix (`openai/`). Any other (an Azure
/// deployment, a local model) counts as one that does not: a budget is set by default, so every request would ask for
/// reasoning, and models without it refuse the field.
pub(in crate::provider) fn is_reasoning_model(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let major = |rest: &str| {
        let digits =
            rest.find(|letter: char| !letter.is_ascii_digit()).map_or(rest, |end| rest.get(..end).unwrap_or(""));
        digits.parse::<u32>().unwrap_or(0)
    };
    match (name.strip_prefix("gpt-"), name.strip_prefix('o')) {
        (Some(version), _) => major(version) >= 5 && !name.contains("-chat"),
        (None, Some(version)) => major(version) >= 1,
        (None, None) => name.starts_with("codex-"),
    }
}

/// The pro models of the GPT series refuse low efforts; `high` is the one that each of them takes.
fn effort(request: &GenerateRequest<'_>) -> Option<&'static str> {
    let is_pro = request.model.contains("gpt-") && request.model.contains("-pro");
    request.reasoning.effort().map(|effort| if is_pro { "high" } else { effort })
}

/// The list of tools; `None` without any. Those that were found are the last, behind the provider's own.
fn tools(request: &GenerateRequest<'_>, native: &[Value]) -> Option<Bytes> {
    let (staying, found) = request.split_tools();
    let found = found.iter().map(tool);
    let tools: Vec<Value> = staying.iter().map(tool).chain(native.iter().cloned()).chain(found).collect();
    (!tools.is_empty()).then(|| json(&tools).into())
}

fn tool(spec: &ToolSpec) -> Value {
    let mut tool = Map::new();
    tool.insert("type".into(), json!("function"));
    tool.insert("name".into(), json!(spec.name));
    if let Some(description) = &spec.description {
        tool.insert("description".into(), json!(description));
    }
    let parameters = schema::parameters(&spec.input_schema, schema::any_name);
    tool.insert("parameters".into(), Value::Object(parameters.into_owned()));
    // Strict mode asks more of a schema than tools' authors promise.
    tool.insert("strict".into(), json!(false));
    Value::Object(tool)
}

/// The items of a message.
fn items(message: &Message, system_role: &str) -> Vec<Value> {
    match message {
        Message::InstructionMessage { contents, .. } => {
            let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
            vec![message_item(system_role, &json!(texts.join("\n")))]
        }
        Message::UserMessage { contents, .. } => {
            let parts: Vec<Value> = contents.iter().filter_map(input_part).collect();
            if parts.is_empty() { Vec::new() } else { vec![message_item("user", &Value::Array(parts))] }
        }
        Message::ExpertMessage { contents, .. } => expert_items(contents),
        Message::ToolMessage { contents, .. } => contents.iter().map(result_item).collect(),
    }
}

fn message_item(role: &str, content: &Value) -> Value {
    json!({"type": "message", "role": role, "content": content})
}

/// Reasoning goes back only together with what it led to: an item at the end of an answer that was cut off is refused.
fn expert_items(contents: &[ExpertPart]) -> Vec<Value> {
    let mut items = Vec::new();
    let mut reasoning = Vec::new();
    for part in contents {
        let item = match part {
            ExpertPart::ThinkingPart { thinking, .. } => {
                reasoning.extend(reasoning_item(thinking));
                continue;
            }
            ExpertPart::TextPart { text, .. } if text.is_empty() => continue,
            ExpertPart::TextPart { text, .. } => message_item("assistant", &json!(text)),
            ExpertPart::OpaquePart { opaque, .. } if opaque.protocol != NAME => continue,
            ExpertPart::OpaquePart { opaque, .. } => {
                let Some(item) = native::call_item(&opaque.block) else {
                    if let Some(item) = items.last_mut() {
                        set_phase(item, &opaque.block);
                    }
                    continue;
                };
                item
            }
            ExpertPart::ToolCallPart { tool_call_id, tool_name, args, .. } => {
                let arguments = if args.is_object() { args.to_string() } else { "{}".to_owned() };
                json!({"type": "function_call", "call_id": tool_call_id, "name": tool_name, "arguments": arguments})
            }
        };
        items.append(&mut reasoning);
        items.push(item);
    }
    items
}

/// Gives a message the phase that it came with, which newer models want back.
fn set_phase(message: &mut Value, block: &Value) {
    let is_message = |value: &Value| string(value, "type") == "message";
    let phase = block.get("phase").filter(|_| is_message(message) && is_message(block));
    if let (Some(phase), Value::Object(message)) = (phase, message) {
        message.entry("phase").or_insert_with(|| phase.clone());
    }
}

/// A reasoning item as it came, in the fields that a request takes; `None` for other protocols' thinking and for items
/// without the encrypted content, which are of no use elsewhere than in their maker's storage.
fn reasoning_item(thinking: &Thinking) -> Option<Value> {
    let block = thinking.opaque.as_ref().filter(|_| thinking.protocol.as_deref() == Some(NAME))?;
    block.get("encrypted_content")?.as_str().filter(|content| !content.is_empty())?;
    let mut item = Map::new();
    item.insert("type".into(), json!("reasoning"));
    for key in ["id", "summary", "content", "encrypted_content"] {
        if let Some(value) = block.get(key).filter(|value| !value.is_null()) {
            item.insert(key.into(), value.clone());
        }
    }
    item.entry("summary").or_insert_with(|| json!([]));
    Some(Value::Object(item))
}

fn result_item(part: &ResultPart) -> Value {
    let ResultPart::ToolResultPart { tool_call_id, contents, is_error, .. } = part;
    let output = match contents.as_slice() {
        [] if *is_error => json!(ERROR_NOTE),
        [] => json!(""),
        [Content::TextPart { text, .. }] if *is_error => json!(format!("{ERROR_NOTE}\n{text}")),
        [Content::TextPart { text, .. }] => json!(text),
        parts => {
            let note = is_error.then(|| json!({"type": "input_text", "text": ERROR_NOTE}));
            note.into_iter().chain(parts.iter().filter_map(input_part)).collect()
        }
    };
    json!({"type": "function_call_output", "call_id": tool_call_id, "output": output})
}

fn input_part(content: &Content) -> Option<Value> {
    match Media::from_content(content, MediaLimits::USUAL) {
        Media::Text(text) if text.is_empty() => None,
        Media::Text(text) => Some(json!({"type": "input_text", "text": text})),
        Media::ImageUrl(url) => Some(image_part(url)),
        Media::Image { mime_type, data } => Some(image_part(&format!("data:{mime_type};base64,{data}"))),
        Media::PdfUrl(url) => Some(json!({"type": "input_file", "file_url": url})),
        Media::Pdf { data } => {
            // The protocol asks for a name; the stored part has none.
            let data = format!("data:application/pdf;base64,{data}");
            Some(json!({"type": "input_file", "filename": "file.pdf", "file_data": data}))
        }
    }
}

fn image_part(url: &str) -> Value {
    json!({"type": "input_image", "detail": "auto", "image_url": url})
}

#[cfg(test)]
mod tests;
