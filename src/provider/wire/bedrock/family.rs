//! [`Family`]: the maker of a model, by its id, and what the maker's models need.
//!
//! Read by `encode` and `block`.

use crate::provider::wire::anthropic::{can_think, is_property};
use crate::provider::wire::schema;

/// The maker of a model. Ids have regions in front (`us.anthropic.claude-..`) or are ARNs that end in one; the id of an
/// application's own profile or of an imported model shows no maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Claude {
        /// Prompts are cached; not by the oldest models.
        caches: bool,
    },
    Nova {
        /// Reasoning can be asked for.
        reasons: bool,
    },
    DeepSeek,
    Other,
}

impl Family {
    pub(super) fn from_model(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        if model.contains("anthropic.claude-") {
            // The models that think are those since Claude 3.7; before them only this one caches.
            Self::Claude { caches: can_think(&model) || model.contains("claude-3-5-haiku") }
        } else if model.contains("amazon.nova-") {
            // Others refuse the field.
            Self::Nova { reasons: model.contains("amazon.nova-2-lite") }
        } else if model.contains("deepseek.") {
            Self::DeepSeek
        } else {
            Self::Other
        }
    }

    /// The rule for names of a tool's properties.
    pub(super) fn property_rule(self) -> fn(&str) -> bool {
        if matches!(self, Self::Claude { .. }) { is_property } else { schema::any_name }
    }

    /// Returns true when cache points are allowed behind the system prompt and in messages.
    pub(super) fn caches(self) -> bool {
        matches!(self, Self::Claude { caches: true } | Self::Nova { .. })
    }

    /// Returns true when a cache point is allowed behind the tools.
    pub(super) fn caches_tools(self) -> bool {
        self == Self::Claude { caches: true }
    }

    /// Returns true when a tool's result may have a `status` and images; the reference allows both only for these.
    pub(super) fn takes_rich_results(self) -> bool {
        matches!(self, Self::Claude { .. } | Self::Nova { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_known_by_their_ids() {
        let (claude, nova) = (|caches| Family::Claude { caches }, |reasons| Family::Nova { reasons });
        for (id, family) in [
            ("anthropic.claude-3-haiku-20240307-v1:0", claude(false)),
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", claude(false)),
            ("us.anthropic.claude-3-5-haiku-20241022-v1:0", claude(true)),
            ("eu.anthropic.claude-3-7-sonnet-20250219-v1:0", claude(true)),
            ("global.anthropic.claude-opus-4-6-v1", claude(true)),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-20250514-v1:0", claude(true)),
            ("amazon.nova-pro-v1:0", nova(false)),
            ("us.amazon.nova-2-lite-v1:0", nova(true)),
            ("us.deepseek.r1-v1:0", Family::DeepSeek),
            ("openai.gpt-oss-120b-1:0", Family::Other),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2", Family::Other),
        ] {
            assert_eq!(Family::from_model(id), family, "{id}");
        }
    }
}
