//! [`JobContext`]: all that the Runs of a job share. A job's start and resumption make it; each Run's context holds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::checkpoint::FORMAT_VERSION;
use crate::cost::Price;
use crate::expert::{Expert, VerifyCommand};
use crate::fact::RunParameters;
use crate::id::{JobId, RunId};
use crate::output_schema::OutputSchema;
use crate::permission::PermissionRules;
use crate::redact::Redactor;
use crate::runtime::budget::{BudgetHandle, SharedAccount};
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::job::models::RunModels;
use crate::runtime::options::Options;
use crate::runtime::snapshots::{self, SnapshotTaker};
use crate::runtime::stop::StopSignal;
use crate::runtime::tools::Toolset;
use crate::setting::{ProviderConfig, ProviderSetting, RunDigests, RunSetting};
use crate::store::{JobStore, Store, StoreError};
use crate::tool::{BASE_SKILL, ToolSpec};

/// All that the Runs of a job share.
pub struct JobContext {
    pub options: Options,
    pub backends: JobBackends,
    /// The files that belong to instructions.
    pub files: InstructionFiles,
    pub store: Store,
    pub job: Arc<JobStore>,
    /// Fires when all Runs are to stop.
    pub stop: StopSignal,
    /// Access to the job's account, when it has budgets that Runs share.
    pub budget: Option<BudgetHandle>,
    /// The account that it shares with other jobs.
    pub shared: Option<Arc<SharedAccount>>,
    /// Stores the state of the workspace.
    pub snapshots: SnapshotTaker,
    /// The same job for Runs that leave the recording, where they may.
    pub live: Option<Arc<JobContext>>,
    /// It is that of such Runs: nothing that their logs have was made here, and no call of theirs is in doubt.
    pub is_beyond: bool,
}

/// The options, providers and files of Runs that leave the recording of their job.
pub struct LiveSide {
    pub options: Options,
    pub backends: JobBackends,
    pub files: InstructionFiles,
}

impl LiveSide {
    /// The job of these Runs, stored as `job`.
    ///
    /// # Errors
    /// The snapshots that the job has already cannot be read.
    pub fn into_context(
        self,
        store: &Store,
        job: &Arc<JobStore>,
        stop: &StopSignal,
    ) -> Result<Arc<JobContext>, StoreError> {
        let Self { options, backends, files } = self;
        let stored = (store.clone(), Arc::clone(job));
        let context = JobContext::new(options, backends, files, stored, stop.clone())?;
        Ok(Arc::new(JobContext { is_beyond: true, ..context }))
    }
}

impl JobContext {
    /// A job that is stored, without a budget, an account, or another side to its recording.
    ///
    /// # Errors
    /// The snapshots that the job has already cannot be read.
    pub fn new(
        options: Options,
        backends: JobBackends,
        files: InstructionFiles,
        (store, job): (Store, Arc<JobStore>),
        stop: StopSignal,
    ) -> Result<Self, StoreError> {
        let snapshots = SnapshotTaker::open(&options, &job, &backends.redactor)?;
        let (budget, shared, live, is_beyond) = (None, None, None, false);
        Ok(Self { options, backends, files, store, job, stop, budget, shared, snapshots, live, is_beyond })
    }

    /// The job's id.
    pub fn job_id(&self) -> &JobId {
        self.job.id()
    }

    /// Returns true if its Runs set nothing aside although it has budgets: their answers are recorded, and take nothing.
    pub fn is_spared_budget(&self) -> bool {
        self.live.is_some() && self.options.settings.budgets.are_reserved()
    }

    /// Returns true if it does nothing that could be lost: a recording has the result of every call, and all that is done
    /// again by replaying it once more. Not so where live work follows, which builds on what is stored.
    pub fn has_no_effects(&self) -> bool {
        self.backends.tape.answers_all_calls() && !self.options.is_recording_free()
    }

    /// The parts of it that are there before its folder is.
    pub fn basis(&self) -> JobBasis<'_> {
        let Self { options, backends, files, store, stop, .. } = self;
        JobBasis { options, backends, files, store, stop, job_id: self.job_id() }
    }
}

/// The parts of a job that exist before its folder does.
#[derive(Clone, Copy)]
pub struct JobBasis<'a> {
    pub options: &'a Options,
    pub backends: &'a JobBackends,
    pub files: &'a InstructionFiles,
    /// To read from.
    pub store: &'a Store,
    pub stop: &'a StopSignal,
    pub job_id: &'a JobId,
}

impl JobBasis<'_> {
    /// The setting of the Run `run` of `expert`, as it is stored beside its log.
    ///
    /// # Errors
    /// No model is named for the expert, and its provider has no default; or nothing is left of it without the secrets.
    pub fn setting(&self, expert: &Expert, run: &RunId) -> Result<RunSetting, RunError> {
        let settings = &self.options.settings;
        let now = self.backends.clock_of(run).stamp().at;
        let (experts, provider_setting) = without_secrets(self.options, self.backends, expert)?;
        Ok(RunSetting {
            format_version: FORMAT_VERSION,
            model: self.backends.model_for(expert, settings)?,
            provider_config: ProviderConfig { provider_name: self.backends.provider.name(), setting: provider_setting },
            job_id: self.job_id.clone(),
            run_id: run.clone(),
            expert_key: expert.key.clone(),
            experts,
            reasoning_budget: settings.reasoning_budget,
            max_steps: settings.limits.max_steps,
            max_retries: settings.limits.max_retries,
            timeout: settings.timeout_ms,
            budgets: settings.budgets,
            started_at: now,
            updated_at: now,
        })
    }

    /// The tools, limits and model of a Run as its machine needs to know them.
    pub fn parameters(
        &self,
        expert: &Expert,
        models: &RunModels,
        toolset: &Toolset,
        setting: &RunSetting,
        output_schema: Option<OutputSchema>,
    ) -> RunParameters {
        let settings = &self.options.settings;
        let model = self.backends.provider.model(&setting.model);
        RunParameters {
            tools: toolset.skills.tools().iter().map(ToolSpec::route).collect(),
            delegates: toolset.delegates.clone(),
            limits: settings.limits,
            context_window: model.and_then(|model| model.context_window),
            context_limit: expert.context_limit.unwrap_or(settings.context_limit),
            price: self.price(setting),
            models: models.chain(setting.updated_at),
            max_tool_repetitions: settings.budgets.max_tool_repetitions,
            decides_calls: !rules(self.options, expert).is_empty() || reads_untrusted(expert),
            untrusted_skills: untrusted_skills(expert).map(str::to_owned).collect(),
            output_schema,
            verify: verify_of(expert, &self.backends.redactor),
            context_files: self.files.record(&expert.key),
            context_folders: self.context_folders(),
            snapshots: snapshots::mode(self.options),
            digests: self.digests(setting),
        }
    }

    /// The folders whose context files the job's experts have, beside the workspace's own; none where no expert names any.
    fn context_folders(&self) -> Vec<String> {
        let is_read = !self.files.by_expert().is_empty();
        let Ok(root) = self.options.workspace.canonicalize() else { return Vec::new() };
        let within = self.options.context_folders.iter().filter(|_| is_read).filter_map(|folder| {
            let whole = root.join(folder);
            let real = whole.canonicalize().unwrap_or(whole);
            let path = real.strip_prefix(&root).ok()?.to_str()?.to_owned();
            (!path.is_empty()).then_some(path)
        });
        within.collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// The digests of what a Run with this setting works with.
    fn digests(&self, setting: &RunSetting) -> Option<RunDigests> {
        let lock = self.options.lockfile.as_ref().map(|lock| lock.digest().to_owned());
        Some(RunDigests::of_setting(&serde_json::to_value(setting).ok()?, lock))
    }

    /// The price of a Run's model at the time at which the Run was set up.
    fn price(&self, setting: &RunSetting) -> Option<Price> {
        self.backends.provider.model(&setting.model).and_then(|model| model.price_at(setting.updated_at))
    }
}

/// The command that verifies the answers of `expert`, without secrets.
pub fn verify_of(expert: &Expert, redactor: &Redactor) -> Option<VerifyCommand> {
    let verify = expert.verify.clone()?;
    Some(VerifyCommand { command: redactor.text(&verify.command), ..verify })
}

/// The skills of an expert whose results come from strangers: by the name that an expert gives it, and a base skill by its
/// own too, under which it verifies answers.
fn untrusted_skills(expert: &Expert) -> impl Iterator<Item = &str> {
    let skills = expert.skills.values().filter(|spec| spec.common().untrusted);
    skills.flat_map(|spec| {
        let name = spec.common().name.as_str();
        std::iter::once(name).chain((spec.is_base() && name != BASE_SKILL).then_some(BASE_SKILL))
    })
}

/// Returns true if an expert may read text from strangers by its own tools.
fn reads_untrusted(expert: &Expert) -> bool {
    untrusted_skills(expert).next().is_some()
}

/// The rules for the calls of an expert.
pub fn rules<'a>(options: &'a Options, expert: &'a Expert) -> PermissionRules<'a> {
    PermissionRules {
        run: &options.run_permissions,
        user: &options.user_permissions,
        project: &options.permissions,
        expert: &expert.permissions,
    }
}

/// The definitions that a Run of `expert` is stored with, and the provider's setting, without the secrets that they
/// themselves contain.
///
/// # Errors
/// [`RunError::SecretInSetting`], or an expert that is unusable.
pub fn without_secrets(
    options: &Options,
    backends: &JobBackends,
    expert: &Expert,
) -> Result<(IndexMap<String, Expert>, ProviderSetting), RunError> {
    let in_setting = |source| RunError::SecretInSetting { key: expert.key.clone(), source };
    let masked = |other: &Expert| Ok((other.key.as_str().to_owned(), backends.redactor.masked(other)?));
    let reachable = options.experts.reachable(&expert.key)?.into_iter();
    let experts = reachable.map(masked).collect::<serde_json::Result<_>>().map_err(in_setting)?;
    let provider_setting = backends.redactor.masked(&options.settings.provider_setting).map_err(in_setting)?;
    Ok((experts, provider_setting))
}
