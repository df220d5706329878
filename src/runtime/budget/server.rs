//! [`BudgetServer`]: the job's account and the Runs that wait for it. The tree's driver owns it, so that reservations
//! need no lock and are granted in the order in which they arrive.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::budget::{Budgets, Reached, Spent};
use crate::id::RunId;
use crate::machine::{JobAccount, ReservationDecision, ReservationOutcome};
use crate::runtime::budget::handle::BudgetRequest;

/// The keeper of a job's account.
pub struct BudgetServer {
    account: JobAccount,
    waiting: HashMap<RunId, oneshot::Sender<ReservationOutcome>>,
}

impl BudgetServer {
    /// A server of an account of which `spent` is used already.
    pub fn new(budgets: Budgets, spent: Spent) -> Self {
        Self { account: JobAccount::new(budgets, spent), waiting: HashMap::new() }
    }

    /// Handles one request, and answers the Runs that can be granted something after it.
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

    /// Frees what a Run that has ended still waits for or holds.
    pub fn run_ended(&mut self, run: &RunId) {
        self.waiting.remove(run);
        let decisions = self.account.release(run);
        self.answer(decisions);
    }

    /// Refuses all requests from now on: the job is to end.
    pub fn close(&mut self, reached: Reached) {
        let decisions = self.account.close(reached);
        self.answer(decisions);
    }

    fn answer(&mut self, decisions: Vec<ReservationDecision>) {
        let mut decisions = VecDeque::from(decisions);
        while let Some((run, outcome)) = decisions.pop_front() {
            let reply = self.waiting.remove(&run);
            if reply.is_none_or(|reply| reply.send(outcome).is_err()) {
                // The Run has ended in the meantime. What was granted to it goes to the next in line.
                decisions.extend(self.account.release(&run));
            }
        }
    }
}
