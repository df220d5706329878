//! [`Scenario`]: one piece of work that each client does from its start to its end, and the figures that come of it.
//!
//! The table's rows name a scenario and one of its figures. A scenario is measured once for all rows that need it.

mod cassette;
mod contained;
mod delegates;
mod ending;
pub mod fixtures;
mod history;
mod memory;
mod output;
mod start;
mod steps;
mod system_calls;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;

use crate::lab::{Client, Lab};

/// The figures of one run by their names, in milliseconds, seconds, bytes or counts, as the name shows.
pub type Figures = BTreeMap<&'static str, f64>;

/// A piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scenario {
    /// `--version`.
    Version,
    /// The binary's size.
    Binary,
    /// A job of this many steps, each of which reads a small file.
    Steps(usize),
    /// The same as long as the long job.
    LongJob,
    /// A job of a hundred steps that reads a megabyte on the way.
    Megabyte,
    /// The first request over TLS.
    Tls,
    /// Ten locked skills with this many tools each.
    LockedSkills(usize),
    /// The memory of a job of ten steps.
    Memory,
    /// The memory of a conversation of 20 megabytes.
    LargeConversation,
    /// This many delegates that are called at once.
    Delegates(usize),
    /// A skill's server that goes on after its end was asked for.
    LingeringServer,
    /// An answer of two megabytes, as events.
    LongAnswer,
    /// An answer that comes word by word, as events.
    PacedAnswer,
    /// A job of this many steps, recorded and replayed.
    Cassette(usize),
    /// The same as long as the long job.
    LongCassette,
    /// Going on with the long job.
    ResumeAndFork,
    /// The last page of the long job's log.
    LastPage,
    /// Lists among many jobs.
    Lists,
    /// Starts of commands, contained and not.
    ContainedStarts,
    /// System calls of a step.
    SystemCalls,
    /// The instructions of a job of this many steps.
    Instructions(usize),
}

/// How often a scenario is measured, unless the caller wants less.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Measured first, and left out.
    pub warm_up: usize,
    pub measured: usize,
}

impl Scenario {
    pub fn rounds(self) -> Rounds {
        let (warm_up, measured) = match self {
            Self::Version | Self::Tls | Self::LockedSkills(_) | Self::Steps(..=20) => (2, 21),
            Self::Steps(..=200) | Self::Delegates(_) => (1, 11),
            Self::Steps(..=1000)
            | Self::Megabyte
            | Self::LingeringServer
            | Self::ContainedStarts
            | Self::ResumeAndFork
            | Self::LastPage
            | Self::Lists => (1, 5),
            Self::Memory | Self::LongAnswer | Self::PacedAnswer | Self::Cassette(_) => (0, 3),
            Self::Binary
            | Self::Steps(_)
            | Self::LongJob
            | Self::LargeConversation
            | Self::LongCassette
            | Self::SystemCalls
            | Self::Instructions(_) => (0, 1),
        };
        Rounds { warm_up, measured }
    }

    /// Lets one client do the work once; none where the client has nothing of the kind.
    pub fn measure(self, lab: &Lab, client: &Client) -> Result<Option<Figures>> {
        match self {
            Self::Version => start::version(lab, client),
            Self::Binary => start::binary(lab, client),
            Self::Steps(count) => steps::plain(lab, client, count),
            Self::LongJob => steps::plain(lab, client, lab.sizes.steps),
            Self::Megabyte => steps::megabyte(lab, client),
            Self::Tls => start::tls(lab, client),
            Self::LockedSkills(tools) => start::locked_skills(lab, client, tools),
            Self::Memory => memory::small(lab, client),
            Self::LargeConversation => memory::large(lab, client),
            Self::Delegates(count) => delegates::all_ask(lab, client, count),
            Self::LingeringServer => ending::lingering(lab, client),
            Self::LongAnswer => output::long_answer(lab, client),
            Self::PacedAnswer => output::paced_answer(lab, client),
            Self::Cassette(steps) => cassette::recorded_and_replayed(lab, client, steps),
            Self::LongCassette => cassette::recorded_and_replayed(lab, client, lab.sizes.steps),
            Self::ResumeAndFork => history::resume_and_fork(lab, client),
            Self::LastPage => history::last_page(lab, client),
            Self::Lists => history::lists(lab, client),
            Self::ContainedStarts => contained::starts(lab, client),
            Self::SystemCalls => system_calls::of_a_step(lab, client),
            Self::Instructions(count) => steps::instructions(lab, client, count),
        }
    }
}

fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}
