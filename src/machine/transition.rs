//! The inputs of a Run's machine, and the transitions that it returns.

use crate::checkpoint::{CheckpointHead, Status};
use crate::event::Event;
use crate::fact::Fact;
use crate::message::Message;
use crate::tool::ToolCall;

/// One input of a machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Nothing new from outside: do what the present state does by itself.
    Proceed,
    /// Something happened.
    Fact(Fact),
}

impl Input {
    /// The input's name, as the diagram has it: a fact's is that of its kind in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Fact(fact) => fact.body.kind(),
        }
    }
}

/// The consequences of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// To be emitted, in this order.
    pub events: Vec<Event>,
    /// A checkpoint to be stored.
    pub save: Option<Save>,
    /// The action that the machine asks for next.
    pub action: Action,
}

/// A checkpoint to be stored. Its messages are the machine's; a terminal status means that the file is to hold them.
#[derive(Debug, Clone, PartialEq)]
pub struct Save {
    pub head: Box<CheckpointHead>,
    /// The number of the machine's messages that belong to it.
    pub messages: usize,
}

impl Save {
    /// The checkpoint's messages, out of all those of the machine that asked for it.
    pub fn messages_of<'a>(&self, history: &'a [Message]) -> &'a [Message] {
        // A history shrinks by a summary only, of which no checkpoint is due.
        history.get(..self.messages).unwrap_or(history)
    }
}

/// The one thing that a machine asks of its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Come back with [`Input::Proceed`].
    Proceed,
    /// Ask the model, after this wait; come back with `Generated` or `GenerationFailed`.
    Generate {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Have the model summarise older steps, after this wait; come back with `Summarized` or `GenerationFailed`.
    Summarize {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Decide about these calls, none of which was made yet; come back with `CallsDecided` for some of them.
    DecideCalls { calls: Vec<ToolCall> },
    /// Call these tools; come back with a `ToolReturned` each.
    CallTools {
        calls: Vec<ToolCall>,
        /// They may have been called before, by a process that was stopped.
        in_doubt: bool,
    },
    /// Check this answer against the Run's schema; come back with `AnswerChecked`.
    CheckAnswer { text: String },
    /// Run the command that verifies the answer; come back with `AnswerVerified`.
    VerifyAnswer,
    /// Store the state of the workspace; come back with `SnapshotTaken`.
    TakeSnapshot,
    /// More of the calls made are still to return.
    Wait,
    /// The Run is over.
    Stop(Status),
}

/// An input that the present state cannot take. The machine is unchanged, and the input must not be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run in state {state} cannot take {input}")]
pub struct IllegalInput {
    pub state: &'static str,
    pub input: &'static str,
}
