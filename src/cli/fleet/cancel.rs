//! `perstack fleet cancel`: stops a submitted job. What it has recorded is kept, and it can go on.

use anyhow::anyhow;
use clap::Args;
use perstack::id::JobId;

use super::ingress::IngressArgs;
use crate::cli::failure::Failure;
use crate::cli::job_runner::async_runtime;
use crate::cli::{Exit, Process};

/// Stops a job
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  perstack fleet cancel nightly --to http://127.0.0.1:8080")]
pub struct CancelArgs {
    /// The job's id
    job: JobId,
    #[command(flatten)]
    ingress: IngressArgs,
}

/// Runs the command.
pub fn run(args: &CancelArgs, process: &Process) -> Result<Exit, Failure> {
    let job = args.ingress.job(args.job.clone(), process)?;
    if async_runtime()?.block_on(job.cancel())? {
        return Ok(Exit::Completed);
    }
    Err(Failure::usage(anyhow!("job {} is not at work", job.id())).help("`perstack fleet wait` shows how it ended"))
}
