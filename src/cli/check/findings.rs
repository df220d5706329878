//! [`Findings`]: the results of a check, as lines or JSON. The parts of the check add to them.

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::render::{Paint, visible};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    Ok,
    /// No matter of right or wrong.
    Note,
    /// Worth knowing; the check passes.
    Warning,
    /// The check fails.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    level: Level,
    /// The part of the configuration that it is about.
    subject: String,
    message: String,
}

/// The result of the check in the JSON form.
#[derive(Debug, Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

/// The findings so far.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn add(&mut self, level: Level, subject: impl Into<String>, message: impl Into<String>) {
        self.0.push(Finding { level, subject: subject.into(), message: message.into() });
    }

    pub fn is_ok(&self) -> bool {
        self.0.iter().all(|finding| finding.level != Level::Error)
    }

    /// Adds `Ok` when nothing was found since there were `before` findings.
    pub fn ok_unless_more_than(&mut self, before: usize, subject: impl Into<String>, message: impl Into<String>) {
        if self.0.len() == before {
            self.add(Level::Ok, subject, message);
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> Result<String, Failure> {
        let report = Report { ok: self.is_ok(), findings: &self.0 };
        serde_json::to_string_pretty(&report).map(|text| text + "\n").map_err(Failure::other)
    }

    /// A line each.
    pub fn to_lines(&self, paint: Paint) -> String {
        let line = |Finding { level, subject, message }: &Finding| {
            let mark = match level {
                Level::Ok => paint.green("✓"),
                Level::Note => paint.dim("·"),
                Level::Warning => paint.yellow("!"),
                Level::Error => paint.red("✗"),
            };
            format!("{mark} {}: {}\n", visible(subject), visible(message))
        };
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let mut findings = Findings::default();
        findings.add(Level::Ok, "configuration", "p.toml defines 1 expert");
        findings.add(Level::Warning, "delegates", "a → b\u{1b}[31m → a");
        findings
    }

    #[test]
    fn findings_are_a_line_each() {
        let mut findings = findings();
        assert!(findings.is_ok());
        findings.add(Level::Error, "expert a, skill s", "the variable X is not set");
        assert!(!findings.is_ok());
        assert_eq!(
            findings.to_lines(Paint::plain()),
            "✓ configuration: p.toml defines 1 expert\n! delegates: a → b\\x1b[31m → a\n\
             ✗ expert a, skill s: the variable X is not set\n"
        );
    }

    #[test]
    fn json_shows_if_all_is_well() {
        let mut findings = findings();
        findings.0.truncate(1);
        insta::assert_snapshot!(findings.to_json().unwrap(), @r#"
        {
          "ok": true,
          "findings": [
            {
              "level": "ok",
              "subject": "configuration",
              "message": "p.toml defines 1 expert"
            }
          ]
        }
        "#);
    }
}
