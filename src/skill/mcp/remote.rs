//! Servers on the network: where they may be, and the client that goes nowhere else.
//!
//! The sessions of Streamable HTTP are the protocol library's, its requests are in `http/`; the transport before it is in
//! `sse.rs`.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{StatusCode, Url};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;

use super::McpError;
use super::http::{HttpClient, MAX_MESSAGE};
use super::network::{Network, Route};
use super::oauth::LoginAccount;
use super::oauth::tokens::Tokens;
use crate::address::endpoint_fault;
use crate::environment::Environment;
use crate::expert::{Grant, OAuth, SkillSpec};
use crate::redact::Redactor;

/// The variable that permits private addresses to every skill, when `1`.
const ALLOW_PRIVATE: &str = "PERSTACK_ALLOW_PRIVATE_ENDPOINTS";

/// Most redirects of one request, all within one origin: a server adds or drops a slash.
const MAX_REDIRECTS: usize = 5;

/// How often a broken event stream is resumed.
const MAX_RESUMPTIONS: usize = 3;

/// A server on the network.
#[derive(Clone)]
pub(super) struct Remote {
    pub endpoint: Url,
    pub client: HttpClient,
    route: Route,
    /// The variable that holds the token, if one does.
    variable: Option<String>,
}

impl Remote {
    /// The server that `spec` declares. The token is added to `redactor`.
    ///
    /// # Errors
    /// An address that is not allowed, a proxy that cannot be used, or a token's variable without a value.
    pub(super) fn new(
        spec: &SkillSpec,
        environment: &Environment,
        network: &Network,
        redactor: &mut Redactor,
    ) -> Result<Self, McpError> {
        let skill = || spec.common().name.clone();
        let (endpoint, route) = endpoint_and_route(spec, environment, network)?;
        let refused = |fault: String| McpError::Endpoint { skill: skill(), fault };
        let mut headers = HeaderMap::new();
        let SkillSpec::McpSseSkill { authorization_env: variable, .. } = spec else {
            return Err(McpError::NoServer { skill: skill() });
        };
        let tokens = if let Some(variable) = variable {
            let token = environment
                .for_skill(variable)
                .ok_or_else(|| McpError::MissingVariable { skill: skill(), variable: variable.clone() })?;
            redactor.add(token);
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| refused(format!("the value of {variable} holds characters that no header may")))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
            None
        } else {
            Some(Arc::new(Tokens::new(Self::account(spec, environment, network, redactor)?)))
        };
        let origin = endpoint.clone();
        let redirects = Policy::custom(move |attempt| follow(attempt, &origin));
        let client = route
            .client(&endpoint, headers, redirects)
            .map_err(|error| refused(format!("TLS cannot be set up: {}", super::connection::chain(&error))))?;
        let client = HttpClient { client, tokens, is_without_stream: Arc::default() };
        Ok(Self { endpoint, client, route, variable: variable.clone() })
    }

    /// The account at the server that `spec` declares. The client's secret is added to `redactor`.
    ///
    /// # Errors
    /// As [`Remote::new`].
    pub(super) fn account(
        spec: &SkillSpec,
        environment: &Environment,
        network: &Network,
        redactor: &mut Redactor,
    ) -> Result<LoginAccount, McpError> {
        let (endpoint, route) = endpoint_and_route(spec, environment, network)?;
        let default = OAuth::default();
        let oauth = match spec {
            SkillSpec::McpSseSkill { oauth: Some(oauth), .. } => oauth,
            _ => &default,
        };
        LoginAccount::new(&spec.common().name, &endpoint, oauth, &route, environment, network, redactor)
    }

    /// Judges the endpoint once more, by what its name leads to now.
    ///
    /// # Errors
    /// Why nothing may be sent there.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.route.check(&self.endpoint).await
    }

    /// The remedy for a server that refuses everybody.
    pub(super) fn remedy(&self, skill: &str) -> String {
        match (&self.variable, &self.client.tokens) {
            (Some(variable), _) => format!("it refuses the token in {variable}: check that variable"),
            (None, Some(tokens)) if tokens.grant() == Grant::ClientCredentials => {
                "it refuses the token that oauth's client was given: check the client and its scopes".to_owned()
            }
            (None, Some(tokens)) if tokens.has_login() => {
                format!("it refuses the login: run `perstack login {skill}` once more")
            }
            (None, _) => format!("it wants a login: run `perstack login {skill}`"),
        }
    }

    /// A Streamable HTTP transport that is not connected yet.
    pub(super) fn streamable(&self) -> StreamableHttpClientTransport<HttpClient> {
        let mut config =
            StreamableHttpClientTransportConfig::with_uri(self.endpoint.as_str()).max_sse_event_size(MAX_MESSAGE);
        let mut retry = ExponentialBackoff::default();
        retry.max_times = Some(MAX_RESUMPTIONS);
        config.retry_config = Arc::new(retry);
        // Of this connection's session alone.
        let client = HttpClient { is_without_stream: Arc::default(), ..self.client.clone() };
        StreamableHttpClientTransport::with_client(client, config)
    }
}

/// The address of the server that `spec` declares, and the route to it.
fn endpoint_and_route(
    spec: &SkillSpec,
    environment: &Environment,
    network: &Network,
) -> Result<(Url, Route), McpError> {
    let skill = || spec.common().name.clone();
    let SkillSpec::McpSseSkill { endpoint, allow_private_endpoint, .. } = spec else {
        return Err(McpError::NoServer { skill: skill() });
    };
    let private_allowed = *allow_private_endpoint || environment.get(ALLOW_PRIVATE) == Some("1");
    let refused = |fault: &str| McpError::Endpoint { skill: skill(), fault: fault.to_owned() };
    if let Some(fault) = endpoint_fault(endpoint, private_allowed) {
        return Err(refused(fault));
    }
    let endpoint = Url::parse(endpoint).map_err(|error| refused(&error.to_string()))?;
    let route = Route::new(&network.proxy, private_allowed)
        .map_err(|error| McpError::Proxy { skill: skill(), why: error.to_string() })?;
    Ok((endpoint, route.within(spec.allowed_domains())))
}

/// Follows a redirect that keeps the request as it is and stays with the endpoint's own origin, whose address has been
/// judged. Any other is the server's answer.
fn follow(attempt: Attempt<'_>, endpoint: &Url) -> reqwest::redirect::Action {
    let keeps_request = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let is_home = attempt.url().origin() == endpoint.origin();
    if keeps_request && is_home && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expert::SkillCommon;
    use crate::hint::ErrorHint as _;

    fn remote(endpoint: &str, private: bool, pairs: &[(&str, &str)]) -> Result<Remote, String> {
        let spec = SkillSpec::McpSseSkill {
            common: SkillCommon { name: "s".to_owned(), ..SkillCommon::default() },
            endpoint: endpoint.to_owned(),
            allowed_domains: None,
            allow_private_endpoint: private,
            authorization_env: Some("REMOTE_TOKEN".to_owned()),
            oauth: None,
        };
        let token = [("REMOTE_TOKEN", "t-0123456789")];
        let pairs = token.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Remote::new(&spec, &pairs.collect(), &Network::default(), &mut Redactor::default())
            .map_err(|error| error.with_hint())
    }

    #[test]
    fn private_endpoints_need_permission_by_skill_or_variable() {
        let endpoint = "http://127.0.0.1:9/mcp";
        let error = remote(endpoint, false, &[]).err().unwrap();
        assert!(error.starts_with("skill s: SSE endpoint must be a public HTTPS URL"), "{error}");
        assert!(remote(endpoint, false, &[(ALLOW_PRIVATE, "0")]).is_err());
        assert!(remote(endpoint, false, &[(ALLOW_PRIVATE, "1")]).is_ok());
        assert!(remote(endpoint, true, &[]).is_ok());
        assert!(remote("http://example.com/mcp", true, &[]).is_err());
        assert!(remote("https://example.com/mcp", false, &[]).is_ok());
    }

    #[test]
    fn a_token_is_demanded_by_its_variables_name() {
        let error = remote("https://example.com/mcp", false, &[("REMOTE_TOKEN", "")]).err().unwrap();
        assert_eq!(error, "Skill s requires environment variable REMOTE_TOKEN; set it, or put it into an .env file");
        let error = remote("https://example.com/mcp", false, &[("REMOTE_TOKEN", "line\nbreak")]).err().unwrap();
        assert!(error.contains("holds characters that no header may") && !error.contains("break"), "{error}");
    }
}
