//! The page in HTML: one file with its style and its script, which the policy in its head allows by their digests and
//! beside which it allows nothing. It is read without the script, which only searches, filters and folds.
//!
//! Steps are written as they are read, and each is folded, so that the browser lays out what is opened. Long texts are
//! folded once more, and cut beyond a bound.

use std::io::{self, Write};
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use perstack::hex;
use perstack::runtime::history::HistoryItem;
use perstack::store::short_id;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::Report;
use super::escape::{cut, html};
use super::svg::{plot, timeline};
use crate::cli::log::head::{ending, job_lines, status};
use crate::cli::log::step_text::StepRecord;
use crate::cli::log::tree::{TreeRow, tree_rows};
use crate::cli::log::values::{argument_lines, is_edit, result_lines};
use crate::cli::render::{Paint, count, duration};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Bytes of a text that are shown at once; more is folded.
const SHOWN: usize = 4_000;
/// Most bytes of a text that the page has.
const MOST: usize = 200_000;
/// The bytes of a page behind which texts are kept short: a browser opens it in about a second up to there.
const ROOM: usize = 24 << 20;
/// Most bytes of a text behind that.
const MOST_BEHIND: usize = 2_000;

/// Writes the page.
///
/// # Errors
/// When it cannot be written.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut html = HtmlPage { report, out, written: 0 };
    html.head()?;
    html.overview()?;
    html.course()?;
    html.steps()?;
    html.put("</main>\n<script>")?;
    html.put(SCRIPT)?;
    html.put("</script>\n</body>\n</html>\n")
}

fn policy() -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    let (style, script) = (digest(STYLE), digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    )
}

struct HtmlPage<'a> {
    report: &'a Report<'a>,
    out: &'a mut dyn Write,
    written: usize,
}

impl HtmlPage<'_> {
    /// Writes what is HTML already.
    fn put(&mut self, text: &str) -> io::Result<()> {
        self.written += text.len();
        self.out.write_all(text.as_bytes())
    }

    fn head(&mut self) -> io::Result<()> {
        let id = html(self.report.record.id().as_str());
        let state = html(&status(self.report.record.entry().state));
        self.put(&format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
             content=\"{}\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<title>Job {id}</title>\n<style>",
            policy()
        ))?;
        self.put(STYLE)?;
        self.put(&format!(
            "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#steps\">To the steps</a>\n<main>\n<h1>Job {id}: {state}</h1>\n"
        ))
    }

    fn overview(&mut self) -> io::Result<()> {
        let Report { record, page, course, way_on } = self.report;
        self.put("<ul class=\"facts\">")?;
        for line in job_lines(record, Some(course.runs.tool_calls()), page.local()).iter().skip(1) {
            self.put(&format!("<li>{}</li>", html(line)))?;
        }
        self.put("</ul>\n")?;
        if let Some(query) = record.query() {
            self.put("<h2>Question</h2>\n")?;
            self.text("", &query, None)?;
        }
        if let Some(latest) = record.latest()
            && let Some((title, lines)) = ending(record.entry().state, &latest, Some(usize::MAX))
        {
            self.put(&format!("<h2>{}</h2>\n", html(title.trim_end_matches(':'))))?;
            self.text("", &lines.join("\n"), None)?;
        }
        if let Some((title, command)) = way_on {
            self.put(&format!("<h2>{}</h2>\n<pre><code>{}</code></pre>\n", html(title), html(command)))?;
        }
        self.put(
            "<h2>Runs</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\"><table><thead><tr><th \
             scope=\"col\">Run</th><th scope=\"col\">Expert</th><th scope=\"col\">State</th><th scope=\"col\">Steps</th><th \
             scope=\"col\">Tokens</th><th scope=\"col\">Cost</th><th scope=\"col\">Time</th><th scope=\"col\">Origin</th></tr>\
             </thead><tbody>\n",
        )?;
        for TreeRow { depth, columns, .. } in tree_rows(record, &course.runs) {
            self.put("<tr>")?;
            for (at, column) in columns.iter().enumerate() {
                let class = if at == 0 { format!(" class=\"d{}\"", depth.min(4)) } else { String::new() };
                self.put(&format!("<td{class}>{}</td>", html(column)))?;
            }
            self.put("</tr>\n")?;
        }
        self.put("</tbody></table></div>\n")
    }

    fn course(&mut self) -> io::Result<()> {
        let Report { record, course, .. } = self.report;
        let line = timeline(record, course);
        if !line.is_empty() {
            let legend = [("gen", "model"), ("tool", "tool"), ("retry", "before a retry"), ("wait", "waiting")];
            let legend = legend.map(|(class, what)| {
                let dot = format!("<rect class=\"{class}\" width=\"10\" height=\"10\"/>");
                format!("<span><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\">{dot}</svg> {what}</span>")
            });
            self.put(&format!("<h2>Time</h2>\n{line}\n<p class=\"legend soft\">{}</p>\n", legend.concat()))?;
        }
        let steps = &course.steps;
        #[expect(clippy::cast_precision_loss, reason = "places of a drawing")]
        let tokens: Vec<f64> = steps.iter().map(|step| step.tokens as f64).collect();
        let most = steps.iter().map(|step| step.tokens).max().unwrap_or_default();
        let context: Vec<f64> = steps.iter().map(|step| step.context).collect();
        let fullest = context.iter().copied().fold(0.0, f64::max);
        let mut spent = 0.0;
        let cost: Vec<f64> = steps
            .iter()
            .map(|step| {
                spent += step.cost;
                spent
            })
            .collect();
        let plots = [
            plot("Tokens of each step", &tokens, &count(most)),
            plot("Context window in use", &context, &format!("{fullest:.1} %")),
            plot("Cost so far", &cost, &format!("${spent:.4}")),
        ]
        .concat();
        if plots.is_empty() { Ok(()) } else { self.put(&format!("<h2>Figures by step</h2>\n{plots}\n")) }
    }

    fn steps(&mut self) -> io::Result<()> {
        self.put(
            "<h2 id=\"steps\">Steps</h2>\n<div id=\"tools\" class=\"tools\" hidden><label>Search <input id=\"search\" \
             type=\"search\"></label><label>Run <select id=\"run\"><option value=\"\">all</option>",
        )?;
        let record = self.report.record;
        for TreeRow { run, columns, .. } in tree_rows(record, &self.report.course.runs) {
            let [short, expert, ..] = &columns;
            self.put(&format!("<option value=\"{}\">{} {}</option>", html(run.as_str()), html(short), html(expert)))?;
        }
        self.put(
            "</select></label><label><input id=\"bad\" type=\"checkbox\"> with errors</label><button id=\"open\" \
             type=\"button\">Unfold all</button><button id=\"close\" type=\"button\">Fold all</button><span id=\"shown\" \
             class=\"soft\" role=\"status\"></span></div>\n",
        )?;
        let mut open: Vec<StepRecord> = Vec::new();
        let mut written = Ok(());
        // Problems of reading were found when the figures were read.
        record.visit(None, &mut |item| {
            match item {
                HistoryItem::Event(event) => {
                    let at = open.iter().position(|step| step.is_of(&event)).unwrap_or_else(|| {
                        open.push(StepRecord::new(&event));
                        open.len() - 1
                    });
                    if let Some(step) = open.get_mut(at) {
                        step.add(&event);
                    }
                    if event.ends_step() && at < open.len() {
                        written = self.step(&open.swap_remove(at));
                    }
                }
                HistoryItem::Passed { .. } => {}
                HistoryItem::End { run, .. } => {
                    while written.is_ok()
                        && let Some(at) = open.iter().position(|step| step.run.as_ref() == Some(run))
                    {
                        written = self.step(&open.swap_remove(at));
                    }
                }
            }
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written
    }

    fn step(&mut self, step: &StepRecord) -> io::Result<()> {
        let record = self.report.record;
        let run = step.run.as_ref().map(perstack::id::RunId::as_str).unwrap_or_default();
        let short = short_id(run, record.runs().iter().map(|run| run.id.as_str()));
        let failed = step.results.iter().any(is_error);
        let ended_by = step.end.as_ref().map(|(kind, _)| kind.as_str()).filter(|kind| kind.starts_with("stopRunBy"));
        let is_bad = failed || matches!(ended_by, Some("stopRunByError" | "stopRunByVerification" | "stopRunByBudget"));
        let names: Vec<&str> = step.calls.iter().map(|call| field(call, "toolName")).collect();
        let took = step.ended.map(|ended| duration(ended.saturating_sub(step.began))).unwrap_or_default();
        let bad = if is_bad { " data-bad=\"1\"" } else { "" };
        let error = if is_bad { " <span class=\"bad\">error</span>" } else { "" };
        self.put(&format!(
            "<details class=\"step\" data-run=\"{}\"{bad}><summary>Step {} <span class=\"soft\">{} {}</span> {} <span \
             class=\"soft\">{}</span>{error}</summary><div class=\"body\">\n",
            html(run),
            step.step,
            html(&step.expert),
            html(short),
            html(cut(&names.join(", "), 200).0),
            html(&took),
        ))?;
        for message in &step.input {
            self.message(message)?;
        }
        for remark in &step.remarks {
            self.text("Remark", remark, None)?;
        }
        for message in &step.answers {
            self.message(message)?;
        }
        for call in &step.calls {
            self.call(call, step)?;
        }
        self.end(step)?;
        self.put("</div></details>\n")
    }

    fn end(&mut self, step: &StepRecord) -> io::Result<()> {
        let Some((kind, json)) = &step.end else { return self.put("<p class=\"soft\">not ended</p>\n") };
        match kind.as_str() {
            "completeRun" if step.answers.len() != 1 => {
                self.text("Answer", json.get("text").and_then(Value::as_str).unwrap_or_default(), None)?;
            }
            "stopRunByError" | "stopRunByVerification" => {
                let error = json.get("error").unwrap_or(&Value::Null);
                self.text(field(error, "name"), field(error, "message"), None)?;
            }
            "stopRunByBudget" => {
                let reached = json.get("reached").map(ToString::to_string).unwrap_or_default();
                self.text("Budget reached", &reached, None)?;
            }
            _ => {}
        }
        let figure = |name: &str| json.get("step").and_then(|step| step.get(name));
        let tokens = figure("usage").and_then(|usage| usage.get("totalTokens")).and_then(Value::as_u64);
        let tokens = tokens.filter(|tokens| *tokens > 0).map(|tokens| format!("{} tokens", count(tokens)));
        let cost = figure("cost").and_then(Value::as_f64).map(|cost| format!("${cost:.4}"));
        let ended_by = (kind != "continueToNextStep").then(|| kind.clone());
        let figures: Vec<String> = [ended_by, tokens, cost].into_iter().flatten().collect();
        self.put(&format!("<p class=\"soft\">{}</p>\n", html(&figures.join(", "))))
    }

    fn message(&mut self, message: &Value) -> io::Result<()> {
        let title = match field(message, "type") {
            "instructionMessage" => "Instruction",
            "userMessage" => "User",
            "expertMessage" => "Expert",
            _ => return Ok(()),
        };
        for part in message.get("contents").and_then(Value::as_array).into_iter().flatten() {
            match field(part, "type") {
                "textPart" => self.text(title, field(part, "text"), None)?,
                "thinkingPart" => self.text("Reasoning", field(part, "thinking"), None)?,
                "toolCallPart" | "opaquePart" => {}
                _ => self.text(title, &attached(part), None)?,
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &Value, step: &StepRecord) -> io::Result<()> {
        let result = step.results.iter().find(|result| result.get("id") == call.get("id"));
        let mark = match result {
            Some(result) if is_error(result) => "<span class=\"bad\">✗ failed</span>",
            Some(_) => "<span class=\"good\">✓</span>",
            None => "<span class=\"soft\">no result in this step</span>",
        };
        let took = call.get("id").and_then(Value::as_str).and_then(|id| step.durations.get(id));
        let took = took.map(|ms| duration(*ms)).unwrap_or_default();
        self.put(&format!(
            "<details class=\"call\" open><summary>{} <span class=\"soft\">{}</span> {mark} <span class=\"soft\">{took}</span>\
             </summary>\n",
            html(field(call, "toolName")),
            html(field(call, "skillName")),
        ))?;
        let none = Map::new();
        let args = call.get("args").and_then(Value::as_object).unwrap_or(&none);
        let plain = Paint::plain();
        self.text("Arguments", &argument_lines(args, plain).join("\n"), Some(is_edit(args)))?;
        let parts = result.and_then(|result| result.get("result")).and_then(Value::as_array);
        for part in parts.into_iter().flatten() {
            match field(part, "type") {
                "textPart" => {
                    let text = field(part, "text");
                    let (kept, left) = cut(text, self.most());
                    if left == 0 {
                        self.text("Result", &result_lines(kept, args, plain).join("\n"), None)?;
                    } else {
                        self.text("Result", text, None)?;
                    }
                }
                _ => self.text("Result", &attached(part), None)?,
            }
        }
        self.put("</details>\n")
    }

    /// Most bytes of the next text.
    fn most(&self) -> usize {
        if self.written > ROOM { MOST_BEHIND } else { MOST }
    }

    /// Writes a text under its title. `edit`: lines that begin with `+` and `-` are those of a difference.
    fn text(&mut self, title: &str, text: &str, edit: Option<bool>) -> io::Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        if !title.is_empty() {
            self.put(&format!("<h3>{}</h3>", html(title)))?;
        }
        let (kept, left) = cut(text, self.most());
        let (first, _) = cut(kept, SHOWN);
        let rest = kept.get(first.len()..).unwrap_or_default();
        self.block(first, edit)?;
        if !rest.is_empty() {
            let more = rest.chars().count();
            self.put(&format!("<details class=\"more\"><summary>{more} more characters</summary>"))?;
            self.block(rest, edit)?;
            self.put("</details>\n")?;
        }
        if left > 0 {
            let id = html(self.report.record.short_id());
            let digest = hex::digits(&Sha256::digest(text));
            self.put(&format!(
                "<p class=\"soft\">{left} bytes are left out here (SHA-256 of the whole text: {digest}). They are in the log: \
                 <code>perstack log {id} --json --full-events</code></p>\n"
            ))?;
        }
        Ok(())
    }

    fn block(&mut self, text: &str, edit: Option<bool>) -> io::Result<()> {
        // The parser takes a line feed away that follows the tag.
        self.put("<pre>\n")?;
        if edit == Some(true) {
            for line in text.split_inclusive('\n') {
                let class = match line.get(..1) {
                    Some("+") => "add",
                    Some("-") => "del",
                    _ => {
                        self.put(&html(line))?;
                        continue;
                    }
                };
                self.put(&format!("<span class=\"{class}\">{}</span>", html(line)))?;
            }
        } else {
            self.put(&html(text))?;
        }
        self.put("</pre>\n")
    }
}

fn field<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_error(result: &Value) -> bool {
    result.get("isError").is_some_and(|flag| flag == true)
}

/// A part that is no text, in words.
fn attached(part: &Value) -> String {
    match field(part, "url") {
        "" => {
            let data = field(part, "encodedData").len().max(field(part, "data").len());
            format!("({}, {} characters of base64)", field(part, "mimeType"), count(data as u64))
        }
        url => format!("({} {url})", field(part, "mimeType")),
    }
}
