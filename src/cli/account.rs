//! An account that jobs share, on the command line: `--max-cost` and `--max-tokens`, or their variables, are then its limits
//! and not those of each job. `run`, `resume` and `each` read their flags through it.

use perstack::budget::Budgets;
use perstack::config::{self, Overrides};
use perstack::id::AccountId;
use perstack::runtime::AccountUse;

use super::Process;
use super::failure::Failure;
use super::options::{JobArgs, ModelArgs};

/// The variables of the limits that an account has.
const VARIABLES: [&str; 2] = ["PERSTACK_MAX_COST", "PERSTACK_MAX_TOKENS"];

/// Flags and environment with the limits of an account taken out of them.
pub struct SplitLimits {
    /// Those of the account.
    pub limits: Budgets,
    /// The rest of the flags.
    pub model: ModelArgs,
    /// The rest of the environment.
    pub process: Process,
}

impl SplitLimits {
    /// Takes the limits out of flags and environment.
    ///
    /// # Errors
    /// A variable that is no limit.
    pub fn new(model: &ModelArgs, process: &Process) -> Result<Self, Failure> {
        let (of_account, rest): (Vec<_>, Vec<_>) =
            process.variables.iter().cloned().partition(|(name, _)| VARIABLES.contains(&name.as_str()));
        let variables = config::environment(of_account, &process.folder, &[]).map_err(Failure::usage)?;
        let variables = Overrides::from_environment(&variables).map_err(Failure::usage)?.budgets;
        let mut model = model.clone();
        let limits = Budgets {
            max_cost: model.budgets.max_cost.take().or(variables.max_cost),
            max_tokens: model.budgets.max_tokens.take().or(variables.max_tokens),
            ..Budgets::default()
        };
        Ok(Self { limits, model, process: Process { variables: rest, ..process.clone() } })
    }

    /// As [`SplitLimits::new`] for a job that shares an account; the flags and the environment as they are for one that does
    /// not.
    ///
    /// # Errors
    /// As [`SplitLimits::new`].
    pub fn of_job(args: &JobArgs, process: &Process) -> Result<(Option<AccountUse>, Self), Failure> {
        if let Some(id) = args.account.clone() {
            let split = Self::new(&args.model, process)?;
            return Ok((Some(split.account(id)), split));
        }
        let (model, process) = (args.model.clone(), process.clone());
        Ok((None, Self { limits: Budgets::default(), model, process }))
    }

    /// The account with these limits.
    pub fn account(&self, id: AccountId) -> AccountUse {
        AccountUse { id, limits: self.limits }
    }
}
