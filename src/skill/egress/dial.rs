//! [`Dialler`]: judges a target by the list, looks its name up once, and connects to an address that was judged, or
//! through the user's own proxy. The proxy's protocols call it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service as _;

use super::decisions::Decisions;
use crate::domain_list::{DomainList, NetworkTarget};
use crate::proxy::{InvalidProxy, ProxySettings};

/// For a connection to one address, or through a proxy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For looking up a name that this machine connects to itself.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// For looking up a name that a proxy looks up as well: behind one there may be no name server that answers.
const LOOK_UP_BEHIND_PROXY: Duration = Duration::from_secs(5);

/// Most bytes of the head of a proxy's answer.
const MAX_ANSWER: usize = 16 << 10;

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects to what a list allows.
#[derive(Debug)]
pub(super) struct Dialler {
    pub list: DomainList,
    proxies: Matcher,
    pub decisions: Arc<Decisions>,
}

/// The reason why nothing was connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unreached {
    /// It may not be.
    Refused(String),
    /// It cannot be at present.
    Failed(String),
}

/// The connection for a plain HTTP request.
#[derive(Debug)]
pub(super) enum PlainConnection {
    /// To the server itself.
    Server(TcpStream),
    /// To the user's own proxy, which takes whole URLs, with these credentials.
    Proxy(TcpStream, Option<HeaderValue>),
}

impl Dialler {
    /// # Errors
    /// A proxy's address that cannot be used.
    pub(super) fn new(
        list: DomainList,
        proxies: &ProxySettings,
        decisions: Arc<Decisions>,
    ) -> Result<Self, InvalidProxy> {
        Ok(Self { list, proxies: proxies.matcher()?, decisions })
    }

    /// A connection to `target` for any protocol.
    ///
    /// # Errors
    /// It is refused, or cannot be reached.
    pub(super) async fn connect(&self, target: &NetworkTarget) -> Result<TcpStream, Unreached> {
        match self.way(target, "https").await? {
            Way::Direct(addresses) => direct(target, &addresses).await,
            Way::Through(proxy) => through(&proxy, target).await,
        }
    }

    /// A connection for one plain HTTP request to `target`.
    ///
    /// # Errors
    /// As [`Dialler::connect`].
    pub(super) async fn connect_plain(&self, target: &NetworkTarget) -> Result<PlainConnection, Unreached> {
        match self.way(target, "http").await? {
            Way::Direct(addresses) => Ok(PlainConnection::Server(direct(target, &addresses).await?)),
            Way::Through(proxy) if proxy.uri().scheme_str() == Some("http") => {
                let connected = timeout(CONNECT_TIMEOUT, to_proxy(&proxy)).await;
                let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let stream = stream.map_err(|error| failed(target, &format!("the proxy on the way: {error}")))?;
                Ok(PlainConnection::Proxy(stream, proxy.basic_auth().cloned()))
            }
            Way::Through(proxy) => Ok(PlainConnection::Server(through(&proxy, target).await?)),
        }
    }

    /// Judges the target, and records the decision.
    async fn way(&self, target: &NetworkTarget, scheme: &str) -> Result<Way, Unreached> {
        if !self.list.has(target) {
            return Err(Unreached::Refused(self.decisions.refuse_unlisted(target)));
        }
        let uri: Uri = format!("{scheme}://{target}").parse().map_err(|_| failed(target, "it is no address"))?;
        let proxy = self.proxies.intercept(&uri);
        let limit = if proxy.is_some() { LOOK_UP_BEHIND_PROXY } else { LOOK_UP_TIMEOUT };
        let found = match target.address() {
            Some(address) => Ok(vec![SocketAddr::new(address, target.port)]),
            None => look_up(target, limit).await,
        };
        let found = match (found, proxy) {
            (Ok(found), Some(proxy)) => {
                // Which of them the proxy would take nobody knows.
                if found.iter().all(|address| self.list.admits(target, address.ip())) {
                    self.decisions.allow(target, self.list.entry_for(target));
                    return Ok(Way::Through(Box::new(proxy)));
                }
                Vec::new()
            }
            // A name that only the proxy knows.
            (Err(_), Some(proxy)) => {
                self.decisions.allow(target, self.list.entry_for(target));
                return Ok(Way::Through(Box::new(proxy)));
            }
            (Ok(found), None) => found,
            (Err(error), None) => return Err(failed(target, &error.to_string())),
        };
        if self.list.is_open() {
            // A list needs these besides the name.
            let is_meant = |ip| DomainList::implies(target, ip) || target.address() == Some(ip);
            let others = found.iter().filter(|address| !is_meant(address.ip()));
            others
                .for_each(|address| self.decisions.allow(&NetworkTarget::of_address(address.ip(), target.port), None));
        }
        let mut admitted = found;
        admitted.retain(|address| self.list.admits(target, address.ip()));
        if admitted.is_empty() {
            let skill = &self.decisions.skill;
            let reason = format!(
                "{target} leads to private or local addresses, which have to be in allowedDomains of skill {skill} themselves"
            );
            return Err(Unreached::Refused(self.decisions.refuse(target, reason)));
        }
        self.decisions.allow(target, self.list.entry_for(target));
        admitted.truncate(MAX_ADDRESSES);
        Ok(Way::Direct(admitted))
    }
}

enum Way {
    /// To one of these addresses, which were judged.
    Direct(Vec<SocketAddr>),
    Through(Box<Intercept>),
}

fn failed(target: &NetworkTarget, why: &str) -> Unreached {
    Unreached::Failed(format!("{target} cannot be reached: {why}"))
}

async fn look_up(target: &NetworkTarget, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    let host = target.host();
    let found = timeout(limit, tokio::net::lookup_host((host.as_str(), target.port))).await;
    let found: Vec<_> = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?.collect();
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

async fn direct(target: &NetworkTarget, addresses: &[SocketAddr]) -> Result<TcpStream, Unreached> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed(target, &last.to_string()))
}

/// A tunnel through the user's own proxy.
async fn through(proxy: &Intercept, target: &NetworkTarget) -> Result<TcpStream, Unreached> {
    let connected = async {
        match proxy.uri().scheme_str() {
            Some("http") => tunnel(proxy, target).await,
            Some("socks5" | "socks5h") => by_socks(proxy, target).await,
            _ => Err(io::Error::other("programs with allowedDomains go on by http:// and socks5:// alone")),
        }
    };
    let connected = timeout(CONNECT_TIMEOUT, connected).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|error| failed(target, &format!("the proxy on the way: {error}")))
}

async fn to_proxy(proxy: &Intercept) -> io::Result<TcpStream> {
    let host = proxy.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    TcpStream::connect((host, proxy.uri().port_u16().unwrap_or(80))).await
}

async fn tunnel(proxy: &Intercept, target: &NetworkTarget) -> io::Result<TcpStream> {
    let mut stream = to_proxy(proxy).await?;
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(credentials) = proxy.basic_auth() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(credentials.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    let mut head = Vec::new();
    // Byte by byte: what comes behind the head is the server's own.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_ANSWER {
            return Err(io::Error::other("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    if status.is_some_and(|status| status.starts_with('2')) {
        Ok(stream)
    } else {
        Err(io::Error::other(format!("it answers {line:?}")))
    }
}

async fn by_socks(proxy: &Intercept, target: &NetworkTarget) -> io::Result<TcpStream> {
    let destination: Uri = format!("https://{target}").parse().map_err(io::Error::other)?;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let socks = SocksV5::new(proxy.uri().clone(), connector);
    let mut socks = match proxy.raw_auth() {
        Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
        None => socks,
    };
    socks.call(destination).await.map(TokioIo::into_inner).map_err(io::Error::other)
}
