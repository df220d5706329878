//! The result of a job on stdout: its text, or one JSON object.

use std::io::{self, Write};

use perstack::budget::Reached;
use perstack::checkpoint::{RunFailure, Status};
use perstack::cost::Cost;
use perstack::runtime::Outcome;
use perstack::tool::ToolCall;
use perstack::usage::Usage;
use serde::Serialize;

use super::markdown::{MarkdownWriter, TextForm};
use super::text::json_for;
use crate::cli::options::Format;

/// The object of `--output json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    status: Status,
    /// The answer; absent unless completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RunFailure>,
    /// The budget that the job was stopped by.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'a Reached>,
    /// The calls that the job waits for.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pending_tool_calls: &'a [ToolCall],
    job_id: &'a str,
    run_id: &'a str,
    checkpoint_id: &'a str,
    /// The checkpoint's file.
    checkpoint: String,
    /// Taken in this invocation.
    steps: u64,
    /// Over the whole job.
    step_number: u64,
    /// Of all runs, over the whole job.
    usage: Usage,
    /// US dollars, over the whole job; null when nothing is known of them.
    cost: Option<Cost>,
    /// True if every part of the cost is known; otherwise the cost is a lower bound.
    cost_is_complete: bool,
    /// Of this invocation, in milliseconds.
    duration_ms: u64,
}

/// Writes the result. With `terminal`, its form there and its columns, text is made ready for it, without characters that
/// act on it; a file or pipe gets it as it is.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    outcome: &Outcome,
    format: Format,
    out: &mut dyn Write,
    terminal: Option<(TextForm, usize)>,
) -> io::Result<()> {
    let mut text = match format {
        Format::Text => match outcome.checkpoint.text() {
            Some(text) => match terminal {
                Some((form, columns)) => {
                    let mut writer = MarkdownWriter::new(form, columns);
                    writer.push(&text, columns) + &writer.finish()
                }
                None => text,
            },
            None => return Ok(()),
        },
        Format::Json => json_for(&serde_json::to_string_pretty(&report(outcome))?, terminal.is_some()).into_owned(),
        // The events carried it.
        Format::Jsonl => return Ok(()),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn report(outcome: &Outcome) -> Report<'_> {
    let head = &outcome.checkpoint.head;
    Report {
        status: outcome.status,
        text: outcome.checkpoint.text(),
        error: head.error.as_ref(),
        budget: outcome.budget.as_ref(),
        pending_tool_calls: &head.pending_tool_calls,
        job_id: head.job_id.as_str(),
        run_id: head.run_id.as_str(),
        checkpoint_id: head.id.as_str(),
        checkpoint: outcome.path.display().to_string(),
        steps: outcome.steps,
        step_number: head.step_number,
        usage: outcome.usage,
        cost: (!outcome.spend.is_unknown()).then_some(outcome.spend.cost),
        cost_is_complete: outcome.spend.is_complete,
        duration_ms: outcome.duration_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::outcome;
    use super::*;

    fn written(outcome: &Outcome, format: Format, is_terminal: bool) -> String {
        let mut out = Vec::new();
        write(outcome, format, &mut out, is_terminal.then_some((TextForm::Raw, 80))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_the_answer_and_one_line_end() {
        assert_eq!(written(&outcome(Status::Completed, "an answer"), Format::Text, false), "an answer\n");
        assert_eq!(written(&outcome(Status::Completed, "an answer\n"), Format::Text, false), "an answer\n");
        assert_eq!(written(&outcome(Status::StoppedByError, "half"), Format::Text, false), "");
    }

    #[test]
    fn a_terminal_is_not_acted_on() {
        let outcome = outcome(Status::Completed, "a\x1b[2J\n\tb");
        assert_eq!(written(&outcome, Format::Text, true), "a\\x1b[2J\n\tb\n");
        assert_eq!(written(&outcome, Format::Text, false), "a\x1b[2J\n\tb\n");
    }

    #[test]
    fn json_is_one_object() {
        insta::assert_snapshot!(written(&outcome(Status::Completed, "an answer"), Format::Json, false), @r#"
        {
          "status": "completed",
          "text": "an answer",
          "jobId": "j1",
          "runId": "r1",
          "checkpointId": "c1",
          "checkpoint": "/work/perstack/jobs/j1/runs/r1/checkpoint-2-c1.json",
          "steps": 2,
          "stepNumber": 2,
          "usage": {
            "inputTokens": 1200,
            "outputTokens": 34,
            "reasoningTokens": 0,
            "totalTokens": 1234,
            "cachedInputTokens": 0
          },
          "cost": 0.00411,
          "costIsComplete": true,
          "durationMs": 5
        }
        "#);
    }
}
