//! The states of a Run, each holding exactly what it knows beyond the conversation.

use crate::checkpoint::Status;
use crate::event::EventBody;
use crate::machine::calls::Turn;
use crate::machine::ending::{Ending, Verdict};
use crate::machine::transition::Action;
use crate::tool::ToolResult;

/// The state of a Run.
#[derive(Debug, Clone, PartialEq, strum::IntoStaticStr)]
pub enum State {
    /// There was no input yet; a restored machine holds its checkpoint.
    Init,
    /// A step begins.
    PreparingForStep,
    /// The model is being asked.
    GeneratingToolCall,
    /// The model is being asked for a summary of older steps, as the conversation no longer fits its window.
    SummarizingContext(Overflow),
    /// The turn's calls are being decided; none was made yet.
    DecidingCalls(Turn),
    /// The turn's MCP calls are being answered.
    CallingMcpTools(Turn),
    /// The answer is being checked; the Run completes with it or asks for another.
    CheckingAnswer(Ending),
    /// The command that verifies the answer is next.
    StartingVerification(Ending),
    /// The command runs that has to succeed before the answer counts.
    VerifyingAnswer(Ending),
    /// The command has ended; the Run completes with the answer, asks for another or stops.
    ConcludingVerification(Verdict),
    /// The turn's delegates are next.
    CallingDelegates(Turn),
    /// The turn's questions to people are next.
    CallingInteractiveTools(Turn),
    /// A stopped turn goes on.
    ResumingFromStop(Turn),
    /// Every call is answered; the answers go into the conversation next.
    ResolvingToolResult(Vec<ToolResult>),
    /// The step is over.
    FinishingStep,
    /// The state of the workspace is being stored for the checkpoint that is next.
    TakingSnapshot(Box<HeldArrow>),
    /// The Run is over.
    Stopped(Status),
}

/// An arrow to a checkpoint, held until the state of the workspace is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldArrow {
    /// The state that it leads to.
    pub(super) state: State,
    pub(super) events: Vec<EventBody>,
    pub(super) action: Action,
}

/// The finding that a conversation does not fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overflow {
    /// The provider's message, or that of the estimate.
    pub message: String,
    pub status_code: Option<u16>,
    /// Summaries that have failed since.
    pub failures: u32,
}

impl State {
    /// Returns true if there is an answer of which it is not known yet whether the Run completes with it.
    pub fn is_judging(&self) -> bool {
        matches!(
            self,
            Self::CheckingAnswer(_)
                | Self::StartingVerification(_)
                | Self::VerifyingAnswer(_)
                | Self::ConcludingVerification(Verdict::Passed(_))
                | Self::TakingSnapshot(_)
        )
    }

    /// The state's name, as the diagram has it; a stopped Run's is its status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stopped(status) => status.name(),
            state => state.into(),
        }
    }
}
