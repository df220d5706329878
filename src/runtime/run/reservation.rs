//! [`reserve`]: what the next request to a model may take is set aside before it is sent. Called by `requests`; the accounts are
//! the job's, which its tree of Runs keeps, and the one that jobs share.

use crate::budget::{Reached, Reservation};
use crate::fact::{Fact, FactBody};
use crate::machine::{ReservationOutcome, ReservationRequest, RunMachine};
use crate::runtime::error::RunError;
use crate::runtime::run::context::RunContext;

/// Sets aside what the next request may take, where there is an account and this was not done yet: on the job's, then
/// on the one that it shares, whose holders never wait. `None`: the request may be sent. `prompt` counts the most
/// tokens that it can have; `most` are those of its answer.
///
/// # Errors
/// The shared account cannot be read or written.
pub async fn reserve(
    context: &RunContext,
    machine: &RunMachine,
    prompt: impl FnOnce() -> u64,
    most: u64,
) -> Result<Option<Fact>, RunError> {
    let (budget, shared) = (&context.job.budget, &context.job.shared);
    if machine.reserved().is_some() {
        return Ok(None);
    }
    if budget.is_none() && shared.is_none() {
        if context.job.is_spared_budget() {
            // The recording has a fact here, whose stamp is passed over: ids are made of those behind it.
            context.emitter.clock.stamp();
        }
        return Ok(None);
    }
    let mut request = ReservationRequest {
        steps: machine.uncounted_steps(),
        prompt_tokens: prompt(),
        max_output_tokens: most,
        price: machine.parameters().price,
    };
    let mut reserved = None;
    if let Some(budget) = budget {
        let run = &machine.head().run_id;
        let outcome = tokio::select! {
            biased;
            () = context.job.stop.fired() => None,
            outcome = budget.reserve(run, request.clone()) => outcome,
        };
        match outcome {
            Some(ReservationOutcome::Granted(granted)) => reserved = granted,
            Some(ReservationOutcome::Refused(reached)) => return Ok(Some(refused(context, reached))),
            None => {
                budget.withdraw(run).await;
                return Ok(Some(context.stopped()));
            }
        }
    }
    if let Some(shared) = shared {
        if let Some(reserved) = &reserved {
            request.max_output_tokens = reserved.output_tokens;
        }
        let of_job = reserved.and_then(|reserved| reserved.clamped_by);
        let run = &machine.head().run_id;
        match shared.reserve(context.job.job_id(), run, &request, &context.job.stop).await? {
            Some(ReservationOutcome::Granted(granted)) => {
                reserved =
                    granted.map(|granted| Reservation { clamped_by: granted.clamped_by.clone().or(of_job), ..granted });
            }
            Some(ReservationOutcome::Refused(reached)) => return Ok(Some(refused(context, reached))),
            None => return Ok(Some(context.stopped())),
        }
    }
    Ok(reserved.map(|reservation| context.fact(FactBody::Reserved { reservation })))
}

fn refused(context: &RunContext, reached: Reached) -> Fact {
    context.fact(FactBody::BudgetReached { reached })
}
