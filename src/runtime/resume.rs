//! Going on: finding where, and as what. A Run that was killed goes on as itself; one that stopped, or any older
//! checkpoint, is continued by a new Run that names it as its parent.

use std::path::Path;
use std::time::Instant;

use indexmap::IndexMap;
use serde::Deserialize;

use crate::checkpoint::{Checkpoint, CheckpointHead, FORMAT_VERSION, Status};
use crate::event::InteractiveAnswer;
use crate::expert::{Expert, ExpertKey};
use crate::fact::Mint;
use crate::id::{JobId, RunId};
use crate::job::{Job, JobStatus};
use crate::runtime::history::{self, Past};
use crate::runtime::job::work;
use crate::runtime::launch::{Continuation, Errand, Shared, Stopped, find_expert};
use crate::runtime::session::Session;
use crate::runtime::tree::Root;
use crate::runtime::{Options, Outcome, ResumeFrom, ResumeInput, RunError};
use crate::setting::RunSetting;
use crate::store::{CheckpointBody, Found, JobStore, Store, StoreError};
use crate::tool::ToolCall;
use crate::usage::Usage;

/// Where to go on.
enum Ground {
    /// A Run whose process died: its log leads on.
    Killed { past: Box<Past>, run: RunId },
    /// A checkpoint to continue from.
    Checkpoint(Box<Checkpoint>),
}

impl Ground {
    fn head(&self) -> &CheckpointHead {
        match self {
            Self::Killed { past, .. } => past.machine.head(),
            Self::Checkpoint(checkpoint) => &checkpoint.head,
        }
    }
}

/// Continues a job.
pub async fn resume(input: ResumeInput, options: &Options) -> Result<Outcome, RunError> {
    let began = Instant::now();
    let store = Store::new(&options.storage);
    let found = find(&store, &input.from)?;
    let (job_store, found) = take_job(&store, found, options)?;
    let (ground, stored) = survey(&store, &job_store, &found)?;
    check_expert(input.expert.as_ref(), ground.head())?;
    let experts = definitions(&ground.head().expert.key, options, stored)?;
    let session = Session::open(options)?;
    let job = job_to_continue(&store, job_store.id(), &ground, &session, options);
    let shared = Shared { options: options.clone(), session, store, job: job_store, experts };
    let root = root_of(ground, input.query, &shared)?;
    shared.job.write_job(&job)?;
    work(shared, job, root, began).await
}

/// What the coordinator begins with, given where it stands and what the user says.
fn root_of(ground: Ground, query: Option<String>, shared: &Shared) -> Result<Root, RunError> {
    let checkpoint = match ground {
        Ground::Killed { past, run } if past.status().is_none() => {
            return Ok(Root::Errand(Box::new(Errand::GoOn { run, past, query })));
        }
        Ground::Killed { past, .. } => {
            // It had come to its end, but not to its last checkpoint: now it does, and is told.
            let stopped = shared.on_record(*past)?;
            let is_answer =
                matches!(stopped.checkpoint.head.status, Status::Completed | Status::StoppedByInteractiveTool);
            if query.is_none() && is_answer {
                return Ok(Root::Stopped { stopped: Box::new(stopped), query, is_fork: false });
            }
            stopped.checkpoint
        }
        Ground::Checkpoint(checkpoint) => *checkpoint,
    };
    let head = &checkpoint.head;
    let (query, answer) = match head.status {
        Status::StoppedByDelegate => {
            let newest = shared.store.find_job(&head.job_id)?;
            let is_fork = !matches!(newest, Found::Run { run, .. } if run == head.run_id);
            let path = shared.store.layout().checkpoint(&head.job_id, &head.run_id, head.step_number, &head.id);
            let stopped = Box::new(Stopped { checkpoint, path, steps: 0, on_record: true });
            return Ok(Root::Stopped { stopped, query, is_fork });
        }
        Status::StoppedByInteractiveTool => (None, Some(answer_of(&checkpoint, query)?)),
        Status::Completed if query.is_none() => return Err(RunError::NothingToDo { job: head.job_id.clone() }),
        Status::Init => return Err(RunError::NothingToDo { job: head.job_id.clone() }),
        _ => (query, None),
    };
    Ok(Root::Errand(Box::new(Errand::Continue(Box::new(Continuation {
        run: RunId::from(Mint::new(shared.session.clock.stamp()).uuid()),
        from: checkpoint,
        query,
        answer,
        answers: Vec::new(),
        reached_step: 0,
        delegated_usage: Usage::default(),
    })))))
}

fn find(store: &Store, from: &ResumeFrom) -> Result<Found, RunError> {
    Ok(match from {
        ResumeFrom::Latest => store.find("latest")?,
        ResumeFrom::Job(job) => store.find_job(job)?,
        ResumeFrom::Checkpoint(job, id) => Found::Checkpoint(store.find_checkpoint(job, id)?),
        ResumeFrom::Named(name) => store.find(name)?,
    })
}

/// Locks the job of what was found. A file from elsewhere is taken in first, so that the job can be resumed from here
/// on like any other.
fn take_job(store: &Store, found: Found, options: &Options) -> Result<(JobStore, Found), RunError> {
    match found {
        Found::File(path) => take_in(store, &path, options),
        Found::Checkpoint(entry) => Ok((store.open_job(&entry.job)?, Found::Checkpoint(entry))),
        Found::Run { job, run, checkpoint } => Ok((store.open_job(&job)?, Found::Run { job, run, checkpoint })),
    }
}

fn take_in(store: &Store, path: &Path, options: &Options) -> Result<(JobStore, Found), RunError> {
    let stored = store.read_checkpoint(path)?;
    let head = &stored.head;
    let CheckpointBody::Inline(messages) = &stored.body else {
        return Err(RunError::NotSelfContained { path: path.to_owned() });
    };
    let job = Job {
        format_version: FORMAT_VERSION,
        id: head.job_id.clone(),
        status: JobStatus::from(head.status),
        coordinator_expert_key: head.expert.key.clone(),
        total_steps: head.step_number,
        max_steps: None,
        usage: head.usage,
        started_at: stored.setting.as_ref().map_or(0, |setting| setting.started_at),
        finished_at: None,
        replayed: false,
    };
    let job_store = match store.create_job(&job) {
        Ok(job_store) => job_store,
        Err(StoreError::JobExists { .. }) => store.open_job(&job.id)?,
        Err(other) => return Err(other.into()),
    };
    if let Ok(entry) = store.find_checkpoint(&job.id, &head.id) {
        return Ok((job_store, Found::Checkpoint(entry)));
    }
    let setting = stored.setting.clone().unwrap_or_else(|| setting_of_a_stranger(&stored.head, options));
    let mut parent = job_store.create_run(&setting)?;
    let entry = parent.write_checkpoint_final(head, messages, &setting)?;
    Ok((job_store, Found::Checkpoint(entry)))
}

/// The setting of a Run of which only a checkpoint is known.
fn setting_of_a_stranger(head: &CheckpointHead, options: &Options) -> RunSetting {
    let settings = &options.settings;
    RunSetting {
        format_version: FORMAT_VERSION,
        model: settings.model.clone().unwrap_or_default(),
        provider_config: crate::setting::ProviderConfig {
            provider_name: settings.provider.unwrap_or(crate::setting::ProviderName::Anthropic),
            setting: crate::setting::ProviderSetting::default(),
        },
        job_id: head.job_id.clone(),
        run_id: head.run_id.clone(),
        expert_key: head.expert.key.clone(),
        experts: IndexMap::new(),
        reasoning_budget: settings.reasoning_budget,
        max_steps: settings.limits.max_steps,
        max_retries: settings.limits.max_retries,
        timeout: settings.timeout_ms,
        started_at: 0,
        updated_at: 0,
    }
}

/// Reads back where the job stands, and what it was set up with.
fn survey(store: &Store, job_store: &JobStore, found: &Found) -> Result<(Ground, Option<RunSetting>), RunError> {
    let job = job_store.id();
    match found {
        Found::Run { run, checkpoint, .. } => {
            let setting = store.setting(job, run).ok();
            let ground = match checkpoint {
                // A Run without facts was taken in as a file.
                Some(entry) if store.read_facts(job, run).map_or(true, |facts| facts.is_empty()) => {
                    Ground::Checkpoint(Box::new(history::read_checkpoint(store, entry)?))
                }
                _ => ground_of_run(store, job_store, run)?,
            };
            Ok((ground, setting))
        }
        Found::Checkpoint(entry) => {
            let setting = entry.run.as_ref().and_then(|run| store.setting(job, run).ok());
            if let Some(run) = &entry.run
                && let Ok(past) = history::read_run(store, job, run)
                && past.status().is_none()
                && past.last_save.as_ref().is_some_and(|save| save.head.id == entry.id)
            {
                // The newest checkpoint of a killed Run: what came after it is on record and is not done twice.
                return Ok((Ground::Killed { past: Box::new(past), run: run.clone() }, setting));
            }
            Ok((Ground::Checkpoint(Box::new(history::read_checkpoint(store, entry)?)), setting))
        }
        Found::File(path) => Err(RunError::NotSelfContained { path: path.clone() }),
    }
}

fn ground_of_run(store: &Store, job_store: &JobStore, run: &RunId) -> Result<Ground, RunError> {
    let past = history::read_run(store, job_store.id(), run)?;
    let is_stored = past.last_save.as_ref().is_some_and(|save| job_store.has_checkpoint(&save.head));
    match past.status() {
        Some(_) if is_stored => Ok(Ground::Checkpoint(Box::new(past.machine.into_checkpoint()))),
        _ => Ok(Ground::Killed { past: Box::new(past), run: run.clone() }),
    }
}

fn check_expert(wanted: Option<&ExpertKey>, head: &CheckpointHead) -> Result<(), RunError> {
    let actual = &head.expert.key;
    if head.delegated_by.is_some() {
        let (checkpoint, job) = (head.id.clone(), head.job_id.clone());
        return Err(RunError::DelegatesCheckpoint { checkpoint, expert: actual.clone(), job });
    }
    match wanted {
        Some(wanted) if wanted != actual => {
            Err(RunError::OtherExpert { checkpoint: actual.clone(), given: wanted.clone() })
        }
        _ => Ok(()),
    }
}

/// The experts to go on with: the project's definitions, or those kept with the checkpoint when the project has none of
/// its expert.
fn definitions(
    key: &ExpertKey,
    options: &Options,
    stored: Option<RunSetting>,
) -> Result<IndexMap<ExpertKey, Expert>, RunError> {
    if options.experts.contains_key(key) {
        return Ok(options.experts.clone());
    }
    let kept: IndexMap<ExpertKey, Expert> = stored
        .map(|setting| setting.experts.into_values().map(|expert| (expert.key.clone(), expert)).collect())
        .unwrap_or_default();
    if !kept.contains_key(key) {
        find_expert(key, &options.experts)?;
    }
    Ok(kept)
}

fn job_to_continue(store: &Store, id: &JobId, ground: &Ground, session: &Session, options: &Options) -> Job {
    let mut job = store.job(id).unwrap_or_else(|_| Job {
        format_version: FORMAT_VERSION,
        id: id.clone(),
        status: JobStatus::Running,
        coordinator_expert_key: ground.head().expert.key.clone(),
        total_steps: 0,
        max_steps: None,
        usage: Usage::default(),
        started_at: session.clock.stamp().at,
        finished_at: None,
        replayed: false,
    });
    job.format_version = FORMAT_VERSION;
    job.status = JobStatus::Running;
    job.finished_at = None;
    job.max_steps = Some(options.settings.limits.max_steps);
    job.replayed &= session.tape.is_replay();
    job
}

/// The JSON form of an answer, which names its call.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedAnswer {
    tool_call_id: String,
    tool_name: String,
    skill_name: String,
    text: String,
}

/// What the user answers, and to which call: the first that waits, or the one that the JSON form names.
fn answer_of(checkpoint: &Checkpoint, query: Option<String>) -> Result<InteractiveAnswer, RunError> {
    let pending = &checkpoint.head.pending_tool_calls;
    let Some(text) = query else {
        return Err(RunError::AnswerNeeded { questions: pending.iter().map(question).collect() });
    };
    if let Ok(named) = serde_json::from_str::<NamedAnswer>(&text) {
        if !pending.iter().any(|call| call.id == named.tool_call_id) {
            return Err(RunError::NoSuchCall { id: named.tool_call_id });
        }
        return Ok(InteractiveAnswer {
            tool_call_id: named.tool_call_id,
            tool_name: named.tool_name,
            skill_name: named.skill_name,
            text: named.text,
        });
    }
    let first = pending.first().ok_or_else(|| RunError::NothingToDo { job: checkpoint.head.job_id.clone() })?;
    Ok(InteractiveAnswer {
        tool_call_id: first.id.clone(),
        tool_name: first.tool_name.clone(),
        skill_name: first.skill_name.clone(),
        text,
    })
}

/// A call as a person reads it.
fn question(call: &ToolCall) -> String {
    format!("{} {}", call.tool_name, serde_json::Value::Object(call.args.clone()))
}
