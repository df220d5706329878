//! Checkpoints that name the state of the workspace: the arrow that leads to one is held until the driver has stored it.
//!
//! Part of the handlers of [`RunData`]. All that an arrow changes is changed when it is taken, so that a process which dies
//! meanwhile loses nothing but the name: its successor's machine proceeds without one.
//!
//! A name stands for the files as they are at that moment, or there is none: once something is called that may change them,
//! the state before is no longer theirs, and that of a Run before neither.

use std::mem::replace;

use crate::checkpoint::Status;
use crate::machine::data::RunData;
use crate::machine::run::Reaction;
use crate::machine::state::{HeldArrow, State};
use crate::machine::transition::Action;
use crate::snapshot::{SnapshotId, SnapshotMode};

impl RunData {
    /// Holds an arrow to a checkpoint that is to name the state of the workspace; leaves any other as it is.
    pub(super) fn hold(&self, reaction: Reaction) -> Reaction {
        let is_wanted = match self.parameters.snapshots {
            SnapshotMode::Off => false,
            SnapshotMode::Stop => matches!(reaction.state, State::Stopped(status) if status.is_at_rest()),
            SnapshotMode::Every => true,
        };
        if !reaction.save || !is_wanted {
            return reaction;
        }
        let Reaction { state, events, action, .. } = reaction;
        let held = HeldArrow { state, events, action };
        Reaction {
            state: State::TakingSnapshot(Box::new(held)),
            events: Vec::new(),
            save: false,
            action: Action::TakeSnapshot,
        }
    }

    /// Forgets the state of the workspace where an arrow leads to something that may change it.
    pub(super) fn forget_snapshot(&mut self, reaction: &Reaction) {
        if matches!(reaction.action, Action::CallTools { .. } | Action::VerifyAnswer) {
            self.head.snapshot = None;
        }
    }

    /// Goes where the held arrow leads. `snapshot`: the state of the workspace, if it was stored.
    pub(super) fn follow_held(&mut self, held: &mut HeldArrow, snapshot: Option<&SnapshotId>) -> Reaction {
        let empty =
            HeldArrow { state: State::Stopped(Status::Init), events: Vec::new(), action: Action::Stop(Status::Init) };
        let HeldArrow { state, mut events, action } = replace(held, empty);
        self.head.snapshot = snapshot.cloned();
        for event in &mut events {
            event.set_snapshot(snapshot);
        }
        Reaction { state, events, save: true, action }
    }
}
