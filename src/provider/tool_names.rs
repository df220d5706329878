//! Tool names for providers that allow shorter ones than tools may have ([`LONGEST_NAME`](crate::tool::LONGEST_NAME)).
//!
//! Encoders send [`short`] names: the end of a longer name is replaced by a number made of the whole. `generate`
//! restores the tool's own name in the answer.

use std::borrow::Cow;

use crate::generation::{GeneratedPart, Generation};
use crate::tool::ToolSpec;

/// Most characters of a function's name in Chat Completions, Gemini and Converse.
const LIMIT: usize = 64;

/// Characters of the number, with the line before it.
const SUFFIX: usize = 17;

/// The name to send for `name`.
pub(super) fn short(name: &str) -> Cow<'_, str> {
    if name.len() <= LIMIT {
        return Cow::Borrowed(name);
    }
    let end = name.floor_char_boundary(LIMIT - SUFFIX);
    Cow::Owned(format!("{}_{:016x}", name.get(..end).unwrap_or_default(), fingerprint(name)))
}

/// Restores the names of `tools` in an answer that has the shortened ones.
pub(super) fn restored(mut generation: Generation, tools: &[ToolSpec]) -> Generation {
    for part in &mut generation.parts {
        if let GeneratedPart::ToolCall { name, .. } = part
            && let Some(tool) = tools.iter().find(|tool| tool.name.len() > LIMIT && short(&tool.name) == *name)
        {
            name.clone_from(&tool.name);
        }
    }
    generation
}

/// FNV-1a (<https://www.rfc-editor.org/rfc/rfc9923>): the same in every process, which cassettes need.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::{Arguments, FinishReason};
    use crate::tool::{ToolHints, ToolKind};

    #[test]
    fn long_names_go_out_short_and_come_back_whole() {
        let [first, second] = ["a", "b"].map(|end| format!("{}{end}", "n".repeat(100)));
        let tool = |name: &str| ToolSpec {
            skill_name: "s".into(),
            name: name.into(),
            description: None,
            input_schema: serde_json::Map::new(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        };
        let tools = [tool("now"), tool(&first), tool(&second)];
        assert_eq!(short("now"), "now");
        assert_eq!(short(&first).len(), LIMIT);
        assert_ne!(short(&first), short(&second));
        let names = |names: [&str; 3]| {
            let call = |name: &str| GeneratedPart::ToolCall {
                id: String::new(),
                name: name.into(),
                arguments: Arguments::parse(""),
            };
            let parts = names.map(call).into();
            Generation { parts, finish: FinishReason::ToolCalls, usage: None, context_tokens: None }
        };
        let answered = restored(names(["now", &short(&second), "unknown"]), &tools);
        assert_eq!(answered, names(["now", &second, "unknown"]));
    }
}
