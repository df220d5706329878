//! A job from the outside in: what it needs is checked and opened, its Runs are driven, its end is written down.

use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::FORMAT_VERSION;
use crate::fact::Mint;
use crate::id::{JobId, RunId};
use crate::job::{Job, JobStatus};
use crate::runtime::launch::{Errand, Shared, find_expert, open_tools};
use crate::runtime::session::Session;
use crate::runtime::tree::{self, Root, TreeEnd};
use crate::runtime::{Options, Outcome, RunError, RunInput};
use crate::store::Store;
use crate::usage::Usage;

/// Runs a job: a fresh Run of `input.expert`.
pub async fn run(input: RunInput, options: &Options) -> Result<Outcome, RunError> {
    let began = Instant::now();
    if input.query.trim().is_empty() {
        return Err(RunError::EmptyQuery);
    }
    let expert = find_expert(&input.expert, &options.experts)?;
    let session = Session::open(options)?;
    let query = session.redactor.text(&input.query);
    // A job whose tools cannot be had is not begun.
    let tools = open_tools(expert, options, false).await?;

    let stamp = session.clock.stamp();
    let mut mint = Mint::new(stamp);
    let job = Job {
        format_version: FORMAT_VERSION,
        id: input.job_id.unwrap_or_else(|| JobId::from(mint.uuid())),
        status: JobStatus::Running,
        coordinator_expert_key: expert.key.clone(),
        total_steps: 0,
        max_steps: Some(options.settings.limits.max_steps),
        usage: Usage::default(),
        started_at: stamp.at,
        finished_at: None,
        replayed: session.tape.is_replay(),
    };
    let store = Store::new(&options.storage);
    let errand = Errand::Begin { run: RunId::from(mint.uuid()), expert: input.expert, query, by: None, first_step: 1 };
    let shared = Shared { options: options.clone(), session, job: store.create_job(&job)?, store };
    work(shared, job, Root::Errand(Box::new(errand), Box::new(tools)), began).await
}

/// Drives a job from `root` and writes its end down.
///
/// # Errors
/// As [`tree::drive`].
pub async fn work(shared: Shared, mut job: Job, root: Root, began: Instant) -> Result<Outcome, RunError> {
    let shared = Arc::new(shared);
    let TreeEnd { root, status, steps, reached_step } = tree::drive(Arc::clone(&shared), root).await?;
    job.status = status.into();
    job.total_steps = job.total_steps.max(reached_step);
    job.usage = root.checkpoint.head.usage;
    let is_open = matches!(job.status, JobStatus::Running | JobStatus::StoppedByInteractiveTool);
    job.finished_at = (!is_open).then(|| shared.session.clock.stamp().at);
    shared.job.write_job(&job)?;
    // The job is whole on disk, whether or not all of it could be recorded.
    shared.session.tape.finish()?;
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Outcome { checkpoint: root.checkpoint, status, path: root.path, duration_ms, steps })
}
