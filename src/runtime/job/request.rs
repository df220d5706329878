//! The request of a resumption against the checkpoint that it goes on from: whether the two fit ([`check_request`]),
//! and whether its query is a message or an answer. Called for stored and for imported checkpoints.

use serde::Deserialize;

use crate::checkpoint::{Checkpoint, CheckpointHead, Status};
use crate::event::InteractiveAnswer;
use crate::expert::ExpertKey;
use crate::runtime::error::RunError;
use crate::runtime::options::ResumeInput;
use crate::tool::ToolCall;

/// Checks that a Run can go on from `checkpoint` as `input` wants.
///
/// # Errors
/// A checkpoint of another expert or of a delegate; an answer to no question, or none to a question; nothing to do.
pub fn check_request(input: &ResumeInput, checkpoint: &Checkpoint) -> Result<(), RunError> {
    check_expert(input.expert.as_ref(), &checkpoint.head)?;
    if input.is_answer && checkpoint.head.status != Status::StoppedByInteractiveTool {
        return Err(RunError::NothingAsked { job: checkpoint.head.job_id.clone() });
    }
    message_or_answer(checkpoint, input.query.clone()).map(|_| ())
}

/// The user's query as the checkpoint takes it: a further message, or the answer to a question.
///
/// # Errors
/// An answer that is missing or names no call that waits; nothing to do.
pub fn message_or_answer(
    checkpoint: &Checkpoint,
    query: Option<String>,
) -> Result<(Option<String>, Option<InteractiveAnswer>), RunError> {
    let head = &checkpoint.head;
    match head.status {
        Status::StoppedByInteractiveTool if !head.pending_tool_calls.is_empty() => {
            Ok((None, Some(answer_of(checkpoint, query)?)))
        }
        Status::Completed if query.is_none() => Err(RunError::NothingToDo { job: head.job_id.clone() }),
        Status::Init => Err(RunError::NeverBegan { checkpoint: head.id.clone() }),
        _ => Ok((query, None)),
    }
}

/// Checks that the checkpoint is the coordinator's, and of the expert that the caller named.
///
/// # Errors
/// It is not.
pub fn check_expert(wanted: Option<&ExpertKey>, head: &CheckpointHead) -> Result<(), RunError> {
    let actual = &head.expert.key;
    if head.delegated_by.is_some() {
        let (checkpoint, job) = (head.id.clone(), head.job_id.clone());
        return Err(RunError::DelegatesCheckpoint { checkpoint, expert: actual.clone(), job });
    }
    match wanted {
        Some(wanted) if wanted != actual => {
            Err(RunError::OtherExpert { checkpoint: actual.clone(), given: wanted.clone() })
        }
        _ => Ok(()),
    }
}

/// The JSON form of an answer, which names its call.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedAnswer {
    tool_call_id: String,
    tool_name: String,
    skill_name: String,
    text: String,
}

/// The user's answer, to the first call that waits, or to the one that the JSON form names.
fn answer_of(checkpoint: &Checkpoint, query: Option<String>) -> Result<InteractiveAnswer, RunError> {
    let pending = &checkpoint.head.pending_tool_calls;
    let Some(text) = query else {
        return Err(RunError::AnswerNeeded { questions: pending.iter().map(question).collect() });
    };
    if let Ok(named) = serde_json::from_str::<NamedAnswer>(&text) {
        if !pending.iter().any(|call| call.id == named.tool_call_id) {
            return Err(RunError::NoSuchCall { id: named.tool_call_id });
        }
        return Ok(InteractiveAnswer {
            tool_call_id: named.tool_call_id,
            tool_name: named.tool_name,
            skill_name: named.skill_name,
            text: named.text,
        });
    }
    let first = pending.first().ok_or_else(|| RunError::NothingToDo { job: checkpoint.head.job_id.clone() })?;
    Ok(InteractiveAnswer {
        tool_call_id: first.id.clone(),
        tool_name: first.tool_name.clone(),
        skill_name: first.skill_name.clone(),
        text,
    })
}

/// A call as a person reads it.
fn question(call: &ToolCall) -> String {
    format!("{} {}", call.tool_name, serde_json::Value::Object(call.args.clone()))
}
