//! [`View`]: a pure fold of a job's events into notes (lines that stay) and a line for each active Run.
//!
//! Knows no terminal. All text of models, tools and servers leaves here on one line and without control characters. The
//! end of the job as a whole is left to `outcome`, which prints it afterwards.

use perstack::event::{Event, EventBody, EventCheckpoint, Step};
use perstack::id::RunId;
use serde_json::Value;

use super::run_view::enumerated;
use super::text::{count, duration, money, shortened, steps, visible};
use super::tree::Tree;

/// Most characters of a reason.
const REASON_WIDTH: usize = 200;

/// A line that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub kind: NoteKind,
    /// The number of callers between its Run and the user.
    pub depth: usize,
    /// The Run's expert, where it is not the only one at work.
    pub expert: Option<String>,
    pub text: String,
}

/// The kind of a note, shown as its mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// Something begins or goes on.
    Begun,
    /// Something was done.
    Done,
    /// Something will be tried again.
    Retrying,
    /// Something that does not stop the run, but should be known.
    Warning,
    /// Something stopped.
    Stopped,
    /// Streamed reasoning or text, a skill's own output.
    Detail,
}

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
}

impl View {
    /// Nothing has happened yet.
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, tree: Tree::default() }
    }

    /// The active Runs, a delegate after its parent.
    pub fn active(&self) -> impl Iterator<Item = &RunId> {
        self.tree.ids()
    }

    /// A Run's line, in at most `width` columns.
    pub fn line(&self, run_id: &RunId, width: usize) -> Option<String> {
        let run = self.tree.get(run_id)?;
        Some(run.line(self.tree.depth(run_id), width))
    }

    /// Applies one event and returns the notes it leads to, in order.
    pub fn apply(&mut self, event: &Event) -> Vec<Note> {
        let id = &event.run_id;
        match &event.body {
            EventBody::InitializeRuntime { expert_name, provider, model, max_steps, .. } => {
                self.initialize(id, expert_name, provider, model, *max_steps)
            }
            EventBody::StartRun { initial_checkpoint, .. } => self.begin(event, initial_checkpoint, "started"),
            EventBody::ResumeFromStop { checkpoint } => self.begin(event, checkpoint, "resumed"),
            EventBody::ContinueToNextStep { checkpoint, step, next_checkpoint } => {
                self.next_step(id, checkpoint, step, next_checkpoint.head.step_number)
            }
            EventBody::CompleteRun { checkpoint, .. } => self.complete(id, checkpoint),
            EventBody::StopRunByDelegate { checkpoint, step } => self.delegate(id, checkpoint, step),
            EventBody::StopRunByInteractiveTool { checkpoint, .. } => {
                self.end_of_delegate(id, checkpoint, "waits for an answer from a person")
            }
            EventBody::StopRunByExceededMaxSteps { checkpoint, step } => {
                let mut notes = self.last_step(id, checkpoint, step);
                notes.extend(self.end_of_delegate(id, checkpoint, "reached the maximum of steps"));
                notes
            }
            EventBody::StopRunByError { checkpoint, error, .. } => {
                let reason = shortened(&visible(&error.message), REASON_WIDTH);
                self.end_of_delegate(id, checkpoint, &format!("stopped by error: {reason}"))
            }
            EventBody::StopRunByCancellation { checkpoint, .. } => {
                self.end_of_delegate(id, checkpoint, "was cancelled")
            }
            EventBody::StopRunByBudget { checkpoint, step, .. } => {
                let mut notes = self.last_step(id, checkpoint, step);
                notes.extend(self.end_of_delegate(id, checkpoint, "was stopped by a budget"));
                notes
            }
            EventBody::SkillConnected { skill_name, total_duration_ms, .. } => {
                let took = duration(*total_duration_ms);
                self.detail(id, format!("skill {} connected in {took}", visible(skill_name)))
            }
            EventBody::RuntimeWarning { message } => {
                vec![self.note(id, NoteKind::Warning, shortened(&visible(message), REASON_WIDTH))]
            }
            EventBody::SkillStderr { skill_name, message } => {
                self.detail(id, format!("{}: {}", visible(skill_name), shortened(&visible(message), REASON_WIDTH)))
            }
            body => self.within_step(id, body),
        }
    }

    /// Applies an event that changes a Run's line or gives details of its work.
    fn within_step(&mut self, id: &RunId, body: &EventBody) -> Vec<Note> {
        let verbose = self.verbosity == Verbosity::Verbose;
        let Some(run) = self.tree.get_mut(id) else { return Vec::new() };
        let mut lines = Vec::new();
        match body {
            EventBody::StartGeneration { .. } => "asking the model".clone_into(&mut run.activity),
            EventBody::StartStreamingReasoning => run.start_stream("reasoning"),
            EventBody::StartStreamingText => run.start_stream("answering"),
            EventBody::StreamReasoning { delta } | EventBody::StreamText { delta } if verbose => {
                lines = run.stream(delta);
            }
            EventBody::CompleteStreamingReasoning { text }
            | EventBody::CompleteStreamingText { text }
            | EventBody::CompleteStreamingRunResult { text }
                if verbose =>
            {
                lines = run.end_stream(text);
            }
            EventBody::CallTools { tool_calls, usage, spend, .. } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                run.start_calls(tool_calls);
            }
            EventBody::ResolveToolResults { tool_results } => run.resolve(tool_results),
            EventBody::SkillProgress { tool_name, progress, total, message, .. } => {
                run.progress(tool_name, *progress, *total, message.as_deref());
            }
            EventBody::SkillStarting { skill_name, .. } => {
                run.activity = format!("starting skill {}", visible(skill_name));
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
                "asking the model".clone_into(&mut run.activity);
                // One message has taken their place.
                let replaced = messages_before.saturating_sub(*messages_after).saturating_add(1);
                let (before, after) = (count(*tokens_before), count(*tokens_after));
                let text = format!("summarised {replaced} messages: {before} to {after} tokens of context");
                return vec![self.note(id, NoteKind::Done, text)];
            }
            EventBody::Retry { reason, usage, spend, delay_ms, retry_count, .. } => {
                run.usage = run.usage.plus(*usage);
                run.spend = run.spend.plus(*spend);
                let when = retry_in_words(*delay_ms, *retry_count);
                let text = format!("{when}: {}", reason_in_words(reason));
                // The reason stays above the line.
                run.activity = when;
                return vec![self.note(id, NoteKind::Retrying, text)];
            }
            _ => {}
        }
        lines.into_iter().map(|line| self.note(id, NoteKind::Detail, line)).collect()
    }

    fn initialize(&mut self, id: &RunId, expert: &str, provider: &str, model: &str, max_steps: u64) -> Vec<Note> {
        let run = self.tree.announce(id, expert);
        run.max_steps = max_steps;
        "starting skills".clone_into(&mut run.activity);
        let text = format!("{}  {}/{}", visible(expert), visible(provider), visible(model));
        self.detail(id, text)
    }

    fn begin(&mut self, event: &Event, checkpoint: &EventCheckpoint, how: &str) -> Vec<Note> {
        let head = &checkpoint.head;
        let id = &event.run_id;
        let run = self.tree.begin(id, head);
        run.step = event.step_number.unwrap_or(head.step_number);
        let (expert, step, max_steps) = (run.expert.clone(), run.step, run.max_steps);
        if self.tree.depth(id) == 0 && how == "started" && head.step_number <= 1 {
            let limit = if max_steps > 0 { format!(", at most {}", steps(max_steps)) } else { String::new() };
            return vec![Note { kind: NoteKind::Begun, depth: 0, expert: None, text: format!("{expert}{limit}") }];
        }
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

    /// The note of a finished step: the tools it called.
    fn finish_step(&mut self, id: &RunId, checkpoint: &EventCheckpoint, step: &Step) -> Vec<Note> {
        let Some(run) = self.tree.get_mut(id) else { return Vec::new() };
        run.take(&checkpoint.head);
        let did = run.end_step(&step.tool_calls);
        let did = if did.is_empty() { "no tool called".to_owned() } else { did };
        vec![self.note(id, NoteKind::Done, format!("step {}  {did}", step.step_number))]
    }

    fn delegate(&mut self, id: &RunId, checkpoint: &EventCheckpoint, step: &Step) -> Vec<Note> {
        self.tree.wait(id, &checkpoint.head.delegate_to);
        let Some(run) = self.tree.get_mut(id) else { return Vec::new() };
        run.take(&checkpoint.head);
        let names = checkpoint.head.delegate_to.iter().map(|to| visible(&to.expert.name));
        let text = format!("step {}  delegated to {}", step.step_number, enumerated(names));
        vec![self.note(id, NoteKind::Begun, text)]
    }

    fn complete(&mut self, id: &RunId, checkpoint: &EventCheckpoint) -> Vec<Note> {
        let step = checkpoint.head.step_number;
        let text =
            if self.is_delegate(id) { format!("completed at step {step}") } else { format!("step {step}  answered") };
        self.end(id, checkpoint, NoteKind::Done, &text)
    }

    /// Ends a Run. Its usage is shown for delegates only: the job's total is printed at the end.
    fn end(&mut self, id: &RunId, checkpoint: &EventCheckpoint, kind: NoteKind, text: &str) -> Vec<Note> {
        let used = if self.is_delegate(id) {
            let cost = money(checkpoint.head.spend).map(|cost| format!("  {cost}")).unwrap_or_default();
            format!("  {} tokens{cost}", count(checkpoint.head.usage.total_tokens))
        } else {
            String::new()
        };
        let note = self.note(id, kind, format!("{text}{used}"));
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
        Note { kind, depth, expert, text }
    }
}

/// The reason of a retry. It may be the original's JSON form, of which only the message is of use to a reader.
fn reason_in_words(reason: &str) -> String {
    let parsed = serde_json::from_str::<Value>(reason).ok();
    let message = parsed.as_ref().and_then(|json| json.get("message")).and_then(Value::as_str).unwrap_or(reason);
    shortened(&visible(message), REASON_WIDTH)
}

/// The number of a retry and the wait before it.
fn retry_in_words(delay_ms: Option<u64>, retry_count: u32) -> String {
    match delay_ms {
        Some(ms) => format!("retry {retry_count} in {}", duration(ms)),
        None => format!("retry {retry_count}"),
    }
}

#[cfg(test)]
mod tests {
    use perstack::checkpoint::{CheckpointHead, RunFailure};
    use perstack::cost::{Cost, Spend};
    use perstack::message::Message;
    use perstack::tool::{ToolCall, ToolResult};
    use perstack::usage::Usage;

    use super::super::fixture::{awaiting, call, delegated, event, event_checkpoint, head, initialize, retry, step};
    use super::super::note_line;
    use super::super::text::Paint;
    use super::*;

    /// A view, and every line that it noted.
    struct Watched(View, Vec<String>);

    impl Watched {
        fn new(verbosity: Verbosity) -> Self {
            Self(View::new(verbosity), Vec::new())
        }

        fn see(&mut self, run: &str, body: EventBody) {
            let notes = self.0.apply(&event(run, body));
            self.1.extend(notes.iter().map(|note| note_line(note, Paint::plain())));
        }

        fn lines(&self) -> Vec<String> {
            self.0.active().filter_map(|id| self.0.line(id, usize::MAX)).collect()
        }
    }

    fn start(head: CheckpointHead) -> EventBody {
        EventBody::StartRun { initial_checkpoint: event_checkpoint(head), input_messages: Vec::new() }
    }

    fn calls(tool_calls: Vec<ToolCall>, total_tokens: u64) -> EventBody {
        let new_message = Message::ExpertMessage { id: String::new(), contents: Vec::new(), cache: false };
        let usage = Usage { total_tokens, ..Usage::default() };
        // A microdollar a token.
        let spend = Spend::known(Cost::from_picodollars(total_tokens * 1_000_000));
        EventBody::CallTools { new_message, tool_calls, usage, spend }
    }

    #[test]
    fn a_step_is_a_line_while_it_lasts_and_a_note_when_it_is_over() {
        let mut seen = Watched::new(Verbosity::Normal);
        seen.see("r1", initialize("researcher"));
        assert_eq!(seen.lines(), ["researcher  starting skills"]);
        seen.see("r1", start(head("r1", 1)));
        seen.see("r1", EventBody::StartGeneration { messages: 2 });
        assert_eq!(seen.lines(), ["researcher  step 1/100  asking the model"]);
        let made = vec![call("c1", "readTextFile", "path", "notes/a.md"), call("c2", "todo", "n", "x")];
        seen.see("r1", calls(made.clone(), 1_500));
        assert_eq!(seen.lines(), ["researcher  step 1/100  readTextFile notes/a.md, todo x  1.5k tokens  $0.0015"]);
        seen.see("r1", EventBody::ResolveToolResults { tool_results: vec![ToolResult::error(&made[1], "no")] });
        let usage = Usage { total_tokens: 1_600, ..Usage::default() };
        let spend = Spend { cost: Cost::from_picodollars(1_600_000_000), is_complete: false };
        let after = CheckpointHead { usage, spend, context_window_usage: Some(0.137), ..head("r1", 1) };
        let (step, next_checkpoint) = (step(1, made), event_checkpoint(head("r1", 2)));
        seen.see("r1", EventBody::ContinueToNextStep { checkpoint: event_checkpoint(after), step, next_checkpoint });
        assert_eq!(seen.lines(), ["researcher  step 2/100  1.6k tokens  ≥$0.0016  context 14%"]);
        assert_eq!(seen.1, ["▸ researcher, at most 100 steps", "✓ step 1  readTextFile notes/a.md, todo x (failed)"]);
    }

    #[test]
    fn text_of_models_and_servers_cannot_act_on_the_terminal() {
        let mut seen = Watched::new(Verbosity::Verbose);
        seen.see("r1", start(head("r1", 1)));
        seen.see("r1", calls(vec![call("c1", "a\x1b[2J", "path", "b\r\n\u{9b}1A")], 0));
        let lines = seen.lines();
        seen.see("r1", EventBody::SkillStderr { skill_name: "s".to_owned(), message: "\x1b]0;x\x07".to_owned() });
        seen.see("r1", retry("\x1b[31m", None));
        let shown = [lines, seen.lines(), seen.1].concat().join("\n");
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        assert!(shown.contains("a\\x1b[2J b \\u{9b}1A"), "{shown}");
    }

    #[test]
    fn a_retry_shows_the_providers_message_and_the_wait() {
        let mut seen = Watched::new(Verbosity::Normal);
        seen.see("r1", start(head("r1", 1)));
        seen.see("r1", retry(r#"{"error":"RateLimitError","message":"slow down"}"#, Some(3_200)));
        assert_eq!(seen.lines(), ["researcher  step 1  retry 2 in 3.2 s"]);
        seen.see("r1", retry("empty answer", None));
        assert_eq!(seen.1, ["▸ researcher", "↻ retry 2 in 3.2 s: slow down", "↻ retry 2: empty answer"]);
    }

    #[test]
    fn a_warning_stays_and_an_unused_context_is_not_shown() {
        let mut seen = Watched::new(Verbosity::Normal);
        seen.see("r1", start(CheckpointHead { context_window_usage: Some(0.0), ..head("r1", 1) }));
        seen.see("r1", EventBody::RuntimeWarning { message: "cut\x1b[2J off".to_owned() });
        assert_eq!(seen.lines(), ["researcher  step 1"]);
        assert_eq!(seen.1, ["▸ researcher", "! cut\\x1b[2J off"]);
    }

    #[test]
    fn a_parent_waits_for_its_delegates_and_goes_on_as_a_new_run() {
        let mut seen = Watched::new(Verbosity::Normal);
        seen.see("r1", start(head("r1", 1)));
        let child = delegated(head("r2", 1), "reader", "r1");
        let stopped = awaiting(head("r1", 1), &[("c1", "reader")]);
        seen.see(
            "r1",
            EventBody::StopRunByDelegate { checkpoint: event_checkpoint(stopped), step: step(1, Vec::new()) },
        );
        seen.see("r2", start(child.clone()));
        assert_eq!(seen.lines(), ["researcher  step 1  waits for reader", "  reader  step 1"]);
        let error =
            RunFailure { name: "E".to_owned(), message: "no key".to_owned(), status_code: None, is_retryable: false };
        let (checkpoint, step) = (event_checkpoint(child), step(1, Vec::new()));
        seen.see("r2", EventBody::StopRunByError { checkpoint, step, error });
        seen.see("r3", EventBody::ResumeFromStop { checkpoint: event_checkpoint(head("r3", 2)) });
        assert_eq!(seen.lines(), ["researcher  step 2"]);
        assert_eq!(
            seen.1,
            [
                "▸ researcher",
                "▸ step 1  delegated to reader",
                "  ▸ reader  started at step 1",
                "  ✗ reader  stopped by error: no key  0 tokens",
                "▸ resumed at step 2",
            ]
        );
    }

    #[test]
    fn streamed_text_is_shown_line_by_line_when_asked_for() {
        let stream = |verbosity| {
            let mut seen = Watched::new(verbosity);
            seen.see("r1", start(head("r1", 1)));
            seen.see("r1", EventBody::StartStreamingReasoning);
            for delta in ["I sh", "ould\nsea", "rch"] {
                seen.see("r1", EventBody::StreamReasoning { delta: delta.to_owned() });
            }
            seen.see("r1", EventBody::CompleteStreamingReasoning { text: "I should\nsearch".to_owned() });
            seen.see("r1", EventBody::CompleteStreamingRunResult { text: "never streamed".to_owned() });
            seen.1
        };
        assert_eq!(stream(Verbosity::Normal), ["▸ researcher"]);
        assert_eq!(stream(Verbosity::Verbose), ["▸ researcher", "· I should", "· search", "· never streamed"]);
    }

    #[test]
    fn the_coordinators_stop_is_left_to_the_outcome_but_for_what_its_last_step_did() {
        let mut seen = Watched::new(Verbosity::Normal);
        seen.see("r1", start(head("r1", 1)));
        let (checkpoint, step) =
            (event_checkpoint(head("r1", 1)), step(1, vec![call("c1", "readTextFile", "path", "notes/a.md")]));
        seen.see("r1", EventBody::StopRunByExceededMaxSteps { checkpoint, step });
        assert_eq!(seen.lines(), [""; 0]);
        assert_eq!(seen.1, ["▸ researcher", "✓ step 1  readTextFile notes/a.md"]);
    }
}
