//! A model that answers at once: tool calls until its last answer, a text. Anthropic's Messages protocol over plain
//! sockets; it looks at nothing but the length of a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything here may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server, for one job.
pub struct Server {
    address: SocketAddr,
    first: mpsc::Receiver<Instant>,
}

impl Server {
    /// Starts a server whose model gives this many answers.
    pub fn start(answers: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, first) = mpsc::channel();
        thread::spawn(move || {
            let mut given = 0;
            for stream in listener.incoming() {
                // One job asks one question at a time, so that its connections come one after the other.
                converse(&stream.unwrap(), &mut given, answers, &sender);
                if given >= answers {
                    return;
                }
            }
        });
        Self { address, first }
    }

    /// The variables that lead a job here.
    pub fn variables(&self) -> [(String, String); 2] {
        [
            ("ANTHROPIC_API_KEY".to_owned(), "none needed".to_owned()),
            ("ANTHROPIC_BASE_URL".to_owned(), format!("http://{}/v1", self.address)),
        ]
    }

    /// Waits for the first request; when its first byte came.
    pub fn first_request(&self) -> Instant {
        self.first.recv_timeout(PATIENCE).expect("a request")
    }
}

/// Answers on one connection until the client closes it, or every answer was given.
fn converse(mut stream: &TcpStream, given: &mut usize, answers: usize, first: &mpsc::Sender<Instant>) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while *given < answers && take_request(&mut reader, first) {
        *given += 1;
        let body = answer(*given, *given == answers);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: ";
        write!(stream, "{head}{}\r\n\r\n{body}", body.len()).unwrap();
    }
}

/// Reads one request away; false when the client has closed the connection.
fn take_request(reader: &mut impl BufRead, first: &mpsc::Sender<Instant>) -> bool {
    if reader.fill_buf().map_or(true, <[u8]>::is_empty) {
        return false;
    }
    // Only the first is waited for.
    let _ = first.send(Instant::now());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let read = std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
    read == length
}

fn answer(number: usize, is_last: bool) -> String {
    let start = json!({"type": "message_start", "message": {
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1}}});
    let (block, delta, reason) = if is_last {
        (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": "Tawny owls."}), "end_turn")
    } else {
        let call = json!({"type": "tool_use", "id": format!("toolu_{number}"), "name": "readTextFile", "input": {}});
        (call, json!({"type": "input_json_delta", "partial_json": "{\"path\":\"owls.txt\"}"}), "tool_use")
    };
    let events = [
        start,
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    let frame = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(frame).collect::<Vec<_>>().concat()
}
