//! [`FallenBack`]: the model that a Run goes on with where others failed; and [`ChainModel`], a model that it may ask.
//! Facts and checkpoints hold them. When a Run changes its model is the machine's.

use serde::{Deserialize, Serialize};

use crate::cost::Price;
use crate::model_name::ModelName;

/// A model that a Run may ask, as its machine needs to know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainModel {
    pub model: ModelName,
    /// Its context window in tokens, when known.
    #[serde(default, with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// Its price, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// The model that a Run has fallen back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FallenBack {
    pub model: ModelName,
    /// The models before it, the first one first.
    pub failed: Vec<FailedModel>,
}

/// A model that a Run has given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FailedModel {
    pub model: ModelName,
    /// Its last failure.
    pub error: String,
}

impl FallenBack {
    /// The failure `message` of the present model, with those of the models before it.
    pub fn with_earlier(&self, message: &str) -> String {
        let earlier = self.failed.iter().rev().map(|failed| format!("{}: {}", failed.model, failed.error));
        let earlier: Vec<String> = earlier.collect();
        format!("{}: {message}; before it, {}", self.model, earlier.join("; "))
    }
}
