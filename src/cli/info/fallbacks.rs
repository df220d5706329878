//! [`Fallbacks`]: the models that are asked when the first has failed, as `perstack info` shows them.

use std::collections::BTreeMap;

use perstack::config::{Origin, Project, Settings};
use perstack::model_name::ModelName;
use serde::Serialize;

/// The models to ask when the first has failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fallbacks {
    /// Those for all experts.
    all: Vec<ModelName>,
    origin: Origin,
    /// Those of single experts, by key.
    experts: BTreeMap<String, Vec<ModelName>>,
}

impl Fallbacks {
    /// The fallbacks of these settings, and of the experts of the project.
    pub fn new(settings: &Settings, project: Option<&Project>) -> Self {
        let experts = project.iter().flat_map(|project| project.experts.values());
        let own = experts.filter_map(|expert| Some((expert.key.to_string(), expert.fallback.clone()?)));
        Self { all: settings.fallback.clone(), origin: settings.origins.fallback, experts: own.collect() }
    }

    /// Returns true where no model has a fallback, and no list is empty on purpose.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.experts.is_empty()
    }

    /// All of them in a line.
    pub fn text(&self) -> String {
        let listed = |models: &[ModelName]| match models {
            [] => "none".to_owned(),
            models => models.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let all = (!self.all.is_empty()).then(|| format!("{} (by {})", listed(&self.all), self.origin));
        let experts =
            self.experts.iter().map(|(key, models)| format!("{} (perstack.toml, expert {key})", listed(models)));
        all.into_iter().chain(experts).collect::<Vec<_>>().join("; ")
    }
}
