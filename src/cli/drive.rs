//! A job from start to end: what `run` and `resume` share once they know what is asked.
//!
//! Starts the async runtime, watches for signals and writes the result; what is told of the ending is [`super::ending`]'s.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use perstack::runtime::{self, Cassette, Options, Outcome, ResumeInput, RunError, RunInput};
use tokio_util::sync::CancellationToken;

use super::ending::Ending;
use super::failure::Failure;
use super::options::{Format, JobArgs, Setup};
use super::render::{Screen, result, visible};
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

/// How watching a job ended.
enum Ended {
    /// The job returned; its result was written, or why not.
    Returned(Result<Arc<Outcome>, RunError>, io::Result<()>),
    /// The program ends without waiting any longer.
    Forced,
}

/// Starts a small async runtime.
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
    let max_steps = options.settings.limits.max_steps;
    let runtime = async_runtime()?;
    let watched = runtime.block_on(watch(ask, options, &screen, format));
    // Threads that still block (a stalled pipe, a tool that does not end) must not keep the program.
    runtime.shutdown_background();
    let (ended, signal) = watched.map_err(Failure::other)?;
    let ending = Ending { args, screen, signal, max_steps };
    match ended {
        Ended::Returned(job, written) => Ok(ending.returned(job, written)),
        Ended::Forced => Ok(ending.forced()),
    }
}

/// Runs the job to its end, or to the second signal, or for [`GRACE`] after the first.
async fn watch(ask: Ask, options: Options, screen: &Screen, format: Format) -> anyhow::Result<(Ended, Option<Signal>)> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let cancel = options.cancel.clone();
    // A task of its own: a sink that blocks on a stalled pipe then keeps a worker, and signals are still heard.
    let mut job = tokio::spawn(async move {
        match ask {
            Ask::Run(input) => runtime::run(input, &options).await,
            Ask::Resume(input) => runtime::resume(input, &options).await,
        }
    });
    let mut signal = None;
    let returned = tokio::select! {
        returned = &mut job => Some(returned),
        first = signals.next() => { signal = Some(first); None }
        // Nobody reads the events any more.
        () = cancel.cancelled() => None,
    };
    let returned = if let Some(returned) = returned {
        returned
    } else {
        cancel.cancel();
        if signal.is_some() {
            screen.say("stopping: what was done is being recorded; once more to stop at once");
        }
        tokio::select! {
            returned = &mut job => returned,
            next = signals.next() => return Ok((Ended::Forced, signal.or(Some(next)))),
            () = tokio::time::sleep(GRACE) => return Ok((Ended::Forced, signal)),
        }
    };
    let job = returned.unwrap_or_else(|panic| Err(RunError::Internal(panic.to_string()))).map(Arc::new);
    let Ok(outcome) = &job else { return Ok((Ended::Returned(job, Ok(())), signal)) };
    screen.close();
    let outcome = outcome.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let stdout = io::stdout();
        result::write(&outcome, format, &mut stdout.lock(), stdout.is_terminal())
    });
    tokio::select! {
        written = writing => Ok((Ended::Returned(job, written.unwrap_or_else(|e| Err(io::Error::other(e)))), signal)),
        next = signals.next() => Ok((Ended::Forced, Some(next))),
    }
}
