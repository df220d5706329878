//! The vendors' own servers, and the credential that a request to one would carry. The command line passes both to
//! `config`, which knows no vendor.

use url::Url;

use super::{WithoutKey, vendor};
use crate::environment::Environment;
use crate::setting::ProviderName;

/// Returns true if `address` is one of the vendor's own servers: a folder that names it sends a key nowhere else.
pub fn is_own_address(name: ProviderName, address: &str) -> bool {
    let Ok(url) = Url::parse(address.trim()) else { return false };
    let Some(host) = url.host_str().filter(|_| url.scheme() == "https" && url.port().is_none()) else { return false };
    let is_within = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    match name {
        // Others have servers beneath googleapis.com too.
        ProviderName::Google => host == "generativelanguage.googleapis.com",
        ProviderName::AzureOpenAi => {
            ["openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"].into_iter().any(is_within)
        }
        // Customers have hosts beneath amazonaws.com too, so the service's own name counts.
        ProviderName::AmazonBedrock => {
            let rest = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"));
            rest.and_then(|rest| rest.split_once('.')).is_some_and(|(service, region)| {
                matches!(service, "bedrock-runtime" | "bedrock-runtime-fips") && !region.contains('.')
            })
        }
        ProviderName::GoogleVertex => {
            let is_region = host.strip_suffix("-aiplatform.googleapis.com").is_some_and(|rest| !rest.contains('.'));
            let is_multi = host
                .strip_prefix("aiplatform.")
                .and_then(|rest| rest.strip_suffix(".rep.googleapis.com"))
                .is_some_and(|region| !region.contains('.'));
            host == "aiplatform.googleapis.com" || is_region || is_multi
        }
        ProviderName::Ollama => host == "ollama.com",
        _ => vendor(name).home.is_some_and(is_within),
    }
}

/// The user's own credential that a request to the vendor would carry; `None` if it would carry none, or the key of a
/// folder's own `.env`.
pub fn users_credential(name: ProviderName, environment: &Environment) -> Option<&'static str> {
    let vendor = vendor(name);
    if let Some((variable, _)) = vendor.key(environment) {
        return Some(variable.0).filter(|name| environment.users(name).is_some());
    }
    let is_folders = |names: &&[&'static str]| {
        names.iter().all(|name| environment.get(name).is_some())
            && names.iter().any(|name| environment.users(name).is_none())
    };
    if vendor.key_sets.iter().any(is_folders) {
        return None;
    }
    match vendor.without_key {
        WithoutKey::Fails | WithoutKey::NotNeeded => None,
        WithoutKey::Aws => Some("the user's AWS credentials"),
        WithoutKey::Google => Some("the user's Google credentials"),
        WithoutKey::Entra => Some("the user's Microsoft Entra token"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::VariableSource;

    #[test]
    fn a_vendors_own_servers_are_known_by_their_hosts() {
        for (name, address) in [
            (ProviderName::Anthropic, "https://api.anthropic.com/v1"),
            (ProviderName::OpenAi, "https://eu.api.openai.com/v1"),
            (ProviderName::AzureOpenAi, "https://owls.openai.azure.com/openai"),
            (ProviderName::AmazonBedrock, "https://bedrock-runtime.eu-central-1.amazonaws.com"),
            (ProviderName::GoogleVertex, "https://europe-west4-aiplatform.googleapis.com/v1"),
            (ProviderName::GoogleVertex, "https://aiplatform.eu.rep.googleapis.com/v1"),
        ] {
            assert!(is_own_address(name, address), "{address}");
        }
        for (name, address) in [
            (ProviderName::Anthropic, "https://evilanthropic.com/v1"),
            (ProviderName::Anthropic, "https://api.anthropic.com.evil.example/v1"),
            (ProviderName::Anthropic, "http://api.anthropic.com/v1"),
            (ProviderName::OpenAi, "https://api.openai.com:8443/v1"),
            (ProviderName::OpenAi, "https://api.anthropic.com/v1"),
            (ProviderName::Google, "https://storage.googleapis.com/bucket"),
            (ProviderName::AmazonBedrock, "https://x.execute-api.us-east-1.amazonaws.com"),
            (ProviderName::AmazonBedrock, "https://bedrock-runtime.x.elb.us-east-1.amazonaws.com"),
        ] {
            assert!(!is_own_address(name, address), "{address}");
        }
    }

    #[test]
    fn a_credential_is_the_users_unless_the_folder_brings_the_key() {
        let users: Environment = [("ANTHROPIC_API_KEY".to_owned(), "k".to_owned())].into_iter().collect();
        assert_eq!(users_credential(ProviderName::Anthropic, &users), Some("ANTHROPIC_API_KEY"));
        assert_eq!(users_credential(ProviderName::OpenAi, &users), None);
        assert_eq!(users_credential(ProviderName::Ollama, &users), None);
        let mut folders = Environment::default();
        folders.set_if_absent("ANTHROPIC_API_KEY", "k", VariableSource::Folder);
        assert_eq!(users_credential(ProviderName::Anthropic, &folders), None);
        assert_eq!(
            users_credential(ProviderName::GoogleVertex, &Environment::default()),
            Some("the user's Google credentials")
        );
    }
}
