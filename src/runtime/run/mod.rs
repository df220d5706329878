//! Drives one Run: tells the machine what happened, records what follows, carries out what it asks for.

pub mod calls;
pub mod events;
pub mod generate;
pub mod instruction;
pub mod recorder;
pub mod scope;
pub mod start;
pub mod summary;
pub mod task;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::checkpoint::Status;
use crate::cost::Price;
use crate::event::EventBody;
use crate::expert::Expert;
use crate::fact::{Clock, Fact, FactBody};
use crate::id::RunId;
use crate::machine::{Action, Input, ReservationOutcome, ReservationRequest, RunMachine};
use crate::provider::Provider;
use crate::redact::Redactor;
use crate::runtime::budget::BudgetHandle;
use crate::runtime::error::RunError;
use crate::runtime::job::backends::Tape;
use crate::runtime::options::InDoubt;
use crate::runtime::run::calls::Calls;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::window::WindowGauge;
use crate::runtime::stop::StopSignal;
use crate::setting::ReasoningBudget;
use crate::skill::SkillSet;
use crate::tool::ToolSpec;

/// What a Run works with.
pub struct RunContext {
    pub expert: Expert,
    pub provider: Arc<Provider>,
    pub model: String,
    pub price: Option<Price>,
    pub max_output_tokens: Option<u64>,
    pub reasoning: ReasoningBudget,
    /// For one whole generation.
    pub timeout: Duration,
    pub clock: Arc<dyn Clock>,
    pub emitter: EventEmitter,
    pub redactor: Redactor,
    /// Fires when the Run is to stop.
    pub halt: CancellationToken,
    /// Why it fired.
    pub why: StopSignal,
    /// The way to the job's account, when it has budgets to share.
    pub budget: Option<BudgetHandle>,
    pub in_doubt: InDoubt,
    pub tape: Tape,
}

impl RunContext {
    /// A fact of now.
    pub fn fact(&self, body: FactBody) -> Fact {
        Fact { stamp: self.clock.stamp(), body }
    }

    /// What stopped the Run, as a fact of now.
    pub fn halted(&self) -> Fact {
        self.fact(self.why.fact())
    }
}

/// Drives `machine` from `input` until it stops; returns how, and the first step that it had a part in.
///
/// # Errors
/// What cannot be stored. What was recorded stays.
pub async fn drive(
    machine: &mut RunMachine,
    mut input: Input,
    recorder: &mut Recorder,
    context: &RunContext,
    skills: &mut SkillSet,
) -> Result<(Status, u64), RunError> {
    let mut calls = Calls::new(context);
    let mut gauge = WindowGauge::default();
    let mut first_step = None;
    // What the Run had been charged with before the request for which something is set aside.
    let mut before_request = None;
    loop {
        // Pure: nothing has left the process yet.
        let transition = machine.advance(&input)?;
        recorder.record(&input, &transition, machine)?;
        if let Input::Fact(Fact { body: FactBody::Reserved { .. }, .. }) = &input {
            before_request = Some(machine.totals().charged);
        } else if machine.reserved().is_none()
            && let (Some(budget), Some(before)) = (&context.budget, before_request.take())
        {
            // The request has ended, and the machine has charged it.
            budget.settle(&machine.head().run_id, machine.totals().charged.minus(before)).await;
        }
        if let Input::Fact(Fact { body: FactBody::Summarized { .. }, .. }) = &input {
            // A summary replaces what was counted.
            gauge = WindowGauge::default();
        }
        let first_step = *first_step.get_or_insert(machine.head().step_number);
        input = match transition.action {
            Action::Proceed => Input::Proceed,
            // A request that is made again is the same request.
            Action::Generate { after_ms: 0 }
                if machine.reserved().is_none()
                    && let Some(changed) = take_up_tools(skills, context) =>
            {
                Input::Fact(changed)
            }
            Action::Generate { after_ms } => {
                generate::wait(recorder, context, after_ms).await?;
                let tools = skills.tools();
                let most = context.provider.output_bound(&context.model, context.reasoning);
                let reserved = reserve(machine, context, || machine.prompt_bound(tools), most).await;
                Input::Fact(if let Some(fact) = reserved {
                    fact
                } else {
                    let size = gauge.read(machine, tools);
                    generate::generate(machine, recorder, context, tools, size).await?
                })
            }
            Action::Summarize { after_ms } => {
                generate::wait(recorder, context, after_ms).await?;
                let size = gauge.read(machine, skills.tools());
                Input::Fact(summary::summarize(machine, recorder, context, skills.tools(), size).await?)
            }
            Action::CallTools { calls: asked, in_doubt } => {
                recorder.sync()?;
                calls.start(asked, in_doubt, skills);
                Input::Fact(calls.next().await)
            }
            Action::Wait => Input::Fact(calls.next().await),
            Action::Stop(status) => {
                recorder.sync()?;
                return Ok((status, first_step));
            }
        };
    }
}

/// Asks the job's account for the next request, where it has one and this was not done yet. `None`: it may be sent.
/// `prompt`: counts the most tokens that it can have; `most`: those of its answer.
pub async fn reserve(
    machine: &RunMachine,
    context: &RunContext,
    prompt: impl FnOnce() -> u64,
    most: u64,
) -> Option<Fact> {
    let budget = context.budget.as_ref().filter(|_| machine.reserved().is_none())?;
    let run: &RunId = &machine.head().run_id;
    let request = ReservationRequest {
        steps: machine.uncounted_steps(),
        prompt_tokens: prompt(),
        max_output_tokens: most,
        price: context.price,
    };
    let outcome = tokio::select! {
        biased;
        () = context.halt.cancelled() => None,
        outcome = budget.reserve(run, request) => outcome,
    };
    match outcome {
        Some(ReservationOutcome::Granted(reservation)) => {
            reservation.map(|reservation| context.fact(FactBody::Reserved { reservation }))
        }
        Some(ReservationOutcome::Refused(reached)) => Some(context.fact(FactBody::BudgetReached { reached })),
        None => {
            budget.withdraw(run).await;
            Some(context.halted())
        }
    }
}

/// Between two steps: what servers say of their tools by now.
fn take_up_tools(skills: &mut SkillSet, context: &RunContext) -> Option<Fact> {
    for message in skills.refresh()? {
        context.emitter.emit(EventBody::RuntimeWarning { message });
    }
    Some(context.fact(FactBody::ToolsChanged { tools: skills.tools().iter().map(ToolSpec::route).collect() }))
}
