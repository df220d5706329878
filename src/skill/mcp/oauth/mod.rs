//! Tokens for remote skills by OAuth: a person's login (authorization code with PKCE), or the client's own secret.
//!
//! Discovery, registration and the token requests are the protocol library's; every one of them goes through
//! `http.rs`, which judges addresses as for the skill itself. What is kept of a login is in `file.rs`; `tokens.rs`
//! gives out tokens while a skill is used, `../http/` sends them, `login.rs` has a person agree.
//! <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization>

use std::sync::Arc;

use reqwest::Url;
use rmcp::transport::auth::{AuthError, AuthorizationManager};
use secrecy::SecretString;

use self::file::LoginFile;
use self::http::GuardedHttp;
use super::McpError;
use super::connection::{MAX_CAUSE, chain};
use super::network::{Network, Route};
use crate::environment::Environment;
use crate::expert::{Grant, OAuth};
use crate::redact::Redactor;

mod callback;
mod file;
mod http;
mod login;
pub(super) mod tokens;

pub use callback::{AuthorizationCode, CallbackOutcome};
pub use login::{Login, forget};

/// This program towards the server of one remote skill.
#[derive(Clone)]
pub(super) struct LoginAccount {
    endpoint: Url,
    route: Route,
    grant: Grant,
    client_id: Option<String>,
    client_secret: Option<SecretString>,
    scopes: Vec<String>,
    /// The file of a person's login, if it is kept.
    file: Option<LoginFile>,
    /// Learns the tokens.
    redactor: Redactor,
}

impl LoginAccount {
    /// The account of `skill` at `endpoint`. The client's secret is added to `redactor`.
    ///
    /// # Errors
    /// A variable without a value.
    pub(super) fn new(
        skill: &str,
        endpoint: &Url,
        oauth: &OAuth,
        route: &Route,
        environment: &Environment,
        network: &Network,
        redactor: &mut Redactor,
    ) -> Result<Self, McpError> {
        let read = |variable: &Option<String>| match variable {
            None => Ok(None),
            Some(variable) => environment
                .for_skill(variable)
                .map(|value| Some(value.to_owned()))
                .ok_or_else(|| McpError::MissingVariable { skill: skill.to_owned(), variable: variable.clone() }),
        };
        let client_id = oauth.client_id.clone().map_or_else(|| read(&oauth.client_id_env), |id| Ok(Some(id)))?;
        let client_secret = read(&oauth.client_secret_env)?;
        if let Some(secret) = &client_secret {
            redactor.add(secret);
        }
        let logins = network.logins.as_deref().filter(|_| oauth.grant == Grant::AuthorizationCode);
        Ok(Self {
            endpoint: endpoint.clone(),
            route: route.clone(),
            grant: oauth.grant,
            file: logins.map(|folder| LoginFile::new(folder, endpoint, client_id.as_deref())),
            client_id,
            client_secret: client_secret.map(SecretString::from),
            scopes: oauth.scopes.clone(),
            redactor: network.redactor.clone(),
        })
    }

    /// The library's side of the protocol, knowing nothing yet, and the client that it sends with.
    ///
    /// # Errors
    /// In words.
    async fn manager(&self) -> Result<(AuthorizationManager, Arc<GuardedHttp>), String> {
        let http = Arc::new(GuardedHttp::new(self.route.clone()));
        let sender = Arc::clone(&http) as Arc<dyn rmcp::transport::auth::OAuthHttpClient>;
        let manager = AuthorizationManager::new_with_oauth_http_client(self.endpoint.as_str(), sender).await;
        Ok((manager.map_err(|error| words(&error, &http))?, http))
    }
}

/// Why the protocol came to nothing: the library's words, and what went wrong below it, which some of them leave out.
fn words(error: &AuthError, http: &GuardedHttp) -> String {
    let text = chain(error);
    let below = http.failure().filter(|below| !text.contains(below.as_str()));
    let whole = below.map_or_else(|| text.clone(), |below| format!("{text}: {below}"));
    // A server's whole answer may be in it.
    whole.chars().take(MAX_CAUSE).collect()
}
