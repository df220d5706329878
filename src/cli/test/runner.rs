//! [`run`]: the repetitions of all cases that ask the model, some at a time, until all are done, their budget is spent or a signal
//! comes. Progress is drawn by a thread, as the terminal may stall; the loop hears signals meanwhile.

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc;

use anyhow::Context as _;
use perstack::budget::Reached;
use perstack::cost::Spend;
use perstack::test_results::{CaseNumbers, CaseResult, CaseStatus, Repetition, estimates};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::live::{LiveJob, RepetitionEnd, STOPPED};
use crate::cli::Process;
use crate::cli::failure::Failure;
use crate::cli::job_runner::{GRACE, async_runtime, control_runtime, end_by_signal};
use crate::cli::outcome::FAREWELL;
use crate::cli::render::{LiveLines, MARGIN, Stderr, duration, money, shortened, steps, visible};
use crate::cli::signals::{Signal, Signals};
use crate::cli::telemetry::Telemetry;

/// Most characters of a line of progress.
const MAX_LINE: usize = 300;

/// The reason for which no further repetition is begun.
pub enum LiveStop {
    Signal(Signal),
    /// Too little is left for all cases.
    Budget(Reached),
}

/// The end of all repetitions.
pub struct LiveEnd {
    /// The results, by the places of the cases.
    pub results: Vec<(usize, CaseResult)>,
    pub stop: Option<LiveStop>,
    /// The warning about traces that were not delivered.
    pub undelivered: Option<String>,
    /// Hears the signals of the end. To be shut down in the background.
    pub workers: Runtime,
}

/// Runs the cases, `parallel` jobs at a time. `cancel` stops the jobs of their options.
///
/// # Errors
/// When the runtimes or the signals are refused by the system.
pub fn run(
    jobs: Vec<Arc<LiveJob>>,
    parallel: usize,
    cancel: CancellationToken,
    process: &Process,
    quiet: bool,
) -> Result<LiveEnd, Failure> {
    let (workers, control) = (async_runtime()?, control_runtime()?);
    let progress = ProgressLine::start(process, quiet);
    let telemetry = jobs.first().and_then(|job| {
        Telemetry::start(&job.options, workers.handle(), |warning| progress.line(&format!("warning: {warning}")))
    });
    let mut running = RunningCases::new(jobs, parallel, cancel, progress);
    let ended: Result<_, Failure> = control.block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals").map_err(Failure::other)?;
        running.drive(&workers, telemetry.as_ref(), &mut signals).await;
        let undelivered = match telemetry {
            Some(telemetry) => tokio::select! {
                warning = telemetry.close() => warning,
                _ = signals.next() => None,
            },
            None => None,
        };
        Ok((signals, undelivered))
    });
    control.shutdown_background();
    let (signals, undelivered) = ended?;
    workers.spawn(end_by_signal(signals));
    running.progress.close();
    Ok(LiveEnd { results: running.results(), stop: running.stop, undelivered, workers })
}

/// A repetition that is under way or to be begun: the places of its case and of itself.
type RepetitionPlace = (usize, usize);

struct RunningCases {
    jobs: Vec<Arc<LiveJob>>,
    parallel: usize,
    cancel: CancellationToken,
    progress: ProgressLine,
    waiting: VecDeque<RepetitionPlace>,
    /// The ends of the repetitions of each case.
    ends: Vec<Vec<Option<Repetition>>>,
    spend: Option<Spend>,
    counts: RepetitionCounts,
    stop: Option<LiveStop>,
}

/// The numbers of repetitions so far.
#[derive(Default)]
struct RepetitionCounts {
    passed: usize,
    failed: usize,
    all: usize,
}

impl RunningCases {
    fn new(jobs: Vec<Arc<LiveJob>>, parallel: usize, cancel: CancellationToken, progress: ProgressLine) -> Self {
        let repeats = jobs.iter().map(|job| usize::try_from(job.repeat).unwrap_or(usize::MAX));
        let waiting: VecDeque<RepetitionPlace> =
            repeats.clone().enumerate().flat_map(|(case, repeat)| (0..repeat).map(move |at| (case, at))).collect();
        let ends = repeats.map(|repeat| vec![None; repeat]).collect();
        let counts = RepetitionCounts { all: waiting.len(), ..RepetitionCounts::default() };
        Self { jobs, parallel, cancel, progress, waiting, ends, spend: None, counts, stop: None }
    }

    async fn drive(&mut self, workers: &Runtime, telemetry: Option<&Telemetry>, signals: &mut Signals) {
        let mut running: JoinSet<(RepetitionPlace, RepetitionEnd)> = JoinSet::new();
        let mut deadline: Option<Instant> = None;
        loop {
            while self.stop.is_none() && running.len() < self.parallel {
                let Some(place) = self.waiting.pop_front() else { break };
                let Some(job) = self.jobs.get(place.0).cloned() else { continue };
                let traced = telemetry.map(Telemetry::job);
                running.spawn_on(async move { (place, Box::pin(job.run(traced)).await) }, workers.handle());
            }
            self.progress.status(&self.line(running.len()));
            if running.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                signal = signals.next() => {
                    if deadline.is_some() {
                        return;
                    }
                    deadline = Some(Instant::now() + GRACE);
                    self.cancel.cancel();
                    self.stop = Some(LiveStop::Signal(signal));
                    self.progress.line("stopping: reporting what was done; once more to stop at once");
                }
                () = until(deadline) => return,
                Some(finished) = running.join_next() => {
                    // One that was lost has no end, and is reported as not run.
                    if let Ok((place, end)) = finished {
                        self.finished(place, end);
                    }
                }
            }
        }
    }

    fn finished(&mut self, place: RepetitionPlace, end: RepetitionEnd) {
        let RepetitionEnd { repetition, out_of_budget, recorded } = end;
        if let Some(reached) = out_of_budget
            && self.stop.is_none()
        {
            self.stop = Some(LiveStop::Budget(reached));
        }
        match repetition.status {
            CaseStatus::Passed => self.counts.passed += 1,
            CaseStatus::Failed => self.counts.failed += 1,
            CaseStatus::Skipped | CaseStatus::NotRun => {}
        }
        if let Some(numbers) = repetition.numbers {
            let spend = spend_of(&numbers);
            self.spend = Some(self.spend.map_or(spend, |before| before.plus(spend)));
        }
        if let Some(job) = self.jobs.get(place.0) {
            let which =
                if job.repeat == 1 { String::new() } else { format!(", repetition {}", place.1.saturating_add(1)) };
            let numbers =
                repetition.numbers.map(|numbers| format!(" ({})", numbers_line(&numbers))).unwrap_or_default();
            let why = repetition.reason.iter().chain(repetition.failures.first()).next();
            let why = why.map(|why| format!(": {}", why.lines().next().unwrap_or_default())).unwrap_or_default();
            let recorded = if recorded { ", recorded" } else { "" };
            let status = repetition.status.name();
            self.progress.line(&format!("{}: {}{which}: {status}{recorded}{numbers}{why}", job.file, job.name));
        }
        if let Some(slot) = self.ends.get_mut(place.0).and_then(|ends| ends.get_mut(place.1)) {
            *slot = Some(repetition);
        }
    }

    /// All numbers on a line.
    fn line(&self, running: usize) -> String {
        let RepetitionCounts { passed, failed, all } = self.counts;
        let money = self.spend.and_then(money).map(|money| format!(", {money}")).unwrap_or_default();
        format!(
            "{} of {all}: {passed} passed, {failed} failed, {running} running{money}",
            passed.saturating_add(failed)
        )
    }

    /// The results of all cases.
    fn results(&self) -> Vec<(usize, CaseResult)> {
        let reason = match &self.stop {
            Some(LiveStop::Budget(_)) => "the budget of all cases is spent",
            Some(LiveStop::Signal(_)) => STOPPED,
            None => "its end is not known",
        };
        let of_case = |(job, ends): (&Arc<LiveJob>, &Vec<Option<Repetition>>)| {
            let not_run = || RepetitionEnd::not_run(reason).repetition;
            let repetitions = ends.iter().map(|end| end.clone().unwrap_or_else(not_run)).collect();
            (job.index, concluded(job, repetitions))
        };
        self.jobs.iter().zip(&self.ends).map(of_case).collect()
    }
}

/// The result of a case. It is known as soon as the repetitions that are missing cannot change it.
fn concluded(job: &LiveJob, repetitions: Vec<Repetition>) -> CaseResult {
    let count = |status| repetitions.iter().filter(|it| it.status == status).count().try_into().unwrap_or(u64::MAX);
    let (passed, failed) = (count(CaseStatus::Passed), count(CaseStatus::Failed));
    let numbers = repetitions.iter().filter_map(|it| it.numbers).reduce(CaseNumbers::plus);
    let mut result = CaseResult {
        file: job.file.clone(),
        name: job.name.clone(),
        live: true,
        numbers,
        required_passes: Some(job.required),
        estimates: estimates(passed.saturating_add(failed), passed),
        ..CaseResult::default()
    };
    if passed >= job.required {
        result.status = CaseStatus::Passed;
    } else if failed > job.repeat.saturating_sub(job.required) {
        result.status = CaseStatus::Failed;
        result.failures = match repetitions.as_slice() {
            [only] => only.failures.clone(),
            _ => vec![format!(
                "{passed} of {} repetitions passed, and {} are needed",
                passed.saturating_add(failed),
                job.required
            )],
        };
    } else {
        result.status = CaseStatus::NotRun;
        result.reason = repetitions.iter().find_map(|it| it.reason.clone());
    }
    result.repetitions = repetitions;
    result
}

/// The spending of which these are the numbers.
pub fn spend_of(numbers: &CaseNumbers) -> Spend {
    numbers.cost.map_or(Spend::UNKNOWN, |cost| Spend { cost, is_complete: numbers.cost_is_complete })
}

/// Steps, cost and time.
pub fn numbers_line(numbers: &CaseNumbers) -> String {
    let parts = [Some(steps(numbers.steps)), money(spend_of(numbers)), Some(duration(numbers.duration_ms))];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// A word to the thread that draws.
enum Drawn {
    Line(String),
    Status(String),
}

/// Lines on standard error, with the numbers of all repetitions below them on a terminal.
struct ProgressLine {
    /// None with `--quiet`.
    drawn: Option<mpsc::Sender<Drawn>>,
    /// Is closed by the thread's end.
    ended: mpsc::Receiver<()>,
}

impl ProgressLine {
    fn start(process: &Process, quiet: bool) -> Self {
        let (sender, words) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        if quiet {
            return Self { drawn: None, ended };
        }
        // Log lines would go between the lines that are drawn.
        let draws = process.log.is_none() && io::stderr().is_terminal() && process.variable("TERM") != Some("dumb");
        std::thread::spawn(move || {
            draw(&words, draws.then(|| LiveLines::new(Stderr)));
            drop(end);
        });
        Self { drawn: Some(sender), ended }
    }

    fn line(&self, text: &str) {
        self.send(Drawn::Line(shortened(&visible(text), MAX_LINE)));
    }

    fn status(&self, text: &str) {
        self.send(Drawn::Status(text.to_owned()));
    }

    fn send(&self, drawn: Drawn) {
        // Without the thread there is nothing to be shown.
        let _ = self.drawn.as_ref().map(|to| to.send(drawn));
    }

    /// Waits until all is drawn, or the terminal is known to stall.
    fn close(&mut self) {
        self.drawn = None;
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

fn draw(words: &mpsc::Receiver<Drawn>, mut screen: Option<LiveLines>) {
    let mut status = String::new();
    while let Ok(word) = words.recv() {
        let above = match word {
            Drawn::Line(text) => text + "\n",
            Drawn::Status(now) => {
                status = now;
                String::new()
            }
        };
        match &mut screen {
            Some(screen) => {
                let columns = screen.size().0.saturating_sub(MARGIN);
                screen.draw(&above, &[shortened(&status, columns)]);
            }
            // With stderr closed there is no place left to report to.
            None => drop(io::stderr().lock().write_all(above.as_bytes())),
        }
    }
    if let Some(screen) = &mut screen {
        screen.clear();
    }
}
