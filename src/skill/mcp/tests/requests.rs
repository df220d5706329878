//! One connection, its limits of time and what it sends, against a server that is a few lines of test.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};

use super::*;

/// The server's end.
pub(super) struct Other {
    from: Lines<BufReader<ReadHalf<DuplexStream>>>,
    to: WriteHalf<DuplexStream>,
}

impl Other {
    pub(super) async fn receive(&mut self) -> Value {
        let line = self.from.next_line().await.unwrap().expect("the client went away");
        serde_json::from_str(&line).unwrap()
    }

    pub(super) async fn send_line(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(super) async fn answer(&mut self, method: &str, result: &Value) -> Value {
        let request = self.receive().await;
        assert_eq!(request["method"], method);
        self.send_line(&response(&request["id"], result)).await;
        request
    }
}

/// A connection, and the server that has shaken hands.
async fn connect() -> (Arc<Connection>, Other, Arc<Mutex<Vec<SkillNotice>>>) {
    connect_with(None).await
}

/// The same, with a person to ask.
pub(super) async fn connect_with(person: Option<AskPerson>) -> (Arc<Connection>, Other, Arc<Mutex<Vec<SkillNotice>>>) {
    let (opening, mut other, seen) = open(Era::Sessions, person);
    let greeted = async {
        let request = other.answer("initialize", &greeting()).await;
        assert_eq!(request["params"]["clientInfo"], json!({"name": "s-mcp-client", "version": "1.0.0"}));
        assert_eq!(request["params"]["protocolVersion"], "2025-11-25");
        let capabilities = json!({"roots": {}, "elicitation": {"form": {}, "url": {}}});
        assert_eq!(request["params"]["capabilities"], capabilities);
        assert_eq!(other.receive().await["method"], "notifications/initialized");
    };
    let (connection, ()) = tokio::join!(opening, greeted);
    (Arc::new(connection.unwrap()), other, seen)
}

/// A connection that shakes hands, and the server that it does so with.
pub(super) fn open(
    era: Era,
    person: Option<AskPerson>,
) -> (impl Future<Output = Result<Connection, ConnectionFailure>>, Other, Arc<Mutex<Vec<SkillNotice>>>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (from, to) = tokio::io::split(theirs);
    let other = Other { from: BufReader::new(from).lines(), to };
    let (reporter, seen) = super::super::notice::tests::listening();
    let health = Arc::new(Health::default());
    let (reader, writer) = tokio::io::split(ours);
    let transport = StdioTransport::new(reader, writer, Arc::clone(&reporter), Arc::clone(&health));
    let replies = Arc::new(Replies::new("s", Some(Path::new("/work/place")), person));
    let client = Client::new("s", reporter, replies);
    (Connection::open(client, era, transport, None, health), other, seen)
}

pub(super) fn patience(silence: u64, total: u64) -> Patience {
    Patience { silence: Duration::from_secs(silence), total: Duration::from_secs(total) }
}

#[tokio::test]
async fn all_pages_of_a_list_are_read_and_no_endless_one() {
    let (connection, mut other, _) = connect().await;
    let served = async {
        let mut page = listing(&["a"]);
        page["nextCursor"] = json!("two");
        other.answer("tools/list", &page).await;
        let second = other.answer("tools/list", &listing(&["b"])).await;
        assert_eq!(second["params"]["cursor"], "two");
    };
    let (tools, ()) = tokio::join!(connection.tools(patience(5, 5)), served);
    let tools = tools.unwrap();
    assert_eq!((tools.tools.len(), tools.is_cut), (2, false));
    let served = async {
        let mut page = listing(&["a"]);
        for number in 0..100 {
            page["nextCursor"] = json!(number.to_string());
            other.answer("tools/list", &page).await;
        }
    };
    let (tools, ()) = tokio::join!(connection.tools(patience(5, 5)), served);
    let tools = tools.unwrap();
    assert_eq!((tools.tools.len(), tools.is_cut), (100, true));
    for (cursor, pages) in [("", 1), ("again", 2)] {
        let served = async {
            let mut page = listing(&["a"]);
            page["nextCursor"] = json!(cursor);
            for _ in 0..pages {
                other.answer("tools/list", &page).await;
            }
        };
        let (tools, ()) = tokio::join!(connection.tools(patience(5, 5)), served);
        let tools = tools.unwrap();
        assert_eq!((tools.tools.len(), tools.is_cut), (pages, false), "{cursor:?}");
    }
}

#[tokio::test]
async fn a_list_of_which_one_tool_is_broken_is_read_nevertheless() {
    let (connection, mut other, _) = connect().await;
    let broken = json!({"tools": [{"name": "a", "inputSchema": "none"}, {"name": "b", "inputSchema": {}}]});
    let (tools, _) = tokio::join!(connection.tools(patience(5, 5)), other.answer("tools/list", &broken));
    assert_eq!(tools.unwrap().tools, broken["tools"].as_array().unwrap().clone());
}

#[tokio::test]
async fn unknown_content_does_not_spoil_a_result() {
    let (connection, mut other, _) = connect().await;
    let odd = json!({"content": [{"type": "hologram", "x": 1}, {"type": "text", "text": "t"}], "isError": true});
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(5, 5), &cancel);
    let (result, _) = tokio::join!(asked, other.answer("tools/call", &odd));
    assert_eq!(result.unwrap(), odd);
}

#[tokio::test(start_paused = true)]
async fn progress_extends_a_call_up_to_its_total() {
    let (connection, mut other, _) = connect().await;
    let served = async {
        let request = other.receive().await;
        let token = request["params"]["_meta"]["progressToken"].clone();
        assert!(!token.is_null());
        for step in 0..20 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": step}});
            other.send_line(&progress.to_string()).await;
        }
        other.receive().await
    };
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(10, 60), &cancel);
    let (result, last) = tokio::join!(asked, served);
    assert!(matches!(result, Err(CallFailure::TimedOut(after)) if after.as_secs() == 60), "{result:?}");
    assert_eq!(last["method"], "notifications/cancelled");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_call_and_the_server_is_notified() {
    let (connection, mut other, _) = connect().await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(10, 60), &cancel);
    let received = async { (other.receive().await, other.receive().await) };
    let (result, (request, taken_back)) = tokio::join!(asked, received);
    assert!(matches!(result, Err(CallFailure::TimedOut(after)) if after.as_secs() == 10), "{result:?}");
    assert_eq!(taken_back["params"], json!({"requestId": request["id"], "reason": "the call took too long"}));
}

#[tokio::test]
async fn a_cancelled_call_is_taken_back() {
    let (connection, mut other, _) = connect().await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(60, 60), &cancel);
    let received = async {
        let request = other.receive().await;
        cancel.cancel();
        (request, other.receive().await)
    };
    let (result, (request, taken_back)) = tokio::join!(asked, received);
    assert!(matches!(result, Err(CallFailure::Cancelled)), "{result:?}");
    assert_eq!(taken_back["params"], json!({"requestId": request["id"], "reason": "the call was cancelled"}));
}

#[tokio::test]
async fn a_refusal_keeps_its_code() {
    let (connection, mut other, _) = connect().await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(5, 5), &cancel);
    let refused = async {
        let id = other.receive().await["id"].clone();
        other
            .send_line(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "no"}}).to_string())
            .await;
    };
    let (result, ()) = tokio::join!(asked, refused);
    assert!(matches!(result, Err(CallFailure::Refused { code: -32602, message }) if message == "no"));
}

#[tokio::test]
async fn the_workspace_is_the_root_and_questions_are_declined() {
    let (_connection, mut other, _) = connect().await;
    let mut asked = async |method: &str, params: Value| {
        other.send_line(&json!({"jsonrpc": "2.0", "id": "q", "method": method, "params": params}).to_string()).await;
        other.receive().await
    };
    let roots = asked("roots/list", json!({})).await;
    assert_eq!(roots["result"], json!({"roots": [{"uri": "file:///work/place", "name": "place"}]}));
    let elicited = asked(
        "elicitation/create",
        json!({"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}),
    )
    .await;
    assert_eq!(elicited["result"], json!({"action": "decline"}));
    let message = json!({"role": "user", "content": {"type": "text", "text": "x"}});
    let sampled = asked("sampling/createMessage", json!({"messages": [message], "maxTokens": 5})).await;
    assert_eq!(sampled["error"]["code"], -32601);
}

#[tokio::test]
async fn log_messages_are_shown_and_changes_of_tools_noticed() {
    let (connection, mut other, seen) = connect().await;
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "warning", "logger": "db", "data": "slow\u{7}"}});
    other.send_line(&log.to_string()).await;
    other.send_line(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#).await;
    connection.tools_changed().await;
    // Notifications are handled each for itself.
    let expected = SkillNotice::Stderr { line: "[warning] db: slow".to_owned() };
    while seen.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*seen.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_connection_that_ends_ends_its_calls() {
    let (connection, mut other, _) = connect().await;
    let cancel = CancellationToken::new();
    let asked = connection.call("t", no_arguments(), patience(60, 60), &cancel);
    let leaving = async move {
        other.receive().await;
    };
    let (result, ()) = tokio::join!(asked, leaving);
    assert!(matches!(result, Err(CallFailure::Lost(why)) if why == "it closed its standard output"));
    assert!(connection.is_over());
}
