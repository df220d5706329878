//! The job's account as Runs reach it: a [`BudgetHandle`] in each Run, one [`BudgetServer`] beside the job's tree; and a
//! [`SharedAccount`] that jobs draw on together. What is granted and what is refused is decided by
//! [`crate::machine::JobAccount`].

mod block;
mod drawing;
mod handle;
mod server;
mod shared;

pub use handle::{BudgetHandle, BudgetRequests, open};
pub use server::BudgetServer;
pub use shared::SharedAccount;
