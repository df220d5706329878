//! The loop of one Run ([`drive`]): gives the machine what happened, records what follows, and performs what the
//! machine asks for. [`start`] calls it; requests to the model and tool calls have files of their own.

pub mod beginning;
pub mod calls;
pub mod check;
pub mod closing;
pub mod context;
pub mod continuation;
pub mod decide;
pub mod events;
pub mod instruction;
pub mod instruction_change;
pub mod prepare;
pub mod recorder;
pub mod requests;
pub mod reservation;
pub mod start;
pub mod stopped;
pub mod summary;
pub mod task;
pub mod verify;
pub mod window;

use crate::event::Event;
use crate::fact::Fact;
use crate::machine::{Action, Input, RunMachine};
use crate::runtime::error::RunError;
use crate::runtime::run::calls::Calls;
use crate::runtime::run::context::RunContext;
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::requests::ModelRequests;
use crate::skill::SkillSet;
use crate::tool::ToolCall;

/// The part of a Run that one loop drove.
pub struct DrivenPart {
    /// The first step that it had a part in.
    pub first_step: u64,
    /// The Run does what its recording does not have, and is to go on beyond it.
    pub leaves_recording: bool,
}

/// Drives `machine` from `input` until it stops, or leaves its recording.
///
/// # Errors
/// A failure to store. What was recorded stays.
pub async fn drive(
    machine: &mut RunMachine,
    mut input: Input,
    recorder: &mut Recorder,
    context: &RunContext,
    skills: &mut SkillSet,
) -> Result<DrivenPart, RunError> {
    let mut requests = ModelRequests::new(context);
    let mut calls = Calls::new(context);
    let mut first_step = None;
    let stop = context.job.backends.stop_of(&context.emitter.run_id);
    loop {
        // Pure: nothing has left the process yet, so that an input which the machine refuses leaves no trace.
        let transition = machine.advance(&input)?;
        // Only a result that waits for others: what ends the turn is followed by more than a flush.
        let more_follows = transition.action == Action::Wait && calls.has_arrived();
        // An answer that is checked or verified is known to be one, or not, only then.
        let is_decided = !machine.state().is_judging();
        let conclude = |events: &[Event]| {
            if is_decided {
                requests.conclude_text(events);
            }
        };
        recorder.record(&input, &transition, machine, more_follows, conclude).await?;
        requests.follow(&input, machine).await;
        let first_step = *first_step.get_or_insert(machine.head().step_number);
        // Where something outside stopped it in the recording, it does now.
        if let Some(stop) = stop
            && stop.facts == recorder.facts()
            && !matches!(transition.action, Action::Proceed | Action::Stop(_))
        {
            let Some(fact) = &stop.fact else {
                recorder.flush().await?;
                return Ok(DrivenPart { first_step, leaves_recording: false });
            };
            input = Input::Fact(Fact::clone(fact));
            continue;
        }
        // None where the recording does not have it.
        let next = match transition.action {
            Action::Proceed => Some(Input::Proceed),
            Action::Generate { after_ms } => {
                recorded(requests.generate(machine, recorder, skills, after_ms).await?, context)
            }
            Action::Summarize { after_ms } => {
                recorded(requests.summarize(machine, recorder, skills, after_ms).await?, context)
            }
            Action::DecideCalls { calls } => {
                decide::decide(&calls, machine.head().untrusted, context, skills).await.map(Input::Fact)
            }
            Action::CallTools { calls: wanted, in_doubt } => {
                // All that led to the calls is durable before one of them can have an effect.
                recorder.flush_before_calls().await?;
                let is_made = |call: &ToolCall| stop.is_none_or(|stop| stop.has_answer(recorder.facts(), &call.id));
                // What a recording leaves open was never made here.
                let in_doubt = in_doubt && !context.job.is_beyond;
                calls.start(wanted.into_iter().filter(is_made).collect(), in_doubt, skills);
                calls.next_recorded().await.map(Input::Fact)
            }
            Action::CheckAnswer { text } => Some(Input::Fact(check::check(text, machine, context).await)),
            Action::VerifyAnswer => {
                // As with calls: the command may have effects.
                recorder.flush_before_calls().await?;
                verify::verify(machine, context).await.map(Input::Fact)
            }
            Action::TakeSnapshot => Some(context.job.snapshots.for_checkpoint(machine, &context.emitter).await?),
            Action::Wait => calls.next_recorded().await.map(Input::Fact),
            Action::Stop(_) => {
                recorder.flush().await?;
                return Ok(DrivenPart { first_step, leaves_recording: false });
            }
        };
        let Some(next) = next else {
            recorder.flush().await?;
            return Ok(DrivenPart { first_step, leaves_recording: true });
        };
        input = next;
    }
}

/// The answer to a request as the next input; `None` if the recording does not have it, and the Run goes on without it.
fn recorded(answer: Fact, context: &RunContext) -> Option<Input> {
    (!context.leaves_at(&answer)).then_some(Input::Fact(answer))
}
