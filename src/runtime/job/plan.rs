//! [`plan`]: what a job would begin with, or go on with, as far as it is known without asking a model, starting a process or
//! writing anything. The command line's dry run calls it.
//!
//! It takes the same way as [`run`](super::run), [`resume`](super::resume) and [`ensure`](super::ensure), by the same
//! functions, up to the first thing that the machine of the first Run asks for; only locks, imports and connections, which
//! leave something behind, are looked at in place of being made.

use tokio::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::content::Content;
use crate::expert::Expert;
use crate::fact::{Fact, FactBody, Stamp};
use crate::id::CheckpointId;
use crate::job::Job;
use crate::machine::{Action, Input, RunMachine};
use crate::message::{Message, UserInput};
use crate::model_name::ModelName;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::JobBackends;
use crate::runtime::job::context::JobBasis;
use crate::runtime::job::ensure::{self, Ensured};
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::job::job_plan::{FirstAction, JobPlan, PlannedTools};
use crate::runtime::job::models::RunModels;
use crate::runtime::job::request::user_input;
use crate::runtime::job::resume::{NextTask, expert_of, job_to_continue, masked, next_task, options_of};
use crate::runtime::job::resume::{recorded_parameters, warnings_of};
use crate::runtime::job::resume_point::{self, SeenPoint};
use crate::runtime::job::{NewJob, check_and_read, expert_asked, seen_account};
use crate::runtime::options::{Options, ResumeInput, RunInput};
use crate::runtime::run::beginning::{Beginning, RunScene, advance_to_action};
use crate::runtime::run::calls::{SettledDoubts, refuse_doubts, settle_doubts};
use crate::runtime::run::context::native_tools;
use crate::runtime::run::instruction::instruction_of;
use crate::runtime::run::summary::SummaryPlan;
use crate::runtime::run::task::RunTask;
use crate::runtime::run::window::{AnswerLimits, ModelLimits, WindowGauge};
use crate::runtime::stop::StopSignal;
use crate::runtime::tools::containment;
use crate::skill::SkillSet;
use crate::store::Store;
use crate::token_estimate::{message_tokens, text_tokens};

/// The job that is planned.
#[derive(Debug, Clone)]
pub enum PlanInput {
    /// As [`run`](crate::runtime::run) would begin it.
    Run(RunInput),
    /// As [`ensure`](crate::runtime::ensure) would bring it to its end.
    Ensure(RunInput),
    /// As [`resume`](crate::runtime::resume) would go on with it.
    Resume(ResumeInput),
}

/// Plans a job.
///
/// # Errors
/// As a run's before its first request, without those of servers.
pub async fn plan(input: PlanInput, options: &Options) -> Result<JobPlan, RunError> {
    match input {
        PlanInput::Run(input) => plan_new(input, options).await,
        PlanInput::Resume(input) => plan_resumed(input, options).await,
        PlanInput::Ensure(input) => {
            let store = options.store();
            let expert = expert_asked(&input, options)?;
            match ensure::look(&store, input, options)? {
                Ensured::Begins(input) => plan_new(input, options).await,
                Ensured::GoesOn(input) => plan_resumed(input, options).await,
                Ensured::AtRest(rest) => {
                    let backends = JobBackends::without_asking(options, expert)?;
                    let job = store.job(&rest.job)?;
                    let next = NextTask::Stopped { checkpoint: rest.checkpoint, query: None };
                    let planned = Planned { expert, options, backends: &backends, store: &store, job: &job };
                    planned.plan(next, &check_and_read(expert, options, &backends, None)?, Vec::new()).await
                }
            }
        }
    }
}

async fn plan_new(input: RunInput, options: &Options) -> Result<JobPlan, RunError> {
    let expert = expert_asked(&input, options)?;
    let backends = JobBackends::without_asking(options, expert)?;
    let store = options.store();
    let shared = seen_account(&store, options)?;
    let NewJob { job, run, query, attached, files, warnings } =
        NewJob::new(input, expert, (options, &backends), &store, shared.as_ref())?;
    store.check_new(&job)?;
    let task = RunTask::Start { run, expert: expert.key.clone(), query, attached, by: None, first_step: 1 };
    let planned = Planned { expert, options, backends: &backends, store: &store, job: &job };
    planned.plan(NextTask::Run(Box::new(task)), &files, warnings).await
}

async fn plan_resumed(input: ResumeInput, options: &Options) -> Result<JobPlan, RunError> {
    let store = options.store();
    let sent = user_input(&input)?;
    resume_point::fetch(&store, &input.from)?;
    let found = resume_point::find(&store, &input.from)?;
    let SeenPoint { job: id, point, setting, imported } = resume_point::look(&store, found, &input, options)?;
    let expert = expert_of(&point, &input, options)?;
    let backends = JobBackends::without_asking(options, expert)?;
    let recorded = recorded_parameters(&store, &point);
    let mut job = match imported {
        Some(job) => job,
        None => job_to_continue(&store, &id, &point, &backends)?,
    };
    let options = &options_of(&mut job, &recorded, options);
    let shared = seen_account(&store, options)?;
    let files = check_and_read(expert, options, &backends, shared.as_ref())?;
    let next = next_task(point, masked(sent, &backends), &backends)?;
    let planned = Planned { expert, options, backends: &backends, store: &store, job: &job };
    let stop = planned.stop();
    let warnings = warnings_of(setting.as_ref(), expert, planned.basis(&files, &stop))?;
    planned.plan(next, &files, warnings).await
}

/// A job that is planned, as far as it is known before its first Run is looked at.
#[derive(Clone, Copy)]
struct Planned<'a> {
    expert: &'a Expert,
    options: &'a Options,
    backends: &'a JobBackends,
    store: &'a Store,
    job: &'a Job,
}

/// The first request, or what is done in its place.
struct FirstRequest {
    first: FirstAction,
    messages: Vec<Message>,
    /// The messages before the user's input.
    earlier: usize,
    instruction_change: Option<String>,
    input: Option<UserInput>,
    /// The fallback that is asked.
    fallback: Option<ModelName>,
    from: Option<CheckpointId>,
}

impl Planned<'_> {
    fn basis<'b>(&'b self, files: &'b InstructionFiles, stop: &'b StopSignal) -> JobBasis<'b> {
        let Self { options, backends, store, job, .. } = *self;
        JobBasis { options, backends, files, store, stop, job_id: &job.id }
    }

    /// A signal that nobody waits for.
    fn stop(&self) -> StopSignal {
        StopSignal::new(&self.options.cancel, None, 0, Instant::now())
    }

    async fn plan(
        &self,
        next: NextTask,
        files: &InstructionFiles,
        mut warnings: Vec<String>,
    ) -> Result<JobPlan, RunError> {
        let Self { expert, options, backends, job, .. } = *self;
        let (settings, stop) = (&options.settings, self.stop());
        let models = backends.models_for(expert, settings)?;
        let mut tools = PlannedTools::open(expert, options, backends, files).await?;
        warnings.extend(tools.warnings.iter().cloned());
        warnings.extend(models.native_warnings(native_tools(expert)));
        let request = match next {
            NextTask::Run(task) => self.first_of(*task, self.basis(files, &stop), &models, &mut tools)?,
            NextTask::Stopped { checkpoint, query } => FirstRequest::none(*checkpoint, query),
        };
        let FirstRequest { first, messages, earlier, instruction_change, input, fallback, from } = request;
        let model = models.get(fallback.as_ref());
        let of = |messages: &[Message]| messages.iter().map(message_tokens).fold(0, u64::saturating_add);
        let is_instruction = |message: &&Message| matches!(message, Message::InstructionMessage { .. });
        let others = |messages: &[Message]| -> Vec<Message> {
            messages.iter().filter(|message| !is_instruction(message)).cloned().collect()
        };
        let (before, new) = messages.split_at(earlier.min(messages.len()));
        let (before, new) = (others(before), others(new));
        let instruction = instruction_of(&messages).unwrap_or_default().to_owned();
        let instruction_tokens = text_tokens(&instruction);
        let input_tokens = match &input {
            // It waits for the results of calls.
            Some(input) if new.is_empty() => {
                let contents = input.clone().into_contents();
                message_tokens(&Message::UserMessage { id: String::new(), contents, cache: false })
            }
            _ => of(&new),
        };
        let earlier_tokens = of(&before);
        let sent = tools.known.iter().filter(|tool| !tool.is_searched);
        let of_tools = sent.fold(0_u64, |sum, tool| sum.saturating_add(tool.tokens));
        let tokens = match &first {
            FirstAction::Summarizes => of(&messages),
            _ => [instruction_tokens, of_tools, earlier_tokens, input_tokens].into_iter().fold(0, u64::saturating_add),
        };
        let parts = input.iter().flat_map(|input| &input.attached);
        Ok(JobPlan {
            expert: expert.key.clone(),
            from,
            first,
            model: model.name(),
            context_window: model.provider.context_window(&model.model),
            fallback: models.fallback_names(),
            tokens,
            instruction,
            instruction_tokens,
            instruction_change,
            files: files.listed(&expert.key),
            tool_search: tools.search(),
            tools: tools.known,
            unknown_tools_of: tools.unknown_of,
            earlier_messages: before.len(),
            earlier_tokens,
            attached: parts.filter(|part| part.as_text().is_none()).map(kind_of).collect(),
            query: input.map(|input| input.text),
            input_tokens,
            messages,
            limits: settings.limits,
            timeout_ms: settings.timeout_ms,
            budgets: job.budget.limits,
            sandbox: containment::state(settings.sandbox),
            warnings,
        })
    }

    /// The first request of a Run, by its machine.
    fn first_of(
        &self,
        task: RunTask,
        job: JobBasis<'_>,
        models: &RunModels,
        tools: &mut PlannedTools,
    ) -> Result<FirstRequest, RunError> {
        let expert = self.expert;
        let mut setting = job.setting(expert, task.run())?;
        let from = match &task {
            RunTask::Start { .. } => None,
            RunTask::Continue(start) => Some(start.from.head.id.clone()),
            RunTask::Recover { past, .. } => {
                setting.started_at = past.began_at;
                Some(past.machine.head().id.clone())
            }
        };
        let scene = RunScene { job, expert, models, toolset: &tools.toolset, setting: &setting };
        let beginning = Beginning::new(scene, task)?;
        let (instruction_change, input) = (beginning.change.clone(), input_of(&beginning.first));
        let earlier = beginning.machine.messages().len();
        let stamp = self.backends.clock.stamp();
        let (mut machine, action) = beginning.ask(stamp)?;
        refuse_doubts(action.clone(), self.options.in_doubt, &tools.toolset.skills)?;
        let action = self.without_doubts(&mut machine, action, &tools.toolset.skills, stamp)?;
        tools.offer_found(&machine.head().found_tools);
        let (offered, _) = tools.toolset.skills.offered();
        let model = models.get(machine.head().fallback.as_ref().map(|fallback| &fallback.model));
        let size = WindowGauge::default().read(&machine, offered);
        let limits =
            ModelLimits::of(AnswerLimits::of(model, setting.reasoning_budget), &machine, setting.reasoning_budget);
        let action = match limits.overflow(size).filter(|_| matches!(action, Action::Generate { .. })) {
            Some(failure) => {
                let body = FactBody::GenerationFailed { failure, retry_in_ms: None, received_bytes: None };
                advance_to_action(&mut machine, &Input::Fact(Fact::new(stamp, body)))?
            }
            None => action,
        };
        let summary = match action {
            Action::Summarize { .. } => SummaryPlan::new(&machine, offered, size.tokens),
            _ => None,
        };
        let first = FirstAction::new(action, machine.head());
        let fallback = machine.head().fallback.as_ref().map(|fallback| fallback.model.clone());
        let messages = match summary {
            Some(summary) => summary.messages().to_vec(),
            None => machine.messages().to_vec(),
        };
        Ok(FirstRequest { first, messages, earlier, instruction_change, input, fallback, from })
    }

    /// The first action once all calls in doubt that are not made again have their results.
    fn without_doubts(
        &self,
        machine: &mut RunMachine,
        action: Action,
        skills: &SkillSet,
        stamp: Stamp,
    ) -> Result<Action, RunError> {
        let Action::CallTools { calls, in_doubt: true } = action else { return Ok(action) };
        // Whether a tool that is not known yet may be called again is not known either.
        let (known, unknown): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|call| skills.tool(&call.tool_name).is_some());
        let SettledDoubts { again, results } = settle_doubts(known, self.options, self.expert, skills);
        let mut next = None;
        for result in results {
            let fact = Fact::new(stamp, FactBody::ToolReturned { result });
            next = Some(advance_to_action(machine, &Input::Fact(fact))?);
        }
        let calls: Vec<_> = again.into_iter().chain(unknown).collect();
        Ok(next.filter(|_| calls.is_empty()).unwrap_or(Action::CallTools { calls, in_doubt: true }))
    }
}

impl FirstRequest {
    /// None: the Run stopped so.
    fn none(checkpoint: Checkpoint, input: Option<UserInput>) -> Self {
        let Checkpoint { head, messages } = checkpoint;
        Self {
            first: FirstAction::of_stopped(&head),
            earlier: messages.len(),
            messages,
            instruction_change: None,
            input,
            fallback: head.fallback.map(|fallback| fallback.model),
            from: Some(head.id),
        }
    }
}

/// The user's input among a first fact.
fn input_of(first: &FactBody) -> Option<UserInput> {
    let of_contents = |contents: &[Content]| {
        let (text, attached) = contents.split_first()?;
        Some(UserInput { text: text.as_text()?.to_owned(), attached: attached.to_vec() })
    };
    match first {
        FactBody::Started { input, .. } => of_contents(input),
        FactBody::Resumed { resumption } => {
            let answer = || of_contents(&resumption.answers.first()?.result);
            resumption.query.clone().or_else(answer)
        }
        _ => None,
    }
}

/// The media type of an image or a file.
fn kind_of(part: &Content) -> String {
    let json = serde_json::to_value(part).unwrap_or_default();
    let text = |key| json.get(key).and_then(serde_json::Value::as_str);
    text("mimeType").or(text("type")).unwrap_or("file").to_owned()
}
