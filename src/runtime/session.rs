//! What a job reaches the outside through: provider, clock and tape; live, recorded or replayed.

use std::sync::Arc;

use crate::config::Settings;
use crate::expert::{Expert, ModelTier};
use crate::fact::Clock;
use crate::id::RunId;
use crate::provider::transport::{HttpTransport, Transport};
use crate::provider::{Provider, ProxySettings, choose};
use crate::redact::Redactor;
use crate::replay::{
    Cassette as Recorded, CassetteClock, CassetteHeader, Recorder, RecordingTransport, ReplayTools, ReplayTransport,
};
use crate::runtime::clock::SystemClock;
use crate::runtime::{Cassette, Options, RunError};
use crate::tool::{ToolCall, ToolResult};

/// One invocation's ways to the outside.
pub struct Session {
    pub provider: Arc<Provider>,
    /// The job's own clock; Runs have theirs, see [`Session::clock_of`].
    pub clock: Arc<dyn Clock>,
    /// What the clocks of a recorded or replayed session start from.
    header: Option<CassetteHeader>,
    pub redactor: Redactor,
    pub tape: Tape,
    /// The model that a replayed session was recorded with.
    recorded_model: Option<String>,
}

/// What is written down of a session, or read from one.
#[derive(Clone)]
pub enum Tape {
    /// A live session.
    Off,
    /// Everything is written to a cassette.
    Recording(Arc<Recorder>),
    /// The model's answers come from a cassette; tool results too, if wanted.
    Replaying { tools: Option<Arc<ReplayTools>> },
}

impl Session {
    /// Opens what `options` ask for. Nothing is sent yet.
    ///
    /// # Errors
    /// No provider to use, or a cassette that cannot be used.
    pub fn open(options: &Options) -> Result<Self, RunError> {
        let mut redactor = Redactor::of_environment(&options.environment);
        for value in options.settings.provider_setting.headers.values() {
            redactor.add(value);
        }
        if let Some(proxy) = &options.proxy {
            redactor.add_address(proxy);
        }
        match &options.cassette {
            Cassette::None => Self::live(options, redactor),
            Cassette::Record(path) => {
                let name = choose(options.settings.provider, &options.environment)?;
                let header = CassetteHeader {
                    provider: name,
                    model: options.settings.model.clone().unwrap_or_default(),
                    started: SystemClock.stamp(),
                };
                let recorder = Recorder::create(path, &header, &options.workspace, redactor.clone())?;
                let recorder = Arc::new(recorder);
                let transport = Arc::new(RecordingTransport::new(http(options)?, Arc::clone(&recorder)));
                let setting = &options.settings.provider_setting;
                Ok(Self {
                    provider: Arc::new(Provider::connect(name, setting, &options.environment, transport)?),
                    clock: Arc::new(CassetteClock::new(&header)),
                    header: Some(header),
                    redactor,
                    tape: Tape::Recording(recorder),
                    recorded_model: None,
                })
            }
            Cassette::Replay { file, tools } => {
                let cassette = Arc::new(Recorded::load(file)?);
                let header = cassette.header();
                let transport = Arc::new(ReplayTransport::new(Arc::clone(&cassette), &options.workspace));
                let setting = &options.settings.provider_setting;
                let provider =
                    Provider::connect_without_key(header.provider, setting, &options.environment, transport)?;
                let tools = tools.then(|| Arc::new(ReplayTools::new(Arc::clone(&cassette), &options.workspace)));
                Ok(Self {
                    provider: Arc::new(provider),
                    clock: Arc::new(CassetteClock::new(header)),
                    header: Some(header.clone()),
                    redactor,
                    tape: Tape::Replaying { tools },
                    recorded_model: Some(header.model.clone()).filter(|model| !model.is_empty()),
                })
            }
        }
    }

    fn live(options: &Options, redactor: Redactor) -> Result<Self, RunError> {
        let name = choose(options.settings.provider, &options.environment)?;
        let setting = &options.settings.provider_setting;
        let provider = Provider::connect(name, setting, &options.environment, http(options)?)?;
        Ok(Self {
            provider: Arc::new(provider),
            clock: Arc::new(SystemClock),
            header: None,
            redactor,
            tape: Tape::Off,
            recorded_model: None,
        })
    }

    /// The clock of a Run. In a recorded or replayed session each Run has its own, so that Runs beside each other do not
    /// take each other's stamps.
    pub fn clock_of(&self, run: &RunId) -> Arc<dyn Clock> {
        match &self.header {
            Some(header) => Arc::new(CassetteClock::of_run(header, run)),
            None => Arc::clone(&self.clock),
        }
    }

    /// The model for `expert`: the one that was asked for, else that of the expert's tier, else the configured one,
    /// else the provider's middle one. A replay keeps to what was recorded.
    pub fn model_for(&self, expert: &Expert, settings: &Settings) -> String {
        let tier = |tier| self.provider.default_model(tier).to_owned();
        let asked = settings.model.clone().filter(|_| settings.model_is_explicit);
        self.recorded_model
            .clone()
            .or(asked)
            .or_else(|| expert.default_model_tier.map(tier))
            .or_else(|| settings.model.clone())
            .unwrap_or_else(|| tier(ModelTier::Middle))
    }
}

fn http(options: &Options) -> Result<Arc<dyn Transport>, RunError> {
    let proxy = match &options.proxy {
        Some(url) => ProxySettings::explicit(url),
        None => ProxySettings::of_environment(&options.environment),
    };
    Ok(Arc::new(HttpTransport::new(&proxy)?))
}

impl Tape {
    /// Whether answers come from a cassette.
    pub fn is_replay(&self) -> bool {
        matches!(self, Self::Replaying { .. })
    }

    /// The recorded result of `call`, when tools are replayed too; a call that was not recorded is answered by the
    /// difference.
    pub fn recorded_result(&self, call: &ToolCall) -> Option<ToolResult> {
        let Self::Replaying { tools: Some(tools) } = self else { return None };
        Some(tools.result(call).unwrap_or_else(|error| ToolResult::error(call, error.to_string())))
    }

    /// Writes down what a tool returned. A failure is told by [`Tape::finish`].
    pub fn record_result(&self, call: &ToolCall, result: &ToolResult) {
        if let Self::Recording(recorder) = self {
            recorder.note_tool(call, result);
        }
    }

    /// Tells whether everything could be written down.
    ///
    /// # Errors
    /// The first failure.
    pub fn finish(&self) -> Result<(), RunError> {
        match self {
            Self::Recording(recorder) => Ok(recorder.finish()?),
            Self::Off | Self::Replaying { .. } => Ok(()),
        }
    }
}
