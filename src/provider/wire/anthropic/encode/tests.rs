//! Tests of Messages requests.

use super::*;
use crate::generation::{NativeTools, Occasion};
use crate::provider::Protocol as _;
use crate::provider::wire::anthropic::{AnthropicMessages, NAME};
use crate::setting::ReasoningBudget;
use crate::tool::{ToolHints, ToolKind, ToolSpec};

fn request_body(request: &GenerateRequest<'_>) -> Value {
    AnthropicMessages.encode(request).body.json()
}

fn encode(messages: Value, tools: &[ToolSpec], reasoning: ReasoningBudget) -> Value {
    let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
    let model = "claude-sonnet-4-5";
    request_body(&GenerateRequest {
        model,
        messages: &messages,
        tools,
        reasoning,
        max_output_tokens: Some(64_000),
        native: NativeTools::default(),
        found: 0,
        occasion: Occasion::default(),
    })
}

/// The `messages` of a body without thinking, and without the breakpoints that have a test of their own.
fn encode_messages(messages: Value) -> Value {
    let mut body = encode(messages, &[], ReasoningBudget::None);
    for message in body["messages"].as_array_mut().unwrap() {
        for block in message["content"].as_array_mut().unwrap() {
            block.as_object_mut().unwrap().shift_remove("cache_control");
        }
    }
    body["messages"].take()
}

fn user(text: &str) -> Value {
    json!({"type": "userMessage", "id": "u", "contents": [{"type": "textPart", "text": text}]})
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

fn thinking(fields: &Value) -> Value {
    let mut part = json!({"type": "thinkingPart", "id": "p"});
    part.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    part
}

fn tool(name: &str, description: Option<&str>) -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    ToolSpec {
        skill_name: "web".into(),
        name: name.into(),
        description: description.map(str::to_owned),
        input_schema: schema.as_object().unwrap().clone().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    }
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn a_whole_request_has_its_four_breakpoints() {
    let messages = json!([
        {"type": "instructionMessage", "id": "i", "cache": true,
         "contents": [{"type": "textPart", "text": "You are"}, {"type": "textPart", "text": "an owl."}]},
        user("Which file?"),
        expert(&json!([thinking(&json!({"thinking": "Hm.", "signature": "sig"})), call("toolu_1")])),
        results(&json!([result("toolu_1", &json!([{"type": "textPart", "text": "birds.md"}]))])),
    ]);
    let tools = [tool("search", Some("Searches.")), tool("now", None)];
    let cache = json!({"type": "ephemeral"});
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    let expected = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 64_000,
        "stream": true,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "system": [{"type": "text", "text": "You are\nan owl.", "cache_control": cache}],
        "tools": [
            {"name": "search", "description": "Searches.", "input_schema": schema},
            {"name": "now", "input_schema": schema, "cache_control": cache},
        ],
        "tool_choice": {"type": "auto"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Which file?", "cache_control": cache}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                {"type": "tool_use", "id": "toolu_1", "name": "search", "input": {"q": "owl"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("birds.md")],
                 "cache_control": cache},
            ]},
        ],
    });
    assert_eq!(encode(messages, &tools, ReasoningBudget::Low), expected);
}

#[test]
fn newer_models_are_asked_for_effort() {
    let messages: Vec<Message> = serde_json::from_value(json!([user("Hi")])).unwrap();
    let body = request_body(&GenerateRequest {
        model: "claude-opus-4-6",
        messages: &messages,
        tools: &[],
        reasoning: ReasoningBudget::Medium,
        max_output_tokens: None,
        native: NativeTools::default(),
        found: 0,
        occasion: Occasion::default(),
    });
    let cache = json!({"type": "ephemeral"});
    let expected = json!({
        "model": "claude-opus-4-6",
        "max_tokens": 32_000,
        "stream": true,
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "medium"},
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": cache}]}],
    });
    assert_eq!(body, expected);
}

#[test]
fn an_instruction_that_asks_for_no_cache_gets_none() {
    let instruction =
        json!({"type": "instructionMessage", "id": "i", "contents": [{"type": "textPart", "text": "Be."}]});
    let body = encode(json!([instruction, user("Hi")]), &[], ReasoningBudget::None);
    assert_eq!(body["system"], json!([text("Be.")]));
}

#[test]
fn several_instructions_take_up_one_breakpoint() {
    let instruction = |words: &str, cache: bool| {
        let contents = json!([{"type": "textPart", "text": words}]);
        json!({"type": "instructionMessage", "id": "i", "cache": cache, "contents": contents})
    };
    let messages = json!([instruction("One.", true), instruction("Two.", false), user("Hi")]);
    let expected = json!([text("One."), {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}}]);
    assert_eq!(encode(messages, &[], ReasoningBudget::None)["system"], expected);
}

#[test]
fn messages_of_one_role_are_one_and_results_come_first() {
    let messages = json!([
        user("One."),
        user("Two."),
        expert(&json!([{"type": "textPart", "id": "p", "text": "Well."}])),
        expert(&json!([call("a"), call("b")])),
        user("Hurry."),
        results(&json!([result("a", &json!([])), result("b", &json!([{"type": "textPart", "text": ""}]))])),
    ]);
    let use_of = |id: &str| json!({"type": "tool_use", "id": id, "name": "search", "input": {"q": "owl"}});
    let expected = json!([
        {"role": "user", "content": [text("One."), text("Two.")]},
        {"role": "assistant", "content": [text("Well."), use_of("a"), use_of("b")]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": []},
            {"type": "tool_result", "tool_use_id": "b", "content": []},
            text("Hurry."),
        ]},
    ]);
    assert_eq!(encode_messages(messages), expected);
}

#[test]
fn failed_results_are_marked() {
    let mut failed = result("a", &json!([{"type": "textPart", "text": "No such file."}]));
    failed["isError"] = json!(true);
    let messages = json!([user("Go."), expert(&json!([call("a")])), results(&json!([failed]))]);
    let expected = json!({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "a", "content": [text("No such file.")], "is_error": true},
    ]});
    assert_eq!(encode_messages(messages)[2], expected);
}

#[test]
fn images_and_documents_go_along_in_questions_and_results() {
    let parts = json!([
        {"type": "imageInlinePart", "encodedData": "iVBORw0KGgo=", "mimeType": "image/png"},
        {"type": "imageUrlPart", "url": "https://x/y.png", "mimeType": "image/png"},
        {"type": "fileInlinePart", "encodedData": "JVBERi0=", "mimeType": "application/pdf"},
        {"type": "fileUrlPart", "url": "https://x/y.pdf", "mimeType": "application/pdf"},
        {"type": "fileBinaryPart", "data": "aGk=", "mimeType": "text/plain"},
    ]);
    let blocks = json!([
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
        text("hi"),
    ]);
    let messages = json!([
        {"type": "userMessage", "id": "u", "contents": parts},
        expert(&json!([call("a")])),
        results(&json!([result("a", &parts)])),
    ]);
    let encoded = encode_messages(messages);
    assert_eq!(encoded[0]["content"], blocks);
    assert_eq!(encoded[2]["content"][0]["content"], blocks);
}

#[test]
fn only_thinking_that_this_protocol_signed_goes_back_unchanged_and_in_order() {
    let redacted = json!({"type": "redacted_thinking", "data": "Emw"});
    let messages = json!([
        user("Go."),
        expert(&json!([
            thinking(&json!({"thinking": "the original's", "signature": "s1"})),
            thinking(&json!({"thinking": "", "signature": "s2", "protocol": NAME})),
            thinking(&json!({"protocol": NAME, "opaque": redacted})),
            thinking(&json!({"thinking": "unsigned", "protocol": NAME})),
            thinking(&json!({"thinking": "unsigned", "signature": "", "protocol": NAME})),
            thinking(&json!({"thinking": "other", "signature": "s3", "protocol": "openai-chat"})),
            thinking(&json!({"protocol": "openai-responses", "opaque": {"type": "reasoning", "id": "rs"}})),
            {"type": "textPart", "id": "p", "text": "Hm."},
        ])),
        user("Well?"),
    ]);
    let expected = json!([
        {"type": "thinking", "thinking": "the original's", "signature": "s1"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        redacted,
        text("Hm."),
    ]);
    assert_eq!(encode_messages(messages)[1]["content"], expected);
}

#[test]
fn an_answer_of_which_nothing_can_be_sent_is_left_out() {
    let messages = json!([user("One."), expert(&json!([thinking(&json!({"thinking": "Hm."}))])), user("Two.")]);
    assert_eq!(encode_messages(messages), json!([{"role": "user", "content": [text("One."), text("Two.")]}]));
}

#[test]
fn a_final_answer_ends_without_white_space_and_empty_texts_are_not_sent() {
    let answer = |words: &str| expert(&json!([{"type": "textPart", "id": "p", "text": words}]));
    let messages = json!([user("Go."), answer("One \n"), user(" \n"), answer(""), user("On."), answer("Two \n")]);
    let expected = json!([
        {"role": "user", "content": [text("Go.")]},
        {"role": "assistant", "content": [text("One \n")]},
        {"role": "user", "content": [text("On.")]},
        {"role": "assistant", "content": [text("Two")]},
    ]);
    assert_eq!(encode_messages(messages), expected);
}

#[test]
fn thinking_is_asked_for_only_where_the_turn_began_with_it() {
    let asks = |messages| encode(messages, &[], ReasoningBudget::Low).get("thinking").is_some();
    let thought = || thinking(&json!({"thinking": "Hm.", "signature": "s"}));
    let answer = |id: &str| results(&json!([result(id, &json!([]))]));
    let (bare, full) = (expert(&json!([call("a")])), expert(&json!([thought(), call("a")])));
    assert!(asks(json!([user("Go.")])));
    assert!(asks(json!([user("Go."), full, answer("a")])));
    assert!(!asks(json!([user("Go."), bare, answer("a")])));
    // Within a turn the model may call again without another thought.
    assert!(asks(json!([user("Go."), full, answer("a"), expert(&json!([call("b")])), answer("b")])));
    assert!(asks(json!([user("Go."), bare, answer("a"), expert(&json!([thought()])), user("Again.")])));
}

#[test]
fn ids_of_other_providers_are_spelled_in_the_protocols_letters() {
    let messages =
        json!([user("Go."), expert(&json!([call("f.s:0")])), results(&json!([result("f.s:0", &json!([]))]))]);
    let encoded = encode_messages(messages);
    assert_eq!(encoded[1]["content"][0]["id"], "f_2e_s_3a_0");
    assert_eq!(encoded[2]["content"][0]["tool_use_id"], "f_2e_s_3a_0");
}

#[test]
fn arguments_that_are_no_object_are_sent_as_an_empty_one() {
    let mut broken = call("a");
    broken["args"] = json!("{\"q\": \"ow");
    let messages = json!([user("Go."), expert(&json!([broken])), results(&json!([result("a", &json!([]))]))]);
    assert_eq!(encode_messages(messages)[1]["content"][0]["input"], json!({}));
}

fn opaque(protocol: &str, block: &Value) -> Value {
    json!({"type": "opaquePart", "id": "p", "protocol": protocol, "block": block})
}

fn server_call(id: &str) -> Value {
    json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "owl"}})
}

fn found(id: &str) -> Value {
    json!({"type": "web_search_tool_result", "tool_use_id": id, "content": []})
}

#[test]
fn a_paused_turn_goes_on_with_what_the_provider_ran() {
    let parts = json!([
        thinking(&json!({"thinking": "Hm.", "signature": "s"})),
        {"type": "textPart", "id": "p", "text": "Looking."},
        opaque(NAME, &server_call("srvtoolu_1")),
        opaque(NAME, &found("srvtoolu_1")),
        opaque(NAME, &json!({"type": "container", "id": "container_1", "expires_at": "2026-10-02T08:20:00Z"})),
        opaque(NAME, &server_call("srvtoolu_2")),
    ]);
    let more = json!([
        opaque(NAME, &found("srvtoolu_2")),
        {"type": "textPart", "id": "p", "text": "Owls."},
        opaque(NAME, &json!({"type": "text", "citations": [{"type": "web_search_result_location"}]})),
    ]);
    let thought = json!({"type": "thinking", "thinking": "Hm.", "signature": "s"});
    let first = [thought, text("Looking."), server_call("srvtoolu_1"), found("srvtoolu_1"), server_call("srvtoolu_2")];
    let paused = json!([user("Go."), expert(&parts)]);
    assert_eq!(encode_messages(paused)[1], json!({"role": "assistant", "content": first}));
    let ended = json!([user("Go."), expert(&parts), expert(&more), user("Thanks.")]);
    let mut owls = text("Owls.");
    owls["citations"] = json!([{"type": "web_search_result_location"}]);
    let all: Vec<Value> = first.into_iter().chain([found("srvtoolu_2"), owls]).collect();
    assert_eq!(encode_messages(ended)[1], json!({"role": "assistant", "content": all}));
}

#[test]
fn what_the_provider_never_finished_and_what_others_ran_is_left_out() {
    let parts = json!([
        {"type": "textPart", "id": "p", "text": "Looking."},
        opaque(NAME, &server_call("srvtoolu_1")),
        opaque(NAME, &found("srvtoolu_9")),
        opaque("openai-responses", &json!({"type": "web_search_call", "id": "ws_1", "status": "completed"})),
        opaque(NAME, &json!({"type": "refusal", "category": null})),
    ]);
    let only = json!([opaque(NAME, &server_call("srvtoolu_2"))]);
    let messages = json!([user("Go."), expert(&parts), user("On."), expert(&only), user("And?")]);
    let expected = json!([
        {"role": "user", "content": [text("Go.")]},
        {"role": "assistant", "content": [text("Looking.")]},
        {"role": "user", "content": [text("On."), text("And?")]},
    ]);
    assert_eq!(encode_messages(messages), expected);
}

#[test]
fn a_call_of_the_providers_tool_waits_for_the_results_of_ours() {
    let parts = json!([opaque(NAME, &server_call("srvtoolu_1")), call("a")]);
    let messages = json!([user("Go."), expert(&parts), results(&json!([result("a", &json!([]))]))]);
    assert_eq!(encode_messages(messages)[1]["content"][0], server_call("srvtoolu_1"));
}

#[test]
fn native_tools_stand_before_ours_and_the_last_tool_is_cached_up_to() {
    let names = ["webSearch".to_owned()];
    let skills = json!([{"type": "builtin", "skillId": "pdf"}]);
    let ours = [tool("search", None)];
    let request = GenerateRequest {
        model: "claude-sonnet-4-5",
        messages: &[],
        tools: &ours,
        reasoning: ReasoningBudget::None,
        max_output_tokens: None,
        native: NativeTools { tools: &names, options: None, skills: Some(&skills) },
        found: 0,
        occasion: Occasion::default(),
    };
    let body = request_body(&request);
    let kinds: Vec<&Value> = body["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
    assert_eq!(kinds, ["web_search", "code_execution", "search"]);
    assert!(body["tools"][2].get("cache_control").is_some());
    let skill = json!({"type": "anthropic", "skill_id": "pdf", "version": "latest"});
    assert_eq!(body["container"], json!({"skills": [skill]}));
}
