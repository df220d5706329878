//! [`Calls`]: the tool calls of one turn, started together, each answered by a fact. The Run's loop calls it; when the
//! job is to stop, tools get time to end, and are then ended.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::expert::Expert;
use crate::fact::{Fact, FactBody};
use crate::hint::ErrorHint as _;
use crate::machine::{Action, Input, RunMachine};
use crate::replay::ReplayError;
use crate::runtime::error::RunError;
use crate::runtime::options::{InDoubt, Options};
use crate::runtime::run::beginning::advance_to_action;
use crate::runtime::run::context::RunContext;
use crate::runtime::run::decide::refusal;
use crate::skill::SkillSet;
use crate::tool::{ToolCall, ToolResult};

/// The time that running tools have after the job is to stop, before they are asked to end too. Our own choice: long
/// enough for a file to be written, short enough for a person who waits.
const GRACE: Duration = Duration::from_secs(2);
/// The time that they then have to end by themselves, before they are ended: the base skill's own limit for a command
/// that was asked to end, and a second more.
const LAST_GRACE: Duration = Duration::from_secs(3);
/// The time that ending them may take: they stop at their next wait. One that never waits is left behind.
const END: Duration = Duration::from_secs(1);

/// The calls of one turn.
pub struct Calls<'a> {
    context: &'a RunContext,
    running: JoinSet<ToolResult>,
    /// The call behind each task.
    asked: HashMap<Id, ToolCall>,
    /// Results that have arrived and are no facts yet.
    arrived: VecDeque<ToolResult>,
    /// Ids in call order, when results are to become facts in it.
    order: VecDeque<String>,
    /// Asks the tools to end.
    end: CancellationToken,
    stopping: Stopping,
    /// The recording lacks the result of a call, and the Run leaves it.
    is_unrecorded: bool,
}

#[derive(Clone, Copy)]
enum Stopping {
    No,
    /// The job is to stop; tools go on until then.
    Grace(Instant),
    /// The tools were asked to end; they are ended then.
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
            is_unrecorded: false,
        }
    }

    /// The same as [`Calls::next`]; `None` once all that is left are calls that the recording does not have, and the Run goes
    /// on beyond it.
    pub async fn next_recorded(&mut self) -> Option<Fact> {
        if self.is_unrecorded && self.next_arrived().is_none() { None } else { Some(self.next().await) }
    }

    /// Starts `calls`, in order. Those in doubt are made again only if that is safe, or the user wants it; else their
    /// result is the doubt.
    pub fn start(&mut self, calls: Vec<ToolCall>, in_doubt: bool, skills: &SkillSet) {
        let again = if in_doubt {
            let settled = settle_doubts(calls, &self.context.job.options, &self.context.expert, skills);
            self.arrived.extend(settled.results);
            settled.again
        } else {
            calls
        };
        if self.context.job.backends.tape.is_replay() {
            self.order = again.iter().map(|call| call.id.clone()).collect();
        }
        for call in again {
            self.spawn(call, skills);
        }
    }

    fn spawn(&mut self, call: ToolCall, skills: &SkillSet) {
        let tape = &self.context.job.backends.tape;
        match tape.recorded_result(&call, skills.only_reads(&call.tool_name)) {
            None => {}
            Some(Err(error)) if self.context.leaves_by(&error) => {
                self.is_unrecorded = true;
                self.order.retain(|id| *id != call.id);
                return;
            }
            Some(recorded) => {
                let unknown = |error: ReplayError| ToolResult::error(&call, error.with_hint());
                self.arrived.push_back(recorded.unwrap_or_else(unknown));
                return;
            }
        }
        // The skill gets the call here and now, not in its task, so that it knows the order of the calls.
        let Some(answer) = skills.call(&call, self.end.clone()) else {
            self.arrived.push_back(ToolResult::error(&call, format!("nothing here runs {}", call.tool_name)));
            return;
        };
        if !skills.only_reads(&call.tool_name) {
            self.context.job.snapshots.note_write();
        }
        #[cfg(feature = "fault-injection")]
        crate::store::mark("tool", &call.id);
        let task = self.running.spawn(answer);
        self.asked.insert(task.id(), call);
    }

    /// The next fact: a result, or the stop of the job.
    pub async fn next(&mut self) -> Fact {
        loop {
            if let Some(mut result) = self.take_arrived() {
                self.context.job.backends.redactor.contents(&mut result.result);
                return self.context.fact(FactBody::ToolReturned { result });
            }
            let until = match self.stopping {
                Stopping::No => None,
                Stopping::Grace(until) | Stopping::LastGrace(until) => Some(until),
                Stopping::Ended => return self.context.stopped(),
            };
            let time_is_up = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => self.context.job.stop.fired().await,
                }
            };
            tokio::select! {
                biased;
                joined = self.running.join_next_with_id() => match joined {
                    Some(joined) => self.arrive(joined),
                    // Nothing runs and nothing came: a task was lost, and the turn can only be given up.
                    None => return self.context.stopped(),
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
        self.context.job.snapshots.note_write();
        let result = outcome.unwrap_or_else(|_| {
            ToolResult::error(&call, format!("{} failed in an unforeseen way; its effect is unknown", call.tool_name))
        });
        self.context.job.backends.tape.record_result(&call, &result);
        self.arrived.push_back(result);
    }

    /// Returns whether [`Calls::next`] returns a result at once.
    pub fn has_arrived(&mut self) -> bool {
        while let Some(joined) = self.running.try_join_next_with_id() {
            self.arrive(joined);
        }
        self.next_arrived().is_some()
    }

    /// The place of the next result. Live, results become facts as they arrive; in a replay in call order, so that every
    /// replay is the same.
    fn next_arrived(&self) -> Option<usize> {
        let Some(next) = self.order.front() else { return (!self.arrived.is_empty()).then_some(0) };
        self.arrived.iter().position(|result| result.id == *next || !self.order.contains(&result.id))
    }

    fn take_arrived(&mut self) -> Option<ToolResult> {
        let at = self.next_arrived()?;
        let result = self.arrived.remove(at)?;
        self.order.retain(|id| *id != result.id);
        Some(result)
    }
}

/// Checks whether `first` leads to calls whose effect is unknown, where the user wants to decide about them. Nothing is
/// recorded or started.
///
/// # Errors
/// [`RunError::CallsInDoubt`], or a fact that does not fit.
pub fn check_doubts(machine: &RunMachine, first: &Input, in_doubt: InDoubt, skills: &SkillSet) -> Result<(), RunError> {
    if in_doubt != InDoubt::Stop {
        return Ok(());
    }
    // On a copy: the caller's machine must take `first` only once it is in the log.
    refuse_doubts(advance_to_action(&mut machine.clone(), first)?, in_doubt, skills)
}

/// Checks whether `action`, the first, is calls whose effect is unknown, where the user wants to decide about them.
///
/// # Errors
/// [`RunError::CallsInDoubt`].
pub fn refuse_doubts(action: Action, in_doubt: InDoubt, skills: &SkillSet) -> Result<(), RunError> {
    let Action::CallTools { calls, in_doubt: true } = action else { return Ok(()) };
    if in_doubt != InDoubt::Stop {
        return Ok(());
    }
    let doubtful = calls.into_iter().filter(|call| !may_repeat(in_doubt, skills, call));
    let tools: Vec<String> = doubtful.map(|call| call.tool_name).collect();
    if tools.is_empty() { Ok(()) } else { Err(RunError::CallsInDoubt { tools }) }
}

/// Calls that may have been made, once it is settled which of them are made again.
pub struct SettledDoubts {
    pub again: Vec<ToolCall>,
    /// The results of those that are not.
    pub results: Vec<ToolResult>,
}

/// Settles which of `calls`, which may have been made, are made again: those for which that is safe, or the user wants it,
/// and that rules do not deny.
pub fn settle_doubts(calls: Vec<ToolCall>, options: &Options, expert: &Expert, skills: &SkillSet) -> SettledDoubts {
    let (repeated, doubtful): (Vec<ToolCall>, Vec<ToolCall>) =
        calls.into_iter().partition(|call| may_repeat(options.in_doubt, skills, call));
    let mut results: Vec<ToolResult> = doubtful.iter().map(effect_unknown).collect();
    // Calls in doubt are made again because that is safe, or because their user wants it, which answers what would be asked
    // about. What is denied by now is not made again.
    let mut again = Vec::new();
    for call in repeated {
        match refusal(&call, options, expert, skills) {
            Some(reason) => results.push(denied_since(&call, &reason)),
            None => again.push(call),
        }
    }
    SettledDoubts { again, results }
}

/// Returns whether a call that may have been made may be made again.
fn may_repeat(in_doubt: InDoubt, skills: &SkillSet, call: &ToolCall) -> bool {
    in_doubt == InDoubt::Retry || skills.tool(&call.tool_name).is_some_and(|tool| tool.hints.is_repeatable())
}

fn denied_since(call: &ToolCall, reason: &str) -> ToolResult {
    ToolResult::error(call, format!("interrupted, and not made again: whether it took effect is unknown; {reason}"))
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
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::environment::Environment;
    use crate::event::Event;
    use crate::expert_map::ExpertMap;
    use crate::job::{Job, JobStatus};
    use crate::message::Message;
    use crate::runtime::job::backends::JobBackends;
    use crate::runtime::job::context::JobContext;
    use crate::runtime::job::instruction_files::InstructionFiles;
    use crate::runtime::options::Options;
    use crate::runtime::run::events::EventEmitter;
    use crate::runtime::stop::StopSignal;
    use crate::runtime::tools::notices::NoticeBoard;
    use crate::setting::ProviderName;
    use crate::skill::NameClaim;
    use crate::skill::testing::Deaf;
    use crate::store::Store;

    async fn context(folder: &std::path::Path) -> RunContext {
        let expert: crate::expert::Expert = serde_json::from_value(serde_json::json!({
            "key": "owl", "name": "owl", "version": "1.0.0", "instruction": "Wait.", "skills": {},
        }))
        .unwrap();
        let mut options = Options::new(ExpertMap::from([expert.clone()]), folder.to_owned());
        options.settings.provider = Some(ProviderName::OpenAi);
        options.environment = Environment::from_iter([("OPENAI_API_KEY".to_owned(), "k".to_owned())]);
        let backends = JobBackends::open(&options, &expert, None).await.unwrap();
        let store = Store::new(&options.storage);
        let job = Job {
            format_version: crate::checkpoint::FORMAT_VERSION,
            id: "j".parse().unwrap(),
            status: JobStatus::Running,
            coordinator_expert_key: expert.key.clone(),
            total_steps: 0,
            max_steps: None,
            usage: crate::usage::Usage::default(),
            spend: crate::cost::Spend::default(),
            started_at: 0,
            finished_at: None,
            last_run_at: None,
            ends: BTreeMap::new(),
            replayed: false,
            workspace_from: None,
            budget: crate::job::JobBudget::default(),
        };
        let stop = StopSignal::new(&options.cancel, None, 0, Instant::now());
        let job = Arc::new(store.create_job(&job).unwrap());
        let files = InstructionFiles::default();
        let job = Arc::new(JobContext::new(options, backends, files, (store, job), stop).unwrap());
        let emitter = EventEmitter {
            sink: Arc::new(|_: &Event, _: &[Message]| {}),
            clock: Arc::clone(&job.backends.clock),
            job_id: "j".parse().unwrap(),
            run_id: "r".parse().unwrap(),
            expert: expert.key.clone(),
        };
        let setting = Arc::new(job.basis().setting(&expert, &emitter.run_id).unwrap());
        let models = job.backends.models_for(&expert, &job.options.settings).unwrap();
        RunContext { job, expert, models, setting, emitter, notices: NoticeBoard::default(), verifier: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_ignores_its_token_is_ended_in_time_and_leaves_no_result() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(folder.path()).await;
        let mut skills = SkillSet::default();
        skills.add(Arc::new(Deaf), NameClaim::Server);
        skills.assign_names();
        let mut calls = Calls::new(&context);
        let call = ToolCall {
            id: "c1".to_owned(),
            skill_name: "deaf".to_owned(),
            tool_name: "wait".to_owned(),
            args: serde_json::Map::new(),
        };
        calls.start(vec![call], false, &skills);
        context.job.stop.fire();
        let began = Instant::now();
        let fact = calls.next().await;
        assert_eq!((fact.body, began.elapsed()), (FactBody::Interrupted, GRACE + LAST_GRACE));
        assert!(calls.running.is_empty(), "its future was dropped");
    }
}
