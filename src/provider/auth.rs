//! Credentials, and how a vendor wants them presented.

use secrecy::{ExposeSecret, SecretString};

/// How a vendor wants its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthScheme {
    /// In a header of its own, e.g. `x-api-key`.
    Header(&'static str),
    /// As `authorization: Bearer KEY` (RFC 6750).
    Bearer,
}

/// A key and how it is presented. `Debug` shows no key.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing is sent.
    None,
    Key {
        scheme: AuthScheme,
        key: SecretString,
    },
}

impl Credentials {
    /// The header that carries the key. The value is a secret: it goes to the transport and nowhere else.
    pub fn header(&self) -> Option<(String, String)> {
        match self {
            Self::None => None,
            Self::Key { scheme: AuthScheme::Header(name), key } => {
                Some(((*name).to_owned(), key.expose_secret().to_owned()))
            }
            Self::Key { scheme: AuthScheme::Bearer, key } => {
                Some(("authorization".to_owned(), format!("Bearer {}", key.expose_secret())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(scheme: AuthScheme) -> Credentials {
        Credentials::Key { scheme, key: SecretString::from("sk-secret") }
    }

    #[test]
    fn a_key_is_presented_as_the_vendor_wants_it() {
        let header = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(credentials(AuthScheme::Header("x-api-key")).header(), header("x-api-key", "sk-secret"));
        assert_eq!(credentials(AuthScheme::Bearer).header(), header("authorization", "Bearer sk-secret"));
        assert_eq!(Credentials::None.header(), None);
    }

    #[test]
    fn debug_shows_no_key() {
        assert!(!format!("{:?}", credentials(AuthScheme::Bearer)).contains("sk-secret"));
    }
}
