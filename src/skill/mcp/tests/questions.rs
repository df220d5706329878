//! Servers that ask in the middle of a call: by requests of their own, and by half results.

use super::requests::{Other, connect_with, open, patience};
use super::*;

/// A person who replies this to everything, after a while.
fn person(after: Duration, reply: Reply) -> AskPerson {
    Arc::new(move |_| {
        let reply = reply.clone();
        Box::pin(async move {
            tokio::time::sleep(after).await;
            reply
        })
    })
}

fn named(name: &str) -> Reply {
    Reply::Accepted(json!({ "name": name }).as_object().unwrap().clone())
}

fn form() -> Value {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}});
    json!({"message": "Who?", "requestedSchema": schema})
}

/// The answer to a question that a server asks in the middle of a call, whose result it then gives.
async fn elicited(person: AskPerson, params: Value) -> (Value, Result<Value, CallFailure>) {
    let (connection, mut other, _) = connect_with(Some(person)).await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(10, 600), &cancel);
    let served = async {
        let call = other.receive().await;
        let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params});
        other.send_line(&question.to_string()).await;
        let answer = other.receive().await["result"].clone();
        other.send_line(&response(&call["id"], &text_result("done"))).await;
        answer
    };
    let (result, answer) = tokio::join!(asked, served);
    (answer, result)
}

#[tokio::test(start_paused = true)]
async fn a_persons_reply_is_passed_on_and_time_to_think_is_no_silence() {
    let (answer, result) = elicited(person(Duration::from_mins(2), named("owl")), form()).await;
    assert_eq!(answer, json!({"action": "accept", "content": {"name": "owl"}}));
    assert_eq!(result.unwrap(), text_result("done"));
    for (reply, action) in [(Reply::Declined, "decline"), (Reply::Cancelled, "cancel")] {
        let (answer, _) = elicited(person(Duration::ZERO, reply), form()).await;
        assert_eq!(answer, json!({ "action": action }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_is_not_waited_for_without_end() {
    let (answer, result) = elicited(person(Duration::from_hours(1), named("owl")), form()).await;
    assert_eq!(answer, json!({"action": "cancel"}));
    assert_eq!(result.unwrap(), text_result("done"));
}

#[tokio::test(start_paused = true)]
async fn consent_to_a_visit_carries_no_content() {
    let visit = json!({"mode": "url", "message": "Sign in", "url": "https://owls.example/", "elicitationId": "1"});
    let agrees = || person(Duration::ZERO, Reply::Accepted(Map::new()));
    assert_eq!(elicited(agrees(), visit).await.0, json!({"action": "accept"}));
    let nowhere = json!({"mode": "url", "message": "Go", "url": "file:///etc/passwd", "elicitationId": "1"});
    assert_eq!(elicited(agrees(), nowhere).await.0, json!({"action": "decline"}));
}

/// A connection without a session.
async fn connect_stateless(person: Option<AskPerson>) -> (Connection, Other) {
    let (opening, mut other, _) = open(Era::Stateless, person);
    let discovered = json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        "resultType": "complete", "ttlMs": 0, "cacheScope": "private"});
    let greeted = other.answer("server/discover", &discovered);
    let (connection, _) = tokio::join!(opening, greeted);
    (connection.unwrap(), other)
}

fn half(requests: &Value, state: &str) -> Value {
    json!({"resultType": "input_required", "inputRequests": requests, "requestState": state})
}

#[tokio::test(start_paused = true)]
async fn half_a_result_is_answered_and_the_call_made_again() {
    let (connection, mut other) = connect_stateless(Some(person(Duration::from_mins(2), named("owl")))).await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(10, 600), &cancel);
    let requests = json!({
        "who": {"method": "elicitation/create", "params": form()},
        "where": {"method": "roots/list"},
    });
    let served = async {
        let first = other.answer("tools/call", &half(&requests, "one")).await;
        assert_eq!(first["params"].get("inputResponses"), None);
        // Nothing is wanted but another call.
        let only_state = json!({"resultType": "input_required", "requestState": "two"});
        let second = other.answer("tools/call", &only_state).await;
        let third = other.answer("tools/call", &text_result("done")).await;
        (second["params"].clone(), third["params"].clone())
    };
    let (result, (second, third)) = tokio::join!(asked, served);
    assert_eq!(texts_of(&result.unwrap()), "done");
    assert_eq!(
        second["inputResponses"],
        json!({
            "who": {"action": "accept", "content": {"name": "owl"}},
            "where": {"roots": [{"uri": "file:///work/place", "name": "place"}]},
        })
    );
    assert_eq!((&second["requestState"], &third["requestState"]), (&json!("one"), &json!("two")));
    assert_eq!(third.get("inputResponses"), None);
}

fn texts_of(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_asks_for_a_models_text_is_refused_in_words() {
    let (connection, mut other) = connect_stateless(None).await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(10, 600), &cancel);
    let text = json!({"role": "user", "content": {"type": "text", "text": "x"}});
    let sampling = json!({"method": "sampling/createMessage", "params": {"messages": [text], "maxTokens": 5}});
    let requests = json!({"who": {"method": "elicitation/create", "params": form()}, "what": sampling});
    let half = half(&requests, "one");
    let (result, _) = tokio::join!(asked, other.answer("tools/call", &half));
    let Err(CallFailure::Refused { message, .. }) = result else { panic!("refused: {result:?}") };
    assert!(message.contains("sampling") && message.contains("declined"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_without_end_is_given_up() {
    let (connection, mut other) = connect_stateless(None).await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(10, 600), &cancel);
    let requests = json!({"who": {"method": "elicitation/create", "params": form()}});
    let served = async {
        let mut last = Value::Null;
        for _ in 0..11 {
            last = other.answer("tools/call", &half(&requests, "again")).await;
        }
        last
    };
    let (result, last) = tokio::join!(asked, served);
    assert_eq!(last["params"]["inputResponses"], json!({"who": {"action": "decline"}}));
    assert!(matches!(result, Err(CallFailure::Refused { message, .. }) if message.contains("10 times")));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_takes_its_question_along() {
    let (connection, mut other) = connect_stateless(Some(person(Duration::from_hours(1), named("owl")))).await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(10, 600), &cancel);
    let requests = json!({"who": {"method": "elicitation/create", "params": form()}});
    let served = async {
        other.answer("tools/call", &half(&requests, "one")).await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(asked, served);
    assert!(matches!(result, Err(CallFailure::Cancelled)), "{result:?}");
}
