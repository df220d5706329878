//! Asks the model, tells its answer as it streams in, and judges a failure.

use std::time::Duration;

use crate::event::EventBody;
use crate::fact::{Fact, FactBody};
use crate::generation::{
    Delta, FinishReason, GenerateRequest, GeneratedPart, Generation, GenerationFailure, NativeTools,
};
use crate::machine::RunMachine;
use crate::provider::retry;
use crate::runtime::RunError;
use crate::runtime::context::{self, Gauge};
use crate::runtime::recorder::Recorder;
use crate::runtime::run::Stage;
use crate::store::StoreError;
use crate::tool::ToolSpec;

/// Waits `after_ms`, then asks the model once. The checkpoint that is owed is written while the request is under way.
///
/// # Errors
/// What cannot be stored; every failure of the model is a fact.
pub async fn generate(
    machine: &RunMachine,
    recorder: &mut Recorder,
    stage: &Stage,
    tools: &[ToolSpec],
    after_ms: u64,
    gauge: &mut Gauge,
) -> Result<Fact, RunError> {
    if !wait(recorder, stage, after_ms).await? {
        return Ok(stage.fact(FactBody::Interrupted));
    }
    let size = gauge.read(machine, tools);
    if let Some(failure) = context::overflow(machine, stage, size) {
        // Nothing is sent; the checkpoint must be where the log is now.
        recorder.settle()?;
        return Ok(stage.fact(FactBody::GenerationFailed { failure, retry_in_ms: None }));
    }
    let request = GenerateRequest {
        model: &stage.model,
        messages: machine.messages(),
        tools,
        reasoning: stage.reasoning,
        max_output_tokens: context::answer_limit(machine, stage, size),
        native: NativeTools {
            tools: &stage.expert.provider_tools,
            options: stage.expert.provider_tool_options.as_ref(),
            skills: stage.expert.provider_skills.as_ref(),
        },
    };
    let mut telling = stage.narrator.answer(machine.head().step_number);
    let outcome = ask(recorder, stage, &request, &mut |delta| telling.delta(delta)).await;
    telling.end();
    match outcome? {
        None => Ok(stage.fact(FactBody::Interrupted)),
        Some(Ok(generation)) => {
            let stamp = stage.clock.stamp();
            for message in [doubt_about(&generation), context::warning(machine, &generation)].into_iter().flatten() {
                stage.narrator.runtime(EventBody::RuntimeWarning { message });
            }
            Ok(Fact { stamp, body: FactBody::Generated { generation } })
        }
        Some(Err(failure)) => Ok(failed(stage, failure, machine.head().retry_count)),
    }
}

/// A failure as a fact, with the verdict on another try. `failures`: those before it.
pub fn failed(stage: &Stage, failure: GenerationFailure, failures: u32) -> Fact {
    let stamp = stage.clock.stamp();
    let retry_in_ms =
        retry::delay(failures, &failure, stamp.seed).map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    Fact { stamp, body: FactBody::GenerationFailed { failure, retry_in_ms } }
}

/// Waits before a request; false when the Run is to stop.
///
/// # Errors
/// What cannot be stored.
pub async fn wait(recorder: &mut Recorder, stage: &Stage, after_ms: u64) -> Result<bool, RunError> {
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
    Ok(!stage.cancel.is_cancelled())
}

/// Asks once, and writes the checkpoint that is owed meanwhile. `None` when the Run is to stop.
///
/// # Errors
/// What cannot be stored; a failure of the model is an answer.
pub async fn ask(
    recorder: &mut Recorder,
    stage: &Stage,
    request: &GenerateRequest<'_>,
    on_delta: &mut (dyn FnMut(&Delta) + Send),
) -> Result<Option<Result<Generation, GenerationFailure>>, RunError> {
    let asked = async {
        let answer = async { Ok::<_, StoreError>(stage.provider.generate(request, stage.timeout, on_delta).await) };
        // Polled in this order: the request has left when the disk is waited for. A disk that fails ends it at once.
        tokio::try_join!(answer, async { recorder.settle() })
    };
    let outcome = tokio::select! {
        biased;
        outcome = asked => Some(outcome),
        () = stage.cancel.cancelled() => None,
    };
    let Some(outcome) = outcome else { return Ok(None) };
    let (answer, ()) = outcome?;
    Ok(Some(answer.map_err(|failure| GenerationFailure { message: stage.redactor.text(&failure.message), ..failure })))
}

/// Why an answer without calls, which ends the run, may not be all that was to be said.
fn doubt_about(generation: &Generation) -> Option<String> {
    let has = |wanted: fn(&GeneratedPart) -> bool| generation.parts.iter().any(wanted);
    let is_last = has(|part| matches!(part, GeneratedPart::Text { .. }))
        && !has(|part| matches!(part, GeneratedPart::ToolCall { .. }));
    let why = match &generation.finish {
        FinishReason::Length => "it was cut off at the model's output limit",
        FinishReason::ContentFilter => "the provider's content filter, or the model itself, ended it",
        FinishReason::Other(reason) => {
            return is_last.then(|| format!("the answer may be incomplete: it ended with {reason:?}"));
        }
        // It is not taken for an answer.
        FinishReason::ContextWindow | FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause => {
            return None;
        }
    };
    is_last.then(|| format!("the answer may be incomplete: {why}"))
}
