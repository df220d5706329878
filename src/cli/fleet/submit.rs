//! `perstack fleet submit`: a job for the workers.

use std::io::Write as _;

use anyhow::anyhow;
use clap::Args;
use perstack::fact::{Clock as _, IdGenerator};
use perstack::id::{AccountId, JobId};
use perstack::runtime::SystemClock;
use perstack::workspace_source::WorkspaceSource;

use super::ingress::{FleetJob, IngressArgs};
use super::source::repository;
use super::turn::{FORMAT_VERSION, ProjectFiles, TurnInput, flags_of};
use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::input::{InputArgs, InputSources};
use crate::cli::job_runner::async_runtime;
use crate::cli::options::{ConfigArgs, ModelArgs};
use crate::cli::setup::{ProjectNeed, Setup};
use crate::cli::{Exit, Process};

const EXAMPLES: &str = "\
Examples:
  perstack fleet submit reviewer \"Review the last commit\" --to http://127.0.0.1:8080
  perstack fleet wait \"$(perstack fleet submit reviewer \"Review it\" --max-cost 2)\"

The id of the job is printed. The same id again is the same job: it is continued, with the budgets
that are given then, or its answer is there at once.";

/// Hands a job to the workers, and prints its id
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct SubmitArgs {
    /// The expert that starts the job
    #[arg(add = candidates::experts())]
    expert: String,
    /// The question or task; read from stdin if it is `-`, or absent while stdin is no terminal
    query: Option<String>,
    /// Id of the job [default: a new one]
    #[arg(long, value_name = "ID")]
    job_id: Option<JobId>,
    #[command(flatten)]
    ingress: IngressArgs,
    #[command(flatten, next_help_heading = "Model")]
    model: ModelArgs,
    /// Draw on this account of the workers' storage, together with all other jobs that do. --max-cost and --max-tokens are then
    /// its limits, from now on and for all of them; once it has limits, they need not be given again
    #[arg(long, value_name = "NAME", help_heading = "Budgets")]
    account: Option<AccountId>,
    /// Have the job work in a workspace of its own, made from this git repository (https://…, ssh://…, HOST:PATH) with
    /// #REVISION, a tag or a whole commit. The workers say which repositories they take (`--workspace-source`)
    #[arg(long, value_name = "SOURCE", help_heading = "Places")]
    workspace_from: Option<WorkspaceSource>,
    #[command(flatten, next_help_heading = "Places")]
    config: ConfigArgs,
}

/// Runs the command.
pub fn run(args: &SubmitArgs, process: &Process) -> Result<Exit, Failure> {
    let id = args.job_id.clone().unwrap_or_else(|| JobId::from(IdGenerator::new(SystemClock.stamp()).uuid()));
    let job = args.ingress.job(id, process)?;
    if let Some(source) = &args.workspace_from {
        repository(source).map_err(|why| {
            Failure::usage(anyhow!("--workspace-from: {why}"))
                .help("name a git repository with a tag or a whole commit: https://…#REVISION")
        })?;
    }
    let workspace_from = args.workspace_from.as_ref().map(ToString::to_string);
    let setup = Setup::read(process, &args.config.place(), &args.model, ProjectNeed::Required)?;
    let expert = setup.expert(&args.expert)?;
    let sources = InputSources {
        query: args.query.as_deref(),
        with_stdin: false,
        // What is piped in stands for the query alone.
        is_answer: true,
        args: &InputArgs::default(),
        folder: &process.folder,
        quiet: false,
    };
    let input = TurnInput {
        format_version: if args.account.is_some() || workspace_from.is_some() { FORMAT_VERSION } else { 1 },
        expert,
        query: sources.required()?.query,
        project: ProjectFiles::of(&setup).digest().map_err(Failure::usage)?,
        flags: flags_of(&args.model),
        account: args.account.clone(),
        workspace_from,
        answer: None,
    };
    async_runtime()?.block_on(hand_over(&job, &input))?;
    // A reader that has gone away is no error.
    let _ = writeln!(std::io::stdout().lock(), "{}", job.id());
    Ok(Exit::Completed)
}

/// Hands the job over. One that the engine has goes on, if it is the same and is not at work.
async fn hand_over(job: &FleetJob, input: &TurnInput) -> Result<(), Failure> {
    if job.begin(input).await? {
        return Ok(());
    }
    let known = job.begun().await?;
    if let Some(refusal) = known.refusal(input) {
        let id = job.id();
        return Err(Failure::usage(anyhow!("job {id}: {refusal}"))
            .help(format!("choose another id; `perstack fleet wait {id}` shows the end of that one")));
    }
    // A second turn behind the first would go on with it when it is cancelled.
    if known.is_at_work_on(input) { Ok(()) } else { job.send(input).await }
}
