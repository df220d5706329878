//! Tests of requests of Chat Completions.

use super::*;
use crate::content::Thinking;
use crate::generation::{NativeTools, Occasion};
use crate::provider::Protocol as _;
use crate::provider::wire::chat::ChatCompletions;
use crate::provider::wire::openai::ERROR_NOTE;
use crate::setting::ReasoningBudget;
use crate::tool::{BASE_SKILL, ToolHints, ToolKind, ToolSpec};

fn encode(dialect: Dialect, model: &str, messages: &[Message], tools: &[ToolSpec]) -> Value {
    let request = GenerateRequest {
        model,
        messages,
        tools,
        reasoning: ReasoningBudget::Medium,
        max_output_tokens: None,
        native: NativeTools::default(),
        found: 0,
        occasion: Occasion { run: "run-1", at: 0 },
    };
    ChatCompletions { dialect }.encode(&request).body.json()
}

fn sent(messages: &[Message]) -> Value {
    sent_to(Dialect::Compatible, messages)
}

fn sent_to(dialect: Dialect, messages: &[Message]) -> Value {
    encode(dialect, "local", messages, &[])["messages"].take()
}

fn user(contents: Vec<Content>) -> Message {
    Message::UserMessage { id: String::new(), contents, cache: false }
}

fn expert(contents: Vec<ExpertPart>) -> Message {
    Message::ExpertMessage { id: String::new(), contents, cache: false }
}

fn tool_message(contents: Vec<ResultPart>) -> Message {
    Message::ToolMessage { id: String::new(), contents, cache: false }
}

fn call(id: &str, args: Value) -> ExpertPart {
    ExpertPart::ToolCallPart { id: String::new(), tool_call_id: id.to_owned(), tool_name: "search".to_owned(), args }
}

fn thinking(protocol: &str) -> ExpertPart {
    let thinking = Thinking { thinking: "hm".to_owned(), protocol: Some(protocol.to_owned()), ..Thinking::default() };
    ExpertPart::ThinkingPart { id: String::new(), thinking }
}

fn result(id: &str, contents: Vec<Content>, is_error: bool) -> ResultPart {
    ResultPart::ToolResultPart {
        id: String::new(),
        tool_call_id: id.to_owned(),
        tool_name: "search".to_owned(),
        contents,
        is_error,
    }
}

fn image() -> Content {
    Content::ImageInlinePart {
        id: String::new(),
        encoded_data: "iVBORw0KGgo=".to_owned(),
        mime_type: "image/png".to_owned(),
    }
}

fn sent_call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "search", "arguments": arguments}})
}

#[test]
fn a_whole_request_is_as_documented() {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]});
    let spec = ToolSpec {
        skill_name: BASE_SKILL.to_owned(),
        name: "search".to_owned(),
        description: Some("Finds".to_owned()),
        input_schema: schema.as_object().unwrap().clone().into(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    };
    let bare =
        ToolSpec { name: "now".to_owned(), description: None, input_schema: std::sync::Arc::default(), ..spec.clone() };
    let system =
        Message::InstructionMessage { id: String::new(), contents: vec![Content::text("Be brief.")], cache: true };
    let body =
        encode(Dialect::OpenAi, "gpt-5-mini", &[system, user(vec![Content::text("Which file?")])], &[spec, bare]);
    let expected = json!({
        "model": "gpt-5-mini",
        "stream": true,
        "stream_options": {"include_usage": true},
        "reasoning_effort": "medium",
        "prompt_cache_key": "run-1",
        "tools": [
            {"type": "function", "function": {"name": "search", "description": "Finds", "parameters": schema}},
            {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
        ],
        "tool_choice": "auto",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Which file?"},
        ],
    });
    assert_eq!(body.to_string(), expected.to_string());
}

#[test]
fn a_limit_on_the_answer_has_the_name_that_the_model_takes() {
    for (model, name, other) in
        [("gpt-5", "max_completion_tokens", "max_tokens"), ("llama", "max_tokens", "max_completion_tokens")]
    {
        let request = GenerateRequest {
            model,
            messages: &[],
            tools: &[],
            reasoning: ReasoningBudget::None,
            max_output_tokens: Some(2000),
            native: NativeTools::default(),
            found: 0,
            occasion: Occasion::default(),
        };
        let body = ChatCompletions { dialect: Dialect::Compatible }.encode(&request).body.json();
        assert_eq!((&body[name], body.get(other)), (&json!(2000), None));
    }
}

#[test]
fn effort_and_tools_are_left_out_where_there_are_none() {
    let expected = json!({
        "model": "llama", "stream": true, "stream_options": {"include_usage": true}, "messages": [],
    });
    assert_eq!(encode(Dialect::Compatible, "llama", &[], &[]), expected);
}

#[test]
fn images_make_a_list_of_a_user_message_and_text_alone_a_string() {
    let messages = [
        user(vec![Content::text("a"), Content::text(""), Content::text("b")]),
        user(vec![Content::text("see"), image()]),
        user(vec![Content::text("")]),
    ];
    let expected = json!([
        {"role": "user", "content": "a\nb"},
        {"role": "user", "content": [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        ]},
    ]);
    assert_eq!(sent(&messages), expected);
}

#[test]
fn calls_go_back_with_empty_content_and_valid_arguments() {
    let messages = [expert(vec![call("c1", json!({"q": 1})), call("c2", json!("{\"q"))])];
    let expected = json!([{
        "role": "assistant", "content": "", "tool_calls": [sent_call("c1", "{\"q\":1}"), sent_call("c2", "{}")],
    }]);
    assert_eq!(sent(&messages), expected);
}

#[test]
fn reasoning_goes_back_within_its_turn_and_with_its_calls_only() {
    let answer = |protocol| expert(vec![thinking(protocol), call("c1", json!({}))]);
    let yes = ExpertPart::TextPart { id: String::new(), text: "yes".to_owned() };
    let messages = [
        user(vec![Content::text("1")]),
        answer(NAME),
        user(vec![Content::text("2")]),
        answer("anthropic-messages"),
        answer(NAME),
        expert(vec![thinking(NAME), yes]),
    ];
    let calls = json!([sent_call("c1", "{}")]);
    let expected = json!([
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "user", "content": "2"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": calls},
        {"role": "assistant", "content": "yes"},
    ]);
    assert_eq!(sent(&messages), expected);
}

#[test]
fn deepseek_gets_all_reasoning_of_turns_with_calls_back() {
    let sent_reasoning = |parts: &[ExpertPart]| {
        let text = ExpertPart::TextPart { id: String::new(), text: "yes".to_owned() };
        expert(parts.iter().cloned().chain([text]).collect())
    };
    let messages = [
        user(vec![Content::text("1")]),
        sent_reasoning(&[thinking(NAME)]),
        user(vec![Content::text("2")]),
        expert(vec![thinking(NAME), call("c1", json!({}))]),
        tool_message(vec![result("c1", vec![Content::text("one")], false)]),
        sent_reasoning(&[thinking(NAME)]),
        user(vec![Content::text("3")]),
        expert(vec![thinking("anthropic-messages"), call("c1", json!({}))]),
    ];
    let calls = json!([sent_call("c1", "{}")]);
    let thought = |content: &str, hm: &str| json!({"role": "assistant", "content": content, "reasoning_content": hm});
    let mut called = [thought("", "hm"), thought("", "")];
    for message in &mut called {
        message["tool_calls"] = calls.clone();
    }
    let [first, second] = called;
    let expected = json!([
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "2"},
        first,
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        thought("yes", "hm"),
        {"role": "user", "content": "3"},
        second,
    ]);
    assert_eq!(sent_to(Dialect::DeepSeek, &messages), expected);
    let without = encode(Dialect::DeepSeek, "deepseek-chat", &messages, &[]).to_string();
    assert!(!without.contains("reasoning_content") && !without.contains("thinking"), "{without}");
    for dialect in [Dialect::OpenAi, Dialect::Azure] {
        assert!(!sent_to(dialect, &messages).to_string().contains("reasoning_content"), "{dialect:?}");
    }
}

#[test]
fn what_a_server_does_not_take_is_replaced_by_a_note() {
    let pdf = || Content::FileInlinePart {
        id: String::new(),
        encoded_data: "JVBERi0=".to_owned(),
        mime_type: "application/pdf".to_owned(),
    };
    let url = Content::FileUrlPart {
        id: String::new(),
        url: "https://x/y.pdf".to_owned(),
        mime_type: "application/pdf".to_owned(),
    };
    let content = |dialect| sent_to(dialect, &[user(vec![image(), pdf(), url.clone()])])[0]["content"].take();
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let file = json!({"type": "file", "file": {"filename": "file.pdf",
                      "file_data": "data:application/pdf;base64,JVBERi0="}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let (no_file, no_url) = (
        text("[a PDF file was left out: this provider does not take files]"),
        text("[a PDF file that was not sent: https://x/y.pdf]"),
    );
    assert_eq!(content(Dialect::OpenAi), json!([picture, file, no_url]));
    for dialect in [Dialect::Azure, Dialect::Compatible] {
        assert_eq!(content(dialect), json!([picture, no_file, no_url]), "{dialect:?}");
    }
    assert_eq!(
        content(Dialect::DeepSeek),
        "[an image (image/png) was left out: only text can be sent to this model]\n\
         [a PDF file was left out: this provider does not take files]\n\
         [a PDF file that was not sent: https://x/y.pdf]"
    );
}

#[test]
fn images_of_results_follow_all_results_in_a_user_message() {
    let results = tool_message(vec![
        result("c1", vec![Content::text("one"), image(), image()], false),
        result("c2", vec![Content::text("two")], true),
        result("c3", Vec::new(), false),
    ]);
    let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let expected = json!([
        {"role": "tool", "tool_call_id": "c1", "content": format!("one\n{MOVED_NOTE}")},
        {"role": "tool", "tool_call_id": "c2", "content": format!("{ERROR_NOTE}\ntwo")},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "From the result of search (c1):"}, url, url]},
    ]);
    assert_eq!(sent(&[results]), expected);
}
