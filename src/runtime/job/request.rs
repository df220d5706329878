//! The request of a resumption against the checkpoint that it goes on from: whether the two fit ([`check_request`]),
//! and whether its query is a message or an answer ([`reply_to`]). Called for stored and for imported checkpoints.

use serde::Deserialize;

use crate::checkpoint::{Checkpoint, CheckpointHead, Status};
use crate::content::Content;
use crate::event::InteractiveAnswer;
use crate::expert::ExpertKey;
use crate::message::UserInput;
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
    reply_to(checkpoint, user_input(input)?).map(|_| ())
}

/// The user's input, as a checkpoint takes it.
pub enum UserReply {
    /// A further message, if there is one.
    Message(Option<UserInput>),
    /// The answer to a question, with the images and files that belong to it.
    Answer(InteractiveAnswer, Vec<Content>),
}

/// Reads the user's input as what `checkpoint` waits for.
///
/// # Errors
/// An answer that is missing or names no call that waits; nothing to do.
pub fn reply_to(checkpoint: &Checkpoint, input: Option<UserInput>) -> Result<UserReply, RunError> {
    let head = &checkpoint.head;
    match head.status {
        Status::StoppedByInteractiveTool if !head.pending_tool_calls.is_empty() => {
            let (text, attached) = input.map_or((None, Vec::new()), |it| (Some(it.text), it.attached));
            Ok(UserReply::Answer(answer_of(checkpoint, text)?, attached))
        }
        Status::Completed if input.is_none() => Err(RunError::NothingToDo { job: head.job_id.clone() }),
        Status::Init => Err(RunError::NeverBegan { checkpoint: head.id.clone() }),
        _ => Ok(UserReply::Message(input)),
    }
}

/// The input of a resumption: its query with what is attached.
///
/// # Errors
/// Something is attached to no query.
pub fn user_input(input: &ResumeInput) -> Result<Option<UserInput>, RunError> {
    let attached = input.attached.clone();
    match input.query.clone() {
        Some(text) => Ok(Some(UserInput { text, attached })),
        None if attached.is_empty() => Ok(None),
        None => Err(RunError::AttachedToNothing),
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
