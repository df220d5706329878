//! [`DomainList`]: the hosts and ports that a skill may reach, as its `allowedDomains` has them. The configuration reads
//! its entries; the skills' proxy and their HTTP clients ask it. Resolving names and connecting is left to those.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

use crate::address::{Host, is_domain};

/// The ports that an entry without one means: plain HTTP, and HTTP over TLS.
const USUAL_PORTS: [u16; 2] = [80, 443];

/// An address in the public range that is a cloud's own service of secrets and settings (Azure's).
const PLATFORM_SERVICE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

const INVALID: &str = "Invalid domain pattern. Use exact domain (example.com) or wildcard prefix (*.example.com)";
const PUNYCODE: &str = "Punycode domains (xn--) are not allowed to prevent homograph attacks. Use ASCII domains only.";

/// The hosts that one entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// This name, in lower case.
    Name(String),
    /// All names beneath this one, but not itself. Begins with a dot.
    Beneath(String),
    Address(IpAddr),
}

/// One entry: `example.com`, `*.example.com`, `10.1.2.3`, `[fd00::1]`, each with or without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// As it is written.
    text: String,
    host: HostPattern,
    /// Without it: [`USUAL_PORTS`].
    port: Option<u16>,
}

impl Entry {
    fn read(text: &str) -> Result<Self, &'static str> {
        let (host, port) = match text.rsplit_once(':') {
            // A colon of an IPv6 address, which is in brackets.
            Some((_, after)) if after.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(read_port(port).ok_or(INVALID)?)),
            None => (text, None),
        };
        let host = if let Some(inner) = host.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok()).ok_or(INVALID)?;
            HostPattern::Address(IpAddr::V6(address).to_canonical())
        } else if let Ok(address) = host.parse::<Ipv4Addr>() {
            HostPattern::Address(IpAddr::V4(address))
        } else {
            let name = host.strip_prefix("*.").unwrap_or(host);
            // One that ends in a number is no name: URLs have an address there, or nothing.
            if !is_domain(name)
                || !matches!(url::Host::parse(name), Ok(url::Host::Domain(_)) | Err(url::ParseError::IdnaError))
            {
                return Err(INVALID);
            }
            let is_punycode = |label: &str| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
            if name.split('.').any(is_punycode) {
                return Err(PUNYCODE);
            }
            let name = name.to_ascii_lowercase();
            if host.starts_with("*.") { HostPattern::Beneath(format!(".{name}")) } else { HostPattern::Name(name) }
        };
        Ok(Self { text: text.to_owned(), host, port })
    }

    fn has(&self, target: &NetworkTarget) -> bool {
        self.has_port(target.port) && self.is_for(target)
    }

    fn has_port(&self, port: u16) -> bool {
        self.port.map_or_else(|| USUAL_PORTS.contains(&port), |own| own == port)
    }

    fn is_for(&self, target: &NetworkTarget) -> bool {
        match (&self.host, &target.host) {
            (HostPattern::Name(own), TargetHost::Name(name)) => own == name,
            (HostPattern::Beneath(above), TargetHost::Name(name)) => {
                name.len() > above.len() && name.ends_with(above.as_str())
            }
            (HostPattern::Address(own), TargetHost::Address(address)) => own == address,
            _ => false,
        }
    }
}

/// A port that an entry may add: the usual ones are meant without it.
fn read_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port != 0 && !USUAL_PORTS.contains(&port) && port.to_string() == text).then_some(port)
}

/// The fault of `text` as an entry of `allowedDomains`, if any.
pub fn domain_fault(text: &str) -> Option<&'static str> {
    Entry::read(text).err()
}

/// A host and port that something is to be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkTarget {
    host: TargetHost,
    pub port: u16,
}

/// Longest name of a host (RFC 1035).
const LONGEST_NAME: usize = 253;

#[derive(Debug, Clone, PartialEq, Eq)]
enum TargetHost {
    /// In lower case, without the dot that ends a complete name.
    Name(String),
    /// Without the forms by which IPv6 writes an IPv4 address.
    Address(IpAddr),
}

impl NetworkTarget {
    /// The target of a host as URLs have it, by the rules of URLs: `127.1` is an address, and so is `[::1]`. None for a
    /// text that is no host.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let is_v6 = host.contains(':') && !host.starts_with('[');
        let parsed = if is_v6 { url::Host::parse(&format!("[{host}]")) } else { url::Host::parse(host) };
        let host = match parsed.ok()? {
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                (!name.is_empty() && name.len() <= LONGEST_NAME).then(|| TargetHost::Name(name.to_ascii_lowercase()))?
            }
            url::Host::Ipv4(address) => TargetHost::Address(IpAddr::V4(address)),
            url::Host::Ipv6(address) => TargetHost::Address(IpAddr::V6(address).to_canonical()),
        };
        Some(Self { host, port })
    }

    /// The target of an address.
    pub fn of_address(address: IpAddr, port: u16) -> Self {
        Self { host: TargetHost::Address(address.to_canonical()), port }
    }

    /// The address, where it is one and no name.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            TargetHost::Address(address) => Some(address),
            TargetHost::Name(_) => None,
        }
    }

    /// The host as URLs have it.
    pub fn host(&self) -> String {
        match &self.host {
            TargetHost::Name(name) => name.clone(),
            TargetHost::Address(IpAddr::V4(address)) => address.to_string(),
            TargetHost::Address(IpAddr::V6(address)) => format!("[{address}]"),
        }
    }
}

impl fmt::Display for NetworkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port)
    }
}

/// The hosts that a skill may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainList {
    entries: Vec<Entry>,
    is_open: bool,
}

impl DomainList {
    /// The list of these entries. One with a [fault](domain_fault) allows nothing.
    pub fn new(entries: &[String]) -> Self {
        Self { entries: entries.iter().filter_map(|entry| Entry::read(entry).ok()).collect(), is_open: false }
    }

    /// Everything, for programs whose connections are recorded and not bounded.
    pub fn open() -> Self {
        Self { entries: Vec::new(), is_open: true }
    }

    /// Returns true if this is everything.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns true if the list has `target`: its name or address, at its port.
    pub fn has(&self, target: &NetworkTarget) -> bool {
        self.is_open || self.entry_for(target).is_some()
    }

    /// The entry by which the list has `target`, as it is written; none where it is everything.
    pub fn entry_for(&self, target: &NetworkTarget) -> Option<&str> {
        self.entries.iter().find(|entry| entry.has(target)).map(|entry| entry.text.as_str())
    }

    /// Returns true if a connection to `target`, which the list has, may go to `address`: a public one, or one that is
    /// listed itself. The name `localhost` means this machine.
    pub fn admits(&self, target: &NetworkTarget, address: IpAddr) -> bool {
        Self::implies(target, address) || self.has(&NetworkTarget::of_address(address.to_canonical(), target.port))
    }

    /// Returns true if an entry for `target` is enough for a connection to `address`.
    pub fn implies(target: &NetworkTarget, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_public = Host::of_address(address) == Host::Public && address != IpAddr::V4(PLATFORM_SERVICE);
        let is_meant = address.is_loopback() && target.host == TargetHost::Name("localhost".to_owned());
        is_public || is_meant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> DomainList {
        DomainList::new(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    fn target(host: &str, port: u16) -> NetworkTarget {
        NetworkTarget::new(host, port).unwrap()
    }

    #[test]
    fn entries_are_names_wildcards_and_addresses_with_ports_that_are_not_meant_anyway() {
        for good in [
            "example.com",
            "API.example.com",
            "*.example.com",
            "localhost",
            "example.com:8443",
            "*.example.com:5432",
            "10.1.2.3",
            "127.0.0.1:5432",
            "[::1]",
            "[fd00::1]:6379",
        ] {
            assert_eq!(domain_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "a.*.com",
            "**.com",
            "https://x.com",
            "x.com/",
            "x.com:443",
            "x.com:80",
            "x.com:",
            "x.com:0",
            "x.com:65536",
            "x.com:+8",
            "x.com:08443",
            "x.com:x",
            ":8080",
            ".x.com",
            "x.com.",
            "x..com",
            "-x.com",
            "x-.com",
            "x_y.com",
            "::1",
            "[::1",
            "[::1]:443",
            "[127.0.0.1]",
            "user@x.com",
            "x.com y.com",
            "é.com",
            "127.1",
            "1.2.3.4.5",
        ] {
            assert_eq!(domain_fault(bad), Some(INVALID), "{bad}");
        }
        for bad in ["xn--e1afmkfd.com", "*.XN--e1afmkfd.com", "a.xn--b.com:8443"] {
            assert_eq!(domain_fault(bad), Some(PUNYCODE), "{bad}");
        }
    }

    #[test]
    fn a_list_has_its_hosts_at_their_ports() {
        let list = list(&["api.example.com", "*.tiles.example.com", "db.example.com:5432", "10.1.2.3", "[::1]:6379"]);
        for (host, port) in [
            ("api.example.com", 443),
            ("API.Example.COM.", 80),
            ("a.tiles.example.com", 443),
            ("a.b.tiles.example.com", 443),
            ("db.example.com", 5432),
            ("10.1.2.3", 443),
            ("0x0a010203", 80),
            ("::ffff:10.1.2.3", 80),
            ("::1", 6379),
            ("[0:0:0:0:0:0:0:1]", 6379),
        ] {
            assert!(list.has(&target(host, port)), "{host}:{port}");
        }
        for (host, port) in [
            ("example.com", 443),
            ("xapi.example.com", 443),
            ("api.example.com.evil.org", 443),
            ("tiles.example.com", 443),
            ("atiles.example.com", 443),
            (".tiles.example.com", 443),
            ("api.example.com", 8443),
            ("db.example.com", 443),
            ("10.1.2.3", 22),
            ("10.1.2.4", 443),
            ("::1", 443),
        ] {
            assert!(!NetworkTarget::new(host, port).is_some_and(|target| list.has(&target)), "{host}:{port}");
        }
        assert!(!DomainList::default().has(&target("example.com", 443)));
    }

    #[test]
    fn texts_that_are_no_hosts_are_no_targets() {
        for text in ["", ".", "a b", "a/b", "a@b", "[::1", "1.2.3.4.5.6", "%00", "999.1.1.1"] {
            assert_eq!(NetworkTarget::new(text, 80), None, "{text}");
        }
    }

    #[test]
    fn a_listed_name_leads_to_public_addresses_and_to_others_that_are_listed_themselves() {
        let list = list(&["api.example.com", "localhost:8080", "intranet.example.com", "10.1.2.3"]);
        let admits = |host: &str, port: u16, address: &str| list.admits(&target(host, port), address.parse().unwrap());
        for address in ["8.8.8.8", "2606:4700::1111", "10.1.2.3", "::ffff:10.1.2.3"] {
            assert!(admits("api.example.com", 443, address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.4",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::127.0.0.1",
            "2001:db8::1",
        ] {
            assert!(!admits("api.example.com", 443, address), "{address}");
        }
        assert!(admits("localhost", 8080, "127.0.0.1") && admits("localhost", 8080, "::1"));
        assert!(!admits("localhost", 8080, "10.1.2.4"));
        assert!(!admits("intranet.example.com", 443, "192.168.1.1"));
    }
}
