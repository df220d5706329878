//! [`Options`] of a job, its input ([`RunInput`], [`ResumeInput`]) and its [`Outcome`]. Callers of the library fill and
//! read these; the drivers of this folder obey them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::budget::{Budgets, Charge, Reached, Spent};
use crate::checkpoint::{Checkpoint, Status};
use crate::config::lockfile::{Lock, LockUse};
use crate::config::{AgentSkills, ConfigError, ExpertFiles, Settings, SkillPlaces, load_agent_skills};
use crate::content::Content;
use crate::cost::Spend;
use crate::environment::Environment;
use crate::event::{Event, EventSink};
use crate::expert::{Expert, ExpertKey, SkillSpec};
use crate::expert_map::ExpertMap;
use crate::id::{AccountId, CheckpointId, JobId, RunId};
use crate::message::Message;
use crate::model::Catalogue;
use crate::output_schema::OutputSchema;
use crate::permission::{AskPermission, Permissions, RunPermissions};
use crate::provider::{catalog, key_variable, vendor_variables};
use crate::redact::Redactor;
use crate::replay::ReplayDifference;
use crate::runtime::joined_deltas::JoinedDeltas;
use crate::setting::ProviderName;
use crate::skill::base::OffLimits;
use crate::skill::contain::Learning;
use crate::skill::mcp::AskPerson;
use crate::store::Store;
use crate::store::remote::RemoteStorage;
use crate::usage::Usage;
use crate::workspace_source::MadeFrom;

/// This runtime's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything around a job except its query.
#[derive(Clone)]
pub struct Options {
    pub settings: Settings,
    pub experts: ExpertMap,
    /// `perstackBaseSkillCommand`, when not empty.
    pub base_skill_command: Option<Vec<String>>,
    pub environment: Environment,
    /// The folder that experts work in.
    pub workspace: PathBuf,
    /// The project's folder, which relative paths of `reads`, `writes` and `unixSockets` begin at.
    pub root: PathBuf,
    /// Folders whose context files belong to instructions too, besides the workspace's own: those of files that are sent
    /// along. Those outside of the workspace do not count.
    pub context_folders: Vec<PathBuf>,
    /// The context files and Agent Skills of a recorded job, by expert, in the place of those in the workspace.
    pub recorded_context: Option<Arc<IndexMap<ExpertKey, ExpertFiles>>>,
    /// The user's own folders of Agent Skills, looked into behind those of the project.
    pub user_skills: Vec<PathBuf>,
    /// The folder that holds `jobs/`; of a storage in an object store, its working copy.
    pub storage: PathBuf,
    /// The storage in an object store whose working copy `storage` is; of no account with any other folder.
    pub remote: Option<RemoteStorage>,
    /// Files and folders that the file tools refuse, besides the storage and the cassette.
    pub off_limits: OffLimits,
    /// An HTTP(S) or SOCKS proxy for requests to models and remote skills; overrides the usual variables.
    pub proxy: Option<String>,
    /// The folder that keeps people's logins to remote skills; without one, none is known.
    pub logins: Option<PathBuf>,
    pub sink: Arc<dyn EventSink>,
    /// Fires to stop the job gracefully: what was done is recorded, and it can be resumed.
    pub cancel: CancellationToken,
    pub in_doubt: InDoubt,
    pub cassette: CassetteMode,
    /// The use of `lockfile`.
    pub lock: LockUse,
    /// The lock beside the configuration, when there is one.
    pub lockfile: Option<Arc<Lock>>,
    /// Tiers, context windows and prices of models.
    pub catalogue: Arc<Catalogue>,
    /// Asks a person for what an MCP server wants to know in the middle of a call; without it, servers get the answer
    /// that nobody is there. A question is withdrawn by dropping its future.
    pub person: Option<AskPerson>,
    /// The permissions that the project has for all experts.
    pub permissions: Permissions,
    /// Those of the user, for all runs: the project's make no exceptions to them.
    pub user_permissions: Permissions,
    /// Those of this run, which go before the others.
    pub run_permissions: RunPermissions,
    /// The query and all that is sent along come from strangers: the Run that gets them is marked as one that has read
    /// untrusted text, and so are all that its text reaches.
    pub untrusted_input: bool,
    /// The schema that the job's answer has to be valid against, in the place of the one that its expert or the job so far
    /// has.
    pub output_schema: Option<OutputSchema>,
    /// Asks a person about a call that permissions ask about; without it, such a call is not made. A question is
    /// withdrawn by dropping its future.
    pub approver: Option<AskPermission>,
    /// Collects the needs of contained programs. With it, every command and local server is contained.
    pub learning: Option<Arc<Learning>>,
    /// Gets the first difference of a replay that compares these options with its recording.
    pub difference: Option<Arc<OnceLock<ReplayDifference>>>,
    /// The way on of a replayed Run that does something else than its recording has.
    pub beyond: BeyondRecording,
    /// The account that the job draws on together with others, besides its own budgets. Not for a recording or a replay,
    /// whose requests must not depend on others.
    pub account: Option<AccountUse>,
    /// The source that the workspace was made from, for the record of a new job.
    pub workspace_from: Option<MadeFrom>,
}

impl Options {
    /// Options for `experts` that work in `workspace`: built-in settings and catalogue, no variables (and so no key),
    /// jobs stored in the workspace's `perstack` folder, events dropped.
    pub fn new(experts: ExpertMap, workspace: PathBuf) -> Self {
        Self {
            settings: Settings::default(),
            experts,
            base_skill_command: None,
            environment: Environment::default(),
            storage: workspace.join("perstack"),
            remote: None,
            root: workspace.clone(),
            context_folders: Vec::new(),
            recorded_context: None,
            user_skills: Vec::new(),
            workspace,
            off_limits: OffLimits::default(),
            proxy: None,
            logins: None,
            sink: Arc::new(|_: &Event, _: &[Message]| {}),
            cancel: CancellationToken::new(),
            in_doubt: InDoubt::default(),
            cassette: CassetteMode::default(),
            lock: LockUse::default(),
            lockfile: None,
            catalogue: catalog::built_in(),
            person: None,
            permissions: Permissions::default(),
            user_permissions: Permissions::default(),
            run_permissions: RunPermissions::default(),
            untrusted_input: false,
            output_schema: None,
            approver: None,
            learning: None,
            difference: None,
            beyond: BeyondRecording::Nothing,
            account: None,
            workspace_from: None,
        }
    }

    /// With a provider, one of its models, and the key to it: a program need not have them in its environment. Providers
    /// that take no key (Ollama on this machine) or sign their requests (Bedrock, Vertex AI) are given an empty one.
    ///
    /// ```
    /// use perstack::runtime::Options;
    /// use perstack::setting::ProviderName;
    ///
    /// let options = Options::new(Default::default(), std::env::temp_dir());
    /// let options = options.with_provider(ProviderName::Anthropic, "claude-sonnet-4-5", "a key from a vault");
    /// assert_eq!(options.environment.get("ANTHROPIC_API_KEY"), Some("a key from a vault"));
    /// ```
    #[must_use]
    pub fn with_provider(mut self, provider: ProviderName, model: impl Into<String>, key: &str) -> Self {
        self.settings.provider = Some(provider);
        self.settings.model = Some(model.into());
        if let Some(variable) = key_variable(provider).filter(|_| !key.is_empty()) {
            self.environment.set(variable, key);
        }
        self
    }

    /// The storage that jobs are in.
    pub fn store(&self) -> Store {
        Store::at(&self.storage, self.remote.as_ref())
    }

    /// The secrets of a session with these options: what is secret for one skill is secret for all, and for every output.
    pub fn redactor(&self) -> Redactor {
        let skills: Vec<&SkillSpec> = self.experts.values().flat_map(|expert| expert.skills.values()).collect();
        let vendors = vendor_variables();
        let keys: Vec<&str> = vendors.iter().flat_map(|vendor| vendor.keys.iter().flatten().copied()).collect();
        let mut redactor = Redactor::for_skills(&self.environment, &skills, &keys);
        let setting = &self.settings.provider_setting;
        for (name, value) in &setting.headers {
            redactor.add_named(name, value);
        }
        for address in setting.base_url.iter().chain(&self.proxy) {
            redactor.add_address(address);
        }
        redactor
    }

    /// The same, with small pieces of streamed answers joined before they come to the sink.
    pub(in crate::runtime) fn joining_deltas(&self) -> Self {
        let is_replay = matches!(self.cassette, CassetteMode::Replay { .. });
        Self { sink: Arc::new(JoinedDeltas::new(Arc::clone(&self.sink), is_replay)), ..self.clone() }
    }

    /// The Agent Skills of `expert`, as they are now. A job loads them once.
    ///
    /// # Errors
    /// A skill that is not there or is not right.
    pub(in crate::runtime) fn agent_skills(&self, expert: &Expert) -> Result<AgentSkills, ConfigError> {
        if let Some(recorded) = &self.recorded_context {
            return Ok(recorded.get(&expert.key).map(|files| files.agent_skills.clone()).unwrap_or_default());
        }
        let home = self.environment.users("HOME").map(Path::new);
        let OffLimits { hidden, closed, in_use, .. } = self.all_off_limits();
        let closed = [hidden, closed, in_use].concat();
        let places = SkillPlaces { root: &self.root, users: &self.user_skills, home, closed: &closed };
        load_agent_skills(&expert.agent_skills, places)
    }

    /// The options of Runs that leave their recording, if they may.
    pub fn live(&self) -> Option<&Arc<Self>> {
        match &self.beyond {
            BeyondRecording::Live(options) => Some(options),
            BeyondRecording::Nothing | BeyondRecording::LaterPart => None,
        }
    }

    /// Returns true if what is recorded costs nothing, since the job does not end with its recording.
    pub(in crate::runtime) fn is_recording_free(&self) -> bool {
        !matches!(self.beyond, BeyondRecording::Nothing)
    }

    /// Everything that the file tools refuse.
    pub(in crate::runtime) fn all_off_limits(&self) -> OffLimits {
        let mut all = self.off_limits.clone();
        all.hidden.push(self.storage.clone());
        match &self.cassette {
            CassetteMode::None => {}
            CassetteMode::Record(file) | CassetteMode::Replay { file, .. } => all.in_use.push(file.clone()),
        }
        all
    }
}

/// An account in the storage that jobs share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountUse {
    pub id: AccountId,
    /// Its limits from now on, of cost and tokens; those that are absent stay as they are.
    pub limits: Budgets,
}

/// An account that jobs share, as it is when one of them has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEnd {
    pub id: AccountId,
    pub limits: Budgets,
    /// By all jobs.
    pub spent: Charge,
    /// It has refused a request of the job: too little is left.
    pub is_used_up: bool,
}

/// The treatment of calls in doubt: those that may have taken effect and have no recorded result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InDoubt {
    /// Report them to the model: interrupted, effect unknown.
    #[default]
    Report,
    /// Make them again.
    Retry,
    /// Do not resume.
    Stop,
}

impl InDoubt {
    /// Returns true for what is done when nobody asks for anything else.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(in crate::runtime) fn is_report(&self) -> bool {
        *self == Self::Report
    }
}

/// The recording or replay of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CassetteMode {
    #[default]
    None,
    /// Write every model exchange and tool result to this file.
    Record(PathBuf),
    /// Answer from this file, without network or key.
    Replay {
        file: PathBuf,
        /// Take tool results from it too, instead of running tools, and the tools of servers, instead of starting them.
        tools: bool,
        /// Calls may have effects. Without it, those that write or run are answered from the file too, and no server is
        /// started: for folders and cassettes that are not trusted.
        effects: bool,
        /// The part of a whole recording ([`RecordedJob`]) that is replayed: its beginning (0) or one of its continuations.
        /// Provider and model are those of the options then. `None`: all of it, with the recorded provider and model.
        ///
        /// [`RecordedJob`]: crate::runtime::RecordedJob
        part: Option<usize>,
    },
}

/// The way on behind the last that a replayed Run has in common with its recording.
#[derive(Clone, Default)]
pub enum BeyondRecording {
    /// Nothing: the Run fails.
    #[default]
    Nothing,
    /// Nothing in this part of the job; a later part goes on live. What recorded answers once took is no cost of the job.
    LaterPart,
    /// The Run goes on with these options, and so do those that build on it. Recorded answers are no cost here either.
    Live(Arc<Options>),
}

/// The beginning of a job.
///
/// ```
/// use perstack::runtime::RunInput;
///
/// let input = RunInput {
///     job_id: Some("nightly".parse()?),
///     run_id: Some("nightly-1".parse()?),
///     ..RunInput::new("owl".parse()?, "Which owls hunt at night?")
/// };
/// # let _ = input;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RunInput {
    pub expert: ExpertKey,
    pub query: String,
    /// Images and files that are sent with the query, behind it.
    pub attached: Vec<Content>,
    /// Chosen by the caller; generated when absent.
    pub job_id: Option<JobId>,
    /// The id of the coordinator's Run; generated when absent.
    pub run_id: Option<RunId>,
}

impl RunInput {
    /// A job of `expert` under generated ids.
    pub fn new(expert: ExpertKey, query: impl Into<String>) -> Self {
        Self { expert, query: query.into(), attached: Vec::new(), job_id: None, run_id: None }
    }
}

/// The checkpoint that a job is resumed from.
#[derive(Debug, Clone)]
pub enum ResumeFrom {
    /// The newest checkpoint of the newest job.
    Latest,
    /// This checkpoint of the newest job.
    LatestAt(CheckpointId),
    /// The newest checkpoint of this job.
    Job(JobId),
    /// This checkpoint of this job.
    Checkpoint(JobId, CheckpointId),
    /// Text from a user: a file's path, a checkpoint id or unique prefix, a job id, or `latest`.
    Named(String),
}

/// The resumption of a job.
#[derive(Debug, Clone)]
pub struct ResumeInput {
    pub from: ResumeFrom,
    /// The expert the checkpoint must belong to, when the caller named one.
    pub expert: Option<ExpertKey>,
    /// A further message; or, where the Run waits for a person, the answer.
    pub query: Option<String>,
    /// Images and files that are sent with the query, behind it; with an answer, they are a part of it.
    pub attached: Vec<Content>,
    /// The query is the answer to a call that waits: where none waits, it is an error and not a message.
    pub is_answer: bool,
}

/// An answer that counts once, however often it is given.
#[derive(Debug, Clone)]
pub struct AnswerInput {
    pub job: JobId,
    /// The checkpoint that waits for it.
    pub checkpoint: CheckpointId,
    pub answer: String,
    /// Images and files that are a part of it.
    pub attached: Vec<Content>,
}

impl From<AnswerInput> for ResumeInput {
    fn from(input: AnswerInput) -> Self {
        let AnswerInput { job, checkpoint: _, answer, attached } = input;
        // By its job: a checkpoint that is the newest no more would make a fork.
        Self { from: ResumeFrom::Job(job), expert: None, query: Some(answer), attached, is_answer: true }
    }
}

/// The end of a job.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The checkpoint that the coordinator stopped with.
    pub checkpoint: Checkpoint,
    /// The job's status: the checkpoint's, except of a job that was stopped while delegates were at work, where the
    /// coordinator waits for them.
    pub status: Status,
    /// The checkpoint's file.
    pub path: PathBuf,
    /// Milliseconds from start to end of this invocation.
    pub duration_ms: u64,
    /// Steps that this invocation had a part in, those of delegates included.
    pub steps: u64,
    /// Of all Runs of the job, over all invocations.
    pub usage: Usage,
    /// The cost of that.
    pub spend: Spend,
    /// The most steps of each line of Runs that call each other.
    pub max_steps: u64,
    /// The job's budgets.
    pub budgets: Budgets,
    /// The part of its budgets that is spent.
    pub spent: Spent,
    /// The budget that the job was stopped by.
    pub budget: Option<Reached>,
    /// The account that the job shares, as it is now; of a job that was over before this invocation, none.
    pub account: Option<AccountEnd>,
}
