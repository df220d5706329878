//! [`Course`]: the course of a job in figures, for the time line and the plots. `report` reads it before anything is
//! written.

use std::collections::HashMap;
use std::ops::ControlFlow;

use perstack::id::RunId;
use perstack::runtime::history::{Descent, HistoryItem, JobLog, LoggedEvent, ReadProblem};
use serde_json::{Map, Value};

use crate::cli::log::summary::RunFigures;

/// The kind of a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    Generation,
    Tool,
    /// Before a request is made again.
    Retry,
    /// For delegates or a person.
    Wait,
}

/// A span of time of a Run, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan {
    pub kind: SpanKind,
    pub from: u64,
    pub to: u64,
}

/// The figures of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepFigures {
    pub tokens: u64,
    /// The share of the context window that is taken, in percent.
    pub context: f64,
    /// US dollars.
    pub cost: f64,
}

/// The tool calls of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolFigures {
    pub calls: u64,
    pub errors: u64,
}

/// The course of a job.
#[derive(Default)]
pub struct Course {
    pub runs: RunFigures,
    pub spans: HashMap<RunId, Vec<TimeSpan>>,
    /// In the order in which they ended.
    pub steps: Vec<StepFigures>,
    /// By the tool's name.
    pub tools: Vec<(String, ToolFigures)>,
    pub problems: Vec<ReadProblem>,
    asked_at: HashMap<RunId, u64>,
    called_at: HashMap<RunId, u64>,
}

impl Course {
    /// Reads the record.
    pub fn read(record: &JobLog) -> Self {
        let mut course = Self::default();
        course.problems = record.visit(None, &mut |item| {
            course.runs.add(&item);
            if let HistoryItem::Event(event) = item {
                course.add(&event);
            }
            ControlFlow::Continue(())
        });
        course.add_waits(record);
        course
    }

    fn add(&mut self, event: &LoggedEvent<'_>) {
        let (run, at) = (event.run(), event.timestamp());
        if let Some(asked_at) = self.asked_at.remove(run) {
            self.span(run, SpanKind::Generation, asked_at, at);
        }
        match event.type_name() {
            "startGeneration" => drop(self.asked_at.insert(run.clone(), at)),
            "callTools" => drop(self.called_at.insert(run.clone(), at)),
            "retry" => {
                let json = event.to_outline().unwrap_or_default();
                if let Some(delay) = json.get("delayMs").and_then(Value::as_u64) {
                    self.span(run, SpanKind::Retry, at, at.saturating_add(delay));
                }
            }
            _ => {}
        }
        if event.ends_step() {
            if let Some(called_at) = self.called_at.remove(run) {
                for took in event.durations().values() {
                    self.span(run, SpanKind::Tool, called_at, called_at.saturating_add(*took));
                }
            }
            self.end_step(&event.to_outline().unwrap_or_default());
        }
    }

    fn end_step(&mut self, json: &Map<String, Value>) {
        let step = json.get("step");
        let at = |key: &str| step.and_then(|step| step.get(key));
        let head = json.get("nextCheckpoint").or_else(|| json.get("checkpoint"));
        let share = head.and_then(|head| head.get("contextWindowUsage")).and_then(Value::as_f64);
        let tokens = at("usage").and_then(|usage| usage.get("totalTokens")).and_then(Value::as_u64);
        self.steps.push(StepFigures {
            tokens: tokens.unwrap_or_default(),
            context: share.unwrap_or_default() * 100.0,
            cost: at("cost").and_then(Value::as_f64).unwrap_or_default(),
        });
        for call in list(at("toolCalls")) {
            self.tool(call).calls += 1;
        }
        for result in list(at("toolResults")).filter(|result| result.get("isError").is_some_and(|flag| flag == true)) {
            self.tool(result).errors += 1;
        }
    }

    fn tool(&mut self, call: &Value) -> &mut ToolFigures {
        let name = call.get("toolName").and_then(Value::as_str).unwrap_or("?");
        let at = self.tools.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.tools.push((name.to_owned(), ToolFigures::default()));
            self.tools.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the place was just found")]
        &mut self.tools[at].1
    }

    fn span(&mut self, run: &RunId, kind: SpanKind, from: u64, to: u64) {
        self.spans.entry(run.clone()).or_default().push(TimeSpan { kind, from, to: to.max(from) });
    }

    /// The time between a Run and the one that continues it.
    fn add_waits(&mut self, record: &JobLog) {
        for run in record.runs() {
            if let Descent::Continues(parent) = &run.descent
                && let Some((_, ended)) = self.runs.figures(&parent.run_id).span
            {
                self.span(&run.id, SpanKind::Wait, ended, run.began_at);
            }
        }
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
