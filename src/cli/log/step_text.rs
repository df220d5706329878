//! A step whole: its messages, its calls with their arguments, and what came of them.
//!
//! It is put together from the events of the step, so that one that has not ended is shown as far as it came.

use std::io;
use std::ops::ControlFlow;

use perstack::id::RunId;
use perstack::runtime::history::{Durations, HistoryItem, JobLog, LoggedEvent, ReadProblem};
use perstack::store::short_id;
use perstack::usage::Usage;
use serde_json::{Map, Value};

use super::LogRequest;
use super::event_text::access;
use super::page::Page;
use super::tree::status_text;
use super::values::{argument_lines, result_lines};
use crate::cli::render::{Paint, count, duration, visible, visible_lines};

/// One step of one Run, as far as it was recorded.
#[derive(Default)]
pub struct StepRecord {
    pub run: Option<RunId>,
    pub step: u64,
    pub expert: String,
    pub began: u64,
    pub ended: Option<u64>,
    /// Messages that came in, in the order in which they did.
    pub input: Vec<Value>,
    /// Messages of the model.
    pub answers: Vec<Value>,
    pub calls: Vec<Value>,
    pub results: Vec<Value>,
    /// Retries and summaries, a line each.
    pub remarks: Vec<String>,
    pub durations: Durations,
    /// The event that ended it.
    pub end: Option<(String, Map<String, Value>)>,
}

/// Writes the steps that the request selects. Problems of reading are added to `problems`.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    record: &JobLog,
    request: &LogRequest,
    page: &mut Page,
    problems: &mut Vec<ReadProblem>,
) -> io::Result<()> {
    let mut steps: Vec<StepRecord> = Vec::new();
    let found = record.visit(request.run.as_ref(), &mut |item| {
        if let HistoryItem::Event(event) = item
            && request.criteria.fit(&event)
        {
            let known = steps.iter().position(|step| step.is_of(&event)).unwrap_or_else(|| {
                steps.push(StepRecord::new(&event));
                steps.len() - 1
            });
            if let Some(step) = steps.get_mut(known) {
                step.add(&event);
            }
        }
        ControlFlow::Continue(())
    });
    problems.extend(found);
    if steps.is_empty() {
        let last = record.job().map(|job| format!(": the job has {}", crate::cli::render::steps(job.total_steps)));
        return page.line(&format!("(no such step{})", last.unwrap_or_default()));
    }
    for (at, step) in steps.iter().enumerate() {
        if at > 0 {
            page.line("")?;
        }
        for line in step.lines(record, page) {
            page.wrapped_line(&line)?;
        }
    }
    Ok(())
}

impl StepRecord {
    /// Begins a step with its first event, which is still to be added.
    pub fn new(event: &LoggedEvent<'_>) -> Self {
        Self { run: Some(event.run().clone()), step: event.step_number(), began: event.timestamp(), ..Self::default() }
    }

    /// Returns whether an event belongs to it.
    pub fn is_of(&self, event: &LoggedEvent<'_>) -> bool {
        self.run.as_ref() == Some(event.run()) && self.step == event.step_number()
    }

    /// Adds an event.
    pub fn add(&mut self, event: &LoggedEvent<'_>) {
        // An event that has no JSON form adds nothing.
        let json = event.to_outline().unwrap_or_default();
        self.durations.extend(event.durations().iter().map(|(id, ms)| (id.clone(), *ms)));
        if let Some(expert) = json.get("expertKey").and_then(Value::as_str) {
            expert.clone_into(&mut self.expert);
        }
        match event.type_name() {
            "startRun" => self.input.extend(list(&json, "inputMessages").cloned()),
            "callTools" | "callInteractiveTool" | "callDelegate" => {
                self.answers.extend(json.get("newMessage").cloned());
                self.calls.extend(list(&json, "toolCalls").chain(json.get("toolCall")).cloned());
            }
            "resolveToolResults" => self.add_results(list(&json, "toolResults")),
            "retry" => {
                let reason = json.get("reason").and_then(Value::as_str).unwrap_or_default();
                self.remarks.push(format!("asked again: {}", visible(reason)));
                self.input.extend(list(&json, "newMessages").filter(|message| is(message, "userMessage")).cloned());
            }
            "fallBack" => {
                let text = |key: &str| visible(json.get(key).and_then(Value::as_str).unwrap_or_default());
                let (from, to, reason) = (text("fromModel"), text("toModel"), text("reason"));
                self.remarks.push(format!("{from} failed, {to} was asked: {reason}"));
            }
            "refuseAnswer" => {
                let problems: Vec<&str> = list(&json, "problems").filter_map(Value::as_str).collect();
                self.remarks.push(format!("answer refused: {}", visible(&problems.join("; "))));
                let new = || list(&json, "newMessages");
                self.answers.extend(new().filter(|message| is(message, "expertMessage")).cloned());
                self.input.extend(new().filter(|message| is(message, "userMessage")).cloned());
            }
            "proxyAccess" => self.remarks.push(format!("network: {}", access(&json))),
            "finishVerification" => {
                let field = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
                let passed = json.get("passed").and_then(Value::as_bool).unwrap_or_default();
                let outcome = if passed { "verified" } else { "not verified" };
                self.remarks.push(format!("{outcome}: {} {}", visible(field("command")), visible(field("end"))));
                let new = || list(&json, "newMessages");
                self.answers.extend(new().filter(|message| is(message, "expertMessage")).cloned());
                self.input.extend(new().filter(|message| is(message, "userMessage")).cloned());
            }
            "contextSummarized" => {
                let number = |key: &str| json.get(key).and_then(Value::as_u64).unwrap_or_default();
                let (before, after) = (number("tokensBefore"), number("tokensAfter"));
                self.remarks.push(format!("older steps were summarised: {} to {} tokens", count(before), count(after)));
            }
            _ => {}
        }
        if event.ends_step() {
            self.end(event, json);
        }
    }

    fn end(&mut self, event: &LoggedEvent<'_>, json: Map<String, Value>) {
        if let Some(Value::Object(step)) = json.get("step") {
            let number = |key: &str| step.get(key).and_then(Value::as_u64);
            self.began = number("startedAt").unwrap_or(self.began);
            self.ended = number("finishedAt").or(Some(event.timestamp()));
            if self.input.is_empty() {
                self.input.extend(list(step, "inputMessages").cloned());
            }
            if self.calls.is_empty() {
                self.calls.extend(list(step, "toolCalls").cloned());
            }
            self.add_results(list(step, "toolResults").chain(list(step, "partialToolResults")));
            let answers = list(step, "newMessages").filter(|message| is(message, "expertMessage"));
            let new: Vec<Value> = answers.filter(|message| !self.has(message)).cloned().collect();
            self.answers.extend(new);
        }
        self.end = Some((event.type_name().to_owned(), json));
    }

    fn has(&self, message: &Value) -> bool {
        self.answers.iter().any(|known| known.get("id") == message.get("id"))
    }

    fn add_results<'a>(&mut self, results: impl Iterator<Item = &'a Value>) {
        for result in results {
            if !self.results.iter().any(|known| known.get("id") == result.get("id")) {
                self.results.push(result.clone());
            }
        }
    }

    fn lines(&self, record: &JobLog, page: &Page) -> Vec<String> {
        let paint = page.paint();
        let run = self.run.as_ref().map(|run| short_id(run.as_str(), record.runs().iter().map(|run| run.id.as_str())));
        let took =
            self.ended.map(|ended| format!("  {}", duration(ended.saturating_sub(self.began)))).unwrap_or_default();
        let facts = format!("run {}  {}{took}", run.unwrap_or_default(), page.local().date(self.began));
        let mut lines =
            vec![format!("Step {}  {}  {}", self.step, paint.cyan(&visible(&self.expert)), paint.dim(&facts))];
        lines.extend(self.input.iter().flat_map(|message| message_block(message, paint)));
        lines.extend(self.remarks.iter().map(|remark| format!("  {} {remark}", paint.yellow("↻"))));
        lines.extend(self.answers.iter().flat_map(|message| message_block(message, paint)));
        lines.extend(self.calls.iter().flat_map(|call| self.call_block(call, paint)));
        lines.extend(self.end_lines(paint));
        lines
    }

    /// A call, its arguments, and its result.
    fn call_block(&self, call: &Value, paint: Paint) -> Vec<String> {
        let text = |key: &str| visible(call.get(key).and_then(Value::as_str).unwrap_or_default());
        let skill = Some(text("skillName")).filter(|skill| !skill.is_empty()).map(|skill| format!("  [{skill}]"));
        let mut lines =
            vec![format!("  {} {}{}", paint.cyan("▸"), text("toolName"), paint.dim(&skill.unwrap_or_default()))];
        let none = Map::new();
        let args = call.get("args").and_then(Value::as_object).unwrap_or(&none);
        lines.extend(indented(argument_lines(args, paint), 6));
        let Some(result) = self.results.iter().find(|result| result.get("id") == call.get("id")) else {
            let is_delegated = self.end.as_ref().is_some_and(|(kind, _)| kind == "stopRunByDelegate");
            let why = if is_delegated { "answered in a later step" } else { "no result in this step" };
            lines.push(format!("    {} {why}", paint.dim("…")));
            return lines;
        };
        let is_error = result.get("isError").is_some_and(|flag| flag == true);
        let mark = if is_error { paint.red("✗") } else { paint.green("✓") };
        let took = call.get("id").and_then(Value::as_str).and_then(|id| self.durations.get(id));
        let took = took.map(|ms| paint.dim(&format!(" {}", duration(*ms)))).unwrap_or_default();
        lines.push(format!("    {mark}{took}"));
        lines.extend(indented(contents_lines(result.get("result"), Some(args), paint), 6));
        lines
    }

    fn end_lines(&self, paint: Paint) -> Vec<String> {
        let Some((kind, json)) = &self.end else { return vec![format!("  {} not ended", paint.yellow("…"))] };
        let mut lines = Vec::new();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            // A cut answer came in several; the whole is here.
            "completeRun" if self.answers.len() != 1 => {
                lines.push(format!("  {}", paint.green("answer")));
                lines.extend(indented(visible_lines(&text(json.get("text"))), 4));
            }
            "stopRunByError" | "stopRunByVerification" => {
                let error = json.get("error");
                let field = |key: &str| text(error.and_then(|error| error.get(key)));
                lines.push(format!("  {} {}", paint.red("✗"), visible(&field("name"))));
                lines.extend(indented(visible_lines(&field("message")), 4));
            }
            _ => {}
        }
        let status = json.get("checkpoint").and_then(|checkpoint| checkpoint.get("status"));
        let status = status.and_then(|status| serde_json::from_value(status.clone()).ok()).map(status_text);
        let step = json.get("step").and_then(Value::as_object);
        let usage = step.and_then(|step| serde_json::from_value::<Usage>(step.get("usage")?.clone()).ok());
        let cost = step.and_then(|step| step.get("cost")?.as_f64()).and_then(perstack::cost::Cost::from_usd);
        let status = status.filter(|_| kind != "continueToNextStep").map(str::to_owned);
        let tokens = usage.filter(|usage| usage.total_tokens > 0);
        let tokens = tokens.map(|usage| format!("{} tokens", count(usage.total_tokens)));
        let cost = cost.filter(|cost| *cost > perstack::cost::Cost::ZERO).map(|cost| cost.to_string());
        let snapshot = json.get("checkpoint").and_then(|checkpoint| checkpoint.get("snapshot")?.as_str());
        let snapshot = snapshot.and_then(|id| Some(format!("snapshot {}", id.get(..12)?)));
        let figures: Vec<String> = [status, tokens, cost, snapshot].into_iter().flatten().collect();
        if !figures.is_empty() {
            lines.push(paint.dim(&format!("  {}", figures.join(", "))));
        }
        lines
    }
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn is(message: &Value, kind: &str) -> bool {
    message.get("type").is_some_and(|value| value == kind)
}

fn indented(lines: Vec<String>, columns: usize) -> impl Iterator<Item = String> {
    lines.into_iter().map(move |line| format!("{:columns$}{line}", "").trim_end().to_owned())
}

/// A message with its texts; calls are shown by themselves.
fn message_block(message: &Value, paint: Paint) -> Vec<String> {
    let title = match message.get("type").and_then(Value::as_str) {
        Some("instructionMessage") => "instruction",
        Some("userMessage") => "user",
        Some("expertMessage") => "expert",
        Some("toolMessage") => return Vec::new(),
        _ => "message",
    };
    let body: Vec<String> = indented(contents_lines(message.get("contents"), None, paint), 4).collect();
    if body.is_empty() {
        return body;
    }
    std::iter::once(format!("  {}", paint.green(title))).chain(body).collect()
}

/// The parts of a message or, with its arguments, of a call's result.
pub fn contents_lines(contents: Option<&Value>, args: Option<&Map<String, Value>>, paint: Paint) -> Vec<String> {
    let parts = contents.and_then(Value::as_array).into_iter().flatten();
    parts.flat_map(|part| part_lines(part, args, paint)).collect()
}

fn part_lines(part: &Value, args: Option<&Map<String, Value>>, paint: Paint) -> Vec<String> {
    let text = |key: &str| part.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "textPart" => match args {
            Some(args) => result_lines(text("text"), args, paint),
            None => visible_lines(text("text")),
        },
        "thinkingPart" => visible_lines(text("thinking")).iter().map(|line| paint.dim(&format!("· {line}"))).collect(),
        "toolCallPart" | "opaquePart" => Vec::new(),
        "imageUrlPart" | "fileUrlPart" => vec![format!("({} {})", visible(text("mimeType")), visible(text("url")))],
        _ => {
            let data = text("encodedData").len().max(text("data").len());
            vec![format!("({}, {} characters of base64)", visible(text("mimeType")), count(data as u64))]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_shown_whole_and_images_by_their_kind() {
        let message = json!({"type": "userMessage", "contents": [
            {"type": "textPart", "text": "Which owl?\nAnd why\x1b?"},
            {"type": "imageInlinePart", "encodedData": "aGVsbG8=", "mimeType": "image/png"}]});
        let expected = "  user\n    Which owl?\n    And why\\x1b?\n    (image/png, 8 characters of base64)";
        assert_eq!(message_block(&message, Paint::plain()).join("\n"), expected);
        let thought = json!({"type": "expertMessage", "contents": [
            {"type": "thinkingPart", "thinking": "Hm."}, {"type": "toolCallPart", "toolName": "exec"}]});
        assert_eq!(message_block(&thought, Paint::plain()), ["  expert", "    · Hm."]);
    }

    #[test]
    fn a_call_is_shown_with_its_arguments_and_what_came_of_it() {
        let call = json!({"id": "c1", "skillName": "@perstack/base", "toolName": "exec", "args": {"command": "ls"}});
        let result = json!({"id": "c1", "isError": true, "result": [{"type": "textPart", "text": "no\nls"}]});
        let step = StepRecord {
            results: vec![result],
            durations: Durations::from_iter([("c1".to_owned(), 80)]),
            ..StepRecord::default()
        };
        let expected = "  ▸ exec  [@perstack/base]\n      command: ls\n    ✗ 80 ms\n      no\n      ls";
        assert_eq!(step.call_block(&call, Paint::plain()).join("\n"), expected);
        let other = json!({"id": "c2", "toolName": "exec", "args": {}});
        assert_eq!(step.call_block(&other, Paint::plain()), ["  ▸ exec", "    … no result in this step"]);
    }
}
