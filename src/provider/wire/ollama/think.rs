//! [`think`]: the `think` field of a request to Ollama, by the model's name.
//!
//! Called by `encode`. The name is all that is known of a model. A server refuses `think: true` for a model that cannot
//! think, so it is sent only to models known to; without the field, models that can think do so (since Ollama 0.12),
//! and `false` is accepted for all.

use serde_json::{Value, json};

use crate::setting::ReasoningBudget;

/// Families whose every model thinks when asked to (<https://ollama.com/search?c=thinking>), by the beginning of their
/// names. Left out are those with variants of the same name that do not.
const THINKING: [&str; 6] = ["deepseek-r1", "deepseek-v3.1", "qwq", "magistral", "openthinker", "gpt-oss"];

/// The value of `think`; `None` to leave it out.
pub(super) fn think(model: &str, reasoning: ReasoningBudget) -> Option<Value> {
    // Users' uploads have a prefix, `someone/qwen3`.
    let name = model.rsplit('/').next().unwrap_or(model).to_ascii_lowercase();
    if name.starts_with("gpt-oss") {
        // It always thinks, and ignores true and false.
        return Some(json!(reasoning.effort().unwrap_or("low")));
    }
    match reasoning.effort() {
        None => Some(json!(false)),
        Some(_) if is_thinking(&name) => Some(json!(true)),
        Some(_) => None,
    }
}

fn is_thinking(name: &str) -> bool {
    let tag = name.split_once(':').map_or("", |(_, tag)| tag);
    if tag.contains("instruct") || tag.contains("base") {
        return false;
    }
    let is_qwen3 = name == "qwen3" || name.starts_with("qwen3:");
    is_qwen3 || tag.contains("thinking") || THINKING.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_gets_the_form_it_knows() {
        use ReasoningBudget::{High, Low, Minimal, None as Nothing};
        let cases = [
            ("gpt-oss:20b", Low, Some(json!("low"))),
            ("gpt-oss:120b-cloud", ReasoningBudget::Tokens(4000), Some(json!("medium"))),
            ("someone/gpt-oss", Nothing, Some(json!("low"))),
            ("qwen3:8b", Minimal, Some(json!(true))),
            ("qwen3", High, Some(json!(true))),
            ("qwen3-vl:8b-thinking", Low, Some(json!(true))),
            ("deepseek-r1:14b", Low, Some(json!(true))),
            ("deepseek-r1:14b", Nothing, Some(json!(false))),
            ("qwen3:4b-instruct-2507", Low, None),
            ("qwen3-coder:30b", Low, None),
            ("gemma3:1b", High, None),
            ("gemma3:1b", Nothing, Some(json!(false))),
        ];
        for (model, reasoning, expected) in cases {
            assert_eq!(think(model, reasoning), expected, "{model} {reasoning}");
        }
    }
}
