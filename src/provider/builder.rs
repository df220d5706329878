//! [`Provider`] and its construction: settings and variables become an address, credentials and headers, checked once.
//!
//! Called by `runtime` for each provider that experts use. Sending and reading an answer is left to `generate`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use secrecy::SecretString;

use crate::environment::Environment;
use crate::expert::ModelTier;
use crate::generation::GenerationFailure;
use crate::model::{Catalogue, Model};
use crate::redact::Redactor;
use crate::setting::{ProviderName, ProviderSetting, ReasoningBudget};

use crate::provider::auth::{self, Credentials};
use crate::provider::catalog;
use crate::provider::http::transport::{HttpRequest, Transport};
use crate::provider::repair::Repairs;
use crate::provider::timeouts::GenerationTimeouts;
use crate::provider::vendor::base_url::BaseUrl;
use crate::provider::vendor::endpoint::EndpointInputs;
use crate::provider::vendor::server_address::ServerAddress;
use crate::provider::vendor::{self, KeyVariable, Vendor, WithoutKey};
use crate::provider::{EncodedRequest, Protocol, ProviderError};

/// The output limit, without reasoning, of a model that the catalogue does not know: the smallest maximum of the models
/// in use, and the original library's number for unknown ones.
const UNKNOWN_MAX_OUTPUT: u64 = 4096;

/// The latest requests whose signatures are masked. Our own choice: more than a job has under way at once.
const SIGNED_REQUESTS: usize = 64;

/// A vendor ready for requests: its row, its wire protocol at this address, credentials and transport.
pub struct Provider {
    pub(super) vendor: &'static Vendor,
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) transport: Arc<dyn Transport>,
    /// Masks the key and every header value in messages, and what authorized the latest requests.
    secrets: RwLock<KnownSecrets>,
    pub(super) limits: GenerationTimeouts,
    catalogue: Arc<Catalogue>,
    pub(super) server: ServerAddress,
    pub(super) credentials: Credentials,
    /// The vendor's own and the user's, the user's last.
    headers: Vec<(String, String)>,
    /// Parts of conversations that the provider refused.
    pub(super) repairs: Mutex<Repairs>,
}

impl Provider {
    /// Returns a provider with the key that the environment holds, or with a source of credentials for later. Nothing
    /// is sent yet.
    ///
    /// # Errors
    /// [`ProviderError`]: no such provider in this version, no key, or an address or header that cannot be used.
    pub fn connect(
        name: ProviderName,
        setting: &ProviderSetting,
        environment: &Environment,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ProviderError> {
        let vendor = vendor::vendor(name);
        let place = EndpointInputs { setting, environment };
        let base_url = (vendor.address)(place)?;
        let credentials = credentials(vendor, place, &transport)?;
        Self::assemble(vendor, place, base_url, credentials, transport)
    }

    /// Returns a provider without a key, for a transport that answers from a recording.
    ///
    /// # Errors
    /// As [`Provider::connect`], except for a missing key or a missing part of the address.
    pub fn connect_without_key(
        name: ProviderName,
        setting: &ProviderSetting,
        environment: &Environment,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ProviderError> {
        let vendor = vendor::vendor(name);
        let place = EndpointInputs { setting, environment };
        let base_url = match (vendor.address)(place) {
            // A placeholder does: nothing is sent there.
            Err(ProviderError::MissingPlace { .. }) => BaseUrl::parse(vendor.example, "baseUrl")?,
            other => other?,
        };
        Self::assemble(vendor, place, base_url, Credentials::None { check: "the recording" }, transport)
    }

    /// Returns the same provider with other limits on silence.
    #[must_use]
    pub fn with_timeouts(self, limits: GenerationTimeouts) -> Self {
        Self { limits, ..self }
    }

    /// Returns the same provider with another catalogue than the built-in one.
    #[must_use]
    pub fn with_catalogue(self, catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, ..self }
    }

    fn assemble(
        vendor: &'static Vendor,
        EndpointInputs { setting, environment }: EndpointInputs<'_>,
        base_url: BaseUrl,
        credentials: Credentials,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ProviderError> {
        let own = vendor.headers.iter().filter_map(|header| {
            let variable = || header.variables.iter().find_map(|name| environment.get(name));
            let value = (header.setting)(setting).or_else(variable)?;
            Some((header.name.to_owned(), value.to_owned()))
        });
        let users = setting.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let headers: Vec<(String, String)> = own.chain(users).collect();
        if let Some((name, _)) = headers.iter().find(|it| !is_valid_header(it)) {
            return Err(ProviderError::InvalidHeader { name: name.clone() });
        }
        let mut redactor = Redactor::of_environment(environment);
        if let Some((_, key)) = vendor.key(environment) {
            redactor.add(key);
        }
        for (_, value) in &headers {
            redactor.add(value);
        }
        // As Anthropic's own programs do it; and no vendor's own server is anywhere else.
        let is_at_home = vendor.home.is_some_and(|domain| base_url.is_within(domain));
        let adds_version = is_at_home || vendor.name == ProviderName::Anthropic;
        Ok(Self {
            vendor,
            protocol: (vendor.protocol)(setting, &base_url),
            transport,
            secrets: RwLock::new(KnownSecrets { redactor, latest: VecDeque::new() }),
            limits: GenerationTimeouts::default(),
            catalogue: catalog::built_in(),
            server: ServerAddress::new(base_url, vendor.version, adds_version),
            credentials,
            headers,
            repairs: Mutex::default(),
        })
    }

    /// Gets ready for requests beside other work: certificates take milliseconds to load. Nothing is sent.
    pub fn prepare(&self) {
        self.transport.prepare(&self.server.first().join(""));
    }

    /// The provider's name.
    pub fn name(&self) -> ProviderName {
        self.vendor.name
    }

    /// The name that its makers write.
    pub(super) fn title(&self) -> &'static str {
        self.vendor.title
    }

    /// The name of its wire protocol, e.g. `anthropic-messages`.
    pub fn protocol_name(&self) -> &'static str {
        self.protocol.name()
    }

    /// The model of a tier.
    ///
    /// # Errors
    /// [`ProviderError::NoDefaultModel`] where the user names the models, as on Azure.
    pub fn default_model(&self, tier: ModelTier) -> Result<&str, ProviderError> {
        let provider = self.name();
        self.catalogue.tier(provider, tier).ok_or(ProviderError::NoDefaultModel { provider })
    }

    /// The catalogue's entry for `model`.
    pub fn model(&self, model: &str) -> Option<&Model> {
        self.catalogue.model(self.name(), model)
    }

    /// Returns true when models have the provider's own names. Deployments and local models have names that users give.
    pub fn names_its_models(&self) -> bool {
        !matches!(self.name(), ProviderName::AzureOpenAi | ProviderName::Ollama)
    }

    /// Returns true when the address is the vendor's own.
    pub fn is_at_home(&self) -> bool {
        self.vendor.home.is_some_and(|domain| self.server.first().is_within(domain))
    }

    /// The ids of the models in the catalogue.
    pub fn known_models(&self) -> impl Iterator<Item = &str> {
        self.catalogue.models(self.name()).map(|model| model.id.as_str())
    }

    /// Tokens that prompt and answer of `model` may have together; `None` when that is not known.
    pub fn context_window(&self, model: &str) -> Option<u64> {
        self.model(model)?.context_window
    }

    /// The limit on the answer to send; `None` where the provider needs none and uses the model's own.
    ///
    /// For a known model its maximum. For an unknown one the vendor's fallback, with room for the reasoning, which
    /// counts as output.
    pub fn max_output_tokens(&self, model: &str, reasoning: ReasoningBudget) -> Option<u64> {
        let fallback = self.vendor.fallback_max_output_tokens?;
        let known = self.model(model).and_then(|model| model.max_output_tokens);
        Some(known.unwrap_or_else(|| fallback.saturating_add(reasoning.tokens().unwrap_or(0))))
    }

    /// The most tokens that `model` answers with, reasoning included: set aside of a budget before a request, and then
    /// sent as its limit. For an unknown model a number that every model accepts.
    pub fn output_bound(&self, model: &str, reasoning: ReasoningBudget) -> u64 {
        self.max_output_tokens(model, reasoning)
            .or_else(|| self.model(model)?.max_output_tokens)
            .unwrap_or_else(|| UNKNOWN_MAX_OUTPUT.saturating_add(reasoning.tokens().unwrap_or(0)))
    }

    /// Adds the address below `place`, headers and credentials.
    ///
    /// # Errors
    /// [`AuthError`](crate::provider::auth::AuthError), as a failure.
    pub(super) async fn authorized(
        &self,
        encoded: EncodedRequest,
        place: &BaseUrl,
    ) -> Result<HttpRequest, GenerationFailure> {
        let mut request = self.address(encoded, place);
        self.credentials.authorize(&mut request).await?;
        let secrets: Vec<&str> = auth::secrets(&request).collect();
        let is_known = self.secrets.read().unwrap_or_else(PoisonError::into_inner).has(&secrets);
        if !is_known {
            self.secrets.write().unwrap_or_else(PoisonError::into_inner).add(&secrets);
        }
        Ok(request)
    }

    /// `text` with every known secret masked.
    pub(super) fn redacted(&self, text: &str) -> String {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).masked(text)
    }

    fn address(&self, encoded: EncodedRequest, place: &BaseUrl) -> HttpRequest {
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), concat!("perstack/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        headers.extend(encoded.headers);
        headers.extend(self.headers.iter().cloned());
        HttpRequest { url: place.join(&encoded.path), headers, body: encoded.body }
    }
}

/// The secrets of a provider and of its latest requests.
struct KnownSecrets {
    redactor: Redactor,
    /// The secrets of a request: the same for most of them, and a signature of its own for each where they are signed.
    latest: VecDeque<(Vec<String>, Redactor)>,
}

impl KnownSecrets {
    fn has(&self, secrets: &[&str]) -> bool {
        self.latest.iter().any(|(known, _)| known == secrets)
    }

    fn add(&mut self, secrets: &[&str]) {
        if self.latest.len() >= SIGNED_REQUESTS {
            self.latest.pop_front();
        }
        let mut redactor = Redactor::default();
        // One that is known is left to the redactor of all: it masks a longer one that holds it first, and whole.
        for secret in secrets.iter().filter(|secret| self.redactor.text(secret) == **secret) {
            redactor.add(secret);
        }
        self.latest.push_back((secrets.iter().map(|secret| (*secret).to_owned()).collect(), redactor));
    }

    fn masked(&self, text: &str) -> String {
        let redactors = self.latest.iter().map(|(_, redactor)| redactor).chain([&self.redactor]);
        redactors.fold(text.to_owned(), |text, redactor| redactor.text(&text))
    }
}

/// The credentials for `vendor`: the user's own headers, else the key, else the source that its row names.
fn credentials(
    vendor: &Vendor,
    place: EndpointInputs<'_>,
    transport: &Arc<dyn Transport>,
) -> Result<Credentials, ProviderError> {
    let EndpointInputs { setting, environment } = place;
    let is_credential = |name: &String| {
        let is_key_header = |key: &KeyVariable| name.eq_ignore_ascii_case(key.1.header());
        name.eq_ignore_ascii_case("authorization") || vendor.keys.iter().any(is_key_header)
    };
    if setting.headers.keys().any(is_credential) {
        return Ok(Credentials::None { check: "the headers in [provider.setting]" });
    }
    if let Some((KeyVariable(variable, scheme), key)) = vendor.key(environment) {
        let key = SecretString::from(key);
        if !is_valid_header(&scheme.present(&key)) {
            return Err(ProviderError::InvalidKey { variable });
        }
        return Ok(Credentials::Key { variable, scheme: *scheme, key });
    }
    match vendor.without_key {
        WithoutKey::NotNeeded => Ok(Credentials::None { check: vendor.keys.first().map_or("the server", |key| key.0) }),
        WithoutKey::Fails => Err(ProviderError::MissingKey {
            variable: vendor.keys.first().map_or("the key", |key| key.0),
            provider: vendor.name,
        }),
        WithoutKey::Entra => Ok(Credentials::entra(environment, Arc::clone(transport))),
        WithoutKey::Aws => aws(vendor, place, transport),
        WithoutKey::Google => google(vendor, place, transport),
    }
}

#[cfg(feature = "aws")]
fn aws(_: &Vendor, place: EndpointInputs<'_>, transport: &Arc<dyn Transport>) -> Result<Credentials, ProviderError> {
    Ok(Credentials::aws(place.aws_region()?, place.environment, Arc::clone(transport)))
}

#[cfg(not(feature = "aws"))]
fn aws(vendor: &Vendor, _: EndpointInputs<'_>, _: &Arc<dyn Transport>) -> Result<Credentials, ProviderError> {
    let remedy = "set AWS_BEARER_TOKEN_BEDROCK, or build with it";
    Err(ProviderError::FeatureMissing { provider: vendor.name, feature: "aws", remedy })
}

#[cfg(feature = "google-cloud")]
#[expect(clippy::unnecessary_wraps, reason = "its twin without the feature fails")]
fn google(_: &Vendor, place: EndpointInputs<'_>, transport: &Arc<dyn Transport>) -> Result<Credentials, ProviderError> {
    Ok(Credentials::google(place.environment, Arc::clone(transport)))
}

#[cfg(not(feature = "google-cloud"))]
fn google(vendor: &Vendor, _: EndpointInputs<'_>, _: &Arc<dyn Transport>) -> Result<Credentials, ProviderError> {
    let remedy = "build with it, or put a token into headers";
    Err(ProviderError::FeatureMissing { provider: vendor.name, feature: "google-cloud", remedy })
}

fn is_valid_header((name, value): &(String, String)) -> bool {
    reqwest::header::HeaderName::try_from(name.as_str()).is_ok()
        && reqwest::header::HeaderValue::try_from(value.as_str()).is_ok()
}

/// Shows name, protocol and address, never the key.
impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name())
            .field("protocol", &self.protocol_name())
            .field("base_url", self.server.first())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
