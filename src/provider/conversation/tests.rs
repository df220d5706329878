//! Conversations that grow, in every protocol: each request is what it would be without those before it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::generation::{FailureKind, GenerationFailure, NativeTools, Occasion};
use crate::provider::wire::anthropic::AnthropicMessages;
use crate::provider::wire::bedrock::BedrockConverse;
use crate::provider::wire::chat::{ChatCompletions, Dialect};
use crate::provider::wire::google::{GeminiGenerateContent, VertexGenerateContent};
use crate::provider::wire::ollama::OllamaChat;
use crate::provider::wire::openai::OpenAiResponses;
use crate::setting::ReasoningBudget;
use crate::tool::{ToolHints, ToolKind, ToolSpec};

const ORIGIN: &str = "owls/one";

/// Protocols with models whose conversations they write in different ways.
fn protocols() -> Vec<(Box<dyn Protocol>, &'static str)> {
    let chat = |dialect| -> Box<dyn Protocol> { Box::new(ChatCompletions { dialect }) };
    vec![
        (Box::new(AnthropicMessages), "claude-sonnet-4-5"),
        (Box::new(AnthropicMessages), "claude-3-opus-20240229"),
        (Box::new(OpenAiResponses), "gpt-5"),
        (Box::new(OpenAiResponses), "gpt-4.1"),
        (chat(Dialect::OpenAi), "gpt-5"),
        (chat(Dialect::Azure), "my-deployment"),
        (chat(Dialect::DeepSeek), "deepseek-reasoner"),
        (chat(Dialect::DeepSeek), "deepseek-chat"),
        (chat(Dialect::Compatible), "llama"),
        (chat(Dialect::Compatible), "mistral-large"),
        (Box::new(GeminiGenerateContent), "gemini-3-pro-preview"),
        (Box::new(GeminiGenerateContent), "gemini-2.5-pro"),
        (Box::new(VertexGenerateContent), "gemini-3-pro-preview"),
        (Box::new(OllamaChat), "gpt-oss:20b"),
        (Box::new(BedrockConverse), "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (Box::new(BedrockConverse), "us.amazon.nova-pro-v1:0"),
        (Box::new(BedrockConverse), "us.meta.llama4-maverick-17b-instruct-v1:0"),
        (Box::new(BedrockConverse), "us.deepseek.r1-v1:0"),
    ]
}

/// Writes messages of every kind, chosen by numbers.
#[derive(Default)]
struct Writer {
    messages: Vec<Value>,
    /// Calls of providers' own tools, and the first without a result.
    native: usize,
    answered: usize,
}

impl Writer {
    fn id(&self, kind: &str) -> String {
        format!("{kind}{}", self.messages.len())
    }

    fn message(&mut self, kind: u8, parts: &[u8]) {
        let contents: Vec<Value> = parts.iter().map(|part| content(*part)).collect();
        let message = match kind % 10 {
            0 => json!({"type": "instructionMessage", "id": self.id("i"), "contents": contents, "cache": kind > 99}),
            1 | 2 => {
                self.answered = self.native;
                json!({"type": "userMessage", "id": self.id("u"), "contents": contents})
            }
            3..=5 => {
                let results: Vec<Value> = parts.iter().map(|part| Self::result(*part, &contents)).collect();
                json!({"type": "toolMessage", "id": self.id("t"), "contents": results})
            }
            _ => {
                let parts: Vec<Value> = parts.iter().flat_map(|part| self.expert_parts(*part)).collect();
                json!({"type": "expertMessage", "id": self.id("e"), "contents": parts})
            }
        };
        self.messages.push(message);
    }

    fn result(part: u8, contents: &[Value]) -> Value {
        let contents = contents.get(usize::from(part) % contents.len()..).unwrap_or_default();
        json!({"type": "toolResultPart", "id": "p", "toolCallId": call_id(part), "toolName": "search",
               "contents": contents, "isError": part.is_multiple_of(3)})
    }

    fn expert_parts(&mut self, part: u8) -> Vec<Value> {
        let thinking = |fields: Value| {
            let mut part = json!({"type": "thinkingPart", "id": "p", "thinking": "Hm."});
            part.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            part
        };
        let opaque = |protocol: &str, block: Value| json!({"type": "opaquePart", "id": "p", "protocol": protocol, "block": block});
        let anthropic = AnthropicMessages.name();
        let part = match part % 24 {
            0..=2 => text("Looking."),
            3 => text("  \n"),
            4 => text("And then: \n"),
            5 | 6 => thinking(json!({"signature": "s", "protocol": anthropic})),
            7 => thinking(json!({"protocol": OpenAiResponses.name(),
                "opaque": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}})),
            8 => thinking(json!({"protocol": "openai-chat"})),
            9 => thinking(json!({"protocol": "openai-chat", "opaque": {"type": "attached",
                "message": {"reasoning_details": [1]}, "calls": [{"extra_content": {"a": 1}}]}})),
            10 => thinking(json!({"protocol": OllamaChat.name()})),
            11 => thinking(json!({"protocol": GeminiGenerateContent.name()})),
            12 => thinking(json!({"thinking": "", "protocol": GeminiGenerateContent.name(), "opaque": {"parts": [
                {"thought": 3}, {"part": {"toolCall": {"a": 1}}}, {"text": 8},
                {"call": {"name": "search", "id": "g1"}, "thoughtSignature": "c2ln"}]}})),
            13 => thinking(json!({"signature": "s", "protocol": BedrockConverse.name()})),
            14 => thinking(json!({"protocol": BedrockConverse.name()})),
            15 => thinking(json!({"signature": "s", "protocol": anthropic, "madeBy": "owls/two"})),
            16 => {
                self.native += 1;
                opaque(anthropic, json!({"type": "server_tool_use", "id": format!("s{}", self.native), "input": {}}))
            }
            17 => {
                if self.answered == self.native {
                    return Vec::new();
                }
                self.answered += 1;
                let id = format!("s{}", self.answered);
                opaque(anthropic, json!({"type": "web_search_tool_result", "tool_use_id": id, "content": []}))
            }
            18 => {
                let citations = json!({"type": "text", "citations": [{"url": "https://owls.example"}]});
                return vec![text("They do."), opaque(anthropic, citations)];
            }
            19 => opaque(
                anthropic,
                json!({"type": "container", "id": format!("c{part}"),
                "expires_at": "2026-10-02T09:00:00Z"}),
            ),
            20 => opaque(OpenAiResponses.name(), json!({"type": "message", "phase": "commentary"})),
            21 => json!({"type": "toolCallPart", "id": "p", "toolCallId": call_id(part), "toolName": "s".repeat(80),
                "args": "owl"}),
            _ => json!({"type": "toolCallPart", "id": "p", "toolCallId": call_id(part), "toolName": "search",
                "args": {"q": "owl", "filter[id]": part}}),
        };
        vec![part]
    }
}

fn call_id(part: u8) -> String {
    match part % 4 {
        0 => format!("call_{part}"),
        1 => "a-very-long-id-of-a-call-of-another-provider-".repeat(2),
        2 => format!("fc:{part}.1"),
        _ => "aB3456789".to_owned(),
    }
}

fn text(text: &str) -> Value {
    json!({"type": "textPart", "id": "p", "text": text})
}

fn content(part: u8) -> Value {
    let file = |kind: &str, data: &str, mime_type: &str| json!({"type": kind, "id": "p", "encodedData": data, "mimeType": mime_type});
    match part % 12 {
        0..=4 => text(&format!("\"Owls\" hunt at night, {part}.\n")),
        5 => text(""),
        6 => file("imageInlinePart", "iVBORw0KGgo=", "image/png"),
        7 => file("imageInlinePart", "R0lGODlh", "image/gif"),
        8 => file("fileInlinePart", "JVBERi0=", "application/pdf"),
        9 => file("fileInlinePart", "b2dn", "audio/ogg"),
        10 => {
            json!({"type": "fileUrlPart", "id": "p", "url": "https://x.example/y.pdf", "mimeType": "application/pdf"})
        }
        _ => json!({"type": "imageUrlPart", "id": "p", "url": "https://x.example/y.png", "mimeType": "image/png"}),
    }
}

fn conversation() -> impl Strategy<Value = Vec<Message>> {
    let message = (any::<u8>(), prop::collection::vec(any::<u8>(), 1..5));
    prop::collection::vec(message, 1..24).prop_map(|choices| {
        let mut writer = Writer::default();
        for (kind, parts) in &choices {
            writer.message(*kind, parts);
        }
        serde_json::from_value(Value::Array(writer.messages)).unwrap()
    })
}

fn tools() -> [ToolSpec; 1] {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}, "anyOf": [{"required": ["q"]}]});
    [ToolSpec {
        skill_name: "web".into(),
        name: "search".into(),
        description: Some("Searches.".repeat(100)),
        input_schema: schema.as_object().unwrap().clone().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }]
}

fn request<'a>(
    model: &'a str,
    messages: &'a [Message],
    tools: &'a [ToolSpec],
    native: &'a [String],
) -> GenerateRequest<'a> {
    GenerateRequest {
        model,
        messages,
        tools,
        reasoning: ReasoningBudget::Low,
        max_output_tokens: Some(8192),
        native: NativeTools { tools: native, options: None, skills: None },
        // 2026-10-02T08:00:00Z
        found: 0,
        occasion: Occasion { run: "run-1", at: 1_790_928_000_000 },
    }
}

/// A refusal of the images in `messages`, or of the form of their ids.
fn refuse(repairs: &mut Repairs, messages: &[Message], is_of_ids: bool) {
    let message = if is_of_ids { "tool_call_id must match pattern a-z0-9" } else { "could not process image" };
    let failure = GenerationFailure {
        kind: FailureKind::InvalidRequest,
        message: message.to_owned(),
        status_code: Some(400),
        is_retryable: false,
        retry_after_ms: None,
    };
    repairs.learn(messages, &Value::Null, &failure, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_the_same_whether_others_came_before_it_or_not(
        messages in conversation(),
        asks in prop::collection::vec(any::<u8>(), 24),
        has_tools in any::<bool>(),
    ) {
        let (tools, native) = (tools(), ["webSearch", "codeExecution", "googleSearch"].map(str::to_owned));
        let tools = if has_tools { &tools[..] } else { &[] };
        for (protocol, model) in protocols() {
            let mut messages = messages.clone();
            let mut repairs = Repairs::default();
            let mut conversation = EncodedConversation::default();
            let mut end = 0;
            for (at, ask) in asks.iter().enumerate() {
                match ask % 16 {
                    0 => refuse(&mut repairs, messages.get(..end).unwrap(), *ask > 127),
                    1 if end > 2 => {
                        let summary = json!({"type": "userMessage", "id": format!("s{at}"), "contents": [text("So far.")]});
                        messages.splice(1..end, [serde_json::from_value(summary).unwrap()]);
                        (conversation, end) = (EncodedConversation::default(), 2);
                    }
                    more => end = (end + usize::from(more % 4)).min(messages.len()),
                }
                let request = request(model, messages.get(..end).unwrap(), tools, &native);
                let next = conversation.request(protocol.as_ref(), &request, ORIGIN, &repairs);
                let alone = EncodedConversation::default().request(protocol.as_ref(), &request, ORIGIN, &repairs);
                prop_assert_eq!(&next, &alone);
                next.body.json();
            }
        }
    }
}

#[test]
fn what_a_request_adds_to_a_long_conversation_is_all_that_is_new_in_memory() {
    let mut writer = Writer::default();
    for _ in 0..2000 {
        writer.message(6, &[0, 23]);
        writer.message(3, &[0]);
    }
    let messages: Vec<Message> = serde_json::from_value(Value::Array(writer.messages)).unwrap();
    for (protocol, model) in protocols() {
        let mut conversation = EncodedConversation::default();
        let mut bodies = [3998, 4000].map(|end| {
            let request = request(model, messages.get(..end).unwrap(), &[], &[]);
            conversation.request(protocol.as_ref(), &request, ORIGIN, &Repairs::default()).body
        });
        let shared = bodies[1].shared_prefix(&bodies[0]);
        assert!(bodies[1].len() - shared < 4096, "{model}: {shared} of {}", bodies[1].len());
        let old: Vec<*const u8> = bodies[0].pieces().iter().map(|piece| piece.as_ptr()).collect();
        let is_old = |piece: &&bytes::Bytes| old.contains(&piece.as_ptr());
        let kept: usize = bodies[1].pieces().iter().filter(is_old).map(bytes::Bytes::len).sum();
        assert!(kept > bodies[1].len() / 2, "{model}: {kept} of {}", bodies[1].len());
        // Another conversation of the same length is seen by its last message.
        let others: Vec<Message> = messages.iter().skip(2).cloned().collect();
        let request = request(model, &others, &[], &[]);
        bodies[0] =
            EncodedConversation::default().request(protocol.as_ref(), &request, ORIGIN, &Repairs::default()).body;
        bodies[1] = conversation.request(protocol.as_ref(), &request, ORIGIN, &Repairs::default()).body;
        assert_eq!(bodies[1], bodies[0]);
    }
}
