//! [`find`]: the provider to use when none is named.
//!
//! Called by `cli` and `runtime` before a job starts. Reading the rows is left to [`choose`]; only the probe of a local
//! server is here.

use std::time::Duration;

use crate::environment::Environment;
use crate::provider::ProviderError;
use crate::provider::http::fetch::Fetch;
use crate::provider::http::transport::Transport;
use crate::provider::vendor::choose;
use crate::provider::vendor::endpoint::EndpointInputs;
use crate::setting::{ProviderName, ProviderSetting};

/// For the probe: a server on this machine answers in a millisecond or two, and a user without one should not wait.
const PROBE_LIMIT: Duration = Duration::from_millis(300);

/// Returns the named provider, else the first whose key is in the environment, else Ollama when a server answers.
///
/// # Errors
/// As [`choose`].
pub async fn find(
    named: Option<ProviderName>,
    setting: &ProviderSetting,
    environment: &Environment,
    transport: &dyn Transport,
) -> Result<ProviderName, ProviderError> {
    if let Some(name) = named {
        return Ok(name);
    }
    match choose(environment) {
        Err(ProviderError::NothingToUse { .. })
            if answers(EndpointInputs { setting, environment }, transport).await =>
        {
            Ok(ProviderName::Ollama)
        }
        other => other,
    }
}

/// Returns true when an Ollama server answers at the address of the settings.
async fn answers(place: EndpointInputs<'_>, transport: &dyn Transport) -> bool {
    let Ok(base_url) = place.ollama() else { return false };
    // <https://docs.ollama.com/api-reference/get-version>
    let answer = transport.fetch(Fetch::get(base_url.join("/version"), PROBE_LIMIT)).await;
    answer.is_ok_and(|answer| answer.is_success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::auth::server::{LoopbackServer, reply, transport};
    use crate::provider::testing::environment;

    async fn answers_at(host: &str) -> bool {
        let (setting, environment) = (ProviderSetting::default(), environment(&[("OLLAMA_HOST", host)]));
        answers(EndpointInputs { setting: &setting, environment: &environment }, transport().as_ref()).await
    }

    #[tokio::test]
    async fn a_local_server_is_known_by_its_version() {
        let server = LoopbackServer::start([reply(200, r#"{"version": "0.12.0"}"#), reply(404, "{}")]).await;
        let host = server.url.strip_prefix("http://").unwrap();
        assert!(answers_at(host).await);
        assert!(server.requests()[0].starts_with("GET /api/version HTTP/1.1\r\n"));
        assert!(!answers_at(host).await, "a server that knows no versions is none");
        assert!(!answers_at("127.0.0.1:1").await, "nobody listens");
    }

    #[tokio::test]
    async fn keys_and_names_need_no_probe() {
        let setting = ProviderSetting::default();
        let keyed = environment(&[("OPENAI_API_KEY", "k"), ("OLLAMA_HOST", "127.0.0.1:1")]);
        assert_eq!(find(None, &setting, &keyed, transport().as_ref()).await, Ok(ProviderName::OpenAi));
        let named = Some(ProviderName::Anthropic);
        assert_eq!(find(named, &setting, &keyed, transport().as_ref()).await, Ok(ProviderName::Anthropic));
    }
}
