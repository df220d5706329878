//! The proxy's HTTP: `CONNECT`, and plain requests with a whole URL (RFC 9110, 9112). The token is the user's name of the
//! basic credentials. The proxy calls it for one request of a connection, and carries the bytes afterwards.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::uri::{Authority, Uri};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::{in_time, is_token};
use super::dial::{Dialler, PlainConnection, Unreached};
use crate::domain_list::NetworkTarget;

/// Most bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;

/// Most fields of one.
const MAX_FIELDS: usize = 128;

/// Fields that are about this connection alone, besides those that `Connection` names.
const OF_CONNECTION: [&str; 7] =
    ["connection", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"];

const CONTENT_LENGTH: &str = "content-length";
const TRANSFER_ENCODING: &str = "transfer-encoding";

/// The head of a request, and what came behind it.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    method: String,
    /// As it came: an authority, a URL, or a path.
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    rest: Vec<u8>,
}

impl Head {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    fn has_token(&self, token: &str) -> bool {
        let name = |value: &[u8]| {
            let (scheme, credentials) = value.split_at_checked(6)?;
            let decoded = scheme.eq_ignore_ascii_case(b"basic ").then(|| STANDARD.decode(credentials.trim_ascii()))?;
            decoded.ok()?.split(|byte| *byte == b':').next().map(<[u8]>::to_vec)
        };
        self.values("proxy-authorization").filter_map(name).any(|name| is_token(&name, token))
    }

    /// The length of the body, for a proxy that would take what comes behind it for another request.
    fn body_length(&self) -> Result<u64, Refusal> {
        if self.values(TRANSFER_ENCODING).next().is_some() {
            return Err(Refusal::new(411, "on the way through another proxy a request needs a Content-Length"));
        }
        let mut lengths = self.values(CONTENT_LENGTH);
        let digits = |value: &[u8]| {
            value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()?.parse().ok())?
        };
        match (lengths.next(), lengths.next()) {
            (None, _) => Ok(0),
            (Some(length), None) => digits(length).ok_or_else(|| Refusal::new(400, "its Content-Length is no number")),
            (Some(_), Some(_)) => Err(Refusal::new(400, "a request has one Content-Length")),
        }
    }

    /// The same request for the server of `host`, or with a whole URL for the next proxy.
    fn forwarded(&self, uri: &Uri, host: &Authority, next: NextHop<'_>) -> Vec<u8> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let target = if matches!(next, NextHop::Proxy(_)) { format!("http://{host}{path}") } else { path.to_owned() };
        let mut head =
            format!("{} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method).into_bytes();
        if let NextHop::Proxy(Some(credentials)) = next {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(credentials.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let named: Vec<String> = self
            .values("connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
            // Where the body ends is nothing that a client takes back.
            .filter(|name| name != CONTENT_LENGTH && name != TRANSFER_ENCODING)
            .collect();
        for (name, value) in &self.fields {
            let lower = name.to_ascii_lowercase();
            if OF_CONNECTION.contains(&lower.as_str()) || named.contains(&lower) {
                continue;
            }
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(&self.rest);
        head
    }
}

/// The receiver of a request that goes on.
#[derive(Debug, Clone, Copy)]
enum NextHop<'a> {
    /// Takes a path.
    Server,
    /// Takes a whole URL, with these credentials.
    Proxy(Option<&'a HeaderValue>),
}

/// An answer of this proxy's own.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: u16,
    text: String,
}

impl Refusal {
    fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl From<Unreached> for Refusal {
    fn from(unreached: Unreached) -> Self {
        match unreached {
            Unreached::Refused(reason) => Self::new(403, reason),
            Unreached::Failed(why) => Self::new(502, why),
        }
    }
}

/// A connection whose bytes are to be carried.
#[derive(Debug)]
pub(super) struct Opened {
    pub server: TcpStream,
    /// Most bytes that still go there; none where all do.
    pub most: Option<u64>,
}

/// Serves a client's request. Returns the connection whose bytes are to be carried, none where it was refused.
///
/// # Errors
/// The client is gone or too slow.
pub(super) async fn open(client: &mut TcpStream, token: &str, dialler: &Dialler) -> io::Result<Option<Opened>> {
    let opened = match in_time(read_head(client)).await? {
        Ok(head) => answer(client, head, token, dialler).await?,
        Err(refusal) => Err(refusal),
    };
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(refusal) => refuse(client, &refusal).await.map(|()| None),
    }
}

async fn answer(
    client: &mut TcpStream,
    mut head: Head,
    token: &str,
    dialler: &Dialler,
) -> io::Result<Result<Opened, Refusal>> {
    if !head.has_token(token) {
        return Ok(Err(Refusal::new(407, "this proxy is for the programs that were started with its address")));
    }
    if head.method == "CONNECT" {
        let Some(target) = authority(&head.target, None) else {
            return Ok(Err(Refusal::new(400, "CONNECT needs a host and a port")));
        };
        let mut server = match dialler.connect(&target).await {
            Ok(server) => server,
            Err(unreached) => return Ok(Err(unreached.into())),
        };
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        server.write_all(&head.rest).await?;
        return Ok(Ok(Opened { server, most: None }));
    }
    let uri = head.target.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http"));
    let Some((uri, host)) = uri.and_then(|uri| uri.authority().cloned().map(|host| (uri, host))) else {
        return Ok(Err(Refusal::new(400, "this is a proxy: it takes CONNECT, or an http:// URL")));
    };
    let Some(target) = authority(host.as_str(), Some(80)) else {
        return Ok(Err(Refusal::new(400, "the URL has no host")));
    };
    let connected = match dialler.connect_plain(&target).await {
        Ok(connected) => connected,
        Err(unreached) => return Ok(Err(unreached.into())),
    };
    let (mut server, forwarded, most) = match connected {
        PlainConnection::Server(server) => (server, head.forwarded(&uri, &host, NextHop::Server), None),
        // That proxy would go wherever a second request asks it to: nothing follows the first.
        PlainConnection::Proxy(server, credentials) => {
            let length = match head.body_length() {
                Ok(length) => length,
                Err(refusal) => return Ok(Err(refusal)),
            };
            head.rest.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            let most = length.saturating_sub(head.rest.len() as u64);
            (server, head.forwarded(&uri, &host, NextHop::Proxy(credentials.as_ref())), Some(most))
        }
    };
    server.write_all(&forwarded).await?;
    Ok(Ok(Opened { server, most }))
}

/// The target of an authority, which is without a user.
fn authority(text: &str, default_port: Option<u16>) -> Option<NetworkTarget> {
    let authority: Authority = text.parse().ok()?;
    if text.contains('@') {
        return None;
    }
    let port = match authority.port() {
        Some(port) => port.as_str().parse().ok()?,
        None if authority.as_str().ends_with(':') => return None,
        None => default_port?,
    };
    (port != 0).then(|| NetworkTarget::new(authority.host(), port))?
}

/// Reads a request's head. The inner error is the answer to one that is none.
async fn read_head<S: AsyncRead + Unpin>(client: &mut S) -> io::Result<Result<Head, Refusal>> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes) {
            Ok(Some(head)) => return Ok(Ok(head)),
            Ok(None) if bytes.len() >= MAX_HEAD => {
                return Ok(Err(Refusal::new(431, format!("a request's head has at most {MAX_HEAD} bytes"))));
            }
            Ok(None) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        let space = MAX_HEAD - bytes.len();
        if (&mut *client).take(space as u64).read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The head, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, format!("a request has at most {MAX_FIELDS} fields")));
        }
        Err(_) => return Err(Refusal::new(400, "this is no HTTP/1.1 request")),
    };
    Ok(Some(Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        fields: request.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect(),
        rest: bytes.get(length..).unwrap_or_default().to_vec(),
    }))
}

async fn refuse(client: &mut TcpStream, refusal: &Refusal) -> io::Result<()> {
    let Refusal { status, text } = refusal;
    let reason =
        http::StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
    let challenge = if *status == 407 { "Proxy-Authenticate: Basic realm=\"perstack\"\r\n" } else { "" };
    let length = text.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n{challenge}Connection: close\r\n\r\n{text}\n"
    );
    client.write_all(answer.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = "GET http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\nbody";
        for length in 0..text.len() - "body".len() {
            assert_eq!(parse(&text.as_bytes()[..length]), Ok(None), "{length}");
        }
        let fields = vec![("Host".to_owned(), b"a".to_vec())];
        let (method, target) = ("GET".to_owned(), "http://a.example/".to_owned());
        assert_eq!(head(text), Head { method, target, fields, rest: b"body".to_vec() });
        for (text, status) in [
            ("\x16\x03\x01\x02".to_owned(), 400),
            ("GET / HTTP/2.0\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nno field\r\n\r\n".to_owned(), 400),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1)), 431),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().status, status, "{text}");
        }
    }

    #[tokio::test]
    async fn an_endless_head_is_refused() {
        let text = format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(2 * MAX_HEAD));
        assert_eq!(read_head(&mut text.as_bytes()).await.unwrap().unwrap_err().status, 431);
        assert!(read_head(&mut &b"GET / HT"[..]).await.is_err());
    }

    #[test]
    fn the_token_is_the_users_name() {
        let with = |value: &str| head(&format!("GET / HTTP/1.1\r\nproxy-AUTHORIZATION: {value}\r\n\r\n"));
        let encoded = |text: &str| STANDARD.encode(text);
        for value in [
            format!("Basic {}", encoded("owl:x")),
            format!("basic {}", encoded("owl")),
            format!("Basic  {}", encoded("owl:a:b")),
        ] {
            assert!(with(&value).has_token("owl"), "{value}");
        }
        for value in [
            format!("Basic {}", encoded("ow:x")),
            format!("Bearer {}", encoded("owl:x")),
            "Basic !".to_owned(),
            "B".to_owned(),
            String::new(),
        ] {
            assert!(!with(&value).has_token("owl"), "{value}");
        }
        assert!(!head("GET / HTTP/1.1\r\n\r\n").has_token("owl"));
    }

    #[test]
    fn a_plain_request_goes_on_without_what_is_the_proxys() {
        let request = head(
            "POST http://a.example:81/p?q=1 HTTP/1.1\r\nHost: evil.example\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
             Proxy-Authorization: Basic b3ds\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody",
        );
        let uri: Uri = request.target.parse().unwrap();
        let host = uri.authority().unwrap().clone();
        let text = |next: NextHop<'_>| String::from_utf8(request.forwarded(&uri, &host, next)).unwrap();
        let rest = "Host: a.example:81\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(text(NextHop::Server), format!("POST /p?q=1 HTTP/1.1\r\n{rest}"));
        assert_eq!(text(NextHop::Proxy(None)), format!("POST http://a.example:81/p?q=1 HTTP/1.1\r\n{rest}"));
        let credentials = HeaderValue::from_static("Basic x");
        assert!(text(NextHop::Proxy(Some(&credentials))).contains("\r\nProxy-Authorization: Basic x\r\n"));
    }

    #[test]
    fn behind_a_body_nothing_goes_to_another_proxy() {
        let length = |fields: &str| {
            head(&format!("POST http://a/ HTTP/1.1\r\n{fields}\r\n")).body_length().map_err(|refusal| refusal.status)
        };
        for (fields, expected) in [
            ("", Ok(0)),
            ("Content-Length: 12\r\n", Ok(12)),
            ("Content-Length: +1\r\n", Err(400)),
            ("Content-Length: 1, 1\r\n", Err(400)),
            ("Content-Length:\r\n", Err(400)),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", Err(400)),
            ("Transfer-Encoding: chunked\r\n", Err(411)),
        ] {
            assert_eq!(length(fields), expected, "{fields}");
        }
        let request = head("POST http://a/ HTTP/1.1\r\nConnection: content-length\r\nContent-Length: 4\r\n\r\nbody");
        let uri: Uri = request.target.parse().unwrap();
        let forwarded = request.forwarded(&uri, uri.authority().unwrap(), NextHop::Proxy(None));
        assert!(String::from_utf8(forwarded).unwrap().contains("\r\nContent-Length: 4\r\n"));
    }

    #[test]
    fn authorities_are_hosts_with_ports() {
        for (text, default, expected) in [
            ("a.example:443", None, Some(("a.example", 443))),
            ("A.example", Some(80), Some(("a.example", 80))),
            ("[::1]:8080", None, Some(("[::1]", 8080))),
            ("127.1:8080", None, Some(("127.0.0.1", 8080))),
            ("a.example", None, None),
            ("a.example:", Some(80), None),
            ("a.example:0", None, None),
            ("a.example:65536", None, None),
            ("user@a.example:443", None, None),
            ("a b:443", None, None),
            ("/path", Some(80), None),
        ] {
            let target = authority(text, default);
            let target = target.as_ref().map(|target| (target.host(), target.port));
            assert_eq!(target, expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }
}
