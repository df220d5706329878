//! [`Tape`]: the cassette that a job writes or reads, if any. Drivers ask it for recorded answers and hand it new ones;
//! the file and its format are [`crate::replay`]'s.

use std::sync::Arc;

use crate::expert::ExpertKey;
use crate::hint::ErrorHint as _;
use crate::replay::{CassetteRecorder, ReplayTools};
use crate::runtime::error::RunError;
use crate::tool::{ToolCall, ToolResult, ToolSpec};

/// The cassette that a job writes or reads, if any.
#[derive(Clone)]
pub enum Tape {
    /// None.
    Off,
    /// Everything is written to a cassette.
    Recording(Arc<CassetteRecorder>),
    /// The model's answers come from a cassette; tool results too, if wanted.
    Replaying { tools: Option<Arc<ReplayTools>> },
}

impl Tape {
    /// Returns whether a cassette is written.
    pub fn is_recording(&self) -> bool {
        matches!(self, Self::Recording(_))
    }

    /// Returns whether the model's answers come from a cassette.
    pub fn is_replay(&self) -> bool {
        matches!(self, Self::Replaying { .. })
    }

    /// The recorded result of `call`, when tools are replayed too; a call that was not recorded is answered by the
    /// difference.
    pub fn recorded_result(&self, call: &ToolCall) -> Option<ToolResult> {
        let Self::Replaying { tools: Some(tools) } = self else { return None };
        Some(tools.result(call).unwrap_or_else(|error| ToolResult::error(call, error.with_hint())))
    }

    /// The tools that the servers of `expert` offered when the cassette was recorded, when tools are replayed too and
    /// that was recorded.
    ///
    /// # Errors
    /// The recording cannot be used.
    pub fn recorded_offer(&self, expert: &ExpertKey) -> Result<Option<Vec<ToolSpec>>, RunError> {
        let Self::Replaying { tools: Some(tools) } = self else { return Ok(None) };
        Ok(tools.offer(expert)?)
    }

    /// Returns whether tool results come from a cassette, so that no tool is run.
    pub fn replays_tools(&self) -> bool {
        matches!(self, Self::Replaying { tools: Some(_) })
    }

    /// Records the tools that the servers of `expert` offer. A failure is returned by [`Tape::finish`].
    pub fn record_offer(&self, expert: &ExpertKey, tools: impl FnOnce() -> Vec<ToolSpec>) {
        if let Self::Recording(recorder) = self {
            recorder.note_offer(expert, tools());
        }
    }

    /// Records the result of a call. A failure is returned by [`Tape::finish`].
    pub fn record_result(&self, call: &ToolCall, result: &ToolResult) {
        if let Self::Recording(recorder) = self {
            recorder.note_tool(call, result);
        }
    }

    /// Completes the recording.
    ///
    /// # Errors
    /// The first failure to write it.
    pub fn finish(&self) -> Result<(), RunError> {
        match self {
            Self::Recording(recorder) => Ok(recorder.finish()?),
            Self::Off | Self::Replaying { .. } => Ok(()),
        }
    }
}
