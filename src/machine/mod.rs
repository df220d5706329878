//! The state machine of a Run, open for study: deterministic, without I/O, clock or randomness.
//!
//! ```text
//!  facts ──▶ RunMachine::advance ──▶ events (to be emitted)
//!                                    a checkpoint (to be stored)
//!                                    one Action (to be carried out; its outcome is the next fact)
//! ```
//!
//! A Run begins in `Init` with the fact `Started` (or, restored from a checkpoint, `Resumed`). Each turn of the loop
//! goes `PreparingForStep` → `GeneratingToolCall` → `CallingMcpTools` → (`CallingDelegates` →
//! `CallingInteractiveTools` →) `ResolvingToolResult` → `FinishingStep`. States that need nothing from outside answer
//! [`Input::Proceed`]. A conversation that no longer fits the model's window goes through `SummarizingContext` if its
//! expert wants that, and an answer for which there is a schema through `CheckingAnswer`.
//! One that a command has to verify goes through `VerifyingAnswer` after that. Every arrow is listed in [`ARROWS`], and
//! [`mermaid`] draws them.

mod account;
mod answer;
mod budget;
mod calls;
mod completion;
mod context;
mod conversation;
mod data;
mod diagram;
mod ending;
mod failed;
mod fallback;
mod job;
mod lifecycle;
mod messages;
mod repair;
mod repetition;
mod resume;
mod run;
mod snapshots;
mod state;
mod step;
pub mod todo;
mod token_bound;
mod transition;
mod turn;
mod verification;

#[cfg(test)]
mod properties;

pub use account::RunTotals;
pub use budget::{
    JobAccount, MIN_OUTPUT, ReservationDecision, ReservationOutcome, ReservationRefusal, ReservationRequest,
};
pub use calls::Turn;
pub use diagram::{
    ARROWS, Arrow, JOB_ARROWS, JOB_STATE_NOTES, STATE_NOTES, StateNote, job_mermaid, mermaid, state_table,
};
pub use ending::{Ending, Verdict};
pub use job::{JobAction, JobInput, JobMachine, JobPhase, RunEnd, TreeLimits};
pub use run::RunMachine;
pub use state::{Overflow, State};
pub use token_bound::{PromptBounds, messages_bound, text_tokens};
pub use transition::{Action, IllegalInput, Input, Save, Transition};
