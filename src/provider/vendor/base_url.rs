//! [`BaseUrl`]: an address that model requests may go to.
//!
//! Made by `endpoint` and the rows; `Provider` joins paths to it. Parsing refuses addresses that would expose a key.

use std::net::IpAddr;

use url::Url;

use crate::address::Host;
use crate::provider::ProviderError;

/// The advice for what is no address at all.
const FORM: &str = "write it as https://host/v1";

/// A base URL, version segment included, without a slash at its end: paths are appended to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    host: String,
    /// Added to every address, encoded, without `?`; empty for none.
    query: String,
}

impl BaseUrl {
    /// Parses `text`, the value of `origin` (`baseUrl` or a variable's name).
    ///
    /// # Errors
    /// [`ProviderError::InvalidBaseUrl`] for a text that is no URL, for plain http to anywhere but this machine or a private
    /// address, and for credentials or a query: an address is stored with the run and shown, a secret must not be.
    pub fn parse(text: &str, origin: &'static str) -> Result<Self, ProviderError> {
        Self::parse_where(text, origin, is_near)
    }

    /// As [`BaseUrl::parse`], for a provider that is sent no key: plain http is allowed for names of the local network
    /// too (`http://ollama:11434` between containers).
    ///
    /// # Errors
    /// As [`BaseUrl::parse`].
    pub fn parse_keyless(text: &str, origin: &'static str) -> Result<Self, ProviderError> {
        let is_local = |host: &str| {
            Url::parse(&format!("http://{host}")).is_ok_and(|url| Host::from_url(&url) == Some(Host::LocalName))
        };
        Self::parse_where(text, origin, |host| is_near(host) || is_local(host))
    }

    fn parse_where(
        text: &str,
        origin: &'static str,
        may_be_plain: impl Fn(&str) -> bool,
    ) -> Result<Self, ProviderError> {
        let invalid = |reason: &str, remedy: &'static str| ProviderError::InvalidBaseUrl {
            origin,
            reason: reason.to_owned(),
            remedy,
        };
        let url = Url::parse(text.trim()).map_err(|error| invalid(&format!("is no URL ({error})"), FORM))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("names no host", FORM))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("holds credentials", "put them into the key variable or into headers"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("has ? or # behind its path", "end it with the path"));
        }
        match url.scheme() {
            "https" => {}
            "http" if may_be_plain(host) => {}
            "http" => {
                return Err(invalid(
                    &format!("is plain http to {host}, which would show the key to everyone on the way"),
                    "use https (plain http is for localhost and private addresses)",
                ));
            }
            other => return Err(invalid(&format!("has the scheme {other:?}"), "use https")),
        }
        let text = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { text, host: host.to_owned(), query: String::new() })
    }

    /// Returns the same address, `segments` (with `/` in front) further down unless it ends with them already.
    #[must_use]
    pub fn ending_with(self, segments: &str) -> Self {
        if self.text.ends_with(segments) { self } else { Self { text: format!("{}{segments}", self.text), ..self } }
    }

    /// Returns the same address with this parameter on every request.
    #[must_use]
    pub fn with_parameter(self, name: &str, value: &str) -> Self {
        let Ok(mut url) = Url::parse(&format!("{}?{}", self.text, self.query)) else { return self };
        url.query_pairs_mut().append_pair(name, value);
        let query = url.query().unwrap_or_default().trim_start_matches('&').to_owned();
        Self { query, ..self }
    }

    /// The URL of `path`, which starts with `/` and may have a query of its own.
    pub fn join(&self, path: &str) -> String {
        match (self.query.as_str(), path.contains('?')) {
            ("", _) => format!("{}{path}", self.text),
            (query, false) => format!("{}{path}?{query}", self.text),
            (query, true) => format!("{}{path}&{query}", self.text),
        }
    }

    /// Returns true when the host is this machine, judged without a name look-up.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
    }

    /// Returns true when a segment of the path is a version, such as `v1` or `v1beta`.
    pub fn has_version(&self) -> bool {
        let is_version = |segment: &str| {
            segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        self.path().split('/').any(is_version)
    }

    /// Returns true when the address is more than a host.
    pub fn has_path(&self) -> bool {
        !self.path().is_empty()
    }

    fn path(&self) -> &str {
        let behind_scheme = self.text.split_once("://").map_or("", |(_, rest)| rest);
        behind_scheme.split_once('/').map_or("", |(_, path)| path)
    }

    /// Returns true when the host is `domain` or below it.
    pub fn is_within(&self, domain: &str) -> bool {
        self.host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

/// This machine or a private network, judged without a name look-up.
fn is_near(host: &str) -> bool {
    if host == "localhost" || host.ends_with(".localhost") {
        return true;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_unspecified(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local() || address.is_unspecified(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str) -> Result<String, String> {
        BaseUrl::parse(text, "baseUrl").map(|base| base.join("/messages")).map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_appended_after_the_version_segment() {
        assert_eq!(joined("https://api.example.com/v1"), Ok("https://api.example.com/v1/messages".to_owned()));
        assert_eq!(joined(" https://api.example.com/v1/ "), Ok("https://api.example.com/v1/messages".to_owned()));
        assert_eq!(joined("https://api.example.com"), Ok("https://api.example.com/messages".to_owned()));
    }

    #[test]
    fn parameters_join_those_of_the_path() {
        let base = BaseUrl::parse("https://r.example.com/openai", "baseUrl").unwrap();
        let base = base.ending_with("/v1").ending_with("/v1").with_parameter("api-version", "a b&c");
        assert_eq!(base.join("/chat"), "https://r.example.com/openai/v1/chat?api-version=a+b%26c");
        assert_eq!(base.join("/chat?alt=sse"), "https://r.example.com/openai/v1/chat?alt=sse&api-version=a+b%26c");
        let twice = base.with_parameter("b", "2");
        assert_eq!(twice.join("/c"), "https://r.example.com/openai/v1/c?api-version=a+b%26c&b=2");
    }

    #[test]
    fn plain_http_is_for_this_machine_and_private_networks() {
        let near = [
            "localhost:1",
            "127.0.0.1:9/v1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.2:8080",
            "[::1]:1",
            "[fd00::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0:8080",
        ];
        for host in near {
            assert!(joined(&format!("http://{host}")).is_ok(), "{host}");
        }
        for host in
            ["example.com", "8.8.8.8", "169.254.169.254", "[2001:db8::1]", "localhost.example.com", "0x08080808"]
        {
            assert!(joined(&format!("http://{host}")).is_err_and(|error| error.contains("plain http")), "{host}");
        }
    }

    #[test]
    fn without_a_key_plain_http_is_for_local_names_too() {
        assert!(BaseUrl::parse("http://ollama:11434", "baseUrl").is_err());
        assert!(BaseUrl::parse_keyless("http://ollama:11434", "baseUrl").is_ok());
        assert!(BaseUrl::parse_keyless("http://models.example.com", "baseUrl").is_err());
    }

    #[test]
    fn addresses_with_other_parts_are_refused() {
        for text in [
            "",
            "api.example.com/v1",
            "ftp://example.com",
            "https://user:pw@example.com",
            "https://h/?a=b",
            "https://h/#f",
        ] {
            assert!(joined(text).is_err_and(|error| error.starts_with("baseUrl ")), "{text}");
        }
    }

    #[test]
    fn a_host_is_within_its_own_domain_only() {
        let is_openai = |host: &str| {
            BaseUrl::parse(&format!("https://{host}/v1"), "baseUrl").map(|base| base.is_within("api.openai.com"))
        };
        assert_eq!(is_openai("api.openai.com"), Ok(true));
        assert_eq!(is_openai("EU.api.openai.com"), Ok(true));
        assert_eq!(is_openai("evilapi.openai.com"), Ok(false));
    }
}
