//! [`run`]: the rows of a batch as jobs, some at a time, with their results in the order of the rows.
//!
//! No row is begun while too many results wait for one before them, so that a batch of any length takes bounded memory.
//! Results are written by a thread, as their reader may stall; the loop hears signals meanwhile.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;

use anyhow::Context as _;
use perstack::budget::Reached;
use perstack::expert::ExpertKey;
use perstack::runtime::{self, ErrorClass, Options, Outcome, RunError, RunInput};
use perstack::store::{BatchStore, StoreError};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::report::{BatchCounts, BatchReport, Lines, RowEnd};
use super::rows::Row;
use crate::cli::Exit;
use crate::cli::command_line::CommandLine;
use crate::cli::failure::Failure;
use crate::cli::job_runner::{GRACE, async_runtime, control_runtime, end_by_signal};
use crate::cli::options::JobArgs;
use crate::cli::outcome::{is_out_of_budget, raise};
use crate::cli::signals::{Signal, Signals};
use crate::cli::telemetry::Telemetry;

/// Rows that may be ahead of the first whose result is not written yet, for each job at a time.
const AHEAD: usize = 32;

/// The work on a batch.
pub struct Batch {
    pub store: BatchStore,
    pub expert: ExpertKey,
    pub options: Options,
    pub rows: mpsc::Receiver<Result<Row, Failure>>,
    /// Jobs at a time.
    pub parallel: usize,
}

/// The reason for which no further row is begun.
enum BatchStop {
    Signal(Signal),
    /// Too little is left for all rows.
    Budget(Box<Reached>),
    /// Further rows would meet the same.
    Failure(Failure),
    /// The results cannot be written.
    Output(io::Error),
}

/// Runs the batch. `again` makes the command that goes on, with these flags.
///
/// # Errors
/// When the runtimes or the signals are refused by the system.
pub fn run(
    batch: Batch,
    mut report: BatchReport,
    job: &JobArgs,
    again: &dyn Fn(&JobArgs) -> CommandLine,
) -> Result<Exit, Failure> {
    let workers = async_runtime()?;
    let control = control_runtime()?;
    let telemetry = Telemetry::start(&batch.options, workers.handle(), |warning| report.warn(warning));
    let ended = control.block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals").map_err(Failure::other)?;
        let running = RunningBatch::new(batch, report, workers.handle().clone(), telemetry);
        Ok((running.drive(&mut signals).await, signals))
    });
    let exit = ended.map(|(ended, signals)| {
        workers.spawn(end_by_signal(signals));
        conclude(ended, job, again)
    });
    // Threads that still block must not keep the program from ending.
    control.shutdown_background();
    workers.shutdown_background();
    exit
}

/// The end of the work.
enum BatchEnd {
    Returned(Box<ReturnedBatch>),
    /// The jobs did not stop in time, or a second signal came.
    Forced(Signal),
}

/// A batch of which no job is under way.
struct ReturnedBatch {
    report: BatchReport,
    counts: BatchCounts,
    stop: Option<BatchStop>,
    /// The warning about traces that were not delivered.
    undelivered: Option<String>,
}

type Finished = (u64, Result<RowEnd, Failure>);
type Writing = JoinHandle<(io::Result<()>, BatchReport)>;

struct RunningBatch {
    batch: Batch,
    workers: Handle,
    telemetry: Option<Telemetry>,
    jobs: JoinSet<Finished>,
    /// The ends of rows that wait for one before them.
    ended: BTreeMap<u64, RowEnd>,
    /// The first row whose end is not on its way to the output.
    next: u64,
    lines: Lines,
    /// Here unless it is writing.
    report: Option<BatchReport>,
    writing: Option<Writing>,
    counts: BatchCounts,
    has_changed: bool,
    input_is_over: bool,
    stop: Option<BatchStop>,
    /// The time at which jobs that do not stop are left.
    deadline: Option<(Instant, Signal)>,
}

impl RunningBatch {
    fn new(batch: Batch, report: BatchReport, workers: Handle, telemetry: Option<Telemetry>) -> Self {
        Self {
            batch,
            workers,
            telemetry,
            jobs: JoinSet::new(),
            ended: BTreeMap::new(),
            next: 1,
            lines: Lines::default(),
            report: Some(report),
            writing: None,
            counts: BatchCounts::default(),
            has_changed: false,
            input_is_over: false,
            stop: None,
            deadline: None,
        }
    }

    async fn drive(mut self, signals: &mut Signals) -> BatchEnd {
        loop {
            self.start_writing();
            let takes_no_more = self.input_is_over || self.stop.is_some();
            if takes_no_more && self.jobs.is_empty() && self.writing.is_none() {
                break;
            }
            let has_room = self.jobs.len() < self.batch.parallel
                && self.ended.len() + self.jobs.len() < self.batch.parallel.saturating_mul(AHEAD);
            let takes_rows = self.stop.is_none() && !self.input_is_over && has_room;
            let deadline = self.deadline.as_ref().map(|(at, _)| *at);
            tokio::select! {
                biased;
                signal = signals.next() => {
                    if self.deadline.is_some() {
                        return BatchEnd::Forced(signal);
                    }
                    self.stop_by(signal);
                }
                () = until(deadline), if deadline.is_some() => {
                    if let Some((_, signal)) = self.deadline {
                        return BatchEnd::Forced(signal);
                    }
                }
                written = written(self.writing.as_mut()), if self.writing.is_some() => {
                    self.writing = None;
                    self.wrote(written);
                }
                Some(finished) = self.jobs.join_next(), if !self.jobs.is_empty() => {
                    let failure = |lost: tokio::task::JoinError| Failure::other(anyhow::anyhow!("internal error: {lost}"));
                    match finished {
                        Ok((row, end)) => self.finished(row, end),
                        Err(lost) => self.end_by(BatchStop::Failure(failure(lost))),
                    }
                }
                row = self.batch.rows.recv(), if takes_rows => match row {
                    Some(Ok(row)) => self.begin(row),
                    Some(Err(failure)) => {
                        self.input_is_over = true;
                        self.end_by(BatchStop::Failure(failure));
                    }
                    None => self.input_is_over = true,
                },
            }
        }
        let undelivered = match self.telemetry {
            Some(telemetry) => tokio::select! {
                warning = telemetry.close() => warning,
                signal = signals.next() => return BatchEnd::Forced(signal),
            },
            None => None,
        };
        match self.report {
            Some(report) => BatchEnd::Returned(Box::new(ReturnedBatch {
                report,
                counts: self.counts,
                stop: self.stop,
                undelivered,
            })),
            // Its thread was lost before it began, which only the end of the async runtime does.
            None => BatchEnd::Forced(Signal::Terminate),
        }
    }

    fn stop_by(&mut self, signal: Signal) {
        self.deadline = Some((Instant::now() + GRACE, signal));
        self.batch.options.cancel.cancel();
        self.end_by(BatchStop::Signal(signal));
        if let Some(report) = &self.report {
            report.note(&mut self.lines, "stopping: recording what was done; once more to stop at once");
            self.has_changed = true;
        }
    }

    /// Begins no further row. A signal goes before every other reason.
    fn end_by(&mut self, stop: BatchStop) {
        if self.stop.is_none() || matches!(stop, BatchStop::Signal(_)) {
            self.stop = Some(stop);
        }
    }

    fn begin(&mut self, Row { number, query }: Row) {
        let job = query.map_err(RowEnd::NotRun).and_then(|query| match self.batch.store.job(number, &query) {
            Ok(job) => Ok((job, query)),
            Err(error) => Err(RowEnd::NotRun(error.to_string())),
        });
        let (job, query) = match job {
            Ok(job) => job,
            Err(end) => return self.finished(number, Ok(end)),
        };
        let input = RunInput {
            expert: self.batch.expert.clone(),
            query,
            attached: Vec::new(),
            job_id: Some(job),
            run_id: None,
        };
        let mut options = self.batch.options.clone();
        let traced = self.telemetry.as_ref().map(Telemetry::job);
        if let Some(traced) = &traced {
            options.sink = traced.around(options.sink);
        }
        let job = async move {
            let ended = runtime::ensure(input, &options).await;
            if let Some(traced) = traced {
                traced.end(ended.as_ref().map(|outcome| outcome.status).map_err(ToString::to_string));
            }
            (number, row_end(ended))
        };
        self.jobs.spawn_on(job, &self.workers);
        self.has_changed = true;
    }

    fn finished(&mut self, row: u64, end: Result<RowEnd, Failure>) {
        let end = match end {
            Ok(end) => end,
            // The row has no result, nor have those behind it: the next time they have.
            Err(failure) => return self.end_by(BatchStop::Failure(failure)),
        };
        if let RowEnd::Job(outcome) = &end
            && is_out_of_budget(outcome)
            && let Some(reached) = &outcome.budget
        {
            self.end_by(BatchStop::Budget(Box::new(reached.clone())));
        }
        self.counts.add(&end);
        self.ended.insert(row, end);
        self.has_changed = true;
    }

    /// Hands what is to be written, in the order of the rows, to a thread, unless one is writing.
    fn start_writing(&mut self) {
        if !self.has_changed || self.writing.is_some() {
            return;
        }
        let Some(mut report) = self.report.take() else { return };
        self.has_changed = false;
        self.counts.running = self.jobs.len();
        while let Some(end) = self.ended.remove(&self.next) {
            if let Err(error) = report.add(&mut self.lines, self.next, &end) {
                self.end_by(BatchStop::Output(error.into()));
            }
            self.next += 1;
        }
        let (lines, counts) = (std::mem::take(&mut self.lines), self.counts.clone());
        self.writing = Some(tokio::task::spawn_blocking(move || (report.write(&lines, &counts), report)));
    }

    fn wrote(&mut self, written: Result<(io::Result<()>, BatchReport), tokio::task::JoinError>) {
        let Ok((written, report)) = written else { return };
        self.report = Some(report);
        if let Err(error) = written {
            // Nobody gets the answers of further work.
            self.batch.options.cancel.cancel();
            self.end_by(BatchStop::Output(error));
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

async fn written(writing: Option<&mut Writing>) -> Result<(io::Result<()>, BatchReport), tokio::task::JoinError> {
    match writing {
        Some(writing) => writing.await,
        None => pending().await,
    }
}

/// The end of a row. An error that further rows would meet too is one of the batch.
fn row_end(ended: Result<Outcome, RunError>) -> Result<RowEnd, Failure> {
    match ended {
        Ok(outcome) => Ok(RowEnd::Job(Box::new(outcome))),
        Err(error) if is_of_row(&error) => Ok(RowEnd::NotRun(Failure::from(error).line())),
        Err(error) => Err(error.into()),
    }
}

/// Returns true if an error is about the job of one row alone.
fn is_of_row(error: &RunError) -> bool {
    match error {
        RunError::EmptyQuery
        | RunError::OtherQuery { .. }
        | RunError::OtherExpert { .. }
        | RunError::AnswerNeeded { .. } => true,
        // A full disk is everybody's.
        RunError::Store(error) => {
            error.is_locked() || error.is_damaged() || matches!(error, StoreError::JobExists { .. })
        }
        error => {
            matches!(error.class(), ErrorClass::Other | ErrorClass::Budget) || matches!(error, RunError::History { .. })
        }
    }
}

/// Reports the end, with the command that goes on.
fn conclude(ended: BatchEnd, job: &JobArgs, again: &dyn Fn(&JobArgs) -> CommandLine) -> Exit {
    let ReturnedBatch { mut report, counts, stop, undelivered } = match ended {
        BatchEnd::Returned(returned) => *returned,
        BatchEnd::Forced(signal) => {
            let _ = io::Write::write_all(
                &mut io::stderr().lock(),
                format!("stopped at once: the steps recorded so far are kept\nto continue:\n{}\n", again(job))
                    .as_bytes(),
            );
            return signal.exit();
        }
    };
    if let Some(warning) = undelivered {
        report.warn(&warning);
    }
    report.end(&counts);
    let mut job = job.clone();
    let exit = match stop {
        None if counts.ended == counts.completed => Exit::Completed,
        None => Exit::Failed,
        Some(BatchStop::Signal(signal)) => {
            report.info(&format!("stopped by {}", signal.name()));
            signal.exit()
        }
        Some(BatchStop::Budget(reached)) => {
            report.info(&format!("stopped: {reached}; further rows were not begun"));
            raise(&mut job, &reached, &counts.spent());
            Exit::Budget
        }
        Some(BatchStop::Failure(failure)) => {
            report.failure(&failure);
            failure.exit()
        }
        // A reader that has gone away is no error: the program ends quietly.
        Some(BatchStop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Failed,
        Some(BatchStop::Output(error)) => {
            let text = format!("cannot write to {}", report.destination());
            report.failure(&Failure::other(anyhow::Error::new(error).context(text)));
            Exit::Failed
        }
    };
    if !matches!(exit, Exit::Completed | Exit::Usage) {
        report.info("to continue:");
        report.print(&again(&job).to_string());
    }
    exit
}
