//! The `[provider]` table: which provider, and how to reach it.

use indexmap::IndexMap;
use reqwest::header::{HeaderName, HeaderValue};

use super::address::base_url_fault;
use super::reader::{Findings, Node, Table};
use crate::setting::{OpenAiApi, ProviderName, ProviderSetting};

/// The keys of `[provider.setting]` that `provider` reads.
fn setting_keys(provider: ProviderName) -> &'static [&'static str] {
    match provider {
        ProviderName::Anthropic | ProviderName::Google | ProviderName::Ollama | ProviderName::DeepSeek => {
            &["baseUrl", "headers"]
        }
        ProviderName::OpenAi => &["baseUrl", "organization", "project", "name", "headers", "api"],
        ProviderName::AzureOpenAi => &["resourceName", "apiVersion", "baseUrl", "headers", "useDeploymentBasedUrls"],
        ProviderName::AmazonBedrock => &["region"],
        ProviderName::GoogleVertex => &["project", "location", "baseUrl", "headers"],
    }
}

/// Reads `[provider]`. Settings that are another provider's are left out, as all unknown keys are.
pub(super) fn provider(node: &Node<'_>, findings: &mut Findings) -> Option<(ProviderName, ProviderSetting)> {
    let table = node.table(findings)?;
    table.warn_unknown(&["providerName", "setting"], findings);
    let names = ProviderName::ALL.map(|name| (name.as_str(), name));
    let name =
        table.required("providerName", "a provider, such as \"anthropic\"", findings)?.choice(&names, findings)?;
    let setting = match table.get("setting").map(|node| node.table(findings)) {
        Some(table) => setting(&table?, name, findings),
        None => ProviderSetting::default(),
    };
    Some((name, setting))
}

fn setting(table: &Table<'_>, provider: ProviderName, findings: &mut Findings) -> ProviderSetting {
    let known = setting_keys(provider);
    for (key, _) in table.iter() {
        if known.contains(&key.name) {
            continue;
        }
        if ProviderName::ALL.iter().any(|other| setting_keys(*other).contains(&key.name)) {
            findings.unknown_key(&key, &[], &format!("no setting of {provider}"));
        } else {
            findings.unknown_key(&key, known, "unknown key");
        }
    }
    let get = |name: &str| table.get(name).filter(|_| known.contains(&name));
    let base_url = get("baseUrl").and_then(|node| base_url(&node, provider, findings));
    let headers = get("headers").and_then(|node| headers(&node, findings)).unwrap_or_default();
    let use_deployment_based_urls = get("useDeploymentBasedUrls").and_then(|node| node.boolean(findings));
    let api = get("api")
        .and_then(|node| node.choice(&[("responses", OpenAiApi::Responses), ("chat", OpenAiApi::Chat)], findings));
    let mut text = |name: &str| get(name).and_then(|node| node.string(findings)).map(str::to_owned);
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

fn base_url(node: &Node<'_>, provider: ProviderName, findings: &mut Findings) -> Option<String> {
    let text = node.string(findings)?;
    match base_url_fault(text, provider == ProviderName::Ollama) {
        None => Some(text.to_owned()),
        Some(fault) => {
            node.problem(fault, findings);
            None
        }
    }
}

fn headers(node: &Node<'_>, findings: &mut Findings) -> Option<IndexMap<String, String>> {
    let mut headers = IndexMap::new();
    for (key, node) in node.table(findings)?.iter() {
        if HeaderName::from_bytes(key.name.as_bytes()).is_err() {
            key.problem("no name of an HTTP header: use letters, digits and -", findings);
        }
        let Some(value) = node.string(findings) else { continue };
        if HeaderValue::from_str(value).is_err() {
            node.problem("expected a header's value, without line breaks and control characters", findings);
        }
        headers.insert(key.name.to_owned(), value.to_owned());
    }
    Some(headers)
}
