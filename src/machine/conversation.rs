//! The conversation of a Run: its messages, and the ids of the calls in them.
//!
//! The machine's handlers add to it; [`messages`](super::messages) makes what they add. Messages only ever join at the
//! end, but for a summary, which takes the place of older ones, and the instruction of a resumed Run.

use std::collections::HashSet;

use crate::message::Message;

/// The messages so far. Call ids are unique over all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Conversation {
    messages: Vec<Message>,
    call_ids: HashSet<String>,
}

impl Conversation {
    pub fn new(messages: Vec<Message>) -> Self {
        let call_ids = messages.iter().flat_map(Message::call_ids).map(str::to_owned).collect();
        Self { messages, call_ids }
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    /// The ids of all calls in the conversation. Kept through a summary, so that no id is ever given twice.
    pub fn call_ids(&self) -> &HashSet<String> {
        &self.call_ids
    }

    pub fn push(&mut self, message: Message) {
        self.call_ids.extend(message.call_ids().map(str::to_owned));
        self.messages.push(message);
    }

    /// Puts `instruction` in the place of every instruction that the conversation came with.
    pub fn replace_instruction(&mut self, instruction: Message) {
        self.messages.retain(|message| !matches!(message, Message::InstructionMessage { .. }));
        self.messages.insert(0, instruction);
    }

    /// The number of messages before all that a summary may replace: the instruction and the first question.
    pub fn opening(&self) -> usize {
        let is_instruction = |message: &&Message| matches!(message, Message::InstructionMessage { .. });
        let instructions = self.messages.iter().take_while(is_instruction).count();
        let is_question = matches!(self.messages.get(instructions), Some(Message::UserMessage { .. }));
        instructions + usize::from(is_question)
    }

    /// Returns true if this many messages behind the opening can give way to a summary: no call may lose its answer.
    pub fn can_replace(&self, replaced: usize) -> bool {
        let end = self.opening().saturating_add(replaced);
        replaced > 0
            && end <= self.messages.len()
            && !matches!(self.messages.get(end), Some(Message::ToolMessage { .. }))
    }

    /// Puts `summary` in the place of this many messages behind the opening, which [`Self::can_replace`] allows.
    pub fn replace(&mut self, replaced: usize, summary: Message) {
        let opening = self.opening();
        let end = opening.saturating_add(replaced).min(self.messages.len());
        self.messages.splice(opening..end, [summary]);
    }
}
