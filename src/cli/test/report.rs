//! [`TestReport`]: the results of the cases, as text, as a JSON object and as JUnit XML.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use perstack::cost::Cost;
use perstack::runtime::Outcome;
use serde::Serialize;
use serde_json::json;

use crate::cli::render::{Paint, visible, visible_lines};

/// The numbers of a job that was replayed to its end.
#[derive(Debug, Clone, Serialize)]
pub struct CaseNumbers {
    steps: u64,
    tokens: u64,
    /// US dollars; null when nothing is known of them.
    cost: Option<Cost>,
}

impl From<&Outcome> for CaseNumbers {
    fn from(outcome: &Outcome) -> Self {
        let cost = (!outcome.spend.is_unknown()).then_some(outcome.spend.cost);
        Self { steps: outcome.steps, tokens: outcome.usage.total_tokens, cost }
    }
}

/// The result of a case. It has passed when nothing has failed.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    pub file: String,
    pub name: String,
    pub failures: Vec<String>,
    #[serde(flatten)]
    pub numbers: Option<CaseNumbers>,
}

/// The results so far.
#[derive(Debug, Default)]
pub struct TestReport {
    cases: Vec<CaseResult>,
}

impl TestReport {
    /// Adds the result of a case.
    pub fn add(&mut self, result: CaseResult) {
        self.cases.push(result);
    }

    /// Returns true if no case has failed.
    pub fn all_passed(&self) -> bool {
        self.failed() == 0
    }

    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.failures.is_empty()).count()
    }

    /// Writes the results to standard output.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn print(&self, as_json: bool, paint: Paint) -> io::Result<()> {
        let passed = self.cases.len().saturating_sub(self.failed());
        let mut text = String::new();
        if as_json {
            let object = json!({"passed": passed, "failed": self.failed(), "cases": self.cases, "schemaVersion": 1});
            text = format!("{object:#}\n");
        } else {
            for CaseResult { file, name, failures, .. } in &self.cases {
                let mark = if failures.is_empty() { paint.green("passed") } else { paint.red("failed") };
                // Writing to a String does not fail.
                let _ = writeln!(text, "{mark} {file}: {}", visible(name));
                for line in failures.iter().flat_map(|failure| visible_lines(failure)) {
                    let _ = writeln!(text, "  {line}");
                }
            }
            let _ = writeln!(text, "{passed} passed, {} failed", self.failed());
        }
        io::stdout().lock().write_all(text.as_bytes())
    }

    /// The results as JUnit XML.
    pub fn junit(&self) -> String {
        let (tests, failed) = (self.cases.len(), self.failed());
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"perstack\" tests=\"{tests}\" failures=\"{failed}\">\n"
        );
        for CaseResult { file, name, failures, .. } in &self.cases {
            let _ = write!(text, "<testcase classname=\"{}\" name=\"{}\"", escaped(file), escaped(name));
            if let Some(first) = failures.first() {
                let message = escaped(first.lines().next().unwrap_or_default());
                let all = escaped(&failures.join("\n"));
                let _ = write!(text, ">\n<failure message=\"{message}\">{all}</failure>\n</testcase>\n");
            } else {
                text.push_str("/>\n");
            }
        }
        text + "</testsuite>\n</testsuites>\n"
    }
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
    use super::*;

    #[test]
    fn xml_has_nothing_that_acts_in_it() {
        let mut report = TestReport::default();
        let failures = vec!["a < b & \"c\"\u{1b}[2J\n]]>".to_owned()];
        report.add(CaseResult { file: "a.test.toml".to_owned(), name: "<n>".to_owned(), failures, numbers: None });
        report.add(CaseResult {
            file: "a.test.toml".to_owned(),
            name: "b".to_owned(),
            failures: Vec::new(),
            numbers: None,
        });
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
            <testsuite name=\"perstack\" tests=\"2\" failures=\"1\">\n\
            <testcase classname=\"a.test.toml\" name=\"&lt;n&gt;\">\n\
            <failure message=\"a &lt; b &amp; &quot;c&quot;\u{fffd}[2J\">a &lt; b &amp; &quot;c&quot;\u{fffd}[2J\n]]&gt;</failure>\n\
            </testcase>\n<testcase classname=\"a.test.toml\" name=\"b\"/>\n</testsuite>\n</testsuites>\n";
        assert_eq!(report.junit(), expected);
    }
}
