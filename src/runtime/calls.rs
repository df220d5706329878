//! The tool calls under way: started together, each answered by a fact, ended in time when the job is to stop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fact::{Fact, FactBody};
use crate::runtime::run::Stage;
use crate::runtime::{InDoubt, RunError};
use crate::tool::{ToolCall, ToolResult};

/// How long running tools may go on after the job was told to stop, before they are told too. Our own choice: long
/// enough for a file to be written, short enough for a person who waits.
const GRACE: Duration = Duration::from_secs(2);
/// How long they then have to end by themselves, before they are ended: the base skill's own limit for a command
/// that was asked to end, and a second more.
const LAST_GRACE: Duration = Duration::from_secs(3);

/// The calls of one turn.
pub struct Calls<'a> {
    stage: &'a Stage,
    running: JoinSet<ToolResult>,
    /// The call behind each task.
    asked: HashMap<Id, ToolCall>,
    /// Results that are there and not told yet.
    arrived: VecDeque<ToolResult>,
    /// Ids in call order, when results are to be told in it.
    order: VecDeque<String>,
    /// Tells the tools to end.
    end: CancellationToken,
    stopping: Stopping,
}

#[derive(Clone, Copy)]
enum Stopping {
    No,
    /// The job was told to stop; tools go on until then.
    Grace(Instant),
    /// The tools were told to end; they are ended then.
    LastGrace(Instant),
}

impl<'a> Calls<'a> {
    /// No calls yet.
    pub fn new(stage: &'a Stage) -> Self {
        Self {
            stage,
            running: JoinSet::new(),
            asked: HashMap::new(),
            arrived: VecDeque::new(),
            order: VecDeque::new(),
            end: CancellationToken::new(),
            stopping: Stopping::No,
        }
    }

    /// Starts `calls`, in order. Those in doubt are made again only if that is safe, or the user said so.
    ///
    /// # Errors
    /// [`RunError::CallsInDoubt`] when the user wants to decide. Nothing was started then.
    pub fn start(&mut self, calls: Vec<ToolCall>, in_doubt: bool) -> Result<(), RunError> {
        let (again, doubtful): (Vec<ToolCall>, Vec<ToolCall>) =
            calls.into_iter().partition(|call| !in_doubt || self.may_repeat(call));
        if !doubtful.is_empty() && self.stage.in_doubt == InDoubt::Stop {
            return Err(RunError::CallsInDoubt { tools: doubtful.into_iter().map(|call| call.tool_name).collect() });
        }
        self.arrived.extend(doubtful.iter().map(effect_unknown));
        if self.stage.tape.is_replay() {
            self.order = again.iter().map(|call| call.id.clone()).collect();
        }
        for call in again {
            self.spawn(call);
        }
        Ok(())
    }

    fn may_repeat(&self, call: &ToolCall) -> bool {
        self.stage.in_doubt == InDoubt::Retry
            || self.stage.skills.tool(&call.tool_name).is_some_and(|tool| tool.hints.is_repeatable())
    }

    fn spawn(&mut self, call: ToolCall) {
        if let Some(result) = self.stage.tape.recorded_result(&call) {
            self.arrived.push_back(result);
            return;
        }
        let Some(skill) = self.stage.skills.skill_of(&call.tool_name) else {
            self.arrived.push_back(ToolResult::error(&call, format!("nothing here runs {}", call.tool_name)));
            return;
        };
        // The skill is told of the call here and now, so that it knows the order of the calls.
        let answer = Arc::clone(skill).call(call.clone(), self.end.clone());
        let task = self.running.spawn(answer);
        self.asked.insert(task.id(), call);
    }

    /// The next thing that happens: a result, or that the job was stopped.
    pub async fn next(&mut self) -> Fact {
        loop {
            if let Some(mut result) = self.take_arrived() {
                self.stage.redactor.contents(&mut result.result);
                return self.stage.fact(FactBody::ToolReturned { result });
            }
            let until = match self.stopping {
                Stopping::No => None,
                Stopping::Grace(until) | Stopping::LastGrace(until) => Some(until),
            };
            let time_is_up = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => self.stage.cancel.cancelled().await,
                }
            };
            tokio::select! {
                biased;
                joined = self.running.join_next_with_id() => match joined {
                    Some(joined) => self.arrive(joined),
                    // Nothing runs, nothing came: the turn can only be given up.
                    None => return self.stage.fact(FactBody::Interrupted),
                },
                () = time_is_up => match self.stopping {
                    Stopping::No => self.stopping = Stopping::Grace(Instant::now() + GRACE),
                    Stopping::Grace(_) => {
                        self.end.cancel();
                        self.stopping = Stopping::LastGrace(Instant::now() + LAST_GRACE);
                    }
                    Stopping::LastGrace(_) => {
                        self.running.shutdown().await;
                        return self.stage.fact(FactBody::Interrupted);
                    }
                },
            }
        }
    }

    fn arrive(&mut self, joined: Result<(Id, ToolResult), JoinError>) {
        let (id, outcome) = match joined {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(call) = self.asked.remove(&id) else { return };
        let result = outcome.unwrap_or_else(|_| {
            ToolResult::error(&call, format!("{} failed in an unforeseen way; its effect is unknown", call.tool_name))
        });
        self.stage.tape.record_result(&call, &result);
        self.arrived.push_back(result);
    }

    /// Live, results are told as they come; in a replay in call order, so that every replay is the same.
    fn take_arrived(&mut self) -> Option<ToolResult> {
        let Some(next) = self.order.front() else { return self.arrived.pop_front() };
        let at = self.arrived.iter().position(|result| result.id == *next || !self.order.contains(&result.id))?;
        let result = self.arrived.remove(at)?;
        self.order.retain(|id| *id != result.id);
        Some(result)
    }
}

fn effect_unknown(call: &ToolCall) -> ToolResult {
    ToolResult::error(
        call,
        format!(
            "interrupted: {} was called, but the run was stopped before its result was recorded. Whether it took \
             effect is unknown. Check before you call it again",
            call.tool_name
        ),
    )
}
