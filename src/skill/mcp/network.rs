//! The way to servers on the network: what may be reached, through which proxy, and the clients that go nowhere else.
//!
//! Without a proxy the address that is connected to is judged (`guard.rs`). A proxy looks names up itself, so there only
//! what this machine finds under a name can be judged before; a name that it does not know is left to the proxy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, Url};

use super::guard::{GuardedResolver, Reach};
use crate::address::endpoint_fault;
use crate::domain_list::{DomainList, NetworkTarget};
use crate::proxy::{InvalidProxy, ProxySettings};
use crate::redact::Redactor;

/// Time for name look-up, TCP and TLS together, as for models.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long this machine's own look-up of a name may take before the proxy is trusted with it: behind a proxy there
/// may be no name server that answers.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// The means by which remote skills reach their servers.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Which proxy their requests go through.
    pub proxy: ProxySettings,
    /// The folder that keeps people's logins; without one, none is known.
    pub logins: Option<PathBuf>,
    /// Learns the tokens.
    pub redactor: Redactor,
}

/// The addresses that one skill's requests may go to, and the proxies on the way.
#[derive(Debug, Clone)]
pub(super) struct Route {
    private_allowed: bool,
    /// The only hosts, where the skill has a list.
    list: Option<DomainList>,
    proxies: Vec<Proxy>,
    /// The hosts of the proxies: they may be anywhere.
    proxy_hosts: Arc<[String]>,
}

impl Route {
    /// A route through `proxy`, to private addresses too where those are allowed.
    ///
    /// # Errors
    /// A proxy's address that cannot be used.
    pub(super) fn new(proxy: &ProxySettings, private_allowed: bool) -> Result<Self, InvalidProxy> {
        let hosts = proxy.addresses()?.iter().filter_map(|url| url.host_str().map(str::to_owned)).collect();
        Ok(Self { private_allowed, list: None, proxies: proxy.proxies_beyond_loopback()?, proxy_hosts: hosts })
    }

    /// Bounds it to the hosts of `list`, where there is one.
    #[must_use]
    pub(super) fn within(self, list: Option<&[String]>) -> Self {
        Self { list: list.map(DomainList::new), ..self }
    }

    /// Judges `url` by its text, and behind a proxy by what its name leads to as well.
    ///
    /// # Errors
    /// Why nothing may be sent there, without the URL's path and query.
    pub(super) async fn check(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default();
        if endpoint_fault(url.as_str(), self.private_allowed).is_some() {
            let kind = if self.private_allowed { "public https or private" } else { "public https" };
            return Err(format!("{}://{host} may not be reached: it is no {kind} address", url.scheme()));
        }
        let target = || NetworkTarget::new(host, url.port_or_known_default()?);
        if let Some(list) = &self.list
            && !target().is_some_and(|target| list.has(&target))
        {
            let port = url.port_or_known_default().unwrap_or_default();
            return Err(format!("{host}:{port} may not be reached: it is not in the skill's allowedDomains"));
        }
        if self.proxies.is_empty() || host.trim_matches(['[', ']']).parse::<core::net::IpAddr>().is_ok() {
            return Ok(());
        }
        let reach = self.reach(url);
        if reach == Reach::Public && self.proxy_hosts.iter().any(|proxy| proxy == host) {
            return Err(format!("{host} may not be reached: it is the proxy itself"));
        }
        let found = tokio::time::timeout(LOOK_UP_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
        let Ok(Ok(mut found)) = found else { return Ok(()) };
        // Which of them the proxy would take nobody knows.
        if found.any(|address| !reach.admits(address)) {
            let kind = if reach == Reach::Private { "public" } else { "private or local" };
            return Err(format!("{host} has {kind} addresses, which this skill may not reach"));
        }
        Ok(())
    }

    /// A client for `url` and others of its scheme, each to be [checked](Route::check) before.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn client(&self, url: &Url, headers: HeaderMap, redirects: Policy) -> reqwest::Result<Client> {
        // Fails when a provider is installed already: then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let resolver = GuardedResolver { reach: self.reach(url), proxy_hosts: Arc::clone(&self.proxy_hosts) };
        let mut builder = Client::builder()
            .dns_resolver(Arc::new(resolver))
            // Only the proxies handed in: the process environment is read by the command line alone.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .default_headers(headers)
            .redirect(redirects);
        for proxy in &self.proxies {
            builder = builder.proxy(proxy.clone());
        }
        if url.scheme() == "http" && self.proxies.is_empty() {
            // Needs no certificates, which take milliseconds to load. (A proxy may be reached by TLS itself.)
            builder = builder.tls_certs_only([]);
        }
        builder.build()
    }

    /// The addresses that may be connected to for `url`.
    fn reach(&self, url: &Url) -> Reach {
        match (url.scheme(), self.private_allowed) {
            ("https", false) => Reach::Public,
            ("https", true) => Reach::Anywhere,
            _ => Reach::Private,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn behind(proxy: &str, private_allowed: bool) -> Route {
        Route::new(&ProxySettings::explicit(proxy), private_allowed).unwrap()
    }

    #[tokio::test]
    async fn behind_a_proxy_names_are_judged_by_what_this_machine_finds() {
        let route = behind("http://proxy.example:3128", false);
        let error = route.check(&url("https://127.0.0.1/mcp?key=k")).await.unwrap_err();
        assert_eq!(error, "https://127.0.0.1 may not be reached: it is no public https address");
        assert!(route.check(&url("https://localhost/mcp")).await.is_err());
        assert!(route.check(&url("http://8.8.8.8/mcp")).await.is_err());
        assert_eq!(route.check(&url("https://8.8.8.8/mcp")).await, Ok(()));
        // Nobody can have this name, so only the proxy could know it.
        assert_eq!(route.check(&url("https://owls.invalid/mcp")).await, Ok(()));
        let error = route.check(&url("https://proxy.example/mcp")).await.unwrap_err();
        assert_eq!(error, "proxy.example may not be reached: it is the proxy itself");
    }

    #[tokio::test]
    async fn a_list_bounds_every_address_on_the_way() {
        let entries = ["mcp.example.com", "login.example.com:8443", "127.0.0.1:9"].map(str::to_owned);
        let route = behind("http://proxy.example:3128", true).within(Some(&entries));
        for good in ["https://mcp.example.com/x", "https://login.example.com:8443/", "http://127.0.0.1:9/"] {
            assert_eq!(route.check(&url(good)).await, Ok(()), "{good}");
        }
        let error = route.check(&url("https://evil.example/token?code=c")).await.unwrap_err();
        assert_eq!(error, "evil.example:443 may not be reached: it is not in the skill's allowedDomains");
        for bad in ["https://login.example.com/", "https://mcp.example.com:8443/", "http://127.0.0.1/"] {
            assert!(route.check(&url(bad)).await.is_err(), "{bad}");
        }
        assert!(
            behind("http://proxy.example:3128", true)
                .within(Some(&[]))
                .check(&url("https://a.example/"))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_name_that_leads_inward_is_refused_before_a_proxy_is_asked() {
        // Of the names that lead inward, the only one that every machine has; its text alone would be refused too.
        let route = behind("http://127.0.0.1:1", true);
        let inward = route.reach(&url("http://localhost/"));
        assert_eq!(inward, Reach::Private);
        assert_eq!(route.check(&url("https://localhost/mcp")).await, Ok(()));
        assert!(Route::new(&ProxySettings::explicit("nope://x"), true).is_err());
    }
}
