//! What the binary writes, held against the schemas that it prints. Readers of events, results and files call it on all that
//! they read, so that every test is one of the schemas too.
//!
//! The schemas let unknown fields pass, as they have to for what later versions add. Here they are closed: a field that the
//! binary writes and the schema does not have is a fault.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

static EVENT: LazyLock<Validator> = LazyLock::new(|| closed("events"));
static RESULT: LazyLock<Validator> = LazyLock::new(|| closed("result"));
static JOB: LazyLock<Validator> = LazyLock::new(|| closed("job"));
static DRY_RUN: LazyLock<Validator> = LazyLock::new(|| closed("dry-run"));
static TESTS: LazyLock<Validator> = LazyLock::new(|| closed("tests"));
static CHECKPOINT: LazyLock<Validator> = LazyLock::new(|| closed("checkpoint"));

/// The schema of this name, as it is in the book.
pub fn schema(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/{name}.schema.json"));
    serde_json::from_str(&fs::read_to_string(file).expect("a schema in the book")).expect("JSON")
}

/// The same, for objects without any other field.
fn closed(name: &str) -> Validator {
    let mut schema = schema(name);
    let close = |schema: &mut Value| {
        schema["unevaluatedProperties"] = json!(false);
    };
    for definition in schema["$defs"].as_object_mut().expect("definitions").values_mut() {
        close(definition);
    }
    close(&mut schema);
    jsonschema::validator_for(&schema).expect("a schema")
}

#[track_caller]
fn assert_valid(validator: &Validator, what: &str, value: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what} is not as its schema has it:\n{}\n{value:#}", errors.join("\n"));
}

#[track_caller]
pub fn assert_event(event: &Value) {
    assert_valid(&EVENT, "an event", event);
}

#[track_caller]
pub fn assert_result(result: &Value) {
    assert_valid(&RESULT, "a result", result);
}

#[track_caller]
pub fn assert_dry_run(dry: &Value) {
    assert_valid(&DRY_RUN, "a dry run", dry);
}

#[track_caller]
pub fn assert_job(job: &Value) {
    assert_valid(&JOB, "a job.json", job);
}

#[track_caller]
pub fn assert_tests(results: &Value) {
    assert_valid(&TESTS, "a result of tests", results);
}

#[track_caller]
pub fn assert_checkpoint(checkpoint: &Value) {
    assert_valid(&CHECKPOINT, "a checkpoint", checkpoint);
}
