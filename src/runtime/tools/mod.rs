//! [`Toolset`]: the tools that an expert sees. [`open`] makes it, for a Run or for those who only list the tools; the
//! Run's loop calls them, and they are closed behind it: by the Run, or by the job that it ends.

pub mod compared;
pub mod containment;
pub mod lock;
pub mod notices;
pub mod open;
pub mod search;
pub mod servers;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::expert::ExpertRef;
use crate::runtime::tools::notices::NoticeBoard;
use crate::skill::base::Verifier;
use crate::skill::output::Outputs;
use crate::skill::{Skill, SkillError, SkillSet};

/// An expert's tools, ready to be called.
pub struct Toolset {
    pub skills: SkillSet,
    /// The experts behind the delegate tools.
    pub delegates: Vec<ExpertRef>,
    /// Warnings for the owner: tools that another of the same name hides, settings that do not apply.
    pub warnings: Vec<String>,
    /// The failures of skills that the expert does without.
    pub missing: Vec<SkillError>,
    /// The skills' reports of themselves.
    pub notices: NoticeBoard,
    /// The results that are too long for the model; kept once the Run has a folder for them.
    pub outputs: Arc<Outputs>,
    /// Runs the command that verifies the expert's answers, where it has one.
    pub verifier: Option<Arc<Verifier>>,
    /// The tools that the model has to search for, where that is in force.
    pub searched: Option<SearchedTools>,
    /// A server is not the one that was recorded, and its tools are not known.
    pub is_unrecorded: bool,
}

/// The tools that are behind a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchedTools {
    /// The names by which they are called.
    pub names: HashSet<String>,
    /// Those of all their definitions, estimated.
    pub tokens: u64,
}

impl Toolset {
    /// Ends the start of the skills, for their notices.
    fn release_notices(&self) {
        let order: Vec<String> = self.skills.skills().iter().map(|skill| skill.name().to_owned()).collect();
        self.notices.release(&order);
    }
}

/// Closes `skills`, all at once.
pub async fn close(skills: &SkillSet) {
    close_all(skills.skills().iter().cloned()).await;
}

async fn close_all<S: Skill + ?Sized + 'static>(skills: impl IntoIterator<Item = Arc<S>>) {
    let mut closing = JoinSet::new();
    for skill in skills {
        closing.spawn(async move { skill.close().await });
    }
    while closing.join_next().await.is_some() {}
}
