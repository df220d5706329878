//! [`NoticeBoard`]: what skills report of themselves, as events of the Run that uses them. Skills write to it; a Run
//! attaches itself and closes it.
//!
//! Skills start before their Run begins; what they report until then is kept. In a recorded job they draw no stamps
//! from the Run's clock, since the number of their reports varies; a replay emits only what every replay has in common.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access_count::{AccessCount, AccessTally};
use crate::event::EventBody;
use crate::fact::{Clock, Stamp};
use crate::runtime::run::events::EventEmitter;
use crate::runtime::tape::Tape;
use crate::skill::egress::NetworkAccess;
use crate::skill::mcp::{Notices, SkillNotice};

/// Most notices kept for a Run that is not there yet; a start lasts a minute.
const MAX_WAITING: usize = 10_000;

/// Keeps the stamps of one answer apart: an odd number, so that it reaches all seeds.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// The notices of an expert's skills, on their way to the Run's events.
#[derive(Clone, Default)]
pub struct NoticeBoard(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    publisher: Option<NoticePublisher>,
    waiting: VecDeque<(String, SkillNotice)>,
    /// Skills that are up, in the order in which they came.
    connected: Vec<String>,
    /// Connections that were judged, and that no fact carries yet.
    accesses: AccessTally,
}

/// The Run's emitter, once there is one.
struct NoticePublisher {
    emitter: EventEmitter,
    is_replay: bool,
    /// The skills are being started.
    is_starting: bool,
}

impl NoticeBoard {
    /// The function by which the skill `name` leaves its notices.
    pub fn for_skill(&self, name: &str) -> Notices {
        let (board, name) = (self.clone(), name.to_owned());
        Arc::new(move |notice| board.state().take(&name, notice))
    }

    /// Emits everything from now on, also while the skills start. A replay keeps what they report until [`Self::release`].
    pub fn attach(&self, emitter: &EventEmitter, tape: &Tape) {
        let mut emitter = emitter.clone();
        if !matches!(tape, Tape::Off) {
            // Drawn here in a recording and in its replay alike, so that both go on with the same stamps.
            emitter.clock = Arc::new(NoticeClock { base: emitter.clock.stamp(), given: AtomicU64::new(0) });
        }
        let is_replay = tape.is_replay();
        self.state().publisher = Some(NoticePublisher { emitter, is_replay, is_starting: true });
    }

    /// Ends the start of the skills. A replay emits what it kept, in the order of `order`: servers that start together are
    /// up in another order each time.
    pub fn release(&self, order: &[String]) {
        let mut state = self.state();
        let place = |name: &String| order.iter().position(|other| other == name);
        let mut waiting = std::mem::take(&mut state.waiting);
        waiting.make_contiguous().sort_by_key(|(name, _)| place(name));
        if state.publisher.as_ref().is_some_and(|publisher| publisher.is_replay) {
            state.connected.sort_by_key(place);
        }
        for (name, notice) in waiting {
            state.publish(&name, notice);
        }
        if let Some(publisher) = &mut state.publisher {
            publisher.is_starting = false;
        }
    }

    /// The warnings that wait for a Run, e.g. of a tool that is left out.
    pub fn warnings(&self) -> Vec<String> {
        let state = self.state();
        let warning = |(_, notice): &(String, SkillNotice)| match notice {
            SkillNotice::Warning { message } => Some(message.clone()),
            _ => None,
        };
        state.waiting.iter().filter_map(warning).collect()
    }

    /// Emits the end of all skills that did not report it themselves.
    pub fn conclude(&self) {
        let mut state = self.state();
        for name in &std::mem::take(&mut state.connected) {
            state.publish(name, SkillNotice::Disconnected);
        }
    }

    /// Takes the connections that were judged since this was called last.
    pub fn take_accesses(&self) -> Vec<AccessCount> {
        self.state().accesses.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, name: &str, notice: SkillNotice) {
        // Whatever happens to a skill in the middle of a replay happens at another time in the next.
        if self.publisher.as_ref().is_some_and(|publisher| publisher.is_replay && !publisher.is_starting) {
            return;
        }
        match &notice {
            SkillNotice::Connected { .. } => {
                self.connected.retain(|other| other != name);
                self.connected.push(name.to_owned());
            }
            SkillNotice::Disconnected => self.connected.retain(|other| other != name),
            _ => {}
        }
        match &self.publisher {
            Some(publisher) if !publisher.is_replay => self.publish(name, notice),
            _ if self.waiting.len() < MAX_WAITING => self.waiting.push_back((name.to_owned(), notice)),
            _ => {}
        }
    }

    /// Emits a notice, once there is a Run.
    fn publish(&mut self, name: &str, notice: SkillNotice) {
        let Some(publisher) = &self.publisher else { return };
        if publisher.is_replay && matches!(notice, SkillNotice::Stderr { .. } | SkillNotice::Access(_)) {
            return;
        }
        match notice {
            SkillNotice::Access(access) => {
                let access = counted(name, access);
                let at = publisher.emitter.emit(EventBody::of_access(&access));
                self.accesses.add(AccessCount { at, ..access });
            }
            notice => drop(publisher.emitter.emit(publisher.event(name.to_owned(), notice))),
        }
    }
}

/// A judgement as one that is counted. Its time is that of its event.
fn counted(name: &str, NetworkAccess { host, port, rule, refusal }: NetworkAccess) -> AccessCount {
    AccessCount { at: 0, skill_name: name.to_owned(), domain: host, port, rule, reason: refusal, count: 1 }
}

impl NoticePublisher {
    fn event(&self, skill_name: String, notice: SkillNotice) -> EventBody {
        match notice {
            SkillNotice::Starting { command, args } => EventBody::SkillStarting { skill_name, command, args },
            SkillNotice::Connected { server, timings } => {
                let ms = |duration: Duration| {
                    if self.is_replay { 0 } else { u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
                };
                let (spawn, handshake) = (ms(timings.spawn), ms(timings.handshake));
                let (connect, discovery) = (spawn.saturating_add(handshake), ms(timings.discovery));
                EventBody::SkillConnected {
                    skill_name,
                    server_info: server,
                    spawn_duration_ms: spawn,
                    handshake_duration_ms: handshake,
                    tool_discovery_duration_ms: discovery,
                    connect_duration_ms: connect,
                    total_duration_ms: connect.saturating_add(discovery),
                }
            }
            SkillNotice::Stderr { line } => EventBody::SkillStderr { skill_name, message: line },
            SkillNotice::Progress { tool, progress, total, message } => {
                EventBody::SkillProgress { skill_name, tool_name: tool, progress, total, message }
            }
            SkillNotice::Disconnected => EventBody::SkillDisconnected { skill_name },
            SkillNotice::Access(access) => EventBody::of_access(&counted(&skill_name, access)),
            SkillNotice::Warning { message } => EventBody::RuntimeWarning { message },
        }
    }
}

/// A clock that derives all its stamps from one of the Run's.
struct NoticeClock {
    base: Stamp,
    given: AtomicU64,
}

impl Clock for NoticeClock {
    fn stamp(&self) -> Stamp {
        let n = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        Stamp { at: self.base.at, seed: self.base.seed ^ n.wrapping_mul(STRIDE).rotate_left(32) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventSink};
    use crate::message::Message;
    use crate::skill::mcp::Timings;

    #[derive(Default)]
    struct Collector(Mutex<Vec<(String, u64)>>);

    impl EventSink for Collector {
        fn emit(&self, event: &Event, _history: &[Message]) {
            self.0.lock().unwrap().push((serde_json::to_string(&event.body).unwrap(), event.timestamp));
        }
    }

    /// Counts what was drawn from it.
    #[derive(Default)]
    struct Counter(AtomicU64);

    impl Clock for Counter {
        fn stamp(&self) -> Stamp {
            let at = self.0.fetch_add(1, Ordering::Relaxed);
            Stamp { at, seed: at }
        }
    }

    fn connected() -> SkillNotice {
        let timings = Timings {
            spawn: Duration::from_micros(1_900),
            handshake: Duration::from_micros(1_900),
            ..Timings::default()
        };
        SkillNotice::Connected { server: None, timings }
    }

    /// The events of two skills, `b` being up first, and of `c`, which is started by a call; and the stamps that they
    /// took.
    fn emitted(tape: &Tape) -> (Vec<String>, u64) {
        let (collector, clock) = (Arc::new(Collector::default()), Arc::new(Counter::default()));
        let emitter = EventEmitter {
            sink: Arc::clone(&collector) as Arc<dyn EventSink>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            job_id: "j".parse().unwrap(),
            run_id: "r".parse().unwrap(),
            expert: "e".parse().unwrap(),
        };
        let board = NoticeBoard::default();
        board.attach(&emitter, tape);
        let [a, b] = ["a", "b"].map(|name| board.for_skill(name));
        b(connected());
        a(SkillNotice::Stderr { line: "early".to_owned() });
        a(connected());
        board.release(&["a".to_owned(), "b".to_owned()]);
        a(SkillNotice::Stderr { line: "late".to_owned() });
        board.for_skill("c")(connected());
        b(SkillNotice::Disconnected);
        board.conclude();
        let events = collector.0.lock().unwrap().iter().map(|(event, _)| event.clone()).collect();
        (events, clock.0.load(Ordering::Relaxed))
    }

    fn event(kind: &str, skill: &str, milliseconds: Option<u64>) -> String {
        let durations = milliseconds.map_or_else(String::new, |ms| {
            let both = 2 * ms;
            format!(
                ",\"spawnDurationMs\":{ms},\"handshakeDurationMs\":{ms},\"toolDiscoveryDurationMs\":0,\
                 \"connectDurationMs\":{both},\"totalDurationMs\":{both}"
            )
        });
        format!("{{\"type\":\"{kind}\",\"skillName\":\"{skill}\"{durations}}}")
    }

    #[test]
    fn notices_are_emitted_as_they_came_once_a_run_is_attached() {
        let line = |text: &str| format!("{{\"type\":\"skillStderr\",\"skillName\":\"a\",\"message\":\"{text}\"}}");
        let (events, stamps) = emitted(&Tape::Off);
        let expected = [
            event("skillConnected", "b", Some(1)),
            line("early"),
            event("skillConnected", "a", Some(1)),
            line("late"),
            event("skillConnected", "c", Some(1)),
            event("skillDisconnected", "b", None),
            event("skillDisconnected", "a", None),
            event("skillDisconnected", "c", None),
        ];
        assert_eq!(events, expected);
        assert_eq!(stamps, 8);
    }

    #[test]
    fn a_replay_emits_what_every_replay_has_in_common_and_draws_one_stamp() {
        let (events, stamps) = emitted(&Tape::Replaying { answers: None, decisions: None, verifications: None });
        let expected = [
            event("skillConnected", "a", Some(0)),
            event("skillConnected", "b", Some(0)),
            event("skillDisconnected", "a", None),
            event("skillDisconnected", "b", None),
        ];
        assert_eq!(events, expected);
        assert_eq!(stamps, 1);
    }
}
