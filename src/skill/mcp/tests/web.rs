//! Servers on the network, beyond loopback in name only.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// One request: its first line, its head, its JSON body.
struct Request {
    line: String,
    head: String,
    body: Value,
}

async fn request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(bytes).ok()?.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let line = head.lines().next()?.to_owned();
    Some(Request { line, body: serde_json::from_slice(&body).unwrap_or(Value::Null), head })
}

async fn reply(stream: &mut TcpStream, status: &str, kind: &str, body: &str) {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    // A client that has gone does not wait for it.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

/// The behaviour of a fake server on one connection.
async fn serve<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    format!("http://{address}")
}

fn result_of(body: &Value) -> Option<Value> {
    Some(match body["method"].as_str()? {
        "initialize" => greeting(),
        "tools/list" => listing(&["t"]),
        "tools/call" => text_result("from afar"),
        _ => return None,
    })
}

async fn start(endpoint: &str, private: bool) -> Result<Arc<McpSkill>, String> {
    let spec = SkillSpec::McpSseSkill {
        common: SkillCommon { name: "s".to_owned(), start_timeout_ms: Some(20_000), ..SkillCommon::default() },
        endpoint: endpoint.to_owned(),
        allowed_domains: None,
        allow_private_endpoint: private,
        authorization_env: Some("REMOTE_TOKEN".to_owned()),
        oauth: None,
    };
    let environment = environment(&[("REMOTE_TOKEN", "t-0123456789")]);
    let place = McpContext {
        workspace: Path::new("/"),
        environment: &environment,
        programs: Programs::default(),
        outputs: &Outputs::new(DEFAULT_LIMIT),
        person: None,
        network: &Network::default(),
    };
    McpSkill::start(&spec, place, listen().0).await.map_err(|error| error.to_string())
}

/// A Streamable HTTP server at `/mcp`.
async fn streamable(mut stream: TcpStream) {
    while let Some(request) = request(&mut stream).await {
        assert!(request.head.contains("authorization: bearer t-0123456789\r\n"), "{}", request.head);
        if !request.line.starts_with("post /mcp ") {
            reply(&mut stream, "405 Method Not Allowed", "text/plain", "").await;
        } else if let Some(result) = result_of(&request.body) {
            reply(&mut stream, "200 OK", "application/json", &response(&request.body["id"], &result)).await;
        } else {
            reply(&mut stream, "202 Accepted", "text/plain", "").await;
        }
    }
}

#[tokio::test]
async fn a_streamable_server_is_called_with_its_token() {
    let address = serve(streamable).await;
    let skill = start(&format!("{address}/mcp"), true).await.unwrap();
    assert_eq!(names(&skill.tools()), ["t"]);
    assert_eq!(texts(&ask(&skill, "t").await), "from afar");
    skill.close().await;
}

/// A server that writes its answers in the way of `dialect`, which gets an answer and returns status, type and body.
async fn speaking(dialect: impl Fn(Value) -> (&'static str, &'static str, String) + Clone + Send + 'static) -> String {
    let address = serve(move |mut stream| {
        let dialect = dialect.clone();
        async move {
            while let Some(request) = request(&mut stream).await {
                if !request.line.starts_with("post ") {
                    reply(&mut stream, "405 Method Not Allowed", "text/plain", "").await;
                } else if let Some(result) = result_of(&request.body) {
                    let answer = json!({"jsonrpc": "2.0", "id": request.body["id"], "result": result});
                    let (status, kind, body) = dialect(answer);
                    reply(&mut stream, status, kind, &body).await;
                } else {
                    reply(&mut stream, "202 Accepted", "text/plain", "").await;
                }
            }
        }
    });
    format!("{}/mcp", address.await)
}

/// A change to an answer that a server makes in its own way.
type Habit = (&'static str, fn(&mut Value));

const HABITS: [Habit; 10] = [
    ("as it should be", |_| {}),
    ("an error that is null", |answer| answer["error"] = Value::Null),
    ("an id as a text", |answer| answer["id"] = answer["id"].to_string().into()),
    ("an id as a fraction", |answer| answer["id"] = answer["id"].as_f64().into()),
    ("an answer in a list", |answer| *answer = json!([answer.take()])),
    ("a change of tools before the answer", |answer| {
        *answer = json!([{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}},
            answer.take()]);
    }),
    ("no name of its own", |answer| drop(answer["result"].as_object_mut().unwrap().remove("serverInfo"))),
    ("a name without a version", |answer| {
        if answer["result"].get("serverInfo").is_some() {
            answer["result"]["serverInfo"] = json!({"name": "odd"});
        }
    }),
    ("capabilities as lists", |answer| {
        if answer["result"].get("capabilities").is_some() {
            answer["result"]["capabilities"] = json!({"tools": [], "prompts": [], "logging": true});
        }
    }),
    ("a page that leads to itself", |answer| {
        if answer["result"].get("tools").is_some() {
            answer["result"]["nextCursor"] = json!("again");
        }
    }),
];

#[tokio::test]
async fn every_habit_of_a_local_server_is_understood_from_afar() {
    const KINDS: [(&str, bool); 6] = [
        ("application/json", false),
        ("Application/JSON; Charset=UTF-8", false),
        ("", false),
        ("TEXT/Event-Stream; charset=utf-8", true),
        ("", true),
        ("text/event-stream", false),
    ];
    for (name, habit) in HABITS {
        for (kind, is_stream) in KINDS {
            let endpoint = speaking(move |mut answer| {
                habit(&mut answer);
                let body = if is_stream { format!("data: {answer}\n\n") } else { format!("\u{feff}{answer}") };
                ("200 OK", kind, body)
            });
            let skill = start(&endpoint.await, true).await.unwrap_or_else(|why| panic!("{name}, {kind}: {why}"));
            assert_eq!(names(&skill.tools()), ["t"], "{name}, {kind}");
            assert_eq!(texts(&ask(&skill, "t").await), "from afar", "{name}, {kind}");
            skill.close().await;
        }
    }
}

#[tokio::test]
async fn halves_of_characters_and_texts_for_errors_are_read_from_afar_too() {
    for (kind, before, after) in [("application/json", "", ""), ("text/event-stream", "data: ", "\n\n")] {
        let endpoint = speaking(move |answer| {
            let text = answer.to_string().replace("from afar", "a \\ud83d b");
            ("200 OK", kind, format!("{before}{text}{after}"))
        });
        let skill = start(&endpoint.await, true).await.unwrap();
        assert_eq!(texts(&ask(&skill, "t").await), "a \u{fffd} b");
        skill.close().await;
        let endpoint = speaking(move |answer| {
            let text = match answer["result"].get("content") {
                Some(_) => json!({"jsonrpc": "2.0", "id": null, "error": "the shelf is empty"}),
                None => answer,
            };
            ("200 OK", kind, format!("{before}{text}{after}"))
        });
        let skill = start(&endpoint.await, true).await.unwrap();
        let result = texts(&ask(&skill, "t").await);
        assert!(result.contains("the shelf is empty"), "{result}");
        skill.close().await;
    }
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_at_once_with_the_reason() {
    for (status, kind, body, expected) in [
        ("200 OK", "application/json", "", "without an answer"),
        ("202 Accepted", "text/plain", "", "without an answer"),
        ("200 OK", "text/html", "<html>Down</html>", "text/html"),
        ("200 OK", "text/event-stream", ": nothing\n\n", "the connection was lost"),
        ("400 Bad Request", "text/plain", "no shelf", "no shelf"),
    ] {
        let endpoint = speaking(move |answer| match answer["result"].get("content") {
            Some(_) => (status, kind, body.to_owned()),
            None => ("200 OK", "application/json", answer.to_string()),
        });
        let skill = start(&endpoint.await, true).await.unwrap();
        let result = ask(&skill, "t").await;
        assert!(texts(&result).contains(expected), "{status} {kind}: {result:?}");
        skill.close().await;
    }
}

#[tokio::test]
async fn a_server_of_the_older_transport_is_used_by_it() {
    let (events, queue) = mpsc::channel::<String>(8);
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let address = serve(move |mut stream| {
        let (events, queue) = (events.clone(), Arc::clone(&queue));
        async move {
            while let Some(request) = request(&mut stream).await {
                if request.line.starts_with("get /sse ") {
                    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                    let first = format!("{head}: hello\n\nevent: endpoint\ndata: /messages?session=1\n\n");
                    stream.write_all(first.as_bytes()).await.unwrap();
                    while let Some(message) = queue.lock().await.recv().await {
                        let event = format!("event: message\ndata: {message}\n\n");
                        if stream.write_all(event.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                } else if request.line.starts_with("post /messages?session=1 ") {
                    if let Some(result) = result_of(&request.body) {
                        events.send(response(&request.body["id"], &result)).await.unwrap();
                    }
                    reply(&mut stream, "202 Accepted", "text/plain", "Accepted").await;
                } else {
                    reply(&mut stream, "405 Method Not Allowed", "text/plain", "").await;
                }
            }
        }
    })
    .await;
    let skill = start(&format!("{address}/sse"), true).await.unwrap();
    assert_eq!(texts(&ask(&skill, "t").await), "from afar");
    skill.close().await;
}

#[tokio::test]
async fn an_endpoint_event_that_leads_elsewhere_is_not_followed() {
    let address = serve(|mut stream| async move {
        while let Some(request) = request(&mut stream).await {
            if request.line.starts_with("get ") {
                let body = "event: endpoint\ndata: http://127.0.0.1:1/messages\n\n";
                reply(&mut stream, "200 OK", "text/event-stream", body).await;
            } else {
                reply(&mut stream, "404 Not Found", "text/plain", "").await;
            }
        }
    })
    .await;
    let error = start(&address, true).await.err().unwrap();
    assert!(error.contains("HTTP 404 Not Found") && error.contains("names another server"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_at_home_only() {
    let address = serve(|mut stream| async move {
        while let Some(request) = request(&mut stream).await {
            if request.line.starts_with("post /mcp ") {
                let result = result_of(&request.body).unwrap_or(Value::Null);
                reply(&mut stream, "200 OK", "application/json", &response(&request.body["id"], &result)).await;
            } else if request.line.starts_with("post /slash ") {
                let head = "HTTP/1.1 307 Over there\r\nlocation: /mcp\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
            } else {
                let head = "HTTP/1.1 307 Away\r\nlocation: http://127.0.0.1:1/mcp\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let skill = start(&format!("{address}/slash"), true).await.unwrap();
    skill.close().await;
    let error = start(&format!("{address}/away"), true).await.err().unwrap();
    assert!(error.contains("HTTP 307"), "{error}");
}

#[tokio::test]
async fn private_addresses_are_refused_in_the_text_and_after_resolution() {
    let error = start("https://127.0.0.1:9/mcp", false).await.err().unwrap();
    assert!(error.starts_with("skill s: SSE endpoint must be a public HTTPS URL"), "{error}");
    // A name that passes for public, with an address that is not.
    let resolver =
        super::super::guard::GuardedResolver { reach: super::super::guard::Reach::Public, proxy_hosts: Arc::default() };
    let client = reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(resolver)).tls_certs_only([]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = client.build().unwrap().get("http://localhost:9/").send().await.unwrap_err();
    let text = super::super::connection::chain(&error);
    assert!(text.contains("has only private or local addresses"), "{text}");
}

#[tokio::test]
async fn an_address_without_a_server_fails_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = start(&format!("http://{address}/mcp?key=secret-key"), true).await.err().unwrap();
    assert!(error.starts_with("skill s did not start: cannot connect"), "{error}");
    assert!(!error.contains("secret-key"), "{error}");
}
