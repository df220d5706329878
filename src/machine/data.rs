//! The data of a Run beside its state, which the handlers of the diagram's arrows work on.

use crate::checkpoint::CheckpointHead;
use crate::cost::Spend;
use crate::event::{EventBody, EventCheckpoint};
use crate::fact::{IdGenerator, RunParameters, Stamp};
use crate::machine::account::RunAccount;
use crate::machine::conversation::Conversation;
use crate::machine::step::OpenStep;
use crate::machine::token_bound::KnownPrompt;
use crate::message::Message;

/// All that a Run's machine holds beside its state. Each part keeps its own fields to itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunData {
    pub head: CheckpointHead,
    pub conversation: Conversation,
    pub step: OpenStep,
    pub parameters: RunParameters,
    pub ids: IdGenerator,
    pub account: RunAccount,
    /// The size of the conversation, as the latest answer reported it.
    pub measured: Option<KnownPrompt>,
    /// The present model was fallen back to, and has not answered yet.
    pub is_untried: bool,
    /// The present input came from a recording: whatever it took is nobody's cost now.
    pub is_free: bool,
    /// Nobody looks at the events: they are numbered, and where that costs something, neither made nor noted for.
    pub is_quiet: bool,
    /// Events of the present arrow that were not made.
    pub unseen: u64,
    /// Tool calls of all events so far, made or not.
    pub called: u64,
}

impl RunData {
    pub fn new(head: CheckpointHead, messages: Vec<Message>) -> Self {
        Self {
            head,
            conversation: Conversation::new(messages),
            step: OpenStep::default(),
            parameters: RunParameters::default(),
            ids: IdGenerator::new(Stamp { at: 0, seed: 0 }),
            account: RunAccount::default(),
            measured: None,
            is_untried: false,
            is_free: false,
            is_quiet: false,
            unseen: 0,
            called: 0,
        }
    }

    /// The present state, as events carry it.
    pub fn checkpoint(&self) -> EventCheckpoint {
        EventCheckpoint { head: Box::new(self.head.clone()), messages: self.conversation.messages().len() }
    }

    /// Begins the step of the head's number.
    pub fn begin_step(&mut self) {
        self.step = OpenStep::begin(self.head.step_number, self.ids.at());
    }

    /// Notes a part of the step for the event at its end.
    pub fn note(&mut self, note: impl FnOnce(&mut OpenStep)) {
        if !self.is_quiet {
            note(&mut self.step);
        }
    }

    /// The event to report, which holds copies of what is new; it is only counted where nobody looks.
    pub fn report(&mut self, event: impl FnOnce() -> EventBody) -> Vec<EventBody> {
        if self.is_quiet {
            self.unseen += 1;
            return Vec::new();
        }
        vec![event()]
    }

    /// Adds a message from outside.
    pub fn add_input(&mut self, message: Message) {
        self.note(|step| step.add_input(message.clone()));
        self.conversation.push(message);
    }

    /// Adds a message that the step led to.
    pub fn add_new(&mut self, message: Message) {
        self.note(|step| step.add_new(message.clone()));
        self.conversation.push(message);
    }

    /// Adds what a model call cost to the accounts of step, checkpoint and Run.
    pub fn charge(&mut self, spend: Spend) {
        self.account.add_spend(spend);
        self.step.add_spend(spend);
        self.head.spend = self.head.spend.plus(spend);
    }

    /// Gives up the request under way, which the provider may charge for.
    pub fn give_up(&mut self) {
        self.account.break_off((!self.is_free).then_some(0));
        self.charge(if self.is_free { Spend::default() } else { Spend::UNKNOWN });
    }
}
