//! Finds a model that makes the same call again and again, with the same answer: the budget `maxToolRepetitions`.

use crate::budget::Reached;
use crate::content::{Content, ExpertPart, ResultPart};
use crate::message::Message;

/// Returns the limit, if the turn at the end of `messages` repeats a call that the turns before it made.
///
/// Only turns in a row count, and within them each equal call: a call that is absent from one turn is progress, however
/// often it was made before. Equal means the same tool, arguments *and* answer, since polling something that changes is
/// legitimate work. A message of the user between two turns ends the row as well: it is a new task.
pub fn reached(messages: &[Message], limit: u64) -> Option<Reached> {
    let Some((Message::ToolMessage { contents: results, .. }, before)) = messages.split_last() else {
        return None;
    };
    let latest = answered(before, results)?;
    let turns_backwards = || {
        let mut rest = messages;
        std::iter::from_fn(move || {
            let (Message::ToolMessage { contents, .. }, before) = rest.split_last()? else { return None };
            let turn = answered(before, contents)?;
            rest = before.get(..before.len().saturating_sub(1))?;
            Some(turn)
        })
    };
    latest.iter().find_map(|one| {
        let equal = |turn: &Vec<AnsweredCall<'_>>| turn.iter().filter(|other| other.equals(one)).count();
        let mut times: u64 = 0;
        for found in turns_backwards().map(|turn| equal(&turn)).take_while(|found| *found > 0) {
            times = times.saturating_add(u64::try_from(found).unwrap_or(u64::MAX));
            if times >= limit {
                return Some(Reached::ToolRepetitions { limit, tool_name: one.tool_name.to_owned() });
            }
        }
        None
    })
}

/// A call with its answer.
struct AnsweredCall<'a> {
    tool_name: &'a str,
    args: &'a serde_json::Value,
    contents: &'a [Content],
    is_error: bool,
}

impl AnsweredCall<'_> {
    /// Returns true if all is the same but the ids.
    fn equals(&self, other: &Self) -> bool {
        let without_ids = |contents: &[Content]| {
            let mut contents = contents.to_vec();
            for part in &mut contents {
                part.id_mut().clear();
            }
            contents
        };
        // The contents may be large: they are copied only when all else is equal.
        self.tool_name == other.tool_name
            && self.args == other.args
            && self.is_error == other.is_error
            && self.contents.len() == other.contents.len()
            && without_ids(self.contents) == without_ids(other.contents)
    }
}

/// The calls of the message before these results, with them.
fn answered<'a>(before: &'a [Message], results: &'a [ResultPart]) -> Option<Vec<AnsweredCall<'a>>> {
    let Message::ExpertMessage { contents, .. } = before.last()? else { return None };
    let arguments = |id: &str| {
        contents.iter().find_map(|part| match part {
            ExpertPart::ToolCallPart { tool_call_id, args, .. } if tool_call_id == id => Some(args),
            _ => None,
        })
    };
    results
        .iter()
        .map(|ResultPart::ToolResultPart { tool_call_id, tool_name, contents, is_error, .. }| {
            Some(AnsweredCall { tool_name, args: arguments(tool_call_id)?, contents, is_error: *is_error })
        })
        .collect()
}
