//! The library's door: [`run`] and [`resume`], with their [`Options`]. Embedding programs and the command line call
//! them; the folders behind it drive jobs, Runs and tools, and leave decisions about a Run to [`crate::machine`].

mod budget;
mod clock;
mod dry_run;
mod error;
pub mod history;
mod job;
mod job_result;
mod joined_deltas;
#[cfg(feature = "s3")]
pub mod object_store;
mod options;
mod recorded_job;
mod run;
pub mod snapshots;
mod stop;
mod tape;
mod tools;

use crate::config::lockfile::DiscoveredTools;
use crate::expert::ExpertKey;
use crate::runtime::tools::open::ToolSource;
use crate::tool::ToolSpec;

pub use clock::SystemClock;
pub use dry_run::{AllPermissions, DRY_RUN_SCHEMA_VERSION, DryRun, TrustState};
pub use error::{ErrorClass, FallbackProblem, RunError, hint};
pub use job::connector::Connector;
pub use job::job_plan::{FirstAction, JobPlan, PlannedSearch, PlannedTool, ToolPermission};
pub use job::plan::PlanInput;
pub use job::{EndingServers, RecordedEnd};
pub use job_result::{JobResult, RESULT_SCHEMA_VERSION};
pub use options::{
    AccountEnd, AccountUse, AnswerInput, BeyondRecording, CassetteMode, InDoubt, Options, Outcome, ResumeFrom,
    ResumeInput, RunInput, VERSION,
};
pub use recorded_job::{PartInput, RecordedJob};
pub use run::instruction_change::{InstructionPart, changed_instruction};
pub use run::verify::verify_apart;
pub use tools::containment::{SandboxRules, with_agent_skills};
pub use tools::search::SearchState;
pub use tools::servers::programs_of;

/// Runs a new job: `input.expert` on `input.query`.
///
/// # Errors
/// [`RunError`]; a Run that stops by error, at its step limit or for an answer is no error but an [`Outcome`].
pub async fn run(input: RunInput, options: &Options) -> Result<Outcome, RunError> {
    Ok(run_to_record(input, options).await?.closed().await)
}

/// As [`run`], but does not wait for the servers of the job: its answer can be shown while they end.
///
/// # Errors
/// As [`run`].
pub async fn run_to_record(input: RunInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let options = options.joining_deltas();
    Box::pin(job::run(input, &options)).await
}

/// All that a job would begin or go on with: nothing is sent, started or written.
///
/// # Errors
/// Those of a run before its first request, without those of servers.
pub async fn plan(input: PlanInput, options: &Options) -> Result<JobPlan, RunError> {
    job::plan::plan(input, options).await
}

/// Continues a job from a checkpoint.
///
/// A Run that was killed is recovered as itself: what is on record is not done again. Otherwise a new Run begins that
/// names the checkpoint as its parent and leaves everything before as it is.
///
/// # Errors
/// As [`run`].
pub async fn resume(input: ResumeInput, options: &Options) -> Result<Outcome, RunError> {
    Ok(resume_to_record(input, options).await?.closed().await)
}

/// As [`resume`], but does not wait for the servers of the job: see [`run_to_record`].
///
/// # Errors
/// As [`run`].
pub async fn resume_to_record(input: ResumeInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let options = options.joining_deltas();
    Box::pin(job::resume::resume(input, &options)).await
}

/// Brings a job to its end: starts it, continues it, or returns the answer on record when it has completed. The job is that of
/// `input.job_id`; without one, a new job is run. For supervisors, and for CI steps that are run again.
///
/// # Errors
/// As [`run`] and [`resume`], or a job of that id is there with another query.
pub async fn ensure(input: RunInput, options: &Options) -> Result<Outcome, RunError> {
    Ok(ensure_to_record(input, options).await?.closed().await)
}

/// As [`ensure`], but does not wait for the servers of the job: see [`run_to_record`].
///
/// # Errors
/// As [`ensure`].
pub async fn ensure_to_record(input: RunInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let options = options.joining_deltas();
    Box::pin(job::ensure::ensure(input, &options)).await
}

/// Gives the answer to the question that a job waits with at `input.checkpoint`. Where it has gone on from there, it is
/// brought to its end as by [`ensure`], and the answer is not given a second time. For supervisors that try again.
///
/// # Errors
/// As [`resume`], or there is no such job.
pub async fn answer_to_record(input: AnswerInput, options: &Options) -> Result<RecordedEnd, RunError> {
    let options = options.joining_deltas();
    Box::pin(job::ensure::answer(input, &options)).await
}

/// The tools that `expert` would see: those of servers from `options.lockfile` where it serves, else as the servers
/// list them now.
///
/// ```
/// use perstack::expert::Expert;
/// use perstack::expert_map::ExpertMap;
/// use perstack::runtime::{self, Options};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let owl = Expert::new("owl".parse()?, "You know owls.");
/// let options = Options::new(ExpertMap::from([owl]), std::env::temp_dir());
/// let tools = runtime::tools(&"owl".parse()?, &options).await?;
/// assert!(tools.iter().any(|tool| tool.name == "readTextFile"));
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Errors
/// The expert is not defined, a skill of it cannot be opened, or the lock must serve and cannot.
pub async fn tools(expert: &ExpertKey, options: &Options) -> Result<Vec<ToolSpec>, RunError> {
    Ok(list(expert, options).await?.tools)
}

/// As [`tools`], with warnings; no server is started where the lock serves.
///
/// # Errors
/// As [`tools`].
pub async fn list(expert: &ExpertKey, options: &Options) -> Result<DiscoveredTools, RunError> {
    let lock = tools::lock::choose(options.experts.get(expert)?, options)?;
    let source = lock.servers.as_ref().map_or(ToolSource::Servers, |lock| ToolSource::Definitions(lock.tools()));
    let mut listed = tools::open::discover(expert, options, source).await?;
    listed.warnings.extend(std::mem::take(&mut listed.unmatched));
    listed.warnings.extend(lock.warnings);
    Ok(listed)
}

/// The tools of `expert` and the protocols of its servers, as a lock holds them. Every skill is opened for it, lock or
/// not.
///
/// # Errors
/// As [`tools`].
pub async fn discover_tools(expert: &ExpertKey, options: &Options) -> Result<DiscoveredTools, RunError> {
    tools::open::discover(expert, options, ToolSource::Servers).await
}
