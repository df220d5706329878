//! [`plan`]: the thinking that a request asks of a Claude model, in the form that the model accepts. Models refuse each
//! other's form.
//!
//! Called by the encoders of the protocols that Claude has, this one's and Bedrock's.

use serde_json::{Map, Value, json};

use crate::generation::GenerateRequest;

/// Fewest tokens of a thinking budget (documentation of `thinking.budget_tokens`).
const MIN_BUDGET: u64 = 1024;

/// Tokens that a budget leaves for the answer itself. The protocol requires one; this is room for a tool call.
const MIN_ANSWER: u64 = 1024;

/// `max_tokens` for a Claude model that the catalogue does not know: the smallest maximum of any model since Claude 3.7 (Opus 4 and 4.1).
const CLAUDE_MAX_TOKENS: u64 = 32_000;

/// `max_tokens` for models of which nothing is known (the original's value).
const UNKNOWN_MAX_TOKENS: u64 = 4096;

/// The thinking that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum ThinkingMode {
    /// None; no field is sent.
    Off,
    /// A number of tokens.
    Budget(u64),
    /// The model decides, guided by an effort.
    Adaptive(&'static str),
}

impl ThinkingMode {
    /// The fields of the request.
    pub(in crate::provider) fn fields(self) -> Map<String, Value> {
        let mut fields = Map::new();
        match self {
            Self::Off => {}
            Self::Budget(tokens) => {
                fields.insert("thinking".into(), json!({"type": "enabled", "budget_tokens": tokens}));
            }
            Self::Adaptive(effort) => {
                // Without `display`, the newest models return thinking without its text.
                fields.insert("thinking".into(), json!({"type": "adaptive", "display": "summarized"}));
                fields.insert("output_config".into(), json!({"effort": effort}));
            }
        }
        fields
    }
}

/// Thinking and answering share one limit, so they are planned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) struct Plan {
    pub(in crate::provider) max_tokens: u64,
    pub(in crate::provider) mode: ThinkingMode,
}

/// Plans a request. `is_continued` is false when the turn under way began without thinking, which a budget forbids to
/// change; adaptive thinking allows it.
pub(in crate::provider) fn plan(request: &GenerateRequest<'_>, is_continued: bool) -> Plan {
    let model = Model::from_name(request.model);
    let limit = request.max_output_tokens;
    let max_tokens = limit.unwrap_or(model.max_tokens);
    let off = Plan { max_tokens, mode: ThinkingMode::Off };
    let (Some(tokens), Some(effort)) = (request.reasoning.tokens(), request.reasoning.effort()) else { return off };
    match model.form {
        Form::Adaptive => Plan { max_tokens, mode: ThinkingMode::Adaptive(effort) },
        Form::Budget if is_continued => {
            let wanted = tokens.max(MIN_BUDGET);
            let max_tokens = limit.unwrap_or(max_tokens.max(wanted.saturating_add(UNKNOWN_MAX_TOKENS)));
            let budget = wanted.min(max_tokens.saturating_sub(MIN_ANSWER));
            if budget < MIN_BUDGET { off } else { Plan { max_tokens, mode: ThinkingMode::Budget(budget) } }
        }
        Form::Budget | Form::None => off,
    }
}

/// Returns true for models with any form of thinking: all but Claude's before 3.7.
pub(in crate::provider) fn can_think(model: &str) -> bool {
    !matches!(Model::from_name(model).form, Form::None)
}

/// Properties of a model, by its name.
struct Model {
    form: Form,
    max_tokens: u64,
}

/// The form of a request for thinking.
enum Form {
    /// None: before Claude 3.7.
    None,
    /// By a budget: until Claude 4.5, and models that are not Claude.
    Budget,
    /// Adaptively: since Claude 4.6, where budgets are deprecated, and refused since 4.7.
    Adaptive,
}

impl Model {
    /// Names carry their version behind the family (`claude-opus-4-6`) or before it (`claude-3-7-sonnet-20250219`);
    /// gateways put a prefix in front (`anthropic/claude-opus-4.6`).
    fn from_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let Some((_, name)) = name.split_once("claude-") else {
            return Self { form: Form::Budget, max_tokens: UNKNOWN_MAX_TOKENS };
        };
        match version(name) {
            Some(version) if version < (3, 7) => Self { form: Form::None, max_tokens: UNKNOWN_MAX_TOKENS },
            Some(version) if version < (4, 6) => Self { form: Form::Budget, max_tokens: CLAUDE_MAX_TOKENS },
            Some(_) => Self { form: Form::Adaptive, max_tokens: CLAUDE_MAX_TOKENS },
            // `claude-mythos-preview` is the one newer model without a version.
            None if name.starts_with("mythos") => Self { form: Form::Adaptive, max_tokens: CLAUDE_MAX_TOKENS },
            None => Self { form: Form::Budget, max_tokens: UNKNOWN_MAX_TOKENS },
        }
    }
}

/// The first one or two short numbers of a name; longer ones are dates.
fn version(name: &str) -> Option<(u8, u8)> {
    let number = |word: &str| if word.len() <= 2 { word.parse::<u8>().ok() } else { None };
    let mut words = name.split(['-', '.', '@', ':']).skip_while(|word| number(word).is_none());
    let major = words.next().and_then(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{NativeTools, Occasion};
    use crate::setting::ReasoningBudget;

    fn plan_for(model: &str, reasoning: ReasoningBudget, max_output_tokens: Option<u64>) -> (u64, ThinkingMode) {
        let request = GenerateRequest {
            model,
            messages: &[],
            tools: &[],
            reasoning,
            max_output_tokens,
            native: NativeTools::default(),
            found: 0,
            occasion: Occasion::default(),
        };
        let plan = plan(&request, true);
        (plan.max_tokens, plan.mode)
    }

    #[test]
    fn every_model_is_asked_in_the_form_it_takes() {
        let cases = [
            ("claude-3-5-haiku-latest", (4096, ThinkingMode::Off)),
            ("claude-3-opus-20240229", (4096, ThinkingMode::Off)),
            ("claude-3-7-sonnet-20250219", (32_000, ThinkingMode::Budget(2048))),
            ("claude-opus-4-20250514", (32_000, ThinkingMode::Budget(2048))),
            ("claude-sonnet-4-5", (32_000, ThinkingMode::Budget(2048))),
            ("claude-haiku-4-5-20251001", (32_000, ThinkingMode::Budget(2048))),
            ("us.anthropic.claude-opus-4-5@20251101", (32_000, ThinkingMode::Budget(2048))),
            ("claude-opus-4-6", (32_000, ThinkingMode::Adaptive("low"))),
            ("anthropic/claude-sonnet-4.6", (32_000, ThinkingMode::Adaptive("low"))),
            ("claude-sonnet-5", (32_000, ThinkingMode::Adaptive("low"))),
            ("claude-mythos-preview", (32_000, ThinkingMode::Adaptive("low"))),
            ("qwen3-coder", (6144, ThinkingMode::Budget(2048))),
        ];
        for (model, expected) in cases {
            assert_eq!(plan_for(model, ReasoningBudget::Low, None), expected, "{model}");
        }
    }

    #[test]
    fn without_a_budget_no_field_is_sent() {
        assert_eq!(plan_for("claude-sonnet-4-5", ReasoningBudget::None, Some(64_000)), (64_000, ThinkingMode::Off));
        assert_eq!(plan_for("claude-opus-4-6", ReasoningBudget::None, Some(64_000)), (64_000, ThinkingMode::Off));
        assert_eq!(plan_for("qwen3-coder", ReasoningBudget::None, None), (4096, ThinkingMode::Off));
    }

    #[test]
    fn a_budget_keeps_within_the_protocols_and_the_models_limits() {
        let budget = |tokens, limit| plan_for("claude-sonnet-4-5", ReasoningBudget::Tokens(tokens), limit);
        assert_eq!(budget(1, Some(64_000)), (64_000, ThinkingMode::Budget(1024)));
        assert_eq!(budget(5000, Some(64_000)), (64_000, ThinkingMode::Budget(5000)));
        assert_eq!(budget(100_000, Some(64_000)), (64_000, ThinkingMode::Budget(62_976)));
        assert_eq!(budget(2048, Some(2048)), (2048, ThinkingMode::Budget(1024)));
        assert_eq!(budget(2048, Some(2047)), (2047, ThinkingMode::Off));
        assert_eq!(budget(100_000, None), (104_096, ThinkingMode::Budget(100_000)));
        assert_eq!(budget(u64::MAX, None), (u64::MAX, ThinkingMode::Budget(u64::MAX - 1024)));
    }

    #[test]
    fn a_turn_that_began_without_thinking_goes_on_so_unless_it_is_adaptive() {
        let mode = |model| {
            let request = GenerateRequest {
                model,
                messages: &[],
                tools: &[],
                reasoning: ReasoningBudget::High,
                max_output_tokens: Some(64_000),
                native: NativeTools::default(),
                found: 0,
                occasion: Occasion::default(),
            };
            plan(&request, false).mode
        };
        assert_eq!(mode("claude-sonnet-4-5"), ThinkingMode::Off);
        assert_eq!(mode("claude-opus-4-6"), ThinkingMode::Adaptive("high"));
    }
}
