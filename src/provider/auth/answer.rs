//! Answers of token servers: OAuth's form (RFC 6749, section 5.1) and its relatives.
//!
//! Called by the sources of tokens in this folder, which make the requests and cache the tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use serde_json::Value;

use super::cache::{self, Fetched};
use super::error::AuthError;
use crate::provider::http::fetch::{Fetch, FetchResponse as Answer};
use crate::provider::http::transport::Transport;

/// The life of a token whose answer names no end: an hour, as all of these servers grant.
const USUAL_LIFE: u64 = 3600;

/// Requests a token from `who` by this exchange.
///
/// # Errors
/// When the server cannot be reached, refuses, or answers with something else.
pub async fn token(transport: &dyn Transport, who: &str, fetch: Fetch) -> Result<Fetched<SecretString>, AuthError> {
    let answer = exchange(transport, who, fetch).await?;
    if answer.is_success() { read(who, &answer.body) } else { Err(AuthError::refused(who, &answer)) }
}

/// Carries out an exchange, whatever the status.
pub async fn exchange(transport: &dyn Transport, who: &str, fetch: Fetch) -> Result<Answer, AuthError> {
    transport.fetch(fetch).await.map_err(|source| AuthError::Unreachable { who: who.to_owned(), source })
}

/// Reads a token and its end.
pub fn read(who: &str, body: &[u8]) -> Result<Fetched<SecretString>, AuthError> {
    let unusable = |reason: &str| AuthError::unusable(format!("the answer of {who}"), reason);
    let body: Value = serde_json::from_slice(body).map_err(|_| unusable("it is not JSON"))?;
    let token = ["access_token", "accessToken"].iter().find_map(|name| body.get(name).and_then(Value::as_str));
    let token = token.filter(|token| !token.is_empty()).ok_or_else(|| unusable("it holds no access token"))?;
    // It becomes a header's value.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("its access token has characters that cannot be sent"));
    }
    Ok(Fetched { value: SecretString::from(token), expires: Some(end(&body)) })
}

/// `expires_in` counts from now, `expires_on` from the epoch; both come as numbers and as texts.
fn end(body: &Value) -> SystemTime {
    let number = |name: &str| match body.get(name)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let moment = |from: SystemTime, seconds| from.checked_add(Duration::from_secs(seconds));
    let of_epoch = number("expires_on").and_then(|seconds| moment(UNIX_EPOCH, seconds));
    let now = cache::now();
    let of_now = number("expires_in").and_then(|seconds| moment(now, seconds));
    of_now.or(of_epoch).or_else(|| moment(now, USUAL_LIFE)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_in_each_form() {
        let epoch = |body: &str| {
            let body: Value = serde_json::from_str(body).unwrap();
            end(&body).duration_since(UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!(epoch(r#"{"expires_on": "4102444800"}"#), 4_102_444_800);
        assert_eq!(epoch(r#"{"expires_on": 4102444800, "expiresOn": "2100-01-01 00:00:00"}"#), 4_102_444_800);
        assert!(epoch(r#"{"expires_in": "4000000000"}"#) > 4_000_000_000);
        assert!(epoch("{}") >= USUAL_LIFE);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let error = |body: &str| read("owls", body.as_bytes()).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error("<html>"), "the answer of owls cannot be used: it is not JSON");
        assert_eq!(error("{}"), "the answer of owls cannot be used: it holds no access token");
        assert!(error("{\"access_token\": \"a\\nb\"}").ends_with("characters that cannot be sent"));
    }
}
