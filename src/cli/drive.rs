//! A job from start to end: what `run` and `resume` share once they know what is asked.
//!
//! Starts the async runtimes, watches for signals and writes the result; what is told of the ending is [`super::ending`]'s.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use perstack::runtime::{self, Cassette, Options, Outcome, ResumeInput, RunError, RunInput};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::ending::{Ending, FAREWELL};
use super::failure::Failure;
use super::options::{Format, JobArgs};
use super::render::{Screen, result, visible};
use super::setup::Setup;
use super::signals::{Signal, Signals};
use super::words::Words;
use super::{Exit, Process};

/// How long a job may take to record what it has after it was told to stop: more than the grace that its tools get.
const GRACE: Duration = Duration::from_secs(10);

/// Threads of the async runtime. Work waits for models, tools and disks, so two keep up with any number of Runs.
const WORKERS: usize = 2;

/// What is asked for.
pub enum Ask {
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
pub fn drive(process: &Process, args: &JobArgs, setup: Setup, ask: Ask, live: &Words) -> Result<Exit, Failure> {
    let format = args.output.format()?;
    let cancel = CancellationToken::new();
    let screen = Arc::new(Screen::new(process, &args.output, format, &cancel));
    let cassette = args.session.cassette(&process.folder);
    let options = setup.options(process, screen.sink(), cancel, args.session.in_doubt.into(), cassette);
    if let Cassette::Replay { file, .. } = &options.cassette {
        let file = visible(&file.display().to_string());
        screen.say(&format!("replaying a recorded session from {file}; to run it live: {live}"));
    }
    let ending = Arc::new(Ending { args: args.clone(), screen, max_steps: options.settings.limits.max_steps });
    let workers = async_runtime()?;
    // A sink may block a worker (a stalled pipe), and with it the workers' own timers and signals. So the watch is kept
    // by a runtime of its own, on this thread.
    let watcher = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .map_err(Failure::other)?;
    let exit = watcher.block_on(watch(ask, options, workers.handle(), ending, format));
    // Threads that still block must not keep the program.
    watcher.shutdown_background();
    workers.shutdown_background();
    exit.map_err(Failure::other)
}

/// Has the workers do the job. After the first signal it gets [`GRACE`] to stop; the second ends the program at once.
async fn watch(
    ask: Ask,
    options: Options,
    workers: &Handle,
    ending: Arc<Ending>,
    format: Format,
) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let cancel = options.cancel.clone();
    let mut job = workers.spawn(async move {
        match ask {
            Ask::Run(input) => runtime::run(input, &options).await,
            Ask::Resume(input) => runtime::resume(input, &options).await,
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
            next = signals.next() => return Ok(ending.forced(signal.or(Some(next)))),
            () = tokio::time::sleep(GRACE) => return Ok(ending.forced(signal)),
        }
    };
    let job = returned.unwrap_or_else(|panic| Err(RunError::Internal(panic.to_string())));
    let told = tokio::task::spawn_blocking({
        let ending = ending.clone();
        move || tell(job, &ending, signal, format)
    });
    tokio::select! {
        exit = told => Ok(exit?),
        next = signals.next() => Ok(ending.forced(Some(next))),
    }
}

/// Writes the result, then what there is to say of it.
fn tell(job: Result<Outcome, RunError>, ending: &Ending, signal: Option<Signal>, format: Format) -> Exit {
    ending.screen.close();
    let written = job.as_ref().map_or(Ok(()), |outcome| {
        let stdout = io::stdout();
        result::write(outcome, format, &mut stdout.lock(), stdout.is_terminal())
    });
    ending.returned(job, written, signal)
}
