//! Models that are known by name: how much they take and give.
//!
//! Any other model may be used as well; nothing is known of it then. Which model is used when none is named is the
//! vendor's row to say.

use crate::setting::ProviderName;

/// What is known of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    pub provider: ProviderName,
    /// As the provider spells it.
    pub id: &'static str,
    /// Tokens that prompt and answer may have together.
    pub context_window: u64,
    /// Tokens that an answer may have, reasoning included.
    pub max_output_tokens: u64,
}

const fn anthropic(id: &'static str, max_output_tokens: u64) -> Model {
    Model { provider: ProviderName::Anthropic, id, context_window: 200_000, max_output_tokens }
}

const fn openai(id: &'static str, context_window: u64, max_output_tokens: u64) -> Model {
    Model { provider: ProviderName::OpenAi, id, context_window, max_output_tokens }
}

/// Context windows are the original's. So are Anthropic's limits, as its library sent them (64000 for the 4.5 family,
/// Sonnet 4 and 3.7; 32000 for Opus 4 and 4.1; 8192 for 3.5 Haiku); Opus 4.6 is taken to give what its forerunner gives.
/// OpenAI's limits are the original's table, but for `o3` and `o3-mini`: it has 10000, a zero less than other clients
/// take from OpenAI's model pages.
const MODELS: [Model; 17] = [
    anthropic("claude-opus-4-6", 64_000),
    anthropic("claude-opus-4-5", 64_000),
    anthropic("claude-opus-4-1", 32_000),
    anthropic("claude-opus-4-20250514", 32_000),
    anthropic("claude-sonnet-4-5", 64_000),
    anthropic("claude-sonnet-4-20250514", 64_000),
    anthropic("claude-3-7-sonnet-20250219", 64_000),
    anthropic("claude-haiku-4-5", 64_000),
    anthropic("claude-3-5-haiku-latest", 8192),
    openai("gpt-5", 400_000, 128_000),
    openai("gpt-5-mini", 400_000, 128_000),
    openai("gpt-5-nano", 400_000, 128_000),
    openai("gpt-5-chat-latest", 128_000, 16_384),
    openai("o4-mini", 200_000, 100_000),
    openai("o3", 200_000, 100_000),
    openai("o3-mini", 200_000, 100_000),
    openai("gpt-4.1", 1_047_576, 32_768),
];

/// What is known of `id`, spelled as in the table or with another date (`-20250929`, `-2025-08-07`, `-latest`).
pub fn model(provider: ProviderName, id: &str) -> Option<&'static Model> {
    let of_provider = || MODELS.iter().filter(|model| model.provider == provider);
    of_provider().find(|model| model.id == id).or_else(|| of_provider().find(|model| undated(model.id) == undated(id)))
}

/// The ids in the table, for suggestions.
pub fn model_ids(provider: ProviderName) -> impl Iterator<Item = &'static str> {
    MODELS.iter().filter(move |model| model.provider == provider).map(|model| model.id)
}

/// `id` without the version suffix that vendors put behind a name.
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
    use super::*;

    fn known(provider: ProviderName, id: &str) -> Option<&'static str> {
        model(provider, id).map(|model| model.id)
    }

    #[test]
    fn a_model_is_found_by_its_id_and_by_its_id_with_another_date() {
        use ProviderName::{Anthropic, OpenAi};
        assert_eq!(known(Anthropic, "claude-sonnet-4-5"), Some("claude-sonnet-4-5"));
        assert_eq!(known(Anthropic, "claude-sonnet-4-5-20250929"), Some("claude-sonnet-4-5"));
        assert_eq!(known(Anthropic, "claude-3-5-haiku-20241022"), Some("claude-3-5-haiku-latest"));
        assert_eq!(known(Anthropic, "claude-opus-4-20250514"), Some("claude-opus-4-20250514"));
        assert_eq!(known(OpenAi, "gpt-5-2025-08-07"), Some("gpt-5"));
        assert_eq!(known(OpenAi, "gpt-5-chat-latest"), Some("gpt-5-chat-latest"));
    }

    #[test]
    fn an_unknown_model_is_unknown() {
        for id in ["", "-latest", "gpt-5-codex", "gpt-5-2025-8-7", "claude-sonnet-4-5", "gpt-5-é0250514", "-20250514"]
        {
            assert_eq!(known(ProviderName::OpenAi, id), None, "{id}");
        }
    }
}
