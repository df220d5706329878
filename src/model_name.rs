//! [`ModelName`]: a model of a provider by name, and the names of the providers. Configuration, experts and records have
//! them; what is known of a model is the catalogue's, in `model`.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares [`ProviderName`]: each provider's variant with its name, in one list.
macro_rules! provider_names {
    ($($variant:ident = $name:literal,)*) => {
        /// The model providers, in the order in which keys are looked for when no provider is named.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ProviderName {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl ProviderName {
            /// All providers.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name in configuration and on the command line.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

provider_names! {
    Anthropic = "anthropic",
    OpenAi = "openai",
    Google = "google",
    DeepSeek = "deepseek",
    Fireworks = "fireworks",
    AzureOpenAi = "azure-openai",
    AmazonBedrock = "amazon-bedrock",
    GoogleVertex = "google-vertex",
    Ollama = "ollama",
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown provider {0:?}: use {names}", names = listed(&ProviderName::ALL))]
pub struct UnknownProvider(String);

/// `a, b or c`.
fn listed(providers: &[ProviderName]) -> String {
    let names: Vec<&str> = providers.iter().map(|provider| provider.as_str()).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl FromStr for ProviderName {
    type Err = UnknownProvider;
    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| UnknownProvider(text.chars().take(60).collect()))
    }
}

/// A model of a provider, written `provider/model`; the model as the provider spells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName {
    pub provider: ProviderName,
    pub model: String,
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// A text that names no model of a provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModelName {
    /// It is not of the form `provider/model`.
    #[error("expected a provider and a model, such as \"openai/gpt-5-mini\", received {0:?}")]
    Form(String),
    #[error(transparent)]
    Provider(#[from] UnknownProvider),
}

impl FromStr for ModelName {
    type Err = InvalidModelName;
    fn from_str(text: &str) -> Result<Self, InvalidModelName> {
        let parts = text.split_once('/').filter(|(provider, model)| {
            !provider.is_empty() && !model.is_empty() && model.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let (provider, model) = parts.ok_or_else(|| InvalidModelName::Form(text.chars().take(60).collect()))?;
        Ok(Self { provider: provider.parse()?, model: model.to_owned() })
    }
}

impl Serialize for ModelName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_with_its_provider() {
        let name: ModelName = "fireworks/accounts/fireworks/models/kimi-k2".parse().unwrap();
        assert_eq!(
            (name.provider, name.model.as_str()),
            (ProviderName::Fireworks, "accounts/fireworks/models/kimi-k2")
        );
        assert_eq!(serde_json::to_value(&name).unwrap(), "fireworks/accounts/fireworks/models/kimi-k2");
        assert_eq!(serde_json::from_value::<ModelName>("openai/gpt-5".into()).unwrap().to_string(), "openai/gpt-5");
        for text in ["", "openai", "openai/", "/gpt-5", "openai/gpt 5", "openai/gpt\u{fc}"] {
            assert!(matches!(text.parse::<ModelName>(), Err(InvalidModelName::Form(_))), "{text:?}");
        }
        assert!(matches!("opnai/gpt-5".parse::<ModelName>(), Err(InvalidModelName::Provider(_))));
    }

    #[test]
    fn provider_names_are_the_originals() {
        for name in ProviderName::ALL {
            assert_eq!(serde_json::to_value(name).ok(), Some(serde_json::json!(name.as_str())));
            assert_eq!(name.as_str().parse(), Ok(name));
        }
    }
}
