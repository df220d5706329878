//! Going on: finding where, and as what. A Run that was killed goes on as itself; one that stopped, or any older
//! checkpoint, is continued by a new Run that names it as its parent.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;
use serde::Deserialize;

use crate::checkpoint::{Checkpoint, FORMAT_VERSION, Status};
use crate::content::Content;
use crate::event::InteractiveAnswer;
use crate::expert::{Expert, ExpertKey};
use crate::fact::{FactBody, Mint, ParentCheckpoint, Resumption};
use crate::id::{JobId, RunId};
use crate::job::{Job, JobStatus};
use crate::machine::RunMachine;
use crate::runtime::history::{self, Past};
use crate::runtime::inventory;
use crate::runtime::job::{Opening, Work, find_expert, place};
use crate::runtime::recorder::Recorder;
use crate::runtime::session::Session;
use crate::runtime::{Options, Outcome, ResumeFrom, ResumeInput, RunError};
use crate::setting::RunSetting;
use crate::store::{CheckpointBody, Found, JobStore, Store, StoreError};
use crate::tool::{ToolCall, ToolResult};
use crate::usage::Usage;

/// Where to go on.
enum Ground {
    /// A Run whose process died: its log leads on.
    Killed { past: Box<Past>, run: RunId },
    /// A checkpoint to continue from.
    Checkpoint(Box<Checkpoint>),
}

impl Ground {
    fn expert(&self) -> &ExpertKey {
        match self {
            Self::Killed { past, .. } => &past.machine.head().expert.key,
            Self::Checkpoint(checkpoint) => &checkpoint.head.expert.key,
        }
    }

    /// How the Run ended, if it did.
    fn status(&self) -> Option<Status> {
        match self {
            Self::Killed { past, .. } => past.status(),
            Self::Checkpoint(checkpoint) => Some(checkpoint.head.status),
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
    check_expert(input.expert.as_ref(), ground.expert())?;
    if input.is_answer && ground.status() != Some(Status::StoppedByInteractiveTool) {
        return Err(RunError::NothingAsked { job: job_store.id().clone() });
    }
    let options = &as_recorded(options, ground.expert(), stored.as_ref());
    let (expert, experts) = definitions(ground.expert(), options, stored)?;
    let session = Session::open(options)?;
    let job = job_to_continue(&store, job_store.id(), &ground, &session);
    let work = Work { options, session: &session, store: job_store, job, expert, experts, began };
    match ground {
        Ground::Killed { past, run } if past.status().is_none() => work.go_on(*past, run, input.query).await,
        Ground::Killed { past, run } => Box::pin(work.finish(*past, &run, input.query)).await,
        Ground::Checkpoint(checkpoint) => work.continue_from(*checkpoint, input.query).await,
    }
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
fn setting_of_a_stranger(head: &crate::checkpoint::CheckpointHead, options: &Options) -> RunSetting {
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

fn check_expert(wanted: Option<&ExpertKey>, actual: &ExpertKey) -> Result<(), RunError> {
    match wanted {
        Some(wanted) if wanted != actual => {
            Err(RunError::OtherExpert { checkpoint: actual.clone(), given: wanted.clone() })
        }
        _ => Ok(()),
    }
}

/// The expert to go on as: the project's definition, else the one kept with the checkpoint.
fn definitions(
    key: &ExpertKey,
    options: &Options,
    stored: Option<RunSetting>,
) -> Result<(Expert, IndexMap<ExpertKey, Expert>), RunError> {
    if let Some(expert) = options.experts.get(key) {
        return Ok((expert.clone(), options.experts.clone()));
    }
    let kept: IndexMap<ExpertKey, Expert> = stored
        .map(|setting| setting.experts.into_values().map(|expert| (expert.key.clone(), expert)).collect())
        .unwrap_or_default();
    match kept.get(key) {
        Some(expert) => Ok((expert.clone(), kept)),
        None => find_expert(key, &options.experts).map(|expert| (expert.clone(), IndexMap::new())),
    }
}

/// The options; where no configuration defines the expert or names a provider, with the provider and the model that the
/// checkpoint was made with. The address of the provider is never taken from a checkpoint: a file that came from
/// elsewhere must not say where keys are sent.
fn as_recorded(options: &Options, key: &ExpertKey, stored: Option<&RunSetting>) -> Options {
    let mut options = options.clone();
    let Some(stored) = stored.filter(|_| !options.experts.contains_key(key)) else { return options };
    let name = stored.provider_config.provider_name;
    let settings = &mut options.settings;
    if *settings.provider.get_or_insert(name) == name && settings.model.is_none() {
        settings.model = Some(stored.model.clone()).filter(|model| !model.is_empty());
    }
    options
}

fn job_to_continue(store: &Store, id: &JobId, ground: &Ground, session: &Session) -> Job {
    let mut job = store.job(id).unwrap_or_else(|_| Job {
        format_version: FORMAT_VERSION,
        id: id.clone(),
        status: JobStatus::Running,
        coordinator_expert_key: ground.expert().clone(),
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
    job.replayed &= session.tape.is_replay();
    job
}

impl Work<'_> {
    /// A Run whose process died goes on as itself.
    async fn go_on(mut self, past: Past, run: RunId, query: Option<String>) -> Result<Outcome, RunError> {
        let inventory = inventory::open(&self.expert, place(self.options))?;
        self.job.max_steps = Some(self.options.settings.limits.max_steps);
        self.store.write_job(&self.job)?;
        let setting = self.setting(&run, self.session.clock.stamp().at);
        let run_store = self.store.open_run(&run)?;
        let mut recorder = Recorder::new(run_store, setting.clone(), Arc::clone(&self.options.sink));
        self.catch_up(&mut recorder, &past)?;
        let resumption = Resumption {
            run_id: run.clone(),
            parent: None,
            query: query.clone(),
            answers: Vec::new(),
            surroundings: self.surroundings(&inventory, &setting.model),
        };
        let opening = Opening { run_id: run, query, answer: None, overdue: past.events };
        let first = FactBody::Resumed { resumption: Box::new(resumption) };
        self.execute(past.machine, first, recorder, inventory, &setting, opening).await
    }

    /// A Run that had come to its end when its process died, but not to its last checkpoint.
    async fn finish(mut self, past: Past, run: &RunId, query: Option<String>) -> Result<Outcome, RunError> {
        let setting = self.setting(run, self.session.clock.stamp().at);
        let run_store = self.store.open_run(run)?;
        let mut recorder = Recorder::new(run_store, setting, Arc::clone(&self.options.sink));
        self.catch_up(&mut recorder, &past)?;
        for event in &past.events {
            self.options.sink.emit(event, past.machine.messages());
        }
        let status = past.status().unwrap_or(past.machine.head().status);
        let checkpoint = past.machine.into_checkpoint();
        let goes_on = query.is_some() || !matches!(status, Status::Completed | Status::StoppedByInteractiveTool);
        if goes_on {
            drop(recorder);
            return self.continue_from(checkpoint, query).await;
        }
        self.conclude(checkpoint, &recorder, status, 0)
    }

    /// Stores the checkpoint that the dead process owed. One that is missing although facts follow it was removed by
    /// somebody; the log has what it held.
    fn catch_up(&self, recorder: &mut Recorder, past: &Past) -> Result<(), RunError> {
        if let Some(save) = past.last_save.as_ref().filter(|_| !past.goes_beyond_save)
            && !self.store.has_checkpoint(&save.head)
        {
            recorder.keep(Some(save), &past.machine)?;
            recorder.settle()?;
        }
        Ok(())
    }

    /// A new Run continues from `checkpoint`.
    async fn continue_from(mut self, checkpoint: Checkpoint, query: Option<String>) -> Result<Outcome, RunError> {
        let (query, answer) = match checkpoint.head.status {
            Status::StoppedByInteractiveTool => (None, Some(answer_of(&checkpoint, query)?)),
            Status::StoppedByDelegate => {
                return Err(RunError::DelegationNotSupported {
                    expert: checkpoint.head.expert.key.clone(),
                    delegate: checkpoint
                        .head
                        .delegate_to
                        .first()
                        .map_or_else(|| checkpoint.head.expert.key.clone(), |to| to.expert.key.clone()),
                });
            }
            Status::Completed if query.is_none() => {
                return Err(RunError::NothingToDo { job: checkpoint.head.job_id.clone() });
            }
            Status::Init => return Err(RunError::NothingToDo { job: checkpoint.head.job_id.clone() }),
            _ => (query, None),
        };
        let inventory = inventory::open(&self.expert, place(self.options))?;
        self.job.max_steps = Some(self.options.settings.limits.max_steps);
        self.store.write_job(&self.job)?;
        let stamp = self.session.clock.stamp();
        let run_id = RunId::from(Mint::new(stamp).uuid());
        let setting = self.setting(&run_id, stamp.at);
        let run_store = self.store.create_run(&setting)?;
        let recorder = Recorder::new(run_store, setting.clone(), Arc::clone(&self.options.sink));
        let parent =
            ParentCheckpoint { run_id: checkpoint.head.run_id.clone(), checkpoint_id: checkpoint.head.id.clone() };
        let resumption = Resumption {
            run_id: run_id.clone(),
            parent: Some(parent),
            query: query.clone(),
            answers: answer.iter().map(result_of).collect(),
            surroundings: self.surroundings(&inventory, &setting.model),
        };
        let opening = Opening { run_id, query, answer, overdue: Vec::new() };
        let first = FactBody::Resumed { resumption: Box::new(resumption) };
        self.execute(RunMachine::restore(checkpoint), first, recorder, inventory, &setting, opening).await
    }
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

fn result_of(answer: &InteractiveAnswer) -> ToolResult {
    ToolResult {
        id: answer.tool_call_id.clone(),
        skill_name: answer.skill_name.clone(),
        tool_name: answer.tool_name.clone(),
        result: vec![Content::text(answer.text.clone())],
        is_error: false,
    }
}
