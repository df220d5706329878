//! [`HistoryItem`]: one item of a record as its reader visits it, and [`ReadProblem`]: a part that could not be read.

use crate::checkpoint::Status;
use crate::id::RunId;
use crate::machine::RunTotals;
use crate::runtime::error::RunError;
use crate::runtime::history::logged_event::LoggedEvent;
use crate::store::StoreError;
use crate::tool::ToolCall;

/// One item of a record.
#[derive(Debug, Clone, Copy)]
pub enum HistoryItem<'a> {
    /// An event of a Run.
    Event(LoggedEvent<'a>),
    /// So many events of a Run, and tool calls in them, which are only counted: they are before its next event.
    Passed { run: &'a RunId, events: u64, tool_calls: u64 },
    /// A Run's record ends here. `totals` are its own, without its delegates'; `None` where no facts count them.
    End { run: &'a RunId, progress: &'a RunProgress, totals: Option<RunTotals> },
}

/// A problem that kept a Run from being read whole.
#[derive(Debug)]
pub struct ReadProblem {
    pub run: RunId,
    pub kind: ReadProblemKind,
}

/// The kind of a [`ReadProblem`].
#[derive(Debug)]
pub enum ReadProblemKind {
    /// Facts that a later version wrote were skipped.
    Unknown {
        facts: u64,
        /// The first of them.
        first: StoreError,
    },
    /// The record could not be read, or not beyond a place.
    Broken(RunError),
}

/// The point at which a Run's record ends.
#[derive(Debug, Clone, PartialEq)]
pub enum RunProgress {
    /// It has ended.
    Ended(Status),
    /// The model's answer is not on record.
    AskingModel,
    /// Nobody has decided about these calls.
    Deciding(Vec<ToolCall>),
    /// The end of the command that verifies its answer is not on record.
    Verifying,
    /// These calls' results are not on record.
    Calling(Vec<ToolCall>),
    /// Its record does not show it.
    Unknown,
}
