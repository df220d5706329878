//! An account that jobs on several machines share, checked exhaustively: two processes that draw on it, in every order of
//! their requests, with every answer lost in turn.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;

use super::super::account::{RemoteAccountRecord, change};
use super::super::bucket::get;
use super::scripted::{Fault, Scripted};
use crate::budget::{Budgets, Charge};
use crate::cost::Cost;
use crate::id::JobId;
use crate::store::StoreError;

/// The requests whose order is tried; those behind them come in turn.
const REQUESTS: u32 = 10;
/// Tokens that both may spend together.
const LIMIT: u64 = 100;
/// Tokens of a block.
const BLOCK: u64 = 40;

/// A process that draws for a job.
struct Drawer {
    job: JobId,
    epoch: u64,
    /// The job's spending before.
    before: u64,
    /// Tokens that it spends of each block.
    spends: u64,
    blocks: u64,
    /// Its lease, which the other one's first request ends if it takes the same job.
    owns: Cell<bool>,
}

/// The amounts that a process was granted, and that it has spent.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    has_entered: bool,
    granted: u64,
    spent: u64,
    is_fenced: bool,
}

fn charge(tokens: u64) -> Charge {
    Charge { tokens, cost: Cost::ZERO }
}

fn account() -> Path {
    Path::from("accounts/nightly.json")
}

fn total(record: &RemoteAccountRecord) -> u64 {
    record.blocks.values().map(|block| block.drawn).fold(record.spent, Charge::plus).tokens
}

impl Drawer {
    fn fenced(&self) -> StoreError {
        StoreError::Fenced { job: self.job.clone() }
    }

    /// As the runtime does: no put is sent without the lease.
    fn check(&self) -> Result<(), StoreError> {
        if self.owns.get() { Ok(()) } else { Err(self.fenced()) }
    }

    /// Enters, draws and spends, and gives back the rest.
    async fn work(&self, bucket: &dyn ObjectStore, seen: &RefCell<Seen>) -> Result<(), StoreError> {
        let Self { job, epoch, before, .. } = self;
        change(bucket, &account(), |record| {
            self.check()?;
            record.limits = Budgets { max_tokens: Some(LIMIT), ..Budgets::default() };
            record.enter(job, *epoch, charge(*before)).ok_or_else(|| self.fenced())
        })
        .await?;
        seen.borrow_mut().has_entered = true;
        for _ in 0..self.blocks {
            let spent = before + seen.borrow().spent;
            let path = account();
            let drawn = change(bucket, &path, |record| {
                self.check()?;
                let others: u64 = record.drawn_by_others(job).iter().map(|drawn| drawn.tokens).sum();
                if !record.report(job, *epoch, charge(spent), charge(0)) {
                    return Err(self.fenced());
                }
                let fits = record.spent.tokens + others + BLOCK <= LIMIT;
                record.report(job, *epoch, charge(spent), charge(if fits { BLOCK } else { 0 }));
                Ok(fits)
            });
            if drawn.await? {
                let mut seen = seen.borrow_mut();
                seen.granted += BLOCK;
                seen.spent += self.spends;
            }
        }
        let spent = charge(before + seen.borrow().spent);
        change(bucket, &account(), |record| {
            self.check()?;
            record.leave(job, *epoch, spent);
            Ok(())
        })
        .await
    }
}

/// Has two processes work in every order of their requests, with each of the first answers lost in turn. `look` sees the
/// account behind each request, and both ends.
async fn in_every_order(drawers: &[Drawer; 2], mut look: impl FnMut(&RemoteAccountRecord, [Seen; 2], [bool; 2])) {
    for lost in 0..6_usize {
        for order in 0..1_u32 << REQUESTS {
            let bucket = Scripted::new(Fault::AnswerLost, lost).gated();
            let seen: [RefCell<Seen>; 2] = [RefCell::default(), RefCell::default()];
            drawers[0].owns.set(true);
            let work = |n: usize| {
                let (bucket, seen) = (&bucket, &seen[n]);
                async move {
                    match drawers[n].work(bucket, seen).await {
                        Ok(()) => {}
                        Err(StoreError::Fenced { .. }) => seen.borrow_mut().is_fenced = true,
                        Err(error) => panic!("order {order:b}, lost {lost}: {error}"),
                    }
                }
            };
            let (mut a, mut b) = (pin!(work(0)), pin!(work(1)));
            let mut done = [false; 2];
            let mut context = Context::from_waker(Waker::noop());
            for at in 0..200 {
                let which = usize::try_from(if at < REQUESTS { order >> at & 1 } else { at & 1 }).unwrap();
                if done[which] {
                    continue;
                }
                if which == 1 && drawers[0].job == drawers[1].job {
                    drawers[0].owns.set(false);
                }
                let polled = if which == 0 { a.as_mut().poll(&mut context) } else { b.as_mut().poll(&mut context) };
                done[which] = polled.is_ready();
                if bucket.has_failed() {
                    // For those that wait before they ask again.
                    tokio::time::advance(Duration::from_millis(2100)).await;
                }
                if let Some((bytes, _)) = get(&*bucket.memory, &account()).await.unwrap() {
                    let record = serde_json::from_slice(&bytes).unwrap();
                    look(&record, [*seen[0].borrow(), *seen[1].borrow()], done);
                }
            }
            assert_eq!(done, [true; 2], "order {order:b}, lost {lost}: both come to an end");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_every_order_of_requests_jobs_of_two_machines_stay_within_the_limit_and_the_sum_is_exact() {
    let drawer = |job: &str, spends| Drawer {
        job: job.parse().unwrap(),
        epoch: 1,
        before: 0,
        spends,
        blocks: 2,
        owns: Cell::new(true),
    };
    let mut ends = std::collections::BTreeSet::new();
    in_every_order(&[drawer("j1", 40), drawer("j2", 25)], |record, [a, b], done| {
        assert!(total(record) <= LIMIT, "{record:?}");
        assert!(a.spent + b.spent <= LIMIT, "{a:?} {b:?}");
        if done == [true; 2] {
            assert!(!a.is_fenced && !b.is_fenced, "a lost answer is no fence");
            assert_eq!((record.spent.tokens, record.blocks.len()), (a.spent + b.spent, 0));
            ends.insert((a.granted, b.granted));
        }
    })
    .await;
    // The orders reach what they are for: either is the one that has more.
    assert!(ends.contains(&(80, 0)) && ends.contains(&(40, 80)), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn in_every_order_of_requests_the_next_owner_has_what_is_left_and_the_one_before_draws_nothing_more() {
    let job: JobId = "j1".parse().unwrap();
    // The second has found 10 tokens on record of what the first spent.
    let owns = || Cell::new(true);
    let first = Drawer { job: job.clone(), epoch: 1, before: 0, spends: 10, blocks: 2, owns: owns() };
    let next = Drawer { job: job.clone(), epoch: 2, before: 10, spends: 40, blocks: 2, owns: owns() };
    let mut granted_before: Option<u64> = None;
    let mut has_inherited = false;
    in_every_order(&[first, next], |record, [a, b], done| {
        assert!(total(record) <= LIMIT, "{record:?}");
        let epoch = record.blocks.get(&job).map(|block| block.epoch);
        if epoch == Some(2) || b.has_entered {
            let before = *granted_before.get_or_insert(a.granted);
            has_inherited |= before > 0 && epoch == Some(2);
            assert_eq!(a.granted, before, "who is fenced draws nothing more");
        } else {
            granted_before = None;
        }
        if done == [true; 2] {
            assert!(record.blocks.is_empty(), "{record:?}");
            granted_before = None;
        }
    })
    .await;
    assert!(has_inherited);
}
