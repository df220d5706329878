//! [`TestResults`]: the results of the cases of tests as one JSON object, and the estimates that are made of repetitions. The
//! command line fills and prints it, and reads an earlier one as a baseline; what makes a case pass is decided there.

use serde::{Deserialize, Serialize};

use crate::cost::Cost;

/// Version of the object's shape; a field is only ever added within one version.
pub const TEST_SCHEMA_VERSION: u32 = 1;

/// Estimates are given to a millionth, so that `0.3` is not `0.30000000000000004`.
const DIGITS: f64 = 1e6;

/// The results of all cases.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TestResults {
    /// Numbers of cases.
    pub passed: u64,
    pub failed: u64,
    /// Cases that would ask a model, without `--live`.
    #[serde(default)]
    pub skipped: u64,
    /// Cases that were not run to their end: the budget was spent, or a signal came.
    #[serde(default)]
    pub not_run: u64,
    pub cases: Vec<CaseResult>,
    /// US dollars of all that was asked now, judges included; null when nothing is known of them. What recordings cost is not
    /// in it.
    #[serde(default)]
    pub cost: Option<Cost>,
    /// False where `cost` is a lower bound.
    #[serde(default)]
    pub cost_is_complete: bool,
    /// Milliseconds from the first case to the last.
    #[serde(default)]
    pub duration_ms: u64,
    /// The comparison with an earlier result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineChanges>,
    /// Version of this shape; a field is only ever added within one version.
    pub schema_version: u32,
}

/// The way in which a case, or a repetition of one, ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum CaseStatus {
    #[default]
    #[strum(serialize = "passed")]
    Passed,
    #[strum(serialize = "failed")]
    Failed,
    #[strum(serialize = "skipped")]
    Skipped,
    #[strum(serialize = "not run")]
    NotRun,
}

impl CaseStatus {
    /// The word for people.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The result of a case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CaseResult {
    /// The file of tests, as it was named.
    pub file: String,
    pub name: String,
    /// Absent in results of earlier versions, whose cases have passed when they have no failures.
    #[serde(default)]
    pub status: CaseStatus,
    /// True of a case that asks a model.
    #[serde(default)]
    pub live: bool,
    /// The reason for which it was skipped or not run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// All that was not as expected, a text each.
    pub failures: Vec<String>,
    /// The first request that is not the recorded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<CaseDifference>,
    /// Expectations that only a run with `--live` looks at, by their keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<String>,
    /// The sums of all repetitions that ended, or the numbers of the recording; absent where there is no end.
    #[serde(flatten)]
    pub numbers: Option<CaseNumbers>,
    /// A case that asks a model: each time that it was run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repetitions: Vec<Repetition>,
    /// The same: the repetitions that have to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_passes: Option<u64>,
    /// The same: estimates for 1, 2, … repetitions, from all that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub estimates: Vec<PassEstimate>,
}

/// The first request that differs from a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CaseDifference {
    pub expert: String,
    pub step: u64,
    pub cause: String,
    /// The name of the tool or setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The numbers of jobs that came to an end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CaseNumbers {
    pub steps: u64,
    pub tokens: u64,
    /// US dollars, those of judges included; null when nothing is known of them.
    pub cost: Option<Cost>,
    /// False where `cost` is a lower bound.
    #[serde(default)]
    pub cost_is_complete: bool,
    /// Milliseconds; of a recording, those of its replay.
    #[serde(default)]
    pub duration_ms: u64,
}

impl CaseNumbers {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(other.steps),
            tokens: self.tokens.saturating_add(other.tokens),
            cost: match (self.cost, other.cost) {
                (Some(cost), Some(more)) => Some(cost.plus(more)),
                (cost, more) => cost.or(more),
            },
            cost_is_complete: self.cost_is_complete && other.cost_is_complete,
            duration_ms: self.duration_ms.saturating_add(other.duration_ms),
        }
    }
}

/// One repetition of a case that asks a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Repetition {
    pub status: CaseStatus,
    /// The reason for which it was not run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub failures: Vec<String>,
    /// The stored job, for `perstack log`; absent where none was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(flatten)]
    pub numbers: Option<CaseNumbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
}

/// The score that an expert gave an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    pub expert: String,
    /// From 0 to 1; absent where the judge gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The judge's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The score from which on the answer passes.
    pub threshold: f64,
    /// US dollars; null when nothing is known of them.
    pub cost: Option<Cost>,
    /// The judge's stored job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
}

/// Estimates for a number of repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PassEstimate {
    /// The number of repetitions.
    pub k: u64,
    /// pass@k: the probability that at least one of `k` repetitions passes.
    pub any: f64,
    /// pass^k: the probability that all of `k` repetitions pass.
    pub all: f64,
}

/// The difference between these results and earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BaselineChanges {
    /// The file of the earlier results.
    pub file: String,
    /// Cases that ended as they did then.
    pub same: u64,
    /// Cases that were skipped or not run, now or then.
    pub not_compared: u64,
    pub worse: Vec<CaseChange>,
    pub better: Vec<CaseChange>,
    /// Cases that were not there then.
    pub new: Vec<CaseChange>,
    /// Cases that are not there now.
    pub gone: Vec<CaseChange>,
}

/// The change of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CaseChange {
    pub file: String,
    pub name: String,
    /// The end then, in words; absent of a new case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The end now; absent of a case that is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// The failures that are new, or those that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// Estimates for 1 to `runs` repetitions, of which `passed` passed: of all choices of `k` of them, the share in which one passed,
/// and the share in which all did. Both are without bias (pass@k: arXiv 2107.03374, 2.1; pass^k: arXiv 2406.12045, 2).
pub fn estimates(runs: u64, passed: u64) -> Vec<PassEstimate> {
    let failed = runs.saturating_sub(passed);
    let rounded = |share: f64| (share * DIGITS).round() / DIGITS;
    let estimate =
        |k| PassEstimate { k, any: rounded(1.0 - share(failed, runs, k)), all: rounded(share(passed, runs, k)) };
    (1..=runs).map(estimate).collect()
}

/// The share of the choices of `k` out of `all` that are within `some` of them: the quotient of two binomial coefficients, as a
/// product that neither overflows nor rounds to zero on its way.
fn share(some: u64, all: u64, k: u64) -> f64 {
    if k > some {
        return 0.0;
    }
    (0..k).map(|at| as_float(some.saturating_sub(at)) / as_float(all.saturating_sub(at))).product()
}

#[expect(clippy::cast_precision_loss, reason = "repetitions are few")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(runs: u64, passed: u64) -> Vec<(u64, String, String)> {
        let of = |PassEstimate { k, any, all }| (k, format!("{any:.4}"), format!("{all:.4}"));
        estimates(runs, passed).into_iter().map(of).collect()
    }

    fn row(k: u64, any: &str, all: &str) -> (u64, String, String) {
        (k, any.to_owned(), all.to_owned())
    }

    #[test]
    fn estimates_count_the_choices_of_runs() {
        // Of 5 runs 3 passed: C(2, k) / C(5, k) choices have no pass, C(3, k) / C(5, k) nothing else.
        assert_eq!(
            rounded(5, 3),
            [
                row(1, "0.6000", "0.6000"),
                row(2, "0.9000", "0.3000"),
                row(3, "1.0000", "0.1000"),
                row(4, "1.0000", "0.0000"),
                row(5, "1.0000", "0.0000"),
            ]
        );
        assert_eq!(rounded(2, 0), [row(1, "0.0000", "0.0000"), row(2, "0.0000", "0.0000")]);
        assert_eq!(rounded(2, 2), [row(1, "1.0000", "1.0000"), row(2, "1.0000", "1.0000")]);
        assert_eq!(estimates(0, 0), []);
    }

    #[test]
    fn many_runs_give_numbers_within_their_bounds() {
        for passed in [0, 1, 499, 999, 1000] {
            let all = estimates(1000, passed);
            assert!(all.iter().all(|it| (0.0..=1.0).contains(&it.any) && (0.0..=1.0).contains(&it.all)), "{passed}");
            assert!(all.is_sorted_by(|one, next| one.any <= next.any && one.all >= next.all), "{passed}");
        }
    }

    #[test]
    fn results_of_earlier_versions_are_read() {
        let old = r#"{"passed":1,"failed":1,"cases":[
            {"file":"a","name":"x","failures":[],"steps":2,"tokens":7,"cost":null},
            {"file":"a","name":"y","failures":["no"]}],"schemaVersion":1}"#;
        let results: TestResults = serde_json::from_str(old).unwrap();
        assert_eq!(results.cases[0].numbers.map(|numbers| (numbers.steps, numbers.tokens)), Some((2, 7)));
        assert_eq!((results.cases[1].numbers, results.skipped), (None, 0));
    }
}
