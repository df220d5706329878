//! Refusals, and the conversations that are sent after them.

use serde_json::json;

use super::*;
use crate::provider::failure::lasting;

fn conversation(parts: &Value) -> Vec<Message> {
    serde_json::from_value(json!([
        {"type": "userMessage", "id": "u", "contents": [
            {"type": "imageInlinePart", "id": "p", "encodedData": "OLD", "mimeType": "image/png"}]},
        {"type": "expertMessage", "id": "e", "contents": [
            {"type": "thinkingPart", "id": "p", "thinking": "", "protocol": "openai-responses",
             "opaque": {"encrypted_content": "E"}},
            {"type": "textPart", "id": "p", "text": "Hm."}]},
        {"type": "toolMessage", "id": "t", "contents": [
            {"type": "toolResultPart", "id": "p", "toolCallId": "c", "toolName": "x", "contents": parts}]},
    ]))
    .unwrap()
}

fn image(data: &str) -> Value {
    json!({"type": "imageInlinePart", "id": "p", "encodedData": data, "mimeType": "image/png"})
}

fn refusal(message: &str) -> GenerationFailure {
    GenerationFailure { status_code: Some(400), ..lasting(FailureKind::InvalidRequest, message) }
}

fn left(repairs: &Repairs, messages: &[Message]) -> Vec<String> {
    contents(&repairs.apply(messages)).filter_map(media).map(str::to_owned).collect()
}

#[test]
fn the_image_at_the_named_place_is_left_out_and_no_other() {
    let messages = conversation(&json!([image("NEW-1"), image("NEW-2")]));
    let body = json!({"messages": [{}, {}, {"content": [{"content": [
        {"source": {"data": "NEW-1"}}, {"source": {"data": "NEW-2"}}]}]}]});
    let mut repairs = Repairs::default();
    let failure = refusal("messages.2.content.0.tool_result.content.1.image.source.base64: Could not process image");
    let warning = "the model's provider refused an image, so the model gets a note instead: \
                   messages.2.content.0.tool_result.content.1.image.source.base64: Could not process image";
    let repair = repairs.learn(&messages, &body, &failure, None);
    assert_eq!(repair, Some(Repair { warning: Some(warning.to_owned()) }));
    assert_eq!(left(&repairs, &messages), ["OLD", "NEW-1"]);
    // The same complaint again is about the other one.
    assert!(repairs.learn(&messages, &body, &failure, None).is_some());
    assert_eq!(left(&repairs, &messages), ["OLD"]);
    assert!(repairs.learn(&messages, &body, &failure, None).is_some());
    assert!(repairs.learn(&messages, &body, &failure, None).is_none());
    let Message::ToolMessage { contents, .. } = &repairs.apply(&messages)[2] else { panic!("no results") };
    let ResultPart::ToolResultPart { contents, .. } = &contents[0];
    assert!(contents[1].as_text().unwrap().contains("Could not process image"));
}

#[test]
fn without_a_place_the_files_since_the_last_answer_are_left_out() {
    let messages = conversation(&json!([image("NEW")]));
    let mut repairs = Repairs::default();
    assert!(repairs.learn(&messages, &json!({}), &refusal("bad"), Some("image_parse_error")).is_some());
    assert_eq!(left(&repairs, &messages), ["OLD"]);
}

#[test]
fn reasoning_that_cannot_be_decrypted_is_left_out_and_the_answer_stays() {
    let messages = conversation(&json!([]));
    let mut repairs = Repairs::default();
    let repair = repairs.learn(&messages, &json!({}), &refusal("no"), Some("invalid_encrypted_content"));
    assert_eq!(repair, Some(Repair { warning: None }));
    let repaired = repairs.apply(&messages);
    assert_eq!(parts(&repaired).count(), 1);
    assert_eq!(left(&repairs, &messages), ["OLD"]);
}

#[test]
fn ids_of_another_form_are_rewritten_alike_in_call_and_result() {
    let messages: Vec<Message> = serde_json::from_value(json!([
        {"type": "expertMessage", "id": "e", "contents": [
            {"type": "toolCallPart", "id": "p", "toolCallId": "toolu_01Vp", "toolName": "x", "args": {}},
            {"type": "toolCallPart", "id": "p", "toolCallId": "aB3456789", "toolName": "x", "args": {}}]},
        {"type": "toolMessage", "id": "t", "contents": [
            {"type": "toolResultPart", "id": "p", "toolCallId": "toolu_01Vp", "toolName": "x", "contents": []},
            {"type": "toolResultPart", "id": "p", "toolCallId": "aB3456789", "toolName": "x", "contents": []}]},
    ]))
    .unwrap();
    for (status, words) in [
        (400, "Tool call id was toolu_01Vp but must be a-z, A-Z, 0-9, with a length of 9."),
        (500, "Tool call IDs should be alphanumeric strings with length 9!"),
        (400, "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
    ] {
        let failure = GenerationFailure { status_code: Some(status), ..refusal(words) };
        let mut repairs = Repairs::default();
        assert_eq!(repairs.learn(&messages, &json!({}), &failure, None), Some(Repair { warning: None }), "{words}");
        let repaired = repairs.apply(&messages);
        let ids: Vec<&str> = repaired[0].call_ids().collect();
        let Message::ToolMessage { contents, .. } = &repaired[1] else { panic!("no results") };
        let of_results: Vec<&str> =
            contents.iter().map(|ResultPart::ToolResultPart { tool_call_id, .. }| tool_call_id.as_str()).collect();
        assert_eq!(ids, of_results);
        assert!(ids[0].len() == 9 && ids[0] != "toolu_01V" && ids[1] == "aB3456789", "{ids:?}");
        // Nothing else can be done about them.
        assert_eq!(repairs.learn(&messages, &json!({}), &failure, None), None);
    }
}

#[test]
fn other_refusals_are_not_about_a_part() {
    let messages = conversation(&json!([image("NEW")]));
    for failure in [
        refusal("tools.0: invalid schema"),
        refusal("Invalid parameter: 'tool_call_id' of 'c' not found in 'tool_calls' of previous message."),
        refusal("messages[2].tool_calls[0].function.name: must be alphanumeric"),
        GenerationFailure { is_retryable: true, ..refusal("image service busy") },
        GenerationFailure { kind: FailureKind::Authentication, ..refusal("no image for you") },
        lasting(FailureKind::InvalidRequest, "an image, without a status"),
    ] {
        assert!(Repairs::default().learn(&messages, &json!({}), &failure, None).is_none(), "{failure}");
    }
    assert!(matches!(Repairs::default().apply(&messages), Cow::Borrowed(_)));
}
