//! [`ExpertFiles`]: the files that are in the instruction of one expert. The runtime reads them as a job begins; a recording
//! has them for its replay.

use serde::{Deserialize, Serialize};

use super::agent_skills::AgentSkills;
use super::context_files::ContextFiles;

/// The context files of an expert, and its Agent Skills.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpertFiles {
    #[serde(flatten)]
    pub context: ContextFiles,
    #[serde(default, skip_serializing_if = "AgentSkills::is_empty")]
    pub agent_skills: AgentSkills,
}
