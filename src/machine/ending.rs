//! [`Ending`]: an answer that a Run is to complete with, while it is checked and verified; and [`Verdict`], what follows from its
//! verification. States hold them; `completion` and `verification` make use of them.

use crate::checkpoint::{CheckedAnswer, RunFailure};
use crate::cost::Spend;
use crate::machine::calls::Turn;
use crate::message::Message;
use crate::usage::Usage;

/// An answer that the Run is to complete with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ending {
    text: String,
    parts: EndingParts,
    /// Of the model call that brought it.
    usage: Usage,
    spend: Spend,
    /// The answer as the check against its schema let it pass.
    checked: Option<CheckedAnswer>,
    /// The beginning of its verification, in milliseconds since the epoch.
    began_at: u64,
}

/// The origin of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum EndingParts {
    /// A message without calls.
    Text(Message),
    /// A message without calls that is in the conversation already: the Run was stopped before the answer was verified.
    #[default]
    Kept,
    /// A call of `attemptCompletion`.
    Call(Turn),
}

/// The consequence of a verification that has ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Verdict {
    /// The answer counts.
    Passed(Ending),
    /// It does not, and the model is asked for another in the next step.
    #[default]
    AskedAgain,
    /// It does not, and the call that brought it has that for its result.
    Answered(Turn),
    /// The Run stops.
    Failed(RunFailure),
}

impl Ending {
    fn new(text: String, parts: EndingParts, (usage, spend): (Usage, Spend)) -> Self {
        Self { text, parts, usage, spend, checked: None, began_at: 0 }
    }

    /// The text of a message without calls, with the pieces before it.
    pub(super) fn by_text(text: String, message: Message, used: (Usage, Spend)) -> Self {
        Self::new(text, EndingParts::Text(message), used)
    }

    /// The result of a completion, and its turn.
    pub(super) fn by_call(text: String, turn: Turn, used: (Usage, Spend)) -> Self {
        Self::new(text, EndingParts::Call(turn), used)
    }

    /// The answer that a Run was stopped with before it was verified. `turn`: that of the call that brought it; empty for
    /// a message.
    pub(super) fn unverified(text: String, turn: Turn) -> Self {
        let parts = if turn.is_empty() { EndingParts::Kept } else { EndingParts::Call(turn) };
        Self::new(text, parts, (Usage::default(), Spend::default()))
    }

    /// The answer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its tokens and their cost.
    pub(super) fn used(&self) -> (Usage, Spend) {
        (self.usage, self.spend)
    }

    /// The same, with the document that the check let pass.
    pub(super) fn with_checked(self, checked: CheckedAnswer) -> Self {
        Self { text: checked.text.clone(), checked: Some(checked), ..self }
    }

    /// The document that the check let pass.
    pub(super) fn checked(&self) -> Option<&CheckedAnswer> {
        self.checked.as_ref()
    }

    /// The same, whose verification begins at `began_at`.
    pub(super) fn verified_from(self, began_at: u64) -> Self {
        Self { began_at, ..self }
    }

    /// The beginning of its verification.
    pub(super) fn began_at(&self) -> u64 {
        self.began_at
    }

    pub(super) fn into_parts(self) -> EndingParts {
        self.parts
    }
}
