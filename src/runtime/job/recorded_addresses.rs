//! The addresses of servers in recordings: a replay needs the paths of a provider's alone, and of a skill's only whether it
//! is the same. Recorded options and the comparison with another configuration call it.

use sha2::{Digest as _, Sha256};

use crate::environment::Environment;
use crate::hex;
use crate::provider::vendor::vendor;
use crate::runtime::options::Options;
use crate::setting::{ProviderName, ProviderSetting};

/// The host in the place of a server's own, which is nobody else's business.
const SOME_HOST: &str = "server.invalid";
/// The same for the first part of a host's name.
const SOME_RESOURCE: &str = "server";
/// Digits of the digest that stands for a skill's address.
const ENDPOINT_DIGITS: usize = 16;
/// The end of such an address.
const HIDDEN: &str = ".invalid/";

/// The variables that make up the addresses of `providers`, without names of servers.
pub fn recorded_variables(
    providers: impl Iterator<Item = ProviderName>,
    environment: &Environment,
) -> impl Iterator<Item = (String, String)> {
    let names = providers.flat_map(|name| vendor(name).place);
    names.filter_map(|name| Some(((*name).to_owned(), recorded_variable(name, environment.get(name)?)?)))
}

fn recorded_variable(name: &str, value: &str) -> Option<String> {
    match name {
        // It is no part of an address: it comes beside a key.
        "AWS_SESSION_TOKEN" => None,
        "AZURE_RESOURCE_NAME" => Some(SOME_RESOURCE.to_owned()),
        // A name, a port or both will do.
        "OLLAMA_HOST" if !value.contains("://") => Some(without_host(&format!("http://{value}"))),
        _ => Some(without_host(value)),
    }
}

/// The setting of `provider` without names of servers and organizations. A project is a part of Vertex AI's addresses.
pub fn recorded_setting(provider: ProviderName, setting: ProviderSetting) -> ProviderSetting {
    ProviderSetting {
        base_url: setting.base_url.as_deref().map(without_host),
        resource_name: setting.resource_name.map(|_| SOME_RESOURCE.to_owned()),
        organization: None,
        project: setting.project.filter(|_| provider == ProviderName::GoogleVertex),
        ..setting
    }
}

/// Gives `options` the recorded address of their provider, if it is the recorded one: requests are compared, wherever they
/// go to.
pub fn use_recorded_address(options: &mut Options, recorded: &Options) {
    let Some(provider) = recorded.settings.provider else { return };
    if options.settings.provider.is_some_and(|now| now != provider) {
        return;
    }
    let then = recorded.settings.provider_setting.clone();
    let now = &mut options.settings.provider_setting;
    (now.base_url, now.resource_name) = (then.base_url, then.resource_name);
    (now.api_version, now.use_deployment_based_urls) = (then.api_version, then.use_deployment_based_urls);
    (now.region, now.location, now.project) = (then.region, then.location, then.project);
    for name in vendor(provider).place {
        // An empty one counts as none.
        options.environment.set(*name, recorded.environment.get(name).unwrap_or_default());
    }
}

/// The address without its server's name; another text as it is.
fn without_host(address: &str) -> String {
    // `http://:11434`, for one, is an address of a server too.
    let other = || if address.contains("://") { format!("https://{SOME_HOST}/") } else { address.to_owned() };
    let Ok(mut url) = address.parse::<url::Url>() else { return other() };
    if !url.has_host() || url.set_host(Some(SOME_HOST)).is_err() {
        return other();
    }
    // Only an address without a host takes none of these. Plain http is for addresses that are near.
    let _ = (url.set_scheme("https"), url.set_port(None), url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.into()
}

/// A digest in the form of an address, in the place of the address of a skill's server; of one that is hidden, itself.
pub fn hidden_endpoint(address: &str) -> String {
    if address.ends_with(HIDDEN) {
        return address.to_owned();
    }
    let digits = hex::digits(&Sha256::digest(address));
    format!("https://{}{HIDDEN}", digits.get(..ENDPOINT_DIGITS).unwrap_or(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_path_alone() {
        for (address, kept) in [
            ("http://127.0.0.1:4000/v1/", "https://server.invalid/v1/"),
            ("https://me:secret@models.example.org/a?key=k", "https://server.invalid/a"),
            ("http://:11434", "https://server.invalid/"),
            ("2024-10-21", "2024-10-21"),
            ("eu-west-1", "eu-west-1"),
        ] {
            assert_eq!(without_host(address), kept);
        }
    }

    #[test]
    fn no_variable_names_a_server() {
        for (name, value, kept) in [
            ("OLLAMA_HOST", "owls.corp:11434", Some("https://server.invalid/")),
            ("OLLAMA_HOST", "10.0.0.5", Some("https://server.invalid/")),
            ("OLLAMA_HOST", ":11434", Some("https://server.invalid/")),
            ("OLLAMA_HOST", "http://owls.corp/a", Some("https://server.invalid/a")),
            ("AZURE_RESOURCE_NAME", "owls", Some("server")),
            ("AZURE_OPENAI_ENDPOINT", "https://owls.openai.azure.com", Some("https://server.invalid/")),
            ("AWS_SESSION_TOKEN", "t", None),
            ("AWS_REGION", "eu-west-1", Some("eu-west-1")),
        ] {
            assert_eq!(recorded_variable(name, value).as_deref(), kept, "{name}={value}");
        }
    }

    #[test]
    fn an_endpoint_is_known_by_its_digest() {
        let once = hidden_endpoint("https://owls.corp/mcp");
        assert!(!once.contains("owls") && once.ends_with(".invalid/"), "{once}");
        assert_eq!(hidden_endpoint(&once), once);
        assert_ne!(hidden_endpoint("https://owls.corp/sse"), once);
    }
}
