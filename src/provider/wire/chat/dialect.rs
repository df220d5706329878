//! [`Dialect`]: differences between the servers of the protocol, in the fields that they take and refuse.
//!
//! Chosen by the vendor's row and read by `encode`.

use serde_json::{Map, Value, json};

use crate::generation::GenerateRequest;
use crate::provider::wire::openai::{cache_key, is_reasoning_model};

/// The server whose variant of Chat Completions is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's own servers.
    OpenAi,
    /// DeepSeek's own (<https://api-docs.deepseek.com>).
    DeepSeek,
    /// Azure's (<https://learn.microsoft.com/azure/ai-foundry/openai/reference>). Unknown fields are an error there.
    Azure,
    /// Servers that imitate OpenAI's; only fields that nearly all of them know are sent.
    #[default]
    Compatible,
}

/// DeepSeek's names for its model without and with thinking; the name alone decides.
const DEEPSEEK_CHAT: &str = "deepseek-chat";
const DEEPSEEK_REASONER: &str = "deepseek-reasoner";

impl Dialect {
    /// The fields of a body that are about reasoning and caching.
    pub(super) fn fields(self, request: &GenerateRequest<'_>) -> Map<String, Value> {
        let mut fields = Map::new();
        let effort = request.reasoning.effort();
        match self {
            Self::DeepSeek if matches!(request.model, DEEPSEEK_CHAT | DEEPSEEK_REASONER) => {}
            Self::DeepSeek => {
                let kind = if effort.is_some() { "enabled" } else { "disabled" };
                fields.insert("thinking".into(), json!({"type": kind}));
                fields.extend(effort.map(|effort| ("reasoning_effort".into(), json!(effort))));
            }
            Self::OpenAi | Self::Azure | Self::Compatible => {
                let effort = effort.filter(|_| is_reasoning_model(request.model));
                fields.extend(effort.map(|effort| ("reasoning_effort".into(), json!(effort))));
            }
        }
        if self == Self::OpenAi && !request.occasion.run.is_empty() {
            fields.insert("prompt_cache_key".into(), json!(cache_key(request.occasion.run)));
        }
        fields
    }

    /// The field that limits an answer. Reasoning models refuse the older name, and most imitators know no other.
    pub(super) fn name_of_limit(self, model: &str) -> &'static str {
        match self {
            Self::OpenAi | Self::Azure => "max_completion_tokens",
            Self::Compatible if is_reasoning_model(model) => "max_completion_tokens",
            Self::DeepSeek | Self::Compatible => "max_tokens",
        }
    }

    /// The answers that are sent back with their reasoning.
    pub(super) fn reasoning(self, request: &GenerateRequest<'_>) -> SentReasoning {
        match self {
            Self::DeepSeek if is_deepseek_thinking(request) => SentReasoning::OfTurnsWithCalls,
            Self::OpenAi | Self::Azure | Self::DeepSeek => SentReasoning::Never,
            Self::Compatible => SentReasoning::OfThisTurn,
        }
    }

    /// Returns true when servers may attach fields to messages and want them back. The others refuse unknown fields.
    pub(super) fn attaches_fields(self) -> bool {
        self == Self::Compatible
    }

    /// Returns true when images can be sent; DeepSeek takes only text.
    pub(super) fn takes_images(self) -> bool {
        self != Self::DeepSeek
    }

    /// Returns true when PDF files can be sent. Azure takes them only in Responses, imitators answer 400 or 500.
    pub(super) fn takes_files(self) -> bool {
        self == Self::OpenAi
    }
}

/// Which answers go back with their reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentReasoning {
    /// None.
    Never,
    /// Those with calls in the turn under way: there newer models want it, and elsewhere older ones refuse it.
    OfThisTurn,
    /// All of every turn with calls, those without reasoning with an empty one: DeepSeek answers 400 when one is
    /// missing.
    OfTurnsWithCalls,
}

fn is_deepseek_thinking(request: &GenerateRequest<'_>) -> bool {
    match request.model {
        DEEPSEEK_CHAT => false,
        DEEPSEEK_REASONER => true,
        _ => request.reasoning.effort().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{NativeTools, Occasion};
    use crate::setting::ReasoningBudget;

    fn request(model: &str, reasoning: ReasoningBudget) -> GenerateRequest<'_> {
        GenerateRequest {
            model,
            messages: &[],
            tools: &[],
            reasoning,
            max_output_tokens: None,
            native: NativeTools::default(),
            found: 0,
            occasion: Occasion { run: "r1", at: 0 },
        }
    }

    #[test]
    fn each_server_is_sent_the_fields_it_knows() {
        use Dialect::{Azure, Compatible, DeepSeek, OpenAi};
        use ReasoningBudget::{High, Low, None};
        let cases = [
            (OpenAi, "gpt-5", Low, json!({"reasoning_effort": "low", "prompt_cache_key": "r1"})),
            (OpenAi, "gpt-4.1", Low, json!({"prompt_cache_key": "r1"})),
            (Azure, "gpt-5", High, json!({"reasoning_effort": "high"})),
            (Azure, "my-deployment", High, json!({})),
            (Compatible, "llama", High, json!({})),
            (DeepSeek, "deepseek-chat", High, json!({})),
            (DeepSeek, "deepseek-reasoner", None, json!({})),
            (DeepSeek, "deepseek-v4-pro", High, json!({"thinking": {"type": "enabled"}, "reasoning_effort": "high"})),
            (DeepSeek, "deepseek-v4-pro", None, json!({"thinking": {"type": "disabled"}})),
        ];
        for (dialect, model, reasoning, expected) in cases {
            let fields = dialect.fields(&request(model, reasoning));
            assert_eq!(Value::Object(fields), expected, "{dialect:?} {model}");
        }
    }
}
