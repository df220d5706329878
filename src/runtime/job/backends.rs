//! [`JobBackends`]: the provider, clock and tape of a job; live, recorded or replayed. A job opens them once, and its
//! Runs reach the outside through nothing else but their skills.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::Value;

use crate::checkpoint::Status;
use crate::expert::Expert;
use crate::fact::{Clock, Stamp};
use crate::id::{JobId, RunId};
use crate::provider::http::transport::{HttpTransport, Transport};
use crate::provider::{Provider, choose, find};
use crate::redact::Redactor;
use crate::replay::{
    Cassette, CassetteClock, CassetteHeader, CassetteRecorder, LocalPaths, RecordedStart, RecordingTransport,
    ReplayDecisions, ReplayError, ReplayTools, ReplayTransport, RunStop, RunStops,
};
use crate::runtime::clock::SystemClock;
use crate::runtime::error::RunError;
use crate::runtime::history::stops::read_stops;
use crate::runtime::job::connector::{Connector, ProvidersByName};
use crate::runtime::options::{CassetteMode, Options};
use crate::runtime::tape::{RecordedAnswers, Tape};
use crate::runtime::tools::containment;
use crate::sandbox::SandboxState;
use crate::setting::ProviderName;
use crate::store::Store;

/// The provider, clock and tape of one invocation.
pub struct JobBackends {
    pub provider: Arc<Provider>,
    /// The other providers of fallbacks.
    pub(super) fallbacks: ProvidersByName,
    /// The job's own clock; Runs have theirs, see [`JobBackends::clock_of`].
    pub clock: Arc<dyn Clock>,
    /// The start of the clocks of a recorded or replayed job.
    header: Option<CassetteHeader>,
    pub redactor: Redactor,
    pub tape: Tape,
    /// The model that a replayed job was recorded with, and whether it was asked for; `None` where the options have it.
    pub(super) recorded_model: Option<(String, bool)>,
    /// The options are those of the recording: nothing about its server is unknown.
    pub is_whole_replay: bool,
    /// The recording that the options are compared with.
    pub compared: Option<ComparedRecording>,
    /// The places at which something outside stopped the Runs of the part that is replayed, if it did.
    pub stops: Option<Arc<RunStops>>,
    /// The process of that part had died.
    pub had_died: bool,
    /// The containment in force when the job was recorded.
    recorded_sandbox: Option<SandboxState>,
}

/// The recording that a configuration is compared with.
pub struct ComparedRecording {
    /// The options of its job, as they are recorded.
    pub options: Value,
    /// The paths that it does not have.
    pub paths: LocalPaths,
}

impl JobBackends {
    /// Opens what `options` ask for, and what `expert` and all that it reaches need. Nothing is sent yet, except to see
    /// whether a local server is there when nothing else decides on the provider. `continued`: the job that goes on from
    /// where it had stopped; a recording of it goes on, too.
    ///
    /// # Errors
    /// No provider to use, a fallback that cannot be used, or a cassette that cannot.
    pub async fn open(options: &Options, expert: &Expert, continued: Option<&JobId>) -> Result<Self, RunError> {
        let redactor = options.redactor();
        match &options.cassette {
            CassetteMode::None => {
                let http = http(options)?;
                let name = provider_name(options, http.as_ref()).await?;
                let (provider, fallbacks) = connect(options, expert, name, http, false)?;
                Ok(Self {
                    provider,
                    fallbacks,
                    clock: Arc::new(SystemClock),
                    header: None,
                    redactor,
                    tape: Tape::Off,
                    recorded_model: None,
                    is_whole_replay: false,
                    compared: None,
                    stops: None,
                    had_died: false,
                    recorded_sandbox: None,
                })
            }
            CassetteMode::Record(path) => {
                let settings = &options.settings;
                let http = http(options)?;
                let name = provider_name(options, http.as_ref()).await?;
                let header = CassetteHeader {
                    provider: name,
                    model: settings.model.clone().unwrap_or_default(),
                    model_is_explicit: settings.model.is_none() || settings.model_is_explicit,
                    started: SystemClock.stamp(),
                    hides_home: true,
                    abridges: true,
                };
                let paths = local_paths(options, &header);
                let earlier = continued.map(|job| recording_of(job, path, options)).transpose()?.flatten();
                let recorder = match earlier {
                    Some(Earlier { cassette, unended }) => {
                        let recorder = CassetteRecorder::going_on(&cassette, paths, redactor.clone())?;
                        if let Some((status, stops)) = unended {
                            recorder.note_end(status, stops);
                        }
                        recorder
                    }
                    None => CassetteRecorder::create(path, &header, paths, redactor.clone())?,
                };
                let recorder = Arc::new(recorder);
                let transport = Arc::new(RecordingTransport::new(http, Arc::clone(&recorder)));
                let (provider, fallbacks) = connect(options, expert, name, transport, false)?;
                Ok(Self {
                    provider,
                    fallbacks,
                    clock: Arc::new(CassetteClock::new(&header)),
                    header: Some(header),
                    redactor,
                    tape: Tape::Recording(recorder),
                    recorded_model: None,
                    is_whole_replay: false,
                    compared: None,
                    stops: None,
                    had_died: false,
                    recorded_sandbox: None,
                })
            }
            CassetteMode::Replay { file, tools, effects, part } => {
                let cassette = Arc::new(Cassette::load_part(file, *part)?);
                let header = cassette.header();
                let start = part.map(|part| cassette.start(part)).transpose()?;
                // Where Runs go on beyond the recording, nothing stops them where they were stopped then.
                let is_followed_to_its_end = options.live().is_none();
                let stopped_part = part.filter(|_| is_followed_to_its_end);
                let stops = stopped_part.map(|part| cassette.stops(part)).transpose()?.flatten();
                let paths = local_paths(options, header);
                let transport = ReplayTransport::new(Arc::clone(&cassette), paths.clone());
                let transport = Arc::new(transport.noting(options.difference.clone()));
                let name = options.settings.provider.filter(|_| part.is_some()).unwrap_or(header.provider);
                let (provider, fallbacks) = connect(options, expert, name, transport, true)?;
                let results = Arc::new(ReplayTools::new(Arc::clone(&cassette), paths.clone()));
                let answers = (*tools || !effects).then(|| RecordedAnswers {
                    tools: Arc::clone(&results),
                    are_all: *tools,
                    may_start: *effects,
                });
                let decisions = Some(Arc::new(ReplayDecisions::new(Arc::clone(&cassette), paths.clone())));
                Ok(Self {
                    provider,
                    fallbacks,
                    clock: Arc::new(CassetteClock::new(header)),
                    header: Some(header.clone()),
                    redactor,
                    tape: Tape::Replaying { answers, decisions, verifications: Some(results) },
                    recorded_model: Some((header.model.clone(), header.model_is_explicit))
                        .filter(|(model, _)| !model.is_empty() && part.is_none()),
                    is_whole_replay: part.is_some(),
                    stops: stops.map(Arc::new),
                    had_died: stopped_part.is_some_and(|part| cassette.end(part) == Some(Status::Proceeding)),
                    recorded_sandbox: start.as_ref().map(|start| recorded_sandbox(start, file)).transpose()?.flatten(),
                    compared: start
                        .filter(|_| options.difference.is_some())
                        .map(|start| ComparedRecording { options: start.options, paths }),
                })
            }
        }
    }

    /// The containment of programs: in force now, or when what is replayed was recorded.
    pub fn sandbox_state(&self, options: &Options) -> SandboxState {
        self.recorded_sandbox.clone().unwrap_or_else(|| containment::state(options.settings.sandbox))
    }

    /// Time and randomness of the start of a recorded or replayed job, or of this continuation of it.
    pub fn started(&self) -> Option<Stamp> {
        self.header.as_ref().map(|header| header.started)
    }

    /// The place at which something outside stopped this Run in the part that is replayed, if it did.
    pub fn stop_of(&self, run: &RunId) -> Option<&RunStop> {
        self.stops.as_ref()?.get(run)
    }

    /// Those of a job that asks nothing: no server is looked for, and no connection is begun.
    ///
    /// # Errors
    /// No provider to use, or a fallback that cannot be used.
    pub fn without_asking(options: &Options, expert: &Expert) -> Result<Self, RunError> {
        let name = options.settings.provider.map_or_else(|| choose(&options.environment), Ok)?;
        let transport = http(options)?;
        let (environment, catalogue) = (&options.environment, &options.catalogue);
        let connector = Connector { environment, catalogue, transport, is_replay: false };
        let provider = connector.provider(name, &options.settings.provider_setting)?;
        let fallbacks = connector.fallbacks(expert, options, &provider)?;
        Ok(Self {
            provider: Arc::new(provider),
            fallbacks,
            clock: Arc::new(SystemClock),
            header: None,
            redactor: options.redactor(),
            tape: Tape::Off,
            recorded_model: None,
            is_whole_replay: false,
            compared: None,
            stops: None,
            had_died: false,
            recorded_sandbox: None,
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
}

/// The provider `name`, and those of the fallbacks of `expert` and of all that it reaches.
fn connect(
    options: &Options,
    expert: &Expert,
    name: ProviderName,
    transport: Arc<dyn Transport>,
    is_replay: bool,
) -> Result<(Arc<Provider>, ProvidersByName), RunError> {
    let connector =
        Connector { environment: &options.environment, catalogue: &options.catalogue, transport, is_replay };
    let provider = connector.provider(name, &options.settings.provider_setting)?;
    let fallbacks = connector.fallbacks(expert, options, &provider)?;
    if !is_replay {
        provider.prepare();
    }
    Ok((Arc::new(provider), fallbacks))
}

/// The containment that was in force when `start` of the cassette `file` was recorded; none if that is not in it.
///
/// # Errors
/// It is one that this version does not know: another in its place would give another job.
fn recorded_sandbox(start: &RecordedStart, file: &Path) -> Result<Option<SandboxState>, ReplayError> {
    let state = start.options.get("sandbox").map(SandboxState::deserialize).transpose();
    state.map_err(|source| ReplayError::Options { path: file.to_owned(), source })
}

/// The paths that the cassette of a job does not have.
fn local_paths(options: &Options, header: &CassetteHeader) -> LocalPaths {
    LocalPaths::new(&options.workspace, options.environment.get("HOME").filter(|_| header.hides_home))
}

/// The recording of what came before in a job.
struct Earlier {
    cassette: Cassette,
    /// The end of its latest part, which it does not have, as the process died.
    unended: Option<(Status, RunStops)>,
}

/// The recording of what came before in this job, which its continuation goes on with; `None` if `path` has none.
///
/// # Errors
/// [`ReplayError::Unended`] for one that lacks answers of the job, [`ReplayError::Damaged`] or [`ReplayError::Newer`] for one that
/// cannot be read: none of them is lost to a new recording unasked.
fn recording_of(job: &JobId, path: &Path, options: &Options) -> Result<Option<Earlier>, RunError> {
    let cassette = match Cassette::load(path) {
        Ok(cassette) => cassette,
        // What may take the place of such a file is for the recorder to decide.
        Err(ReplayError::NoCassette { .. } | ReplayError::Io { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(newest) = cassette.parts().checked_sub(1) else { return Ok(None) };
    if cassette.start(newest)?.job_id != *job {
        return Ok(None);
    }
    if cassette.end(newest).is_some() {
        return Ok(Some(Earlier { cassette, unended: None }));
    }
    // Its process died. Where the Runs stood then is in their logs, which go on now.
    let (stops, answers) = read_stops(&Store::new(&options.storage), job)?;
    if answers > cassette.exchanges() {
        return Err(ReplayError::Unended { path: path.to_owned() }.into());
    }
    Ok(Some(Earlier { cassette, unended: Some((Status::Proceeding, stops)) }))
}

fn http(options: &Options) -> Result<Arc<dyn Transport>, RunError> {
    Ok(Arc::new(HttpTransport::of_environment(options.proxy.as_deref(), &options.environment)?))
}

async fn provider_name(options: &Options, http: &dyn Transport) -> Result<ProviderName, RunError> {
    let settings = &options.settings;
    Ok(find(settings.provider, &settings.provider_setting, &options.environment, http).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recorded_containment_that_is_not_known_is_an_error_and_not_that_of_here() {
        let start = |options: Value| -> RecordedStart {
            serde_json::from_value(json!({"jobId": "j", "expert": "owl", "options": options})).unwrap()
        };
        let read = |options| recorded_sandbox(&start(options), Path::new("c.cassette"));
        assert!(read(json!({})).unwrap().is_none());
        let state = serde_json::to_value(containment::state(crate::sandbox::Sandbox::Off)).unwrap();
        assert!(read(json!({"sandbox": state})).unwrap().is_some());
        assert!(matches!(read(json!({"sandbox": 7})), Err(ReplayError::Options { .. })));
    }
}
