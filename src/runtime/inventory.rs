//! The tools each expert sees: its skills opened, its questions and delegates declared.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::environment::Environment;
use crate::expert::{Expert, ExpertKey, ExpertRef, SkillSpec};
use crate::runtime::RunError;
use crate::skill::base::{BaseSkill, conversation_tools};
use crate::skill::{SkillSet, declare};

/// The base skill of another make is an MCP server, which this version does not start.
const BASE_COMMAND_UNUSED: &str = "perstackBaseSkillCommand is not used: the built-in base skill serves instead";

/// What an expert's tools are opened with.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub workspace: &'a Path,
    pub environment: &'a Environment,
    /// `perstackBaseSkillCommand` is set.
    pub has_base_command: bool,
    /// Whether another expert called this one: then nobody is there to be asked.
    pub is_delegate: bool,
}

/// An expert's tools, ready to be called.
pub struct Inventory {
    pub skills: SkillSet,
    /// The experts behind the delegate tools.
    pub delegates: Vec<ExpertRef>,
    /// What the owner should know: tools that another of the same name hides, settings that do not apply.
    pub warnings: Vec<String>,
}

/// Opens the skills of `expert`.
///
/// # Errors
/// A skill that cannot be opened, a kind of skill that this version does not run, or a delegate that is not defined.
pub fn open(expert: &Expert, experts: &IndexMap<ExpertKey, Expert>, place: Place<'_>) -> Result<Inventory, RunError> {
    let mut skills = SkillSet::default();
    let mut warnings = Vec::new();
    let mut has_base = false;
    for (name, spec) in &expert.skills {
        match spec {
            spec if spec.is_built_in_base() => {
                has_base = true;
                if place.has_base_command {
                    warnings.push(BASE_COMMAND_UNUSED.to_owned());
                }
                let base = BaseSkill::open(spec.common(), place.workspace, place.environment)?;
                warnings.extend(skills.add(base));
            }
            SkillSpec::InteractiveSkill { .. } if place.is_delegate => {}
            SkillSpec::InteractiveSkill { .. } => warnings.extend(skills.declare(declare::interactive(spec)?)),
            SkillSpec::McpStdioSkill { .. } | SkillSpec::McpSseSkill { .. } => {
                return Err(RunError::SkillNotSupported { expert: expert.key.clone(), skill: name.clone() });
            }
        }
    }
    if !has_base {
        // Files and commands must be asked for; the loop's own tools are always there.
        warnings.extend(skills.declare(conversation_tools()));
    }
    let mut delegates = Vec::new();
    for key in &expert.delegates {
        let delegate = experts
            .get(key)
            .ok_or_else(|| RunError::UnknownDelegate { expert: expert.key.clone(), delegate: key.clone() })?;
        warnings.extend(skills.declare(vec![declare::delegate(delegate)]));
        delegates.push(delegate.reference());
    }
    Ok(Inventory { skills, delegates, warnings })
}

/// `skills` closed, one after the other.
pub async fn close(skills: &SkillSet) {
    for skill in skills.skills() {
        Arc::clone(skill).close().await;
    }
}
