//! [`check`]: the check of an answer against the Run's schema, as a fact; and [`AnswerSchema`], the schema that a Run has.
//! The Run's loop and its start call them. What follows from a refusal is the machine's.

use std::time::Duration;

use crate::expert::Expert;
use crate::fact::{AnswerCheck, Fact, FactBody};
use crate::machine::RunMachine;
use crate::message::UserInput;
use crate::output_schema::OutputSchema;
use crate::runtime::error::RunError;
use crate::runtime::options::Options;
use crate::runtime::run::context::RunContext;

/// The longest that a check may take. Usual ones take microseconds; schemas whose references multiply could go on without
/// end.
const LONGEST: Duration = Duration::from_secs(10);

/// Checks the answer `text`, or stops the Run.
pub async fn check(text: String, machine: &RunMachine, context: &RunContext) -> Fact {
    let Some(schema) = machine.parameters().output_schema.clone() else {
        // The process that takes over a Run has its schema too.
        return context.fact(FactBody::AnswerChecked { check: AnswerCheck::Valid { text, is_closed: false } });
    };
    let checked = tokio::task::spawn_blocking(move || schema.check(&text));
    let checked = tokio::select! {
        biased;
        () = context.job.stop.fired() => return context.stopped(),
        checked = tokio::time::timeout(LONGEST, checked) => checked,
    };
    let check = match checked {
        Ok(Ok(Ok(valid))) => AnswerCheck::Valid { text: valid.text, is_closed: valid.is_closed },
        Ok(Ok(Err(problems))) => AnswerCheck::Refused { problems },
        Ok(Err(_)) => AnswerCheck::Refused { problems: vec!["it could not be checked".to_owned()] },
        Err(_) => {
            let problem = format!("its check takes longer than {} seconds: answer with less", LONGEST.as_secs());
            AnswerCheck::Refused { problems: vec![problem] }
        }
    };
    context.fact(FactBody::AnswerChecked { check })
}

/// The schema of a Run's answer.
pub struct AnswerSchema {
    pub schema: Option<OutputSchema>,
    /// The conversation has it already.
    is_known: bool,
}

impl AnswerSchema {
    /// The schema of a Run of `expert`: the caller's for a coordinator, else that which the Run or the one before it had,
    /// else the expert's.
    ///
    /// # Errors
    /// Answers cannot be checked against it.
    pub fn choose(
        options: &Options,
        expert: &Expert,
        is_delegate: bool,
        before: Option<&OutputSchema>,
    ) -> Result<Self, RunError> {
        let given = options.output_schema.as_ref().filter(|_| !is_delegate);
        let schema = given.or(before).or(expert.output_schema.as_ref()).cloned();
        if let Some(schema) = &schema {
            let refused = |problem| RunError::OutputSchema { key: expert.key.clone(), problem };
            schema.verify().map_err(refused)?;
        }
        Ok(Self { is_known: schema.as_ref() == before, schema })
    }

    /// The user's input for a conversation that goes on, with the schema where that is new to it.
    pub fn announced(&self, query: Option<UserInput>) -> Option<UserInput> {
        let Some(schema) = self.schema.as_ref().filter(|_| !self.is_known) else { return query };
        let form = answer_form(schema);
        Some(match query {
            Some(query) => UserInput { text: format!("{}\n\n{form}", query.text), ..query },
            None => form.into(),
        })
    }
}

/// The demand for answers that are valid against `schema`, for the model.
pub fn answer_form(schema: &OutputSchema) -> String {
    format!(
        "Your final answer is one JSON document and nothing else: no text around it. It is checked, and refused unless it is \
         valid against this JSON Schema:\n\n{}",
        schema.as_value()
    )
}
