//! The Runs of a job as a tree, each with its state, its steps and what it cost.

use std::collections::HashSet;

use console::measure_text_width;
use perstack::checkpoint::Status;
use perstack::id::RunId;
use perstack::runtime::history::{Descent, JobLog, JobState, Run, RunProgress};
use perstack::store::short_id;

use super::head::spent;
use super::summary::RunFigures;
use crate::cli::render::{count, duration, visible};

/// Between the parts of a Run's line.
const GAP: &str = "  ";

/// The lines of the tree, at most `most` Runs of it, in at most `width` columns.
pub fn tree_lines(record: &JobLog, most: Option<u64>, figures: &RunFigures, width: Option<usize>) -> Vec<String> {
    let tree = record.tree();
    if tree.is_empty() {
        return Vec::new();
    }
    let most = most.map_or(tree.len(), |most| usize::try_from(most).unwrap_or(usize::MAX));
    let forks = forked(record.runs());
    let short = |id: &RunId| short_id(id.as_str(), record.runs().iter().map(|run| run.id.as_str())).to_owned();
    let mut lines = vec!["Runs:".to_owned()];
    for (depth, run) in tree.iter().take(most) {
        let parts = run_parts(run, record.entry().state, figures, &forks, &short);
        lines.push(fitted(&"  ".repeat(depth + 1), parts, width));
    }
    if tree.len() > most {
        lines.push(format!("  (showing {most} of {} runs, use --take 0 for all)", tree.len()));
    }
    lines
}

/// A Run of the tree: its depth, and the columns of its row.
pub struct TreeRow {
    pub depth: usize,
    pub run: RunId,
    /// Id, expert, state, steps, tokens, cost, time, origin; empty where there is nothing to show.
    pub columns: [String; 8],
}

/// The tree as rows of a table.
pub fn tree_rows(record: &JobLog, figures: &RunFigures) -> Vec<TreeRow> {
    let forks = forked(record.runs());
    let short = |id: &RunId| short_id(id.as_str(), record.runs().iter().map(|run| run.id.as_str())).to_owned();
    let row = |(depth, run): (usize, &Run)| {
        let mut columns: [String; 8] = Default::default();
        let mut first = 0;
        for (rank, text) in run_parts(run, record.entry().state, figures, &forks, &short) {
            let place = match rank {
                0 => {
                    first += 1;
                    first - 1
                }
                1 => 5,
                2 => 3,
                3 => 4,
                4 => 7,
                _ => 6,
            };
            if let Some(column) = columns.get_mut(place) {
                *column = text;
            }
        }
        TreeRow { depth, run: run.id.clone(), columns }
    };
    record.tree().into_iter().map(row).collect()
}

/// Runs that continue one that another continues too.
fn forked(runs: &[Run]) -> HashSet<&str> {
    let parent = |run: &Run| match &run.descent {
        Descent::Continues(parent) => Some(parent.run_id.clone()),
        _ => None,
    };
    let mut seen = HashSet::new();
    let again =
        runs.iter().filter_map(|run| Some((run, parent(run)?))).filter(|(_, parent)| !seen.insert(parent.clone()));
    again.map(|(run, _)| run.id.as_str()).collect()
}

/// A part of a Run's line, and its rank: the highest is left out first where the line is too long.
type RunPart = (u8, String);

/// The parts side by side, without those that do not fit.
fn fitted(indent: &str, mut parts: Vec<RunPart>, width: Option<usize>) -> String {
    loop {
        let texts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
        let line = format!("{indent}{}", texts.join(GAP));
        let last = parts.iter().map(|(rank, _)| *rank).max().unwrap_or_default();
        if last == 0 || width.is_none_or(|width| measure_text_width(&line) <= width) {
            return line;
        }
        parts.retain(|(rank, _)| *rank < last);
    }
}

fn run_parts(
    run: &Run,
    job: JobState,
    figures: &RunFigures,
    forks: &HashSet<&str>,
    short: &dyn Fn(&RunId) -> String,
) -> Vec<RunPart> {
    let figures = figures.figures(&run.id);
    let expert = run.expert.as_ref().map_or_else(|| "?".to_owned(), |expert| visible(expert.as_str()));
    let mut parts = vec![(0, short(&run.id)), (0, expert), (0, state_text(figures.left.as_ref(), job))];
    parts.extend(figures.steps.map(|steps| match steps.max {
        max if max == steps.min => (2, format!("step {max}")),
        max => (2, format!("steps {}-{max}", steps.min)),
    }));
    if figures.usage.total_tokens > 0 {
        parts.push((3, format!("{} tokens", count(figures.usage.total_tokens))));
    }
    parts.extend(spent(figures.spend).map(|cost| (1, cost)));
    parts.extend(figures.span.map(|(first, last)| (5, duration(last.saturating_sub(first)))));
    if let Descent::Continues(parent) = &run.descent {
        let how = if forks.contains(run.id.as_str()) { "forks" } else { "continues" };
        parts.push((4, format!("{how} {}", short(&parent.run_id))));
    }
    parts
}

/// The state of a Run as text. One that has not ended is running as long as its job is.
fn state_text(left: Option<&RunProgress>, job: JobState) -> String {
    let activity = match left {
        Some(RunProgress::Ended(status)) => return status_text(*status).to_owned(),
        Some(RunProgress::AskingModel) => "asking the model".to_owned(),
        Some(RunProgress::Verifying) => "verifying its answer".to_owned(),
        Some(RunProgress::Deciding(calls)) => {
            let names: Vec<String> = calls.iter().map(|call| visible(&call.tool_name)).collect();
            format!("asking for permission for {}", names.join(", "))
        }
        Some(RunProgress::Calling(calls)) => {
            let names: Vec<String> = calls.iter().map(|call| visible(&call.tool_name)).collect();
            format!("calling {}", names.join(", "))
        }
        Some(RunProgress::Unknown) | None => return "unknown".to_owned(),
    };
    let state = if matches!(job, JobState::Running(_)) { "running" } else { "interrupted" };
    format!("{state}: {activity}")
}

/// The status of a Run in words.
pub fn status_text(status: Status) -> &'static str {
    match status {
        Status::Init => "not begun",
        Status::Proceeding => "under way",
        Status::Completed => "completed",
        Status::StoppedByInteractiveTool => "waiting for an answer",
        Status::StoppedByDelegate => "handed to delegates",
        Status::StoppedByExceededMaxSteps => "stopped at the maximum of steps",
        Status::StoppedByError => "stopped by an error",
        Status::StoppedByCancellation => "stopped by a signal",
        Status::StoppedByBudget => "stopped by a budget",
        Status::StoppedByVerification => "stopped: its answer was not verified",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_keeps_the_run_its_state_and_its_cost() {
        let parts = || {
            let texts = [
                (0, "5d2f"),
                (0, "lead"),
                (0, "completed"),
                (2, "steps 1-2"),
                (3, "2.2k tokens"),
                (1, "$0.04"),
                (5, "3 s"),
            ];
            texts.map(|(rank, text)| (rank, text.to_owned())).to_vec()
        };
        let line = |width| fitted("  ", parts(), width);
        assert_eq!(line(None), "  5d2f  lead  completed  steps 1-2  2.2k tokens  $0.04  3 s");
        assert_eq!(line(Some(56)), "  5d2f  lead  completed  steps 1-2  2.2k tokens  $0.04");
        assert_eq!(line(Some(43)), "  5d2f  lead  completed  steps 1-2  $0.04");
        assert_eq!(line(Some(35)), "  5d2f  lead  completed  $0.04");
        assert_eq!(line(Some(10)), "  5d2f  lead  completed");
    }
}
