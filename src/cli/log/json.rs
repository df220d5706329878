//! A job's record as one JSON object, written while it is read: the original's fields, then additional ones.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use perstack::hint::ErrorHint as _;
use perstack::runtime::history::{
    Descent, HistoryItem, JobLog, LoggedEvent, ReadProblem, ReadProblemKind, Run, RunProgress,
};
use perstack::store::CheckpointEntry;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::jobs::state_fields;
use super::options::Form;
use super::page::{Page, laid_out};
use super::summary::{Figures, Mark, RunFigures, Summary};
use super::{LogRequest, Unit, chooser, flow};

/// Writes a record. Problems of reading are added to `problems`.
///
/// # Errors
/// When it cannot be written.
pub fn write(
    record: &JobLog,
    request: &LogRequest,
    form: Form,
    page: &mut Page,
    problems: &mut Vec<ReadProblem>,
) -> io::Result<()> {
    let mut object = Object::begin(page, form)?;
    if let Some(job) = record.job() {
        object.field("job", job)?;
    }
    let sums = write_events(record, request, &mut object, problems)?;
    if request.unit == Unit::Events {
        object.field("summary", sums.summary)?;
    }
    if let Some(entry) = &request.checkpoint {
        match record.checkpoint(entry) {
            Ok(checkpoint) => object.field("checkpoint", checkpoint)?,
            Err(error) => {
                problems.extend(entry.run.clone().map(|run| ReadProblem { run, kind: ReadProblemKind::Broken(error) }));
            }
        }
    }
    if !request.checkpoints.is_empty() {
        object.field("checkpoints", request.checkpoints.iter().map(checkpoint_object).collect::<Vec<_>>())?;
    }
    if request.run.is_none() {
        let runs = record.runs().iter().map(|run| run_object(run, &sums.figures.figures(&run.id)));
        object.field("runs", runs.collect::<Vec<_>>())?;
    }
    if request.is_default {
        object.field("isLatestJob", true)?;
    }
    object.field("storagePath", record.storage().display().to_string())?;
    object.field("totalEventsBeforeLimit", sums.matched)?;
    object.field("matchedAfterPagination", request.range.shown(sums.matched))?;
    for (key, value) in state_fields(record.entry().state) {
        object.field(&key, value)?;
    }
    let job = record.entry().job.as_ref().err();
    let job = job.map(|error| json!({"kind": "unreadable", "message": error.with_hint()}));
    let problems: Vec<Value> = job.into_iter().chain(problems.iter().map(problem_object)).collect();
    if !problems.is_empty() {
        object.field("problems", problems)?;
    }
    object.end()
}

/// Writes the object for a storage without jobs.
///
/// # Errors
/// When it cannot be written.
pub fn write_nothing(storage: &Path, form: Form, page: &mut Page) -> io::Result<()> {
    let mut object = Object::begin(page, form)?;
    object.begin_array("events")?;
    object.end_array()?;
    object.field("summary", Summary::default())?;
    object.field("storagePath", storage.display().to_string())?;
    object.field("totalEventsBeforeLimit", 0)?;
    object.field("matchedAfterPagination", 0)?;
    object.end()
}

/// The totals of a reading.
#[derive(Default)]
struct Sums {
    figures: RunFigures,
    /// Of the written events.
    summary: Summary,
    /// Events that fit.
    matched: u64,
}

fn write_events(
    record: &JobLog,
    request: &LogRequest,
    object: &mut Object<'_>,
    problems: &mut Vec<ReadProblem>,
) -> io::Result<Sums> {
    object.begin_array(match request.unit {
        Unit::Events => "events",
        Unit::Steps => "steps",
    })?;
    let mut chooser = chooser(request);
    let (mut sums, mut written) = (Sums::default(), Ok(()));
    let found = record.visit(request.run.as_ref(), &mut |item| {
        sums.figures.add(&item);
        let HistoryItem::Event(event) = item else { return ControlFlow::Continue(()) };
        let mut show = |(mark, json): (Mark, serde_json::Result<Map<String, Value>>)| {
            sums.summary.add(mark);
            object.element(&json?)
        };
        written = chooser.take(&event, |event| (Mark::for_event(event), element_of(event, request)), &mut show);
        flow(&written)
    });
    problems.extend(found);
    written?;
    object.end_array()?;
    Ok(Sums { matched: chooser.matched(), ..sums })
}

fn element_of(event: &LoggedEvent<'_>, request: &LogRequest) -> serde_json::Result<Map<String, Value>> {
    match request.unit {
        Unit::Events => event.to_json(request.detail),
        Unit::Steps => {
            let mut event_json = event.to_outline()?;
            let mut step = Map::from_iter([("runId".to_owned(), json!(event.run()))]);
            step.extend(event_json.shift_remove("expertKey").map(|expert| ("expertKey".to_owned(), expert)));
            if let Some(Value::Object(fields)) = event_json.shift_remove("step") {
                step.extend(fields);
            }
            step.insert("callDurationsMs".to_owned(), serde_json::to_value(event.durations())?);
            Ok(step)
        }
    }
}

fn checkpoint_object(entry: &CheckpointEntry) -> Value {
    json!({"id": entry.id, "runId": entry.run, "stepNumber": entry.step, "path": entry.path})
}

fn run_object(run: &Run, figures: &Figures) -> Value {
    let mut object = Map::from_iter([("id".to_owned(), json!(run.id)), ("expertKey".to_owned(), json!(run.expert))]);
    match &run.descent {
        Descent::Root => {}
        Descent::Delegate(by) => drop(object.insert("delegatedBy".to_owned(), json!(by))),
        Descent::Continues(parent) => drop(object.insert("continues".to_owned(), json!(parent))),
    }
    match &figures.left {
        Some(RunProgress::Ended(status)) => drop(object.insert("status".to_owned(), json!(status))),
        Some(RunProgress::AskingModel | RunProgress::Verifying) => {
            drop(object.insert("status".to_owned(), json!("proceeding")));
        }
        Some(RunProgress::Deciding(calls) | RunProgress::Calling(calls)) => {
            object.insert("status".to_owned(), json!("proceeding"));
            object.insert("openToolCalls".to_owned(), json!(calls));
        }
        Some(RunProgress::Unknown) | None => {}
    }
    object.extend(figures.steps.map(|steps| ("stepRange".to_owned(), json!(steps))));
    object.insert("usage".to_owned(), json!(figures.usage));
    if let Some((first, last)) = figures.span {
        object.insert("firstEventAt".to_owned(), json!(first));
        object.insert("lastEventAt".to_owned(), json!(last));
    }
    Value::Object(object)
}

fn problem_object(trouble: &ReadProblem) -> Value {
    let (kind, message) = match &trouble.kind {
        ReadProblemKind::Unknown { facts, first } => {
            ("unknownFacts", format!("{facts} facts were passed over: {}", first.with_hint()))
        }
        ReadProblemKind::Broken(error) => ("unreadable", error.with_hint()),
    };
    json!({"runId": trouble.run, "kind": kind, "message": message})
}

/// A JSON object that is written field by field.
struct Object<'a> {
    page: &'a mut Page,
    form: Form,
    has_fields: bool,
    has_elements: bool,
}

impl<'a> Object<'a> {
    fn begin(page: &'a mut Page, form: Form) -> io::Result<Self> {
        page.raw("{")?;
        Ok(Self { page, form, has_fields: false, has_elements: false })
    }

    fn field(&mut self, key: &str, value: impl Serialize) -> io::Result<()> {
        self.key(key)?;
        self.value(&value, 1)
    }

    fn begin_array(&mut self, key: &str) -> io::Result<()> {
        self.key(key)?;
        self.has_elements = false;
        self.page.raw("[")
    }

    fn element(&mut self, value: &impl Serialize) -> io::Result<()> {
        let comma = std::mem::replace(&mut self.has_elements, true);
        self.separate(comma, 2)?;
        self.value(value, 2)
    }

    fn end_array(&mut self) -> io::Result<()> {
        if self.has_elements {
            self.separate(false, 1)?;
        }
        self.page.raw("]")
    }

    fn end(mut self) -> io::Result<()> {
        self.separate(false, 0)?;
        self.page.raw("}\n")
    }

    fn key(&mut self, key: &str) -> io::Result<()> {
        let comma = std::mem::replace(&mut self.has_fields, true);
        self.separate(comma, 1)?;
        let space = if self.form == Form::PrettyJson { " " } else { "" };
        self.page.raw(&format!("{}:{space}", Value::from(key)))
    }

    fn value(&mut self, value: &impl Serialize, depth: usize) -> io::Result<()> {
        let text = laid_out(value, self.form)?;
        match self.form {
            Form::PrettyJson => self.page.raw(&text.replace('\n', &format!("\n{}", "  ".repeat(depth)))),
            Form::Text | Form::Json => self.page.raw(&text),
        }
    }

    fn separate(&mut self, comma: bool, depth: usize) -> io::Result<()> {
        self.page.raw(if comma { "," } else { "" })?;
        match self.form {
            Form::PrettyJson => self.page.raw(&format!("\n{}", "  ".repeat(depth))),
            Form::Text | Form::Json => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::fixture::KeptOutput;

    fn written(form: Form) -> String {
        let out = KeptOutput::default();
        let mut page = Page::to(out.clone(), None, 0);
        let mut object = Object::begin(&mut page, form).unwrap();
        object.field("job", json!({"id": "j\n1", "tags": []})).unwrap();
        object.begin_array("none").unwrap();
        object.end_array().unwrap();
        object.begin_array("events").unwrap();
        object.element(&json!({"type": "startRun"})).unwrap();
        object.element(&json!(2)).unwrap();
        object.end_array().unwrap();
        object.field("count", 2).unwrap();
        object.end().unwrap();
        out.text()
    }

    #[test]
    fn what_is_written_piece_by_piece_is_what_would_be_written_whole() {
        let whole =
            json!({"job": {"id": "j\n1", "tags": []}, "none": [], "events": [{"type": "startRun"}, 2], "count": 2});
        assert_eq!(written(Form::Json), whole.to_string() + "\n");
        assert_eq!(written(Form::PrettyJson), serde_json::to_string_pretty(&whole).unwrap() + "\n");
    }
}
