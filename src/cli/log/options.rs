//! The options of `log` by what they are about, and their values: what is chosen, the page, the view, the form.
//!
//! `job diff` shares those of form and of records.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use perstack::event::TYPES;

use super::selection::{Criteria, EventGroup, Range};
use crate::cli::completions::candidates;
use crate::cli::failure::Failure;
use crate::cli::options::ONCE_KNOWN_TYPES;

/// Events on a page without `--take` (the original's number).
const DEFAULT_TAKE: u64 = 100;

/// Most events around each shown one: they are held in memory until it is known whether they are shown.
const MAX_CONTEXT: u64 = 10_000;

/// The options that select events.
#[derive(Debug, Args)]
pub struct ChoiceArgs {
    /// Steps: 5, >5, >=5, <5, <=5 or 1-10; alone, these steps whole
    #[arg(long, value_name = "STEP")]
    pub step: Option<String>,
    /// Events of this type
    #[arg(long, value_name = "TYPE", value_parser = types(), hide_possible_values = true)]
    pub r#type: Option<String>,
    /// stopRunByError, stopRunByVerification, retry and fallBack
    #[arg(long)]
    pub errors: bool,
    /// callTools, decideToolCalls, resolveToolResults and callInteractiveTool
    #[arg(long)]
    pub tools: bool,
    /// callDelegate and stopRunByDelegate
    #[arg(long)]
    pub delegations: bool,
    /// Events whose JSON matches `.path OP value`
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
}

/// The options that select jobs or, where one is looked into, its events.
#[derive(Debug, Args)]
pub struct NarrowArgs {
    /// Jobs started, or events, since then
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Jobs or events that hold this text, in large or small letters
    #[arg(long, value_name = "TEXT", add = candidates::tools_and_skills())]
    pub grep: Option<String>,
    /// The last N jobs or events
    #[arg(long, value_name = "N", allow_hyphen_values = true, conflicts_with_all = ["take", "offset"])]
    pub last: Option<String>,
}

/// The options of paging.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// At most this many; 0 for all [default: 100]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub take: Option<String>,
    /// Skip this many first [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub offset: Option<String>,
    /// Also this many events before and after each match
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub context: Option<String>,
}

/// The options of the view.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct ViewArgs {
    /// Events, as they happened
    #[arg(long, conflicts_with = "steps")]
    pub events: bool,
    /// Steps with their calls, instead of events
    #[arg(long, conflicts_with_all = ["type", "errors", "tools", "delegations", "filter", "context", "summary"])]
    pub steps: bool,
    /// The job's answer and nothing else
    #[arg(long, conflicts_with_all = ["ChoiceArgs", "NarrowArgs", "PageArgs", "FormArgs", "run", "checkpoint", "events", "steps",
          "follow", "summary", "verbose", "full_events"])]
    pub text: bool,
    /// Go on until the job ends, over crashes and resumptions; with --json, an event a line
    #[arg(long, short, conflicts_with_all = ["PageArgs", "last", "checkpoint", "summary", "pretty"])]
    pub follow: bool,
    /// Counts of what is shown
    #[arg(long)]
    pub summary: bool,
    /// Arguments of calls and answers in full
    #[arg(long, short)]
    pub verbose: bool,
    /// In JSON: every event with its whole messages and checkpoints
    #[arg(long)]
    pub full_events: bool,
}

/// The options of the output form.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct FormArgs {
    /// One JSON object (with --jobs, an array)
    #[arg(long)]
    json: bool,
    /// The same, indented
    #[arg(long)]
    pretty: bool,
}

/// The options of every command that shows records.
#[derive(Debug, Args)]
pub struct RecordsArgs {
    /// Print at once, without a pager
    #[arg(long)]
    pub no_pager: bool,
    /// Folder that jobs are stored in, or `s3://BUCKET/PREFIX` [default: perstack]
    #[arg(long, value_name = "PATH")]
    pub storage: Option<PathBuf>,
}

/// The form of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    /// On one line.
    Json,
    PrettyJson,
}

impl FormArgs {
    /// The form that the flags ask for.
    pub fn form(self) -> Form {
        match self {
            Self { pretty: true, .. } => Form::PrettyJson,
            Self { json: true, .. } => Form::Json,
            Self { .. } => Form::Text,
        }
    }
}

fn types() -> PossibleValuesParser {
    PossibleValuesParser::new(TYPES.iter().copied().chain(ONCE_KNOWN_TYPES))
}

impl ChoiceArgs {
    pub fn is_any(&self) -> bool {
        self.step.is_some() || self.is_any_but_step()
    }

    pub fn is_step_alone(&self) -> bool {
        self.step.is_some() && !self.is_any_but_step()
    }

    fn is_any_but_step(&self) -> bool {
        self.r#type.is_some() || self.errors || self.tools || self.delegations || self.filter.is_some()
    }

    pub fn criteria(&self, steps: bool) -> Result<Criteria, Failure> {
        let groups = [
            (self.errors, EventGroup::Errors),
            (self.tools, EventGroup::Tools),
            (self.delegations, EventGroup::Delegations),
        ];
        Ok(Criteria {
            step: self.step.as_deref().map(str::parse).transpose().map_err(Failure::usage)?,
            kind: self.r#type.clone(),
            groups: groups.into_iter().filter(|(given, _)| *given).map(|(_, group)| group).collect(),
            expression: self.filter.as_deref().map(str::parse).transpose().map_err(Failure::usage)?,
            ends_step: steps,
            ..Criteria::default()
        })
    }
}

impl ViewArgs {
    pub fn is_any(&self) -> bool {
        self.events || self.steps || self.text || self.follow || self.summary || self.verbose || self.full_events
    }
}

impl PageArgs {
    pub fn is_any(&self) -> bool {
        self.take.is_some() || self.offset.is_some() || self.context.is_some()
    }

    pub fn range(&self) -> Result<Range, Failure> {
        let take = number("--take", self.take.as_deref(), u64::MAX)?.unwrap_or(DEFAULT_TAKE);
        let offset = number("--offset", self.offset.as_deref(), u64::MAX)?.unwrap_or(0);
        let context = number("--context", self.context.as_deref(), MAX_CONTEXT)?.unwrap_or(0);
        Ok(Range { take: (take > 0).then_some(take), offset, context: usize::try_from(context).unwrap_or(usize::MAX) })
    }
}

/// The value of a flag that takes a number up to `most`; the errors have the original's wording.
pub fn number(flag: &str, given: Option<&str>, most: u64) -> Result<Option<u64>, Failure> {
    let Some(text) = given else { return Ok(None) };
    let wrong = match text.parse::<u64>() {
        Ok(number) if number <= most => return Ok(Some(number)),
        Ok(_) => format!("must be at most {most}"),
        Err(_) if text.strip_prefix('-').is_some_and(|rest| rest.parse::<u64>().is_ok()) => {
            "must be non-negative".to_owned()
        }
        Err(_) => "is not a valid number".to_owned(),
    };
    Err(Failure::usage(anyhow::anyhow!("Invalid value for {flag}: {text:?} {wrong}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_refused_with_the_originals_wording() {
        let wrong = |text| number("--take", Some(text), 100).err().map(|failure| failure.line());
        assert_eq!(wrong("x").as_deref(), Some("Invalid value for --take: \"x\" is not a valid number"));
        assert_eq!(wrong("-1").as_deref(), Some("Invalid value for --take: \"-1\" must be non-negative"));
        assert_eq!(wrong("101").as_deref(), Some("Invalid value for --take: \"101\" must be at most 100"));
        assert_eq!(number("--take", Some("100"), 100).ok(), Some(Some(100)));
    }
}
