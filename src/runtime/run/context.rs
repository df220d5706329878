//! [`RunContext`]: all that one Run works with. [`start`](super::start) makes it; the loop, the requests to the model
//! and the calls borrow it.

use std::sync::Arc;

use crate::expert::Expert;
use crate::fact::{Fact, FactBody, Stamp};
use crate::generation::{FailureKind, NativeTools};
use crate::replay::ReplayError;
use crate::runtime::job::context::JobContext;
use crate::runtime::job::models::RunModels;
use crate::runtime::run::events::EventEmitter;
use crate::runtime::stop::StopReason;
use crate::runtime::tools::notices::NoticeBoard;
use crate::setting::RunSetting;
use crate::skill::base::Verifier;

/// All that one Run works with.
pub struct RunContext {
    pub job: Arc<JobContext>,
    pub expert: Expert,
    /// The models that it may ask.
    pub models: RunModels,
    pub setting: Arc<RunSetting>,
    /// The Run's events and clock.
    pub emitter: EventEmitter,
    /// The skills' reports: facts carry the connections among them.
    pub notices: NoticeBoard,
    /// Runs the command that verifies its answers.
    pub verifier: Option<Arc<Verifier>>,
}

impl RunContext {
    /// A fact of now.
    pub fn fact(&self, body: FactBody) -> Fact {
        self.fact_of(self.emitter.clock.stamp(), body)
    }

    /// A fact with this stamp. It is to be recorded: the connections that it carries are in no other.
    pub fn fact_of(&self, stamp: Stamp, body: FactBody) -> Fact {
        let recorded = self.job.options.is_recording_free();
        Fact { accesses: self.notices.take_accesses(), recorded, ..Fact::new(stamp, body) }
    }

    /// Returns true if a request that failed so is not in the recording, and the Run goes on without it.
    pub fn leaves_at(&self, fact: &Fact) -> bool {
        let FactBody::GenerationFailed { failure, .. } = &fact.body else { return false };
        let is_noted = self.job.options.difference.as_ref().is_some_and(|difference| difference.get().is_some());
        self.job.live.is_some() && failure.kind == FailureKind::Replay && is_noted
    }

    /// Returns true if the recording does not have what it was asked for, and the Run goes on without it.
    pub fn leaves_by(&self, error: &ReplayError) -> bool {
        self.job.live.is_some() && matches!(error, ReplayError::Mismatch(_))
    }

    /// The reason for which the Run stops, as a fact of now.
    pub fn stopped(&self) -> Fact {
        self.fact(match self.job.stop.reason() {
            StopReason::Cancelled => FactBody::Interrupted,
            StopReason::Budget(reached) => FactBody::BudgetReached { reached },
        })
    }
}

/// The tools that the provider itself is to run for `expert`.
pub fn native_tools(expert: &Expert) -> NativeTools<'_> {
    NativeTools {
        tools: &expert.provider_tools,
        options: expert.provider_tool_options.as_ref(),
        skills: expert.provider_skills.as_ref(),
    }
}
