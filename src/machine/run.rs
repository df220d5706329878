//! The machine of one Run: facts in, one action out, events on the side.

use std::collections::HashSet;

use crate::budget::Reached;
use crate::checkpoint::{Checkpoint, CheckpointHead, Status};
use crate::content::Content;
use crate::cost::Spend;
use crate::event::{Event, EventBody, SCHEMA_VERSION, Step};
use crate::expert::ExpertRef;
use crate::fact::{Fact, FactBody, IdGenerator, RunParameters, RunSpec, Stamp};
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::calls::Turn;
use crate::machine::repair;
use crate::machine::spending::RunAccount;
use crate::machine::state::State;
use crate::machine::token_bound::KnownPrompt;
use crate::machine::transition::{Action, IllegalInput, Input, Save, Transition};
use crate::message::Message;
use crate::tool::{ToolKind, ToolRoute};
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
    pub(super) parameters: RunParameters,
    /// Ids of all calls in the conversation.
    pub(super) call_ids: HashSet<String>,
    pub(super) ids: IdGenerator,
    pub(super) account: RunAccount,
    /// The size of the conversation, as the latest answer told it.
    pub(super) measured: Option<KnownPrompt>,
    /// Number of the latest event.
    sequence: u64,
}

/// What an arrow leads to: the next state, the events, the checkpoint to store, and what to ask for.
pub(super) struct Reaction {
    pub state: State,
    pub events: Vec<EventBody>,
    pub save: bool,
    pub action: Action,
}

/// What one model call took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallUsage {
    pub usage: Usage,
    pub spend: Spend,
}

impl Reaction {
    /// On to `state`, by itself.
    pub(super) fn proceed(state: State, events: Vec<EventBody>) -> Self {
        Self { state, events, save: false, action: Action::Proceed }
    }

    pub(super) fn all_answered(turn: &Turn) -> Self {
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
            parameters: RunParameters::default(),
            ids: IdGenerator::new(Stamp { at: 0, seed: 0 }),
            account: RunAccount::default(),
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
            self.ids = IdGenerator::new(fact.stamp);
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
                FactBody::Reserved { reservation } => {
                    self.reserve(reservation);
                    Self::generate(Vec::new())
                }
                FactBody::BudgetReached { reached } => self.reach_while_asking(reached),
                FactBody::Interrupted => {
                    self.give_up();
                    self.cancel(&Turn::default())
                }
                _ => return Err(illegal),
            },
            (State::SummarizingContext(overflow), Input::Fact(Fact { body, .. })) => match body {
                FactBody::Summarized { generation, replaced, tokens_before, tokens_after } => {
                    self.summarized(overflow, generation, *replaced, (*tokens_before, *tokens_after))
                }
                FactBody::GenerationFailed { failure, retry_in_ms, received_bytes } => {
                    self.break_off(*received_bytes);
                    self.summary_failed(overflow, failure, *retry_in_ms)
                }
                // What fitted nowhere may fit the model of the process that takes over.
                FactBody::Resumed { resumption } => self.taken_over(State::GeneratingToolCall, resumption),
                FactBody::Reserved { reservation } => {
                    self.reserve(reservation);
                    Self::summarize(overflow, Vec::new(), 0)
                }
                FactBody::BudgetReached { reached } => self.reach_while_asking(reached),
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
        self.ids.at()
    }

    /// What the machine still asks for: after its facts were replayed, this is where the driver takes over. Calls
    /// among it may have been made before.
    pub fn outstanding(&self) -> Action {
        match &self.state {
            State::Init => Action::Wait,
            State::GeneratingToolCall => Action::Generate { after_ms: 0 },
            State::SummarizingContext(_) => Action::Summarize { after_ms: 0 },
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

    /// What the Run works with.
    pub fn parameters(&self) -> &RunParameters {
        &self.parameters
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
            )
            | (
                State::SummarizingContext(_),
                FactBody::GenerationFailed { .. }
                | FactBody::Resumed { .. }
                | FactBody::BudgetReached { .. }
                | FactBody::Interrupted,
            ) => true,
            (State::GeneratingToolCall | State::SummarizingContext(_), FactBody::Reserved { .. }) => {
                self.account.reserved.is_none()
            }
            (State::SummarizingContext(_), FactBody::Summarized { replaced, .. }) => self.can_replace(*replaced),
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

    fn start(&mut self, spec: &RunSpec, input: &[Content]) -> Reaction {
        let id = CheckpointId::from(self.ids.uuid());
        self.head = CheckpointHead::fresh(id, spec.job_id.clone(), spec.run_id.clone(), spec.expert.clone());
        self.head.step_number = spec.first_step.max(1);
        self.account.counted_step = self.head.step_number.saturating_sub(1);
        self.head.delegated_by.clone_from(&spec.delegated_by);
        self.head.context_window = spec.parameters.context_window;
        self.head.context_window_usage = spec.parameters.context_window.map(|_| 0.0);
        let initial = self.told();
        self.head.status = Status::Proceeding;
        self.parameters = spec.parameters.clone();
        let instruction = self.instruction_message(&spec.instruction);
        let query = Message::UserMessage { id: self.ids.id(), contents: self.named(input.to_vec()), cache: false };
        self.begin_step();
        self.add_input(instruction);
        self.add_input(query);
        let event =
            EventBody::StartRun { initial_checkpoint: initial, input_messages: self.step.input_messages.clone() };
        Reaction::proceed(State::PreparingForStep, vec![event])
    }

    fn prepare(&mut self) -> Reaction {
        Self::generate(vec![EventBody::StartGeneration { messages: self.messages.len() }])
    }

    /// Asks the model.
    fn generate(events: Vec<EventBody>) -> Reaction {
        Reaction { state: State::GeneratingToolCall, events, save: false, action: Action::Generate { after_ms: 0 } }
    }

    /// The model is about to be asked, and may call other tools than before.
    fn change_tools(&mut self, tools: &[ToolRoute]) -> Reaction {
        self.parameters.tools = tools.to_vec();
        if let Some(measured) = &mut self.measured {
            measured.other_tools = true;
        }
        Self::generate(Vec::new())
    }

    /// Carries an arrow out: the events get their numbers and the step they belong to.
    fn follow(&mut self, arrow: Reaction) -> Transition {
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
            id: self.ids.id(),
            timestamp: self.ids.at(),
            job_id: self.head.job_id.clone(),
            run_id: self.head.run_id.clone(),
            expert_key: Some(self.head.expert.key.clone()),
            step_number: Some(step_number),
            sequence: Some(self.sequence),
            schema_version: SCHEMA_VERSION,
            body,
        }
    }
}
