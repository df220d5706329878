//! [`Board`]: what a worker shows of its jobs on standard error. On a terminal a line for each that has ended stays, above the
//! numbers so far and those at work; elsewhere each begin and end is a plain line.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use perstack::expert::ExpertKey;

use super::turn::TurnEnd;
use crate::cli::render::{LiveLines, MARGIN, Paint, Stderr, duration, shortened, visible};
use crate::cli::{Exit, Process};

/// The pause between two drawings: the numbers move by seconds.
pub const TICK: Duration = Duration::from_secs(1);

/// The time for which a job that found no place counts as one that waits: it is offered again within half a second.
const WAITING: Duration = Duration::from_secs(2);

/// From here on times are in minutes too.
const MINUTE: Duration = Duration::from_mins(1);

/// Most characters of a reason.
const MAX_REASON: usize = 300;

/// A worker's jobs, and the place that they are shown at.
pub struct Board {
    began: Instant,
    paint: Paint,
    state: Mutex<BoardState>,
}

struct BoardState {
    view: BoardView,
    /// Absent where lines are not drawn anew.
    live: Option<LiveLines>,
}

/// The jobs of a worker at a moment.
#[derive(Default)]
struct BoardView {
    places: usize,
    /// The number of the last job that has begun.
    begun: u64,
    /// In the order of their begins.
    at_work: Vec<JobAtWork>,
    counts: JobCounts,
    /// The time of the last job that found no place.
    had_no_place: Option<Duration>,
    is_ending: bool,
}

/// A job at work, as it is shown. Dropped, it is no longer.
pub struct ShownJob<'a> {
    board: &'a Board,
    number: u64,
    key: String,
    since: Duration,
}

/// A job that a process works on.
struct JobAtWork {
    number: u64,
    key: String,
    expert: String,
    since: Duration,
}

/// The turns that have come to an end.
#[derive(Default)]
struct JobCounts {
    completed: u64,
    waiting: u64,
    stopped: u64,
    failed: u64,
    given_back: u64,
}

impl Board {
    /// Of a worker with so many places.
    pub fn new(process: &Process, places: usize) -> Self {
        // Log lines would go between the lines that are drawn.
        let draws = process.log.is_none() && io::stderr().is_terminal() && process.variable("TERM") != Some("dumb");
        let view = BoardView { places, ..BoardView::default() };
        let live = draws.then(|| LiveLines::new(Stderr));
        Self { began: Instant::now(), paint: Paint::of_stderr(process), state: Mutex::new(BoardState { view, live }) }
    }

    /// Writes a line.
    pub fn report(&self, line: &str) {
        self.write(&mut self.state(), &visible(line));
    }

    /// A job begins. It is at work until the end of it is shown, or nobody waits for one any more.
    pub fn begins(&self, key: &str, expert: &ExpertKey) -> ShownJob<'_> {
        let mut state = self.state();
        let (key, expert) = (visible(key), visible(expert.as_str()));
        let line = format!("{key}: {expert} begins");
        let since = self.began.elapsed();
        state.view.begun += 1;
        let number = state.view.begun;
        state.view.at_work.push(JobAtWork { number, key: key.clone(), expert, since });
        // A terminal has it among those at work.
        let line = if state.live.is_some() { "" } else { &line };
        self.write(&mut state, line);
        ShownJob { board: self, number, key, since }
    }

    /// A job found no place.
    pub fn has_no_place(&self) {
        self.state().view.had_no_place = Some(self.began.elapsed());
    }

    /// The worker ends.
    pub fn is_ending(&self) {
        let mut state = self.state();
        state.view.is_ending = true;
        self.write(&mut state, "ending: jobs that run are stopped, and go on at another worker");
    }

    /// Draws what has moved with time.
    pub fn tick(&self) {
        let mut state = self.state();
        if state.live.is_some() {
            self.write(&mut state, "");
        }
    }

    /// Takes away what is drawn, and writes the numbers of the end.
    pub fn close(&self) {
        let mut state = self.state();
        if let Some(live) = &mut state.live {
            live.clear();
        }
        state.live = None;
        let ended = state.view.counts.parts().join(", ");
        if !ended.is_empty() {
            self.write(&mut state, &format!("ended: {ended}"));
        }
    }

    fn state(&self) -> MutexGuard<'_, BoardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, state: &mut BoardState, line: &str) {
        let BoardState { view, live } = state;
        let text = if line.is_empty() { String::new() } else { format!("{line}\n") };
        match live {
            Some(terminal) => {
                let lines = view.lines(self.began.elapsed(), terminal.size());
                terminal.draw(&text, &lines);
            }
            // With stderr closed there is no place left to report to.
            None => drop(io::stderr().lock().write_all(text.as_bytes())),
        }
    }
}

impl ShownJob<'_> {
    /// Its turn has ended.
    pub fn ended(self, end: &TurnEnd) {
        let exit = Exit::of_code(end.exit);
        let is_well = matches!(exit, Some(Exit::Completed | Exit::Interactive));
        let reason = end.messages.lines().find_map(|line| line.strip_prefix("error: ")).filter(|_| !is_well);
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        let what = format!("{}{reason}", exit.map_or("", Exit::means));
        self.leaves(&what, is_well, |counts| counts.of_exit(exit));
    }

    /// It goes back to the engine, which offers it again.
    pub fn given_back(self, why: Option<&str>) {
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        self.leaves(&format!("given back{why}"), true, |counts| &mut counts.given_back);
    }

    fn leaves(self, what: &str, is_well: bool, count: impl FnOnce(&mut JobCounts) -> &mut u64) {
        let Board { began, paint, .. } = self.board;
        let mut state = self.board.state();
        *count(&mut state.view.counts) += 1;
        state.view.take(self.number);
        let what = visible(what);
        let line = if let Some(terminal) = &state.live {
            let took = format!(" ({})", duration(millis(began.elapsed().saturating_sub(self.since))));
            let columns = terminal.size().0.saturating_sub(MARGIN + took.len());
            let line = shortened(&format!("{}: {what}", self.key), columns.max(1));
            format!("{}{}", if is_well { line } else { paint.red(&line) }, paint.dim(&took))
        } else {
            format!("{}: {}", self.key, shortened(&what, MAX_REASON))
        };
        self.board.write(&mut state, &line);
    }
}

impl Drop for ShownJob<'_> {
    fn drop(&mut self) {
        let mut state = self.board.state();
        if state.view.take(self.number) {
            self.board.write(&mut state, "");
        }
    }
}

impl BoardView {
    /// Takes a job out of those at work. Returns whether it was there.
    fn take(&mut self, number: u64) -> bool {
        let count = self.at_work.len();
        self.at_work.retain(|job| job.number != number);
        self.at_work.len() < count
    }

    /// The lines for a terminal of so many columns and rows: the numbers, then the jobs at work, as many as there is room for.
    fn lines(&self, now: Duration, (columns, rows): (usize, usize)) -> Vec<String> {
        let columns = columns.saturating_sub(MARGIN).max(1);
        let mut lines = vec![self.numbers(now)];
        // The text above is to be seen too.
        let room = (rows / 2).max(1);
        let shown = if self.at_work.len() > room { room - 1 } else { self.at_work.len() };
        lines.extend(self.at_work.iter().take(shown).map(|job| {
            let took = match now.saturating_sub(job.since) {
                // They move by seconds.
                took if took < MINUTE => format!("{} s", took.as_secs()),
                took => duration(millis(took)),
            };
            format!("  {}  {}  {took}", job.key, job.expert)
        }));
        let more = self.at_work.len() - shown;
        lines.extend((more > 0).then(|| format!("  and {more} more")));
        lines.iter().map(|line| shortened(line, columns)).collect()
    }

    fn numbers(&self, now: Duration) -> String {
        let others_wait = self.had_no_place.is_some_and(|at| now.saturating_sub(at) < WAITING);
        let first = match (self.at_work.len(), self.is_ending) {
            (0, true) => "ending".to_owned(),
            (count, true) => format!("ending, {count} at work"),
            (0, false) => "waiting for jobs".to_owned(),
            (count, false) => format!("{count} of {} at work", self.places),
        };
        let others = (others_wait && !self.is_ending).then(|| "others wait for a place".to_owned());
        [first].into_iter().chain(others).chain(self.counts.parts()).collect::<Vec<_>>().join(", ")
    }
}

impl JobCounts {
    fn of_exit(&mut self, exit: Option<Exit>) -> &mut u64 {
        match exit {
            Some(Exit::Completed) => &mut self.completed,
            Some(Exit::Interactive) => &mut self.waiting,
            Some(Exit::MaxSteps | Exit::Budget | Exit::Interrupted | Exit::Terminated) => &mut self.stopped,
            Some(Exit::Failed | Exit::Usage | Exit::Storage | Exit::Unverified) | None => &mut self.failed,
        }
    }

    /// The numbers that are not 0, in words.
    fn parts(&self) -> Vec<String> {
        let Self { completed, waiting, stopped, failed, given_back } = *self;
        let numbers = [
            (completed, "completed"),
            (waiting, "waiting for an answer"),
            (stopped, "stopped"),
            (failed, "failed"),
            (given_back, "given back"),
        ];
        numbers.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(at_work: usize) -> BoardView {
        let job = |number: u64| JobAtWork {
            number,
            key: format!("review-{number}"),
            expert: "reviewer".to_owned(),
            since: Duration::from_secs(number),
        };
        BoardView { places: 4, at_work: (1..=at_work as u64).map(job).collect(), ..BoardView::default() }
    }

    fn drawn(view: &BoardView, size: (usize, usize)) -> String {
        view.lines(Duration::from_millis(63_700), size).join("\n")
    }

    #[test]
    fn a_worker_shows_its_numbers_and_the_jobs_at_work() {
        assert_eq!(drawn(&view(0), (80, 24)), "waiting for jobs");
        let mut view = view(2);
        view.counts = JobCounts { completed: 240, waiting: 2, stopped: 1, failed: 3, given_back: 4 };
        view.had_no_place = Some(Duration::from_secs(63));
        assert_eq!(
            drawn(&view, (120, 24)),
            "2 of 4 at work, others wait for a place, 240 completed, 2 waiting for an answer, 1 stopped, 3 failed, 4 given \
             back\n  review-1  reviewer  1 min 2 s\n  review-2  reviewer  1 min 1 s"
        );
        view.had_no_place = Some(Duration::from_mins(1));
        view.is_ending = true;
        assert!(drawn(&view, (120, 24)).starts_with("ending, 2 at work, 240 completed"));
    }

    #[test]
    fn a_small_terminal_has_as_much_as_there_is_room_for() {
        assert_eq!(
            drawn(&view(9), (30, 8)),
            "9 of 4 at work\n  review-1  reviewer  1 mi…\n  review-2  reviewer  1 mi…\n  review-3  reviewer  1 mi…\n  and 6 more"
        );
        for size in [(1, 1), (0, 0), (10, 2)] {
            assert!(view(9).lines(Duration::ZERO, size).len() <= 2, "{size:?}");
        }
    }

    #[test]
    fn every_end_is_counted_once() {
        let mut counts = JobCounts::default();
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 130, 143, 99] {
            *counts.of_exit(Exit::of_code(code)) += 1;
        }
        assert_eq!(counts.parts(), ["1 completed", "1 waiting for an answer", "4 stopped", "5 failed"]);
    }
}
