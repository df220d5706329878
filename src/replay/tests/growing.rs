//! Conversations that grow, recorded and replayed.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// A conversation as a client of its own keeps it: each message is encoded once, and its text shared by all requests.
#[derive(Clone)]
struct Talk {
    head: Bytes,
    most: u64,
    messages: Vec<Bytes>,
    /// A mark at the end of the last message, as caches need it.
    is_marked: bool,
}

impl Talk {
    fn new(model: &str) -> Self {
        let head = format!(r#"{{"model":"{model}","tools":[{{"name":"read","description":"Reads."}}],"max":"#);
        Self { head: head.into(), most: 100, messages: Vec::new(), is_marked: false }
    }

    fn add(&mut self, text: &str) {
        let text = serde_json::to_string(text).unwrap();
        self.messages.push(format!(r#"{{"role":"user","content":[{{"text":{text}"#).into());
    }

    fn body(&self, is_shared: bool) -> RequestBody {
        let mut pieces = vec![self.head.clone(), format!(r#"{},"messages":["#, self.most).into()];
        for (at, message) in self.messages.iter().enumerate() {
            let is_last = at + 1 == self.messages.len();
            pieces.push(if at > 0 { "," } else { "" }.into());
            pieces.push(message.clone());
            pieces.push(if is_last && self.is_marked { r#"}],"mark":true}"# } else { "}]}" }.into());
        }
        pieces.push("]}".into());
        let body = RequestBody::new(pieces);
        if is_shared { body } else { body.to_vec().into() }
    }
}

fn answers(count: usize) -> Vec<Scripted> {
    (0..count).map(|number| Ok((200, pieces(&[&format!("answer {number}")])))).collect()
}

async fn answer(transport: &dyn Transport, body: RequestBody) -> String {
    String::from_utf8(exchange_body(transport, body).await.unwrap().body).unwrap()
}

/// A conversation of so many requests, of which each has one message more, recorded.
async fn recorded(studio: &Studio, requests: usize) -> Talk {
    let live = studio.recording(answers(requests));
    let mut talk = Talk::new("m-1");
    for number in 0..requests {
        talk.add(&format!("message {number} in /home/me/work/a"));
        talk.is_marked = true;
        answer(&live, talk.body(true)).await;
    }
    talk
}

#[tokio::test]
async fn a_cassette_grows_with_the_conversation() {
    let sizes = [50, 100, 200].map(|requests| async move {
        let studio = Studio::new();
        recorded(&studio, requests).await;
        studio.text().len()
    });
    let [small, middle, large] = sizes;
    let (small, middle, large) = (small.await, middle.await, large.await);
    assert!(large - middle < 2 * (middle - small) + 1000, "{small} {middle} {large}");
    assert!(large < 200 * 500, "{large}");
}

#[tokio::test]
async fn a_line_has_what_is_new_alone() {
    let studio = Studio::new();
    recorded(&studio, 3).await;
    let text = studio.text();
    let last = text.lines().last().unwrap();
    let expected = r#"{"like":3,"with":{"/number":3,"/request/changes/messages/keep":1,"/request/changes/messages/items/1/now/content/0/text":"message 2 in {workspace}/a","/response/body":"answer 2"}}"#;
    assert_eq!(last, expected);
    let second = text.lines().nth(2).unwrap();
    let expected = r#"{"record":"exchange","number":2,"request":{"path":"/v1/messages","conversation":1,"changes":{"messages":{"keep":0,"items":[{"fields":{"mark":{"gone":true}}},{"now":{"role":"user","content":[{"text":"message 1 in {workspace}/a"}],"mark":true}}]}}},"response":{"status":200,"#;
    assert!(second.starts_with(expected), "{second}");
}

#[tokio::test]
async fn a_secret_that_a_later_request_completes_is_removed() {
    let studio = Studio::new();
    let live = studio.recording(answers(3));
    for text in ["sk-secret-0123", "sk-secret-0123456789", "sk-secret-0123456789 and /home/me/work"] {
        let mut talk = Talk::new("m-1");
        talk.add(text);
        answer(&live, talk.body(false)).await;
    }
    let text = studio.text();
    assert!(!text.contains("456789") && !text.contains("/home"), "{text}");
    let replay = studio.replay("/other");
    let mut talk = Talk::new("m-1");
    talk.add("[redacted] and /other");
    assert_eq!(answer(&replay, talk.body(false)).await, "answer 2");
}

#[tokio::test]
async fn a_request_late_in_a_conversation_is_refused_with_its_differences() {
    let studio = Studio::new();
    let mut talk = recorded(&studio, 5).await;
    let replay = studio.replay("/home/me/work");
    talk.messages.truncate(1);
    for number in 0..4 {
        assert_eq!(answer(&replay, talk.body(true)).await, format!("answer {number}"));
        talk.add(&format!("message {} in /home/me/work/a", number + 1));
    }
    talk.messages.pop();
    talk.add("another");
    let error = exchange_body(&replay, talk.body(true)).await.unwrap_err();
    let expected = format!(
        "a request differs from number 5 in cassette {}:\n  /messages/4/content/0/text: recorded \"message 4 in \
         {{workspace}}/a\", now \"another\"\nrecord the cassette again if this is intended",
        studio.file.display()
    );
    assert_eq!(error.message, expected);
    // With its fields in another order it is the same request.
    talk.messages.pop();
    talk.add("message 4 in /home/me/work/a");
    let body = talk.body(true).to_vec();
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(&body) else { panic!("no object") };
    let turned: serde_json::Map<_, _> = fields.into_iter().rev().collect();
    assert_eq!(answer(&replay, json!(turned).to_string().into_bytes().into()).await, "answer 4");
}

#[tokio::test]
async fn a_line_that_is_missing_or_does_not_fit_is_named() {
    let studio = Studio::new();
    recorded(&studio, 4).await;
    let whole = studio.text();
    let without = |gone: usize| {
        let lines = whole.lines().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| line);
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    let second = "line 3, is damaged: its changes do not fit the request before it";
    for (text, expected) in [
        (without(1), "line 2, is damaged: it is exchange 2, where exchange 1 is due"),
        (without(2), "line 3, is damaged: it is not like line 3"),
        (whole.replacen("\"keep\":0", "\"keep\":9", 1), second),
        (whole.replacen("\"conversation\":1,\"changes\"", "\"conversation\":2,\"changes\"", 1), second),
        (whole.replacen("\"keep\":0", "\"kept\":0", 1), "line 3, is damaged: unknown field `kept`"),
        (whole.replacen("\"changes\":", "\"charges\":", 1), "line 3, is damaged: its request has no `body`"),
        (
            whole.replacen("\"record\":\"exchange\",\"number\":2", "\"record\":\"question\",\"number\":2", 1),
            "line 3, is damaged: unknown variant",
        ),
    ] {
        fs::write(&studio.file, text).unwrap();
        let error = Cassette::load(&studio.file).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // The last one is not missed, as it may never have been written.
    fs::write(&studio.file, without(4)).unwrap();
    assert_eq!(studio.cassette().exchanges.len(), 3);
}

#[tokio::test]
async fn a_cassette_that_changes_while_it_is_replayed_is_no_answer() {
    let studio = Studio::new();
    let mut talk = recorded(&studio, 2).await;
    let replay = studio.replay("/home/me/work");
    fs::write(&studio.file, "").unwrap();
    let error = exchange_body(&replay, talk.body(true)).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Replay);
    talk.add("another");
    let error = exchange_body(&replay, talk.body(true)).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Replay);
}

/// The next request of a conversation.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// With one message more.
    Grows(u8),
    /// The same.
    Again,
    /// With another limit, or another mark.
    Limits(u8),
    Marks,
    /// With fewer messages, as after a summary.
    Shortens(usize),
    /// In another client, which shares no memory with this one.
    Moves,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..5_u8).prop_map(Turn::Grows),
        1 => Just(Turn::Again),
        1 => (0..3_u8).prop_map(Turn::Limits),
        1 => Just(Turn::Marks),
        1 => (0..4_usize).prop_map(Turn::Shortens),
        1 => Just(Turn::Moves),
    ]
}

/// The requests of these turns, by turns of three conversations.
fn requests(turns: &[(usize, Turn)], workspace: &str, is_shared: bool) -> Vec<RequestBody> {
    let mut talks = ["m-1", "m-1", "m-2"].map(Talk::new);
    let requests = turns.iter().map(|(which, turn)| {
        let talk = &mut talks[*which];
        match *turn {
            Turn::Grows(text) => {
                let texts = ["owl", "\"q\\", "[1,{\"a\":2}]", "é 🦉", ""];
                talk.add(&format!("{} in {workspace}", texts[usize::from(text)]));
            }
            Turn::Again => {}
            Turn::Limits(most) => talk.most = u64::from(most),
            Turn::Marks => talk.is_marked = !talk.is_marked,
            Turn::Shortens(count) => talk.messages.truncate(count),
            Turn::Moves => {
                let copy = |text: &Bytes| Bytes::from(text.to_vec());
                *talk =
                    Talk { head: copy(&talk.head), messages: talk.messages.iter().map(copy).collect(), ..talk.clone() };
            }
        }
        talk.body(is_shared)
    });
    requests.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn conversations_replay_as_they_were_recorded(
        turns in prop::collection::vec((0..3_usize, turn()), 1..20),
        recorded_shared in any::<bool>(),
        replayed_shared in any::<bool>(),
        is_turned in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let studio = Studio::new();
            let live = studio.recording(answers(turns.len()));
            let sent = requests(&turns, "/home/me/work", recorded_shared);
            for (number, body) in sent.iter().enumerate() {
                assert_eq!(answer(&live, body.clone()).await, format!("answer {number}"));
            }
            let cassette = studio.cassette();
            for (body, (place, _)) in sent.iter().zip(&cassette.exchanges) {
                let hidden = String::from_utf8(body.to_vec()).unwrap().replace("/home/me/work", "{workspace}");
                let (_, recorded) = cassette.request(*place).unwrap();
                assert_eq!(recorded, serde_json::from_str::<serde_json::Value>(&hidden).unwrap());
            }
            let replay = studio.replay("/other");
            let mut asked: Vec<(usize, RequestBody)> =
                requests(&turns, "/other", replayed_shared).into_iter().enumerate().collect();
            if is_turned {
                asked.reverse();
            }
            let mut used = vec![false; sent.len()];
            for (number, body) in asked {
                // The first of equal requests that was not answered yet.
                let equal = |other: &RequestBody| *other == sent[number];
                let first = (0..sent.len()).find(|at| !used[*at] && equal(&sent[*at])).unwrap();
                used[first] = true;
                assert_eq!(answer(&replay, body).await, format!("answer {first}"));
            }
        });
    }
}
