//! [`ModelRequests`]: the requests of one Run to its model, from the reservation to the answer or failure as a fact.
//! The Run's loop calls it; how an answer is streamed, sent again and priced is the provider's and the machine's.
//!
//! The order of one request: wait if it is made again; set aside what it may take (a fact of its own, so that the
//! machine comes back here with the reservation in its log); send it, and write the owed checkpoint meanwhile; settle
//! once the machine has charged it.

use std::sync::OnceLock;
use std::time::Duration;

use tracing::debug;

use crate::budget::Charge;
use crate::event::{Event, EventBody};
use crate::fact::{Fact, FactBody};
use crate::generation::{
    Delta, FinishReason, GenerateRequest, GeneratedPart, Generation, GenerationFailure, NativeTools, Occasion,
};
use crate::machine::{Input, PromptBounds, RunMachine};
use crate::model_name::ModelName;
use crate::provider::{EncodedConversation, retry};
use crate::runtime::error::RunError;
use crate::runtime::job::models::RunModel;
use crate::runtime::run::context::{RunContext, native_tools};
use crate::runtime::run::events::OpenText;
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::reservation::reserve;
use crate::runtime::run::summary::{self, SummaryPlan};
use crate::runtime::run::window::{self, AnswerLimits, ModelLimits, PromptSize, WindowGauge};
use crate::runtime::tools::open::server_tools;
use crate::skill::SkillSet;
use crate::store::StoreError;
use crate::tool::ToolSpec;

/// The requests of one Run to its model.
pub struct ModelRequests<'a> {
    context: &'a RunContext,
    /// The fallback that the latest request was to, if it was to one.
    fallback: Option<ModelName>,
    gauge: WindowGauge,
    bounds: PromptBounds,
    /// The conversation as the latest request had it.
    encoded: EncodedConversation,
    /// The requests that were sent in this process: with the first, a model has seen the tools.
    sent: u64,
    /// The Run's charges before the request for which something is set aside.
    charged_before: Option<Charge>,
    /// The limits on answers of the model that is asked now.
    answers: OnceLock<AnswerLimits>,
    /// Text of the latest answer, until the machine has decided what it is.
    open_text: Option<OpenText>,
}

/// A request without an answer.
struct BrokenOff {
    failure: GenerationFailure,
    /// The bytes of text that came before it broke off; `None` when the answer had not begun.
    received_bytes: Option<u64>,
}

impl<'a> ModelRequests<'a> {
    /// No request yet.
    pub fn new(context: &'a RunContext) -> Self {
        Self {
            context,
            fallback: None,
            gauge: WindowGauge::default(),
            bounds: PromptBounds::default(),
            encoded: EncodedConversation::default(),
            charged_before: None,
            sent: 0,
            answers: OnceLock::new(),
            open_text: None,
        }
    }

    /// Ends the text of the latest answer, given the events that follow from it.
    pub fn conclude_text(&mut self, events: &[Event]) {
        self.context.emitter.conclude_text(self.open_text.take(), events);
    }

    /// Follows the Run after each transition: settles a request that has ended, and forgets what was known of
    /// a conversation that is another one now.
    pub async fn follow(&mut self, input: &Input, machine: &RunMachine) {
        let fallback = machine.head().fallback.as_ref().map(|fallback| &fallback.model);
        if fallback != self.fallback.as_ref() {
            // Another model counts otherwise, and may have another protocol.
            self.fallback = fallback.cloned();
            self.answers = OnceLock::new();
            self.forget();
        }
        match input {
            Input::Fact(Fact { body: FactBody::Reserved { .. }, .. }) => {
                self.charged_before = Some(machine.totals().charged);
                return;
            }
            Input::Fact(Fact { body: FactBody::Summarized { .. } | FactBody::Resumed { .. }, .. }) => {
                self.forget();
            }
            Input::Fact(Fact { body: FactBody::ToolsChanged { .. }, .. }) => {
                self.gauge.tools_changed();
                self.bounds.tools_changed();
                self.encoded = EncodedConversation::default();
            }
            _ => {}
        }
        if machine.reserved().is_none()
            && let Some(before) = self.charged_before.take()
        {
            // The machine has charged the request by now: the accounts are to have exactly what the log has.
            let (job, run) = (&self.context.job, &machine.head().run_id);
            let charge = machine.totals().charged.minus(before);
            if let Some(budget) = &job.budget {
                budget.settle(run, charge).await;
            }
            if let Some(shared) = &job.shared {
                shared.settle(job.job_id(), run, charge).await;
            }
        }
    }

    /// Offers what searches have found since the last request. No server has changed anything: what is encoded and counted of
    /// the conversation stays.
    fn offer_found(&mut self, machine: &RunMachine, skills: &mut SkillSet) {
        if skills.offer_found(&machine.head().found_tools) {
            self.gauge.tools_changed();
            self.bounds.tools_changed();
            self.encoded.tools_changed();
        }
    }

    fn forget(&mut self) {
        self.gauge = WindowGauge::default();
        self.bounds = PromptBounds::default();
        self.encoded = EncodedConversation::default();
    }

    /// The model that is asked now.
    fn model(&self) -> &'a RunModel {
        self.context.models.get(self.fallback.as_ref())
    }

    /// Makes the next request, or first what has to precede it: other tools, a reservation. The fact is what came of
    /// it.
    ///
    /// # Errors
    /// A failure to store; every failure of the model is a fact.
    pub async fn generate(
        &mut self,
        machine: &RunMachine,
        recorder: &mut Recorder,
        skills: &mut SkillSet,
        after_ms: u64,
    ) -> Result<Fact, RunError> {
        self.offer_found(machine, skills);
        // A request that is made again is the same request, with the same tools.
        if after_ms == 0
            && machine.reserved().is_none()
            && let Some(changed) = self.refresh_tools(skills)?
        {
            return Ok(changed);
        }
        self.wait(recorder, after_ms).await?;
        let (tools, found) = skills.offered();
        let most = self.limits(machine).answer_bound;
        let mut bounds = std::mem::take(&mut self.bounds);
        let reserved = reserve(self.context, machine, || machine.prompt_bound(&mut bounds, tools), most).await;
        self.bounds = bounds;
        if let Some(fact) = reserved? {
            return Ok(fact);
        }
        let size = self.gauge.read(machine, tools);
        self.send(machine, recorder, (tools, found), size).await
    }

    /// Sends the request, if the conversation fits the model's window. `tools`: with the number of those that were found.
    async fn send(
        &mut self,
        machine: &RunMachine,
        recorder: &mut Recorder,
        (tools, found): (&[ToolSpec], usize),
        size: PromptSize,
    ) -> Result<Fact, RunError> {
        let context = self.context;
        if context.job.stop.is_fired() {
            return Ok(context.stopped());
        }
        let limits = self.limits(machine);
        if let Some(failure) = limits.overflow(size) {
            // Nothing is sent, so that nothing else writes the owed checkpoint soon.
            recorder.settle()?;
            return Ok(self.failed(BrokenOff { failure, received_bytes: None }, machine.head().retry_count));
        }
        let request = GenerateRequest {
            model: &self.model().model,
            messages: machine.messages(),
            tools,
            found,
            reasoning: context.setting.reasoning_budget,
            max_output_tokens: limits.answer(size),
            native: native_tools(&context.expert),
            occasion: occasion(machine),
        };
        self.sent = self.sent.saturating_add(1);
        let parameters = machine.parameters();
        let is_held = parameters.output_schema.is_some() || parameters.verify.is_some();
        let mut stream = context.emitter.answer(machine.head().step_number, &context.job.backends.redactor, is_held);
        let mut warnings = Vec::new();
        let mut encoded = std::mem::take(&mut self.encoded);
        let outcome = self.ask(recorder, &mut encoded, &request, &mut warnings, &mut |delta| stream.delta(delta)).await;
        self.encoded = encoded;
        self.open_text = stream.end();
        // Before the warnings, which take stamps of their own: in a replay each has to get the same again.
        let fact = match outcome? {
            None => context.stopped(),
            Some(Ok(generation)) => {
                let stamp = context.emitter.clock.stamp();
                warnings.extend(doubt_about(&generation));
                warnings.extend(window::warning(machine, &generation));
                context.fact_of(stamp, FactBody::Generated { generation })
            }
            Some(Err(broken)) => self.failed(broken, machine.head().retry_count),
        };
        self.warn(warnings);
        Ok(fact)
    }

    /// Has the model summarise older steps of a conversation that no longer fits its window, or first sets aside what
    /// that may take.
    ///
    /// # Errors
    /// A failure to store; every failure of the model is a fact.
    pub async fn summarize(
        &mut self,
        machine: &RunMachine,
        recorder: &mut Recorder,
        skills: &mut SkillSet,
        after_ms: u64,
    ) -> Result<Fact, RunError> {
        self.offer_found(machine, skills);
        self.wait(recorder, after_ms).await?;
        let context = self.context;
        let (tools, _) = skills.offered();
        let size = self.gauge.read(machine, tools);
        if context.job.stop.is_fired() {
            return Ok(context.stopped());
        }
        let Some(plan) = SummaryPlan::new(machine, tools, size.tokens) else {
            recorder.settle()?;
            return Ok(self.failed(BrokenOff { failure: summary::nothing_to_gain(), received_bytes: None }, 0));
        };
        let limits = self.limits(machine);
        let limit = SummaryPlan::answer_limit(limits.reasoning);
        let reserved = reserve(self.context, machine, || plan.prompt_bound(), limits.answer_bound.min(limit)).await?;
        if let Some(fact) = reserved {
            return Ok(fact);
        }
        let request = GenerateRequest {
            model: &self.model().model,
            messages: plan.messages(),
            tools: &[],
            found: 0,
            reasoning: context.setting.reasoning_budget,
            max_output_tokens: limits.most_answer.map(|most| most.min(limit)),
            native: NativeTools::default(),
            occasion: occasion(machine),
        };
        let mut warnings = Vec::new();
        let mut encoded = EncodedConversation::default();
        let fact = match self.ask(recorder, &mut encoded, &request, &mut warnings, &mut |_| {}).await? {
            None => context.stopped(),
            Some(Ok(generation)) => context.fact(plan.summarized(generation)),
            Some(Err(broken)) => self.failed(broken, 0),
        };
        self.warn(warnings);
        Ok(fact)
    }

    fn warn(&self, warnings: Vec<String>) {
        for message in warnings {
            self.context.emitter.emit(EventBody::RuntimeWarning { message });
        }
    }

    /// Waits before a request is made again. The owed checkpoint is written first, since the wait may be long.
    async fn wait(&self, recorder: &mut Recorder, after_ms: u64) -> Result<(), RunError> {
        if after_ms > 0 {
            recorder.settle()?;
            // No server is spared by a replay that waits.
            let wait = if self.context.job.backends.tape.is_replay() { 0 } else { after_ms };
            tokio::select! {
                biased;
                () = self.context.job.stop.fired() => {}
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            }
        }
        Ok(())
    }

    /// Asks once, and writes the owed checkpoint meanwhile. `None` when the Run is to stop. The provider's warnings are
    /// added to `warnings`.
    async fn ask(
        &self,
        recorder: &mut Recorder,
        encoded: &mut EncodedConversation,
        request: &GenerateRequest<'_>,
        warnings: &mut Vec<String>,
        on_delta: &mut (dyn FnMut(&Delta) + Send),
    ) -> Result<Option<Result<Generation, BrokenOff>>, RunError> {
        let backends = &self.context.job.backends;
        let provider = &self.model().provider;
        let timeout = Duration::from_millis(self.context.setting.timeout);
        let mut received_bytes: Option<u64> = None;
        let mut count = |delta: &Delta| {
            if let Delta::Warning { message } = delta {
                warnings.push(message.clone());
                return;
            }
            received_bytes = Some(received_bytes.unwrap_or(0).saturating_add(bytes_of(delta)));
            on_delta(delta);
        };
        let asked = async {
            let answer = async {
                #[cfg(feature = "fault-injection")]
                crate::store::mark("request", request.occasion.run);
                Ok::<_, StoreError>(provider.generate_in(encoded, request, timeout, &mut count).await)
            };
            // Polled in this order, and then the connection's own task gets its turn: the request has left when the
            // disk is waited for, which blocks this thread. A disk that fails ends the request at once.
            tokio::try_join!(answer, async {
                tokio::task::yield_now().await;
                recorder.settle()
            })
        };
        let outcome = tokio::select! {
            biased;
            outcome = asked => Some(outcome),
            () = self.context.job.stop.fired() => None,
        };
        let Some(outcome) = outcome else { return Ok(None) };
        let (answer, ()) = outcome?;
        Ok(Some(match answer {
            Ok(mut generation) => {
                backends.redactor.generation(&mut generation);
                Ok(generation)
            }
            Err(mut failure) => {
                failure.message = backends.redactor.text(&failure.message);
                Err(BrokenOff { failure, received_bytes })
            }
        }))
    }

    /// A failure as a fact, with the decision on another attempt. `failures`: those before it.
    fn failed(&self, broken: BrokenOff, failures: u32) -> Fact {
        let BrokenOff { failure, received_bytes } = broken;
        let stamp = self.context.emitter.clock.stamp();
        let retry_in_ms = retry::delay(failures, &failure, stamp.seed)
            .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        let kind = failure.kind.name();
        if let Some(ms) = retry_in_ms {
            debug!("the model's answer failed ({kind}): attempt {} in {ms} ms", failures.saturating_add(2));
        } else {
            debug!("the model's answer failed ({kind}): no further attempt");
        }
        self.context.fact_of(stamp, FactBody::GenerationFailed { failure, retry_in_ms, received_bytes })
    }

    /// The changes that servers made to their tools since the last request. Between two steps only: within one, the
    /// model's calls are of the tools that it was shown.
    ///
    /// # Errors
    /// The recording of them cannot be used.
    fn refresh_tools(&self, skills: &mut SkillSet) -> Result<Option<Fact>, RunError> {
        let RunContext { expert, emitter, job, .. } = self.context;
        let (tape, run) = (&job.backends.tape, &emitter.run_id);
        let change = match tape.recorded_change(run, self.sent)? {
            Some(mut now) => {
                let admits = |tool: &ToolSpec| {
                    expert.skills.get(&tool.skill_name).is_some_and(|spec| spec.common().admits(&tool.name))
                };
                now.retain(admits);
                skills.change_recorded(&now)
            }
            None => skills.refresh(),
        };
        let Some(change) = change else { return Ok(None) };
        let base_command = job.options.base_skill_command.as_deref();
        tape.record_change(run, self.sent, || server_tools(expert, base_command, skills));
        // Before the first request a change is no news: some servers report one right after they have started.
        let changed = change.skills.iter().filter(|_| self.sent > 0);
        let changed =
            changed.map(|skill| format!("skill {skill}: its tools have changed; this step goes on with the new ones"));
        for message in changed.chain(change.warnings) {
            self.context.emitter.emit(EventBody::RuntimeWarning { message });
        }
        let tools = skills.tools().iter().map(ToolSpec::route).collect();
        Ok(Some(self.context.fact(FactBody::ToolsChanged { tools })))
    }

    /// The limits of the Run's model on the next request.
    fn limits(&self, machine: &RunMachine) -> ModelLimits {
        let reasoning = self.context.setting.reasoning_budget;
        // A model that is not in the catalogue is looked for in all of it.
        let answers = self.answers.get_or_init(|| AnswerLimits::of(self.model(), reasoning));
        ModelLimits::of(*answers, machine, reasoning)
    }
}

/// The Run and time that a request is made for.
fn occasion(machine: &RunMachine) -> Occasion<'_> {
    Occasion { run: machine.head().run_id.as_str(), at: machine.now() }
}

/// The bytes of text in a piece of an answer: what output tokens are charged for.
fn bytes_of(delta: &Delta) -> u64 {
    let text = match delta {
        Delta::Text { text, .. } | Delta::Thinking { text, .. } => text,
        Delta::ToolArguments { json, .. } => json,
        _ => return 0,
    };
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The reason for which an answer without calls, which ends the Run, may be incomplete.
fn doubt_about(generation: &Generation) -> Option<String> {
    let has = |wanted: fn(&GeneratedPart) -> bool| generation.parts.iter().any(wanted);
    let is_last = has(|part| matches!(part, GeneratedPart::Text { .. }))
        && !has(|part| matches!(part, GeneratedPart::ToolCall { .. }));
    let reason = match &generation.finish {
        FinishReason::ContentFilter => "the provider's content filter, or the model itself, ended it",
        FinishReason::Other(reason) => {
            return is_last.then(|| format!("the answer may be incomplete: it ended with {reason:?}"));
        }
        // One that was cut off is not taken for an answer.
        FinishReason::Length
        | FinishReason::ContextWindow
        | FinishReason::Stop
        | FinishReason::ToolCalls
        | FinishReason::Pause => {
            return None;
        }
    };
    is_last.then(|| format!("the answer may be incomplete: {reason}"))
}
