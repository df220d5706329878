//! Drives one Run: tells the machine what happened, records what follows, carries out what it asks for.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::checkpoint::Status;
use crate::event::EventBody;
use crate::expert::Expert;
use crate::fact::{Clock, Fact, FactBody};
use crate::machine::{Action, Input, RunMachine};
use crate::provider::Provider;
use crate::redact::Redactor;
use crate::runtime::calls::Calls;
use crate::runtime::context::Gauge;
use crate::runtime::narrator::Narrator;
use crate::runtime::recorder::Recorder;
use crate::runtime::session::Tape;
use crate::runtime::{InDoubt, RunError, generate, summary};
use crate::setting::ReasoningBudget;
use crate::skill::SkillSet;
use crate::tool::ToolSpec;

/// What a Run works with.
pub struct Stage {
    pub expert: Expert,
    pub provider: Arc<Provider>,
    pub model: String,
    pub max_output_tokens: Option<u64>,
    pub reasoning: ReasoningBudget,
    /// For one whole generation.
    pub timeout: Duration,
    pub clock: Arc<dyn Clock>,
    pub narrator: Narrator,
    pub redactor: Redactor,
    pub cancel: CancellationToken,
    pub in_doubt: InDoubt,
    pub tape: Tape,
}

impl Stage {
    /// A fact of now.
    pub fn fact(&self, body: FactBody) -> Fact {
        Fact { stamp: self.clock.stamp(), body }
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
    stage: &Stage,
    skills: &mut SkillSet,
) -> Result<(Status, u64), RunError> {
    let mut calls = Calls::new(stage);
    let mut gauge = Gauge::default();
    let mut first_step = None;
    loop {
        // Pure: nothing has left the process yet.
        let transition = machine.advance(&input)?;
        recorder.record(&input, &transition, machine)?;
        let first_step = *first_step.get_or_insert(machine.head().step_number);
        input = match transition.action {
            Action::Proceed => Input::Proceed,
            // A request that is made again is the same request.
            Action::Generate { after_ms: 0 } if let Some(changed) = take_up_tools(skills, stage) => {
                Input::Fact(changed)
            }
            Action::Generate { after_ms } => {
                Input::Fact(generate::generate(machine, recorder, stage, skills.tools(), after_ms, &mut gauge).await?)
            }
            Action::Summarize { after_ms } => {
                // A summary replaces what was counted.
                let size = std::mem::take(&mut gauge).read(machine, skills.tools());
                Input::Fact(summary::summarize(machine, recorder, stage, after_ms, skills.tools(), size).await?)
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

/// Between two steps: what servers say of their tools by now.
fn take_up_tools(skills: &mut SkillSet, stage: &Stage) -> Option<Fact> {
    for message in skills.refresh()? {
        stage.narrator.runtime(EventBody::RuntimeWarning { message });
    }
    Some(stage.fact(FactBody::ToolsChanged { tools: skills.tools().iter().map(ToolSpec::route).collect() }))
}
