//! [`Connector`]: the way in which a job connects to providers, and the checks of fallbacks before anything is asked. A
//! job's backends open their providers with it, and `perstack check` looks at each by itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::config::{Settings, nearest};
use crate::environment::Environment;
use crate::expert::Expert;
use crate::model::Catalogue;
use crate::model_name::ModelName;
use crate::provider::http::transport::Transport;
use crate::provider::{Provider, ProviderError};
use crate::runtime::error::{FallbackProblem, RunError};
use crate::runtime::options::Options;
use crate::setting::{ProviderName, ProviderSetting};

/// Providers by name.
pub type ProvidersByName = BTreeMap<ProviderName, Arc<Provider>>;

/// The way in which a job connects to providers.
pub struct Connector<'a> {
    pub environment: &'a Environment,
    pub catalogue: &'a Arc<Catalogue>,
    pub transport: Arc<dyn Transport>,
    /// Answers come from a recording, for which no key is needed.
    pub is_replay: bool,
}

impl Connector<'_> {
    /// A provider with these settings.
    ///
    /// # Errors
    /// As [`Provider::connect`].
    pub fn provider(&self, name: ProviderName, setting: &ProviderSetting) -> Result<Provider, ProviderError> {
        let transport = Arc::clone(&self.transport);
        let connect = if self.is_replay { Provider::connect_without_key } else { Provider::connect };
        Ok(connect(name, setting, self.environment, transport)?.with_catalogue(Arc::clone(self.catalogue)))
    }

    /// The provider of a fallback, which has the model as far as is known.
    ///
    /// # Errors
    /// It cannot be used, or has no such model: a fallback is of no use if that shows when it is needed.
    pub fn fallback(&self, name: &ModelName, settings: &Settings) -> Result<Provider, FallbackProblem> {
        let provider = self.provider(name.provider, &settings.setting_of(name.provider))?;
        self.check(&provider, name)?;
        Ok(provider)
    }

    fn check(&self, provider: &Provider, name: &ModelName) -> Result<(), FallbackProblem> {
        // Other servers have models of their own.
        let is_known = provider.model(&name.model).is_some() || !provider.names_its_models() || !provider.is_at_home();
        if is_known || self.is_replay {
            return Ok(());
        }
        let near = nearest(&name.model, provider.known_models()).map(str::to_owned);
        Err(FallbackProblem::UnknownModel { provider: name.provider, near })
    }

    /// The providers of the fallbacks of all experts reachable from `expert`, but for the one that is open already.
    ///
    /// # Errors
    /// [`RunError::Fallback`].
    pub fn fallbacks(&self, expert: &Expert, options: &Options, first: &Provider) -> Result<ProvidersByName, RunError> {
        let settings = &options.settings;
        let mut open = ProvidersByName::new();
        for expert in options.experts.reachable(&expert.key)? {
            for name in settings.fallbacks_of(expert) {
                let refused = |source| RunError::Fallback { expert: expert.key.clone(), model: name.clone(), source };
                if name.provider == first.name() {
                    self.check(first, name).map_err(refused)?;
                    continue;
                }
                match open.entry(name.provider) {
                    Entry::Occupied(provider) => self.check(provider.get(), name).map_err(refused)?,
                    Entry::Vacant(free) => {
                        free.insert(Arc::new(self.fallback(name, settings).map_err(refused)?));
                    }
                }
            }
        }
        Ok(open)
    }
}
