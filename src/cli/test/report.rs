//! [`print`]: the results of the cases on standard output, as text or as a JSON object.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use perstack::test_results::{BaselineChanges, CaseResult, CaseStatus, PassEstimate, TestResults};

use super::baseline::runs;
use super::runner::numbers_line;
use crate::cli::render::{Paint, visible, visible_lines};

/// The numbers of repetitions for which estimates are shown, besides that of all.
const SHOWN: [u64; 7] = [1, 2, 3, 5, 10, 100, 1000];

/// The results as a JSON object, with a line's end.
///
/// # Errors
/// Never: everything in it can be written so.
pub fn json(results: &TestResults) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(results)? + "\n")
}

/// Writes the results to standard output.
///
/// # Errors
/// When that cannot be written.
pub fn print(results: &TestResults, as_json: bool, paint: Paint) -> io::Result<()> {
    let text = if as_json { json(results)? } else { text(results, paint) };
    io::stdout().lock().write_all(text.as_bytes())
}

fn text(results: &TestResults, paint: Paint) -> String {
    let mut lines: Vec<String> = results.cases.iter().flat_map(|case| of_case(case, paint)).collect();
    if let Some(changes) = &results.baseline {
        lines.extend(of_baseline(changes, paint));
    }
    let TestResults { passed, failed, skipped, not_run, .. } = results;
    let mut last = format!("{passed} passed, {failed} failed");
    for (number, what) in [(not_run, "not run"), (skipped, "skipped (they ask a model: --live)")] {
        if *number > 0 {
            let _ = write!(last, ", {number} {what}");
        }
    }
    lines.push(last);
    lines.join("\n") + "\n"
}

fn of_case(case: &CaseResult, paint: Paint) -> Vec<String> {
    let CaseResult { file, name, failures, repetitions, .. } = case;
    let word = case.status.name();
    let mark = match case.status {
        CaseStatus::Passed => paint.green(word),
        CaseStatus::Failed => paint.red(word),
        CaseStatus::Skipped | CaseStatus::NotRun => paint.yellow(word),
    };
    let reason = case.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let mut lines = vec![format!("{mark} {}: {}{reason}", visible(file), visible(name))];
    if let Some(line) = of_runs(case) {
        lines.push(format!("  {line}"));
    }
    if !case.unchecked.is_empty() {
        lines.push(format!("  not looked at without --live: {}", case.unchecked.join(", ")));
    }
    let within = |lines: &mut Vec<String>, text: &str| {
        lines.extend(visible_lines(text).iter().map(|line| format!("  {line}")));
    };
    for failure in failures {
        within(&mut lines, failure);
    }
    for (at, run) in repetitions.iter().enumerate().filter(|_| repetitions.len() > 1) {
        for failure in &run.failures {
            within(&mut lines, &format!("repetition {}: {failure}", at.saturating_add(1)));
        }
    }
    let jobs = repetitions.iter().filter(|run| run.status == CaseStatus::Failed).filter_map(|run| run.job_id.as_ref());
    lines.extend(jobs.take(1).map(|job| format!("  perstack log {}", visible(job))));
    lines
}

/// The numbers of a case that asked a model.
fn of_runs(case: &CaseResult) -> Option<String> {
    let numbers = case.numbers.as_ref().filter(|_| case.live).map(numbers_line);
    let (passes, runs) = runs(case)?;
    if case.repetitions.len() == 1 {
        let judged = case.repetitions.first().and_then(|run| run.judgement.as_ref()).and_then(|it| it.score);
        let judged = judged.map(|score| format!("score {score}"));
        return Some(numbers.into_iter().chain(judged).collect::<Vec<_>>().join(", "));
    }
    let required = case.required_passes.map(|required| format!(", {required} needed")).unwrap_or_default();
    let shown = |it: &&PassEstimate| SHOWN.contains(&it.k) || it.k == runs;
    let estimate = |mark: char, value: fn(&PassEstimate) -> f64| {
        let all = case.estimates.iter().filter(shown).map(|it| format!("pass{mark}{} {}", it.k, value(it)));
        all.collect::<Vec<_>>().join(" ")
    };
    let (any, all) = (estimate('@', |it| it.any), estimate('^', |it| it.all));
    let parts = [Some(format!("{passes} of {runs} repetitions passed{required}")), Some(any), Some(all), numbers];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

fn of_baseline(changes: &BaselineChanges, paint: Paint) -> Vec<String> {
    let BaselineChanges { file, same, not_compared, worse, better, new, gone } = changes;
    let numbers = [(worse, "worse"), (better, "better"), (new, "new"), (gone, "gone")];
    let mut parts: Vec<String> = numbers.iter().map(|(changes, word)| format!("{} {word}", changes.len())).collect();
    parts.push(format!("{same} the same"));
    parts.extend((*not_compared > 0).then(|| format!("{not_compared} not compared")));
    let mut lines = vec![format!("compared with {}: {}", visible(file), parts.join(", "))];
    for (changes, word) in numbers {
        for change in changes {
            let mark = match word {
                "worse" => paint.red(word),
                "better" => paint.green(word),
                _ => paint.yellow(word),
            };
            let end = match (&change.before, &change.now) {
                (Some(before), Some(now)) => format!(": {now}, was {before}"),
                (Some(end), None) | (None, Some(end)) => format!(": {end}"),
                (None, None) => String::new(),
            };
            lines.push(format!("{mark} {}: {}{end}", visible(&change.file), visible(&change.name)));
            let sign = if word == "better" { "no longer: " } else { "" };
            lines.extend(change.why.iter().map(|why| format!("  {sign}{}", visible(why))));
        }
    }
    lines
}
