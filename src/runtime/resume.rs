//! Going on from where [`ground`] found the job. A Run that was killed goes on as itself; one that stopped, or any older
//! checkpoint, is continued by a new Run that names it as its parent.

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
use crate::runtime::ground::{self, Ground};
use crate::runtime::history::Past;
use crate::runtime::inventory;
use crate::runtime::job::{Opening, Work, find_expert, place};
use crate::runtime::recorder::Recorder;
use crate::runtime::session::Session;
use crate::runtime::{Options, Outcome, ResumeInput, RunError};
use crate::setting::RunSetting;
use crate::store::{Store, StoreError};
use crate::tool::{ToolCall, ToolResult};
use crate::usage::Usage;

/// Continues a job.
pub async fn resume(input: ResumeInput, options: &Options) -> Result<Outcome, RunError> {
    let began = Instant::now();
    let store = Store::new(&options.storage);
    let found = ground::find(&store, &input.from)?;
    let (job_store, found) = ground::take_job(&store, found, options)?;
    let (ground, stored) = ground::survey(&store, job_store.id(), &found)?;
    check_expert(input.expert.as_ref(), ground.expert())?;
    let (expert, experts) = definitions(ground.expert(), options, stored.as_ref())?;
    let session = Session::open(options)?;
    let job = job_to_continue(&store, job_store.id(), &ground, &session)?;
    let work = Work { options, session: &session, store: job_store, job, expert, experts, began };
    match ground {
        Ground::Killed { past, run } if past.status().is_none() => work.go_on(*past, run, input.query).await,
        Ground::Killed { past, run } => Box::pin(work.finish(*past, &run, stored, input.query)).await,
        Ground::Checkpoint(checkpoint) => work.continue_from(*checkpoint, input.query).await,
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
    stored: Option<&RunSetting>,
) -> Result<(Expert, IndexMap<ExpertKey, Expert>), RunError> {
    if let Some(expert) = options.experts.get(key) {
        return Ok((expert.clone(), options.experts.clone()));
    }
    let kept: IndexMap<ExpertKey, Expert> = stored
        .map(|setting| setting.experts.values().map(|expert| (expert.key.clone(), expert.clone())).collect())
        .unwrap_or_default();
    match kept.get(key) {
        Some(expert) => Ok((expert.clone(), kept)),
        None => find_expert(key, &options.experts).map(|expert| (expert.clone(), IndexMap::new())),
    }
}

/// `job.json` as this invocation goes on with it; made anew where nothing can be read.
fn job_to_continue(store: &Store, id: &JobId, ground: &Ground, session: &Session) -> Result<Job, StoreError> {
    let mut job = match store.job(id) {
        Ok(job) => job,
        Err(newer @ StoreError::Newer { .. }) => return Err(newer),
        Err(_) => Job {
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
        },
    };
    job.format_version = FORMAT_VERSION;
    job.status = JobStatus::Running;
    job.finished_at = None;
    job.replayed &= session.tape.is_replay();
    Ok(job)
}

impl Work<'_> {
    /// A Run whose process died goes on as itself.
    async fn go_on(mut self, past: Past, run: RunId, query: Option<String>) -> Result<Outcome, RunError> {
        let inventory = inventory::open(&self.expert, place(self.options))?;
        self.job.max_steps = Some(self.options.settings.limits.max_steps);
        self.store.write_job(&self.job)?;
        let setting = RunSetting { started_at: past.began_at, ..self.setting(&run, self.session.clock.stamp().at) };
        let run_store = self.store.open_run(&run)?;
        run_store.write_setting(&setting)?;
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

    /// A Run that had come to its end when its process died, while the job had not: its last checkpoint is stored, and
    /// its ending told, unless there is more to do at once.
    async fn finish(
        mut self,
        past: Past,
        run: &RunId,
        stored: Option<RunSetting>,
        query: Option<String>,
    ) -> Result<Outcome, RunError> {
        let setting = stored.unwrap_or_else(|| self.setting(run, past.began_at));
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
        if let Some(save) = past.last_save.as_ref().filter(|_| !past.goes_beyond_save) {
            if let Some(path) = self.store.storage().stored_checkpoint(&self.job.id, &save.head) {
                recorder.found(path);
            } else {
                recorder.keep(Some(save), &past.machine)?;
                recorder.settle()?;
            }
        }
        Ok(())
    }

    /// A new Run continues from `checkpoint`.
    async fn continue_from(mut self, checkpoint: Checkpoint, query: Option<String>) -> Result<Outcome, RunError> {
        let (query, answer) = match checkpoint.head.status {
            Status::StoppedByInteractiveTool if !checkpoint.head.pending_tool_calls.is_empty() => {
                (None, Some(answer_of(&checkpoint, query)?))
            }
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
            Status::Init => return Err(RunError::NeverBegan { checkpoint: checkpoint.head.id.clone() }),
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
