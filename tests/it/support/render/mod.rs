//! Answers as bytes: each protocol's stream and each vendor's error body, with the types and fields of the real ones.

mod chat;
mod converse;
pub mod error;
mod gemini;
mod messages;
mod ollama;
mod responses;

use std::fmt::Write as _;

use perstack::provider::event_stream;
use serde_json::Value;

use super::answer::{Plain, Turn};
use super::credentials;
use super::endpoint::Service;
use super::http::Response;
use super::request::{Protocol, Request};

/// Characters of text in one delta, few enough that every text comes in several.
const DELTA: usize = 9;
/// Seconds since the epoch; what streams say of their making.
const CREATED: u64 = 1_771_000_000;

/// A turn of the model as stream. `number` counts the server's requests, so that ids differ.
pub fn turn(turn: &Turn, request: &Request, number: usize) -> Response {
    let body = match request.protocol {
        Protocol::Messages => messages::stream(turn, request, number).into_bytes(),
        Protocol::Responses => responses::stream(turn, request, number).into_bytes(),
        Protocol::Chat => chat::stream(turn, request, number).into_bytes(),
        Protocol::Gemini => gemini::stream(turn, request, number).into_bytes(),
        Protocol::Converse => converse::stream(turn),
        Protocol::Ollama => ollama::stream(turn, request).into_bytes(),
    };
    raw(body, request.protocol)
}

/// Bytes as the protocol's kind of stream.
pub fn raw(body: Vec<u8>, protocol: Protocol) -> Response {
    let (content_type, keep_alive): (_, &[u8]) = match protocol {
        Protocol::Messages | Protocol::Responses | Protocol::Chat => {
            ("text/event-stream; charset=utf-8", b": keep-alive\n\n")
        }
        Protocol::Gemini => ("text/event-stream", b": keep-alive\r\n\r\n"),
        Protocol::Ollama => ("application/x-ndjson", b"\n"),
        // It has no signs of life.
        Protocol::Converse => (event_stream::CONTENT_TYPE, b""),
    };
    Response { status: 200, headers: header("content-type", content_type), body, keep_alive }
}

/// A response by status, with the vendor's own error body unless it has another.
pub fn plain(plain: &Plain, service: Service) -> Response {
    let status = if plain.refuses_key { credentials::refusal_status(service) } else { plain.status };
    let (own, body) = error::answer(service, &Plain { status, ..plain.clone() });
    let (content_type, text) = plain.body.clone().unwrap_or_else(|| ("application/json".to_owned(), body.to_string()));
    let mut headers = header("content-type", &content_type);
    headers.extend(own.into_iter().filter(|_| plain.body.is_none()));
    headers.extend(plain.headers.iter().cloned());
    Response { status, headers, body: text.into_bytes(), keep_alive: b"" }
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
