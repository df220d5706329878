//! [`Health`]: why a connection ended. The readers of the stream and the keeper of the process record it; errors name the
//! process's end where there is one, since it explains the most.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How long to wait for a process to be reaped once its streams have ended.
const REAPING: Duration = Duration::from_millis(500);

/// The known facts about a connection's end.
#[derive(Debug)]
pub(super) struct Health {
    /// The reason that the reader of the stream found.
    loss: Mutex<Option<String>>,
    /// How the process ended.
    end: watch::Sender<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { loss: Mutex::default(), end: watch::Sender::new(None) }
    }
}

impl Health {
    /// Notes why nothing further can be read. The first reason stays.
    pub(super) fn lost(&self, why: String) {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Notes how the process ended.
    pub(super) fn ended(&self, how: String) {
        self.end.send_replace(Some(how));
    }

    /// The reason that the reader found, if it saw an end.
    pub(super) fn loss(&self) -> Option<String> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns true when the end is known already.
    pub(super) fn is_over(&self) -> bool {
        self.loss().is_some() || self.end.borrow().is_some()
    }

    /// The best reason for an end that was noticed. Of a process, waits a little for its status.
    pub(super) async fn reason(&self, has_process: bool) -> String {
        let loss = self.loss();
        let is_own_fault = loss.as_deref().is_some_and(|why| !why.starts_with("it closed"));
        if has_process && !is_own_fault {
            let mut end = self.end.subscribe();
            if let Ok(Ok(end)) = tokio::time::timeout(REAPING, end.wait_for(Option::is_some)).await
                && let Some(how) = end.as_ref()
            {
                return how.clone();
            }
        }
        loss.unwrap_or_else(|| "the connection was lost".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_process_end_explains_more_than_its_streams_unless_they_were_at_fault() {
        let health = Health::default();
        assert_eq!(health.reason(true).await, "the connection was lost");
        health.lost("it closed its standard output".to_owned());
        assert_eq!(health.reason(true).await, "it closed its standard output");
        health.ended("its process ended (exit status: 3)".to_owned());
        assert_eq!(health.reason(true).await, "its process ended (exit status: 3)");
        let health = Health::default();
        health.lost("its standard output is no MCP".to_owned());
        health.lost("it closed its standard output".to_owned());
        health.ended("its process ended (signal: 9)".to_owned());
        assert_eq!(health.reason(true).await, "its standard output is no MCP");
    }
}
