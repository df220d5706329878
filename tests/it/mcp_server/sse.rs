//! The rough server over the older transport: messages come by POST, answers go out on one event stream
//! (<https://modelcontextprotocol.io/specification/2024-11-05/basic/transports>).

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::fault::Faults;
use crate::plain_http::{self, Request};
use crate::rough::{self, Rough};

/// A client's event stream and its conversation. Locked apart, so that a slow call holds nobody else up.
#[derive(Clone)]
struct Session {
    stream: Arc<Mutex<TcpStream>>,
    rough: Arc<Mutex<Rough>>,
}

#[derive(Clone)]
struct Sessions {
    faults: Faults,
    open: Arc<Mutex<HashMap<String, Session>>>,
}

pub fn serve(faults: &Faults) {
    rough::begin(faults);
    let sessions = Sessions { faults: faults.clone(), open: Arc::default() };
    plain_http::listen("/sse", move |stream| sessions.converse(stream));
}

impl Sessions {
    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = plain_http::read(&mut reader)? {
            match (request.method.as_str(), request.target.split_once("?session=")) {
                ("GET", None) if request.target == "/sse" => return self.open(stream, &mut reader),
                ("POST", Some(("/messages", session))) => self.post(&mut stream, session, &request)?,
                // A client of the newer transport tries a POST first, and is told that there is none.
                ("POST" | "DELETE", None) if request.target == "/sse" => {
                    plain_http::write(&mut stream, "405 Method Not Allowed", "allow: GET\r\n")?;
                }
                _ => plain_http::write(&mut stream, "404 Not Found", "")?,
            }
        }
        Ok(())
    }

    /// Opens an event stream, and holds it open until the client closes it.
    fn open(&self, mut stream: TcpStream, reader: &mut BufReader<TcpStream>) -> io::Result<()> {
        let mut open = self.open.lock().unwrap();
        let name = format!("owl-{}", open.len() + 1);
        let address = self.faults.endpoint.clone().unwrap_or_else(|| format!("/messages?session={name}"));
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\r\n\
             : welcome\n\nevent: endpoint\r\ndata: {address}\r\n\r\n"
        )?;
        let session = Session {
            stream: Arc::new(Mutex::new(stream)),
            rough: Arc::new(Mutex::new(Rough::new(self.faults.clone()))),
        };
        open.insert(name, session);
        drop(open);
        while plain_http::read(reader)?.is_some() {}
        Ok(())
    }

    /// Accepts a message, then answers it on the session's event stream.
    fn post(&self, stream: &mut TcpStream, session: &str, request: &Request) -> io::Result<()> {
        let Some(session) = self.open.lock().unwrap().get(session).cloned() else {
            return plain_http::write(stream, "404 Not Found", "");
        };
        plain_http::write(stream, "202 Accepted", "")?;
        let message: Value = serde_json::from_slice(&request.body).expect("clients speak JSON");
        let mut say = |line: &str| {
            let mut stream = session.stream.lock().unwrap();
            // A message may be written over several lines of data; every JSON text here is one.
            let _ = write!(stream, "event: message\ndata: {line}\n\n").and_then(|()| stream.flush());
        };
        session.rough.lock().unwrap().take(&message, &mut say);
        Ok(())
    }
}
