//! As much HTTP/1.1 as a model's client needs: one request read, one response written, connections kept alive.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::answer::{Delivery, Ending};

/// Bytes of a request's head; far above any client's.
const MAX_HEAD: u64 = 64 * 1024;
/// Bytes of a request's body; far above any test's.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Between two keep-alive comments on a stalled stream.
const COMMENT_EVERY: Duration = Duration::from_millis(20);

/// A request before anyone has understood it.
#[derive(Debug)]
pub struct RawRequest {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawRequest {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A response with its body, before its delivery.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What such a stream is kept alive with, which is no data.
    pub keep_alive: &'static [u8],
}

/// Reads one request; `None` when the client closed the connection.
pub fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<RawRequest>> {
    let mut head = reader.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::other(format!("no request line: {line:?}")));
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = RawRequest { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
    if length > MAX_BODY {
        return Err(io::Error::other("a request body beyond all reason"));
    }
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// Writes a response as its delivery has it. `false`: the connection is at its end.
pub fn write(stream: &mut TcpStream, response: &Response, delivery: &Delivery) -> io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    for (name, value) in &response.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("transfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let length = response.body.len();
    let end = delivery.end().unwrap_or(length).min(length);
    let mut sent = 0;
    if let Some((at, gate)) = &delivery.midway {
        sent = (*at).min(end);
        write_pieces(stream, &response.body[..sent], delivery)?;
        if !gate.pass() {
            return Ok(false);
        }
    }
    write_pieces(stream, &response.body[sent..end], delivery)?;
    match delivery.ending {
        Ending::Complete => {
            stream.write_all(b"0\r\n\r\n")?;
            Ok(true)
        }
        Ending::Cut { .. } => Ok(false),
        Ending::Stalled { comments, .. } => {
            stall(stream, if comments { response.keep_alive } else { b"" });
            Ok(false)
        }
    }
}

/// Keeps an open connection quiet until the other side closes it, but for signs of life where there are any.
pub fn stall(stream: &mut TcpStream, keep_alive: &[u8]) {
    let pause = (!keep_alive.is_empty()).then_some(COMMENT_EVERY);
    if stream.set_read_timeout(pause).is_err() {
        return;
    }
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if write_pieces(stream, keep_alive, &Delivery::default()).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn write_pieces(stream: &mut TcpStream, bytes: &[u8], delivery: &Delivery) -> io::Result<()> {
    for piece in bytes.chunks(delivery.piece.unwrap_or(usize::MAX)) {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk)?;
        stream.flush()?;
        if let Some(pace) = delivery.pace {
            thread::sleep(pace);
        }
    }
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}
