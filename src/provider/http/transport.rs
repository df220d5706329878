//! [`Transport`] and [`HttpTransport`]: the only file of `provider` that opens connections.
//!
//! Called by `generate` and the sources of credentials. Connections, proxies and certificates are handled here; the
//! content of requests, the meaning of answers and time limits on answers are left to the callers. A replayed job has
//! another [`Transport`], which answers from its cassette.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Proxy, Url};
use tracing::debug;

use crate::environment::Environment;
use crate::future::BoxFuture;

use crate::provider::http::ca_certificates::ExtraRoots;
use crate::provider::http::error::{CONNECT_TIMEOUT, causes, is_untouched, send_error, unusable};
use crate::provider::http::fetch::{self, Fetch, FetchResponse, Method};
use crate::provider::http::request_body::RequestBody;
use crate::provider::{ProviderError, ProxySettings};

pub use crate::provider::http::error::{TransportError, TransportErrorKind};

/// The number of times that a request which a server gave back untouched is sent again at once. The HTTP client's own
/// number: it does so itself only for bodies in one piece.
const RESENDS: usize = 2;

/// Sends a request and returns the answer's head; the body follows piece by piece.
pub trait Transport: Send + Sync {
    /// Sends `request`. Dropping the future, or the body, closes the connection.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;

    /// Gets ready for requests to `url` beside other work; nothing is sent. A failure is that of the first request.
    fn prepare(&self, _url: &str) {}

    /// Carries out a small exchange. Fails by default, for transports without a network.
    fn fetch(&self, request: Fetch) -> BoxFuture<'_, Result<FetchResponse, TransportError>> {
        Box::pin(async move {
            let place = request.url.split('?').next().unwrap_or_default();
            Err(unusable(format!("{place} cannot be asked: there is no network here")))
        })
    }
}

/// A POST request. Of headers of one name the last counts. Header values may be secrets, so `Debug` shows names only.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: RequestBody,
}

/// An answer: its head, and its body to be read.
pub struct HttpResponse {
    pub status: u16,
    /// Names in lower case. Values that are not visible ASCII are left out.
    pub headers: Vec<(String, String)>,
    pub body: Box<dyn Body>,
}

/// The bytes of an answer as they arrive.
pub trait Body: Send {
    /// The next piece; `None` at the end.
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>>;
}

impl HttpResponse {
    /// The first value of header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpRequest")
            .field("url", &self.url)
            .field("headers", &names)
            .field("body", &self.body)
            .finish()
    }
}

/// Requests over HTTP/1.1 and HTTP/2 with TLS by rustls and the system's certificates.
pub struct HttpTransport {
    clients: Arc<Clients>,
}

/// The clients of a transport, each made when it is first needed.
struct Clients {
    proxies: Vec<Proxy>,
    /// A proxy may itself be reached by TLS, whatever the request's own scheme.
    has_proxy: bool,
    roots: ExtraRoots,
    /// For plain http: needs no certificates, which take milliseconds to load.
    plain: OnceLock<Result<Client, TransportError>>,
    secure: OnceLock<Result<Client, TransportError>>,
    /// For a machine's own metadata: no proxy, no certificates.
    direct: OnceLock<Result<Client, TransportError>>,
}

impl HttpTransport {
    /// Returns a transport without any connection yet.
    ///
    /// # Errors
    /// [`ProviderError::InvalidProxy`].
    pub fn new(proxy: &ProxySettings) -> Result<Self, ProviderError> {
        Self::with_roots(proxy, ExtraRoots::default())
    }

    fn with_roots(proxy: &ProxySettings, roots: ExtraRoots) -> Result<Self, ProviderError> {
        // Fails when the program around this library has installed a crypto provider already; that one is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let proxies = proxy.proxies_beyond_loopback().map_err(|_| ProviderError::InvalidProxy)?;
        let clients = Clients {
            has_proxy: !proxies.is_empty(),
            proxies,
            roots,
            plain: OnceLock::new(),
            secure: OnceLock::new(),
            direct: OnceLock::new(),
        };
        Ok(Self { clients: Arc::new(clients) })
    }

    /// Returns a transport configured by the usual variables: proxies, unless `proxy` is set for all requests, and
    /// certificates to trust besides the system's (`SSL_CERT_FILE`).
    ///
    /// # Errors
    /// As [`HttpTransport::new`].
    pub fn of_environment(proxy: Option<&str>, environment: &Environment) -> Result<Self, ProviderError> {
        let proxy = ProxySettings::settle(proxy, environment);
        Self::with_roots(&proxy, ExtraRoots::of_environment(environment))
    }

    /// The HTTP client for requests to `url`, for a library that sends its own.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn client(&self, url: &Url) -> Result<Client, TransportError> {
        self.clients.fetching_client(url).cloned()
    }
}

impl Clients {
    fn needs_certificates(&self, url: &Url) -> bool {
        url.scheme() != "http" || self.has_proxy
    }

    fn client(&self, url: &Url) -> Result<&Client, TransportError> {
        let (cell, kind) = if self.needs_certificates(url) {
            (&self.secure, ClientKind::Secure)
        } else {
            (&self.plain, ClientKind::Plain)
        };
        cell.get_or_init(|| self.build(kind)).as_ref().map_err(Clone::clone)
    }

    fn fetching_client(&self, url: &Url) -> Result<&Client, TransportError> {
        if url.scheme() == "http" && fetch::is_metadata(url) {
            return self.direct.get_or_init(|| self.build(ClientKind::Direct)).as_ref().map_err(Clone::clone);
        }
        self.client(url)
    }

    fn build(&self, kind: ClientKind) -> Result<Client, TransportError> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the key to an address of the server's choice.
            .redirect(reqwest::redirect::Policy::none())
            // Only the proxies handed in: the process environment is read by the command line alone.
            .no_proxy();
        if kind != ClientKind::Direct {
            for proxy in &self.proxies {
                builder = builder.proxy(proxy.clone());
            }
        }
        builder = match kind {
            ClientKind::Plain | ClientKind::Direct => builder.tls_certs_only([]),
            ClientKind::Secure => builder.tls_certs_merge(self.roots.load()?),
        };
        builder.build().map_err(|error| TransportError {
            kind: TransportErrorKind::Certificate,
            message: format!("cannot set up TLS: {}", causes(&error)),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientKind {
    /// Without TLS.
    Plain,
    Secure,
    /// Without TLS and proxies.
    Direct,
}

impl Transport for HttpTransport {
    fn prepare(&self, url: &str) {
        let Ok(url) = Url::parse(url) else { return };
        // A plain client is made faster than a thread is started.
        if self.clients.needs_certificates(&url) {
            let clients = Arc::clone(&self.clients);
            // Without the thread, the first request makes the client.
            let _ = std::thread::Builder::new().name("certificates".to_owned()).spawn(move || {
                let _ = clients.client(&url);
            });
        }
    }

    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            let url = Url::parse(&request.url).map_err(|error| unusable(format!("the address is no URL: {error}")))?;
            let host = host_of(&url);
            let headers = header_map(&request.headers)?;
            let client = self.clients.client(&url)?;
            let began = Instant::now();
            let post = || client.post(url.clone()).headers(headers.clone()).body(request.body.clone()).send();
            let mut sent = post().await;
            for _ in 0..RESENDS {
                match &sent {
                    Err(error) if is_untouched(error) => {
                        debug!("POST {host}: given back untouched, and sent again");
                        sent = post().await;
                    }
                    _ => break,
                }
            }
            let server = if self.clients.has_proxy { format!("{host} (a proxy is set)") } else { host.clone() };
            let response = sent.map_err(|error| send_error(&server, &error));
            log_answer("POST", &host, response.as_ref().map(reqwest::Response::status), began);
            let response = response?;
            Ok(HttpResponse {
                status: response.status().as_u16(),
                headers: visible_headers(&response),
                body: Box::new(HttpBody { response, host }),
            })
        })
    }

    fn fetch(&self, request: Fetch) -> BoxFuture<'_, Result<FetchResponse, TransportError>> {
        Box::pin(async move {
            let url = Url::parse(&request.url).map_err(|error| unusable(format!("the address is no URL: {error}")))?;
            let host = host_of(&url);
            let limit = request.limit;
            let began = Instant::now();
            let exchange = async {
                let client = self.clients.fetching_client(&url)?;
                let method = match request.method {
                    Method::Get => reqwest::Method::GET,
                    Method::Post => reqwest::Method::POST,
                    Method::Put => reqwest::Method::PUT,
                };
                let headers = header_map(&request.headers)?;
                let sent = client.request(method.clone(), url).headers(headers).body(request.body).send();
                let response = sent.await.map_err(|error| send_error(&host, &error));
                log_answer(method.as_str(), &host, response.as_ref().map(reqwest::Response::status), began);
                let response = response?;
                let (status, headers) = (response.status().as_u16(), visible_headers(&response));
                let mut body = HttpBody { response, host: host.clone() };
                Ok(FetchResponse { status, headers, body: whole(&mut body, &host).await? })
            };
            tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
                let message = format!("no answer from {host} within {limit:?}");
                Err(TransportError { kind: TransportErrorKind::Connection, message })
            })
        })
    }
}

/// Logs the end of a request: the head of the answer, or the reason for which there is none.
fn log_answer(method: &str, host: &str, status: Result<reqwest::StatusCode, &TransportError>, began: Instant) {
    let ms = began.elapsed().as_millis();
    match status {
        Ok(status) => debug!("{method} {host}: status {} after {ms} ms", status.as_u16()),
        Err(error) => debug!("{method} {host}: no answer after {ms} ms: {}", error.message),
    }
}

/// Names in lower case; values that are no visible ASCII are left out.
fn visible_headers(response: &reqwest::Response) -> Vec<(String, String)> {
    let headers = response.headers().iter();
    headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}

struct HttpBody {
    response: reqwest::Response,
    host: String,
}

impl Body for HttpBody {
    fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, TransportError>> {
        Box::pin(async move {
            match self.response.chunk().await {
                Ok(chunk) => Ok(chunk.map(Vec::from)),
                Err(error) => Err(TransportError {
                    kind: TransportErrorKind::Connection,
                    message: format!("the connection to {} was cut in mid-answer: {}", self.host, causes(&error)),
                }),
            }
        })
    }
}

/// The whole of a body, bounded.
async fn whole(body: &mut dyn Body, host: &str) -> Result<Vec<u8>, TransportError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        bytes.extend(chunk);
        if bytes.len() > fetch::ANSWER_LIMIT {
            let message = format!("the answer of {host} is longer than {} bytes", fetch::ANSWER_LIMIT);
            return Err(unusable(message));
        }
    }
    Ok(bytes)
}

fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, TransportError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let valid = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok());
        let Some((key, mut value)) = valid else {
            return Err(unusable(format!("header {name:?} has a name or value that HTTP does not allow")));
        };
        value.set_sensitive(true);
        map.insert(key, value);
    }
    Ok(map)
}

/// The host, with the port where the address names one: several local servers share a host.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests;
