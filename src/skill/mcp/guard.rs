//! [`Reach`]: the machines that a remote skill may connect to, judged by the address, not by the name.
//!
//! A name may have a public address when it is checked and a private one when it is used, so the check is made by the
//! resolver whose answer is used. Addresses written out in a URL never pass the resolver; `network.rs` judges those.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::Host;

/// The addresses that may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Public addresses.
    Public,
    /// Private, loopback and link-local ones: plain http.
    Private,
    /// All: https where private addresses are allowed.
    Anywhere,
}

impl Reach {
    pub(super) fn admits(self, address: SocketAddr) -> bool {
        match Host::of_address(address.ip()) {
            Host::Public => self != Self::Private,
            Host::Private | Host::LinkLocal => self != Self::Public,
            Host::Special | Host::LocalName => false,
        }
    }
}

/// A resolver that gives out only what may be reached.
#[derive(Debug, Clone)]
pub(super) struct GuardedResolver {
    pub reach: Reach,
    /// Named by the user who runs this program: they may be anywhere.
    pub proxy_hosts: Arc<[String]>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach;
        let is_proxy = self.proxy_hosts.iter().any(|host| host == name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> = found.filter(|address| is_proxy || reach.admits(*address)).collect();
            if admitted.is_empty() {
                let kind = if reach == Reach::Private { "public" } else { "private or local" };
                let why = format!("{} has only {kind} addresses, which this skill may not reach", name.as_str());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why).into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_what_they_lead_to() {
        let admits = |reach: Reach, address: &str| reach.admits(SocketAddr::new(address.parse().unwrap(), 0));
        for private in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1"] {
            assert!(!admits(Reach::Public, private), "{private}");
            assert!(admits(Reach::Private, private) && admits(Reach::Anywhere, private), "{private}");
        }
        for public in ["8.8.8.8", "2606:4700::1111"] {
            assert!(admits(Reach::Public, public) && admits(Reach::Anywhere, public), "{public}");
            assert!(!admits(Reach::Private, public), "{public}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_refused() {
        let resolver = |reach, proxy: &[&str]| GuardedResolver {
            reach,
            proxy_hosts: proxy.iter().map(|host| (*host).to_owned()).collect(),
        };
        let resolve = |reach| resolver(reach, &[]).resolve("localhost".parse().unwrap());
        let error = resolve(Reach::Public).await.map(Iterator::count).unwrap_err();
        assert_eq!(error.to_string(), "localhost has only private or local addresses, which this skill may not reach");
        assert!(resolve(Reach::Private).await.is_ok_and(|mut addresses| addresses.next().is_some()));
        let proxy = resolver(Reach::Public, &["localhost"]).resolve("localhost".parse().unwrap()).await;
        assert!(proxy.is_ok_and(|mut addresses| addresses.next().is_some()));
    }
}
