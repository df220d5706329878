//! A server's tools as the model gets them; those that no provider accepts are left out with a warning.

use serde_json::Value;

use super::connection::{Listing, MAX_TOOLS};
use super::schema::{self, Accepted};
use crate::expert::SkillCommon;
use crate::tool::{LONGEST_NAME, ToolHints, ToolKind, ToolSpec};

/// Most characters of a tool's own name. The protocol sets no limit; longer ones are a mistake.
const LONGEST_OWN_NAME: usize = 4 * LONGEST_NAME;

/// Most bytes of a tool's description.
const MAX_DESCRIPTION: usize = 32 << 10;

/// A server's list, read.
#[derive(Debug, Default)]
pub(super) struct ToolList {
    /// The tools that are offered.
    pub tools: Vec<ToolSpec>,
    /// The names of all tools, also of those that are not offered; `None` of a list that is cut.
    pub names: Option<Vec<String>>,
    /// A warning for each tool that was left out.
    pub left_out: Vec<String>,
}

/// Reads a list of tools.
pub(super) fn read(listing: Listing, common: &SkillCommon) -> ToolList {
    let mut tools = Vec::new();
    let mut warnings = Vec::new();
    let is_cut = listing.is_cut || listing.tools.len() > MAX_TOOLS;
    let name = |tool: &Value| tool.get("name").and_then(Value::as_str).map(str::to_owned);
    let names = (!is_cut).then(|| listing.tools.iter().filter_map(name).collect());
    if is_cut {
        let used = listing.tools.len().min(MAX_TOOLS);
        warnings.push(format!("skill {}: its list of tools is too long; the first {used} are used", common.name));
    }
    for tool in listing.tools.into_iter().take(MAX_TOOLS) {
        match spec(tool, common) {
            // A list whose last page leads back to one before it has the same tools again.
            Ok(Some(tool)) if tools.contains(&tool) => {}
            Ok(Some(tool)) => tools.push(tool),
            Ok(None) => {}
            Err(why) => warnings.push(format!("skill {}: {why}; the tool is left out", common.name)),
        }
    }
    ToolList { tools, names, left_out: warnings }
}

/// One tool; none when the skill does not admit it.
fn spec(mut tool: Value, common: &SkillCommon) -> Result<Option<ToolSpec>, String> {
    let Some(name) = tool.get("name").and_then(Value::as_str).map(str::to_owned) else {
        return Err("a tool has no name".to_owned());
    };
    if !common.admits(&name) {
        return Ok(None);
    }
    // Other names that models do not take are rewritten by `SkillSet`; these would not be shown well in any message.
    if name.is_empty() || name.chars().count() > LONGEST_OWN_NAME || name.contains(char::is_control) {
        let shown: String = name.chars().take(LONGEST_NAME).collect();
        return Err(format!("the name of tool {shown:?} is empty, very long or holds control characters"));
    }
    let Accepted { schema: input_schema, rules } = schema::read(tool.get_mut("inputSchema").map(Value::take))
        .map_err(|why| format!("the input schema of tool {name} {why}"))?;
    let text = |key: &str| tool.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let title = tool.pointer("/annotations/title").and_then(Value::as_str);
    let description = text("description").or_else(|| text("title")).or(title).map(|text| {
        let end = text.floor_char_boundary(MAX_DESCRIPTION);
        text.get(..end).unwrap_or_default().to_owned()
    });
    let description = match (description, rules) {
        (Some(description), Some(rules)) => Some(format!("{description}\n{rules}")),
        (description, rules) => description.or(rules),
    };
    let hint = |key: &str| tool.pointer(&format!("/annotations/{key}")).and_then(Value::as_bool);
    let read_only = hint("readOnlyHint").unwrap_or(false);
    let hints = ToolHints {
        read_only,
        idempotent: hint("idempotentHint").unwrap_or(false) || common.idempotent.contains(&name),
        // The protocol's defaults: a tool without hints may do anything.
        destructive: !read_only && hint("destructiveHint").unwrap_or(true),
        open_world: hint("openWorldHint").unwrap_or(true),
    };
    Ok(Some(ToolSpec {
        skill_name: common.name.clone(),
        name,
        description,
        input_schema: input_schema.into(),
        kind: ToolKind::Mcp,
        hints,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn common() -> SkillCommon {
        SkillCommon { name: "s".to_owned(), ..SkillCommon::default() }
    }

    fn whole(tools: Vec<Value>) -> Listing {
        Listing { tools, is_cut: false }
    }

    #[test]
    fn a_list_that_is_cut_is_reported() {
        let tools = vec![json!({"name": "a", "inputSchema": {}})];
        let ToolList { tools, names, left_out: warnings } = read(Listing { tools, is_cut: true }, &common());
        assert_eq!(tools.len(), 1);
        assert_eq!(warnings, ["skill s: its list of tools is too long; the first 1 are used"]);
        let whole = read(whole(vec![json!({"name": "a"}), json!({"name": ""}), json!({})]), &common());
        assert_eq!((names, whole.names), (None, Some(vec!["a".to_owned(), String::new()])));
    }

    #[test]
    fn a_tool_is_read_whole_with_the_protocols_defaults() {
        let listed = vec![
            json!({"name": "look", "description": "Looks.", "inputSchema": {"properties": {"a": {}}},
                "annotations": {"readOnlyHint": true, "openWorldHint": false}}),
            json!({"name": "do", "title": "Does", "inputSchema": {"type": "object"}}),
            json!({"name": "set", "inputSchema": {"type": "object"},
                "annotations": {"idempotentHint": true, "destructiveHint": false}}),
            json!({"name": "again", "inputSchema": {"type": "object"}}),
        ];
        let ToolList { tools, left_out: warnings, .. } =
            read(whole(listed), &SkillCommon { idempotent: vec!["again".to_owned()], ..common() });
        assert_eq!(warnings, Vec::<String>::new());
        let look = ToolSpec {
            skill_name: "s".to_owned(),
            name: "look".to_owned(),
            description: Some("Looks.".to_owned()),
            input_schema: json!({"properties": {"a": {}}, "type": "object"}).as_object().unwrap().clone().into(),
            kind: ToolKind::Mcp,
            hints: ToolHints { read_only: true, idempotent: false, destructive: false, open_world: false },
        };
        assert_eq!(tools.first(), Some(&look));
        assert_eq!(tools[1].description.as_deref(), Some("Does"));
        assert_eq!(tools[1].hints, ToolHints { destructive: true, open_world: true, ..ToolHints::default() });
        assert!(tools[2].hints.is_repeatable() && !tools[2].hints.destructive);
        assert!(tools[3].hints.is_repeatable());
    }

    #[test]
    fn what_no_model_takes_is_left_out_with_a_warning() {
        let listed = vec![
            json!({"name": "", "inputSchema": {"type": "object"}}),
            json!({"name": "x".repeat(600), "inputSchema": {"type": "object"}}),
            json!({"name": "text", "inputSchema": "{}"}),
            json!({"name": "list", "inputSchema": {"type": "array"}}),
            json!({"name": "properties", "inputSchema": {"type": "object", "properties": [1]}}),
            json!({"inputSchema": {}}),
            json!({"name": "fine", "inputSchema": {}}),
            json!({"name": "none"}),
            json!({"name": "type", "inputSchema": {"type": "object", "properties": {"a": {"type": "text"}}}}),
        ];
        let ToolList { tools, left_out: warnings, .. } = read(whole(listed), &common());
        assert_eq!(tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["fine", "none", "type"]);
        assert_eq!(warnings.len(), 6);
        assert_eq!(
            warnings[3],
            "skill s: the input schema of tool list is not of type \"object\"; the tool is left out"
        );
    }

    #[test]
    fn a_tool_that_is_listed_again_as_it_was_is_one_tool() {
        let listed = vec![json!({"name": "a"}), json!({"name": "b"}), json!({"name": "a"})];
        let ToolList { tools, left_out: warnings, .. } = read(whole(listed), &common());
        assert_eq!((tools.len(), warnings), (2, Vec::new()));
        let listed = vec![json!({"name": "a"}), json!({"name": "a", "description": "Another."})];
        assert_eq!(read(whole(listed), &common()).tools.len(), 2);
    }

    #[test]
    fn rules_that_a_schema_cannot_hold_are_in_the_description() {
        let schema = json!({"oneOf": [{"required": ["a"]}]});
        let listed = vec![
            json!({"name": "a", "description": "Does.", "inputSchema": schema}),
            json!({"name": "b", "inputSchema": schema}),
        ];
        let ToolList { tools, left_out: warnings, .. } = read(whole(listed), &common());
        assert_eq!(warnings, Vec::<String>::new());
        let rules = format!("The arguments must also fit this JSON Schema: {schema}");
        assert_eq!(tools[0].description, Some(format!("Does.\n{rules}")));
        assert_eq!(tools[1].description, Some(rules));
    }

    #[test]
    fn tools_that_are_not_wanted_are_left_out_in_silence() {
        let listed = ["a", "b", "bad name"].map(|name| json!({"name": name, "inputSchema": {}}));
        let common = SkillCommon { pick: vec!["a".to_owned()], ..common() };
        let ToolList { tools, left_out: warnings, .. } = read(whole(listed.into()), &common);
        assert_eq!((tools.len(), warnings), (1, Vec::new()));
    }
}
