//! [`Engine`]: the engine's HTTP interface, of its ingress or its administration, and [`FleetJob`], a job behind an ingress.

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use perstack::address::is_loopback_url;
use perstack::id::JobId;
use perstack::provider::http::transport::HttpTransport;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::label::{Label, service_of};
use super::service::{CANCEL, END, STATE, WORK};
use super::turn::{FleetJobState, TurnInput};
use crate::cli::Process;
use crate::cli::failure::Failure;
use crate::cli::setup::Setup;

/// The variable that names the ingress, unless `--to` does.
const INGRESS: &str = "PERSTACK_INGRESS";

/// The variable with the token for it, by the engine's own name.
const TOKEN: &str = "RESTATE_AUTH_TOKEN";

/// The longest that a question about a job waits for a worker.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between questions about a job that no worker has begun.
const PAUSE: Duration = Duration::from_millis(100);

/// The header by which the engine takes a request once, and the word for the first turn of a job.
const ONCE: &str = "idempotency-key";
const FIRST_TURN: &str = "first";

/// The question to the person where no worker answers.
pub const IS_THERE_A_WORKER: &str =
    "is one running, and is it made known to the engine (`perstack fleet worker --register`)?";

/// The options of the commands that speak to the ingress.
#[derive(Debug, Clone, Args)]
pub struct IngressArgs {
    /// The ingress of the engine, such as `http://127.0.0.1:8080` [default: that of `PERSTACK_INGRESS`]
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// The label that the job was submitted with
    #[arg(long, value_name = "LABEL")]
    pub label: Option<Label>,
    /// HTTP(S) or SOCKS proxy
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
}

impl IngressArgs {
    /// The job behind the ingress.
    ///
    /// # Errors
    /// No ingress is named, or its address cannot be used.
    pub fn job(&self, job: JobId, process: &Process) -> Result<FleetJob, Failure> {
        let named = self.to.as_deref().or_else(|| process.variable(INGRESS));
        let url = named.ok_or_else(|| {
            Failure::usage(anyhow!("no ingress is named")).help(format!("name it with --to URL, or {INGRESS}"))
        })?;
        let environment = process.variables.iter().cloned().collect();
        let proxy = self.proxy.as_deref().or_else(|| process.variable("PERSTACK_PROXY_URL"));
        let transport = HttpTransport::of_environment(proxy, &environment).map_err(Failure::usage)?;
        let token = process.variable(TOKEN).map(str::to_owned);
        let engine = Engine::new(url, "--to", &transport, token)?;
        Ok(FleetJob { engine, service: service_of(self.label.as_ref()), job })
    }
}

/// The engine behind an address.
pub struct Engine {
    url: Url,
    client: Client,
    token: Option<String>,
}

/// A failure to ask the engine.
pub struct AskError {
    failure: Failure,
    /// It may be another next time: the engine could not be reached, or was cut off.
    pub may_pass: bool,
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        error.failure
    }
}

impl From<Failure> for AskError {
    fn from(failure: Failure) -> Self {
        Self { failure, may_pass: false }
    }
}

/// The engine's answer to a turn that was handed over.
#[derive(Debug, Deserialize)]
struct Sent {
    status: SentStatus,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
enum SentStatus {
    Accepted,
    /// It has one already.
    PreviouslyAccepted,
}

/// A job behind an ingress.
pub struct FleetJob {
    engine: Engine,
    service: String,
    job: JobId,
}

impl Engine {
    /// The engine's administration, with the project's proxy and certificates.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn at(url: &str, flag: &str, setup: &Setup) -> Result<Self, Failure> {
        let transport = HttpTransport::of_environment(setup.proxy.as_deref(), &setup.environment);
        let token = setup.environment.users(TOKEN).map(str::to_owned);
        Self::new(url, flag, &transport.map_err(Failure::usage)?, token)
    }

    fn new(url: &str, flag: &str, transport: &HttpTransport, token: Option<String>) -> Result<Self, Failure> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let parsed = parsed.filter(|url| url.host_str().is_some());
        let mut parsed = parsed.ok_or_else(|| {
            Failure::usage(anyhow!("{flag} {url}: is no http:// or https:// address"))
                .help("for example http://127.0.0.1:8080")
        })?;
        if token.is_some() && parsed.scheme() == "http" && !is_loopback_url(url) {
            return Err(Failure::usage(anyhow!("{flag} {url}: the token of {TOKEN} would be sent without encryption"))
                .help("use https://"));
        }
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        let client = transport.client(&parsed).map_err(Failure::other)?;
        Ok(Self { url: parsed, client, token })
    }

    /// Makes a worker known.
    ///
    /// # Errors
    /// The engine cannot be asked, or cannot reach the worker.
    pub async fn register(&self, address: &str) -> Result<(), Failure> {
        let url = self.below(&["deployments"])?;
        let _known: Value = self.ask(self.client.post(url).json(&json!({ "uri": address, "force": true }))).await?;
        Ok(())
    }

    fn below(&self, names: &[&str]) -> Result<Url, Failure> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::usage(anyhow!("{} has no paths", self.url)))?
            .pop_if_empty()
            .extend(names);
        Ok(url)
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, AskError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let place = self.url.host_str().unwrap_or_default();
        let cut_off = |error: reqwest::Error, what: &str| AskError {
            failure: Failure::other(anyhow!(error).context(format!("the engine at {place} {what}")))
                .help("is it there, and is the address right?"),
            may_pass: true,
        };
        let response = request.send().await.map_err(|error| cut_off(error, "cannot be asked"))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| cut_off(error, "broke off its answer"))?;
        if !status.is_success() {
            return Err(refusal(place, status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::other(anyhow!(error).context(format!("the engine at {place} gave an answer of another form")))
                .into()
        })
    }
}

/// The engine's refusal in words.
fn refusal(place: &str, status: StatusCode, body: &[u8]) -> AskError {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = answer
        .get("message")
        .and_then(Value::as_str)
        .map_or_else(|| String::from_utf8_lossy(body).chars().take(500).collect::<String>(), str::to_owned);
    let failure = Failure::other(anyhow!("the engine at {place} refused with {status}: {message}"));
    let failure = if status == StatusCode::NOT_FOUND {
        failure.help("no worker of this label has been made known to it: `perstack fleet worker --register`")
    } else {
        failure
    };
    // It is not up yet, or the load balancer before it has none that is.
    let may_pass =
        matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
    AskError { failure, may_pass }
}

impl FleetJob {
    /// The job's id.
    pub fn id(&self) -> &JobId {
        &self.job
    }

    /// Checks that the engine is there.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn check_engine(&self) -> Result<(), Failure> {
        let url = self.engine.below(&["restate", "health"])?;
        let _healthy: Value = self.engine.ask(self.engine.client.get(url)).await?;
        Ok(())
    }

    /// Hands the first turn over. Returns whether it was the first: of two that come at the same time one is.
    ///
    /// # Errors
    /// The engine cannot be asked, or refuses.
    pub async fn begin(&self, input: &TurnInput) -> Result<bool, Failure> {
        let sent: Sent = self.engine.ask(self.sending(input)?.header(ONCE, FIRST_TURN)).await?;
        Ok(sent.status != SentStatus::PreviouslyAccepted)
    }

    /// Hands a further turn over.
    ///
    /// # Errors
    /// The engine cannot be asked, or refuses.
    pub async fn send(&self, input: &TurnInput) -> Result<(), Failure> {
        let _sent: Sent = self.engine.ask(self.sending(input)?).await?;
        Ok(())
    }

    fn sending(&self, input: &TurnInput) -> Result<RequestBuilder, Failure> {
        let url = self.engine.below(&[&self.service, self.job.as_str(), WORK, "send"])?;
        Ok(self.engine.client.post(url).json(input))
    }

    /// The job as the engine knows it, which was submitted before: it is waited for until a worker has begun it.
    ///
    /// # Errors
    /// The engine cannot be asked, or no worker begins it.
    pub async fn begun(&self) -> Result<FleetJobState, Failure> {
        let begun = async {
            loop {
                match self.state().await {
                    Ok(Some(state)) => return Ok(state),
                    Ok(None) => tokio::time::sleep(PAUSE).await,
                    Err(error) if error.may_pass => tokio::time::sleep(PAUSE).await,
                    Err(error) => return Err(Failure::from(error)),
                }
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.unwrap_or_else(|_| {
            Err(Failure::other(anyhow!(
                "job {} was submitted before, and no worker has begun it within {PATIENCE:?}: nobody knows whether it is the \
                 same job",
                self.job
            ))
            .help(IS_THERE_A_WORKER))
        })
    }

    /// The job as the engine knows it; `None` before a worker has begun it.
    ///
    /// # Errors
    /// The engine cannot be asked, or no worker answers.
    pub async fn state(&self) -> Result<Option<FleetJobState>, AskError> {
        self.call(STATE).await
    }

    /// Cancels the turn that is at work. Returns whether there is one.
    ///
    /// # Errors
    /// As [`FleetJob::state`].
    pub async fn cancel(&self) -> Result<bool, Failure> {
        Ok(self.call(CANCEL).await?)
    }

    /// Waits for the end of all turns that were handed over before, however long they take. The job as it is then; `None` if
    /// none was.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub async fn end(&self) -> Result<Option<FleetJobState>, AskError> {
        self.engine.ask(self.request(END)?).await
    }

    async fn call<T: DeserializeOwned>(&self, handler: &str) -> Result<T, AskError> {
        let asked = self.engine.ask(self.request(handler)?);
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            let failure = Failure::other(anyhow!("no worker has answered within {PATIENCE:?}")).help(IS_THERE_A_WORKER);
            Err(AskError { failure, may_pass: true })
        })
    }

    fn request(&self, handler: &str) -> Result<RequestBuilder, Failure> {
        Ok(self.engine.client.post(self.engine.below(&[&self.service, self.job.as_str(), handler])?))
    }
}
