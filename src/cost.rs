//! Money: what a model's tokens cost, and what was spent.
//!
//! All amounts are whole picodollars, so that sums do not depend on their order: 1 USD per million tokens is 1,000,000
//! picodollars a token. A price that is not known makes a cost that is not known, never a cost of zero.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Picodollars in a dollar.
const PICO_PER_USD: u64 = 1_000_000_000_000;

/// Most picodollars that are written: 9 million dollars, well within what is read, so that a sum that stays at the maximum
/// can be read again.
const MAX_STORED: u64 = 9_000_000 * PICO_PER_USD;

/// Tokens of one model call by what they are charged as, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BilledTokens {
    /// Prompt tokens neither read from the provider's cache nor written to it.
    pub input: u64,
    /// Prompt tokens read from the cache.
    pub cached_input: u64,
    /// Prompt tokens written to the cache.
    pub cache_write: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
}

impl BilledTokens {
    /// Tokens of the whole prompt.
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cached_input).saturating_add(self.cache_write)
    }
}

/// Picodollars per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    pub input: u64,
    /// The same as `input` where a provider gives no discount.
    pub cached_input: u64,
    /// `None`: charged as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// Reasoning included.
    pub output: u64,
}

impl Rates {
    fn cost(&self, tokens: &BilledTokens) -> Cost {
        let write = self.cache_write.unwrap_or(self.input);
        Cost::for_tokens(self.input, tokens.input)
            .plus(Cost::for_tokens(self.cached_input, tokens.cached_input))
            .plus(Cost::for_tokens(write, tokens.cache_write))
            .plus(Cost::for_tokens(self.output, tokens.output))
    }

    /// The most that `prompt` and `output` tokens can cost, whatever the cache does.
    fn ceiling(&self, prompt: u64, output: u64) -> Cost {
        let dearest = self.input.max(self.cached_input).max(self.cache_write.unwrap_or(0));
        Cost::for_tokens(dearest, prompt).plus(Cost::for_tokens(self.output, output))
    }
}

/// The price of a model's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    pub rates: Rates,
    /// Other rates for calls with a long prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_prompts: Option<LongPrompts>,
}

/// Rates of calls whose prompt, cached parts included, has more than `over` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LongPrompts {
    pub over: u64,
    pub rates: Rates,
}

impl Price {
    /// The cost of one call that used `tokens`.
    pub fn cost(&self, tokens: &BilledTokens) -> Cost {
        self.rates_of(tokens.prompt()).cost(tokens)
    }

    /// The most that one call can cost whose prompt has at most `prompt` tokens and whose answer at most `output`.
    pub fn ceiling(&self, prompt: u64, output: u64) -> Cost {
        let short = self.rates.ceiling(prompt, output);
        match self.long_prompts {
            Some(long) if prompt > long.over => short.max(long.rates.ceiling(prompt, output)),
            _ => short,
        }
    }

    fn rates_of(&self, prompt: u64) -> &Rates {
        match &self.long_prompts {
            Some(long) if prompt > long.over => &long.rates,
            _ => &self.rates,
        }
    }
}

/// An amount of money: whole picodollars in memory, US dollars in JSON (`0.012345`) and to people (`$0.0123`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u64);

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount in picodollars.
    pub const fn from_picodollars(picodollars: u64) -> Self {
        Self(picodollars)
    }

    /// An amount in US dollars, to the nearest picodollar; `None` for what is no amount: negative, not finite, or
    /// beyond 18 million dollars.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked first; every picodollar up to 2000 dollars is met"
    )]
    pub fn from_usd(usd: f64) -> Option<Self> {
        let picodollars = (usd * PICO_PER_USD as f64).round();
        (picodollars >= 0.0 && picodollars < u64::MAX as f64).then_some(Self(picodollars as u64))
    }

    /// The amount in picodollars.
    pub const fn picodollars(self) -> u64 {
        self.0
    }

    /// The amount in US dollars.
    #[expect(clippy::cast_precision_loss, reason = "right to 16 digits")]
    pub fn usd(self) -> f64 {
        self.0 as f64 / PICO_PER_USD as f64
    }

    /// The sum; stays at the maximum instead of wrapping.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    const fn for_tokens(rate: u64, tokens: u64) -> Self {
        Self(rate.saturating_mul(tokens))
    }
}

impl fmt::Display for Cost {
    /// Cents from a dollar on, two more digits below, two more again below a tenth of a cent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0 {
            0 => return f.write_str("$0"),
            // Less than the last digit shows.
            1..500_000 => return f.write_str("<$0.000001"),
            500_000..1_000_000_000 => 6,
            1_000_000_000..1_000_000_000_000 => 4,
            _ => 2,
        };
        write!(f, "${:.decimals$}", self.usd())
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let stored = Self(self.0.min(MAX_STORED));
        if stored.0.is_multiple_of(PICO_PER_USD) {
            to.serialize_u64(stored.0 / PICO_PER_USD)
        } else {
            to.serialize_f64(stored.usd())
        }
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let usd = f64::deserialize(from)?;
        Self::from_usd(usd).ok_or_else(|| D::Error::custom(format!("{usd} is no amount of US dollars")))
    }
}

/// The cost of model calls together, as far as it is known.
///
/// JSON: `cost`, and `costIsComplete: false` where it is not; neither where nothing is known. To be flattened into the
/// object that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredSpend", into = "StoredSpend")]
pub struct Spend {
    /// The known part.
    pub cost: Cost,
    /// Nothing is missing from `cost`; otherwise it is the least that was spent.
    pub is_complete: bool,
}

impl Default for Spend {
    /// Nothing was spent.
    fn default() -> Self {
        Self::known(Cost::ZERO)
    }
}

impl Spend {
    /// An amount of which nothing is known.
    pub const UNKNOWN: Self = Self { cost: Cost::ZERO, is_complete: false };

    /// Exactly `cost`.
    pub const fn known(cost: Cost) -> Self {
        Self { cost, is_complete: true }
    }

    /// Of the fields `cost` and `costIsComplete` of the object that it is flattened into.
    pub fn of_fields(cost: Option<Cost>, is_complete: Option<bool>) -> Self {
        match cost {
            Some(cost) => Self { cost, is_complete: is_complete.unwrap_or(true) },
            None => Self::UNKNOWN,
        }
    }

    /// Of one call with this price that used these tokens; either may be unknown.
    pub fn for_usage(price: Option<&Price>, tokens: Option<BilledTokens>) -> Self {
        match (price, tokens) {
            (Some(price), Some(tokens)) => Self::known(price.cost(&tokens)),
            _ => Self::UNKNOWN,
        }
    }

    /// The sum; complete when both are.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { cost: self.cost.plus(other.cost), is_complete: self.is_complete && other.is_complete }
    }

    /// Returns true if nothing of the amount is known.
    pub fn is_unknown(self) -> bool {
        self == Self::UNKNOWN
    }
}

impl fmt::Display for Spend {
    /// `$0.0123`, or `≥$0.0123` where a part is unknown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_complete {
            f.write_str("≥")?;
        }
        self.cost.fmt(f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSpend {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_is_complete: Option<bool>,
}

impl From<Spend> for StoredSpend {
    fn from(spend: Spend) -> Self {
        Self {
            cost: (!spend.is_unknown()).then_some(spend.cost),
            cost_is_complete: (!spend.is_unknown() && !spend.is_complete).then_some(false),
        }
    }
}

impl From<StoredSpend> for Spend {
    fn from(stored: StoredSpend) -> Self {
        Self::of_fields(stored.cost, stored.cost_is_complete)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 3 and 15 dollars per million, cached 0.30, written 3.75; doubled above 200,000.
    const PRICE: Price = Price {
        rates: Rates { input: 3_000_000, cached_input: 300_000, cache_write: Some(3_750_000), output: 15_000_000 },
        long_prompts: Some(LongPrompts {
            over: 200_000,
            rates: Rates { input: 6_000_000, cached_input: 600_000, cache_write: None, output: 22_500_000 },
        }),
    };

    fn tokens(input: u64, cached_input: u64, cache_write: u64, output: u64) -> BilledTokens {
        BilledTokens { input, cached_input, cache_write, output }
    }

    #[test]
    fn each_kind_of_token_has_its_rate() {
        let cost = |tokens: BilledTokens| PRICE.cost(&tokens).picodollars();
        assert_eq!(cost(tokens(100, 0, 0, 0)), 300_000_000);
        assert_eq!(cost(tokens(0, 100, 0, 0)), 30_000_000);
        assert_eq!(cost(tokens(0, 0, 100, 0)), 375_000_000);
        assert_eq!(cost(tokens(0, 0, 0, 100)), 1_500_000_000);
        assert_eq!(cost(tokens(100, 100, 100, 100)), 2_205_000_000);
    }

    #[test]
    fn a_long_prompt_has_other_rates_and_its_cached_part_counts() {
        assert_eq!(PRICE.cost(&tokens(200_000, 0, 0, 0)).picodollars(), 200_000 * 3_000_000);
        assert_eq!(PRICE.cost(&tokens(200_001, 0, 0, 0)).picodollars(), 200_001 * 6_000_000);
        // No write rate there: as input.
        assert_eq!(PRICE.cost(&tokens(1, 200_000, 1, 0)).picodollars(), 6_000_000 + 200_000 * 600_000 + 6_000_000);
    }

    #[test]
    fn the_ceiling_holds_for_every_way_the_cache_may_go() {
        for prompt in [0, 199_999, 200_000, 200_001, 1_000_000] {
            for split in [(prompt, 0, 0), (0, prompt, 0), (0, 0, prompt), (prompt / 2, 0, prompt - prompt / 2)] {
                let cost = PRICE.cost(&tokens(split.0, split.1, split.2, 7));
                assert!(cost <= PRICE.ceiling(prompt, 7), "{prompt} {split:?}");
            }
        }
        assert_eq!(PRICE.ceiling(200_000, 0).picodollars(), 200_000 * 3_750_000);
    }

    #[test]
    fn amounts_are_shown_with_the_digits_that_matter() {
        let shown = |picodollars| Cost::from_picodollars(picodollars).to_string();
        assert_eq!(shown(0), "$0");
        assert_eq!(shown(1), "<$0.000001");
        assert_eq!(shown(45_000_000), "$0.000045");
        assert_eq!(shown(12_345_000_000), "$0.0123");
        assert_eq!(shown(999_900_000_000), "$0.9999");
        assert_eq!(shown(12_340_000_000_000), "$12.34");
        let spend = Spend::known(Cost::from_picodollars(12_345_000_000));
        assert_eq!(spend.to_string(), "$0.0123");
        assert_eq!(spend.plus(Spend::UNKNOWN).to_string(), "≥$0.0123");
    }

    #[test]
    fn amounts_survive_json_to_the_picodollar() {
        for picodollars in [0, 1, 999, 12_345_000_000, PICO_PER_USD, 2_000_000_000_000_001] {
            let cost = Cost::from_picodollars(picodollars);
            let text = serde_json::to_string(&cost).unwrap();
            assert_eq!(serde_json::from_str::<Cost>(&text).unwrap(), cost, "{text}");
        }
        assert_eq!(serde_json::to_string(&Cost::from_picodollars(12_345_000_000)).unwrap(), "0.012345");
        let most = serde_json::to_string(&Cost::from_picodollars(u64::MAX)).unwrap();
        assert_eq!(serde_json::from_str::<Cost>(&most).unwrap().picodollars(), MAX_STORED);
        for text in ["-1", "1e99", "\"1\"", "-0.5"] {
            assert!(serde_json::from_str::<Cost>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_is_absent_and_what_is_absent_is_unknown() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Holder {
            #[serde(flatten)]
            spend: Spend,
        }
        let known = Spend::known(Cost::from_picodollars(500_000_000_000));
        for (spend, json) in [
            (Spend::UNKNOWN, json!({})),
            (Spend::default(), json!({"cost": 0})),
            (known, json!({"cost": 0.5})),
            (known.plus(Spend::UNKNOWN), json!({"cost": 0.5, "costIsComplete": false})),
        ] {
            assert_eq!(serde_json::to_value(Holder { spend }).unwrap(), json);
            assert_eq!(serde_json::from_value::<Holder>(json).unwrap(), Holder { spend });
        }
    }

    #[test]
    fn an_unknown_part_makes_a_sum_incomplete_and_never_zero() {
        let call = Spend::for_usage(Some(&PRICE), Some(tokens(100, 0, 0, 0)));
        assert_eq!(call, Spend::known(Cost::from_picodollars(300_000_000)));
        assert_eq!(Spend::for_usage(None, Some(tokens(1, 1, 1, 1))), Spend::UNKNOWN);
        assert_eq!(Spend::for_usage(Some(&PRICE), None), Spend::UNKNOWN);
        assert_eq!(call.plus(Spend::UNKNOWN), Spend { cost: call.cost, is_complete: false });
        assert_eq!(Cost::from_picodollars(u64::MAX).plus(call.cost).picodollars(), u64::MAX);
    }
}
