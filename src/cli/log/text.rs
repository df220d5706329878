//! A job's record as text: the job, its Runs as a tree, a checkpoint, counts, and the events or steps. The head and the
//! tree are left to `head` and `tree`.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::ControlFlow;

use perstack::checkpoint::Checkpoint;
use perstack::content::{ExpertPart, ResultPart};
use perstack::id::RunId;
use perstack::message::Message;
use perstack::runtime::history::{HistoryItem, JobLog, KeptEvent, LoggedEvent, ReadProblem, ReadProblemKind};

use super::event_text::{Excerpt, Style, cut};
use super::head::{WayOn, job_lines, way_on};
use super::page::Page;
use super::selection::{Chooser, Criteria};
use super::summary::{Mark, RunFigures, Summary};
use super::tree::{status_text, tree_lines};
use super::{LogRequest, Unit, chooser, flow};
use crate::cli::render::visible;

/// Columns of the rule around the events (the original's).
const RULE: usize = 50;

/// Most characters of each message that is shown (the original's).
const MESSAGE: usize = 100;

/// Most events of a page that are kept while all are counted; for a longer page the record is read again.
const MOST_KEPT: u64 = 1_000;

/// Writes a record. `count`: that of the request, if it was read already. Problems of reading are added to `problems`.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    record: &JobLog,
    request: &LogRequest,
    count: Option<EventCount>,
    page: &mut Page,
    problems: &mut Vec<ReadProblem>,
) -> io::Result<()> {
    if request.is_default {
        page.line("(showing latest job)")?;
        page.line("")?;
    }
    page.line(&format!("Storage: {}", record.storage().display()))?;
    page.line("")?;
    let mut count = count.unwrap_or_else(|| EventCount::read(record, request, None));
    problems.append(&mut count.problems);
    let tool_calls = request.run.is_none().then(|| count.figures.tool_calls());
    for line in job_lines(record, tool_calls, page.local()) {
        page.line(&line)?;
    }
    if let Some(WayOn { title, command }) =
        way_on(record, || record.latest().map(|latest| latest.head), &request.places)
    {
        page.whole_line(&format!("{title}: {command}"))?;
    }
    page.line("")?;
    write_checkpoint(record, request, page, problems)?;
    if request.run.is_none() {
        write_tree(record, request.most_runs, &count.figures, page)?;
    }
    if request.shows_summary {
        for line in summary_lines(count.summary) {
            page.line(&line)?;
        }
        page.line("")?;
    }
    write_events(record, request, &count, page)
}

/// Writes the Runs as a tree, and an empty line.
///
/// # Errors
/// When it cannot be written.
pub fn write_tree(record: &JobLog, most: Option<u64>, figures: &RunFigures, page: &mut Page) -> io::Result<()> {
    let lines = tree_lines(record, most, figures, page.width());
    if lines.is_empty() {
        return Ok(());
    }
    lines.iter().try_for_each(|line| page.line(line))?;
    page.line("")
}

/// The result of the first reading.
pub struct EventCount {
    pub figures: RunFigures,
    pub summary: Summary,
    /// Events that fit.
    pub matched: u64,
    /// The problems of reading.
    pub problems: Vec<ReadProblem>,
    /// The events of the page, if they are few and without context.
    kept: Option<VecDeque<KeptEvent>>,
}

impl EventCount {
    /// Reads the record. `last`: of the events of the request's page, only so many are shown, the last ones.
    pub fn read(record: &JobLog, request: &LogRequest, last: Option<u64>) -> Self {
        let most = last.or(request.range.take).filter(|most| request.range.context == 0 && *most <= MOST_KEPT);
        let is_of_all = request.criteria == Criteria::default() && request.range.offset == 0;
        let read_end = |last: u64| {
            let mut reading = Reading::new(request, most);
            reading.count.problems = record.visit_last(request.run.as_ref(), last, &mut |item| reading.take(item));
            reading.behind.values().all(|visited| *visited >= last).then(|| reading.count())
        };
        most.filter(|most| is_of_all && last == Some(*most)).and_then(read_end).unwrap_or_else(|| {
            let mut reading = Reading::new(request, most);
            reading.count.problems = record.visit(request.run.as_ref(), &mut |item| reading.take(item));
            reading.count()
        })
    }
}

/// A first reading under way.
struct Reading<'a> {
    chooser: Chooser<'a, (Mark, Option<KeptEvent>)>,
    count: EventCount,
    /// Most events that are kept; `None` to keep none.
    most: Option<u64>,
    /// Of each Run of which events were only counted, those that were visited since.
    behind: HashMap<RunId, u64>,
}

impl<'a> Reading<'a> {
    fn new(request: &'a LogRequest, most: Option<u64>) -> Self {
        let kept = most.map(|_| VecDeque::new());
        let (figures, summary) = (RunFigures::default(), Summary::default());
        let count = EventCount { figures, summary, matched: 0, problems: Vec::new(), kept };
        Self { chooser: chooser(request), count, most, behind: HashMap::new() }
    }

    fn take(&mut self, item: HistoryItem<'_>) -> ControlFlow<()> {
        self.count.figures.add(&item);
        match item {
            HistoryItem::Event(event) => {
                if let Some(visited) = self.behind.get_mut(event.run()) {
                    *visited += 1;
                }
                let Self { chooser, count, most, .. } = self;
                let make = |event: &LoggedEvent<'_>| (Mark::for_event(event), most.map(|_| event.keep()));
                let mut keep = |(mark, event)| {
                    count.summary.add(mark);
                    if let Some(kept) = &mut count.kept {
                        kept.extend(event);
                        if most.is_some_and(|most| kept.len() as u64 > most) {
                            kept.pop_front();
                        }
                    }
                    Ok(())
                };
                return flow(&chooser.take(&event, make, &mut keep));
            }
            HistoryItem::Passed { run, events, .. } => {
                self.chooser.pass(events);
                self.behind.insert(run.clone(), 0);
            }
            HistoryItem::End { .. } => {}
        }
        ControlFlow::Continue(())
    }

    fn count(self) -> EventCount {
        EventCount { matched: self.chooser.matched(), ..self.count }
    }
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
        format!("Status: {}", status_text(head.status)),
        format!("Step: {}", head.step_number),
        format!("Expert: {}", visible(head.expert.key.as_str())),
    ];
    lines.extend(head.snapshot.iter().map(|snapshot| format!("Snapshot: {snapshot}")));
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

fn write_events(record: &JobLog, request: &LogRequest, count: &EventCount, page: &mut Page) -> io::Result<()> {
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
    let local = page.local().clone();
    let style = Style {
        paint: page.paint(),
        local: &local,
        is_verbose: request.shows_arguments,
        names_experts: has_several_experts(record),
    };
    page.line(title)?;
    page.line(&"─".repeat(RULE))?;
    let shown = match &count.kept {
        Some(kept) => {
            kept.iter().try_for_each(|event| write_excerpt(&Excerpt::new(&event.event()), request, style, page))?;
            kept.len() as u64
        }
        None => write_chosen(record, request, style, page)?,
    };
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

/// Returns true if the Runs are of more than one expert.
pub fn has_several_experts(record: &JobLog) -> bool {
    let mut experts = record.runs().iter().filter_map(|run| run.expert.as_ref());
    let first = experts.next();
    experts.any(|expert| Some(expert) != first)
}

/// Writes one event, or the step that ends with it.
///
/// # Errors
/// When it cannot be written.
pub fn write_excerpt(excerpt: &Excerpt, request: &LogRequest, style: Style<'_>, page: &mut Page) -> io::Result<()> {
    let lines = match request.unit {
        Unit::Events => excerpt.event_lines(style),
        Unit::Steps => excerpt.step_lines(style),
    };
    // What is asked for in full is not cut.
    lines.iter().try_for_each(|line| if style.is_verbose { page.wrapped_line(line) } else { page.line(line) })
}

/// The second reading; returns how many were written.
fn write_chosen(record: &JobLog, request: &LogRequest, style: Style<'_>, page: &mut Page) -> io::Result<u64> {
    let mut chooser = chooser(request);
    let (mut shown, mut written) = (0, Ok(()));
    // The first reading has already reported the problems.
    record.visit(request.run.as_ref(), &mut |item| {
        if let HistoryItem::Event(event) = item {
            let mut show = |excerpt: Excerpt| {
                shown += 1;
                write_excerpt(&excerpt, request, style, page)
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
