//! What a Run is done with: its expert and those within reach, its setting as it is written down, its parameters as
//! its machine knows them.

use crate::checkpoint::FORMAT_VERSION;
use crate::cost::Price;
use crate::expert::Expert;
use crate::fact::RunParameters;
use crate::id::RunId;
use crate::runtime::error::RunError;
use crate::runtime::run::start::JobContext;
use crate::runtime::tools::Toolset;
use crate::setting::{ProviderConfig, RunSetting};
use crate::tool::ToolSpec;

impl JobContext {
    /// What the Run `run` is done with, as it is written down.
    pub fn setting(&self, expert: &Expert, run: &RunId) -> Result<RunSetting, RunError> {
        let settings = &self.options.settings;
        let now = self.backends.clock_of(run).stamp().at;
        let reachable = self.options.experts.reachable(&expert.key)?.into_iter();
        let experts = reachable.map(|expert| (expert.key.as_str().to_owned(), expert.clone())).collect();
        Ok(RunSetting {
            format_version: FORMAT_VERSION,
            model: self.backends.model_for(expert, settings)?,
            provider_config: ProviderConfig {
                provider_name: self.backends.provider.name(),
                setting: settings.provider_setting.clone(),
            },
            job_id: self.job_id().clone(),
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

    /// What a machine needs to know of tools, limits and model.
    pub fn parameters(&self, toolset: &Toolset, setting: &RunSetting) -> RunParameters {
        let model = self.backends.provider.model(&setting.model);
        RunParameters {
            tools: toolset.skills.tools().iter().map(ToolSpec::route).collect(),
            delegates: toolset.delegates.clone(),
            limits: self.options.settings.limits,
            context_window: model.and_then(|model| model.context_window),
            context_limit: setting
                .experts
                .get(setting.expert_key.as_str())
                .and_then(|expert| expert.context_limit)
                .unwrap_or(self.options.settings.context_limit),
            price: self.price(setting),
            max_tool_repetitions: self.options.settings.budgets.max_tool_repetitions,
        }
    }

    /// What the model of a Run costs, by the time at which it was set up.
    pub fn price(&self, setting: &RunSetting) -> Option<Price> {
        self.backends.provider.model(&setting.model).and_then(|model| model.price_at(setting.updated_at))
    }
}
