//! [`VENDORS`]: a row for each vendor.
//!
//! Read by [`Provider`](crate::provider::Provider) and by the choice of a vendor. The fields are explained at
//! [`Vendor`].

use crate::setting::{OpenAiApi, ProviderName, ProviderSetting};

use crate::provider::Protocol;
use crate::provider::auth::AuthScheme;
use crate::provider::vendor::azure::AzureDeployments;
use crate::provider::vendor::base_url::BaseUrl;
use crate::provider::vendor::{KeyVariable, OptionalHeader, Vendor, WithoutKey};
use crate::provider::wire::anthropic::AnthropicMessages;
use crate::provider::wire::bedrock::BedrockConverse;
use crate::provider::wire::chat::{ChatCompletions, Dialect};
use crate::provider::wire::google::{GeminiGenerateContent, VertexGenerateContent};
use crate::provider::wire::ollama::OllamaChat;
use crate::provider::wire::openai::OpenAiResponses;

const BEARER: AuthScheme = AuthScheme::Bearer;

/// A row for each of [`ProviderName::ALL`], in that order.
pub static VENDORS: [Vendor; ProviderName::ALL.len()] = [
    // Anthropic.
    Vendor {
        name: ProviderName::Anthropic,
        title: "Anthropic",
        address: |inputs| inputs.at("https://api.anthropic.com/v1", &["ANTHROPIC_BASE_URL"]),
        example: "https://api.anthropic.com/v1",
        version: Some("/v1"),
        home: Some("anthropic.com"),
        keys: &[
            KeyVariable("ANTHROPIC_API_KEY", AuthScheme::Header("x-api-key")),
            // The vendor's own programs use this one, mostly with gateways.
            KeyVariable("ANTHROPIC_AUTH_TOKEN", BEARER),
        ],
        signs: &[],
        key_sets: &[],
        place: &["ANTHROPIC_BASE_URL"],
        users_own: &[],
        without_key: WithoutKey::Fails,
        headers: &[],
        // The original library's number.
        fallback_max_output_tokens: Some(4096),
        protocol: |_, _| Box::new(AnthropicMessages),
    },
    // OpenAI, and servers that imitate it.
    Vendor {
        name: ProviderName::OpenAi,
        title: "OpenAI",
        address: |inputs| inputs.at("https://api.openai.com/v1", &["OPENAI_BASE_URL", "OPENAI_API_BASE"]),
        example: "https://api.openai.com/v1",
        version: Some("/v1"),
        home: Some("openai.com"),
        keys: &[KeyVariable("OPENAI_API_KEY", BEARER)],
        signs: &[],
        key_sets: &[],
        place: &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        users_own: &[],
        without_key: WithoutKey::Fails,
        headers: &[
            OptionalHeader {
                name: "openai-organization",
                setting: |setting| setting.organization.as_deref(),
                variables: &["OPENAI_ORGANIZATION", "OPENAI_ORG_ID"],
            },
            OptionalHeader {
                name: "openai-project",
                setting: |setting| setting.project.as_deref(),
                variables: &["OPENAI_PROJECT", "OPENAI_PROJECT_ID"],
            },
        ],
        fallback_max_output_tokens: None,
        protocol: openai_protocol,
    },
    // Google's Gemini interface.
    Vendor {
        name: ProviderName::Google,
        title: "Google",
        address: |inputs| {
            let variables = &["GOOGLE_GENERATIVE_AI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"];
            inputs.at("https://generativelanguage.googleapis.com/v1beta", variables)
        },
        example: "https://generativelanguage.googleapis.com/v1beta",
        version: Some("/v1beta"),
        home: Some("googleapis.com"),
        keys: &[
            KeyVariable("GOOGLE_GENERATIVE_AI_API_KEY", AuthScheme::Header("x-goog-api-key")),
            KeyVariable("GEMINI_API_KEY", AuthScheme::Header("x-goog-api-key")),
            KeyVariable("GOOGLE_API_KEY", AuthScheme::Header("x-goog-api-key")),
        ],
        signs: &[],
        key_sets: &[],
        place: &["GOOGLE_GENERATIVE_AI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"],
        users_own: &[],
        without_key: WithoutKey::Fails,
        headers: &[],
        fallback_max_output_tokens: None,
        protocol: |_, _| Box::new(GeminiGenerateContent),
    },
    // DeepSeek.
    Vendor {
        name: ProviderName::DeepSeek,
        title: "DeepSeek",
        address: |inputs| inputs.at("https://api.deepseek.com/v1", &["DEEPSEEK_BASE_URL"]),
        example: "https://api.deepseek.com/v1",
        version: Some("/v1"),
        home: Some("deepseek.com"),
        keys: &[KeyVariable("DEEPSEEK_API_KEY", BEARER)],
        signs: &[],
        key_sets: &[],
        place: &["DEEPSEEK_BASE_URL"],
        users_own: &[],
        without_key: WithoutKey::Fails,
        headers: &[],
        fallback_max_output_tokens: None,
        protocol: |_, _| Box::new(ChatCompletions { dialect: Dialect::DeepSeek }),
    },
    // Fireworks.
    Vendor {
        name: ProviderName::Fireworks,
        title: "Fireworks",
        address: |inputs| inputs.at("https://api.fireworks.ai/inference/v1", &["FIREWORKS_BASE_URL"]),
        example: "https://api.fireworks.ai/inference/v1",
        version: Some("/v1"),
        home: Some("fireworks.ai"),
        keys: &[KeyVariable("FIREWORKS_API_KEY", BEARER)],
        signs: &[],
        key_sets: &[],
        place: &["FIREWORKS_BASE_URL"],
        users_own: &[],
        without_key: WithoutKey::Fails,
        headers: &[],
        fallback_max_output_tokens: None,
        protocol: |_, _| Box::new(ChatCompletions { dialect: Dialect::Compatible }),
    },
    // OpenAI's models on Azure.
    Vendor {
        name: ProviderName::AzureOpenAi,
        title: "Azure OpenAI",
        address: |inputs| inputs.azure(),
        example: "https://resource.openai.azure.com/openai/v1",
        version: None,
        home: None,
        keys: &[
            KeyVariable("AZURE_API_KEY", AuthScheme::Header("api-key")),
            KeyVariable("AZURE_OPENAI_API_KEY", AuthScheme::Header("api-key")),
            KeyVariable("AZURE_OPENAI_AD_TOKEN", BEARER),
            KeyVariable("AZURE_AD_TOKEN", BEARER),
        ],
        signs: &[],
        key_sets: &[&["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"]],
        place: &["AZURE_BASE_URL", "AZURE_RESOURCE_NAME", "AZURE_OPENAI_ENDPOINT", "AZURE_API_VERSION"],
        users_own: &[
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_AUTHORITY_HOST",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            "AZURE_CONFIG_DIR",
            "IDENTITY_ENDPOINT",
            "IDENTITY_HEADER",
        ],
        without_key: WithoutKey::Entra,
        headers: &[],
        fallback_max_output_tokens: None,
        protocol: azure_protocol,
    },
    // Amazon Bedrock's Converse interface.
    Vendor {
        name: ProviderName::AmazonBedrock,
        title: "Amazon Bedrock",
        address: |inputs| inputs.bedrock(),
        example: "https://bedrock-runtime.us-east-1.amazonaws.com",
        version: None,
        home: Some("amazonaws.com"),
        keys: &[KeyVariable("AWS_BEARER_TOKEN_BEDROCK", BEARER)],
        signs: &[&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]],
        key_sets: &[&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]],
        place: &[
            "AWS_SESSION_TOKEN",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
            "AWS_ENDPOINT_URL",
        ],
        users_own: &[
            "AWS_PROFILE",
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            // Those that AWS's library reads.
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_EC2_METADATA_DISABLED",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            "AWS_ENDPOINT_URL_SIGNIN",
            "AWS_ENDPOINT_URL_SSO",
            "AWS_ENDPOINT_URL_SSO_OIDC",
            "AWS_ENDPOINT_URL_STS",
            "AWS_ROLE_ARN",
            "AWS_ROLE_SESSION_NAME",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
        ],
        without_key: WithoutKey::Aws,
        headers: &[],
        fallback_max_output_tokens: None,
        protocol: |_, _| Box::new(BedrockConverse),
    },
    // Google's Vertex AI, with the same models as `google`.
    Vendor {
        name: ProviderName::GoogleVertex,
        title: "Google Vertex",
        address: |inputs| inputs.vertex(|| crate::provider::auth::project_of_credentials(inputs.environment)),
        example: "https://aiplatform.googleapis.com/v1beta1/projects/project/locations/global/publishers/google",
        version: None,
        home: Some("googleapis.com"),
        keys: &[],
        signs: &[&["GOOGLE_APPLICATION_CREDENTIALS"], &["GOOGLE_VERTEX_PROJECT"]],
        key_sets: &[],
        place: &[
            "GOOGLE_VERTEX_BASE_URL",
            "GOOGLE_VERTEX_PROJECT",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_VERTEX_LOCATION",
            "GOOGLE_CLOUD_LOCATION",
        ],
        users_own: &["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "GCE_METADATA_HOST"],
        without_key: WithoutKey::Google,
        headers: &[],
        fallback_max_output_tokens: None,
        protocol: |_, _| Box::new(VertexGenerateContent),
    },
    // A local Ollama, or one that somebody else runs.
    Vendor {
        name: ProviderName::Ollama,
        title: "Ollama",
        address: |inputs| inputs.ollama(),
        example: "http://127.0.0.1:11434/api",
        version: None,
        home: None,
        // For Ollama's own cloud.
        keys: &[KeyVariable("OLLAMA_API_KEY", BEARER)],
        signs: &[],
        key_sets: &[],
        place: &["OLLAMA_BASE_URL", "OLLAMA_HOST"],
        users_own: &[],
        without_key: WithoutKey::NotNeeded,
        headers: &[],
        fallback_max_output_tokens: None,
        protocol: |_, _| Box::new(OllamaChat),
    },
];

/// Servers that imitate OpenAI know Chat Completions; few know Responses.
fn openai_protocol(setting: &ProviderSetting, base_url: &BaseUrl) -> Box<dyn Protocol> {
    let (default, dialect) = if base_url.is_within("api.openai.com") {
        (OpenAiApi::Responses, Dialect::OpenAi)
    } else {
        (OpenAiApi::Chat, Dialect::Compatible)
    };
    protocol_for(setting.api.unwrap_or(default), dialect)
}

/// Azure uses Chat Completions by default (the original's choice).
fn azure_protocol(setting: &ProviderSetting, _: &BaseUrl) -> Box<dyn Protocol> {
    let protocol = protocol_for(setting.api.unwrap_or(OpenAiApi::Chat), Dialect::Azure);
    match setting.use_deployment_based_urls {
        Some(true) => Box::new(AzureDeployments(protocol)),
        Some(false) | None => protocol,
    }
}

fn protocol_for(api: OpenAiApi, dialect: Dialect) -> Box<dyn Protocol> {
    match api {
        OpenAiApi::Responses => Box::new(OpenAiResponses),
        OpenAiApi::Chat => Box::new(ChatCompletions { dialect }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::environment;
    use crate::provider::vendor::endpoint::EndpointInputs;

    #[test]
    fn openai_uses_responses_at_its_own_address_and_chat_elsewhere_by_default() {
        let protocol_for = |url: &str, api| {
            let base = BaseUrl::parse(url, "baseUrl").unwrap();
            openai_protocol(&ProviderSetting { api, ..ProviderSetting::default() }, &base).name()
        };
        let (home, elsewhere) = ("https://api.openai.com/v1", "http://127.0.0.1:8080/v1");
        assert_eq!(protocol_for(home, None), "openai-responses");
        assert_eq!(protocol_for(elsewhere, None), "openai-chat");
        assert_eq!(protocol_for(home, Some(OpenAiApi::Chat)), "openai-chat");
        assert_eq!(protocol_for(elsewhere, Some(OpenAiApi::Responses)), "openai-responses");
    }

    #[test]
    fn azure_uses_chat_by_default() {
        let base = BaseUrl::parse("https://r.openai.azure.com/openai/v1", "baseUrl").unwrap();
        let protocol_for = |api| azure_protocol(&ProviderSetting { api, ..ProviderSetting::default() }, &base).name();
        assert_eq!((protocol_for(None), protocol_for(Some(OpenAiApi::Responses))), ("openai-chat", "openai-responses"));
    }

    #[test]
    fn every_row_has_an_address_that_is_allowed() {
        let place = [
            ("AZURE_RESOURCE_NAME", "resource"),
            ("AWS_REGION", "us-east-1"),
            ("GOOGLE_VERTEX_PROJECT", "project"),
            ("GOOGLE_VERTEX_LOCATION", "global"),
        ];
        let (setting, environment) = (ProviderSetting::default(), environment(&place));
        for vendor in &VENDORS {
            let base = (vendor.address)(EndpointInputs { setting: &setting, environment: &environment }).unwrap();
            let query = if vendor.name == ProviderName::AzureOpenAi { "?api-version=v1" } else { "" };
            assert_eq!(base.join(""), format!("{}{query}", vendor.example), "{}", vendor.name);
        }
    }
}
