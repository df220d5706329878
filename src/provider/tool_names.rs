//! Tool names for providers that allow shorter ones than tools may have ([`LONGEST_NAME`](crate::tool::LONGEST_NAME)).
//!
//! Encoders send [`short`] names: the end of a longer name is replaced by a number made of the whole. `generate`
//! restores the tool's own name in the answer.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::generation::{Arguments, GeneratedPart, Generation};
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
        let GeneratedPart::ToolCall { name, arguments, .. } = part else { continue };
        let Some(tool) = tools.iter().find(|tool| tool.name == *name || short(&tool.name) == *name) else { continue };
        name.clone_from(&tool.name);
        if let Arguments::Valid(arguments) = arguments {
            restore_arguments(arguments, tool);
        }
    }
    generation
}

/// The name that stands for a property that the provider takes only under another one: recognisable to the model, and
/// different for different properties.
pub(super) fn property(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).take(LIMIT - SUFFIX).collect();
    format!("{plain}_{:016x}", fingerprint(name))
}

/// Arguments under the names that are sent.
pub(super) fn sent_arguments(arguments: &Value, is_name: fn(&str) -> bool) -> Cow<'_, Value> {
    let Some(fields) = arguments.as_object() else { return Cow::Owned(json!({})) };
    if fields.keys().all(|name| is_name(name)) {
        return Cow::Borrowed(arguments);
    }
    let sent =
        |(name, value): (&String, &Value)| (if is_name(name) { name.clone() } else { property(name) }, value.clone());
    Cow::Owned(Value::Object(fields.iter().map(sent).collect()))
}

/// Gives arguments the names of the tool's own schema in place of those that stand for them.
fn restore_arguments(arguments: &mut Map<String, Value>, tool: &ToolSpec) {
    let Some(Value::Object(properties)) = tool.input_schema.get("properties") else { return };
    let is_own = |name: &String| properties.contains_key(name);
    if arguments.keys().all(is_own) {
        return;
    }
    let own: HashMap<String, &String> = properties.keys().map(|name| (property(name), name)).collect();
    let restored = |(name, value)| match own.get(&name) {
        Some(own) if !properties.contains_key(&name) => ((*own).clone(), value),
        _ => (name, value),
    };
    *arguments = std::mem::take(arguments).into_iter().map(restored).collect();
}

/// FNV-1a (<https://www.rfc-editor.org/rfc/rfc9923>): the same in every process, which cassettes need.
pub(super) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::FinishReason;
    use crate::tool::{ToolHints, ToolKind};

    #[test]
    fn long_names_go_out_short_and_come_back_whole() {
        let [first, second] = ["a", "b"].map(|end| format!("{}{end}", "n".repeat(100)));
        let tool = |name: &str| ToolSpec {
            skill_name: "s".into(),
            name: name.into(),
            description: None,
            input_schema: std::sync::Arc::default(),
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

    #[test]
    fn arguments_go_out_under_names_that_are_taken_and_come_back_under_their_own() {
        let is_name = |name: &str| !name.contains(['[', '$']) && name.len() <= LIMIT;
        let long = "x".repeat(80);
        let arguments = json!({"filter[id]": 1, "$top": 2, "plain": 3, long: 4});
        let sent = sent_arguments(&arguments, is_name).into_owned();
        assert!(sent.as_object().unwrap().keys().all(|name| is_name(name)), "{sent}");
        assert_eq!(sent["plain"], 3);
        let tool = ToolSpec {
            skill_name: "s".into(),
            name: "t".into(),
            description: None,
            input_schema: json!({"properties": arguments}).as_object().unwrap().clone().into(),
            kind: ToolKind::Mcp,
            hints: ToolHints::default(),
        };
        let call = GeneratedPart::ToolCall {
            id: String::new(),
            name: "t".into(),
            arguments: Arguments::parse(&sent.to_string()),
        };
        let generation =
            Generation { parts: vec![call], finish: FinishReason::ToolCalls, usage: None, context_tokens: None };
        let GeneratedPart::ToolCall { arguments: restored_arguments, .. } =
            restored(generation, &[tool]).parts.remove(0)
        else {
            panic!("no call")
        };
        assert_eq!(restored_arguments, Arguments::parse(&arguments.to_string()));
        assert_eq!(*sent_arguments(&json!("x"), is_name), json!({}));
    }
}
