//! [`decide`]: the decisions about the calls of one turn, by the rules at hand and by a person where those ask for one.
//! The Run's loop calls it until no call waits for a decision; none is made before.

use std::sync::Arc;

use crate::expert::{Expert, SkillSpec};
use crate::fact::{Fact, FactBody};
use crate::hint::ErrorHint as _;
use crate::permission::{
    CallArgument, CallDecision, CallSubject, CallVerdict, DecidedBy, PermissionAnswer, PermissionPattern,
    PermissionQuestion, PermissionVerdict,
};
use crate::runtime::job::context::rules;
use crate::runtime::options::Options;
use crate::runtime::run::context::RunContext;
use crate::skill::SkillSet;
use crate::skill::base::call_argument;
use crate::tool::{ToolCall, ToolHints, ToolKind, ToolSpec};

/// The advice at the end of a refusal, for the model.
const GO_ON: &str = "Do not try the same in another way; go on without it, or report to the user that it is needed";

/// Decides about some of `calls`, as a fact: about all that need no person, else about the first, or the stop of the
/// job. `is_marked`: the Run has read text from strangers. `None` if the recording does not have what a person decided, and
/// the Run goes on without it.
pub async fn decide(calls: &[ToolCall], is_marked: bool, context: &RunContext, skills: &SkillSet) -> Option<Fact> {
    let (barred, calls): (Vec<&ToolCall>, Vec<&ToolCall>) =
        calls.iter().partition(|call| is_marked && !may_follow_untrusted(call, context, skills));
    if !barred.is_empty() {
        let decisions = barred.into_iter().map(after_untrusted).collect();
        return Some(context.fact(FactBody::CallsDecided { decisions }));
    }
    let verdicts = calls.into_iter().map(|call| (call, verdict(call, &context.job.options, &context.expert, skills)));
    let (asking, settled): (Vec<_>, Vec<_>) =
        verdicts.partition(|(_, judged)| matches!(judged.verdict, PermissionVerdict::Asks(_)));
    if !settled.is_empty() {
        let decisions = settled.into_iter().map(|(call, judged)| by_rule(call, judged.verdict)).collect();
        return Some(context.fact(FactBody::CallsDecided { decisions }));
    }
    let Some((call, Judged { verdict: PermissionVerdict::Asks(rule), is_program })) = asking.into_iter().next() else {
        return Some(context.stopped());
    };
    let tape = &context.job.backends.tape;
    let decision = tokio::select! {
        biased;
        () = context.job.stop.fired() => return Some(context.stopped()),
        decision = by_person(call, rule, is_program, context) => decision?,
    };
    tape.record_decision(call, &decision);
    Some(context.fact(FactBody::CallsDecided { decisions: vec![decision] }))
}

/// Returns the refusal of a call that rules deny.
pub fn refusal(call: &ToolCall, options: &Options, expert: &Expert, skills: &SkillSet) -> Option<String> {
    match verdict(call, options, expert, skills).verdict {
        PermissionVerdict::Denied(rule) => Some(denied_by(call, &rule)),
        PermissionVerdict::Allowed(_) | PermissionVerdict::Asks(_) => None,
    }
}

/// Returns true if a call may be made once the Run has read text from strangers. Delegates get the mark, and a person
/// decides about a question; tools have to be among those that the expert names, or to be such as only read.
fn may_follow_untrusted(call: &ToolCall, context: &RunContext, skills: &SkillSet) -> bool {
    let Some(tool) = skills.tool(&call.tool_name) else { return false };
    if tool.kind != ToolKind::Mcp || skills.is_search(&call.tool_name) {
        return true;
    }
    match &context.expert.after_untrusted {
        None => tool.hints.read_only,
        Some(patterns) => {
            let own_name = skills.own_name(&call.tool_name).unwrap_or(&call.tool_name);
            let argument = argument(call, tool, own_name, &context.job.options, &context.expert);
            let subject = CallSubject { tool, own_name, argument: &argument };
            let all: Vec<&PermissionPattern> = patterns.iter().collect();
            patterns.iter().any(|pattern| pattern.covers(&subject, &all))
        }
    }
}

fn after_untrusted(call: &ToolCall) -> CallDecision {
    let reason = format!(
        "not run: this run has read text from strangers (untrusted), and {} is none of the tools that may be called \
         after that (afterUntrusted). {GO_ON}",
        call.tool_name
    );
    let rule = Some("afterUntrusted".to_owned());
    decided(call, CallVerdict::Denied, DecidedBy::Untrusted, rule, Some(reason))
}

/// A call as the rules see it.
struct Judged {
    verdict: PermissionVerdict,
    /// It is of the tool that starts programs, under whatever name.
    is_program: bool,
}

fn verdict(call: &ToolCall, options: &Options, expert: &Expert, skills: &SkillSet) -> Judged {
    let rules = rules(options, expert);
    if rules.is_empty() {
        return Judged { verdict: PermissionVerdict::Allowed(None), is_program: false };
    }
    let unknown = || ToolSpec {
        skill_name: call.skill_name.clone(),
        name: call.tool_name.clone(),
        description: None,
        input_schema: Arc::default(),
        kind: ToolKind::Mcp,
        hints: ToolHints::default(),
    };
    let stranger;
    let tool = if let Some(tool) = skills.tool(&call.tool_name) {
        tool
    } else {
        stranger = unknown();
        &stranger
    };
    let own_name = skills.own_name(&call.tool_name).unwrap_or(&call.tool_name);
    let argument = argument(call, tool, own_name, options, expert);
    let verdict = match rules.decide(&CallSubject { tool, own_name, argument: &argument }) {
        // It shows definitions that a request would else have. What it finds is decided when it is called.
        PermissionVerdict::Asks(_) if skills.is_search(&call.tool_name) => PermissionVerdict::Allowed(None),
        verdict => verdict,
    };
    Judged { verdict, is_program: matches!(argument, CallArgument::Program(_)) }
}

/// The part of a call's arguments that patterns look at.
fn argument(call: &ToolCall, tool: &ToolSpec, own_name: &str, options: &Options, expert: &Expert) -> CallArgument {
    let is_base = expert.skills.get(&tool.skill_name).is_some_and(SkillSpec::is_base);
    if is_base && tool.kind == ToolKind::Mcp {
        call_argument(own_name, call, &options.workspace, options.environment.get("HOME"))
    } else {
        CallArgument::None
    }
}

fn by_rule(call: &ToolCall, verdict: PermissionVerdict) -> CallDecision {
    let (decision, rule, reason) = match verdict {
        PermissionVerdict::Allowed(rule) => (CallVerdict::Allowed, rule, None),
        PermissionVerdict::Asks(rule) | PermissionVerdict::Denied(rule) => {
            let reason = denied_by(call, &rule);
            (CallVerdict::Denied, Some(rule), Some(reason))
        }
    };
    let by = if rule.is_some() { DecidedBy::Rule } else { DecidedBy::Default };
    decided(call, decision, by, rule, reason)
}

async fn by_person(call: &ToolCall, rule: String, is_program: bool, context: &RunContext) -> Option<CallDecision> {
    let tape = &context.job.backends.tape;
    let denied = |by, reason| Some(decided(call, CallVerdict::Denied, by, Some(rule.clone()), Some(reason)));
    match tape.recorded_decision(call) {
        Ok(Some(recorded)) => return Some(recorded),
        Ok(None) if context.job.live.is_some() => return None,
        Ok(None) => {}
        Err(error) => return denied(DecidedBy::Rule, format!("not run: {}", error.with_hint())),
    }
    let name = &call.tool_name;
    let Some(ask) = &context.job.options.approver else {
        let reason = format!(
            "not run: {name} needs a person's permission ({rule}), and nobody can be asked in this run. {GO_ON}"
        );
        return denied(DecidedBy::Rule, reason);
    };
    let question = PermissionQuestion {
        expert: context.expert.key.to_string(),
        call: call.clone(),
        rule: rule.clone(),
        is_exact: is_program,
        workspace: context.job.options.workspace.clone(),
    };
    let allowed = || decided(call, CallVerdict::Allowed, DecidedBy::Person, Some(rule.clone()), None);
    match ask(question).await {
        PermissionAnswer::Once => Some(allowed()),
        PermissionAnswer::Always => Some(CallDecision { always: true, ..allowed() }),
        PermissionAnswer::Denied { reason: Some(reason) } => {
            let reason = context.job.backends.redactor.text(&reason);
            denied(DecidedBy::Person, format!("not run: the user denied {name}, because: {reason}"))
        }
        PermissionAnswer::Denied { reason: None } => {
            denied(DecidedBy::Person, format!("not run: the user denied {name}. {GO_ON}"))
        }
    }
}

fn denied_by(call: &ToolCall, rule: &str) -> String {
    format!("not run: {} is denied by {rule}. {GO_ON}", call.tool_name)
}

fn decided(
    call: &ToolCall,
    decision: CallVerdict,
    by: DecidedBy,
    rule: Option<String>,
    reason: Option<String>,
) -> CallDecision {
    let (tool_call_id, tool_name) = (call.id.clone(), call.tool_name.clone());
    CallDecision { tool_call_id, tool_name, decision, by, rule, always: false, reason }
}
