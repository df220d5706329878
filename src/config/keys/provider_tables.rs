//! The keys of `[provider]`.

use super::KeyKind::{Choice, Flag, Form, Map, Table};
use super::values::{HEADER_NAME, HEADER_VALUE, OPENAI_APIS, URL, words};
use super::{ConfigKey, KeyTable, KeyUnion, TEXT};
use crate::setting::ProviderName;

/// `[provider]`.
pub(in crate::config) static PROVIDER: KeyUnion = KeyUnion {
    tag: "providerName",
    doc: "The provider of the model.",
    cases: || ProviderName::ALL.map(|provider| (provider.as_str(), provider_table(provider))).to_vec(),
};

const BASE_URL: ConfigKey = ConfigKey::new(
    "baseUrl",
    Form(&URL),
    "The address of the provider, a gateway or a local server, in the place of the provider's own.",
);
const HEADERS: ConfigKey = ConfigKey::new(
    "headers",
    Map(Some(&HEADER_NAME), &Form(&HEADER_VALUE)),
    "Headers that every request is sent with.",
);
const API: ConfigKey = ConfigKey::new(
    "api",
    Choice(|| words(&OPENAI_APIS)),
    "The interface of OpenAI that is used: the Responses API, or Chat Completions.",
);

/// The keys of `[provider.setting]`.
macro_rules! provider_keys {
    ($title:literal, $($key:expr),*) => {{
        static SETTING: KeyTable = KeyTable::new($title, &[&[$($key),*]]);
        static TABLE: KeyTable = KeyTable::new(
            $title,
            &[&[ConfigKey::new("setting", Table(&SETTING), "How to reach the provider.")]],
        );
        (&TABLE, &SETTING)
    }};
}

fn tables_of(provider: ProviderName) -> (&'static KeyTable, &'static KeyTable) {
    match provider {
        ProviderName::OpenAi => provider_keys!(
            "openai",
            BASE_URL,
            HEADERS,
            API,
            ConfigKey::new("organization", TEXT, "The organization that is billed."),
            ConfigKey::new("project", TEXT, "The project that is billed."),
            ConfigKey::new("name", TEXT, "A name for an OpenAI-compatible server.")
        ),
        ProviderName::AzureOpenAi => provider_keys!(
            "azure-openai",
            BASE_URL,
            HEADERS,
            API,
            ConfigKey::new("resourceName", TEXT, "The resource, which is the first part of the address."),
            ConfigKey::new("apiVersion", TEXT, "The version of the interface."),
            ConfigKey::new(
                "useDeploymentBasedUrls",
                Flag,
                "The deployment is named by the address, as in older resources."
            )
        ),
        // The original has the region alone; a gateway needs an address and headers too.
        ProviderName::AmazonBedrock => {
            provider_keys!("amazon-bedrock", ConfigKey::new("region", TEXT, "The region."), BASE_URL, HEADERS)
        }
        ProviderName::GoogleVertex => provider_keys!(
            "google-vertex",
            ConfigKey::new("project", TEXT, "The project."),
            ConfigKey::new("location", TEXT, "The location, such as `europe-west1` or `global`."),
            BASE_URL,
            HEADERS
        ),
        _ => provider_keys!("other providers", BASE_URL, HEADERS),
    }
}

/// The keys of `[provider]` beside its name.
pub(in crate::config) fn provider_table(provider: ProviderName) -> &'static KeyTable {
    tables_of(provider).0
}

/// The keys of `[provider.setting]` that `provider` reads.
pub(in crate::config) fn provider_setting(provider: ProviderName) -> &'static KeyTable {
    tables_of(provider).1
}
