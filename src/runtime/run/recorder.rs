//! Facts to the log, events to the sink, checkpoints to the store; in that order, and each as durable as the next
//! thing needs it to be.
//!
//! - A fact is in the log before anything that follows from it is told or done.
//! - A tool's result is durable on arrival; everything is durable before tools start and before a Run stops.
//! - A step's checkpoint is remembered when the step ends and written by [`Recorder::settle`], while the next request
//!   to the model is under way, and at the latest before the next tools start.

use std::path::PathBuf;
use std::sync::Arc;

use crate::event::EventSink;
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
    /// Records to `run`, tells `sink`.
    pub fn new(run: RunStore, setting: Arc<RunSetting>, sink: Arc<dyn EventSink>) -> Self {
        Self { run, setting, sink, owed: None, newest: None }
    }

    /// Records what `input` was and what it led to.
    ///
    /// # Errors
    /// What cannot be stored; the Run must not go on then.
    pub fn record(&mut self, input: &Input, transition: &Transition, machine: &RunMachine) -> Result<(), StoreError> {
        if let Input::Fact(fact) = input {
            self.run.append(fact)?;
            if matches!(fact.body, FactBody::ToolReturned { .. }) {
                self.run.sync()?;
            }
        }
        self.keep(transition.save.as_ref(), machine)?;
        for event in &transition.events {
            #[cfg(feature = "fault-injection")]
            crate::store::mark("told", event.body.type_name());
            self.sink.emit(event, machine.messages());
        }
        Ok(())
    }

    /// Takes a checkpoint in. One that a Run stops with is durable before its event is told.
    ///
    /// # Errors
    /// What cannot be stored.
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

    /// Writes the checkpoint that is owed, if any. Since it was taken in, the log has grown at most by what precedes a
    /// request: other tools, a reservation.
    ///
    /// # Errors
    /// What cannot be stored.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if let Some(save) = self.owed.take() {
            self.newest = Some(self.run.write_checkpoint_mid(&save.head)?.path);
        }
        Ok(())
    }

    /// Waits until everything recorded is durable.
    ///
    /// # Errors
    /// What cannot be stored.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        self.run.sync()
    }

    /// The newest checkpoint's file, when there is one.
    pub fn newest(&self) -> Option<&PathBuf> {
        self.newest.as_ref()
    }
}
