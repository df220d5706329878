//! [`LoggedEvent`]: one event of a record, derived from facts or stored by the original. Readers of a record get it,
//! and print it or fold it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::checkpoint::Status;
use crate::event::{Detail, Event, EventBody};
use crate::id::{RunId, ToolCallId};
use crate::message::Message;
use crate::store::OriginalEvent;
use crate::usage::Usage;

/// The durations of calls in milliseconds: from the model's answer to the result. Calls with results from elsewhere
/// (delegates, people) are not among them.
pub type Durations = HashMap<ToolCallId, u64>;

/// One event of a record.
#[derive(Debug, Clone, Copy)]
pub struct LoggedEvent<'a> {
    pub(super) source: EventOrigin<'a>,
    pub(super) run: &'a RunId,
    pub(super) durations: &'a Arc<Durations>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum EventOrigin<'a> {
    /// It follows from facts.
    Derived(&'a Arc<Event>, &'a [Message]),
    /// The original stored it.
    Stored(&'a Arc<OriginalEvent>),
}

/// An event that is kept behind its visit, without the conversation that it came from.
#[derive(Debug, Clone)]
pub struct KeptEvent {
    source: KeptOrigin,
    run: RunId,
    durations: Arc<Durations>,
}

#[derive(Debug, Clone)]
enum KeptOrigin {
    Derived(Arc<Event>),
    Stored(Arc<OriginalEvent>),
}

impl KeptEvent {
    /// The event; of its messages, those of earlier events are only counted, whatever the detail.
    pub fn event(&self) -> LoggedEvent<'_> {
        let source = match &self.source {
            KeptOrigin::Derived(event) => EventOrigin::Derived(event, &[]),
            KeptOrigin::Stored(event) => EventOrigin::Stored(event),
        };
        LoggedEvent { source, run: &self.run, durations: &self.durations }
    }
}

impl<'a> LoggedEvent<'a> {
    /// The `type` of its JSON form.
    pub fn type_name(&self) -> &'a str {
        match self.source {
            EventOrigin::Derived(event, _) => event.body.type_name(),
            EventOrigin::Stored(event) => &event.kind,
        }
    }

    /// Milliseconds since the epoch.
    pub fn timestamp(&self) -> u64 {
        match self.source {
            EventOrigin::Derived(event, _) => event.timestamp,
            EventOrigin::Stored(event) => event.timestamp,
        }
    }

    /// The step that it belongs to.
    pub fn step_number(&self) -> u64 {
        match self.source {
            EventOrigin::Derived(event, _) => event.step_number.unwrap_or(0),
            EventOrigin::Stored(event) => event.step_number,
        }
    }

    /// The Run that it belongs to.
    pub fn run(&self) -> &'a RunId {
        self.run
    }

    /// The event to be kept behind its visit; copies nothing of its messages.
    pub fn keep(&self) -> KeptEvent {
        let source = match self.source {
            EventOrigin::Derived(event, _) => KeptOrigin::Derived(Arc::clone(event)),
            EventOrigin::Stored(event) => KeptOrigin::Stored(Arc::clone(event)),
        };
        KeptEvent { source, run: self.run.clone(), durations: Arc::clone(self.durations) }
    }

    /// The durations of its step's calls, as far as they are known by now.
    pub fn durations(&self) -> &'a Durations {
        self.durations
    }

    /// The usage of the step that ends with it, if one does.
    pub fn step_usage(&self) -> Option<Usage> {
        match self.source {
            EventOrigin::Derived(event, _) => event.body.step().map(|step| step.usage),
            EventOrigin::Stored(event) => serde_json::from_value(event.json.get("step")?.get("usage")?.clone()).ok(),
        }
    }

    /// Returns whether a step ends with it.
    pub fn ends_step(&self) -> bool {
        match self.source {
            EventOrigin::Derived(event, _) => event.body.step().is_some(),
            EventOrigin::Stored(event) => event.json.get("step").is_some_and(Value::is_object),
        }
    }

    /// The number of tool calls that the model asked for with it.
    pub fn tool_call_count(&self) -> usize {
        match self.source {
            EventOrigin::Derived(event, _) => match &event.body {
                EventBody::CallTools { tool_calls, .. } => tool_calls.len(),
                _ => 0,
            },
            EventOrigin::Stored(event) if event.kind == "callTools" => {
                event.json.get("toolCalls").and_then(Value::as_array).map_or(0, Vec::len)
            }
            EventOrigin::Stored(_) => 0,
        }
    }

    /// The status that its Run ends with, if this is its end.
    pub fn ends_run(&self) -> Option<Status> {
        match self.source {
            EventOrigin::Derived(event, _) => event.body.ending().map(|ending| ending.head.status),
            EventOrigin::Stored(event) => {
                let status = event.json.get("checkpoint")?.get("status")?;
                serde_json::from_value(status.clone()).ok().filter(|status: &Status| status.is_terminal())
            }
        }
    }

    /// Its JSON form, with the messages of checkpoints only counted: its cost does not grow with the history.
    ///
    /// # Errors
    /// As [`Event::to_json`].
    pub fn to_outline(&self) -> serde_json::Result<Map<String, Value>> {
        match self.source {
            EventOrigin::Derived(event, _) => object(serde_json::to_value(&**event)?),
            EventOrigin::Stored(event) => Ok(event.json.clone()),
        }
    }

    /// Its JSON form. One that the original stored is as it was stored.
    ///
    /// # Errors
    /// As [`Event::to_json`].
    pub fn to_json(&self, detail: Detail) -> serde_json::Result<Map<String, Value>> {
        match self.source {
            EventOrigin::Derived(event, history) => object(event.to_value(history, detail)?),
            EventOrigin::Stored(event) => Ok(event.json.clone()),
        }
    }
}

fn object(json: Value) -> serde_json::Result<Map<String, Value>> {
    serde_json::from_value(json)
}
