//! Precedence of run options: flag > environment > `perstack.toml` > user defaults > built-in. The command line calls
//! [`settle`] with the four sources; reading the files is left to `file` and `user`.

use std::fmt::Display;
use std::str::FromStr;

use super::error::{ConfigError, quoted};
use super::suggest::nearest;
use super::{Ceilings, FolderTrust, Origin, Origins, Overrides, Project, Settings};
use crate::budget::{self, Budgets, MIN_TOOL_REPETITIONS, Span};
use crate::environment::Environment;
use crate::sandbox::Sandbox;
use crate::setting::{
    DEFAULT_MAX_PARALLEL_DELEGATES, DEFAULT_MAX_RETRIES, DEFAULT_MAX_STEPS, DEFAULT_MAX_TOOL_OUTPUT,
    DEFAULT_TIMEOUT_MS, Limits, MOST_PARALLEL_DELEGATES, ProviderName, ProviderSetting,
};
use crate::snapshot::SnapshotMode;

impl Overrides {
    /// The values of the variables `PERSTACK_PROVIDER`, `PERSTACK_MODEL`, `PERSTACK_REASONING_BUDGET`,
    /// `PERSTACK_MAX_STEPS`, `PERSTACK_MAX_TOTAL_STEPS`, `PERSTACK_MAX_RETRIES`, `PERSTACK_TIMEOUT` (milliseconds), `PERSTACK_MAX_COST` (US
    /// dollars), `PERSTACK_MAX_TOKENS`, `PERSTACK_MAX_DURATION` (`10m`), `PERSTACK_MAX_TOOL_REPETITIONS`,
    /// `PERSTACK_MAX_DELEGATES`, `PERSTACK_MAX_PARALLEL_DELEGATES`, `PERSTACK_SANDBOX` and `PERSTACK_SNAPSHOT`. Empty ones count as not set.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            provider: provider(environment)?,
            model: environment.get("PERSTACK_MODEL").map(str::to_owned),
            fallback: None,
            reasoning_budget: parsed(environment, "PERSTACK_REASONING_BUDGET", ToString::to_string)?,
            max_steps: number(environment, "PERSTACK_MAX_STEPS", 1)?,
            max_retries: number(environment, "PERSTACK_MAX_RETRIES", 0)?,
            timeout_ms: number(environment, "PERSTACK_TIMEOUT", 1)?,
            max_parallel_delegates: parallel_delegates(environment)?,
            budgets: budgets(environment)?,
            sandbox: sandbox(environment)?,
            snapshot: parsed(environment, "PERSTACK_SNAPSHOT", ToString::to_string)?,
        })
    }
}

/// A limit that several sources may set.
struct Limit {
    /// Its key in `perstack.toml`; none for limits that are no budget, which the file sets as it likes.
    key: Option<&'static str>,
    variable: &'static str,
    amount: fn(&Overrides) -> Option<u128>,
    clear: fn(&mut Overrides),
}

const LIMITS: [Limit; 10] = [
    Limit {
        key: Some("maxSteps"),
        variable: "PERSTACK_MAX_STEPS",
        amount: |all| all.max_steps.map(u128::from),
        clear: |all| all.max_steps = None,
    },
    Limit {
        key: Some("maxTotalSteps"),
        variable: "PERSTACK_MAX_TOTAL_STEPS",
        amount: |all| all.budgets.max_steps.map(u128::from),
        clear: |all| all.budgets.max_steps = None,
    },
    Limit {
        key: None,
        variable: "PERSTACK_MAX_RETRIES",
        amount: |all| all.max_retries.map(u128::from),
        clear: |all| all.max_retries = None,
    },
    Limit {
        key: None,
        variable: "PERSTACK_TIMEOUT",
        amount: |all| all.timeout_ms.map(u128::from),
        clear: |all| all.timeout_ms = None,
    },
    Limit {
        key: Some("maxCost"),
        variable: "PERSTACK_MAX_COST",
        amount: |all| all.budgets.max_cost.map(|cost| u128::from(cost.picodollars())),
        clear: |all| all.budgets.max_cost = None,
    },
    Limit {
        key: Some("maxTokens"),
        variable: "PERSTACK_MAX_TOKENS",
        amount: |all| all.budgets.max_tokens.map(u128::from),
        clear: |all| all.budgets.max_tokens = None,
    },
    Limit {
        key: Some("maxDuration"),
        variable: "PERSTACK_MAX_DURATION",
        amount: |all| all.budgets.max_duration_ms.map(u128::from),
        clear: |all| all.budgets.max_duration_ms = None,
    },
    Limit {
        key: Some("maxToolRepetitions"),
        variable: "PERSTACK_MAX_TOOL_REPETITIONS",
        amount: |all| all.budgets.max_tool_repetitions.map(u128::from),
        clear: |all| all.budgets.max_tool_repetitions = None,
    },
    Limit {
        key: Some("maxDelegates"),
        variable: "PERSTACK_MAX_DELEGATES",
        amount: |all| all.budgets.max_delegates.map(u128::from),
        clear: |all| all.budgets.max_delegates = None,
    },
    Limit {
        key: Some("maxParallelDelegates"),
        variable: "PERSTACK_MAX_PARALLEL_DELEGATES",
        amount: |all| all.max_parallel_delegates.map(u128::from),
        clear: |all| all.max_parallel_delegates = None,
    },
];

impl Limit {
    fn is_looser(&self, here: &Overrides, user: &Overrides) -> bool {
        (self.amount)(here).zip((self.amount)(user)).is_some_and(|(here, user)| here > user)
    }
}

impl Overrides {
    /// The variables of the limits that are looser here than those of `user`.
    pub(super) fn looser_than(&self, user: &Self) -> Vec<&'static str> {
        LIMITS.iter().filter(|limit| limit.is_looser(self, user)).map(|limit| limit.variable).collect()
    }

    /// The keys of the budgets that are looser here than those of `user`.
    pub fn budgets_looser_than(&self, user: &Self) -> Vec<&'static str> {
        LIMITS.iter().filter(|limit| limit.is_looser(self, user)).filter_map(|limit| limit.key).collect()
    }

    /// The same without the budgets that are looser than those of `user`.
    fn within_budgets_of(mut self, user: &Self) -> Self {
        for limit in LIMITS.iter().filter(|limit| limit.key.is_some()) {
            if limit.is_looser(&self, user) {
                (limit.clear)(&mut self);
            }
        }
        self
    }
}

fn budgets(environment: &Environment) -> Result<Budgets, ConfigError> {
    const COST: &str = "PERSTACK_MAX_COST";
    let max_cost = match environment.get(COST).map(budget::dollars) {
        Some(Err(error)) => return Err(ConfigError::Variable { name: COST, reason: error.to_string() }),
        Some(Ok(cost)) => Some(cost),
        None => None,
    };
    Ok(Budgets {
        max_cost,
        max_tokens: number(environment, "PERSTACK_MAX_TOKENS", 1)?,
        max_duration_ms: parsed::<Span>(environment, "PERSTACK_MAX_DURATION", ToString::to_string)?.map(Span::ms),
        max_steps: number(environment, "PERSTACK_MAX_TOTAL_STEPS", 1)?,
        max_tool_repetitions: number(environment, "PERSTACK_MAX_TOOL_REPETITIONS", MIN_TOOL_REPETITIONS)?,
        max_delegates: number(environment, "PERSTACK_MAX_DELEGATES", 1)?,
    })
}

fn parallel_delegates(environment: &Environment) -> Result<Option<u64>, ConfigError> {
    const NAME: &str = "PERSTACK_MAX_PARALLEL_DELEGATES";
    match number(environment, NAME, 1)? {
        Some(number) if number > MOST_PARALLEL_DELEGATES => {
            let reason = format!("expected a whole number from 1 to {MOST_PARALLEL_DELEGATES}, received \"{number}\"");
            Err(ConfigError::Variable { name: NAME, reason })
        }
        number => Ok(number),
    }
}

fn provider(environment: &Environment) -> Result<Option<ProviderName>, ConfigError> {
    const NAME: &str = "PERSTACK_PROVIDER";
    parsed(environment, NAME, |error: &<ProviderName as FromStr>::Err| {
        let near = environment.get(NAME).and_then(|word| nearest(word, ProviderName::ALL.map(ProviderName::as_str)));
        let hint = near.map(|near| format!("; did you mean {}?", quoted(near))).unwrap_or_default();
        format!("{error}{hint}")
    })
}

/// The user's own choice: no file of a folder lifts or tightens the containment by a variable.
fn sandbox(environment: &Environment) -> Result<Option<Sandbox>, ConfigError> {
    const NAME: &str = "PERSTACK_SANDBOX";
    let parsed = environment.users(NAME).map(|text| text.trim().parse::<Sandbox>()).transpose();
    parsed.map_err(|error| ConfigError::Variable { name: NAME, reason: error.to_string() })
}

/// The containment, and its source. A file tightens that of the user's defaults; it loosens it only in a folder that is
/// trusted, and only as a whole, by `off`.
fn settled_sandbox(
    flags: &Overrides,
    environment: &Overrides,
    of_file: Option<Sandbox>,
    user: &Overrides,
    trust: FolderTrust,
) -> (Sandbox, Origin) {
    let own = user.sandbox.map_or((Sandbox::default(), Origin::BuiltIn), |sandbox| (sandbox, Origin::User));
    match (flags.sandbox, environment.sandbox, of_file) {
        (Some(sandbox), _, _) => (sandbox, Origin::Flag),
        (None, Some(sandbox), _) => (sandbox, Origin::Environment),
        (None, None, Some(Sandbox::Off)) if trust == FolderTrust::Trusted => (Sandbox::Off, Origin::File),
        (None, None, Some(sandbox)) if sandbox >= own.0 => (sandbox, Origin::File),
        (None, None, _) => own,
    }
}

fn number<T>(environment: &Environment, name: &'static str, least: T) -> Result<Option<T>, ConfigError>
where
    T: FromStr + PartialOrd + Display + Copy,
{
    let reason = || {
        let value = quoted(environment.get(name).unwrap_or_default());
        format!("expected a whole number of at least {least}, received {value}")
    };
    match parsed(environment, name, |_| reason())? {
        Some(number) if number < least => Err(ConfigError::Variable { name, reason: reason() }),
        number => Ok(number),
    }
}

fn parsed<T: FromStr>(
    environment: &Environment,
    name: &'static str,
    reason: impl FnOnce(&T::Err) -> String,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = environment.get(name) else { return Ok(None) };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(ConfigError::Variable { name, reason: reason(&error) }),
    }
}

/// Settles every value by precedence and records its source.
///
/// A model and `[provider.setting]` belong to a provider: the setting applies only when the file's provider is the one
/// chosen, and a model is skipped when its source also names a provider that a stronger source overrides.
///
/// # Errors
/// A limit of nothing, or one that is out of range.
pub fn settle(
    flags: &Overrides,
    environment: &Overrides,
    project: Option<&Project>,
    user: &Overrides,
) -> Result<Settings, ConfigError> {
    settle_in_folder(flags, environment, project, user, FolderTrust::Trusted)
}

/// As [`settle`], but budgets of a folder that is not trusted count only where they are tighter than the user's own.
///
/// # Errors
/// As [`settle`].
pub fn settle_in_folder(
    flags: &Overrides,
    environment: &Overrides,
    project: Option<&Project>,
    user: &Overrides,
    trust: FolderTrust,
) -> Result<Settings, ConfigError> {
    let of_file = project.map(|project| project.overrides.clone()).unwrap_or_default();
    let (of_file, ceilings) = match trust {
        FolderTrust::Trusted => (of_file, Ceilings::default()),
        FolderTrust::Untrusted => {
            (of_file.within_budgets_of(user), Ceilings { budgets: user.budgets, max_steps: user.max_steps })
        }
    };
    let (sandbox, sandbox_origin) = settled_sandbox(flags, environment, of_file.sandbox, user, trust);
    let levels = Levels([
        (Origin::Flag, flags),
        (Origin::Environment, environment),
        (Origin::File, &of_file),
        (Origin::User, user),
    ]);
    let (provider, provider_origin) = levels.strongest(|level| level.provider);
    let fits = |level: &Overrides| level.provider.is_none() || level.provider == provider;
    let (model, model_origin) = levels.strongest(|level| level.model.clone().filter(|_| fits(level)));
    let (fallback, fallback_origin) = levels.strongest(|level| level.fallback.clone());
    let (reasoning_budget, reasoning_budget_origin) = levels.strongest(|level| level.reasoning_budget);
    let (max_steps, max_steps_origin) = levels.strongest(|level| level.max_steps);
    let (max_retries, max_retries_origin) = levels.strongest(|level| level.max_retries);
    let (timeout_ms, timeout_origin) = levels.strongest(|level| level.timeout_ms);
    let (parallel_delegates, parallel_delegates_origin) = levels.strongest(|level| level.max_parallel_delegates);
    let (max_cost, max_cost_origin) = levels.strongest(|level| level.budgets.max_cost);
    let (max_tokens, max_tokens_origin) = levels.strongest(|level| level.budgets.max_tokens);
    let (max_duration_ms, max_duration_origin) = levels.strongest(|level| level.budgets.max_duration_ms);
    let (max_total_steps, max_total_steps_origin) = levels.strongest(|level| level.budgets.max_steps);
    let (max_tool_repetitions, repetitions_origin) = levels.strongest(|level| level.budgets.max_tool_repetitions);
    let (snapshot, snapshot_origin): (Option<SnapshotMode>, _) = levels.strongest(|level| level.snapshot);
    let (max_delegates, delegates_origin) = levels.strongest(|level| level.budgets.max_delegates);
    if max_steps == Some(0) {
        return Err(ConfigError::NoSteps { origin: max_steps_origin });
    }
    if timeout_ms == Some(0) {
        return Err(ConfigError::NoTime { origin: timeout_origin });
    }
    if let Some(number) = parallel_delegates.filter(|number| !(1..=MOST_PARALLEL_DELEGATES).contains(number)) {
        return Err(ConfigError::ParallelDelegates { number, origin: parallel_delegates_origin });
    }
    let provider_setting = project.filter(|project| fits(&project.overrides)).map(|project| &project.provider_setting);
    Ok(Settings {
        provider,
        provider_setting: provider_setting.cloned().unwrap_or_else(ProviderSetting::default),
        file_provider: project
            .and_then(|project| Some((project.overrides.provider?, project.provider_setting.clone()))),
        model,
        model_is_explicit: matches!(model_origin, Origin::Flag | Origin::Environment),
        fallback: fallback.unwrap_or_default(),
        reasoning_budget: reasoning_budget.unwrap_or_default(),
        limits: Limits {
            max_steps: max_steps.unwrap_or(DEFAULT_MAX_STEPS),
            max_retries: max_retries.unwrap_or(DEFAULT_MAX_RETRIES),
        },
        budgets: Budgets {
            max_cost,
            max_tokens,
            max_duration_ms,
            max_steps: max_total_steps,
            max_tool_repetitions,
            max_delegates,
        },
        timeout_ms: timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS),
        max_parallel_delegates: parallel_delegates.unwrap_or(DEFAULT_MAX_PARALLEL_DELEGATES),
        sandbox,
        snapshot: snapshot.unwrap_or_default(),
        max_tool_output: project.and_then(|project| project.max_tool_output).unwrap_or(DEFAULT_MAX_TOOL_OUTPUT),
        context_limit: project.and_then(|project| project.context_limit).unwrap_or_default(),
        tool_search: project.and_then(|project| project.tool_search).unwrap_or_default(),
        origins: Origins {
            provider: provider_origin,
            model: model_origin,
            fallback: fallback_origin,
            reasoning_budget: reasoning_budget_origin,
            max_steps: max_steps_origin,
            max_retries: max_retries_origin,
            timeout: timeout_origin,
            max_parallel_delegates: parallel_delegates_origin,
            max_cost: max_cost_origin,
            max_tokens: max_tokens_origin,
            max_duration: max_duration_origin,
            max_total_steps: max_total_steps_origin,
            max_tool_repetitions: repetitions_origin,
            max_delegates: delegates_origin,
            sandbox: sandbox_origin,
            snapshot: snapshot_origin,
        },
        ceilings,
    })
}

/// The four sources, strongest first.
struct Levels<'a>([(Origin, &'a Overrides); 4]);

impl Levels<'_> {
    /// The value of the strongest source that sets one, and that source.
    fn strongest<T>(&self, value: impl Fn(&Overrides) -> Option<T>) -> (Option<T>, Origin) {
        let found = self.0.iter().find_map(|(origin, level)| Some((value(level)?, *origin)));
        found.map_or((None, Origin::BuiltIn), |(value, origin)| (Some(value), origin))
    }
}

#[cfg(test)]
mod tests;
