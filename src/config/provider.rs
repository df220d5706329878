//! The `[provider]` table: the provider's name and how to reach it. `file` calls it; the meaning of the settings is
//! left to the provider layer.

use http::header::{HeaderName, HeaderValue};
use indexmap::IndexMap;

use super::error::quoted;
use super::keys::provider_tables::{PROVIDER, provider_setting, provider_table};
use super::keys::values::OPENAI_APIS;
use super::reader::{Diagnostics, Node, Table};
use crate::address::base_url_fault;
use crate::model_name::{InvalidModelName, ModelName};
use crate::setting::{ProviderName, ProviderSetting};

/// Reads `[provider]`. Settings of another provider are left out, as all unknown keys are.
pub(super) fn provider(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<(ProviderName, ProviderSetting)> {
    let table = node.table(diagnostics)?;
    let names = ProviderName::ALL.map(|name| (name.as_str(), name));
    let name = table
        .required("providerName", "a provider, such as \"anthropic\"", diagnostics)?
        .choice(&names, diagnostics)?;
    table.warn_unknown_beside(&[PROVIDER.tag], provider_table(name), diagnostics);
    let setting = match table.get("setting").map(|node| node.table(diagnostics)) {
        Some(table) => setting(&table?, name, diagnostics),
        None => ProviderSetting::default(),
    };
    Some((name, setting))
}

fn setting(table: &Table<'_>, provider: ProviderName, diagnostics: &mut Diagnostics) -> ProviderSetting {
    let known = provider_setting(provider);
    for (key, _) in table.iter() {
        if known.get(key.name).is_some() {
            continue;
        }
        if ProviderName::ALL.iter().any(|other| provider_setting(*other).get(key.name).is_some()) {
            key.unknown(&[], &format!("no setting of {provider}"), diagnostics);
        } else {
            key.unknown(&known.names(), "unknown key", diagnostics);
        }
    }
    let get = |name: &str| table.get(name).filter(|_| known.get(name).is_some());
    let base_url = get("baseUrl").and_then(|node| base_url(&node, provider, diagnostics));
    let headers = get("headers").and_then(|node| headers(&node, diagnostics)).unwrap_or_default();
    let use_deployment_based_urls = get("useDeploymentBasedUrls").and_then(|node| node.boolean(diagnostics));
    let api = get("api").and_then(|node| node.choice(&OPENAI_APIS, diagnostics));
    let mut text = |name: &str| get(name).and_then(|node| node.string(diagnostics)).map(str::to_owned);
    ProviderSetting {
        base_url,
        headers,
        organization: text("organization"),
        project: text("project"),
        name: text("name"),
        resource_name: text("resourceName"),
        api_version: text("apiVersion"),
        use_deployment_based_urls,
        region: text("region"),
        location: text("location"),
        api,
    }
}

fn base_url(node: &Node<'_>, provider: ProviderName, diagnostics: &mut Diagnostics) -> Option<String> {
    let text = node.string(diagnostics)?;
    match base_url_fault(text, provider == ProviderName::Ollama) {
        None => Some(text.to_owned()),
        Some(fault) => {
            node.problem(fault, diagnostics);
            None
        }
    }
}

fn headers(node: &Node<'_>, diagnostics: &mut Diagnostics) -> Option<IndexMap<String, String>> {
    let mut headers = IndexMap::new();
    for (key, node) in node.table(diagnostics)?.iter() {
        if HeaderName::from_bytes(key.name.as_bytes()).is_err() {
            key.problem("no name of an HTTP header: use letters, digits and -", diagnostics);
        }
        let Some(value) = node.string(diagnostics) else { continue };
        if HeaderValue::from_str(value).is_err() {
            node.problem("expected a header's value, without line breaks and control characters", diagnostics);
        }
        headers.insert(key.name.to_owned(), value.to_owned());
    }
    Some(headers)
}

/// `fallback`, of an expert or of all. `own`: the file's model, where it names one.
pub(super) fn fallback(
    node: &Node<'_>,
    own: Option<&ModelName>,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<ModelName>> {
    let mut models: Vec<ModelName> = Vec::new();
    for item in node.list(diagnostics)? {
        let Some(text) = item.string(diagnostics) else { continue };
        match text.parse::<ModelName>() {
            Ok(name) if models.contains(&name) => {
                item.problem(format!("{} is listed twice", quoted(text)), diagnostics);
            }
            Ok(name) => {
                if own == Some(&name) {
                    item.warning(format!("{} is the model itself, ignored", quoted(text)), diagnostics);
                }
                models.push(name);
            }
            Err(InvalidModelName::Provider(error)) => {
                let provider = text.split_once('/').map_or(text, |(provider, _)| provider);
                let hint = diagnostics.hint(provider, ProviderName::ALL.map(ProviderName::as_str));
                item.problem(format!("{error}{hint}"), diagnostics);
            }
            Err(error @ InvalidModelName::Form(_)) => item.problem(error.to_string(), diagnostics),
        }
    }
    Some(models)
}

#[cfg(test)]
mod tests {

    use std::path::Path;

    use super::super::{ConfigError, Project, parse};
    use super::*;
    use crate::setting::OpenAiApi;

    fn read(text: &str) -> Result<Project, ConfigError> {
        parse(text, Path::new("p.toml"))
    }

    fn setting_of(provider: &str, setting: &str) -> Result<Project, ConfigError> {
        read(&format!("[provider]\nproviderName = \"{provider}\"\n[provider.setting]\n{setting}\n"))
    }

    #[test]
    fn every_setting_of_openai_is_read() {
        let text = "baseUrl = \"https://x.example\"\norganization = \"o\"\nproject = \"p\"\nname = \"n\"\napi = \"chat\"\n\
                    headers = { X-A = \"1\" }";
        let expected = ProviderSetting {
            base_url: Some("https://x.example".to_owned()),
            headers: IndexMap::from([("X-A".to_owned(), "1".to_owned())]),
            organization: Some("o".to_owned()),
            project: Some("p".to_owned()),
            name: Some("n".to_owned()),
            api: Some(OpenAiApi::Chat),
            ..ProviderSetting::default()
        };
        assert_eq!(setting_of("openai", text).unwrap().provider_setting, expected);
    }

    #[test]
    fn every_setting_of_the_clouds_is_read() {
        let azure = "resourceName = \"r\"\napiVersion = \"v\"\nuseDeploymentBasedUrls = true\napi = \"responses\"";
        let expected = ProviderSetting {
            resource_name: Some("r".to_owned()),
            api_version: Some("v".to_owned()),
            use_deployment_based_urls: Some(true),
            api: Some(OpenAiApi::Responses),
            ..ProviderSetting::default()
        };
        assert_eq!(setting_of("azure-openai", azure).unwrap().provider_setting, expected);
        let expected = ProviderSetting { region: Some("eu-central-1".to_owned()), ..ProviderSetting::default() };
        assert_eq!(setting_of("amazon-bedrock", "region = \"eu-central-1\"").unwrap().provider_setting, expected);
        let expected = ProviderSetting {
            project: Some("p".to_owned()),
            location: Some("l".to_owned()),
            ..ProviderSetting::default()
        };
        assert_eq!(
            setting_of("google-vertex", "project = \"p\"\nlocation = \"l\"").unwrap().provider_setting,
            expected
        );
    }

    #[test]
    fn settings_of_another_provider_are_left_out() {
        let project = setting_of("anthropic", "region = \"r\"\nbaseurl = \"https://x.example\"").unwrap();
        assert_eq!(project.provider_setting, ProviderSetting::default());
        assert_eq!(
            project.warnings,
            [
                "p.toml:4:1: provider.setting.region: no setting of anthropic",
                "p.toml:5:1: provider.setting.baseurl: unknown key; did you mean \"baseUrl\"?",
            ]
        );
    }

    #[test]
    fn addresses_and_headers_are_checked_and_not_quoted() {
        let error = |provider: &str, setting: &str| setting_of(provider, setting).unwrap_err().to_string();
        assert_eq!(
            error("anthropic", "baseUrl = \"http://x\""),
            "p.toml:4:11: provider.setting.baseUrl: URL must use HTTPS; plain http is for loopback and private addresses \
             only"
        );
        assert_eq!(
            error("openai", "headers = { \"a b\" = \"v\", c = \"x\\ny\", d = 1 }"),
            "p.toml:4:13: provider.setting.headers.a b: no name of an HTTP header: use letters, digits and -\n\
             p.toml:4:30: provider.setting.headers.c: expected a header's value, without line breaks and control \
             characters\n\
             p.toml:4:42: provider.setting.headers.d: expected string, received number"
        );
        assert!(setting_of("ollama", "baseUrl = \"http://ollama:11434\"").is_ok());
    }

    #[test]
    fn fallbacks_are_read_and_their_mistakes_located() {
        let head = "model = \"m\"\n[provider]\nproviderName = \"openai\"\n[experts.e]\ninstruction = \"i\"\n";
        let of = |list: &str| read(&format!("{head}fallback = {list}\n"));
        let project = of("[\"openai/m2\", \"anthropic/m\"]").unwrap();
        let names: Vec<ModelName> = ["openai/m2", "anthropic/m"].map(|name| name.parse().unwrap()).to_vec();
        assert_eq!(project.expert("e").unwrap().fallback, Some(names.clone()));
        assert!(project.warnings.is_empty());
        assert_eq!(of("[]").unwrap().expert("e").unwrap().fallback, Some(Vec::new()));
        let top = read("fallback = [\"openai/m2\", \"anthropic/m\"]\n").unwrap();
        assert_eq!(top.overrides.fallback, Some(names));
        let own = of("[\"openai/m\"]").unwrap();
        assert_eq!(own.warnings, ["p.toml:6:13: experts.e.fallback.0: \"openai/m\" is the model itself, ignored"]);
        let error = of("[\"openai\", \"opnai/m\", 1, \"openai/a\", \"openai/a\"]").unwrap_err().to_string();
        assert_eq!(
            error.lines().collect::<Vec<_>>(),
            [
                "p.toml:6:13: experts.e.fallback.0: expected a provider and a model, such as \"openai/gpt-5-mini\", received \
                 \"openai\"",
                "p.toml:6:23: experts.e.fallback.1: unknown provider \"opnai\": use anthropic, openai, google, deepseek, \
                 fireworks, azure-openai, amazon-bedrock, google-vertex or ollama; did you mean \"openai\"?",
                "p.toml:6:34: experts.e.fallback.2: expected string, received number",
                "p.toml:6:49: experts.e.fallback.4: \"openai/a\" is listed twice",
            ]
        );
        assert!(of("\"openai/m2\"").is_err());
    }

    #[test]
    fn a_mistyped_provider_is_recognised() {
        let error = read("[provider]\nproviderName = \"antropic\"\n").unwrap_err().to_string();
        assert!(error.ends_with("received \"antropic\"; did you mean \"anthropic\"?"), "{error}");
    }
}
