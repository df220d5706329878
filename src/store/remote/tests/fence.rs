//! The fence, checked exhaustively: two processes that take one job, in every order of their requests, with every answer lost
//! in turn.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::super::bucket::{PutEnd, get, put_once};
use super::super::owner::{Claimant, claim, release};
use super::super::segment::Segment;
use crate::store::StoreError;

/// The requests of both together.
const REQUESTS: u32 = 12;

/// An object store that performs a request only at the second look: who looks decides the order.
struct Gated {
    memory: Arc<InMemory>,
    /// The put whose answer is lost.
    lost: usize,
    puts: Arc<AtomicUsize>,
}

struct Gate(bool);

impl Future for Gate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gated")
    }
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gated")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Gated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        Gate(false).await;
        let put = self.memory.put_opts(location, payload, options).await;
        if self.puts.fetch_add(1, Ordering::SeqCst) == self.lost {
            return Err(Error::Generic { store: "gated", source: "no answer".into() });
        }
        put
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("nothing is put in parts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        Gate(false).await;
        self.memory.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

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
async fn work(bucket: &dyn ObjectStore, name: &str, seen: &std::cell::RefCell<Seen>) -> Result<(), StoreError> {
    let job = "j1".parse().unwrap();
    let claimant = Claimant { job: &job, worker: name, nonce: name, lease: Duration::ZERO, waits: &|_, _| {} };
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
            let memory = Arc::new(InMemory::new());
            let puts = Arc::new(AtomicUsize::new(0));
            let gated = || Gated { memory: Arc::clone(&memory), lost, puts: Arc::clone(&puts) };
            let (bucket_a, bucket_b) = (gated(), gated());
            let seen = [std::cell::RefCell::default(), std::cell::RefCell::default()];
            let mut a = pin!(work(&bucket_a, "a", &seen[0]));
            let mut b = pin!(work(&bucket_b, "b", &seen[1]));
            let mut done = [false; 2];
            let mut context = Context::from_waker(Waker::noop());
            for at in 0..REQUESTS {
                let which = usize::from(order & (1 << at) != 0);
                if done[which] {
                    continue;
                }
                let polled = if which == 0 { a.as_mut().poll(&mut context) } else { b.as_mut().poll(&mut context) };
                done[which] = polled.is_ready();
                if puts.load(Ordering::SeqCst) > lost {
                    // For those that wait before they ask again.
                    tokio::time::advance(Duration::from_millis(60)).await;
                }
            }
            let mut segments = Vec::new();
            while let Ok(Some((bytes, _))) = get(&*memory, &segment_at(segments.len().try_into().unwrap())).await {
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
