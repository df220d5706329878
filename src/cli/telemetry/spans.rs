//! [`SpanBuilder`]: a job's facts and events, made into finished spans. Pure: times are those of facts and events, and ids
//! derive from a seed. The sink of this folder feeds it; `agent` knows one expert's spans.

use std::collections::{BTreeMap, HashMap};

use perstack::checkpoint::{CheckpointHead, Status};
use perstack::event::{Event, EventBody};
use perstack::fact::{Fact, FactBody, Resumption, RunParameters, RunSpec};
use perstack::id::RunId;
use perstack::message::Message;

use super::agent::{Agent, AgentModel, TraceWriter};
use super::names::{self, SpanOperation};
use super::span::{SpanError, SpanId, TraceSpan};
use super::trace_context::{Sampler, SpanIds, TraceParent};

/// The part of the settings that spans follow from.
#[derive(Debug, Clone, Default)]
pub struct TraceSettings {
    pub parent: Option<TraceParent>,
    pub sampler: Sampler,
    pub captures_content: bool,
}

/// Makes the spans of one job. Events and facts of a job are passed in the order in which they come.
pub struct SpanBuilder {
    settings: TraceSettings,
    seed: String,
    job: TraceState,
}

enum TraceState {
    /// Nothing has happened.
    Unbegun,
    /// The trace is not exported, or was ended.
    Ignored,
    Open(Box<OpenTrace>),
}

struct OpenTrace {
    trace: TraceWriter,
    workflow: OpenWorkflow,
    /// The experts at work, and those that wait for delegates, by their latest Runs.
    agents: BTreeMap<RunId, Agent>,
    /// The models of Runs that have not begun.
    models: HashMap<RunId, AgentModel>,
}

/// The job, as far as this process runs it.
struct OpenWorkflow {
    id: SpanId,
    name: String,
    began: u64,
    latest: u64,
    /// That of the coordinator's latest Run; at the end, the job's.
    status: Option<Status>,
    error: Option<SpanError>,
}

impl SpanBuilder {
    /// A builder that nothing was passed to. `seed` is another one for each job of each process.
    pub fn new(settings: TraceSettings, seed: String) -> Self {
        Self { settings, seed, job: TraceState::Unbegun }
    }

    /// Takes an event of the job.
    pub fn event(&mut self, event: &Event, history: &[Message]) {
        if let TraceState::Unbegun = self.job {
            self.begin(event);
        }
        if let TraceState::Open(open) = &mut self.job {
            open.event(event, history);
        }
    }

    /// Takes a fact of Run `run`.
    pub fn fact(&mut self, run: &RunId, fact: &Fact) {
        if let TraceState::Open(open) = &mut self.job {
            open.fact(run, fact);
        }
    }

    /// Begins the trace with the job's first event.
    fn begin(&mut self, event: &Event) {
        let mut ids = SpanIds::new(&self.seed);
        let parent = self.settings.parent.as_ref();
        let id = parent.map_or_else(|| ids.trace(), |parent| parent.trace);
        if !self.settings.sampler.takes(id, parent) {
            self.job = TraceState::Ignored;
            return;
        }
        let workflow = OpenWorkflow {
            id: ids.span(),
            name: String::new(),
            began: event.timestamp,
            latest: event.timestamp,
            status: None,
            error: None,
        };
        let trace = TraceWriter {
            id,
            ids,
            conversation: event.job_id.as_str().to_owned(),
            captures_content: self.settings.captures_content,
            finished: Vec::new(),
        };
        let (agents, models) = (BTreeMap::new(), HashMap::new());
        self.job = TraceState::Open(Box::new(OpenTrace { trace, workflow, agents, models }));
    }

    /// The spans that were finished since the last call.
    pub fn take_finished(&mut self) -> Vec<TraceSpan> {
        match &mut self.job {
            TraceState::Open(open) => std::mem::take(&mut open.trace.finished),
            TraceState::Unbegun | TraceState::Ignored => Vec::new(),
        }
    }

    /// Ends the job and returns the spans that are left. `outcome` is its status, or the reason for which it has none.
    pub fn end(&mut self, outcome: Result<Status, String>) -> Vec<TraceSpan> {
        match std::mem::replace(&mut self.job, TraceState::Ignored) {
            TraceState::Open(open) => open.end(self.settings.parent.as_ref(), outcome),
            TraceState::Unbegun | TraceState::Ignored => Vec::new(),
        }
    }
}

impl OpenTrace {
    fn event(&mut self, event: &Event, history: &[Message]) {
        let at = event.timestamp;
        self.workflow.latest = self.workflow.latest.max(at);
        if let EventBody::InitializeRuntime { expert_name, provider, model, .. } = &event.body {
            // The job may be over before a Run of it begins.
            if self.workflow.name.is_empty() {
                self.workflow.name.clone_from(expert_name);
            }
            let model = AgentModel { provider: provider.clone(), model: model.clone() };
            self.models.insert(event.run_id.clone(), model);
        }
        let beginning = match &event.body {
            EventBody::StartRun { initial_checkpoint: checkpoint, .. } | EventBody::ResumeFromStop { checkpoint } => {
                Some(&checkpoint.head)
            }
            _ => None,
        };
        let ending = event.body.ending().map(|checkpoint| &checkpoint.head);
        // A delegate may be the first to go on.
        if let Some(coordinator) = beginning.or(ending).filter(|head| head.delegated_by.is_none()) {
            self.workflow.name.clone_from(&coordinator.expert.name);
        }
        let Some(agent) = self.agents.get_mut(&event.run_id) else { return };
        agent.note(at);
        let trace = &mut self.trace;
        match &event.body {
            // The model is asked again behind a summary, without a further event.
            EventBody::StartGeneration { .. } | EventBody::ContextSummarized { .. } => {
                agent.ask(trace, at, event.step_number, history);
            }
            EventBody::StartStreamingReasoning | EventBody::StartStreamingText => agent.first_chunk(at),
            EventBody::FallBack { to_model, .. } => agent.fall_back(to_model, at),
            EventBody::CallTools { tool_calls, .. } => agent.call(trace, tool_calls, at),
            EventBody::DecideToolCalls { decisions } => agent.decide(trace, decisions, at),
            EventBody::ResolveToolResults { tool_results } => agent.resolve(trace, tool_results),
            _ => {
                if let Some(head) = beginning {
                    agent.identify(head);
                } else if let Some(head) = ending {
                    self.stop(&event.run_id, head, at);
                }
            }
        }
    }

    fn fact(&mut self, run: &RunId, fact: &Fact) {
        let at = fact.stamp.at;
        self.workflow.latest = self.workflow.latest.max(at);
        match &fact.body {
            FactBody::Started { spec, .. } => self.start(run, spec, at),
            FactBody::Resumed { resumption } => self.resume(run, resumption, at),
            _ => {}
        }
        let Some(agent) = self.agents.get_mut(run) else { return };
        let trace = &mut self.trace;
        match &fact.body {
            // Nobody was asked, and nothing called.
            FactBody::Generated { .. } | FactBody::Summarized { .. } | FactBody::GenerationFailed { .. }
                if fact.recorded =>
            {
                agent.drop_request();
            }
            FactBody::ToolReturned { result } if fact.recorded => agent.drop_call(&result.id),
            FactBody::Generated { generation } | FactBody::Summarized { generation, .. } => {
                agent.answered(trace, generation, at);
            }
            FactBody::GenerationFailed { failure, retry_in_ms, .. } => agent.failed(trace, failure, *retry_in_ms, at),
            FactBody::ToolReturned { result } => agent.returned(trace, result, at),
            FactBody::ToolsChanged { tools } => agent.set_tools(tools),
            FactBody::Started { .. }
            | FactBody::Resumed { .. }
            | FactBody::CallsDecided { .. }
            | FactBody::AnswerChecked { .. }
            | FactBody::AnswerVerified { .. }
            | FactBody::SnapshotTaken { .. }
            | FactBody::Reserved { .. }
            | FactBody::BudgetReached { .. }
            | FactBody::Interrupted => {}
        }
        agent.note(at);
    }

    fn start(&mut self, run: &RunId, spec: &RunSpec, at: u64) {
        let caller = spec.delegated_by.as_ref().and_then(|by| self.agents.get(&by.run_id));
        let parent = caller.map_or(self.workflow.id, |agent| agent.id);
        self.add_agent(run, parent, &spec.parameters, at);
    }

    /// A Run goes on: beyond its recording, with its agent; behind its delegates, with the one that waits for them; else, after
    /// a stop or in another process than before, with one of its own.
    fn resume(&mut self, run: &RunId, resumption: &Resumption, at: u64) {
        if let Some(agent) = self.agents.get_mut(run) {
            agent.go_on(run.clone(), self.models.remove(run), &resumption.parameters);
            return;
        }
        let before = resumption.parent.as_ref().map(|parent| &parent.run_id);
        if let Some(before) = before
            && self.agents.get(before).is_some_and(|agent| agent.is_waiting)
            && let Some(mut agent) = self.agents.remove(before)
        {
            agent.go_on(run.clone(), self.models.remove(run), &resumption.parameters);
            self.agents.insert(run.clone(), agent);
        } else {
            self.add_agent(run, self.workflow.id, &resumption.parameters, at);
        }
    }

    fn add_agent(&mut self, run: &RunId, parent: SpanId, parameters: &RunParameters, at: u64) {
        let model = self.models.remove(run).unwrap_or_default();
        let mut agent = Agent::new(self.trace.ids.span(), parent, run.clone(), model, at);
        agent.set_tools(&parameters.tools);
        self.agents.insert(run.clone(), agent);
    }

    fn stop(&mut self, run: &RunId, head: &CheckpointHead, at: u64) {
        let Some(agent) = self.agents.get_mut(run) else { return };
        agent.resolve(&mut self.trace, &head.partial_tool_results);
        agent.stop(&mut self.trace, head.status, at);
        if agent.is_waiting {
            return;
        }
        let error = names::error_of(head.status).map(|kind| match &head.error {
            Some(failure) => SpanError { kind: failure.name.clone(), message: failure.message.clone() },
            None => SpanError::new(kind),
        });
        if head.delegated_by.is_none() {
            self.workflow.status = Some(head.status);
            self.workflow.error.clone_from(&error);
        }
        let span = agent.span(&self.trace, Some(head.status), error);
        self.trace.finished.push(span);
        self.agents.remove(run);
    }

    /// Ends what is still at work or waits, with the job's status if it has one, and the job's own span.
    fn end(mut self, parent: Option<&TraceParent>, outcome: Result<Status, String>) -> Vec<TraceSpan> {
        let latest = self.workflow.latest;
        let status = outcome.as_ref().ok().copied();
        let taken = status.unwrap_or(Status::StoppedByCancellation);
        for mut agent in std::mem::take(&mut self.agents).into_values() {
            agent.note(latest);
            agent.stop(&mut self.trace, taken, latest);
            let span = agent.span(&self.trace, status, names::error_of(taken).map(SpanError::new));
            self.trace.finished.push(span);
        }
        // Of the coordinator's own status the error is known in more detail.
        if let Some(status) = status.filter(|status| self.workflow.status != Some(*status)) {
            self.workflow.status = Some(status);
            self.workflow.error = names::error_of(status).map(SpanError::new);
        }
        let OpenWorkflow { id, name, began, latest, status, error } = self.workflow;
        let parent_span = parent.map(|parent| parent.span);
        let mut span = self.trace.span(id, parent_span, SpanOperation::InvokeWorkflow, (began, latest));
        span.is_entry = parent_span.is_some();
        span.subject.clone_from(&name);
        span.set(names::WORKFLOW_NAME, name);
        if let Some(status) = status {
            span.set(names::STATUS, status.name());
        }
        let failure = outcome.err().map(|message| SpanError { kind: names::OTHER_ERROR.to_owned(), message });
        if let Some(error) = failure.or(error) {
            span.fail(error);
        }
        self.trace.finished.push(span);
        self.trace.finished
    }
}

#[cfg(test)]
mod tests;
