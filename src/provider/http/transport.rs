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
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that reads one request and answers with `answer`; gives its address and, at the end, the request.
    async fn server(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (address, served)
    }

    fn request(url: String) -> HttpRequest {
        HttpRequest { url, headers: vec![("x-api-key".to_owned(), "secret".to_owned())], body: b"{}".to_vec().into() }
    }

    fn direct() -> HttpTransport {
        HttpTransport::new(&ProxySettings::default()).unwrap()
    }

    async fn failure(transport: &HttpTransport, request: HttpRequest) -> TransportError {
        transport.send(request).await.map(|response| response.status).unwrap_err()
    }

    async fn body(response: &mut HttpResponse) -> Result<String, TransportError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.body.chunk().await? {
            bytes.extend(chunk);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    #[tokio::test]
    async fn a_request_is_posted_and_its_answer_read() {
        let (address, served) = server("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\ncontent-length: 2\r\n\r\nno").await;
        let mut response = direct().send(request(format!("http://{address}/v1/messages"))).await.unwrap();
        assert_eq!((response.status, response.header("retry-after")), (429, Some("7")));
        assert_eq!(body(&mut response).await, Ok("no".to_owned()));
        let sent = served.await.unwrap();
        assert!(sent.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("x-api-key: secret\r\n") && sent.ends_with("{}"), "{sent}");
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_one_body_of_a_length_that_is_announced() {
        let (address, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let body = RequestBody::new(["{\"a\":", "1", "}"].map(Bytes::from));
        direct().send(HttpRequest { body, ..request(format!("http://{address}/")) }).await.unwrap();
        let sent = served.await.unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-length: 7") && !head.contains("transfer-encoding"), "{sent}");
        assert_eq!(body, "{\"a\":1}");
    }

    /// A server of HTTP/2 that gives the first `refused` requests back and answers the next with its own length and body.
    async fn http2_server(refused: usize) -> (String, tokio::task::JoinHandle<(usize, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut asked = 0;
            let mut last = String::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                asked += 1;
                if asked <= refused {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                let length = request.headers()["content-length"].to_str().unwrap().to_owned();
                respond.send_response(http::Response::new(()), true).unwrap();
                tokio::spawn(async move { while connection.accept().await.is_some() {} });
                let mut body = request.into_body();
                let mut bytes = Vec::new();
                while let Some(piece) = body.data().await {
                    bytes.extend(piece.unwrap());
                }
                last = format!("{length} {}", String::from_utf8(bytes).unwrap());
                break;
            }
            (asked, last)
        });
        (address, served)
    }

    #[tokio::test]
    async fn over_http2_the_length_is_announced_and_a_request_given_back_is_sent_again() {
        for refused in [0, 2] {
            let (address, served) = http2_server(refused).await;
            let transport = direct();
            // What TLS agrees on elsewhere.
            let client = Client::builder().tls_certs_only([]).http2_prior_knowledge().no_proxy().build().unwrap();
            transport.clients.plain.set(Ok(client)).unwrap();
            let body = RequestBody::new(["{\"a\":", "1", "}"].map(Bytes::from));
            let sent = transport.send(HttpRequest { body, ..request(format!("http://{address}/")) }).await;
            assert_eq!(sent.map(|response| response.status), Ok(200));
            assert_eq!(served.await.unwrap(), (refused + 1, "7 {\"a\":1}".to_owned()));
        }
        let (address, _served) = http2_server(3).await;
        let transport = direct();
        let client = Client::builder().tls_certs_only([]).http2_prior_knowledge().no_proxy().build().unwrap();
        transport.clients.plain.set(Ok(client)).unwrap();
        let error = failure(&transport, request(format!("http://{address}/"))).await;
        assert_eq!(error.kind, TransportErrorKind::Connection);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_followed() {
        let answer = "HTTP/1.1 307 Over there\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let (address, _served) = server(answer).await;
        let response = direct().send(request(format!("http://{address}/"))).await.unwrap();
        assert_eq!(response.status, 307);
    }

    #[tokio::test]
    async fn a_body_shorter_than_announced_is_a_cut_connection() {
        let (address, _served) = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        let mut response = direct().send(request(format!("http://{address}/"))).await.unwrap();
        let error = body(&mut response).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Connection);
        let start = format!("the connection to {address} was cut in mid-answer: ");
        assert!(error.message.starts_with(&start), "{}", error.message);
    }

    #[tokio::test]
    async fn a_refused_connection_names_host_and_cause() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = failure(&direct(), request(format!("http://{address}/?key=secret"))).await;
        assert_eq!(error.kind, TransportErrorKind::Connection);
        assert!(error.message.starts_with(&format!("cannot connect to {address}: ")), "{}", error.message);
        assert!(error.message.contains("refused") && !error.message.contains("secret"), "{}", error.message);
    }

    #[tokio::test]
    async fn a_server_without_tls_is_no_secure_connection() {
        let (address, _served) = server("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let error = failure(&direct(), request(format!("https://{address}/"))).await;
        let message = format!("no secure connection to {address}: received corrupt message of type InvalidContentType");
        let expected = TransportError { kind: TransportErrorKind::Certificate, message };
        assert_eq!(error, expected);
    }

    #[tokio::test]
    async fn a_header_that_http_does_not_allow_is_named_without_its_value() {
        let headers = vec![("x-team".to_owned(), "owls\n".to_owned())];
        let error = failure(&direct(), HttpRequest { headers, ..request("http://127.0.0.1:1/".to_owned()) }).await;
        let message = "header \"x-team\" has a name or value that HTTP does not allow";
        assert_eq!(error, unusable(message.to_owned()));
    }

    #[tokio::test]
    async fn a_proxy_takes_every_request_but_those_to_this_machine() {
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        let (proxy, served) = server(answer).await;
        let explicit = HttpTransport::new(&ProxySettings::explicit(&format!("http://{proxy}"))).unwrap();
        explicit.send(request("http://owl.example:1/v1".to_owned())).await.unwrap();
        assert!(served.await.unwrap().starts_with("POST http://owl.example:1/v1 HTTP/1.1\r\n"));

        let (server_address, _served) = server(answer).await;
        let pairs = [("ALL_PROXY", "http://127.0.0.1:1")];
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let of_environment = HttpTransport::new(&ProxySettings::of_environment(&environment)).unwrap();
        assert_eq!(of_environment.send(request(format!("http://{server_address}/"))).await.unwrap().status, 204);
    }

    #[test]
    fn debug_shows_no_header_values() {
        let request = request("https://example.com/".to_owned());
        let expected = "HttpRequest { url: \"https://example.com/\", headers: [\"x-api-key\"], body: 2 bytes }";
        assert_eq!(format!("{request:?}"), expected);
    }
}
