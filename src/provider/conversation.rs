//! [`EncodedConversation`]: a conversation as far as requests had it, in the text of the provider's protocol.
//!
//! The owner of a Run's requests keeps it and hands it to [`Provider::generate_in`](crate::provider::Provider::generate_in),
//! so that a request costs what is new in it. What a message is in the protocol is left to its [`Encoder`].

use crate::generation::GenerateRequest;
use crate::message::Message;
use crate::provider::repair::Repairs;
use crate::provider::{EncodedRequest, Encoder, Protocol, thinking};

/// The encoded messages of one conversation. A new one has none, and is always right to use; the latest request's goes on
/// only while its messages, its tools and all but its limit and occasion stay as they were; other tools are
/// announced ([`EncodedConversation::tools_changed`]).
#[derive(Default)]
pub struct EncodedConversation {
    encoder: Option<Box<dyn Encoder>>,
    /// Messages that the encoder has, and the id of the last of them.
    read: usize,
    last: String,
    /// The number of refusals by then, which they are without.
    refused: usize,
    /// The encoder has tools of an earlier request.
    has_other_tools: bool,
}

impl EncodedConversation {
    /// Takes the tools of the next request anew. The messages stay as they are encoded.
    pub fn tools_changed(&mut self) {
        self.has_other_tools = true;
    }

    /// The request to send, without thinking of others than `origin` and without what the provider refused.
    pub(super) fn request(
        &mut self,
        protocol: &dyn Protocol,
        request: &GenerateRequest<'_>,
        origin: &str,
        repairs: &Repairs,
    ) -> EncodedRequest {
        if !self.is_begun_by(request.messages) || self.refused != repairs.count() {
            *self = Self { refused: repairs.count(), ..Self::default() };
        }
        let encoder = self.encoder.get_or_insert_with(|| protocol.encoder(request));
        if std::mem::take(&mut self.has_other_tools) {
            encoder.set_tools(request);
        }
        let new = request.messages.get(self.read..).unwrap_or_default();
        let own = thinking::without_foreign(new, origin);
        repairs.apply(&own).iter().for_each(|message| encoder.add(message));
        self.read = request.messages.len();
        if let Some(last) = new.last() {
            last.id().clone_into(&mut self.last);
        }
        encoder.request(request)
    }

    /// Returns false when other messages were encoded, so far as their number and the last one show.
    fn is_begun_by(&self, messages: &[Message]) -> bool {
        let last = self.read.checked_sub(1).map(|at| messages.get(at).map(Message::id));
        last.is_none_or(|id| id == Some(&self.last))
    }
}

#[cfg(test)]
mod tests;
