//! [`JobBlock`]: the part of an account in an object store that one job has drawn, and what of it is used. Its requests are
//! granted from it without asking anybody, for as long as they fit.

use std::collections::BTreeMap;

use crate::budget::{Budgets, Charge, Reservation, Spent};
use crate::cost::Cost;
use crate::id::{AccountId, JobId, RunId};
use crate::machine::{JobAccount, ReservationRefusal, ReservationRequest};
use crate::store::StoreError;
use crate::store::remote::{AccountBlock, RemoteAccountRecord};

/// The requests like the present one that a block is drawn for beyond it. Our own choice: one change of the account for some
/// minutes of work.
const AHEAD: u64 = 8;
/// The part of what is free that is drawn beyond a request, at most. Our own choice: the nearer the wall, the less a job has
/// that it does not use.
const SHARE: u64 = 16;

/// A job's part of an account, and its use.
#[derive(Debug, Clone)]
pub struct JobBlock {
    account: AccountId,
    job: JobId,
    limits: Budgets,
    /// By the job in all.
    spent: Charge,
    /// Set aside for the requests under way.
    held: BTreeMap<RunId, Charge>,
    /// As the account has it.
    block: AccountBlock,
    /// It may have another: a change had no answer.
    is_doubtful: bool,
    /// The last request got less from the account than it asked for.
    is_scarce: bool,
}

impl JobBlock {
    /// The block of a job that has spent so much in all.
    pub fn new((account, limits): (AccountId, Budgets), job: JobId, spent: Charge, block: AccountBlock) -> Self {
        Self { account, job, limits, spent, held: BTreeMap::new(), block, is_doubtful: false, is_scarce: false }
    }

    /// The job that has it.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The owner of the job that draws.
    pub fn epoch(&self) -> u64 {
        self.block.epoch
    }

    /// Sets aside what a request may take at most, if the block has it.
    pub fn grant(&mut self, run: &RunId, request: &ReservationRequest) -> Option<Reservation> {
        if self.is_doubtful {
            return None;
        }
        let used = self.spent.minus(self.block.counted);
        let left = self.block.drawn.minus(used).minus(self.held());
        let limits = Budgets {
            max_cost: self.limits.max_cost.map(|_| left.cost),
            max_tokens: self.limits.max_tokens.map(|_| left.tokens),
            ..Budgets::default()
        };
        let granted = JobAccount::new(limits, Spent::default()).reserve(request).ok().flatten();
        // A block is no wall: who would get less than it asks for asks the account.
        let granted = granted.filter(|granted| granted.clamped_by.is_none())?;
        self.held.insert(run.clone(), granted.whole());
        Some(granted)
    }

    /// Charges a request that has ended. What was set aside for it is free again. Returns true if others may be short of it.
    pub fn settle(&mut self, run: &RunId, charge: Charge) -> bool {
        self.held.remove(run);
        self.spent = self.spent.plus(charge);
        self.is_scarce
    }

    /// The same block while it is not known how the account has it.
    pub fn doubt(&mut self) -> Self {
        self.is_doubtful = true;
        self.clone()
    }

    /// Sets aside on the account what a request of `run` may take, and some more for the next ones. The block as it is then.
    ///
    /// # Errors
    /// The block is another owner's by now, or the account has no limits any more.
    pub fn draw(
        mut self,
        record: &mut RemoteAccountRecord,
        run: &RunId,
        request: &ReservationRequest,
    ) -> Result<(Self, Result<Reservation, ReservationRefusal>), StoreError> {
        let others = record.drawn_by_others(&self.job);
        // At first the block is what its requests hold: the rest is in nobody's way.
        self.report(record)?;
        let limits = record.limits;
        let spent = Spent { tokens: record.spent.tokens, cost: record.spent.cost, ..Spent::default() };
        let in_use: Vec<Charge> = others.into_iter().chain(self.held.values().copied()).collect();
        let used = in_use.iter().copied().fold(record.spent, Charge::plus);
        let granted = match JobAccount::with_held(limits, spent, in_use).reserve(request) {
            Ok(Some(granted)) => Ok(granted),
            Ok(None) => return Err(StoreError::AccountWithoutLimits { account: self.account }),
            Err(refusal) => Err(refusal),
        };
        let block = self.own(record)?;
        block.waits = matches!(granted, Err(ReservationRefusal::Later));
        if let Ok(granted) = &granted {
            let whole = granted.whole();
            block.drawn = block.drawn.plus(whole).plus(ahead(&limits, used.plus(whole), whole));
        }
        let block = *block;
        if let Ok(granted) = &granted {
            self.held.insert(run.clone(), granted.whole());
            self.is_scarce = granted.clamped_by.is_some();
        }
        (self.limits, self.block, self.is_doubtful) = (limits, block, false);
        Ok((self, granted))
    }

    /// Gives back what is not used. The block as it is then.
    ///
    /// # Errors
    /// The block is another owner's by now.
    pub fn give_back(mut self, record: &mut RemoteAccountRecord) -> Result<Self, StoreError> {
        self.report(record)?;
        self.block = *self.own(record)?;
        self.is_doubtful = false;
        Ok(self)
    }

    /// Returns true if giving back changes anything.
    pub fn has_rest(&self) -> bool {
        self.is_doubtful || self.block.counted != self.spent || self.block.drawn != self.held()
    }

    fn held(&self) -> Charge {
        self.held.values().copied().fold(Charge::default(), Charge::plus)
    }

    /// Records what is spent, and makes the block what is held.
    fn report(&self, record: &mut RemoteAccountRecord) -> Result<(), StoreError> {
        if record.report(&self.job, self.block.epoch, self.spent, self.held()) { Ok(()) } else { Err(self.fenced()) }
    }

    fn own<'a>(&self, record: &'a mut RemoteAccountRecord) -> Result<&'a mut AccountBlock, StoreError> {
        record.blocks.get_mut(&self.job).ok_or_else(|| self.fenced())
    }

    fn fenced(&self) -> StoreError {
        StoreError::Fenced { job: self.job.clone() }
    }
}

/// The amounts that are drawn beyond a request which takes `whole`, when so much is used of the limits.
fn ahead(limits: &Budgets, used: Charge, whole: Charge) -> Charge {
    let part = |limit: Option<u64>, used: u64, whole: u64| {
        let wanted = whole.saturating_mul(AHEAD);
        limit.map_or(wanted, |limit| wanted.min(limit.saturating_sub(used) / SHARE))
    };
    let cost = part(limits.max_cost.map(Cost::picodollars), used.cost.picodollars(), whole.cost.picodollars());
    Charge { tokens: part(limits.max_tokens, used.tokens, whole.tokens), cost: Cost::from_picodollars(cost) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cost::{Price, Rates};

    const PRICE: Price =
        Price { rates: Rates { input: 1, cached_input: 1, cache_write: None, output: 5 }, long_prompts: None };
    const LIMIT: u64 = 200_000;

    fn job(n: usize) -> JobId {
        format!("job-{n}").parse().unwrap()
    }

    fn run(n: usize) -> RunId {
        format!("run-{n}").parse().unwrap()
    }

    fn request(prompt_tokens: u64, max_output_tokens: u64) -> ReservationRequest {
        ReservationRequest { steps: 1, prompt_tokens, max_output_tokens, price: Some(PRICE) }
    }

    fn tokens(tokens: u64) -> Charge {
        Charge { tokens, cost: Cost::from_picodollars(tokens) }
    }

    fn record() -> RemoteAccountRecord {
        let limits = Budgets {
            max_tokens: Some(LIMIT),
            max_cost: Some(Cost::from_picodollars(3 * LIMIT)),
            ..Budgets::default()
        };
        let mut record = RemoteAccountRecord::default();
        record.limits = limits;
        record
    }

    fn enter(record: &mut RemoteAccountRecord, n: usize, epoch: u64, spent: Charge) -> JobBlock {
        let block = record.enter(&job(n), epoch, spent).unwrap();
        JobBlock::new(("nightly".parse().unwrap(), record.limits), job(n), spent, block)
    }

    #[test]
    fn a_block_is_drawn_for_the_next_requests_too() {
        let mut account = record();
        let block = enter(&mut account, 0, 1, tokens(0));
        let (mut block, granted) = block.draw(&mut account, &run(0), &request(100, 900)).unwrap();
        assert_eq!(granted.unwrap().output_tokens, 900);
        assert_eq!(account.blocks[&job(0)].drawn.tokens, 9000);
        for _ in 0..8 {
            assert!(!block.settle(&run(0), tokens(1000)));
            assert!(block.grant(&run(0), &request(100, 900)).is_some());
        }
        block.settle(&run(0), tokens(1000));
        assert!(block.grant(&run(0), &request(100, 900)).is_none(), "the account is asked again");
        assert_eq!(account.spent.tokens, 0);
        let (_, granted) = block.draw(&mut account, &run(0), &request(100, 900)).unwrap();
        assert!(granted.is_ok());
        assert_eq!((account.spent.tokens, account.blocks[&job(0)].drawn.tokens), (9000, 9000));
    }

    #[test]
    fn who_waits_is_given_what_others_do_not_use() {
        let mut account = record();
        let one = enter(&mut account, 0, 1, tokens(0));
        let (mut one, _) = one.draw(&mut account, &run(0), &request(1000, 10_000)).unwrap();
        one.settle(&run(0), tokens(5000));
        assert!(one.has_rest());
        let two = enter(&mut account, 1, 1, tokens(0));
        let (two, granted) = two.draw(&mut account, &run(1), &request(180_000, 2000)).unwrap();
        assert_eq!(granted.unwrap_err(), ReservationRefusal::Later);
        assert!(account.is_waited_for(&job(0)) && !account.is_waited_for(&job(1)));
        let one = one.give_back(&mut account).unwrap();
        assert!(!one.has_rest());
        assert_eq!((account.spent.tokens, account.blocks[&job(0)].drawn.tokens), (5000, 0));
        let (_, granted) = two.draw(&mut account, &run(1), &request(180_000, 2000)).unwrap();
        assert!(granted.is_ok() && !account.is_waited_for(&job(0)));
    }

    #[test]
    fn the_next_owner_has_what_is_left_and_the_one_before_draws_nothing_more() {
        let mut account = record();
        let first = enter(&mut account, 0, 1, tokens(0));
        let (first, _) = first.draw(&mut account, &run(0), &request(100, 900)).unwrap();
        // Its records have one request of 700.
        let mut next = enter(&mut account, 0, 2, tokens(700));
        assert_eq!((account.spent.tokens, account.blocks[&job(0)].drawn.tokens), (700, 8300));
        assert!(next.grant(&run(0), &request(100, 900)).is_some(), "without asking");
        let error = first.clone().draw(&mut account, &run(0), &request(100, 900)).unwrap_err();
        assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
        assert!(matches!(first.give_back(&mut account).unwrap_err(), StoreError::Fenced { .. }));
        assert!(account.enter(&job(0), 1, tokens(0)).is_none() && !account.leave(&job(0), 1, tokens(9)));
        assert!(account.leave(&job(0), 2, tokens(1500)) && account.blocks.is_empty());
        assert_eq!(account.spent.tokens, 1500);
    }

    #[test]
    fn jobs_that_hold_nothing_are_in_nobodys_way_near_the_wall() {
        let mut account = record();
        account.spent = tokens(LIMIT - 3000);
        let waiting = enter(&mut account, 0, 1, tokens(0));
        drop(waiting.draw(&mut account, &run(0), &request(3000, 2000)).unwrap());
        let block = enter(&mut account, 1, 1, tokens(0));
        let (_, granted) = block.draw(&mut account, &run(1), &request(100, 64_000)).unwrap();
        assert_eq!(granted.unwrap().output_tokens, 2900, "less than is ample, and all that there is");
    }

    /// A job of the model: what its records have, and its process.
    struct Drawing {
        epoch: u64,
        recorded: Charge,
        block: Option<JobBlock>,
        held: BTreeMap<RunId, Charge>,
    }

    /// A world of jobs that ask, spend, are killed, go on elsewhere, and end. Changes of the account may lose their answer.
    fn play(bytes: &[u8]) {
        let mut bytes = bytes.iter().map(|byte| u64::from(*byte)).chain(std::iter::repeat_n(0, 8));
        let mut pick = |n: u64| bytes.next().unwrap_or(0) % n;
        let mut account = record();
        let mut jobs: Vec<Drawing> = (0..4)
            .map(|_| Drawing { epoch: 0, recorded: Charge::default(), block: None, held: BTreeMap::new() })
            .collect();
        for _ in 0..120 {
            let n = usize::try_from(pick(4)).unwrap();
            let run = run(n * 2 + usize::try_from(pick(2)).unwrap());
            let Drawing { epoch, recorded, block, held } = &mut jobs[n];
            let Some(own) = block else {
                *epoch += 1;
                *block = Some(enter(&mut account, n, *epoch, *recorded));
                continue;
            };
            match pick(8) {
                // Killed with its requests under way, of which nothing is on record.
                0 => {
                    *block = None;
                    held.clear();
                }
                1 => {
                    account.leave(&job(n), *epoch, *recorded);
                    *block = None;
                    held.clear();
                }
                2 => *own = own.doubt().give_back(&mut account).unwrap(),
                // The change is made, and nobody hears of it.
                3 => drop(own.doubt().give_back(&mut account).unwrap()),
                4 => drop(own.doubt().draw(&mut account, &run, &request(100 + pick(9) * 50, 2000)).unwrap()),
                _ => {
                    if let Some(whole) = held.remove(&run) {
                        let charge = Charge {
                            tokens: whole.tokens * pick(100) / 100,
                            cost: Cost::from_picodollars(whole.cost.picodollars() * pick(100) / 100),
                        };
                        own.settle(&run, charge);
                        *recorded = recorded.plus(charge);
                        continue;
                    }
                    let request = request(1 + pick(20) * 100, 1 + pick(30) * 500);
                    let granted = own.grant(&run, &request).or_else(|| {
                        let (drawn, granted) = own.doubt().draw(&mut account, &run, &request).unwrap();
                        *own = drawn;
                        granted.ok()
                    });
                    if let Some(granted) = granted {
                        held.insert(run, granted.whole());
                    }
                }
            }
            let under_way =
                jobs.iter().flat_map(|job| job.held.values().copied()).fold(Charge::default(), Charge::plus);
            let spent = jobs.iter().map(|job| job.recorded).fold(Charge::default(), Charge::plus);
            let worst = spent.plus(under_way);
            assert!(worst.tokens <= LIMIT && worst.cost.picodollars() <= 3 * LIMIT, "the wall: {worst:?}");
            let blocks = account.blocks.values().map(|block| block.drawn).fold(account.spent, Charge::plus);
            assert!(blocks.tokens <= LIMIT && blocks.cost.picodollars() <= 3 * LIMIT, "the account: {blocks:?}");
        }
        for (n, Drawing { epoch, recorded, .. }) in jobs.iter().enumerate() {
            enter(&mut account, n, epoch + 1, *recorded);
            assert!(account.leave(&job(n), epoch + 1, *recorded));
        }
        let spent = jobs.iter().map(|job| job.recorded).fold(Charge::default(), Charge::plus);
        assert_eq!((account.spent, account.blocks.len()), (spent, 0), "exactly what the records have");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_world_passes_a_limit_or_loses_count(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            play(&bytes);
        }
    }
}
