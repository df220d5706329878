//! A Run's way to the job's account, and the account's desk. The tree's driver keeps the desk; Runs come over a channel.

use std::collections::{HashMap, VecDeque};

use tokio::sync::{mpsc, oneshot};

use crate::budget::{Budgets, Charge, Reached, Spent};
use crate::id::RunId;
use crate::machine::{Account, Decision, Need, Verdict};

/// Asks that may lie before the desk; further ones wait. More than Runs are driven at a time.
const QUEUE: usize = 64;

/// What a Run comes with.
pub enum Ask {
    /// It wants to send a request, and waits for the answer.
    Reserve { run: RunId, need: Need, reply: oneshot::Sender<Verdict> },
    /// Its request has ended.
    Settle { run: RunId, charge: Charge },
    /// It no longer waits.
    Withdraw { run: RunId },
}

/// The Runs' end.
#[derive(Clone)]
pub struct Teller {
    asks: mpsc::Sender<Ask>,
}

/// The other end.
pub type Asks = mpsc::Receiver<Ask>;

/// A way to the desk, if any budget of `budgets` is shared.
pub fn open(budgets: &Budgets) -> (Option<Teller>, Asks) {
    let (asks, received) = mpsc::channel(QUEUE);
    (budgets.are_shared().then_some(Teller { asks }), received)
}

impl Teller {
    /// Asks for a request. `None` when the job is being abandoned.
    pub async fn reserve(&self, run: &RunId, need: Need) -> Option<Verdict> {
        let (reply, verdict) = oneshot::channel();
        self.asks.send(Ask::Reserve { run: run.clone(), need, reply }).await.ok()?;
        verdict.await.ok()
    }

    /// Gives back what was set aside, but for `charge`.
    pub async fn settle(&self, run: &RunId, charge: Charge) {
        // When nobody listens, the job is being abandoned, and the log has it.
        let _ = self.asks.send(Ask::Settle { run: run.clone(), charge }).await;
    }

    /// Takes back what was asked and not answered.
    pub async fn withdraw(&self, run: &RunId) {
        // As above.
        let _ = self.asks.send(Ask::Withdraw { run: run.clone() }).await;
    }
}

/// Where the account is kept.
pub struct Desk {
    account: Account,
    waiting: HashMap<RunId, oneshot::Sender<Verdict>>,
}

impl Desk {
    /// With an account of which `spent` is used already.
    pub fn new(budgets: Budgets, spent: Spent) -> Self {
        Self { account: Account::new(budgets, spent), waiting: HashMap::new() }
    }

    /// Deals with one who comes, and with those who can be served after that.
    pub fn take(&mut self, ask: Ask) {
        let decisions = match ask {
            Ask::Reserve { run, need, reply } => {
                self.waiting.insert(run.clone(), reply);
                self.account.ask(run, need)
            }
            Ask::Settle { run, charge } => self.account.settle(&run, charge),
            Ask::Withdraw { run } => return self.run_ended(&run),
        };
        self.tell(decisions);
    }

    /// A Run has ended, one way or another: it neither waits nor holds anything.
    pub fn run_ended(&mut self, run: &RunId) {
        self.waiting.remove(run);
        let decisions = self.account.release(run);
        self.tell(decisions);
    }

    /// The job is to end: whoever asks is refused.
    pub fn close(&mut self, reached: Reached) {
        let decisions = self.account.close(reached);
        self.tell(decisions);
    }

    fn tell(&mut self, decisions: Vec<Decision>) {
        let mut decisions = VecDeque::from(decisions);
        while let Some((run, verdict)) = decisions.pop_front() {
            let reply = self.waiting.remove(&run);
            if reply.is_none_or(|reply| reply.send(verdict).is_err()) {
                // It has gone away meanwhile.
                decisions.extend(self.account.release(&run));
            }
        }
    }
}
