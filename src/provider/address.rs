//! Which addresses model requests may go to.

use std::net::IpAddr;

use reqwest::Url;

use super::ProviderError;

/// A base URL, version segment included, without a slash at its end: paths are appended to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    host: String,
}

impl BaseUrl {
    /// Reads `text`, which `origin` (`baseUrl`, a variable's name) says.
    ///
    /// # Errors
    /// [`ProviderError::InvalidBaseUrl`] for what is no URL, for plain http to anywhere but this machine or a private
    /// address, and for credentials or a query: an address is stored with the run and shown, a secret must not be.
    pub fn parse(text: &str, origin: &'static str) -> Result<Self, ProviderError> {
        let invalid = |reason: &str| ProviderError::InvalidBaseUrl { origin, reason: reason.to_owned() };
        let url = Url::parse(text.trim())
            .map_err(|error| invalid(&format!("is no URL ({error}); write it as https://host/v1")))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("names no host"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("holds credentials; put them into the key variable or into headers"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("must end with its path, without ? or #"));
        }
        match url.scheme() {
            "https" => {}
            "http" if is_near(host) => {}
            "http" => {
                return Err(invalid(&format!(
                    "is plain http to {host}, which would show the key to everyone on the way; use https (plain http \
                     is for localhost and private addresses)"
                )));
            }
            other => return Err(invalid(&format!("has the scheme {other:?}; use https"))),
        }
        Ok(Self { text: url.as_str().trim_end_matches('/').to_owned(), host: host.to_owned() })
    }

    /// The URL of `path`, which starts with `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// Whether the host is `domain` or below it.
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
    fn what_is_no_plain_address_is_refused() {
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
