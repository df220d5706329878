//! [`JobAccount`]: the account of a job's budgets, with what is spent, what is set aside for requests under way, and the
//! Runs that wait for some of that to come back. The runtime's budget server owns one and passes requests to it.
//!
//! No request is sent without its worst case set aside, so that together they never pass a limit. A Run that asks for
//! more than there is waits while others hold something, since each of them will use less than was set aside. It is
//! never held up for ever: who waits holds nothing, every holder has one request under way, and requests end; when the
//! last has, the first who waits gets what there is, or is refused. One refusal ends the job: later requests get the same refusal.

use std::collections::{BTreeMap, VecDeque};

use crate::budget::{Budgets, Charge, Reached, Reservation, Spent};
use crate::cost::{Cost, Price};
use crate::id::RunId;

/// The least room for an answer that a request is sent with, in tokens, unless the model has less. Our own choice: a tool
/// call with a few lines of arguments; an answer that is cut off was paid for in vain.
pub const MIN_OUTPUT: u64 = 1024;
/// Room for an answer, in tokens, with which a request is sent although waiting for others would give more. Our own
/// choice: few answers are longer.
const AMPLE_OUTPUT: u64 = 16_384;

/// The most that a request can use, as a Run states it before it sends one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationRequest {
    /// Steps that the Run has begun and that were not counted yet.
    pub steps: u64,
    /// The most tokens that the prompt can have.
    pub prompt_tokens: u64,
    /// The most tokens that the model answers with.
    pub max_output_tokens: u64,
    /// The model's.
    pub price: Option<Price>,
}

/// The answer to a [`ReservationRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationOutcome {
    /// The request may be sent. With what was set aside, where anything has to be.
    Granted(Option<Reservation>),
    /// The request may not be sent, nor any other.
    Refused(Reached),
}

/// An answer, with the Run that it is for.
pub type ReservationDecision = (RunId, ReservationOutcome);

/// The reason for which nothing is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationRefusal {
    /// The request would fit if others gave back what they will not use.
    Later,
    /// The request does not fit.
    Never(Reached),
}

/// The account of one job. Runs ask, hold what they are granted, and settle; decisions come in the order of requests.
#[derive(Debug, Clone)]
pub struct JobAccount {
    limits: Budgets,
    spent: Spent,
    held: BTreeMap<RunId, Charge>,
    /// Set aside by others that draw on the same account.
    held_beside: Vec<Charge>,
    waiting: VecDeque<(RunId, ReservationRequest)>,
    closed: Option<Reached>,
}

impl JobAccount {
    /// An account of which `spent` is used already.
    pub fn new(limits: Budgets, spent: Spent) -> Self {
        let (held, held_beside) = (BTreeMap::new(), Vec::new());
        Self { limits, spent, held, held_beside, waiting: VecDeque::new(), closed: None }
    }

    /// As [`JobAccount::new`], with what others hold: the account as it is for a request beside theirs.
    pub fn with_held(limits: Budgets, spent: Spent, held_beside: Vec<Charge>) -> Self {
        Self { held_beside, ..Self::new(limits, spent) }
    }

    /// The sum of what is spent, without what is set aside.
    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// The sum of what is set aside for requests under way.
    pub fn reserved(&self) -> Charge {
        self.held.values().chain(&self.held_beside).copied().fold(Charge::default(), Charge::plus)
    }

    /// The number of Runs that wait for others.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes in the request of a Run that holds nothing. The decisions may be for others, or none yet.
    pub fn ask(&mut self, run: RunId, request: ReservationRequest) -> Vec<ReservationDecision> {
        self.waiting.push_back((run, request));
        self.decide()
    }

    /// Charges the request of a Run, which has ended. What was set aside for it is free again.
    pub fn settle(&mut self, run: &RunId, charge: Charge) -> Vec<ReservationDecision> {
        self.held.remove(run);
        self.spent.tokens = self.spent.tokens.saturating_add(charge.tokens);
        self.spent.cost = self.spent.cost.plus(charge.cost);
        self.decide()
    }

    /// Forgets the request of a Run that sends none after all: it no longer waits, and what it holds is free again.
    pub fn release(&mut self, run: &RunId) -> Vec<ReservationDecision> {
        self.held.remove(run);
        self.waiting.retain(|(other, _)| other != run);
        self.decide()
    }

    /// Grants nothing from here on.
    pub fn close(&mut self, reached: Reached) -> Vec<ReservationDecision> {
        self.closed.get_or_insert(reached);
        self.decide()
    }

    /// Answers those who wait, in the order in which they came, as far as they can be answered.
    fn decide(&mut self) -> Vec<ReservationDecision> {
        let mut decisions = Vec::new();
        while let Some((run, request)) = self.waiting.pop_front() {
            match self.reserve(&request) {
                Ok(reservation) => {
                    self.spent.steps = self.spent.steps.saturating_add(request.steps);
                    if let Some(reservation) = &reservation {
                        self.held.insert(run.clone(), reservation.whole());
                    }
                    decisions.push((run, ReservationOutcome::Granted(reservation)));
                }
                Err(ReservationRefusal::Later) => {
                    self.waiting.push_front((run, request));
                    break;
                }
                Err(ReservationRefusal::Never(reached)) => {
                    self.closed = Some(reached.clone());
                    decisions.push((run, ReservationOutcome::Refused(reached)));
                }
            }
        }
        decisions
    }

    /// The reservation for `request` as things are now.
    ///
    /// # Errors
    /// [`ReservationRefusal`].
    pub fn reserve(&self, request: &ReservationRequest) -> Result<Option<Reservation>, ReservationRefusal> {
        if let Some(reached) = &self.closed {
            return Err(ReservationRefusal::Never(reached.clone()));
        }
        if let Some(limit) = self.limits.max_steps
            && self.spent.steps.saturating_add(request.steps) > limit
        {
            return Err(ReservationRefusal::Never(Reached::Steps { limit, spent: self.spent.steps }));
        }
        if !self.limits.are_reserved() {
            return Ok(None);
        }
        let most = request.max_output_tokens;
        let least = most.min(MIN_OUTPUT);
        let spent = Charge { tokens: self.spent.tokens, cost: self.spent.cost };
        let (now, at_last) = (self.room(spent.plus(self.reserved())), self.room(spent));
        if let Some(reached) = self.too_much(request, least, at_last) {
            return Err(ReservationRefusal::Never(reached));
        }
        let enough = if self.held.is_empty() && self.held_beside.is_empty() { least } else { most.min(AMPLE_OUTPUT) };
        if self.too_much(request, enough, now).is_some() {
            return Err(ReservationRefusal::Later);
        }
        // The longest answer that fits, between one that does and one more than the model gives.
        let (mut fits, mut beyond) = (enough, most.saturating_add(1));
        while fits.saturating_add(1) < beyond {
            let middle = fits.midpoint(beyond);
            if self.too_much(request, middle, now).is_none() { fits = middle } else { beyond = middle }
        }
        let clamped_by = if fits < most { self.too_much(request, fits.saturating_add(1), now) } else { None };
        let charge = request.charge(fits);
        Ok(Some(Reservation {
            prompt_tokens: request.prompt_tokens,
            prompt_cost: request.charge(0).cost,
            output_tokens: fits,
            cost: charge.cost,
            clamped_by,
        }))
    }

    /// The rest of each limit when `used` is gone; as much as there can be where there is no limit.
    fn room(&self, used: Charge) -> Charge {
        let most = Charge { tokens: u64::MAX, cost: Cost::from_picodollars(u64::MAX) };
        Charge {
            tokens: self.limits.max_tokens.map_or(most, |tokens| Charge { tokens, ..most }.minus(used)).tokens,
            cost: self.limits.max_cost.map_or(most, |cost| Charge { cost, ..most }.minus(used)).cost,
        }
    }

    /// The budget that `request` with an answer of `output` tokens does not fit into.
    fn too_much(&self, request: &ReservationRequest, output: u64, room: Charge) -> Option<Reached> {
        let wanted = request.charge(output);
        if let Some(limit) = self.limits.max_cost.filter(|_| wanted.cost > room.cost) {
            return Some(Reached::Cost { limit, spent: self.spent.cost, next: wanted.cost });
        }
        let limit = self.limits.max_tokens.filter(|_| wanted.tokens > room.tokens)?;
        Some(Reached::Tokens { limit, spent: self.spent.tokens, next: wanted.tokens })
    }
}

impl ReservationRequest {
    /// The most that the request can use when its answer has at most `output` tokens.
    fn charge(&self, output: u64) -> Charge {
        let cost = self.price.map_or(Cost::ZERO, |price| price.ceiling(self.prompt_tokens, output));
        Charge { tokens: self.prompt_tokens.saturating_add(output), cost }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::cost::{LongPrompts, Rates};

    /// A picodollar a token of the prompt, five of the answer; dearer from 5000 on.
    const PRICE: Price = Price {
        rates: Rates { input: 1, cached_input: 1, cache_write: None, output: 5 },
        long_prompts: Some(LongPrompts {
            over: 5000,
            rates: Rates { input: 2, cached_input: 1, cache_write: Some(3), output: 8 },
        }),
    };

    fn run(n: usize) -> RunId {
        format!("run-{n}").parse().unwrap()
    }

    fn request(prompt_tokens: u64, max_output_tokens: u64) -> ReservationRequest {
        ReservationRequest { steps: 1, prompt_tokens, max_output_tokens, price: Some(PRICE) }
    }

    fn tokens(limit: u64) -> Budgets {
        Budgets { max_tokens: Some(limit), ..Budgets::default() }
    }

    fn granted(decisions: &[ReservationDecision]) -> Vec<(&str, u64, bool)> {
        let grant = |(run, outcome): &'_ ReservationDecision| match outcome {
            ReservationOutcome::Granted(Some(held)) => (held.output_tokens, held.clamped_by.is_some()),
            other => panic!("{run}: {other:?}"),
        };
        decisions.iter().map(|decision| (decision.0.as_str(), grant(decision).0, grant(decision).1)).collect()
    }

    #[test]
    fn an_answer_gets_what_is_left_but_no_less_than_it_needs() {
        let mut account = JobAccount::new(tokens(10_000), Spent::default());
        assert_eq!(granted(&account.ask(run(0), request(1000, 4000))), [("run-0", 4000, false)]);
        assert_eq!(account.settle(&run(0), Charge { tokens: 4000, cost: Cost::ZERO }), []);
        assert_eq!(granted(&account.ask(run(0), request(4000, 4000))), [("run-0", 2000, true)]);
        assert_eq!(account.settle(&run(0), Charge { tokens: 6000, cost: Cost::ZERO }), []);
        let reached = Reached::Tokens { limit: 10_000, spent: 10_000, next: 1025 };
        assert_eq!(account.ask(run(0), request(1, 4000)), [(run(0), ReservationOutcome::Refused(reached))]);
    }

    #[test]
    fn who_does_not_fit_waits_for_those_who_hold_and_is_then_served_in_turn() {
        let mut account = JobAccount::new(tokens(10_000), Spent::default());
        assert_eq!(granted(&account.ask(run(0), request(1000, 8000))), [("run-0", 8000, false)]);
        assert_eq!(account.ask(run(1), request(1000, 8000)), []);
        assert_eq!(account.ask(run(2), request(10, 100)), [], "nobody overtakes");
        let decisions = account.settle(&run(0), Charge { tokens: 1100, cost: Cost::ZERO });
        assert_eq!(granted(&decisions), [("run-1", 7900, true)]);
        let decisions = account.settle(&run(1), Charge { tokens: 1100, cost: Cost::ZERO });
        assert_eq!(granted(&decisions), [("run-2", 100, false)]);
    }

    #[test]
    fn what_can_never_fit_is_refused_at_once_and_ends_the_job_for_all() {
        let mut account = JobAccount::new(tokens(10_000), Spent::default());
        assert_eq!(account.ask(run(0), request(1000, 8000)).len(), 1);
        assert_eq!(account.ask(run(1), request(1000, 8000)), []);
        let refused = account.ask(run(2), request(20_000, 10));
        assert_eq!(refused, [], "in its turn");
        let decisions = account.settle(&run(0), Charge { tokens: 9000, cost: Cost::ZERO });
        let verdicts: Vec<bool> =
            decisions.iter().map(|(_, outcome)| matches!(outcome, ReservationOutcome::Refused(_))).collect();
        assert_eq!(verdicts, [true, true]);
        assert!(matches!(&account.ask(run(3), request(1, 1))[..], [(_, ReservationOutcome::Refused(_))]));
    }

    #[test]
    fn steps_are_counted_over_all_runs() {
        let limits = Budgets { max_steps: Some(3), ..Budgets::default() };
        let mut account = JobAccount::new(limits, Spent { steps: 1, ..Spent::default() });
        for n in 0..2 {
            assert_eq!(account.ask(run(n), request(1, 1)), [(run(n), ReservationOutcome::Granted(None))]);
        }
        // The same step's request again.
        let again = ReservationRequest { steps: 0, ..request(1, 1) };
        assert_eq!(account.ask(run(0), again), [(run(0), ReservationOutcome::Granted(None))]);
        let reached = Reached::Steps { limit: 3, spent: 3 };
        assert_eq!(account.ask(run(1), request(1, 1)), [(run(1), ReservationOutcome::Refused(reached))]);
    }

    /// A world in which Runs come, ask, spend, fail, are killed, and go on under the same or a larger limit.
    fn play(bytes: &[u8]) {
        let mut bytes = bytes.iter().map(|byte| u64::from(*byte)).chain(std::iter::repeat_n(0, 8));
        let mut pick = |n: u64| bytes.next().unwrap_or(0) % n;
        let limits = |factor: u64| Budgets {
            max_cost: Some(Cost::from_picodollars(100_000 * factor)),
            max_tokens: Some(30_000 * factor),
            ..Budgets::default()
        };
        let mut factor = 1;
        let mut account = JobAccount::new(limits(1), Spent::default());
        // The log: what each request was charged with, and what is set aside for those under way.
        let mut recorded = Charge::default();
        let mut held: BTreeMap<RunId, Reservation> = BTreeMap::new();
        let mut asking: BTreeSet<RunId> = BTreeSet::new();
        for _ in 0..60 {
            let who = run(usize::try_from(pick(6)).unwrap());
            let mut decisions = Vec::new();
            match (pick(9), held.get(&who).cloned()) {
                (0, Some(_)) => {
                    held.remove(&who);
                    decisions = account.release(&who);
                }
                (kind, Some(reservation)) => {
                    held.remove(&who);
                    let whole = reservation.whole();
                    // All of it, some of it, the estimate where usage was not reported, the prompt of a broken answer.
                    let charge = match kind {
                        1..=3 => whole,
                        4 => reservation.prompt(),
                        _ => {
                            let tokens = whole.tokens * pick(100) / 100;
                            Charge { tokens, cost: Cost::from_picodollars(whole.cost.picodollars() * pick(100) / 100) }
                        }
                    };
                    recorded = recorded.plus(charge);
                    decisions = account.settle(&who, charge);
                }
                (8, None) if pick(3) == 0 => {
                    // Killed: what was under way is charged with its prompt, and nothing stays set aside.
                    for reservation in std::mem::take(&mut held).into_values() {
                        recorded = recorded.plus(reservation.prompt());
                    }
                    asking.clear();
                    factor += pick(2);
                    let spent = Spent { tokens: recorded.tokens, cost: recorded.cost, ..Spent::default() };
                    account = JobAccount::new(limits(factor), spent);
                }
                (7, None) if asking.remove(&who) => decisions = account.release(&who),
                (_, None) if !asking.contains(&who) => {
                    asking.insert(who.clone());
                    decisions = account.ask(who, request(1 + pick(40) * 200, 1 + pick(60) * 400));
                }
                _ => {}
            }
            for (run, outcome) in decisions {
                assert!(asking.remove(&run), "only who asks is answered");
                match outcome {
                    ReservationOutcome::Granted(Some(reservation)) => {
                        assert!(reservation.output_tokens >= 1);
                        held.insert(run, reservation);
                    }
                    ReservationOutcome::Granted(None) => panic!("nothing was set aside"),
                    ReservationOutcome::Refused(_) => {}
                }
            }
            let under_way = held.values().map(Reservation::whole).fold(Charge::default(), Charge::plus);
            assert_eq!(account.reserved(), under_way, "nothing leaks");
            assert_eq!((account.spent().tokens, account.spent().cost), (recorded.tokens, recorded.cost));
            let worst = recorded.plus(under_way);
            assert!(worst.tokens <= 30_000 * factor && worst.cost.picodollars() <= 100_000 * factor, "the wall");
            assert_eq!(account.waiting(), asking.len());
            assert!(asking.is_empty() || !held.is_empty(), "nobody waits for nothing");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_world_passes_a_limit_leaks_a_reservation_or_comes_to_a_standstill(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            play(&bytes);
        }
    }
}
