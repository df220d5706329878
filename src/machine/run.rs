//! The machine of one Run: facts in, one action out, events on the side.

use std::collections::HashSet;

use crate::budget::Reached;
use crate::checkpoint::{Checkpoint, CheckpointHead, DelegateTo, FORMAT_VERSION, RunFailure, Status};
use crate::content::{Content, ResultPart};
use crate::cost::Spend;

use crate::event::{Event, EventBody, SCHEMA_VERSION, Step, Told};
use crate::expert::ExpertRef;
use crate::fact::{Fact, FactBody, Mint, Resumption, RunSpec, Stamp, Surroundings};
use crate::generation::GenerationFailure;
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::calls::{self, Turn};
use crate::machine::estimate::{self, Measured};
use crate::machine::repair;
use crate::machine::spending::Book;
use crate::machine::state::State;
use crate::machine::transition::{Action, IllegalInput, Input, Save, Transition};
use crate::message::Message;
use crate::tool::{ToolKind, ToolResult, ToolRoute};
use crate::usage::Usage;

/// One Run: its conversation, its counters and where it stands. Pure: no I/O, no clock, no randomness; the same
/// inputs give the same events, byte for byte.
///
/// Methods are of four kinds: made by [`RunMachine::new`] and [`RunMachine::restore`]; fed by
/// [`RunMachine::advance`]; asked what it owes by [`RunMachine::outstanding`]; looked at by the rest.
#[derive(Debug, Clone)]
pub struct RunMachine {
    pub(super) state: State,
    pub(super) head: CheckpointHead,
    pub(super) messages: Vec<Message>,
    pub(super) step: Step,
    pub(super) surroundings: Surroundings,
    /// Ids of all calls in the conversation.
    pub(super) call_ids: HashSet<String>,
    pub(super) mint: Mint,
    pub(super) book: Book,
    /// The size of the conversation, as the latest answer told it.
    pub(super) measured: Option<Measured>,
    /// Number of the latest event.
    sequence: u64,
}

/// What an arrow leads to: the next state, the events, the checkpoint to store, and what to ask for.
pub(super) struct Arrow {
    pub state: State,
    pub events: Vec<EventBody>,
    pub save: bool,
    pub action: Action,
}

/// What one model call took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub usage: Usage,
    pub spend: Spend,
}

impl Arrow {
    /// On to `state`, by itself.
    pub(super) fn proceed(state: State, events: Vec<EventBody>) -> Self {
        Self { state, events, save: false, action: Action::Proceed }
    }

    fn all_answered(turn: &Turn) -> Self {
        let results = turn.answers();
        let event = EventBody::ResolveToolResults { tool_results: results.clone() };
        Self::proceed(State::ResolvingToolResult(results), vec![event])
    }
}

impl RunMachine {
    /// A machine that waits for `Started`. `id` names the state before the first step; it is never stored.
    pub fn new(job_id: JobId, run_id: RunId, expert: ExpertRef, id: CheckpointId) -> Self {
        Self::holding(CheckpointHead::fresh(id, job_id, run_id, expert), Vec::new())
    }

    /// A machine that holds `checkpoint` and waits for `Resumed`. A history in which calls and answers do not match
    /// (some of the original's do not) is mended first.
    pub fn restore(checkpoint: Checkpoint) -> Self {
        let Checkpoint { head, mut messages } = checkpoint;
        repair::mend(&mut messages);
        Self::holding(head, messages)
    }

    fn holding(head: CheckpointHead, messages: Vec<Message>) -> Self {
        let call_ids = messages.iter().flat_map(Message::call_ids).map(str::to_owned).collect();
        Self {
            call_ids,
            state: State::Init,
            head,
            messages,
            step: Step::default(),
            surroundings: Surroundings::default(),
            mint: Mint::new(Stamp { at: 0, seed: 0 }),
            book: Book::default(),
            measured: None,
            sequence: 0,
        }
    }

    /// Takes one arrow of the diagram.
    ///
    /// # Errors
    /// [`IllegalInput`] when the present state cannot take `input`; the machine is unchanged.
    pub fn advance(&mut self, input: &Input) -> Result<Transition, IllegalInput> {
        let illegal = IllegalInput { state: self.state.name(), input: input.name() };
        if !self.accepts(input) {
            return Err(illegal);
        }
        if let Input::Fact(fact) = input {
            self.mint = Mint::new(fact.stamp);
        }
        let state = std::mem::replace(&mut self.state, State::Init);
        let arrow = match (state, input) {
            (State::Init, Input::Fact(Fact { body, .. })) => match body {
                FactBody::Started { spec, input } => self.start(spec, input),
                FactBody::Resumed { resumption } => self.resume(resumption),
                _ => return Err(illegal),
            },
            (State::ResumingFromStop(turn), Input::Proceed) => self.take_up(turn),
            (State::PreparingForStep, Input::Proceed) => self.prepare(),
            (State::GeneratingToolCall, Input::Fact(Fact { body, .. })) => match body {
                FactBody::Generated { generation } => self.generated(generation),
                FactBody::GenerationFailed { failure, retry_in_ms, received_bytes } => {
                    self.break_off(*received_bytes);
                    self.failed(failure, *retry_in_ms)
                }
                FactBody::Resumed { resumption } => self.taken_over(State::GeneratingToolCall, resumption),
                FactBody::ToolsChanged { tools } => self.change_tools(tools),
                FactBody::Reserved { reservation } => self.reserve(reservation),
                FactBody::BudgetReached { reached } => {
                    // Time passes while a request is under way; everything else is reached before one is sent.
                    if self.book.reserved.is_some() || matches!(reached, Reached::Duration { .. }) {
                        self.give_up();
                    }
                    self.reach(reached, &Turn::default())
                }
                FactBody::Interrupted => {
                    self.give_up();
                    self.cancel(&Turn::default())
                }
                _ => return Err(illegal),
            },
            (State::CallingMcpTools(turn), Input::Fact(Fact { body, .. })) => match body {
                FactBody::ToolReturned { result } => self.returned(turn, result),
                FactBody::Resumed { resumption } => self.taken_over(State::CallingMcpTools(turn), resumption),
                FactBody::BudgetReached { reached } => self.reach(reached, &turn),
                FactBody::Interrupted => self.cancel(&turn),
                _ => return Err(illegal),
            },
            (State::CallingMcpTools(turn), Input::Proceed) => self.mcp_done(turn),
            (State::CallingDelegates(turn), Input::Proceed) => self.delegates(turn),
            (State::CallingInteractiveTools(turn), Input::Proceed) => self.interactive(&turn),
            (State::ResolvingToolResult(results), Input::Proceed) => self.resolve(results),
            (State::FinishingStep, Input::Proceed) => self.finish_step(),
            _ => return Err(illegal),
        };
        Ok(self.follow(arrow))
    }

    /// The time of the latest fact, in milliseconds since the epoch; 0 before the first.
    pub fn now(&self) -> u64 {
        self.mint.at()
    }

    /// What the machine still asks for: after its facts were replayed, this is where the driver takes over. Calls
    /// among it may have been made before.
    pub fn outstanding(&self) -> Action {
        match &self.state {
            State::Init => Action::Wait,
            State::GeneratingToolCall => Action::Generate { after_ms: 0 },
            State::CallingMcpTools(turn) if turn.has_open(ToolKind::Mcp) => {
                Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true }
            }
            State::Stopped(status) => Action::Stop(*status),
            State::PreparingForStep
            | State::CallingMcpTools(_)
            | State::CallingDelegates(_)
            | State::CallingInteractiveTools(_)
            | State::ResumingFromStop(_)
            | State::ResolvingToolResult(_)
            | State::FinishingStep => Action::Proceed,
        }
    }

    /// Where the Run stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The conversation so far: what the next request to the model holds.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The state without its messages.
    pub fn head(&self) -> &CheckpointHead {
        &self.head
    }

    /// The whole state.
    pub fn into_checkpoint(self) -> Checkpoint {
        Checkpoint { head: self.head, messages: self.messages }
    }

    /// Whether `input` is legal now: the diagram's arrows, and that a fact fits the conversation.
    pub fn accepts(&self, input: &Input) -> bool {
        let Input::Fact(fact) = input else {
            return self.outstanding() == Action::Proceed;
        };
        match (&self.state, &fact.body) {
            (State::Init, FactBody::Started { .. }) => self.head.status == Status::Init,
            (State::Init, FactBody::Resumed { .. }) => self.head.status != Status::Init,
            (
                State::GeneratingToolCall,
                FactBody::Generated { .. }
                | FactBody::GenerationFailed { .. }
                | FactBody::Resumed { .. }
                | FactBody::ToolsChanged { .. }
                | FactBody::BudgetReached { .. }
                | FactBody::Interrupted,
            ) => true,
            (State::GeneratingToolCall, FactBody::Reserved { .. }) => self.book.reserved.is_none(),
            (State::CallingMcpTools(turn), FactBody::ToolReturned { result }) => turn.awaits(&result.id),
            (
                State::CallingMcpTools(turn),
                FactBody::Resumed { .. }
                | FactBody::BudgetReached { reached: Reached::Duration { .. } }
                | FactBody::Interrupted,
            ) => turn.has_open(ToolKind::Mcp),
            _ => false,
        }
    }

    fn start(&mut self, spec: &RunSpec, input: &[Content]) -> Arrow {
        let id = CheckpointId::from(self.mint.uuid());
        self.head = CheckpointHead::fresh(id, spec.job_id.clone(), spec.run_id.clone(), spec.expert.clone());
        self.head.step_number = spec.first_step.max(1);
        self.book.counted_step = self.head.step_number.saturating_sub(1);
        self.head.delegated_by.clone_from(&spec.delegated_by);
        self.head.context_window = spec.surroundings.context_window;
        self.head.context_window_usage = spec.surroundings.context_window.map(|_| 0.0);
        let initial = self.told();
        self.head.status = Status::Proceeding;
        self.surroundings = spec.surroundings.clone();
        let instruction = Message::InstructionMessage {
            id: self.mint.id(),
            contents: self.named(vec![Content::text(spec.instruction.clone())]),
            cache: true,
        };
        let query = Message::UserMessage { id: self.mint.id(), contents: self.named(input.to_vec()), cache: false };
        self.begin_step();
        self.add_input(instruction);
        self.add_input(query);
        let event =
            EventBody::StartRun { initial_checkpoint: initial, input_messages: self.step.input_messages.clone() };
        Arrow::proceed(State::PreparingForStep, vec![event])
    }

    fn resume(&mut self, resumption: &Resumption) -> Arrow {
        self.surroundings = resumption.surroundings.clone();
        let mut turn = Turn::rebuild(&self.messages, &self.head, &resumption.answers, &self.surroundings);
        turn.name_answers(&mut self.mint);
        // Another window is another model, which counts otherwise.
        self.measured = Some(self.surroundings.context_window)
            .filter(|window| *window == self.head.context_window)
            .and_then(|window| estimate::of_checkpoint(&self.messages, window, self.head.context_window_usage));
        let head = &mut self.head;
        head.format_version = FORMAT_VERSION;
        head.id = CheckpointId::from(self.mint.uuid());
        head.run_id = resumption.run_id.clone();
        self.book.counted_step = head.step_number.max(resumption.reached_step);
        head.step_number = self.book.counted_step + 1;
        head.usage = head.usage.plus(resumption.delegated_usage);
        head.spend = head.spend.plus(resumption.delegated_spend);
        head.context_window = self.surroundings.context_window;
        head.context_window_usage = head.context_window_usage.filter(|_| head.context_window.is_some());
        head.error = None;
        head.budget = None;
        head.retry_count = 0;
        head.delegate_to.clear();
        head.pending_tool_calls = turn.unanswered();
        head.partial_tool_results = turn.answers();
        let initial = self.told();
        self.begin_step();
        self.head.status = Status::Proceeding;
        self.head.queued_messages.extend(resumption.query.clone());
        if turn.is_empty() {
            for text in std::mem::take(&mut self.head.queued_messages) {
                let message = self.user_message(&text);
                self.add_input(message);
            }
            let event =
                EventBody::StartRun { initial_checkpoint: initial, input_messages: self.step.input_messages.clone() };
            Arrow::proceed(State::PreparingForStep, vec![event])
        } else {
            self.step.tool_calls = turn.calls();
            Arrow::proceed(State::ResumingFromStop(turn), vec![EventBody::ResumeFromStop { checkpoint: initial }])
        }
    }

    /// Another process goes on with this Run, in the state that its facts lead to.
    fn taken_over(&mut self, state: State, resumption: &Resumption) -> Arrow {
        self.surroundings = resumption.surroundings.clone();
        self.head.retry_count = 0;
        let event = EventBody::ResumeFromStop { checkpoint: self.told() };
        match state {
            State::CallingMcpTools(mut turn) => {
                self.head.queued_messages.extend(resumption.query.clone());
                turn.adapt(&self.surroundings);
                let action = Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true };
                Arrow { state: State::CallingMcpTools(turn), events: vec![event], save: false, action }
            }
            state => {
                // The dead process was waiting for an answer, which the provider may charge for.
                self.give_up();
                if let Some(measured) = &mut self.measured {
                    measured.other_tools = true;
                }
                if let Some(query) = &resumption.query {
                    let message = self.user_message(query);
                    self.add_input(message);
                }
                Arrow { state, events: vec![event], save: false, action: Action::Generate { after_ms: 0 } }
            }
        }
    }

    fn take_up(&mut self, turn: Turn) -> Arrow {
        self.head.pending_tool_calls.clear();
        self.head.partial_tool_results.clear();
        if turn.has_open(ToolKind::Mcp) {
            let action = Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true };
            Arrow { state: State::CallingMcpTools(turn), events: Vec::new(), save: false, action }
        } else if turn.has_open(ToolKind::Delegate) {
            Arrow::proceed(State::CallingDelegates(turn), Vec::new())
        } else if turn.has_open(ToolKind::Interactive) {
            Arrow::proceed(State::CallingInteractiveTools(turn), Vec::new())
        } else {
            Arrow::all_answered(&turn)
        }
    }

    fn prepare(&mut self) -> Arrow {
        let event = EventBody::StartGeneration { messages: self.messages.len() };
        Arrow {
            state: State::GeneratingToolCall,
            events: vec![event],
            save: false,
            action: Action::Generate { after_ms: 0 },
        }
    }

    /// The model is about to be asked, and may call other tools than before.
    fn change_tools(&mut self, tools: &[ToolRoute]) -> Arrow {
        self.surroundings.tools = tools.to_vec();
        if let Some(measured) = &mut self.measured {
            measured.other_tools = true;
        }
        Arrow {
            state: State::GeneratingToolCall,
            events: Vec::new(),
            save: false,
            action: Action::Generate { after_ms: 0 },
        }
    }

    /// Nothing more is heard of the request under way, which the provider may charge for.
    fn give_up(&mut self) {
        self.break_off(Some(0));
        self.charge(Spend::UNKNOWN);
    }

    /// Adds what a model call cost to the accounts of step and Run.
    pub(super) fn charge(&mut self, spend: Spend) {
        self.book.ledger.spend = self.book.ledger.spend.plus(spend);
        self.step.spend = self.step.spend.plus(spend);
        self.head.spend = self.head.spend.plus(spend);
    }

    fn failed(&mut self, failure: &GenerationFailure, retry_in_ms: Option<u64>) -> Arrow {
        let spend = if failure.may_be_charged() { Spend::UNKNOWN } else { Spend::default() };
        self.count_step();
        self.charge(spend);
        let retries = self.head.retry_count;
        let exhausted = retries >= self.surroundings.limits.max_retries;
        if let Some(after_ms) = retry_in_ms.filter(|_| !exhausted) {
            let reason = serde_json::json!({ "error": failure.kind.name(), "message": failure.message });
            let event = self.retry(
                reason.to_string(),
                Vec::new(),
                Vec::new(),
                Used { spend, ..Used::default() },
                Some(after_ms),
            );
            return Arrow {
                state: State::GeneratingToolCall,
                events: vec![event],
                save: false,
                action: Action::Generate { after_ms },
            };
        }
        let message = if exhausted && retries > 0 && failure.is_retryable {
            format!("Max retries ({retries}) exceeded: {}", failure.message)
        } else {
            failure.message.clone()
        };
        self.stop_by_error(RunFailure {
            name: failure.kind.name().to_owned(),
            message,
            status_code: failure.status_code,
            is_retryable: failure.is_retryable,
        })
    }

    /// Counts a failure and tells it. With `delay_ms`, the same request is made again; without, the step is over.
    pub(super) fn retry(
        &mut self,
        reason: String,
        new_messages: Vec<Message>,
        tool_results: Vec<ToolResult>,
        used: Used,
        delay_ms: Option<u64>,
    ) -> EventBody {
        let Used { usage, spend } = used;
        self.head.retry_count = self.head.retry_count.saturating_add(1);
        let retry_count = self.head.retry_count;
        let tool_calls = self.step.tool_calls.clone();
        EventBody::Retry { reason, new_messages, tool_calls, tool_results, usage, spend, delay_ms, retry_count }
    }

    fn returned(&mut self, mut turn: Turn, result: &ToolResult) -> Arrow {
        turn.take(result.clone(), &mut self.mint);
        let action = if turn.has_open(ToolKind::Mcp) { Action::Wait } else { Action::Proceed };
        Arrow { state: State::CallingMcpTools(turn), events: Vec::new(), save: false, action }
    }

    fn mcp_done(&mut self, turn: Turn) -> Arrow {
        if let Some(text) = turn.completion.clone().filter(|_| self.head.queued_messages.is_empty()) {
            let results = turn.answers();
            let message = self.tool_message(&results);
            self.step.tool_results = results;
            self.add_new(message);
            let answer = self.expert_text_message(text.clone());
            self.add_new(answer);
            let (usage, spend) = (self.step.usage, self.step.spend);
            return self.stop(Status::Completed, |checkpoint, step| EventBody::CompleteRun {
                checkpoint,
                step,
                text,
                usage,
                spend,
            });
        }
        if turn.has_open(ToolKind::Delegate) || turn.has_open(ToolKind::Interactive) {
            Arrow::proceed(State::CallingDelegates(turn), Vec::new())
        } else {
            Arrow::all_answered(&turn)
        }
    }

    fn delegates(&mut self, turn: Turn) -> Arrow {
        let calls = turn.open(ToolKind::Delegate);
        let experts = &self.surroundings.delegates;
        let delegate_to: Vec<DelegateTo> = calls
            .iter()
            .filter_map(|call| {
                Some(DelegateTo {
                    expert: experts.iter().find(|expert| expert.key.as_str() == call.skill_name)?.clone(),
                    tool_call_id: call.id.clone(),
                    tool_name: call.tool_name.clone(),
                    query: call.args.get("query")?.as_str()?.to_owned(),
                })
            })
            .collect();
        if delegate_to.is_empty() {
            return Arrow::proceed(State::CallingInteractiveTools(turn), Vec::new());
        }
        self.head.delegate_to = delegate_to;
        self.head.pending_tool_calls = turn.open(ToolKind::Interactive);
        self.head.partial_tool_results = turn.answers();
        self.stop(Status::StoppedByDelegate, |checkpoint, step| EventBody::StopRunByDelegate { checkpoint, step })
    }

    fn interactive(&mut self, turn: &Turn) -> Arrow {
        self.leave_open(turn);
        self.stop(Status::StoppedByInteractiveTool, |checkpoint, step| EventBody::StopRunByInteractiveTool {
            checkpoint,
            step,
        })
    }

    fn cancel(&mut self, turn: &Turn) -> Arrow {
        self.leave_open(turn);
        self.stop(Status::StoppedByCancellation, |checkpoint, step| EventBody::StopRunByCancellation {
            checkpoint,
            step,
        })
    }

    /// Puts an unfinished turn into the checkpoint.
    pub(super) fn leave_open(&mut self, turn: &Turn) {
        self.head.pending_tool_calls = turn.unanswered();
        self.head.partial_tool_results = turn.answers();
    }

    fn resolve(&mut self, results: Vec<ToolResult>) -> Arrow {
        let message = self.tool_message(&results);
        self.step.tool_results = results;
        self.add_new(message.clone());
        Arrow::proceed(State::FinishingStep, vec![EventBody::FinishToolCall { new_messages: vec![message] }])
    }

    fn finish_step(&mut self) -> Arrow {
        for text in std::mem::take(&mut self.head.queued_messages) {
            let message = self.user_message(&text);
            self.add_new(message);
        }
        if self.head.step_number >= self.surroundings.limits.max_steps {
            return self.stop(Status::StoppedByExceededMaxSteps, |checkpoint, step| {
                EventBody::StopRunByExceededMaxSteps { checkpoint, step }
            });
        }
        if let Some(reached) = self.repetition() {
            return self.stop_by_budget(reached);
        }
        let checkpoint = self.told();
        self.head.id = CheckpointId::from(self.mint.uuid());
        self.head.step_number += 1;
        let next_checkpoint = self.told();
        let step = self.end_step();
        self.begin_step();
        Arrow {
            state: State::PreparingForStep,
            events: vec![EventBody::ContinueToNextStep { checkpoint, step, next_checkpoint }],
            save: true,
            action: Action::Proceed,
        }
    }

    pub(super) fn stop_by_error(&mut self, error: RunFailure) -> Arrow {
        self.head.error = Some(error.clone());
        self.stop(Status::StoppedByError, |checkpoint, step| EventBody::StopRunByError { checkpoint, step, error })
    }

    /// Ends the Run with `status` and the event that `event` makes.
    pub(super) fn stop(&mut self, status: Status, event: impl FnOnce(Told, Step) -> EventBody) -> Arrow {
        self.head.status = status;
        self.step.pending_tool_calls.clone_from(&self.head.pending_tool_calls);
        self.step.partial_tool_results.clone_from(&self.head.partial_tool_results);
        let step = self.end_step();
        let event = event(self.told(), step);
        Arrow { state: State::Stopped(status), events: vec![event], save: true, action: Action::Stop(status) }
    }

    /// Carries an arrow out: the events get their numbers and the step they belong to.
    fn follow(&mut self, arrow: Arrow) -> Transition {
        self.state = arrow.state;
        let mut save = None;
        let events = arrow
            .events
            .into_iter()
            .map(|body| {
                let told = match &body {
                    EventBody::ContinueToNextStep { checkpoint, .. } => Some(checkpoint),
                    other => other.ending(),
                };
                if arrow.save
                    && let Some(told) = told
                {
                    save = Some(Save { head: told.head.clone(), messages: told.messages });
                }
                self.event(body)
            })
            .collect();
        Transition { events, save, action: arrow.action }
    }

    fn event(&mut self, body: EventBody) -> Event {
        // The step that ends has its own number; the machine's head is one ahead by then.
        let step_number = match &body {
            EventBody::ContinueToNextStep { checkpoint, .. } => checkpoint.head.step_number,
            _ => self.head.step_number,
        };
        self.sequence += 1;
        Event {
            id: self.mint.id(),
            timestamp: self.mint.at(),
            job_id: self.head.job_id.clone(),
            run_id: self.head.run_id.clone(),
            expert_key: Some(self.head.expert.key.clone()),
            step_number: Some(step_number),
            sequence: Some(self.sequence),
            schema_version: SCHEMA_VERSION,
            body,
        }
    }

    /// The state of now, as events carry it.
    fn told(&self) -> Told {
        Told { head: Box::new(self.head.clone()), messages: self.messages.len() }
    }

    fn begin_step(&mut self) {
        self.step = Step { step_number: self.head.step_number, started_at: self.mint.at(), ..Step::default() };
    }

    fn end_step(&mut self) -> Step {
        let mut step = std::mem::take(&mut self.step);
        step.finished_at = Some(self.mint.at());
        step
    }

    fn add_input(&mut self, message: Message) {
        self.step.input_messages.push(message.clone());
        self.messages.push(message);
    }

    pub(super) fn add_new(&mut self, message: Message) {
        self.call_ids.extend(message.call_ids().map(str::to_owned));
        self.step.new_messages.push(message.clone());
        self.messages.push(message);
    }

    fn named(&mut self, mut contents: Vec<Content>) -> Vec<Content> {
        calls::name_parts(&mut contents, &mut self.mint);
        contents
    }

    pub(super) fn user_message(&mut self, text: &str) -> Message {
        Message::UserMessage { id: self.mint.id(), contents: self.named(vec![Content::text(text)]), cache: false }
    }

    pub(super) fn tool_message(&mut self, results: &[ToolResult]) -> Message {
        let contents = results
            .iter()
            .map(|result| ResultPart::ToolResultPart {
                id: self.mint.id(),
                tool_call_id: result.id.clone(),
                tool_name: result.tool_name.clone(),
                contents: self.named(result.result.clone()),
                is_error: result.is_error,
            })
            .collect();
        Message::ToolMessage { id: self.mint.id(), contents, cache: false }
    }
}
