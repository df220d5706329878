//! [`Composer`]: the instruction of a Run, and what a conversation goes on with ([`Composer::go_on`]). A Run's start calls it,
//! and the plan of a job, so that both have the same; recording and sending it is theirs.

use crate::expert::Expert;
use crate::fact::{Fact, FactBody, RunParameters};
use crate::id::{JobId, RunId};
use crate::message::{Message, UserInput};
use crate::output_schema::OutputSchema;
use crate::redact::Redactor;
use crate::runtime::error::RunError;
use crate::runtime::job::context::verify_of;
use crate::runtime::job::instruction_files::InstructionFiles;
use crate::runtime::options::Options;
use crate::runtime::run::check::AnswerSchema;
use crate::runtime::run::instruction::{self, InstructionContext, instruction_of};
use crate::store::Store;

/// All that an instruction is made of.
pub struct Composer<'a> {
    pub options: &'a Options,
    pub expert: &'a Expert,
    pub files: &'a InstructionFiles,
    pub redactor: &'a Redactor,
    /// The Run's start, in milliseconds since the epoch.
    pub started_at: u64,
    pub is_delegate: bool,
}

/// The things that a conversation goes on with.
pub struct Continuation {
    pub schema: Option<OutputSchema>,
    /// The instruction anew, where it is another.
    pub instruction: Option<String>,
    /// The line about its files, where they are the reason.
    pub change: Option<String>,
    /// The user's message, with the form of the answer where that is new and in no new instruction.
    pub query: Option<UserInput>,
}

impl Composer<'_> {
    /// The whole instruction.
    pub fn compose(&self, schema: Option<&OutputSchema>) -> String {
        let Self { options, expert, started_at, is_delegate, .. } = *self;
        let scene = InstructionContext { started_at, workspace: &options.workspace, is_delegate };
        let sections = self.files.sections(&expert.key, self.redactor);
        let verify = verify_of(expert, self.redactor);
        instruction::compose_whole(expert, &options.experts, scene, sections, schema, verify.as_ref())
    }

    /// The things that a conversation with the parameters `before` goes on with. `from_elsewhere`: it is of a file from
    /// elsewhere, whose instruction is not trusted.
    ///
    /// # Errors
    /// Answers cannot be checked against the schema.
    pub fn go_on(
        &self,
        before: &RunParameters,
        from_elsewhere: bool,
        query: Option<UserInput>,
    ) -> Result<Continuation, RunError> {
        let answer = AnswerSchema::choose(self.options, self.expert, self.is_delegate, before.output_schema.as_ref())?;
        let change = self.files.change(&self.expert.key, &before.context_files).filter(|_| !from_elsewhere);
        let is_another = from_elsewhere || change.is_some();
        let instruction = is_another.then(|| self.compose(answer.schema.as_ref()));
        // A new instruction has the schema.
        let query = if is_another { query } else { answer.announced(query) };
        Ok(Continuation { schema: answer.schema, instruction, change, query })
    }
}

/// The parameters with which `run` got the instruction that `messages` begin with: those of its beginning, or of the process
/// that took it over with another. None where it has no log.
pub fn parameters_of(store: &Store, job: &JobId, run: &RunId, messages: &[Message]) -> RunParameters {
    let instruction = instruction_of(messages);
    let Ok(mut log) = store.open_log(job, run) else { return RunParameters::default() };
    let mut first = None;
    while let Ok(Some(fact)) = log.next_fact() {
        let has_given_it = instruction.is_some() && given_by(&fact) == instruction;
        let Some(parameters) = fact.into_parameters() else { continue };
        if has_given_it {
            return parameters;
        }
        first.get_or_insert(parameters);
    }
    first.unwrap_or_default()
}

/// The instruction that a fact gives its Run.
fn given_by(fact: &Fact) -> Option<&str> {
    match &fact.body {
        FactBody::Started { spec, .. } => Some(&spec.instruction),
        FactBody::Resumed { resumption } => resumption.instruction.as_deref(),
        _ => None,
    }
}
