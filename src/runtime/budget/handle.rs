//! [`BudgetHandle`]: a Run's end of the channel to the job's account. The driver of a Run reserves with it before each
//! request to a model, and settles after.

use tokio::sync::{mpsc, oneshot};

use crate::budget::{Budgets, Charge};
use crate::id::RunId;
use crate::machine::{ReservationOutcome, ReservationRequest};

/// Most requests that wait for the account; the senders of further ones wait. More than Runs are driven at a time.
const QUEUE: usize = 64;

/// A request of a Run to the job's account.
pub enum BudgetRequest {
    /// Set aside what a request to a model may take, and reply.
    Reserve { run: RunId, request: ReservationRequest, reply: oneshot::Sender<ReservationOutcome> },
    /// The request has ended: charge this, and free the rest of what was set aside.
    Settle { run: RunId, charge: Charge },
    /// The Run no longer waits for a reply.
    Withdraw { run: RunId },
}

/// The receiver of the requests of all Runs.
pub type BudgetRequests = mpsc::Receiver<BudgetRequest>;

/// A Run's access to the job's account.
#[derive(Clone)]
pub struct BudgetHandle {
    requests: mpsc::Sender<BudgetRequest>,
}

/// The channel to the account. Without a budget that Runs share there is no handle: nothing needs to be asked.
pub fn open(budgets: &Budgets) -> (Option<BudgetHandle>, BudgetRequests) {
    let (requests, received) = mpsc::channel(QUEUE);
    (budgets.are_shared().then_some(BudgetHandle { requests }), received)
}

impl BudgetHandle {
    /// Reserves for a request to a model. `None` when the job is being abandoned.
    pub async fn reserve(&self, run: &RunId, request: ReservationRequest) -> Option<ReservationOutcome> {
        let (reply, outcome) = oneshot::channel();
        self.requests.send(BudgetRequest::Reserve { run: run.clone(), request, reply }).await.ok()?;
        outcome.await.ok()
    }

    /// Charges a request that has ended.
    pub async fn settle(&self, run: &RunId, charge: Charge) {
        // Without a receiver the job is being abandoned; the charge is in the Run's log, from which a resumption reads
        // it.
        let _ = self.requests.send(BudgetRequest::Settle { run: run.clone(), charge }).await;
    }

    /// Withdraws a reservation that was not answered yet.
    pub async fn withdraw(&self, run: &RunId) {
        // As above.
        let _ = self.requests.send(BudgetRequest::Withdraw { run: run.clone() }).await;
    }
}
