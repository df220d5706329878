//! The change to another model when one has failed for good: a Run's fallbacks.
//!
//! Only a whole answer is another model's to give. A turn whose calls have begun is past the request, and an answer of
//! which a part is in the conversation already is gone on with by the model that began it.

use crate::content::ExpertPart;
use crate::event::EventBody;
use crate::fallback::{ChainModel, FailedModel, FallenBack};
use crate::generation::{FailureKind, GenerationFailure};
use crate::machine::data::RunData;
use crate::machine::failed::CallUsage;
use crate::message::Message;
use crate::model_name::ModelName;

impl RunData {
    /// Changes to the next model, where there is one and the failure is one that another model may not have.
    pub(super) fn fall_back(&mut self, failure: &GenerationFailure, used: CallUsage) -> Option<EventBody> {
        let is_too_small = failure.kind == FailureKind::ContextOverflow && self.is_untried;
        if !(failure.is_of_the_provider() || is_too_small) || self.has_begun_answer() {
            return None;
        }
        let at = self.model_in_use();
        let from_model = self.parameters.models.get(at)?.model.clone();
        let next = self.parameters.models.get(at.saturating_add(1))?.clone();
        let mut failed = self.head.fallback.take().map(|fallback| fallback.failed).unwrap_or_default();
        failed.push(FailedModel { model: from_model.clone(), error: failure.message.clone() });
        let to_model = next.model.clone();
        self.head.fallback = Some(FallenBack { model: to_model.clone(), failed });
        self.head.retry_count = 0;
        self.is_untried = true;
        self.adopt(&next);
        self.measured = None;
        self.change_window();
        let reason = serde_json::json!({ "error": failure.kind.name(), "message": failure.message }).to_string();
        let CallUsage { usage, spend } = used;
        Some(EventBody::FallBack { from_model, to_model, reason, usage, spend })
    }

    /// Goes back to the first model, as whoever resumes a Run wants it tried again; or `stays` with a fallback that is
    /// one still: behind its delegates, and to end an answer that it began. To be called once the Run's parameters are new,
    /// and before their window is looked at.
    pub(super) fn settle_model(&mut self, stays: bool) {
        self.is_untried = false;
        let Some(fallback) = self.head.fallback.take() else { return };
        match self.chain_model(&fallback.model).filter(|_| stays).cloned() {
            Some(model) => {
                self.head.fallback = Some(fallback);
                self.adopt(&model);
            }
            // Of the other model's tokens.
            None => self.measured = None,
        }
    }

    /// A failure's message with those of the models before the present one.
    pub(super) fn with_earlier_failures(&self, message: String) -> String {
        match &self.head.fallback {
            Some(fallback) => fallback.with_earlier(&message),
            None => message,
        }
    }

    fn adopt(&mut self, model: &ChainModel) {
        self.parameters.context_window = model.context_window;
        self.parameters.price = model.price;
    }

    fn chain_model(&self, name: &ModelName) -> Option<&ChainModel> {
        // The first is no fallback.
        self.parameters.models.iter().skip(1).find(|model| model.model == *name)
    }

    /// The place of the present model in the chain.
    fn model_in_use(&self) -> usize {
        let Some(fallback) = &self.head.fallback else { return 0 };
        self.parameters.models.iter().position(|model| model.model == fallback.model).unwrap_or(0)
    }

    /// Returns true if a part of the answer is in the conversation: cut off at the output limit, or paused.
    pub(super) fn has_begun_answer(&self) -> bool {
        let is_paused = |message: &Message| match message {
            Message::ExpertMessage { contents, .. } => {
                !contents.iter().any(|part| matches!(part, ExpertPart::ToolCallPart { .. }))
            }
            _ => false,
        };
        self.head.cut_answer.is_some() || self.conversation.messages().last().is_some_and(is_paused)
    }
}
