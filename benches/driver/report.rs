//! The table as Markdown, from the samples of each client.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::lab::Client;
use crate::rows::{Must, Part, Row};
use crate::scenario::{Figures, Scenario};

/// All figures of all measured rounds.
#[derive(Default)]
pub struct Samples(BTreeMap<(Scenario, Client), Vec<Figures>>);

impl Samples {
    pub fn add(&mut self, scenario: Scenario, client: &Client, figures: Figures) {
        self.0.entry((scenario, client.clone())).or_default().push(figures);
    }

    /// All rounds, as JSON.
    pub fn json(&self) -> Value {
        let rounds = |((scenario, client), rounds): (&(Scenario, Client), &Vec<Figures>)| json!({"scenario": format!("{scenario:?}"), "client": client.name(), "rounds": rounds});
        self.0.iter().map(rounds).collect()
    }

    /// The median over the rounds.
    pub fn median(&self, scenario: Scenario, client: &Client, figure: &str) -> Option<f64> {
        let rounds = self.0.get(&(scenario, client.clone()))?;
        let mut values: Vec<f64> = rounds.iter().filter_map(|figures| figures.get(figure).copied()).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

/// The machine and its load, as a line above the table.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split_ascii_whitespace().take(1).collect();
    let kernel = read("/proc/sys/kernel/osrelease");
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{count} × {model}, Linux {}, load at the start {}\n", kernel.trim(), load.concat())
}

/// The table, a column for each client. A figure that misses its bound is bold.
pub fn markdown(rows: &[&Row], clients: &[Client], samples: &Samples) -> String {
    let names: Vec<&str> = clients.iter().map(Client::name).collect();
    let mut lines = vec![
        format!("| measure | {} | ours ÷ floor | must | |", names.join(" | ")),
        format!("| --- |{} --- | --- | --- |", " --- |".repeat(clients.len())),
    ];
    for row in rows {
        let mut cells = vec![row.name.to_owned()];
        cells.extend(clients.iter().map(|client| cell(row, |part| value(part, client, samples))));
        cells.push(cell(row, |part| ratio(part, samples)));
        cells.push(cell(row, |part| bound(part.must)));
        let is_missed = row.parts.iter().any(|part| is_missed(part, samples));
        cells.push(if is_missed { "missed" } else { "" }.to_owned());
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    lines.join("\n") + "\n"
}

/// One text for all figures of a line; a dash where there is none.
fn cell(row: &Row, text: impl Fn(&Part) -> Option<String>) -> String {
    let texts: Vec<Option<String>> = row.parts.iter().map(text).collect();
    if texts.iter().all(Option::is_none) {
        return "–".to_owned();
    }
    texts.into_iter().map(|text| text.unwrap_or_else(|| "–".to_owned())).collect::<Vec<_>>().join(" / ")
}

fn value(part: &Part, client: &Client, samples: &Samples) -> Option<String> {
    let text = number(samples.median(part.scenario, client, part.figure)?);
    Some(if *client == Client::Ours && is_missed(part, samples) { format!("**{text}**") } else { text })
}

fn ratio(part: &Part, samples: &Samples) -> Option<String> {
    let median = |client| samples.median(part.scenario, client, part.figure);
    let (ours, floor) = (median(&Client::Ours)?, median(&Client::Floor)?);
    (floor > 0.0).then(|| number(ours / floor))
}

fn bound(must: Must) -> Option<String> {
    match must {
        Must::AtMost(bound) => Some(format!("≤ {}", number(bound))),
        Must::AtLeast(bound) => Some(format!("≥ {}", number(bound))),
        Must::TimesFloor(times) => Some(format!("≤ {times} × floor")),
        Must::AboveFloor(more) => Some(format!("≤ floor + {more}")),
        Must::Free => None,
    }
}

fn is_missed(part: &Part, samples: &Samples) -> bool {
    let median = |client| samples.median(part.scenario, client, part.figure);
    median(&Client::Ours).is_some_and(|ours| part.must.is_missed(ours, median(&Client::Floor)))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
