//! A job from start to end: what `run` and `resume` share once they know what is asked.
//!
//! Starts the async runtimes, watches for signals, has a person asked and goes on with the answer, writes the result;
//! what is told of the ending is [`super::outcome`]'s.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use perstack::checkpoint::Status;
use perstack::redact::Redactor;
use perstack::runtime::{self, CassetteMode, InDoubt, Options, Outcome, ResumeFrom, ResumeInput, RunError, RunInput};
use perstack::skill::mcp::AskPerson;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::command_line::CommandLine;
use super::failure::Failure;
use super::in_doubt;
use super::options::{Format, JobArgs};
use super::outcome::{Ending, FAREWELL, JobEnd};
use super::prompt::{self, Answer, Questions, is_in_background};
use super::render::{Screen, result, visible};
use super::setup::Setup;
use super::signals::{Signal, Signals};
use super::{Exit, Process};

/// How long a job may take to record what it has after it was told to stop: more than the six seconds that its tools
/// get in all, and the five that its skills have to close after them.
const GRACE: Duration = Duration::from_secs(15);

/// Threads of the async runtime. Work waits for models, tools and disks, so two keep up with any number of Runs.
const WORKERS: usize = 2;

/// What is asked for.
#[derive(Clone)]
pub enum JobCommand {
    Run(RunInput),
    Resume(ResumeInput),
}

/// Starts the async runtime that does the work.
///
/// # Errors
/// When the system gives no threads.
pub fn async_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .map_err(Failure::other)
}

/// Carries out a job. `live` is the command that would do the same without a recorded session.
///
/// # Errors
/// When it could not even begin.
pub fn run(
    process: &Process,
    args: &JobArgs,
    setup: Setup,
    command: JobCommand,
    live: &CommandLine,
) -> Result<Exit, Failure> {
    let format = args.output.format()?;
    let cancel = CancellationToken::new();
    let screen = Arc::new(Screen::new(process, &args.output, format, &cancel));
    let cassette = args.session.cassette(&process.folder);
    let asks = prompt::may_ask(process, args, format, &cassette);
    // Where somebody can be asked, a doubt stops the job for the question.
    let asks_of_doubts = asks && args.session.in_doubt.is_none();
    let in_doubt = match args.session.in_doubt {
        Some(doubt) => doubt.into(),
        None if asks_of_doubts => InDoubt::Stop,
        None => InDoubt::Report,
    };
    let mut options = setup.options(process, screen.sink(), cancel, in_doubt, cassette);
    options.person = person(asks, &screen);
    let options = Arc::new(options);
    if let CassetteMode::Replay { file, .. } = &options.cassette {
        let file = visible(&file.display().to_string());
        // The query may hold a key.
        let live = Redactor::of_environment(&options.environment).text(&live.to_string());
        screen.say(&format!("replaying a recorded session from {file}; to run it live: {live}"));
    }
    let questions = Questions::new(asks, options.clone());
    let max_steps = options.settings.limits.max_steps;
    let ending = Arc::new(Ending { args: args.clone(), screen, max_steps, questions });
    let workers = async_runtime()?;
    // A sink may block a worker (a stalled pipe), and with it the workers' own timers and signals. So the run_until_done is kept
    // by a runtime of its own, on this thread.
    let watcher = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .map_err(Failure::other)?;
    let exit = watcher.block_on(run_until_done(command, options, workers.handle(), ending, format, asks_of_doubts));
    // Threads that still block must not keep the program.
    watcher.shutdown_background();
    workers.shutdown_background();
    exit.map_err(Failure::other)
}

/// Who servers may ask in the middle of a call.
#[cfg(unix)]
fn person(asks: bool, screen: &Arc<Screen>) -> Option<AskPerson> {
    asks.then(|| super::elicitation_form::asker(screen.clone()))
}

/// Nobody: a question could not be taken back from this system's terminal.
#[cfg(not(unix))]
fn person(_asks: bool, _screen: &Arc<Screen>) -> Option<AskPerson> {
    None
}

/// How one stretch of work ended.
enum Attempt {
    Returned(Box<Result<Outcome, RunError>>, Option<Signal>),
    /// It did not; the program ends at once.
    Forced(Exit),
}

/// Has the workers do the job, from question to question as long as there is somebody who answers them.
async fn run_until_done(
    mut command: JobCommand,
    mut options: Arc<Options>,
    workers: &Handle,
    ending: Arc<Ending>,
    format: Format,
    asks_of_doubts: bool,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let (mut steps, mut duration_ms) = (0, 0);
    let returned = loop {
        let (job, signal) = match attempt(command.clone(), &options, workers, &ending, &mut signals).await {
            Attempt::Returned(job, signal) => (*job, signal),
            Attempt::Forced(exit) => return Ok(exit),
        };
        let mut outcome = match job {
            Ok(outcome) => outcome,
            // Nothing was done yet; with a choice the same is asked for again.
            Err(RunError::CallsInDoubt { tools }) if asks_of_doubts && signal.is_none() && !is_in_background() => {
                let chosen = tokio::select! {
                    chosen = in_doubt::ask(tools.clone(), ending.screen.clone()) => Ok(chosen),
                    signal = signals.next() => Err(signal),
                };
                let signal = match chosen {
                    Ok(Some(in_doubt)) => {
                        options = Arc::new(Options { in_doubt, ..Options::clone(&options) });
                        continue;
                    }
                    Ok(None) => None,
                    Err(signal) => Some(signal),
                };
                break JobEnd { job: Err(RunError::CallsInDoubt { tools }), signal, left: None };
            }
            Err(error) => break JobEnd { job: Err(error), signal, left: None },
        };
        // To whoever answered in between, it was one job. The time that they took is not the job's.
        (steps, duration_ms) = (outcome.steps.saturating_add(steps), outcome.duration_ms.saturating_add(duration_ms));
        (outcome.steps, outcome.duration_ms) = (steps, duration_ms);
        let head = &outcome.checkpoint.head;
        let waits = outcome.status == Status::StoppedByInteractiveTool && signal.is_none();
        let Some(call) = waits.then(|| ending.questions.to_ask(head)).flatten() else {
            break JobEnd { job: Ok(outcome), signal, left: None };
        };
        let question = ending.questions.question(head, call);
        let answered = tokio::select! {
            answer = prompt::ask(question, ending.screen.clone()) => Ok(answer),
            signal = signals.next() => Err(signal),
        };
        let signal = match answered {
            Ok(Answer::Given(text)) => {
                command = JobCommand::Resume(ResumeInput {
                    from: ResumeFrom::Checkpoint(head.job_id.clone(), head.id.clone()),
                    expert: None,
                    query: Some(prompt::named_answer(call, &text)),
                    is_answer: true,
                });
                continue;
            }
            Ok(Answer::Left) => None,
            Err(signal) => Some(signal),
        };
        let left = Some(call.id.clone());
        break JobEnd { job: Ok(outcome), signal, left };
    };
    let told = tokio::task::spawn_blocking({
        let ending = ending.clone();
        move || tell(returned, &ending, format)
    });
    tokio::select! {
        exit = told => Ok(exit?),
        next = signals.next() => Ok(ending.forced(Some(next))),
    }
}

/// Does one stretch. After the first signal it gets [`GRACE`] to stop; the second ends the program at once.
async fn attempt(
    command: JobCommand,
    options: &Arc<Options>,
    workers: &Handle,
    ending: &Arc<Ending>,
    signals: &mut Signals,
) -> Attempt {
    let cancel = options.cancel.clone();
    let options = options.clone();
    let mut job = workers.spawn(async move {
        match command {
            JobCommand::Run(input) => runtime::run(input, &options).await,
            JobCommand::Resume(input) => runtime::resume(input, &options).await,
        }
    });
    let mut signal = None;
    let returned = tokio::select! {
        returned = &mut job => Some(returned),
        first = signals.next() => { signal = Some(first); None }
        // The events cannot be written any more.
        () = cancel.cancelled() => None,
    };
    let returned = if let Some(returned) = returned {
        returned
    } else {
        cancel.cancel();
        if signal.is_some() {
            let screen = ending.screen.clone();
            let say = move || screen.say("stopping: what was done is being recorded; once more to stop at once");
            // A terminal that blocks must not keep the next signal from being heard.
            let _ = tokio::time::timeout(FAREWELL, tokio::task::spawn_blocking(say)).await;
        }
        tokio::select! {
            returned = &mut job => returned,
            next = signals.next() => return Attempt::Forced(ending.forced(signal.or(Some(next)))),
            () = tokio::time::sleep(GRACE) => return Attempt::Forced(ending.forced(signal)),
        }
    };
    let job = returned.unwrap_or_else(|panic| Err(RunError::Internal(panic.to_string())));
    Attempt::Returned(Box::new(job), signal)
}

/// Writes the result, then what there is to say of it.
fn tell(returned: JobEnd, ending: &Ending, format: Format) -> Exit {
    ending.screen.close();
    if returned.signal.is_some() && returned.left.is_some() {
        // The cursor is where the person was typing.
        let _ = writeln!(io::stderr().lock());
    }
    let written = returned.job.as_ref().map_or(Ok(()), |outcome| {
        let stdout = io::stdout();
        result::write(outcome, format, &mut stdout.lock(), stdout.is_terminal())
    });
    ending.returned(returned, written)
}
