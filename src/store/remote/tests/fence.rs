//! The fence, checked exhaustively: two processes that take one job, in every order of their requests, with every answer lost
//! in turn.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

use super::super::bucket::{PutEnd, get, put_once};
use super::super::owner::{Claimant, claim, release};
use super::super::segment::Segment;
use super::scripted::{Fault, Scripted};
use crate::store::StoreError;

/// The requests of both together.
const REQUESTS: u32 = 12;

/// The claims and segments of a process that were acknowledged.
#[derive(Default)]
struct Seen {
    epochs: Vec<u64>,
    segments: Vec<(u64, Bytes)>,
}

fn segment_at(n: u64) -> Path {
    Path::from(format!("segments/{n:03}"))
}

/// Takes the job, which a lease of nothing allows at once, seals it, and writes until it is fenced.
async fn work(bucket: &dyn ObjectStore, name: &str, seen: &RefCell<Seen>) -> Result<(), StoreError> {
    let job = "j1".parse().unwrap();
    let claimant =
        Claimant { job: &job, worker: name, nonce: name, lease: Duration::ZERO, takes_over: false, waits: &|_, _| {} };
    let (mut owned, before) = claim(bucket, &Path::from("owner.json"), &claimant).await?;
    let epoch = owned.record.epoch;
    seen.borrow_mut().epochs.push(epoch);
    let mut next = 0;
    while let Some((bytes, _)) = get(bucket, &segment_at(next)).await? {
        // As every owner does: a later one's segment shows that the job is lost.
        if Segment::decode(&bytes).unwrap().0.epoch > epoch {
            return Ok(());
        }
        next += 1;
    }
    let text = |is_seal, n: u64| {
        let segment =
            Segment { epoch, nonce: format!("{name} {n}"), after: String::new(), is_seal, changes: Vec::new() };
        segment.encode().unwrap().0
    };
    if before.is_some_and(|before| !before.released) {
        while put_once(bucket, &segment_at(next), text(true, next), || true).await? != PutEnd::Done {
            next += 1;
        }
        next += 1;
    }
    for n in next..next + 2 {
        let bytes = text(false, n);
        if put_once(bucket, &segment_at(n), bytes.clone(), || true).await? != PutEnd::Done {
            return Ok(());
        }
        seen.borrow_mut().segments.push((n, bytes));
    }
    release(bucket, &Path::from("owner.json"), &job, &mut owned).await
}

#[tokio::test(start_paused = true)]
async fn in_every_order_of_requests_nothing_follows_a_seal_and_no_epoch_has_two_owners() {
    let mut reached = BTreeSet::new();
    for lost in 0..6_usize {
        // The first request is the first process's: the other way around it is the same.
        for order in (0..1_u32 << REQUESTS).step_by(2) {
            let bucket = Scripted::new(Fault::AnswerLost, lost).gated();
            let seen = [RefCell::default(), RefCell::default()];
            let mut a = pin!(work(&bucket, "a", &seen[0]));
            let mut b = pin!(work(&bucket, "b", &seen[1]));
            let mut done = [false; 2];
            let mut context = Context::from_waker(Waker::noop());
            for at in 0..REQUESTS {
                let which = usize::from(order & (1 << at) != 0);
                if done[which] {
                    continue;
                }
                let polled = if which == 0 { a.as_mut().poll(&mut context) } else { b.as_mut().poll(&mut context) };
                done[which] = polled.is_ready();
                if bucket.has_failed() {
                    // For those that wait before they ask again.
                    tokio::time::advance(Duration::from_millis(60)).await;
                }
            }
            let mut segments = Vec::new();
            while let Ok(Some((bytes, _))) = get(&*bucket.memory, &segment_at(segments.len().try_into().unwrap())).await
            {
                segments.push(bytes);
            }
            let read: Vec<Segment> = segments.iter().map(|bytes| Segment::decode(bytes).unwrap().0).collect();
            let epochs: Vec<u64> = read.iter().map(|segment| segment.epoch).collect();
            // What an epoch puts behind another's seal would break this, and so would two chains beside each other.
            assert!(epochs.is_sorted(), "order {order:b}, lost {lost}: {epochs:?}");
            let (seen_a, seen_b) = (seen[0].borrow(), seen[1].borrow());
            let owners = seen_a.epochs.iter().chain(&seen_b.epochs);
            assert_eq!(owners.clone().count(), owners.collect::<BTreeSet<_>>().len(), "order {order:b}, lost {lost}");
            for (n, bytes) in seen_a.segments.iter().chain(&seen_b.segments) {
                assert_eq!(
                    segments.get(usize::try_from(*n).unwrap()),
                    Some(bytes),
                    "acknowledged: order {order:b}, lost {lost}"
                );
            }
            reached.insert((epochs.len(), read.iter().any(|segment| segment.is_seal), epochs.last().copied()));
        }
    }
    // The orders reach what they are for: two owners, with a seal between them, and segments on both sides of it.
    assert!(reached.contains(&(3, true, Some(2))), "{reached:?}");
}
