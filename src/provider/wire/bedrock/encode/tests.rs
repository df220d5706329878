//! Whole bodies, compared.

use super::*;
use crate::generation::{NativeTools, Occasion};
use crate::provider::Protocol as _;
use crate::provider::wire::bedrock::{BedrockConverse, NAME};
use crate::setting::ReasoningBudget;
use crate::tool::{ToolHints, ToolKind};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NOVA: &str = "us.amazon.nova-pro-v1:0";
const NOVA_2: &str = "us.amazon.nova-2-lite-v1:0";
const LLAMA: &str = "us.meta.llama4-maverick-17b-instruct-v1:0";
const DEEPSEEK: &str = "us.deepseek.r1-v1:0";

fn encode(model: &str, messages: Value, tools: &[ToolSpec], reasoning: ReasoningBudget) -> Value {
    encode_within(model, messages, tools, reasoning, Some(64_000))
}

fn encode_within(
    model: &str,
    messages: Value,
    tools: &[ToolSpec],
    reasoning: ReasoningBudget,
    max_output_tokens: Option<u64>,
) -> Value {
    let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
    let native = NativeTools::default();
    let request = GenerateRequest {
        model,
        messages: &messages,
        tools,
        reasoning,
        max_output_tokens,
        native,
        found: 0,
        occasion: Occasion::default(),
    };
    BedrockConverse.encode(&request).body.json()
}

/// The `messages` of a body for a model that neither caches nor is asked to reason.
fn encode_messages(messages: Value) -> Value {
    encode("anthropic.claude-3-haiku-20240307-v1:0", messages, &[], ReasoningBudget::None)["messages"].take()
}

fn instruction(text: &str, cache: bool) -> Value {
    json!({"type": "instructionMessage", "id": "i", "cache": cache, "contents": [part(text)]})
}

fn part(text: &str) -> Value {
    json!({"type": "textPart", "id": "p", "text": text})
}

fn user(text: &str) -> Value {
    user_turn(&json!([part(text)]))
}

fn user_turn(contents: &Value) -> Value {
    json!({"type": "userMessage", "id": "u", "contents": contents})
}

fn expert(contents: &Value) -> Value {
    json!({"type": "expertMessage", "id": "e", "contents": contents})
}

fn call(id: &str) -> Value {
    json!({"type": "toolCallPart", "id": "p", "toolCallId": id, "toolName": "search", "args": {"q": "owl"}})
}

fn results(parts: &Value) -> Value {
    json!({"type": "toolMessage", "id": "t", "contents": parts})
}

fn result(id: &str, contents: &Value) -> Value {
    json!({"type": "toolResultPart", "id": "p", "toolCallId": id, "toolName": "search", "contents": contents})
}

fn failed(id: &str, text: &str) -> Value {
    let mut failed = result(id, &json!([part(text)]));
    failed["isError"] = json!(true);
    failed
}

fn thinking(fields: &Value) -> Value {
    let mut part = json!({"type": "thinkingPart", "id": "p"});
    part.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    part
}

fn tool(name: &str, description: Option<&str>) -> ToolSpec {
    let schema = json!({"$schema": "s", "type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]});
    ToolSpec {
        skill_name: "web".into(),
        name: name.into(),
        description: description.map(str::to_owned),
        input_schema: schema.as_object().unwrap().clone().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }
}

fn cache() -> Value {
    json!({"cachePoint": {"type": "default"}})
}

fn use_of(id: &str) -> Value {
    json!({"toolUse": {"toolUseId": id, "name": "search", "input": {"q": "owl"}}})
}

fn result_of(id: &str, content: &Value) -> Value {
    json!({"toolResult": {"toolUseId": id, "content": content, "status": "success"}})
}

fn whole_conversation() -> Value {
    json!([
        instruction("You are an owl.", true),
        user("Which file?"),
        expert(&json!([thinking(&json!({"thinking": "Hm.", "signature": "sig", "protocol": NAME})), call("t1")])),
        results(&json!([result("t1", &json!([part("birds.md")]))])),
    ])
}

#[test]
fn a_whole_request_to_claude_has_its_four_cache_points() {
    let schema = &tool("search", None).input_schema;
    let expected = json!({
        "system": [{"text": "You are an owl."}, cache()],
        "toolConfig": {"tools": [
            {"toolSpec": {"name": "search", "description": "Searches.", "inputSchema": {"json": schema}}},
            {"toolSpec": {"name": "now", "inputSchema": {"json": schema}}},
            cache(),
        ]},
        "messages": [
            {"role": "user", "content": [{"text": "Which file?"}, cache()]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
                use_of("t1"),
            ]},
            {"role": "user", "content": [result_of("t1", &json!([{"text": "birds.md"}])), cache()]},
        ],
        "inferenceConfig": {"maxTokens": 64_000},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
    });
    let tools = [tool("search", Some("Searches.")), tool("now", Some(""))];
    assert_eq!(encode(CLAUDE, whole_conversation(), &tools, ReasoningBudget::Low), expected);
}

#[test]
fn nova_caches_no_tools_and_no_results_and_takes_plain_schemas() {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]});
    let expected = json!({
        "system": [{"text": "You are an owl."}, cache()],
        "toolConfig": {"tools": [{"toolSpec": {"name": "search", "inputSchema": {"json": schema}}}]},
        "messages": [
            {"role": "user", "content": [{"text": "Which file?"}, cache()]},
            {"role": "assistant", "content": [use_of("t1")]},
            {"role": "user", "content": [result_of("t1", &json!([{"text": "birds.md"}]))]},
        ],
        "inferenceConfig": {"maxTokens": 64_000},
    });
    assert_eq!(encode(NOVA, whole_conversation(), &[tool("search", None)], ReasoningBudget::Low), expected);
}

#[test]
fn other_models_get_no_cache_points_no_status_and_no_question_to_reason() {
    let messages = json!([
        instruction("You are an owl.", true),
        user("Which file?"),
        expert(&json!([call("t1"), call("t2")])),
        results(&json!([
            failed("t1", "No such file."),
            result("t2", &json!([{"type": "imageInlinePart", "encodedData": "iVBORw0KGgo=", "mimeType": "image/png"}])),
        ])),
    ]);
    let schema = &tool("search", None).input_schema;
    let moved = json!([{"text": "[an image or a file of this result follows behind the results]"}]);
    let expected = json!({
        "system": [{"text": "You are an owl."}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "search", "inputSchema": {"json": schema}}}]},
        "messages": [
            {"role": "user", "content": [{"text": "Which file?"}]},
            {"role": "assistant", "content": [use_of("t1"), use_of("t2")]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "t1", "content": [
                    {"text": "The tool reported an error:"}, {"text": "No such file."},
                ]}},
                {"toolResult": {"toolUseId": "t2", "content": moved}},
                {"text": "From the result of search (t2):"},
                {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
            ]},
        ],
    });
    let body = encode_within(LLAMA, messages, &[tool("search", None)], ReasoningBudget::High, None);
    assert_eq!(body, expected);
}

#[test]
fn every_family_is_asked_to_reason_in_its_own_way() {
    use ReasoningBudget::{High, Low, Medium, None as Off};
    let ask = |model, reasoning, limit| {
        let mut body = encode_within(model, json!([user("Hi")]), &[], reasoning, limit);
        (body["additionalModelRequestFields"].take(), body["inferenceConfig"].take())
    };
    let limit = |tokens: u64| json!({"maxTokens": tokens});
    let adaptive =
        json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "medium"}});
    let nova = |effort: &str| json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}});
    for (model, reasoning, tokens, expected) in [
        (CLAUDE, Off, None, (Value::Null, Value::Null)),
        (CLAUDE, Off, Some(9), (Value::Null, limit(9))),
        (CLAUDE, Low, None, (json!({"thinking": {"type": "enabled", "budget_tokens": 2048}}), limit(32_000))),
        ("global.anthropic.claude-opus-4-6-v1", Medium, Some(64_000), (adaptive, limit(64_000))),
        ("anthropic.claude-3-haiku-20240307-v1:0", High, None, (Value::Null, Value::Null)),
        (NOVA, High, Some(9), (Value::Null, limit(9))),
        (NOVA_2, Off, Some(9), (Value::Null, limit(9))),
        (NOVA_2, Low, Some(9), (nova("low"), limit(9))),
        (NOVA_2, High, Some(9), (nova("high"), Value::Null)),
        (DEEPSEEK, High, None, (Value::Null, Value::Null)),
    ] {
        assert_eq!(ask(model, reasoning, tokens), expected, "{model} {reasoning:?} {tokens:?}");
    }
}

#[test]
fn reasoning_goes_back_unchanged_to_those_who_take_it() {
    let parts = json!([
        thinking(&json!({"thinking": "signed", "signature": "s1", "protocol": NAME})),
        thinking(&json!({"thinking": "", "signature": "s2", "protocol": NAME})),
        thinking(&json!({"protocol": NAME, "opaque": {"redactedContent": "RW13"}})),
        thinking(&json!({"thinking": "plain", "protocol": NAME})),
        thinking(&json!({"thinking": "the original's", "signature": "s3"})),
        thinking(&json!({"thinking": "other", "signature": "s4", "protocol": "anthropic-messages"})),
        thinking(&json!({"protocol": NAME, "opaque": {"type": "reasoning"}})),
        part("Hm."),
    ]);
    let messages = json!([user("Go."), expert(&parts), user("Well?")]);
    let sent = |model| encode(model, messages.clone(), &[], ReasoningBudget::None)["messages"][1]["content"].take();
    let reasoning = |content: Value| json!({"reasoningContent": content});
    let signed = |text, signature| reasoning(json!({"reasoningText": {"text": text, "signature": signature}}));
    let (first, second) = (signed("signed", "s1"), signed("", "s2"));
    let redacted = reasoning(json!({"redactedContent": "RW13"}));
    let plain = reasoning(json!({"reasoningText": {"text": "plain"}}));
    let text = json!({"text": "Hm."});
    assert_eq!(sent(CLAUDE), json!([first, second, redacted, text]));
    assert_eq!(sent(NOVA_2), json!([plain, text]));
    assert_eq!(sent(DEEPSEEK), json!([text]));
    assert_eq!(sent(LLAMA), json!([first, second, redacted, plain, text]));
}

#[test]
fn thinking_is_asked_for_only_where_the_turn_began_with_it() {
    let asks =
        |messages| encode(CLAUDE, messages, &[], ReasoningBudget::Low).get("additionalModelRequestFields").is_some();
    let thought = || thinking(&json!({"thinking": "Hm.", "signature": "s", "protocol": NAME}));
    let answer = |id: &str| results(&json!([result(id, &json!([]))]));
    let (bare, full) = (expert(&json!([call("a")])), expert(&json!([thought(), call("a")])));
    assert!(asks(json!([user("Go.")])));
    assert!(asks(json!([user("Go."), full, answer("a")])));
    assert!(!asks(json!([user("Go."), bare, answer("a")])));
    assert!(asks(json!([user("Go."), full, answer("a"), expert(&json!([call("b")])), answer("b")])));
    assert!(asks(json!([user("Go."), bare, answer("a"), expert(&json!([thought()])), user("Again.")])));
}

#[test]
fn messages_of_one_role_are_one_results_come_first_and_none_is_blank() {
    let messages = json!([
        user("One."),
        user("  "),
        user("Two."),
        expert(&json!([part("Well."), part("\n")])),
        expert(&json!([call("a"), call("b")])),
        user("Hurry."),
        results(&json!([result("a", &json!([])), result("b", &json!([part(" ")]))])),
        expert(&json!([part("Done. \n")])),
    ]);
    let empty = json!([{"text": "[no output]"}]);
    let expected = json!([
        {"role": "user", "content": [{"text": "One."}, {"text": "Two."}]},
        {"role": "assistant", "content": [{"text": "Well."}, use_of("a"), use_of("b")]},
        {"role": "user", "content": [result_of("a", &empty), result_of("b", &empty), {"text": "Hurry."}]},
        {"role": "assistant", "content": [{"text": "Done."}]},
    ]);
    assert_eq!(encode_messages(messages), expected);
}

#[test]
fn a_conversation_begins_with_the_user() {
    let messages = json!([user(" "), expert(&json!([part("Well?")])), user("Go.")]);
    let expected = json!([
        {"role": "user", "content": [{"text": "Go on."}]},
        {"role": "assistant", "content": [{"text": "Well?"}]},
        {"role": "user", "content": [{"text": "Go."}]},
    ]);
    assert_eq!(encode_messages(messages), expected);
}

#[test]
fn failed_results_are_marked_and_broken_arguments_are_none() {
    let mut broken = call("a");
    broken["args"] = json!("{\"q\": \"ow");
    let messages = json!([user("Go."), expert(&json!([broken])), results(&json!([failed("a", "No such file.")]))]);
    let expected = json!([
        {"role": "user", "content": [{"text": "Go."}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "search", "input": {}}}]},
        {"role": "user", "content": [
            {"toolResult": {"toolUseId": "a", "content": [{"text": "No such file."}], "status": "error"}},
        ]},
    ]);
    assert_eq!(encode_messages(messages), expected);
}

#[test]
fn a_conversation_with_calls_has_tools_even_when_there_are_none() {
    let messages = json!([user("Go."), expert(&json!([call("a")])), results(&json!([result("a", &json!([]))]))]);
    let stand_in = json!({"toolSpec": {
        "name": "no_tool",
        "description": "Stands for no tool: none can be called now.",
        "inputSchema": {"json": {"type": "object", "properties": {}}},
    }});
    let tools = |messages| encode(LLAMA, messages, &[], ReasoningBudget::None)["toolConfig"].take();
    assert_eq!(tools(messages), json!({"tools": [stand_in]}));
    assert_eq!(tools(json!([user("Go.")])), Value::Null);
}

#[test]
fn an_instruction_that_asks_for_no_cache_gets_none_and_a_blank_one_is_left_out() {
    let system = |messages| encode(CLAUDE, messages, &[], ReasoningBudget::None)["system"].take();
    assert_eq!(system(json!([instruction("Be.", false), user("Hi")])), json!([{"text": "Be."}]));
    assert_eq!(system(json!([instruction(" ", true), user("Hi")])), Value::Null);
}

#[test]
fn the_last_two_questions_are_cached_up_to() {
    let answer = |text: &str| expert(&json!([part(text)]));
    let messages = json!([user("1"), answer("a"), user("2"), answer("b"), user("3")]);
    for model in [CLAUDE, NOVA] {
        let body = encode(model, messages.clone(), &[], ReasoningBudget::None);
        let cached: Vec<bool> =
            body["messages"].as_array().unwrap().iter().map(|message| message["content"][1] == cache()).collect();
        assert_eq!(cached, [false, false, true, false, true], "{model}");
    }
}

#[test]
fn images_and_documents_go_along_in_questions_and_results() {
    let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    let parts = json!([
        {"type": "imageInlinePart", "encodedData": "/9j/", "mimeType": "image/jpeg"},
        {"type": "imageUrlPart", "url": "https://x/y.png", "mimeType": "image/png"},
        {"type": "fileInlinePart", "encodedData": "JVBERi0=", "mimeType": "application/pdf"},
        {"type": "fileBinaryPart", "data": "ZG9j", "mimeType": docx},
        {"type": "fileUrlPart", "url": "https://x/y.pdf", "mimeType": "application/pdf"},
        {"type": "fileBinaryPart", "data": "aGk=", "mimeType": "text/markdown"},
    ]);
    let document = |format: &str, number: u8, data: &str| json!({"document": {"format": format, "name": format!("document-{number}"), "source": {"bytes": data}}});
    let blocks = |first: u8| {
        json!([
            {"image": {"format": "jpeg", "source": {"bytes": "/9j/"}}},
            {"text": "[an image that was not sent: https://x/y.png]"},
            document("pdf", first, "JVBERi0="),
            document("docx", first + 1, "ZG9j"),
            {"text": "[a PDF file that was not sent: https://x/y.pdf]"},
            {"text": "hi"},
        ])
    };
    let messages = json!([user_turn(&parts), expert(&json!([call("a")])), results(&json!([result("a", &parts)]))]);
    let encoded = encode_messages(messages);
    assert_eq!(encoded[0]["content"], blocks(1));
    assert_eq!(encoded[2]["content"], json!([result_of("a", &blocks(3))]));
}

#[test]
fn a_document_alone_gets_a_text_beside_it() {
    let pdf = json!([{"type": "fileInlinePart", "encodedData": "JVBERi0=", "mimeType": "application/pdf"}]);
    let document = |name: &str| json!({"document": {"format": "pdf", "name": name, "source": {"bytes": "JVBERi0="}}});
    let note = json!({"text": "See the attached document."});
    let messages = json!([user_turn(&pdf), expert(&json!([call("a")])), results(&json!([result("a", &pdf)]))]);
    let encoded = encode_messages(messages);
    assert_eq!(encoded[0]["content"], json!([document("document-1"), note]));
    assert_eq!(encoded[2]["content"], json!([result_of("a", &json!([document("document-2"), note]))]));
}

#[test]
fn schemas_and_names_are_what_models_take() {
    let mut spec = tool(&"n".repeat(100), None);
    spec.input_schema = json!({"type": "object", "properties": {"q": {}, "q q": {}}, "anyOf": [{"required": ["q"]}]})
        .as_object()
        .unwrap()
        .clone()
        .into();
    let sent = |model: &str| {
        let body = encode(model, json!([user("Hi.")]), std::slice::from_ref(&spec), ReasoningBudget::None);
        body["toolConfig"]["tools"][0]["toolSpec"].clone()
    };
    let claude = sent("anthropic.claude-3-haiku-20240307-v1:0");
    assert_eq!(claude["name"].as_str().unwrap().len(), 64);
    let schema = &claude["inputSchema"]["json"];
    assert_eq!(
        (&schema["anyOf"], &schema["properties"]),
        (&Value::Null, &json!({"q": {}, tool_names::property("q q"): {}}))
    );
    let nova = sent("amazon.nova-pro-v1:0");
    let keys: Vec<&String> = nova["inputSchema"]["json"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["type", "properties", "required"]);
}
