//! Rules for the network addresses that a configuration may name and a connection may go to. The configuration and the
//! skills' connections call it. Texts and addresses are judged here; resolving names, and judging the results again, is
//! left to the code that connects.

// Addresses only; nothing here opens a socket.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

// The HTTP client's own parser: two parsers that read one text differently would let an address past the rules.
use url::Url;

/// The kind of machine that the host of a URL is, by its text alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// This machine, or an address of a private network.
    Private,
    /// An address of this one link.
    LinkLocal,
    /// An address that nobody can serve: multicast, documentation, reserved.
    Special,
    /// A name that only a local network can resolve.
    LocalName,
    /// A public address, or a name that may have one.
    Public,
}

/// Names that DNS never serves publicly (RFC 6761, 6762, 8375, and `.internal` reserved by ICANN in 2024).
const LOCAL_SUFFIXES: [&str; 4] = [".local", ".internal", ".home.arpa", ".lan"];

impl Host {
    /// The host of `url`; `None` when it has none.
    pub fn from_url(url: &Url) -> Option<Self> {
        // IPv6 addresses are in brackets; a final dot only marks a name as complete.
        let host = url.host_str()?.trim_matches(['[', ']']);
        if let Ok(address) = host.parse() {
            return Some(Self::of_address(address));
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if name.is_empty() {
            return None;
        }
        Some(if name == "localhost" || name.ends_with(".localhost") {
            Self::Private
        } else if !name.contains('.') || LOCAL_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
            Self::LocalName
        } else {
            Self::Public
        })
    }

    /// The kind of machine that `address` is.
    pub fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        let shared = a == 100 && (64..128).contains(&b);
        // 192.0.0.0/24 protocol assignments, 198.18.0.0/15 benchmarks, 240.0.0.0/4 reserved (IANA's special registry).
        let reserved = (a, b, c) == (192, 0, 0) || (a == 198 && (b & 0xfe) == 18) || a >= 240;
        if address.is_loopback() || address.is_private() || shared || address.is_unspecified() {
            Self::Private
        } else if address.is_link_local() {
            Self::LinkLocal
        } else if address.is_multicast() || address.is_documentation() || reserved || a == 0 {
            Self::Special
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() || address.is_unspecified() {
            return Self::Private;
        }
        if let Some(inner) = embedded_v4(address) {
            return Self::of_v4(inner);
        }
        let [first, second, third, ..] = address.segments();
        // fec0::/10 was the site-local range. 64:ff9b:1::/48 is NAT64 within one network (RFC 8215), whose operator
        // decides where in it an IPv4 address is.
        let site_local = (first & 0xffc0) == 0xfec0;
        let local_translation = (first, second, third) == (0x0064, 0xff9b, 0x0001);
        // Public are 2000::/3 alone, and of it neither the protocol assignments 2001::/23 (Teredo, benchmarks, ORCHID) nor
        // what documents: 2001:db8::/32, 3fff::/20 (IANA's special registry).
        let is_global = (first & 0xe000) == 0x2000;
        let assigned = first == 0x2001 && second < 0x0200;
        let documents = (first, second) == (0x2001, 0x0db8) || (first == 0x3fff && second < 0x1000);
        if address.is_unique_local() || site_local || local_translation {
            Self::Private
        } else if address.is_unicast_link_local() {
            Self::LinkLocal
        } else if !is_global || assigned || documents {
            Self::Special
        } else {
            Self::Public
        }
    }
}

/// Returns true if `text` is a URL of this machine itself, judged without a name look-up.
pub fn is_loopback_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text.trim()) else { return false };
    let Some(host) = url.host_str().map(|host| host.trim_matches(['[', ']'])) else { return false };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The IPv4 address that an IPv6 one leads to: mapped, compatible, translated (`::ffff:0:0:0/96`), NAT64
/// (`64:ff9b::/96`), 6to4 (`2002::/16`) or ISATAP (an interface identifier that begins with `0:5efe` or `200:5efe`). It is
/// judged in place of the outer one, since packets end up there.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] => address.to_ipv4(),
        [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [_, _, _, _, 0 | 0x0200, 0x5efe, high, low] => Some(join(high, low)),
        _ => None,
    }
}

/// The fault of `text` as the base URL of a model provider, if any. `keyless` providers send no credentials, so they
/// may use names of the local network over plain HTTP too.
pub fn base_url_fault(text: &str, keyless: bool) -> Option<&'static str> {
    let Some((url, host)) = parsed(text) else {
        return Some("Invalid URL: write an absolute address, such as https://host/path");
    };
    let may_be_plain = host == Host::Private || (keyless && host == Host::LocalName);
    match url.scheme() {
        "https" => None,
        "http" if may_be_plain => None,
        _ => Some("URL must use HTTPS; plain http is for loopback and private addresses only"),
    }
}

/// The fault of `text` as the address of a remote skill, if any.
pub fn endpoint_fault(text: &str, private_allowed: bool) -> Option<&'static str> {
    const FAULT: &str = "SSE endpoint must be a public HTTPS URL";
    const FAULT_PRIVATE: &str =
        "SSE endpoint must be a public HTTPS URL, or with allowPrivateEndpoint an http URL of a private address";
    let sound = parsed(text).is_some_and(|(url, host)| match (url.scheme(), host) {
        // A local name may have a public address; the code that connects checks it.
        ("https", Host::Public | Host::LocalName) => true,
        ("https" | "http", Host::Private | Host::LinkLocal | Host::LocalName) => private_allowed,
        _ => false,
    });
    match (sound, private_allowed) {
        (true, _) => None,
        (false, true) => Some(FAULT_PRIVATE),
        (false, false) => Some(FAULT),
    }
}

/// Returns true if `text` is a domain name by its form: labels of ASCII letters, digits and inner hyphens.
pub fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes.first().is_some_and(|b| *b != b'-')
            && bytes.last().is_some_and(|b| *b != b'-')
    };
    text.split('.').all(is_label)
}

fn parsed(text: &str) -> Option<(Url, Host)> {
    let url = Url::parse(text).ok()?;
    let host = Host::from_url(&url)?;
    Some((url, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_must_be_public_however_they_are_spelled() {
        for good in [
            "https://forecast.example.com/sse",
            "HTTPS://cluster.example.com:8443/sse?tenant=a",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/sse",
            "https://[2001:4860:4860::8888]/",
            "https://[64:ff9b::808:808]/",
            "https://[2a00:1450:4001::5efe:808:808]/",
            "https://[::ffff:8.8.8.8]/",
            "https://172.32.0.1/",
            "https://127.0.0.1.example.com/",
        ] {
            assert_eq!(endpoint_fault(good, false), None, "{good}");
        }
        for bad in [
            "http://example.com/",
            "ftp://example.com/",
            "wss://example.com/",
            "nope",
            "",
            "https://",
            "https://localhost/x",
            "https://LOCALHOST./x",
            "https://api.localhost/",
            "https://10.0.0.1/x",
            "https://172.16.0.1",
            "https://172.31.255.255",
            "https://192.168.1.1",
            "https://169.254.169.254",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://0.0.0.0/",
            "https://100.64.0.1/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::1]/",
            "https://[::]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[fc00::1]/",
            "https://[ff02::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::7f00:1]/",
            "https://[64:ff9b::a00:1]/",
            "https://[2002:7f00:1::]/",
            "https://[64:ff9b:1::7f00:1]/",
            "https://[64:ff9b:1:7f00:0:100::]/",
            "https://[::ffff:0:7f00:1]/",
            "https://[2606:4700::5efe:7f00:1]/",
            "https://[2606:4700::200:5efe:a00:1]/",
            "https://[2001:0:7f00:1::1]/",
            "https://[2001:20::1]/",
            "https://[3fff::1]/",
            "https://[5f00::1]/",
            "https://[100:0:0:1::1]/",
            "https://[4000::1]/",
            "https://user@127.0.0.1:443/",
        ] {
            assert_eq!(endpoint_fault(bad, false), Some("SSE endpoint must be a public HTTPS URL"), "{bad}");
        }
    }

    #[test]
    fn private_endpoints_may_be_allowed_but_plain_http_stays_private() {
        for good in ["https://localhost/x", "http://127.0.0.1:9000/sse", "http://[::1]/", "http://tools:80/"] {
            assert_eq!(endpoint_fault(good, true), None, "{good}");
        }
        for bad in
            ["http://example.com/", "http://8.8.8.8/", "http://192.0.2.1/", "https://224.0.0.1/", "file:///x", "nope"]
        {
            assert!(endpoint_fault(bad, true).is_some(), "{bad}");
        }
    }

    #[test]
    fn base_urls_are_https_or_private() {
        for good in [
            "https://x.example",
            "https://10.0.0.1",
            "http://localhost:1234/v1",
            "http://192.168.0.9",
            "http://[::1]:1",
        ] {
            assert_eq!(base_url_fault(good, false), None, "{good}");
        }
        for (bad, fault) in [
            ("http://x", "URL must use HTTPS; plain http is for loopback and private addresses only"),
            ("http://api.example.com", "URL must use HTTPS; plain http is for loopback and private addresses only"),
            ("http://169.254.169.254", "URL must use HTTPS; plain http is for loopback and private addresses only"),
            ("ftp://10.0.0.1", "URL must use HTTPS; plain http is for loopback and private addresses only"),
            ("nope", "Invalid URL: write an absolute address, such as https://host/path"),
            ("file:///x", "Invalid URL: write an absolute address, such as https://host/path"),
        ] {
            assert_eq!(base_url_fault(bad, false), Some(fault), "{bad}");
        }
        assert_eq!(base_url_fault("http://ollama:11434", true), None);
        assert_eq!(base_url_fault("http://gpu.local:11434", true), None);
        assert!(base_url_fault("http://models.example.com", true).is_some());
    }
}
