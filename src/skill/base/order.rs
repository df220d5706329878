//! The order of file calls: places in a queue, taken when a call is made and not when its future is first polled.
//!
//! Mutating calls run alone and in turn; reading calls run together, after the mutations before them. A call that is neither
//! polled nor dropped holds up those behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::task::coop::unconstrained;

use crate::future::BoxFuture;

/// The queue. Tokio's lock serves requests in the order they were made.
#[derive(Debug, Clone, Default)]
pub(super) struct Order(Arc<RwLock<()>>);

/// A place in the queue. Dropping it gives it up.
pub(super) enum Ticket {
    Waiting(BoxFuture<'static, FileTurn>),
    Ready(FileTurn),
}

/// The right to go on, until dropped.
pub(super) enum FileTurn {
    Reading { _guard: OwnedRwLockReadGuard<()> },
    Mutating { _guard: OwnedRwLockWriteGuard<()> },
}

impl Order {
    /// A place among the readers.
    pub(super) fn reading(&self) -> Ticket {
        let lock = Arc::clone(&self.0);
        Ticket::take(async move { FileTurn::Reading { _guard: lock.read_owned().await } })
    }

    /// A place of one's own.
    pub(super) fn mutating(&self) -> Ticket {
        let lock = Arc::clone(&self.0);
        Ticket::take(async move { FileTurn::Mutating { _guard: lock.write_owned().await } })
    }
}

impl Ticket {
    /// The lock queues a request at its first poll, so that poll is made here. Unconstrained: a task that has used up
    /// its budget would be sent away without having been queued.
    fn take(turn: impl Future<Output = FileTurn> + Send + 'static) -> Self {
        let mut turn: Pin<Box<dyn Future<Output = FileTurn> + Send>> = Box::pin(unconstrained(turn));
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Self::Ready(turn),
            Poll::Pending => Self::Waiting(turn),
        }
    }

    /// Waits for one's turn.
    pub(super) async fn turn(self) -> FileTurn {
        match self {
            Self::Waiting(turn) => turn.await,
            Self::Ready(turn) => turn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(ticket: &mut Option<Ticket>) -> bool {
        match ticket.take() {
            Some(Ticket::Waiting(mut turn)) => match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(turn) => {
                    *ticket = Some(Ticket::Ready(turn));
                    true
                }
                Poll::Pending => {
                    *ticket = Some(Ticket::Waiting(turn));
                    false
                }
            },
            other => {
                *ticket = other;
                true
            }
        }
    }

    #[test]
    fn turns_come_in_the_order_of_the_calls_whatever_is_polled_first() {
        let order = Order::default();
        let mut tickets = [order.mutating(), order.reading(), order.reading(), order.mutating()].map(Some);
        let ready = |tickets: &mut [Option<Ticket>; 4]| {
            let mut ready = [false; 4];
            for index in (0..4).rev() {
                ready[index] = tickets[index].is_some() && is_ready(&mut tickets[index]);
            }
            ready
        };
        assert_eq!(ready(&mut tickets), [true, false, false, false]);
        tickets[0] = None;
        assert_eq!(ready(&mut tickets), [false, true, true, false]);
        tickets[1] = None;
        assert_eq!(ready(&mut tickets), [false, false, true, false]);
        tickets[2] = None;
        assert_eq!(ready(&mut tickets), [false, false, false, true]);
    }

    #[test]
    fn a_call_that_is_dropped_before_it_ran_holds_no_other_up() {
        let order = Order::default();
        let (first, dropped, mut last) = (order.mutating(), order.mutating(), Some(order.reading()));
        drop(dropped);
        assert!(!is_ready(&mut last));
        drop(first);
        assert!(is_ready(&mut last));
    }
}
