//! [`failures`]: what of a job is not as it is expected, a line each. What a command or another expert has to say of it is left
//! to `live`.

use perstack::budget::Span;
use perstack::checkpoint::Status;
use perstack::config::Expectations;
use perstack::runtime::{JobResult, Outcome};
use serde_json::Value;

use crate::cli::render::{json_for, shortened};

/// Most characters of an answer that are shown.
const MOST_CHARS: usize = 200;

/// The reason why a job did not complete, with its error or budget; none of one that did.
pub fn incomplete(outcome: &Outcome) -> Option<String> {
    let why = JobResult::from(outcome).error.map(|error| format!(": {} ({})", error.message, error.name));
    let why = why.or_else(|| outcome.budget.as_ref().map(|reached| format!(": {reached}"))).unwrap_or_default();
    (outcome.status != Status::Completed).then(|| format!("it did not complete: {}{why}", outcome.status.name()))
}

/// Compares a job, whose experts called these tools, with what is expected of it. Empty when all is so.
pub fn failures(expected: &Expectations, outcome: &Outcome, tools: &[String]) -> Vec<String> {
    let mut failures: Vec<String> = incomplete(outcome).into_iter().collect();
    let answer = outcome.checkpoint.text().unwrap_or_default();
    of_answer(expected, answer.trim(), &mut failures);
    of_tools(expected, tools, &mut failures);
    let above = |what: &str, most: Option<u64>, is: u64| {
        most.filter(|most| is > *most).map(|most| format!("{is} {what}, and at most {most} are expected"))
    };
    failures.extend(above("steps", expected.max_steps, outcome.steps));
    failures.extend(above("tokens", expected.max_tokens, outcome.usage.total_tokens));
    if let Some(most) = expected.max_cost {
        if outcome.spend.cost > most {
            failures.push(format!("it cost {}, and at most {most} is expected", outcome.spend.cost));
        } else if !outcome.spend.is_complete {
            failures.push(format!("its cost is not known, as a price is missing, and at most {most} is expected"));
        }
    }
    failures
}

/// The failure of a job that asked the model and took too long.
pub fn too_long(expected: &Expectations, outcome: &Outcome) -> Option<String> {
    let most = expected.max_time_ms.filter(|most| outcome.duration_ms > *most)?;
    let (took, most) = (Span::from_ms(outcome.duration_ms), Span::from_ms(most));
    Some(format!("it took {took}, and at most {most} is expected"))
}

fn of_answer(expected: &Expectations, answer: &str, failures: &mut Vec<String>) {
    let quoted = |text: &str| format!("{:?}", shortened(text, MOST_CHARS));
    if let Some(whole) = expected.equals.as_ref().filter(|whole| whole.trim() != answer) {
        failures.push(format!("the answer is {}, and {} is expected", quoted(answer), quoted(whole)));
    }
    let missing = expected.contains.iter().filter(|part| !answer.contains(part.as_str()));
    failures.extend(missing.map(|part| format!("the answer does not contain {}: {}", quoted(part), quoted(answer))));
    let unwanted = expected.lacks.iter().filter(|part| answer.contains(part.as_str()));
    failures.extend(unwanted.map(|part| format!("the answer contains {}: {}", quoted(part), quoted(answer))));
    if let Some(regex) = expected.regex.as_ref().filter(|regex| !regex.is_match(answer)) {
        failures.push(format!("the answer does not match {:?}: {}", regex.as_str(), quoted(answer)));
    }
    if let Some(schema) = &expected.schema
        && let Err(problems) = schema.check(answer)
    {
        failures.push(format!("the answer is not valid against the schema: {}", problems.join("; ")));
    }
    if expected.json.is_empty() {
        return;
    }
    let Ok(document) = serde_json::from_str::<Value>(answer) else {
        failures.push(format!("the answer is no JSON: {}", quoted(answer)));
        return;
    };
    for (pointer, value) in &expected.json {
        let shown = |value: &Value| json_for(&value.to_string(), true).into_owned();
        match document.pointer(pointer) {
            Some(found) if found == value => {}
            Some(found) => failures.push(format!("{pointer} is {}, and {} is expected", shown(found), shown(value))),
            None => failures.push(format!("the answer has no {pointer}, and {} is expected", shown(value))),
        }
    }
}

fn of_tools(expected: &Expectations, called: &[String], failures: &mut Vec<String>) {
    let all = if called.is_empty() { "none was".to_owned() } else { format!("called were {}", called.join(", ")) };
    let missing = expected.tools.iter().filter(|tool| !called.contains(tool));
    failures.extend(missing.map(|tool| format!("{tool} was not called: {all}")));
    let unwanted = expected.no_tools.iter().filter(|tool| called.contains(tool));
    failures.extend(unwanted.map(|tool| format!("{tool} was called, and is not to be")));
}
