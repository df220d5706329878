//! [`StreamedCalls`]: the calls of one stream, whose pieces are put together by number, id or order.
//!
//! Called by the decoder for each delta. Servers differ in which of number, id and name a piece has.

use serde_json::{Map, Value, json};

use crate::generation::{Delta, GenerationFailure};
use crate::provider::wire::chat::attached;
use crate::provider::wire::typed_event::at;

use super::malformed;

/// The index of the first call among the parts of an answer; reasoning and text are before it.
const FIRST_INDEX: u64 = 2;

/// Most calls in one answer; models make a handful, and each chunk is looked up among them.
const LIMIT: usize = 1024;

/// The calls so far, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct StreamedCalls(Vec<Call>);

/// A call, as far as it has arrived.
#[derive(Debug, Default)]
struct Call {
    /// The server's number for it, when it gave one.
    number: Option<u64>,
    id: String,
    name: String,
    /// The JSON of its arguments so far.
    arguments: String,
    /// Fields of the call that its server wants back.
    attached: Map<String, Value>,
}

/// A chunk's part of a call. Missing texts are empty.
struct Piece<'a> {
    number: Option<u64>,
    id: &'a str,
    name: &'a str,
    /// A text, or a value that is the whole.
    arguments: &'a Value,
}

impl StreamedCalls {
    /// Reads the pieces of calls in a delta; true when the server attached a field to one.
    pub(super) fn read(&mut self, delta: &Value, deltas: &mut Vec<Delta>) -> Result<bool, GenerationFailure> {
        let mut is_attached = false;
        match delta.get("tool_calls") {
            Some(Value::Array(calls)) => {
                for call in calls {
                    is_attached |= self.read_one(call, deltas)?;
                }
            }
            Some(call @ Value::Object(_)) => is_attached = self.read_one(call, deltas)?,
            _ => {
                // The form before tools, of one call alone.
                if let Some(function @ Value::Object(_)) = delta.get("function_call") {
                    self.read_one(&json!({"index": 0, "function": function}), deltas)?;
                }
            }
        }
        Ok(is_attached)
    }

    /// The attached fields of each call, by their places.
    pub(super) fn attached(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.0.iter().map(|call| &call.attached)
    }

    fn read_one(&mut self, chunk: &Value, deltas: &mut Vec<Delta>) -> Result<bool, GenerationFailure> {
        let piece = Piece::new(chunk);
        let Some(at) = self.position(&piece) else { return Ok(false) };
        let index = FIRST_INDEX.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
        let Some(call) = self.0.get_mut(at).filter(|_| at < LIMIT) else {
            return Err(malformed(&format!("more than {LIMIT} calls")));
        };
        if call.is_named_by(&piece) {
            deltas.push(Delta::ToolCall { index, id: call.id.clone(), name: call.name.clone() });
        }
        match piece.arguments {
            Value::Null => {}
            // Some servers send all of the arguments once more at the end.
            Value::String(json) if call.is_complete() && json.trim() == call.arguments.trim() => {}
            Value::String(json) if json.is_empty() => {}
            Value::String(json) => {
                call.arguments.push_str(json);
                deltas.push(Delta::ToolArguments { index, json: json.clone() });
            }
            // Some servers send the arguments as an object, not as its text.
            whole => {
                call.arguments = whole.to_string();
                deltas.push(Delta::ToolArgumentsWhole { index, json: whole.to_string() });
            }
        }
        Ok(attached::collect(&mut call.attached, chunk, &attached::OF_CALL))
    }

    /// The place of the call that a piece belongs to; a new call gets a new place. `None` for a piece of nothing.
    ///
    /// The number identifies it, unless the piece begins another call under the same number (some servers number all
    /// calls 0). Without a number the id does, and without either it is the last call, unless the piece begins another.
    fn position(&mut self, piece: &Piece<'_>) -> Option<usize> {
        let calls = &self.0;
        let goes_on = |at: &usize| !calls.get(*at).is_some_and(|call| call.is_ended_by(piece));
        let found = match piece.number {
            Some(_) => calls.iter().rposition(|call| call.number == piece.number).filter(goes_on),
            None if piece.id.is_empty() => calls.len().checked_sub(1).filter(goes_on),
            None => calls.iter().rposition(|call| call.id == piece.id),
        };
        if found.is_some() || piece.is_empty() {
            return found;
        }
        self.0.push(Call { number: piece.number, ..Call::default() });
        Some(self.0.len() - 1)
    }
}

impl<'a> Piece<'a> {
    fn new(chunk: &'a Value) -> Self {
        let text = |pointer: &str| at(chunk, pointer).and_then(Value::as_str).unwrap_or_default();
        let number = chunk.get("index");
        Self {
            number: number.and_then(|number| number.as_u64().or_else(|| number.as_str()?.parse().ok())),
            id: text("/id"),
            name: text("/function/name"),
            arguments: at(chunk, "/function/arguments").unwrap_or(&Value::Null),
        }
    }

    fn has_arguments(&self) -> bool {
        match self.arguments {
            Value::Null => false,
            Value::String(json) => !json.trim().is_empty(),
            _ => true,
        }
    }

    fn is_empty(&self) -> bool {
        self.id.is_empty() && self.name.is_empty() && !self.has_arguments()
    }
}

impl Call {
    /// Takes id and name from a piece; true when either changed. Some servers repeat both in every chunk: they are
    /// assigned, never appended.
    fn is_named_by(&mut self, piece: &Piece<'_>) -> bool {
        let is_new = self.id.is_empty() && self.name.is_empty();
        let takes_id = !piece.id.is_empty() && (self.id.is_empty() || !piece.name.is_empty()) && self.id != piece.id;
        let takes_name = !piece.name.is_empty() && self.name != piece.name;
        if takes_id {
            piece.id.clone_into(&mut self.id);
        }
        if takes_name {
            piece.name.clone_into(&mut self.name);
        }
        is_new || takes_id || takes_name
    }

    /// Returns true when `piece`, which has the same number or none, begins another call: it has another id, or, where
    /// ids are missing, another name, or arguments of its own behind complete ones.
    fn is_ended_by(&self, piece: &Piece<'_>) -> bool {
        if piece.name.is_empty() || self.name.is_empty() {
            return false;
        }
        if !piece.id.is_empty() && !self.id.is_empty() {
            return piece.id != self.id;
        }
        piece.name != self.name || (piece.has_arguments() && self.is_complete())
    }

    /// Returns true when the arguments are a whole JSON object.
    fn is_complete(&self) -> bool {
        self.arguments.trim_end().ends_with('}')
            && serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok()
    }
}
