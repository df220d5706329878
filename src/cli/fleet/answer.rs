//! `perstack fleet answer`: the answer to the question that a submitted job waits with.

use anyhow::anyhow;
use clap::Args;
use perstack::id::{CheckpointId, JobId};
use serde_json::Value;

use super::ingress::{FleetJob, IngressArgs};
use super::turn::{TurnAnswer, TurnInput};
use crate::cli::failure::Failure;
use crate::cli::input::{InputArgs, InputSources};
use crate::cli::job_runner::async_runtime;
use crate::cli::{Exit, Process};

/// Answers the question that a job waits with
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  perstack fleet answer nightly \"The night owl.\" --to http://127.0.0.1:8080")]
pub struct AnswerArgs {
    /// The job's id
    job: JobId,
    /// The answer; read from stdin if it is `-`
    answer: String,
    #[command(flatten)]
    ingress: IngressArgs,
}

/// Runs the command.
pub fn run(args: &AnswerArgs, process: &Process) -> Result<Exit, Failure> {
    let job = args.ingress.job(args.job.clone(), process)?;
    let sources = InputSources {
        query: Some(&args.answer),
        with_stdin: false,
        is_answer: true,
        args: &InputArgs::default(),
        folder: &process.folder,
        quiet: false,
    };
    let text = sources.required()?.query;
    async_runtime()?.block_on(answer(&job, text))?;
    Ok(Exit::Completed)
}

async fn answer(job: &FleetJob, text: String) -> Result<(), Failure> {
    let state = job.state().await?;
    let waiting = state.as_ref().and_then(|state| {
        let end = state.end.as_ref().filter(|end| end.exit == Exit::Interactive as u8)?;
        let checkpoint: CheckpointId =
            end.result.as_ref()?.get("checkpointId").and_then(Value::as_str)?.parse().ok()?;
        Some((state, checkpoint))
    });
    let Some((state, checkpoint)) = waiting else {
        return Err(Failure::usage(anyhow!("job {} does not wait for an answer", job.id()))
            .help(format!("`perstack fleet wait {}` shows its end", job.id())));
    };
    let input = TurnInput { answer: Some(TurnAnswer { checkpoint, text }), ..state.input.clone() };
    job.send(&input).await?;
    Ok(())
}
