//! Tests of providers built from settings and keys.

use indexmap::IndexMap;
use serde_json::json;

use super::*;
use crate::hint::ErrorHint as _;
use crate::provider::testing::{Script, environment};

fn connect(name: ProviderName, setting: &ProviderSetting, pairs: &[(&str, &str)]) -> Result<Provider, ProviderError> {
    Provider::connect(name, setting, &environment(pairs), Arc::new(Script::silent()))
}

fn encoded() -> EncodedRequest {
    EncodedRequest {
        path: "/messages".to_owned(),
        headers: vec![("anthropic-version".to_owned(), "2023-06-01".to_owned())],
        body: json!({ "model": "m" }).into(),
    }
}

#[test]
fn the_secrets_of_the_latest_requests_are_masked_and_do_not_add_up() {
    let provider = connect(ProviderName::OpenAi, &ProviderSetting::default(), &[("OPENAI_API_KEY", "k-0123456789")]);
    let mut known = provider.unwrap().secrets.into_inner().unwrap();
    for number in 0..1000 {
        let signature = format!("signature-{number:08}");
        assert!(!known.has(&[&signature]));
        known.add(&[&signature]);
        assert!(known.has(&[&signature]));
        assert_eq!(known.masked(&format!("k-0123456789 {signature}")), "[redacted] [redacted]");
    }
    assert_eq!(known.latest.len(), SIGNED_REQUESTS);
    assert_eq!(known.masked("signature-00000990 signature-00000007"), "[redacted] signature-00000007");
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Vec<&'a str> {
    request.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_missing_key_names_its_variable_and_what_to_do() {
    let error = connect(ProviderName::Anthropic, &ProviderSetting::default(), &[("ANTHROPIC_API_KEY", "")]);
    assert_eq!(
        error.map(|_| ()).unwrap_err().with_hint(),
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
    let sent = provider.map(|provider| provider.address(encoded(), provider.server.first()));
    assert_eq!(sent.map(|request| header(&request, "x-api-key").len()), Ok(0));
    let nowhere = Provider::connect_without_key(
        ProviderName::AzureOpenAi,
        &ProviderSetting::default(),
        &Environment::default(),
        Arc::new(Script::silent()),
    );
    assert!(nowhere.is_ok());
}

#[tokio::test]
async fn the_setting_beats_the_variable_for_address_and_headers() {
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
    let request = provider.authorized(encoded(), provider.server.first()).await.unwrap();
    assert_eq!(request.url, "http://127.0.0.1:9/v1/messages");
    assert_eq!(request.body.to_vec(), br#"{"model":"m"}"#);
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
fn only_the_vendors_own_address_is_home() {
    let is_at_home = |base_url: Option<&str>| {
        let setting = ProviderSetting { base_url: base_url.map(str::to_owned), ..ProviderSetting::default() };
        connect(ProviderName::OpenAi, &setting, &[("OPENAI_API_KEY", "k")]).map(|provider| provider.is_at_home())
    };
    assert_eq!(is_at_home(None), Ok(true));
    assert_eq!(is_at_home(Some("https://api.openai.com/v1/")), Ok(true));
    assert_eq!(is_at_home(Some("http://127.0.0.1:9/v1")), Ok(false));
}

#[test]
fn a_handed_down_catalogue_is_what_the_provider_knows() {
    let text = "[anthropic]\nlow = \"m\"\n[anthropic.models]\nm = { maxOutput = 7 }\n";
    let catalogue = Arc::new(Catalogue::parse(text, "here").unwrap());
    let setting = ProviderSetting::default();
    let provider = connect(ProviderName::Anthropic, &setting, &[("ANTHROPIC_API_KEY", "k")]).unwrap();
    let provider = provider.with_catalogue(catalogue);
    assert_eq!(provider.default_model(ModelTier::Low), Ok("m"));
    let none = ProviderError::NoDefaultModel { provider: ProviderName::Anthropic };
    assert_eq!(provider.default_model(ModelTier::High), Err(none));
    assert_eq!(provider.max_output_tokens("m", ReasoningBudget::None), Some(7));
    assert_eq!(provider.context_window("m"), None);
    assert_eq!(provider.known_models().collect::<Vec<_>>(), ["m"]);
}

#[test]
fn a_key_that_cannot_be_sent_is_named_by_its_variable() {
    let error = connect(ProviderName::OpenAi, &ProviderSetting::default(), &[("OPENAI_API_KEY", "sk\nsecret")]);
    let error = error.map(|_| ()).unwrap_err();
    assert_eq!(error, ProviderError::InvalidKey { variable: "OPENAI_API_KEY" });
    assert!(!error.to_string().contains("secret"));
}

#[tokio::test]
async fn a_header_of_the_users_stands_in_for_the_key() {
    let setting = ProviderSetting {
        headers: IndexMap::from([("Authorization".to_owned(), "Bearer gateway".to_owned())]),
        ..ProviderSetting::default()
    };
    for key in ["", "k-0123456789"] {
        let provider = connect(ProviderName::OpenAi, &setting, &[("OPENAI_API_KEY", key)]).unwrap();
        let request = provider.authorized(encoded(), provider.server.first()).await.unwrap();
        assert_eq!(header(&request, "authorization"), ["Bearer gateway"], "{key}");
    }
}

#[tokio::test]
async fn azure_takes_a_key_or_a_token() {
    let place = ("AZURE_RESOURCE_NAME", "owls");
    let authorized = async |pairs: &[(&str, &str)]| {
        let provider = connect(ProviderName::AzureOpenAi, &ProviderSetting::default(), pairs).unwrap();
        let request = provider.authorized(encoded(), provider.server.first()).await.unwrap();
        let get = |name| header(&request, name).concat();
        (get("api-key"), get("authorization"))
    };
    let expected = |key: &str, bearer: &str| (key.to_owned(), bearer.to_owned());
    let both = [place, ("AZURE_OPENAI_API_KEY", "second"), ("AZURE_API_KEY", "first")];
    assert_eq!(authorized(&both).await, expected("first", ""));
    assert_eq!(authorized(&[place, ("AZURE_AD_TOKEN", "t")]).await, expected("", "Bearer t"));
}

#[test]
fn only_anthropic_is_sent_a_limit_on_the_answer() {
    let setting = ProviderSetting::default();
    let anthropic = connect(ProviderName::Anthropic, &setting, &[("ANTHROPIC_API_KEY", "k")]).unwrap();
    assert_eq!(anthropic.max_output_tokens("claude-sonnet-4-5", ReasoningBudget::High), Some(64_000));
    assert_eq!(anthropic.max_output_tokens("some-model", ReasoningBudget::None), Some(4096));
    assert_eq!(anthropic.max_output_tokens("some-model", ReasoningBudget::High), Some(14_096));
    let openai = connect(ProviderName::OpenAi, &setting, &[("OPENAI_API_KEY", "k")]).unwrap();
    assert_eq!(openai.max_output_tokens("gpt-5", ReasoningBudget::High), None);
    assert_eq!(openai.context_window("gpt-5"), Some(400_000));
}
