//! [`Fetch`]: a small exchange that is not a generation, e.g. for a token, metadata or a probe.
//!
//! Used by the sources of credentials and by the search for a local server. Never recorded, because an answer may be a
//! secret. Each has a limit on its time and on its size.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use crate::address::Host;

/// Most bytes of an answer. Tokens have a few kilobytes.
pub(super) const ANSWER_LIMIT: usize = 1024 * 1024;
/// Hosts of the metadata of Google's machines; its libraries use the short form too.
const METADATA_HOSTS: [&str; 2] = ["metadata.google.internal", "metadata"];

/// The HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
}

/// A small request. Values may be secrets, so `Debug` shows the address without its query and names of headers.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetch {
    pub method: Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// For the whole exchange.
    pub limit: Duration,
}

/// A small answer.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchResponse {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Fetch {
    /// A GET without headers.
    pub fn get(url: impl Into<String>, limit: Duration) -> Self {
        Self { method: Method::Get, url: url.into(), headers: Vec::new(), body: Vec::new(), limit }
    }

    /// A POST of a form.
    pub fn form(url: impl Into<String>, fields: &[(&str, &str)], limit: Duration) -> Self {
        let mut form = reqwest::Url::parse("form:").ok();
        if let Some(form) = &mut form {
            form.query_pairs_mut().extend_pairs(fields);
        }
        let body = form.and_then(|form| form.query().map(str::to_owned)).unwrap_or_default().into_bytes();
        let headers = vec![("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        Self { method: Method::Post, url: url.into(), headers, body, limit }
    }

    /// Returns the same request with one header more.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl FetchResponse {
    /// Returns true for a status of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Fetch")
            .field("method", &self.method)
            .field("url", &self.url.split('?').next().unwrap_or_default())
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FetchResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Returns true for the address of a machine's own metadata: through a proxy, the answer would be about the proxy's
/// machine, and the proxy would see the token.
pub fn is_metadata(url: &Url) -> bool {
    // fd00:ec2::/32 is Amazon's, link-local in all but name.
    Host::from_url(url) == Some(Host::LinkLocal)
        || url.host_str().is_some_and(|host| METADATA_HOSTS.contains(&host) || host.starts_with("[fd00:ec2:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        let fetch = Fetch::form("https://h/token", &[("scope", "https://a/.default"), ("b", "c d&e")], Duration::ZERO);
        assert_eq!(fetch.body, b"scope=https%3A%2F%2Fa%2F.default&b=c+d%26e");
    }

    #[test]
    fn debug_shows_no_query_and_no_values() {
        let fetch = Fetch::get("https://h/p?key=secret", Duration::ZERO).with_header("authorization", "hidden");
        let shown = format!("{fetch:?}");
        assert_eq!(shown, "Fetch { method: Get, url: \"https://h/p\", headers: [\"authorization\"], .. }");
    }

    #[test]
    fn metadata_servers_are_known() {
        let is_metadata = |url: &str| is_metadata(&Url::parse(url).unwrap());
        for url in ["http://169.254.169.254/x", "http://metadata.google.internal/", "http://[fd00:ec2::254]/"] {
            assert!(is_metadata(url), "{url}");
        }
        for url in ["http://127.0.0.1/", "https://sts.amazonaws.com/", "http://metadata.example.com/"] {
            assert!(!is_metadata(url), "{url}");
        }
    }
}
