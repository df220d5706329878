//! [`Vendor`]: a row with everything about a vendor that is not its wire protocol, and the choice of a vendor.
//!
//! Called by [`Provider`](crate::provider::Provider), which reads a row and does the work; the rows are in `rows.rs`. A
//! vendor whose protocol exists is added there.

pub mod aws_profile;
pub mod azure;
pub mod base_url;
pub mod detect;
pub mod endpoint;
pub mod rows;
pub mod server_address;
pub mod trust;
pub mod variables;

use crate::environment::Environment;
use crate::setting::{ProviderName, ProviderSetting};

use crate::provider::auth::AuthScheme;
use crate::provider::vendor::base_url::BaseUrl;
use crate::provider::vendor::endpoint::EndpointInputs;
use crate::provider::vendor::rows::VENDORS;
use crate::provider::{Protocol, ProviderError};

/// The wire protocol for these settings at this address.
pub type ProtocolOf = fn(&ProviderSetting, &BaseUrl) -> Box<dyn Protocol>;

/// A vendor's row.
pub struct Vendor {
    pub name: ProviderName,
    /// The name in warnings about its tools, as the original writes it.
    pub title: &'static str,
    /// Returns the address, version segment included: the user's, else made of settings, else the vendor's own.
    pub address: fn(EndpointInputs<'_>) -> Result<BaseUrl, ProviderError>,
    /// The version segment of its addresses, which users may leave out; `None` where it is no part of what they write.
    pub version: Option<&'static str>,
    /// The domain of its own servers; `None` where every user has their own models.
    pub home: Option<&'static str>,
    /// An example of such an address, used where nothing is sent.
    pub example: &'static str,
    /// Variables that may hold a key, in order of precedence.
    pub keys: &'static [KeyVariable],
    /// Sets of other variables; when all of one set are there, the vendor can be used.
    pub signs: &'static [&'static [&'static str]],
    /// Sets of other variables that are a key together.
    pub key_sets: &'static [&'static [&'static str]],
    /// Variables that make up its address: a folder's `.env` may set them beside a key.
    pub place: &'static [&'static str],
    /// Variables that are the user's alone: what credentials are read from, and the servers that they go to for a
    /// token.
    pub users_own: &'static [&'static str],
    /// The source of credentials when no variable holds a key.
    pub without_key: WithoutKey,
    /// Headers whose values the user may give.
    pub headers: &'static [OptionalHeader],
    /// The limit to send when the protocol requires one and the model is unknown; `None` where none is required.
    pub fallback_max_output_tokens: Option<u64>,
    pub protocol: ProtocolOf,
}

/// A variable, and how the key in it is presented.
pub struct KeyVariable(pub &'static str, pub AuthScheme);

/// The source of credentials when no variable holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutKey {
    /// The vendor cannot be used.
    Fails,
    /// The vendor needs none.
    NotNeeded,
    /// AWS's chain of credentials.
    Aws,
    /// Google's application-default credentials.
    Google,
    /// A token of Microsoft Entra.
    Entra,
}

/// A header that is sent when the configuration or the environment has a value.
pub struct OptionalHeader {
    pub name: &'static str,
    pub setting: fn(&ProviderSetting) -> Option<&str>,
    pub variables: &'static [&'static str],
}

impl Vendor {
    /// The key that the environment holds, with its variable and scheme.
    pub fn key<'a>(&self, environment: &'a Environment) -> Option<(&'static KeyVariable, &'a str)> {
        self.keys.iter().find_map(|variable| {
            let key = environment.get(variable.0).map(str::trim).filter(|key| !key.is_empty())?;
            Some((variable, key))
        })
    }

    /// Returns true when the environment has what the vendor needs.
    fn is_ready(&self, environment: &Environment) -> bool {
        let is_there = |names: &&[&str]| names.iter().all(|name| environment.get(name).is_some());
        self.key(environment).is_some() || self.signs.iter().any(is_there)
    }

    /// Returns true when the user's own variables, without a folder's `.env`, have what the vendor needs.
    fn is_ready_for_user(&self, environment: &Environment) -> bool {
        let has = |name: &str| environment.users(name).is_some_and(|value| !value.trim().is_empty());
        self.keys.iter().any(|key| has(key.0)) || self.signs.iter().any(|names| names.iter().all(|name| has(name)))
    }

    /// The variables to set so that it can be used.
    fn wanted(&self) -> Option<String> {
        let key = self.keys.first().filter(|_| self.without_key != WithoutKey::NotNeeded);
        key.map(|key| key.0.to_owned()).or_else(|| self.signs.first().map(|names| names.join(" with ")))
    }
}

/// The row of `name`.
pub fn vendor(name: ProviderName) -> &'static Vendor {
    #[expect(
        clippy::indexing_slicing,
        reason = "there is a row for each name, in the order of the names: checked below"
    )]
    &VENDORS[name as usize]
}

// Checked when this is compiled, so that a row that is missing or out of order is an error there.
const _: () = {
    let mut at = 0;
    while at < VENDORS.len() {
        #[expect(clippy::indexing_slicing, reason = "the loop ends at the length")]
        let (vendor, name) = (&VENDORS[at], ProviderName::ALL[at]);
        assert!(vendor.name as usize == at && name as usize == at, "rows are in the order of the names");
        at += 1;
    }
};

/// The first provider whose key is in the environment, in the order of [`ProviderName::ALL`]; the user's own keys come
/// before those of a folder's `.env`. [`find`](crate::provider::find) looks for a local server too.
///
/// # Errors
/// [`ProviderError::NothingToUse`] when no key is there.
pub fn choose(environment: &Environment) -> Result<ProviderName, ProviderError> {
    let users = VENDORS.iter().find(|vendor| vendor.is_ready_for_user(environment));
    users.or_else(|| VENDORS.iter().find(|vendor| vendor.is_ready(environment))).map(|vendor| vendor.name).ok_or_else(
        || {
            let wanted: Vec<String> = VENDORS.iter().filter_map(Vendor::wanted).collect();
            ProviderError::NothingToUse { variables: listed(wanted.iter().map(String::as_str)) }
        },
    )
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
    use crate::environment::VariableSource;
    use crate::hint::ErrorHint as _;

    fn environment(names: &[&str]) -> Environment {
        names.iter().map(|name| ((*name).to_owned(), "value".to_owned())).collect()
    }

    #[test]
    fn without_a_name_the_first_key_decides() {
        assert_eq!(choose(&environment(&["OPENAI_API_KEY"])), Ok(ProviderName::OpenAi));
        assert_eq!(choose(&environment(&["OPENAI_API_KEY", "ANTHROPIC_API_KEY"])), Ok(ProviderName::Anthropic));
    }

    #[test]
    fn the_users_own_key_comes_before_a_folders() {
        let mut both = environment(&["OPENAI_API_KEY"]);
        both.set_if_absent("ANTHROPIC_API_KEY", "value", VariableSource::Folder);
        assert_eq!(choose(&both), Ok(ProviderName::OpenAi));
        let mut folders = environment(&["PATH"]);
        folders.set_if_absent("ANTHROPIC_API_KEY", "value", VariableSource::Folder);
        assert_eq!(choose(&folders), Ok(ProviderName::Anthropic));
    }

    #[test]
    fn a_vendors_other_variables_count_too() {
        assert_eq!(choose(&environment(&["AZURE_OPENAI_API_KEY"])), Ok(ProviderName::AzureOpenAi));
        let is_ready = |names: &[&str]| vendor(ProviderName::AmazonBedrock).is_ready(&environment(names));
        assert!(is_ready(&["AWS_BEARER_TOKEN_BEDROCK"]));
        assert!(is_ready(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]));
        assert!(!is_ready(&["AWS_ACCESS_KEY_ID", "AWS_REGION"]));
    }

    #[test]
    fn without_name_or_key_the_error_lists_what_would_work() {
        let error = choose(&environment(&["PATH"])).unwrap_err().with_hint();
        assert_eq!(
            error,
            "no model provider can be used: no key is set, and no Ollama server answers; set ANTHROPIC_API_KEY, OPENAI_API_KEY, \
             GOOGLE_GENERATIVE_AI_API_KEY, DEEPSEEK_API_KEY, FIREWORKS_API_KEY, AZURE_API_KEY, AWS_BEARER_TOKEN_BEDROCK or \
             GOOGLE_APPLICATION_CREDENTIALS in the environment or in .env"
        );
    }

    #[test]
    fn every_name_has_its_row() {
        for name in ProviderName::ALL {
            assert_eq!(vendor(name).name, name);
        }
    }
}
