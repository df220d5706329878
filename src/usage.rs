//! Token counts of model calls: what a provider reports, and what can be relied on of it.

use serde::{Deserialize, Serialize};

/// Tokens of one or more model calls, as the provider reported them.
///
/// In some providers' counts `input_tokens` includes the cached ones (OpenAI), in others' not (Anthropic); it is kept as
/// reported. [`crate::generation::Generation::context_tokens`] is the same thing for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Tokens of the prompt.
    #[serde(with = "crate::count::Count")]
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning included where the provider counts it so.
    #[serde(with = "crate::count::Count")]
    pub output_tokens: u64,
    /// Tokens spent on reasoning; 0 when not reported.
    #[serde(with = "crate::count::Count")]
    pub reasoning_tokens: u64,
    /// The provider's total, or input + output.
    #[serde(with = "crate::count::Count")]
    pub total_tokens: u64,
    /// Prompt tokens read from the provider's cache.
    #[serde(with = "crate::count::Count")]
    pub cached_input_tokens: u64,
    /// Prompt tokens written to the provider's cache; left out of JSON when 0 (the original has no such field).
    #[serde(with = "crate::count::Count", skip_serializing_if = "is_zero")]
    pub cache_write_input_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// The field-wise sum; stays at the maximum instead of wrapping.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            total_tokens: self.total_tokens.saturating_add(other.total_tokens),
            cached_input_tokens: self.cached_input_tokens.saturating_add(other.cached_input_tokens),
            cache_write_input_tokens: self.cache_write_input_tokens.saturating_add(other.cache_write_input_tokens),
        }
    }
}

/// The counts that a provider reports for one answer, before they are relied on. A count that is absent is not zero.
///
/// Servers err in many ways here, and a budget is only as good as its counts. So what does not add up is unknown rather
/// than little ([`UsageReport::resolve`]), and the larger reading is taken where two are possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageReport {
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub reasoning: Option<u64>,
    pub cached_input: Option<u64>,
    pub cache_write_input: Option<u64>,
    pub total: Option<u64>,
    /// Of `input`: what does not stay in the conversation, as the results of a provider's own tools.
    pub passing_input: u64,
    /// The protocol counts cached tokens beside `input`, not among it.
    pub has_cache_beside: bool,
    /// `output` is that of an answer which has only begun.
    pub is_early: bool,
    /// A count cannot be read, or contradicts another.
    pub is_doubtful: bool,
}

impl UsageReport {
    /// Takes in a later report on the same answer. Counts only rise while an answer streams: a zero behind a count is a
    /// server that fills in what it does not know, and any other fall makes the whole doubtful.
    pub fn merge(&mut self, later: Self) {
        let before = *self;
        let last = |earlier: Option<u64>, later: Option<u64>| match (earlier, later) {
            (Some(_), Some(0)) | (_, None) => earlier,
            (_, later) => later,
        };
        self.input = last(before.input, later.input);
        self.output = last(before.output, later.output);
        self.reasoning = last(before.reasoning, later.reasoning);
        self.cached_input = last(before.cached_input, later.cached_input);
        self.cache_write_input = last(before.cache_write_input, later.cache_write_input);
        self.total = last(before.total, later.total);
        self.passing_input = before.passing_input.max(later.passing_input);
        self.has_cache_beside |= later.has_cache_beside;
        self.is_early = before.is_early && (later.is_early || later.output.is_none());
        // A server may move tokens from the input to the cache's counts once it knows; together they must not fall.
        let has_fallen = self.prompt() < before.prompt() || self.output < before.output;
        self.is_doubtful |= later.is_doubtful || has_fallen;
    }

    /// All tokens of the prompt.
    fn prompt(&self) -> Option<u64> {
        let input = self.input?;
        Some(if self.is_cache_beside() { input.saturating_add(self.cached()) } else { input })
    }

    /// More cached tokens than input are no part of it, whatever the protocol defines.
    fn is_cache_beside(&self) -> bool {
        self.has_cache_beside || self.input.is_some_and(|input| self.cached() > input)
    }

    fn cached(&self) -> u64 {
        self.cached_input.unwrap_or(0).saturating_add(self.cache_write_input.unwrap_or(0))
    }

    /// The usage, and the tokens that the conversation with the answer takes up in the context window. `None` where the
    /// report is not enough for it: a prompt of no tokens, an answer (`has_content`) of none, a doubtful count.
    pub fn resolve(self, has_content: bool) -> Option<(Usage, u64)> {
        let mut prompt = self.prompt().filter(|tokens| *tokens > 0)?;
        let mut output = self.output?;
        if self.is_doubtful || has_content && (output == 0 || self.is_early) {
            return None;
        }
        let mut input_tokens = self.input?;
        let reasoning_tokens = self.reasoning.unwrap_or(0);
        // What the total has and the counts have not: cached tokens beside the input, reasoning beside the answer.
        let excess = self.total.unwrap_or(0).saturating_sub(prompt.saturating_add(output));
        let is_cache = excess == self.cached() && excess != reasoning_tokens && !self.is_cache_beside();
        if excess > 0 && is_cache {
            prompt = prompt.saturating_add(excess);
            input_tokens = prompt;
        } else {
            output = output.saturating_add(excess);
        }
        if reasoning_tokens > output {
            output = output.saturating_add(reasoning_tokens);
        }
        let total_tokens = self.total.unwrap_or(0).max(input_tokens.saturating_add(output));
        let usage = Usage {
            input_tokens,
            output_tokens: output,
            reasoning_tokens,
            total_tokens,
            cached_input_tokens: self.cached_input.unwrap_or(0),
            cache_write_input_tokens: self.cache_write_input.unwrap_or(0),
        };
        Some((usage, prompt.saturating_sub(self.passing_input).saturating_add(output)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(input: u64, output: u64) -> UsageReport {
        UsageReport { input: Some(input), output: Some(output), ..UsageReport::default() }
    }

    /// Input, output and total of the usage, and the tokens in the window.
    fn counts(report: UsageReport) -> Option<(u64, u64, u64, u64)> {
        let (usage, context) = report.resolve(true)?;
        Some((usage.input_tokens, usage.output_tokens, usage.total_tokens, context))
    }

    #[test]
    fn a_plain_report_is_taken_as_it_is() {
        assert_eq!(counts(report(10, 5)), Some((10, 5, 15, 15)));
        let cached = UsageReport { cached_input: Some(4), total: Some(15), reasoning: Some(3), ..report(10, 5) };
        assert_eq!(counts(cached), Some((10, 5, 15, 15)));
        let beside = UsageReport { cached_input: Some(400), has_cache_beside: true, ..report(10, 5) };
        assert_eq!(counts(beside), Some((10, 5, 15, 415)));
    }

    #[test]
    fn what_holds_nothing_or_cannot_be_is_unknown() {
        for report in [
            UsageReport::default(),
            report(0, 0),
            report(10, 0),
            report(0, 5),
            UsageReport { output: None, total: Some(15), ..report(10, 0) },
            UsageReport { is_doubtful: true, ..report(10, 5) },
            UsageReport { is_early: true, ..report(10, 5) },
        ] {
            assert_eq!(counts(report), None, "{report:?}");
        }
        // An answer without content has no tokens of its own.
        assert!(report(10, 0).resolve(false).is_some());
    }

    #[test]
    fn reasoning_beside_the_answer_is_output() {
        let reported = UsageReport { reasoning: Some(2809), total: Some(14_428), ..report(10_120, 1499) };
        assert_eq!(counts(reported), Some((10_120, 4308, 14_428, 14_428)));
        // Without a total, too: an answer cannot have fewer tokens than its reasoning.
        let without_total = UsageReport { total: None, ..reported };
        assert_eq!(counts(without_total), Some((10_120, 4308, 14_428, 14_428)));
        let within = UsageReport { reasoning: Some(3), total: Some(15), ..report(10, 5) };
        assert_eq!(counts(within), Some((10, 5, 15, 15)));
    }

    #[test]
    fn cached_tokens_count_once_wherever_they_are() {
        let among = UsageReport { cached_input: Some(8), total: Some(15), ..report(10, 5) };
        let beside = UsageReport { cached_input: Some(8), total: Some(15), ..report(2, 5) };
        assert_eq!(among.resolve(true).map(|(_, context)| context), Some(15));
        assert_eq!(beside.resolve(true).map(|(_, context)| context), Some(15));
        let fewer_than_input = UsageReport { cached_input: Some(4), total: Some(15), ..report(6, 5) };
        assert_eq!(counts(fewer_than_input), Some((10, 5, 15, 15)));
    }

    #[test]
    fn a_later_zero_erases_nothing_and_a_fall_is_doubtful() {
        let merged = |reports: &[UsageReport]| {
            let mut all = UsageReport::default();
            for report in reports {
                all.merge(*report);
            }
            counts(all)
        };
        assert_eq!(merged(&[report(10, 1), report(10, 5)]), Some((10, 5, 15, 15)));
        assert_eq!(merged(&[report(10, 5), report(0, 0)]), Some((10, 5, 15, 15)));
        assert_eq!(merged(&[report(10, 1), report(0, 5), UsageReport::default()]), Some((10, 5, 15, 15)));
        assert_eq!(merged(&[report(10, 5), report(7, 5)]), None);
        assert_eq!(merged(&[report(10, 5), report(10, 2)]), None);
        // The same prompt, now with the part that was cached.
        let later = UsageReport { cached_input: Some(8), has_cache_beside: true, ..report(2, 5) };
        assert_eq!(merged(&[UsageReport { has_cache_beside: true, ..report(10, 1) }, later]), Some((2, 5, 7, 15)));
    }

    #[test]
    fn the_output_of_an_answer_that_has_only_begun_is_not_its_own() {
        let start = UsageReport { is_early: true, ..report(10, 1) };
        let mut all = start;
        all.merge(UsageReport { input: None, ..report(0, 5) });
        assert_eq!(counts(all), Some((10, 5, 15, 15)));
        let mut all = start;
        all.merge(UsageReport { output: None, ..report(10, 0) });
        assert_eq!(counts(all), None);
    }
}
