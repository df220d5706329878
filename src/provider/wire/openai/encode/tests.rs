//! Tests of Responses requests.

use super::*;
use crate::generation::{NativeTools, Occasion};
use crate::provider::Protocol as _;
use crate::provider::wire::openai::OpenAiResponses;
use crate::setting::ReasoningBudget;
use crate::tool::{ToolHints, ToolKind};

fn body(request: &GenerateRequest<'_>) -> Value {
    OpenAiResponses.encode(request).body.json()
}

fn encode(model: &str, messages: Value, tools: &[ToolSpec], reasoning: ReasoningBudget) -> Value {
    let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
    body(&GenerateRequest {
        model,
        messages: &messages,
        tools,
        reasoning,
        max_output_tokens: None,
        native: NativeTools::default(),
        found: 0,
        occasion: Occasion::default(),
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

fn opaque_part(protocol: &str, block: &Value) -> Value {
    json!({"type": "opaquePart", "id": "p", "protocol": protocol, "block": block})
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
        input_schema: schema.as_object().unwrap().clone().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    };
    let reasoning = json!({"id": "rs_1", "type": "reasoning", "status": "completed", "content": null,
                           "encrypted_content": "gAAA", "summary": []});
    let phase = json!({"type": "message", "phase": "commentary"});
    let messages = json!([
        {"type": "instructionMessage", "id": "i", "cache": true,
         "contents": [text_part("You are"), text_part("an owl.")]},
        {"type": "userMessage", "id": "u", "contents": [text_part("Which file?")]},
        {"type": "expertMessage", "id": "e",
         "contents": [reasoning_part(NAME, &reasoning), text_part("Looking."), opaque_part(NAME, &phase), call_part()]},
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
            {"type": "message", "role": "assistant", "content": "Looking.", "phase": "commentary"},
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
        found: 0,
        occasion: Occasion::default(),
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
        {"type": "imageInlinePart", "encodedData": "iVBORw0KGgo=", "mimeType": "image/png"},
        {"type": "imageUrlPart", "url": "https://x/y.png", "mimeType": "image/png"},
        {"type": "fileInlinePart", "encodedData": "JVBERi0=", "mimeType": "application/pdf"},
        {"type": "fileUrlPart", "url": "https://x/y.pdf", "mimeType": "application/pdf"},
        {"type": "fileBinaryPart", "data": "aGk=", "mimeType": "text/plain"},
    ]);
    let expected = json!([
        {"type": "input_text", "text": "See:"},
        {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "input_image", "detail": "auto", "image_url": "https://x/y.png"},
        {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        {"type": "input_file", "file_url": "https://x/y.pdf"},
        {"type": "input_text", "text": "hi"},
    ]);
    let question = encode_input(json!([{"type": "userMessage", "id": "u", "contents": parts}]));
    assert_eq!(question, json!([{"type": "message", "role": "user", "content": expected}]));
    assert_eq!(output(&parts, false), expected);
}

#[test]
fn results_note_that_the_tool_failed() {
    let (text, note) = (text_part("No such file."), json!({"type": "input_text", "text": ERROR_NOTE}));
    let part = json!({"type": "input_text", "text": "No such file."});
    assert_eq!(output(&json!([text]), false), json!("No such file."));
    assert_eq!(output(&json!([text]), true), json!("The tool reported an error:\nNo such file."));
    assert_eq!(output(&json!([text, text]), false), json!([part, part]));
    assert_eq!(output(&json!([text, text]), true), json!([note, part, part]));
    assert_eq!(output(&json!([]), false), json!(""));
    assert_eq!(output(&json!([]), true), json!(ERROR_NOTE));
}

#[test]
fn only_reasoning_of_this_protocol_with_its_content_and_consequence_goes_back() {
    let whole = json!({"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA"});
    let bare = json!({"id": "rs_2", "type": "reasoning", "summary": []});
    let sent = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"});
    let call = json!({"type": "function_call", "call_id": "call_1", "name": "search", "arguments": "{\"q\":\"owl\"}"});
    let cases = [
        (json!([reasoning_part(NAME, &whole), call_part()]), json!([sent, call])),
        (json!([reasoning_part(NAME, &whole), reasoning_part(NAME, &whole), call_part()]), json!([sent, sent, call])),
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

#[test]
fn calls_that_the_provider_ran_go_back_in_their_place() {
    let reasoning = |id: &str| {
        let item = json!({"id": id, "type": "reasoning", "summary": [], "encrypted_content": "gAAA"});
        (
            reasoning_part(NAME, &item),
            json!({"type": "reasoning", "id": id, "summary": [], "encrypted_content": "gAAA"}),
        )
    };
    let ((first, sent_first), (second, sent_second)) = (reasoning("rs_1"), reasoning("rs_2"));
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed",
                        "action": {"type": "search", "query": "owl"}});
    let message =
        |text: &str, phase: &str| json!({"type": "message", "role": "assistant", "content": text, "phase": phase});
    let phase = |phase: &str| opaque_part(NAME, &json!({"type": "message", "phase": phase}));
    let parts = json!([
        first,
        opaque_part(NAME, &search),
        text_part("Looking."),
        phase("commentary"),
        opaque_part("anthropic-messages", &json!({"type": "server_tool_use", "id": "srvtoolu_1"})),
        opaque_part(NAME, &json!({"type": "web_search_call", "id": "ws_2", "status": "in_progress"})),
        second,
        text_part("Owls."),
        phase("final_answer"),
    ]);
    let expected =
        json!([sent_first, search, message("Looking.", "commentary"), sent_second, message("Owls.", "final_answer"),]);
    assert_eq!(encode_input(expert(&parts)), expected);
}

#[test]
fn native_tools_stand_behind_the_others_and_ask_for_what_they_find() {
    let names = ["codeInterpreter".to_owned(), "webFetch".to_owned()];
    let body = body(&GenerateRequest {
        model: "gpt-5",
        messages: &[],
        tools: &[],
        reasoning: ReasoningBudget::None,
        max_output_tokens: None,
        native: NativeTools { tools: &names, ..NativeTools::default() },
        found: 0,
        occasion: Occasion { run: "run-1", at: 0 },
    });
    let expected = json!({
        "model": "gpt-5",
        "stream": true,
        "store": false,
        "prompt_cache_key": "run-1",
        "include": ["reasoning.encrypted_content", "code_interpreter_call.outputs"],
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
        "tool_choice": "auto",
        "input": [],
    });
    assert_eq!(body, expected);
}

#[test]
fn a_cache_key_is_no_longer_than_openai_takes() {
    let long = format!("{}end", "x".repeat(100));
    assert_eq!(cache_key(&long).len(), 64);
    assert!(cache_key(&long).ends_with("xend"));
    assert_eq!(cache_key("r1"), "r1");
}
