//! [`ApplicationDefault`]: Google's application-default credentials, which are a service account's key, a user's
//! log-in, or the machine's own account.
//!
//! <https://google.aip.dev/auth/4110>; the exchange of a signed assertion: <https://google.aip.dev/auth/4112>. The
//! files' forms are those that Google's console and `gcloud` write.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::answer;
use super::cache::{self, Cache, Fetched};
use super::error::AuthError;
use crate::address::base_url_fault;
use crate::environment::Environment;
use crate::provider::http::fetch::Fetch;
use crate::provider::http::transport::Transport;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const METADATA_HOST: &str = "metadata.google.internal";
const METADATA_TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// For a server on the internet.
const LIMIT: Duration = Duration::from_secs(15);
/// For the machine's own metadata; Google's libraries wait as long.
const METADATA_LIMIT: Duration = Duration::from_secs(3);
/// The life of an assertion: the longest that Google accepts.
const ASSERTION_LIFE: u64 = 3600;
/// Most bytes of a file with credentials; they have two kilobytes.
const FILE_LIMIT: u64 = 256 * 1024;
const REMEDY: &str = "set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, or log in with \
                      `gcloud auth application-default login`";

/// The source of tokens, with the last one.
pub struct ApplicationDefault {
    environment: Environment,
    transport: Arc<dyn Transport>,
    cache: Cache<Access>,
}

/// The authorization of a request.
#[derive(Clone)]
pub struct Access {
    pub token: SecretString,
    /// The project that pays, where a user's log-in names one.
    pub quota_project: Option<String>,
}

/// A file with credentials.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Account {
    ServiceAccount {
        client_email: String,
        private_key: SecretString,
        private_key_id: Option<String>,
        token_uri: Option<String>,
        project_id: Option<String>,
    },
    AuthorizedUser {
        client_id: String,
        client_secret: SecretString,
        refresh_token: SecretString,
        token_uri: Option<String>,
        quota_project_id: Option<String>,
    },
}

impl ApplicationDefault {
    /// Returns the source; nothing is requested and no file read yet.
    pub fn new(environment: &Environment, transport: Arc<dyn Transport>) -> Self {
        Self { environment: environment.clone(), transport, cache: Cache::default() }
    }

    /// Returns a valid token.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn access(&self) -> Result<Access, AuthError> {
        self.cache.get(Box::pin(self.fetch())).await
    }

    async fn fetch(&self) -> Result<Fetched<Access>, AuthError> {
        let Some(path) = file(&self.environment) else { return self.machine().await };
        let unusable =
            |reason: String| AuthError::unusable(format!("the file of credentials {}", path.display()), &reason);
        let account = read(&path).map_err(unusable)?;
        let quota_project = match &account {
            Account::AuthorizedUser { quota_project_id, .. } => quota_project_id.clone(),
            Account::ServiceAccount { .. } => None,
        };
        let fetch = account.exchange().map_err(unusable)?;
        let token = answer::token(self.transport.as_ref(), "Google's token server", fetch).await?;
        Ok(with_quota(token, quota_project))
    }

    /// The account of the machine that this runs on.
    async fn machine(&self) -> Result<Fetched<Access>, AuthError> {
        let host = self.environment.get("GCE_METADATA_HOST").unwrap_or(METADATA_HOST);
        let fetch = Fetch::get(format!("http://{host}{METADATA_TOKEN}"), METADATA_LIMIT)
            .with_header("metadata-flavor", "Google");
        match answer::token(self.transport.as_ref(), "the machine's metadata server", fetch).await {
            Ok(token) => Ok(with_quota(token, None)),
            Err(error) => Err(AuthError::NothingFound {
                provider: "google-vertex",
                tried: format!(
                    "GOOGLE_APPLICATION_CREDENTIALS is not set, no user is logged in with gcloud, and this machine has \
                     no account of its own ({error})"
                ),
                remedy: REMEDY,
            }),
        }
    }
}

/// The project that the file of credentials belongs to, if there is a file and it names one.
pub fn project(environment: &Environment) -> Option<String> {
    match read(&file(environment)?).ok()? {
        Account::ServiceAccount { project_id, .. } => project_id,
        Account::AuthorizedUser { quota_project_id, .. } => quota_project_id,
    }
}

fn with_quota(Fetched { value, expires }: Fetched<SecretString>, quota_project: Option<String>) -> Fetched<Access> {
    Fetched { value: Access { token: value, quota_project }, expires }
}

/// The file that the variable names, else the one that `gcloud` wrote, if it is there.
fn file(environment: &Environment) -> Option<PathBuf> {
    if let Some(path) = environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
        return Some(PathBuf::from(path));
    }
    let get = |name: &str| environment.get(name).map(PathBuf::from);
    let folder = get("CLOUDSDK_CONFIG")
        .or_else(|| get("APPDATA").filter(|_| cfg!(windows)).map(|path| path.join("gcloud")))
        .or_else(|| get("HOME").map(|home| home.join(".config/gcloud")))?;
    Some(folder.join("application_default_credentials.json")).filter(|path| path.is_file())
}

fn read(path: &Path) -> Result<Account, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.len() > FILE_LIMIT {
        return Err(format!("it is not a file of at most {FILE_LIMIT} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    // The parser's message may quote a value; line and column suffice.
    serde_json::from_str(&text).map_err(|error| match unsupported(&text) {
        Some(kind) => format!(
            "credentials of the type {kind:?} are not supported; use a service account's key or `gcloud auth \
             application-default login`"
        ),
        None => format!(
            "it is neither a service account's key nor a user's log-in (line {}, column {})",
            error.line(),
            error.column()
        ),
    })
}

/// The type that a file names, when it is none of ours.
fn unsupported(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let kind = value.get("type")?.as_str()?;
    let is_ours = matches!(kind, "service_account" | "authorized_user");
    (!is_ours).then(|| kind.chars().take(60).collect())
}

impl Account {
    fn exchange(&self) -> Result<Fetch, String> {
        match self {
            Self::ServiceAccount { client_email, private_key, private_key_id, token_uri, .. } => {
                let url = sound(token_uri.as_deref())?;
                let assertion = assertion(client_email, private_key, private_key_id.as_deref(), &url)?;
                let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                Ok(Fetch::form(url, &[grant, ("assertion", &assertion)], LIMIT))
            }
            Self::AuthorizedUser { client_id, client_secret, refresh_token, token_uri, .. } => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id),
                    ("client_secret", client_secret.expose_secret()),
                    ("refresh_token", refresh_token.expose_secret()),
                ];
                Ok(Fetch::form(sound(token_uri.as_deref())?, &fields, LIMIT))
            }
        }
    }
}

/// The token server's address: a file that came from elsewhere must not send the key in plain text.
fn sound(token_uri: Option<&str>) -> Result<String, String> {
    let url = token_uri.unwrap_or(TOKEN_URI);
    match base_url_fault(url, false) {
        None => Ok(url.to_owned()),
        Some(fault) => Err(format!("its token_uri is not an address to send credentials to ({fault})")),
    }
}

/// A signed assertion of the account's identity (RFC 7523).
fn assertion(email: &str, key: &SecretString, key_id: Option<&str>, audience: &str) -> Result<String, String> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|_| "its private_key is not a PKCS #8 key in PEM form".to_owned())?;
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
        .map_err(|error| format!("its private_key is not an RSA key that can be used ({error})"))?;
    let issued = cache::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key_id });
    let claims = json!({
        "iss": email,
        "scope": SCOPE,
        "aud": audience,
        "iat": issued,
        "exp": issued.saturating_add(ASSERTION_LIFE),
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| "its private_key cannot sign".to_owned())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;
    use crate::provider::auth::server::{LoopbackServer, reply, transport};
    use crate::provider::testing::environment;

    /// Made for these tests; opens nothing.
    const KEY: &str = include_str!("../../../tests/data/auth/throwaway_key.pem");

    fn account(server: &LoopbackServer, folder: &Path) -> String {
        let path = folder.join("account.json");
        let account = json!({
            "type": "service_account",
            "project_id": "nest",
            "private_key_id": "k1",
            "private_key": KEY,
            "client_email": "owl@nest.example.com",
            "token_uri": format!("{}/token", server.url),
        });
        std::fs::write(&path, account.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn token(pairs: &[(&str, &str)]) -> Result<String, String> {
        let access = ApplicationDefault::new(&environment(pairs), transport()).access().await;
        access.map(|access| access.token.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    fn decoded(part: &str) -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_service_account_signs_for_itself() {
        let server = LoopbackServer::start([reply(200, r#"{"access_token": "g-1", "expires_in": 3599}"#)]).await;
        let folder = tempfile::tempdir().unwrap();
        let path = account(&server, folder.path());
        assert_eq!(token(&[("GOOGLE_APPLICATION_CREDENTIALS", &path)]).await, Ok("g-1".to_owned()));
        let request = &server.requests()[0];
        let (_, assertion) = request.split_once("grant-type%3Ajwt-bearer&assertion=").unwrap();
        let (message, signature) = assertion.rsplit_once('.').unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        assert_eq!(decoded(header), json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
        let claims = decoded(claims);
        assert_eq!(
            (&claims["iss"], &claims["scope"], &claims["aud"]),
            (&json!("owl@nest.example.com"), &json!(SCOPE), &json!(format!("{}/token", server.url)))
        );
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
        let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
        public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }

    #[tokio::test]
    async fn a_users_log_in_is_refreshed_and_names_who_pays() {
        let server = LoopbackServer::start([reply(200, r#"{"access_token": "g-2", "expires_in": 3599}"#)]).await;
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".config/gcloud");
        std::fs::create_dir_all(&folder).unwrap();
        let user = json!({
            "type": "authorized_user",
            "client_id": "c",
            "client_secret": "s",
            "refresh_token": "r/1",
            "quota_project_id": "payer",
            "token_uri": format!("{}/token", server.url),
        });
        std::fs::write(folder.join("application_default_credentials.json"), user.to_string()).unwrap();
        let environment = environment(&[("HOME", home.path().to_str().unwrap())]);
        let access = ApplicationDefault::new(&environment, transport()).access().await.unwrap();
        assert_eq!(access.token.expose_secret(), "g-2");
        assert_eq!(access.quota_project.as_deref(), Some("payer"));
        assert_eq!(project(&environment).as_deref(), Some("payer"));
        let request = &server.requests()[0];
        assert!(request.ends_with("grant_type=refresh_token&client_id=c&client_secret=s&refresh_token=r%2F1"));
    }

    #[tokio::test]
    async fn a_machine_has_an_account_of_its_own() {
        let server = LoopbackServer::start([reply(200, r#"{"access_token": "g-3", "expires_in": 10}"#)]).await;
        let host = server.url.strip_prefix("http://").unwrap();
        assert_eq!(token(&[("GCE_METADATA_HOST", host)]).await, Ok("g-3".to_owned()));
        assert!(server.requests()[0].contains("metadata-flavor: Google\r\n"));
    }

    #[tokio::test]
    async fn files_that_cannot_be_used_are_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let name = path.to_str().unwrap();
        let error = async |text: &str| {
            std::fs::write(&path, text).unwrap();
            token(&[("GOOGLE_APPLICATION_CREDENTIALS", name)]).await.unwrap_err()
        };
        let start = format!("the file of credentials {name} cannot be used: ");
        let other = error(r#"{"type": "external_account", "audience": "x"}"#).await;
        assert!(other.starts_with(&start) && other.contains("\"external_account\" are not supported"), "{other}");
        let broken = error(r#"{"type": "service_account", "private_key": "very secret"}"#).await;
        assert!(broken.starts_with(&start) && !broken.contains("very secret"), "{broken}");
        let key = json!({ "type": "service_account", "client_email": "o", "private_key": "very secret" });
        let unsound = error(&key.to_string()).await;
        assert!(unsound.ends_with("its private_key is not a PKCS #8 key in PEM form"), "{unsound}");
        let plain = json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
            "token_uri": "http://example.com/token",
        });
        let plain = error(&plain.to_string()).await;
        assert!(plain.contains("its token_uri is not an address to send credentials to"), "{plain}");
    }
}
