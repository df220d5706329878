//! HTTP servers that are no MCP servers: they redirect, answer with a status, or say nothing.

use std::io::{self, BufReader};
use std::net::TcpStream;

use crate::plain_http;

#[derive(Clone)]
pub enum ReservationRefusal {
    /// To this URL, keeping method and body.
    Redirect(String),
    Status(u16),
    /// Requests are read, and never answered.
    Silence,
}

pub fn serve(refusal: &ReservationRefusal) {
    let refusal = refusal.clone();
    plain_http::listen("/mcp", move |stream| converse(stream, &refusal));
}

fn converse(mut stream: TcpStream, refusal: &ReservationRefusal) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while plain_http::read(&mut reader)?.is_some() {
        match refusal {
            ReservationRefusal::Redirect(url) => {
                plain_http::write(&mut stream, "307 Temporary Redirect", &format!("location: {url}\r\n"))?;
            }
            ReservationRefusal::Status(status) => plain_http::write(&mut stream, &format!("{status} As Told"), "")?,
            ReservationRefusal::Silence => {}
        }
    }
    Ok(())
}
