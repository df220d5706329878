//! [`CatalogueExcerpt`]: the models of a catalogue that a recorded job used, so that its replay does not depend on the
//! catalogue at hand. The runtime writes it into cassettes.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Ability, Catalogue, Model, Shelf, Tiers};
use crate::cost::Price;
use crate::expert::ModelTier;
use crate::model_name::ModelName;
use crate::setting::ProviderName;

/// Some models of a catalogue, as they were at a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CatalogueExcerpt {
    models: Vec<ExcerptModel>,
    /// The models of the tiers low, middle and high of the job's provider.
    tiers: [Option<String>; 3],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExcerptModel {
    name: ModelName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    context_window: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    abilities: Vec<Ability>,
}

impl CatalogueExcerpt {
    /// The models `used` as `catalogue` has them at a time in milliseconds since the epoch, and the tiers of `provider`.
    pub fn new(catalogue: &Catalogue, used: &BTreeSet<ModelName>, provider: ProviderName, at: u64) -> Self {
        let known = |name: &ModelName| {
            let model = catalogue.model(name.provider, &name.model)?;
            Some(ExcerptModel {
                name: name.clone(),
                context_window: model.context_window,
                max_output_tokens: model.max_output_tokens,
                price: model.price_at(at),
                abilities: model.abilities.clone(),
            })
        };
        let tiers = [ModelTier::Low, ModelTier::Middle, ModelTier::High];
        Self {
            models: used.iter().filter_map(known).collect(),
            tiers: tiers.map(|tier| catalogue.tier(provider, tier).map(str::to_owned)),
        }
    }

    /// The catalogue of these models alone.
    pub fn into_catalogue(self, provider: ProviderName) -> Catalogue {
        let mut shelves: IndexMap<ProviderName, Shelf> = IndexMap::new();
        let [low, middle, high] = self.tiers;
        shelves.entry(provider).or_default().tiers = Tiers { low, middle, high };
        for ExcerptModel { name, context_window, max_output_tokens, price, abilities } in self.models {
            let id = name.model;
            let model =
                Model { id: id.clone(), context_window, max_output_tokens, price, abilities, ..Model::default() };
            shelves.entry(name.provider).or_default().models.insert(id, model.into());
        }
        Catalogue { shelves }
    }
}
