//! Bodies of another form than the protocol's stream, and streams with something behind their end.

use serde_json::json;

use super::*;
use crate::provider::event_stream;
use crate::provider::wire::bedrock::BedrockConverse;

#[tokio::test]
async fn an_answer_labelled_as_no_stream_is_not_read_as_one() {
    let reply = |kind, body| ScriptedReply::new(200, &[("content-type", kind)], [Chunk::text(body)]);
    let page = answer(reply("text/html; charset=utf-8", "<title>Log in</title>")).await.unwrap_err();
    let message = "the server answered with an HTML page titled \"Log in\" (asked http://127.0.0.1:9/v1/chat/completions; \
                   check the base URL)";
    let expected = GenerationFailure { status_code: Some(200), ..failure::lasting(FailureKind::Malformed, message) };
    assert_eq!(page, expected);
    let error = answer(reply("application/json", "{\"error\":{\"message\":\"Loading\",\"code\":503}}")).await;
    assert_eq!(error, Err(failure::retryable(FailureKind::Provider, "Loading")));
    let document = answer(reply("application/json", "{\"choices\":[]}")).await;
    let message = "the server answered with one JSON document instead of a stream of openai-chat";
    assert_eq!(document, Err(failure::lasting(FailureKind::Malformed, message)));
}

#[tokio::test]
async fn a_stream_and_a_whole_answer_are_read_under_any_label() {
    for kind in ["application/json", "text/plain", "text/event-stream"] {
        let reply = |chunks: Vec<Chunk>| ScriptedReply::new(200, &[("content-type", kind)], chunks);
        let stream = answer(reply(vec![Chunk::text("\n "), Chunk::text("\n"), Chunk::text(STREAM)])).await;
        assert_eq!(stream, Ok(whole_answer()), "{kind}");
        let call = json!({"id": "c1", "function": {"name": "see", "arguments": "{\"ü\":1}"}});
        let message = json!({"content": "Eulen 🦉 höchst", "tool_calls": [call]});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
        let document = json!({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage});
        let document = answer(reply(vec![Chunk::text("\u{feff}"), Chunk::text(&document.to_string())])).await;
        assert_eq!(document, Ok(whole_answer()), "{kind}");
    }
    let cut = answer(ScriptedReply::stream([Chunk::text("{\"choices\":")])).await.unwrap_err();
    assert_eq!((cut.kind, cut.is_retryable), (FailureKind::Malformed, true));
}

/// Asks in Converse.
async fn converse(reply: ScriptedReply) -> Result<Generation, GenerationFailure> {
    let environment = environment(&[("OPENAI_API_KEY", KEY)]);
    let transport = Arc::new(Script::from_reply(reply));
    let mut provider =
        Provider::connect(ProviderName::OpenAi, &ProviderSetting::default(), &environment, transport).unwrap();
    provider.protocol = Box::new(BedrockConverse);
    provider.generate(&request(), AMPLE, &mut |_| {}).await
}

#[tokio::test]
async fn binary_messages_are_read_and_a_damaged_one_is_asked_for_again() {
    let stream = event_stream::stream(include_bytes!("../../../../tests/data/bedrock/text.jsonl"));
    let reply = |bytes| ScriptedReply::new(200, &[("content-type", event_stream::CONTENT_TYPE)], [Chunk::Bytes(bytes)]);
    let answer = converse(reply(stream.clone())).await.unwrap();
    assert_eq!(answer.parts, [GeneratedPart::Text { text: "The owl file is birds.md.".to_owned() }]);
    let mut damaged = stream;
    damaged[200] ^= 1;
    let message = "the provider's stream is damaged: the checksum of a message is wrong";
    assert_eq!(converse(reply(damaged)).await, Err(failure::retryable(FailureKind::Malformed, message)));
}

#[tokio::test]
async fn text_in_place_of_binary_messages_is_no_stream() {
    let reply = |kind, body| ScriptedReply::new(200, &[("content-type", kind)], [Chunk::text(body)]);
    let text = converse(reply("text/event-stream", "data: {}\n\n")).await.unwrap_err();
    assert_eq!(
        (text.message.as_str(), text.is_retryable),
        (
            "the server answered with data: {} (asked https://api.openai.com/v1/model/owl-1/converse-stream; check the base URL)",
            false
        )
    );
    let json = converse(reply("application/json", "{\"output\":{}}")).await.unwrap_err();
    let message = "the server answered with one JSON document instead of a stream of bedrock-converse";
    assert_eq!(json, failure::lasting(FailureKind::Malformed, message));
}

#[tokio::test]
async fn a_refusal_in_bedrocks_words_is_classified_by_its_status() {
    let body = Chunk::text("{\"message\":\"Too many tokens.\"}");
    let failure =
        converse(ScriptedReply::new(429, &[("x-amzn-errortype", "ThrottlingException:http://x/")], [body])).await;
    let expected =
        GenerationFailure { status_code: Some(429), ..failure::retryable(FailureKind::RateLimit, "Too many tokens.") };
    assert_eq!(failure, Err(expected));
}

fn chunk(delta: &serde_json::Value) -> serde_json::Value {
    json!({"object": "chat.completion.chunk", "choices": [{"delta": delta}]})
}

#[tokio::test]
async fn the_chunks_of_a_stream_may_come_as_a_list_or_a_line_each() {
    let call = json!({"index": 0, "id": "c1", "function": {"name": "see", "arguments": "{\"ü\":1}"}});
    let chunks = [
        chunk(&json!({"content": "Eulen 🦉"})),
        chunk(&json!({"content": " höchst", "tool_calls": [call]})),
        json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
    ];
    let lines = chunks.each_ref().map(|chunk| format!("{chunk}\r\n")).concat();
    for body in [json!(chunks).to_string(), lines.clone(), format!("\n\u{feff}{lines}")] {
        for pieces in [vec![body.as_bytes()], body.as_bytes().chunks(1).collect()] {
            let pieces = pieces.into_iter().map(|piece| Chunk::Bytes(piece.to_vec()));
            assert_eq!(answer(ScriptedReply::stream(pieces)).await, Ok(whole_answer()), "{body}");
        }
    }
    // Half of them are no answer.
    let half = answer(ScriptedReply::stream([Chunk::text(&lines[..lines.len() - 20])])).await.unwrap_err();
    assert_eq!((half.kind, half.is_retryable), (FailureKind::Malformed, true));
    let error = json!([{"error": {"code": 429, "message": "Slow down"}}]).to_string();
    let error = answer(ScriptedReply::stream([Chunk::text(&error)])).await;
    assert_eq!(error, Err(failure::retryable(FailureKind::RateLimit, "Slow down")));
}

#[tokio::test]
async fn damage_behind_a_whole_answer_costs_its_usage_at_most() {
    let start = STREAM.find("data: {\"choices\":[],").unwrap();
    let without_usage = Generation { usage: None, context_tokens: None, ..whole_answer() };
    for (body, expected) in [
        (format!("{STREAM}data: <html>\n\n"), whole_answer()),
        (format!("{}data: <html>\n\n", &STREAM[..start]), without_usage.clone()),
        (format!("{}data: {{\"choices\":[],\"us\n\ndata: [DONE]\n\n", &STREAM[..start]), without_usage),
    ] {
        for size in [1, 7, body.len()] {
            let pieces = body.as_bytes().chunks(size).map(|piece| Chunk::Bytes(piece.to_vec()));
            assert_eq!(answer(ScriptedReply::stream(pieces)).await, Ok(expected.clone()), "{size}: {body}");
        }
    }
    // The same before its end is a damaged answer.
    let early = format!("{}data: <html>\n\n", &STREAM[..STREAM.find("data: {\"choices\":[{\"delta\":{},").unwrap()]);
    let early = answer(ScriptedReply::stream([Chunk::text(&early)])).await.unwrap_err();
    assert_eq!((early.kind, early.is_retryable), (FailureKind::Malformed, true));
}

#[tokio::test]
async fn bytes_behind_the_end_of_binary_messages_are_not_read() {
    let whole = event_stream::stream(include_bytes!("../../../../tests/data/bedrock/text.jsonl"));
    let reply = |bytes: &[u8], size| {
        let pieces: Vec<Chunk> = bytes.chunks(size).map(|piece| Chunk::Bytes(piece.to_vec())).collect();
        ScriptedReply::new(200, &[("content-type", event_stream::CONTENT_TYPE)], pieces)
    };
    let expected = converse(reply(&whole, whole.len())).await;
    assert!(expected.is_ok());
    let more = [whole.as_slice(), b"no message at all"].concat();
    for size in [1, 100, more.len()] {
        assert_eq!(converse(reply(&more, size)).await, expected, "{size}");
    }
}
