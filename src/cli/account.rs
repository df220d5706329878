//! An account that jobs share, on the command line: `--max-cost` and `--max-tokens`, or their variables, are then its limits
//! and not those of each job. `run`, `resume` and `each` read their flags through it.

use perstack::budget::Budgets;
use perstack::config::{self, Overrides};
use perstack::environment::Environment;
use perstack::id::AccountId;
use perstack::runtime::AccountUse;

use super::Process;
use super::failure::Failure;
use super::options::{JobArgs, ModelArgs, PlaceArgs};

/// The limits of an account, and the flags without them.
pub struct SplitLimits {
    /// Those of the account; none of a job that shares none.
    pub limits: Budgets,
    /// The rest of the flags.
    pub model: ModelArgs,
}

impl SplitLimits {
    /// Takes the limits out of the flags, and reads those of the user's variables: the process's, and those of the files that
    /// `place` names. A folder's own files limit each job.
    ///
    /// # Errors
    /// A file that cannot be read, or a variable that is no limit.
    pub fn new(model: &ModelArgs, place: &PlaceArgs, process: &Process) -> Result<Self, Failure> {
        let variables = config::environment(process.variables.clone(), &process.folder, &place.env_path);
        let variables =
            Overrides::from_environment(&variables.map_err(Failure::usage)?).map_err(Failure::usage)?.budgets;
        let mut model = model.clone();
        let limits = Budgets {
            max_cost: model.budgets.max_cost.take().or(variables.max_cost),
            max_tokens: model.budgets.max_tokens.take().or(variables.max_tokens),
            ..Budgets::default()
        };
        Ok(Self { limits, model })
    }

    /// No account: the flags as they are.
    pub fn none(model: &ModelArgs) -> Self {
        Self { limits: Budgets::default(), model: model.clone() }
    }

    /// The limits of `variables`, those of `environment`, that are left to a job beside its account: a folder's own, and
    /// all where there is no account.
    pub fn left(&self, variables: Overrides, environment: &Environment) -> Overrides {
        let Budgets { max_cost, max_tokens, .. } = variables.budgets;
        let is_jobs = |limit: bool, name: &str| !limit || environment.users(name).is_none();
        let budgets = Budgets {
            max_cost: max_cost.filter(|_| is_jobs(self.limits.max_cost.is_some(), "PERSTACK_MAX_COST")),
            max_tokens: max_tokens.filter(|_| is_jobs(self.limits.max_tokens.is_some(), "PERSTACK_MAX_TOKENS")),
            ..variables.budgets
        };
        Overrides { budgets, ..variables }
    }

    /// As [`SplitLimits::new`] for a job that shares an account, and as [`SplitLimits::none`] for one that does not.
    ///
    /// # Errors
    /// As [`SplitLimits::new`].
    pub fn of_job(args: &JobArgs, process: &Process) -> Result<(Option<AccountUse>, Self), Failure> {
        if let Some(id) = args.account.clone() {
            let split = Self::new(&args.model, &args.place, process)?;
            return Ok((Some(split.account(id)), split));
        }
        Ok((None, Self::none(&args.model)))
    }

    /// The account with these limits.
    pub fn account(&self, id: AccountId) -> AccountUse {
        AccountUse { id, limits: self.limits }
    }
}
