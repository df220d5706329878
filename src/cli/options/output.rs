//! [`OutputArgs`]: the options of what `run` and `resume` print, and where.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use perstack::event::{Detail, TYPES};

use crate::cli::command_line::CommandLine;
use crate::cli::failure::Failure;

/// Event types of the original that this program does not emit, its older versions' included.
pub const ONCE_KNOWN_TYPES: [&str; 13] = [
    "attemptCompletion",
    "callDelegate",
    "callInteractiveTool",
    "completeReasoning",
    "dockerBuildProgress",
    "dockerContainerStatus",
    "errorRun",
    "finishAllToolCalls",
    "finishRun",
    "finishStep",
    "resumeToolCalls",
    "startReasoning",
    "startRunResult",
];

/// The options of the output.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct OutputArgs {
    /// Content of stdout: the final text, one JSON object at the end, or every event as a line of JSON
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub output: Option<Format>,
    /// Same as --output jsonl
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// Only events of these types, separated by commas; implies --output jsonl
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = PossibleValuesParser::new(TYPES.iter().copied().chain(ONCE_KNOWN_TYPES)),
          hide_possible_values = true)]
    pub filter: Vec<String>,
    /// Every event with its whole messages and checkpoints; implies --output jsonl
    #[arg(long)]
    pub full_events: bool,
    /// Write to FILE what stdout would have, and nothing to stdout. The answer or the object replaces the file as a whole at
    /// the end, unless the job failed or was interrupted, which leaves an older file as it was; events are appended as they
    /// happen
    #[arg(long, value_name = "FILE", conflicts_with = "stream")]
    pub output_file: Option<PathBuf>,
    /// Append a short summary in Markdown to FILE, such as `$GITHUB_STEP_SUMMARY`: the end, its numbers, the beginning of the
    /// answer, and the command that continues the job
    #[arg(long, value_name = "FILE")]
    pub summary_file: Option<PathBuf>,
    /// Show errors only
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show more: reasoning and skills' messages as they come, the text beside calls, edits and the head of outputs
    #[arg(long, short)]
    pub verbose: bool,
    /// Print the answer as it comes, in a pipe too. It is for eyes: it may hold text beside calls, and pieces of a try
    /// that is repeated, each of which is a line on stderr. Without it, a pipe gets the answer alone, at the end
    #[arg(long)]
    pub stream: bool,
    /// On a terminal, print the answer as the model wrote it: neither word-wrapped nor Markdown shown as styles
    #[arg(long)]
    pub plain: bool,
    /// Ring the terminal's bell at the end of a job that took more than a minute
    #[arg(long)]
    pub bell: bool,
}

/// The form of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
    Jsonl,
}

impl OutputArgs {
    pub(super) fn add_to(&self, words: &mut CommandLine) {
        let format = self.output.and_then(|f| f.to_possible_value());
        words.value("--output", format.as_ref().map(clap::builder::PossibleValue::get_name));
        words.switch("--json", self.json);
        words.value("--filter", (!self.filter.is_empty()).then(|| self.filter.join(",")));
        words.switch("--full-events", self.full_events);
        words.path("--output-file", self.output_file.as_deref());
        // Not --summary-file: what a person continues is not on the page of the CI's job.
        words.switch("--quiet", self.quiet).switch("--verbose", self.verbose);
        words.switch("--stream", self.stream).switch("--plain", self.plain).switch("--bell", self.bell);
    }

    /// The form of stdout that was asked for.
    ///
    /// # Errors
    /// When options for events are given together with another format.
    pub fn format(&self) -> Result<Format, Failure> {
        let wants_events = self.json || self.full_events || !self.filter.is_empty();
        if self.stream && (wants_events || !matches!(self.output, None | Some(Format::Text))) {
            return Err(Failure::usage(anyhow::anyhow!("--stream is for text"))
                .help("events come as they happen with --output jsonl; leave out one of the two"));
        }
        match self.output {
            Some(Format::Text | Format::Json) if wants_events => {
                Err(Failure::usage(anyhow::anyhow!("--json, --filter and --full-events are for events"))
                    .help("use them with --output jsonl, or without --output"))
            }
            Some(format) => Ok(format),
            None if wants_events => Ok(Format::Jsonl),
            None => Ok(Format::Text),
        }
    }

    /// The types in `--filter` that only the original emits.
    pub fn once_known_types(&self) -> impl Iterator<Item = &str> {
        self.filter.iter().map(String::as_str).filter(|kind| ONCE_KNOWN_TYPES.contains(kind))
    }

    /// The amount of history that events repeat.
    pub fn detail(&self) -> Detail {
        if self.full_events { Detail::Full } else { Detail::New }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_for_events_imply_events_and_contradict_other_formats() {
        let format = |args: OutputArgs| args.format().ok();
        assert_eq!(format(OutputArgs::default()), Some(Format::Text));
        assert_eq!(format(OutputArgs { json: true, ..OutputArgs::default() }), Some(Format::Jsonl));
        let filter = vec!["completeRun".to_owned()];
        assert_eq!(format(OutputArgs { filter: filter.clone(), ..OutputArgs::default() }), Some(Format::Jsonl));
        let output = Some(Format::Text);
        assert_eq!(format(OutputArgs { output, filter, ..OutputArgs::default() }), None);
    }
}
