//! [`ServerAddress`]: the address of a model's server, with the version segment that users write or leave out.
//!
//! Some programs want `ANTHROPIC_BASE_URL` or `OPENAI_BASE_URL` with `/v1`, others without, and gateways have either. So
//! an address without a version stands for two places: `generate` asks at the second when nothing is at the first.

use std::sync::OnceLock;

use crate::provider::vendor::base_url::BaseUrl;

/// An address, and another place where the server may be.
#[derive(Debug)]
pub struct ServerAddress {
    first: BaseUrl,
    second: Option<BaseUrl>,
    /// The server answered at the second place (true) or the first.
    found: OnceLock<bool>,
}

impl ServerAddress {
    /// An address whose `version` (with `/` in front) may be missing. `adds_version`: the vendor's own programs add it to
    /// an address without a path.
    pub fn new(base: BaseUrl, version: Option<&str>, adds_version: bool) -> Self {
        let versioned = version.filter(|_| !base.has_version()).map(|version| base.clone().ending_with(version));
        let (first, second) = match versioned {
            Some(versioned) if adds_version && !base.has_path() => (versioned, Some(base)),
            versioned => (base, versioned),
        };
        Self { first, second, found: OnceLock::new() }
    }

    /// The first place.
    pub fn first(&self) -> &BaseUrl {
        &self.first
    }

    /// The place to ask at, and the one to ask at when nothing is there.
    pub fn places(&self) -> (&BaseUrl, Option<&BaseUrl>) {
        match (self.found.get(), &self.second) {
            (None, second) => (&self.first, second.as_ref()),
            (Some(true), Some(second)) => (second, None),
            (Some(_), _) => (&self.first, None),
        }
    }

    /// Notes that the server answered at `place`.
    pub fn found_at(&self, place: &BaseUrl) {
        // Two requests at once may have found it; the first one counts.
        let _ = self.found.set(self.second.as_ref() == Some(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(base: &str, adds_version: bool) -> Vec<String> {
        let base = BaseUrl::parse(base, "baseUrl").unwrap();
        let address = ServerAddress::new(base, Some("/v1"), adds_version);
        let (first, second) = address.places();
        std::iter::once(first).chain(second).map(|place| place.join("/m")).collect()
    }

    #[test]
    fn an_address_without_a_version_stands_for_two_places() {
        for base in ["https://h", "https://h/"] {
            assert_eq!(places(base, true), ["https://h/v1/m", "https://h/m"]);
            assert_eq!(places(base, false), ["https://h/m", "https://h/v1/m"]);
        }
        assert_eq!(places("https://h/gate", true), ["https://h/gate/m", "https://h/gate/v1/m"]);
        for base in ["https://h/v1", "https://h/v1beta/openai", "https://h/api/paas/v4/"] {
            assert_eq!(places(base, true), [format!("{}/m", base.trim_end_matches('/'))]);
        }
    }

    #[test]
    fn once_it_is_found_only_that_place_is_asked() {
        let base = BaseUrl::parse("https://h", "baseUrl").unwrap();
        for is_second in [false, true] {
            let address = ServerAddress::new(base.clone(), Some("/v1"), false);
            let (first, second) = address.places();
            let place = if is_second { second.unwrap() } else { first }.clone();
            address.found_at(&place);
            assert_eq!(address.places(), (&place, None));
        }
    }
}
