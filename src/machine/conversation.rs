//! What is added to the conversation.

use crate::content::{Content, ResultPart};
use crate::machine::calls;
use crate::machine::run::RunMachine;
use crate::message::Message;
use crate::tool::ToolResult;

impl RunMachine {
    /// Puts this run's instruction in the place of all that the conversation came with.
    pub(super) fn replace_instruction(&mut self, text: &str) {
        let instruction = self.instruction_message(text);
        self.messages.retain(|message| !matches!(message, Message::InstructionMessage { .. }));
        self.messages.insert(0, instruction);
    }

    pub(super) fn instruction_message(&mut self, text: &str) -> Message {
        Message::InstructionMessage { id: self.ids.id(), contents: self.named(vec![Content::text(text)]), cache: true }
    }

    pub(super) fn add_input(&mut self, message: Message) {
        self.step.input_messages.push(message.clone());
        self.messages.push(message);
    }

    pub(super) fn add_new(&mut self, message: Message) {
        self.call_ids.extend(message.call_ids().map(str::to_owned));
        self.step.new_messages.push(message.clone());
        self.messages.push(message);
    }

    pub(super) fn named(&mut self, mut contents: Vec<Content>) -> Vec<Content> {
        calls::name_parts(&mut contents, &mut self.ids);
        contents
    }

    pub(super) fn user_message(&mut self, text: &str) -> Message {
        Message::UserMessage { id: self.ids.id(), contents: self.named(vec![Content::text(text)]), cache: false }
    }

    pub(super) fn tool_message(&mut self, results: &[ToolResult]) -> Message {
        let contents = results
            .iter()
            .map(|result| ResultPart::ToolResultPart {
                id: self.ids.id(),
                tool_call_id: result.id.clone(),
                tool_name: result.tool_name.clone(),
                contents: self.named(result.result.clone()),
                is_error: result.is_error,
            })
            .collect();
        Message::ToolMessage { id: self.ids.id(), contents, cache: false }
    }
}
