//! [`HistoryItem`]: what a reader of a record gets, and [`ReadProblem`]: what kept a Run from being read whole.

use crate::checkpoint::Status;
use crate::id::RunId;
use crate::runtime::error::RunError;
use crate::runtime::history::logged_event::LoggedEvent;
use crate::store::StoreError;
use crate::tool::ToolCall;

/// What is heard while a record is read.
#[derive(Debug, Clone, Copy)]
pub enum HistoryItem<'a> {
    /// Something happened in a Run.
    Event(LoggedEvent<'a>),
    /// A Run's record ends here.
    End { run: &'a RunId, left: &'a RunProgress },
}

/// Something that kept a Run from being read whole.
#[derive(Debug)]
pub struct ReadProblem {
    pub run: RunId,
    pub kind: ReadProblemKind,
}

/// What kept a Run from being read whole.
#[derive(Debug)]
pub enum ReadProblemKind {
    /// Facts that a later version wrote were passed over.
    Unknown {
        facts: u64,
        /// The first of them.
        first: StoreError,
    },
    /// The record could not be read, or not beyond a place.
    Broken(RunError),
}

/// What a Run's record leaves it with.
#[derive(Debug, Clone, PartialEq)]
pub enum RunProgress {
    /// It has ended.
    Ended(Status),
    /// The model's answer is not on record.
    AskingModel,
    /// These calls' results are not on record.
    Calling(Vec<ToolCall>),
    /// Its record does not tell.
    Unknown,
}
