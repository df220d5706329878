//! [`ProxySettings`]: the proxies that requests go through, from an explicit setting or the usual variables. The model
//! transport and the skills' HTTP clients use it; connecting is left to them.

use core::fmt;

// The types that requests are sent with; nothing here connects.
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Proxy};
use url::Url;

use crate::environment::Environment;

/// Names and addresses of this machine, which no proxy can reach.
const LOOPBACK: &str = "localhost,127.0.0.0/8,0.0.0.0,::1,::,::ffff:127.0.0.0/104";

/// The error for a proxy's address that cannot be used. It does not quote the address, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proxy's address cannot be used: write http://host:port, https://host:port or socks5://host:port")]
pub struct InvalidProxy;

/// The proxies that requests go through.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    http: Option<String>,
    https: Option<String>,
    except: Option<String>,
}

impl ProxySettings {
    /// One proxy for every request.
    pub fn explicit(url: &str) -> Self {
        Self { http: Some(url.to_owned()), https: Some(url.to_owned()), except: None }
    }

    /// The usual variables: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
    pub fn of_environment(environment: &Environment) -> Self {
        let get = |name: &str| {
            environment.get(name).or_else(|| environment.get(&name.to_ascii_lowercase())).map(str::to_owned)
        };
        let all = get("ALL_PROXY");
        Self {
            http: get("HTTP_PROXY").or_else(|| all.clone()),
            https: get("HTTPS_PROXY").or(all),
            except: get("NO_PROXY"),
        }
    }

    /// The proxy named by `explicit` for both schemes, otherwise those of `environment`.
    pub fn settle(explicit: Option<&str>, environment: &Environment) -> Self {
        explicit.map_or_else(|| Self::of_environment(environment), Self::explicit)
    }

    /// The proxies in the HTTP client's form. Opens no connection.
    ///
    /// # Errors
    /// An address that cannot be used.
    pub fn proxies(&self) -> Result<Vec<Proxy>, InvalidProxy> {
        self.except(self.except.as_deref())
    }

    /// As [`ProxySettings::proxies`], but for this machine itself, which is reached without.
    ///
    /// # Errors
    /// As [`ProxySettings::proxies`].
    pub fn proxies_beyond_loopback(&self) -> Result<Vec<Proxy>, InvalidProxy> {
        self.except(Some(&self.beyond_loopback()))
    }

    fn beyond_loopback(&self) -> String {
        self.except.iter().map(String::as_str).chain([LOOPBACK]).collect::<Vec<_>>().join(",")
    }

    /// As [`ProxySettings::proxies_beyond_loopback`], for connections that are made without the HTTP client.
    ///
    /// # Errors
    /// As [`ProxySettings::proxies`].
    pub fn matcher(&self) -> Result<Matcher, InvalidProxy> {
        self.addresses()?;
        let mut matcher = Matcher::builder();
        if let Some(url) = &self.http {
            matcher = matcher.http(url.clone());
        }
        if let Some(url) = &self.https {
            matcher = matcher.https(url.clone());
        }
        Ok(matcher.no(self.beyond_loopback()).build())
    }

    /// The proxies' own addresses.
    ///
    /// # Errors
    /// As [`ProxySettings::proxies`].
    pub fn addresses(&self) -> Result<Vec<Url>, InvalidProxy> {
        [&self.http, &self.https].into_iter().flatten().map(|url| address(url)).collect()
    }

    fn except(&self, except: Option<&str>) -> Result<Vec<Proxy>, InvalidProxy> {
        let proxy = |url: &str, make: fn(&str) -> reqwest::Result<Proxy>| {
            address(url)?;
            let except = except.and_then(NoProxy::from_string);
            make(url).map(|proxy| proxy.no_proxy(except)).map_err(|_| InvalidProxy)
        };
        let http = self.http.as_deref().map(|url| proxy(url, |url| Proxy::http(url)));
        let https = self.https.as_deref().map(|url| proxy(url, |url| Proxy::https(url)));
        [http, https].into_iter().flatten().collect()
    }
}

/// Shows only which proxies are set: their addresses may hold a password.
impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("except", &self.except)
            .finish()
    }
}

/// Parses an address as reqwest does, and refuses schemes that reqwest would silently ignore.
fn address(url: &str) -> Result<Url, InvalidProxy> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let parsed = Url::parse(&with_scheme).map_err(|_| InvalidProxy)?;
    let known = matches!(parsed.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h");
    if known && parsed.has_host() { Ok(parsed) } else { Err(InvalidProxy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_for_one_scheme_beat_the_one_for_all() {
        let pairs = [("ALL_PROXY", "all:1"), ("https_proxy", "tls:2"), ("NO_PROXY", "localhost")];
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let text = |text: &str| Some(text.to_owned());
        let expected = ProxySettings { http: text("all:1"), https: text("tls:2"), except: text("localhost") };
        assert!(ProxySettings::of_environment(&environment) == expected);
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused() {
        for url in ["ftp://host:1", "http://", "http:// /", "sock5://host"] {
            let proxies = ProxySettings::explicit(url).proxies();
            assert_eq!(proxies.map(|_| ()), Err(InvalidProxy), "{url}");
        }
        for url in ["host:3128", "http://user:pw@host:3128", "socks5h://host:1080"] {
            assert!(ProxySettings::explicit(url).proxies().is_ok(), "{url}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", ProxySettings::explicit("http://user:pw@host")).contains("pw"));
    }
}
