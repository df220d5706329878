//! [`JobSummary`]: a job's end as a few lines of Markdown, for `--summary-file` and the summary page of a CI job. `outcome`
//! writes it at the end.
//!
//! Everything that a model, a tool or a person wrote is in a block of code whose fence is longer than any in it, so that no
//! text of theirs is markup of the page.

use std::io::Write as _;

use perstack::checkpoint::Status;
use perstack::redact::Redactor;
use perstack::runtime::Outcome;

use super::command_line::CommandLine;
use super::failure::Failure;
use super::output_file::OutputFile;
use super::render::{count, duration, money, shortened, steps, visible_lines};

/// Most characters of an answer or an error that are shown.
const MAX_TEXT: usize = 4_000;

/// A file that a summary is appended to. It is opened at the end: what an expert puts in its place meanwhile is what is there.
pub struct JobSummary {
    pub file: OutputFile,
    pub redactor: Redactor,
}

impl JobSummary {
    /// Appends `text`, without secrets.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&self, text: &str) -> Result<(), Failure> {
        let text = self.redactor.text(text);
        let written = self.file.open_to_append().and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| {
            let shown = self.file.shown();
            Failure::other(anyhow::Error::new(error).context(format!("cannot write the summary to {shown}")))
        })
    }
}

/// The summary of a job that has ended. `questions` are those that it waits for, `next` is the command that continues it.
pub fn of_outcome(outcome: &Outcome, questions: &[String], next: Option<&CommandLine>) -> String {
    let head = &outcome.checkpoint.head;
    let mut lines = vec![
        format!("### {} {}", code(&head.expert.key.to_string()), end_of(outcome)),
        String::new(),
        format!("- Status: {}", code(outcome.status.name())),
        format!("- Steps: {}", steps(outcome.steps)),
        format!("- Tokens: {}", count(outcome.usage.total_tokens)),
        format!("- Cost: {}", money(outcome.spend).unwrap_or_else(|| "not known".to_owned())),
        format!("- Duration: {}", duration(outcome.duration_ms)),
        format!("- Job: {}", code(head.job_id.as_str())),
    ];
    if let Some(answer) = outcome.checkpoint.text() {
        lines.push(block("text", &answer));
    }
    if let Some(reached) = &outcome.budget {
        lines.push(block("text", &reached.to_string()));
    }
    if let Some(error) =
        head.error.as_ref().filter(|_| matches!(outcome.status, Status::StoppedByError | Status::StoppedByVerification))
    {
        lines.push(block("text", &format!("{} ({})", error.message, error.name)));
    }
    if !questions.is_empty() {
        lines.push(block("text", &questions.join("\n")));
    }
    lines.push(continuation(next));
    lines.join("\n")
}

/// The summary of a job that ended without a checkpoint.
pub fn of_failure(failure: &Failure, next: Option<&CommandLine>) -> String {
    let text = failure.lines().join("\n");
    format!("### perstack failed\n{}\n{}", block("text", &text), continuation(next))
}

fn continuation(next: Option<&CommandLine>) -> String {
    next.map(|words| format!("\nTo continue:\n{}", block("sh", &words.to_string()))).unwrap_or_default()
}

fn end_of(outcome: &Outcome) -> &'static str {
    match outcome.status {
        Status::Completed => "completed",
        Status::StoppedByInteractiveTool => "waits for an answer",
        Status::StoppedByExceededMaxSteps | Status::StoppedByBudget => "reached a limit",
        Status::StoppedByCancellation => "was stopped",
        Status::StoppedByVerification => "was not verified",
        Status::StoppedByError | Status::Init | Status::Proceeding | Status::StoppedByDelegate => "failed",
    }
}

/// `text` as a block of code, an empty line before it.
fn block(language: &str, text: &str) -> String {
    let text = visible_lines(&shortened(text.trim_end(), MAX_TEXT)).join("\n");
    let fence = "`".repeat(longest_run(&text).saturating_add(1).max(3));
    format!("\n{fence}{language}\n{text}\n{fence}\n")
}

/// `text`, which is on one line, as code within a line.
fn code(text: &str) -> String {
    let fence = "`".repeat(longest_run(text).saturating_add(1));
    if text.starts_with('`') || text.ends_with('`') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

/// The most backticks in a row.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use perstack::checkpoint::RunFailure;

    use super::super::render::fixture::outcome;
    use super::*;

    #[test]
    fn a_summary_has_the_end_its_numbers_and_the_answer() {
        let outcome = outcome(Status::Completed, "Owls.\n");
        insta::assert_snapshot!(of_outcome(&outcome, &[], None), @r"
        ### `researcher` completed

        - Status: `completed`
        - Steps: 2 steps
        - Tokens: 1.2k
        - Cost: $0.0041
        - Duration: 5 ms
        - Job: `j1`

        ```text
        Owls.
        ```
        ");
    }

    #[test]
    fn an_answer_is_no_markup_of_the_page() {
        let text = "````\n<img src=x onerror=alert(1)>\n```\n# Fake\x1b[2J";
        let summary = of_outcome(&outcome(Status::Completed, text), &[], None);
        assert!(summary.contains("\n`````text\n````\n<img"), "{summary}");
        assert!(
            summary.ends_with("# Fake\\x1b[2J\n`````\n\n") || summary.contains("# Fake\\x1b[2J\n`````\n"),
            "{summary}"
        );
    }

    #[test]
    fn a_long_answer_is_only_begun() {
        let summary = of_outcome(&outcome(Status::Completed, &"owl ".repeat(5_000)), &[], None);
        assert!(summary.chars().count() < MAX_TEXT + 300 && summary.contains("owl…"), "{}", summary.len());
    }

    #[test]
    fn a_job_that_stopped_has_the_reason_and_the_command() {
        let mut failed = outcome(Status::StoppedByError, "");
        failed.checkpoint.head.error = Some(RunFailure {
            name: "AuthenticationError".to_owned(),
            message: "invalid key".to_owned(),
            status_code: Some(401),
            is_retryable: false,
        });
        let words = CommandLine::new(["perstack", "resume", "c1"]);
        let summary = of_outcome(&failed, &[], Some(&words));
        assert!(summary.contains("\n```text\ninvalid key (AuthenticationError)\n```\n"), "{summary}");
        assert!(summary.contains("To continue:\n\n```sh\nperstack resume c1\n```\n"), "{summary}");
        let summary = of_outcome(&outcome(Status::StoppedByInteractiveTool, ""), &["How `many`?".to_owned()], None);
        assert!(summary.contains("How `many`?"), "{summary}");
    }

    #[test]
    fn code_within_a_line_holds_backticks() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a``"), "``` `a`` ```");
    }
}
