//! [`run`]: a job from start to end. Called by `run` and `resume` once they have read their options.
//!
//! Starts the async runtimes, watches for signals, asks a person and continues with the answer, and writes the result.
//! The report of the end is left to [`super::outcome`].

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use perstack::checkpoint::Status;
use perstack::permission::AskPermission;
use perstack::runtime::{
    self, AnswerInput, CassetteMode, InDoubt, Options, Outcome, RecordedEnd, ResumeFrom, ResumeInput, RunError,
    RunInput,
};
use perstack::skill::contain::Learning;
use perstack::skill::mcp::AskPerson;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::command_line::CommandLine;
use super::failure::Failure;
use super::in_doubt;
use super::job_summary::JobSummary;
use super::learn::Proposals;
use super::options::JobArgs;
use super::outcome::{FAREWELL, JobEnd, JobReporter};
use super::output_file::OutputFiles;
use super::program_log::print_log_line;
use super::prompt::{self, Answer, Questions, is_in_background};
use super::render::{Screen, visible};
use super::setup::{Setup, warn};
use super::signals::{Signal, Signals};
use super::telemetry::{Telemetry, TracedJob};
use super::trust::cassettes;
use super::{Exit, Process};

/// The time that a job has to record its state after it was asked to stop: more than the six seconds that its tools
/// get in all, and the five that its skills have to close after them.
pub const GRACE: Duration = Duration::from_secs(15);

/// Time that the printing of a result has left when a signal comes: far more than it takes, unless its reader is stalled.
const STALLED: Duration = Duration::from_millis(500);

/// Threads of the async runtime. Work waits for models, tools and disks, so two keep up with any number of Runs.
const WORKERS: usize = 2;

/// The same for a job of one Run at a time: what drives it drives its connection too, so that a step does not go from
/// thread to thread.
const WORKERS_OF_ONE_RUN: usize = 1;

/// The work to do.
#[derive(Clone)]
pub enum JobCommand {
    Run(RunInput),
    Ensure(RunInput),
    Resume(ResumeInput),
    Answer(AnswerInput),
}

/// Starts the async runtime that does the work.
///
/// # Errors
/// When the system gives no threads.
pub fn async_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    runtime_of(WORKERS)
}

/// Starts the async runtime of a job with these options.
fn job_runtime(options: &Options) -> Result<tokio::runtime::Runtime, Failure> {
    let delegates = options.experts.values().any(|expert| !expert.delegates.is_empty());
    runtime_of(if delegates { WORKERS } else { WORKERS_OF_ONE_RUN })
}

fn runtime_of(workers: usize) -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .map_err(Failure::other)
}

/// Starts the async runtime of a loop that listens to signals, on this thread. A sink may block a worker (a stalled pipe), and
/// with it the workers' own timers and signals; so the loop has a runtime of its own.
///
/// # Errors
/// When the system refuses it.
pub fn control_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .map_err(Failure::other)
}

/// Ends the program soon after the next signal: the report of the end may block (a stalled pipe).
pub async fn end_by_signal(mut signals: Signals) {
    let signal = signals.next().await;
    tokio::time::sleep(FAREWELL).await;
    std::process::exit(i32::from(signal.exit() as u8));
}

/// The command that a job belongs to.
pub enum JobOrigin<'a> {
    /// `run` or `resume`, with the command that does the same without a recorded session.
    Command(&'a CommandLine),
    /// A replay that goes on live where it differs from its recording.
    Replay(LiveReplay<'a>),
}

/// A replay that goes on live.
pub struct LiveReplay<'a> {
    /// Makes the options of the replay from those with which it goes on.
    pub options: &'a dyn Fn(Options) -> Result<Options, Failure>,
    /// The difference, as JSON: a part of the object that is printed.
    pub difference: serde_json::Value,
}

/// Runs a job.
///
/// # Errors
/// When the runtimes, the signals or a file of the output are refused by the system.
pub fn run(
    process: &Process,
    args: &JobArgs,
    setup: Setup,
    files: OutputFiles,
    command: JobCommand,
    origin: &JobOrigin<'_>,
) -> Result<Exit, Failure> {
    let format = args.output.format()?;
    for kind in args.output.once_known_types() {
        let warning =
            format!("--filter {kind}: only the TypeScript version emits this type, so that no event matches it");
        warn(process, args.output.quiet, &warning);
    }
    let cancel = CancellationToken::new();
    let screen = Screen::new(process, &args.output, format, files.result, &cancel)?;
    let screen = Arc::new(match origin {
        JobOrigin::Command(_) => screen,
        JobOrigin::Replay(replay) => screen.with_difference(replay.difference.clone()),
    });
    let replayed = args.session.replay.as_ref().map(|file| process.folder.join(file));
    let contained = replayed.and_then(|file| cassettes::reason_to_contain(&setup, process, &file));
    let cassette = args.session.cassette(&process.folder, contained.is_none());
    let asks_during =
        prompt::may_ask(process, args, format) && matches!(cassette, CassetteMode::None | CassetteMode::Record(_));
    // A recording stops at a question, because its next part would overwrite it, and a replay never asks.
    let asks = asks_during && cassette == CassetteMode::None;
    // If a person can be asked, a call in doubt stops the job for the question.
    let asks_of_doubts = asks && args.session.in_doubt.is_none();
    let in_doubt = match args.session.in_doubt {
        Some(doubt) => doubt.into(),
        None if asks_of_doubts => InDoubt::Stop,
        None => InDoubt::Report,
    };
    let user_folder = setup.user_folder.clone();
    let mut options = setup.options(screen.sink(), cancel, in_doubt, cassette);
    options.run_permissions = args.permissions.given();
    (options.person, options.approver) = people(asks, asks_during, &screen);
    options.learning = args.session.learn.then(Arc::<Learning>::default);
    if let Some(log) = &process.log {
        let screen = Arc::downgrade(&screen);
        log.attach(options.redactor(), move |line| match screen.upgrade() {
            Some(screen) => screen.print(line),
            None => print_log_line(line),
        });
    }
    let workers = job_runtime(&options)?;
    let telemetry = Telemetry::start(&options, workers.handle(), |warning| warn(process, args.output.quiet, warning));
    let telemetry = telemetry.map(|telemetry| (telemetry.job(), telemetry));
    if let Some((job, _)) = &telemetry {
        options.sink = job.around(Arc::clone(&options.sink));
    }
    if let JobOrigin::Replay(replay) = origin {
        options = (replay.options)(options)?;
    }
    let options = Arc::new(options);
    if let (CassetteMode::Replay { file, .. }, JobOrigin::Command(live)) = (&options.cassette, origin) {
        let file = visible(&file.display().to_string());
        // The query may hold a key.
        let live = options.redactor().text(&live.to_string());
        screen.info(&format!("replaying a recorded session from {file}; to run it live: {live}"));
        if let Some(reason) = contained.filter(|_| !args.session.replay_tools) {
            screen.info(&format!("calls that write or run are answered from it, not made: {reason}"));
        }
    }
    let summary = files.summary.map(|file| JobSummary { file, redactor: options.redactor() });
    let questions = Questions::new(asks, options.clone());
    let began = Instant::now();
    let reporter =
        Arc::new(JobReporter { args: args.clone(), screen, summary, questions, color: process.color, began });
    let control = control_runtime()?;
    let recorded = match &options.cassette {
        CassetteMode::Record(file) => Some(file.clone()),
        CassetteMode::None | CassetteMode::Replay { .. } => None,
    };
    let exit = control.block_on(run_until_done(
        command,
        Arc::clone(&options),
        workers.handle(),
        reporter,
        telemetry,
        asks_of_doubts,
    ));
    if let Some(learning) = &options.learning {
        let proposals = Proposals::new(learning, &options).text;
        // With stderr closed there is no place left to report to.
        let _ = io::stderr().lock().write_all(proposals.as_bytes());
    }
    if let Some(file) = recorded {
        cassettes::remember(user_folder.as_deref(), process, args.output.quiet, &file);
    }
    // Threads that still block must not keep the program from ending.
    control.shutdown_background();
    workers.shutdown_background();
    exit.map_err(Failure::other)
}

/// The person that servers may ask in the middle of a call, and the one that may permit calls.
#[cfg(unix)]
fn people(asks: bool, asks_during: bool, screen: &Arc<Screen>) -> (Option<AskPerson>, Option<AskPermission>) {
    let terminal = super::asking::Asking::new(Arc::clone(screen));
    let person = asks.then(|| super::elicitation_form::asker(terminal.clone()));
    (person, asks_during.then(|| super::permission_question::approver(terminal)))
}

/// None: this system has no way to withdraw a question from its terminal.
#[cfg(not(unix))]
fn people(_asks: bool, _asks_during: bool, _screen: &Arc<Screen>) -> (Option<AskPerson>, Option<AskPermission>) {
    (None, None)
}

/// The end of one attempt.
enum Attempt {
    Returned(Box<Result<Outcome, RunError>>, Option<Signal>, EndOfServers),
    /// The job did not return in time; the program ends at once.
    Forced(Exit),
}

/// Ends with the last server of a job.
type EndOfServers = JoinHandle<()>;

/// The step after an attempt.
enum Next {
    /// The same command again, with a choice for calls in doubt.
    Retry(InDoubt),
    /// A further command, which carries a person's answer.
    Continue(JobCommand),
    Done(Box<JobEnd>),
}

/// Runs the job on `workers`, and again after each answer of a person, until no question is left.
async fn run_until_done(
    mut command: JobCommand,
    mut options: Arc<Options>,
    workers: &Handle,
    reporter: Arc<JobReporter>,
    telemetry: Option<(TracedJob, Telemetry)>,
    asks_of_doubts: bool,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let mut totals = Totals::default();
    let (end, servers) = loop {
        let attempted = attempt(command.clone(), &options, workers, &reporter, &mut signals).await;
        let (mut job, signal, servers) = match attempted {
            Attempt::Returned(job, signal, servers) => (*job, signal, servers),
            Attempt::Forced(exit) => return Ok(exit),
        };
        if let Ok(outcome) = &mut job {
            totals.add_to(outcome);
        }
        match after_attempt(job, signal, &reporter, &mut signals, asks_of_doubts).await {
            Next::Retry(in_doubt) => options = Arc::new(Options { in_doubt, ..Options::clone(&options) }),
            Next::Continue(next) => {
                // The next attempt may need what the servers of this one hold. They end in time or are left behind.
                let _ = servers.await;
                // The recording has no further part in the job.
                options = options.live().cloned().unwrap_or(options);
                command = next;
            }
            Next::Done(end) => break (*end, servers),
        }
    };
    finish(end, servers, telemetry, reporter, &mut signals).await
}

/// Prints the result, waits for the servers of the job and the last of its traces, and reports the end.
///
/// Printing may block (a stalled pipe), and a signal must end the program even then.
async fn finish(
    end: JobEnd,
    mut servers: EndOfServers,
    telemetry: Option<(TracedJob, Telemetry)>,
    reporter: Arc<JobReporter>,
    signals: &mut Signals,
) -> anyhow::Result<Exit> {
    let mut printed = tokio::task::spawn_blocking({
        let reporter = reporter.clone();
        move || (print_result(&end, &reporter), end)
    });
    let mut signal = None;
    let (written, mut end) = tokio::select! {
        printed = &mut printed => printed?,
        next = signals.next() => {
            // The last byte may be out already: then the signal is about the servers.
            signal = Some(next);
            match tokio::time::timeout(STALLED, printed).await {
                Ok(printed) => printed?,
                Err(_) => return Ok(reporter.forced(signal)),
            }
        }
    };
    let mut undelivered = None;
    if signal.is_none() {
        let outcome = end.job.as_ref().map(|outcome| outcome.status).map_err(ToString::to_string);
        tokio::select! {
            // A server's end that failed is reported by an event.
            (_, warning) = async { tokio::join!(&mut servers, close(telemetry, outcome)) } => undelivered = warning,
            next = signals.next() => signal = Some(next),
        }
    }
    if let Some(signal) = signal {
        end.signal.get_or_insert(signal);
        servers.abort();
    }
    let exit = tokio::task::spawn_blocking({
        let reporter = reporter.clone();
        move || {
            if let Some(warning) = undelivered {
                reporter.screen.warn(&warning);
            }
            reporter.returned(end, written)
        }
    });
    tokio::select! {
        exit = exit => Ok(exit?),
        next = signals.next() => Ok(reporter.forced(Some(next))),
    }
}

/// Sends the last traces. Returns the warning about those that were not delivered, if there are any.
async fn close(telemetry: Option<(TracedJob, Telemetry)>, outcome: Result<Status, String>) -> Option<String> {
    let (job, telemetry) = telemetry?;
    job.end(outcome);
    telemetry.close().await
}

/// Steps and time of all attempts: to the user they are one job. The time that answers took is not part of it.
#[derive(Default)]
struct Totals {
    steps: u64,
    duration_ms: u64,
}

impl Totals {
    fn add_to(&mut self, outcome: &mut Outcome) {
        self.steps = self.steps.saturating_add(outcome.steps);
        self.duration_ms = self.duration_ms.saturating_add(outcome.duration_ms);
        outcome.steps = self.steps;
        outcome.duration_ms = self.duration_ms;
    }
}

/// Asks what the job has stopped for, if a person can answer. After a signal nothing is asked.
async fn after_attempt(
    job: Result<Outcome, RunError>,
    signal: Option<Signal>,
    reporter: &JobReporter,
    signals: &mut Signals,
    asks_of_doubts: bool,
) -> Next {
    let done = |job, signal| Next::Done(Box::new(JobEnd { job, signal, unanswered: None }));
    match job {
        job if signal.is_some() => done(job, signal),
        Ok(outcome) if outcome.status == Status::StoppedByInteractiveTool => {
            ask_question(outcome, reporter, signals).await
        }
        // The job has not begun, so the same command can be given again.
        Err(RunError::CallsInDoubt { tools }) if asks_of_doubts && !is_in_background() => {
            let chosen = tokio::select! {
                chosen = in_doubt::ask(tools.clone(), reporter.screen.clone()) => Ok(chosen),
                signal = signals.next() => Err(signal),
            };
            match chosen {
                Ok(Some(in_doubt)) => Next::Retry(in_doubt),
                Ok(None) => done(Err(RunError::CallsInDoubt { tools }), None),
                Err(signal) => done(Err(RunError::CallsInDoubt { tools }), Some(signal)),
            }
        }
        job => done(job, None),
    }
}

/// Asks the first question that a job waits for.
async fn ask_question(outcome: Outcome, reporter: &JobReporter, signals: &mut Signals) -> Next {
    let head = &outcome.checkpoint.head;
    let Some(call) = reporter.questions.to_ask(head) else {
        return Next::Done(Box::new(JobEnd { job: Ok(outcome), signal: None, unanswered: None }));
    };
    let question = reporter.questions.question(head, call);
    let answered = tokio::select! {
        answer = prompt::ask(question, reporter.screen.clone()) => Ok(answer),
        signal = signals.next() => Err(signal),
    };
    let signal = match answered {
        Ok(Answer::Given(text)) => {
            return Next::Continue(JobCommand::Resume(ResumeInput {
                from: ResumeFrom::Checkpoint(head.job_id.clone(), head.id.clone()),
                expert: None,
                query: Some(prompt::named_answer(call, &text)),
                attached: Vec::new(),
                is_answer: true,
            }));
        }
        Ok(Answer::Left) => None,
        Err(signal) => Some(signal),
    };
    let unanswered = Some(call.id.clone());
    Next::Done(Box::new(JobEnd { job: Ok(outcome), signal, unanswered }))
}

/// Runs one attempt. The first signal gives it [`GRACE`] to stop; the second ends the program at once.
async fn attempt(
    command: JobCommand,
    options: &Arc<Options>,
    workers: &Handle,
    reporter: &Arc<JobReporter>,
    signals: &mut Signals,
) -> Attempt {
    let cancel = options.cancel.clone();
    let options = options.clone();
    let mut job = workers.spawn(async move {
        match command {
            JobCommand::Run(input) => runtime::run_to_record(input, &options).await,
            JobCommand::Ensure(input) => runtime::ensure_to_record(input, &options).await,
            JobCommand::Resume(input) => runtime::resume_to_record(input, &options).await,
            JobCommand::Answer(input) => runtime::answer_to_record(input, &options).await,
        }
    });
    let mut signal = None;
    let returned = tokio::select! {
        returned = &mut job => Some(returned),
        first = signals.next() => { signal = Some(first); None }
        // The reader of the events has gone away.
        () = cancel.cancelled() => None,
    };
    let returned = if let Some(returned) = returned {
        returned
    } else {
        cancel.cancel();
        if signal.is_some() {
            let screen = reporter.screen.clone();
            let show = move || screen.info("stopping: recording what was done; once more to stop at once");
            // A terminal that blocks must not delay the next signal.
            let _ = tokio::time::timeout(FAREWELL, tokio::task::spawn_blocking(show)).await;
        }
        tokio::select! {
            returned = &mut job => returned,
            next = signals.next() => return Attempt::Forced(reporter.forced(signal.or(Some(next)))),
            () = tokio::time::sleep(GRACE) => return Attempt::Forced(reporter.forced(signal)),
        }
    };
    let job = returned.unwrap_or_else(|lost| Err(RunError::Internal(lost.to_string())));
    let (job, servers) = match job {
        Ok(RecordedEnd { outcome, servers }) => (Ok(outcome), workers.spawn(servers.closed())),
        Err(error) => (Err(error), workers.spawn(async {})),
    };
    Attempt::Returned(Box::new(job), signal, servers)
}

/// Writes the result, before the report of the end goes to stderr. The order matters: stderr ends with the
/// command that continues the job.
fn print_result(end: &JobEnd, reporter: &JobReporter) -> io::Result<()> {
    reporter.screen.close();
    if end.signal.is_some() && end.unanswered.is_some() {
        // The cursor is behind the text that the person was typing.
        let _ = writeln!(io::stderr().lock());
    }
    end.job.as_ref().map_or(Ok(()), |outcome| reporter.screen.write_result(outcome))
}
