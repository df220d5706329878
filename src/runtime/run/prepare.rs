//! [`prepare`]: the events of a Run begin, and its tools are opened. A job calls it for its coordinator before anything is
//! stored, so that a skill which cannot be opened leaves nothing behind but its events; every other Run is prepared as it
//! starts.

use std::sync::Arc;

use crate::event::{EventBody, InteractiveAnswer};
use crate::expert::Expert;
use crate::hint::ErrorHint as _;
use crate::runtime::error::RunError;
use crate::runtime::job::context::JobBasis;
use crate::runtime::options::VERSION;
use crate::runtime::run::context::native_tools;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::run::task::RunTask;
use crate::runtime::tools::Toolset;
use crate::runtime::tools::open::open_tools;

/// A Run whose events have begun and whose tools are open.
pub struct PreparedRun {
    pub emitter: EventEmitter,
    pub toolset: Toolset,
}

/// Announces the Run of `task` and opens the tools of its expert. Skills report while they start, so that a reader of the
/// events sees what is being waited for, and what failed. `warnings` are emitted with those of the tools.
///
/// # Errors
/// As [`open_tools`], or no model is known for the expert.
pub async fn prepare(
    job: JobBasis<'_>,
    task: &RunTask,
    expert: &Expert,
    warnings: Vec<String>,
) -> Result<PreparedRun, RunError> {
    let emitter = EventEmitter {
        sink: Arc::clone(&job.options.sink),
        clock: job.backends.clock_of(task.run()),
        job_id: job.job_id.clone(),
        run_id: task.run().clone(),
        expert: expert.key.clone(),
    };
    emitter.emit(initialize(job, task, expert)?);
    let (_, is_delegate) = task.expert();
    let skills = job.files.agent_skills(&expert.key);
    let toolset = open_tools(expert, job.options, job.backends, skills, job.stop, &emitter, is_delegate).await?;
    let models = job.backends.models_for(expert, &job.options.settings)?;
    let not_run = models.native_warnings(native_tools(expert));
    for message in warnings.into_iter().chain(toolset.warnings.iter().cloned()).chain(not_run) {
        emitter.emit(EventBody::RuntimeWarning { message });
    }
    for error in &toolset.missing {
        emitter.emit(EventBody::RuntimeWarning { message: format!("{}; its tools are missing", error.with_hint()) });
    }
    Ok(PreparedRun { emitter, toolset })
}

fn initialize(job: JobBasis<'_>, task: &RunTask, expert: &Expert) -> Result<EventBody, RunError> {
    let (settings, provider) = (&job.options.settings, &job.backends.provider);
    let models = job.backends.models_for(expert, settings)?;
    let model = models.first.model.clone();
    let reachable = job.options.experts.reachable(&expert.key)?.into_iter();
    let (query, answer): (Option<&String>, Option<&InteractiveAnswer>) = match task {
        RunTask::Start { query, .. } => (Some(query), None),
        RunTask::Continue(start) => (start.query.as_ref().map(|input| &input.text), start.answer.as_ref()),
        RunTask::Recover { query, .. } => (query.as_ref().map(|input| &input.text), None),
    };
    Ok(EventBody::InitializeRuntime {
        runtime_version: VERSION.to_owned(),
        runtime: "local".to_owned(),
        expert_name: expert.name.clone(),
        experts: reachable.map(|expert| expert.key.as_str().to_owned()).collect(),
        provider: provider.name().as_str().to_owned(),
        context_window: provider.context_window(&model),
        model,
        fallback: models.fallback_names(),
        max_steps: settings.limits.max_steps,
        max_retries: settings.limits.max_retries,
        timeout: settings.timeout_ms,
        query: query.cloned(),
        interactive_tool_call: answer.cloned(),
        sandbox: job.backends.sandbox_state(job.options),
    })
}
