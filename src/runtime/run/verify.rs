//! [`verify`]: the command that has to succeed before an answer counts, run, or taken from a recording, as a fact. The Run's
//! loop calls it. What follows from its end is the machine's.

use serde_json::{Map, json};

use crate::content::Content;
use crate::expert::{Expert, ExpertKey, VerifyCommand};
use crate::fact::{Fact, FactBody, VerifyEnd, VerifyOutcome};
use crate::hint::ErrorHint as _;
use crate::machine::RunMachine;
use crate::redact::Redactor;
use crate::runtime::error::RunError;
use crate::runtime::options::Options;
use crate::runtime::run::context::RunContext;
use crate::runtime::tools::open::command_verifier;
use crate::tool::{BASE_SKILL, ToolCall, ToolResult};

/// The name under which a recording has the ends of commands, beside those of tools. No tool is called so.
const RECORDED_AS: &str = "perstack/verify";

/// Runs the command once, or stops the Run. `None` if the recording does not have its end, and the Run goes on without it.
pub async fn verify(machine: &RunMachine, context: &RunContext) -> Option<Fact> {
    let (Some(verifier), Some(verify)) = (&context.verifier, &machine.parameters().verify) else {
        // Both come from the expert's definition.
        return Some(fact(context, not_run("the expert has no such command")));
    };
    let call = recorded_call(machine, verify);
    // A replay takes the number too: the files of later outputs are named by theirs.
    let output = verifier.next_output();
    match context.job.backends.tape.recorded_verification(&call) {
        None => {}
        Some(Err(error)) if context.leaves_by(&error) => return None,
        Some(Err(error)) => return Some(fact(context, not_run(error.with_hint()))),
        Some(Ok(recorded)) => return Some(fact(context, outcome_of(&recorded))),
    }
    let stop = &context.job.stop;
    if stop.is_fired() {
        return Some(context.stopped());
    }
    context.job.snapshots.note_write();
    let ended = verifier.run(output, stop.token()).await;
    context.job.snapshots.note_write();
    let Some(outcome) = ended else { return Some(context.stopped()) };
    let outcome = masked(outcome, &context.job.backends.redactor);
    let text = serde_json::to_string(&outcome).unwrap_or_default();
    context.job.backends.tape.record_result(&call, &ToolResult::new(&call, vec![Content::text(text)]));
    Some(fact(context, outcome))
}

fn fact(context: &RunContext, outcome: VerifyOutcome) -> Fact {
    context.fact(FactBody::AnswerVerified { outcome })
}

fn not_run(reason: impl Into<String>) -> VerifyOutcome {
    VerifyOutcome { end: VerifyEnd::NotRun { reason: reason.into() }, output: String::new() }
}

/// The call by which a recording has the end of the command: one for each step of a Run.
fn recorded_call(machine: &RunMachine, verify: &VerifyCommand) -> ToolCall {
    let head = machine.head();
    ToolCall {
        id: format!("verify-{}-{}", head.run_id, head.step_number),
        skill_name: BASE_SKILL.to_owned(),
        tool_name: RECORDED_AS.to_owned(),
        args: Map::from_iter([("command".to_owned(), json!(verify.command))]),
    }
}

fn outcome_of(recorded: &ToolResult) -> VerifyOutcome {
    let text = recorded.result.first().and_then(Content::as_text).unwrap_or_default();
    match serde_json::from_str(text) {
        Ok(outcome) if !recorded.is_error => outcome,
        _ => not_run(text),
    }
}

/// Runs `verify` once in the workspace of `options`, as the command that verifies the answers of `expert` is run, apart from any
/// job. None when the options' cancellation has ended it.
///
/// # Errors
/// The expert is not defined, or its commands cannot be run here at all.
pub async fn verify_apart(
    expert: &ExpertKey,
    verify: &VerifyCommand,
    options: &Options,
) -> Result<Option<VerifyOutcome>, RunError> {
    let redactor = options.redactor();
    let verifier = command_verifier(options.experts.get(expert)?, verify, options, &redactor)?;
    let outcome = verifier.run(verifier.next_output(), &options.cancel).await;
    Ok(outcome.map(|outcome| masked(outcome, &redactor)))
}

fn masked(mut outcome: VerifyOutcome, redactor: &Redactor) -> VerifyOutcome {
    outcome.output = redactor.text(&outcome.output);
    if let VerifyEnd::NotRun { reason } = &mut outcome.end {
        *reason = redactor.text(reason);
    }
    outcome
}

/// The notice of the command for the model.
pub fn verify_notice(verify: &VerifyCommand) -> String {
    format!(
        "Your final answer counts only once the command `{}` exits with code 0 in the workspace. It is run when you give the \
         answer, and you get its output back if it fails.",
        verify.command
    )
}

/// Checks that no expert reachable from `expert` has such a command where no call may change anything.
///
/// # Errors
/// [`RunError::VerifyReadOnly`], or an expert that is unusable.
pub fn check_read_only(expert: &Expert, options: &Options) -> Result<(), RunError> {
    if !options.run_permissions.read_only {
        return Ok(());
    }
    let mut experts = options.experts.reachable(&expert.key)?.into_iter();
    let verified = experts.find_map(|expert| Some((expert.key.clone(), expert.verify.as_ref()?.command.clone())));
    match verified {
        Some((key, command)) => Err(RunError::VerifyReadOnly { key, command }),
        None => Ok(()),
    }
}
