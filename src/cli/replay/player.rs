//! [`play`]: the parts of a recorded job, one after the other, until a signal comes or one of them does not end as it was
//! recorded. `replay` and `test` call it with the options that they replay with.

use anyhow::Context as _;
use perstack::checkpoint::Status;
use perstack::runtime::{self, Options, Outcome, PartInput, RecordedJob, RunError};
use tokio_util::sync::CancellationToken;

use crate::cli::failure::Failure;
use crate::cli::job_runner::{GRACE, async_runtime, control_runtime};
use crate::cli::signals::{Signal, Signals};

/// The end of a replay.
pub struct ReplayEnd {
    /// Of the last part that was replayed; its steps are those of all of them.
    pub outcome: Outcome,
    /// The number of that part.
    pub part: usize,
    /// The signal that ended it early.
    pub signal: Option<Signal>,
}

/// Makes the options of a part.
pub type PartOptions<'a> = &'a dyn Fn(usize) -> Result<Options, Failure>;

/// Replays the first `parts` of `recorded`. `cancel` stops the jobs of the options.
///
/// # Errors
/// When a part cannot be begun, or the system refuses the runtimes.
pub fn play(
    recorded: &RecordedJob,
    parts: usize,
    options: PartOptions<'_>,
    cancel: &CancellationToken,
) -> Result<ReplayEnd, Failure> {
    let (workers, control) = (async_runtime()?, control_runtime()?);
    let played = control.block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals").map_err(Failure::other)?;
        let mut signal = None;
        let mut played: Option<ReplayEnd> = None;
        for part in 0..parts {
            let (input, options) = (recorded.input(part).map_err(Failure::other)?, options(part)?);
            let mut job = workers.spawn(async move { run_part(input, &options).await });
            let returned = tokio::select! {
                returned = &mut job => returned,
                first = signals.next() => {
                    signal = Some(first);
                    cancel.cancel();
                    tokio::time::timeout(GRACE, job).await.context("the replay does not end").map_err(Failure::other)?
                }
            };
            let outcome = match returned.unwrap_or_else(|lost| Err(RunError::Internal(lost.to_string()))) {
                // So it was when it was recorded: the process ended before the first Run of this part had begun.
                Err(RunError::StoppedAtStart) if recorded.end(part) == Some(Status::Proceeding) => continue,
                returned => returned?,
            };
            let before = played.take().map_or(0, |played| played.outcome.steps);
            let is_as_recorded = recorded.end(part) == Some(outcome.status);
            let steps = outcome.steps.saturating_add(before);
            played = Some(ReplayEnd { outcome: Outcome { steps, ..outcome }, part, signal });
            if signal.is_some() || !is_as_recorded {
                break;
            }
        }
        played.ok_or_else(|| Failure::other(anyhow::anyhow!("the recording has no parts")))
    });
    control.shutdown_background();
    workers.shutdown_background();
    played
}

/// Runs one part.
///
/// # Errors
/// As [`runtime::run`] and [`runtime::resume`].
pub async fn run_part(input: PartInput, options: &Options) -> Result<Outcome, RunError> {
    match input {
        PartInput::Run(input) => runtime::run(input, options).await,
        PartInput::Resume(input) => runtime::resume(input, options).await,
    }
}
