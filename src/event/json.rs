//! The JSON form of events, with as much of the history as a reader wants. Printing and reading back call it.

use serde_json::Value;

use super::Event;
use crate::message::Message;

/// The part of the history that an event's JSON repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Counts instead of messages, but for the event a Run ends with.
    New,
    /// The original's full shape everywhere.
    Full,
}

impl Event {
    /// The event as one line of JSON, without a line end.
    ///
    /// # Errors
    /// None that a value of this type can cause; the serializer's own error is passed on.
    pub fn to_json(&self, history: &[Message], detail: Detail) -> serde_json::Result<String> {
        if detail == Detail::New && self.body.ending().is_none() {
            return serde_json::to_string(self);
        }
        serde_json::to_string(&self.to_value(history, detail)?)
    }

    /// The event as a JSON object.
    ///
    /// # Errors
    /// As [`Event::to_json`].
    pub fn to_value(&self, history: &[Message], detail: Detail) -> serde_json::Result<Value> {
        let mut json = serde_json::to_value(self)?;
        if let Value::Object(map) = &mut json
            && (detail == Detail::Full || self.body.ending().is_some())
        {
            put_back(map.get_mut("messages"), history)?;
            for key in ["checkpoint", "initialCheckpoint", "nextCheckpoint"] {
                put_back(map.get_mut(key).and_then(|c| c.get_mut("messages")), history)?;
            }
        }
        Ok(json)
    }
}

/// Replaces a count of messages by that many messages of the history.
fn put_back(slot: Option<&mut Value>, history: &[Message]) -> serde_json::Result<()> {
    if let Some(slot) = slot
        && let Some(count) = slot.as_u64().and_then(|n| usize::try_from(n).ok())
    {
        *slot = serde_json::to_value(history.get(..count).unwrap_or(history))?;
    }
    Ok(())
}
