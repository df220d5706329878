//! [`RunView`]: the progress line of one active Run: its step, activity and usage.

use perstack::checkpoint::CheckpointHead;
use perstack::cost::Spend;
use perstack::id::{RunId, ToolCallId};
use perstack::skill::base::DEFAULT_EXEC_TIMEOUT_MS;
use perstack::tool::{BASE_SKILL, CONVERSATION_TOOLS, ToolCall, ToolResult};
use perstack::usage::Usage;
use serde_json::Value;

use super::activity::{Activity, Doing, seconds};
use super::call_text::CallText;
use super::fit::fitted;
use super::text::{count, money, shortened, visible};

/// Most characters of a tool call's argument within a Run's line.
const ARGUMENT_WIDTH: usize = 40;

/// Most tool calls of a step, or delegates of a Run, that are named.
const NAMED: usize = 6;

/// The least time of a Run, in milliseconds, that is shown; beside the time of a wait, the least that is not this wait's.
const LEAST_ELAPSED_MS: u64 = 2_000;

/// Most bytes of streamed reasoning that wait for their line's end.
const LINE_LIMIT: usize = 100;

/// One active Run.
#[derive(Debug, Default)]
pub struct RunView {
    pub expert: String,
    /// The name among its siblings: the expert's name, numbered where the same one is at work more than once.
    pub label: String,
    pub parent: Option<RunId>,
    /// The parent's call that it answers.
    pub call: Option<String>,
    pub step: u64,
    pub max_steps: u64,
    /// The limit of a request to the model, in milliseconds.
    pub timeout_ms: u64,
    /// The Run's own, and that of its delegates which have ended.
    pub usage: Usage,
    pub spend: Spend,
    pub activity: Activity,
    pub calls: Vec<ToolCall>,
    pub waiting: Option<Waiting>,
    /// The time of the Run's first event, in milliseconds.
    pub began: u64,
    context: Option<f64>,
    results: Vec<ToolResult>,
    /// The reported progress of a tool's calls, by its name.
    progress: Vec<(String, String)>,
    /// Streamed text of which the line's end has not come yet.
    partial_line: String,
    streamed: bool,
}

/// A Run has stopped until its delegates have answered.
#[derive(Debug, Default)]
pub struct Waiting {
    /// Their number at the start.
    pub delegates: usize,
    /// Those that have not ended.
    pub awaited: Vec<Awaited>,
}

/// A delegate that a Run waits for.
#[derive(Debug)]
pub struct Awaited {
    /// The call that it answers.
    pub call: String,
    pub expert: String,
    pub label: String,
    /// Its Run is known.
    pub has_begun: bool,
}

impl RunView {
    /// A Run that answers `call` of `parent`, of which no more is known.
    pub fn answering(label: &str, parent: Option<&RunId>, call: Option<&String>) -> Self {
        Self { label: label.to_owned(), parent: parent.cloned(), call: call.cloned(), ..Self::default() }
    }

    /// The Run's line at the time `now`, `depth` places below the top, in at most `width` columns. `used` is what it and
    /// its active delegates have used.
    pub fn line(&self, depth: usize, (usage, spend): (Usage, Spend), now: u64, width: usize) -> String {
        let step = match (self.step, self.max_steps) {
            (0, _) => String::new(),
            (step, 0) => format!("  step {step}"),
            (step, max) => format!("  step {step}/{max}"),
        };
        let head = format!("{}{}{step}", "  ".repeat(depth), self.label);
        let (activity, lasted) = match &self.waiting {
            Some(waiting) => (waiting.in_words(), String::new()),
            None => self.activity.text(now),
        };
        let mut figures = Vec::new();
        if usage.total_tokens > 0 {
            figures.push(format!("{} tokens", count(usage.total_tokens)));
        }
        figures.extend(money(spend));
        if let Some(context) = self.context.filter(|context| *context > 0.0) {
            figures.push(format!("context {:.0}%", context * 100.0));
        }
        let elapsed = now.saturating_sub(self.began);
        // The time of an only wait is there already.
        let other = if lasted.is_empty() { elapsed } else { elapsed.saturating_sub(self.activity.lasted_ms(now)) };
        if other >= LEAST_ELAPSED_MS {
            figures.push(format!("{} in all", seconds(elapsed)));
        }
        fitted(&head, (&activity, &lasted), &figures, width)
    }

    /// The name of the delegate that answers `call`, while it is waited for.
    pub fn label_of(&self, call: &ToolCallId) -> Option<String> {
        let awaited = &self.waiting.as_ref()?.awaited;
        awaited.iter().find(|awaited| awaited.call == *call).map(|awaited| awaited.label.clone())
    }

    /// Takes over the usage that a checkpoint has of the whole Run.
    pub fn take(&mut self, head: &CheckpointHead) {
        self.usage = head.usage;
        self.spend = head.spend;
        self.context = head.context_window_usage;
    }

    /// The model wants these calls made.
    pub fn start_calls(&mut self, calls: &[ToolCall], now: u64) {
        calls.clone_into(&mut self.calls);
        self.results.clear();
        self.progress.clear();
        let limit = match calls {
            [call] => limit_of(call),
            _ => None,
        };
        self.activity.begin(Doing::Calling { calls: self.calls_in_words(), limit }, now);
    }

    /// Records the progress that a server reports of a call of `tool`.
    pub fn progress(&mut self, tool: &str, progress: f64, total: Option<f64>, message: Option<&str>) {
        let far = match total {
            Some(total) => format!("{progress}/{total}"),
            None => format!("{progress}"),
        };
        let words = match message.map(visible).filter(|text| !text.is_empty()) {
            Some(text) => format!("{far} {}", shortened(&text, ARGUMENT_WIDTH)),
            None => far,
        };
        self.progress.retain(|(other, _)| other != tool);
        self.progress.push((tool.to_owned(), words));
        let words = self.calls_in_words();
        self.activity.calls_got_on(words);
    }

    /// The calls are answered.
    pub fn resolve(&mut self, results: &[ToolResult]) {
        results.clone_into(&mut self.results);
    }

    /// Ends the step, of which these are the calls and results as far as its event has them; returns the calls with what
    /// came of them.
    pub fn end_step(&mut self, calls: &[ToolCall], results: &[ToolResult]) -> Vec<(ToolCall, Option<ToolResult>)> {
        let mut made = std::mem::take(&mut self.calls);
        if !calls.is_empty() {
            calls.clone_into(&mut made);
        }
        let known = std::mem::take(&mut self.results);
        self.progress.clear();
        self.activity.end();
        let result = |call: &ToolCall| results.iter().chain(&known).find(|result| result.id == call.id).cloned();
        made.into_iter().map(|call| (result(&call), call)).map(|(result, call)| (call, result)).collect()
    }

    fn calls_in_words(&self) -> String {
        let words = self.calls.iter().map(|call| {
            let far = self.progress.iter().find(|(tool, _)| *tool == call.tool_name);
            let far = far.map(|(_, words)| format!(" {words}")).unwrap_or_default();
            call_in_words(call) + &far
        });
        enumerated(words)
    }

    /// Streamed text begins.
    pub fn start_stream(&mut self) {
        self.partial_line.clear();
        self.streamed = false;
    }

    /// Takes streamed text and returns the lines it completes.
    pub fn stream(&mut self, delta: &str) -> Vec<String> {
        self.streamed = true;
        self.partial_line.push_str(delta);
        let mut lines = Vec::new();
        while let Some((line, rest)) = self.partial_line.split_once('\n') {
            lines.push(visible(line));
            self.partial_line = rest.to_owned();
        }
        while self.partial_line.len() > LINE_LIMIT {
            // A text without spaces, or in a script that has none, is cut anywhere.
            let space = self.partial_line.char_indices().filter(|(_, c)| *c == ' ').map(|(at, _)| at);
            let at = space.take_while(|at| *at <= LINE_LIMIT).last().filter(|at| *at > 0);
            let at = at.unwrap_or_else(|| self.partial_line.floor_char_boundary(LINE_LIMIT));
            let rest = self.partial_line.split_off(at);
            lines.push(visible(&std::mem::replace(&mut self.partial_line, rest.trim_start().to_owned())));
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// Ends streamed text and returns its last line, or all of it if none had streamed.
    pub fn end_stream(&mut self, text: &str) -> Vec<String> {
        let rest = if self.streamed { std::mem::take(&mut self.partial_line) } else { text.to_owned() };
        self.start_stream();
        rest.lines().map(visible).filter(|line| !line.is_empty()).collect()
    }
}

impl Waiting {
    fn in_words(&self) -> String {
        let names = enumerated(self.awaited.iter().map(|delegate| delegate.label.clone()));
        match (self.awaited.len(), self.delegates) {
            (0, _) => "has its delegates' answers".to_owned(),
            (_, 1) => format!("waits for {names}"),
            (left, all) => format!("waits for {left} of {all}: {names}"),
        }
    }
}

/// Names in a row; of many, only the first, and how many more there are.
pub fn enumerated(words: impl ExactSizeIterator<Item = String>) -> String {
    let all = words.len();
    let mut named: Vec<String> = words.take(NAMED).collect();
    if all > NAMED {
        named.push(format!("{} more", all - NAMED));
    }
    named.join(", ")
}

/// A call within a Run's line: its tool and its main argument.
fn call_in_words(call: &ToolCall) -> String {
    let CallText { tool, argument, .. } = CallText::new(call);
    if argument.is_empty() { tool } else { format!("{tool} {}", shortened(&argument, ARGUMENT_WIDTH)) }
}

/// The limit of a call in milliseconds, as far as it is known, and the key that raises it.
fn limit_of(call: &ToolCall) -> Option<(Option<u64>, &'static str)> {
    if CONVERSATION_TOOLS.contains(&call.tool_name.as_str()) {
        None
    } else if call.skill_name != BASE_SKILL {
        Some((None, "callTimeout"))
    } else if call.tool_name == "exec" {
        let given = call.args.get("timeout").and_then(Value::as_u64);
        Some((Some(given.unwrap_or(DEFAULT_EXEC_TIMEOUT_MS)), "the call's timeout"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_progress_of_a_call_and_a_finished_step_does_not() {
        let call = |id: &str, tool: &str| ToolCall {
            id: id.parse().unwrap(),
            skill_name: "s".to_owned(),
            tool_name: tool.to_owned(),
            args: serde_json::Map::new(),
        };
        let calls = [call("1", "dig"), call("2", "fly")];
        let mut run = RunView { label: "owl".to_owned(), step: 1, ..RunView::default() };
        run.start_calls(&calls, 0);
        run.progress("fly", 2.0, Some(5.0), Some("over the\nhill"));
        let line = |run: &RunView| run.line(0, (run.usage, run.spend), 2_500, 80);
        assert_eq!(line(&run), "owl  step 1  s.dig, s.fly 2/5 over the hill 2 s");
        run.progress("fly", 2.5, None, None);
        assert_eq!(line(&run), "owl  step 1  s.dig, s.fly 2.5 2 s");
        let result = ToolResult::error(&calls[1], "no");
        run.resolve(std::slice::from_ref(&result));
        assert_eq!(run.end_step(&calls, &[]), [(calls[0].clone(), None), (calls[1].clone(), Some(result))]);
        assert_eq!(line(&run), "owl  step 1  2 s in all");
    }

    #[test]
    fn a_narrow_line_keeps_its_place_and_name_and_shortens_what_it_waits_for() {
        let awaited = |at: u32| Awaited {
            call: format!("c{at}"),
            expert: "reader".to_owned(),
            label: format!("reader #{at}"),
            has_begun: true,
        };
        let waiting = Waiting { delegates: 3, awaited: (1..=3).map(awaited).collect() };
        let usage = Usage { total_tokens: 1_500, ..Usage::default() };
        let run = RunView { label: "lead".to_owned(), step: 2, waiting: Some(waiting), usage, ..RunView::default() };
        let line = |width| run.line(1, (run.usage, run.spend), 75_000, width);
        assert_eq!(
            line(usize::MAX),
            "  lead  step 2  waits for 3 of 3: reader #1, reader #2, reader #3  1.5k tokens  1 min 15 s in all"
        );
        assert_eq!(line(50), "  lead  step 2  waits for 3 of 3: re…  1.5k tokens");
    }
}
