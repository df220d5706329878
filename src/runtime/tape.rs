//! [`Tape`]: the cassette that a job writes or reads, if any. Drivers ask it for recorded answers and hand it new ones;
//! the file and its format are [`crate::replay`]'s.

use std::sync::Arc;

use crate::checkpoint::Status;
use crate::expert::ExpertKey;
use crate::id::RunId;
use crate::permission::CallDecision;
use crate::replay::{
    CassetteRecorder, RecordedChange, RecordedOffer, ReplayDecisions, ReplayError, ReplayTools, RunStops,
};
use crate::runtime::error::RunError;
use crate::tool::{ToolCall, ToolResult, ToolSpec};

/// The cassette that a job writes or reads, if any.
#[derive(Clone)]
pub enum Tape {
    /// None.
    Off,
    /// Everything is written to a cassette.
    Recording(Arc<CassetteRecorder>),
    /// The model's answers come from a cassette; results of tools too, if wanted.
    Replaying {
        answers: Option<RecordedAnswers>,
        decisions: Option<Arc<ReplayDecisions>>,
        /// The ends of commands that verify answers: none is run, whatever becomes of calls.
        verifications: Option<Arc<ReplayTools>>,
    },
}

/// The results of tools in a cassette, and the calls that are answered by them.
#[derive(Clone)]
pub struct RecordedAnswers {
    pub tools: Arc<ReplayTools>,
    /// All calls; else those alone that write or run.
    pub are_all: bool,
    /// Servers may be started where the cassette does not have their tools.
    pub may_start: bool,
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

    fn answers(&self) -> Option<&RecordedAnswers> {
        match self {
            Self::Replaying { answers, .. } => answers.as_ref(),
            Self::Off | Self::Recording(_) => None,
        }
    }

    /// The recorded result of `call`, when its kind is replayed too. `only_reads`: the call is of a tool within this process
    /// that changes nothing.
    pub fn recorded_result(&self, call: &ToolCall, only_reads: bool) -> Option<Result<ToolResult, ReplayError>> {
        let answers = self.answers().filter(|answers| answers.are_all || !only_reads)?;
        Some(answers.tools.result(call))
    }

    /// The recorded end of a command that verifies answers, as the result of `call`.
    pub fn recorded_verification(&self, call: &ToolCall) -> Option<Result<ToolResult, ReplayError>> {
        let Self::Replaying { verifications: Some(ends), .. } = self else { return None };
        Some(ends.result(call))
    }

    /// The recorded decision of a person about `call`.
    ///
    /// # Errors
    /// The recording cannot be read.
    pub fn recorded_decision(&self, call: &ToolCall) -> Result<Option<CallDecision>, ReplayError> {
        match self {
            Self::Replaying { decisions: Some(decisions), .. } => decisions.decision(call),
            Self::Replaying { decisions: None, .. } | Self::Off | Self::Recording(_) => Ok(None),
        }
    }

    /// Returns true if no call is made: all are answered from a cassette.
    pub fn answers_all_calls(&self) -> bool {
        self.answers().is_some_and(|answers| answers.are_all)
    }

    /// Returns true if nothing is run or started: all calls are answered from a cassette.
    pub fn runs_nothing(&self) -> bool {
        self.answers().is_some_and(|answers| answers.are_all && !answers.may_start)
    }

    /// Records the end of the job; `stops`: where something outside stopped its Runs. A failure is returned by [`Tape::finish`].
    pub fn record_end(&self, status: Status, stops: RunStops) {
        if let Self::Recording(recorder) = self {
            recorder.note_end(status, stops);
        }
    }

    /// Records a decision of a person. A failure is returned by [`Tape::finish`].
    pub fn record_decision(&self, call: &ToolCall, decision: &CallDecision) {
        if let Self::Recording(recorder) = self {
            recorder.note_decision(call, decision);
        }
    }

    /// The tools that the servers of `expert` offered when the cassette was recorded, when tools are replayed too and
    /// that was recorded.
    ///
    /// # Errors
    /// The recording cannot be used.
    pub fn recorded_offer(&self, expert: &ExpertKey) -> Result<Option<RecordedOffer>, RunError> {
        let Some(answers) = self.answers() else { return Ok(None) };
        Ok(answers.tools.offer(expert)?)
    }

    /// The tools that the recorded servers of `run` have had since it had sent so many requests, if they changed them then.
    ///
    /// # Errors
    /// The recording cannot be used.
    pub fn recorded_change(&self, run: &RunId, behind: u64) -> Result<Option<Vec<ToolSpec>>, RunError> {
        let Some(answers) = self.answers() else { return Ok(None) };
        Ok(answers.tools.change(run, behind)?)
    }

    /// Records that the servers of `run` have other tools, behind so many of its requests. A failure is returned by
    /// [`Tape::finish`].
    pub fn record_change(&self, run: &RunId, behind: u64, tools: impl FnOnce() -> Vec<ToolSpec>) {
        if let Self::Recording(recorder) = self {
            recorder.note_change(RecordedChange { run: run.clone(), behind, tools: tools() });
        }
    }

    /// Returns whether servers may be started.
    pub fn may_start_servers(&self) -> bool {
        self.answers().is_none_or(|answers| answers.may_start)
    }

    /// Returns whether the results of servers' tools come from a cassette.
    pub fn replays_servers(&self) -> bool {
        self.answers().is_some()
    }

    /// Records the tools that the servers of `expert` offer. `is_locked`: they are those of a lock. A failure is returned by
    /// [`Tape::finish`].
    pub fn record_offer(&self, expert: &ExpertKey, is_locked: bool, tools: impl FnOnce() -> Vec<ToolSpec>) {
        if let Self::Recording(recorder) = self {
            recorder.note_offer(RecordedOffer { expert: expert.clone(), tools: tools(), is_locked });
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
