//! A job's record as text: the job, its Runs as a tree, a checkpoint, counts, and the events or steps.

use std::collections::HashSet;
use std::io;

use perstack::checkpoint::Checkpoint;
use perstack::content::{ExpertPart, ResultPart};
use perstack::job::JobStatus;
use perstack::message::Message;
use perstack::runtime::history::{
    Descent, HistoryItem, JobLog, JobState, ReadProblem, ReadProblemKind, Run, RunProgress,
};

use super::event_text::{Excerpt, Style, cut, date};
use super::jobs::status;
use super::page::Page;
use super::summary::{Mark, RunFigures, Summary};
use super::{LogRequest, Unit, chooser, flow};
use crate::cli::command_line::CommandLine;
use crate::cli::render::{count, duration, money, visible};

/// Columns of the rule around the events (the original's).
const RULE: usize = 50;

/// Most characters of each message that is shown (the original's).
const MESSAGE: usize = 100;

/// Writes a record. Problems of reading are added to `problems`.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    record: &JobLog,
    request: &LogRequest,
    page: &mut Page,
    problems: &mut Vec<ReadProblem>,
) -> io::Result<()> {
    if request.is_default {
        page.line("(showing latest job)")?;
        page.line("")?;
    }
    page.line(&format!("Storage: {}", record.storage().display()))?;
    page.line("")?;
    for line in job_lines(record) {
        page.line(&line)?;
    }
    if let Some(line) = way_on(record, request) {
        page.line(&line)?;
    }
    page.line("")?;
    write_checkpoint(record, request, page, problems)?;
    let count = Count::read(record, request, problems);
    if request.run.is_none() {
        write_runs(record, request, &count.figures, page)?;
    }
    if request.shows_summary {
        for line in summary_lines(count.summary) {
            page.line(&line)?;
        }
        page.line("")?;
    }
    write_events(record, request, &count, page)
}

/// The result of the first reading.
struct Count {
    figures: RunFigures,
    summary: Summary,
    /// Events that fit.
    matched: u64,
}

impl Count {
    fn read(record: &JobLog, request: &LogRequest, problems: &mut Vec<ReadProblem>) -> Self {
        let mut chooser = chooser(request);
        let (mut figures, mut summary) = (RunFigures::default(), Summary::default());
        let found = record.visit(request.run.as_ref(), &mut |item| {
            figures.add(&item);
            if let HistoryItem::Event(event) = item {
                let mut count = |mark| {
                    summary.add(mark);
                    Ok(())
                };
                return flow(&chooser.take(&event, Mark::for_event, &mut count));
            }
            flow(&Ok(()))
        });
        problems.extend(found);
        Self { figures, summary, matched: chooser.matched() }
    }
}

fn job_lines(record: &JobLog) -> Vec<String> {
    let mut lines = vec![format!("Job: {} ({})", record.id(), status(record.entry().state))];
    let Some(job) = record.job() else { return lines };
    lines.push(format!("Expert: {}", visible(job.coordinator_expert_key.as_str())));
    lines.push(format!("Started: {}", date(job.started_at)));
    lines.push(format!("Steps: {}", job.total_steps));
    if let Some(finished_at) = job.finished_at {
        lines.push(format!("Finished: {}", date(finished_at)));
    }
    let usage = job.usage;
    let cached = match usage.cached_input_tokens {
        0 => String::new(),
        cached => format!(", {} cached", count(cached)),
    };
    let (input, output) = (count(usage.input_tokens), count(usage.output_tokens));
    lines.push(format!("Tokens: {} ({input} in, {output} out{cached})", count(usage.total_tokens)));
    lines.extend(money(job.spend).map(|cost| format!("Cost: {cost}")));
    lines
}

/// The command that continues a job which did not complete.
fn way_on(record: &JobLog, request: &LogRequest) -> Option<String> {
    let answer = match record.entry().state {
        JobState::Interrupted => None,
        JobState::Stopped(JobStatus::StoppedByInteractiveTool) => Some("ANSWER"),
        JobState::Stopped(status) if status != JobStatus::Completed => None,
        JobState::Running(_) | JobState::Stopped(_) | JobState::Unknown => return None,
    };
    let mut words = CommandLine::new(["perstack", "resume", record.id().as_str()]);
    if let Some(answer) = answer {
        words.word(answer).word("-i");
    }
    words.path("--storage", request.storage.as_deref());
    Some(format!("To continue: {words}"))
}

fn write_checkpoint(
    record: &JobLog,
    request: &LogRequest,
    page: &mut Page,
    problems: &mut Vec<ReadProblem>,
) -> io::Result<()> {
    let Some(entry) = &request.checkpoint else { return Ok(()) };
    match record.checkpoint(entry) {
        Ok(checkpoint) => {
            for line in checkpoint_lines(&checkpoint, request.shows_messages) {
                page.line(&line)?;
            }
        }
        Err(error) => {
            page.line(&format!("Checkpoint: {}", entry.id))?;
            page.line(&format!("Step: {}", entry.step))?;
            let run = entry.run.clone().into_iter();
            problems.extend(run.zip([ReadProblemKind::Broken(error)]).map(|(run, kind)| ReadProblem { run, kind }));
        }
    }
    page.line("")
}

fn checkpoint_lines(checkpoint: &Checkpoint, shows_messages: bool) -> Vec<String> {
    let head = &checkpoint.head;
    let mut lines = vec![
        format!("Checkpoint: {}", head.id),
        format!("Status: {}", name_of(head.status)),
        format!("Step: {}", head.step_number),
        format!("Expert: {}", visible(head.expert.key.as_str())),
    ];
    if shows_messages {
        lines.extend([String::new(), "Messages:".to_owned()]);
        lines.extend(checkpoint.messages.iter().map(message_line));
    }
    lines
}

/// `  [userMessage] text`. A message without text is shown by its calls or results.
fn message_line(message: &Message) -> String {
    let (kind, text) = match message {
        Message::InstructionMessage { contents, .. } => {
            ("instructionMessage", contents.iter().find_map(|c| c.as_text()))
        }
        Message::UserMessage { contents, .. } => ("userMessage", contents.iter().find_map(|c| c.as_text())),
        Message::ExpertMessage { contents, .. } => {
            let text = contents.iter().find_map(|part| match part {
                ExpertPart::TextPart { text, .. } => Some(text.as_str()),
                _ => None,
            });
            if text.is_none() {
                return format!("  [expertMessage] {}", cut(&calls_of(contents), MESSAGE));
            }
            ("expertMessage", text)
        }
        Message::ToolMessage { contents, .. } => {
            let text = contents.iter().find_map(|ResultPart::ToolResultPart { contents, .. }| {
                contents.iter().find_map(|content| content.as_text())
            });
            ("toolMessage", text)
        }
    };
    format!("  [{kind}] {}", cut(text.unwrap_or_default(), MESSAGE))
}

fn calls_of(contents: &[ExpertPart]) -> String {
    let calls = contents.iter().filter_map(|part| match part {
        ExpertPart::ToolCallPart { tool_name, .. } => Some(tool_name.as_str()),
        _ => None,
    });
    format!("calls {}", calls.collect::<Vec<_>>().join(", "))
}

fn summary_lines(summary: Summary) -> Vec<String> {
    let mut lines = vec![
        "Summary:".to_owned(),
        format!("  Total Events: {}", summary.total_events),
        format!("  Errors: {}", summary.error_count),
        format!("  Tool Calls: {}", summary.tool_call_count),
        format!("  Delegations: {}", summary.delegation_count),
    ];
    lines.extend(summary.step_range.map(|range| format!("  Step Range: {} - {}", range.min, range.max)));
    lines
}

fn write_runs(record: &JobLog, request: &LogRequest, figures: &RunFigures, page: &mut Page) -> io::Result<()> {
    let tree = record.tree();
    if tree.is_empty() {
        return Ok(());
    }
    let most = request.range.take.map_or(tree.len(), |take| usize::try_from(take).unwrap_or(usize::MAX));
    let forks = forked(record.runs());
    page.line("Runs:")?;
    for (depth, run) in tree.iter().take(most) {
        page.line(&run_line(*depth, run, record.entry().state, figures, &forks))?;
    }
    if tree.len() > most {
        page.line(&format!("  (showing {most} of {} runs, use --take 0 for all)", tree.len()))?;
    }
    page.line("")
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

fn run_line(depth: usize, run: &Run, job: JobState, figures: &RunFigures, forks: &HashSet<&str>) -> String {
    let figures = figures.figures(&run.id);
    let mut parts = vec![
        run.id.to_string(),
        run.expert.as_ref().map_or_else(|| "?".to_owned(), |expert| visible(expert.as_str())),
        state_text(figures.left.as_ref(), job),
    ];
    parts.extend(figures.steps.map(|steps| match steps.max {
        max if max == steps.min => format!("step {max}"),
        max => format!("steps {}-{max}", steps.min),
    }));
    if figures.usage.total_tokens > 0 {
        parts.push(format!("{} tokens", count(figures.usage.total_tokens)));
    }
    parts.extend(figures.span.map(|(first, last)| duration(last.saturating_sub(first))));
    if let Descent::Continues(parent) = &run.descent {
        let how = if forks.contains(run.id.as_str()) { "forks" } else { "continues" };
        parts.push(format!("{how} {}", parent.run_id));
    }
    format!("{}{}", "  ".repeat(depth + 1), parts.join("  "))
}

/// The state of a Run as text. One that has not ended is running as long as its job is.
fn state_text(left: Option<&RunProgress>, job: JobState) -> String {
    let activity = match left {
        Some(RunProgress::Ended(status)) => return name_of(*status),
        Some(RunProgress::AskingModel) => "asking the model".to_owned(),
        Some(RunProgress::Calling(calls)) => {
            let names: Vec<String> = calls.iter().map(|call| visible(&call.tool_name)).collect();
            format!("calling {}", names.join(", "))
        }
        Some(RunProgress::Unknown) | None => return "unknown".to_owned(),
    };
    let state = if matches!(job, JobState::Running(_)) { "running" } else { "interrupted" };
    format!("{state}: {activity}")
}

/// A status by the name that its JSON form has.
fn name_of(status: perstack::checkpoint::Status) -> String {
    serde_json::to_value(status).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn write_events(record: &JobLog, request: &LogRequest, count: &Count, page: &mut Page) -> io::Result<()> {
    let (title, unit) = match request.unit {
        Unit::Events => ("Events:", "events"),
        Unit::Steps => ("Steps:", "steps"),
    };
    let on_page = request.range.shown(count.matched);
    if on_page == 0 {
        return match count.matched {
            0 => page.line(&format!("(no {unit})")),
            matched => page.line(&format!("({matched} {unit} available, use --offset to view)")),
        };
    }
    let mut experts = record.runs().iter().filter_map(|run| run.expert.as_ref());
    let first = experts.next();
    let style = Style {
        paint: page.paint(),
        is_verbose: request.shows_arguments,
        names_experts: experts.any(|expert| Some(expert) != first),
    };
    page.line(title)?;
    page.line(&"─".repeat(RULE))?;
    let shown = write_chosen(record, request, style, page)?;
    page.line(&"─".repeat(RULE))?;
    if count.matched > on_page {
        let context = match shown.saturating_sub(on_page) {
            0 => String::new(),
            context => format!(" (+{context} context)"),
        };
        page.line(&format!("(showing {on_page} of {} matched {unit}{context})", count.matched))?;
        page.line("Use --take and --offset to paginate, or --take 0 for all")?;
    }
    Ok(())
}

/// The second reading; returns how many were written.
fn write_chosen(record: &JobLog, request: &LogRequest, style: Style, page: &mut Page) -> io::Result<u64> {
    let mut chooser = chooser(request);
    let (mut shown, mut written) = (0, Ok(()));
    // The first reading has already reported the problems.
    record.visit(request.run.as_ref(), &mut |item| {
        if let HistoryItem::Event(event) = item {
            let mut show = |excerpt: Excerpt| {
                shown += 1;
                let lines = match request.unit {
                    Unit::Events => excerpt.event_lines(style),
                    Unit::Steps => excerpt.step_lines(style),
                };
                lines.iter().try_for_each(|line| page.line(line))
            };
            written = chooser.take(&event, Excerpt::new, &mut show);
            if chooser.is_done() {
                return std::ops::ControlFlow::Break(());
            }
        }
        flow(&written)
    });
    written.map(|()| shown)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn messages_are_shown_by_their_text_calls_or_results() {
        let line = |json: Value| message_line(&serde_json::from_value(json).unwrap());
        let text = |text: &str| json!({"id": "p", "type": "textPart", "text": text});
        let long = line(json!({"type": "userMessage", "id": "m", "contents": [text(&"x".repeat(101))]}));
        assert_eq!(long, format!("  [userMessage] {}...", "x".repeat(100)));
        let call = json!({"type": "toolCallPart", "id": "p", "toolCallId": "c", "toolName": "exec", "args": {}});
        let calls = line(json!({"type": "expertMessage", "id": "m", "contents": [call]}));
        assert_eq!(calls, "  [expertMessage] calls exec");
        let result = json!({"type": "toolResultPart", "id": "p", "toolCallId": "c", "toolName": "exec", "contents": [text("ok")]});
        assert_eq!(line(json!({"type": "toolMessage", "id": "m", "contents": [result]})), "  [toolMessage] ok");
    }
}
