//! Drawings of a job's course as inline SVG: [`timeline`], [`plot`]. What is in them is numbers, and names that are escaped.

use std::fmt::Write as _;

use perstack::runtime::history::JobLog;

use super::escape::{cut, html};
use super::figures::{Course, SpanKind};
use crate::cli::render::duration;

/// Units of the drawing's width.
const WIDTH: f64 = 1000.0;
/// Units that the names of Runs take.
const NAMES: f64 = 150.0;
/// Units between two rows.
const ROW: f64 = 18.0;
/// Most Runs that are drawn.
const MOST_ROWS: usize = 100;
/// Most points of a plot.
const MOST_POINTS: usize = 1000;

/// The time line: a row for each Run.
pub fn timeline(record: &JobLog, course: &Course) -> String {
    let tree = record.tree();
    let all = || course.spans.values().flatten();
    let (from, to) = (all().map(|span| span.from).min(), all().map(|span| span.to).max());
    let (Some(from), Some(to)) = (from, to) else { return String::new() };
    let total = to.saturating_sub(from).max(1);
    let place = |at: u64| NAMES + (WIDTH - NAMES) * number(at.saturating_sub(from)) / number(total);
    let rows = tree.len().min(MOST_ROWS);
    let height = ROW * number(rows as u64) + 22.0;
    let mut svg = format!(
        "<div class=\"scroll\" tabindex=\"0\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Time line of {} runs over {}\">",
        tree.len(),
        duration(total)
    );
    for (row, (_, run)) in tree.iter().take(rows).enumerate() {
        let y = ROW * number(row as u64) + 4.0;
        let name = run.expert.as_ref().map_or("?", |expert| expert.as_str());
        // Writing to a string does not fail.
        let _ = write!(svg, "<text x=\"4\" y=\"{:.0}\">{}</text>", y + 10.0, html(cut(name, 20).0));
        let mut last = (SpanKind::Wait, -1.0_f64);
        for span in course.spans.get(&run.id).into_iter().flatten() {
            let (x, end) = (place(span.from), place(span.to));
            // What would be drawn over what is there is left out, so that the size does not grow with the steps.
            if span.kind == last.0 && end <= last.1 + 0.25 {
                continue;
            }
            last = (span.kind, end);
            let class = match span.kind {
                SpanKind::Generation => "gen",
                SpanKind::Tool => "tool",
                SpanKind::Retry => "retry",
                SpanKind::Wait => "wait",
            };
            let width = (end - x).max(0.75);
            let (top, thick) = if span.kind == SpanKind::Wait { (y + 5.0, 3.0) } else { (y, 12.0) };
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.2}\" y=\"{top:.0}\" width=\"{width:.2}\" height=\"{thick:.0}\"/>"
            );
        }
    }
    let bottom = height - 6.0;
    let _ = write!(
        svg,
        "<text class=\"soft\" x=\"{NAMES}\" y=\"{bottom:.0}\">0</text><text class=\"soft\" x=\"{:.0}\" y=\"{bottom:.0}\" \
         text-anchor=\"end\">{}</text></svg></div>",
        WIDTH - 4.0,
        duration(total)
    );
    svg
}

/// A plot of one figure over the steps. `most`: the highest value in words.
pub fn plot(title: &str, values: &[f64], most: &str) -> String {
    const HEIGHT: f64 = 120.0;
    let highest = values.iter().copied().fold(0.0, f64::max);
    if highest <= 0.0 {
        return String::new();
    }
    let per = values.len().div_ceil(MOST_POINTS).max(1);
    let across = WIDTH / number((values.len().max(2) - 1) as u64);
    let points = values.chunks(per).enumerate().map(|(at, chunk)| {
        let value = chunk.iter().copied().fold(0.0, f64::max);
        let (x, y) = (across * number((at * per) as u64), HEIGHT - 4.0 - (HEIGHT - 24.0) * value / highest);
        format!("{x:.1},{y:.1}")
    });
    let points = points.collect::<Vec<_>>().join(" ");
    let title = html(title);
    format!(
        "<h3>{title}</h3><div class=\"scroll\" tabindex=\"0\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}, at most {most}\"><line \
         class=\"axis\" x1=\"0\" y1=\"116\" x2=\"{WIDTH}\" y2=\"116\"/><polyline class=\"plot\" points=\"{points}\"/><text \
         class=\"soft\" x=\"4\" y=\"13\">{}</text></svg></div>",
        html(most)
    )
}

#[expect(clippy::cast_precision_loss, reason = "places of a drawing")]
fn number(value: u64) -> f64 {
    value as f64
}
