//! Token counts of model calls.

use serde::{Deserialize, Serialize};

/// Tokens of one or more model calls, as the provider reported them.
///
/// Whether `input_tokens` includes the cached ones differs between providers (Anthropic: no, OpenAI: yes) and is kept
/// as reported; [`crate::generation::Generation::context_tokens`] is the same thing for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(with = "crate::count")]
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning included where the provider counts it so.
    #[serde(with = "crate::count")]
    pub output_tokens: u64,
    /// Tokens spent on reasoning; 0 when not told.
    #[serde(with = "crate::count")]
    pub reasoning_tokens: u64,
    /// The provider's total, or input + output.
    #[serde(with = "crate::count")]
    pub total_tokens: u64,
    /// Prompt tokens read from the provider's cache.
    #[serde(with = "crate::count")]
    pub cached_input_tokens: u64,
    /// Prompt tokens written to the provider's cache; left out of JSON when 0 (the original has no such field).
    #[serde(with = "crate::count", skip_serializing_if = "is_zero")]
    pub cache_write_input_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// The field-wise sum; stays at the maximum instead of wrapping.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            total_tokens: self.total_tokens.saturating_add(other.total_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_add(other.cached_input_tokens),
            cache_write_input_tokens: self.cache_write_input_tokens.saturating_add(other.cache_write_input_tokens),
        }
    }
}
