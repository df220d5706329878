//! What skills say of themselves, as events of the Run that uses them.
//!
//! Skills start before their Run is there to be told of; what they say until then is kept. In a recorded session they
//! draw no stamps from the Run's clock, since nobody knows how much a server says; a replay tells only what every replay
//! has in common.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::EventBody;
use crate::fact::{Clock, Stamp};
use crate::runtime::narrator::Narrator;
use crate::runtime::session::Tape;
use crate::skill::mcp::{Notices, SkillNotice};

/// Most notices kept for a Run that is not there yet; a start lasts a minute.
const MAX_WAITING: usize = 10_000;

/// Keeps the stamps of one answer apart: an odd number, so that it reaches all seeds.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Takes the notices of an expert's skills.
#[derive(Clone, Default)]
pub struct NoticeBoard(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    teller: Option<Teller>,
    waiting: VecDeque<(String, SkillNotice)>,
    /// Skills that are up, in the order they came.
    connected: Vec<String>,
}

/// Who tells, and how much.
struct Teller {
    narrator: Narrator,
    is_replay: bool,
}

impl NoticeBoard {
    /// Where the skill `name` leaves its notices.
    pub fn of(&self, name: &str) -> Notices {
        let (board, name) = (self.clone(), name.to_owned());
        Arc::new(move |notice| board.state().take(&name, notice))
    }

    /// Tells what was kept, and everything from now on. A replay tells skills in the order of `order`.
    pub fn attach(&self, narrator: &Narrator, tape: &Tape, order: &[String]) {
        let mut state = self.state();
        let mut narrator = narrator.clone();
        if !matches!(tape, Tape::Off) {
            narrator.clock = Arc::new(NoticeClock { base: narrator.clock.stamp(), given: AtomicU64::new(0) });
        }
        let teller = Teller { narrator, is_replay: tape.is_replay() };
        if teller.is_replay {
            let place = |name: &String| order.iter().position(|other| other == name);
            state.waiting.make_contiguous().sort_by_key(|(name, _)| place(name));
        }
        for (name, notice) in std::mem::take(&mut state.waiting) {
            teller.tell(&name, notice, false);
        }
        state.teller = Some(teller);
    }

    /// Tells that all skills are gone that did not say so themselves.
    pub fn conclude(&self) {
        let mut state = self.state();
        let connected = std::mem::take(&mut state.connected);
        if let Some(teller) = &state.teller {
            for name in &connected {
                teller.tell(name, SkillNotice::Disconnected, false);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, name: &str, notice: SkillNotice) {
        match &notice {
            SkillNotice::Connected { .. } => {
                self.connected.retain(|other| other != name);
                self.connected.push(name.to_owned());
            }
            SkillNotice::Disconnected => {
                // Told when all end: a replay must not depend on when exactly each one did.
                if self.teller.as_ref().is_some_and(|teller| teller.is_replay) {
                    return;
                }
                self.connected.retain(|other| other != name);
            }
            _ => {}
        }
        match &self.teller {
            Some(teller) => teller.tell(name, notice, true),
            None if self.waiting.len() < MAX_WAITING => self.waiting.push_back((name.to_owned(), notice)),
            None => {}
        }
    }
}

impl Teller {
    fn tell(&self, name: &str, notice: SkillNotice, is_late: bool) {
        let is_chance = is_late || matches!(notice, SkillNotice::Stderr { .. });
        if self.is_replay && is_chance {
            return;
        }
        self.narrator.runtime(self.event(name.to_owned(), notice));
    }

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
            SkillNotice::Disconnected => EventBody::SkillDisconnected { skill_name },
            SkillNotice::Warning { message } => EventBody::RuntimeWarning { message },
        }
    }
}

/// Stamps of its own, from one of the Run's.
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
