//! What each vendor wants to be shown before it answers.

use serde_json::json;

use super::KEY;
use super::endpoint::Service;
use super::request::Request;
use super::sigv4;

/// What is wrong with a request's credentials.
pub fn check(request: &Request) -> Option<String> {
    let bearer = format!("Bearer {KEY}");
    let shown = request.header("authorization");
    let takes_bearer = match request.service {
        Service::OpenAi | Service::DeepSeek | Service::Vertex => true,
        // In place of a key or a signature: a token of Microsoft Entra, a key of Bedrock's own.
        Service::Azure | Service::Bedrock => shown == Some(&bearer),
        // A local one asks for nothing; its makers' own does.
        Service::Ollama => shown.is_some(),
        Service::Anthropic | Service::Gemini => false,
    };
    let (name, wanted) = match request.service {
        _ if takes_bearer => ("authorization", bearer.as_str()),
        Service::Anthropic => ("x-api-key", KEY),
        Service::Gemini => ("x-goog-api-key", KEY),
        Service::Azure => ("api-key", KEY),
        Service::Bedrock => return sigv4::check(request),
        Service::OpenAi | Service::DeepSeek | Service::Vertex | Service::Ollama => return None,
    };
    (request.header(name) != Some(wanted)).then(|| format!("the header {name} is missing or wrong"))
}

/// The status with which a vendor refuses a key that it does not know.
pub fn refusal_status(service: Service) -> u16 {
    match service {
        Service::Gemini => 400,
        Service::Bedrock => 403,
        _ => 401,
    }
}

/// A log-in at Google, as `gcloud` leaves it behind; `address` is where tokens come from.
pub fn google_log_in(address: &str) -> String {
    let file = json!({
        "type": "authorized_user",
        "client_id": "owl.apps.example.com",
        "client_secret": "owl-client",
        "refresh_token": REFRESH_TOKEN,
        "token_uri": format!("{address}/token"),
    });
    file.to_string()
}

const REFRESH_TOKEN: &str = "1//owl-log-in";

/// The answer of the token server to this form: status and body.
pub fn token(form: &[u8]) -> (u16, String) {
    let form = String::from_utf8_lossy(form).replace("%2F", "/");
    let is_known =
        form.contains("grant_type=refresh_token") && form.contains(&format!("refresh_token={REFRESH_TOKEN}"));
    if is_known {
        (200, json!({"access_token": KEY, "expires_in": 3599, "token_type": "Bearer"}).to_string())
    } else {
        (400, json!({"error": "invalid_grant", "error_description": "Bad Request"}).to_string())
    }
}
