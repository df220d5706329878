//! [`Agent`]: one expert at work, its request to the model and its calls, while they are under way. `spans` holds an agent
//! for each Run, with those that continue it, and passes on what happens to it.

use std::collections::HashMap;

use perstack::checkpoint::{CheckpointHead, Status};
use perstack::content::Content;
use perstack::fact::RunParameters;
use perstack::generation::{Generation, GenerationFailure};
use perstack::id::RunId;
use perstack::message::Message;
use perstack::model_name::ModelName;
use perstack::permission::CallDecision;
use perstack::tool::{ToolCall, ToolKind, ToolResult, ToolRoute};

use super::content;
use super::names::{self, SpanOperation};
use super::span::{AttributeValue, SpanError, SpanId, TraceId, TraceSpan};
use super::trace_context::SpanIds;

/// Makes the spans of a trace, and holds those that are finished.
pub struct TraceWriter {
    pub id: TraceId,
    pub ids: SpanIds,
    /// The job's id.
    pub conversation: String,
    pub captures_content: bool,
    pub finished: Vec<TraceSpan>,
}

impl TraceWriter {
    /// A span with the attributes that all have, to be filled and pushed.
    pub fn span(&self, id: SpanId, parent: Option<SpanId>, operation: SpanOperation, times: (u64, u64)) -> TraceSpan {
        let (began, ended) = times;
        let mut span = TraceSpan {
            trace: self.id,
            id,
            parent,
            is_entry: false,
            operation,
            subject: String::new(),
            began,
            // The clock may have been set back.
            ended: ended.max(began),
            attributes: Vec::new(),
            error: None,
        };
        span.set(names::OPERATION, operation.name());
        span.set(names::CONVERSATION, self.conversation.as_str());
        span
    }
}

/// The model that a Run asks, known before it begins.
#[derive(Debug, Clone, Default)]
pub struct AgentModel {
    pub provider: String,
    pub model: String,
}

/// One expert at work.
pub struct Agent {
    pub id: SpanId,
    pub parent: SpanId,
    /// Its Run waits for delegates, and goes on as another.
    pub is_waiting: bool,
    began: u64,
    /// The time of the latest fact or event: that at which a request began that no event announces.
    latest: u64,
    run: RunId,
    model: AgentModel,
    identity: Option<Identity>,
    kinds: HashMap<String, ToolKind>,
    usage: TokenSums,
    request: Option<OpenRequest>,
    /// The request that has failed for good, unless a fallback answers it.
    given_up: Option<OpenRequest>,
    calls: Vec<OpenCall>,
}

struct Identity {
    key: String,
    name: String,
    version: String,
}

/// Tokens by the conventions: input includes all that was read from a cache or written to it.
#[derive(Debug, Clone, Copy, Default)]
struct TokenSums {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_creation: u64,
    reasoning: u64,
}

/// A request to the model that has no answer yet.
#[derive(Default)]
struct OpenRequest {
    began: u64,
    step: Option<u64>,
    first_chunk: Option<u64>,
    /// The instruction and the messages, where content is exported.
    instructions: Option<String>,
    input: Option<String>,
}

/// A call that is under way.
struct OpenCall {
    id: String,
    tool: String,
    skill: String,
    began: u64,
    /// None unless content is exported.
    arguments: Option<String>,
}

impl TokenSums {
    fn from_generation(generation: &Generation) -> Option<Self> {
        let usage = generation.usage?;
        Some(Self {
            input: generation.billed().map_or(usage.input_tokens, |billed| billed.prompt()),
            output: usage.output_tokens,
            cache_read: usage.cached_input_tokens,
            cache_creation: usage.cache_write_input_tokens,
            reasoning: usage.reasoning_tokens,
        })
    }

    fn add(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.input, other.input),
            (&mut self.output, other.output),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_creation, other.cache_creation),
            (&mut self.reasoning, other.reasoning),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Counts of what not every provider has are left out where they are 0.
    fn set_on(self, span: &mut TraceSpan) {
        span.set(names::INPUT_TOKENS, self.input);
        span.set(names::OUTPUT_TOKENS, self.output);
        for (name, count) in [
            (names::CACHE_READ_TOKENS, self.cache_read),
            (names::CACHE_CREATION_TOKENS, self.cache_creation),
            (names::REASONING_TOKENS, self.reasoning),
        ] {
            if count > 0 {
                span.set(name, count);
            }
        }
    }
}

impl Agent {
    /// An agent that begins, or goes on, with Run `run`.
    pub fn new(id: SpanId, parent: SpanId, run: RunId, model: AgentModel, at: u64) -> Self {
        Self {
            id,
            parent,
            is_waiting: false,
            began: at,
            latest: at,
            run,
            model,
            identity: None,
            kinds: HashMap::new(),
            usage: TokenSums::default(),
            request: None,
            given_up: None,
            calls: Vec::new(),
        }
    }

    /// Notes the time of a fact or an event.
    pub fn note(&mut self, at: u64) {
        self.latest = self.latest.max(at);
    }

    /// Goes on as Run `run`; `model` is another one, if so.
    pub fn go_on(&mut self, run: RunId, model: Option<AgentModel>, parameters: &RunParameters) {
        self.is_waiting = false;
        self.run = run;
        if let Some(model) = model {
            self.model = model;
        }
        self.set_tools(&parameters.tools);
    }

    /// Notes the tools that the model may call.
    pub fn set_tools(&mut self, tools: &[ToolRoute]) {
        self.kinds = tools.iter().map(|route| (route.name.clone(), route.kind)).collect();
    }

    /// Notes the expert that it is.
    pub fn identify(&mut self, head: &CheckpointHead) {
        let expert = &head.expert;
        self.identity.get_or_insert_with(|| Identity {
            key: expert.key.as_str().to_owned(),
            name: expert.name.clone(),
            version: expert.version.clone(),
        });
        if let Some(fallback) = &head.fallback {
            self.set_fallback(&fallback.model);
        }
    }

    /// The same request is made to another model, which it goes on with.
    pub fn fall_back(&mut self, model: &ModelName, at: u64) {
        self.set_fallback(model);
        self.request = self.given_up.take().map(|request| OpenRequest { began: at, first_chunk: None, ..request });
    }

    fn set_fallback(&mut self, model: &ModelName) {
        self.model = AgentModel { provider: model.provider.to_string(), model: model.model.clone() };
    }

    /// The model is asked.
    pub fn ask(&mut self, trace: &TraceWriter, at: u64, step: Option<u64>, history: &[Message]) {
        let captured = trace.captures_content;
        self.request = Some(OpenRequest {
            began: at,
            step,
            first_chunk: None,
            instructions: if captured { content::instructions(history) } else { None },
            input: captured.then(|| content::input(history)),
        });
    }

    /// A piece of the answer has come.
    pub fn first_chunk(&mut self, at: u64) {
        if let Some(request) = &mut self.request {
            request.first_chunk.get_or_insert(at);
        }
    }

    /// The model has answered.
    pub fn answered(&mut self, trace: &mut TraceWriter, generation: &Generation, at: u64) {
        let mut span = self.request_span(trace, at);
        self.request = None;
        let reason = names::finish_reason(&generation.finish).to_owned();
        span.attributes.push((names::FINISH_REASONS, AttributeValue::Texts(vec![reason])));
        if let Some(tokens) = TokenSums::from_generation(generation) {
            tokens.set_on(&mut span);
            self.usage.add(tokens);
        }
        if trace.captures_content
            && let Some(output) = content::output(generation)
        {
            span.set(names::OUTPUT_MESSAGES, output);
        }
        trace.finished.push(span);
    }

    /// The request has failed; with `retry_in_ms` it is made again after that wait.
    pub fn failed(&mut self, trace: &mut TraceWriter, failure: &GenerationFailure, retry_in_ms: Option<u64>, at: u64) {
        let mut span = self.request_span(trace, at);
        let again = self.request.take();
        span.fail(SpanError { kind: failure.kind.name().to_owned(), message: failure.message.clone() });
        trace.finished.push(span);
        if let Some(delay) = retry_in_ms {
            let began = at.saturating_add(delay);
            self.request = Some(OpenRequest { began, first_chunk: None, ..again.unwrap_or_default() });
        } else {
            self.given_up = again;
        }
    }

    /// The answer was on record: the model was not asked.
    pub fn drop_request(&mut self) {
        self.request = None;
    }

    /// The result was on record: nothing was called.
    pub fn drop_call(&mut self, id: &str) {
        self.calls.retain(|call| call.id != id);
    }

    /// The span of the present request. One that no event announced, of a summary for example, began with what was before it.
    fn request_span(&mut self, trace: &mut TraceWriter, at: u64) -> TraceSpan {
        let request = self.request.take();
        let request = request.unwrap_or_else(|| OpenRequest { began: self.latest, ..OpenRequest::default() });
        let times = (request.began.min(at), at);
        let id = trace.ids.span();
        let mut span = trace.span(id, Some(self.id), SpanOperation::Chat, times);
        span.subject.clone_from(&self.model.model);
        self.set_model(&mut span);
        span.set(names::RUN, self.run.as_str());
        if let Some(step) = request.step {
            span.set(names::STEP, step);
        }
        if let Some(wait) = request.first_chunk.and_then(|first| first.checked_sub(request.began)) {
            let seconds = std::time::Duration::from_millis(wait).as_secs_f64();
            span.attributes.push((names::TIME_TO_FIRST_CHUNK, AttributeValue::Seconds(seconds)));
        }
        if let Some(instructions) = &request.instructions {
            span.set(names::SYSTEM_INSTRUCTIONS, instructions.as_str());
        }
        if let Some(input) = &request.input {
            span.set(names::INPUT_MESSAGES, input.as_str());
        }
        // A request that is made again sends the same.
        self.request = Some(request);
        span
    }

    fn set_model(&self, span: &mut TraceSpan) {
        span.set(names::PROVIDER, names::provider(&self.model.provider));
        span.set(names::REQUEST_MODEL, self.model.model.as_str());
    }

    /// The model has called tools. Those that delegates answer, or a person, are not executed here.
    pub fn call(&mut self, trace: &TraceWriter, calls: &[ToolCall], at: u64) {
        self.request = None;
        let is_executed = |call: &&ToolCall| {
            !matches!(self.kinds.get(&call.tool_name), Some(ToolKind::Delegate | ToolKind::Interactive))
        };
        let open = |call: &ToolCall| OpenCall {
            id: call.id.clone(),
            tool: call.tool_name.clone(),
            skill: call.skill_name.clone(),
            began: at,
            arguments: trace.captures_content.then(|| content::arguments(&call.args)),
        };
        self.calls = calls.iter().filter(is_executed).map(open).collect();
    }

    /// Calls were decided: those that are allowed begin now.
    pub fn decide(&mut self, trace: &mut TraceWriter, decisions: &[CallDecision], at: u64) {
        for decision in decisions {
            let Some(place) = self.place_of(&decision.tool_call_id) else { continue };
            if decision.is_denied() {
                let open = self.calls.remove(place);
                self.end_call(trace, &open, at, None, Some(SpanError::new(names::DENIED)));
            } else if let Some(open) = self.calls.get_mut(place) {
                open.began = at;
            }
        }
    }

    /// A tool has returned.
    pub fn returned(&mut self, trace: &mut TraceWriter, result: &ToolResult, at: u64) {
        let Some(place) = self.place_of(&result.id) else { return };
        let open = self.calls.remove(place);
        let error = result.is_error.then(|| SpanError::new(names::TOOL_ERROR));
        self.end_call(trace, &open, at, Some(&result.result), error);
    }

    /// These results are in the conversation. Calls that no tool has returned from were answered by the loop, at once.
    pub fn resolve(&mut self, trace: &mut TraceWriter, results: &[ToolResult]) {
        for result in results {
            let began = self.place_of(&result.id).and_then(|place| self.calls.get(place)).map(|open| open.began);
            if let Some(began) = began {
                self.returned(trace, result, began);
            }
        }
    }

    fn place_of(&self, id: &str) -> Option<usize> {
        self.calls.iter().position(|open| open.id == id)
    }

    fn end_call(
        &self,
        trace: &mut TraceWriter,
        open: &OpenCall,
        at: u64,
        result: Option<&[Content]>,
        error: Option<SpanError>,
    ) {
        let id = trace.ids.span();
        let mut span = trace.span(id, Some(self.id), SpanOperation::ExecuteTool, (open.began, at));
        span.subject.clone_from(&open.tool);
        span.set(names::TOOL_NAME, open.tool.as_str());
        span.set(names::TOOL_CALL_ID, open.id.as_str());
        span.set(names::TOOL_TYPE, names::TOOL_TYPE_FUNCTION);
        span.set(names::SKILL, open.skill.as_str());
        span.set(names::RUN, self.run.as_str());
        if let Some(arguments) = &open.arguments {
            span.set(names::TOOL_CALL_ARGUMENTS, arguments.as_str());
        }
        if let Some(result) = result.filter(|_| trace.captures_content) {
            span.set(names::TOOL_CALL_RESULT, content::result(result));
        }
        if let Some(error) = error {
            span.fail(error);
        }
        trace.finished.push(span);
    }

    /// Its Run has stopped, or is taken to have: what was under way ends with it.
    pub fn stop(&mut self, trace: &mut TraceWriter, status: Status, at: u64) {
        let error = names::error_of(status);
        // A request that was still to be sent again was not begun.
        if self.request.as_ref().is_some_and(|request| request.began <= at && error.is_some()) {
            let mut span = self.request_span(trace, at);
            span.fail(SpanError::new(error.unwrap_or(names::OTHER_ERROR)));
            trace.finished.push(span);
        }
        self.request = None;
        for open in std::mem::take(&mut self.calls) {
            self.end_call(trace, &open, at, None, error.map(SpanError::new));
        }
        self.is_waiting = status == Status::StoppedByDelegate;
    }

    /// Its own span; `error` is the reason for which it has failed, if it has.
    pub fn span(&self, trace: &TraceWriter, status: Option<Status>, error: Option<SpanError>) -> TraceSpan {
        let parent = Some(self.parent);
        let mut span = trace.span(self.id, parent, SpanOperation::InvokeAgent, (self.began, self.latest));
        if let Some(Identity { key, name, version }) = &self.identity {
            span.subject.clone_from(name);
            span.set(names::AGENT_ID, key.as_str());
            span.set(names::AGENT_NAME, name.as_str());
            span.set(names::AGENT_VERSION, version.as_str());
        }
        self.set_model(&mut span);
        span.set(names::RUN, self.run.as_str());
        if let Some(status) = status {
            span.set(names::STATUS, status.name());
        }
        self.usage.set_on(&mut span);
        if let Some(error) = error {
            span.fail(error);
        }
        span
    }
}
