//! Builds a [`Provider`]: settings and variables become an address, credentials and headers, checked once.

use std::sync::Arc;

use secrecy::SecretString;

use crate::environment::Environment;
use crate::expert::ModelTier;
use crate::redact::Redactor;
use crate::setting::{ProviderName, ProviderSetting, ReasoningBudget};

use super::address::BaseUrl;
use super::auth::Credentials;
use super::catalog;
use super::transport::{HttpRequest, Transport};
use super::vendor::{self, Vendor};
use super::watch::Limits;
use super::{EncodedRequest, Protocol, ProviderError};

/// A vendor that can be asked: its row, its wire protocol at this address, credentials, and the way there.
pub struct Provider {
    pub(super) vendor: &'static Vendor,
    pub(super) protocol: Box<dyn Protocol>,
    pub(super) transport: Arc<dyn Transport>,
    /// Knows the key and every header value, for messages.
    pub(super) redactor: Redactor,
    pub(super) limits: Limits,
    base_url: BaseUrl,
    credentials: Credentials,
    /// The vendor's own and the user's, the user's last.
    headers: Vec<(String, String)>,
}

impl Provider {
    /// A provider with the key that the environment holds. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ProviderError`]: no such provider in this version, no key, or an address or header that cannot be used.
    pub fn connect(
        name: ProviderName,
        setting: &ProviderSetting,
        environment: &Environment,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ProviderError> {
        let vendor = vendor::vendor(name)?;
        let key = environment
            .get(vendor.key_variable)
            .map(str::trim)
            .filter(|key| !key.is_empty())
            .ok_or(ProviderError::MissingKey { variable: vendor.key_variable, provider: name })?;
        let credentials = Credentials::Key { scheme: vendor.auth, key: SecretString::from(key) };
        Self::with_credentials(vendor, setting, environment, credentials, transport)
    }

    /// A provider without a key, for a transport that answers from a recording.
    ///
    /// # Errors
    /// As [`Provider::connect`], but for the key.
    pub fn connect_without_key(
        name: ProviderName,
        setting: &ProviderSetting,
        environment: &Environment,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ProviderError> {
        Self::with_credentials(vendor::vendor(name)?, setting, environment, Credentials::None, transport)
    }

    /// The same provider with other limits on silence.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    fn with_credentials(
        vendor: &'static Vendor,
        setting: &ProviderSetting,
        environment: &Environment,
        credentials: Credentials,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ProviderError> {
        let base_url = match (&setting.base_url, environment.get(vendor.base_url_variable)) {
            (Some(url), _) => BaseUrl::parse(url, "baseUrl")?,
            (None, Some(url)) => BaseUrl::parse(url, vendor.base_url_variable)?,
            (None, None) => BaseUrl::parse(vendor.base_url, "baseUrl")?,
        };
        let own = vendor.headers.iter().filter_map(|header| {
            let value = (header.setting)(setting).or_else(|| environment.get(header.variable))?;
            Some((header.name.to_owned(), value.to_owned()))
        });
        let users = setting.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let headers: Vec<(String, String)> = own.chain(users).collect();
        if let Some((name, _)) = headers.iter().cloned().chain(credentials.header()).find(|it| !is_valid_header(it)) {
            return Err(ProviderError::InvalidHeader { name });
        }
        let mut redactor = Redactor::of_environment(environment);
        if let Some(key) = environment.get(vendor.key_variable) {
            redactor.add(key.trim());
        }
        for (_, value) in &headers {
            redactor.add(value);
        }
        Ok(Self {
            vendor,
            protocol: (vendor.protocol)(setting, &base_url),
            transport,
            redactor,
            limits: Limits::default(),
            base_url,
            credentials,
            headers,
        })
    }

    /// Which provider this is.
    pub fn name(&self) -> ProviderName {
        self.vendor.name
    }

    /// The wire protocol it is spoken to in, e.g. `anthropic-messages`.
    pub fn protocol_name(&self) -> &'static str {
        self.protocol.name()
    }

    /// Most characters of a tool's name; a request with a longer one is refused.
    pub fn longest_tool_name(&self) -> usize {
        self.protocol.longest_tool_name()
    }

    /// The model that stands for `tier`; [`ModelTier::Middle`] when nobody asks for one.
    pub fn default_model(&self, tier: ModelTier) -> &'static str {
        self.vendor.tiers.get(tier)
    }

    /// Tokens that prompt and answer of `model` may have together; `None` when the model is not known.
    pub fn context_window(&self, model: &str) -> Option<u64> {
        catalog::model(self.name(), model).map(|model| model.context_window)
    }

    /// The limit on the answer to send, `None` where the provider needs none (it then uses the model's own).
    ///
    /// For a known model its maximum. For an unknown one the vendor's fallback, with room for the reasoning, which
    /// counts as output.
    pub fn max_output_tokens(&self, model: &str, reasoning: ReasoningBudget) -> Option<u64> {
        let fallback = self.vendor.fallback_max_output_tokens?;
        Some(match catalog::model(self.name(), model) {
            Some(model) => model.max_output_tokens,
            None => fallback.saturating_add(reasoning.tokens().unwrap_or(0)),
        })
    }

    /// Adds address, credentials and headers.
    pub(super) fn address(&self, encoded: EncodedRequest) -> HttpRequest {
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("user-agent".to_owned(), concat!("perstack/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        headers.extend(encoded.headers);
        headers.extend(self.credentials.header());
        headers.extend(self.headers.iter().cloned());
        HttpRequest { url: self.base_url.join(&encoded.path), headers, body: encoded.body.to_string().into_bytes() }
    }
}

fn is_valid_header((name, value): &(String, String)) -> bool {
    reqwest::header::HeaderName::try_from(name.as_str()).is_ok()
        && reqwest::header::HeaderValue::try_from(value.as_str()).is_ok()
}

/// Names what is asked, never the key.
impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name())
            .field("protocol", &self.protocol_name())
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use serde_json::json;

    use super::*;
    use crate::provider::testing::{Script, environment};

    fn connect(
        name: ProviderName,
        setting: &ProviderSetting,
        pairs: &[(&str, &str)],
    ) -> Result<Provider, ProviderError> {
        Provider::connect(name, setting, &environment(pairs), Arc::new(Script::silent()))
    }

    fn encoded() -> EncodedRequest {
        EncodedRequest {
            path: "/messages".to_owned(),
            headers: vec![("anthropic-version".to_owned(), "2023-06-01".to_owned())],
            body: json!({ "model": "m" }),
        }
    }

    fn header<'a>(request: &'a HttpRequest, name: &str) -> Vec<&'a str> {
        request.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    #[test]
    fn a_missing_key_names_its_variable_and_what_to_do() {
        let error = connect(ProviderName::Anthropic, &ProviderSetting::default(), &[("ANTHROPIC_API_KEY", "")]);
        assert_eq!(
            error.map(|_| ()).unwrap_err().to_string(),
            "ANTHROPIC_API_KEY is not set: provider anthropic needs a key; set it in the environment or in .env"
        );
    }

    #[test]
    fn a_recording_needs_no_key() {
        let provider = Provider::connect_without_key(
            ProviderName::Anthropic,
            &ProviderSetting::default(),
            &Environment::default(),
            Arc::new(Script::silent()),
        );
        assert_eq!(provider.map(|provider| header(&provider.address(encoded()), "x-api-key").len()), Ok(0));
    }

    #[test]
    fn the_setting_beats_the_variable_for_address_and_headers() {
        let setting = ProviderSetting {
            base_url: Some("http://127.0.0.1:9/v1/".to_owned()),
            project: Some("from-setting".to_owned()),
            headers: IndexMap::from([("X-Team".to_owned(), "owls".to_owned())]),
            ..ProviderSetting::default()
        };
        let pairs = [
            ("OPENAI_API_KEY", "sk-0123456789"),
            ("OPENAI_BASE_URL", "https://other.example.com"),
            ("OPENAI_PROJECT", "from-variable"),
            ("OPENAI_ORGANIZATION", "org"),
        ];
        let provider = connect(ProviderName::OpenAi, &setting, &pairs).unwrap();
        let request = provider.address(encoded());
        assert_eq!(request.url, "http://127.0.0.1:9/v1/messages");
        assert_eq!(request.body, br#"{"model":"m"}"#);
        assert_eq!(header(&request, "authorization"), ["Bearer sk-0123456789"]);
        assert_eq!(header(&request, "openai-project"), ["from-setting"]);
        assert_eq!(header(&request, "openai-organization"), ["org"]);
        assert_eq!(header(&request, "x-team"), ["owls"]);
        assert_eq!(header(&request, "anthropic-version"), ["2023-06-01"]);
    }

    #[test]
    fn an_address_from_a_variable_is_checked_under_the_variables_name() {
        let pairs = [("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "http://example.com/v1")];
        let error = connect(ProviderName::Anthropic, &ProviderSetting::default(), &pairs).unwrap_err().to_string();
        assert!(error.starts_with("ANTHROPIC_BASE_URL is plain http to example.com"), "{error}");
    }

    #[test]
    fn a_header_that_http_does_not_allow_is_refused_without_its_value() {
        let setting = ProviderSetting {
            headers: IndexMap::from([("x-team".to_owned(), "owls\nand more".to_owned())]),
            ..ProviderSetting::default()
        };
        let error = connect(ProviderName::Anthropic, &setting, &[("ANTHROPIC_API_KEY", "k")]).unwrap_err();
        assert_eq!(error, ProviderError::InvalidHeader { name: "x-team".to_owned() });
        assert!(!error.to_string().contains("owls"));
    }

    #[test]
    fn only_anthropic_is_told_how_much_it_may_answer() {
        let setting = ProviderSetting::default();
        let anthropic = connect(ProviderName::Anthropic, &setting, &[("ANTHROPIC_API_KEY", "k")]).unwrap();
        assert_eq!(anthropic.max_output_tokens("claude-sonnet-4-5", ReasoningBudget::High), Some(64_000));
        assert_eq!(anthropic.max_output_tokens("some-model", ReasoningBudget::None), Some(4096));
        assert_eq!(anthropic.max_output_tokens("some-model", ReasoningBudget::High), Some(14_096));
        let openai = connect(ProviderName::OpenAi, &setting, &[("OPENAI_API_KEY", "k")]).unwrap();
        assert_eq!(openai.max_output_tokens("gpt-5", ReasoningBudget::High), None);
        assert_eq!(openai.context_window("gpt-5"), Some(400_000));
    }
}
