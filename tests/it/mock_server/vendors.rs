//! What differs between vendors that share a protocol: addresses, credentials, errors, dialects.

use serde_json::{Value, json};

use super::client::{CONVERSE, Client, GEMINI, Received, question, server};
use crate::support::endpoint::VERTEX;
use crate::support::{Answer, KEY, Protocol, Server, call};

/// Each vendor's path, its protocol, and the header with its key.
fn doors() -> [(&'static str, String, Protocol, (&'static str, String)); 8] {
    let bearer = format!("Bearer {KEY}");
    let vertex = format!("{VERTEX}/models/gemini-3-pro-preview:streamGenerateContent?alt=sse");
    [
        ("anthropic", "/v1/messages".to_owned(), Protocol::Messages, ("x-api-key", KEY.to_owned())),
        ("openai", "/v1/responses".to_owned(), Protocol::Responses, ("authorization", bearer.clone())),
        ("deepseek", "/deepseek/v1/chat/completions".to_owned(), Protocol::Chat, ("authorization", bearer.clone())),
        ("azure", "/openai/v1/chat/completions?api-version=v1".to_owned(), Protocol::Chat, ("api-key", KEY.to_owned())),
        ("google", GEMINI.to_owned(), Protocol::Gemini, ("x-goog-api-key", KEY.to_owned())),
        ("vertex", vertex, Protocol::Gemini, ("authorization", bearer.clone())),
        ("bedrock", CONVERSE.to_owned(), Protocol::Converse, ("authorization", bearer.clone())),
        ("ollama", "/chat".to_owned(), Protocol::Ollama, ("authorization", bearer)),
    ]
}

fn ask(server: &Server, path: &str, key: (&str, &str), body: &Value) -> (Received, Vec<String>) {
    let mut client = Client::connect(server);
    let headers = [key, ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    client.send(path, &headers, &body.to_string());
    let (status, headers) = client.head().unwrap();
    (Received { status, ..client.body() }, headers)
}

#[test]
fn every_vendor_answers_to_its_key_and_to_no_other() {
    for (vendor, path, protocol, (header, key)) in doors() {
        let server = server([Answer::text("So.")]);
        let asked = |key: &str| ask(&server, &path, (header, key), &question(protocol)).0.status;
        let refusal = match vendor {
            "google" => 400,
            "bedrock" => 403,
            _ => 401,
        };
        assert_eq!((asked("other"), asked(&key)), (refusal, 200), "{vendor}");
    }
}

#[test]
fn errors_are_worded_as_by_their_vendors() {
    let mut told = Vec::new();
    for (vendor, path, protocol, (header, key)) in doors() {
        let answers =
            [Answer::refused_key("No such key."), Answer::busy(1500).message("Slow down."), Answer::status(404)];
        let server = server(answers);
        for _ in 0..3 {
            let (received, headers) = ask(&server, &path, (header, &key), &question(protocol));
            let hints = headers.iter().filter(|line| line.starts_with("retry-") || line.starts_with("x-amzn-"));
            let hints: Vec<String> = hints.map(|line| format!("[{line}] ")).collect();
            told.push(format!("{vendor} {} {}{}", received.status, hints.concat(), received.body()));
        }
    }
    insta::assert_snapshot!(told.join("\n"), @r#"
    anthropic 401 {"type":"error","error":{"type":"authentication_error","message":"No such key."},"request_id":"req_mock"}
    anthropic 429 [retry-after: 2] {"type":"error","error":{"type":"rate_limit_error","message":"Slow down."},"request_id":"req_mock"}
    anthropic 404 {"type":"error","error":{"type":"not_found_error","message":"the mock server answers 404"},"request_id":"req_mock"}
    openai 401 {"error":{"message":"No such key.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}
    openai 429 [retry-after: 2] [retry-after-ms: 1500] {"error":{"message":"Slow down.","type":"requests","param":null,"code":"rate_limit_exceeded"}}
    openai 404 {"error":{"message":"the mock server answers 404","type":"invalid_request_error","param":null,"code":null}}
    deepseek 401 {"error":{"message":"No such key.","type":"authentication_error","param":null,"code":"invalid_request_error"}}
    deepseek 429 {"error":{"message":"Slow down.","type":"rate_limit_reached_error","param":null,"code":"invalid_request_error"}}
    deepseek 404 {"error":{"message":"the mock server answers 404","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}
    azure 401 {"error":{"code":"401","message":"No such key."}}
    azure 429 [retry-after: 2] [retry-after-ms: 1500] {"error":{"code":"429","message":"Slow down."}}
    azure 404 {"error":{"code":"404","message":"the mock server answers 404"}}
    google 400 {"error":{"code":400,"message":"No such key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}}]}}
    google 429 {"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel","quotaValue":"10"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"}]}}
    google 404 {"error":{"code":404,"message":"the mock server answers 404","status":"NOT_FOUND"}}
    vertex 401 {"error":{"code":401,"message":"No such key.","status":"UNAUTHENTICATED"}}
    vertex 429 {"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel","quotaValue":"10"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"}]}}
    vertex 404 {"error":{"code":404,"message":"the mock server answers 404","status":"NOT_FOUND"}}
    bedrock 403 [x-amzn-errortype: UnrecognizedClientException:http://internal.example/] {"message":"No such key."}
    bedrock 429 [x-amzn-errortype: ThrottlingException:http://internal.example/] {"message":"Slow down."}
    bedrock 404 [x-amzn-errortype: ResourceNotFoundException:http://internal.example/] {"message":"the mock server answers 404"}
    ollama 401 {"error":"No such key."}
    ollama 429 {"error":"Slow down."}
    ollama 404 {"error":"the mock server answers 404"}
    "#);
}

#[test]
fn deepseek_takes_text_and_its_reasoning_back() {
    let (_, path, protocol, (header, key)) = doors()[2].clone();
    let made = Answer::calls([call("c8", "search", json!({}))]).thinking("Owls.", "");
    let server = server([made, Answer::text("Done.")]);
    let asked = |body: &Value| ask(&server, &path, (header, &key), body).0;
    let mut body = question(protocol);
    body["model"] = json!("deepseek-reasoner");
    let events = asked(&body).events();
    assert_eq!(events.iter().find_map(|e| e.pointer("/usage/prompt_cache_miss_tokens")), Some(&json!(100)));
    let function = json!({"name": "search", "arguments": "{}"});
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": "", "reasoning_content": "Owls.",
               "tool_calls": [{"id": "c8", "type": "function", "function": function}]}),
        json!({"role": "tool", "tool_call_id": "c8", "content": "so"}),
    ]);
    assert_eq!(asked(&body).status, 200);
    body["messages"][5].as_object_mut().unwrap().remove("reasoning_content");
    body["messages"][1]["content"] = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}]);
    assert_eq!(asked(&body).status, 400);
    insta::assert_snapshot!(server.violations().join("\n"), @r#"
    request 3: a part of type "image_url" in message 1
    request 3: The `reasoning_content` in the thinking mode must be passed back to the API (message 5)
    "#);
}

#[test]
fn azure_reports_its_filter_before_the_answer() {
    let (_, path, protocol, (header, key)) = doors()[3].clone();
    let server = server([Answer::text("So.")]);
    let events = ask(&server, &path, (header, &key), &question(protocol)).0.events();
    assert_eq!(events[0]["choices"], json!([]));
    assert!(events[0]["prompt_filter_results"].is_array());
}

#[test]
fn google_gives_tokens_to_those_who_are_logged_in() {
    let server = server([]);
    let mut client = Client::connect(&server);
    let file: Value = serde_json::from_str(&crate::support::credentials::google_log_in("http://[::1]")).unwrap();
    assert_eq!(file["token_uri"], "http://[::1]/token");
    let form =
        |token: &str| format!("grant_type=refresh_token&client_id=o&refresh_token={}", token.replace('/', "%2F"));
    client.send("/token", &[], &form(file["refresh_token"].as_str().unwrap()));
    let received = client.receive().unwrap();
    assert_eq!((received.status, &received.events()[0]["access_token"]), (200, &json!(KEY)));
    client.send("/token", &[], &form("other"));
    assert_eq!(client.receive().unwrap().status, 400);
    assert_eq!((server.requests().len(), server.violations()), (0, vec![]));
}
