//! Answers, results and media of a conversation, as they are sent.

use super::*;
use crate::generation::{Arguments, GeneratedPart};
use crate::provider::assemble::Assembler;
use crate::provider::wire::google::GeminiGenerateContent;
use crate::provider::wire::recorded;

const CURRENT: ContentRules = ContentRules { is_current: true, takes_tool_parts: true };
const OLDER: ContentRules = ContentRules { is_current: false, takes_tool_parts: false };

fn sent(messages: &Value, wishes: ContentRules) -> Value {
    let messages: Vec<Message> = serde_json::from_value(messages.clone()).unwrap();
    Value::Array(contents(&messages, wishes))
}

fn contents(messages: &[Message], rules: ContentRules) -> Vec<Value> {
    let mut contents = Contents::new(rules);
    for message in messages {
        contents.add(message);
    }
    let mut body = BodyText::new();
    body.key("contents");
    contents.write(&mut body);
    serde_json::from_value(body.finish().json()["contents"].take()).unwrap()
}

fn user(text: &str) -> Value {
    json!({"type": "userMessage", "id": "u", "contents": [{"type": "textPart", "text": text}]})
}

fn expert(parts: &Value) -> Value {
    json!({"type": "expertMessage", "id": "e", "contents": parts})
}

fn text_part(text: &str) -> Value {
    json!({"type": "textPart", "id": "p", "text": text})
}

fn call_part(id: &str, name: &str, args: &Value) -> Value {
    json!({"type": "toolCallPart", "id": "p", "toolCallId": id, "toolName": name, "args": args})
}

fn thinking_part(fields: &Value) -> Value {
    let mut part = json!({"type": "thinkingPart", "id": "p"});
    part.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    part
}

fn layout_part(parts: &Value) -> Value {
    thinking_part(&json!({"protocol": NAME, "opaque": {"parts": parts}}))
}

fn results(parts: &[Value]) -> Value {
    json!({"type": "toolMessage", "id": "t", "contents": parts})
}

fn result(id: &str, name: &str, contents: &Value) -> Value {
    json!({"type": "toolResultPart", "id": "p", "toolCallId": id, "toolName": name, "contents": contents})
}

fn output(name: &str, text: &str) -> Value {
    json!({"functionResponse": {"name": name, "response": {"output": text}}})
}

fn function_call(name: &str, args: &Value) -> Value {
    json!({"functionCall": {"name": name, "args": args}})
}

/// The parts of a recorded answer after it was stored as the machine stores it: thinking, then text, then calls in an
/// order of its own (here the last first), with ids where there were none.
fn sent_back(recording: &str, wishes: ContentRules) -> Value {
    let mut assembler = Assembler::new(NAME);
    for delta in recorded::deltas(&GeminiGenerateContent, recording) {
        assembler.push(delta);
    }
    let (mut thinking, mut texts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for part in assembler.finish().unwrap().parts {
        match part {
            GeneratedPart::Thinking { thinking: block } => {
                thinking.push(ExpertPart::ThinkingPart { id: String::new(), thinking: block });
            }
            GeneratedPart::Text { text } => texts.push(ExpertPart::TextPart { id: String::new(), text }),
            GeneratedPart::ToolCall { id, name, arguments: Arguments::Valid(args) } => {
                let tool_call_id = if id.is_empty() { format!("call_{}", calls.len()) } else { id };
                let args = args.into();
                calls.push(ExpertPart::ToolCallPart { id: String::new(), tool_call_id, tool_name: name, args });
            }
            GeneratedPart::ToolCall { arguments: Arguments::Invalid(text), .. } => panic!("{text}"),
            GeneratedPart::Opaque { opaque } => panic!("{opaque:?}"),
        }
    }
    // Calls of one tool keep their order among themselves, as in the machine.
    calls.sort_by_key(|call| matches!(call, ExpertPart::ToolCallPart { tool_name, .. } if tool_name == "search"));
    let contents = [thinking, texts, calls].concat();
    let stored = serde_json::to_string(&Message::ExpertMessage { id: "e".into(), contents, cache: false }).unwrap();
    let message: Message = serde_json::from_str(&stored).unwrap();
    let mut turns = contents_of(&message, wishes);
    assert_eq!(turns.len(), 1);
    assert_eq!(turns[0]["role"], "model");
    turns[0]["parts"].take()
}

fn contents_of(message: &Message, wishes: ContentRules) -> Vec<Value> {
    contents(std::slice::from_ref(message), wishes)
}

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!("../../../../../tests/data/google/", $name, ".sse"))
    };
}

#[test]
fn an_answer_goes_back_with_every_signature_where_it_stood() {
    let expected = json!([
        {"text": "**Where to look**\n\nOwls are birds, so look there.", "thought": true},
        {"text": "Looking it up."},
        {"functionCall": {"id": "fc-1", "name": "search", "args": {"q": "owl"}}, "thoughtSignature": "EjQKMgFl+zA="},
    ]);
    assert_eq!(sent_back(recording!("thinking"), CURRENT), expected);
    assert_eq!(sent_back(recording!("thinking"), OLDER), expected);
    let expected = json!([
        {"text": "Owls are ", "thoughtSignature": "c2lnMQ=="},
        {"text": "birds of the night."},
        {"text": "", "thoughtSignature": "c2lnMg=="},
    ]);
    assert_eq!(sent_back(recording!("signed-text"), CURRENT), expected);
}

#[test]
fn parallel_calls_go_back_in_the_order_they_came() {
    let expected = json!([
        {"text": "Both at once."},
        {"functionCall": {"name": "search", "args": {"q": "owl"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "now", "args": {}}},
        {"functionCall": {"name": "search", "args": {"q": "ibis", "limit": 3}}},
    ]);
    assert_eq!(sent_back(recording!("parallel-calls"), CURRENT), expected);
}

#[test]
fn what_google_ran_goes_back_as_it_came_unless_the_service_does_not_take_it() {
    let expected = json!([
        {"text": "Let me count."},
        {"executableCode": {"language": "PYTHON", "code": "print(6 * 7)\n"}, "thoughtSignature": "Y29kZQ=="},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}},
        {"text": "[the model gave a file of type image/png, which was left out]There are 42 owls."},
    ]);
    assert_eq!(sent_back(recording!("code"), OLDER), expected);
    let call = json!(
        {"functionCall": {"id": "fc-1", "name": "search", "args": {"q": "owl"}}, "thoughtSignature": "ZmM="}
    );
    let whole = sent_back(recording!("search"), CURRENT);
    assert_eq!(whole[0]["toolCall"]["id"], "tc-1");
    assert_eq!(whole[0]["thoughtSignature"], "dGM=");
    assert_eq!(whole[1]["toolResponse"]["id"], "tc-1");
    assert_eq!(whole[2], call);
    assert_eq!(sent_back(recording!("search"), OLDER), json!([call]));
}

#[test]
fn results_follow_in_the_order_of_the_calls_as_sent_with_googles_ids() {
    let layout = layout_part(&json!([
        {"call": {"name": "search", "id": "fc-1"}, "thoughtSignature": "s"},
        {"call": {"name": "ask", "id": "fc-2"}},
        {"call": {"name": "search"}},
    ]));
    let text = |text: &str| json!([{"type": "textPart", "text": text}]);
    let none = json!({});
    let messages = json!([
        user("Go."),
        expert(&json!([
            layout,
            call_part("fc-1", "search", &none),
            call_part("call_0", "search", &none),
            call_part("call_1", "ask", &none),
        ])),
        results(&[
            result("fc-1", "search", &text("one")),
            result("call_0", "search", &text("three")),
            result("call_1", "ask", &text("two")),
        ]),
        user("On."),
    ]);
    let sent = sent(&messages, CURRENT);
    let expected = json!({"role": "user", "parts": [
        {"functionResponse": {"id": "fc-1", "name": "search", "response": {"output": "one"}}},
        {"functionResponse": {"id": "fc-2", "name": "ask", "response": {"output": "two"}}},
        {"functionResponse": {"name": "search", "response": {"output": "three"}}},
    ]});
    assert_eq!(sent[2], expected);
    assert_eq!(sent[3], json!({"role": "user", "parts": [{"text": "On."}]}));
}

#[test]
fn a_call_that_was_left_out_of_the_message_is_left_out_of_the_layout() {
    let layout = layout_part(&json!([
        {"call": {"name": "search", "id": "fc-1"}, "thoughtSignature": "s"},
        {"call": {"name": "search", "id": "fc-2"}},
        {"call": {"name": "now"}},
    ]));
    let message =
        expert(&json!([layout, call_part("fc-1", "search", &json!({})), call_part("c", "other", &json!({}))]));
    let expected = json!([{"role": "model", "parts": [
        {"functionCall": {"id": "fc-1", "name": "search", "args": {}}, "thoughtSignature": "s"},
        {"functionCall": {"name": "other", "args": {}}},
    ]}]);
    assert_eq!(sent(&json!([message]), CURRENT), expected);
}

#[test]
fn texts_that_are_not_those_laid_out_go_unsigned_and_calls_keep_their_signatures() {
    let layout = layout_part(&json!([
        {"text": 3, "thoughtSignature": "t"},
        {"call": {"name": "search"}, "thoughtSignature": "s"},
    ]));
    let message = expert(&json!([layout, text_part("changed"), call_part("c", "search", &json!({}))]));
    let expected = json!([{"role": "model", "parts": [
        {"text": "changed"},
        {"functionCall": {"name": "search", "args": {}}, "thoughtSignature": "s"},
    ]}]);
    assert_eq!(sent(&json!([message]), CURRENT), expected);
}

#[test]
fn a_foreign_call_gets_the_documented_signature_where_one_is_wanted() {
    let args = json!({"q": "owl"});
    let message = expert(&json!([
        thinking_part(&json!({"thinking": "Hm.", "signature": "s", "protocol": "anthropic-messages"})),
        thinking_part(&json!({"protocol": "openai-responses", "opaque": {"type": "reasoning"}})),
        text_part("One."),
        text_part("Two."),
        call_part("toolu_1", "search", &args),
        call_part("toolu_2", "now", &json!("{\"broken")),
    ]));
    let parts = |first: &Value| {
        json!([{"role": "model", "parts": [
            {"text": "One."}, {"text": "Two."}, first, function_call("now", &json!({})),
        ]}])
    };
    let mut signed = function_call("search", &args);
    assert_eq!(sent(&json!([message]), OLDER), parts(&signed));
    signed["thoughtSignature"] = json!("skip_thought_signature_validator");
    assert_eq!(sent(&json!([message]), CURRENT), parts(&signed));
}

#[test]
fn thoughts_alone_and_empty_texts_are_not_sent_and_answers_in_a_row_are_one() {
    let thought = || thinking_part(&json!({"thinking": "Hm.", "protocol": NAME}));
    let messages = json!([
        user("Go."),
        expert(&json!([thought()])),
        user(""),
        user("On."),
        expert(&json!([thought(), text_part("One.")])),
        expert(&json!([text_part("Two.")])),
    ]);
    let expected = json!([
        {"role": "user", "parts": [{"text": "Go."}, {"text": "On."}]},
        {"role": "model", "parts": [{"text": "Hm.", "thought": true}, {"text": "One."}, {"text": "Two."}]},
    ]);
    assert_eq!(sent(&messages, CURRENT), expected);
}

#[test]
fn media_stand_within_results_or_behind_all_of_them() {
    let media = json!([
        {"type": "textPart", "text": "See:"},
        {"type": "imageInlinePart", "encodedData": "iVBORw0KGgo=", "mimeType": "image/png"},
        {"type": "fileInlinePart", "encodedData": "JVBERi0=", "mimeType": "application/pdf"},
    ]);
    let calls = [call_part("a", "look", &json!({})), call_part("b", "now", &json!({}))];
    let noon = json!([{"type": "textPart", "text": "noon"}]);
    let messages = json!([expert(&json!(calls)), results(&[result("a", "look", &media), result("b", "now", &noon)]),]);
    let image = json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}});
    let pdf = json!({"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}});
    let within = json!([
        {"functionResponse": {"name": "look", "response": {"output": "See:"}, "parts": [image, pdf]}},
        output("now", "noon"),
    ]);
    assert_eq!(sent(&messages, CURRENT)[1]["parts"], within);
    let behind = json!([
        output("look", "See:\n[an image or a file of this result follows the results]"),
        output("now", "noon"),
        {"text": "From the result of look:"},
        image,
        pdf,
    ]);
    assert_eq!(sent(&messages, OLDER)[1]["parts"], behind);
}

#[test]
fn results_note_that_the_tool_failed() {
    let mut failed = result("a", "read", &json!([{"type": "textPart", "text": "No such file."}]));
    failed["isError"] = json!(true);
    let messages = json!([expert(&json!([call_part("a", "read", &json!({}))])), results(&[failed])]);
    let expected = json!([{"functionResponse": {"name": "read", "response": {"error": "No such file."}}}]);
    assert_eq!(sent(&messages, CURRENT)[1]["parts"], expected);
}

#[test]
fn images_and_files_of_users_are_sent_whatever_form_they_are_stored_in() {
    let parts = json!([
        {"type": "imageBinaryPart", "data": "/9j/", "mimeType": "image/jpeg"},
        {"type": "imageInlinePart", "encodedData": "R0lGODlh", "mimeType": "image/gif"},
        {"type": "imageUrlPart", "url": "https://x/y.webp?z", "mimeType": ""},
        {"type": "imageUrlPart", "url": "https://x/y", "mimeType": "image/png"},
        {"type": "imageUrlPart", "url": "https://x/y", "mimeType": ""},
        {"type": "fileUrlPart", "url": "https://x/y.pdf", "mimeType": "application/pdf"},
        {"type": "fileBinaryPart", "data": "aGk=", "mimeType": "text/plain"},
    ]);
    let expected = json!([
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}},
        {"text": "[an image of type image/gif was left out: Gemini takes JPEG, PNG and WebP]"},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://x/y.webp?z"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y"}},
        {"fileData": {"fileUri": "https://x/y"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x/y.pdf"}},
        {"text": "hi"},
    ]);
    let messages = json!([{"type": "userMessage", "id": "u", "contents": parts}]);
    assert_eq!(sent(&messages, CURRENT)[0]["parts"], expected);
}
