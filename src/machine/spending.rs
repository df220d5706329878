//! A Run's part in the budgets: what it set aside, what its requests are charged with, and the stops that follow.

use crate::budget::{Charge, Reached, Reservation};
use crate::checkpoint::Status;
use crate::content::{Content, ExpertPart, ResultPart};
use crate::cost::{Cost, Spend};
use crate::event::EventBody;
use crate::generation::{FinishReason, Generation};
use crate::machine::calls::Turn;
use crate::machine::run::{Reaction, RunMachine};
use crate::message::Message;
use crate::usage::Usage;

/// What a Run's own requests came to, from its first fact on: nothing of the Runs that it continues, nothing of its
/// delegates. Sums over the Runs of a job are the job's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunTotals {
    /// As the provider told.
    pub usage: Usage,
    pub spend: Spend,
    /// As budgets count: where the provider did not tell, what was set aside.
    pub charged: Charge,
    /// Steps in which the model was asked, and those that led to them.
    pub steps: u64,
}

impl RunTotals {
    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            usage: self.usage.plus(other.usage),
            spend: self.spend.plus(other.spend),
            charged: self.charged.plus(other.charged),
            steps: self.steps.saturating_add(other.steps),
        }
    }
}

/// The Run's account while it goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct RunAccount {
    pub totals: RunTotals,
    /// For the request under way, or about to be sent.
    pub reserved: Option<Reservation>,
    /// The last step that is in the totals.
    pub counted_step: u64,
}

impl RunMachine {
    /// What the Run's own requests came to so far.
    pub fn totals(&self) -> RunTotals {
        self.account.totals
    }

    /// The same if nothing more is heard of a request that was under way: its prompt may be charged for.
    pub fn totals_at_rest(&self) -> RunTotals {
        let open = self.account.reserved.as_ref().map(Reservation::prompt).unwrap_or_default();
        let totals = self.account.totals;
        RunTotals { charged: totals.charged.plus(open), ..totals }
    }

    /// Begins the totals anew: what it holds at rest is on the job's account already.
    pub fn restart_totals(&mut self) {
        self.account.totals = RunTotals::default();
        self.account.reserved = None;
    }

    /// What is set aside for the request that the machine asks for.
    pub fn reserved(&self) -> Option<&Reservation> {
        self.account.reserved.as_ref()
    }

    /// Steps that the next request adds to the totals.
    pub fn uncounted_steps(&self) -> u64 {
        self.head.step_number.saturating_sub(self.account.counted_step)
    }

    /// The model is asked, or has been.
    pub(super) fn count_step(&mut self) {
        self.account.totals.steps = self.account.totals.steps.saturating_add(self.uncounted_steps());
        self.account.counted_step = self.head.step_number;
    }

    pub(super) fn reserve(&mut self, reservation: &Reservation) {
        self.count_step();
        self.account.reserved = Some(reservation.clone());
    }

    /// Enters what an answer took; `tokens` as far as the provider told.
    pub(super) fn record(&mut self, usage: Usage, spend: Spend, tokens: Option<u64>) {
        self.count_step();
        let reserved = self.account.reserved.take().map(|reserved| reserved.whole()).unwrap_or_default();
        let charge = Charge {
            tokens: tokens.unwrap_or(reserved.tokens),
            cost: if spend.is_complete { spend.cost } else { reserved.cost },
        };
        self.account.totals.usage = self.account.totals.usage.plus(usage);
        self.account.totals.charged = self.account.totals.charged.plus(charge);
        self.charge(spend);
    }

    /// The request ended without an answer. `received`: how many bytes of one had come, `None` when it had not begun.
    pub(super) fn break_off(&mut self, received: Option<u64>) {
        let Some(reserved) = self.account.reserved.take() else { return };
        let Some(bytes) = received else { return };
        // Of what came, as of all text, two bytes are a token at most; what was reserved for it bounds it.
        let share = bytes.div_ceil(2).min(reserved.output_tokens);
        let answer = reserved.whole().minus(reserved.prompt());
        let charge = Charge {
            tokens: share,
            cost: Cost::from_picodollars(
                // At most the whole, so that it fits.
                u64::try_from(
                    u128::from(answer.cost.picodollars()) * u128::from(share)
                        / u128::from(reserved.output_tokens.max(1)),
                )
                .unwrap_or(u64::MAX),
            ),
        };
        self.account.totals.charged = self.account.totals.charged.plus(reserved.prompt()).plus(charge);
    }

    /// The budget that cut this answer off, if one did: the rest of it is worth more than a retry.
    pub(super) fn cut_by_budget(&self, generation: &Generation) -> Option<Reached> {
        let reserved = self.account.reserved.as_ref().filter(|_| generation.finish == FinishReason::Length)?;
        reserved.clamped_by.clone()
    }

    /// A budget of the job is used up while the model is asked, or is to be.
    pub(super) fn reach_while_asking(&mut self, reached: &Reached) -> Reaction {
        // Time passes while a request is under way; everything else is reached before one is sent.
        if self.account.reserved.is_some() || matches!(reached, Reached::Duration { .. }) {
            self.give_up();
        }
        self.reach(reached, &Turn::default())
    }

    /// A budget of the job is used up. `turn`: the calls that were being answered.
    pub(super) fn reach(&mut self, reached: &Reached, turn: &Turn) -> Reaction {
        self.leave_open(turn);
        self.stop_by_budget(reached.clone())
    }

    pub(super) fn stop_by_budget(&mut self, reached: Reached) -> Reaction {
        let status = Status::for_budget(&reached);
        self.head.budget = Some(reached.clone());
        self.stop(status, |checkpoint, step| match status {
            Status::StoppedByExceededMaxSteps => EventBody::StopRunByExceededMaxSteps { checkpoint, step },
            _ => EventBody::StopRunByBudget { checkpoint, step, reached },
        })
    }

    /// Whether the turn that has just ended repeats those before it once too often.
    pub(super) fn repetition(&self) -> Option<Reached> {
        let limit = self.parameters.max_tool_repetitions?;
        let Some((Message::ToolMessage { contents: results, .. }, before)) = self.messages.split_last() else {
            return None;
        };
        let latest = answered(before, results)?;
        let turns = || {
            let mut rest = self.messages.as_slice();
            std::iter::from_fn(move || {
                let (Message::ToolMessage { contents, .. }, before) = rest.split_last()? else { return None };
                let turn = answered(before, contents)?;
                rest = before.get(..before.len().saturating_sub(1))?;
                Some(turn)
            })
        };
        latest.iter().find_map(|one| {
            let count = |turn: &Vec<Answered<'_>>| turn.iter().filter(|other| other.is_like(one)).count();
            let mut times: u64 = 0;
            for found in turns().map(|turn| count(&turn)).take_while(|found| *found > 0) {
                times = times.saturating_add(u64::try_from(found).unwrap_or(u64::MAX));
                if times >= limit {
                    return Some(Reached::ToolRepetitions { limit, tool_name: one.tool_name.to_owned() });
                }
            }
            None
        })
    }
}

/// A call with its answer.
struct Answered<'a> {
    tool_name: &'a str,
    args: &'a serde_json::Value,
    contents: &'a [Content],
    is_error: bool,
}

impl Answered<'_> {
    /// The same but for ids.
    fn is_like(&self, other: &Self) -> bool {
        let without_ids = |contents: &[Content]| {
            let mut contents = contents.to_vec();
            for part in &mut contents {
                part.id_mut().clear();
            }
            contents
        };
        self.tool_name == other.tool_name
            && self.args == other.args
            && self.is_error == other.is_error
            && self.contents.len() == other.contents.len()
            && without_ids(self.contents) == without_ids(other.contents)
    }
}

/// The calls of the message before these results, with them.
fn answered<'a>(before: &'a [Message], results: &'a [ResultPart]) -> Option<Vec<Answered<'a>>> {
    let Message::ExpertMessage { contents, .. } = before.last()? else { return None };
    let call = |id: &str| {
        contents.iter().find_map(|part| match part {
            ExpertPart::ToolCallPart { tool_call_id, args, .. } if tool_call_id == id => Some(args),
            _ => None,
        })
    };
    results
        .iter()
        .map(|ResultPart::ToolResultPart { tool_call_id, tool_name, contents, is_error, .. }| {
            Some(Answered { tool_name, args: call(tool_call_id)?, contents, is_error: *is_error })
        })
        .collect()
}
