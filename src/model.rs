//! [`Catalogue`]: what is known of models, that is how much they take and give, their prices, and which one a tier means.
//!
//! Read from catalogues in TOML: one comes with the program, another may be the user's. Any other model may be used as
//! well; nothing is known of it then.

mod excerpt;
mod file;

pub use excerpt::CatalogueExcerpt;

use std::ops::Range;
use std::sync::OnceLock;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::cost::Price;
use crate::expert::ModelTier;
use crate::setting::ProviderName;

/// Regions of Amazon Bedrock that precede a model's id (AWS, "Inference profiles").
const REGIONS: [&str; 9] = ["us", "eu", "apac", "jp", "au", "ca", "sa", "us-gov", "global"];

/// The abilities of a model beyond text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ability {
    Tools,
    Images,
    Pdf,
    Reasoning,
}

/// The facts about a model. What is absent is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// As the provider spells it.
    pub id: String,
    /// Tokens that prompt and answer may have together.
    pub context_window: Option<u64>,
    /// Tokens that an answer may have, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// The price, unless [`Model::later`] applies.
    pub price: Option<Price>,
    /// Another price from a day on.
    pub later: Option<LaterPrice>,
    pub abilities: Vec<Ability>,
    pub note: Option<String>,
    /// The source of the numbers: an address, or a file.
    pub source: String,
    /// The day on which they were last compared with it: `2026-11-22`.
    pub checked: Option<String>,
}

/// A price that was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterPrice {
    /// The day from which it holds: `2027-01-01`.
    pub from: String,
    /// The beginning of that day in UTC, in milliseconds since the epoch.
    pub from_ms: u64,
    pub price: Price,
}

impl Model {
    /// The price of the model at a time in milliseconds since the epoch.
    pub fn price_at(&self, at: u64) -> Option<Price> {
        match &self.later {
            Some(later) if at >= later.from_ms => Some(later.price),
            _ => self.price,
        }
    }
}

/// All models that are known, and those of the tiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    shelves: IndexMap<ProviderName, Shelf>,
}

/// One provider's models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shelf {
    tiers: Tiers,
    /// Another provider, all of whose models are available here too.
    like: Option<ProviderName>,
    models: IndexMap<String, Row>,
}

impl Shelf {
    fn model(&self, provider: ProviderName, id: &str) -> Option<&Model> {
        let is_version = |(other, _): &(&String, &Row)| plain(provider, other) == plain(provider, id);
        let version = || self.models.iter().find(is_version).map(|(_, row)| row);
        self.models.get(id).or_else(version).map(Row::model)
    }
}

/// A model of a shelf. Those of the program's own catalogue are read when they are first asked for: a job needs one of
/// them, and reading all takes longer than the rest of its start.
#[derive(Debug, Clone)]
struct Row {
    model: OnceLock<Box<Model>>,
    unread: UnreadModel,
}

/// A model as it is in the program's own catalogue.
#[derive(Debug, Clone, Copy, Default)]
struct UnreadModel {
    /// Its line.
    text: &'static str,
    source: &'static str,
    checked: Option<&'static str>,
}

impl Row {
    fn model(&self) -> &Model {
        // A test reads all, so that none is without what its line has.
        self.model.get_or_init(|| Box::new(file::read_model(self.unread).unwrap_or_default()))
    }
}

impl From<Model> for Row {
    fn from(model: Model) -> Self {
        Self { model: OnceLock::from(Box::new(model)), unread: UnreadModel::default() }
    }
}

impl From<UnreadModel> for Row {
    fn from(unread: UnreadModel) -> Self {
        Self { model: OnceLock::new(), unread }
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.model() == other.model()
    }
}

impl Eq for Row {}

/// The models of the tiers low, middle and high.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tiers {
    low: Option<String>,
    middle: Option<String>,
    high: Option<String>,
}

impl Tiers {
    fn get(&self, tier: ModelTier) -> Option<&str> {
        let exact = match tier {
            ModelTier::Low => &self.low,
            ModelTier::Middle => &self.middle,
            ModelTier::High => &self.high,
        };
        exact.as_ref().or(self.middle.as_ref()).map(String::as_str)
    }
}

/// The reason for which a text is no catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CatalogueError {
    pub message: String,
    /// The bytes it is about.
    pub span: Range<usize>,
}

impl Catalogue {
    /// Reads a catalogue; its own first lines describe the form. `origin` is the source of models that name none.
    ///
    /// # Errors
    /// [`CatalogueError`], for the first mistake.
    pub fn parse(text: &str, origin: &str) -> Result<Self, CatalogueError> {
        file::read(text, origin).map(|shelves| Self { shelves })
    }

    /// The catalogue that comes with the program. It is written with a line for each value and each model, so that a model
    /// can be read alone.
    pub(crate) fn built_in(text: &'static str) -> Self {
        Self { shelves: file::cut(text) }
    }

    /// With what `other` has in addition, and its entries in place of those of the same id.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        for (provider, theirs) in other.shelves {
            let ours = self.shelves.entry(provider).or_default();
            ours.tiers.low = theirs.tiers.low.or(ours.tiers.low.take());
            ours.tiers.middle = theirs.tiers.middle.or(ours.tiers.middle.take());
            ours.tiers.high = theirs.tiers.high.or(ours.tiers.high.take());
            ours.like = theirs.like.or(ours.like);
            ours.models.extend(theirs.models);
        }
        self
    }

    /// The model `id`: spelled as in the catalogue; or with another date (`-20250929`, `-2025-08-07`, `-latest`)
    /// or, where the provider has such, another version or region.
    pub fn model(&self, provider: ProviderName, id: &str) -> Option<&Model> {
        let (own, shared) = self.shelves_of(provider);
        spellings(provider, id).find_map(|id| own.into_iter().chain(shared).find_map(|shelf| shelf.model(provider, id)))
    }

    /// A provider's models, in the catalogue's order; those that it has from another behind its own.
    pub fn models(&self, provider: ProviderName) -> impl Iterator<Item = &Model> {
        let (own, shared) = self.shelves_of(provider);
        let is_own = move |id: &str| own.is_some_and(|own| own.models.contains_key(id));
        let more = shared.into_iter().flat_map(|shared| &shared.models).filter(move |(id, _)| !is_own(id));
        own.into_iter().flat_map(|own| &own.models).chain(more).map(|(_, row)| row.model())
    }

    /// The provider whose models `provider` has too.
    pub fn like(&self, provider: ProviderName) -> Option<ProviderName> {
        self.shelves.get(&provider)?.like
    }

    /// The id of the model of `tier`, or of the middle one where there is none for it. `None` where
    /// nothing is known: a provider whose models are named by their owner.
    pub fn tier(&self, provider: ProviderName, tier: ModelTier) -> Option<&str> {
        let (own, shared) = self.shelves_of(provider);
        let shared = shared.filter(|_| names_are_shared(provider));
        own.into_iter().chain(shared).find_map(|shelf| shelf.tiers.get(tier))
    }

    /// A provider's shelf, and that of the provider it is like.
    fn shelves_of(&self, provider: ProviderName) -> (Option<&Shelf>, Option<&Shelf>) {
        let own = self.shelves.get(&provider);
        (own, own.and_then(|own| own.like).and_then(|like| self.shelves.get(&like)))
    }
}

/// True if a provider spells its models as the one that it has them from.
fn names_are_shared(provider: ProviderName) -> bool {
    provider != ProviderName::AzureOpenAi
}

/// `id`, and what it is called elsewhere.
fn spellings(provider: ProviderName, id: &str) -> impl Iterator<Item = &str> {
    let elsewhere = match id.split_once('.') {
        Some((region, rest)) if provider == ProviderName::AmazonBedrock && REGIONS.contains(&region) => Some(rest),
        _ => None,
    };
    std::iter::once(id).chain(elsewhere)
}

/// `id` without what distinguishes versions of one model.
fn plain(provider: ProviderName, id: &str) -> &str {
    match provider {
        // `-v1:0`, `:0:48k`
        ProviderName::AmazonBedrock => {
            let id = id.split_once(':').map_or(id, |(id, _)| id);
            let unversioned = id.rsplit_once("-v").filter(|(_, version)| version.bytes().all(|b| b.is_ascii_digit()));
            undated(unversioned.map_or(id, |(id, _)| id))
        }
        // `@20250929`, `@default`
        ProviderName::GoogleVertex => undated(id.split_once('@').map_or(id, |(id, _)| id)),
        _ => undated(id),
    }
}

/// `id` without the date that vendors put behind a name.
fn undated(id: &str) -> &str {
    if let Some(name) = id.strip_suffix("-latest") {
        return name;
    }
    [&[8][..], &[4, 2, 2]].into_iter().find_map(|groups| strip_digits(id, groups)).unwrap_or(id)
}

/// `id` without its last dash-separated groups, when they are digits of just these lengths.
fn strip_digits<'a>(id: &'a str, groups: &[usize]) -> Option<&'a str> {
    groups.iter().rev().try_fold(id, |id, length| {
        let (name, digits) = id.rsplit_once('-')?;
        (digits.len() == *length && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use ProviderName::{AmazonBedrock, Anthropic, AzureOpenAi, GoogleVertex, OpenAi};

    use super::*;

    const TEXT: &str = r#"
[anthropic]
low = "claude-small"
middle = "claude-sonnet-4-5"
[anthropic.models]
claude-sonnet-4-5 = { contextWindow = 200_000 }
claude-3-5-haiku-latest = {}
claude-opus-4-20250514 = {}

[openai]
middle = "gpt-5"
[openai.models]
gpt-5 = { maxOutput = 128_000 }
gpt-5-chat-latest = {}

[google]
high = "gemini-2.5-pro"
models = { "gemini-2.5-pro" = {} }
[google-vertex]
like = "google"
[azure-openai]
like = "openai"
[amazon-bedrock.models]
"global.anthropic.claude-haiku-4-5-20251001-v1:0" = {}
"anthropic.claude-haiku-4-5-20251001-v1:0" = {}
"anthropic.claude-opus-4-6-v1" = {}
"deepseek.v3.2" = {}
"#;

    fn catalogue(text: &str) -> Catalogue {
        Catalogue::parse(text, "here").unwrap()
    }

    fn known(provider: ProviderName, id: &str) -> Option<String> {
        catalogue(TEXT).model(provider, id).map(|model| model.id.clone())
    }

    #[track_caller]
    fn assert_known(provider: ProviderName, id: &str, expected: &str) {
        assert_eq!(known(provider, id).as_deref(), Some(expected), "{id}");
    }

    #[test]
    fn a_model_is_found_by_its_id_and_by_its_id_with_another_date() {
        assert_known(Anthropic, "claude-sonnet-4-5", "claude-sonnet-4-5");
        assert_known(Anthropic, "claude-sonnet-4-5-20250929", "claude-sonnet-4-5");
        assert_known(Anthropic, "claude-3-5-haiku-20241022", "claude-3-5-haiku-latest");
        assert_known(Anthropic, "claude-opus-4-20250514", "claude-opus-4-20250514");
        assert_known(OpenAi, "gpt-5-2025-08-07", "gpt-5");
        assert_known(OpenAi, "gpt-5-chat-latest", "gpt-5-chat-latest");
    }

    #[test]
    fn an_unknown_model_is_unknown() {
        for id in ["", "-latest", "gpt-5-codex", "gpt-5-2025-8-7", "claude-sonnet-4-5", "gpt-5-é0250514", "-20250514"]
        {
            assert_eq!(known(OpenAi, id), None, "{id}");
        }
        assert_eq!(known(ProviderName::DeepSeek, "gpt-5"), None);
    }

    #[test]
    fn bedrocks_regions_and_versions_lead_to_the_model_but_global_has_prices_of_its_own() {
        let regional = "anthropic.claude-haiku-4-5-20251001-v1:0";
        assert_known(AmazonBedrock, "us.anthropic.claude-haiku-4-5-20251001-v1:0", regional);
        assert_known(AmazonBedrock, "us-gov.anthropic.claude-haiku-4-5-20251001-v1:0:48k", regional);
        assert_known(AmazonBedrock, "anthropic.claude-haiku-4-5", regional);
        let global = "global.anthropic.claude-haiku-4-5-20251001-v1:0";
        assert_known(AmazonBedrock, global, global);
        assert_known(AmazonBedrock, "global.anthropic.claude-opus-4-6-v1:0", "anthropic.claude-opus-4-6-v1");
        assert_known(AmazonBedrock, "eu.deepseek.v3.2", "deepseek.v3.2");
        assert_eq!(known(AmazonBedrock, "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"), None);
    }

    #[test]
    fn a_provider_has_the_models_of_the_one_that_it_is_like() {
        assert_known(GoogleVertex, "gemini-2.5-pro", "gemini-2.5-pro");
        assert_known(GoogleVertex, "gemini-2.5-pro@default", "gemini-2.5-pro");
        assert_known(AzureOpenAi, "gpt-5", "gpt-5");
        assert_eq!(known(AzureOpenAi, "our-deployment"), None);
        assert_eq!(catalogue(TEXT).models(AzureOpenAi).count(), 2);
    }

    #[test]
    fn a_tier_that_is_missing_is_the_middle_one_and_a_deployments_name_is_not_guessed() {
        let catalogue = catalogue(TEXT);
        let tiers =
            |provider| [ModelTier::Low, ModelTier::Middle, ModelTier::High].map(|tier| catalogue.tier(provider, tier));
        assert_eq!(tiers(Anthropic), [Some("claude-small"), Some("claude-sonnet-4-5"), Some("claude-sonnet-4-5")]);
        assert_eq!(tiers(GoogleVertex), [None, None, Some("gemini-2.5-pro")]);
        assert_eq!(tiers(AzureOpenAi), [None; 3]);
    }

    #[test]
    fn a_second_catalogue_adds_and_replaces() {
        let users = "[openai]\nlow = \"mine\"\nchecked = \"2027-01-01\"\n[openai.models]\nmine = {}\n\
                     gpt-5 = { contextWindow = 7 }\n[deepseek.models]\nd = {}\n";
        let both = catalogue(TEXT).with(Catalogue::parse(users, "models.toml").unwrap());
        assert_eq!(both.tier(OpenAi, ModelTier::Low), Some("mine"));
        assert_eq!(both.tier(OpenAi, ModelTier::High), Some("gpt-5"));
        let model = both.model(OpenAi, "gpt-5").unwrap();
        assert_eq!((model.context_window, model.max_output_tokens), (Some(7), None));
        assert_eq!((model.source.as_str(), model.checked.as_deref()), ("models.toml", Some("2027-01-01")));
        assert_eq!(both.model(OpenAi, "gpt-5-chat-latest").map(|model| model.source.as_str()), Some("here"));
        let ids: Vec<&str> = both.models(OpenAi).map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["gpt-5", "gpt-5-chat-latest", "mine"]);
        assert_eq!(both.models(ProviderName::DeepSeek).count(), 1);
    }
}
