//! A Run's part in the budgets: what it set aside, and what its requests are charged with.
//!
//! The machine's handlers record here; the job's account ([`JobAccount`](super::JobAccount)) grants what is set aside.

use crate::budget::{Charge, Reached, Reservation};
use crate::cost::{Cost, Spend};
use crate::generation::FinishReason;
use crate::usage::Usage;

/// The sums of a Run's own requests, from its first fact on: nothing of the Runs that it continues, nothing of its
/// delegates. Sums over the Runs of a job are the job's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunTotals {
    /// As the provider reported.
    pub usage: Usage,
    pub spend: Spend,
    /// As budgets count: where the provider did not report, what was set aside.
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
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RunAccount {
    totals: RunTotals,
    /// For the request under way, or about to be sent.
    reserved: Option<Reservation>,
    /// The last step that is in the totals.
    counted_step: u64,
}

impl RunAccount {
    /// An account that counts the steps behind `step`.
    pub fn after_step(step: u64) -> Self {
        Self { counted_step: step, ..Self::default() }
    }

    pub fn totals(&self) -> RunTotals {
        self.totals
    }

    /// The totals if no answer comes to a request that was under way: its prompt may be charged for.
    pub fn totals_at_rest(&self) -> RunTotals {
        let open = self.reserved.as_ref().map(Reservation::prompt).unwrap_or_default();
        RunTotals { charged: self.totals.charged.plus(open), ..self.totals }
    }

    /// Begins the totals anew.
    pub fn restart(&mut self) {
        self.totals = RunTotals::default();
        self.reserved = None;
    }

    pub fn reserved(&self) -> Option<&Reservation> {
        self.reserved.as_ref()
    }

    /// The steps that a request in `step` adds to the totals.
    pub fn uncounted_steps(&self, step: u64) -> u64 {
        step.saturating_sub(self.counted_step)
    }

    /// Counts the steps up to `step`, in which the model is asked.
    pub fn count_step(&mut self, step: u64) {
        self.totals.steps = self.totals.steps.saturating_add(self.uncounted_steps(step));
        self.counted_step = step;
    }

    pub fn reserve(&mut self, reservation: &Reservation) {
        self.reserved = Some(reservation.clone());
    }

    /// Records what an answer took; `tokens` as far as the provider reported.
    pub fn record(&mut self, usage: Usage, spend: Spend, tokens: Option<u64>) {
        let reserved = self.reserved.take().map(|reserved| reserved.whole()).unwrap_or_default();
        let charge = Charge {
            tokens: tokens.unwrap_or(reserved.tokens),
            cost: if spend.is_complete { spend.cost } else { reserved.cost },
        };
        self.totals.usage = self.totals.usage.plus(usage);
        self.totals.charged = self.totals.charged.plus(charge);
    }

    pub fn add_spend(&mut self, spend: Spend) {
        self.totals.spend = self.totals.spend.plus(spend);
    }

    /// Charges a request that ended without an answer. `received`: the bytes of one that had come,
    /// `None` when it had not begun.
    pub fn break_off(&mut self, received: Option<u64>) {
        let Some(reserved) = self.reserved.take() else { return };
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
        self.totals.charged = self.totals.charged.plus(reserved.prompt()).plus(charge);
    }

    /// The budget that cut an answer off which ended with `finish`, if one did.
    pub fn cut_by(&self, finish: &FinishReason) -> Option<Reached> {
        let reserved = self.reserved.as_ref().filter(|_| *finish == FinishReason::Length)?;
        reserved.clamped_by.clone()
    }
}
