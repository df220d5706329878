//! [`AwsKeys`]: keys from AWS's own chain. [`Signer`]: Signature Version 4 over the whole request.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. The chain (variables,
//! profiles, single sign-on, web identity, containers, instances) is AWS's library, with this crate's variables and
//! HTTP client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_types::os_shim_internal::Env;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::aws_http::AwsHttp;
use super::cache::{self, Cache, Fetched};
use super::error::AuthError;
use crate::environment::Environment;
use crate::hex;
use crate::provider::http::request_body::RequestBody;
use crate::provider::http::transport::{HttpRequest, Transport};

/// The name that Bedrock's requests are signed for.
const SERVICE: &str = "bedrock";
/// For the whole chain: a role that is assumed with another's keys, or a program that asks somebody's single sign-on.
const CHAIN_LIMIT: Duration = Duration::from_secs(30);
const REMEDY: &str = "set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a \
                      profile that is logged in";

/// The keys that AWS's chain finds, renewed when they end.
pub struct AwsKeys {
    region: String,
    environment: Environment,
    transport: Arc<dyn Transport>,
    cache: Cache<Credentials>,
    /// The service that they are for, and the way out where there are none.
    service: &'static str,
    remedy: &'static str,
}

/// Signs requests for one region.
pub struct Signer(AwsKeys);

impl Signer {
    /// Returns the signer; no source is tried yet.
    pub fn new(region: String, environment: &Environment, transport: Arc<dyn Transport>) -> Self {
        Self(AwsKeys::new(region, environment, transport, ("amazon-bedrock", REMEDY)))
    }

    /// Adds the signature's headers.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn sign(&self, request: &mut HttpRequest) -> Result<(), AuthError> {
        let keys = self.0.get().await?;
        let headers = signature(request, &keys, &self.0.region, cache::now())?;
        request.headers.extend(headers);
        Ok(())
    }
}

impl AwsKeys {
    /// The keys for a service in a region, which is named in errors with the way out; no source is tried yet.
    pub fn new(
        region: String,
        environment: &Environment,
        transport: Arc<dyn Transport>,
        (service, remedy): (&'static str, &'static str),
    ) -> Self {
        Self { region, environment: environment.clone(), transport, cache: Cache::default(), service, remedy }
    }

    /// The keys of now.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn get(&self) -> Result<Credentials, AuthError> {
        self.cache.get(Box::pin(self.fetch())).await
    }

    async fn fetch(&self) -> Result<Fetched<Credentials>, AuthError> {
        let get = |name: &str| self.environment.get(name).map(|value| value.trim().to_owned());
        if let (Some(id), Some(secret)) = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            let keys = Credentials::new(id, secret, get("AWS_SESSION_TOKEN"), None, "variables");
            return Ok(Fetched { value: keys, expires: None });
        }
        let keys = timeout(CHAIN_LIMIT, self.chain()).await.map_err(|_| AuthError::TooSlow {
            what: "looking for AWS credentials".to_owned(),
            seconds: CHAIN_LIMIT.as_secs(),
        })??;
        let expires = keys.expiry();
        Ok(Fetched { value: keys, expires })
    }

    async fn chain(&self) -> Result<Credentials, AuthError> {
        let pairs = self.environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = aws_config::defaults(BehaviorVersion::latest())
            .env(Env::from(pairs.collect::<HashMap<String, String>>()))
            .http_client(AwsHttp::new(Arc::clone(&self.transport)))
            .region(Region::new(self.region.clone()));
        let config = match super::aws_files::without_keys(&self.environment) {
            Some(files) => config.profile_files(files),
            None => config,
        };
        let config = config.load().await;
        let nothing = |tried: String| AuthError::NothingFound { provider: self.service, tried, remedy: self.remedy };
        let Some(provider) = config.credentials_provider() else {
            return Err(nothing("AWS's own chain has no source here".to_owned()));
        };
        provider.provide_credentials().await.map_err(|error| match error {
            CredentialsError::CredentialsNotLoaded(_) => nothing(
                "no keys in the variables, in the profile of AWS's files, for a web identity, a container or this machine"
                    .to_owned(),
            ),
            CredentialsError::ProviderTimedOut(_) => AuthError::TooSlow {
                what: "looking for AWS credentials".to_owned(),
                seconds: CHAIN_LIMIT.as_secs(),
            },
            // The text of the causes names the source.
            other => nothing(super::error::shown(&DisplayErrorContext(&other).to_string())),
        })
    }
}

/// The headers that sign `request` at `time`.
fn signature(
    request: &HttpRequest,
    keys: &Credentials,
    region: &str,
    time: SystemTime,
) -> Result<Vec<(String, String)>, AuthError> {
    let unusable = |reason: &dyn std::fmt::Display| AuthError::unusable("the request to be signed", reason);
    let identity = Identity::from(keys.clone());
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unusable(&error))?;
    // Headers that a proxy may change are not signed.
    let is_signed = |name: &str| name == "content-type" || name.starts_with("x-amz");
    let headers = request.headers.iter().filter(|(name, _)| is_signed(name));
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
    let signable = SignableRequest::new("POST", request.url.as_str(), headers, checksum(&request.body))
        .map_err(|error| unusable(&error))?;
    let (instructions, _) = sign(signable, &parameters.into()).map_err(|error| unusable(&error))?.into_parts();
    Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The digest of a body, piece by piece.
fn checksum(body: &RequestBody) -> SignableBody<'static> {
    let mut hasher = Sha256::new();
    body.pieces().iter().for_each(|piece| hasher.update(piece));
    SignableBody::Precomputed(hex::digits(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::provider::auth::server::{LoopbackServer, reply, transport};
    use crate::provider::testing::environment;

    fn request() -> HttpRequest {
        HttpRequest {
            url:
                "https://bedrock-runtime.eu-central-1.amazonaws.com/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/\
                  converse-stream"
                    .to_owned(),
            headers: vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("user-agent".to_owned(), "perstack/0".to_owned()),
            ],
            body: br#"{"messages":[]}"#.to_vec().into(),
        }
    }

    fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
        headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str())
    }

    /// The expected value was computed with AWS's Python library (botocore 1.43, `SigV4Auth`) for the same request.
    #[test]
    fn the_signature_is_that_of_awss_own_library() {
        let keys = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            Some("session/token+1".to_owned()),
            None,
            "test",
        );
        let time = UNIX_EPOCH + Duration::from_mins(24_015_636);
        let headers = signature(&request(), &keys, "eu-central-1", time).unwrap();
        assert_eq!(header(&headers, "x-amz-date"), "20150830T123600Z");
        assert_eq!(header(&headers, "x-amz-security-token"), "session/token+1");
        assert_eq!(
            header(&headers, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-central-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=f302d73ead140bcf54b1d1f4b8e6068efcd075ea990b355e4cb226094bbe9ea6"
        );
    }

    async fn authorization(pairs: &[(&str, &str)]) -> Result<(String, String), AuthError> {
        let signer = Signer::new("eu-central-1".to_owned(), &environment(pairs), transport());
        let mut request = request();
        signer.sign(&mut request).await?;
        let get = |name| header(&request.headers, name).to_owned();
        Ok((get("authorization"), get("x-amz-security-token")))
    }

    #[tokio::test]
    async fn keys_of_the_variables_come_first() {
        let pairs = [("AWS_ACCESS_KEY_ID", "AKIDOWL"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "missing")];
        let (authorization, token) = authorization(&pairs).await.unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDOWL/"), "{authorization}");
        assert!(authorization.contains("/eu-central-1/bedrock/aws4_request, "), "{authorization}");
        assert_eq!(token, "");
    }

    #[tokio::test]
    async fn a_container_gives_keys_that_are_renewed_when_they_end() {
        let keys = |id: &str, end: &str| {
            let body =
                format!(r#"{{"AccessKeyId":"{id}","SecretAccessKey":"s","Token":"t-{id}","Expiration":"{end}"}}"#);
            reply(200, &body)
        };
        let stale = keys("FIRST", "2015-08-30T12:36:00Z");
        let server = LoopbackServer::start([stale, keys("SECOND", "2100-01-01T00:00:00Z")]).await;
        let url = format!("{}/keys", server.url);
        let pairs = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("HOME", "/nowhere")];
        let signer = Signer::new("eu-central-1".to_owned(), &environment(&pairs), transport());
        let mut tokens = Vec::new();
        for _ in 0..3 {
            let mut request = request();
            signer.sign(&mut request).await.unwrap();
            tokens.push(header(&request.headers, "x-amz-security-token").to_owned());
        }
        assert_eq!(tokens, ["t-FIRST", "t-SECOND", "t-SECOND"]);
        assert!(server.requests().iter().all(|request| request.starts_with("GET /keys HTTP/1.1\r\n")));
    }

    #[tokio::test]
    async fn a_profile_of_awss_files_is_found() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let file = "[owls]\naws_access_key_id = AKIDFILE\naws_secret_access_key = s\n";
        std::fs::write(home.path().join(".aws/credentials"), file).unwrap();
        let pairs = [("HOME", home.path().to_str().unwrap()), ("AWS_PROFILE", "owls")];
        let (authorization, _) = authorization(&pairs).await.unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDFILE/"), "{authorization}");
    }

    #[tokio::test]
    async fn a_web_identity_is_exchanged_for_keys() {
        let answer = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                      <AssumeRoleWithWebIdentityResult><Credentials><SessionToken>t-w</SessionToken><SecretAccessKey>s\
                      </SecretAccessKey><Expiration>2100-01-01T00:00:00Z</Expiration><AccessKeyId>AKIDWEB</AccessKeyId>\
                      </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
        let server = LoopbackServer::start([reply(200, answer)]).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "vouched").unwrap();
        let pairs = [
            ("HOME", "/nowhere"),
            ("AWS_ENDPOINT_URL_STS", server.url.as_str()),
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/owl"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ];
        let (authorization, token) = authorization(&pairs).await.unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDWEB/"), "{authorization}");
        assert_eq!(token, "t-w");
        assert!(server.requests()[0].contains("Action=AssumeRoleWithWebIdentity"));
    }

    #[tokio::test]
    async fn no_keys_anywhere_lists_the_places_tried() {
        let pairs = [("HOME", "/nowhere"), ("AWS_EC2_METADATA_DISABLED", "true")];
        let error = authorization(&pairs).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no credentials for amazon-bedrock: no keys in the variables, in the profile of AWS's files, for a web \
             identity, a container or this machine; set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile that is logged in"
        );
    }
}
