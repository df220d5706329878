//! [`RunEnds`]: checkpoints of Runs that were read, for the Runs that continue from them: so that reading a job costs no
//! more than its logs' length, however its Runs follow from each other. Whoever reads one Run after the other keeps one.

use std::collections::HashMap;

use crate::checkpoint::Checkpoint;
use crate::fact::ParentCheckpoint;
use crate::id::CheckpointId;

/// Most conversations that are kept for Runs that fork from an earlier step; further ones are read again.
const MOST_KEPT: usize = 8;

/// Checkpoints for Runs that are still to be read.
#[derive(Default)]
pub struct RunEnds {
    kept: HashMap<CheckpointId, Checkpoint>,
    /// The number of Runs to come that begin with a checkpoint.
    wanted: HashMap<CheckpointId, usize>,
}

impl RunEnds {
    /// Those that Runs which continue from `parents` are going to need.
    pub fn wanted_by<'a>(parents: impl Iterator<Item = &'a ParentCheckpoint>) -> Self {
        let mut wanted = HashMap::new();
        for parent in parents {
            *wanted.entry(parent.checkpoint_id.clone()).or_default() += 1;
        }
        Self { kept: HashMap::new(), wanted }
    }

    /// Returns whether this checkpoint is going to be needed, is not kept yet, and may be.
    pub fn wants(&self, id: &CheckpointId) -> bool {
        self.wanted.contains_key(id) && !self.kept.contains_key(id) && self.kept.len() < MOST_KEPT
    }

    /// Keeps a checkpoint.
    pub fn insert(&mut self, checkpoint: Checkpoint) {
        self.kept.insert(checkpoint.head.id.clone(), checkpoint);
    }

    /// The checkpoint for a Run that begins with it, if it is kept. With the last such Run it goes.
    pub fn take(&mut self, id: &CheckpointId) -> Option<Checkpoint> {
        match self.wanted.get_mut(id) {
            Some(runs) if *runs > 1 => {
                *runs -= 1;
                self.kept.get(id).cloned()
            }
            _ => {
                self.wanted.remove(id);
                self.kept.remove(id)
            }
        }
    }

    /// The number of checkpoints that are kept.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.kept.len()
    }
}
