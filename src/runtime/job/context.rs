//! [`JobContext`]: all that the Runs of a job share. A job's start and resumption make it; each Run's context holds it.

use crate::checkpoint::FORMAT_VERSION;
use crate::cost::Price;
use crate::expert::Expert;
use crate::fact::RunParameters;
use crate::id::{JobId, RunId};
use crate::runtime::budget::BudgetHandle;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::options::Options;
use crate::runtime::stop::StopSignal;
use crate::runtime::tools::Toolset;
use crate::setting::{ProviderConfig, RunSetting};
use crate::store::{JobStore, Store};
use crate::tool::ToolSpec;

/// All that the Runs of a job share.
pub struct JobContext {
    pub options: Options,
    pub backends: JobBackends,
    pub store: Store,
    pub job: JobStore,
    /// Fires when all Runs are to stop.
    pub stop: StopSignal,
    /// Access to the job's account, when it has budgets that Runs share.
    pub budget: Option<BudgetHandle>,
}

impl JobContext {
    /// The job's id.
    pub fn job_id(&self) -> &JobId {
        self.job.id()
    }

    /// The setting of the Run `run` of `expert`, as it is stored beside its log.
    ///
    /// # Errors
    /// No model is named for the expert, and its provider has no default.
    pub fn setting(&self, expert: &Expert, run: &RunId) -> Result<RunSetting, RunError> {
        let settings = &self.options.settings;
        let now = self.backends.clock_of(run).stamp().at;
        let reachable = self.options.experts.reachable(&expert.key)?.into_iter();
        let redactor = &self.backends.redactor;
        // What is stored and shown is without the secrets that the configuration itself contains.
        let without_secrets = |expert: &Expert| redactor.masked(expert);
        Ok(RunSetting {
            format_version: FORMAT_VERSION,
            model: self.backends.model_for(expert, settings)?,
            provider_config: ProviderConfig {
                provider_name: self.backends.provider.name(),
                setting: redactor.masked(&settings.provider_setting),
            },
            job_id: self.job_id().clone(),
            run_id: run.clone(),
            expert_key: expert.key.clone(),
            experts: reachable.map(|expert| (expert.key.as_str().to_owned(), without_secrets(expert))).collect(),
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
    pub fn parameters(&self, expert: &Expert, toolset: &Toolset, setting: &RunSetting) -> RunParameters {
        let settings = &self.options.settings;
        let model = self.backends.provider.model(&setting.model);
        RunParameters {
            tools: toolset.skills.tools().iter().map(ToolSpec::route).collect(),
            delegates: toolset.delegates.clone(),
            limits: settings.limits,
            context_window: model.and_then(|model| model.context_window),
            context_limit: expert.context_limit.unwrap_or(settings.context_limit),
            price: self.price(setting),
            max_tool_repetitions: settings.budgets.max_tool_repetitions,
        }
    }

    /// The price of a Run's model at the time at which the Run was set up.
    pub fn price(&self, setting: &RunSetting) -> Option<Price> {
        self.backends.provider.model(&setting.model).and_then(|model| model.price_at(setting.updated_at))
    }
}
