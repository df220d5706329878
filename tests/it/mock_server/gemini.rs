//! Google's protocol as the mock server speaks it.

use serde_json::{Value, json};

use super::client::{Client, GEMINI, Received, ask, assert_refused, joined, question, server};
use super::whole_turn;
use crate::support::{Answer, KEY, Protocol, Server, call};

#[test]
fn turns_have_the_chunks_of_the_real_ones() {
    let server = server([whole_turn()]);
    let received = ask(&server, Protocol::Gemini, &question(Protocol::Gemini));
    assert!(received.body().ends_with("}\r\n\r\n"), "{}", received.body());
    let events = received.events();
    let parts: Vec<Value> = events.iter().filter_map(|e| e.pointer("/candidates/0/content/parts/0").cloned()).collect();
    let (thoughts, rest): (Vec<&Value>, Vec<&Value>) = parts.iter().partition(|part| part["thought"] == true);
    let text = |parts: &[&Value]| parts.iter().filter_map(|part| part["text"].as_str()).collect::<String>();
    assert_eq!((text(&thoughts), text(&rest)), ("Owls are birds.".to_owned(), "Zwei Käuze, dann ✓.".to_owned()));
    let calls: Vec<&Value> = parts.iter().filter(|part| !part["functionCall"].is_null()).collect();
    let made = |id: &str, q: Value| json!({"id": id, "name": "search", "args": {"q": q}});
    assert_eq!(
        calls,
        [
            &json!({"functionCall": made("c8", json!("grey owl")), "thoughtSignature": "c2lnbmF0dXJl"}),
            &json!({"functionCall": made("c9", json!(true))}),
        ]
    );
    assert_eq!(joined(&events, "/candidates/0/finishReason"), "STOP");
    let usage = &events[events.len() - 1]["usageMetadata"];
    let counts = ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount"];
    assert_eq!(counts.map(|name| usage[name].as_u64().unwrap()), [900, 300, 58, 12]);
    assert_eq!(usage["totalTokenCount"], 970);
}

#[test]
fn thoughts_come_when_they_are_asked_for_and_the_signature_always() {
    let server = server([Answer::text("So.").thinking("Hm.", "c2ln")]);
    let mut body = question(Protocol::Gemini);
    body["generationConfig"]["thinkingConfig"]["includeThoughts"] = json!(false);
    let events = ask(&server, Protocol::Gemini, &body).events();
    assert_eq!(joined(&events, "/candidates/0/content/parts/0/text"), "So.");
    assert_eq!(events[1].pointer("/candidates/0/content/parts/0/thoughtSignature"), Some(&json!("c2ln")));
}

#[test]
fn conversations_that_are_malformed_are_refused() {
    let result = |index: usize| question(Protocol::Gemini)["contents"][2]["parts"][index].clone();
    let other = json!({"functionResponse": {"id": "c7", "name": "search", "response": {}}});
    let text = json!({"text": "And?"});
    for (pointer, value, finding) in [
        ("/systemInstruction", Value::Null, "no system instruction"),
        ("/contents", json!([]), "no contents"),
        ("/contents/1/role", json!("assistant"), "content 1 is by \"assistant\""),
        ("/contents/1/role", json!("user"), "the user has a part of type \"functionCall\""),
        ("/contents/0/role", json!("model"), "content 0 is the model's"),
        ("/contents/2/role", json!("model"), "of the model has a result"),
        ("/contents/0/parts", json!([]), "no parts in content 0"),
        ("/contents/0/parts/0/text", json!(""), "an empty text in content 0"),
        ("/contents/0/parts/0", json!({"text": "a", "type": "text"}), "has a field \"type\""),
        ("/contents/0/parts/0", json!({}), "a part of content 0 is []"),
        (
            "/contents/0/parts/0",
            json!({"inlineData": {"mimeType": "image/gif", "data": "R0lG"}}),
            "a file of type \"image/gif\"",
        ),
        ("/contents/0/parts/0", json!({"inlineData": {"mimeType": "image/png", "data": "?"}}), "is no base64"),
        ("/contents/1/parts/1/functionCall/args", json!("{}"), "are no object"),
        ("/contents/1/parts/1/thoughtSignature", Value::Null, "is missing a thought_signature"),
        ("/contents/1/parts/2/functionCall/id", json!("c1"), "is used twice"),
        ("/contents/2/parts", json!([result(0)]), "the call \"c2\" has no result"),
        ("/contents/2/parts", json!([result(1), result(0)]), "\"c2\" comes before that of \"c1\""),
        ("/contents/2/parts", json!([result(0), result(1), result(1)]), "two results"),
        ("/contents/2/parts", json!([result(0), result(1), other]), "which nobody called"),
        ("/contents/2/parts", json!([text, result(0), result(1)]), "has a result after other parts"),
        ("/contents/2/parts/0/functionResponse/response", json!("birds.md"), "is no object"),
        ("/tools/0/functionDeclarations/0/name", json!("a b"), "no name of a tool"),
        ("/tools/0/functionDeclarations/0/parametersJsonSchema/type", json!("string"), "is of no object"),
        (
            "/tools/0/functionDeclarations/0/parametersJsonSchema/properties/q",
            json!({"const": "owl"}),
            "has a field \"const\"",
        ),
        ("/toolConfig/functionCallingConfig/mode", json!("auto"), "a mode of calling functions"),
        ("/generationConfig/thinkingConfig", json!({"thinkingLevel": "HIGH", "thinkingBudget": 1}), "and a level"),
        ("/generationConfig/thinkingConfig/thinkingLevel", json!("low"), "a level of thinking of \"low\""),
    ] {
        assert_refused(Protocol::Gemini, pointer, value, finding);
    }
}

fn ask_older(server: &Server, body: &Value) -> Received {
    let mut client = Client::connect(server);
    let path = GEMINI.replace("gemini-3-pro-preview", "gemini-2.5-flash");
    client.send(&path, &[("x-goog-api-key", KEY), ("content-type", "application/json")], &body.to_string());
    client.receive().unwrap()
}

#[test]
fn older_models_give_calls_no_ids_and_count_results_by_name_and_place() {
    let server = server([Answer::calls([call("c1", "search", json!({}))]), Answer::text("So.")]);
    let mut body = question(Protocol::Gemini);
    body["generationConfig"]["thinkingConfig"] = json!({"thinkingBudget": 2048, "includeThoughts": true});
    body["contents"][1]["parts"][1].as_object_mut().unwrap().remove("thoughtSignature");
    for (content, part, kind) in
        [(1, 1, "functionCall"), (1, 2, "functionCall"), (2, 0, "functionResponse"), (2, 1, "functionResponse")]
    {
        body["contents"][content]["parts"][part][kind].as_object_mut().unwrap().remove("id");
    }
    let events = ask_older(&server, &body).events();
    let call = events[0].pointer("/candidates/0/content/parts/0/functionCall").unwrap();
    assert_eq!(call, &json!({"name": "search", "args": {}}));
    assert_eq!(ask_older(&server, &body).status, 200);
    body["contents"][2]["parts"][1]["functionResponse"]["name"] = json!("find");
    body["generationConfig"]["thinkingConfig"] = json!({"thinkingLevel": "LOW"});
    assert_eq!(ask_older(&server, &body).status, 400);
    insta::assert_snapshot!(server.violations().join("\n"), @r#"
    request 3: gemini-2.5-flash has no levels of thinking
    request 3: the result of "search" in content 2 is called "find"
    "#);
}

#[test]
fn signatures_must_come_back_with_their_calls() {
    let server = server([whole_turn(), Answer::text("Done.")]);
    let mut body = question(Protocol::Gemini);
    ask(&server, Protocol::Gemini, &body);
    let call = |id: &str, q: Value| json!({"functionCall": {"id": id, "name": "search", "args": {"q": q}}});
    let mut first = call("c8", json!("grey owl"));
    first["thoughtSignature"] = json!("c2lnbmF0dXJl");
    let result = |id: &str| json!({"functionResponse": {"id": id, "name": "search", "response": {"output": "so"}}});
    body["contents"].as_array_mut().unwrap().extend([
        json!({"role": "model", "parts": [first, call("c9", json!(true))]}),
        json!({"role": "user", "parts": [result("c8"), result("c9")]}),
    ]);
    assert_eq!(ask(&server, Protocol::Gemini, &body).status, 200);
    body["contents"][3]["parts"][0]["thoughtSignature"] = json!("c2ln");
    assert_eq!(ask(&server, Protocol::Gemini, &body).status, 400);
    assert!(server.violations()[0].contains("the signature that came with \"c8\" is not sent back"));
}
