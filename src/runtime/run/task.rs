//! [`RunTask`]: what is to be done with a Run, and [`StoppedRun`]: what became of it. The tree hands the one to a task,
//! which returns the other.

use std::path::PathBuf;

use crate::checkpoint::{Checkpoint, DelegatedBy};
use crate::content::Content;
use crate::cost::Spend;
use crate::event::InteractiveAnswer;
use crate::expert::ExpertKey;
use crate::id::RunId;
use crate::machine::RunTotals;
use crate::message::UserInput;
use crate::runtime::history::recorded_run::RecordedRun;
use crate::runtime::run::closing::OpenSkills;
use crate::tool::ToolResult;
use crate::usage::Usage;

/// Something to be done with a Run.
pub enum RunTask {
    /// Start it.
    Start {
        run: RunId,
        expert: ExpertKey,
        query: String,
        /// Images and files behind the query.
        attached: Vec<Content>,
        by: Option<Box<DelegatedBy>>,
        first_step: u64,
    },
    /// Start it where another stopped.
    Continue(Box<ContinueFrom>),
    /// Recover it: the process that drove it died.
    Recover { run: RunId, past: Box<RecordedRun>, query: Option<UserInput> },
}

/// The start of a Run where another stopped.
pub struct ContinueFrom {
    pub run: RunId,
    pub from: Checkpoint,
    /// The user's further message.
    pub query: Option<UserInput>,
    /// The user's answer to a question; its result is among the `answers`.
    pub answer: Option<InteractiveAnswer>,
    /// Answers to open calls: the user's, or the delegates' with their highest step and their usage.
    pub answers: Vec<ToolResult>,
    pub reached_step: u64,
    pub delegated_usage: Usage,
    pub delegated_spend: Spend,
    /// One of those delegates had read text from strangers.
    pub untrusted: bool,
    /// The Runs of its line that have kept outputs; `None`: to be found by their logs.
    pub with_outputs: Option<Vec<RunId>>,
}

/// A Run that has stopped.
pub struct StoppedRun {
    pub checkpoint: Checkpoint,
    /// The checkpoint's file.
    pub path: PathBuf,
    /// Steps taken in this process.
    pub steps: u64,
    /// It had stopped before this process began.
    pub on_record: bool,
    /// Its totals in this process.
    pub totals: RunTotals,
    /// Its skills, which are still to be closed: of a Run that ends its job. Others have closed them.
    pub skills: Option<OpenSkills>,
    /// The Runs of its line that have kept outputs, itself included; `None` when it was not driven by this process.
    pub with_outputs: Option<Vec<RunId>>,
    /// It has left the recording that the job replays, or began beyond it.
    pub is_live: bool,
}

impl StoppedRun {
    /// A Run that stopped in an earlier process with this checkpoint.
    pub fn on_record(checkpoint: Checkpoint, path: PathBuf) -> Self {
        let totals = RunTotals::default();
        let (skills, with_outputs, is_live) = (None, None, false);
        Self { checkpoint, path, steps: 0, on_record: true, totals, skills, with_outputs, is_live }
    }
}

impl RunTask {
    /// The Run that it is about.
    pub fn run(&self) -> &RunId {
        match self {
            Self::Start { run, .. } | Self::Recover { run, .. } => run,
            Self::Continue(start) => &start.run,
        }
    }

    /// The expert whose Run it is, and whether another expert called it.
    pub fn expert(&self) -> (&ExpertKey, bool) {
        let head = match self {
            Self::Start { expert, by, .. } => return (expert, by.is_some()),
            Self::Continue(start) => &start.from.head,
            Self::Recover { past, .. } => past.machine.head(),
        };
        (&head.expert.key, head.delegated_by.is_some())
    }
}
