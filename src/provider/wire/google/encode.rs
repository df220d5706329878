//! [`GeminiEncoder`]: requests to `streamGenerateContent` bodies.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::contents::{ContentRules, Contents};
use super::model::GeminiModel;
use super::{Service, native, path, schema};
use crate::content::Content;
use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::tool_names;
use crate::provider::wire::body_text::BodyText;
use crate::provider::wire::settled_text::json;
use crate::provider::{EncodedRequest, Encoder};
use crate::tool::ToolSpec;

/// Writes the requests of one conversation. Of equal requests the bodies are equal byte for byte, and a request that goes
/// on with a conversation begins with the earlier one's contents, as implicit caching needs it.
///
/// Tools that Google runs can be combined with functions since Gemini 3. Older models refuse both at once, and their
/// error helps more than leaving out a tool that an expert asked for.
pub(super) struct GeminiEncoder {
    model: GeminiModel,
    service: Service,
    /// The list of tools; `None` without any.
    tools: Option<Bytes>,
    /// How functions are called; `None` without any.
    tool_config: Option<Map<String, Value>>,
    /// The texts of instructions.
    system: Vec<String>,
    /// The instruction as it is sent; `None` without one.
    instruction: Option<Bytes>,
    contents: Contents,
}

impl GeminiEncoder {
    pub(super) fn new(request: &GenerateRequest<'_>, service: Service) -> Self {
        let model = GeminiModel::from_name(request.model);
        let EncodedTools { list, config, takes_tool_parts } = EncodedTools::new(request, &model, service);
        Self {
            tools: list,
            tool_config: config,
            service,
            system: Vec::new(),
            instruction: None,
            contents: Contents::new(ContentRules { is_current: model.is_current, takes_tool_parts }),
            model,
        }
    }
}

impl Encoder for GeminiEncoder {
    fn add(&mut self, message: &Message) {
        if let Message::InstructionMessage { contents, .. } = message {
            self.system.extend(contents.iter().filter_map(Content::as_text).map(str::to_owned));
            let text = self.system.join("\n");
            self.instruction = (!text.is_empty()).then(|| json(&json!({"parts": [{"text": text}]})).into());
            return;
        }
        self.contents.add(message);
    }

    fn set_tools(&mut self, request: &GenerateRequest<'_>) {
        let tools = EncodedTools::new(request, &self.model, self.service);
        (self.tools, self.tool_config) = (tools.list, tools.config);
    }

    fn request(&self, request: &GenerateRequest<'_>) -> EncodedRequest {
        let mut body = BodyText::new();
        if let Some(instruction) = &self.instruction {
            body.shared("systemInstruction", instruction);
        }
        body.key("contents");
        self.contents.write(&mut body);
        if let Some(config) = &self.tool_config {
            body.field("toolConfig", config);
        }
        if let Some(tools) = &self.tools {
            body.shared("tools", tools);
        }
        let mut config = Map::new();
        config.extend(request.max_output_tokens.map(|limit| ("maxOutputTokens".into(), json!(limit))));
        let thinking = self.model.thinking_config(request.reasoning);
        config.extend(thinking.map(|thinking| ("thinkingConfig".into(), json!(thinking))));
        if !config.is_empty() {
            body.field("generationConfig", &config);
        }
        EncodedRequest { path: path(request.model), headers: Vec::new(), body: body.finish() }
    }
}

/// The tools of a request, and how they are called.
struct EncodedTools {
    /// `None` without any.
    list: Option<Bytes>,
    config: Option<Map<String, Value>>,
    /// The contents have the provider's own calls as parts.
    takes_tool_parts: bool,
}

impl EncodedTools {
    fn new(request: &GenerateRequest<'_>, model: &GeminiModel, service: Service) -> Self {
        let mut tools = native::tools(request.native, service);
        let has_functions = !request.tools.is_empty();
        let is_combined = model.is_current && !tools.is_empty() && has_functions;
        // Vertex AI combines them without the field that requests its own calls.
        let takes_tool_parts = is_combined && service == Service::GeminiApi;
        let mut config = None;
        if has_functions {
            let functions: Vec<Value> = request.tools.iter().map(function).collect();
            tools.push(json!({"functionDeclarations": functions}));
            // `VALIDATED` is what the combination asks for; the model is as free to answer in text as with `AUTO`.
            let mode = if is_combined { "VALIDATED" } else { "AUTO" };
            let mut fields = Map::from_iter([("functionCallingConfig".to_owned(), json!({"mode": mode}))]);
            if takes_tool_parts {
                fields.insert("includeServerSideToolInvocations".into(), json!(true));
            }
            config = Some(fields);
        }
        Self { list: (!tools.is_empty()).then(|| json(&tools).into()), config, takes_tool_parts }
    }
}

fn function(spec: &ToolSpec) -> Value {
    let mut function = Map::new();
    function.insert("name".into(), json!(tool_names::short(&spec.name)));
    if let Some(description) = &spec.description {
        function.insert("description".into(), json!(description));
    }
    if let Some(schema) = schema::parameters(&spec.input_schema) {
        function.insert("parametersJsonSchema".into(), schema);
    }
    Value::Object(function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{NativeTools, Occasion};
    use crate::provider::Protocol as _;
    use crate::provider::wire::google::{GeminiGenerateContent, VertexGenerateContent};
    use crate::setting::ReasoningBudget;
    use crate::tool::{ToolHints, ToolKind};

    fn tool(name: &str, description: Option<&str>, schema: &Value) -> ToolSpec {
        ToolSpec {
            skill_name: "web".into(),
            name: name.into(),
            description: description.map(str::to_owned),
            input_schema: schema.as_object().unwrap().clone().into(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        }
    }

    fn encode(model: &str, native: &[&str], messages: &Value, service: Service) -> Value {
        let messages: Vec<Message> = serde_json::from_value(messages.clone()).unwrap();
        let native: Vec<String> = native.iter().map(|name| (*name).to_owned()).collect();
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]});
        let request = GenerateRequest {
            model,
            messages: &messages,
            tools: &[tool("search", Some("Searches."), &schema), tool("now", None, &json!({"type": "object"}))],
            reasoning: ReasoningBudget::Low,
            max_output_tokens: None,
            native: NativeTools { tools: &native, options: None, skills: None },
            found: 0,
            occasion: Occasion::default(),
        };
        match service {
            Service::GeminiApi => GeminiGenerateContent.encode(&request).body.json(),
            Service::VertexAi => VertexGenerateContent.encode(&request).body.json(),
        }
    }

    fn functions() -> Value {
        let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]});
        json!({"functionDeclarations": [
            {"name": "search", "description": "Searches.", "parametersJsonSchema": schema},
            {"name": "now"},
        ]})
    }

    #[test]
    fn a_whole_request() {
        let messages = json!([
            {"type": "instructionMessage", "id": "i", "cache": true,
             "contents": [{"type": "textPart", "text": "You are"}, {"type": "textPart", "text": "an owl."}]},
            {"type": "userMessage", "id": "u", "contents": [{"type": "textPart", "text": "Which file?"}]},
            {"type": "expertMessage", "id": "e", "contents": [
                {"type": "toolCallPart", "id": "p", "toolCallId": "c", "toolName": "search", "args": {"q": "owl"}},
            ]},
            {"type": "toolMessage", "id": "t", "contents": [
                {"type": "toolResultPart", "id": "p", "toolCallId": "c", "toolName": "search",
                 "contents": [{"type": "textPart", "text": "birds.md"}]},
            ]},
        ]);
        let expected = json!({
            "systemInstruction": {"parts": [{"text": "You are\nan owl."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Which file?"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "search", "args": {"q": "owl"}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "search", "response": {"output": "birds.md"}}},
                ]},
            ],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "tools": [functions()],
            "generationConfig": {"thinkingConfig": {"thinkingBudget": 2048, "includeThoughts": true}},
        });
        assert_eq!(encode("gemini-2.5-flash", &[], &messages, Service::GeminiApi), expected);
        assert_eq!(encode("gemini-2.5-flash", &[], &messages, Service::VertexAi), expected);
    }

    #[test]
    fn googles_tools_go_with_functions_as_each_generation_and_service_wants_it() {
        let asked = |model, service| {
            let body = encode(model, &["googleSearch"], &json!([]), service);
            assert_eq!(body["tools"], json!([{"googleSearch": {}}, functions()]));
            body["toolConfig"].clone()
        };
        let validated = json!({"mode": "VALIDATED"});
        let shown = json!({"functionCallingConfig": validated, "includeServerSideToolInvocations": true});
        assert_eq!(asked("gemini-3-flash-preview", Service::GeminiApi), shown);
        assert_eq!(asked("gemini-3-flash-preview", Service::VertexAi), json!({"functionCallingConfig": validated}));
        let plain = json!({"functionCallingConfig": {"mode": "AUTO"}});
        assert_eq!(asked("gemini-2.5-flash", Service::GeminiApi), plain);
    }
}
