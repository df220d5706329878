//! A request to a Responses body.

use serde_json::{Map, Value, json};

use super::NAME;
use crate::content::{Content, ExpertPart, ResultPart, Thinking};
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::media::Media;
use crate::tool::ToolSpec;

/// What stands before the result of a tool that failed: the protocol has no field for it.
pub(in crate::provider) const ERROR_NOTE: &str = "The tool reported an error:";

/// The request's body. Of equal requests the bodies are equal byte for byte, and a request that goes on with a
/// conversation begins with the earlier one's input, as prompt caching needs it.
pub(super) fn body(request: &GenerateRequest<'_>) -> Value {
    let is_reasoning = is_reasoning_model(request.model);
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("stream".into(), json!(true));
    body.insert("store".into(), json!(false));
    if let Some(limit) = request.max_output_tokens {
        body.insert("max_output_tokens".into(), json!(limit));
    }
    if is_reasoning {
        // Also when no effort is asked for: such a model reasons by default, and goes on better with what it thought.
        body.insert("include".into(), json!(["reasoning.encrypted_content"]));
        if let Some(effort) = effort(request) {
            body.insert("reasoning".into(), json!({"effort": effort, "summary": "auto"}));
        }
    }
    if !request.tools.is_empty() {
        body.insert("tools".into(), request.tools.iter().map(tool).collect());
        body.insert("tool_choice".into(), json!("auto"));
    }
    body.insert("input".into(), input(request.messages, if is_reasoning { "developer" } else { "system" }));
    Value::Object(body)
}

/// Whether a model reasons, by OpenAI's names: `o1` and later, `gpt-5` and later without the chat variants, `codex-*`;
/// also as a fine-tune (`ft:`) or behind a gateway's prefix (`openai/`). Any other (an Azure deployment, a local model)
/// counts as one that does not: it would be asked for reasoning on every request, since a budget is set by default,
/// and those that know no reasoning refuse the question.
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

fn tool(spec: &ToolSpec) -> Value {
    let mut parameters = spec.input_schema.clone();
    // OpenAI refuses a schema of an object without properties, even of a tool without parameters.
    parameters.entry("properties").or_insert_with(|| json!({}));
    let mut tool = Map::new();
    tool.insert("type".into(), json!("function"));
    tool.insert("name".into(), json!(spec.name));
    if let Some(description) = &spec.description {
        tool.insert("description".into(), json!(description));
    }
    tool.insert("parameters".into(), Value::Object(parameters));
    // Strict mode asks more of a schema than tools' authors promise.
    tool.insert("strict".into(), json!(false));
    Value::Object(tool)
}

fn input(messages: &[Message], system_role: &str) -> Value {
    let mut items = Vec::new();
    for message in messages {
        match message {
            Message::InstructionMessage { contents, .. } => {
                let texts: Vec<&str> = contents.iter().filter_map(Content::as_text).collect();
                items.push(message_item(system_role, &json!(texts.join("\n"))));
            }
            Message::UserMessage { contents, .. } => {
                let parts: Vec<Value> = contents.iter().filter_map(input_part).collect();
                if !parts.is_empty() {
                    items.push(message_item("user", &Value::Array(parts)));
                }
            }
            Message::ExpertMessage { contents, .. } => items.extend(expert_items(contents)),
            Message::ToolMessage { contents, .. } => items.extend(contents.iter().map(result_item)),
        }
    }
    Value::Array(items)
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
            ExpertPart::TextPart { text, .. } => {
                message_item("assistant", &json!([{"type": "output_text", "text": text}]))
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

/// A reasoning item as it came, in the fields that a request takes; `None` for other protocols' thinking and for items
/// without the encrypted content, which only their maker's storage could tell.
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
    match Media::of(content) {
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
mod tests {
    use super::*;
    use crate::generation::NativeTools;
    use crate::setting::ReasoningBudget;
    use crate::tool::{ToolHints, ToolKind};

    fn encode(model: &str, messages: Value, tools: &[ToolSpec], reasoning: ReasoningBudget) -> Value {
        let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
        body(&GenerateRequest {
            model,
            messages: &messages,
            tools,
            reasoning,
            max_output_tokens: None,
            native: NativeTools::default(),
        })
    }

    fn encode_input(messages: Value) -> Value {
        encode("gpt-5", messages, &[], ReasoningBudget::Low)["input"].take()
    }

    fn expert(contents: &Value) -> Value {
        json!([{"type": "expertMessage", "id": "e", "contents": contents}])
    }

    fn text_part(text: &str) -> Value {
        json!({"type": "textPart", "id": "p", "text": text})
    }

    fn call_part() -> Value {
        json!({"type": "toolCallPart", "id": "p", "toolCallId": "call_1", "toolName": "search", "args": {"q": "owl"}})
    }

    fn reasoning_part(protocol: &str, item: &Value) -> Value {
        json!({"type": "thinkingPart", "id": "p", "thinking": "Hm.", "protocol": protocol, "opaque": item})
    }

    fn output(contents: &Value, is_error: bool) -> Value {
        let part = json!({"type": "toolResultPart", "id": "p", "toolCallId": "call_1", "toolName": "search",
                          "contents": contents, "isError": is_error});
        let mut input = encode_input(json!([{"type": "toolMessage", "id": "t", "contents": [part]}]));
        let mut item = input[0].take();
        let output = item["output"].take();
        assert_eq!(item, json!({"type": "function_call_output", "call_id": "call_1", "output": null}));
        output
    }

    #[test]
    fn a_whole_request_of_a_reasoning_model() {
        let schema = json!({"type": "object"});
        let tool = |name: &str, description: Option<&str>| ToolSpec {
            skill_name: "web".into(),
            name: name.into(),
            description: description.map(str::to_owned),
            input_schema: schema.as_object().unwrap().clone(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        };
        let reasoning = json!({"id": "rs_1", "type": "reasoning", "status": "completed", "content": null,
                               "encrypted_content": "gAAA", "summary": []});
        let messages = json!([
            {"type": "instructionMessage", "id": "i", "cache": true,
             "contents": [text_part("You are"), text_part("an owl.")]},
            {"type": "userMessage", "id": "u", "contents": [text_part("Which file?")]},
            {"type": "expertMessage", "id": "e",
             "contents": [reasoning_part(NAME, &reasoning), text_part("Looking."), call_part()]},
            {"type": "toolMessage", "id": "t", "contents": [
                {"type": "toolResultPart", "id": "p", "toolCallId": "call_1", "toolName": "search",
                 "contents": [text_part("birds.md")]},
            ]},
        ]);
        let expected_tool = json!({"type": "object", "properties": {}});
        let expected = json!({
            "model": "gpt-5",
            "stream": true,
            "store": false,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"},
            "tools": [
                {"type": "function", "name": "search", "description": "Searches.", "parameters": expected_tool,
                 "strict": false},
                {"type": "function", "name": "now", "parameters": expected_tool, "strict": false},
            ],
            "tool_choice": "auto",
            "input": [
                {"type": "message", "role": "developer", "content": "You are\nan owl."},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Which file?"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
                {"type": "function_call", "call_id": "call_1", "name": "search", "arguments": "{\"q\":\"owl\"}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "birds.md"},
            ],
        });
        let tools = [tool("search", Some("Searches.")), tool("now", None)];
        assert_eq!(encode("gpt-5", messages, &tools, ReasoningBudget::Minimal), expected);
    }

    #[test]
    fn a_limit_on_the_answer_is_sent_where_there_is_one() {
        let body = body(&GenerateRequest {
            model: "gpt-5",
            messages: &[],
            tools: &[],
            reasoning: ReasoningBudget::None,
            max_output_tokens: Some(2000),
            native: NativeTools::default(),
        });
        assert_eq!(body["max_output_tokens"], 2000);
    }

    #[test]
    fn a_model_that_does_not_reason_is_not_asked_to() {
        let messages = json!([{"type": "instructionMessage", "id": "i", "contents": [text_part("Be an owl.")]}]);
        let expected = json!({
            "model": "gpt-4.1",
            "stream": true,
            "store": false,
            "input": [{"type": "message", "role": "system", "content": "Be an owl."}],
        });
        assert_eq!(encode("gpt-4.1", messages, &[], ReasoningBudget::High), expected);
    }

    #[test]
    fn without_a_budget_a_reasoning_model_still_keeps_its_reasoning() {
        let expected = json!({
            "model": "o4-mini",
            "stream": true,
            "store": false,
            "include": ["reasoning.encrypted_content"],
            "input": [],
        });
        assert_eq!(encode("o4-mini", json!([]), &[], ReasoningBudget::None), expected);
    }

    #[test]
    fn pro_models_are_asked_for_the_effort_they_take() {
        let effort = |model| encode(model, json!([]), &[], ReasoningBudget::Low)["reasoning"]["effort"].take();
        assert_eq!(effort("gpt-5-pro"), "high");
        assert_eq!(effort("gpt-5.2-pro-2025-12-11"), "high");
        assert_eq!(effort("o3-pro"), "low");
    }

    #[test]
    fn reasoning_models_are_known_by_name() {
        for name in [
            "o1",
            "o3-mini",
            "o4-mini-2025-04-16",
            "gpt-5",
            "gpt-5.1-codex",
            "gpt-6-sol",
            "gpt-10",
            "codex-mini-latest",
            "openai/gpt-5-nano",
            "ft:o4-mini:acme",
        ] {
            assert!(is_reasoning_model(name), "{name}");
        }
        for name in [
            "gpt-5-chat-latest",
            "gpt-5.1-chat-latest",
            "gpt-4.1",
            "gpt-4o",
            "gpt-oss:20b",
            "olmo-2",
            "o",
            "my-deployment",
            "",
        ] {
            assert!(!is_reasoning_model(name), "{name}");
        }
    }

    #[test]
    fn images_and_documents_go_along_in_questions_and_results() {
        let parts = json!([
            text_part("See:"),
            {"type": "imageInlinePart", "encodedData": "aW1n", "mimeType": "image/png"},
            {"type": "imageUrlPart", "url": "https://x/y.png", "mimeType": "image/png"},
            {"type": "fileInlinePart", "encodedData": "cGRm", "mimeType": "application/pdf"},
            {"type": "fileUrlPart", "url": "https://x/y.pdf", "mimeType": "application/pdf"},
            {"type": "fileBinaryPart", "data": "aGk=", "mimeType": "text/plain"},
        ]);
        let expected = json!([
            {"type": "input_text", "text": "See:"},
            {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,aW1n"},
            {"type": "input_image", "detail": "auto", "image_url": "https://x/y.png"},
            {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,cGRm"},
            {"type": "input_file", "file_url": "https://x/y.pdf"},
            {"type": "input_text", "text": "hi"},
        ]);
        let question = encode_input(json!([{"type": "userMessage", "id": "u", "contents": parts}]));
        assert_eq!(question, json!([{"type": "message", "role": "user", "content": expected}]));
        assert_eq!(output(&parts, false), expected);
    }

    #[test]
    fn results_tell_that_the_tool_failed() {
        let (text, note) = (text_part("No such file."), json!({"type": "input_text", "text": ERROR_NOTE}));
        let said = json!({"type": "input_text", "text": "No such file."});
        assert_eq!(output(&json!([text]), false), json!("No such file."));
        assert_eq!(output(&json!([text]), true), json!("The tool reported an error:\nNo such file."));
        assert_eq!(output(&json!([text, text]), false), json!([said, said]));
        assert_eq!(output(&json!([text, text]), true), json!([note, said, said]));
        assert_eq!(output(&json!([]), false), json!(""));
        assert_eq!(output(&json!([]), true), json!(ERROR_NOTE));
    }

    #[test]
    fn only_reasoning_of_this_protocol_with_its_content_and_consequence_goes_back() {
        let whole = json!({"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA"});
        let bare = json!({"id": "rs_2", "type": "reasoning", "summary": []});
        let sent = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"});
        let call =
            json!({"type": "function_call", "call_id": "call_1", "name": "search", "arguments": "{\"q\":\"owl\"}"});
        let cases = [
            (json!([reasoning_part(NAME, &whole), call_part()]), json!([sent, call])),
            (
                json!([reasoning_part(NAME, &whole), reasoning_part(NAME, &whole), call_part()]),
                json!([sent, sent, call]),
            ),
            (json!([reasoning_part(NAME, &bare), call_part()]), json!([call])),
            (json!([reasoning_part("anthropic-messages", &whole), call_part()]), json!([call])),
            (json!([reasoning_part(NAME, &whole)]), json!([])),
            (json!([reasoning_part(NAME, &whole), text_part("")]), json!([])),
        ];
        for (parts, expected) in cases {
            assert_eq!(encode_input(expert(&parts)), expected, "{parts}");
        }
    }

    #[test]
    fn arguments_that_are_no_object_are_sent_as_an_empty_one() {
        let mut broken = call_part();
        broken["args"] = json!("{\"q\": \"ow");
        assert_eq!(encode_input(expert(&json!([broken])))[0]["arguments"], "{}");
    }

    #[test]
    fn empty_questions_are_not_sent() {
        assert_eq!(encode_input(json!([{"type": "userMessage", "id": "u", "contents": [text_part("")]}])), json!([]));
    }
}
