//! Requests that are refused, and what is tried then.

use serde_json::json;

use super::*;

#[tokio::test]
async fn refusals_show_the_providers_message_and_what_to_check_but_no_key() {
    let body = format!("{{\"error\":{{\"message\":\"Wrong key {KEY}\",\"code\":\"invalid_api_key\"}}}}");
    let failure = answer(ScriptedReply::new(401, &[], [Chunk::text(&body)])).await.unwrap_err();
    let message = "Wrong key [redacted] (check OPENAI_API_KEY)";
    let expected =
        GenerationFailure { status_code: Some(401), ..failure::lasting(FailureKind::Authentication, message) };
    assert_eq!(failure, expected);
    let body = "{\"error\":{\"message\":\"No such model.\"}}";
    let failure = answer(ScriptedReply::new(404, &[], [Chunk::text(body)])).await.unwrap_err();
    assert_eq!(
        failure.message,
        "No such model. (asked http://127.0.0.1:9/v1/chat/completions; check the model owl-1 and the base URL)"
    );
}

#[tokio::test]
async fn a_busy_provider_is_retried_after_the_wait_it_asks_for() {
    let body = Chunk::text("{\"error\":{\"message\":\"Slow down\",\"code\":\"rate_limit_exceeded\"}}");
    let failure = answer(ScriptedReply::new(429, &[("retry-after", "7")], [body])).await.unwrap_err();
    let expected = GenerationFailure {
        status_code: Some(429),
        retry_after_ms: Some(7000),
        ..failure::retryable(FailureKind::RateLimit, "Slow down")
    };
    assert_eq!(failure, expected);
}

#[tokio::test]
async fn an_error_body_is_read_so_far_and_no_further() {
    let failure = answer(ScriptedReply::new(500, &[], [Chunk::Forever("too much to show ")])).await.unwrap_err();
    assert!(failure.message.starts_with("HTTP status 500: too much to show"));
    let failure = answer(ScriptedReply::new(500, &[], [Chunk::text("broken"), cut()])).await.unwrap_err();
    assert_eq!(failure.message, "HTTP status 500: broken");
}

#[tokio::test]
async fn a_refused_image_is_left_out_of_this_request_and_of_later_ones() {
    let refusal = "{\"error\":{\"message\":\"Could not process image\",\"type\":\"invalid_request_error\"}}";
    let replies = [
        ScriptedReply::new(400, &[], [Chunk::text(refusal)]),
        ScriptedReply::stream([Chunk::text(STREAM)]),
        ScriptedReply::stream([Chunk::text(STREAM)]),
        ScriptedReply::new(400, &[], [Chunk::text(refusal)]),
    ];
    let transport = Arc::new(Script::from_replies(replies));
    let environment = environment(&[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")]);
    let setting = ProviderSetting::default();
    let provider = Provider::connect(ProviderName::OpenAi, &setting, &environment, transport.clone()).unwrap();
    let messages: Vec<crate::message::Message> = serde_json::from_value(json!([{
        "type": "userMessage", "id": "u", "contents": [
            {"type": "textPart", "id": "p", "text": "See:"},
            {"type": "imageInlinePart", "id": "p", "encodedData": "iVBORw0KGgo=", "mimeType": "image/png"},
        ],
    }]))
    .unwrap();
    let request = GenerateRequest { messages: &messages, ..request() };
    let mut warnings = Vec::new();
    for _ in 0..2 {
        let mut on_delta = |delta: &Delta| {
            if let Delta::Warning { message } = delta {
                warnings.push(message.clone());
            }
        };
        assert_eq!(provider.generate(&request, AMPLE, &mut on_delta).await, Ok(whole_answer()));
    }
    assert_eq!(
        warnings,
        ["the model's provider refused an image, so the model gets a note instead: Could not process image"]
    );
    let bodies: Vec<String> =
        transport.requests().iter().map(|sent| String::from_utf8(sent.body.to_vec()).unwrap()).collect();
    let has_image = bodies.iter().map(|body| body.contains("iVBORw0KGgo=")).collect::<Vec<_>>();
    assert_eq!(has_image, [true, false, false]);
    assert!(bodies[1].contains("the model's provider refused it: Could not process image"), "{}", bodies[1]);
    // A refusal about nothing that is left is final.
    let failure = provider.generate(&request, AMPLE, &mut |_| {}).await.unwrap_err();
    assert_eq!((failure.kind, transport.requests().len()), (FailureKind::InvalidRequest, 4));
}

/// Asks a provider at this base URL for a conversation, and returns the answer and the requests as address and body.
async fn ask_at(
    base_url: &str,
    messages: &[crate::message::Message],
    replies: impl IntoIterator<Item = ScriptedReply>,
) -> (Result<Generation, GenerationFailure>, Vec<(String, String)>) {
    let transport = Arc::new(Script::from_replies(replies));
    let environment = environment(&[("OPENAI_API_KEY", KEY), ("OPENAI_BASE_URL", base_url)]);
    let setting = ProviderSetting::default();
    let provider = Provider::connect(ProviderName::OpenAi, &setting, &environment, transport.clone()).unwrap();
    let request = GenerateRequest { messages, ..request() };
    let mut answer = provider.generate(&request, AMPLE, &mut |_| {}).await;
    if answer.is_ok() {
        answer = provider.generate(&request, AMPLE, &mut |_| {}).await;
    }
    let sent = transport.requests().into_iter().map(|sent| (sent.url, String::from_utf8(sent.body.to_vec()).unwrap()));
    (answer, sent.collect())
}

fn stream() -> ScriptedReply {
    ScriptedReply::stream([Chunk::text(STREAM)])
}

fn refused(status: u16, message: &str) -> ScriptedReply {
    let body = json!({"error": {"message": message, "type": "invalid_request_error"}});
    ScriptedReply::new(status, &[], [Chunk::text(&body.to_string())])
}

#[tokio::test]
async fn ids_in_another_form_are_tried_once_and_kept() {
    let messages: Vec<crate::message::Message> = serde_json::from_value(json!([
        {"type": "expertMessage", "id": "e", "contents": [
            {"type": "toolCallPart", "id": "p", "toolCallId": "toolu_01Vp", "toolName": "x", "args": {}}]},
        {"type": "toolMessage", "id": "t", "contents": [
            {"type": "toolResultPart", "id": "p", "toolCallId": "toolu_01Vp", "toolName": "x", "contents": []}]},
    ]))
    .unwrap();
    let words = "Tool call id was toolu_01Vp but must be a-z, A-Z, 0-9, with a length of 9.";
    let base = "http://127.0.0.1:9/v1";
    let (answer, sent) = ask_at(base, &messages, [refused(400, words), stream(), stream()]).await;
    assert_eq!(answer, Ok(whole_answer()));
    let has_old: Vec<bool> = sent.iter().map(|(_, body)| body.contains("toolu_01Vp")).collect();
    assert_eq!(has_old, [true, false, false]);
    assert_eq!(sent[1], sent[2]);
    // A server that refuses these too, and one that refuses something else, are not asked again.
    let (answer, sent) = ask_at(base, &messages, [refused(400, words), refused(400, words)]).await;
    assert_eq!((answer.unwrap_err().message.as_str(), sent.len()), (words, 2));
    let other = "'tool_call_id' of 'toolu_01Vp' not found in 'tool_calls' of previous message.";
    let (answer, sent) = ask_at(base, &messages, [refused(400, other), stream()]).await;
    assert_eq!((answer.unwrap_err().message.as_str(), sent.len()), (other, 1));
}

#[tokio::test]
async fn an_address_works_with_its_version_and_without() {
    let urls = |sent: Vec<(String, String)>| sent.into_iter().map(|(url, _)| url).collect::<Vec<_>>();
    let page = || ScriptedReply::new(200, &[("content-type", "text/html")], [Chunk::text("<title>Owls</title>")]);
    for nothing in [refused(404, "Not Found"), refused(405, "Not Allowed"), page()] {
        let (answer, sent) = ask_at("http://127.0.0.1:9", &[], [nothing, stream(), stream()]).await;
        assert_eq!(answer, Ok(whole_answer()));
        let found = "http://127.0.0.1:9/v1/chat/completions";
        assert_eq!(urls(sent), ["http://127.0.0.1:9/chat/completions", found, found]);
    }
    let (answer, sent) = ask_at("http://127.0.0.1:9/gate", &[], [stream(), refused(404, "Gone")]).await;
    let asked = "http://127.0.0.1:9/gate/chat/completions";
    assert_eq!(answer.unwrap_err().message, format!("Gone (asked {asked}; check the model owl-1 and the base URL)"));
    assert_eq!(urls(sent), [asked, asked]);
}

#[tokio::test]
async fn what_is_at_neither_place_is_shown_for_the_first_one() {
    let asked = "asked http://127.0.0.1:9/chat/completions; check the model owl-1 and the base URL";
    for (second, message) in [
        (refused(404, "Neither"), format!("No such owl. ({asked})")),
        // A server that refuses is a server.
        (refused(400, "Bad owl."), "Bad owl.".to_owned()),
    ] {
        let (answer, sent) = ask_at("http://127.0.0.1:9", &[], [refused(404, "No such owl."), second]).await;
        assert_eq!((answer.unwrap_err().message, sent.len()), (message, 2));
    }
    // With a version there is one place only.
    let (_, sent) = ask_at("http://127.0.0.1:9/v1", &[], [refused(404, "No such owl."), stream()]).await;
    assert_eq!(sent.len(), 1);
}
