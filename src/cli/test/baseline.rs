//! [`changes`]: what is worse and what is better than in an earlier result, case by case. [`read`] reads that result.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use perstack::test_results::{BaselineChanges, CaseChange, CaseResult, CaseStatus, TEST_SCHEMA_VERSION, TestResults};
use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::render::visible;

/// Most failures of a case that are shown as the reason of its change.
const MOST_REASONS: usize = 5;

/// Reads the result in the file at `path`.
///
/// # Errors
/// With the exit code for usage: it cannot be read, is none, or is of another version.
pub fn read(path: &Path, shown: &Path) -> Result<TestResults, Failure> {
    let shown = visible(&shown.display().to_string());
    let help = "write it with `perstack test --save-baseline FILE`";
    let refused = |why: String| Failure::usage(anyhow!("--baseline {shown} {why}")).help(help);
    let text = fs::read(path).with_context(|| format!("--baseline {shown} cannot be read"));
    let text = text.map_err(|error| Failure::usage(error).help(help))?;
    let object: Value =
        serde_json::from_slice(&text).map_err(|error| refused(format!("is damaged or no result: {error}")))?;
    match object.get("schemaVersion").map(Value::as_u64) {
        Some(Some(version)) if version == u64::from(TEST_SCHEMA_VERSION) => {}
        Some(version) => {
            let version = version.map_or_else(|| "another version".to_owned(), |version| format!("version {version}"));
            return Err(refused(format!("is of {version}, and this perstack reads version {TEST_SCHEMA_VERSION}"))
                .help("compare with the perstack that wrote it, or write it again with --save-baseline"));
        }
        None => return Err(refused("is no result of tests: it has no schemaVersion".to_owned())),
    }
    let mut results: TestResults =
        serde_json::from_value(object).map_err(|error| refused(format!("is damaged or no result: {error}")))?;
    for case in &mut results.cases {
        // Earlier versions had the failures alone.
        if case.status == CaseStatus::Passed && !case.failures.is_empty() {
            case.status = CaseStatus::Failed;
        }
    }
    Ok(results)
}

/// Compares `now` with `before`, which was read from `file`. Cases are the same by file and name.
pub fn changes(before: &TestResults, now: &TestResults, file: &Path) -> BaselineChanges {
    let mut changes = BaselineChanges { file: file.display().to_string(), ..BaselineChanges::default() };
    let key = |case: &CaseResult| (case.file.clone(), case.name.clone());
    let change = |before: Option<&CaseResult>, now: Option<&CaseResult>, why: Vec<String>| {
        let (file, name) = before.or(now).map(key).unwrap_or_default();
        CaseChange { file, name, before: before.map(in_words), now: now.map(in_words), why }
    };
    for case in &now.cases {
        let Some(then) = before.cases.iter().find(|then| key(then) == key(case)) else {
            changes.new.push(change(None, Some(case), Vec::new()));
            continue;
        };
        match (standing(then), standing(case)) {
            (Some(was), Some(is)) if is.is_below(was) => {
                changes.worse.push(change(Some(then), Some(case), beyond(case, then)));
            }
            (Some(was), Some(is)) if was.is_below(is) => {
                changes.better.push(change(Some(then), Some(case), beyond(then, case)));
            }
            (Some(_), Some(_)) => changes.same = changes.same.saturating_add(1),
            _ => changes.not_compared = changes.not_compared.saturating_add(1),
        }
    }
    let is_gone = |then: &&CaseResult| !now.cases.iter().any(|case| key(case) == key(then));
    changes.gone = before.cases.iter().filter(is_gone).map(|then| change(Some(then), None, Vec::new())).collect();
    changes
}

/// The place of a case among better and worse ones.
#[derive(Clone, Copy)]
struct Standing {
    passed: bool,
    /// Passes and repetitions, of a case that asks a model.
    runs: Option<(u64, u64)>,
}

impl Standing {
    fn is_below(self, other: Self) -> bool {
        match (self.runs, other.runs) {
            _ if self.passed != other.passed => other.passed,
            // As fractions, without rounding.
            (Some((passes, runs)), Some((others, other_runs))) => {
                u128::from(passes) * u128::from(other_runs) < u128::from(others) * u128::from(runs)
            }
            _ => false,
        }
    }
}

/// None of a case without a verdict.
fn standing(case: &CaseResult) -> Option<Standing> {
    let passed = match case.status {
        CaseStatus::Passed => true,
        CaseStatus::Failed => false,
        CaseStatus::Skipped | CaseStatus::NotRun => return None,
    };
    Some(Standing { passed, runs: runs(case) })
}

/// The passes among the repetitions that ended, and the number of these.
pub fn runs(case: &CaseResult) -> Option<(u64, u64)> {
    let count = |status| case.repetitions.iter().filter(|it| it.status == status).count();
    let (passed, failed) = (count(CaseStatus::Passed), count(CaseStatus::Failed));
    let all = passed.saturating_add(failed);
    (all > 0).then(|| (u64::try_from(passed).unwrap_or(u64::MAX), u64::try_from(all).unwrap_or(u64::MAX)))
}

fn in_words(case: &CaseResult) -> String {
    match runs(case) {
        Some((passes, runs)) if runs > 1 => format!("{} ({passes} of {runs} repetitions)", case.status.name()),
        _ => case.status.name().to_owned(),
    }
}

/// The failures of `case` that `other` does not have, or all where they are the same: the first lines, each once.
fn beyond(case: &CaseResult, other: &CaseResult) -> Vec<String> {
    let first_lines = |case: &CaseResult| -> Vec<String> {
        let of_runs = case.repetitions.iter().flat_map(|run| &run.failures);
        let mut lines: Vec<String> = Vec::new();
        for failure in case.failures.iter().chain(of_runs) {
            let line = failure.lines().next().unwrap_or_default();
            if !lines.iter().any(|known| known == line) {
                lines.push(line.to_owned());
            }
        }
        lines
    };
    let (own, others) = (first_lines(case), first_lines(other));
    let mut beyond: Vec<String> = own.iter().filter(|line| !others.contains(line)).cloned().collect();
    if beyond.is_empty() {
        beyond = own;
    }
    beyond.truncate(MOST_REASONS);
    beyond
}

#[cfg(test)]
mod tests {
    use perstack::test_results::Repetition;

    use super::*;

    fn case(name: &str, status: CaseStatus, failures: &[&str]) -> CaseResult {
        let failures = failures.iter().map(|&failure| failure.to_owned()).collect();
        CaseResult { file: "a".to_owned(), name: name.to_owned(), status, failures, ..CaseResult::default() }
    }

    fn runs_of(name: &str, status: CaseStatus, passed: usize, failed: usize) -> CaseResult {
        let run = |status| Repetition { status, ..Repetition::default() };
        let runs = std::iter::repeat_n(run(CaseStatus::Passed), passed);
        let repetitions = runs.chain(std::iter::repeat_n(run(CaseStatus::Failed), failed)).collect();
        CaseResult { repetitions, live: true, ..case(name, status, &[]) }
    }

    fn names(changes: &[CaseChange]) -> Vec<&str> {
        changes.iter().map(|change| change.name.as_str()).collect()
    }

    #[test]
    fn cases_are_compared_by_their_verdicts_and_rates() {
        use CaseStatus::{Failed, NotRun, Passed, Skipped};
        let before = TestResults {
            cases: vec![
                case("worse", Passed, &[]),
                case("better", Failed, &["step 2 differs", "old"]),
                case("same", Failed, &["x"]),
                case("gone", Passed, &[]),
                case("skipped", Passed, &[]),
                runs_of("rarer", Passed, 5, 0),
                runs_of("as often", Passed, 2, 2),
                runs_of("repeated", Failed, 1, 4),
            ],
            ..TestResults::default()
        };
        let now = TestResults {
            cases: vec![
                case("worse", Failed, &["step 1 of expert owl differs: model\n- a\n+ b"]),
                case("better", Passed, &[]),
                case("same", Failed, &["y"]),
                case("new", NotRun, &[]),
                case("skipped", Skipped, &[]),
                runs_of("rarer", Passed, 4, 1),
                runs_of("as often", Passed, 5, 5),
                runs_of("repeated", Failed, 2, 3),
            ],
            ..TestResults::default()
        };
        let changes = changes(&before, &now, Path::new("b.json"));
        assert_eq!(
            (names(&changes.worse), names(&changes.better)),
            (vec!["worse", "rarer"], vec!["better", "repeated"])
        );
        assert_eq!((names(&changes.new), names(&changes.gone)), (vec!["new"], vec!["gone"]));
        assert_eq!((changes.same, changes.not_compared), (2, 1));
        assert_eq!(changes.worse[0].why, ["step 1 of expert owl differs: model"]);
        assert_eq!(changes.better[0].why, ["step 2 differs", "old"]);
        assert_eq!(changes.worse[1].before.as_deref(), Some("passed (5 of 5 repetitions)"));
        assert_eq!(changes.worse[1].now.as_deref(), Some("passed (4 of 5 repetitions)"));
    }

    #[test]
    fn what_is_no_result_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        for (text, why) in [
            ("", "is damaged or no result"),
            ("{\"passed\":1", "is damaged or no result"),
            ("[]", "it has no schemaVersion"),
            ("{\"schemaVersion\":2}", "is of version 2, and this perstack reads version 1"),
            ("{\"schemaVersion\":\"x\"}", "is of another version"),
            ("{\"schemaVersion\":1,\"passed\":1}", "is damaged or no result: missing field"),
        ] {
            fs::write(&path, text).unwrap();
            let line = read(&path, Path::new("b.json")).unwrap_err().line();
            assert!(line.contains(why) && line.contains("--save-baseline"), "{text}: {line}");
        }
        let old = r#"{"passed":0,"failed":1,"cases":[{"file":"a","name":"n","failures":["no"]}],"schemaVersion":1}"#;
        fs::write(&path, old).unwrap();
        assert_eq!(read(&path, &path).unwrap().cases[0].status, CaseStatus::Failed);
    }
}
