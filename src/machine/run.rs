//! The machine of one Run: facts in, one action out, events on the side.

use std::mem::take;

use crate::budget::{Reached, Reservation};
use crate::checkpoint::{Checkpoint, CheckpointHead, Status};
use crate::event::{Event, EventBody, SCHEMA_VERSION};
use crate::expert::ExpertRef;
use crate::fact::{FactBody, IdGenerator, RunParameters};
use crate::id::{CheckpointId, JobId, RunId};
use crate::machine::account::RunTotals;
use crate::machine::calls::Turn;
use crate::machine::data::RunData;
use crate::machine::ending::Ending;
use crate::machine::repair;
use crate::machine::state::{Overflow, State};
use crate::machine::token_bound::PromptBounds;
use crate::machine::transition::{Action, IllegalInput, Input, Save, Transition};
use crate::message::Message;
use crate::tool::{ToolKind, ToolSpec};

/// The machine of one Run. Pure: no I/O, no clock, no randomness; the same inputs give the same events, byte for byte.
///
/// Methods are of four kinds: constructors ([`RunMachine::new`], [`RunMachine::restore`]); the one that changes it,
/// [`RunMachine::advance`]; what it still asks for, [`RunMachine::outstanding`]; and views of its data.
#[derive(Debug, Clone, PartialEq)]
pub struct RunMachine {
    state: State,
    data: RunData,
    /// Number of the latest event.
    sequence: u64,
}

/// The consequences of an arrow: the next state, the events, the checkpoint to store, and what to ask for.
pub(super) struct Reaction {
    pub state: State,
    pub events: Vec<EventBody>,
    pub save: bool,
    pub action: Action,
}

/// The handler of an arrow, with what it takes from the state and the input.
type Arrow<'a> = Box<dyn FnOnce(&mut RunData) -> Reaction + 'a>;

impl Reaction {
    /// On to `state`, which needs nothing from outside.
    pub(super) fn proceed(state: State, events: Vec<EventBody>) -> Self {
        Self { state, events, save: false, action: Action::Proceed }
    }

    /// Asks the model.
    pub(super) fn generate(events: Vec<EventBody>) -> Self {
        Self::generate_after(0, events)
    }

    /// Asks the model after a wait.
    pub(super) fn generate_after(after_ms: u64, events: Vec<EventBody>) -> Self {
        Self { state: State::GeneratingToolCall, events, save: false, action: Action::Generate { after_ms } }
    }

    /// Asks the model for a summary after a wait.
    pub(super) fn summarize(overflow: Overflow, events: Vec<EventBody>, after_ms: u64) -> Self {
        Self { state: State::SummarizingContext(overflow), events, save: false, action: Action::Summarize { after_ms } }
    }

    /// Waits for the turn's MCP calls.
    pub(super) fn call_tools(turn: Turn, events: Vec<EventBody>, action: Action) -> Self {
        Self { state: State::CallingMcpTools(turn), events, save: false, action }
    }

    /// Waits for decisions about the turn's calls, or makes them where none is due.
    pub(super) fn decide_or_call(turn: Turn, events: Vec<EventBody>) -> Self {
        let calls = turn.undecided();
        if calls.is_empty() {
            let open = turn.open(ToolKind::Mcp);
            let action =
                if open.is_empty() { Action::Proceed } else { Action::CallTools { calls: open, in_doubt: false } };
            return Self::call_tools(turn, events, action);
        }
        let action = Action::DecideCalls { calls };
        Self { state: State::DecidingCalls(turn), events, save: false, action }
    }

    /// Waits for the check of an answer.
    pub(super) fn check_answer(ending: Ending, events: Vec<EventBody>) -> Self {
        let action = Action::CheckAnswer { text: ending.text().to_owned() };
        Self { state: State::CheckingAnswer(ending), events, save: false, action }
    }
}

/// The arrow that leads on from `state` by `input`: the one place that decides which there are.
///
/// Nothing changes while it decides: the data is only looked at, and a handler takes its part of the state when it is
/// called. So an input without an arrow leaves no trace.
fn arrow_for<'a>(state: &'a mut State, data: &RunData, input: &'a Input) -> Option<Arrow<'a>> {
    match input {
        Input::Proceed => arrow_without_fact(state),
        Input::Fact(fact) => arrow_by_fact(state, data, &fact.body),
    }
}

/// The arrow by [`Input::Proceed`].
fn arrow_without_fact(state: &mut State) -> Option<Arrow<'_>> {
    Some(match state {
        State::PreparingForStep => Box::new(RunData::prepare),
        State::ResumingFromStop(turn) => Box::new(|data| data.take_up(take(turn))),
        State::CallingMcpTools(turn) if !turn.has_open(ToolKind::Mcp) => Box::new(|data| data.mcp_done(take(turn))),
        State::CallingDelegates(turn) => Box::new(|data| data.delegates(take(turn))),
        State::CallingInteractiveTools(turn) => Box::new(|data| data.interactive(turn)),
        State::ResolvingToolResult(results) => Box::new(|data| data.resolve(take(results))),
        State::FinishingStep => Box::new(RunData::finish_step),
        State::StartingVerification(ending) => Box::new(|data| data.start_verification(take(ending))),
        State::ConcludingVerification(verdict) => Box::new(|data| data.conclude_verification(take(verdict))),
        // The process that was to store it has died: the checkpoint names the state that the one before it does.
        State::TakingSnapshot(held) => Box::new(|data| data.follow_held(held, None)),
        State::Init
        | State::GeneratingToolCall
        | State::SummarizingContext(_)
        | State::DecidingCalls(_)
        | State::CallingMcpTools(_)
        | State::CheckingAnswer(_)
        | State::VerifyingAnswer(_)
        | State::Stopped(_) => return None,
    })
}

fn arrow_by_fact<'a>(state: &'a mut State, data: &RunData, fact: &'a FactBody) -> Option<Arrow<'a>> {
    match state {
        State::Init => arrow_at_start(data, fact),
        State::GeneratingToolCall => arrow_while_generating(data, fact).or_else(|| arrow_while_asking(fact)),
        State::SummarizingContext(overflow) => {
            arrow_while_asking(fact).or_else(|| arrow_while_summarizing(overflow, data, fact))
        }
        State::DecidingCalls(turn) => arrow_while_deciding(turn, fact),
        State::CallingMcpTools(turn) => arrow_while_calling(turn, fact),
        State::CheckingAnswer(ending) => arrow_while_checking(ending, fact),
        State::VerifyingAnswer(ending) => arrow_while_verifying(ending, fact),
        State::TakingSnapshot(held) => match fact {
            FactBody::SnapshotTaken { snapshot } => Some(Box::new(|data| data.follow_held(held, Some(snapshot)))),
            _ => None,
        },
        State::PreparingForStep
        | State::ResumingFromStop(_)
        | State::CallingDelegates(_)
        | State::CallingInteractiveTools(_)
        | State::ResolvingToolResult(_)
        | State::FinishingStep
        | State::StartingVerification(_)
        | State::ConcludingVerification(_)
        | State::Stopped(_) => None,
    }
}

fn arrow_at_start<'a>(data: &RunData, fact: &'a FactBody) -> Option<Arrow<'a>> {
    let is_fresh = data.head.status == Status::Init;
    Some(match fact {
        FactBody::Started { spec, input } if is_fresh => Box::new(|data| data.start(spec, input)),
        FactBody::Resumed { resumption } if !is_fresh => Box::new(|data| data.resume(resumption)),
        _ => return None,
    })
}

fn arrow_while_generating<'a>(data: &RunData, fact: &'a FactBody) -> Option<Arrow<'a>> {
    Some(match fact {
        FactBody::Generated { generation } => Box::new(|data| data.generated(generation)),
        FactBody::GenerationFailed { failure, retry_in_ms, received_bytes } => {
            Box::new(|data| data.failed(failure, *retry_in_ms, *received_bytes))
        }
        FactBody::ToolsChanged { tools } => Box::new(|data| data.change_tools(tools)),
        FactBody::Reserved { reservation } if data.account.reserved().is_none() => Box::new(|data| {
            data.reserve(reservation);
            Reaction::generate(Vec::new())
        }),
        _ => return None,
    })
}

fn arrow_while_summarizing<'a>(overflow: &'a mut Overflow, data: &RunData, fact: &'a FactBody) -> Option<Arrow<'a>> {
    Some(match fact {
        FactBody::Summarized { generation, replaced, tokens_before, tokens_after }
            if data.conversation.can_replace(*replaced) =>
        {
            let tokens = (*tokens_before, *tokens_after);
            Box::new(move |data| data.summarized(take(overflow), generation, *replaced, tokens))
        }
        FactBody::GenerationFailed { failure, retry_in_ms, received_bytes } => {
            Box::new(|data| data.summary_failed(take(overflow), failure, *retry_in_ms, *received_bytes))
        }
        FactBody::Reserved { reservation } if data.account.reserved().is_none() => Box::new(|data| {
            data.reserve(reservation);
            Reaction::summarize(take(overflow), Vec::new(), 0)
        }),
        _ => return None,
    })
}

/// The arrows that an answer and a summary have in common.
fn arrow_while_asking(fact: &FactBody) -> Option<Arrow<'_>> {
    Some(match fact {
        // A conversation too long for one model may fit that of the process that takes over: it is asked to answer.
        FactBody::Resumed { resumption } => Box::new(|data| data.take_over_request(resumption)),
        FactBody::BudgetReached { reached } => Box::new(|data| data.reach_while_asking(reached)),
        FactBody::Interrupted => Box::new(|data| {
            data.give_up();
            data.cancel(&Turn::default())
        }),
        _ => return None,
    })
}

fn arrow_while_deciding<'a>(turn: &'a mut Turn, fact: &'a FactBody) -> Option<Arrow<'a>> {
    Some(match fact {
        FactBody::CallsDecided { decisions } if turn.awaits_all(decisions) => {
            Box::new(|data| data.decided(take(turn), decisions))
        }
        FactBody::Resumed { resumption } => Box::new(|data| data.take_over_decisions(take(turn), resumption)),
        FactBody::BudgetReached { reached: reached @ Reached::Duration { .. } } => Box::new(|data| {
            data.head.deciding = Some(turn.decided());
            data.reach(reached, turn)
        }),
        FactBody::Interrupted => Box::new(|data| {
            data.head.deciding = Some(turn.decided());
            data.cancel(turn)
        }),
        _ => return None,
    })
}

fn arrow_while_calling<'a>(turn: &'a mut Turn, fact: &'a FactBody) -> Option<Arrow<'a>> {
    // When every call has returned, the turn ends by itself before anything else is taken in.
    let is_waiting = turn.has_open(ToolKind::Mcp);
    Some(match fact {
        FactBody::ToolReturned { result } if turn.awaits(&result.id) => {
            Box::new(|data| data.returned(take(turn), result))
        }
        FactBody::Resumed { resumption } if is_waiting => Box::new(|data| data.take_over_calls(take(turn), resumption)),
        // Time is the only budget that passes while tools are called; the others are reached before a request.
        FactBody::BudgetReached { reached: reached @ Reached::Duration { .. } } if is_waiting => {
            Box::new(|data| data.reach(reached, turn))
        }
        FactBody::Interrupted if is_waiting => Box::new(|data| data.cancel(turn)),
        _ => return None,
    })
}

fn arrow_while_checking<'a>(ending: &'a mut Ending, fact: &'a FactBody) -> Option<Arrow<'a>> {
    Some(match fact {
        FactBody::AnswerChecked { check } => Box::new(|data| data.answer_checked(take(ending), check)),
        FactBody::Resumed { resumption } => Box::new(|data| data.take_over_check(take(ending), resumption)),
        FactBody::BudgetReached { reached: reached @ Reached::Duration { .. } } => Box::new(|data| {
            let turn = data.leave_unchecked(take(ending));
            data.reach(reached, &turn)
        }),
        FactBody::Interrupted => Box::new(|data| {
            let turn = data.leave_unchecked(take(ending));
            data.cancel(&turn)
        }),
        _ => return None,
    })
}

fn arrow_while_verifying<'a>(ending: &'a mut Ending, fact: &'a FactBody) -> Option<Arrow<'a>> {
    Some(match fact {
        FactBody::AnswerVerified { outcome } => Box::new(|data| data.answer_verified(take(ending), outcome)),
        FactBody::Resumed { resumption } => Box::new(|data| data.take_over_verification(take(ending), resumption)),
        FactBody::BudgetReached { reached: reached @ Reached::Duration { .. } } => Box::new(|data| {
            let turn = data.leave_unverified(take(ending));
            data.reach(reached, &turn)
        }),
        FactBody::Interrupted => Box::new(|data| {
            let turn = data.leave_unverified(take(ending));
            data.cancel(&turn)
        }),
        _ => return None,
    })
}

impl RunMachine {
    /// A machine that waits for `Started`. `id` names the state before the first step; it is never stored.
    pub fn new(job_id: JobId, run_id: RunId, expert: ExpertRef, id: CheckpointId) -> Self {
        Self::with(CheckpointHead::fresh(id, job_id, run_id, expert), Vec::new())
    }

    /// A machine that holds `checkpoint` and waits for `Resumed`. A history in which calls and answers do not match
    /// (some of the original's do not) is mended first.
    pub fn restore(checkpoint: Checkpoint) -> Self {
        let Checkpoint { head, mut messages } = checkpoint;
        repair::mend(&mut messages);
        Self::with(head, messages)
    }

    fn with(head: CheckpointHead, messages: Vec<Message>) -> Self {
        Self { state: State::Init, data: RunData::new(head, messages), sequence: 0 }
    }

    /// Takes one arrow of the diagram.
    ///
    /// # Errors
    /// [`IllegalInput`] when the present state cannot take `input`; the machine is unchanged.
    pub fn advance(&mut self, input: &Input) -> Result<Transition, IllegalInput> {
        let illegal = IllegalInput { state: self.state.name(), input: input.name() };
        let is_held = matches!(self.state, State::TakingSnapshot(_));
        let arrow = arrow_for(&mut self.state, &self.data, input).ok_or(illegal)?;
        if let Input::Fact(fact) = input
            && !matches!(fact.body, FactBody::SnapshotTaken { .. })
        {
            self.data.ids = IdGenerator::new(fact.stamp);
        }
        self.data.is_free = matches!(input, Input::Fact(fact) if fact.recorded);
        let reaction = arrow(&mut self.data);
        self.data.is_free = false;
        self.data.forget_snapshot(&reaction);
        let reaction = if is_held { reaction } else { self.data.hold(reaction) };
        Ok(self.follow(reaction))
    }

    /// Sets whether nobody looks at the events, as while a record is read for what it comes to: they are then numbered and
    /// not made. Those of the step in which someone looks again lack what came of it before.
    pub fn set_quiet(&mut self, is_quiet: bool) {
        self.data.is_quiet = is_quiet;
    }

    /// Returns true if events are only numbered.
    pub fn is_quiet(&self) -> bool {
        self.data.is_quiet
    }

    /// Returns true if `input` is legal now: the diagram has an arrow for it, and a fact fits the conversation.
    pub fn accepts(&self, input: &Input) -> bool {
        arrow_for(&mut self.state.clone(), &self.data, input).is_some()
    }

    /// The time of the latest fact, in milliseconds since the epoch; 0 before the first.
    pub fn now(&self) -> u64 {
        self.data.ids.at()
    }

    /// The number of events so far, those included that were only numbered.
    pub fn event_count(&self) -> u64 {
        self.sequence
    }

    /// The number of tool calls that models asked for in them.
    pub fn call_count(&self) -> u64 {
        self.data.called
    }

    /// The action that the machine still asks for: after its facts were replayed, this is where the driver takes over. Calls
    /// among it may have been made before.
    pub fn outstanding(&self) -> Action {
        match &self.state {
            State::Init => Action::Wait,
            State::GeneratingToolCall => Action::Generate { after_ms: 0 },
            State::SummarizingContext(_) => Action::Summarize { after_ms: 0 },
            State::DecidingCalls(turn) => Action::DecideCalls { calls: turn.undecided() },
            State::CallingMcpTools(turn) if turn.has_open(ToolKind::Mcp) => {
                Action::CallTools { calls: turn.open(ToolKind::Mcp), in_doubt: true }
            }
            State::CheckingAnswer(ending) => Action::CheckAnswer { text: ending.text().to_owned() },
            State::VerifyingAnswer(_) => Action::VerifyAnswer,
            State::TakingSnapshot(_) => Action::TakeSnapshot,
            State::Stopped(status) => Action::Stop(*status),
            State::PreparingForStep
            | State::CallingMcpTools(_)
            | State::CallingDelegates(_)
            | State::CallingInteractiveTools(_)
            | State::ResumingFromStop(_)
            | State::ResolvingToolResult(_)
            | State::FinishingStep
            | State::StartingVerification(_)
            | State::ConcludingVerification(_) => Action::Proceed,
        }
    }

    /// The present state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The conversation so far: what the next request to the model holds.
    pub fn messages(&self) -> &[Message] {
        self.data.conversation.messages()
    }

    /// The parameters that the Run works with.
    pub fn parameters(&self) -> &RunParameters {
        &self.data.parameters
    }

    /// The state without its messages.
    pub fn head(&self) -> &CheckpointHead {
        &self.data.head
    }

    /// The whole state.
    pub fn into_checkpoint(self) -> Checkpoint {
        Checkpoint { head: self.data.head, messages: self.data.conversation.into_messages() }
    }

    /// The number of messages before all that a summary may replace: the instruction and the first question.
    pub fn opening(&self) -> usize {
        self.data.conversation.opening()
    }

    /// Returns true if this many messages behind the opening can give way to a summary: no call may lose its answer.
    #[cfg(test)]
    pub(super) fn can_replace(&self, replaced: usize) -> bool {
        self.data.conversation.can_replace(replaced)
    }

    /// The most tokens that the next request's prompt can have. `bounds` are those of this conversation and these tools,
    /// so far as they were counted.
    pub fn prompt_bound(&self, bounds: &mut PromptBounds, tools: &[ToolSpec]) -> u64 {
        let bound = bounds.prompt(self.data.measured.as_ref(), self.messages(), tools);
        // No request can be longer than the window and be answered.
        bound.min(self.data.head.context_window.unwrap_or(u64::MAX))
    }

    /// The sums of the Run's own requests so far.
    pub fn totals(&self) -> RunTotals {
        self.data.account.totals()
    }

    /// The same if no answer comes to a request that was under way: its prompt may be charged for.
    pub fn totals_at_rest(&self) -> RunTotals {
        self.data.account.totals_at_rest()
    }

    /// Begins the totals anew: what it holds at rest is on the job's account already.
    pub fn restart_totals(&mut self) {
        self.data.account.restart();
    }

    /// The reservation for the request that the machine asks for.
    pub fn reserved(&self) -> Option<&Reservation> {
        self.data.account.reserved()
    }

    /// The steps that the next request adds to the totals.
    pub fn uncounted_steps(&self) -> u64 {
        self.data.account.uncounted_steps(self.data.head.step_number)
    }

    /// Carries an arrow out: the events get their numbers and the step they belong to.
    fn follow(&mut self, reaction: Reaction) -> Transition {
        self.state = reaction.state;
        let Reaction { events, save: saves, action, .. } = reaction;
        if self.data.is_quiet {
            let made = u64::try_from(events.len()).unwrap_or(u64::MAX).saturating_add(take(&mut self.data.unseen));
            self.sequence = self.sequence.saturating_add(made);
            self.data.ids.skip(made);
            let save = if saves { events.into_iter().rev().find_map(save_of) } else { None };
            return Transition { events: Vec::new(), save, action };
        }
        let save = if saves { events.iter().rev().find_map(save_with) } else { None };
        let events = events.into_iter().map(|body| self.event(body)).collect();
        Transition { events, save, action }
    }

    fn event(&mut self, body: EventBody) -> Event {
        // The step that ends has its own number; the machine's head is one ahead by then.
        let step_number = match &body {
            EventBody::ContinueToNextStep { checkpoint, .. } => checkpoint.head.step_number,
            _ => self.data.head.step_number,
        };
        self.sequence += 1;
        Event {
            id: self.data.ids.id(),
            timestamp: self.data.ids.at(),
            job_id: self.data.head.job_id.clone(),
            run_id: self.data.head.run_id.clone(),
            expert_key: Some(self.data.head.expert.key.clone()),
            step_number: Some(step_number),
            sequence: Some(self.sequence),
            schema_version: SCHEMA_VERSION,
            body,
        }
    }
}

/// The checkpoint that an event carries, to be stored.
fn save_with(body: &EventBody) -> Option<Save> {
    let checkpoint = match body {
        EventBody::ContinueToNextStep { checkpoint, .. } => checkpoint,
        other => other.ending()?,
    };
    Some(Save { head: checkpoint.head.clone(), messages: checkpoint.messages })
}

/// The same of an event that nobody looks at.
fn save_of(body: EventBody) -> Option<Save> {
    match body {
        EventBody::ContinueToNextStep { checkpoint, .. } => {
            Some(Save { head: checkpoint.head, messages: checkpoint.messages })
        }
        other => save_with(&other),
    }
}
