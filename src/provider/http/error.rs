//! [`TransportError`]: the reason why no answer, or no more of it, arrived, in words for the user.
//!
//! Made by the transport and by the loading of certificates. Whether a retry can help is left to `provider/failure.rs`.

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time for name look-up, TCP, proxy and TLS together. Enough on a bad line, and a dead address is reported soon.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why no answer, or no more of it, arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    pub kind: TransportErrorKind,
    /// Names the host and the cause; never a header's value or an address's query.
    pub message: String,
}

/// The kinds of [`TransportError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TransportErrorKind {
    /// No connection, or a connection cut: the next attempt may succeed.
    Connection,
    /// The server's certificate is not trusted, or TLS could not be agreed on.
    Certificate,
    /// The request cannot be sent as it is.
    Unusable,
    /// A recorded session has no answer to this request.
    Replay,
}

/// The failure of a request that cannot be sent as it is.
pub(super) fn unusable(message: String) -> TransportError {
    TransportError { kind: TransportErrorKind::Unusable, message }
}

/// Returns true for a request that a server of HTTP/2 gave back without having looked at it: it goes away, or has too
/// many requests at once (RFC 9113, 8.7).
pub(super) fn is_untouched(error: &reqwest::Error) -> bool {
    let reset = chain(error).find_map(<dyn Error>::downcast_ref::<h2::Error>).filter(|error| error.is_remote());
    reset.is_some_and(|error| {
        (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
            || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// The failure of a request that had no answer.
pub(super) fn send_error(host: &str, error: &reqwest::Error) -> TransportError {
    let causes = causes(error);
    if let Some(cause) = tls_cause(error) {
        let remedy = match cause {
            rustls::Error::InvalidCertificate(_) => {
                "; if a proxy of your network stands between, set SSL_CERT_FILE to its certificate authority's PEM file"
            }
            _ => "",
        };
        let message = format!("no secure connection to {host}: {causes}{remedy}");
        return TransportError { kind: TransportErrorKind::Certificate, message };
    }
    if error.is_builder() {
        return unusable(format!("the request to {host} cannot be sent: {causes}"));
    }
    let message = if error.is_connect() && error.is_timeout() {
        format!("cannot connect to {host}: no answer within {} s", CONNECT_TIMEOUT.as_secs())
    } else if error.is_connect() {
        format!("cannot connect to {host}: {causes}")
    } else {
        format!("the connection to {host} was cut before it answered: {causes}")
    };
    TransportError { kind: TransportErrorKind::Connection, message }
}

/// The messages below `error`, from the outside in. The error's own message is left out: it holds the whole address.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    for message in chain(error).map(ToString::to_string) {
        // Some messages end with that of their cause; the HTTP client's own names only the layer.
        if !text.ends_with(&message) && !message.starts_with("client error (") {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
    }
    if text.is_empty() { "unknown cause".to_owned() } else { text }
}

fn tls_cause(error: &reqwest::Error) -> Option<&rustls::Error> {
    chain(error).find_map(<dyn Error>::downcast_ref::<rustls::Error>)
}

/// The errors below `error`, from the outside in.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| {
        let cause = *cause;
        // `source` of an I/O error that wraps another error skips the one it wraps.
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|error| error as &(dyn Error + 'static)).or_else(move || cause.source())
    })
}
