//! As much of HTTP/1.1 as a server of one kind of answer needs: requests with a length or in chunks, on connections that
//! stay open.

use std::io::{BufRead, Read as _, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// The head of a request.
pub struct Request {
    /// When its first byte was read.
    pub at: Instant,
    pub path: String,
}

/// Reads a request and its body; none when the client has closed the connection.
pub fn read(reader: &mut impl BufRead, body: &mut Vec<u8>) -> Result<Option<Request>> {
    body.clear();
    if !matches!(reader.fill_buf(), Ok(bytes) if !bytes.is_empty()) {
        return Ok(None);
    }
    let at = Instant::now();
    let first = line(reader)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let header = line(reader)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().context("a length that is no number")?;
        }
        is_chunked |= header.starts_with("transfer-encoding:") && header.ends_with("chunked");
    }
    if is_chunked {
        loop {
            let size = usize::from_str_radix(line(reader)?.trim(), 16).context("a chunk without a length")?;
            take(reader, size, body)?;
            line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else {
        take(reader, length, body)?;
    }
    Ok(Some(Request { at, path }))
}

/// Appends this many bytes.
fn take(reader: &mut impl BufRead, count: usize, body: &mut Vec<u8>) -> Result<()> {
    let read = reader.take(count as u64).read_to_end(body)?;
    anyhow::ensure!(read == count, "the connection was closed inside a request");
    Ok(())
}

fn line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Sends one answer as a whole.
pub fn answer(stream: &mut impl Write, content_type: &str, body: &[u8]) -> Result<()> {
    let mut bytes = head(content_type, body.len()).into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes)?;
    Ok(stream.flush()?)
}

/// Sends one answer: at once, or frame by frame with a pause before each.
pub fn stream(stream: &mut impl Write, content_type: &str, frames: &[String], pause: Duration) -> Result<()> {
    if pause.is_zero() {
        return answer(stream, content_type, frames.concat().as_bytes());
    }
    stream.write_all(head(content_type, frames.iter().map(String::len).sum()).as_bytes())?;
    for frame in frames {
        thread::sleep(pause);
        stream.write_all(frame.as_bytes())?;
        stream.flush()?;
    }
    Ok(())
}

fn head(content_type: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n")
}
