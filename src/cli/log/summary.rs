//! [`Summary`] and [`RunFigures`]: counts of the events shown, and the figures of each Run.

use std::collections::HashMap;

use perstack::cost::Spend;
use perstack::id::RunId;
use perstack::runtime::history::{HistoryItem, LoggedEvent, RunProgress};
use perstack::usage::Usage;
use serde::Serialize;

use super::selection::EventGroup;

/// The counters that an event adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    step: u64,
    is_error: bool,
    tool_calls: u64,
    is_delegation: bool,
}

impl Mark {
    /// Reads the counters from `event`.
    pub fn for_event(event: &LoggedEvent<'_>) -> Self {
        let has = |group: EventGroup| group.has(event.type_name());
        Self {
            step: event.step_number(),
            is_error: has(EventGroup::Errors),
            tool_calls: event.tool_call_count() as u64,
            is_delegation: has(EventGroup::Delegations),
        }
    }
}

/// Counts of events that are shown (the original's names). Tool calls are counted as such; the original counted the
/// events about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub total_events: u64,
    pub error_count: u64,
    pub tool_call_count: u64,
    pub delegation_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_range: Option<StepRange>,
}

/// The lowest and the highest step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StepRange {
    pub min: u64,
    pub max: u64,
}

impl StepRange {
    fn with(range: Option<Self>, step: u64) -> Self {
        range.map_or(Self { min: step, max: step }, |range| Self { min: range.min.min(step), max: range.max.max(step) })
    }
}

impl Summary {
    /// Counts one more.
    pub fn add(&mut self, mark: Mark) {
        self.total_events += 1;
        self.error_count += u64::from(mark.is_error);
        self.tool_call_count += mark.tool_calls;
        self.delegation_count += u64::from(mark.is_delegation);
        self.step_range = Some(StepRange::with(self.step_range, mark.step));
    }
}

/// Figures of one Run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Steps that had an event.
    pub steps: Option<StepRange>,
    /// Of this Run, without its delegates.
    pub usage: Usage,
    /// The cost of that.
    pub spend: Spend,
    pub tool_calls: u64,
    /// The first and the last event, in milliseconds since the epoch.
    pub span: Option<(u64, u64)>,
    /// `None` until the end of its record was read.
    pub left: Option<RunProgress>,
}

/// Figures of all Runs that were read.
#[derive(Debug, Default)]
pub struct RunFigures(HashMap<RunId, Figures>);

impl RunFigures {
    /// Adds an item of the history.
    pub fn add(&mut self, item: &HistoryItem<'_>) {
        match item {
            HistoryItem::Event(event) => {
                let figures = self.0.entry(event.run().clone()).or_default();
                let at = event.timestamp();
                figures.steps = Some(StepRange::with(figures.steps, event.step_number()));
                figures.span = Some(figures.span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
                figures.tool_calls += event.tool_call_count() as u64;
                // For records that have no facts; the end item of one that has is more exact.
                figures.usage = figures.usage.plus(event.step_usage().unwrap_or_default());
                figures.left = event.ends_run().map(RunProgress::Ended);
            }
            HistoryItem::Passed { run, tool_calls, .. } => {
                self.0.entry((*run).clone()).or_default().tool_calls += tool_calls;
            }
            HistoryItem::End { run, progress: left, totals } => {
                let figures = self.0.entry((*run).clone()).or_default();
                if let Some(totals) = totals {
                    (figures.usage, figures.spend) = (totals.usage, totals.spend);
                }
                if **left != RunProgress::Unknown || figures.left.is_none() {
                    figures.left = Some((*left).clone());
                }
            }
        }
    }

    /// The tool calls of all Runs.
    pub fn tool_calls(&self) -> u64 {
        self.0.values().map(|figures| figures.tool_calls).sum()
    }

    /// A Run's figures; empty if nothing was read of it.
    pub fn figures(&self, run: &RunId) -> Figures {
        self.0.get(run).cloned().unwrap_or_default()
    }
}
