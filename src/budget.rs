//! Budgets: what a job may spend, what it has spent, and what is set aside for a request before it is sent.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cost::Cost;

/// The least that [`Budgets::max_tool_repetitions`] may be: one call repeats nothing.
pub const MIN_TOOL_REPETITIONS: u64 = 2;

/// Milliseconds of the units that a duration is written in.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The limits of what a job may spend, all its Runs together, over all invocations. Absent: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Budgets {
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<Cost>,
    /// Tokens of all prompts, cached parts included, and of all answers.
    #[serde(with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Time that processes have worked on the job.
    #[serde(with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub max_duration_ms: Option<u64>,
    /// Steps of all Runs, where a limit was given. ([`crate::setting::Limits::max_steps`] bounds each line of Runs.)
    #[serde(with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// The number of times in a row that the same call with the same result ends a Run; at least [`MIN_TOOL_REPETITIONS`].
    #[serde(with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub max_tool_repetitions: Option<u64>,
    /// The number of delegates that the job may start; absent: [`crate::machine::TreeLimits`]'s default.
    #[serde(with = "crate::count::OptionalCount", skip_serializing_if = "Option::is_none")]
    pub max_delegates: Option<u64>,
}

impl Budgets {
    /// Nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns true if a request needs something set aside before it is sent.
    pub fn are_reserved(&self) -> bool {
        self.max_cost.is_some() || self.max_tokens.is_some()
    }

    /// Returns true if a request needs to be asked for.
    pub fn are_shared(&self) -> bool {
        self.are_reserved() || self.max_steps.is_some()
    }
}

/// The amounts that a job has spent, as its budgets count it: where the provider did not report, what was set aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Spent {
    #[serde(with = "crate::count::Count")]
    pub tokens: u64,
    /// US dollars, as far as prices are known.
    pub cost: Cost,
    /// Steps of all Runs.
    #[serde(with = "crate::count::Count")]
    pub steps: u64,
    /// Time that processes have worked on the job.
    #[serde(with = "crate::count::Count")]
    pub active_ms: u64,
}

/// The charge of one or more requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Charge {
    #[serde(with = "crate::count::Count")]
    pub tokens: u64,
    pub cost: Cost,
}

impl Charge {
    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), cost: self.cost.plus(other.cost) }
    }

    /// The difference to `other`; never below nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        let cost = self.cost.picodollars().saturating_sub(other.cost.picodollars());
        Self { tokens: self.tokens.saturating_sub(other.tokens), cost: Cost::from_picodollars(cost) }
    }
}

/// The amounts set aside for one request: the most that it can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The prompt's upper bound, and its cost's.
    #[serde(with = "crate::count::Count")]
    pub prompt_tokens: u64,
    pub prompt_cost: Cost,
    /// The limit on the answer that is sent, reasoning included.
    #[serde(with = "crate::count::Count")]
    pub output_tokens: u64,
    /// Of prompt and answer.
    pub cost: Cost,
    /// The answer's limit is lower than the model's own: an answer that is cut off there was cut off by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamped_by: Option<Reached>,
}

impl Reservation {
    /// All of it.
    pub fn whole(&self) -> Charge {
        Charge { tokens: self.prompt_tokens.saturating_add(self.output_tokens), cost: self.cost }
    }

    /// The prompt's part.
    pub fn prompt(&self) -> Charge {
        Charge { tokens: self.prompt_tokens, cost: self.prompt_cost }
    }
}

/// A budget that is used up: too little is left to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reached {
    /// `next`: the least that had to be set aside for the next request.
    Cost { limit: Cost, spent: Cost, next: Cost },
    /// As for the cost.
    Tokens {
        #[serde(with = "crate::count::Count")]
        limit: u64,
        #[serde(with = "crate::count::Count")]
        spent: u64,
        #[serde(with = "crate::count::Count")]
        next: u64,
    },
    /// Milliseconds.
    Duration {
        #[serde(with = "crate::count::Count")]
        limit_ms: u64,
        #[serde(with = "crate::count::Count")]
        spent_ms: u64,
    },
    /// Steps of all Runs.
    Steps {
        #[serde(with = "crate::count::Count")]
        limit: u64,
        #[serde(with = "crate::count::Count")]
        spent: u64,
    },
    /// The call that was made `limit` times in a row.
    ToolRepetitions {
        #[serde(with = "crate::count::Count")]
        limit: u64,
        tool_name: String,
    },
}

impl Reached {
    /// Returns true if it ends the whole job; a repetition is the matter of the Run that made it.
    pub fn ends_job(&self) -> bool {
        !matches!(self, Self::ToolRepetitions { .. })
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cost { limit, spent, next } => {
                write!(
                    f,
                    "the cost budget of {limit} is reached: {spent} spent, and the next request may cost {next} or more"
                )
            }
            Self::Tokens { limit, spent, next } => write!(
                f,
                "the token budget of {limit} is reached: {spent} spent, and the next request may take {next} or more"
            ),
            Self::Duration { limit_ms, spent_ms } => write!(
                f,
                "the time budget of {} is reached: {} spent",
                Span::from_ms(*limit_ms),
                Span::from_ms(*spent_ms)
            ),
            Self::Steps { limit, spent } => {
                write!(f, "the budget of {limit} steps is reached: {spent} taken by all runs of the job")
            }
            Self::ToolRepetitions { limit, tool_name } => {
                write!(
                    f,
                    "the budget of repetitions is reached: {tool_name} was called {limit} times in a row with the same \
                     arguments and the same result"
                )
            }
        }
    }
}

/// A length of time as people write it: `90s`, `10m`, `1h30m`, `500ms`. At least a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

impl Span {
    /// Of milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// In milliseconds.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Span {
    /// The largest units first, without those of which there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, ms) in UNITS {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length of time: write a number with h, m, s or ms, such as 90s, 10m or 1h30m")]
pub struct InvalidSpan(String);

impl FromStr for Span {
    type Err = InvalidSpan;
    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        read_span(text.trim())
            .filter(|ms| *ms > 0)
            .map(Self)
            .ok_or_else(|| InvalidSpan(text.chars().take(60).collect()))
    }
}

/// Milliseconds; the units must come largest first, each once.
fn read_span(mut text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, rest) = text.split_at_checked(digits)?;
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(letters)?;
        let (_, ms) = units.find(|(unit, _)| *unit == word)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*ms)?)?;
        text = rest;
    }
    Some(total)
}

/// A text that is no amount of money to spend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no amount of US dollars above 0: write a number, such as 0.50")]
pub struct InvalidAmount(String);

/// Reads an amount of US dollars above nothing: `0.5`, `$2`.
///
/// # Errors
/// [`InvalidAmount`].
pub fn dollars(text: &str) -> Result<Cost, InvalidAmount> {
    let number = text.trim();
    number
        .strip_prefix('$')
        .unwrap_or(number)
        .parse::<f64>()
        .ok()
        .and_then(Cost::from_usd)
        .filter(|cost| *cost > Cost::ZERO)
        .ok_or_else(|| InvalidAmount(text.chars().take(60).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_as_people_write_them_and_back() {
        for (text, ms) in [("10m", 600_000), ("90s", 90_000), ("1h30m", 5_400_000), ("500ms", 500), ("2s5ms", 2005)] {
            assert_eq!(text.parse(), Ok(Span(ms)), "{text}");
            assert_eq!(Span(ms).to_string().parse(), Ok(Span(ms)), "{text}");
        }
        assert_eq!(Span(90_000).to_string(), "1m30s");
        for text in ["", "10", "m", "0s", "-1m", "1.5h", "10 m", "5s1m", "1m1m", "99999999999999999999s", "1ß"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_above_nothing() {
        assert_eq!(dollars("0.5").map(Cost::picodollars), Ok(500_000_000_000));
        assert_eq!(dollars(" $2 ").map(Cost::picodollars), Ok(2_000_000_000_000));
        for text in ["", "0", "-1", "nan", "inf", "1e300", "five", "0,5"] {
            assert!(dollars(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_reached_is_one_flat_object() {
        let reached = Reached::Cost {
            limit: Cost::from_picodollars(500_000_000_000),
            spent: Cost::from_picodollars(250_000_000_000),
            next: Cost::from_picodollars(300_000_000_000),
        };
        let json = serde_json::to_value(&reached).unwrap();
        assert_eq!(json, serde_json::json!({"kind": "cost", "limit": 0.5, "spent": 0.25, "next": 0.3}));
        assert_eq!(serde_json::from_value::<Reached>(json).unwrap(), reached);
    }
}
