//! [`JobBackends`]: the provider, clock and tape of a job; live, recorded or replayed. A job opens them once, and its
//! Runs reach the outside through nothing else but their skills.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::{Settings, nearest};
use crate::expert::{Expert, ModelTier};
use crate::fact::Clock;
use crate::id::RunId;
use crate::provider::http::transport::{HttpTransport, Transport};
use crate::provider::{Provider, ProviderError, find};
use crate::redact::Redactor;
use crate::replay::{
    Cassette, CassetteClock, CassetteHeader, CassetteRecorder, RecordingTransport, ReplayDecisions, ReplayTools,
    ReplayTransport,
};
use crate::runtime::budget::SharedAccount;
use crate::runtime::clock::SystemClock;
use crate::runtime::error::RunError;
use crate::runtime::options::{CassetteMode, Options};
use crate::runtime::tape::{RecordedAnswers, Tape};
use crate::setting::ProviderName;

/// The provider, clock and tape of one invocation.
pub struct JobBackends {
    pub provider: Arc<Provider>,
    /// The job's own clock; Runs have theirs, see [`JobBackends::clock_of`].
    pub clock: Arc<dyn Clock>,
    /// The start of the clocks of a recorded or replayed job.
    header: Option<CassetteHeader>,
    pub redactor: Redactor,
    pub tape: Tape,
    /// The model that a replayed job was recorded with, and whether it was asked for.
    recorded_model: Option<(String, bool)>,
}

impl JobBackends {
    /// Opens what `options` ask for. Nothing is sent yet, except to see whether a local server is there when nothing
    /// else decides on the provider.
    ///
    /// # Errors
    /// No provider to use, or a cassette that cannot be used.
    pub async fn open(options: &Options) -> Result<Self, RunError> {
        let redactor = options.redactor();
        match &options.cassette {
            CassetteMode::None => Self::live(options, redactor).await,
            CassetteMode::Record(path) => {
                let settings = &options.settings;
                let http = http(options)?;
                let name = provider_name(options, http.as_ref()).await?;
                let header = CassetteHeader {
                    provider: name,
                    model: settings.model.clone().unwrap_or_default(),
                    model_is_explicit: settings.model.is_none() || settings.model_is_explicit,
                    started: SystemClock.stamp(),
                };
                let recorder = CassetteRecorder::create(path, &header, &options.workspace, redactor.clone())?;
                let recorder = Arc::new(recorder);
                let transport = Arc::new(RecordingTransport::new(http, Arc::clone(&recorder)));
                let setting = &options.settings.provider_setting;
                let provider = Provider::connect(name, setting, &options.environment, transport)?
                    .with_catalogue(Arc::clone(&options.catalogue));
                provider.prepare();
                Ok(Self {
                    provider: Arc::new(provider),
                    clock: Arc::new(CassetteClock::new(&header)),
                    header: Some(header),
                    redactor,
                    tape: Tape::Recording(recorder),
                    recorded_model: None,
                })
            }
            CassetteMode::Replay { file, tools, effects } => {
                let cassette = Arc::new(Cassette::load(file)?);
                let header = cassette.header();
                let transport = Arc::new(ReplayTransport::new(Arc::clone(&cassette), &options.workspace));
                let setting = &options.settings.provider_setting;
                let provider =
                    Provider::connect_without_key(header.provider, setting, &options.environment, transport)?
                        .with_catalogue(Arc::clone(&options.catalogue));
                let answers = (*tools || !effects).then(|| RecordedAnswers {
                    tools: Arc::new(ReplayTools::new(Arc::clone(&cassette), &options.workspace)),
                    are_all: *tools,
                    may_start: *effects,
                });
                let decisions = Some(Arc::new(ReplayDecisions::new(Arc::clone(&cassette), &options.workspace)));
                Ok(Self {
                    provider: Arc::new(provider),
                    clock: Arc::new(CassetteClock::new(header)),
                    header: Some(header.clone()),
                    redactor,
                    tape: Tape::Replaying { answers, decisions },
                    recorded_model: Some((header.model.clone(), header.model_is_explicit))
                        .filter(|(model, _)| !model.is_empty()),
                })
            }
        }
    }

    async fn live(options: &Options, redactor: Redactor) -> Result<Self, RunError> {
        let http = http(options)?;
        let name = provider_name(options, http.as_ref()).await?;
        let setting = &options.settings.provider_setting;
        let provider = Provider::connect(name, setting, &options.environment, http)?
            .with_catalogue(Arc::clone(&options.catalogue));
        provider.prepare();
        Ok(Self {
            provider: Arc::new(provider),
            clock: Arc::new(SystemClock),
            header: None,
            redactor,
            tape: Tape::Off,
            recorded_model: None,
        })
    }

    /// The clock of a Run. In a recorded or replayed job each Run has its own: Runs beside each other draw from one
    /// clock in an order that no replay would repeat.
    pub fn clock_of(&self, run: &RunId) -> Arc<dyn Clock> {
        match &self.header {
            Some(header) => Arc::new(CassetteClock::of_run(header, run)),
            None => Arc::clone(&self.clock),
        }
    }

    /// The model for `expert`: the one that was asked for, else that of the expert's tier, else the configured one,
    /// else the provider's middle one. A replay keeps to what was recorded.
    ///
    /// # Errors
    /// None is named and the provider has no default.
    pub fn model_for(&self, expert: &Expert, settings: &Settings) -> Result<String, ProviderError> {
        let (configured, is_explicit) = match &self.recorded_model {
            Some((model, is_explicit)) => (Some(model), *is_explicit),
            None => (settings.model.as_ref(), settings.model_is_explicit),
        };
        let tier = match (configured, expert.default_model_tier) {
            (Some(model), _) if is_explicit => return Ok(model.clone()),
            (_, Some(tier)) => tier,
            (Some(model), None) => return Ok(model.clone()),
            (None, None) => ModelTier::Middle,
        };
        self.provider.default_model(tier).map(str::to_owned)
    }

    /// Warnings about models that the experts reachable from `expert` are to use and that the catalogue does not have.
    ///
    /// # Errors
    /// As [`JobBackends::model_for`].
    pub fn doubtful_models(&self, expert: &Expert, options: &Options) -> Result<Vec<String>, RunError> {
        let experts = options.experts.reachable(&expert.key)?;
        let models = experts.into_iter().map(|expert| self.model_for(expert, &options.settings));
        let models = models.collect::<Result<BTreeSet<String>, _>>()?;
        Ok(models.iter().filter_map(|model| self.doubt_about(model)).collect())
    }

    /// Checks that the cost of every model that the experts reachable from `expert` are to use is known, if cost is
    /// limited, by the job's budgets or by an account that it shares.
    ///
    /// # Errors
    /// [`RunError::UnknownPrice`], or as [`JobBackends::model_for`].
    pub fn check_prices(
        &self,
        expert: &Expert,
        options: &Options,
        shared: Option<&SharedAccount>,
    ) -> Result<(), RunError> {
        if options.settings.budgets.max_cost.is_none() && !shared.is_some_and(SharedAccount::limits_cost) {
            return Ok(());
        }
        let now = self.clock.stamp().at;
        for expert in options.experts.reachable(&expert.key)? {
            let model = self.model_for(expert, &options.settings)?;
            if self.provider.model(&model).and_then(|known| known.price_at(now)).is_none() {
                return Err(RunError::UnknownPrice { model, provider: self.provider.name() });
            }
        }
        Ok(())
    }

    fn doubt_about(&self, model: &str) -> Option<String> {
        if self.provider.model(model).is_some() || !self.provider.names_its_models() {
            return None;
        }
        let near = nearest(model, self.provider.known_models());
        // Other servers have models of their own. A replay knows nothing of the address that was recorded.
        if near.is_none() && (self.tape.is_replay() || !self.provider.is_at_home()) {
            return None;
        }
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let provider = self.provider.name();
        Some(format!("model {model} of {provider} is not in the catalogue, so its cost is not known{hint}"))
    }
}

fn http(options: &Options) -> Result<Arc<dyn Transport>, RunError> {
    Ok(Arc::new(HttpTransport::of_environment(options.proxy.as_deref(), &options.environment)?))
}

async fn provider_name(options: &Options, http: &dyn Transport) -> Result<ProviderName, RunError> {
    let settings = &options.settings;
    Ok(find(settings.provider, &settings.provider_setting, &options.environment, http).await?)
}
