//! A client that knows just enough HTTP, and questions that every server takes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Answer, KEY, Protocol, Server};

/// The paths of models.
pub const GEMINI: &str = "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse";
pub const CONVERSE: &str = "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream";

/// A connection of a client that knows just enough HTTP.
pub struct Client(BufReader<TcpStream>);

/// A response, decoded from its chunks.
#[derive(Debug, PartialEq)]
pub struct Received {
    pub status: u16,
    pub bytes: Vec<u8>,
    /// The last chunk came.
    pub is_whole: bool,
}

impl Received {
    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The events of a stream that are JSON: SSE, NDJSON, or binary messages, whose names stand under `event`.
    pub fn events(&self) -> Vec<Value> {
        let parse = |text: &str| serde_json::from_str(text).unwrap();
        match self.bytes.first() {
            Some(0) => messages(&self.bytes),
            Some(b'{') => self.body().lines().map(parse).collect(),
            _ => {
                let body = self.body();
                let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
                data.filter(|data| *data != "[DONE]").map(parse).collect()
            }
        }
    }
}

/// Binary messages: a length, that of the headers, a checksum; headers; payload; a checksum. The first header is the
/// name.
fn messages(mut bytes: &[u8]) -> Vec<Value> {
    let mut messages = Vec::new();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
    while !bytes.is_empty() {
        let (message, rest) = bytes.split_at(number(&bytes[..4]));
        let (headers, payload) = message[12..message.len() - 4].split_at(number(&message[4..8]));
        let value = usize::from(headers[0]) + 2;
        let length = usize::from(u16::from_be_bytes([headers[value], headers[value + 1]]));
        let name = String::from_utf8(headers[value + 2..value + 2 + length].to_vec()).unwrap();
        let mut event: Value = serde_json::from_slice(payload).unwrap();
        event["event"] = json!(name);
        messages.push(event);
        bytes = rest;
    }
    messages
}

impl Client {
    pub fn connect(server: &Server) -> Self {
        Self(BufReader::new(TcpStream::connect(server.address()).unwrap()))
    }

    pub fn send(&mut self, path: &str, headers: &[(&str, &str)], body: &str) {
        let mut text = format!("POST {path} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub fn ask(&mut self, protocol: Protocol, body: &Value) {
        let bearer = format!("Bearer {KEY}");
        let (path, headers): (_, &[_]) = match protocol {
            Protocol::Messages => ("/v1/messages", &[("x-api-key", KEY), ("anthropic-version", "2023-06-01")]),
            Protocol::Responses => ("/v1/responses", &[("authorization", &bearer)]),
            Protocol::Chat => ("/v1/chat/completions", &[("authorization", &bearer)]),
            Protocol::Gemini => (GEMINI, &[("x-goog-api-key", KEY)]),
            Protocol::Converse => (CONVERSE, &[("authorization", &bearer)]),
            Protocol::Ollama => ("/api/chat", &[]),
        };
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.send(path, &headers, &body.to_string());
    }

    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.0.read_line(&mut line).unwrap_or(0) > 0).then(|| line.trim_end().to_owned())
    }

    /// The status; `None` when the connection closed without one.
    pub fn status(&mut self) -> Option<u16> {
        self.head().map(|(status, _)| status)
    }

    /// The status and the lines of the headers.
    pub fn head(&mut self) -> Option<(u16, Vec<String>)> {
        let status = self.line()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => return Some((status, headers)),
                line => headers.push(line),
            }
        }
    }

    /// The next piece of the body; `None` when the connection closed, an empty one at the body's end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line()?, 16).unwrap();
        let mut piece = vec![0; length + 2];
        self.0.read_exact(&mut piece).ok()?;
        piece.truncate(length);
        Some(piece)
    }

    pub fn receive(&mut self) -> Option<Received> {
        let status = self.status()?;
        Some(Received { status, ..self.body() })
    }

    /// What follows the head.
    pub fn body(&mut self) -> Received {
        let (mut bytes, mut is_whole) = (Vec::new(), false);
        while let Some(piece) = self.chunk() {
            is_whole = piece.is_empty();
            if is_whole {
                break;
            }
            bytes.extend(piece);
        }
        Received { status: 0, bytes, is_whole }
    }
}

/// One question on a connection of its own.
pub fn ask(server: &Server, protocol: Protocol, body: &Value) -> Received {
    let mut client = Client::connect(server);
    client.ask(protocol, body);
    client.receive().unwrap()
}

pub fn server(answers: impl IntoIterator<Item = Answer>) -> Server {
    let server = Server::start();
    server.script(answers);
    server
}

/// A request that every server takes, with a finished tool call in its history.
pub fn question(protocol: Protocol) -> Value {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    match protocol {
        Protocol::Messages => json!({
            "model": "claude-sonnet-4-5", "max_tokens": 64000, "stream": true,
            "thinking": {"type": "enabled", "budget_tokens": 2048},
            "system": [{"type": "text", "text": "You search.", "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": "search", "description": "Searches.", "input_schema": schema}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Which file?"}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "text", "text": "I search."},
                    {"type": "tool_use", "id": "c1", "name": "search", "input": {"q": "owl"}},
                    {"type": "tool_use", "id": "c2", "name": "search", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "birds.md"}]},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "none", "is_error": true},
                ]},
            ],
        }),
        Protocol::Responses => json!({
            "model": "gpt-5", "stream": true, "store": false, "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
            "tools": [{
                "type": "function", "name": "search", "description": "Searches.", "parameters": schema, "strict": false,
            }],
            "input": [
                {"role": "developer", "content": "You search."},
                {"role": "user", "content": [{"type": "input_text", "text": "Which file?"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2ln"},
                {"type": "function_call", "call_id": "c1", "name": "search", "arguments": "{\"q\":\"owl\"}"},
                {"type": "function_call", "call_id": "c2", "name": "search", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "birds.md"},
                {"type": "function_call_output", "call_id": "c2", "output": "none"},
            ],
        }),
        Protocol::Chat => json!({
            "model": "deepseek-chat", "stream": true, "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {
                "name": "search", "description": "Searches.", "parameters": schema,
            }}],
            "messages": [
                {"role": "system", "content": "You search."},
                {"role": "user", "content": "Which file?"},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{\"q\":\"owl\"}"}},
                    {"id": "c2", "type": "function", "function": {"name": "search", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "c1", "content": "birds.md"},
                {"role": "tool", "tool_call_id": "c2", "content": "none"},
            ],
        }),
        Protocol::Gemini => json!({
            "systemInstruction": {"parts": [{"text": "You search."}]},
            "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": true}},
            "tools": [{"functionDeclarations": [
                {"name": "search", "description": "Searches.", "parametersJsonSchema": schema},
            ]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            "contents": [
                {"role": "user", "parts": [{"text": "Which file?"}]},
                {"role": "model", "parts": [
                    {"text": "Hm.", "thought": true},
                    {"functionCall": {"id": "c1", "name": "search", "args": {"q": "owl"}}, "thoughtSignature": "c2ln"},
                    {"functionCall": {"id": "c2", "name": "search", "args": {}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"id": "c1", "name": "search", "response": {"output": "birds.md"}}},
                    {"functionResponse": {"id": "c2", "name": "search", "response": {"error": "none"}}},
                ]},
            ],
        }),
        Protocol::Converse => json!({
            "system": [{"text": "You search."}, {"cachePoint": {"type": "default"}}],
            "inferenceConfig": {"maxTokens": 64000},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            "toolConfig": {"tools": [{"toolSpec": {
                "name": "search", "description": "Searches.", "inputSchema": {"json": schema},
            }}]},
            "messages": [
                {"role": "user", "content": [{"text": "Which file?"}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                    {"text": "I search."},
                    {"toolUse": {"toolUseId": "c1", "name": "search", "input": {"q": "owl"}}},
                    {"toolUse": {"toolUseId": "c2", "name": "search", "input": {}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "c1", "content": [{"text": "birds.md"}], "status": "success"}},
                    {"toolResult": {"toolUseId": "c2", "content": [{"text": "none"}], "status": "error"}},
                ]},
            ],
        }),
        Protocol::Ollama => json!({
            "model": "gpt-oss:20b", "stream": true, "think": "low",
            "tools": [{"type": "function", "function": {
                "name": "search", "description": "Searches.", "parameters": schema,
            }}],
            "messages": [
                {"role": "system", "content": "You search."},
                {"role": "user", "content": "Which file?"},
                {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [
                    {"id": "c1", "function": {"name": "search", "arguments": {"q": "owl"}}},
                    {"id": "c2", "function": {"name": "search", "arguments": {}}},
                ]},
                {"role": "tool", "tool_name": "search", "tool_call_id": "c1", "content": "birds.md"},
                {"role": "tool", "tool_name": "search", "tool_call_id": "c2", "content": "none"},
            ],
        }),
    }
}

pub const PROTOCOLS: [Protocol; 6] =
    [Protocol::Messages, Protocol::Responses, Protocol::Chat, Protocol::Gemini, Protocol::Converse, Protocol::Ollama];

/// The strings at a pointer in all events, joined.
pub fn joined(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)).filter_map(Value::as_str).collect()
}

/// The events' types, repeated ones once.
pub fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

/// Asks with one value replaced; the server's finding.
#[track_caller]
pub fn assert_refused(protocol: Protocol, pointer: &str, value: Value, finding: &str) {
    let server = server([Answer::text("never")]);
    let mut body = question(protocol);
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not in {protocol:?}")) = value;
    let received = ask(&server, protocol, &body);
    assert_eq!(received.status, 400, "{protocol:?} {pointer}");
    let error: Value = serde_json::from_str(&received.body()).unwrap();
    let places = ["/error/message", "/message", "/error"];
    assert!(places.iter().any(|place| error.pointer(place).is_some_and(Value::is_string)), "{error}");
    let violations = server.violations();
    assert!(violations.iter().any(|v| v.contains(finding)), "{protocol:?} {pointer}: {violations:#?}");
    assert_eq!(server.answers_left(), 1);
}
