//! [`GeminiModel`]: properties of a model by its name, which are its form of thinking and its generation's rules.
//!
//! Read by `encode`.

use serde_json::{Value, json};

use crate::setting::ReasoningBudget;

/// A model, as far as requests depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GeminiModel {
    thinking: Form,
    /// Gemini since 3: refuses calls without a signature, takes media within results, and takes functions beside the
    /// tools that Google runs. Names without a version (`gemini-flash-latest`) stand for the newest.
    pub(super) is_current: bool,
}

/// The form of a request for thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// None: the model does not think, or is unknown.
    None,
    /// By a number of tokens (Gemini 2.5) between two limits. `off` is what turns thinking off, or comes nearest.
    Budget { off: u64, min: u64, max: u64 },
    /// By a level (Gemini 3 and later, Gemma 4), which cannot be off. `HIGH` is one in all of them.
    Level { least: &'static str, low: &'static str, medium: &'static str },
}

impl GeminiModel {
    /// Reads a name, also one behind a prefix (`models/`, `publishers/google/models/`).
    pub(super) fn from_name(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        if let Some(rest) = name.strip_prefix("gemma-") {
            let is_thinking = version(rest).is_some_and(|version| version >= (4, 0));
            let levels = Form::Level { least: "MINIMAL", low: "MINIMAL", medium: "HIGH" };
            return Self { thinking: if is_thinking { levels } else { Form::None }, is_current: false };
        }
        // `gemini-pro` and `gemini-pro-vision` are Gemini 1.0.
        let rest = name.strip_prefix("gemini-").filter(|rest| *rest != "pro" && *rest != "pro-vision");
        let Some(rest) = rest else { return Self { thinking: Form::None, is_current: false } };
        let is_current = version(rest).is_none_or(|version| version >= (3, 0));
        Self { thinking: thinking(rest), is_current }
    }

    /// The `thinkingConfig` of a request; `None` for models without one.
    pub(super) fn thinking_config(self, reasoning: ReasoningBudget) -> Option<Value> {
        let effort = reasoning.effort();
        let mut config = match (self.thinking, reasoning.tokens()) {
            (Form::None, _) => return None,
            (Form::Budget { off, .. }, None) => json!({"thinkingBudget": off}),
            (Form::Budget { min, max, .. }, Some(tokens)) => json!({"thinkingBudget": tokens.clamp(min, max)}),
            (Form::Level { least, low, medium }, _) => {
                let level = match effort {
                    None => least,
                    Some(_) if reasoning == ReasoningBudget::Minimal => least,
                    Some("low") => low,
                    Some("medium") => medium,
                    Some(_) => "HIGH",
                };
                json!({"thinkingLevel": level})
            }
        };
        if let (Some(_), Value::Object(config)) = (effort, &mut config) {
            config.insert("includeThoughts".into(), json!(true));
        }
        Some(config)
    }
}

/// The limits are those of <https://ai.google.dev/gemini-api/docs/thinking>. Models for images and speech refuse the
/// field.
fn thinking(rest: &str) -> Form {
    if ["-image", "-tts", "-audio", "-live"].iter().any(|kind| rest.contains(kind)) {
        return Form::None;
    }
    let is = |kind: &str| rest.contains(kind);
    let version = version(rest);
    match version {
        Some((2, 5)) if is("flash-lite") => Form::Budget { off: 0, min: 512, max: 24_576 },
        Some((2, 5)) if is("flash") => Form::Budget { off: 0, min: 1, max: 24_576 },
        // It cannot be turned off: the least is nearest to it.
        Some((2, 5)) if is("pro") => Form::Budget { off: 128, min: 128, max: 32_768 },
        Some(version) if version < (3, 0) => Form::None,
        None if !rest.ends_with("latest") => Form::None,
        _ => {
            // `MINIMAL` was dropped with 3.7; Pro models never had it, and 3.0 Pro has no `MEDIUM`.
            let has_minimal = is("flash") && version.is_some_and(|version| version <= (3, 6));
            let has_medium = !(is("pro") && version == Some((3, 0)));
            Form::Level {
                least: if has_minimal { "MINIMAL" } else { "LOW" },
                low: "LOW",
                medium: if has_medium { "MEDIUM" } else { "HIGH" },
            }
        }
    }
}

/// The version that a name begins with: `2.5-flash`, `3-pro-preview`, `4-31b-it`.
fn version(rest: &str) -> Option<(u8, u8)> {
    let mut numbers = rest.split('-').next()?.split('.');
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(model: &str, reasoning: ReasoningBudget) -> Option<Value> {
        GeminiModel::from_name(model).thinking_config(reasoning)
    }

    #[test]
    fn every_model_is_asked_in_the_form_it_takes() {
        let budget = |tokens: u64| Some(json!({"thinkingBudget": tokens, "includeThoughts": true}));
        let level = |level: &str| Some(json!({"thinkingLevel": level, "includeThoughts": true}));
        let cases = [
            ("gemini-2.5-pro", budget(5000)),
            ("models/gemini-2.5-flash-preview-09-2025", budget(5000)),
            ("gemini-2.5-flash-lite", budget(5000)),
            ("gemini-3-pro-preview", level("HIGH")),
            ("gemini-3.1-pro-preview", level("MEDIUM")),
            ("gemini-3-flash-preview", level("MEDIUM")),
            ("publishers/google/models/gemini-3.8-flash", level("MEDIUM")),
            ("gemini-4-argon", level("MEDIUM")),
            ("gemini-flash-latest", level("MEDIUM")),
            ("gemma-4-31b-it", level("HIGH")),
            ("gemma-3-27b-it", None),
            ("gemini-2.0-flash", None),
            ("gemini-1.5-pro-002", None),
            ("gemini-pro", None),
            ("gemini-2.5-flash-image", None),
            ("gemini-robotics-er-1.5-preview", None),
            ("tunedModels/owls", None),
        ];
        for (model, expected) in cases {
            assert_eq!(asked(model, ReasoningBudget::Medium), expected, "{model}");
        }
    }

    #[test]
    fn budgets_keep_within_the_models_limits() {
        let budget = |model, tokens| asked(model, ReasoningBudget::Tokens(tokens)).unwrap()["thinkingBudget"].clone();
        assert_eq!(budget("gemini-2.5-pro", 1), 128);
        assert_eq!(budget("gemini-2.5-pro", 100_000), 32_768);
        assert_eq!(budget("gemini-2.5-flash", 1), 1);
        assert_eq!(budget("gemini-2.5-flash-lite", 1), 512);
        assert_eq!(budget("gemini-2.5-flash-lite", u64::MAX), 24_576);
    }

    #[test]
    fn levels_follow_the_budgets_words() {
        let levels = |model| {
            use ReasoningBudget::{High, Low, Medium, Minimal, Tokens};
            [Minimal, Low, Medium, High, Tokens(3000)]
                .map(|reasoning| asked(model, reasoning).unwrap()["thinkingLevel"].clone())
        };
        assert_eq!(levels("gemini-3.6-flash"), ["MINIMAL", "LOW", "MEDIUM", "HIGH", "MEDIUM"]);
        assert_eq!(levels("gemini-3.7-flash"), ["LOW", "LOW", "MEDIUM", "HIGH", "MEDIUM"]);
        assert_eq!(levels("gemini-3-pro-preview"), ["LOW", "LOW", "HIGH", "HIGH", "HIGH"]);
        assert_eq!(levels("gemma-4-26b-a4b-it"), ["MINIMAL", "MINIMAL", "HIGH", "HIGH", "HIGH"]);
    }

    #[test]
    fn without_a_budget_models_think_as_little_as_they_can() {
        let none = |model| asked(model, ReasoningBudget::None);
        assert_eq!(none("gemini-2.5-flash"), Some(json!({"thinkingBudget": 0})));
        assert_eq!(none("gemini-2.5-pro"), Some(json!({"thinkingBudget": 128})));
        assert_eq!(none("gemini-3-flash-preview"), Some(json!({"thinkingLevel": "MINIMAL"})));
        assert_eq!(none("gemini-3.1-pro-preview"), Some(json!({"thinkingLevel": "LOW"})));
        assert_eq!(none("gemini-2.0-flash"), None);
    }

    #[test]
    fn gemini_is_current_since_3() {
        for model in ["gemini-3-pro-preview", "gemini-4-argon", "gemini-pro-latest"] {
            assert!(GeminiModel::from_name(model).is_current, "{model}");
        }
        for model in ["gemini-2.5-pro", "gemini-pro", "gemma-4-31b-it", "tunedModels/owls"] {
            assert!(!GeminiModel::from_name(model).is_current, "{model}");
        }
    }
}
