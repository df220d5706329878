//! Asks the model, tells its answer as it streams in, and judges a failure.

use std::time::Duration;

use crate::fact::{Fact, FactBody};
use crate::generation::GenerateRequest;
use crate::machine::RunMachine;
use crate::provider::retry;
use crate::runtime::RunError;
use crate::runtime::recorder::Recorder;
use crate::runtime::run::Stage;

/// Waits `after_ms`, then asks the model once. The checkpoint that is owed is written while the request is under way.
///
/// # Errors
/// What cannot be stored; every failure of the model is a fact.
pub async fn generate(
    machine: &RunMachine,
    recorder: &mut Recorder,
    stage: &Stage,
    after_ms: u64,
) -> Result<Fact, RunError> {
    if after_ms > 0 {
        recorder.settle()?;
        // Nobody is spared by a replay that waits.
        let wait = if stage.tape.is_replay() { 0 } else { after_ms };
        tokio::select! {
            biased;
            () = stage.cancel.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
        }
    }
    if stage.cancel.is_cancelled() {
        return Ok(stage.fact(FactBody::Interrupted));
    }
    let request = GenerateRequest {
        model: &stage.model,
        messages: machine.messages(),
        tools: stage.skills.tools(),
        reasoning: stage.reasoning,
        max_output_tokens: stage.max_output_tokens,
    };
    let mut telling = stage.narrator.answer(machine.head().step_number);
    let mut on_delta = |delta: &_| telling.delta(delta);
    let asked = async {
        // Polled in this order: the request has left when the disk is waited for.
        tokio::join!(stage.provider.generate(&request, stage.timeout, &mut on_delta), async { recorder.settle() })
    };
    let outcome = tokio::select! {
        biased;
        outcome = asked => Some(outcome),
        () = stage.cancel.cancelled() => None,
    };
    telling.end();
    let Some((answer, settled)) = outcome else {
        return Ok(stage.fact(FactBody::Interrupted));
    };
    settled?;
    let stamp = stage.clock.stamp();
    let body = match answer {
        Ok(generation) => FactBody::Generated { generation },
        Err(mut failure) => {
            failure.message = stage.redactor.text(&failure.message);
            let retry_in_ms = retry::delay(machine.head().retry_count, &failure, stamp.seed)
                .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            FactBody::GenerationFailed { failure, retry_in_ms }
        }
    };
    Ok(Fact { stamp, body })
}
