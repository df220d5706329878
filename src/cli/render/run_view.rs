//! [`RunView`]: the progress line of one active Run: its step, activity and usage.

use perstack::checkpoint::CheckpointHead;
use perstack::cost::Spend;
use perstack::id::RunId;
use perstack::tool::{ToolCall, ToolResult};
use perstack::usage::Usage;
use serde_json::Value;

use super::fit::fitted;
use super::text::{count, money, shortened, visible};

/// Most characters of a tool call's argument.
const ARGUMENT_WIDTH: usize = 40;

/// Most tool calls of a step, or delegates of a Run, that are named.
const NAMED: usize = 6;

/// Most bytes of streamed text that wait for their line's end.
const LINE_LIMIT: usize = 2_000;

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
    pub usage: Usage,
    pub spend: Spend,
    pub activity: String,
    pub calls: Vec<ToolCall>,
    pub waiting: Option<Waiting>,
    context: Option<f64>,
    failed_calls: Vec<String>,
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

    /// The Run's line, `depth` places below the top, in at most `width` columns.
    pub fn line(&self, depth: usize, width: usize) -> String {
        let step = match (self.step, self.max_steps) {
            (0, _) => String::new(),
            (step, 0) => format!("  step {step}"),
            (step, max) => format!("  step {step}/{max}"),
        };
        let head = format!("{}{}{step}", "  ".repeat(depth), self.label);
        let activity = self.waiting.as_ref().map_or_else(|| self.activity.clone(), Waiting::in_words);
        let mut figures = Vec::new();
        if self.usage.total_tokens > 0 {
            figures.push(format!("{} tokens", count(self.usage.total_tokens)));
        }
        figures.extend(money(self.spend));
        if let Some(context) = self.context.filter(|context| *context > 0.0) {
            figures.push(format!("context {:.0}%", context * 100.0));
        }
        fitted(&head, &activity, &figures, width)
    }

    /// Takes over the usage that a checkpoint has of the whole Run.
    pub fn take(&mut self, head: &CheckpointHead) {
        self.usage = head.usage;
        self.spend = head.spend;
        self.context = head.context_window_usage;
    }

    /// The model wants these calls made.
    pub fn start_calls(&mut self, calls: &[ToolCall]) {
        calls.clone_into(&mut self.calls);
        self.failed_calls.clear();
        self.progress.clear();
        self.activity = self.calls_in_words();
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
        self.activity = self.calls_in_words();
    }

    /// The calls are answered.
    pub fn resolve(&mut self, results: &[ToolResult]) {
        self.failed_calls = results.iter().filter(|r| r.is_error).map(|r| r.id.clone()).collect();
    }

    /// Ends the step and returns the text of its calls.
    pub fn end_step(&mut self, calls: &[ToolCall]) -> String {
        if self.calls.is_empty() {
            calls.clone_into(&mut self.calls);
        }
        self.progress.clear();
        let words = self.calls_in_words();
        self.calls.clear();
        self.failed_calls.clear();
        self.activity.clear();
        words
    }

    fn calls_in_words(&self) -> String {
        let words = self.calls.iter().map(|call| {
            let failed = if self.failed_calls.contains(&call.id) { " (failed)" } else { "" };
            let far = self.progress.iter().find(|(tool, _)| *tool == call.tool_name);
            let far = far.map(|(_, words)| format!(" {words}")).unwrap_or_default();
            call_in_words(call) + &far + failed
        });
        enumerated(words)
    }

    /// Streamed text begins.
    pub fn start_stream(&mut self, activity: &str) {
        activity.clone_into(&mut self.activity);
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
        if self.partial_line.len() > LINE_LIMIT {
            lines.push(visible(&std::mem::take(&mut self.partial_line)));
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// Ends streamed text and returns its last line, or all of it if none had streamed.
    pub fn end_stream(&mut self, text: &str) -> Vec<String> {
        let rest = if self.streamed { std::mem::take(&mut self.partial_line) } else { text.to_owned() };
        self.start_stream("");
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

/// A call as text: its tool and its main argument.
fn call_in_words(call: &ToolCall) -> String {
    let name = visible(&call.tool_name);
    let main_argument = ["path", "query", "command", "url", "source", "name", "title"]
        .iter()
        .find_map(|key| call.args.get(*key).and_then(Value::as_str))
        .or_else(|| call.args.values().find_map(Value::as_str));
    // A command is not known by its program alone.
    let words = call.args.get("args").and_then(Value::as_array).filter(|_| call.args.contains_key("command"));
    let command = words.filter(|words| !words.is_empty()).map(|words| {
        let words = words.iter().filter_map(Value::as_str);
        main_argument.into_iter().chain(words).collect::<Vec<_>>().join(" ")
    });
    let main_argument = command.as_deref().or(main_argument);
    match main_argument.map(visible).filter(|text| !text.is_empty()) {
        Some(text) => format!("{name} {}", shortened(&text, ARGUMENT_WIDTH)),
        None => name,
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
        run.start_calls(&calls);
        run.progress("fly", 2.0, Some(5.0), Some("over the\nhill"));
        assert_eq!(run.line(0, 80), "owl  step 1  dig, fly 2/5 over the hill");
        run.progress("fly", 2.5, None, None);
        assert_eq!(run.line(0, 80), "owl  step 1  dig, fly 2.5");
        assert_eq!(run.end_step(&calls), "dig, fly");
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
        assert_eq!(
            run.line(1, usize::MAX),
            "  lead  step 2  waits for 3 of 3: reader #1, reader #2, reader #3  1.5k tokens"
        );
        assert_eq!(run.line(1, 50), "  lead  step 2  waits for 3 of 3: re…  1.5k tokens");
    }
}
