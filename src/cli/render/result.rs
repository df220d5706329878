//! The result of a job on stdout: its text, or one JSON object.

use std::io::{self, Write};

use perstack::runtime::{JobResult, Outcome};
use serde::Serialize;
use serde_json::Value;

use super::answer::is_document;
use super::markdown::{MarkdownWriter, TextForm};
use super::text::json_for;
use crate::cli::options::Format;

/// Writes the result, in JSON behind the difference from a recording if there is one. With `terminal`, its form there and its
/// columns, text is made ready for it, without characters that act on it; a file or pipe gets it as it is.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    outcome: &Outcome,
    (format, difference): (Format, Option<&Value>),
    out: &mut dyn Write,
    terminal: Option<(TextForm, usize)>,
) -> io::Result<()> {
    let mut text = match format {
        Format::Text => match outcome.checkpoint.text() {
            Some(text) => match terminal {
                // A JSON document is no Markdown.
                Some((form, columns)) => {
                    let form = if is_document(&text) { TextForm::Raw } else { form };
                    let mut writer = MarkdownWriter::new(form, columns);
                    writer.push(&text, columns) + &writer.finish()
                }
                None => text,
            },
            None => return Ok(()),
        },
        Format::Json => {
            let result = JobResult::from(outcome);
            let json = match difference {
                Some(difference) => serde_json::to_string_pretty(&LiveReplayResult { same: false, difference, result }),
                None => serde_json::to_string_pretty(&result),
            };
            json_for(&json?, terminal.is_some()).into_owned()
        }
        // The events carried it.
        Format::Jsonl => return Ok(()),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The result of a replay that went on live.
#[derive(Serialize)]
struct LiveReplayResult<'a> {
    same: bool,
    difference: &'a Value,
    result: JobResult<'a>,
}

#[cfg(test)]
mod tests {
    use perstack::checkpoint::Status;

    use super::super::fixture::outcome;
    use super::*;

    fn written(outcome: &Outcome, format: Format, is_terminal: bool) -> String {
        let mut out = Vec::new();
        write(outcome, (format, None), &mut out, is_terminal.then_some((TextForm::Raw, 80))).unwrap();
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
          "durationMs": 5,
          "schemaVersion": 1
        }
        "#);
    }
}
