//! The demands on a client of the proxy, in either protocol: that it sends its request in time, and has the token.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

/// How long a client may take for its request's head or its greeting.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Bounds what is read of a request.
pub(super) async fn in_time<T>(reading: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(HEAD_TIMEOUT, reading).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Compares a token without regard to where it differs.
pub(super) fn is_token(given: &[u8], token: &str) -> bool {
    given.len() == token.len() && given.iter().zip(token.as_bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
