//! [`Credentials`]: the key, token or signature of a request, by source and scheme.
//!
//! [`Credentials::authorize`] is called once per attempt, so that a token that expired is renewed. The clouds' sources
//! of tokens are in files of their own; the choice of a source is left to the vendor's row.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::environment::Environment;

use crate::provider::http::transport::{HttpRequest, Transport};

mod answer;
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "aws")]
mod aws_files;
#[cfg(feature = "aws")]
mod aws_http;
mod cache;
mod command;
mod entra;
mod error;
#[cfg(feature = "google-cloud")]
pub(super) mod google;
#[cfg(test)]
pub(super) mod server;

#[cfg(all(feature = "aws", feature = "s3"))]
pub use aws::AwsKeys;
pub use error::AuthError;

/// The header that carries a vendor's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthScheme {
    /// In a header of its own, e.g. `x-api-key`.
    Header(&'static str),
    /// As `authorization: Bearer KEY` (RFC 6750).
    Bearer,
}

impl AuthScheme {
    /// The header's name, in lower case.
    pub fn header(self) -> &'static str {
        match self {
            Self::Header(name) => name,
            Self::Bearer => "authorization",
        }
    }

    pub fn present(self, key: &SecretString) -> (String, String) {
        let value = match self {
            Self::Header(_) => key.expose_secret().to_owned(),
            Self::Bearer => format!("Bearer {}", key.expose_secret()),
        };
        (self.header().to_owned(), value)
    }
}

/// The source of a request's authorization.
pub enum Credentials {
    /// Nothing is added; the user's own headers may authorize. `check` names the thing to check when the server
    /// refuses.
    None {
        check: &'static str,
    },
    /// The key that this variable holds.
    Key {
        variable: &'static str,
        scheme: AuthScheme,
        key: SecretString,
    },
    #[cfg(feature = "aws")]
    SigV4(aws::Signer),
    #[cfg(feature = "google-cloud")]
    Google(google::ApplicationDefault),
    Entra(entra::Entra),
}

impl Credentials {
    /// AWS's chain of credentials; nothing is read yet.
    #[cfg(feature = "aws")]
    pub fn aws(region: String, environment: &Environment, transport: Arc<dyn Transport>) -> Self {
        Self::SigV4(aws::Signer::new(region, environment, transport))
    }

    /// Google's application-default credentials; nothing is read yet.
    #[cfg(feature = "google-cloud")]
    pub fn google(environment: &Environment, transport: Arc<dyn Transport>) -> Self {
        Self::Google(google::ApplicationDefault::new(environment, transport))
    }

    /// Microsoft Entra; nothing is read yet.
    pub fn entra(environment: &Environment, transport: Arc<dyn Transport>) -> Self {
        Self::Entra(entra::Entra::new(environment, transport))
    }

    /// Adds the headers that authorize `request`. Tokens are fetched and renewed here, within their own limits of time.
    ///
    /// # Errors
    /// [`AuthError`] when there are no credentials.
    pub async fn authorize(&self, request: &mut HttpRequest) -> Result<(), AuthError> {
        match self {
            Self::None { .. } => {}
            Self::Key { scheme, key, .. } => request.headers.push(scheme.present(key)),
            #[cfg(feature = "aws")]
            Self::SigV4(signer) => signer.sign(request).await?,
            #[cfg(feature = "google-cloud")]
            Self::Google(source) => {
                let access = source.access().await?;
                request.headers.push(AuthScheme::Bearer.present(&access.token));
                let payer = access.quota_project.map(|project| ("x-goog-user-project".to_owned(), project));
                request.headers.extend(payer);
            }
            Self::Entra(source) => request.headers.push(AuthScheme::Bearer.present(&source.token().await?)),
        }
        Ok(())
    }

    /// The thing to check when the server refuses them.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::None { check } => check,
            Self::Key { variable, .. } => variable,
            #[cfg(feature = "aws")]
            Self::SigV4(_) => "the AWS credentials in use, the region, and whether they may use this model",
            #[cfg(feature = "google-cloud")]
            Self::Google(_) => "the Google credentials in use, and whether they may use Vertex AI in this project",
            Self::Entra(_) => "AZURE_API_KEY, or whether this identity has the role Cognitive Services OpenAI User",
        }
    }
}

/// The secret values in `request`: those of the headers that authorize it.
pub(super) fn secrets(request: &HttpRequest) -> impl Iterator<Item = &str> {
    const NAMES: [&str; 5] = ["authorization", "x-amz-security-token", "x-api-key", "api-key", "x-goog-api-key"];
    let headers = request.headers.iter().filter(|(name, _)| NAMES.contains(&name.as_str()));
    headers.map(|(_, value)| value.strip_prefix("Bearer ").unwrap_or(value))
}

/// The project that Google's credentials belong to, when a file names it.
#[cfg(feature = "google-cloud")]
pub fn project_of_credentials(environment: &Environment) -> Option<String> {
    google::project(environment)
}

#[cfg(not(feature = "google-cloud"))]
pub fn project_of_credentials(_: &Environment) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn headers(credentials: Credentials) -> Vec<(String, String)> {
        let mut request = HttpRequest { url: String::new(), headers: Vec::new(), body: Vec::new().into() };
        credentials.authorize(&mut request).await.unwrap();
        request.headers
    }

    fn key(scheme: AuthScheme) -> Credentials {
        Credentials::Key { variable: "OWL_API_KEY", scheme, key: SecretString::from("sk-secret") }
    }

    #[tokio::test]
    async fn a_key_is_in_the_vendors_header() {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(headers(key(AuthScheme::Header("x-api-key"))).await, header("x-api-key", "sk-secret"));
        assert_eq!(headers(key(AuthScheme::Bearer)).await, header("authorization", "Bearer sk-secret"));
        assert_eq!(headers(Credentials::None { check: "" }).await, []);
    }

    #[test]
    fn headers_that_authorize_are_secret() {
        let headers = [("authorization", "Bearer t-1"), ("x-amz-security-token", "t-2"), ("accept", "all")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let request = HttpRequest { url: String::new(), headers, body: Vec::new().into() };
        assert_eq!(secrets(&request).collect::<Vec<_>>(), ["t-1", "t-2"]);
    }
}
