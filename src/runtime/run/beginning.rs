//! [`Beginning`]: the machine of a Run and its first fact, from a task, before anything is recorded. A Run's start records
//! and drives it; the plan of a job only looks at what it asks for first ([`Beginning::ask`]).

use crate::content::Content;
use crate::cost::Spend;
use crate::expert::Expert;
use crate::fact::{Fact, FactBody, ParentCheckpoint, Resumption, RunSpec, Stamp};
use crate::id::RunId;
use crate::machine::{Action, IllegalInput, Input, RunMachine};
use crate::message::UserInput;
use crate::runtime::error::RunError;
use crate::runtime::history::recorded_run;
use crate::runtime::job::context::JobBasis;
use crate::runtime::job::models::RunModels;
use crate::runtime::run::check::AnswerSchema;
use crate::runtime::run::continuation::{Composer, Continuation, parameters_of};
use crate::runtime::run::task::{ContinueFrom, RunTask};
use crate::runtime::tools::Toolset;
use crate::setting::RunSetting;
use crate::usage::Usage;

/// The expert of a Run, and all that it works with.
#[derive(Clone, Copy)]
pub struct RunScene<'a> {
    pub job: JobBasis<'a>,
    pub expert: &'a Expert,
    pub models: &'a RunModels,
    pub toolset: &'a Toolset,
    pub setting: &'a RunSetting,
}

/// The machine of a Run, and the first fact that it is to take.
pub struct Beginning {
    pub machine: RunMachine,
    pub first: FactBody,
    /// The line about the files of its instruction, where they are the reason for another one.
    pub change: Option<String>,
}

impl Beginning {
    /// The beginning of `task`, whatever is on record of its Run: of one that is recovered, what leads on from there.
    ///
    /// # Errors
    /// Answers cannot be checked against the schema.
    pub fn new(scene: RunScene<'_>, task: RunTask) -> Result<Self, RunError> {
        match task {
            RunTask::Start { query, attached, by, first_step, run, .. } => {
                let answer = AnswerSchema::choose(scene.job.options, scene.expert, by.is_some(), None)?;
                let expert = scene.expert.reference();
                let machine = recorded_run::fresh(scene.job.job_id, &run, expert.clone());
                let spec = RunSpec {
                    job_id: scene.job.job_id.clone(),
                    run_id: run,
                    expert,
                    instruction: scene.composer(by.is_some()).compose(answer.schema.as_ref()),
                    first_step,
                    untrusted: by.is_none() && scene.job.options.untrusted_input,
                    delegated_by: by.map(|by| *by),
                    parameters: scene.job.parameters(
                        scene.expert,
                        scene.models,
                        scene.toolset,
                        scene.setting,
                        answer.schema,
                    ),
                    budgets: scene.setting.budgets,
                    snapshot: None,
                };
                let input = std::iter::once(Content::text(query)).chain(attached).collect();
                Ok(Self { machine, first: FactBody::Started { spec: Box::new(spec), input }, change: None })
            }
            RunTask::Continue(start) => Self::continued(scene, *start),
            RunTask::Recover { run, past, query } => Self::recovered(scene, run, past.machine, query),
        }
    }

    fn continued(scene: RunScene<'_>, from: ContinueFrom) -> Result<Self, RunError> {
        let JobBasis { options, store, job_id, .. } = scene.job;
        let untrusted = from.untrusted || (options.untrusted_input && (from.query.is_some() || from.answer.is_some()));
        let ContinueFrom { run, from, query, answers, reached_step, delegated_usage, delegated_spend, .. } = from;
        let before = parameters_of(store, job_id, &from.head.run_id, &from.messages);
        let is_delegate = from.head.delegated_by.is_some();
        let Continuation { schema, instruction, change, query } =
            scene.composer(is_delegate).go_on(&before, from.head.from_elsewhere, query)?;
        let resumption = Resumption {
            run_id: run,
            parent: Some(ParentCheckpoint { run_id: from.head.run_id.clone(), checkpoint_id: from.head.id.clone() }),
            query,
            answers,
            reached_step,
            delegated_usage,
            delegated_spend,
            untrusted,
            instruction,
            snapshot: None,
            parameters: scene.job.parameters(scene.expert, scene.models, scene.toolset, scene.setting, schema),
        };
        let first = FactBody::Resumed { resumption: Box::new(resumption) };
        Ok(Self { machine: RunMachine::restore(from), first, change })
    }

    /// The beginning of the process that takes over a Run whose log leads to `machine`.
    ///
    /// # Errors
    /// Answers cannot be checked against the schema.
    pub fn recovered(
        scene: RunScene<'_>,
        run: RunId,
        mut machine: RunMachine,
        query: Option<UserInput>,
    ) -> Result<Self, RunError> {
        let untrusted = scene.job.options.untrusted_input && query.is_some();
        let is_delegate = machine.head().delegated_by.is_some();
        let Continuation { schema, instruction, change, query } =
            scene.composer(is_delegate).go_on(machine.parameters(), false, query)?;
        let resumption = Resumption {
            run_id: run,
            parent: None,
            query,
            answers: Vec::new(),
            reached_step: 0,
            delegated_usage: Usage::default(),
            delegated_spend: Spend::default(),
            untrusted,
            instruction,
            snapshot: None,
            parameters: scene.job.parameters(scene.expert, scene.models, scene.toolset, scene.setting, schema),
        };
        // What was spent before this process is the job's account's already.
        machine.restart_totals();
        Ok(Self { machine, first: FactBody::Resumed { resumption: Box::new(resumption) }, change })
    }

    /// The machine once it needs something from outside, and what that is.
    ///
    /// # Errors
    /// The machine cannot take its first fact.
    pub fn ask(self, stamp: Stamp) -> Result<(RunMachine, Action), IllegalInput> {
        let mut machine = self.machine;
        let action = advance_to_action(&mut machine, &Input::Fact(Fact::new(stamp, self.first)))?;
        Ok((machine, action))
    }
}

impl<'a> RunScene<'a> {
    /// The composer of the Run's instruction.
    fn composer(&self, is_delegate: bool) -> Composer<'a> {
        let JobBasis { options, files, backends, .. } = self.job;
        let started_at = self.setting.started_at;
        Composer { options, expert: self.expert, files, redactor: &backends.redactor, started_at, is_delegate }
    }
}

/// Advances `machine` by `input` until it needs something from outside; returns what that is.
///
/// # Errors
/// It cannot take `input`.
pub fn advance_to_action(machine: &mut RunMachine, input: &Input) -> Result<Action, IllegalInput> {
    let mut action = machine.advance(input)?.action;
    // A state that nobody stores is lost, as with the process that was to store it.
    while matches!(action, Action::Proceed | Action::TakeSnapshot) {
        action = machine.advance(&Input::Proceed)?.action;
    }
    Ok(action)
}
