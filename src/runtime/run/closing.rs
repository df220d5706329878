//! [`OpenSkills`]: the skills of a Run that has stopped, on their way to their ends. A Run closes its own, unless it ends
//! its job: then the job does, once all is on record.

use std::time::Duration;

use tokio::time::timeout;

use crate::event::EventBody;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::tools::close;
use crate::runtime::tools::notices::NoticeBoard;
use crate::skill::SkillSet;

/// The time that skills may take to end after a Run. Our own choice: a connection gets 2 s to close, a server 2 s to
/// exit and 2 s after SIGTERM, and the Run's result is stored by then.
const CLOSING: Duration = Duration::from_secs(8);

/// Skills that are to be closed. Their servers are killed when this is dropped instead.
pub struct OpenSkills {
    skills: SkillSet,
    emitter: EventEmitter,
    notices: NoticeBoard,
}

impl OpenSkills {
    /// The skills of the Run of `emitter`, which report to `notices`.
    pub fn new(skills: SkillSet, emitter: EventEmitter, notices: NoticeBoard) -> Self {
        Self { skills, emitter, notices }
    }

    /// Closes them; those that do not end in time are left behind, with a warning.
    pub async fn close(self) {
        if timeout(CLOSING, close(&self.skills)).await.is_err() {
            let message = format!("some skills did not end within {} s and were left behind", CLOSING.as_secs());
            self.emitter.emit(EventBody::RuntimeWarning { message });
        }
        self.notices.conclude();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use tokio::time::Instant;

    use super::*;
    use crate::event::Event;
    use crate::message::Message;
    use crate::runtime::clock::SystemClock;
    use crate::skill::NameClaim;
    use crate::skill::testing::Deaf;

    #[tokio::test(start_paused = true)]
    async fn a_skill_that_does_not_close_is_left_behind_with_a_warning() {
        let events: Arc<Mutex<Vec<EventBody>>> = Arc::default();
        let sink = Arc::clone(&events);
        let emitter = EventEmitter {
            sink: Arc::new(move |event: &Event, _: &[Message]| {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(event.body.clone());
            }),
            clock: Arc::new(SystemClock),
            job_id: "j".parse().unwrap(),
            run_id: "r".parse().unwrap(),
            expert: "owl".parse().unwrap(),
        };
        let mut skills = SkillSet::default();
        skills.add(Arc::new(Deaf), NameClaim::Server);
        let began = Instant::now();
        OpenSkills::new(skills, emitter, NoticeBoard::default()).close().await;
        assert_eq!(began.elapsed(), CLOSING);
        let events = events.lock().unwrap();
        let [EventBody::RuntimeWarning { message }] = events.as_slice() else { panic!("{events:?}") };
        assert!(message.contains("left behind"), "{message}");
    }
}
