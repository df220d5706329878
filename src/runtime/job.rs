//! A job from the outside in: what it needs is checked and opened, its Run is driven, its end is written down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::checkpoint::{Checkpoint, FORMAT_VERSION, Status};
use crate::content::Content;
use crate::event::{Event, EventBody, InteractiveAnswer, ServerInfo};
use crate::expert::{Expert, ExpertKey};
use crate::fact::{FactBody, Mint, RunSpec, Surroundings};
use crate::id::{JobId, RunId};
use crate::job::{Job, JobStatus};
use crate::machine::{Input, RunMachine};
use crate::runtime::instruction::{self, Scene};
use crate::runtime::inventory::{self, Inventory, Place};
use crate::runtime::narrator::Narrator;
use crate::runtime::recorder::Recorder;
use crate::runtime::run::{Stage, drive};
use crate::runtime::session::Session;
use crate::runtime::{Options, Outcome, RunError, RunInput, VERSION, history};
use crate::setting::{ProviderConfig, RunSetting};
use crate::store::{JobStore, Store};
use crate::tool::ToolSpec;
use crate::usage::Usage;

/// A job that this process works on: everything that was opened for it.
pub struct Work<'a> {
    pub options: &'a Options,
    pub session: &'a Session,
    pub store: JobStore,
    pub job: Job,
    pub expert: Expert,
    pub experts: IndexMap<ExpertKey, Expert>,
    pub began: Instant,
}

/// What a Run is to begin with.
pub struct Opening {
    pub run_id: RunId,
    /// What the user said, for the event that begins the Run.
    pub query: Option<String>,
    pub answer: Option<InteractiveAnswer>,
    /// Events of the Run's past that a dead process may not have told.
    pub overdue: Vec<Event>,
}

/// Runs a job: a fresh Run of `input.expert`.
pub async fn run(input: RunInput, options: &Options) -> Result<Outcome, RunError> {
    let began = Instant::now();
    if input.query.trim().is_empty() {
        return Err(RunError::EmptyQuery);
    }
    let expert = find_expert(&input.expert, &options.experts)?.clone();
    let session = Session::open(options)?;
    let inventory = inventory::open(&expert, place(options))?;

    let stamp = session.clock.stamp();
    let mut mint = Mint::new(stamp);
    let job_id = input.job_id.unwrap_or_else(|| JobId::from(mint.uuid()));
    let run_id = RunId::from(mint.uuid());
    let job = Job {
        format_version: FORMAT_VERSION,
        id: job_id,
        status: JobStatus::Running,
        coordinator_expert_key: expert.key.clone(),
        total_steps: 0,
        max_steps: Some(options.settings.limits.max_steps),
        usage: Usage::default(),
        started_at: stamp.at,
        finished_at: None,
        replayed: session.tape.is_replay(),
    };
    let store = Store::new(&options.storage).create_job(&job)?;
    let experts = options.experts.clone();
    let work = Work { options, session: &session, store, job, expert, experts, began };
    let setting = work.setting(&run_id, stamp.at);
    let recorder = Recorder::new(work.store.create_run(&setting)?, setting.clone(), Arc::clone(&options.sink));

    let scene = Scene { started_at: stamp.at, workspace: &options.workspace, is_delegate: false };
    let spec = RunSpec {
        job_id: work.job.id.clone(),
        run_id: run_id.clone(),
        expert: work.expert.reference(),
        instruction: instruction::compose(&work.expert, &work.experts, scene),
        first_step: 1,
        delegated_by: None,
        surroundings: work.surroundings(&inventory, &setting.model),
    };
    let started = FactBody::Started { spec: Box::new(spec), input: vec![Content::text(input.query.clone())] };
    let machine = history::fresh(&work.job.id, &run_id, work.expert.reference());
    let opening = Opening { run_id, query: Some(input.query), answer: None, overdue: Vec::new() };
    work.execute(machine, started, recorder, inventory, &setting, opening).await
}

impl Work<'_> {
    /// What the Run `run_id` is done with, as it is written down.
    pub fn setting(&self, run_id: &RunId, now: u64) -> RunSetting {
        let settings = &self.options.settings;
        let mut experts = IndexMap::new();
        collect(&self.expert, &self.experts, &mut experts);
        RunSetting {
            format_version: FORMAT_VERSION,
            model: self.session.model_for(&self.expert, settings),
            provider_config: ProviderConfig {
                provider_name: self.session.provider.name(),
                setting: settings.provider_setting.clone(),
            },
            job_id: self.job.id.clone(),
            run_id: run_id.clone(),
            expert_key: self.expert.key.clone(),
            experts,
            reasoning_budget: settings.reasoning_budget,
            max_steps: settings.limits.max_steps,
            max_retries: settings.limits.max_retries,
            timeout: settings.timeout_ms,
            started_at: now,
            updated_at: now,
        }
    }

    /// What a machine needs to know of tools, limits and model.
    pub fn surroundings(&self, inventory: &Inventory, model: &str) -> Surroundings {
        Surroundings {
            tools: inventory.skills.tools().iter().map(ToolSpec::route).collect(),
            delegates: inventory.delegates.clone(),
            limits: self.options.settings.limits,
            context_window: self.session.provider.context_window(model),
        }
    }

    /// Drives `machine` from `first` to its end, and writes the job's end down.
    pub async fn execute(
        mut self,
        mut machine: RunMachine,
        first: FactBody,
        mut recorder: Recorder,
        inventory: Inventory,
        setting: &RunSetting,
        opening: Opening,
    ) -> Result<Outcome, RunError> {
        let narrator = Narrator {
            sink: Arc::clone(&self.options.sink),
            clock: Arc::clone(&self.session.clock),
            job_id: self.job.id.clone(),
            run_id: opening.run_id.clone(),
            expert: self.expert.key.clone(),
        };
        self.announce(&narrator, &inventory, setting, &opening);
        for event in &opening.overdue {
            self.options.sink.emit(event, machine.messages());
        }
        let stage = Stage {
            provider: Arc::clone(&self.session.provider),
            max_output_tokens: self.session.provider.max_output_tokens(&setting.model, setting.reasoning_budget),
            model: setting.model.clone(),
            reasoning: setting.reasoning_budget,
            timeout: Duration::from_millis(setting.timeout),
            skills: inventory.skills,
            clock: Arc::clone(&self.session.clock),
            narrator,
            redactor: self.session.redactor.clone(),
            cancel: self.options.cancel.clone(),
            in_doubt: self.options.in_doubt,
            tape: self.session.tape.clone(),
        };
        let input = Input::Fact(stage.fact(first));
        let driven = drive(&mut machine, input, &mut recorder, &stage).await;
        inventory::close(&stage.skills).await;
        for skill in stage.skills.skills() {
            stage.narrator.runtime(EventBody::SkillDisconnected { skill_name: skill.name().to_owned() });
        }
        let (status, first_step) = driven?;
        self.session.tape.finish()?;
        let steps = machine.head().step_number.saturating_sub(first_step) + 1;
        self.conclude(machine.into_checkpoint(), &recorder, status, steps)
    }

    /// The events before a Run's first.
    fn announce(&self, narrator: &Narrator, inventory: &Inventory, setting: &RunSetting, opening: &Opening) {
        narrator.runtime(EventBody::InitializeRuntime {
            runtime_version: VERSION.to_owned(),
            runtime: "local".to_owned(),
            expert_name: self.expert.name.clone(),
            experts: setting.experts.keys().cloned().collect(),
            provider: setting.provider_config.provider_name.as_str().to_owned(),
            model: setting.model.clone(),
            max_steps: setting.max_steps,
            max_retries: setting.max_retries,
            timeout: setting.timeout,
            query: opening.query.clone(),
            interactive_tool_call: opening.answer.clone(),
            context_window: self.session.provider.context_window(&setting.model),
        });
        for message in &inventory.warnings {
            narrator.runtime(EventBody::RuntimeWarning { message: message.clone() });
        }
        for skill in inventory.skills.skills() {
            // Skills of this version live in this process: there is nothing to wait for.
            narrator.runtime(EventBody::SkillConnected {
                skill_name: skill.name().to_owned(),
                server_info: Some(ServerInfo { name: skill.name().to_owned(), version: VERSION.to_owned() }),
                spawn_duration_ms: 0,
                handshake_duration_ms: 0,
                tool_discovery_duration_ms: 0,
                connect_duration_ms: 0,
                total_duration_ms: 0,
            });
        }
    }

    /// Writes `job.json` for the last time in this invocation.
    pub fn conclude(
        &mut self,
        checkpoint: Checkpoint,
        recorder: &Recorder,
        status: Status,
        steps: u64,
    ) -> Result<Outcome, RunError> {
        let now = self.session.clock.stamp().at;
        self.job.status = status.into();
        self.job.total_steps = checkpoint.head.step_number;
        self.job.usage = checkpoint.head.usage;
        self.job.finished_at =
            (!matches!(self.job.status, JobStatus::Running | JobStatus::StoppedByInteractiveTool)).then_some(now);
        self.store.write_job(&self.job)?;
        let path = recorder.newest().cloned().unwrap_or_default();
        let duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Outcome { checkpoint, path, duration_ms, steps })
    }
}

/// Where an expert's tools work.
pub fn place(options: &Options) -> Place<'_> {
    Place {
        workspace: &options.workspace,
        environment: &options.environment,
        has_base_command: options.base_skill_command.is_some(),
        is_delegate: false,
    }
}

/// The expert `key` of `experts`.
pub fn find_expert<'a>(key: &ExpertKey, experts: &'a IndexMap<ExpertKey, Expert>) -> Result<&'a Expert, RunError> {
    experts.get(key).ok_or_else(|| RunError::UnknownExpert {
        key: key.clone(),
        known: experts.keys().map(|key| key.as_str().to_owned()).collect(),
    })
}

/// `expert` and all experts that it can reach.
fn collect(expert: &Expert, experts: &IndexMap<ExpertKey, Expert>, into: &mut IndexMap<String, Expert>) {
    if into.insert(expert.key.as_str().to_owned(), expert.clone()).is_some() {
        return;
    }
    for delegate in expert.delegates.iter().filter_map(|key| experts.get(key)) {
        if !into.contains_key(delegate.key.as_str()) {
            collect(delegate, experts, into);
        }
    }
}
