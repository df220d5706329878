//! A gate: holds a server's answer back until the test opens it, so that no test needs to sleep.

use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// Closed until [`Gate::open`]; clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        let (is_open, changed) = &*self.0;
        *is_open.lock().unwrap() = true;
        changed.notify_all();
    }

    /// Waits until the gate is open; `false` when nobody opened it in time.
    pub fn pass(&self) -> bool {
        let (is_open, changed) = &*self.0;
        let (is_open, _) = changed.wait_timeout_while(is_open.lock().unwrap(), PATIENCE, |is_open| !*is_open).unwrap();
        *is_open
    }
}
