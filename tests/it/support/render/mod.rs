//! Answers as bytes: each protocol's event stream and error body, with the event types and fields of the real ones.

mod chat;
mod messages;
mod responses;

use std::fmt::Write as _;

use serde_json::Value;

use super::answer::{Plain, Turn};
use super::http::Response;
use super::request::{Protocol, Request};

/// Characters of text in one delta, few enough that every text comes in several.
const DELTA: usize = 9;
/// Seconds since the epoch; what streams say of their making.
const CREATED: u64 = 1_771_000_000;

/// A turn of the model as event stream. `number` counts the server's requests, so that ids differ.
pub fn turn(turn: &Turn, request: &Request, number: usize) -> Response {
    let body = match request.protocol {
        Protocol::Messages => messages::stream(turn, request, number),
        Protocol::Responses => responses::stream(turn, request, number),
        Protocol::Chat => chat::stream(turn, request, number),
    };
    sse(body.into_bytes())
}

/// Bytes as event stream.
pub fn sse(body: Vec<u8>) -> Response {
    Response { status: 200, headers: header("content-type", "text/event-stream; charset=utf-8"), body }
}

/// A response by status, with the protocol's own error body unless it has another.
pub fn plain(plain: &Plain, protocol: Protocol) -> Response {
    let (content_type, text) = plain.body.clone().unwrap_or_else(|| {
        let body = match protocol {
            Protocol::Messages => messages::error(plain.status, &plain.message),
            Protocol::Responses | Protocol::Chat => responses::error(plain.status, &plain.message),
        };
        ("application/json".to_owned(), body.to_string())
    });
    let mut headers = header("content-type", &content_type);
    headers.extend(plain.headers.iter().cloned());
    Response { status: plain.status, headers, body: text.into_bytes() }
}

fn header(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

/// Splits text into deltas; at character boundaries, as real servers do.
fn deltas(text: &str) -> Vec<String> {
    text.chars().collect::<Vec<_>>().chunks(DELTA).map(|chunk| chunk.iter().collect()).collect()
}

/// Appends an event whose name is also its `type`.
fn named_event(out: &mut String, data: &Value) {
    let name = data["type"].as_str().expect("an event with a type");
    write!(out, "event: {name}\ndata: {data}\n\n").expect("writing to a string");
}

/// Appends an event without a name.
fn data_event(out: &mut String, data: &Value) {
    write!(out, "data: {data}\n\n").expect("writing to a string");
}
