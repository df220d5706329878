//! The tests' own server does what its faults say, seen by a client as plain as can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use crate::support::tool_server::{HttpServer, program};

/// A client over pipes. Its server ends with it.
struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Client {
    fn start<const N: usize>(args: [&str; N]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.args(args).current_dir(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), child, stdout, folder }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn hear(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// A request, and the next message.
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
        self.hear()
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.ask("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    fn end(mut self) -> (ExitStatus, String) {
        drop(self.stdin.take());
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap(), stderr)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hello() -> Value {
    let client = json!({"name": "test", "version": "1"});
    json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
}

fn words(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"))
}

fn names(answer: &Value) -> Vec<&str> {
    answer["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[test]
fn both_servers_greet_list_and_answer() {
    for (args, name) in [(["polite", "sessions"], "polite"), (["rough", "stderr=0"], "rough")] {
        let mut client = Client::start(args);
        let greeting = client.ask("initialize", &hello());
        assert_eq!(greeting["result"]["serverInfo"]["name"], name);
        assert_eq!(greeting["result"]["protocolVersion"], "2025-11-25");
        client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!(names(&client.ask("tools/list", &json!({})))[0], "echo");
        assert_eq!(words(&client.call("echo", &json!({"text": "owl"}))), "echo: owl");
        assert_eq!(client.end().0.code(), Some(0), "{name} ends with its input");
    }
}

#[test]
fn the_polite_server_returns_every_kind_of_content() {
    let mut client = Client::start(["polite", "sessions"]);
    client.ask("initialize", &hello());
    client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let mut kind = |tool| client.call(tool, &json!({}))["result"]["content"][0]["type"].clone();
    assert_eq!(
        ["image", "audio", "resource", "blob", "link", "both"].map(&mut kind),
        ["image", "audio", "resource", "resource", "resource_link", "text"]
    );
    let structured = client.call("structured", &json!({}));
    assert_eq!(structured["result"]["structuredContent"]["owls"], 2);
    assert_eq!(structured["result"]["content"], json!([]));
    assert_eq!(client.call("fail", &json!({}))["result"]["isError"], true);
    assert_eq!(client.call("refuse", &json!({}))["error"]["code"], -32602);
    assert_eq!(client.call("nothing", &json!({}))["result"]["content"], json!([]));
    let parameters: Value = serde_json::from_str(words(&client.call("environment", &json!({})))).unwrap();
    assert!(parameters["variables"]["PATH"].is_string());
    let params = json!({"name": "count", "arguments": {"to": 2}, "_meta": {"progressToken": "t"}});
    assert_eq!(client.ask("tools/call", &params)["params"]["progress"].as_f64(), Some(1.0));
    assert_eq!(client.hear()["params"]["progress"].as_f64(), Some(2.0));
    assert_eq!(words(&client.hear()), "counted to 2");
}

#[test]
fn the_polite_server_offers_the_newest_revision_too() {
    let mut client = Client::start(["polite"]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    let found = client.ask("server/discover", &json!({"_meta": meta}));
    assert!(found["result"]["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{found}");
    let question = client.ask("tools/call", &json!({"name": "ask", "arguments": {}, "_meta": meta}));
    assert_eq!(question["result"]["resultType"], "input_required", "{question}");
    let refused = Client::start(["polite", "newest"]).ask("initialize", &hello());
    assert!(refused["error"]["code"].is_number(), "{refused}");
    let answers = json!({"who": {"action": "decline"}});
    let params = json!({"name": "ask", "arguments": {}, "_meta": meta, "inputResponses": answers});
    let told = client.ask("tools/call", &params);
    assert!(words(&told).contains("decline"), "{told}");
}

#[test]
fn starts_go_wrong_as_scripted() {
    let (status, stderr) = Client::start(["rough", "start=exit"]).end();
    assert_eq!((status.code(), stderr.as_str()), (Some(7), "no database at owls.db\n"));
    let mut noisy = Client::start(["rough", "start=noise"]);
    let lines: Vec<String> = (0..5).map(|_| noisy.line()).collect();
    assert_eq!(lines, ["Loading owls…", "", "{not json", "[1, 2]", "\"ready\""]);
    assert_eq!(noisy.ask("initialize", &hello())["result"]["serverInfo"]["name"], "rough");
    let refused = Client::start(["rough", "start=refuse"]).ask("initialize", &hello());
    assert_eq!(refused["error"]["message"], "the library is closed");
    let ancient = Client::start(["rough", "start=version"]).ask("initialize", &hello());
    assert_eq!(ancient["result"]["protocolVersion"], "1999-12-31");
    let mut babbling = Client::start(["rough", "start=babble"]);
    assert_eq!([babbling.line(), babbling.line()], ["Loading owls…", "Loading owls…"]);
    let (_, stderr) = Client::start(["rough", "stderr=2"]).end();
    assert_eq!(stderr, "loading shelf 1\nloading shelf 2\n");
}

#[test]
fn listings_go_wrong_as_scripted() {
    let list = |args: [&str; 2], cursor: Value| Client::start(args).ask("tools/list", &json!({"cursor": cursor}));
    let first = list(["rough", "list=pages"], Value::Null);
    assert_eq!((names(&first), &first["result"]["nextCursor"]), (vec!["echo"], &json!("second")));
    let third = list(["rough", "list=pages"], json!("third ✓"));
    assert_eq!((names(&third).len(), &third["result"]["nextCursor"]), (14, &Value::Null));
    assert_eq!(list(["rough", "list=endless"], json!("41"))["result"]["nextCursor"], "42");
    assert!(names(&list(["rough", "list=odd"], Value::Null)).contains(&"find owls!"));
    assert_eq!(list(["rough", "list=refuse"], Value::Null)["error"]["message"], "the catalogue is closed");
    assert_eq!(names(&list(["rough", "first=hoot"], Value::Null))[0], "hoot");
    let mut growing = Client::start(["rough", "list=growing"]);
    assert_eq!(names(&growing.ask("tools/list", &json!({}))), ["echo", "grow"]);
    assert_eq!(growing.call("grow", &json!({}))["method"], "notifications/tools/list_changed");
    assert_eq!(words(&growing.hear()), "grew");
    assert_eq!(names(&growing.ask("tools/list", &json!({}))), ["echo", "grow", "grown"]);
}

#[test]
fn calls_go_wrong_as_scripted() {
    let mut client = Client::start(["rough", "diary=diary"]);
    assert_eq!(words(&client.call("flood", &json!({"bytes": 50_000_000}))).len(), 50_000_008);
    assert_eq!(client.call("refuse", &json!({}))["error"]["message"], "no such owl");
    let question = client.call("elicit", &json!({}));
    assert_eq!(question["method"], "elicitation/create");
    client.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}));
    assert_eq!(words(&client.hear()), r#"the client said {"action":"decline"}"#);
    assert_eq!(client.call("sample", &json!({}))["method"], "sampling/createMessage");
    assert_eq!(client.call("roots", &json!({}))["method"], "roots/list");
    assert_eq!(client.call("misaddress", &json!({}))["id"], "somebody else's");
    assert_eq!(words(&client.hear()), "yours");
    client.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "hang"}}));
    client.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}));
    let diary = client.folder.path().join("diary");
    super::wait_until("a line in the diary", || {
        std::fs::read_to_string(&diary).unwrap().ends_with("called hang\ncancelled\n")
    });
}

#[test]
fn a_server_that_dies_once_works_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let call = || {
        let mut command = Command::new(program());
        command.arg("rough").current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let request =
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "dieOnce", "arguments": {}}});
        writeln!(child.stdin.take().unwrap(), "{request}").unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(call(), (Some(9), String::new()));
    let (code, answer) = call();
    assert!(code == Some(0) && answer.contains("alive again"), "{answer}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_stubborn_server_and_its_grandchild_stay_unless_killed() {
    let mut client = Client::start(["rough", "stubborn", "processes=ids"]);
    client.ask("initialize", &hello());
    let written = std::fs::read_to_string(client.folder.path().join("ids")).unwrap();
    let ids: Vec<u32> = written.split_whitespace().map(|id| id.parse().unwrap()).collect();
    let sleeper = Sleeper(ids[1]);
    assert!(ids.iter().all(|id| super::is_running(*id)));
    let pid = |id: u32| rustix::process::Pid::from_raw(id.cast_signed()).unwrap();
    rustix::process::kill_process(pid(ids[0]), rustix::process::Signal::TERM).unwrap();
    assert_eq!(client.ask("ping", &json!({}))["result"], json!({}));
    drop(client);
    assert!(!super::is_running(ids[0]) && super::is_running(sleeper.0));
}

/// A process that this test alone sees to the end of.
#[cfg(target_os = "linux")]
struct Sleeper(u32);

#[cfg(target_os = "linux")]
impl Drop for Sleeper {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.0.cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// One response to one POST, head and body.
fn post(url: &str, message: &Value) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let body = message.to_string();
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut response = String::new();
    let mut reader = BufReader::new(stream);
    // An event stream may stay open: its first answer is enough.
    while !response.contains("\"id\":1") && reader.read_line(&mut response).unwrap() > 0 {}
    response
}

#[test]
fn servers_over_http_answer() {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello()});
    let polite = HttpServer::start(["polite-http"]);
    let answer = post(polite.url(), &message);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"name\":\"polite\""), "{answer}");
    let elsewhere = HttpServer::start(["elsewhere", "http://192.0.2.1/mcp"]);
    let answer = head(elsewhere.url(), &message);
    assert!(answer.contains("307 Temporary") && answer.contains("location: http://192.0.2.1/mcp"), "{answer}");
    let status = HttpServer::start(["status", "503"]);
    assert!(head(status.url(), &message).starts_with("HTTP/1.1 503 "));
}

/// The head of the response to a POST.
fn head(url: &str, message: &Value) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let body = message.to_string();
    write!(stream, "POST /{path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut response = String::new();
    let mut reader = BufReader::new(stream);
    while !response.ends_with("\r\n\r\n") && reader.read_line(&mut response).unwrap() > 0 {}
    response
}

#[test]
fn the_older_transport_answers_on_its_event_stream() {
    let server = HttpServer::start(["rough-sse"]);
    let (host, _) = server.url().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /sse HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n\r\n").unwrap();
    let mut events = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(events.by_ref().any(|line| line == "event: endpoint"));
    let endpoint = events.next().unwrap().strip_prefix("data: ").unwrap().to_owned();
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello()});
    let accepted = head(&format!("http://{host}{endpoint}"), &message);
    assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
    let greeting = events.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
    assert!(greeting.contains("\"name\":\"rough\""), "{greeting}");
    // A client of the newer transport is told that there is nothing to post to.
    assert!(head(server.url(), &message).starts_with("HTTP/1.1 405 "));
}
