//! Mends a restored history so that every call is answered directly behind it, and nothing else is.
//!
//! The original leaves calls open when `attemptCompletion` came with others, and torn files may miss messages; every
//! provider refuses such a conversation. What this machine writes needs no mending and is not changed.

use std::collections::HashSet;

use crate::content::{Content, ExpertPart, ResultPart};
use crate::message::Message;

/// The answer of calls that have none.
const NOT_RECORDED: &str = "no result was recorded for this call; its effect is unknown";

/// Mends `messages` in place. The calls of the very last message stay open: the turn goes on with them.
pub fn mend(messages: &mut Vec<Message>) {
    if is_sound(messages) {
        return;
    }
    let mut mended: Vec<Message> = Vec::with_capacity(messages.len());
    let mut rest = std::mem::take(messages).into_iter().peekable();
    while let Some(message) = rest.next() {
        let asked = calls_of(&message);
        if matches!(message, Message::ToolMessage { .. }) {
            // Answers are taken together with their calls below; these have none before them.
            continue;
        }
        mended.push(message);
        if asked.is_empty() || rest.peek().is_none() {
            continue;
        }
        let mut answers: Option<Message> = None;
        while let Some(Message::ToolMessage { .. }) = rest.peek() {
            if let Some(next) = rest.next() {
                answers = Some(merged(answers, next));
            }
        }
        mended.push(complete(answers, &asked));
    }
    *messages = mended;
}

/// Returns whether every call but those of the last message is answered directly behind it, and nothing else is. A history
/// is long, and nearly always sound.
fn is_sound(messages: &[Message]) -> bool {
    let mut rest = messages.iter().peekable();
    while let Some(message) = rest.next() {
        if matches!(message, Message::ToolMessage { .. }) {
            return false;
        }
        if message.call_ids().next().is_none() || rest.peek().is_none() {
            continue;
        }
        match rest.next() {
            Some(Message::ToolMessage { contents, .. }) if answers_exactly(contents, || message.call_ids()) => {}
            _ => return false,
        }
    }
    true
}

/// Returns whether these are answers to each of the calls that `asked` gives the ids of, one each.
fn answers_exactly<'a, I: Iterator<Item = &'a str>>(given: &[ResultPart], asked: impl Fn() -> I) -> bool {
    let mut wanted = asked();
    if let ([ResultPart::ToolResultPart { tool_call_id, .. }], Some(id), None) = (given, wanted.next(), wanted.next()) {
        return tool_call_id == id;
    }
    let ids = given.iter().map(|ResultPart::ToolResultPart { tool_call_id, .. }| tool_call_id.as_str());
    let unique: HashSet<&str> = ids.collect();
    unique.len() == given.len() && unique == asked().collect()
}

/// Ids and tool names of the calls in `message`.
fn calls_of(message: &Message) -> Vec<(String, String)> {
    let Message::ExpertMessage { contents, .. } = message else { return Vec::new() };
    contents
        .iter()
        .filter_map(|part| match part {
            ExpertPart::ToolCallPart { tool_call_id, tool_name, .. } => Some((tool_call_id.clone(), tool_name.clone())),
            _ => None,
        })
        .collect()
}

fn merged(first: Option<Message>, second: Message) -> Message {
    match (first, second) {
        (Some(Message::ToolMessage { id, contents: mut all, cache }), Message::ToolMessage { contents, .. }) => {
            all.extend(contents);
            Message::ToolMessage { id, contents: all, cache }
        }
        (_, second) => second,
    }
}

/// The answers of exactly the calls `asked`, in their order.
fn complete(answers: Option<Message>, asked: &[(String, String)]) -> Message {
    let (id, given, cache) = match answers {
        Some(Message::ToolMessage { id, contents, cache }) => (id, contents, cache),
        _ => (String::from("mended"), Vec::new(), false),
    };
    if answers_exactly(&given, || asked.iter().map(|(id, _)| id.as_str())) {
        return Message::ToolMessage { id, contents: given, cache };
    }
    let contents = asked
        .iter()
        .map(|(call_id, tool_name)| {
            let found = given.iter().find(|ResultPart::ToolResultPart { tool_call_id, .. }| tool_call_id == call_id);
            found.cloned().unwrap_or_else(|| ResultPart::ToolResultPart {
                id: format!("mended-{call_id}"),
                tool_call_id: call_id.clone(),
                tool_name: tool_name.clone(),
                contents: vec![Content::TextPart {
                    id: format!("mended-{call_id}-text"),
                    text: NOT_RECORDED.to_owned(),
                }],
                is_error: true,
            })
        })
        .collect();
    Message::ToolMessage { id, contents, cache }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(ids: &[&str]) -> Message {
        let contents = ids
            .iter()
            .map(|id| ExpertPart::ToolCallPart {
                id: format!("part-{id}"),
                tool_call_id: (*id).to_owned(),
                tool_name: "t".to_owned(),
                args: serde_json::json!({}),
            })
            .collect();
        Message::ExpertMessage { id: "e".to_owned(), contents, cache: false }
    }

    fn answers(ids: &[&str]) -> Message {
        let contents = ids
            .iter()
            .map(|id| ResultPart::ToolResultPart {
                id: format!("result-{id}"),
                tool_call_id: (*id).to_owned(),
                tool_name: "t".to_owned(),
                contents: vec![Content::text("ok")],
                is_error: false,
            })
            .collect();
        Message::ToolMessage { id: "t".to_owned(), contents, cache: false }
    }

    fn user() -> Message {
        Message::UserMessage { id: "u".to_owned(), contents: vec![Content::text("go on")], cache: false }
    }

    fn answered(message: &Message) -> Vec<&str> {
        let Message::ToolMessage { contents, .. } = message else { return Vec::new() };
        contents.iter().map(|ResultPart::ToolResultPart { tool_call_id, .. }| tool_call_id.as_str()).collect()
    }

    #[test]
    fn a_sound_history_is_left_alone() {
        let sound = vec![user(), asks(&["a", "b"]), answers(&["b", "a"]), user(), asks(&["c"])];
        let mut messages = sound.clone();
        mend(&mut messages);
        assert_eq!(messages, sound);
    }

    #[test]
    fn open_calls_are_answered_and_stray_answers_dropped() {
        let mut messages = vec![user(), answers(&["x"]), asks(&["a", "b"]), answers(&["b", "z"]), asks(&["c"]), user()];
        mend(&mut messages);
        let shape: Vec<Vec<&str>> = messages.iter().map(answered).collect();
        assert_eq!(shape, [vec![], vec![], vec!["a", "b"], vec![], vec!["c"], vec![]]);
    }
}
