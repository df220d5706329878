//! [`Recorder`]: writes what happens in one Run. Facts go to the log, then checkpoints to the store, then events to the
//! sink; each as durable as what follows needs it to be. The Run's loop calls it after every transition.
//!
//! - A fact is in the log before anything that follows from it is emitted or done.
//! - The log is flushed twice in a step: with the answer, before its tools start, and with their results, on arrival.
//!   All is durable before a Run stops.
//! - A step's checkpoint is remembered when the step ends and written by [`Recorder::settle`], while the next request
//!   to the model is under way, and at the latest before the next tools start. It refers to the log, from which it can be
//!   made again: it is not synced.
//! - Where a recording answers every call, nothing has an effect that could be lost. Such a Run waits for the disk once for
//!   many steps, and writes their checkpoints then. Its beginning and its stop are as durable as any.

use std::path::PathBuf;
use std::sync::Arc;

use crate::event::{Event, EventSink};
use crate::fact::FactBody;
use crate::machine::{Action, Input, RunMachine, Save, Transition};
use crate::setting::RunSetting;
use crate::store::{Flush, LogPosition, RunStore, StoreError};

/// Steps of a Run without effects that wait for the disk together. Our own choice: the wait takes no notable part of them,
/// and what a power cut takes is replayed in the blink of an eye.
const STEPS_WITHOUT_EFFECTS: usize = 32;

/// Records one Run.
pub struct Recorder {
    run: RunStore,
    setting: Arc<RunSetting>,
    sink: Arc<dyn EventSink>,
    /// The checkpoints of the latest steps, while they are not written, and the points in the log that they follow from.
    owed: Vec<(Save, LogPosition)>,
    /// Most of them.
    most_owed: usize,
    /// The Run's beginning is durable.
    has_begun: bool,
    /// The newest checkpoint's file.
    newest: Option<PathBuf>,
    /// `run-setting.json` is to be replaced once the next fact, which has its digests, is durable.
    owes_setting: bool,
}

impl Recorder {
    /// A recorder that writes to `run` and emits to `sink`.
    pub fn new(run: RunStore, setting: Arc<RunSetting>, sink: Arc<dyn EventSink>) -> Self {
        let (owed, most_owed, has_begun) = (Vec::new(), 1, false);
        Self { run, setting, sink, owed, most_owed, has_begun, newest: None, owes_setting: false }
    }

    /// The same for a Run whose calls are all answered from a recording.
    #[must_use]
    pub fn without_effects(self, is_so: bool) -> Self {
        Self { most_owed: if is_so { STEPS_WITHOUT_EFFECTS } else { 1 }, ..self }
    }

    fn has_effects(&self) -> bool {
        self.most_owed == 1
    }

    /// Records an input and what it led to. `more_follows`: another tool's result is at hand, from which nothing has
    /// followed yet, so that this one can be flushed with it. `before_events` is called once all is stored, before the
    /// events are emitted.
    ///
    /// # Errors
    /// A failure to store; the Run must not go on then.
    pub async fn record(
        &mut self,
        input: &Input,
        transition: &Transition,
        machine: &RunMachine,
        more_follows: bool,
        before_events: impl FnOnce(&[Event]),
    ) -> Result<(), StoreError> {
        if let Input::Fact(fact) = input {
            self.run.append(fact)?;
            // A tool's effect cannot be had again: its result must not be lost, also to a power failure.
            let is_result = self.has_effects() && matches!(fact.body, FactBody::ToolReturned { .. });
            if is_result && !(more_follows && transition.events.is_empty()) {
                // While other calls go on, theirs are the timers and connections that would stand still.
                let others_go_on = matches!(transition.action, Action::Wait);
                self.perform(self.run.flush(), others_go_on).await?;
            }
            if std::mem::take(&mut self.owes_setting) {
                self.perform(self.run.flush(), false).await?;
                self.run.write_setting(&self.setting)?;
            }
        }
        if let Some(flush) = self.keep(transition.save.as_ref(), machine)? {
            self.perform(flush, false).await?;
            self.settle_all()?;
        }
        if let Input::Fact(fact) = input {
            self.sink.fact(&machine.head().run_id, fact);
        }
        before_events(&transition.events);
        for event in &transition.events {
            #[cfg(feature = "fault-injection")]
            crate::store::mark("reported", event.body.type_name());
            self.sink.emit(event, machine.messages());
        }
        Ok(())
    }

    /// Accepts a checkpoint. One that a Run stops with is to be durable before its event is emitted, by the returned
    /// flush: who sees the event may read the file. Others wait for [`Recorder::settle`], since they follow from the log.
    /// That of a Run which waits for its delegates does too: it is settled behind the returned flush of the log.
    ///
    /// # Errors
    /// A failure to store.
    pub fn keep(&mut self, save: Option<&Save>, machine: &RunMachine) -> Result<Option<Flush>, StoreError> {
        let Some(save) = save else { return Ok(None) };
        if save.head.status.is_at_rest() {
            self.settle_all()?;
            let messages = save.messages_of(machine.messages());
            let (flush, entry) = self.run.final_checkpoint(&save.head, messages, &self.setting)?;
            self.newest = Some(entry.path);
            return Ok(Some(flush));
        }
        self.settle()?;
        self.owed.push((save.clone(), self.run.position()));
        Ok(save.head.status.is_terminal().then(|| self.run.flush()))
    }

    /// Notes that the Run goes on with another setting than its file may have: the file must never be of digests that the
    /// log does not have.
    pub fn owe_setting(&mut self) {
        self.owes_setting = true;
    }

    /// Notes that the newest checkpoint is stored already.
    pub fn found(&mut self, path: PathBuf) {
        self.newest = Some(path);
    }

    /// Writes a checkpoint of the Run's past that is not stored.
    ///
    /// # Errors
    /// A failure to store.
    pub fn restore(&mut self, save: &Save, position: LogPosition) -> Result<(), StoreError> {
        self.newest = Some(self.run.write_checkpoint_by_log(&save.head, position)?.path);
        Ok(())
    }

    /// The number of facts in the Run's log.
    pub fn facts(&self) -> u64 {
        self.run.position().facts
    }

    /// Writes the owed checkpoints, once there are as many as may be.
    ///
    /// # Errors
    /// A failure to store.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if self.owed.len() < self.most_owed { Ok(()) } else { self.settle_all() }
    }

    /// Writes the owed checkpoints, if any.
    ///
    /// # Errors
    /// A failure to store.
    pub fn settle_all(&mut self) -> Result<(), StoreError> {
        let owed = std::mem::take(&mut self.owed);
        owed.into_iter().try_for_each(|(save, position)| self.restore(&save, position))
    }

    /// Waits until everything recorded is durable, as it has to be before calls are made.
    ///
    /// # Errors
    /// A failure to store.
    pub async fn flush_before_calls(&mut self) -> Result<(), StoreError> {
        let is_due = self.has_effects() || !self.has_begun || self.owed.len() >= self.most_owed;
        if is_due { self.flush().await } else { Ok(()) }
    }

    /// Waits until everything recorded is durable.
    ///
    /// # Errors
    /// A failure to store.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        self.settle_all()?;
        self.has_begun = true;
        self.perform(self.run.flush(), false).await
    }

    /// Waits for the disk: here, where nothing but this Run's next step would go on meanwhile, else in a thread of its own,
    /// so that other Runs and calls do. Flushes that wait at the same time are one for the disk: file systems write their journal for all of them.
    async fn perform(&self, flush: Flush, others_go_on: bool) -> Result<(), StoreError> {
        if self.run.is_alone() && !others_go_on {
            return flush.perform();
        }
        match tokio::task::spawn_blocking(move || flush.perform()).await {
            Ok(performed) => performed,
            Err(lost) => Err(self.run.lost_flush(lost.into())),
        }
    }

    /// The newest checkpoint's file, when there is one.
    pub fn newest(&self) -> Option<&PathBuf> {
        self.newest.as_ref()
    }
}
