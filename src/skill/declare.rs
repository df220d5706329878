//! Tools that are declared to the model but never called here: questions to people, and other experts. The machine
//! turns a call of one into a stop.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::expert::{Expert, SkillSpec};
use crate::skill::SkillError;
use crate::tool::{ToolHints, ToolKind, ToolSpec};

/// The tools of an interactive skill; none for another kind.
///
/// # Errors
/// A tool whose `inputJsonSchema` is no JSON object.
pub fn interactive(skill: &SkillSpec) -> Result<Vec<ToolSpec>, SkillError> {
    let SkillSpec::InteractiveSkill { common, tools } = skill else { return Ok(Vec::new()) };
    tools
        .iter()
        .filter(|(name, _)| common.admits(name))
        .map(|(name, tool)| {
            let input_schema =
                serde_json::from_str::<Map<String, Value>>(&tool.input_json_schema).map_err(|source| {
                    SkillError::InvalidSchema { skill: common.name.clone(), tool: name.clone(), source }
                })?;
            Ok(ToolSpec {
                skill_name: common.name.clone(),
                name: name.clone(),
                description: tool.description.clone(),
                input_schema: Arc::new(input_schema),
                kind: ToolKind::Interactive,
                hints: ToolHints::default(),
            })
        })
        .collect()
}

/// The tool by which another expert calls `expert`.
pub fn delegate(expert: &Expert) -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": { "query": { "type": "string", "description": "The whole task, in words that stand alone" } },
        "required": ["query"],
    });
    ToolSpec {
        skill_name: expert.key.as_str().to_owned(),
        name: expert.key.tool_name().to_owned(),
        description: expert.description.clone(),
        input_schema: Arc::new(schema.as_object().cloned().unwrap_or_default()),
        kind: ToolKind::Delegate,
        hints: ToolHints::default(),
    }
}
