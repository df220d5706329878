//! [`ROWS`]: the lines of the table, and what each of them must be.

use crate::scenario::Scenario::{
    self, Binary, Cassette, ContainedStarts, Delegates, Instructions, LargeConversation, LastPage, LingeringServer,
    Lists, LockedSkills, LongAnswer, LongCassette, LongJob, Megabyte, Memory, PacedAnswer, ResumeAndFork, Steps,
    SystemCalls, Tls, Version,
};

/// A line of the table, of one or more figures.
pub struct Row {
    pub name: &'static str,
    pub parts: &'static [Part],
}

/// One figure of a line.
pub struct Part {
    pub scenario: Scenario,
    pub figure: &'static str,
    pub must: Must,
}

/// The bound of a figure.
#[derive(Clone, Copy)]
pub enum Must {
    AtMost(f64),
    AtLeast(f64),
    /// The floor's figure, this many times.
    TimesFloor(f64),
    /// The floor's figure, and this much more.
    AboveFloor(f64),
    /// Shown, and held to nothing.
    Free,
}

const fn most(scenario: Scenario, figure: &'static str, bound: f64) -> Part {
    Part { scenario, figure, must: Must::AtMost(bound) }
}

const fn part(scenario: Scenario, figure: &'static str, must: Must) -> Part {
    Part { scenario, figure, must }
}

const fn row(name: &'static str, parts: &'static [Part]) -> Row {
    Row { name, parts }
}

pub const ROWS: &[Row] = &[
    row("`--version`, ms", &[part(Version, "wall_ms", Must::TimesFloor(1.5))]),
    row("start to first request, ms", &[most(Steps(10), "first_request_ms", 4.0)]),
    row(
        "start with 10 locked skills of 1 / 20 tools, further ms; step, further ms",
        &[
            most(LockedSkills(1), "start_extra_ms", 1.0),
            most(LockedSkills(20), "start_extra_ms", 1.0),
            most(LockedSkills(20), "step_extra_ms", 0.1),
        ],
    ),
    row(
        "step, 10 / 100 steps; p95, ms",
        &[most(Steps(10), "step_ms", 0.6), most(Steps(100), "step_ms", 0.6), most(Steps(100), "step_p95_ms", 1.2)],
    ),
    row(
        "step at 500 steps, first → last tenth, ms",
        &[most(Steps(500), "first_tenth_ms", 0.6), most(Steps(500), "last_tenth_ms", 0.9)],
    ),
    row("step at 1 MB of history, last tenth, ms", &[most(Megabyte, "last_tenth_ms", 2.6)]),
    row(
        "CPU, 100 / 500 / 10,000 steps, s",
        &[most(Steps(100), "cpu_s", 0.06), most(Steps(500), "cpu_s", 0.3), most(LongJob, "cpu_s", 30.0)],
    ),
    row(
        "instructions, 1 / 10 / 100 steps, M",
        &[
            most(Instructions(1), "instructions_m", 6.0),
            most(Instructions(10), "instructions_m", 12.0),
            most(Instructions(100), "instructions_m", 60.0),
        ],
    ),
    row("system calls; flushes a step", &[most(SystemCalls, "calls", 25.0), most(SystemCalls, "flushes", 2.0)]),
    row("wall, 500 steps, ms", &[most(Steps(500), "wall_ms", 450.0)]),
    row(
        "memory: private / resident, 10 steps; 20 MB conversation, MB",
        &[most(Memory, "private_mb", 1.8), most(Memory, "resident_mb", 12.0), most(LargeConversation, "peak_mb", 90.0)],
    ),
    row(
        "disk for 10,000 steps, MB; files; a checkpoint, bytes",
        &[
            most(LongJob, "stored_mb", 13.0),
            part(LongJob, "stored_files", Must::Free),
            most(LongJob, "checkpoint_bytes", 4096.0),
        ],
    ),
    row(
        "8 / 64 delegates, all first requests sent, ms",
        &[most(Delegates(8), "all_asked_ms", 6.0), most(Delegates(64), "all_asked_ms", 30.0)],
    ),
    row(
        "resume of a 10,000-step job; fork at step 9,000, ms; fork, KB before its first step",
        &[
            most(ResumeAndFork, "resume_ms", 50.0),
            most(ResumeAndFork, "fork_ms", 50.0),
            most(ResumeAndFork, "fork_kb", 16.4),
        ],
    ),
    row(
        "`log`, `resume latest`, `log --jobs` with 10,000 jobs, ms",
        &[most(Lists, "log_ms", 60.0), most(Lists, "resume_latest_ms", 60.0), most(Lists, "jobs_ms", 60.0)],
    ),
    row("`log` of a 10,000-step job, last page, ms", &[most(LastPage, "page_ms", 100.0)]),
    row(
        "cassette ÷ conversation, 100 / 500 / 10,000 steps",
        &[
            most(Cassette(100), "cassette_times_conversation", 2.0),
            most(Cassette(500), "cassette_times_conversation", 2.0),
            most(LongCassette, "cassette_times_conversation", 2.0),
        ],
    ),
    row(
        "replay, 100 / 500 / 10,000 steps, steps/s",
        &[
            part(Cassette(100), "replayed_a_second", Must::AtLeast(3000.0)),
            part(Cassette(500), "replayed_a_second", Must::AtLeast(3000.0)),
            part(LongCassette, "replayed_a_second", Must::AtLeast(3000.0)),
        ],
    ),
    row(
        "replay, 500 / 10,000 steps, MB of memory",
        &[most(Cassette(500), "replay_peak_mb", 30.0), most(LongCassette, "replay_peak_mb", 30.0)],
    ),
    row(
        "JSONL: bytes per streamed delta, paced; 2 MB of text, MB",
        &[part(PacedAnswer, "bytes_a_delta", Must::Free), most(LongAnswer, "output_mb", 4.0)],
    ),
    row(
        "exit after the last byte, 10 / 500 steps, ms",
        &[most(Steps(10), "exit_ms", 2.5), most(Steps(500), "exit_ms", 2.5)],
    ),
    row(
        "answer printed / exit, with a server that lingers for 300 ms, ms",
        &[most(LingeringServer, "printed_ms", 2.5), part(LingeringServer, "exit_ms", Must::Free)],
    ),
    row(
        "start of a contained command, further ms; MB of the runner's memory",
        &[most(ContainedStarts, "start_extra_ms", 5.0), most(ContainedStarts, "extra_mb", 1.0)],
    ),
    row("start to first request over TLS, ms", &[part(Tls, "first_request_ms", Must::AboveFloor(2.0))]),
    row("binary, MB", &[most(Binary, "size_mb", 16.0)]),
    row(
        "growth: step in the last tenth of 100 / 1,000 / 10,000 steps, ms",
        &[
            part(Steps(100), "last_tenth_ms", Must::Free),
            part(Steps(1000), "last_tenth_ms", Must::Free),
            part(LongJob, "last_tenth_ms", Must::Free),
        ],
    ),
    row(
        "growth: CPU of 100 / 1,000 / 10,000 steps, s",
        &[
            part(Steps(100), "cpu_s", Must::Free),
            part(Steps(1000), "cpu_s", Must::Free),
            part(LongJob, "cpu_s", Must::Free),
        ],
    ),
    row(
        "growth: disk for 100 / 1,000 / 10,000 steps, MB",
        &[
            part(Steps(100), "stored_mb", Must::Free),
            part(Steps(1000), "stored_mb", Must::Free),
            part(LongJob, "stored_mb", Must::Free),
        ],
    ),
];

impl Must {
    /// Returns whether `ours` breaks the bound. A bound by a floor that was not measured is kept.
    pub fn is_missed(self, ours: f64, floor: Option<f64>) -> bool {
        match self {
            Self::AtMost(bound) => ours > bound,
            Self::AtLeast(bound) => ours < bound,
            Self::TimesFloor(times) => floor.is_some_and(|floor| ours > floor * times),
            Self::AboveFloor(more) => floor.is_some_and(|floor| ours > floor + more),
            Self::Free => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_may_depend_on_the_floor() {
        assert!(Must::AtMost(1.0).is_missed(1.1, None) && !Must::AtMost(1.0).is_missed(1.0, None));
        assert!(Must::AtLeast(1.0).is_missed(0.9, None) && !Must::AtLeast(1.0).is_missed(1.0, None));
        assert!(Must::TimesFloor(1.5).is_missed(3.1, Some(2.0)) && !Must::TimesFloor(1.5).is_missed(3.0, Some(2.0)));
        assert!(Must::AboveFloor(2.0).is_missed(4.1, Some(2.0)) && !Must::AboveFloor(2.0).is_missed(4.0, Some(2.0)));
        assert!(!Must::TimesFloor(1.5).is_missed(3.1, None) && !Must::Free.is_missed(3.1, Some(1.0)));
    }
}
