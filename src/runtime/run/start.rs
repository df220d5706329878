//! One Run from its beginning, or from where it stands, to its stop: its tools are opened, its record is opened, it is
//! driven, and all is closed again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::checkpoint::DelegatedBy;
use crate::content::Content;
use crate::cost::Spend;
use crate::event::{Event, EventBody, InteractiveAnswer};
use crate::expert::{Expert, ExpertKey};
use crate::fact::{FactBody, ParentCheckpoint, Resumption, RunSpec};
use crate::id::{JobId, RunId};
use crate::machine::{Input, RunMachine, RunTotals};
use crate::runtime::VERSION;
use crate::runtime::budget::BudgetHandle;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run::{self, RecordedRun};
use crate::runtime::job::backends::JobBackends;
use crate::runtime::options::Options;
use crate::runtime::run::calls::check_doubts;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::run::generate::native_tools;
use crate::runtime::run::instruction::{self, InstructionContext};
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::task::{ContinueFrom, RunTask, StoppedRun};
use crate::runtime::run::{RunContext, drive};
use crate::runtime::stop::StopSignal;
use crate::runtime::tools::open::open_tools;
use crate::runtime::tools::{self, Toolset};
use crate::setting::RunSetting;
use crate::skill::SkillSet;
use crate::store::{JobStore, Store};
use crate::tool::ToolResult;
use crate::usage::Usage;

/// How long skills may take to end after a Run. Our own choice: a server asked to end gets a few seconds, and the Run's
/// result is stored by then.
const CLOSING: Duration = Duration::from_secs(5);

/// What all Runs of a job share.
pub struct JobContext {
    pub options: Options,
    pub backends: JobBackends,
    pub store: Store,
    pub job: JobStore,
    /// Why `options.cancel` has fired, once it has.
    pub why: StopSignal,
    /// The way to the job's account, when it has budgets to share.
    pub budget: Option<BudgetHandle>,
}

/// A Run ready to be driven.
struct RunStart {
    run: RunId,
    expert: Expert,
    machine: RunMachine,
    first: FactBody,
    recorder: Recorder,
    setting: RunSetting,
    toolset: Toolset,
    query: Option<String>,
    answer: Option<InteractiveAnswer>,
    /// Events of the Run's past that a dead process may not have told.
    overdue: Vec<Event>,
}

impl JobContext {
    /// The job's id.
    pub fn job_id(&self) -> &JobId {
        self.job.id()
    }

    /// Carries out an task, with the tools of its expert if they are open already. A Run that is on disk already is
    /// not begun again: it goes on, or has stopped.
    ///
    /// # Errors
    /// What keeps the Run from beginning, or its facts from being stored.
    pub async fn run_task(&self, task: RunTask, tools: Option<Toolset>) -> Result<StoppedRun, RunError> {
        let task = match task {
            RunTask::Recover { .. } => task,
            other => match self.read_back(other.run())? {
                Some(past) => match past.status() {
                    Some(_) => return self.on_record(past, false),
                    None => RunTask::Recover { run: other.run().clone(), past: Box::new(past), query: None },
                },
                None => other,
            },
        };
        let (key, is_delegate) = task.expert();
        let expert = self.expert(key)?.clone();
        let toolset = match tools {
            Some(toolset) => toolset,
            None => open_tools(&expert, &self.options, &self.backends, is_delegate).await?,
        };
        self.keep_outputs(&toolset, &task);
        let launch = match task {
            RunTask::Start { run, query, by, first_step, .. } => {
                self.begin(run, expert, toolset, query, by, first_step)?
            }
            RunTask::Continue(start) => self.continue_from(*start, expert, toolset)?,
            RunTask::Recover { run, past, query } => self.recover(run, *past, query, expert, toolset)?,
        };
        self.drive(launch).await
    }

    /// Says where the Run's long outputs are kept, and where those are that its conversation speaks of already.
    fn keep_outputs(&self, toolset: &Toolset, task: &RunTask) {
        let run = task.run();
        let earlier = match task {
            RunTask::Start { .. } => Vec::new(),
            RunTask::Continue(start) => recorded_run::lineage(&self.store, self.job_id(), &start.from.head.run_id),
            RunTask::Recover { .. } => recorded_run::lineage(&self.store, self.job_id(), run).split_off(1),
        };
        let folder = |run: &RunId| self.store.layout().outputs(self.job_id(), run);
        let earlier = earlier.iter().map(folder).collect();
        toolset.outputs.keep_in(folder(run), earlier, self.backends.redactor.clone());
    }

    /// The Run as its log has it; `None` when it never began.
    fn read_back(&self, run: &RunId) -> Result<Option<RecordedRun>, RunError> {
        if !self.store.layout().log(self.job_id(), run).exists() {
            return Ok(None);
        }
        recorded_run::read_run(&self.store, self.job_id(), run)
    }

    /// A Run that stopped before: its last checkpoint is written if the process died before it was. Its ending is told
    /// again if that was so, or if wanted.
    ///
    /// # Errors
    /// What cannot be stored.
    pub fn on_record(&self, past: RecordedRun, retell: bool) -> Result<StoppedRun, RunError> {
        let head = past.machine.head();
        let stored = self.store.stored_checkpoint(self.job_id(), head);
        if retell || stored.is_none() {
            for event in &past.events {
                self.options.sink.emit(event, past.machine.messages());
            }
        }
        let path = match stored {
            Some(path) => path,
            None => self.store_end(&past)?,
        };
        Ok(StoppedRun {
            checkpoint: past.machine.into_checkpoint(),
            path,
            steps: 0,
            on_record: true,
            totals: RunTotals::default(),
        })
    }

    /// Writes the checkpoint that a Run stopped with, from its log; returns its file.
    fn store_end(&self, past: &RecordedRun) -> Result<PathBuf, RunError> {
        let head = past.machine.head();
        let setting = match self.store.setting(self.job_id(), &head.run_id) {
            Ok(setting) => setting,
            // It can be made again from what is at hand.
            Err(_) => {
                RunSetting { started_at: past.began_at, ..self.setting(self.expert(&head.expert.key)?, &head.run_id)? }
            }
        };
        let run_store = self.job.open_run(&head.run_id)?;
        let mut recorder = Recorder::new(run_store, setting, Arc::clone(&self.options.sink));
        recorder.keep(past.last_save.as_ref(), &past.machine)?;
        Ok(recorder.newest().cloned().unwrap_or_default())
    }

    fn begin(
        &self,
        run: RunId,
        expert: Expert,
        toolset: Toolset,
        query: String,
        by: Option<Box<DelegatedBy>>,
        first_step: u64,
    ) -> Result<RunStart, RunError> {
        let setting = self.setting(&expert, &run)?;
        let recorder = self.recorder(&setting)?;
        let spec = RunSpec {
            job_id: self.job_id().clone(),
            run_id: run.clone(),
            expert: expert.reference(),
            instruction: self.instruction(&expert, &setting, by.is_some()),
            first_step,
            delegated_by: by.map(|by| *by),
            parameters: self.parameters(&toolset, &setting),
        };
        let first = FactBody::Started { spec: Box::new(spec), input: vec![Content::text(query.clone())] };
        let machine = recorded_run::fresh(self.job_id(), &run, expert.reference());
        let (query, answer, overdue) = (Some(query), None, Vec::new());
        Ok(RunStart { run, expert, machine, first, recorder, setting, toolset, query, answer, overdue })
    }

    fn instruction(&self, expert: &Expert, setting: &RunSetting, is_delegate: bool) -> String {
        let scene =
            InstructionContext { started_at: setting.started_at, workspace: &self.options.workspace, is_delegate };
        instruction::compose(expert, &self.options.experts, scene)
    }

    fn continue_from(&self, from: ContinueFrom, expert: Expert, toolset: Toolset) -> Result<RunStart, RunError> {
        let ContinueFrom { run, from, query, answer, mut answers, reached_step, delegated_usage, delegated_spend } =
            from;
        let setting = self.setting(&expert, &run)?;
        let recorder = self.recorder(&setting)?;
        answers.extend(answer.iter().map(result_of));
        let resumption = Resumption {
            run_id: run.clone(),
            parent: Some(ParentCheckpoint { run_id: from.head.run_id.clone(), checkpoint_id: from.head.id.clone() }),
            query: query.clone(),
            answers,
            reached_step,
            delegated_usage,
            delegated_spend,
            instruction: from.head.from_elsewhere.then(|| self.instruction(&expert, &setting, false)),
            parameters: self.parameters(&toolset, &setting),
        };
        let first = FactBody::Resumed { resumption: Box::new(resumption) };
        let machine = RunMachine::restore(from);
        Ok(RunStart { run, expert, machine, first, recorder, setting, toolset, query, answer, overdue: Vec::new() })
    }

    fn recover(
        &self,
        run: RunId,
        past: RecordedRun,
        query: Option<String>,
        expert: Expert,
        toolset: Toolset,
    ) -> Result<RunStart, RunError> {
        let setting = RunSetting { started_at: past.began_at, ..self.setting(&expert, &run)? };
        let run_store = self.job.open_run(&run)?;
        run_store.write_setting(&setting)?;
        let mut recorder = Recorder::new(run_store, setting.clone(), Arc::clone(&self.options.sink));
        // The checkpoint that the dead process owed. One that is missing although facts follow it was removed by
        // somebody; the log has what it held.
        if let Some(save) = past.last_save.as_ref().filter(|_| !past.goes_beyond_save) {
            if let Some(path) = self.store.stored_checkpoint(self.job_id(), &save.head) {
                recorder.found(path);
            } else {
                recorder.keep(Some(save), &past.machine)?;
                recorder.settle()?;
            }
        }
        let resumption = Resumption {
            run_id: run.clone(),
            parent: None,
            query: query.clone(),
            answers: Vec::new(),
            reached_step: 0,
            delegated_usage: Usage::default(),
            delegated_spend: Spend::default(),
            instruction: None,
            parameters: self.parameters(&toolset, &setting),
        };
        let first = FactBody::Resumed { resumption: Box::new(resumption) };
        let (answer, overdue, mut machine) = (None, past.events, past.machine);
        machine.restart_totals();
        Ok(RunStart { run, expert, machine, first, recorder, setting, toolset, query, answer, overdue })
    }

    async fn drive(&self, launch: RunStart) -> Result<StoppedRun, RunError> {
        let RunStart { run, expert, mut machine, first, mut recorder, setting, toolset, query, answer, overdue } =
            launch;
        let clock = self.backends.clock_of(&run);
        let emitter = EventEmitter {
            sink: Arc::clone(&self.options.sink),
            clock: Arc::clone(&clock),
            job_id: self.job_id().clone(),
            run_id: run,
            expert: expert.key.clone(),
        };
        self.announce(&emitter, &expert, &toolset, &setting, query, answer);
        for event in &overdue {
            self.options.sink.emit(event, machine.messages());
        }
        let notices = toolset.notices.clone();
        let mut skills = toolset.skills;
        let context = RunContext {
            expert,
            provider: Arc::clone(&self.backends.provider),
            max_output_tokens: self.backends.provider.max_output_tokens(&setting.model, setting.reasoning_budget),
            price: self.price(&setting),
            model: setting.model.clone(),
            reasoning: setting.reasoning_budget,
            timeout: Duration::from_millis(setting.timeout),
            clock,
            emitter,
            redactor: self.backends.redactor.clone(),
            halt: self.options.cancel.clone(),
            why: self.why.clone(),
            budget: self.budget.clone(),
            in_doubt: self.options.in_doubt,
            tape: self.backends.tape.clone(),
        };
        let input = Input::Fact(context.fact(first));
        let driven = match check_doubts(&machine, &input, &context, &skills) {
            Ok(()) => drive(&mut machine, input, &mut recorder, &context, &mut skills).await,
            Err(doubts) => Err(doubts),
        };
        close(&skills, &context.emitter).await;
        notices.conclude();
        let (_, first_step) = driven?;
        let steps = machine.head().step_number.saturating_sub(first_step).saturating_add(1);
        let path = recorder.newest().cloned().unwrap_or_default();
        let totals = machine.totals();
        Ok(StoppedRun { checkpoint: machine.into_checkpoint(), path, steps, on_record: false, totals })
    }

    /// The events before a Run's first.
    fn announce(
        &self,
        emitter: &EventEmitter,
        expert: &Expert,
        toolset: &Toolset,
        setting: &RunSetting,
        query: Option<String>,
        answer: Option<InteractiveAnswer>,
    ) {
        emitter.emit(EventBody::InitializeRuntime {
            runtime_version: VERSION.to_owned(),
            runtime: "local".to_owned(),
            expert_name: expert.name.clone(),
            experts: setting.experts.keys().cloned().collect(),
            provider: setting.provider_config.provider_name.as_str().to_owned(),
            model: setting.model.clone(),
            max_steps: setting.max_steps,
            max_retries: setting.max_retries,
            timeout: setting.timeout,
            query,
            interactive_tool_call: answer,
            context_window: self.backends.provider.context_window(&setting.model),
        });
        let unasked = self.backends.provider.native_warnings(native_tools(expert));
        for message in toolset.warnings.iter().chain(&unasked) {
            emitter.emit(EventBody::RuntimeWarning { message: message.clone() });
        }
        for error in &toolset.missing {
            emitter.emit(EventBody::RuntimeWarning { message: format!("{error}; its tools are missing") });
        }
        toolset.announce(emitter, &self.backends.tape);
    }

    /// The definition of an expert.
    ///
    /// # Errors
    /// [`RunError::UnknownExpert`].
    pub fn expert(&self, key: &ExpertKey) -> Result<&Expert, RunError> {
        Ok(self.options.experts.get(key)?)
    }

    fn recorder(&self, setting: &RunSetting) -> Result<Recorder, RunError> {
        Ok(Recorder::new(self.job.create_run(setting)?, setting.clone(), Arc::clone(&self.options.sink)))
    }
}

/// Ends `skills`; those that do not end in time are told and left behind.
async fn close(skills: &SkillSet, emitter: &EventEmitter) {
    if timeout(CLOSING, tools::close(skills)).await.is_err() {
        let message = format!("some skills did not end within {} s and were left behind", CLOSING.as_secs());
        emitter.emit(EventBody::RuntimeWarning { message });
    }
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

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use tokio::time::Instant;

    use super::*;
    use crate::message::Message;
    use crate::runtime::clock::SystemClock;
    use crate::skill::testing::Deaf;

    #[tokio::test(start_paused = true)]
    async fn a_skill_that_does_not_close_is_told_and_left_behind() {
        let told: Arc<Mutex<Vec<EventBody>>> = Arc::default();
        let sink = Arc::clone(&told);
        let emitter = EventEmitter {
            sink: Arc::new(move |event: &Event, _: &[Message]| {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(event.body.clone());
            }),
            clock: Arc::new(SystemClock),
            job_id: "j".parse().unwrap(),
            run_id: "r".parse().unwrap(),
            expert: "owl".parse().unwrap(),
        };
        let mut skills = SkillSet::default();
        skills.add(Arc::new(Deaf));
        let began = Instant::now();
        close(&skills, &emitter).await;
        assert_eq!(began.elapsed(), CLOSING);
        let told = told.lock().unwrap();
        let [EventBody::RuntimeWarning { message }] = told.as_slice() else { panic!("{told:?}") };
        assert!(message.contains("left behind"), "{message}");
    }
}
