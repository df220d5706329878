//! Asks the model, tells its answer as it streams in, and judges a failure.

use std::time::Duration;

use crate::event::EventBody;
use crate::expert::Expert;
use crate::fact::{Fact, FactBody};
use crate::generation::{Delta, FinishReason, GenerateRequest, GeneratedPart, Generation, NativeTools, Occasion};
use crate::machine::RunMachine;
use crate::provider::retry;
use crate::runtime::RunError;
use crate::runtime::recorder::Recorder;
use crate::runtime::run::Stage;
use crate::store::StoreError;
use crate::tool::ToolSpec;

/// Waits before the model is asked again. The checkpoint that is owed is written first.
///
/// # Errors
/// What cannot be stored.
pub async fn wait(recorder: &mut Recorder, stage: &Stage, after_ms: u64) -> Result<(), RunError> {
    if after_ms > 0 {
        recorder.settle()?;
        // Nobody is spared by a replay that waits.
        let wait = if stage.tape.is_replay() { 0 } else { after_ms };
        tokio::select! {
            biased;
            () = stage.halt.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
        }
    }
    Ok(())
}

/// Asks the model once. The checkpoint that is owed is written while the request is under way.
///
/// # Errors
/// What cannot be stored; every failure of the model is a fact.
pub async fn generate(
    machine: &RunMachine,
    recorder: &mut Recorder,
    stage: &Stage,
    tools: &[ToolSpec],
) -> Result<Fact, RunError> {
    if stage.halt.is_cancelled() {
        return Ok(stage.halted());
    }
    let request = GenerateRequest {
        model: &stage.model,
        messages: machine.messages(),
        tools,
        reasoning: stage.reasoning,
        max_output_tokens: machine.reserved().map(|held| held.output_tokens).or(stage.max_output_tokens),
        native: native_tools(&stage.expert),
        occasion: Occasion { run: machine.head().run_id.as_str(), at: machine.now() },
    };
    let mut telling = stage.narrator.answer(machine.head().step_number, &stage.redactor);
    let mut received: Option<u64> = None;
    let mut on_delta = |delta: &_| {
        received = Some(received.unwrap_or(0).saturating_add(bytes_of(delta)));
        telling.delta(delta);
    };
    let asked = async {
        let answer = async {
            #[cfg(feature = "fault-injection")]
            crate::store::mark("request", machine.head().run_id.as_str());
            Ok::<_, StoreError>(stage.provider.generate(&request, stage.timeout, &mut on_delta).await)
        };
        // Polled in this order, and then the connection's own task gets its turn: the request has left when the disk is
        // waited for, which blocks this thread. A disk that fails ends it at once.
        tokio::try_join!(answer, async {
            tokio::task::yield_now().await;
            recorder.settle()
        })
    };
    let outcome = tokio::select! {
        biased;
        outcome = asked => Some(outcome),
        () = stage.halt.cancelled() => None,
    };
    telling.end();
    let Some(outcome) = outcome else {
        return Ok(stage.halted());
    };
    let (answer, ()) = outcome?;
    let stamp = stage.clock.stamp();
    let body = match answer {
        Ok(mut generation) => {
            stage.redactor.generation(&mut generation);
            if let Some(message) = doubt_about(&generation) {
                stage.narrator.runtime(EventBody::RuntimeWarning { message });
            }
            FactBody::Generated { generation }
        }
        Err(mut failure) => {
            failure.message = stage.redactor.text(&failure.message);
            let retry_in_ms = retry::delay(machine.head().retry_count, &failure, stamp.seed)
                .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            FactBody::GenerationFailed { failure, retry_in_ms, received_bytes: received }
        }
    };
    Ok(Fact { stamp, body })
}

/// What the provider is to run itself for `expert`.
pub fn native_tools(expert: &Expert) -> NativeTools<'_> {
    NativeTools {
        tools: &expert.provider_tools,
        options: expert.provider_tool_options.as_ref(),
        skills: expert.provider_skills.as_ref(),
    }
}

/// The text in a piece of an answer: what output tokens are charged for.
fn bytes_of(delta: &Delta) -> u64 {
    let text = match delta {
        Delta::Text { text, .. } | Delta::Thinking { text, .. } => text,
        Delta::ToolArguments { json, .. } => json,
        _ => return 0,
    };
    u64::try_from(text.len()).unwrap_or(u64::MAX)
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
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause => return None,
    };
    is_last.then(|| format!("the answer may be incomplete: {why}"))
}
