//! [`RunModels`]: the models that the Runs of an expert may ask, its own and its fallbacks; and what is known of them before
//! anything is asked. A job's start and resumption call the checks, each Run takes its models; when a Run changes from one
//! to the next is the machine's.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexSet;

use super::backends::JobBackends;
use crate::config::{Settings, nearest};
use crate::expert::{Expert, ModelTier};
use crate::fallback::ChainModel;
use crate::generation::NativeTools;
use crate::model_name::ModelName;
use crate::provider::{Provider, ProviderError};
use crate::runtime::budget::SharedAccount;
use crate::runtime::error::RunError;
use crate::runtime::options::Options;

/// A model with its provider.
#[derive(Clone)]
pub struct RunModel {
    pub provider: Arc<Provider>,
    pub model: String,
}

impl RunModel {
    /// The name with the provider's.
    pub fn name(&self) -> ModelName {
        ModelName { provider: self.provider.name(), model: self.model.clone() }
    }

    /// The model as a machine needs to know it, with the price of this time.
    fn at(&self, now: u64) -> ChainModel {
        let known = self.provider.model(&self.model);
        ChainModel {
            model: self.name(),
            context_window: known.and_then(|model| model.context_window),
            price: known.and_then(|model| model.price_at(now)),
        }
    }

    fn doubt(&self, is_replay: bool) -> Option<String> {
        let (provider, model) = (&self.provider, &self.model);
        if provider.model(model).is_some() || !provider.names_its_models() {
            return None;
        }
        let near = nearest(model, provider.known_models());
        // Other servers have models of their own. A replay knows nothing of the address that was recorded.
        if near.is_none() && (is_replay || !provider.is_at_home()) {
            return None;
        }
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let provider = provider.name();
        Some(format!("model {model} of {provider} is not in the catalogue, so its cost is not known{hint}"))
    }
}

/// The models that a Run may ask.
pub struct RunModels {
    pub first: RunModel,
    pub fallbacks: Vec<RunModel>,
}

impl RunModels {
    /// The fallback of this name, else the first.
    pub fn get(&self, fallback: Option<&ModelName>) -> &RunModel {
        let found = fallback.and_then(|name| self.fallbacks.iter().find(|model| model.name() == *name));
        found.unwrap_or(&self.first)
    }

    fn all(&self) -> impl Iterator<Item = &RunModel> {
        std::iter::once(&self.first).chain(&self.fallbacks)
    }

    /// The names of the fallbacks.
    pub fn fallback_names(&self) -> Vec<ModelName> {
        self.fallbacks.iter().map(RunModel::name).collect()
    }

    /// Warnings about tools that the models' providers are to run and do not.
    pub fn native_warnings(&self, native: NativeTools<'_>) -> Vec<String> {
        let warnings: IndexSet<String> = self.all().flat_map(|model| model.provider.native_warnings(native)).collect();
        warnings.into_iter().collect()
    }

    /// All of them as a machine needs to know them, with the prices of this time; none where there are no fallbacks.
    pub fn chain(&self, now: u64) -> Vec<ChainModel> {
        if self.fallbacks.is_empty() { Vec::new() } else { self.all().map(|model| model.at(now)).collect() }
    }
}

impl JobBackends {
    /// The models for `expert`. A fallback that is its own model is none.
    ///
    /// # Errors
    /// As [`JobBackends::model_for`], or a fallback's provider is not open.
    pub fn models_for(&self, expert: &Expert, settings: &Settings) -> Result<RunModels, RunError> {
        let first = RunModel { provider: Arc::clone(&self.provider), model: self.model_for(expert, settings)? };
        let own = first.name();
        let others: IndexSet<&ModelName> = settings.fallbacks_of(expert).iter().filter(|name| **name != own).collect();
        let model = |name: &ModelName| -> Result<RunModel, RunError> {
            let provider = if name.provider == self.provider.name() {
                Some(&self.provider)
            } else {
                self.fallbacks.get(&name.provider)
            };
            let missing = || RunError::Internal(format!("the provider of the fallback {name} is not open"));
            Ok(RunModel { provider: Arc::clone(provider.ok_or_else(missing)?), model: name.model.clone() })
        };
        let fallbacks = others.into_iter().map(model).collect::<Result<_, RunError>>()?;
        Ok(RunModels { first, fallbacks })
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
    /// As [`JobBackends::models_for`].
    pub fn doubtful_models(&self, expert: &Expert, options: &Options) -> Result<Vec<String>, RunError> {
        let mut models = BTreeMap::new();
        for expert in options.experts.reachable(&expert.key)? {
            let chain = self.models_for(expert, &options.settings)?;
            models.extend(chain.all().map(|model| (model.name(), model.clone())));
        }
        Ok(models.values().filter_map(|model| model.doubt(self.tape.is_replay() && !self.is_whole_replay)).collect())
    }

    /// Checks that the cost of every model that the experts reachable from `expert` are to use is known, if cost is
    /// limited, by the job's budgets or by an account that it shares.
    ///
    /// # Errors
    /// [`RunError::UnknownPrice`], or as [`JobBackends::models_for`].
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
            let chain = self.models_for(expert, &options.settings)?;
            if let Some(unknown) = chain.all().find(|model| model.at(now).price.is_none()) {
                return Err(RunError::UnknownPrice { model: unknown.model.clone(), provider: unknown.provider.name() });
            }
        }
        Ok(())
    }
}
