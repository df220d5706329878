//! A person's login: the authorization server found, this program registered there, the person sent to it in a browser,
//! and what comes back exchanged for tokens that are kept.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, CredentialStore, InMemoryCredentialStore, OAuthClientConfig,
};
use secrecy::ExposeSecret;

use super::super::McpError;
use super::super::network::Network;
use super::super::remote::Remote;
use super::callback::{self, AuthorizationCode, Callback, CallbackOutcome};
use super::file::{LoginFile, StoredLogin};
use super::http::GuardedHttp;
use super::{LoginAccount, words};
use crate::environment::Environment;
use crate::expert::{Grant, SkillSpec};
use crate::redact::Redactor;

/// The client's name that authorization servers show.
const CLIENT_NAME: &str = "perstack";

/// A login that waits for its person.
pub struct Login {
    skill: String,
    account: LoginAccount,
    file: LoginFile,
    manager: AuthorizationManager,
    http: Arc<GuardedHttp>,
    tokens: InMemoryCredentialStore,
    /// Of a client that was registered for this login.
    client_secret: Option<String>,
    callback: Callback,
    url: String,
    /// The secret that the answer must carry.
    state: String,
}

impl Login {
    /// Prepares a login for the remote skill `spec`: asks its server who authorizes, and listens at `port` (0 for any)
    /// for the browser to come back.
    ///
    /// # Errors
    /// The skill needs no login or cannot have one; its server names no authorization server, or one that may not be
    /// reached, or that does not take this program.
    pub async fn begin(
        spec: &SkillSpec,
        environment: &Environment,
        network: &Network,
        port: u16,
    ) -> Result<Self, McpError> {
        let skill = spec.common().name.clone();
        let failed = |why: String| McpError::Login { skill: skill.clone(), why };
        let (account, file) = account(spec, environment, network)?;
        let callback = Callback::listen(port)
            .await
            .map_err(|error| failed(format!("cannot listen on port {port} of this machine: {error}")))?;
        let (mut manager, http) = account.manager().await.map_err(&failed)?;
        let refused = |error: &AuthError| failed(words(error, &http));
        let tokens = InMemoryCredentialStore::new();
        manager.set_credential_store(tokens.clone());
        let found = manager.resolve_metadata().await.map_err(|error| refused(&error))?;
        let (is_published, metadata) = (found.source.is_discovered(), found.metadata);
        let can_register = metadata.registration_endpoint.is_some();
        let page = metadata.authorization_endpoint.clone();
        manager.set_metadata(metadata);
        let scopes = match account.scopes.as_slice() {
            [] => manager.select_initial_scopes(&[]).await,
            scopes => scopes.to_vec(),
        };
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let mut client_secret = None;
        if let Some(id) = &account.client_id {
            let mut client = OAuthClientConfig::new(id, callback.url());
            if let Some(secret) = &account.client_secret {
                client = client.with_client_secret(secret.expose_secret());
            }
            manager.configure_client(client).map_err(|error| refused(&error))?;
        } else if can_register {
            let registered = manager.register_client(CLIENT_NAME, callback.url(), &scopes).await;
            let client = registered.map_err(|error| {
                let why = if is_published {
                    ""
                } else {
                    "its server names no authorization server, so it was asked itself: "
                };
                failed(format!("{why}{}", words(&error, &http)))
            })?;
            client_secret = client.client_secret;
        } else {
            return Err(failed(
                "its authorization server registers no clients by itself: register one there, and name it by \
                 oauth.clientId"
                    .to_owned(),
            ));
        }
        // A browser that this program's user trusts is sent there.
        let page =
            Url::parse(&page).map_err(|error| failed(format!("its authorization page has no address: {error}")))?;
        http.check(&page).await.map_err(&failed)?;
        let url = manager.get_authorization_url(&scopes).await.map_err(|error| refused(&error))?;
        let state = Url::parse(&url)
            .ok()
            .and_then(|url| url.query_pairs().find(|(name, _)| name == "state").map(|(_, state)| state.into_owned()));
        let state = state.ok_or_else(|| failed("the address to log in at has no state".to_owned()))?;
        Ok(Self { skill, account, file, manager, http, tokens, client_secret, callback, url, state })
    }

    /// The address to open in a browser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address that the browser will return to.
    pub fn comes_back_to(&self) -> &str {
        self.callback.url()
    }

    /// Waits for the browser. Given up, it may take an answer along that has come already.
    pub async fn returned(&self) -> CallbackOutcome {
        self.callback.returned(&self.state).await
    }

    /// Reads the address that a browser elsewhere ended at.
    ///
    /// # Errors
    /// Why it is no answer to this login.
    pub fn read(&self, address: &str) -> Result<CallbackOutcome, &'static str> {
        callback::read(address, &self.state)
    }

    /// Exchanges the answer for tokens, and keeps them. Returns the file that they are in.
    ///
    /// # Errors
    /// The authorization server gives none, or they cannot be kept.
    pub async fn finish(self, answer: &AuthorizationCode) -> Result<PathBuf, McpError> {
        let failed = |why: String| McpError::Login { skill: self.skill.clone(), why };
        let refused = |error: &AuthError| failed(words(error, &self.http));
        self.manager
            .exchange_code_for_token_with_issuer(&answer.code, &answer.state, answer.issuer.as_deref())
            .await
            .map_err(|error| refused(&error))?;
        let credentials = self.tokens.load().await.map_err(|error| refused(&error))?;
        let credentials = credentials.ok_or_else(|| failed("no token was given".to_owned()))?;
        let redirect = self.callback.url().to_owned();
        let kept = StoredLogin::new(&self.account.endpoint, self.client_secret.clone(), redirect, credentials);
        for secret in kept.secrets() {
            self.account.redactor.learn(&secret);
        }
        let unkept = |error: io::Error| failed(format!("{} cannot be written: {error}", self.file.path().display()));
        let _lock = self.file.lock().await.map_err(unkept)?;
        self.file.write(&kept).map_err(unkept)?;
        Ok(self.file.path().to_owned())
    }
}

/// Forgets the login for the remote skill `spec` on this machine; the authorization server is not notified. Returns true when
/// there was one.
///
/// # Errors
/// The skill can have no login, or its file cannot be removed.
pub async fn forget(spec: &SkillSpec, environment: &Environment, network: &Network) -> Result<bool, McpError> {
    let (_, file) = account(spec, environment, network)?;
    let failed = |error: io::Error| McpError::Login {
        skill: spec.common().name.clone(),
        why: format!("{} cannot be removed: {error}", file.path().display()),
    };
    let _lock = file.lock().await.map_err(failed)?;
    file.remove().map_err(failed)
}

/// The account of a skill that a person can log in to, and where the login is kept.
fn account(
    spec: &SkillSpec,
    environment: &Environment,
    network: &Network,
) -> Result<(LoginAccount, LoginFile), McpError> {
    let failed = |why: &str| McpError::Login { skill: spec.common().name.clone(), why: why.to_owned() };
    match spec {
        SkillSpec::McpSseSkill { authorization_env: Some(variable), .. } => {
            return Err(failed(&format!("its token comes from the variable {variable} (authorizationEnv)")));
        }
        SkillSpec::McpSseSkill { oauth: Some(oauth), .. } if oauth.grant == Grant::ClientCredentials => {
            return Err(failed("its token comes from the client's own secret (oauth.grant), so that nobody logs in"));
        }
        SkillSpec::McpSseSkill { .. } => {}
        SkillSpec::McpStdioSkill { .. } | SkillSpec::InteractiveSkill { .. } => {
            return Err(failed("it is not on the network (type mcpSseSkill)"));
        }
    }
    let account = Remote::account(spec, environment, network, &mut Redactor::default())?;
    let file = account.file.clone().ok_or_else(|| failed("there is no folder to keep it in"))?;
    Ok((account, file))
}
