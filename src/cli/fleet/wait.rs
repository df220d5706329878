//! `perstack fleet wait`: the end of a submitted job, as `run` would show it.

use std::io::Write as _;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use perstack::budget::Reached;
use perstack::id::JobId;
use serde::Deserialize as _;
use serde_json::Value;

use super::ingress::{FleetJob, IS_THERE_A_WORKER, IngressArgs};
use super::report;
use super::turn::{FleetJobState, TurnEnd};
use crate::cli::failure::Failure;
use crate::cli::job_runner::async_runtime;
use crate::cli::render::visible;
use crate::cli::warning::warn;
use crate::cli::{Exit, Process};

/// The pause between questions to an engine that is not there.
const PAUSE: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
Examples:
  perstack fleet wait nightly --to http://127.0.0.1:8080
  perstack fleet wait nightly --output json

It ends with the exit code of the job, as `perstack run` would: with 4 when it waits for an answer
(`perstack fleet answer`).";

/// Waits for a job, and prints its result
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct WaitArgs {
    /// The job's id
    job: JobId,
    /// Content of stdout: the final text, or the JSON object of `perstack run --output json`
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: ResultForm,
    #[command(flatten)]
    ingress: IngressArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ResultForm {
    Text,
    Json,
}

/// Runs the command.
pub fn run(args: &WaitArgs, process: &Process) -> Result<Exit, Failure> {
    let job = args.ingress.job(args.job.clone(), process)?;
    let (end, refused) = async_runtime()?.block_on(end_of(&job))?;
    if let Some(refused) = refused {
        warn(process, false, &format!("another submission as {} was refused: {refused}", job.id()));
    }
    let (out, err) = printed(&end, args.output, &job);
    // A reader that has gone away is no error.
    let _ = std::io::stdout().lock().write_all(out.as_bytes());
    let _ = std::io::stderr().lock().write_all(err.as_bytes());
    Exit::of_code(end.exit).ok_or_else(|| {
        Failure::other(anyhow!("the worker's program ended with {}, which is no exit code of this version", end.exit))
    })
}

/// The end of a job, and the reason why another one of its id was refused since.
type JobEnd = (TurnEnd, Option<String>);

/// Waits for the end. Workers are waited for too, and an engine that was there once.
async fn end_of(job: &FleetJob) -> Result<JobEnd, Failure> {
    job.check_engine().await?;
    report(&format!("waiting for {}", job.id()));
    let end = ended(job);
    let hint = async {
        if job.state().await.is_err_and(|error| error.may_pass) {
            report(&format!("no worker has answered yet: {IS_THERE_A_WORKER}"));
        }
        std::future::pending().await
    };
    tokio::select! {
        end = end => end,
        end = hint => end,
    }
}

async fn ended(job: &FleetJob) -> Result<JobEnd, Failure> {
    let id = job.id();
    loop {
        match job.end().await {
            Ok(Some(FleetJobState { end: Some(end), refused, .. })) => return Ok((end, refused)),
            Ok(Some(FleetJobState { end: None, .. })) => {
                return Err(Failure::other(anyhow!("the engine has ended the work on {id}, and no worker has"))
                    .help(format!("perstack fleet submit ... --job-id {id}")));
            }
            Ok(None) => {
                return Err(Failure::usage(anyhow!("no job {id} was submitted here"))
                    .help("with another label, or to another ingress?"));
            }
            Err(error) if error.may_pass => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The texts for stdout and stderr.
fn printed(end: &TurnEnd, form: ResultForm, job: &FleetJob) -> (String, String) {
    let text = end.result.as_ref().and_then(|result| result.get("text")).and_then(Value::as_str);
    let out = match (form, &end.result) {
        (ResultForm::Json, Some(result)) => format!("{result}\n"),
        (ResultForm::Text, _) => text.map(|text| format!("{text}\n")).unwrap_or_default(),
        (ResultForm::Json, None) => String::new(),
    };
    let id = job.id();
    // The last line of the worker's is about the worker's machine.
    let messages = end.messages.lines().filter(|line| !line.trim_start().starts_with("perstack resume"));
    let mut err: Vec<String> = messages.map(visible).collect();
    match Exit::of_code(end.exit) {
        Some(Exit::Completed) if end.result.is_none() => {
            err.push(format!("the result is too long to travel: perstack log {id}"));
        }
        Some(Exit::Completed | Exit::Usage) | None => {}
        Some(Exit::Interactive) => err.push(format!("perstack fleet answer {id} \"ANSWER\"")),
        Some(exit) => {
            let budget = end.result.as_ref().and_then(|result| result.get("budget"));
            // One that this version does not know goes by its exit code.
            let budget = budget.and_then(|budget| Reached::deserialize(budget).ok()).map(|budget| budget.to_string());
            err.push(format!("{id}: {}", budget.as_deref().unwrap_or(exit.means())));
            err.push(format!("perstack fleet submit ... --job-id {id}"));
        }
    }
    let err: String = err.into_iter().map(|line| line + "\n").collect();
    (out, err)
}
