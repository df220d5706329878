//! The tool calls under way: started together, each answered by a fact, ended in time when the job is to stop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::fact::{Fact, FactBody};
use crate::machine::{Action, Input, RunMachine};
use crate::runtime::error::RunError;
use crate::runtime::options::InDoubt;
use crate::runtime::run::RunContext;
use crate::skill::SkillSet;
use crate::tool::{ToolCall, ToolResult};

/// How long running tools may go on after the job was told to stop, before they are told too. Our own choice: long
/// enough for a file to be written, short enough for a person who waits.
const GRACE: Duration = Duration::from_secs(2);
/// How long they then have to end by themselves, before they are ended: the base skill's own limit for a command
/// that was asked to end, and a second more.
const LAST_GRACE: Duration = Duration::from_secs(3);
/// How long ending them may take: they stop at their next wait. One that never waits is left behind.
const END: Duration = Duration::from_secs(1);

/// The calls of one turn.
pub struct Calls<'a> {
    context: &'a RunContext,
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
    /// The tools were ended.
    Ended,
}

impl<'a> Calls<'a> {
    /// No calls yet.
    pub fn new(context: &'a RunContext) -> Self {
        Self {
            context,
            running: JoinSet::new(),
            asked: HashMap::new(),
            arrived: VecDeque::new(),
            order: VecDeque::new(),
            end: CancellationToken::new(),
            stopping: Stopping::No,
        }
    }

    /// Starts `calls`, in order. Those in doubt are made again only if that is safe, or the user said so; else they are
    /// answered by the doubt.
    pub fn start(&mut self, calls: Vec<ToolCall>, in_doubt: bool, skills: &SkillSet) {
        let (again, doubtful): (Vec<ToolCall>, Vec<ToolCall>) =
            calls.into_iter().partition(|call| !in_doubt || may_repeat(self.context, skills, call));
        self.arrived.extend(doubtful.iter().map(effect_unknown));
        if self.context.tape.is_replay() {
            self.order = again.iter().map(|call| call.id.clone()).collect();
        }
        for call in again {
            self.spawn(call, skills);
        }
    }

    fn spawn(&mut self, call: ToolCall, skills: &SkillSet) {
        if let Some(result) = self.context.tape.recorded_result(&call) {
            self.arrived.push_back(result);
            return;
        }
        let Some(skill) = skills.skill_of(&call.tool_name) else {
            self.arrived.push_back(ToolResult::error(&call, format!("nothing here runs {}", call.tool_name)));
            return;
        };
        #[cfg(feature = "fault-injection")]
        crate::store::mark("tool", &call.id);
        // The skill is told of the call here and now, so that it knows the order of the calls.
        let answer = Arc::clone(skill).call(call.clone(), self.end.clone());
        let task = self.running.spawn(answer);
        self.asked.insert(task.id(), call);
    }

    /// The next thing that happens: a result, or that the job was stopped.
    pub async fn next(&mut self) -> Fact {
        loop {
            if let Some(mut result) = self.take_arrived() {
                self.context.redactor.contents(&mut result.result);
                return self.context.fact(FactBody::ToolReturned { result });
            }
            let until = match self.stopping {
                Stopping::No => None,
                Stopping::Grace(until) | Stopping::LastGrace(until) => Some(until),
                Stopping::Ended => return self.context.halted(),
            };
            let time_is_up = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => self.context.halt.cancelled().await,
                }
            };
            tokio::select! {
                biased;
                joined = self.running.join_next_with_id() => match joined {
                    Some(joined) => self.arrive(joined),
                    // Nothing runs, nothing came: the turn can only be given up.
                    None => return self.context.halted(),
                },
                () = time_is_up => match self.stopping {
                    Stopping::No => self.stopping = Stopping::Grace(Instant::now() + GRACE),
                    Stopping::Grace(_) => {
                        self.end.cancel();
                        self.stopping = Stopping::LastGrace(Instant::now() + LAST_GRACE);
                    }
                    Stopping::LastGrace(_) | Stopping::Ended => {
                        self.end_all().await;
                        self.stopping = Stopping::Ended;
                    }
                },
            }
        }
    }

    /// Ends all calls. Results that come in the last moment count like any other.
    async fn end_all(&mut self) {
        self.running.abort_all();
        let until = Instant::now() + END;
        while let Ok(Some(joined)) = timeout_at(until, self.running.join_next_with_id()).await {
            if joined.as_ref().is_err_and(JoinError::is_cancelled) {
                continue;
            }
            self.arrive(joined);
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
        self.context.tape.record_result(&call, &result);
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

/// Checks whether going on by `first` leads to calls whose effect is unknown, where the user wants to decide about them.
/// Nothing is recorded or started.
///
/// # Errors
/// [`RunError::CallsInDoubt`], or a fact that does not fit.
pub fn check_doubts(
    machine: &RunMachine,
    first: &Input,
    context: &RunContext,
    skills: &SkillSet,
) -> Result<(), RunError> {
    if context.in_doubt != InDoubt::Stop {
        return Ok(());
    }
    let mut ahead = machine.clone();
    let mut transition = ahead.advance(first)?;
    while transition.action == Action::Proceed {
        transition = ahead.advance(&Input::Proceed)?;
    }
    let Action::CallTools { calls, in_doubt: true } = transition.action else { return Ok(()) };
    let doubtful = calls.into_iter().filter(|call| !may_repeat(context, skills, call));
    let tools: Vec<String> = doubtful.map(|call| call.tool_name).collect();
    if tools.is_empty() { Ok(()) } else { Err(RunError::CallsInDoubt { tools }) }
}

/// Whether a call that may have been made may be made again.
fn may_repeat(context: &RunContext, skills: &SkillSet, call: &ToolCall) -> bool {
    context.in_doubt == InDoubt::Retry || skills.tool(&call.tool_name).is_some_and(|tool| tool.hints.is_repeatable())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::event::Event;
    use crate::expert::Expert;
    use crate::message::Message;
    use crate::provider::http::transport::HttpTransport;
    use crate::provider::{Provider, ProxySettings};
    use crate::redact::Redactor;
    use crate::runtime::clock::SystemClock;
    use crate::runtime::job::backends::Tape;
    use crate::runtime::run::events::EventEmitter;
    use crate::runtime::stop::StopSignal;
    use crate::setting::{ProviderName, ProviderSetting, ReasoningBudget};
    use crate::skill::testing::Deaf;

    fn context() -> RunContext {
        let transport = Arc::new(HttpTransport::new(&ProxySettings::default()).unwrap());
        let (setting, environment) = (ProviderSetting::default(), Environment::default());
        let provider = Provider::connect_without_key(ProviderName::OpenAi, &setting, &environment, transport).unwrap();
        let expert: Expert = serde_json::from_value(serde_json::json!({
            "key": "owl", "name": "owl", "version": "1.0.0", "instruction": "Wait.", "skills": {},
        }))
        .unwrap();
        let clock = Arc::new(SystemClock);
        RunContext {
            emitter: EventEmitter {
                sink: Arc::new(|_: &Event, _: &[Message]| {}),
                clock: clock.clone(),
                job_id: "j".parse().unwrap(),
                run_id: "r".parse().unwrap(),
                expert: expert.key.clone(),
            },
            expert,
            provider: Arc::new(provider),
            model: "m".to_owned(),
            price: None,
            max_output_tokens: None,
            reasoning: ReasoningBudget::None,
            timeout: Duration::from_secs(1),
            clock,
            redactor: Redactor::default(),
            halt: CancellationToken::new(),
            why: StopSignal::new(CancellationToken::new(), None, 0, tokio::time::Instant::now()),
            budget: None,
            in_doubt: InDoubt::Report,
            tape: Tape::Off,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_hears_nothing_is_ended_in_time_and_leaves_no_result() {
        let context = context();
        let mut skills = SkillSet::default();
        skills.add(Arc::new(Deaf));
        let mut calls = Calls::new(&context);
        let call = ToolCall {
            id: "c1".to_owned(),
            skill_name: "deaf".to_owned(),
            tool_name: "wait".to_owned(),
            args: serde_json::Map::new(),
        };
        calls.start(vec![call], false, &skills);
        context.halt.cancel();
        let began = Instant::now();
        let fact = calls.next().await;
        assert_eq!((fact.body, began.elapsed()), (FactBody::Interrupted, GRACE + LAST_GRACE));
        assert!(calls.running.is_empty(), "its future was dropped");
    }
}
