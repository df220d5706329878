//! A Run's way to the job's account, and the account's desk. The tree's driver keeps the desk; Runs come over a channel.

use std::collections::{HashMap, VecDeque};

use tokio::sync::{mpsc, oneshot};

use crate::budget::{Budgets, Charge, Reached, Spent};
use crate::id::RunId;
use crate::machine::{JobAccount, ReservationDecision, ReservationOutcome, ReservationRequest};

/// Requests that may lie before the desk; further ones wait. More than Runs are driven at a time.
const QUEUE: usize = 64;

/// What a Run comes with.
pub enum BudgetRequest {
    /// It wants to send a request, and waits for the answer.
    Reserve { run: RunId, request: ReservationRequest, reply: oneshot::Sender<ReservationOutcome> },
    /// Its request has ended.
    Settle { run: RunId, charge: Charge },
    /// It no longer waits.
    Withdraw { run: RunId },
}

/// The Runs' end.
#[derive(Clone)]
pub struct BudgetHandle {
    requests: mpsc::Sender<BudgetRequest>,
}

/// The other end.
pub type BudgetRequests = mpsc::Receiver<BudgetRequest>;

/// A way to the desk, if any budget of `budgets` is shared.
pub fn open(budgets: &Budgets) -> (Option<BudgetHandle>, BudgetRequests) {
    let (requests, received) = mpsc::channel(QUEUE);
    (budgets.are_shared().then_some(BudgetHandle { requests }), received)
}

impl BudgetHandle {
    /// Reserves for a request. `None` when the job is being abandoned.
    pub async fn reserve(&self, run: &RunId, request: ReservationRequest) -> Option<ReservationOutcome> {
        let (reply, outcome) = oneshot::channel();
        self.requests.send(BudgetRequest::Reserve { run: run.clone(), request, reply }).await.ok()?;
        outcome.await.ok()
    }

    /// Gives back what was set aside, but for `charge`.
    pub async fn settle(&self, run: &RunId, charge: Charge) {
        // When nobody listens, the job is being abandoned, and the log has it.
        let _ = self.requests.send(BudgetRequest::Settle { run: run.clone(), charge }).await;
    }

    /// Takes back what was asked and not answered.
    pub async fn withdraw(&self, run: &RunId) {
        // As above.
        let _ = self.requests.send(BudgetRequest::Withdraw { run: run.clone() }).await;
    }
}

/// Where the account is kept.
pub struct BudgetServer {
    account: JobAccount,
    waiting: HashMap<RunId, oneshot::Sender<ReservationOutcome>>,
}

impl BudgetServer {
    /// With an account of which `spent` is used already.
    pub fn new(budgets: Budgets, spent: Spent) -> Self {
        Self { account: JobAccount::new(budgets, spent), waiting: HashMap::new() }
    }

    /// Deals with one who comes, and with those who can be served after that.
    pub fn serve(&mut self, request: BudgetRequest) {
        let decisions = match request {
            BudgetRequest::Reserve { run, request, reply } => {
                self.waiting.insert(run.clone(), reply);
                self.account.ask(run, request)
            }
            BudgetRequest::Settle { run, charge } => self.account.settle(&run, charge),
            BudgetRequest::Withdraw { run } => return self.run_ended(&run),
        };
        self.answer(decisions);
    }

    /// A Run has ended, one way or another: it neither waits nor holds anything.
    pub fn run_ended(&mut self, run: &RunId) {
        self.waiting.remove(run);
        let decisions = self.account.release(run);
        self.answer(decisions);
    }

    /// The job is to end: whoever requests is refused.
    pub fn close(&mut self, reached: Reached) {
        let decisions = self.account.close(reached);
        self.answer(decisions);
    }

    fn answer(&mut self, decisions: Vec<ReservationDecision>) {
        let mut decisions = VecDeque::from(decisions);
        while let Some((run, outcome)) = decisions.pop_front() {
            let reply = self.waiting.remove(&run);
            if reply.is_none_or(|reply| reply.send(outcome).is_err()) {
                // It has gone away meanwhile.
                decisions.extend(self.account.release(&run));
            }
        }
    }
}
