//! As much HTTP/1.1 as the rough servers need: a thread per connection, requests read whole.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

pub struct Request {
    pub method: String,
    /// The path with its query.
    pub target: String,
    pub body: Vec<u8>,
}

/// Serves every connection at a free port by `converse`, after telling the port.
pub fn listen(path: &str, converse: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    crate::announce(&format!("http://{}{path}", listener.local_addr().expect("an address")));
    for stream in listener.incoming().map_while(Result::ok) {
        let converse = converse.clone();
        // A client that goes away in mid-response is no failure.
        thread::spawn(move || converse(stream));
    }
}

/// Reads one request; `None` when the client closed the connection.
pub fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, target, body }))
}

/// Writes a response of this status line and these header lines, without a body.
pub fn write(stream: &mut TcpStream, status: &str, headers: &str) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n")
}
