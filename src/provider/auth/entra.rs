//! [`Entra`]: tokens of Microsoft Entra, for Azure OpenAI where no key is set.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>, managed identities:
//! <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>. Sources are
//! tried in the order of Azure's own libraries: an application's secret or federated token, the machine's identity, the
//! command line of the user who is logged in.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::answer;
use super::cache::{Cache, Fetched};
use super::command;
use super::error::AuthError;
use crate::address::base_url_fault;
use crate::environment::Environment;
use crate::provider::http::fetch::Fetch;
use crate::provider::http::transport::Transport;

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// The metadata service of a virtual machine.
const METADATA: &str = "http://169.254.169.254";
/// For a server on the internet.
const LIMIT: Duration = Duration::from_secs(15);
/// For the machine's own metadata, which answers in milliseconds where there is any (Azure's libraries wait as long).
const METADATA_LIMIT: Duration = Duration::from_secs(1);
/// For `az`, which starts slowly.
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
const REMEDY: &str = "set AZURE_API_KEY, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or log in with \
                      `az login`";

/// The source of tokens, with the last one.
pub struct Entra {
    environment: Environment,
    transport: Arc<dyn Transport>,
    cache: Cache<SecretString>,
}

impl Entra {
    /// Returns the source; nothing is requested yet.
    pub fn new(environment: &Environment, transport: Arc<dyn Transport>) -> Self {
        Self { environment: environment.clone(), transport, cache: Cache::default() }
    }

    /// Returns a valid token.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn token(&self) -> Result<SecretString, AuthError> {
        self.cache.get(Box::pin(self.fetch())).await
    }

    async fn fetch(&self) -> Result<Fetched<SecretString>, AuthError> {
        if let Some(fetch) = self.application()? {
            return answer::token(self.transport.as_ref(), "Microsoft Entra", fetch).await;
        }
        let mut tried = vec!["AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are not all set".to_owned()];
        match self.machine().await {
            Ok(token) => return Ok(token),
            Err(error) => tried.push(format!("no managed identity ({error})")),
        }
        let az = if cfg!(windows) { "az.cmd" } else { "az" };
        let arguments = ["account", "get-access-token", "--scope", SCOPE, "--output", "json"];
        match command::output(az, &arguments, &self.environment, COMMAND_LIMIT).await {
            Ok(Some(text)) => return answer::read("`az account get-access-token`", text.as_bytes()),
            Ok(None) => tried.push("az is not installed".to_owned()),
            Err(error) => tried.push(error.to_string()),
        }
        Err(AuthError::NothingFound { provider: "azure-openai", tried: tried.join(", "), remedy: REMEDY })
    }

    /// The exchange of an application's secret, or of a federated token that vouches for it.
    fn application(&self) -> Result<Option<Fetch>, AuthError> {
        let get = |name: &str| self.environment.get(name);
        let (Some(tenant), Some(client)) = (get("AZURE_TENANT_ID"), get("AZURE_CLIENT_ID")) else { return Ok(None) };
        let mut fields = vec![("client_id", client), ("scope", SCOPE), ("grant_type", "client_credentials")];
        let assertion;
        if let Some(secret) = get("AZURE_CLIENT_SECRET") {
            fields.push(("client_secret", secret));
        } else if let Some(file) = get("AZURE_FEDERATED_TOKEN_FILE") {
            assertion = std::fs::read_to_string(file).map_err(|error| {
                AuthError::unusable(format!("the file {file} that AZURE_FEDERATED_TOKEN_FILE names"), &error)
            })?;
            fields.push(("client_assertion", assertion.trim()));
            fields.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        } else {
            return Ok(None);
        }
        if !is_plain(tenant) {
            return Err(AuthError::unusable("AZURE_TENANT_ID", "it must be a tenant's id or domain"));
        }
        let authority = get("AZURE_AUTHORITY_HOST").unwrap_or(AUTHORITY);
        // Names without a scheme are Azure's own usage.
        let authority = if authority.contains("://") { authority.to_owned() } else { format!("https://{authority}") };
        if let Some(fault) = base_url_fault(&authority, false) {
            return Err(AuthError::unusable("AZURE_AUTHORITY_HOST", fault));
        }
        let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
        Ok(Some(Fetch::form(url, &fields, LIMIT)))
    }

    /// The token of the machine that this runs on.
    async fn machine(&self) -> Result<Fetched<SecretString>, AuthError> {
        let get = |name: &str| self.environment.get(name);
        let client = match get("AZURE_CLIENT_ID") {
            Some(id) if is_plain(id) => format!("&client_id={id}"),
            Some(_) => return Err(AuthError::unusable("AZURE_CLIENT_ID", "it must be an application's id")),
            None => String::new(),
        };
        // App Service, Functions and Container Apps name their own endpoint.
        let fetch = if let (Some(endpoint), Some(secret)) = (get("IDENTITY_ENDPOINT"), get("IDENTITY_HEADER")) {
            let url = format!("{endpoint}?api-version=2019-08-01&resource={RESOURCE}{client}");
            Fetch::get(url, LIMIT).with_header("x-identity-header", secret)
        } else {
            let host = get("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or(METADATA).trim_end_matches('/');
            let url =
                format!("{host}/metadata/identity/oauth2/token?api-version=2018-02-01&resource={RESOURCE}{client}");
            Fetch::get(url, METADATA_LIMIT).with_header("metadata", "true")
        };
        answer::token(self.transport.as_ref(), "the machine's managed identity", fetch).await
    }
}

/// Returns true when `text` can be part of an address without escaping.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::provider::auth::server::{LoopbackServer, reply};

    async fn token(entra: &Entra) -> Result<String, AuthError> {
        entra.token().await.map(|token| token.expose_secret().to_owned())
    }

    fn entra(pairs: &[(&str, &str)]) -> Entra {
        Entra::new(&crate::provider::testing::environment(pairs), crate::provider::auth::server::transport())
    }

    #[tokio::test]
    async fn an_application_shows_its_secret_once_an_hour() {
        let server = LoopbackServer::start([reply(200, r#"{"access_token": "t-1", "expires_in": 3599}"#)]).await;
        let entra = entra(&[
            ("AZURE_TENANT_ID", "nest"),
            ("AZURE_CLIENT_ID", "owl"),
            ("AZURE_CLIENT_SECRET", "hoot hoot"),
            ("AZURE_AUTHORITY_HOST", &server.url),
        ]);
        assert_eq!(token(&entra).await, Ok("t-1".to_owned()));
        assert_eq!(token(&entra).await, Ok("t-1".to_owned()));
        let requests = server.requests();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with("POST /nest/oauth2/v2.0/token HTTP/1.1\r\n"), "{}", requests[0]);
        assert!(
            requests[0].ends_with(
                "client_id=owl&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default&\
                 grant_type=client_credentials&client_secret=hoot+hoot"
            ),
            "{}",
            requests[0]
        );
    }

    #[tokio::test]
    async fn a_federated_token_stands_in_for_the_secret() {
        let server = LoopbackServer::start([reply(200, r#"{"access_token": "t-2", "expires_in": 10}"#)]).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "vouched\n").unwrap();
        let entra = entra(&[
            ("AZURE_TENANT_ID", "nest"),
            ("AZURE_CLIENT_ID", "owl"),
            ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", &server.url),
        ]);
        assert_eq!(token(&entra).await, Ok("t-2".to_owned()));
        assert!(server.requests()[0].contains("client_assertion=vouched&client_assertion_type=urn%3A"));
    }

    #[tokio::test]
    async fn the_machine_vouches_for_itself() {
        let server =
            LoopbackServer::start([reply(200, r#"{"access_token": "t-3", "expires_on": "4102444800"}"#)]).await;
        let entra = entra(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &server.url)]);
        assert_eq!(token(&entra).await, Ok("t-3".to_owned()));
        let request = &server.requests()[0];
        assert!(request.starts_with("GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource="));
        assert!(request.contains("metadata: true\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_refusal_shows_the_reason_and_no_secret() {
        let body =
            r#"{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret.\r\nTrace ID: 1"}"#;
        let server = LoopbackServer::start([reply(401, body)]).await;
        let entra = entra(&[
            ("AZURE_TENANT_ID", "nest"),
            ("AZURE_CLIENT_ID", "owl"),
            ("AZURE_CLIENT_SECRET", "hoot hoot"),
            ("AZURE_AUTHORITY_HOST", &server.url),
        ]);
        let error = token(&entra).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Microsoft Entra gave no token (HTTP status 401): AADSTS7000215: Invalid secret."
        );
        assert!(!error.is_retryable());
    }

    #[tokio::test]
    async fn when_nothing_is_found_the_error_lists_what_was_tried() {
        let server = LoopbackServer::start([reply(400, r#"{"error": "invalid_request"}"#)]).await;
        let error = token(&entra(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &server.url), ("PATH", "/nowhere")])).await;
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "no credentials for azure-openai: AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are not all \
             set, no managed identity (the machine's managed identity gave no token (HTTP status 400): \
             invalid_request), az is not installed; set AZURE_API_KEY, or AZURE_TENANT_ID, AZURE_CLIENT_ID and \
             AZURE_CLIENT_SECRET, or log in with `az login`"
        );
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_command_line_comes_last() {
        let server = LoopbackServer::start([reply(400, "{}")]).await;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/auth/bin");
        let entra = entra(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &server.url), ("PATH", path)]);
        assert_eq!(token(&entra).await, Ok("t-4".to_owned()));
    }
}
