//! [`junit`]: the results as JUnit XML.

use std::fmt::Write as _;

use perstack::test_results::{CaseResult, CaseStatus, TestResults};

use super::baseline::runs;

/// The results as an XML document, valid whatever models wrote.
pub fn junit(results: &TestResults) -> String {
    let TestResults { passed, failed, skipped, not_run, .. } = results;
    let tests = passed.saturating_add(*failed).saturating_add(*skipped).saturating_add(*not_run);
    let time = seconds(results.duration_ms);
    let counts =
        format!("tests=\"{tests}\" failures=\"{failed}\" errors=\"{not_run}\" skipped=\"{skipped}\" time=\"{time}\"");
    let mut text =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"perstack\" {counts}>\n");
    for case in &results.cases {
        let (file, name) = (escaped(&case.file), escaped(&case.name));
        // Writing to a String does not fail.
        let _ = write!(text, "<testcase classname=\"{file}\" name=\"{name}\"");
        if let Some(numbers) = &case.numbers {
            let _ = write!(text, " time=\"{}\"", seconds(numbers.duration_ms));
        }
        let within = properties(case) + &verdict(case);
        if within.is_empty() {
            text.push_str("/>\n");
        } else {
            let _ = write!(text, ">\n{within}</testcase>\n");
        }
    }
    text + "</testsuite>\n</testsuites>\n"
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn verdict(case: &CaseResult) -> String {
    let message = |text: &str| escaped(text.lines().next().unwrap_or_default());
    let reason = case.reason.as_deref().unwrap_or_default();
    match case.status {
        CaseStatus::Passed => String::new(),
        CaseStatus::Failed => {
            let runs = case.repetitions.iter().enumerate().filter(|_| case.repetitions.len() > 1);
            let of_runs = runs.flat_map(|(at, run)| {
                run.failures.iter().map(move |failure| format!("repetition {}: {failure}", at.saturating_add(1)))
            });
            let all: Vec<String> = case.failures.iter().cloned().chain(of_runs).collect();
            let first = all.first().map(|first| message(first)).unwrap_or_default();
            format!("<failure message=\"{first}\">{}</failure>\n", escaped(&all.join("\n")))
        }
        CaseStatus::Skipped => format!("<skipped message=\"{}\"/>\n", message(reason)),
        CaseStatus::NotRun => format!("<error message=\"not run: {}\"/>\n", message(reason)),
    }
}

/// The numbers of a case, for those who look for more than a verdict.
fn properties(case: &CaseResult) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(numbers) = &case.numbers {
        rows.extend([("steps", numbers.steps.to_string()), ("tokens", numbers.tokens.to_string())]);
        rows.extend(numbers.cost.map(|cost| ("cost", cost.usd().to_string())));
    }
    if let Some((passes, runs)) = runs(case) {
        rows.extend([("repetitions", runs.to_string()), ("passes", passes.to_string())]);
        rows.extend(case.required_passes.map(|required| ("requiredPasses", required.to_string())));
        let at_once = case.estimates.last();
        rows.extend(case.estimates.first().map(|estimate| ("pass@1", estimate.any.to_string())));
        rows.extend(at_once.map(|estimate| ("pass^k of all", estimate.all.to_string())));
    }
    rows.extend((!case.unchecked.is_empty()).then(|| ("unchecked", case.unchecked.join(", "))));
    if rows.is_empty() {
        return String::new();
    }
    let rows = rows.iter().map(|(name, value)| format!("<property name=\"{name}\" value=\"{}\"/>\n", escaped(value)));
    format!("<properties>\n{}</properties>\n", rows.collect::<String>())
}

/// A text within XML. Characters that XML does not allow are replaced.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut all, c| {
        match c {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            '\n' | '\t' => all.push(c),
            '\u{fffe}' | '\u{ffff}' => all.push('\u{fffd}'),
            c if c.is_control() => all.push('\u{fffd}'),
            c => all.push(c),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use perstack::test_results::{CaseNumbers, Repetition, estimates};

    use super::*;

    fn case(name: &str, status: CaseStatus) -> CaseResult {
        CaseResult { file: "a.test.toml".to_owned(), name: name.to_owned(), status, ..CaseResult::default() }
    }

    #[test]
    fn xml_has_nothing_that_acts_in_it() {
        let failures = vec!["a < b & \"c\"\u{1b}[2J\n]]>".to_owned()];
        let cases = vec![CaseResult { failures, ..case("<n>", CaseStatus::Failed) }, case("b", CaseStatus::Passed)];
        let results = TestResults { passed: 1, failed: 1, cases, ..TestResults::default() };
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
            <testsuite name=\"perstack\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\" time=\"0.000\">\n\
            <testcase classname=\"a.test.toml\" name=\"&lt;n&gt;\">\n\
            <failure message=\"a &lt; b &amp; &quot;c&quot;\u{fffd}[2J\">a &lt; b &amp; &quot;c&quot;\u{fffd}[2J\n]]&gt;</failure>\n\
            </testcase>\n<testcase classname=\"a.test.toml\" name=\"b\"/>\n</testsuite>\n</testsuites>\n";
        assert_eq!(junit(&results), expected);
    }

    #[test]
    fn repetitions_and_what_was_not_run_are_in_it() {
        let run = |status| Repetition { status, failures: vec!["no \u{0}owl".to_owned()], ..Repetition::default() };
        let live = CaseResult {
            failures: vec!["1 of 2 repetitions passed, and 2 are needed".to_owned()],
            repetitions: vec![run(CaseStatus::Failed), Repetition::default()],
            numbers: Some(CaseNumbers { steps: 3, tokens: 9, duration_ms: 1234, ..CaseNumbers::default() }),
            required_passes: Some(2),
            estimates: estimates(2, 1),
            ..case("live", CaseStatus::Failed)
        };
        let skipped = CaseResult { reason: Some("it asks a model".to_owned()), ..case("s", CaseStatus::Skipped) };
        let not_run = CaseResult { reason: Some("the budget".to_owned()), ..case("n", CaseStatus::NotRun) };
        let xml = junit(&TestResults { cases: vec![live, skipped, not_run], ..TestResults::default() });
        for part in [
            "name=\"live\" time=\"1.234\">",
            "<property name=\"passes\" value=\"1\"/>",
            "<property name=\"pass@1\" value=\"0.5\"/>",
            "repetition 1: no \u{fffd}owl</failure>",
            "<skipped message=\"it asks a model\"/>",
            "<error message=\"not run: the budget\"/>",
        ] {
            assert!(xml.contains(part), "{part}: {xml}");
        }
    }
}
