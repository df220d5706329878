//! The address the browser returns to: a listener on this machine that takes one answer, and the reading of it.
//!
//! Anybody on this machine may connect, and a browser may be sent here by any page: only the address that carries the
//! secret of this login counts.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The path that the browser is sent to.
const PATH: &str = "/callback";

/// Most bytes of a request's head, and of an address: what common servers take.
const MAX_HEAD: usize = 16 << 10;

/// How long a visitor may take; browsers open connections that they do not use.
const VISIT: Duration = Duration::from_secs(10);

/// Most visitors at one time.
const MAX_VISITS: usize = 16;

/// How long to pause when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(200);

/// The code of a login that the person agreed to, to be exchanged for tokens.
pub struct AuthorizationCode {
    pub(super) code: String,
    pub(super) state: String,
    pub(super) issuer: Option<String>,
}

/// The outcome that the browser brought back.
pub enum CallbackOutcome {
    /// The person has agreed.
    Agreed(AuthorizationCode),
    /// The authorization server refused, for this reason.
    Refused(String),
}

/// A listener on this machine alone.
pub(super) struct Callback {
    listener: TcpListener,
    url: String,
}

impl Callback {
    /// Listens at `port`; 0 for any that is free.
    ///
    /// # Errors
    /// The port cannot be had.
    pub(super) async fn listen(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let url = format!("http://{}{PATH}", listener.local_addr()?);
        Ok(Self { listener, url })
    }

    /// The address that the browser is sent back to.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until the browser comes with the answer for `state`.
    pub(super) async fn returned(&self, state: &str) -> CallbackOutcome {
        let mut visits = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if visits.len() < MAX_VISITS => match accepted {
                    Ok((stream, _)) => {
                        let (base, state) = (self.url.clone(), state.to_owned());
                        let visit = async move { tokio::time::timeout(VISIT, visit(stream, &base, &state)).await };
                        visits.spawn(visit);
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                Some(visited) = visits.join_next(), if !visits.is_empty() => {
                    if let Ok(Ok(Ok(Some(returned)))) = visited {
                        return returned;
                    }
                }
            }
        }
    }
}

/// Reads an address that the browser was sent to.
///
/// # Errors
/// Why it is no answer to this login.
pub(super) fn read(address: &str, state: &str) -> Result<CallbackOutcome, &'static str> {
    if address.len() > MAX_HEAD {
        return Err("it is too long for an address");
    }
    let url = Url::parse(address.trim()).map_err(|_| "it is no address: copy all of the browser's address line")?;
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    let Some(theirs) = value("state") else {
        return Err("it does not end with an answer: log in first, then copy the address that the browser ends at");
    };
    if theirs != state {
        return Err("it answers another login");
    }
    match (value("error"), value("code")) {
        (Some(error), _) => {
            let more = value("error_description").map(|text| format!(": {text}")).unwrap_or_default();
            Ok(CallbackOutcome::Refused(format!("{error}{more}")))
        }
        (None, Some(code)) => {
            Ok(CallbackOutcome::Agreed(AuthorizationCode { code, state: theirs, issuer: value("iss") }))
        }
        (None, None) => Err("it holds no code"),
    }
}

/// Reads one request and answers it; what came back, if it was that.
async fn visit(mut stream: TcpStream, base: &str, state: &str) -> io::Result<Option<CallbackOutcome>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await?;
        if read == 0 || head.len() + read > MAX_HEAD {
            return Ok(None);
        }
        head.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let target = words.next().filter(|method| *method == "GET").and_then(|_| words.next()).unwrap_or_default();
    let is_ours = target.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'));
    let (status, text, returned) = if is_ours {
        let whole = format!("{}{target}", base.trim_end_matches(PATH));
        match read(&whole, state) {
            Ok(CallbackOutcome::Refused(why)) => {
                ("200 OK", "The login was refused; the terminal shows the reason.", Some(CallbackOutcome::Refused(why)))
            }
            Ok(agreed) => ("200 OK", "This window may be closed; go on in the terminal.", Some(agreed)),
            Err(why) => ("400 Bad Request", why, None),
        }
    } else {
        ("404 Not Found", "Nothing is here.", None)
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
    // A browser that does not wait for the text has delivered its answer all the same.
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
    Ok(returned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_that_answers_this_login_counts() {
        let read = |query: &str| match read(&format!("http://127.0.0.1:9/callback{query}"), "s-1") {
            Ok(CallbackOutcome::Agreed(answer)) => format!("{} {:?}", answer.code, answer.issuer),
            Ok(CallbackOutcome::Refused(why)) => format!("refused: {why}"),
            Err(why) => why.to_owned(),
        };
        assert_eq!(read("?code=c%2B1&state=s-1&iss=https%3A%2F%2Fas"), "c+1 Some(\"https://as\")");
        assert_eq!(read("?error=access_denied&error_description=not+you&state=s-1"), "refused: access_denied: not you");
        assert_eq!(read("?code=c&state=s-2"), "it answers another login");
        assert_eq!(read("?error=access_denied&state=s-2"), "it answers another login");
        assert_eq!(read("?state=s-1"), "it holds no code");
        assert!(read("?code=c").starts_with("it does not end with an answer"));
    }

    #[tokio::test]
    async fn strangers_are_turned_away_and_the_browser_is_answered() {
        let callback = Callback::listen(0).await.unwrap();
        let url = callback.url().to_owned();
        let waiting = tokio::spawn(async move { callback.returned("s-1").await });
        let address = url.trim_start_matches("http://").trim_end_matches(PATH).to_owned();
        // A connection that is never used.
        let _idle = TcpStream::connect(&address).await.unwrap();
        let ask = async |line: &str| {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer.lines().next().unwrap().to_owned()
        };
        assert_eq!(ask("GET /favicon.ico").await, "HTTP/1.1 404 Not Found");
        assert_eq!(ask("POST /callback?code=c&state=s-1").await, "HTTP/1.1 404 Not Found");
        assert_eq!(ask("GET /callback?code=c&state=forged").await, "HTTP/1.1 400 Bad Request");
        assert_eq!(ask("GET /callback?code=c&state=s-1").await, "HTTP/1.1 200 OK");
        assert!(matches!(waiting.await.unwrap(), CallbackOutcome::Agreed(answer) if answer.code == "c"));
    }
}
