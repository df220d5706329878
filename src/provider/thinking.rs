//! The origin of thinking: it goes back only to the model that made it.
//!
//! Signatures and encrypted reasoning are bound to a model of a provider; any other refuses the whole request for them,
//! and has no use for another's thoughts. `generate` marks the thinking of an answer, and leaves out of a request what
//! others made. Encoders still check the protocol, for thinking of versions that marked none.

use std::borrow::Cow;

use crate::content::{ExpertPart, Thinking};
use crate::generation::{GeneratedPart, Generation};
use crate::message::Message;

/// Marks the thinking in an answer of `origin`.
pub(super) fn marked(mut generation: Generation, origin: &str) -> Generation {
    for part in &mut generation.parts {
        if let GeneratedPart::Thinking { thinking } = part {
            thinking.made_by = Some(origin.to_owned());
        }
    }
    generation
}

/// `messages` without the thinking that others than `origin` made. A copy only where there is any.
pub(super) fn without_foreign<'a>(messages: &'a [Message], origin: &str) -> Cow<'a, [Message]> {
    let is_foreign = |thinking: &Thinking| thinking.made_by.as_deref().is_some_and(|maker| maker != origin);
    let is_foreign_part = |part: &ExpertPart| match part {
        ExpertPart::ThinkingPart { thinking, .. } => is_foreign(thinking),
        _ => false,
    };
    let has_foreign = |message: &Message| match message {
        Message::ExpertMessage { contents, .. } => contents.iter().any(is_foreign_part),
        _ => false,
    };
    if !messages.iter().any(has_foreign) {
        return Cow::Borrowed(messages);
    }
    let mut kept = messages.to_vec();
    for message in &mut kept {
        if let Message::ExpertMessage { contents, .. } = message {
            contents.retain(|part| !is_foreign_part(part));
        }
    }
    // An answer of nothing but thinking is no message without it.
    kept.retain(|message| !matches!(message, Message::ExpertMessage { contents, .. } if contents.is_empty()));
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;
    use crate::generation::FinishReason;

    fn thought(made_by: Option<&str>) -> ExpertPart {
        let thinking = Thinking { made_by: made_by.map(str::to_owned), ..Thinking::default() };
        ExpertPart::ThinkingPart { id: "p".to_owned(), thinking }
    }

    fn expert(contents: Vec<ExpertPart>) -> Message {
        Message::ExpertMessage { id: "e".to_owned(), contents, cache: false }
    }

    #[test]
    fn only_thinking_of_another_model_is_left_out() {
        let text = || ExpertPart::TextPart { id: "t".to_owned(), text: "Owls.".to_owned() };
        let user = Message::UserMessage { id: "u".to_owned(), contents: vec![Content::text("q")], cache: false };
        let messages = [
            user.clone(),
            expert(vec![thought(Some("a/one")), text()]),
            expert(vec![thought(Some("a/two")), text()]),
            expert(vec![thought(None), text()]),
            expert(vec![thought(Some("a/two"))]),
        ];
        let expected = [
            user,
            expert(vec![thought(Some("a/one")), text()]),
            expert(vec![text()]),
            expert(vec![thought(None), text()]),
        ];
        assert_eq!(without_foreign(&messages, "a/one"), expected.as_slice());
        assert!(matches!(without_foreign(&expected, "a/one"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_answers_thinking_is_marked() {
        let parts = vec![GeneratedPart::Thinking { thinking: Thinking::default() }];
        let generation = Generation { parts, finish: FinishReason::Stop, usage: None, context_tokens: None };
        let thinking = Thinking { made_by: Some("a/one".to_owned()), ..Thinking::default() };
        assert_eq!(marked(generation, "a/one").parts, [GeneratedPart::Thinking { thinking }]);
    }
}
