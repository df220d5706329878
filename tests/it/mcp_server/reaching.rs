//! A server with one tool, `reach`, which connects to each of its `ports` of `localhost` through the proxy that the
//! environment names. Its result is marked as an error when one could not be reached.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use serde_json::{Value, json};

/// Serves the client at standard input and output.
pub fn over_stdio() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let message: Value = serde_json::from_str(&line).expect("clients speak JSON");
        let Some(id) = message.get("id") else { continue };
        let mut answer = match message["method"].as_str() {
            Some("initialize") => json!({"id": id, "result": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "reaching", "version": "1.0.0"},
            }}),
            Some("tools/list") => json!({"id": id, "result": {"tools": [{
                "name": "reach", "inputSchema": {"type": "object", "properties": {"ports": {"type": "array"}}},
            }]}}),
            Some("tools/call") => {
                let ports = message["params"]["arguments"]["ports"].as_array().expect("ports").clone();
                let ports: Vec<&str> = ports.iter().filter_map(Value::as_str).collect();
                let reached: Vec<&str> = ports.iter().copied().filter(|port| reach(port)).collect();
                let text = format!("reached: {}", reached.join(" "));
                let is_error = reached.len() < ports.len();
                json!({"id": id, "result": {"content": [{"type": "text", "text": text}], "isError": is_error}})
            }
            _ => json!({"id": id, "error": {"code": -32601, "message": "no such method"}}),
        };
        answer["jsonrpc"] = json!("2.0");
        let mut out = std::io::stdout().lock();
        // A client that has gone away is noticed at the end of standard input.
        let _ = writeln!(out, "{answer}").and_then(|()| out.flush());
    }
}

/// True when the proxy connects to the port.
fn reach(port: &str) -> bool {
    let proxy = std::env::var("HTTPS_PROXY").expect("a proxy");
    let (user, address) = proxy.strip_prefix("http://").and_then(|rest| rest.split_once('@')).expect("a user");
    let credentials = base64::engine::general_purpose::STANDARD.encode(user);
    let mut stream = TcpStream::connect(address).expect("the proxy");
    let target = format!("localhost:{port}");
    let request =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the proxy reads");
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).is_ok() && status.contains(" 200 ")
}
