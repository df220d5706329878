//! [`RecordedOptions`]: the options of a job as its cassette has them. A recording writes them; [`RecordedJob`] makes the
//! options of a replay of them.
//!
//! [`RecordedJob`]: crate::runtime::recorded_job::RecordedJob

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::budget::Budgets;
use crate::config::{ExpertFiles, Origin, Origins, Settings};
use crate::environment::Environment;
use crate::expert::{ContextLimit, Expert, ExpertKey, SkillSpec, ToolSearch};
use crate::expert_map::ExpertMap;
use crate::id::JobId;
use crate::model::CatalogueExcerpt;
use crate::model_name::ModelName;
use crate::output_schema::OutputSchema;
use crate::permission::{Permissions, RunPermissions};
use crate::replay::{HOME, RecordedStart, WORKSPACE};
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::without_secrets;
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::job::recorded_addresses::{hidden_endpoint, recorded_setting, recorded_variables};
use crate::runtime::options::{InDoubt, Options};
use crate::runtime::tape::Tape;
use crate::sandbox::SandboxState;
use crate::setting::{Limits, ProviderName, ProviderSetting, ReasoningBudget};

/// Records the beginning of the job of `expert`, or of its continuation, where it is recorded. `start` completes what is
/// recorded of the job with an id.
///
/// # Errors
/// As [`RecordedOptions::new`].
pub fn record_start(
    backends: &JobBackends,
    options: &Options,
    (expert, files): (&Expert, &InstructionFiles),
    start: impl FnOnce(&dyn Fn(JobId) -> RecordedStart) -> RecordedStart,
) -> Result<(), RunError> {
    let (Tape::Recording(recorder), Some(began)) = (&backends.tape, backends.started()) else { return Ok(()) };
    let with = RecordedOptions::new(options, backends, (expert, files), began.at)?;
    let in_options = |source| RunError::SecretInSetting { key: expert.key.clone(), source };
    let with = serde_json::to_value(with).map_err(in_options)?;
    let start = start(&|job_id| RecordedStart {
        job_id,
        run_id: None,
        from: None,
        expert: expert.key.clone(),
        query: None,
        attached: Vec::new(),
        is_answer: false,
        recovers: false,
        started: None,
        options: with.clone(),
    });
    let started = start.from.is_some().then_some(began);
    recorder.note_start(RecordedStart { started, ..start });
    Ok(())
}

/// Everything of a job's options that requests and events depend on; no secrets, and no addresses of servers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedOptions {
    provider: ProviderName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    model_is_explicit: bool,
    provider_setting: ProviderSetting,
    /// The variables that make up the provider's address.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    environment: IndexMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fallback: Vec<ModelName>,
    catalogue: CatalogueExcerpt,
    reasoning_budget: ReasoningBudget,
    limits: Limits,
    budgets: Budgets,
    /// The settings that flags and variables gave ([`Origins::asked`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    asked: Vec<String>,
    #[serde(default, skip_serializing_if = "InDoubt::is_report")]
    in_doubt: InDoubt,
    timeout_ms: u64,
    max_parallel_delegates: u64,
    max_tool_output: usize,
    /// The containment that was in force.
    sandbox: SandboxState,
    context_limit: ContextLimit,
    #[serde(default, skip_serializing_if = "ToolSearch::is_default")]
    tool_search: ToolSearch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_skill_command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Permissions::is_empty")]
    permissions: Permissions,
    #[serde(default, skip_serializing_if = "Permissions::is_empty")]
    user_permissions: Permissions,
    #[serde(default, skip_serializing_if = "Permissions::is_empty")]
    run_permissions: Permissions,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    untrusted_input: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_schema: Option<OutputSchema>,
    experts: IndexMap<String, Expert>,
    /// The files that belong to their instructions.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    context: IndexMap<ExpertKey, ExpertFiles>,
}

impl RecordedOptions {
    /// The options of a job of `expert` that began at a time in milliseconds since the epoch.
    ///
    /// # Errors
    /// As [`without_secrets`], or no model is known for one of the experts.
    fn new(
        options: &Options,
        backends: &JobBackends,
        (expert, files): (&Expert, &InstructionFiles),
        at: u64,
    ) -> Result<Self, RunError> {
        let (mut experts, provider_setting) = without_secrets(options, backends, expert)?;
        let skills = experts.values_mut().flat_map(|expert| expert.skills.values_mut());
        for skill in skills {
            if let SkillSpec::McpSseSkill { endpoint, .. } = skill {
                *endpoint = hidden_endpoint(endpoint);
            }
        }
        let settings = &options.settings;
        let provider = backends.provider.name();
        let mut used = BTreeSet::new();
        for expert in options.experts.reachable(&expert.key)? {
            let models = backends.models_for(expert, settings)?;
            used.extend(std::iter::once(models.first.name()).chain(models.fallback_names()));
        }
        let providers = used.iter().map(|name| name.provider).chain([provider]);
        let environment = recorded_variables(providers, &options.environment).collect();
        Ok(Self {
            provider,
            model: settings.model.clone(),
            model_is_explicit: settings.model_is_explicit,
            provider_setting: recorded_setting(provider, provider_setting),
            environment,
            fallback: settings.fallback.clone(),
            catalogue: CatalogueExcerpt::new(&options.catalogue, &used, provider, at),
            reasoning_budget: settings.reasoning_budget,
            limits: settings.limits,
            budgets: settings.budgets,
            asked: settings.origins.asked().into_iter().map(str::to_owned).collect(),
            in_doubt: options.in_doubt,
            timeout_ms: settings.timeout_ms,
            max_parallel_delegates: settings.max_parallel_delegates,
            max_tool_output: settings.max_tool_output,
            sandbox: backends.sandbox_state(options),
            context_limit: settings.context_limit,
            tool_search: settings.tool_search,
            base_skill_command: options.base_skill_command.clone(),
            permissions: options.permissions.clone(),
            user_permissions: options.user_permissions.clone(),
            run_permissions: options.run_permissions.lists.clone(),
            read_only: options.run_permissions.read_only,
            untrusted_input: options.untrusted_input,
            output_schema: options.output_schema.clone(),
            experts,
            context: files.by_expert().clone(),
        })
    }

    /// The settings that flags and variables gave.
    pub fn asked(&self) -> &[String] {
        &self.asked
    }

    /// The same options, for a job whose state goes to `storage`. Paths are those of the cassette: nothing is read or
    /// written there.
    pub fn into_options(self, storage: &Path) -> Options {
        let mut environment = self.environment.into_iter().collect::<Environment>();
        environment.set("HOME", HOME);
        let flag = Origin::Flag;
        let settings = Settings {
            provider: Some(self.provider),
            provider_setting: self.provider_setting,
            model: self.model,
            model_is_explicit: self.model_is_explicit,
            fallback: self.fallback,
            reasoning_budget: self.reasoning_budget,
            limits: self.limits,
            budgets: self.budgets,
            timeout_ms: self.timeout_ms,
            max_parallel_delegates: self.max_parallel_delegates,
            sandbox: self.sandbox.setting,
            max_tool_output: self.max_tool_output,
            context_limit: self.context_limit,
            tool_search: self.tool_search,
            // A continuation has its own limits, not those of the job so far.
            origins: Origins {
                max_steps: flag,
                max_cost: flag,
                max_tokens: flag,
                max_duration: flag,
                max_total_steps: flag,
                max_tool_repetitions: flag,
                max_delegates: flag,
                ..Origins::default()
            },
            ..Settings::default()
        };
        Options {
            settings,
            base_skill_command: self.base_skill_command,
            in_doubt: self.in_doubt,
            environment,
            storage: storage.to_owned(),
            recorded_context: Some(Arc::new(self.context)),
            catalogue: Arc::new(self.catalogue.into_catalogue(self.provider)),
            permissions: self.permissions,
            user_permissions: self.user_permissions,
            run_permissions: RunPermissions { lists: self.run_permissions, read_only: self.read_only },
            untrusted_input: self.untrusted_input,
            output_schema: self.output_schema,
            ..Options::new(self.experts.into_values().collect::<ExpertMap>(), PathBuf::from(WORKSPACE))
        }
    }
}
