//! One conversation with everything in it, as each protocol sends it: kept in `tests/data/requests/`, where it is held
//! against the types of the providers' own libraries too (`.ci/wire-types`).

use serde_json::{Value, json};

use crate::generation::{GenerateRequest, NativeTools, Occasion};
use crate::message::Message;
use crate::provider::Protocol;
use crate::provider::wire::anthropic::AnthropicMessages;
use crate::provider::wire::bedrock::BedrockConverse;
use crate::provider::wire::chat::{ChatCompletions, Dialect};
use crate::provider::wire::google::{GeminiGenerateContent, VertexGenerateContent};
use crate::provider::wire::ollama::OllamaChat;
use crate::provider::wire::openai::OpenAiResponses;
use crate::setting::ReasoningBudget;
use crate::tool::{ToolHints, ToolKind, ToolSpec};

fn messages() -> Vec<Message> {
    let text = |text: &str| json!({"type": "textPart", "id": "p", "text": text});
    let media = json!([
        text("See:"),
        {"type": "imageInlinePart", "id": "p", "encodedData": "iVBORw0KGgo=", "mimeType": "image/png"},
        {"type": "imageUrlPart", "id": "p", "url": "https://x.example/y.png", "mimeType": "image/png"},
        {"type": "fileInlinePart", "id": "p", "encodedData": "JVBERi0=", "mimeType": "application/pdf"},
        {"type": "fileUrlPart", "id": "p", "url": "https://x.example/y.pdf", "mimeType": "application/pdf"},
        {"type": "fileInlinePart", "id": "p", "encodedData": "aGk=", "mimeType": "text/plain"},
        {"type": "fileInlinePart", "id": "p", "encodedData": "b2dn", "mimeType": "audio/ogg"},
    ]);
    let opaque =
        |protocol: &str, block: Value| json!({"type": "opaquePart", "id": "p", "protocol": protocol, "block": block});
    let (anthropic, openai) = (AnthropicMessages.name(), OpenAiResponses.name());
    let (google, bedrock) = (GeminiGenerateContent.name(), BedrockConverse.name());
    let found = json!({"type": "web_search_result", "title": "Owls", "url": "https://owls.example",
                       "encrypted_content": "Eo8B", "page_age": null});
    let citation = json!({"type": "web_search_result_location", "title": "Owls", "url": "https://owls.example",
                          "encrypted_index": "Eo8B", "cited_text": "Owls hunt at night."});
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"});
    let layout = json!({"parts": [
        {"thought": 3}, {"part": {"executableCode": {"language": "PYTHON", "code": "1"}}},
        {"part": {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}}, {"text": 8},
        {"call": {"name": "search", "id": "g1"}, "thoughtSignature": "c2ln"}, {"call": {"name": "search", "id": "g2"}},
    ]});
    let conversation = json!([
        {"type": "instructionMessage", "id": "i", "contents": [text("You are an owl.")], "cache": true},
        {"type": "userMessage", "id": "u", "contents": media},
        {"type": "expertMessage", "id": "e", "contents": [
            {"type": "thinkingPart", "id": "p", "thinking": "Hm.", "signature": "s", "protocol": anthropic},
            {"type": "thinkingPart", "id": "p", "thinking": "Hm.", "protocol": openai, "opaque": reasoning},
            {"type": "thinkingPart", "id": "p", "thinking": "Hm.", "protocol": "ollama-chat"},
            {"type": "thinkingPart", "id": "p", "thinking": "Hm.", "protocol": google},
            {"type": "thinkingPart", "id": "p", "thinking": "", "protocol": google, "opaque": layout},
            {"type": "thinkingPart", "id": "p", "thinking": "Hm.", "signature": "s", "protocol": bedrock},
            opaque(anthropic, json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search",
                                     "input": {"query": "owl"}})),
            opaque(anthropic, json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
                                     "content": [found]})),
            opaque(openai, json!({"type": "web_search_call", "id": "ws_1", "status": "completed",
                                  "action": {"type": "search", "query": "owl"}})),
            opaque(openai, json!({"type": "file_search_call", "id": "fs_1", "status": "completed",
                                  "queries": ["owl"], "results": [{"file_id": "f", "text": "Owls."}]})),
            opaque(openai, json!({"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1",
                                  "container_id": "c_1", "outputs": [{"type": "logs", "logs": "1"}]})),
            opaque(openai, json!({"type": "image_generation_call", "id": "ig_1", "status": "completed",
                                  "result": "iVBORw0KGgo=", "revised_prompt": "an owl"})),
            text("Looking."),
            opaque(anthropic, json!({"type": "text", "citations": [citation]})),
            opaque(openai, json!({"type": "message", "phase": "commentary"})),
            opaque(anthropic, json!({"type": "container", "id": "container_1",
                                     "expires_at": "2026-10-02T09:00:00Z"})),
            {"type": "toolCallPart", "id": "p", "toolCallId": "call_1", "toolName": "search", "args": {"q": "owl"}},
            {"type": "toolCallPart", "id": "p", "toolCallId": "call_2", "toolName": "search", "args": {"q": "ibis"}},
        ]},
        {"type": "toolMessage", "id": "t", "contents": [
            {"type": "toolResultPart", "id": "p", "toolCallId": "call_1", "toolName": "search", "contents": media},
            {"type": "toolResultPart", "id": "p", "toolCallId": "call_2", "toolName": "search",
             "contents": [text("No such bird.")], "isError": true},
        ]},
    ]);
    serde_json::from_value(conversation).unwrap()
}

fn tools() -> [ToolSpec; 2] {
    let spec = |name: &str, schema: Value| ToolSpec {
        skill_name: "web".into(),
        name: name.into(),
        description: Some("Searches.".into()),
        input_schema: schema.as_object().unwrap().clone().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    };
    let one_of = json!({"type": "object", "properties": {"q": {"type": "string"}, "id": {"type": "integer"}},
                        "anyOf": [{"required": ["q"]}, {"required": ["id"]}]});
    [spec("search", one_of), spec("now", json!({"type": "object"}))]
}

/// The request of `protocol` as a saved one is written down.
fn request(protocol: &dyn Protocol, model: &str) -> Value {
    let names = [
        "webSearch",
        "webFetch",
        "codeExecution",
        "fileSearch",
        "codeInterpreter",
        "imageGeneration",
        "googleSearch",
        "urlContext",
        "googleMaps",
        "enterpriseWebSearch",
    ];
    let names = names.map(str::to_owned);
    let options = json!({"webSearch": {"maxUses": 3, "allowedDomains": ["owls.example"]},
                         "fileSearch": {"vectorStoreIds": ["vs_1"], "maxNumResults": 4}});
    let skills = json!([{"type": "builtin", "skillId": "pdf"}]);
    let encoded = protocol.encode(&GenerateRequest {
        model,
        messages: &messages(),
        tools: &tools(),
        reasoning: ReasoningBudget::Low,
        max_output_tokens: Some(8192),
        native: NativeTools { tools: &names, options: Some(&options), skills: Some(&skills) },
        // 2026-10-02T08:00:00Z
        found: 0,
        occasion: Occasion { run: "run-1", at: 1_790_928_000_000 },
    });
    let headers: serde_json::Map<_, _> =
        encoded.headers.into_iter().map(|(name, value)| (name, json!(value))).collect();
    json!({"protocol": protocol.name(), "path": encoded.path, "headers": headers, "body": encoded.body.json()})
}

/// Shows what to keep when it is not what is kept.
#[track_caller]
fn assert_kept(protocol: &dyn Protocol, model: &str, kept: &str) {
    let sent = serde_json::to_string_pretty(&request(protocol, model)).unwrap();
    assert_eq!(sent, kept.trim_end(), "{sent}");
}

macro_rules! kept {
    ($name:literal) => {
        include_str!(concat!("../../../tests/data/requests/", $name, ".json"))
    };
}

#[test]
fn messages_are_as_kept() {
    assert_kept(&AnthropicMessages, "claude-sonnet-4-5", kept!("anthropic-messages"));
}

#[test]
fn responses_are_as_kept() {
    assert_kept(&OpenAiResponses, "gpt-5", kept!("openai-responses"));
}

#[test]
fn chat_completions_are_as_kept() {
    assert_kept(&ChatCompletions { dialect: Dialect::OpenAi }, "gpt-5", kept!("openai-chat"));
}

#[test]
fn chat_completions_of_azure_are_as_kept() {
    assert_kept(&ChatCompletions { dialect: Dialect::Azure }, "my-deployment", kept!("azure-chat"));
}

#[test]
fn ollamas_chats_are_as_kept() {
    assert_kept(&OllamaChat, "gpt-oss:20b", kept!("ollama-chat"));
}

#[test]
fn geminis_contents_are_as_kept() {
    assert_kept(&GeminiGenerateContent, "gemini-3-pro-preview", kept!("google-gemini"));
}

#[test]
fn contents_for_vertex_ai_are_as_kept() {
    assert_kept(&VertexGenerateContent, "gemini-2.5-pro", kept!("google-vertex"));
}

#[test]
fn bedrocks_messages_are_as_kept() {
    assert_kept(&BedrockConverse, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", kept!("bedrock-converse"));
}
