//! Tests of [`HttpTransport`], against servers of their own.

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
