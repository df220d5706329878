//! A job from start to end: what `run` and `resume` share once they know what is asked.
//!
//! Watches for signals, writes the result, and turns the way the job ended into an exit code and into the command that
//! continues it.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::Context;
use perstack::checkpoint::{CheckpointHead, Status};
use perstack::runtime::{self, Cassette, Options, Outcome, ResumeInput, RunError, RunInput};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::options::{Format, JobArgs, Setup};
use super::render::{Screen, count, result, shortened, steps, visible};
use super::signals::{Signal, Signals};
use super::words::Words;
use super::{Exit, Process};

/// How long a job may take to record what it has after it was told to stop: more than the grace that its tools get.
const GRACE: Duration = Duration::from_secs(10);

/// How long the terminal may take to be put in order when the program ends at once.
const FAREWELL: Duration = Duration::from_millis(500);

/// Threads of the async runtime. Work waits for models, tools and disks, so two keep up with any number of Runs.
const WORKERS: usize = 2;

/// Most characters of a question's arguments.
const QUESTION_WIDTH: usize = 500;

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
    let end = End { args, screen, signal, max_steps };
    match ended {
        Ended::Returned(job, written) => {
            end.screen.close();
            Ok(end.returned(job, written))
        }
        Ended::Forced => Ok(end.forced()),
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
    let job = returned.unwrap_or_else(|panic| Err(RunError::Failed(format!("internal error: {panic}")))).map(Arc::new);
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

/// What is to be told when a job has ended.
struct End<'a> {
    args: &'a JobArgs,
    screen: Arc<Screen>,
    signal: Option<Signal>,
    /// Of this invocation.
    max_steps: u64,
}

impl End<'_> {
    /// The job returned.
    fn returned(&self, job: Result<Arc<Outcome>, RunError>, written: io::Result<()>) -> Exit {
        match job {
            Ok(outcome) => {
                let exit = self.stopped(&outcome);
                match self.output_failure(written, &outcome) {
                    // A stop's own code says more than that its result could not be written.
                    Some(failure) if exit == Exit::Completed => {
                        failure.print(self.screen.paint());
                        failure.exit()
                    }
                    _ => exit,
                }
            }
            Err(error) => {
                let failure = Failure::from(error);
                failure.print(self.screen.paint());
                match (self.signal, failure.exit()) {
                    (_, Exit::Usage) => Exit::Usage,
                    (Some(signal), Exit::Failed) => self.continue_job(signal.exit()),
                    (_, exit) => self.continue_job(exit),
                }
            }
        }
    }

    /// The program ends before the job has returned. The terminal may be what blocks, so it gets a limit too.
    fn forced(&self) -> Exit {
        let exit = self.signal.map_or(Exit::Failed, Signal::exit);
        let words = self.screen.job().map(|job| continuation(job.as_str(), None, self.args));
        let screen = self.screen.clone();
        let (sender, done) = sync_channel::<()>(1);
        std::thread::spawn(move || {
            screen.close();
            screen.say("stopped at once; what was recorded is kept");
            tell_continuation(&screen, words.as_ref());
            drop(sender);
        });
        // Either end of the wait is right: told, or too late to be told.
        let _ = done.recv_timeout(FAREWELL);
        exit
    }

    /// The job stopped with a checkpoint.
    fn stopped(&self, outcome: &Outcome) -> Exit {
        let head = &outcome.checkpoint.head;
        match head.status {
            Status::Completed => {
                let tokens = count(head.usage.total_tokens);
                self.screen.say(&format!("completed: {}, {tokens} tokens", steps(outcome.steps)));
                return Exit::Completed;
            }
            Status::StoppedByExceededMaxSteps => {
                self.screen.say(&format!("stopped: the maximum of {} is reached", steps(self.max_steps)));
                let mut args = self.args.clone();
                args.model.max_steps = Some(head.step_number.saturating_add(self.max_steps));
                tell_continuation(&self.screen, Some(&continuation(head.id.as_str(), None, &args)));
                return Exit::MaxSteps;
            }
            Status::StoppedByInteractiveTool => {
                for question in questions(head) {
                    self.screen.say(&question);
                }
            }
            Status::StoppedByCancellation => self.screen.say(match self.signal {
                Some(Signal::Interrupt) => "stopped by SIGINT",
                Some(Signal::Terminate) => "stopped by SIGTERM",
                None => "stopped: nobody reads the events any more",
            }),
            Status::StoppedByError | Status::Init | Status::Proceeding | Status::StoppedByDelegate => {
                error_of(head).print(self.screen.paint());
            }
        }
        tell_continuation(&self.screen, Some(&continuation(head.id.as_str(), Some(head), self.args)));
        match (head.status, self.signal) {
            (Status::StoppedByInteractiveTool, _) => Exit::Interactive,
            (Status::StoppedByCancellation, Some(signal)) => signal.exit(),
            _ => Exit::Failed,
        }
    }

    /// What went wrong with stdout. A reader that has gone away is no error: the program ends quietly.
    fn output_failure(&self, written: io::Result<()>, outcome: &Outcome) -> Option<Failure> {
        let error = written.err().or_else(|| self.screen.events_error())?;
        if error.kind() == io::ErrorKind::BrokenPipe {
            return None;
        }
        let error = anyhow::Error::new(error).context("cannot write to standard output");
        Some(Failure::other(error).help(format!("the job's result is kept in {}", outcome.path.display())))
    }

    /// The job ended without a checkpoint of its own.
    fn continue_job(&self, exit: Exit) -> Exit {
        let words = self.screen.job().map(|job| continuation(job.as_str(), None, self.args));
        tell_continuation(&self.screen, words.as_ref());
        exit
    }
}

/// The command that continues from a checkpoint or job, with the flags that were given.
fn continuation(from: &str, head: Option<&CheckpointHead>, args: &JobArgs) -> Words {
    let mut words = Words::new(["perstack", "resume", from]);
    if head.is_some_and(|head| head.status == Status::StoppedByInteractiveTool) {
        words.word("ANSWER").word("-i");
    }
    args.add_to(&mut words);
    words
}

/// Ends stderr with the command that continues the job, `--quiet` or not.
fn tell_continuation(screen: &Screen, words: Option<&Words>) {
    if let Some(words) = words {
        screen.say("to continue:");
        screen.tell(&words.to_string());
    }
}

/// What a person is asked.
fn questions(head: &CheckpointHead) -> Vec<String> {
    let ask = |call: &perstack::tool::ToolCall| {
        let args = serde_json::to_string(&call.args).unwrap_or_default();
        format!("waiting for an answer: {} {}", visible(&call.tool_name), shortened(&visible(&args), QUESTION_WIDTH))
    };
    head.pending_tool_calls.iter().map(ask).collect()
}

/// Why a Run stopped by error, and where.
fn error_of(head: &CheckpointHead) -> Failure {
    let place = format!("in expert {}, step {}", head.expert.key, head.step_number);
    let what = match &head.error {
        Some(error) => match error.status_code {
            Some(status) => format!("{} ({}, status {status})", error.message, error.name),
            None => format!("{} ({})", error.message, error.name),
        },
        None => "the job ended without a result".to_owned(),
    };
    Failure::other(anyhow::anyhow!("{what}\n{place}"))
}
