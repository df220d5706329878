//! Tokens while a skill is used: fetched when the first is needed, renewed when they expire or are refused.

use rmcp::transport::auth::{
    AuthError, AuthorizationManager, ClientCredentialsConfig, CredentialStore, InMemoryCredentialStore,
    OAuthClientConfig,
};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use super::file::{LoginFile, StoredLogin, named};
use super::{LoginAccount, words};
use crate::expert::Grant;

/// Gives out the tokens of one skill.
pub(in super::super) struct Tokens {
    account: LoginAccount,
    /// The token given out last. A caller that asks while one is fetched waits for it.
    held: Mutex<Option<AuthorizationManager>>,
}

impl Tokens {
    pub(in super::super) fn new(account: LoginAccount) -> Self {
        Self { account, held: Mutex::default() }
    }

    /// Which grant they come by.
    pub(in super::super) fn grant(&self) -> Grant {
        self.account.grant
    }

    /// Returns true when a person has logged in, as far as the stored file shows.
    pub(in super::super) fn has_login(&self) -> bool {
        self.account.file.as_ref().is_some_and(|file| file.path().exists())
    }

    /// The token to send; `None` when a person would have to log in.
    ///
    /// # Errors
    /// In words: no token could be fetched, or none be read.
    pub(in super::super) async fn current(&self) -> Result<Option<String>, String> {
        self.token(None).await
    }

    /// The token to send when the server has refused that one; `None` when a person would have to log in.
    ///
    /// # Errors
    /// As [`Tokens::current`].
    pub(in super::super) async fn instead_of(&self, refused: &str) -> Result<Option<String>, String> {
        self.token(Some(refused)).await
    }

    async fn token(&self, refused: Option<&str>) -> Result<Option<String>, String> {
        let mut held = self.held.lock().await;
        if let Some(token) = usable(held.as_ref(), refused).await {
            return Ok(Some(token));
        }
        let token = match (self.account.grant, &self.account.file) {
            (Grant::ClientCredentials, _) => self.fetch(&mut held).await?,
            (Grant::AuthorizationCode, Some(file)) => self.of_person(file, &mut held, refused).await?,
            (Grant::AuthorizationCode, None) => None,
        };
        if let Some(token) = &token {
            self.account.redactor.learn(token);
        }
        Ok(token)
    }

    /// A token for the client itself.
    async fn fetch(&self, held: &mut Option<AuthorizationManager>) -> Result<Option<String>, String> {
        let (mut manager, http) = self.account.manager().await?;
        let (Some(id), Some(secret)) = (&self.account.client_id, &self.account.client_secret) else {
            return Err("oauth needs the client's identifier and its secret".to_owned());
        };
        let config = ClientCredentialsConfig::ClientSecret {
            client_id: id.clone(),
            client_secret: secret.expose_secret().to_owned(),
            scopes: self.account.scopes.clone(),
            resource: Some(self.account.endpoint.to_string()),
        };
        let fetched = async {
            let found = manager.resolve_metadata().await?;
            manager.set_metadata(found.metadata);
            manager.validate_client_credentials_metadata(&config)?;
            manager.configure_client_credentials(&config)?;
            manager.exchange_client_credentials(&config).await
        };
        let given = fetched.await.map_err(|error| format!("no token was given: {}", words(&error, &http)))?;
        *held = Some(manager);
        // Taken from the answer: to the library, one that lasts for seconds only has expired.
        Ok(named(&given, "access_token"))
    }

    /// A token of the person who logged in, renewed if need be.
    async fn of_person(
        &self,
        file: &LoginFile,
        held: &mut Option<AuthorizationManager>,
        refused: Option<&str>,
    ) -> Result<Option<String>, String> {
        // It may have been renewed by another process, or anew by the person.
        if self.read_stored(file, held).await?.is_none() {
            return Ok(None);
        }
        if let Some(token) = usable(held.as_ref(), refused).await {
            return Ok(Some(token));
        }
        let _lock = file.lock().await.map_err(|error| unkept(file, &error))?;
        let Some(kept) = self.read_stored(file, held).await? else { return Ok(None) };
        if let Some(token) = usable(held.as_ref(), refused).await {
            return Ok(Some(token));
        }
        let Some(renewed) = self.renew(kept).await? else { return Ok(None) };
        // Before it is used: the old one may be worth nothing any more.
        let (keeper, token) = (file.clone(), renewed.token());
        let written = tokio::task::spawn_blocking(move || keeper.write(&renewed)).await;
        written.map_err(|error| error.to_string())?.map_err(|error| unkept(file, &error))?;
        self.read_stored(file, held).await?;
        Ok(token)
    }

    /// Reads the login that is kept, if there is one.
    async fn read_stored(
        &self,
        file: &LoginFile,
        held: &mut Option<AuthorizationManager>,
    ) -> Result<Option<StoredLogin>, String> {
        *held = None;
        let reader = file.clone();
        let kept = tokio::task::spawn_blocking(move || reader.read()).await.map_err(|error| error.to_string())?;
        let Some(kept) = kept.map_err(|error| unkept(file, &error))? else { return Ok(None) };
        for secret in kept.secrets() {
            self.account.redactor.learn(&secret);
        }
        // Knows no authorization server, so it reports the age of a token and asks nobody for another.
        let (mut manager, http) = self.account.manager().await?;
        store(&mut manager, &kept).await.map_err(|error| words(&error, &http))?;
        *held = Some(manager);
        Ok(Some(kept))
    }

    /// Asks for another token in the place of the kept one; `None` when there is none to be had without the person.
    async fn renew(&self, kept: StoredLogin) -> Result<Option<StoredLogin>, String> {
        let (mut manager, http) = self.account.manager().await?;
        let failed = |error: &AuthError| format!("the login could not be renewed: {}", words(error, &http));
        let tokens = store(&mut manager, &kept).await.map_err(|error| failed(&error))?;
        // False when the server has another authorization server now.
        if !manager.initialize_from_store().await.map_err(|error| failed(&error))? {
            return Ok(None);
        }
        let given = self.account.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        if let Some(secret) = given.or_else(|| kept.client_secret.clone()) {
            let client = OAuthClientConfig::new(&kept.credentials.client_id, &kept.redirect_uri);
            manager.configure_client(client.with_client_secret(secret)).map_err(|error| failed(&error))?;
        }
        match manager.refresh_token().await {
            Ok(_) => {}
            Err(AuthError::AuthorizationRequired | AuthError::TokenRefreshRejected(_)) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        }
        let renewed = tokens.load().await.map_err(|error| failed(&error))?;
        Ok(renewed.map(|credentials| StoredLogin { credentials, ..kept }))
    }
}

/// The token that `manager` holds, unless it has expired or is the refused one.
async fn usable(manager: Option<&AuthorizationManager>, refused: Option<&str>) -> Option<String> {
    manager?.get_access_token().await.ok().filter(|token| Some(token.as_str()) != refused)
}

/// Has `manager` begin with the kept tokens; what it does to them shows in the result.
async fn store(manager: &mut AuthorizationManager, kept: &StoredLogin) -> Result<InMemoryCredentialStore, AuthError> {
    let tokens = InMemoryCredentialStore::new();
    tokens.save(kept.credentials.clone()).await?;
    manager.set_credential_store(tokens.clone());
    Ok(tokens)
}

fn unkept(file: &LoginFile, error: &std::io::Error) -> String {
    format!("the login in {} cannot be used: {error}", file.path().display())
}
