//! HTTP servers that are no MCP servers: they redirect, answer with a status, or say nothing.

use std::io::{self, BufReader};
use std::net::TcpStream;

use crate::plain_http;

#[derive(Clone)]
pub enum Refusal {
    /// To this URL, keeping method and body.
    Redirect(String),
    Status(u16),
    /// Requests are read, and never answered.
    Silence,
}

pub fn serve(refusal: &Refusal) {
    let refusal = refusal.clone();
    plain_http::listen("/mcp", move |stream| converse(stream, &refusal));
}

fn converse(mut stream: TcpStream, refusal: &Refusal) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while plain_http::read(&mut reader)?.is_some() {
        match refusal {
            Refusal::Redirect(url) => {
                plain_http::write(&mut stream, "307 Temporary Redirect", &format!("location: {url}\r\n"))?;
            }
            Refusal::Status(status) => plain_http::write(&mut stream, &format!("{status} As Told"), "")?,
            Refusal::Silence => {}
        }
    }
    Ok(())
}
