//! Asks the model, tells its answer as it streams in, and judges a failure.

use std::time::Duration;

use crate::event::EventBody;
use crate::expert::Expert;
use crate::fact::{Fact, FactBody};
use crate::generation::{
    Delta, FinishReason, GenerateRequest, GeneratedPart, Generation, GenerationFailure, NativeTools, Occasion,
};
use crate::machine::RunMachine;
use crate::provider::retry;
use crate::runtime::error::RunError;
use crate::runtime::run::RunContext;
use crate::runtime::run::recorder::Recorder;
use crate::runtime::run::window::{self, PromptSize};
use crate::store::StoreError;
use crate::tool::ToolSpec;

/// Waits before the model is asked again. The checkpoint that is owed is written first.
///
/// # Errors
/// What cannot be stored.
pub async fn wait(recorder: &mut Recorder, context: &RunContext, after_ms: u64) -> Result<(), RunError> {
    if after_ms > 0 {
        recorder.settle()?;
        // Nobody is spared by a replay that waits.
        let wait = if context.tape.is_replay() { 0 } else { after_ms };
        tokio::select! {
            biased;
            () = context.halt.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
        }
    }
    Ok(())
}

/// Asks the model once, if the conversation fits its window. The checkpoint that is owed is written while the request is
/// under way.
///
/// # Errors
/// What cannot be stored; every failure of the model is a fact.
pub async fn generate(
    machine: &RunMachine,
    recorder: &mut Recorder,
    context: &RunContext,
    tools: &[ToolSpec],
    size: PromptSize,
) -> Result<Fact, RunError> {
    if context.halt.is_cancelled() {
        return Ok(context.halted());
    }
    if let Some(failure) = window::overflow(machine, context, size) {
        // Nothing is sent; the checkpoint must be where the log is now.
        recorder.settle()?;
        return Ok(failed(context, BrokenOff::unsent(failure), machine.head().retry_count));
    }
    let request = GenerateRequest {
        model: &context.model,
        messages: machine.messages(),
        tools,
        reasoning: context.reasoning,
        max_output_tokens: window::answer_limit(machine, context, size),
        native: native_tools(&context.expert),
        occasion: occasion(machine),
    };
    let mut telling = context.emitter.answer(machine.head().step_number, &context.redactor);
    let outcome = ask(recorder, context, &request, &mut |delta| telling.delta(delta)).await;
    telling.end();
    match outcome? {
        None => Ok(context.halted()),
        Some(Ok(generation)) => {
            let stamp = context.clock.stamp();
            for message in [doubt_about(&generation), window::warning(machine, &generation)].into_iter().flatten() {
                context.emitter.emit(EventBody::RuntimeWarning { message });
            }
            Ok(Fact { stamp, body: FactBody::Generated { generation } })
        }
        Some(Err(broken)) => Ok(failed(context, broken, machine.head().retry_count)),
    }
}

/// A request without an answer.
pub struct BrokenOff {
    pub failure: GenerationFailure,
    /// How many bytes of text the answer had; `None` when it had not begun.
    pub received_bytes: Option<u64>,
}

impl BrokenOff {
    /// Of a request that was not sent.
    pub fn unsent(failure: GenerationFailure) -> Self {
        Self { failure, received_bytes: None }
    }
}

/// A failure as a fact, with the verdict on another try. `failures`: those before it.
pub fn failed(context: &RunContext, broken: BrokenOff, failures: u32) -> Fact {
    let BrokenOff { failure, received_bytes } = broken;
    let stamp = context.clock.stamp();
    let retry_in_ms =
        retry::delay(failures, &failure, stamp.seed).map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    Fact { stamp, body: FactBody::GenerationFailed { failure, retry_in_ms, received_bytes } }
}

/// Asks once, and writes the checkpoint that is owed meanwhile. `None` when the Run is to stop.
///
/// # Errors
/// What cannot be stored; a failure of the model is an answer.
pub async fn ask(
    recorder: &mut Recorder,
    context: &RunContext,
    request: &GenerateRequest<'_>,
    on_delta: &mut (dyn FnMut(&Delta) + Send),
) -> Result<Option<Result<Generation, BrokenOff>>, RunError> {
    let mut received_bytes: Option<u64> = None;
    let mut count = |delta: &Delta| {
        received_bytes = Some(received_bytes.unwrap_or(0).saturating_add(bytes_of(delta)));
        on_delta(delta);
    };
    let asked = async {
        let answer = async {
            #[cfg(feature = "fault-injection")]
            crate::store::mark("request", request.occasion.run);
            Ok::<_, StoreError>(context.provider.generate(request, context.timeout, &mut count).await)
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
        () = context.halt.cancelled() => None,
    };
    let Some(outcome) = outcome else { return Ok(None) };
    let (answer, ()) = outcome?;
    Ok(Some(match answer {
        Ok(mut generation) => {
            context.redactor.generation(&mut generation);
            Ok(generation)
        }
        Err(mut failure) => {
            failure.message = context.redactor.text(&failure.message);
            Err(BrokenOff { failure, received_bytes })
        }
    }))
}

/// Whose question the next request is.
pub fn occasion(machine: &RunMachine) -> Occasion<'_> {
    Occasion { run: machine.head().run_id.as_str(), at: machine.now() }
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
        // It is not taken for an answer.
        FinishReason::ContextWindow | FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause => {
            return None;
        }
    };
    is_last.then(|| format!("the answer may be incomplete: {why}"))
}
