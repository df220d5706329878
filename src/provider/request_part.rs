//! [`RequestPart`]: the part of a request in which two requests differ, by the names that the wire formats give it. Programs
//! that compare a replay with its recording call it; the requests themselves come from the replay.

use serde_json::Value;

/// A part of a request to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestPart {
    Model,
    Instruction,
    /// The definition of a tool.
    Tool,
    ToolResult,
    /// The conversation, but for results of tools.
    Conversation,
    /// Any other field, such as a limit.
    Setting,
}

/// The first difference between two requests, of the part that explains most.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestChange {
    pub part: RequestPart,
    /// The name of the tool or the field.
    pub name: Option<String>,
    pub recorded: Option<Value>,
    pub now: Option<Value>,
}

/// Compares the bodies of two requests. `None` when they are the same.
pub fn changed_part(recorded: &Value, now: &Value) -> Option<RequestChange> {
    let (Some(old), Some(new)) = (recorded.as_object(), now.as_object()) else {
        return (recorded != now).then(|| change(RequestPart::Setting, None, Some(recorded), Some(now)));
    };
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let mut differing: Vec<&String> = old.keys().chain(added).filter(|key| old.get(*key) != new.get(*key)).collect();
    // Some formats have the instruction among the messages.
    let among_messages =
        |key: &&&String| rank(key) == MESSAGES && { instructions(old.get(**key)) != instructions(new.get(**key)) };
    let with_instruction = differing.iter().find(among_messages).map(|key| (*key).clone());
    let rank_of = |key: &String| if Some(key) == with_instruction.as_ref() { INSTRUCTION } else { rank(key) };
    differing.sort_by_key(|key| rank_of(key));
    let key = differing.first()?;
    let (before, after) = (old.get(*key), new.get(*key));
    Some(match rank_of(key) {
        INSTRUCTION if Some(*key) == with_instruction.as_ref() => {
            let (before, after) = (instructions(before), instructions(after));
            change(RequestPart::Instruction, None, Some(&before.into()), Some(&after.into()))
        }
        0 => change(RequestPart::Model, None, before, after),
        INSTRUCTION => change(RequestPart::Instruction, None, before, after),
        2 => changed_tool(before, after),
        MESSAGES => changed_item(before, after),
        _ => change(RequestPart::Setting, Some(key), before, after),
    })
}

const INSTRUCTION: u8 = 1;
const MESSAGES: u8 = 3;

/// The messages in a list that are an instruction.
fn instructions(messages: Option<&Value>) -> Vec<Value> {
    let items = messages.and_then(Value::as_array).into_iter().flatten();
    items.filter(|item| is_instruction(item)).cloned().collect()
}

/// The place of a field of any wire format among the causes: what explains most is first.
fn rank(key: &str) -> u8 {
    match key {
        "model" | "modelId" => 0,
        "system" | "instructions" | "systemInstruction" => INSTRUCTION,
        "tools" | "toolConfig" => 2,
        "messages" | "contents" | "input" => MESSAGES,
        _ => 4,
    }
}

fn change(part: RequestPart, name: Option<&str>, recorded: Option<&Value>, now: Option<&Value>) -> RequestChange {
    RequestChange { part, name: name.map(str::to_owned), recorded: recorded.cloned(), now: now.cloned() }
}

fn changed_tool(recorded: Option<&Value>, now: Option<&Value>) -> RequestChange {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    tools_of(recorded, &mut old);
    tools_of(now, &mut new);
    let find = |tools: &[(&str, &Value)], name: &str| {
        tools.iter().find(|(other, _)| *other == name).map(|(_, it)| (*it).clone())
    };
    let names = old.iter().chain(&new).map(|(name, _)| *name);
    let mut differing = names.filter(|name| find(&old, name) != find(&new, name));
    match differing.next() {
        Some(name) => RequestChange {
            part: RequestPart::Tool,
            name: Some(name.to_owned()),
            recorded: find(&old, name),
            now: find(&new, name),
        },
        // Their order, or how they are chosen.
        None => change(RequestPart::Tool, None, recorded, now),
    }
}

/// The definitions of tools in a value, each with its name: the outermost objects that have one.
fn tools_of<'a>(value: Option<&'a Value>, found: &mut Vec<(&'a str, &'a Value)>) {
    match value {
        Some(Value::Object(fields)) => match fields.get("name").and_then(Value::as_str) {
            Some(name) => found.push((name, value.unwrap_or(&Value::Null))),
            None => fields.values().for_each(|field| tools_of(Some(field), found)),
        },
        Some(Value::Array(items)) => items.iter().for_each(|item| tools_of(Some(item), found)),
        _ => {}
    }
}

fn changed_item(recorded: Option<&Value>, now: Option<&Value>) -> RequestChange {
    let items = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (old, new) = (items(recorded), items(now));
    let at = (0..old.len().max(new.len())).find(|at| old.get(*at) != new.get(*at)).unwrap_or_default();
    let (before, after) = (old.get(at), new.get(at));
    let any = |test: fn(&Value) -> bool| before.into_iter().chain(after).any(test);
    let part = if any(has_result) { RequestPart::ToolResult } else { RequestPart::Conversation };
    change(part, None, before, after)
}

fn is_instruction(item: &Value) -> bool {
    matches!(item.get("role").and_then(Value::as_str), Some("system" | "developer"))
}

/// Returns true for a message that has the result of a tool, in any wire format.
fn has_result(item: &Value) -> bool {
    let word = |key: &str| item.get(key).and_then(Value::as_str);
    if word("role") == Some("tool") || matches!(word("type"), Some("function_call_output" | "tool_result")) {
        return true;
    }
    let has_field = ["toolResult", "functionResponse"].iter().any(|key| item.get(key).is_some());
    let parts = ["content", "parts"].iter().filter_map(|key| item.get(key)?.as_array()).flatten();
    has_field || parts.into_iter().any(has_result)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(recorded: &Value, now: &Value) -> Option<(RequestPart, Option<String>)> {
        changed_part(recorded, now).map(|change| (change.part, change.name))
    }

    #[test]
    fn the_part_that_explains_most_is_found_in_every_wire_format() {
        let tool = |text: &str| json!({"name": "echo", "description": text});
        let same = json!({"model": "m", "messages": [1]});
        assert_eq!(part(&same, &same), None);
        for (recorded, now, expected, name) in [
            (json!({"max_tokens": 1, "model": "a"}), json!({"max_tokens": 2, "model": "b"}), RequestPart::Model, None),
            (json!({"system": "a", "tools": []}), json!({"system": "b", "tools": [1]}), RequestPart::Instruction, None),
            (
                json!({"messages": [{"role": "system", "content": "a"}]}),
                json!({"messages": [{"role": "system", "content": "b"}]}),
                RequestPart::Instruction,
                None,
            ),
            (json!({"tools": [tool("a")]}), json!({"tools": [tool("b")]}), RequestPart::Tool, Some("echo")),
            (json!({"tools": [{"function": tool("a")}]}), json!({"tools": []}), RequestPart::Tool, Some("echo")),
            (
                json!({"tools": [{"functionDeclarations": []}]}),
                json!({"tools": [{"functionDeclarations": [tool("a")]}]}),
                RequestPart::Tool,
                Some("echo"),
            ),
            (
                json!({"toolConfig": {"tools": [{"toolSpec": tool("a")}]}}),
                json!({"toolConfig": {"tools": [{"toolSpec": tool("b")}]}}),
                RequestPart::Tool,
                Some("echo"),
            ),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "a"}]}]}),
                json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "b"}]}]}),
                RequestPart::ToolResult,
                None,
            ),
            (
                json!({"messages": [{"role": "tool", "content": "a"}]}),
                json!({"messages": [{"role": "tool", "content": "b"}]}),
                RequestPart::ToolResult,
                None,
            ),
            (
                json!({"input": [{"type": "function_call_output", "output": "a"}]}),
                json!({"input": []}),
                RequestPart::ToolResult,
                None,
            ),
            (
                json!({"contents": [{"parts": [{"functionResponse": 1}]}]}),
                json!({"contents": [{"parts": [{"functionResponse": 2}]}]}),
                RequestPart::ToolResult,
                None,
            ),
            (
                json!({"messages": [{"role": "user", "content": "a"}]}),
                json!({"messages": [{"role": "user", "content": "b"}]}),
                RequestPart::Conversation,
                None,
            ),
            (json!({"thinking": 1}), json!({}), RequestPart::Setting, Some("thinking")),
        ] {
            assert_eq!(part(&recorded, &now), Some((expected, name.map(str::to_owned))), "{recorded}");
        }
    }
}
