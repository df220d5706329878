//! The vendors: a row each, with everything about one that is not its wire protocol.
//!
//! A vendor whose protocol exists is added as a row. The rows decide nothing; [`Provider`](super::Provider) reads them.

use crate::environment::Environment;
use crate::expert::ModelTier;
use crate::setting::{OpenAiApi, ProviderName, ProviderSetting};

use super::address::BaseUrl;
use super::anthropic::AnthropicMessages;
use super::auth::AuthScheme;
use super::chat::{ChatCompletions, Dialect};
use super::openai::OpenAiResponses;
use super::{Protocol, ProviderError};

/// A vendor's row.
pub struct Vendor {
    pub name: ProviderName,
    /// Where its own servers are, version segment included.
    pub base_url: &'static str,
    /// Points the provider at a gateway or a test server.
    pub base_url_variable: &'static str,
    pub key_variable: &'static str,
    pub auth: AuthScheme,
    /// Headers whose values the user may give.
    pub headers: &'static [OptionalHeader],
    pub tiers: Tiers,
    /// Tokens to ask for where the protocol must name a limit and the model is unknown; `None` where it need not.
    pub fallback_max_output_tokens: Option<u64>,
    /// The wire protocol for these settings at this address.
    pub protocol: fn(&ProviderSetting, &BaseUrl) -> Box<dyn Protocol>,
}

/// A header that is sent when the configuration or the environment has a value.
pub struct OptionalHeader {
    pub name: &'static str,
    pub setting: fn(&ProviderSetting) -> Option<&str>,
    pub variable: &'static str,
}

/// The models that stand for low, middle and high. `middle` is used when nobody names one.
pub struct Tiers {
    pub low: &'static str,
    pub middle: &'static str,
    pub high: &'static str,
}

impl Tiers {
    /// The model that stands for `tier`.
    pub fn get(&self, tier: ModelTier) -> &'static str {
        match tier {
            ModelTier::Low => self.low,
            ModelTier::Middle => self.middle,
            ModelTier::High => self.high,
        }
    }
}

/// In the order in which keys are looked for.
static VENDORS: [Vendor; 2] = [
    Vendor {
        name: ProviderName::Anthropic,
        base_url: "https://api.anthropic.com/v1",
        base_url_variable: "ANTHROPIC_BASE_URL",
        key_variable: "ANTHROPIC_API_KEY",
        auth: AuthScheme::Header("x-api-key"),
        headers: &[],
        tiers: Tiers { low: "claude-haiku-4-5", middle: "claude-sonnet-4-5", high: "claude-opus-4-6" },
        // The original library's number.
        fallback_max_output_tokens: Some(4096),
        protocol: |_, _| Box::new(AnthropicMessages),
    },
    Vendor {
        name: ProviderName::OpenAi,
        base_url: "https://api.openai.com/v1",
        base_url_variable: "OPENAI_BASE_URL",
        key_variable: "OPENAI_API_KEY",
        auth: AuthScheme::Bearer,
        headers: &[
            OptionalHeader {
                name: "openai-organization",
                setting: |setting| setting.organization.as_deref(),
                variable: "OPENAI_ORGANIZATION",
            },
            OptionalHeader {
                name: "openai-project",
                setting: |setting| setting.project.as_deref(),
                variable: "OPENAI_PROJECT",
            },
        ],
        tiers: Tiers { low: "gpt-5-nano", middle: "gpt-5-mini", high: "gpt-5" },
        fallback_max_output_tokens: None,
        protocol: openai_protocol,
    },
];

/// Servers that imitate OpenAI know Chat Completions; few know Responses.
fn openai_protocol(setting: &ProviderSetting, base_url: &BaseUrl) -> Box<dyn Protocol> {
    let (default, dialect) = if base_url.is_within("api.openai.com") {
        (OpenAiApi::Responses, Dialect::OpenAi)
    } else {
        (OpenAiApi::Chat, Dialect::Compatible)
    };
    match setting.api.unwrap_or(default) {
        OpenAiApi::Responses => Box::new(OpenAiResponses),
        OpenAiApi::Chat => Box::new(ChatCompletions { dialect }),
    }
}

/// The row of `name`.
///
/// # Errors
/// [`ProviderError::NotBuilt`] for a provider that this version cannot talk to.
pub fn vendor(name: ProviderName) -> Result<&'static Vendor, ProviderError> {
    VENDORS.iter().find(|vendor| vendor.name == name).ok_or_else(|| ProviderError::NotBuilt {
        provider: name,
        built: listed(VENDORS.iter().map(|v| v.name.as_str())),
    })
}

/// The provider to use: the one that is named, else the first whose key is in the environment.
///
/// # Errors
/// [`ProviderError::NotBuilt`] for a named one, [`ProviderError::NothingToUse`] when no key is there.
pub fn choose(named: Option<ProviderName>, environment: &Environment) -> Result<ProviderName, ProviderError> {
    if let Some(name) = named {
        return vendor(name).map(|vendor| vendor.name);
    }
    VENDORS
        .iter()
        .find(|vendor| environment.get(vendor.key_variable).is_some())
        .map(|vendor| vendor.name)
        .ok_or_else(|| ProviderError::NothingToUse { variables: listed(VENDORS.iter().map(|v| v.key_variable)) })
}

/// `a`, `a or b`, `a, b or c`.
fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::catalog;

    fn environment(names: &[&str]) -> Environment {
        names.iter().map(|name| ((*name).to_owned(), "value".to_owned())).collect()
    }

    #[test]
    fn the_named_provider_wins_over_keys() {
        let environment = environment(&["ANTHROPIC_API_KEY"]);
        assert_eq!(choose(Some(ProviderName::OpenAi), &environment), Ok(ProviderName::OpenAi));
    }

    #[test]
    fn without_a_name_the_first_key_decides() {
        assert_eq!(choose(None, &environment(&["OPENAI_API_KEY"])), Ok(ProviderName::OpenAi));
        assert_eq!(choose(None, &environment(&["OPENAI_API_KEY", "ANTHROPIC_API_KEY"])), Ok(ProviderName::Anthropic));
    }

    #[test]
    fn without_name_or_key_the_error_lists_what_would_work() {
        let error = choose(None, &environment(&["PATH"])).unwrap_err().to_string();
        assert_eq!(
            error,
            "no model provider can be used: no key is set; set ANTHROPIC_API_KEY or OPENAI_API_KEY in the environment \
             or in .env"
        );
    }

    #[test]
    fn a_provider_without_a_row_is_refused_by_name() {
        for name in ProviderName::ALL {
            let built = matches!(name, ProviderName::Anthropic | ProviderName::OpenAi);
            assert_eq!(choose(Some(name), &Environment::default()).is_ok(), built, "{name}");
        }
        let error = choose(Some(ProviderName::Google), &Environment::default()).unwrap_err().to_string();
        assert_eq!(error, "provider google is not built into this version; use anthropic or openai");
    }

    #[test]
    fn openai_speaks_responses_at_home_and_chat_elsewhere_unless_told() {
        let spoken = |url: &str, api| {
            let base = BaseUrl::parse(url, "baseUrl").unwrap();
            openai_protocol(&ProviderSetting { api, ..ProviderSetting::default() }, &base).name()
        };
        let (home, elsewhere) = ("https://api.openai.com/v1", "http://127.0.0.1:8080/v1");
        assert_eq!(spoken(home, None), "openai-responses");
        assert_eq!(spoken(elsewhere, None), "openai-chat");
        assert_eq!(spoken(home, Some(OpenAiApi::Chat)), "openai-chat");
        assert_eq!(spoken(elsewhere, Some(OpenAiApi::Responses)), "openai-responses");
    }

    #[test]
    fn every_row_holds_an_address_that_is_allowed_and_models_that_are_known() {
        for vendor in &VENDORS {
            assert!(BaseUrl::parse(vendor.base_url, "baseUrl").is_ok(), "{}", vendor.base_url);
            for tier in [ModelTier::Low, ModelTier::Middle, ModelTier::High] {
                let id = vendor.tiers.get(tier);
                assert_eq!(catalog::model(vendor.name, id).map(|model| model.id), Some(id));
            }
        }
    }
}
