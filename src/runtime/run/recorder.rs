//! [`Recorder`]: writes what happens in one Run. Facts go to the log, then checkpoints to the store, then events to the
//! sink; each as durable as what follows needs it to be. The Run's loop calls it after every transition.
//!
//! - A fact is in the log before anything that follows from it is emitted or done.
//! - A tool's result is durable on arrival; everything is durable before tools start and before a Run stops.
//! - A step's checkpoint is remembered when the step ends and written by [`Recorder::settle`], while the next request
//!   to the model is under way, and at the latest before the next tools start.

use std::path::PathBuf;
use std::sync::Arc;

use crate::event::{Event, EventSink};
use crate::fact::FactBody;
use crate::machine::{Input, RunMachine, Save, Transition};
use crate::setting::RunSetting;
use crate::store::{RunStore, StoreError};

/// Records one Run.
pub struct Recorder {
    run: RunStore,
    setting: Arc<RunSetting>,
    sink: Arc<dyn EventSink>,
    /// The latest step's checkpoint, while it is not on disk.
    owed: Option<Save>,
    /// The newest checkpoint's file.
    newest: Option<PathBuf>,
}

impl Recorder {
    /// A recorder that writes to `run` and emits to `sink`.
    pub fn new(run: RunStore, setting: Arc<RunSetting>, sink: Arc<dyn EventSink>) -> Self {
        Self { run, setting, sink, owed: None, newest: None }
    }

    /// Records an input and what it led to. `before_events` is called once all is stored, before the events are emitted.
    ///
    /// # Errors
    /// A failure to store; the Run must not go on then.
    pub fn record(
        &mut self,
        input: &Input,
        transition: &Transition,
        machine: &RunMachine,
        before_events: impl FnOnce(&[Event]),
    ) -> Result<(), StoreError> {
        if let Input::Fact(fact) = input {
            self.run.append(fact)?;
            if matches!(fact.body, FactBody::ToolReturned { .. }) {
                // A tool's effect cannot be had again: its result must not be lost, also to a power failure.
                self.run.sync()?;
            }
        }
        self.keep(transition.save.as_ref(), machine)?;
        before_events(&transition.events);
        for event in &transition.events {
            #[cfg(feature = "fault-injection")]
            crate::store::mark("reported", event.body.type_name());
            self.sink.emit(event, machine.messages());
        }
        Ok(())
    }

    /// Accepts a checkpoint. One that a Run stops with is durable before its event is emitted: who sees the event may
    /// read the file. Others wait for [`Recorder::settle`], since a killed Run follows from its log without them.
    ///
    /// # Errors
    /// A failure to store.
    pub fn keep(&mut self, save: Option<&Save>, machine: &RunMachine) -> Result<(), StoreError> {
        let Some(save) = save else { return Ok(()) };
        self.settle()?;
        if save.head.status.is_terminal() {
            let entry =
                self.run.write_checkpoint_final(&save.head, save.messages_of(machine.messages()), &self.setting)?;
            self.newest = Some(entry.path);
        } else {
            self.owed = Some(save.clone());
        }
        Ok(())
    }

    /// Notes that the newest checkpoint is stored already.
    pub fn found(&mut self, path: PathBuf) {
        self.newest = Some(path);
    }

    /// Writes the owed checkpoint, if any. Since it was accepted, the log has grown at most by what precedes a request:
    /// other tools, a reservation.
    ///
    /// # Errors
    /// A failure to store.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(save) = self.owed.take() {
            self.newest = Some(self.run.write_checkpoint_mid(&save.head)?.path);
        }
        Ok(())
    }

    /// Waits until everything recorded is durable.
    ///
    /// # Errors
    /// A failure to store.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        self.run.sync()
    }

    /// The newest checkpoint's file, when there is one.
    pub fn newest(&self) -> Option<&PathBuf> {
        self.newest.as_ref()
    }
}
