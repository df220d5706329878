//! [`Ending`]: an answer that a Run is to complete with, while it is checked. A state holds it; `completion` makes use of it.

use crate::cost::Spend;
use crate::machine::calls::Turn;
use crate::message::Message;
use crate::usage::Usage;

/// An answer that the Run is to complete with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ending {
    text: String,
    /// The model's message, of an answer without calls.
    message: Option<Message>,
    /// The turn of the call that brought it, otherwise.
    turn: Turn,
    /// Of the model call that brought it.
    usage: Usage,
    spend: Spend,
}

/// The origin of an answer.
pub(super) enum EndingParts {
    /// A message without calls.
    Text(Message),
    /// A call of `attemptCompletion`.
    Call(Turn),
}

impl Ending {
    /// The text of a message without calls, with the pieces before it.
    pub(super) fn by_text(text: String, message: Message, (usage, spend): (Usage, Spend)) -> Self {
        Self { text, message: Some(message), turn: Turn::default(), usage, spend }
    }

    /// The result of a completion, and its turn.
    pub(super) fn by_call(text: String, turn: Turn, (usage, spend): (Usage, Spend)) -> Self {
        Self { text, message: None, turn, usage, spend }
    }

    /// The answer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its tokens and their cost.
    pub(super) fn used(&self) -> (Usage, Spend) {
        (self.usage, self.spend)
    }

    /// The same with another text.
    pub(super) fn with_text(self, text: String) -> Self {
        Self { text, ..self }
    }

    pub(super) fn into_parts(self) -> EndingParts {
        match self.message {
            Some(message) => EndingParts::Text(message),
            None => EndingParts::Call(self.turn),
        }
    }
}
