//! Events and steps as text, in the original's form.

use perstack::permission::CallDecision;
use perstack::runtime::history::{Durations, LoggedEvent};
use perstack::usage::Usage;
use serde_json::{Map, Value};

use super::local_time::LocalTime;
use crate::cli::render::{Paint, count, duration, visible, visible_lines};

/// Columns that a type takes, at least.
const KIND_WIDTH: usize = 24;

/// Most characters of each text that is shown (the original's numbers, but for arguments, which are ours).
const QUERY: usize = 60;
const RESULT: usize = 40;
const ANSWER: usize = 80;
const ARGUMENTS: usize = 60;

/// The parts of one event that are shown.
pub struct Excerpt {
    kind: String,
    step: u64,
    at: u64,
    json: Map<String, Value>,
    durations: Durations,
}

/// The options of the text form.
#[derive(Debug, Clone, Copy)]
pub struct Style<'a> {
    pub paint: Paint,
    pub local: &'a LocalTime,
    /// Arguments and answers in full.
    pub is_verbose: bool,
    /// Experts are named: there are several.
    pub names_experts: bool,
}

impl Excerpt {
    /// Takes the shown parts out of an event.
    pub fn new(event: &LoggedEvent<'_>) -> Self {
        Self {
            kind: event.type_name().to_owned(),
            step: event.step_number(),
            at: event.timestamp(),
            // An event that has no JSON form is shown by its head.
            json: event.to_outline().unwrap_or_default(),
            durations: event.durations().clone(),
        }
    }

    /// The event's lines; an empty one ends them.
    pub fn event_lines(&self, style: Style<'_>) -> Vec<String> {
        let head = format!("[Step {}] {}", self.step, padded(&visible(&self.kind)));
        let expert = match self.json.get("expertKey").and_then(Value::as_str) {
            Some(expert) if style.names_experts => format!("  {}", visible(expert)),
            _ => String::new(),
        };
        let mut lines = vec![format!("{head}{}{expert}", style.local.time(self.at))];
        match self.kind.as_str() {
            "startRun" => lines.extend(self.query()),
            "callTools" | "callInteractiveTool" => lines.extend(self.calls(style)),
            "decideToolCalls" => lines.extend(self.list("decisions").filter_map(decision)),
            "resolveToolResults" => {
                lines.extend(self.list("toolResults").map(|result| self.result(result, style.paint)));
            }
            "stopRunByError" | "stopRunByVerification" => lines.extend(self.error(style.paint)),
            "stopRunByDelegate" | "callDelegate" => lines.extend(self.delegates()),
            "stopRunByInteractiveTool" => {
                let waiting = self.checkpoint("pendingToolCalls");
                lines.extend(waiting.map(|call| format!("  Waiting for: {} {}", name(call), arguments(call))));
            }
            "completeRun" => lines.extend(self.answer(style)),
            "refuseAnswer" => {
                let problems = self.list("problems").filter_map(Value::as_str);
                lines.extend(problems.map(|problem| format!("  Refused: {}", visible(problem))));
            }
            "fallBack" => {
                let [from, to] = ["fromModel", "toModel"].map(|key| visible(self.text(key)));
                lines.push(format!("  Model: {from} → {to}"));
                lines.push(format!("  Reason: {}", visible(self.text("reason"))));
            }
            "proxyAccess" => lines.push(format!("  {}", access(&self.json))),
            "startVerification" => lines.push(format!("  Command: {}", visible(self.text("command")))),
            "finishVerification" => lines.extend(self.verification(style)),
            "retry" => lines.push(format!("  Reason: {}", visible(self.text("reason")))),
            _ => {}
        }
        lines.push(String::new());
        lines
    }

    /// The end of the command that verifies the answer, with its output where everything is wanted.
    fn verification(&self, style: Style<'_>) -> Vec<String> {
        let end = visible(self.text("end"));
        let passed = self.json.get("passed").and_then(Value::as_bool).unwrap_or_default();
        let took = self.json.get("durationMs").and_then(Value::as_u64).map(duration).unwrap_or_default();
        let outcome = if passed { "Verified" } else { "Not verified" };
        let mut lines = vec![format!("  {outcome}: {} {end}, {took}", visible(self.text("command")))];
        if style.is_verbose || !passed {
            lines.extend(self.text("output").lines().map(|line| format!("    {}", visible(line))));
        }
        lines
    }

    /// The lines of the step that ended with the event; an empty one ends them.
    pub fn step_lines(&self, style: Style<'_>) -> Vec<String> {
        let none = Map::new();
        let step = self.json.get("step").and_then(Value::as_object).unwrap_or(&none);
        let number = |key: &str| step.get(key).and_then(Value::as_u64);
        let began = number("startedAt").unwrap_or(self.at);
        let mut lines = vec![format!(
            "[Step {}] {}{}",
            self.step,
            padded(&visible(self.text("expertKey"))),
            style.local.time(began)
        )];
        let results: Vec<&Value> = elements(step, "toolResults").chain(elements(step, "partialToolResults")).collect();
        for call in elements(step, "toolCalls") {
            let shown = if style.is_verbose { full_arguments(call) } else { arguments(call) };
            let call_text = format!("{} {shown}", name(call));
            let answer = results.iter().find(|result| result.get("id") == call.get("id"));
            lines.push(match answer {
                Some(result) => {
                    let (mark, text, took) = self.outcome(result, style.paint);
                    format!("  {mark} {}: {text}{took}", call_text.trim_end())
                }
                None => format!("  … {}: no result in this run", call_text.trim_end()),
            });
        }
        match self.kind.as_str() {
            "stopRunByError" | "stopRunByVerification" => lines.extend(self.error(style.paint)),
            "stopRunByDelegate" => lines.extend(self.delegates()),
            "completeRun" => lines.extend(self.answer(style)),
            _ => {}
        }
        let usage: Usage =
            step.get("usage").and_then(|usage| serde_json::from_value(usage.clone()).ok()).unwrap_or_default();
        // No answer takes none: of such a step nothing is known.
        let tokens = (usage.total_tokens > 0).then(|| format!("{} tokens", count(usage.total_tokens)));
        let took = number("finishedAt").map(|end| duration(end.saturating_sub(began)));
        let figures: Vec<String> = [tokens, took].into_iter().flatten().collect();
        if !figures.is_empty() {
            lines.push(style.paint.dim(&format!("  {}", figures.join(", "))));
        }
        lines.push(String::new());
        lines
    }

    /// The answer that a Run ended with: its beginning, or all of it.
    fn answer(&self, style: Style<'_>) -> Vec<String> {
        let text = self.text("text");
        let lines = visible_lines(text);
        if !style.is_verbose || lines.len() < 2 {
            let most = if style.is_verbose { usize::MAX } else { ANSWER };
            return vec![format!("  Result: {}", cut(text, most))];
        }
        std::iter::once("  Result:".to_owned())
            .chain(lines.iter().map(|line| format!("    {line}").trim_end().to_owned()))
            .collect()
    }

    fn text(&self, key: &str) -> &str {
        self.json.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        elements(&self.json, key)
    }

    fn checkpoint(&self, key: &str) -> impl Iterator<Item = &Value> {
        let checkpoint = self.json.get("checkpoint").and_then(Value::as_object);
        checkpoint.into_iter().flat_map(move |checkpoint| elements(checkpoint, key))
    }

    fn query(&self) -> Option<String> {
        let message =
            self.list("inputMessages").find(|message| message.get("type").is_some_and(|kind| kind == "userMessage"))?;
        Some(format!("  Query: \"{}\"", cut(&first_text(message.get("contents")), QUERY)))
    }

    fn calls(&self, style: Style<'_>) -> Vec<String> {
        let calls: Vec<&Value> = self.list("toolCalls").chain(self.json.get("toolCall")).collect();
        if !style.is_verbose {
            return vec![format!("  Tools: {}", calls.iter().map(|call| name(call)).collect::<Vec<_>>().join(", "))];
        }
        let lines = calls.into_iter().flat_map(|call| {
            let skill = call.get("skillName").and_then(Value::as_str).unwrap_or_default();
            [format!("  [{}] {}", visible(skill), name(call)), format!("    Args: {}", full_arguments(call))]
        });
        lines.collect()
    }

    fn result(&self, result: &Value, paint: Paint) -> String {
        let (mark, text, took) = self.outcome(result, paint);
        format!("  {mark} {}: {text}{took}", name(result))
    }

    /// One result: success or failure, its text, and the duration of the call.
    fn outcome(&self, result: &Value, paint: Paint) -> (String, String, String) {
        let text = first_text(result.get("result"));
        let is_error = result.get("isError").is_some_and(|flag| flag == true)
            || text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("error"));
        let mark = if is_error { paint.red("✗") } else { paint.green("✓") };
        let took = result.get("id").and_then(Value::as_str).and_then(|id| self.durations.get(id));
        let took = took.map(|ms| paint.dim(&format!(" ({})", duration(*ms)))).unwrap_or_default();
        (mark, cut(&text, RESULT), took)
    }

    fn error(&self, paint: Paint) -> Vec<String> {
        let Some(error) = self.json.get("error") else { return Vec::new() };
        let text = |key: &str| visible(error.get(key).and_then(Value::as_str).unwrap_or_default());
        let is_retryable = error.get("isRetryable").and_then(Value::as_bool).unwrap_or_default();
        vec![
            format!("  Error: {}", paint.red(&text("name"))),
            format!("  Message: {}", text("message")),
            format!("  Retryable: {is_retryable}"),
        ]
    }

    /// The delegates that the Run waits for. The original's events of calling delegates name the calls alone.
    fn delegates(&self) -> Vec<String> {
        let experts: Vec<String> = self
            .checkpoint("delegateTo")
            .filter_map(|to| Some(visible(to.get("expert")?.get("key")?.as_str()?)))
            .collect();
        let called = self.list("toolCalls").map(name).filter(|_| experts.is_empty()).collect::<Vec<_>>();
        experts.into_iter().chain(called).map(|expert| format!("  Delegate to: {expert}")).collect()
    }
}

fn padded(text: &str) -> String {
    // A type that fills its columns is still set apart from the time.
    format!("{text:KIND_WIDTH$}{}", if text.chars().count() < KIND_WIDTH { "" } else { " " })
}

fn elements<'a>(object: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn name(call: &Value) -> String {
    visible(call.get("toolName").and_then(Value::as_str).unwrap_or_default())
}

fn full_arguments(call: &Value) -> String {
    visible(&call.get("args").map(Value::to_string).unwrap_or_default())
}

/// `path=a.txt limit=10`, cut.
fn arguments(call: &Value) -> String {
    let Some(args) = call.get("args").and_then(Value::as_object) else { return String::new() };
    let shown = args.iter().map(|(key, value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    });
    cut(&shown.collect::<Vec<_>>().join(" "), ARGUMENTS)
}

/// The first text among contents, as the original shows them.
fn first_text(contents: Option<&Value>) -> String {
    let parts = contents.and_then(Value::as_array).into_iter().flatten();
    let text = parts
        .filter(|part| part.get("type").is_some_and(|kind| kind == "textPart"))
        .find_map(|part| part.get("text")?.as_str());
    text.unwrap_or_default().to_owned()
}

/// The line of connections that were judged alike: `web: api.example.com:443, allowed by *.example.com, 3 times`.
pub fn access(event: &Map<String, Value>) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let host = match (text("domain").unwrap_or_default(), event.get("port").and_then(Value::as_u64)) {
        ("*", _) => "other hosts".to_owned(),
        (domain, Some(port)) => format!("{domain}:{port}"),
        (domain, None) => domain.to_owned(),
    };
    let judged = match (text("reason"), text("rule")) {
        (Some(reason), _) => format!("refused: {reason}"),
        (None, Some(rule)) => format!("allowed by {rule}"),
        (None, None) => "allowed".to_owned(),
    };
    let times = event.get("count").and_then(Value::as_u64).map(|times| format!(", {times} times")).unwrap_or_default();
    visible(&format!("{}: {host}, {judged}{times}", text("skillName").unwrap_or_default()))
}

/// At most `most` characters on one line, then the original's dots.
pub fn cut(text: &str, most: usize) -> String {
    let text = visible(text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The line of a decision about a call.
fn decision(value: &Value) -> Option<String> {
    let decision: CallDecision = serde_json::from_value(value.clone()).ok()?;
    Some(format!("  {}", visible(&decision.to_string())))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;

    static UTC: LazyLock<LocalTime> = LazyLock::new(|| LocalTime::utc(1_771_000_000_500));

    fn style() -> Style<'static> {
        Style { paint: Paint::plain(), local: &UTC, is_verbose: false, names_experts: false }
    }

    fn excerpt(json: Value) -> Excerpt {
        let Value::Object(json) = json else { panic!("an object") };
        Excerpt {
            kind: json["type"].as_str().unwrap().to_owned(),
            step: 2,
            at: 1_771_000_000_500,
            json,
            durations: Durations::from_iter([("c1".to_owned(), 80)]),
        }
    }

    fn lines(json: Value, style: Style<'_>) -> String {
        excerpt(json).event_lines(style).join("\n")
    }

    fn calls() -> Value {
        json!({"type": "callTools", "expertKey": "librarian", "toolCalls": [
            {"id": "c1", "skillName": "@perstack/base", "toolName": "readTextFile", "args": {"path": "a\nb", "n": [1]}},
            {"id": "c2", "skillName": "web", "toolName": "get", "args": {}}]})
    }

    #[test]
    fn calls_are_named_and_with_verbose_shown_with_their_arguments() {
        assert_eq!(lines(calls(), style()), "[Step 2] callTools               16:26:40\n  Tools: readTextFile, get\n");
        let verbose = Style { is_verbose: true, names_experts: true, ..style() };
        assert_eq!(
            lines(calls(), verbose),
            "[Step 2] callTools               16:26:40  librarian\n  [@perstack/base] readTextFile\n    \
             Args: {\"path\":\"a\\nb\",\"n\":[1]}\n  [web] get\n    Args: {}\n"
        );
    }

    #[test]
    fn connections_are_shown_with_their_judgement_and_number() {
        let access = |more: Value| {
            let mut json = json!({"type": "proxyAccess", "skillName": "web", "domain": "a.example", "port": 443});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            lines(json, style()).lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(
            access(json!({"action": "allowed", "rule": "*.example", "count": 3})),
            "  web: a.example:443, allowed by *.example, 3 times"
        );
        assert_eq!(access(json!({"action": "allowed"})), "  web: a.example:443, allowed");
        assert_eq!(
            access(json!({"action": "blocked", "reason": "not\nlisted", "domain": "*", "port": 0, "count": 9})),
            "  web: other hosts, refused: not listed, 9 times"
        );
    }

    #[test]
    fn results_are_marked_cut_and_timed() {
        let result = |id: &str, text: &str, is_error: bool| {
            json!({"id": id, "toolName": "t", "result": [{"type": "imageInlinePart"}, {"type": "textPart", "text": text}],
                   "isError": is_error})
        };
        let results =
            [result("c1", "fine", false), result("c2", "ERROR: no", false), result("c3", &"ü".repeat(41), true)];
        let shown = lines(json!({"type": "resolveToolResults", "toolResults": results}), style());
        let expected = format!(
            "[Step 2] resolveToolResults      16:26:40\n  ✓ t: fine (80 ms)\n  ✗ t: ERROR: no\n  ✗ t: {}...\n",
            "ü".repeat(40)
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn starts_and_ends_show_what_was_asked_and_answered() {
        let user = json!({"type": "userMessage", "contents": [{"type": "textPart", "text": "Which\nowl?"}]});
        let start =
            json!({"type": "startRun", "inputMessages": [{"type": "instructionMessage", "contents": []}, user]});
        assert_eq!(lines(start, style()), "[Step 2] startRun                16:26:40\n  Query: \"Which owl?\"\n");
        let end = json!({"type": "completeRun", "text": "x".repeat(81)});
        assert!(lines(end.clone(), style()).ends_with(&format!("  Result: {}...\n", "x".repeat(80))));
        let verbose = Style { is_verbose: true, ..style() };
        assert!(lines(end, verbose).ends_with(&format!("  Result: {}\n", "x".repeat(81))));
        let several = json!({"type": "completeRun", "text": "One.\n\n  Two\x1b."});
        assert!(lines(several, verbose).ends_with("  Result:\n    One.\n\n      Two\\x1b.\n"));
        let error = json!({"type": "stopRunByError", "error": {"name": "auth", "message": "no\x1b[1m key", "isRetryable": false}});
        assert_eq!(
            lines(error, style()),
            "[Step 2] stopRunByError          16:26:40\n  Error: auth\n  Message: no\\x1b[1m key\n  Retryable: false\n"
        );
        let retry = json!({"type": "retry", "reason": "{\"error\":\"rate\"}"});
        assert!(lines(retry, style()).ends_with("\n  Reason: {\"error\":\"rate\"}\n"));
    }

    #[test]
    fn a_stop_names_what_it_waits_for() {
        let to = json!({"type": "stopRunByDelegate", "checkpoint": {"delegateTo": [
            {"expert": {"key": "@team/reader"}}, {"expert": {"key": "writer"}}]}});
        assert!(lines(to, style()).ends_with("\n  Delegate to: @team/reader\n  Delegate to: writer\n"));
        let asked = json!({"type": "stopRunByInteractiveTool", "checkpoint": {"pendingToolCalls": [
            {"toolName": "ask", "args": {"question": "Which?"}}]}});
        let expected = "[Step 2] stopRunByInteractiveTool 16:26:40\n  Waiting for: ask question=Which?\n";
        assert_eq!(lines(asked, style()), expected);
    }

    #[test]
    fn an_unknown_type_is_shown_by_its_head() {
        let dreamt = json!({"type": "dreamtOfOwls", "dream": 1});
        assert_eq!(lines(dreamt, style()), "[Step 2] dreamtOfOwls            16:26:40\n");
    }

    #[test]
    fn a_step_shows_its_calls_with_what_came_of_them() {
        let mut event = calls();
        event["type"] = json!("continueToNextStep");
        let calls = event["toolCalls"].take();
        event["step"] = json!({"toolCalls": calls, "toolResults": [
            {"id": "c1", "toolName": "readTextFile", "result": [{"type": "textPart", "text": "Owls."}]}],
            "usage": {"totalTokens": 1500}, "startedAt": 1_771_000_000_000_u64, "finishedAt": 1_771_000_002_500_u64});
        assert_eq!(
            excerpt(event).step_lines(style()).join("\n"),
            "[Step 2] librarian               16:26:40\n  ✓ readTextFile path=a b n=[1]: Owls. (80 ms)\n  \
             … get: no result in this run\n  1.5k tokens, 2.5 s\n"
        );
    }
}
