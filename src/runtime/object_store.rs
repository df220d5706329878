//! [`connect`]: the object store at an address, asked through this program's own HTTP client: its proxies and certificates
//! hold. Address of the service, region and credentials come from the variables that are usual for S3; credentials also from
//! AWS's own chain.

use std::fmt;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{ObjectStore as Bucket, RetryConfig};
use url::Url;

use crate::address::is_loopback_url;
use crate::environment::Environment;
use crate::provider::http::fetch;
use crate::provider::http::transport::HttpTransport;
use crate::store::StoreError;
use crate::store::remote::RemoteAddress;

/// The variables, and the settings that they are.
const VARIABLES: [(&str, AmazonS3ConfigKey); 14] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_DEFAULT_REGION", AmazonS3ConfigKey::DefaultRegion),
    ("AWS_REGION", AmazonS3ConfigKey::Region),
    ("AWS_ENDPOINT_URL", AmazonS3ConfigKey::Endpoint),
    ("AWS_ENDPOINT_URL_S3", AmazonS3ConfigKey::S3Endpoint),
    ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", AmazonS3ConfigKey::VirtualHostedStyleRequest),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];
/// Allows `http://` to another machine.
const ALLOW_HTTP: &str = "AWS_ALLOW_HTTP";

/// The object store at `address`. Nothing is asked of it yet.
///
/// # Errors
/// The variables, or the address of the proxy, cannot be used.
pub fn connect(
    address: &RemoteAddress,
    environment: &Environment,
    proxy: Option<&str>,
) -> Result<Arc<dyn Bucket>, StoreError> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Remote {
        what: format!("{address} cannot be asked"),
        source: error,
    };
    let transport = HttpTransport::of_environment(proxy, environment).map_err(|error| unusable(error.into()))?;
    // The user's own: a folder's `.env` must not choose where records go.
    let set = VARIABLES.iter().filter_map(|(name, key)| Some((*key, environment.users(name)?.trim())));
    let builder = set.fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value));
    let transport = Arc::new(transport);
    #[cfg(feature = "aws")]
    let builder = chain::with_chain(builder, &environment.of_user(), &transport);
    let allows_http =
        environment.users(ALLOW_HTTP).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    let store = builder
        .with_bucket_name(address.bucket())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Tries are counted by the callers, which know what was decided meanwhile.
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .with_allow_http(true)
        .with_http_connector(Connector { transport, allows_http })
        .build()
        .map_err(|error| unusable(error.into()))?;
    Ok(Arc::new(store))
}

/// Credentials from AWS's own chain: profiles, single sign-on, web identity, containers, instances.
#[cfg(feature = "aws")]
mod chain {
    use std::fmt;
    use std::sync::Arc;

    use object_store::CredentialProvider;
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};

    use crate::environment::Environment;
    use crate::provider::AwsKeys;
    use crate::provider::http::transport::HttpTransport;
    use crate::provider::vendor::aws_profile;

    /// The region of services that have none.
    const REGION: &str = "us-east-1";

    /// The builder with the chain where the variables have no key, and the profile's region where they have none.
    pub fn with_chain(
        builder: AmazonS3Builder,
        environment: &Environment,
        transport: &Arc<HttpTransport>,
    ) -> AmazonS3Builder {
        let named = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| environment.get(name));
        let of_profile = if named.is_none() { aws_profile::region(environment) } else { None };
        let builder = match &of_profile {
            Some(region) => builder.with_config(AmazonS3ConfigKey::Region, region),
            None => builder,
        };
        if environment.get("AWS_ACCESS_KEY_ID").is_some() {
            return builder;
        }
        let region = named.map(|region| region.trim().to_owned()).or(of_profile).unwrap_or_else(|| REGION.to_owned());
        let remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE to a profile that is logged in";
        let keys =
            AwsKeys::new(region, environment, Arc::<HttpTransport>::clone(transport), ("the object store", remedy));
        builder.with_credentials(Arc::new(Chain(keys)))
    }

    struct Chain(AwsKeys);

    impl fmt::Debug for Chain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Chain")
        }
    }

    #[async_trait::async_trait]
    impl CredentialProvider for Chain {
        type Credential = AwsCredential;

        async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
            let keys = self.0.get().await.map_err(|error| object_store::Error::Unauthenticated {
                path: "credentials".to_owned(),
                source: Box::new(error),
            })?;
            Ok(Arc::new(AwsCredential {
                key_id: keys.access_key_id().to_owned(),
                secret_key: keys.secret_access_key().to_owned(),
                token: keys.session_token().map(str::to_owned),
            }))
        }
    }
}

/// Hands requests to this program's HTTP client.
#[derive(Clone)]
struct Connector {
    transport: Arc<HttpTransport>,
    allows_http: bool,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |what: String| HttpError::new(HttpErrorKind::Connect, std::io::Error::other(what));
        let url = request.uri().to_string();
        let url = Url::parse(&url).map_err(|error| failed(format!("{url} is no URL: {error}")))?;
        // The machine's own credentials come over HTTP from a link-local address.
        let is_local = is_loopback_url(url.as_str()) || fetch::is_metadata(&url);
        if url.scheme() == "http" && !is_local && !self.allows_http {
            let host = url.host_str().unwrap_or_default();
            return Err(failed(format!(
                "{host} would be asked without encryption: use https://, or set {ALLOW_HTTP}=true"
            )));
        }
        let client = self.transport.client(&url).map_err(|error| failed(error.message))?;
        HttpService::call(&client, request).await
    }
}
