//! The other ways into a vendor's house: older addresses, other interfaces, other credentials.

use super::rows::completed;
use crate::support::{Answer, KEY, Protocol, Provider, Test, call};

/// A test whose provider has these lines of settings.
fn with_setting(provider: Provider, setting: &str) -> Test {
    let toml = format!(
        "[experts.librarian]\ninstruction = \"You find things in books.\"\n\n[provider]\nproviderName = \"{}\"\n\
         [provider.setting]\n{setting}\n",
        provider.name()
    );
    Test::new().toml(&toml).provider(provider)
}

fn two_steps() -> [Answer; 2] {
    [Answer::calls([call("c1", "healthCheck", serde_json::json!({}))]), Answer::text("Owls.")]
}

#[test]
fn azure_is_asked_below_a_deployment() {
    let test = with_setting(Provider::Azure, "useDeploymentBasedUrls = true\napiVersion = \"2024-10-21\"")
        .answers(two_steps());
    test.run(["run", "librarian", "q", "--model", "my gpt"]).assert_code(0);
    let paths: Vec<String> = test.server().requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"; 2]);
}

#[test]
fn azure_is_asked_in_responses_when_configured() {
    let test = with_setting(Provider::Azure, "api = \"responses\"").answers(two_steps());
    completed(&test);
    let protocols: Vec<Protocol> = test.server().requests().into_iter().map(|request| request.protocol).collect();
    assert_eq!(protocols, [Protocol::Responses; 2]);
}

#[test]
fn bedrock_takes_a_session_or_a_key() {
    let test = Test::with(Provider::Bedrock).env("AWS_SESSION_TOKEN", "owl/session+token==").answers(two_steps());
    completed(&test);
    let requests = test.server().requests();
    assert_eq!(requests[0].header("x-amz-security-token"), Some("owl/session+token=="));
    let test = Test::with(Provider::Bedrock).env("AWS_BEARER_TOKEN_BEDROCK", KEY).answers(two_steps());
    completed(&test);
    let bearer = format!("Bearer {KEY}");
    assert_eq!(test.server().requests()[0].header("authorization"), Some(bearer.as_str()));
}

#[test]
fn a_model_on_bedrock_may_be_an_address() {
    let arn =
        "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let test = Test::with(Provider::Bedrock).answers(two_steps());
    test.run(["run", "librarian", "q", "--model", arn]).assert_code(0);
    assert_eq!(test.server().requests()[1].model, arn);
}

#[test]
fn ollama_is_found_with_its_path_and_without() {
    for path in ["", "/", "/api", "/api/"] {
        let test = Test::with(Provider::Ollama).answers(two_steps());
        let test_url = test.server().url(path);
        completed(&test.env("OLLAMA_BASE_URL", &test_url));
    }
}

#[test]
fn an_ollama_that_wants_a_key_is_understood() {
    let test = Test::with(Provider::Ollama).answers([Answer::status(401).message("unauthorized")]);
    test.run(["run", "librarian", "q"])
        .assert_code(1)
        .snapshot("providers-doors/an-ollama-that-wants-a-key-is-understood");
}

#[test]
fn an_address_is_understood_with_its_version_and_without() {
    let cases = [
        (Provider::Anthropic, "", "/v1", true),
        (Provider::OpenAi, "", "/v1", false),
        (Provider::OpenAiChat, "/", "/v1/", false),
        (Provider::Google, "", "/v1beta", false),
        (Provider::DeepSeek, "/deepseek", "/deepseek/v1", false),
    ];
    for (provider, without, with, is_tried_first) in cases {
        for path in [without, with] {
            let test = Test::with(provider).answers(two_steps());
            let url = test.server().url(path);
            let test = test.env(provider.address().0, &url);
            // What is not there is a 404, which the server takes down.
            let test = if path == with || is_tried_first { test } else { test.expecting_violations() };
            completed(&test);
            assert_eq!(test.server().requests().len(), 2, "{provider:?} {path}");
        }
    }
}

#[test]
fn what_is_not_there_is_named_with_its_address() {
    let test = Test::with(Provider::Anthropic).answers([Answer::status(404).message("Not Found")]);
    test.run(["run", "librarian", "q"]).assert_code(1).snapshot("providers-doors/what-is-not-there-is-named");
}
