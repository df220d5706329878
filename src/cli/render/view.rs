//! [`View`]: a pure fold of a job's events into notes (lines that stay) and a line for each active Run.
//!
//! Knows no terminal and no clock. All text of models, tools and servers leaves here on one line and without control
//! characters. The end of the job as a whole is left to `outcome`, which prints it afterwards; the text of its answer to
//! `answer`.

use std::collections::HashSet;

use perstack::event::{Event, EventBody, EventCheckpoint, Step};
use perstack::id::{RunId, ToolCallId};
use perstack::sandbox::SandboxState;
use perstack::tool::{ToolCall, ToolResult};
use serde_json::Value;

use super::activity::Doing;
use super::call_text::{CallText, DetailLine, details, failure_text, query_text};
use super::note::{Note, NoteKind};
use super::run_view::RunView;
use super::text::{count, duration, money, shortened, steps, visible};
use super::tree::Tree;

/// Most characters of a reason.
const REASON_WIDTH: usize = 200;

/// The tool whose text is the answer, which is shown as that.
const COMPLETION: &str = "attemptCompletion";

/// The amount of detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    Normal,
    Verbose,
}

/// The job so far.
#[derive(Debug)]
pub struct View {
    verbosity: Verbosity,
    tree: Tree,
    /// Calls that have a note although their step has not ended: the Run stopped in the middle of it.
    noted: HashSet<ToolCallId>,
    /// The time of the latest event, in milliseconds.
    now: u64,
    /// The coordinator's text beside calls is shown elsewhere.
    has_answer_stream: bool,
}

impl View {
    /// Nothing has happened yet.
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, tree: Tree::default(), noted: HashSet::new(), now: 0, has_answer_stream: false }
    }

    /// With `has_answer_stream`, the text of the coordinator is left to the stream of the answer.
    #[must_use]
    pub fn beside_answer_stream(self, has_answer_stream: bool) -> Self {
        Self { has_answer_stream, ..self }
    }

    /// The active Runs, a delegate after its parent.
    pub fn active(&self) -> impl Iterator<Item = &RunId> {
        self.tree.ids()
    }

    /// A Run's line at the time `now` in milliseconds, in at most `width` columns.
    pub fn line(&self, run_id: &RunId, now: u64, width: usize) -> Option<String> {
        let run = self.tree.get(run_id)?;
        Some(run.line(self.tree.depth(run_id), self.tree.used(run_id), now, width))
    }

    /// The waits that have become so long by now that they are to be shown where no line shows them.
    pub fn overdue(&mut self, now: u64) -> Vec<Note> {
        let ids: Vec<RunId> = self.tree.ids().cloned().collect();
        let mut notes = Vec::new();
        for id in ids {
            let Some(run) = self.tree.get_mut(&id).filter(|run| run.waiting.is_none()) else { continue };
            if let Some(text) = run.activity.overdue(now) {
                let step = if run.step > 0 { format!("step {}  ", run.step) } else { String::new() };
                notes.push(self.note(&id, NoteKind::Waiting, step + &text));
            }
        }
        notes
    }

    /// Applies one event that came at the time `now`, in milliseconds, and returns the notes it leads to, in order.
    pub fn apply(&mut self, event: &Event, now: u64) -> Vec<Note> {
        self.now = now;
        let id = &event.run_id;
        match &event.body {
            EventBody::InitializeRuntime { expert_name, provider, model, max_steps, timeout, sandbox, .. } => {
                let text = format!("{}  {}/{}", visible(expert_name), visible(provider), visible(model));
                self.initialize(id, expert_name, &(text + &contained(sandbox)), *max_steps, *timeout)
            }
            EventBody::StartRun { initial_checkpoint, .. } => self.begin(event, initial_checkpoint, true),
            EventBody::ResumeFromStop { checkpoint } => self.begin(event, checkpoint, false),
            EventBody::ContinueToNextStep { checkpoint, step, next_checkpoint } => {
                self.next_step(id, checkpoint, step, next_checkpoint.head.step_number)
            }
            EventBody::CompleteRun { checkpoint, step, .. } => self.complete(id, checkpoint, step),
            EventBody::StopRunByDelegate { checkpoint, step } => self.delegate(id, checkpoint, step),
            EventBody::StopRunByInteractiveTool { checkpoint, step } => {
                let mut notes = self.answered_calls(id, step);
                notes.extend(self.end_of_delegate(id, checkpoint, "waits for an answer from a person"));
                notes
            }
            EventBody::StopRunByExceededMaxSteps { checkpoint, step } => {
                let mut notes = self.last_step(id, checkpoint, step);
                notes.extend(self.end_of_delegate(id, checkpoint, "reached the maximum of steps"));
                notes
            }
            EventBody::StopRunByError { checkpoint, step, error } => {
                let reason = shortened(&visible(&error.message), REASON_WIDTH);
                let mut notes = self.answered_calls(id, step);
                notes.extend(self.end_of_delegate(id, checkpoint, &format!("stopped by error: {reason}")));
                notes
            }
            EventBody::StopRunByCancellation { checkpoint, step } => {
                let mut notes = self.answered_calls(id, step);
                notes.extend(self.end_of_delegate(id, checkpoint, "was cancelled"));
                notes
            }
            EventBody::StopRunByBudget { checkpoint, step, .. } => {
                let mut notes = self.last_step(id, checkpoint, step);
                notes.extend(self.end_of_delegate(id, checkpoint, "was stopped by a budget"));
                notes
            }
            EventBody::StopRunByVerification { checkpoint, step, error } => {
                let reason = shortened(&visible(&error.message), REASON_WIDTH);
                let mut notes = self.answered_calls(id, step);
                notes.extend(self.end_of_delegate(id, checkpoint, &reason));
                notes
            }
            EventBody::SkillConnected { skill_name, total_duration_ms, .. } => {
                if let Some(run) = self.tree.get_mut(id) {
                    run.activity.skill_is_up(skill_name);
                }
                let took = duration(*total_duration_ms);
                self.detail(id, format!("skill {} connected in {took}", visible(skill_name)))
            }
            EventBody::RuntimeWarning { message } => {
                vec![self.note(id, NoteKind::Warning, shortened(&visible(message), REASON_WIDTH))]
            }
            EventBody::SkillStderr { skill_name, message } => {
                self.detail(id, format!("{}: {}", visible(skill_name), shortened(&visible(message), REASON_WIDTH)))
            }
            EventBody::ProxyAccess { domain, port, reason, skill_name, .. } => match reason {
                Some(reason) => vec![self.note(
                    id,
                    NoteKind::Warning,
                    shortened(&format!("network: {}", visible(reason)), REASON_WIDTH),
                )],
                None => {
                    self.detail(id, format!("{}: network: {}:{port} is allowed", visible(skill_name), visible(domain)))
                }
            },
            body => self.within_step(id, body),
        }
    }

    /// Applies an event that changes a Run's line or gives details of its work.
    fn within_step(&mut self, id: &RunId, body: &EventBody) -> Vec<Note> {
        let (now, verbose) = (self.now, self.verbosity == Verbosity::Verbose);
        // The coordinator's answer is written to standard output.
        let is_result_shown = !self.is_delegate(id);
        let is_text_shown = is_result_shown && self.has_answer_stream;
        let Some(run) = self.tree.get_mut(id) else { return Vec::new() };
        let limit_ms = run.timeout_ms;
        let mut lines = Vec::new();
        match body {
            EventBody::StartGeneration { .. } => run.activity.begin(Doing::Asking { retries: 0, limit_ms }, now),
            EventBody::StartStreamingReasoning => {
                run.activity.begin(Doing::Reasoning, now);
                run.start_stream();
            }
            EventBody::StartStreamingText => run.activity.begin(Doing::Answering, now),
            EventBody::StreamReasoning { delta } if verbose => lines = run.stream(delta),
            EventBody::CompleteStreamingReasoning { text } if verbose => lines = run.end_stream(text),
            EventBody::CompleteStreamingText { text } if verbose && !is_text_shown => lines = text_lines(text),
            EventBody::CompleteStreamingRunResult { text } if verbose && !is_result_shown => lines = text_lines(text),
            EventBody::CallTools { tool_calls, usage, spend, .. } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                run.start_calls(tool_calls, now);
            }
            EventBody::ResolveToolResults { tool_results } => run.resolve(tool_results),
            EventBody::SkillProgress { tool_name, progress, total, message, .. } => {
                run.progress(tool_name, *progress, *total, message.as_deref());
            }
            EventBody::SkillStarting { skill_name, command, args } => {
                let words = std::iter::once(command).chain(args).map(String::as_str).collect::<Vec<_>>();
                run.activity.skill_starts(skill_name, &words.join(" "), now);
            }
            EventBody::ContextSummarized {
                messages_before,
                messages_after,
                tokens_before,
                tokens_after,
                usage,
                spend,
                ..
            } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                run.activity.begin(Doing::Asking { retries: 0, limit_ms }, now);
                // One message has taken their place.
                let replaced = messages_before.saturating_sub(*messages_after).saturating_add(1);
                let (before, after) = (count(*tokens_before), count(*tokens_after));
                let text = format!("summarised {replaced} messages: {before} to {after} tokens of context");
                return vec![self.note(id, NoteKind::Done, text)];
            }
            EventBody::RefuseAnswer { problems, refusals, usage, spend, .. } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                let text = format!("answer refused ({refusals}), asking again: {}", problems.join("; "));
                return vec![self.note(id, NoteKind::Retrying, text)];
            }
            EventBody::FallBack { from_model, to_model, reason, usage, spend } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                run.activity.begin(Doing::Asking { retries: 0, limit_ms }, now);
                let text = format!("{from_model} failed ({}), going on with {to_model}", reason_in_words(reason));
                return vec![self.note(id, NoteKind::Retrying, visible(&text))];
            }
            EventBody::StartVerification { command, .. } => {
                run.activity.begin(Doing::Verifying(command.clone()), now);
                let text = format!("verifying: {}", shortened(&visible(command), REASON_WIDTH));
                return vec![self.note(id, NoteKind::Begun, text)];
            }
            EventBody::FinishVerification {
                round, max_rounds, passed, end, output, duration_ms, usage, spend, ..
            } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                run.activity.end();
                let took = duration(*duration_ms);
                let (kind, text) = if *passed {
                    (NoteKind::Done, format!("verified ({took})"))
                } else {
                    let text = format!("not verified ({round} of {max_rounds}): it {} ({took})", visible(end));
                    (NoteKind::Failed, shortened(&text, REASON_WIDTH))
                };
                let mut notes = vec![self.note(id, kind, text)];
                if verbose && !passed {
                    notes.extend(text_lines(output).into_iter().map(|line| self.note(id, NoteKind::Detail, line)));
                }
                return notes;
            }
            EventBody::Retry { reason, usage, spend, delay_ms, retry_count, .. } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                let when = retry_in_words(*delay_ms, *retry_count);
                let text = format!("{when}: {}", reason_in_words(reason));
                // The reason stays above the line.
                let at = now.saturating_add(delay_ms.unwrap_or_default());
                run.activity.begin(Doing::AskingAgain { retries: *retry_count, at, limit_ms }, now);
                return vec![self.note(id, NoteKind::Retrying, text)];
            }
            _ => {}
        }
        lines.into_iter().map(|line| self.note(id, NoteKind::Detail, line)).collect()
    }

    fn initialize(&mut self, id: &RunId, expert: &str, text: &str, max_steps: u64, timeout_ms: u64) -> Vec<Note> {
        let now = self.now;
        let run = self.tree.announce(id, expert);
        run.max_steps = max_steps;
        run.timeout_ms = timeout_ms;
        run.began = now;
        run.activity.begin(Doing::Starting(Vec::new()), now);
        self.detail(id, text.to_owned())
    }

    fn begin(&mut self, event: &Event, checkpoint: &EventCheckpoint, is_new: bool) -> Vec<Note> {
        let head = &checkpoint.head;
        let id = &event.run_id;
        let awaited = self.tree.is_awaited(head);
        let run = self.tree.begin(id, head);
        run.step = event.step_number.unwrap_or(head.step_number);
        let (expert, step, max_steps) = (run.expert.clone(), run.step, run.max_steps);
        if self.tree.depth(id) == 0 && is_new && head.step_number <= 1 {
            let limit = if max_steps > 0 { format!(", at most {}", steps(max_steps)) } else { String::new() };
            let note = Note { kind: NoteKind::Begun, depth: 0, expert: None, text: expert + &limit, ..Note::default() };
            return vec![note];
        }
        // What was delegated has a note, and what comes of the answers gets one.
        if awaited {
            return Vec::new();
        }
        let how = if is_new { "begins" } else { "goes on" };
        vec![self.note(id, NoteKind::Begun, format!("{how} at step {step}"))]
    }

    fn next_step(&mut self, id: &RunId, checkpoint: &EventCheckpoint, step: &Step, next: u64) -> Vec<Note> {
        let notes = self.finish_step(id, checkpoint, step);
        if let Some(run) = self.tree.get_mut(id) {
            run.step = next;
        }
        notes
    }

    /// The step that a Run stops with; one that a budget ended before the model was asked did nothing.
    fn last_step(&mut self, id: &RunId, checkpoint: &EventCheckpoint, step: &Step) -> Vec<Note> {
        if checkpoint.head.budget.is_some() && step.tool_calls.is_empty() {
            return Vec::new();
        }
        self.finish_step(id, checkpoint, step)
    }

    /// The notes of a finished step: the calls it made.
    fn finish_step(&mut self, id: &RunId, checkpoint: &EventCheckpoint, step: &Step) -> Vec<Note> {
        let Some(run) = self.tree.get_mut(id) else { return Vec::new() };
        run.take(&checkpoint.head);
        let made = run.end_step(&step.tool_calls, &step.tool_results);
        if made.is_empty() {
            return vec![self.note(id, NoteKind::Done, format!("step {}  no tool called", step.step_number))];
        }
        self.call_notes(id, step.step_number, made)
    }

    /// The notes of the calls that were answered before a Run stopped in the middle of a step.
    fn answered_calls(&mut self, id: &RunId, step: &Step) -> Vec<Note> {
        let Some(run) = self.tree.get_mut(id) else { return Vec::new() };
        let results: Vec<ToolResult> = step.tool_results.iter().chain(&step.partial_tool_results).cloned().collect();
        let mut made = run.end_step(&step.tool_calls, &results);
        made.retain(|(call, result)| result.is_some() && call.tool_name != COMPLETION);
        let answered: Vec<ToolCallId> = made.iter().map(|(call, _)| call.id.clone()).collect();
        let notes = self.call_notes(id, step.step_number, made);
        self.noted.extend(answered);
        notes
    }

    /// A note for each call, and with `-v` what came of it.
    fn call_notes(&mut self, id: &RunId, step: u64, made: Vec<(ToolCall, Option<ToolResult>)>) -> Vec<Note> {
        let mut notes = Vec::new();
        for (call, result) in made {
            // A step that goes on after a stop has all its calls again.
            if self.noted.remove(&call.id) {
                continue;
            }
            let CallText { tool, argument, extra } = CallText::new(&call);
            let failure = result.as_ref().filter(|result| result.is_error).map(failure_text);
            let kind = if failure.is_some() { NoteKind::Failed } else { NoteKind::Done };
            let note = self.note(id, kind, format!("step {step}  {tool}"));
            notes.push(Note { argument, extra: failure.unwrap_or(extra), ..note });
            if self.verbosity == Verbosity::Verbose {
                let depth = self.tree.depth(id);
                notes.extend(details(&call, result.as_ref()).into_iter().map(|line| {
                    let (kind, text) = match line {
                        DetailLine::Plain(text) => (NoteKind::Output, text),
                        DetailLine::Added(text) => (NoteKind::Added, text),
                        DetailLine::Removed(text) => (NoteKind::Removed, text),
                    };
                    Note { kind, depth, text, ..Note::default() }
                }));
            }
        }
        notes
    }

    fn delegate(&mut self, id: &RunId, checkpoint: &EventCheckpoint, step: &Step) -> Vec<Note> {
        let mut notes = self.answered_calls(id, step);
        self.tree.wait(id, &checkpoint.head.delegate_to);
        let Some(run) = self.tree.get_mut(id) else { return notes };
        run.take(&checkpoint.head);
        for to in &checkpoint.head.delegate_to {
            let label = self.tree.get(id).and_then(|run| RunView::label_of(run, &to.tool_call_id));
            let name = label.unwrap_or_else(|| visible(&to.expert.name));
            let note = self.note(id, NoteKind::Begun, format!("step {}  delegated to {name}", step.step_number));
            notes.push(Note { argument: query_text(&to.query), ..note });
        }
        notes
    }

    fn complete(&mut self, id: &RunId, checkpoint: &EventCheckpoint, step: &Step) -> Vec<Note> {
        let mut notes = self.answered_calls(id, step);
        let number = checkpoint.head.step_number;
        let text = if self.is_delegate(id) { "answered".to_owned() } else { format!("step {number}  answered") };
        notes.extend(self.end(id, checkpoint, NoteKind::Done, &text));
        notes
    }

    /// Ends a Run. Its usage is shown for delegates only: the job's total is printed at the end.
    fn end(&mut self, id: &RunId, checkpoint: &EventCheckpoint, kind: NoteKind, text: &str) -> Vec<Note> {
        let head = &checkpoint.head;
        if let Some(run) = self.tree.get_mut(id) {
            run.take(head);
        }
        let mut figures = Vec::new();
        if self.is_delegate(id) {
            // No tokens at all are none that were reported.
            let tokens = (head.usage.total_tokens > 0).then(|| format!("{} tokens", count(head.usage.total_tokens)));
            figures.extend(tokens.into_iter().chain(money(head.spend)));
        }
        let note = Note { extra: figures.join("  "), ..self.note(id, kind, text.to_owned()) };
        // The call that it answers needs no further note.
        self.noted.extend(self.tree.get(id).and_then(|run| run.call.clone()));
        self.tree.end(id);
        vec![note]
    }

    /// Ends a Run that stopped. No note for the coordinator: `outcome` prints its stop, with what to do next.
    fn end_of_delegate(&mut self, id: &RunId, checkpoint: &EventCheckpoint, text: &str) -> Vec<Note> {
        let is_delegate = self.is_delegate(id);
        let notes = self.end(id, checkpoint, NoteKind::Stopped, text);
        if is_delegate { notes } else { Vec::new() }
    }

    /// Returns true if another Run called this one, even one that is not shown.
    fn is_delegate(&self, id: &RunId) -> bool {
        self.tree.get(id).is_some_and(|run| run.parent.is_some())
    }

    fn detail(&self, id: &RunId, text: String) -> Vec<Note> {
        match self.verbosity {
            Verbosity::Normal => Vec::new(),
            Verbosity::Verbose => vec![self.note(id, NoteKind::Detail, text)],
        }
    }

    fn note(&self, id: &RunId, kind: NoteKind, text: String) -> Note {
        let depth = self.tree.depth(id);
        let is_named = depth > 0 || self.tree.len() > 1;
        let expert = self.tree.get(id).filter(|_| is_named).map(|run| run.label.clone());
        Note { kind, depth, expert, text, ..Note::default() }
    }
}

/// The lines of a text that is shown whole.
fn text_lines(text: &str) -> Vec<String> {
    text.lines().map(visible).filter(|line| !line.is_empty()).collect()
}

/// The reason of a retry. It may be the original's JSON form: its message is for the model, or the provider's.
fn reason_in_words(reason: &str) -> String {
    let parsed = serde_json::from_str::<Value>(reason).ok();
    let part = |key: &str| parsed.as_ref().and_then(|json| json.get(key)).and_then(Value::as_str);
    match part("error") {
        Some("Error: Answer cut off") => {
            "the answer was cut off at the model's output limit; asking for the rest".to_owned()
        }
        Some("Error: Tool call generation failed") => "a call was cut off at the model's output limit".to_owned(),
        Some("Error: No tool call or text generated") => "the model's answer was empty".to_owned(),
        _ => shortened(&visible(part("message").unwrap_or(reason)), REASON_WIDTH),
    }
}

/// The number of a retry and the wait before it.
fn retry_in_words(delay_ms: Option<u64>, retry_count: u32) -> String {
    match delay_ms {
        Some(ms) => format!("retry {retry_count} in {}", duration(ms)),
        None => format!("retry {retry_count}"),
    }
}

/// The containment behind expert and model in a Run's first line.
fn contained(sandbox: &SandboxState) -> String {
    let SandboxState { setting, lacking, .. } = sandbox;
    match lacking {
        Some(lacking) => format!("  sandbox {setting} (not in force: no {lacking})"),
        None => format!("  sandbox {setting}"),
    }
}

#[cfg(test)]
mod tests;
